-- The script that completes the command line in bash 4 and later. It needs no other package. Users: completion.
local SCRIPT = [==[
# Completion of smartmigration-lua for bash: smartmigration-lua completion bash
_smartmigration_lua() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command= count=0 i word list
  local -a where=()
  # bash takes `--color=auto` for three words.
  if [[ $current == "=" ]]; then
    current=
  elif [[ $previous == "=" ]]; then
    previous=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    case $command:$word in
      @VALUED@)
        [[ ${COMP_WORDS[i + 1]} != "=" ]] || ((i++))
        ((i++))
        case $word in
          -c | --config | -d | --dir) where+=("$word" "${COMP_WORDS[i]}") ;;
        esac
        ;;
      *:-* | *:=) ;;
      :*) command=$word ;;
      *) ((count++)) ;;
    esac
  done
  COMPREPLY=()
  case $command:$previous in
@VALUES@
    *)
      case $command:$current in
@OPTIONS@
        *)
          case $command:$count in
            :0) list="@COMMANDS@" ;;
@ARGUMENTS@
            *) return ;;
          esac
          ;;
      esac
      ;;
  esac
  case $list in
    @steps)
      while IFS= read -r word; do
        [[ $word != "$current"* ]] || COMPREPLY+=("$(printf %q "$word")")
      done < <("${COMP_WORDS[0]/#\~/$HOME}" "${where[@]}" completion steps 2>/dev/null)
      ;;
    @files)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      ;;
    @folders)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -d -- "$current")
      ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$list" -- "$current") ;;
  esac
}
complete -F _smartmigration_lua smartmigration-lua]==]

local SOURCES = { file = "@files", folder = "@folders", step = "@steps" }

local function list_of(value)
  return type(value) == "table" and table.concat(value, " ") or SOURCES[value]
end

local function spellings_of(words, options)
  local list = {}
  for _, option in ipairs(options) do
    list[#list + 1] = table.concat(words.spellings(option), " ")
  end
  return table.concat(list, " ")
end

return function(words)
  local names, values, options, arguments = {}, {}, {}, {}
  words.each_valued(function(pattern, option)
    local list = list_of(option.value)
    values[#values + 1] = ("    %s) %s ;;"):format(pattern, list and ('list="%s"'):format(list) or "return")
  end)
  local general = spellings_of(words, words.options_of(nil))
  for i, command in ipairs(words.commands) do
    names[i] = command.name
    local own = spellings_of(words, words.options_of(command.name))
    options[i] = ('        %s:-*) list="%s" ;;'):format(command.name, own == "" and general or own .. " " .. general)
    for place, value in ipairs(command.arguments) do
      local list = list_of(value)
      if list then
        arguments[#arguments + 1] = ('            %s:%d) list="%s" ;;'):format(command.name, place - 1, list)
      end
    end
  end
  options[#options + 1] = ('        *:-*) list="%s" ;;'):format(general)
  local parts = {
    VALUED = words.valued(), VALUES = table.concat(values, "\n"), OPTIONS = table.concat(options, "\n"),
    ARGUMENTS = table.concat(arguments, "\n"), COMMANDS = table.concat(names, " "),
  }
  return (SCRIPT:gsub("@(%u+)@", parts))
end
