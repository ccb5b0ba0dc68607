-- Arguments and options of the S3 methods, checked: unknown names raise with a suggestion. Users: the methods.
-- Errors: INVALID_ARGUMENT at the caller's line.
local core = require "smartmigration.s3.core"
local engine = require "smartmigration.core"

local options = {}

local MAX_KEY = 1024

function options.refuse(format, ...)
  core.raise_argument(format:format(...))
end

local refuse = options.refuse

-- What stands in a header: one line.
local function is_text(value)
  return type(value) == "string" and not value:find "[%c]"
end

local function is_integer(value)
  return math.type(value) == "integer" or math.type(value) == "float" and math.tointeger(value) ~= nil
end

local KINDS = {
  text = { is_text, "a string without control characters" },
  string = { function(value) return type(value) == "string" end, "a string" },
  boolean = { function(value) return type(value) == "boolean" end, "a boolean" },
  integer = { is_integer, "an integer" },
  table = { function(value) return type(value) == "table" end, "a table" },
  ["function"] = { function(value) return type(value) == "function" end, "a function" },
}

local function unknown(operation, name, known, is_client)
  if type(name) ~= "string" then
    refuse("options of %s must have names as keys, not a %s", operation, type(name))
  end
  local names = { is_client and "bucket" or nil }
  for other in pairs(known) do
    names[#names + 1] = other
  end
  table.sort(names)
  local near = engine.suggest(name, names)
  refuse("unknown option '%s' for %s%s", name, operation, near and (" (did you mean '%s'?)"):format(near) or "")
end

local function check(operation, name, value, kind)
  local least, most
  if type(kind) == "table" then
    kind, least, most = table.unpack(kind)
  end
  if not KINDS[kind][1](value) then
    local got = type(value) == "string" and "another one" or type(value) == "number" and tostring(value) or type(value)
    refuse("option '%s' of %s must be %s, got %s", name, operation, KINDS[kind][2], got)
  end
  if least and (value < least or value > most) then
    refuse("option '%s' of %s must be between %d and %d, got %d", name, operation, least, most, value)
  end
end

local NONE = {}

-- The options of an operation; `known` is { name = kind or { "integer", least, most } }. Handles of clients take `bucket`, too.
function options.read(operation, given, known, is_client)
  if given == nil then
    return NONE
  elseif type(given) ~= "table" then
    refuse("options of %s must be a table, got %s", operation, type(given))
  end
  for name, value in pairs(given) do
    local kind = known[name] or is_client and name == "bucket" and "text"
    if not kind then
      unknown(operation, name, known, is_client)
    end
    check(operation, name, value, kind)
  end
  return given
end

-- One table of kinds made of several.
function options.join(...)
  local joined = {}
  for _, known in ipairs { ... } do
    for name, kind in pairs(known) do
      joined[name] = kind
    end
  end
  return joined
end

-- The bucket that the operation is about, and its options.
function options.begin(handle, operation, given, known)
  local is_client, bucket = core.target(handle)
  local read = options.read(operation, given, known, is_client)
  if is_client and read.bucket then
    bucket = read.bucket
  end
  if not bucket then
    refuse("%s needs a bucket: none is configured, so give the option 'bucket', or take a handle by bucket(name)", operation)
  end
  return bucket, read
end

function options.check_key(key, operation, position)
  if type(key) ~= "string" or key == "" or #key > MAX_KEY then
    refuse("bad argument #%d to '%s' (a key of 1 to %d bytes expected, got %s)", position or 1, operation, MAX_KEY,
      type(key) ~= "string" and type(key) or key == "" and "an empty one" or #key .. " bytes")
  end
end

function options.check_string(value, operation, position, what)
  if type(value) ~= "string" or value == "" then
    refuse("bad argument #%d to '%s' (%s expected, got %s)", position, operation, what,
      value == "" and "an empty string" or type(value))
  end
end

return options
