-- The script that completes the command line in zsh: as a file `_smartmigration-lua` of the fpath, or sourced. Users: completion.
local SCRIPT = [==[
#compdef smartmigration-lua
# Completion of smartmigration-lua for zsh: smartmigration-lua completion zsh
_smartmigration_lua_steps() {
  local -a ids
  ids=("${(@f)$(_call_program steps "${(q)_smartmigration_lua_words[@]}" completion steps 2>/dev/null)}")
  compadd -a "$@" ids
}
_smartmigration_lua() {
  local context state state_descr line command i word
  local -a options commands arguments _smartmigration_lua_words
  typeset -A opt_args
  _smartmigration_lua_words=("${(Q)words[1]}")
  for ((i = 2; i < CURRENT; i++)); do
    word=$words[i]
    case $command:$word in
      @VALUED@)
        ((i++))
        case $word in
          -c | --config | -d | --dir) _smartmigration_lua_words+=($word "${(Q)words[i]}") ;;
        esac
        ;;
      *:-*) ;;
      :*) command=$word ;;
    esac
  done
  options=(
@GENERAL@
  )
  case $command in
@OWN@
  esac
  commands=(
@COMMANDS@
  )
  _arguments -s -S $options '1:command:->command' $arguments
  [[ $state != command ]] || _describe command commands
}
if [[ $funcstack[1] == _smartmigration-lua ]]; then
  _smartmigration_lua "$@"
else
  compdef _smartmigration_lua smartmigration-lua
fi]==]

local ACTIONS = { file = "_files", folder = "_files -/", step = "_smartmigration_lua_steps", text = "" }

local function quote(value)
  return "'" .. value:gsub("'", "'\\''") .. "'"
end

local function escape(value, characters)
  return (value:gsub("[\\" .. characters .. "]", "\\%0"))
end

local function action(value)
  if type(value) ~= "table" then
    return ACTIONS[value]
  end
  local list = {}
  for i, word in ipairs(value) do
    list[i] = escape(word, ":")
  end
  return "(" .. table.concat(list, " ") .. ")"
end

-- One or two specs of _arguments; both spellings exclude each other.
local function specs(words, option)
  local list = {}
  local spellings = words.spellings(option)
  local others = #spellings > 1 and "(" .. table.concat(spellings, " ") .. ")" or ""
  for i, spelling in ipairs(spellings) do
    local value = option.value and (":%s:%s"):format(escape(option.shown, ":"), action(option.value)) or ""
    local joins = option.value and (spelling:sub(1, 2) == "--" and "=" or "+") or ""
    list[i] = quote(("%s%s%s[%s]%s"):format(others, spelling, joins, escape(option.help, "%[%]"), value))
  end
  return list
end

return function(words)
  local general, own, commands = {}, {}, {}
  for _, option in ipairs(words.options_of(nil)) do
    for _, spec in ipairs(specs(words, option)) do
      general[#general + 1] = "    " .. spec
    end
  end
  for i, command in ipairs(words.commands) do
    commands[i] = "    " .. quote(command.name .. ":" .. command.summary)
    local list, arguments = {}, {}
    for _, option in ipairs(words.options_of(command.name)) do
      table.move(specs(words, option), 1, 2, #list + 1, list)
    end
    for place, value in ipairs(command.arguments) do
      arguments[place] = quote(("%d:argument:%s"):format(place + 1, action(value)))
    end
    local lines = {}
    if #list > 0 then
      lines[#lines + 1] = ("options+=(\n        %s\n      )"):format(table.concat(list, "\n        "))
    end
    if #arguments > 0 then
      lines[#lines + 1] = ("arguments=(%s)"):format(table.concat(arguments, " "))
    end
    if #lines > 0 then
      own[#own + 1] = ("    %s)\n      %s\n      ;;"):format(command.name, table.concat(lines, "\n      "))
    end
  end
  local parts = {
    VALUED = words.valued(), GENERAL = table.concat(general, "\n"), OWN = table.concat(own, "\n"),
    COMMANDS = table.concat(commands, "\n"),
  }
  return (SCRIPT:gsub("@(%u+)@", parts))
end
