-- What the specs of the S3 binding share: clients of the module under test, and what they raise.
local process = require "spec.support.process"
local s3 = require "smartmigration.s3"
local server = require "spec.support.s3"

local support = {}

-- Calls f, which must raise an error object, and answers it.
function support.caught(f, ...)
  local done, err = pcall(f, ...)
  assert(not done, "nothing was raised")
  assert(type(err) == "userdata", tostring(err))
  return err
end

-- A client of the module under test; `store` is a server (spec.support.s3) or a proxy before one. `changes` are settings besides.
function support.client(store, changes)
  local settings = { endpoint = store.endpoint, region = store.env.AWS_REGION,
    access_key_id = store.env.AWS_ACCESS_KEY_ID, secret_access_key = store.env.AWS_SECRET_ACCESS_KEY,
    ca_file = store.env.SMARTMIGRATION_TEST_S3_CA_FILE or nil }
  for name, value in pairs(changes or {}) do settings[name] = value or nil end
  return s3.connect(settings)
end

-- A handle of a bucket that nobody has used, of the shared server, and the server.
function support.bucket()
  local store = server.shared()
  local client = support.client(store)
  return client:bucket(store:bucket()), store, client
end

-- A proxy before the shared server, a client that knows it alone, and a handle of the bucket by that way.
function support.by_proxy(bucket)
  local proxy = require("spec.support.s3_proxy").start()
  local client = support.client(proxy)
  return proxy, client, client:bucket(bucket.name)
end

-- A file with these bytes, removed by `clean`.
local paths = {}

function support.path(bytes)
  local path = os.tmpname()
  paths[#paths + 1] = path
  if bytes then
    local file <close> = assert(io.open(path, "wb"))
    file:write(bytes)
  else
    os.remove(path)
  end
  return path
end

function support.read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

function support.clean()
  for _, path in ipairs(paths) do os.remove(path) end
  paths = {}
end

-- The keys that a listing gives, in order.
function support.keys(listing)
  local keys = {}
  for entry in listing do keys[#keys + 1] = type(entry) == "table" and entry.key or entry end
  return keys
end

-- Runs a Lua text with arguments in a process of its own that knows the store; answers what process.run does.
function support.run(store, text, ...)
  local build = require "spec.support.build"
  local words = { "lua5.4", "-e", ("package.cpath = %q .. ';' .. package.cpath"):format(build.cpath), support.path(text), ... }
  words.env, words.limit = {}, 300000
  for name, value in pairs(store.env) do words.env[name] = value end
  words.env.S3_ENDPOINT = store.endpoint
  return process.run(words)
end

return support
