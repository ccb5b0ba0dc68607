-- The check of the ledger, in either store: that the engine can read it, and whether another program wrote it. What the engine
-- refuses of a server shows here, too. Users: doctor/mongo.lua, doctor/s3.lua.
local bson = require "smartmigration.bson"
local findings = require "smartmigration.doctor.findings"

local ledger = {}

local BESIDE_ORIGINAL_MS = 600000

function ledger.server_version(admin)
  local answer = findings.try(admin.run_command, admin, "buildInfo", 1, {}, { read_preference = "nearest" })
  return answer and answer.version or "of unknown version"
end

-- Whether the engine could read it; `failure` is what it raised, and a finding.
local function judge(found, failure)
  if failure then
    local corrupt = failure.code == "LEDGER_CORRUPT"
    found:fail("ledger", failure.message, {
      fix = corrupt and "correct it with the database's own tools, or put back a backup of it"
        or "mend what the other checks of this store say" })
  end
  return not failure
end

local function read(engine)
  local _, failure = findings.try(engine.checkpoints, engine)
  return failure
end

-- Whether it is recorded in a ledger and the fields that only this engine writes are not there.
local function is_of_others(data)
  local version = data and data.currentVersion
  return type(version) == "string" and (bson.is_null(data.lock) or not data.lock or data.lock.fence == nil)
end

-- `data()`: its content, nil when there is none.
function ledger.check_mongo(found, engine, admin, data, facts)
  local failure = read(engine)
  if failure and failure.code == "UNSUPPORTED_SERVER" then
    found:fail("version", failure.message, { fix = "upgrade the server to MongoDB 5.0 or later" })
    return found:skip("ledger", "the server cannot do what the engine needs")
  end
  found:ok("version", "MongoDB %s", ledger.server_version(admin))
  if not judge(found, failure) then
    return
  end
  if is_of_others(data()) and facts.ledger.lock_ttl_ms < BESIDE_ORIGINAL_MS then
    return found:warn("ledger", ("another program wrote the ledger last, and lock.ttl_ms is %d: should it still run, it may take "
      .. "the lock of a live run for a dead one's"):format(facts.ledger.lock_ttl_ms), {
      fix = "as long as both run on one ledger, give the lock ten minutes:", paste = { "--lock-ttl 10m" } })
  end
  found:ok("ledger", "it can be read")
end

function ledger.check_s3(found, engine, data)
  if not judge(found, read(engine)) then
    return
  end
  if is_of_others(data()) then
    return found:warn("ledger", "another program wrote the ledger last, and one that knows no conditional writes must never run "
      .. "beside this one", { fix = "stop the other program; the next run of this one takes the ledger over:",
        paste = { "smartmigration-lua run" } })
  end
  found:ok("ledger", "it can be read")
end

return ledger
