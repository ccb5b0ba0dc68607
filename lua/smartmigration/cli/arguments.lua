-- The words of the command line: which command, with which options. Options may stand before or after the command.
--
-- argparse does the parsing, and is loaded only when there is an option: `run` with everything in the environment or
-- the config file starts without it. Errors: INVALID_OPTIONS with details.help, the command that explains.
local commands = require "smartmigration.cli.commands"
local core = require "smartmigration.core"
local settings = require "smartmigration.settings"
local text = require "smartmigration.text"

local arguments = {}

local PROGRAM = "smartmigration-lua"

local function refuse(command, format, ...)
  local known = commands.by_name[command]
  core.raise("INVALID_OPTIONS", format:format(...), { help = PROGRAM .. " help" .. (known and " " .. command or "") })
end

local function command_like(word)
  local names = {}
  for i, command in ipairs(commands) do
    names[i] = command.name
  end
  return text.did_you_mean(core.suggest(word, names))
end

-- Words that are not plain names are not repeated: a URI with a password may have slipped to the wrong place.
local function shown(word)
  return word:find "^[%w._-]+$" and (" '%s'"):format(word) or ""
end

local function belongs(setting, command)
  for _, name in ipairs(setting.commands) do
    if name == command then
      return true
    end
  end
  return false
end

-- What each flag means for a command: two commands may have one flag for settings of their own.
local function by_flag(command)
  local found = {}
  for _, setting in ipairs(settings) do
    local flag = setting.flag
    if flag and (not found[flag] or setting.commands and belongs(setting, command)) then
      found[flag] = setting
    end
  end
  return found
end

-- The option names that may occur among the words: whole long ones, and each letter of short ones.
local function mentioned(words)
  local names = {}
  for _, word in ipairs(words) do
    if word:sub(1, 2) == "--" then
      names[word:match "^[^=]*"] = true
    elseif word:sub(1, 1) == "-" then
      for letter in word:gmatch "%a" do
        names["-" .. letter] = true
      end
    end
  end
  return names
end

-- Argument and options by name. Every option is accepted here; whose it is is checked afterwards, for a better message.
-- argparse is told of the mentioned options only (and of --help, so that it knows what an option looks like): declaring all
-- of them took longer than a no-op run may.
local function parse(words, command)
  local parser = require "argparse"():add_help(false)
  parser:argument("words"):args "*"
  local flags, given, meant = {}, mentioned(words), by_flag(command)
  for _, setting in ipairs(settings) do
    flags[#flags + 1] = setting.flag
    local is_given = given[setting.flag] or given[setting.short] or setting.name == "help"
    if setting.flag and meant[setting.flag] == setting and is_given then
      local names = (setting.short and setting.short .. " " or "") .. setting.flag
      local is_switch = setting.kind == "switch" or setting.kind == "flag"
      local option = is_switch and parser:flag(names) or parser:option(names)
      option:target(setting.name)
    end
  end
  local ok, result = parser:pparse(words)
  if ok then
    return result
  end
  local unknown = result:match "^unknown option '(.-)'"
  if unknown then
    return nil, ("unknown option '%s'%s"):format(text.escape(unknown), text.did_you_mean(core.suggest(unknown, flags)))
  end
  return nil, text.escape((result:gsub("\nUsage:.*", "")))
end

-- The first word that is a command, to name the right help when parsing fails.
local function guess(words)
  for _, word in ipairs(words) do
    if commands.by_name[word] then
      return word
    end
  end
end

local function check_ownership(command, options)
  for _, setting in ipairs(settings) do
    local given = setting.commands and options[setting.name] ~= nil
    if given and not belongs(setting, command) then
      refuse(command, "option '%s' does not belong to '%s' but to '%s'", setting.flag, command,
        table.concat(setting.commands, "', '"))
    end
  end
end

-- Finds the command in the plain words; `topic` is what help is asked about.
local function settle(plain, options)
  local command = plain[1]
  if not command then
    if options.help then
      return { command = "help", options = options }
    end
    refuse(nil, "no command is given")
  elseif not commands.by_name[command] then
    refuse(nil, "unknown command%s%s", shown(command), command_like(command))
  end
  local known = commands.by_name[command]
  local most = known.argument and 1 + (known.most or 1) or 1
  if #plain > most then
    refuse(command, "'%s' does not take the argument%s", command, shown(plain[most + 1]))
  end
  check_ownership(command, options)
  if command == "help" or options.help then
    local topic = command == "help" and plain[2] or command
    if not commands.by_name[topic] then
      refuse(nil, "there is no command%s to explain%s", shown(topic), command_like(topic))
    end
    return { command = "help", topic = (plain[2] or options.help) and topic or nil, options = options }
  end
  if known.required and not plain[2] then
    refuse(command, "'%s' needs an argument: %s", command, known.argument)
  end
  return { command = command, arguments = table.move(plain, 2, #plain, 1, {}), options = options }
end

-- { command, arguments (plain words), topic (of help), options = { setting name = text, or true for a switch } }
function arguments.parse(words)
  if #words == 1 and (words[1] == "--version" or words[1] == "-v") then
    return settle({ "version" }, {}) -- what every program answers
  end
  local has_options = false
  for _, word in ipairs(words) do
    has_options = has_options or word:sub(1, 1) == "-"
  end
  if not has_options then
    return settle(words, {})
  end
  local command = guess(words)
  local options, problem = parse(words, command)
  if not options then
    refuse(command, "%s", problem)
  end
  local plain = options.words
  options.words = nil
  return settle(plain, options)
end

-- Whether JSON is asked for, also when the words cannot be parsed.
function arguments.wants_json(words)
  for _, word in ipairs(words) do
    if word == "--json" then
      return true
    end
  end
  return false
end

-- Calls hide(index, from) for each --mongo-uri: the argument and the byte where the URI begins in it. It is to leave
-- the process list at once, before anything can fail.
function arguments.hide_uris(words, hide)
  local joined = "--mongo-uri="
  for i, word in ipairs(words) do
    if word == "--mongo-uri" and words[i + 1] then
      hide(i + 1, 1)
    elseif word:sub(1, #joined) == joined then
      hide(i, #joined + 1)
    end
  end
end

return arguments
