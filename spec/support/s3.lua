-- The test S3 server, throw-away ones of a spec's own, and a client that is no part of what is under test (s3_admin.py).
--
--   local store = s3.shared()               the server the suite runs against (SMARTMIGRATION_TEST_S3_ENDPOINT and AWS_*)
--   local own <close> = s3.start { versions = true, tls = true, users = true }   a server of its own; its process
--                                           own.pids[1] may be frozen and killed; own.ca_file is the certificate to trust
--   store.endpoint, store.env               what the program under test has to know; store.env for process.start
--   local bucket = store:bucket()           a bucket nobody has used; those of the shared server are gone when the file ends
--   store:put(bucket, "key", "body", { ["content-type"] = "text/plain" })    the answer: { status, headers, body }
--   store:get(bucket, "key")                the object, or nil and the error { status, headers, code, message }
--   store:head(bucket, "key")               its headers by names in lower case, or nil and the error
--   store:list(bucket, prefix)              { { key, size, etag, modified }, … };   store:keys(bucket, prefix) their keys alone
--   store:delete(bucket, "key")
--   store:ask({ "request", "PUT", "/bucket?versioning", headers = {…} }, body)    any command of s3_admin.py; the answer or error
local json = require "spec.support.json"
local own_server = require "spec.support.own_server"
local process = require "spec.support.process"

local s3 = {}
local Store = {}
Store.__index = Store

local NAMES = { "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "SMARTMIGRATION_TEST_S3_CA_FILE" }
local made, shared = 0, nil

-- A server by its endpoint and the variables that hold its credentials.
function s3.store(endpoint, variables)
  local env = { SMARTMIGRATION_TEST_S3_ENDPOINT = endpoint }
  for _, name in ipairs(NAMES) do env[name] = variables[name] ~= "" and variables[name] end
  return setmetatable({ endpoint = endpoint, env = env }, Store)
end

function s3.shared()
  local variables = {}
  for _, name in ipairs(NAMES) do variables[name] = os.getenv(name) end
  local endpoint = os.getenv "SMARTMIGRATION_TEST_S3_ENDPOINT"
    or error("no test S3 server: start specs with spec/run, or under scripts/with-s3", 2)
  if not shared then
    shared = s3.store(endpoint, variables)
    shared.buckets = {}
  end
  return shared
end

function s3.start(options)
  local command = { "scripts/with-s3" }
  for name, value in pairs(options or {}) do
    if name ~= "versions" and name ~= "tls" and name ~= "users" then error("unknown option '" .. tostring(name) .. "'", 2) end
    table.insert(command, value and "--" .. name or nil)
  end
  local own = own_server.start(command, "SMARTMIGRATION_TEST_S3_ENDPOINT",
    { "SMARTMIGRATION_TEST_S3_PID", table.unpack(NAMES) })
  local told = own.told
  own.pids = { math.tointeger(tonumber(told.SMARTMIGRATION_TEST_S3_PID)) }
  local store = s3.store(told.SMARTMIGRATION_TEST_S3_ENDPOINT, told)
  store.own, store.pids, store.ca_file = own, own.pids, store.env.SMARTMIGRATION_TEST_S3_CA_FILE
  return store
end

-- Ends a server of a spec's own.
function Store:close()
  self.own:close()
end
Store.__close = Store.close

local function run(store, command, body)
  local words = { "python3", "spec/support/s3_admin.py", env = { LD_PRELOAD = false }, stdin = body or "" }
  for name, value in pairs(store.env) do words.env[name] = value end
  for _, word in ipairs(command) do words[#words + 1] = word end
  for name, value in pairs(command.headers or {}) do
    words[#words + 1] = "-H"
    words[#words + 1] = name .. ": " .. value
  end
  local result = process.run(words)
  if result.err ~= "" then error(result.err, 3) end
  return result
end

function Store:ask(command, body)
  return json.plain(run(self, command, body).out)
end

local function expect(store, command, body)
  local answer = store:ask(command, body)
  if answer.code or (answer.status or 200) >= 300 then
    error(("%s: %d %s: %s"):format(table.concat(command, " "), answer.status, answer.code, answer.message), 3)
  end
  return answer
end

function Store:bucket()
  made = made + 1
  local name = ("smig-spec-%d-%d-%d"):format(process.own_pid(), process.now_ms(), made)
  expect(self, { "create-bucket", name })
  if self.buckets then table.insert(self.buckets, name) end
  return name
end

function Store:put(bucket, key, body, headers)
  return expect(self, { "put", bucket, key, headers = headers }, body)
end

function Store:get(bucket, key)
  local result = run(self, { "get", bucket, key })
  if result.status == 0 then return result.out end
  return nil, json.plain(result.out)
end

function Store:head(bucket, key)
  local answer = self:ask { "head", bucket, key }
  if answer.status < 300 then return answer.headers end
  return nil, answer
end

function Store:list(bucket, prefix)
  return expect(self, { "list", bucket, prefix })
end

function Store:keys(bucket, prefix)
  local keys = {}
  for i, object in ipairs(self:list(bucket, prefix)) do keys[i] = object.key end
  return keys
end

function Store:delete(bucket, key)
  return expect(self, { "delete", bucket, key })
end

-- Runs at the end of each spec file.
function s3.clean()
  while shared and #shared.buckets > 0 do expect(shared, { "delete-bucket", table.remove(shared.buckets) }) end
end

return s3
