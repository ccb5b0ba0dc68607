-- What `doctor` does: looks at each store that is configured and says what is wrong and how to mend it. Takes no lock; what it
-- writes are scratch objects of an S3 ledger, which it removes again.
--
-- Users: operations.lua. Errors: NO_RESOURCES of an offline migration; what is wrong with a store is a finding.
local doctor = {}

-- The checks of a store with a handle of its own: the one that the migration was given, or one that is closed again.
local function check_mongo(engine, facts, state)
  local module = require "smartmigration.doctor.mongo"
  if state.mongo.database then
    return module.check(engine, facts, state.mongo.database)
  end
  local client <close> = require("smartmigration.mongo").connect(state.mongo.uri)
  return module.check(engine, facts, client:database(facts.mongo.database))
end

local function check_s3(engine, facts, state)
  local module = require "smartmigration.doctor.s3"
  if state.s3.client then
    return module.check(engine, facts, state.s3.client:bucket(facts.s3.bucket))
  end
  local client <close> = require("smartmigration.s3").connect(state.s3)
  return module.check(engine, facts, client:bucket(facts.s3.bucket))
end

local function is_present(value)
  return type(value) == "table"
end

-- { checks = { { store, check, status, finding, fix, paste } }, errors =, warnings = }. `state` is the migration's; `files` are
-- those that may hold its secrets.
function doctor.run(engine, state, files)
  local facts = engine:stores()
  local checks = {}
  local function take(found)
    table.move(found.list, 1, #found.list, #checks + 1, checks)
  end
  if is_present(facts.mongo) then
    take(check_mongo(engine, facts, state))
  end
  if is_present(facts.s3) then
    take(check_s3(engine, facts, state))
  end
  take(require("smartmigration.doctor.files").check(files or {}, state))
  return doctor.count { checks = checks }
end

-- Counts anew what is wrong.
function doctor.count(result)
  result.errors, result.warnings = 0, 0
  for _, check in ipairs(result.checks) do
    if check.status == "error" then
      result.errors = result.errors + 1
    elseif check.status == "warning" then
      result.warnings = result.warnings + 1
    end
  end
  return result
end

return doctor
