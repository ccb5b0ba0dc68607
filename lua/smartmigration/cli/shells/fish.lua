-- The script that completes the command line in fish. Users: completion.
local SCRIPT = [==[
# Completion of smartmigration-lua for fish: smartmigration-lua completion fish
# Prints the command that stands on the line, and a line for each argument behind it.
function __smartmigration_lua_plain
    set -l command
    set -l skip
    for word in (commandline -opc)[2..-1]
        if test -n "$skip"
            set skip
            continue
        end
        switch "$command:$word"
            case @VALUED@
                set skip yes
            case '*:-*'
            case '*'
                set command (string match -r '^[^:]+' -- "$command:$word")
                echo -- $word
        end
    end
end
# __smartmigration_lua_at COMMAND [COUNT]: whether that command stands on the line, with so many arguments behind it; '' is none.
function __smartmigration_lua_at
    set -l plain (__smartmigration_lua_plain)
    test "$plain[1]" = "$argv[1]"; or return 1
    test (count $argv) -lt 2; or test (count $plain) -eq (math $argv[2] + 1)
end
function __smartmigration_lua_steps
    set -l words (commandline -opc)
    set -l where
    for i in (seq 2 (count $words))
        if contains -- $words[$i] -c --config -d --dir; and test $i -lt (count $words)
            set where $where $words[$i..(math $i + 1)]
        end
    end
    command $words[1] $where completion steps 2>/dev/null
end
complete -c smartmigration-lua -f
@LINES@]==]

local SOURCES = { file = "-r -F", folder = "-x -a '(__fish_complete_directories)'", step = "-x -a '(__smartmigration_lua_steps)'",
  text = "-x" }

local function quote(value)
  return "'" .. value:gsub("[\\']", "\\%0") .. "'"
end

local function takes(value)
  if not value then
    return ""
  end
  return " " .. (type(value) == "table" and "-x -a " .. quote(table.concat(value, " ")) or SOURCES[value])
end

local function option_line(option, condition)
  local short = option.short and " -s " .. option.short:sub(2) or ""
  return ("complete -c smartmigration-lua%s%s -l %s%s -d %s"):format(condition, short, option.flag:sub(3), takes(option.value),
    quote(option.help))
end

return function(words)
  local lines, valued = {}, {}
  for _, command in ipairs(words.commands) do
    lines[#lines + 1] = ("complete -c smartmigration-lua -n \"__smartmigration_lua_at ''\" -a %s -d %s"):format(command.name,
      quote(command.summary))
  end
  for _, option in ipairs(words.options_of(nil)) do
    lines[#lines + 1] = option_line(option, "")
  end
  for _, command in ipairs(words.commands) do
    local condition = (" -n '__smartmigration_lua_at %s'"):format(command.name)
    for _, option in ipairs(words.options_of(command.name)) do
      lines[#lines + 1] = option_line(option, condition)
    end
    for place, value in ipairs(command.arguments) do
      local source = type(value) == "table" and quote(table.concat(value, " "))
        or value == "step" and "'(__smartmigration_lua_steps)'"
      if source then
        lines[#lines + 1] = ("complete -c smartmigration-lua -n '__smartmigration_lua_at %s %d' -a %s"):format(command.name,
          place - 1, source)
      end
    end
  end
  words.each_valued(function(pattern)
    for part in pattern:gmatch "[^|]+" do
      valued[#valued + 1] = quote(part)
    end
  end)
  local parts = { VALUED = table.concat(valued, " "), LINES = table.concat(lines, "\n") }
  return (SCRIPT:gsub("@(%u+)@", parts))
end
