-- Which rights a run needs in MongoDB, which of them the connection's users have, and the role that has them all.
-- Users: doctor/mongo.lua. Pure.
local bson = require "smartmigration.bson"

local rights = {}

rights.LEDGER = "SmartdataEasyStore"

-- On the ledger's collection, on its database, and on the cluster.
local ON_LEDGER = { "find", "insert", "update", "createIndex", "listIndexes" }
local ON_DATABASE = { "listCollections" }
local ON_CLUSTER = { "inprog", "killAnySession" }

local function covers(resource, wanted)
  if resource.anyResource == true then
    return true
  elseif wanted.cluster or resource.cluster == true then
    return wanted.cluster and resource.cluster == true
  end
  local of_database = resource.db == "" or resource.db == wanted.db
  return of_database and (resource.collection == "" or resource.collection == wanted.collection)
end

local function has(privileges, wanted, action)
  for _, privilege in ipairs(privileges) do
    if covers(privilege.resource, wanted) then
      for _, granted in ipairs(privilege.actions) do
        if granted == action or granted == "anyAction" then
          return true
        end
      end
    end
  end
  return false
end

local function missing_of(privileges, wanted, actions)
  local missing = {}
  for _, action in ipairs(actions) do
    if not has(privileges, wanted, action) then
      missing[#missing + 1] = action
    end
  end
  return missing
end

-- What the users who have these privileges (as connectionStatus lists them) lack: { ledger, database, cluster, prune }, lists of
-- actions. `in_mongo`: the ledger is here; else only what looking around takes. `has_index`: its unique index is there.
function rights.missing(privileges, database, in_mongo, has_index)
  local collection = { db = database, collection = rights.LEDGER }
  local needed = {}
  for _, action in ipairs(in_mongo and ON_LEDGER or { "find" }) do
    if not (has_index and action == "createIndex") then
      needed[#needed + 1] = action
    end
  end
  return {
    ledger = missing_of(privileges, collection, needed),
    database = missing_of(privileges, { db = database, collection = "" }, ON_DATABASE),
    prune = in_mongo and missing_of(privileges, collection, { "remove" }) or {},
    cluster = missing_of(privileges, { cluster = true }, ON_CLUSTER),
  }
end

local function privilege(resource, actions)
  return bson.doc { { "resource", bson.doc(resource) }, { "actions", bson.array(actions) } }
end

-- Stands for a password in a command; mongosh asks for it.
rights.PROMPT = "passwordPrompt()"

-- A command as one pastes it into mongosh.
local function shell(database, command)
  local text = bson.json(bson.doc(command)):gsub('"passwordPrompt%(%)"', rights.PROMPT)
  return ("db.getSiblingDB(%s).runCommand(%s)"):format(bson.json(database), text)
end
rights.shell = shell

-- What to paste into mongosh, so that the user has a role with all of it; a role that it has already is brought up to date.
-- `user`: { user =, db = }, `roles`: those of the connection, as connectionStatus lists them.
function rights.grant(user, roles, database)
  local name = "smartmigration-" .. database
  local all = table.move(ON_LEDGER, 1, #ON_LEDGER, 1, {})
  all[#all + 1] = "remove"
  local privileges = bson.array {
    privilege({ { "db", database }, { "collection", rights.LEDGER } }, all),
    privilege({ { "db", database }, { "collection", "" } }, ON_DATABASE),
    privilege({ { "cluster", true } }, ON_CLUSTER),
  }
  for _, role in ipairs(roles) do
    if role.role == name and role.db == "admin" then
      return { shell("admin", { { "updateRole", name }, { "privileges", privileges } }) }
    end
  end
  return {
    shell("admin", { { "createRole", name }, { "privileges", privileges }, { "roles", bson.array {} } }),
    shell(user.db, { { "grantRolesToUser", user.user },
      { "roles", bson.array { bson.doc { { "role", name }, { "db", "admin" } } } } }),
  }
end

return rights
