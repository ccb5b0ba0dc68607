-- The settings of smartmigration.new: names and types, and their flat form for the engine. Users: init.lua.
-- Errors: INVALID_OPTIONS, naming the setting. Values are never quoted: a URI holds a password. Ranges and versions
-- are the engine's to judge.
local core = require "smartmigration.core"

local options = {}

-- path = { type, name in the engine's options }
local KNOWN = {
  ["target_version"] = { "string", "target_version" },
  ["target_from_chain"] = { "boolean", "target_from_chain" },
  ["offline"] = { "boolean", "offline" },
  ["mongo.uri"] = { "string", "mongo_uri" },
  ["mongo.database"] = { "database", "mongo_database" },
  ["s3.client"] = { "handle", "s3_client" },
  ["s3.bucket"] = { "string", "s3_bucket" },
  ["s3.endpoint"] = { "string", "s3_endpoint" },
  ["s3.region"] = { "string", "s3_region" },
  ["s3.style"] = { "string", "s3_style" },
  ["s3.access_key_id"] = { "string", "s3_access_key_id" },
  ["s3.secret_access_key"] = { "string", "s3_secret_access_key" },
  ["s3.session_token"] = { "string", "s3_session_token" },
  ["s3.profile"] = { "string", "s3_profile" },
  ["s3.ca_file"] = { "string", "s3_ca_file" },
  ["s3.sse"] = { "string", "s3_sse" },
  ["s3.sse_kms_key_id"] = { "string", "s3_sse_kms_key_id" },
  ["s3.expected_bucket_owner"] = { "string", "s3_expected_bucket_owner" },
  ["s3.insecure"] = { "boolean", "s3_insecure" },
  ["s3_lock"] = { "string", "s3_lock" },
  ["ledger.backend"] = { "string", "ledger_backend" },
  ["ledger.name"] = { "string", "ledger_name" },
  ["ledger.id"] = { "string", "ledger_id" },
  ["lock.ttl_ms"] = { "integer", "lock_ttl_ms" },
  ["lock.wait_ms"] = { "integer", "lock_wait_ms" },
  ["fresh_install_version"] = { "string", "fresh_install_version" },
  ["fresh_scope"] = { "list", "fresh_scope" },
  ["target_version_strategy"] = { "string", "target_version_strategy" },
  ["newer_ledger"] = { "string", "newer_ledger" },
  ["unversioned_data"] = { "string", "unversioned_data" },
  ["stop_timeout_ms"] = { "integer", "stop_timeout_ms" },
  ["migrations"] = { "string" },
  ["log"] = { "function", "log" },
}

local GROUPS = { mongo = true, s3 = true, ledger = true, lock = true }

local NAMES = { "mongo", "s3", "ledger", "lock" }
for path in pairs(KNOWN) do
  NAMES[#NAMES + 1] = path
end
table.sort(NAMES)

local function refuse(format, ...)
  core.raise("INVALID_OPTIONS", format:format(...))
end

local function refuse_unknown(path)
  local near = core.suggest(path, NAMES)
  refuse("unknown option '%s'%s", path, near and (" (did you mean '%s'?)"):format(near) or "")
end

local function is_text(value)
  return type(value) == "string" and utf8.len(value) and not value:find("\0", 1, true)
end

local function is_list_of_text(value)
  if type(value) ~= "table" then
    return false
  end
  local count = 0
  for _, item in pairs(value) do
    count = count + 1
    if not is_text(item) then
      return false
    end
  end
  return count == #value
end

local CHECKS = {
  string = { is_text, "a string" },
  boolean = { function(value) return type(value) == "boolean" end, "a boolean" },
  integer = { function(value) return type(value) == "number" and math.tointeger(value) end, "an integer" },
  list = { is_list_of_text, "a list of strings" },
  database = { function(value) return is_text(value) or type(value) == "userdata" end,
    "a name or an open database handle" },
  handle = { function(value) return type(value) == "userdata" end, "an open handle" },
  ["function"] = { function(value) return type(value) == "function" end, "a function" },
}

local function take(flat, path, value)
  local known = KNOWN[path] or refuse_unknown(path)
  local check = CHECKS[known[1]]
  if not check[1](value) then
    local wants_text = known[1] == "string" or known[1] == "database"
    local text = type(value) == "string" and wants_text and "one that is not valid UTF-8 without NUL"
      or math.type(value) == "integer" and "an integer" or "a " .. type(value)
    refuse("option '%s' must be %s, not %s", path, check[2], text)
  end
  if known[2] then
    flat[known[2]] = value
  end
end

-- An open client has settings of its own; without one, a bucket is what says that there is S3.
local function settle_s3(flat, s3)
  if flat.s3_client then
    for key in pairs(s3) do
      if key ~= "client" and key ~= "bucket" then
        refuse("give s3.client or s3.%s, not both: the client has settings of its own", key)
      end
    end
  elseif next(s3) ~= nil and not flat.s3_bucket then
    refuse "option 's3.bucket' is missing: other options of s3 are given"
  end
end

-- The engine's options, and the folder of migration files when one is named.
function options.flatten(settings)
  if type(settings) ~= "table" then
    refuse("options must be a table, not a %s", type(settings))
  end
  local flat = {}
  for name, value in pairs(settings) do
    if not GROUPS[name] then
      take(flat, tostring(name), value)
    elseif type(value) ~= "table" then
      refuse("option '%s' must be a table, not a %s", name, type(value))
    else
      for key, inner in pairs(value) do
        take(flat, name .. "." .. tostring(key), inner)
      end
    end
  end
  if type(flat.mongo_database) == "userdata" then
    if flat.mongo_uri then
      refuse "give mongo.uri or an open handle as mongo.database, not both"
    end
    flat.mongo, flat.mongo_database = flat.mongo_database, nil
  end
  settle_s3(flat, settings.s3 or {})
  return flat, settings.migrations
end

-- The options of run: whether it is a dry run.
function options.read_run(settings)
  if settings == nil then
    return false
  elseif type(settings) ~= "table" then
    refuse("options of run must be a table, not a %s", type(settings))
  end
  for name, value in pairs(settings) do
    if name ~= "dry_run" then
      local near = core.suggest(tostring(name), { "dry_run" })
      refuse("unknown option '%s' for run%s", tostring(name), near and " (did you mean 'dry_run'?)" or "")
    elseif type(value) ~= "boolean" then
      refuse("option 'dry_run' must be a boolean, not a %s", type(value))
    end
  end
  return settings.dry_run
end

return options
