-- What the specs of the MongoDB binding share.
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
