-- The test server, and throw-away ones of a spec's own.
--
--   server.uri                       the replica set the suite runs against (SMARTMIGRATION_TEST_MONGO_URI)
--   local name = server.database()   a database name nobody has used; dropped when the suite ends
--   local db = server.open(name)     a handle of it, from a client that is no part of what is under test
--   local own <close> = server.start { members = 3 }   own.uri, own.pids: kill and freeze as you like
local own_server = require "spec.support.own_server"
local process = require "spec.support.process"
local wait_for = require "spec.support.wait_for"

local server = {}

server.uri = os.getenv "SMARTMIGRATION_TEST_MONGO_URI"
  or error("no test server: start specs with spec/run, or under scripts/with-mongod", 0)

local names, clients = {}, {}

function server.database()
  local name = ("smig_spec_%d_%d_%d"):format(process.own_pid(), process.now_ms(), #names + 1)
  names[#names + 1] = name
  return name
end

-- A client to `uri`, closed when the suite ends.
function server.client(uri)
  local client = require("smartmigration.mongo").connect(uri or server.uri)
  clients[#clients + 1] = client
  return client
end

local shared

function server.open(name)
  shared = shared or server.client()
  return shared:database(name)
end

-- Runs at the end of each spec file.
function server.clean()
  for _, name in ipairs(names) do server.open(name):drop() end
  for _, client in ipairs(clients) do client:close() end
  names, clients, shared = {}, {}, nil
end

-- Starts a replica set that only this spec knows. Options: members (1), auth (a user `root` with password `root` is made
-- and the URI names it), standalone (no replica set), tls (it takes TLS, too: own.ca_file is what to trust). It ends with the
-- handle or the suite.
function server.start(options)
  options = options or {}
  local command = { "scripts/with-mongod" }
  for name, value in pairs(options) do
    if name == "members" then table.insert(command, "--members=" .. value)
    elseif name == "auth" or name == "standalone" or name == "tls" then table.insert(command, value and "--" .. name or nil)
    else error("unknown option '" .. tostring(name) .. "'", 2) end
  end
  local own = own_server.start(command, "SMARTMIGRATION_TEST_MONGO_URI", { "SMARTMIGRATION_TEST_MONGO_PIDS",
    "SMARTMIGRATION_TEST_MONGO_CA_FILE" })
  own.uri, own.ca_file = own.told.SMARTMIGRATION_TEST_MONGO_URI, own.told.SMARTMIGRATION_TEST_MONGO_CA_FILE
  for pid in own.told.SMARTMIGRATION_TEST_MONGO_PIDS:gmatch "%d+" do table.insert(own.pids, math.tointeger(tonumber(pid))) end
  return own
end

-- Ends a server of one's own, in order.
function server.stop(own)
  local pid = own.pids[1]
  process.kill(pid, "TERM")
  wait_for("the end of mongod", function()
    local file = io.open(("/proc/%d/stat"):format(pid))
    local state = file and file:read("a"):match "%) (%S)"
    if file then file:close() end
    return not state or state == "Z"
  end, 30000)
end

-- Starts one that was stopped again, over its data and at its address, with further words on its command line. Gives the
-- process: it ends with its handle.
function server.restart(words, more)
  local command = table.move(words, 1, #words, 1, { env = { LD_PRELOAD = false } })
  table.move(more or {}, 1, #(more or {}), #command + 1, command)
  local log
  for i, word in ipairs(words) do
    if word == "--logpath" then log = words[i + 1] end
  end
  os.remove(log)
  local child = process.start(command)
  wait_for("mongod to start again", function()
    local file = io.open(log)
    local text = file and file:read "a"
    if file then file:close() end
    return text and text:find "Waiting for connections"
  end)
  return child
end

-- The words that it was started with.
function server.words(own)
  local file <close> = assert(io.open(("/proc/%d/cmdline"):format(own.pids[1]), "rb"))
  local words = {}
  for word in file:read("a"):gmatch "([^%z]+)" do words[#words + 1] = word end
  return words
end

return server
