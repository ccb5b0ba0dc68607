-- The checks of MongoDB. Everything is read; nothing is written.
--
-- Users: doctor. A server that does not answer is looked for as long as the URI's serverSelectionTimeoutMS says (10 s).
local bson = require "smartmigration.bson"
local findings = require "smartmigration.doctor.findings"
local ledger = require "smartmigration.doctor.ledger"
local rights = require "smartmigration.doctor.mongo_rights"

local mongo = {}

local try = findings.try
local MAJORITY_LAG_MS = 5000
local MAX_TIME_MS = 10000

local ORDER = {
  "reachable", "version", "primary", "majority", "topology", "login", "permissions", "dead_runs", "clock", "encryption",
  "access_control", "ledger",
}

-- ---------------------------------------------------------------- reaching it

local function hello(admin, preference)
  return admin:run_command("hello", 1, {}, { read_preference = preference, max_time_ms = MAX_TIME_MS })
end

-- The answer of any member, or nil when none can be asked.
local function reach(found, admin, facts)
  local answer, failure = try(hello, admin, "nearest")
  local place = facts.mongo.place
  if answer then
    found:ok("reachable", "%s answers", place)
    return answer
  elseif failure.code == "CONNECTION_FAILED" then -- it answers, and refuses the credentials
    found:ok("reachable", "%s answers", place)
    found:fail("login", failure.message, {
      fix = "correct user, password and authSource of the URI; to give the user the password that the URI has:",
      paste = { rights.shell("admin", { { "updateUser", "USER" }, { "pwd", rights.PROMPT } }) } })
    found:block "nobody is signed in"
  else
    found:fail("reachable", ("%s does not answer: %s"):format(place, failure.message), {
      fix = ("start MongoDB at %s or let this machine connect to it (its net.bindIp, firewalls), or correct hosts, replicaSet "
        .. "and TLS options of the URI"):format(place) })
    found:block "MongoDB cannot be reached"
  end
end

-- ------------------------------------------------------------- the replica set

local UP = { PRIMARY = true, SECONDARY = true, ARBITER = true }

-- What is known of members that are down: " of 3 members these are down: host (state), …"; nothing without the right to ask.
local function down(admin)
  local status = try(admin.run_command, admin, "replSetGetStatus", 1, {}, { read_preference = "nearest" })
  local names, total = {}, 0
  for _, member in ipairs(status and status.members or {}) do
    total = total + 1
    if member.health ~= 1 or not UP[member.stateStr] then
      names[#names + 1] = ("%s (%s)"):format(member.name, member.stateStr)
    end
  end
  return #names > 0 and (" of %d members these are down: %s"):format(total, table.concat(names, ", ")) or ""
end

-- The answer of a member that takes writes, or nil.
local function find_primary(found, admin, answer)
  if answer.isWritablePrimary then
    found:ok("primary", "%s takes writes", answer.me or "the server")
    return answer
  end
  local primary = try(hello, admin, "primary")
  if primary and primary.isWritablePrimary then
    found:ok("primary", "%s takes writes", primary.me or "the server")
    return primary
  end
  found:fail("primary", "no server takes writes: the replica set has no primary that can be reached;" .. down(admin), {
    fix = "start the members that are down, or mend their network, until a majority can elect one; this tells their states:",
    paste = { "rs.status()" } })
  found:block "there is no primary"
end

local function check_majority(found, admin, primary)
  local last = primary.lastWrite
  if not last or not last.majorityWriteDate then
    return found:skip("majority", "there is no replica set")
  end
  local lag = last.lastWriteDate - last.majorityWriteDate
  if lag <= MAJORITY_LAG_MS then
    return found:ok("majority", "a majority of the members confirms writes")
  end
  found:fail("majority", ("the majority of the members lags %d s behind the primary, and writes of the ledger wait for it;%s")
    :format(lag // 1000, down(admin)), {
    fix = "start the members that are down, and see why the others do not keep up; this tells their states:",
    paste = { "rs.printSecondaryReplicationInfo()" } })
end

local function check_topology(found, answer, facts)
  if answer.msg == "isdbgrid" then
    return found:ok("topology", "a sharded cluster, which has transactions")
  elseif answer.setName then
    return found:ok("topology", "replica set '%s', which has transactions", answer.setName)
  end
  found:warn("topology", "a standalone server: it has no transactions and no change streams, and a step with "
    .. "transaction = true is refused", {
    fix = "restart mongod with --replSet rs0 (replication.replSetName in mongod.conf), run this once, and give the URI "
      .. "replicaSet=rs0:",
    paste = { rights.shell("admin", { { "replSetInitiate", bson.doc { { "_id", "rs0" },
      { "members", bson.array { bson.doc { { "_id", 0 }, { "host", facts.mongo.place } } } } } } }) } })
end

local function check_clock(found, admin)
  local before = bson.now()
  local answer = hello(admin, "nearest")
  found:compare_clocks(answer.localTime.ms, before.ms, bson.now().ms, "the lock goes by the server's "
    .. "clock and is in no danger, but the times of steps and runs in the record are this machine's")
end

-- ------------------------------------------------------------------- the user

-- Who is signed in, as connectionStatus tells; nil, when nobody is and the server wants somebody to be.
local function check_login(found, admin, ledger_collection)
  local status = admin:run_command("connectionStatus", 1, { showPrivileges = true }, { read_preference = "nearest" })
  local auth = status.authInfo
  if #auth.authenticatedUsers > 0 then
    found:ok("login", "signed in as %s@%s", auth.authenticatedUsers[1].user, auth.authenticatedUsers[1].db)
    return auth
  end
  local _, failure = try(ledger_collection.find_one, ledger_collection, { _id = 0 }, { read_preference = "nearest" })
  if failure and failure.code == "Unauthorized" then
    found:fail("login", "the server wants a user, and the URI names none", {
      fix = "have a user made, and put user and password into the URI (mongodb://USER:PASSWORD@…/?authSource=admin), in a file "
        .. "that --mongo-uri-file names:",
      paste = { rights.shell("admin", { { "createUser", "USER" }, { "pwd", rights.PROMPT }, { "roles", bson.array {} } }) } })
    found:block "nobody is signed in"
    return nil
  end
  found:ok("login", "the server wants no user")
  return auth
end

local function has_unique_index(collection)
  for _, index in ipairs(try(function() return collection:list_indexes():all() end) or {}) do
    local keys = bson.to_table(index.key)
    if index.unique and keys.nameId and next(keys, next(keys)) == nil then
      return true
    end
  end
  return false
end

-- Whether the ledger may be read.
local function check_permissions(found, auth, collection, facts)
  if #auth.authenticatedUsers == 0 then
    local why = "the server has no access control: everybody may do everything"
    found:skip("permissions", why)
    found:skip("dead_runs", why)
    return true
  end
  local database, user = facts.mongo.database, auth.authenticatedUsers[1]
  local in_mongo = facts.ledger.backend == "mongo"
  local missing = rights.missing(auth.authenticatedUserPrivileges, database, in_mongo, has_unique_index(collection))
  local paste = rights.grant(user, auth.authenticatedUserRoles, database)
  local way_out = { paste = paste,
    fix = "grant a role that has what the engine needs; what the steps need on their own collections comes on top" }
  local named = {}
  for _, action in ipairs(missing.ledger) do
    named[#named + 1] = ("%s on %s.%s"):format(action, database, rights.LEDGER)
  end
  for _, action in ipairs(missing.database) do
    named[#named + 1] = ("%s on database %s"):format(action, database)
  end
  if #named > 0 then
    found:fail("permissions", ("user %s@%s lacks %s"):format(user.user, user.db, table.concat(named, ", ")), way_out)
  elseif #missing.prune > 0 then
    found:warn("permissions", ("user %s@%s lacks remove on %s.%s, which `history --prune-older-than` takes"):format(user.user,
      user.db, database, rights.LEDGER), way_out)
  else
    found:ok("permissions", "%s@%s may do what the engine does", user.user, user.db)
  end
  if #missing.cluster > 0 then
    found:warn("dead_runs", ("user %s@%s lacks %s on the cluster: what a killed run of another user left on the server cannot be "
      .. "seen or ended, and taking over its lock waits a full time to live"):format(user.user, user.db,
      table.concat(missing.cluster, " and ")), way_out)
  else
    found:ok("dead_runs", "what a dead run leaves on the server can be seen and ended")
  end
  return missing.ledger[1] ~= "find"
end

-- ----------------------------------------------------------- insecure settings

local function far_hosts(hosts)
  local far = {}
  for _, host in ipairs(hosts) do
    if not findings.is_loopback(host) then
      far[#far + 1] = host
    end
  end
  return far
end

local function check_encryption(found, facts)
  local far = far_hosts(facts.mongo.hosts)
  if #facts.mongo.unchecked > 0 then
    local options = table.concat(facts.mongo.unchecked, ", ")
    found:warn("encryption", ("the URI switches off checks of certificates (%s): anybody in between can read and change "
      .. "everything"):format(options), {
      fix = ("take %s out of the URI and name the certificate authority to trust:"):format(options),
      paste = { "tls=true&tlsCAFile=FILE" } })
  elseif facts.mongo.tls then
    found:ok("encryption", "connections are encrypted and certificates are checked")
  elseif #far > 0 then
    found:warn("encryption", ("connections to %s are not encrypted"):format(table.concat(far, ", ")), {
      fix = "have the server take TLS (net.tls.mode: requireTLS and a certificate), and add to the URI:",
      paste = { "tls=true&tlsCAFile=FILE" } })
  else
    found:ok("encryption", "not encrypted, but the server is on this machine")
  end
end

local function check_access_control(found, auth, facts)
  local far = far_hosts(facts.mongo.hosts)
  if not auth or #auth.authenticatedUsers > 0 then
    found:ok("access_control", "the server wants users to sign in")
  elseif #far > 0 then
    found:warn("access_control", ("%s lets everybody do everything who can reach it"):format(table.concat(far, ", ")), {
      fix = "make a user, switch on access control (security.authorization: enabled), and put user and password into the URI:",
      paste = { rights.shell("admin", { { "createUser", "USER" }, { "pwd", rights.PROMPT },
        { "roles", bson.array { "root" } } }) } })
  else
    found:ok("access_control", "there is none, but the server is on this machine")
  end
end

-- ------------------------------------------------------------------ everything

local function read_ledger(collection, facts)
  local fields = { ["data.currentVersion"] = 1, ["data.lock"] = 1 }
  local document = collection:find_one({ nameId = facts.ledger.id }, { projection = fields })
  return document and document.data
end

local function check_ledger(found, engine, admin, collection, facts)
  if facts.ledger.backend == "mongo" then
    ledger.check_mongo(found, engine, admin, function() return read_ledger(collection, facts) end, facts)
  else
    found:ok("version", "MongoDB %s", ledger.server_version(admin))
    found:skip("ledger", "it is in S3")
  end
end

-- The findings. `database`: an open handle of the migrated database.
function mongo.check(engine, facts, database)
  local found = findings.new "mongo"
  local admin = database:client():database "admin"
  local collection = database:collection(rights.LEDGER)
  check_encryption(found, facts)
  local answer = reach(found, admin, facts)
  if not answer then
    return found:finish(ORDER)
  end
  local primary = find_primary(found, admin, answer)
  if primary then
    check_majority(found, admin, primary)
  end
  check_topology(found, answer, facts)
  check_clock(found, admin)
  local auth = check_login(found, admin, collection)
  check_access_control(found, auth, facts)
  local readable = auth and check_permissions(found, auth, collection, facts)
  if primary and readable then
    check_ledger(found, engine, admin, collection, facts)
  elseif primary then
    found:block "the ledger may not be read"
  end
  return found:finish(ORDER)
end

return mongo
