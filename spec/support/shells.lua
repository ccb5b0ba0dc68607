-- Asks real shells what they would complete: shells.<name>(place, line) returns the candidates for the end of the line, sorted.
-- `place` is of spec.support.cli; the script is the one the binary prints, and the binary is found on the PATH.
local cli = require "spec.support.cli"
local process = require "spec.support.process"

local shells = {}

local BASH = [==[
source /dev/stdin <<<"$SCRIPT"
compopt() { :; } # there is no completion under way
read -ra COMP_WORDS <<<"${LINE//=/ = }"
[[ $LINE != *[[:space:]=] ]] || COMP_WORDS+=("")
[[ $LINE != *= ]] || COMP_WORDS[-1]="="
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_smartmigration_lua
printf '%s\n' "${COMPREPLY[@]}"
]==]

-- An interactive zsh in a pseudo terminal gets the line and a tab; what reaches compadd is written to a file.
local ZSH = [==[
zmodload zsh/zpty
zpty inner 'zsh -f -i'
zpty -w inner "PROMPT= RPROMPT=; unsetopt zle_bracketed_paste 2>/dev/null; cd ${(q)PWD}"
zpty -w inner "autoload -Uz compinit; compinit -u -D; source ${(q)FOLDER}/script.zsh"
zpty -w inner "function compadd { if [[ \${(j: :)@} == *-[OAD]\ * ]]; then builtin compadd \"\$@\"; return; fi; local -a hits; builtin compadd -A hits \"\$@\"; print -rl -- \$hits >> ${(q)FOLDER}/hits; builtin compadd \"\$@\" }"
zpty -w inner "function ended { : > ${(q)FOLDER}/ended }; comppostfuncs=(ended)"
zpty -w inner "bindkey '^I' complete-word; : > ${(q)FOLDER}/ready"
while [[ ! -e $FOLDER/ready ]]; do zpty -rt inner ignored; done
zpty -w -n inner "$LINE"$'\t'
while [[ ! -e $FOLDER/ended ]]; do zpty -rt inner ignored; done
zpty -d inner
cat $FOLDER/hits 2>/dev/null
true
]==]

local FISH = [==[
printf '%s\n' $SCRIPT | source
complete -C "$LINE"
]==]

local function ask(command, place, line, changes)
  local env = { LINE = line, PATH = cli.binary:match "^(.*)/[^/]*$" .. ":" .. os.getenv "PATH", HOME = place.folder }
  for name, value in pairs(changes) do env[name] = value end
  command.env, command.cwd, command.stdin = env, place.folder, ""
  local result = process.run(command)
  assert(result.status == 0, result.err)
  local found, seen = {}, {}
  for word in result.out:gmatch "[^\n]+" do
    word = word:match "^[^\t]+" -- fish puts the description behind a tab
    if not seen[word] then
      found[#found + 1] = word
      seen[word] = true
    end
  end
  table.sort(found)
  return found, result
end

local function script(shell)
  local result = process.run { cli.binary, "completion", shell }
  assert(result.status == 0, result.err)
  return result.out
end

function shells.bash(place, line)
  return ask({ "bash", "--norc", "-c", BASH }, place, line, { SCRIPT = script "bash" })
end

function shells.fish(place, line)
  return ask({ "fish", "--no-config", "-c", FISH }, place, line, { SCRIPT = script "fish" })
end

function shells.zsh(place, line)
  local scratch <close> = cli.place { ["script.zsh"] = script "zsh" }
  return ask({ "zsh", "-f", "-c", ZSH }, place, line, { FOLDER = scratch.folder })
end

return shells
