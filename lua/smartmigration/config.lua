-- Settings from flags, environment, config file and defaults, in this order, as the options of `smartmigration.new`.
--
-- The config file is data: text only, `env(name, default)` and nothing else to call. Users: the command line.
-- Errors: INVALID_OPTIONS, naming where the bad value stands. Values are never quoted from a URI.
local core = require "smartmigration.core"
local durations = require "smartmigration.durations"
local settings = require "smartmigration.settings"
local text = require "smartmigration.text"

local config = {}

config.DEFAULT_FILE = "smartmigration.config.lua"
local ENOENT = 2

local function refuse(format, ...)
  core.raise("INVALID_OPTIONS", format:format(...))
end

-- ------------------------------------------------------------ the config file

-- Paths that a config file may have: { path = setting }, and the tables on the way to them: { mongo = true }.
local function known_paths()
  local paths, tables, names = {}, {}, {}
  for _, setting in ipairs(settings) do
    if setting.path then
      paths[setting.path] = setting
      names[#names + 1] = setting.path
      local parent = setting.path:match "^(.*)%."
      if parent then
        tables[parent] = true
      end
    end
  end
  return paths, tables, names
end

local TYPES = { text = "string", list = "table", duration = "number", wait = "number" }

local function check_value(setting, value, where)
  local wanted = setting.kind == "flag" and type(setting.given) or TYPES[setting.kind]
  if setting.kind == "wait" and value == "forever" then
    return durations.FOREVER
  end
  if type(value) ~= wanted then
    local unit = wanted == "number" and " of milliseconds" or wanted == "table" and " of strings" or ""
    refuse("%s: '%s' must be a %s%s, not a %s", where, setting.path, wanted, unit, type(value))
  end
  if wanted == "number" then
    local whole = math.tointeger(value)
    if not whole or whole < 0 then
      refuse("%s: '%s' must be a whole number of milliseconds, not below 0", where, setting.path)
    end
    return whole
  end
  if wanted == "table" then
    for key, name in pairs(value) do
      if math.type(key) ~= "integer" or key < 1 or key > #value or type(name) ~= "string" then
        refuse("%s: '%s' must be a list of strings", where, setting.path)
      end
    end
  end
  return value
end

-- Flattens the file's table to { setting name = value }.
local function flatten(root, where)
  local paths, tables, names = known_paths()
  local values = {}
  local function walk(node, prefix)
    for key, value in pairs(node) do
      local path = prefix .. text.escape(key)
      local setting = paths[path]
      if setting then
        values[setting.name] = check_value(setting, value, where)
      elseif tables[path] then
        if type(value) ~= "table" then
          refuse("%s: '%s' must be a table, not a %s", where, path, type(value))
        end
        walk(value, path .. ".")
      else
        refuse("%s: unknown key '%s'%s", where, path, text.did_you_mean(core.suggest(path, names)))
      end
    end
  end
  walk(root, "")
  return values
end

-- Lua quotes the text near a mistake, which may be a URI with its password.
local function without_uri(problem)
  return (text.escape(problem):gsub("://.*", "://..."))
end

local function read_config(path, named)
  local file, problem, number = io.open(path, "rb")
  if not file then
    if not named and number == ENOENT then
      return nil
    end
    refuse("the config file cannot be read: %s", text.escape(problem))
  end
  local source, unreadable = file:read "a"
  file:close()
  if not source then
    refuse("the config file '%s' cannot be read: %s", text.escape(path), text.escape(unreadable))
  end
  return (source:gsub("^\xef\xbb\xbf", ""))
end

-- The config file's settings by name; nothing when it is the default one and not there.
function config.load(path)
  local named = path ~= nil
  path = path or config.DEFAULT_FILE
  local where = text.escape(path)
  local source = read_config(path, named)
  if not source then
    return {}
  end
  local function env(name, default)
    if type(name) ~= "string" then
      error("env takes the name of a variable", 2)
    end
    local value = os.getenv(name)
    if value == nil or value == "" then
      return default
    end
    return value
  end
  local environment = setmetatable({ env = env }, {
    __index = function(_, name)
      error(("'%s' is not there: a config file is data and has only env(name, default)"):format(name), 2)
    end,
    __newindex = function(_, name)
      error(("a config file sets no variables: write `%s = …` inside the returned table"):format(name), 2)
    end,
  })
  local chunk, syntax = load(source, "@" .. path, "t", environment)
  if not chunk then
    refuse("the config file does not load: %s", without_uri(syntax))
  end
  local ok, root = pcall(chunk)
  if not ok then
    refuse("the config file failed: %s", without_uri(root))
  end
  if type(root) ~= "table" then
    refuse("%s: must return a table, not a %s", where, type(root))
  end
  return flatten(root, where)
end

-- ---------------------------------------------- text from flags and environment

-- What a setting's text means; `source` is the flag or variable it came from.
local function convert(setting, value, source)
  if setting.kind == "duration" or setting.kind == "wait" then
    local ms, problem = durations.parse(value, setting.kind == "wait")
    if not ms then
      refuse("%s: %s", source, text.escape(problem))
    end
    return ms
  elseif setting.kind == "flag" and setting.given == true then
    if value ~= "true" and value ~= "false" then
      refuse("%s must be true or false, not '%s'", source, text.escape(value))
    end
    return value == "true"
  elseif setting.kind == "list" then
    local list = {}
    for item in value:gmatch "[^,]+" do
      list[#list + 1] = item:match "^%s*(.-)%s*$"
    end
    return list
  elseif setting.kind == "choice" then
    for _, choice in ipairs(setting.choices) do
      if choice == value then
        return value
      end
    end
    refuse("%s must be one of %s, not '%s'", source, table.concat(setting.choices, ", "), text.escape(value))
  end
  return value
end

local function from_flags(flags)
  local values = {}
  for _, setting in ipairs(settings) do
    local value = setting.name and flags[setting.name]
    if value ~= nil then
      if setting.kind == "switch" or setting.kind == "flag" then
        values[setting.name] = setting.given or true
      else
        values[setting.name] = convert(setting, value, setting.flag)
      end
    end
  end
  return values
end

-- An empty variable counts as not set: that is how compose files and unit files spell "no value".
local function from_environment()
  local values = {}
  for _, setting in ipairs(settings) do
    local value = setting.env and os.getenv(setting.env)
    if value and value ~= "" then
      values[setting.name] = convert(setting, value, setting.env)
    end
  end
  return values
end

-- ------------------------------------------------------------------------ URI

local function read_uri_file(path)
  local shown = path == "-" and "stdin" or ("'%s'"):format(text.escape(path))
  local content, problem
  if path == "-" then
    content = io.read "a"
  else
    local file
    file, problem = io.open(path, "rb")
    if file then
      content, problem = file:read "a"
      file:close()
    end
  end
  if not content then
    refuse("the MongoDB URI cannot be read from %s: %s", shown, text.escape(problem))
  end
  local uri = content:match "^%s*(.-)%s*$"
  if uri == "" then
    refuse("there is no MongoDB URI in %s: it is empty", shown)
  elseif uri:find "[\r\n]" then
    refuse("%s must hold one line, the MongoDB URI", shown)
  end
  return uri
end

-- A URI and a file with one are two ways to say the same: the stronger source wins, in one source both are a mistake.
local function settle_uri(levels)
  for _, level in ipairs(levels) do
    local uri, file = level.values.mongo_uri, level.values.mongo_uri_file
    if uri and file then
      refuse("%s and %s are both given: keep one", level.uri, level.file)
    end
    if file then
      return read_uri_file(file)
    elseif uri then
      return uri
    end
  end
end

-- ----------------------------------------------------------------------- result

-- All settings by name, from `flags` (texts by name; true for switches).
function config.resolve(flags)
  local given, environment = from_flags(flags), from_environment()
  local file = config.load(given.config or environment.config)
  local values = {}
  for _, setting in ipairs(settings) do
    local name = setting.name
    if name then
      for _, level in ipairs { given, environment, file } do
        if level[name] ~= nil then
          values[name] = level[name]
          break
        end
      end
      if values[name] == nil then
        values[name] = setting.fallback
      end
    end
  end
  values.mongo_uri = settle_uri {
    { values = given, uri = "--mongo-uri", file = "--mongo-uri-file" },
    { values = environment, uri = "SMARTMIGRATION_MONGO_URI", file = "SMARTMIGRATION_MONGO_URI_FILE" },
    { values = file },
  }
  return values
end

-- The output settings alone, which decide how even a failure to resolve the rest is shown. Never raises: a bad value
-- is reported by `resolve` and counts as the default here.
function config.output(flags)
  local values = {}
  for _, setting in ipairs(settings) do
    if setting.kind == "choice" or setting.kind == "switch" then
      local value = flags[setting.name]
      if value == nil and setting.env then
        value = os.getenv(setting.env)
      end
      if setting.kind == "choice" and not (value and pcall(convert, setting, value, "")) then
        value = setting.fallback
      end
      values[setting.name] = value
    end
  end
  return values
end

-- The table of S3 settings; nil when there are none.
local function s3_options(values)
  local s3 = {}
  for _, setting in ipairs(settings) do
    local key = setting.path and setting.path:match "^s3%.(.+)"
    if key then
      s3[key] = values[setting.name]
    end
  end
  return next(s3) ~= nil and s3 or nil
end

-- The options of `smartmigration.new`.
function config.engine_options(values, log)
  return {
    target_version = values.target_version,
    target_from_chain = values.target_version == nil or nil,
    mongo = values.mongo_uri and { uri = values.mongo_uri, database = values.mongo_database } or nil,
    s3 = s3_options(values),
    s3_lock = values.s3_lock,
    ledger = { backend = values.ledger_backend, name = values.ledger_name, id = values.ledger_id },
    lock = { ttl_ms = values.lock_ttl_ms, wait_ms = values.lock_wait_ms },
    fresh_install_version = values.fresh_install_version,
    fresh_scope = values.fresh_scope,
    unversioned_data = values.unversioned_data,
    target_version_strategy = values.target_version_strategy,
    newer_ledger = values.newer_ledger,
    stop_timeout_ms = values.stop_timeout_ms,
    log = log,
  }
end

return config
