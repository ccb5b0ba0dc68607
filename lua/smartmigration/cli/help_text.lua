-- The texts of `help`, made of the tables of commands and settings. Returns text; nothing is raised.
local commands = require "smartmigration.cli.commands"
local settings = require "smartmigration.settings"

local help = {}

local WIDTH = 112

-- Breaks `words` into lines that fit beside an indent.
local function wrap(words, indent)
  local lines, line = {}, ""
  for word in words:gmatch "%S+" do
    if #line > 0 and indent + #line + 1 + #word > WIDTH then
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

local INDENT = 31

local function option_line(setting)
  local names = option_names(setting)
  local about = setting.help
  if setting.default ~= "off" and setting.default ~= "none" then
    about = about .. " (default: " .. setting.default .. ")"
  end
  local gap = #names < INDENT - 1 and (" "):rep(INDENT - #names) or "\n" .. (" "):rep(INDENT)
  return names .. gap .. wrap(about, INDENT)
end

local function belongs(setting, name)
  for _, owner in ipairs(setting.commands or {}) do
    if owner == name then
      return true
    end
  end
  return false
end

-- Lines of the options that every command has, below their groups.
local function general_options(lines)
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
      lines[#lines + 1] = option_line(setting)
    end
  end
end

local FOOT = [[

Durations are 500ms, 90s, 2m, 1h; a bare number is milliseconds. Settings are taken from flags, then from the
environment (SMARTMIGRATION_MONGO_URI, …), then from the config file, then from the defaults.]]

function help.general()
  local lines = {
    "smartmigration-lua - moves data in MongoDB and S3 from one version to the next, by steps written in Lua",
    "", "Usage: smartmigration-lua [options] COMMAND", "", "Commands:",
  }
  for _, command in ipairs(commands) do
    lines[#lines + 1] = ("  %-12s%s"):format(command.name, command.summary)
  end
  lines[#lines + 1] = ""
  lines[#lines + 1] = "Examples:"
  for _, example in ipairs {
    "smartmigration-lua --mongo-uri 'mongodb://localhost:27017/app?replicaSet=rs0' plan",
    "SMARTMIGRATION_MONGO_URI_FILE=/run/secrets/mongo smartmigration-lua run",
    "smartmigration-lua help run",
  } do
    lines[#lines + 1] = "  " .. example
  end
  general_options(lines)
  return table.concat(lines, "\n") .. "\n" .. FOOT
end

function help.command(name)
  local command = commands.by_name[name]
  local argument = command.argument and (command.required and " %s" or " [%s]"):format(command.argument) or ""
  local lines = {
    ("smartmigration-lua %s - %s"):format(name, command.summary), "",
    ("Usage: smartmigration-lua %s%s [options]"):format(name, argument),
    "", command.text, "", "Examples:",
  }
  for _, example in ipairs(command.examples) do
    lines[#lines + 1] = "  " .. example
  end
  local own = {}
  for _, setting in ipairs(settings) do
    if belongs(setting, name) then
      own[#own + 1] = option_line(setting)
    end
  end
  if #own > 0 then
    lines[#lines + 1] = "\nOptions of " .. name .. ":"
    table.move(own, 1, #own, #lines + 1, lines)
  end
  if name == "version" or name == "help" then
    return table.concat(lines, "\n")
  end
  general_options(lines)
  return table.concat(lines, "\n") .. "\n" .. FOOT
end

return help
