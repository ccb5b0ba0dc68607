-- Files that hold secrets and can be read by everybody. Users: doctor.
local findings = require "smartmigration.doctor.findings"
local process = require "smartmigration.process"
local text = require "smartmigration.text"

local files = {}

local EVERYBODY_READS = 4 -- of a file's mode

-- The secrets of the settings, as they would stand in a file.
local function secrets_of(state)
  local list = {}
  list[1] = state.mongo.uri and state.mongo.uri:match "^[^/]*//[^/@]*:([^/@]+)@"
  list[#list + 1] = state.s3.secret_access_key
  list[#list + 1] = state.s3.session_token
  return list
end

local function read(path)
  local file = io.open(path, "rb")
  if file then
    local content <const> = file:read "a"
    file:close()
    return content
  end
end

local function holds(content, secrets)
  for _, secret in ipairs(secrets) do
    if content:find(secret, 1, true) then
      return true
    end
  end
  return false
end

local function quote(path)
  return path:find "^[%w@%%+=:,./_-]+$" and path or "'" .. path:gsub("'", [['\'']]) .. "'"
end

-- `state`: the migration's, with the settings that may be secret.
function files.check(paths, state)
  local found = findings.new "settings"
  local secrets = secrets_of(state)
  for _, path in ipairs(paths) do
    local content = read(path)
    local mode = content and holds(content, secrets) and process.file_mode(path)
    if mode and mode & EVERYBODY_READS ~= 0 then
      found:warn("secret_file", ("'%s' holds a secret and can be read by every user of this machine (mode %03o)"):format(
        text.escape(path), mode), { fix = "take the right to read it from others", paste = { "chmod 600 " .. quote(path) } })
    elseif mode then
      found:ok("secret_file", "'%s' holds a secret, and not everybody can read it", text.escape(path))
    end
  end
  return found
end

return files
