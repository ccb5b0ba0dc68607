-- The texts of `help`, made of the tables of commands and settings. Returns text; nothing is raised. The man page takes the
-- parts that stand in no table: SUMMARY, EXAMPLES, FOOT, about(setting), belongs(setting, command).
local commands = require "smartmigration.cli.commands"
local settings = require "smartmigration.settings"

local help = {}

local WIDTH = 112 -- at most, also where there is no terminal
local NARROW = 80 -- below, explanations stand under what they explain

-- Breaks `words` into lines that fit beside an indent.
local function wrap(words, indent, width)
  local lines, line = {}, ""
  for word in words:gmatch "%S+" do
    if #line > 0 and indent + #line + 1 + #word > width then
      lines[#lines + 1] = line
      line = word
    else
      line = #line > 0 and line .. " " .. word or word
    end
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n" .. (" "):rep(indent))
end

local function option_names(setting)
  local names = (setting.short and setting.short .. ", " or "    ") .. setting.flag
  return "  " .. names .. (setting.value and " " .. setting.value or "")
end

local INDENT, NARROW_INDENT = 31, 6

-- What a setting is, with its default.
function help.about(setting)
  local unset = setting.default == "off" or setting.default == "none"
  return unset and setting.help or setting.help .. " (default: " .. setting.default .. ")"
end

local function option_line(setting, width)
  local names = option_names(setting)
  local indent = width < NARROW and NARROW_INDENT or INDENT
  local gap = #names < indent - 1 and (" "):rep(indent - #names) or "\n" .. (" "):rep(indent)
  return names .. gap .. wrap(help.about(setting), indent, width)
end

-- Whether a setting is the command's own.
function help.belongs(setting, name)
  for _, owner in ipairs(setting.commands or {}) do
    if owner == name then
      return true
    end
  end
  return false
end

-- Lines of the options that every command has, below their groups.
local function general_options(lines, width)
  local group = "Options"
  for _, setting in ipairs(settings) do
    if setting.group then
      group = setting.group
    elseif setting.flag and not setting.commands then
      if group then
        lines[#lines + 1] = ""
        lines[#lines + 1] = group .. ":"
        group = nil
      end
      lines[#lines + 1] = option_line(setting, width)
    end
  end
end

help.SUMMARY = "moves data in MongoDB and S3 from one version to the next, by steps written in Lua"

help.EXAMPLES = {
  "smartmigration-lua --mongo-uri 'mongodb://localhost:27017/app?replicaSet=rs0' plan",
  "SMARTMIGRATION_MONGO_URI_FILE=/run/secrets/mongo smartmigration-lua run",
  "smartmigration-lua help run",
}

help.FOOT = [[
Durations are 500ms, 90s, 2m, 1h; a bare number is milliseconds. Settings are taken from flags, then from the
environment (SMARTMIGRATION_MONGO_URI, …), then from the config file, then from the defaults.]]

local function usable(width)
  return math.min(width or WIDTH, WIDTH)
end

-- The help of the program; `width` is the terminal's, nil where there is none.
function help.general(width)
  width = usable(width)
  local lines = {
    wrap("smartmigration-lua - " .. help.SUMMARY, 0, width), "", "Usage: smartmigration-lua [options] COMMAND", "", "Commands:",
  }
  for _, command in ipairs(commands) do
    lines[#lines + 1] = ("  %-15s%s"):format(command.name, wrap(command.summary, 17, width))
  end
  lines[#lines + 1] = ""
  lines[#lines + 1] = "Examples:"
  for _, example in ipairs(help.EXAMPLES) do
    lines[#lines + 1] = "  " .. example
  end
  general_options(lines, width)
  return table.concat(lines, "\n") .. "\n\n" .. wrap(help.FOOT, 0, width)
end

-- The help of one command.
function help.command(name, width)
  width = usable(width)
  local command = commands.by_name[name]
  local argument = command.argument and (command.required and " %s" or " [%s]"):format(command.argument) or ""
  local lines = {
    ("smartmigration-lua %s - %s"):format(name, command.summary), "",
    ("Usage: smartmigration-lua %s%s [options]"):format(name, argument),
    "", wrap(command.text, 0, width), "", "Examples:",
  }
  for _, example in ipairs(command.examples) do
    lines[#lines + 1] = "  " .. example
  end
  local own = {}
  for _, setting in ipairs(settings) do
    if help.belongs(setting, name) then
      own[#own + 1] = option_line(setting, width)
    end
  end
  if #own > 0 then
    lines[#lines + 1] = "\nOptions of " .. name .. ":"
    table.move(own, 1, #own, #lines + 1, lines)
  end
  if command.alone then
    return table.concat(lines, "\n")
  end
  general_options(lines, width)
  return table.concat(lines, "\n") .. "\n\n" .. wrap(help.FOOT, 0, width)
end

return help
