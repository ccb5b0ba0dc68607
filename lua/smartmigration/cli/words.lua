-- What stands on a command line, for the scripts that complete it: out of the tables of commands and settings that help is
-- made of. Users: completion and its shells.
--
--   words.options     list of { flag, short, help, value, values, commands }
--   words.commands    list of { name, summary, arguments = list of values }
-- A value is "file", "folder", "step" (a step's id), "text" (anything), or a list of words; an option without one is a switch.
local commands = require "smartmigration.cli.commands"
local settings = require "smartmigration.settings"

local words = { options = {}, commands = {} }

local NAMED = { FILE = "file", FOLDER = "folder", STEP = "step" }

local function value_of(shown)
  if not shown:find("|", 1, true) then
    return NAMED[shown] or "text"
  end
  local list = {}
  for word in shown:gmatch "[^|]+" do
    list[#list + 1] = word
  end
  return list
end

for _, setting in ipairs(settings) do
  if setting.flag then
    local is_step = setting.value == "ID" and not setting.path -- a ledger has an id, too
    words.options[#words.options + 1] = {
      flag = setting.flag, short = setting.short, help = setting.help, commands = setting.commands,
      shown = setting.value, value = is_step and "step" or setting.value and value_of(setting.value),
    }
  end
end

local names = {}
for i, command in ipairs(commands) do
  names[i] = command.name
end

for i, command in ipairs(commands) do
  local arguments = {}
  for shown in (command.argument or ""):gmatch "[^%s%[%]]+" do
    arguments[#arguments + 1] = shown == "COMMAND" and names or value_of(shown)
  end
  words.commands[i] = { name = command.name, summary = command.summary, arguments = arguments }
end

-- The options of one command, or those of all commands.
function words.options_of(command)
  local list = {}
  for _, option in ipairs(words.options) do
    local here = not option.commands and not command
    for _, owner in ipairs(option.commands or {}) do
      here = here or owner == command
    end
    if here then
      list[#list + 1] = option
    end
  end
  return list
end

-- Every way in which an option is written: "-c", "--config".
function words.spellings(option)
  return option.short and { option.short, option.flag } or { option.flag }
end

-- Calls `each(pattern, option)` for every option that takes a value; the pattern of a shell's case, of "command:option": a flag
-- that takes a value after some commands only names them.
function words.each_valued(each)
  local switches = {}
  for _, option in ipairs(words.options) do
    if not option.value then
      switches[option.flag] = true
    end
  end
  for _, option in ipairs(words.options) do
    if option.value then
      local patterns = {}
      for _, spelling in ipairs(words.spellings(option)) do
        for _, owner in ipairs(switches[option.flag] and option.commands or { "*" }) do
          patterns[#patterns + 1] = owner .. ":" .. spelling
        end
      end
      each(table.concat(patterns, "|"), option)
    end
  end
end

-- All those patterns as one.
function words.valued()
  local patterns = {}
  words.each_valued(function(pattern)
    patterns[#patterns + 1] = pattern
  end)
  return table.concat(patterns, "|")
end

return words
