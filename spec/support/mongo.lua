-- What the specs of the MongoDB binding share.
local process = require "spec.support.process"
local server = require "spec.support.server"

local support = {}

-- Calls f, which must raise, and answers what it raised.
function support.caught(f, ...)
  local done, err = pcall(f, ...)
  assert(not done, "nothing was raised")
  return err
end

-- A client of one spec's own, with an application name of its own, so that a fail point meets nobody else.
function support.named_client()
  local name = server.database()
  local client = server.client(server.uri .. (server.uri:find("?", 1, true) and "&" or "/?") .. "appName=" .. name)
  return client, name
end

-- Makes the next `times` commands of that name, from the client with that application name, fail as `data` says.
function support.fail_next(name, command, times, data)
  data.failCommands = { command }
  data.appName = name
  server.open("admin"):run_command("configureFailPoint", "failCommand", { mode = { times = times }, data = data })
end

function support.fail_no_more()
  server.open("admin"):run_command("configureFailPoint", "failCommand", { mode = "off" })
end

-- How many cursors of the namespace lie idle on the server.
function support.idle_cursors(namespace)
  local pipeline = {
    { ["$currentOp"] = { idleCursors = true, allUsers = true } },
    { ["$match"] = { type = "idleCursor", ns = namespace } },
  }
  return #server.open("admin"):aggregate(pipeline):all()
end

local Standalone = {}
Standalone.__index = Standalone

function Standalone:client()
  return require("smartmigration.mongo").connect(self.uri)
end

function Standalone:__close()
  self.child:close()
  process.run { "rm", "-r", self.folder }
end

-- Starts a server that is no member of a replica set. It ends with the handle.
function support.standalone()
  local program = os.getenv "SMARTMIGRATION_TEST_MONGOD" or "mongod"
  local folder = process.run({ "mktemp", "-d" }).out:gsub("%s+$", "")
  for _ = 1, 20 do
    local port = math.random(20000, 32000)
    local child = process.start { program, "--port", port, "--bind_ip", "127.0.0.1", "--dbpath", folder, "--nounixsocket" }
    if pcall(child.wait_for, child, "Waiting for connections") then
      return setmetatable({ child = child, folder = folder, uri = "mongodb://127.0.0.1:" .. port }, Standalone)
    end
    child:close() -- the port was taken
  end
  error "no standalone server could be started"
end

-- The `_id`s that a cursor or an array gives.
function support.ids(documents)
  local ids = {}
  if type(documents) == "table" then
    for i, document in ipairs(documents) do ids[i] = document._id end
  else
    for document in documents do ids[#ids + 1] = document._id end
  end
  return ids
end

return support
