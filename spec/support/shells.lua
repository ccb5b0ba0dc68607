-- Asks real shells what they would complete: shells.<name>(place, lines) returns, for each line, the candidates for its end,
-- sorted. `place` is of spec.support.cli; the script is the one the binary prints, and the binary is found on the PATH.
local cli = require "spec.support.cli"
local process = require "spec.support.process"

local shells = {}

local SEPARATOR = "\1"

local BASH = [==[
source /dev/stdin <<<"$SCRIPT"
compopt() { :; } # there is no completion under way
while IFS= read -r LINE; do
  read -ra COMP_WORDS <<<"${LINE//=/ = }"
  [[ $LINE != *[[:space:]] ]] || COMP_WORDS+=("")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  _smartmigration_lua
  printf '%s\n' "${COMPREPLY[@]}" $'\1'
done <<<"$ASKED"
]==]

-- An interactive zsh in a pseudo terminal gets each line and a tab; what reaches compadd is written to a file.
local ZSH = [==[
zmodload zsh/zpty
zpty inner 'zsh -f -i'
zpty -w inner "PROMPT= RPROMPT=; cd ${(q)PWD}"
zpty -w inner "autoload -Uz compinit; compinit -u -D; source ${(q)FOLDER}/script.zsh"
zpty -w inner "function compadd {
  if [[ \${(j: :)@} != *-[OAD]\ * ]]; then
    local -a hits; builtin compadd -A hits \"\$@\"; print -rl -- \$hits >> ${(q)FOLDER}/hits
  fi
  builtin compadd \"\$@\"
}"
zpty -w inner "function ended { : > ${(q)FOLDER}/ended }; comppostfuncs=(ended)"
zpty -w inner "function cleared { BUFFER= ; comppostfuncs=(ended); : > ${(q)FOLDER}/ended }; zle -N cleared; bindkey '^T' cleared"
zpty -w inner "bindkey '^I' complete-word; : > ${(q)FOLDER}/ended"
function wait_for_end { while [[ ! -e $FOLDER/ended ]]; do zpty -rt inner ignored; done; rm $FOLDER/ended }
wait_for_end
for LINE in "${(@f)ASKED}"; do
  zpty -w -n inner "$LINE"$'\t'
  wait_for_end
  cat $FOLDER/hits 2>/dev/null
  rm -f $FOLDER/hits
  print $'\1'
  zpty -w -n inner $'\x14'
  wait_for_end
done
zpty -d inner
]==]

local FISH = [==[
printf '%s\n' $SCRIPT | source
for line in (string split \n -- $ASKED)
  complete -C "$line"
  printf '\1\n'
end
]==]

-- The candidates that stand in a shell's output, without descriptions (fish puts them behind a tab).
local function read(text)
  local found, seen = {}, {}
  for word in text:gmatch "[^\n]+" do
    word = word:match "^[^\t]+"
    if not seen[word] then
      found[#found + 1] = word
      seen[word] = true
    end
  end
  table.sort(found)
  return found
end

local function ask(command, place, lines, changes)
  local home <close> = cli.place {}
  command.env = { ASKED = table.concat(lines, "\n"), PATH = cli.binary:match "^(.*)/[^/]*$" .. ":" .. os.getenv "PATH",
    HOME = home.folder, XDG_CONFIG_HOME = false, XDG_DATA_HOME = false, XDG_CACHE_HOME = false }
  for name, value in pairs(changes) do command.env[name] = value end
  command.cwd, command.stdin = place.folder, ""
  local result = process.run(command)
  assert(result.status == 0, result.err)
  local answers = {}
  for text in result.out:gmatch("(.-)" .. SEPARATOR .. "\n") do answers[#answers + 1] = read(text) end
  assert(#answers == #lines, result.out .. result.err)
  return answers
end

local function script(shell)
  local result = process.run { cli.binary, "completion", shell }
  assert(result.status == 0, result.err)
  return result.out
end

function shells.bash(place, lines)
  return ask({ "bash", "--norc", "-c", BASH }, place, lines, { SCRIPT = script "bash" })
end

function shells.fish(place, lines)
  return ask({ "fish", "--no-config", "-c", FISH }, place, lines, { SCRIPT = script "fish" })
end

function shells.zsh(place, lines)
  local scratch <close> = cli.place { ["script.zsh"] = script "zsh" }
  return ask({ "zsh", "-f", "-c", ZSH }, place, lines, { FOLDER = scratch.folder })
end

return shells
