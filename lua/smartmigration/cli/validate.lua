-- `validate`: files and chain, and unless --offline both against the ledger; with --base also against a git ref, for which no
-- server has to be given. Returns 0, or 6 when something drifted; every other finding is raised.
local core = require "smartmigration.core"
local json = require "smartmigration.report.json"
local text = require "smartmigration.text"

local DRIFT = 6
local FIRST = { [5] = true, [3] = true } -- exit codes that count before drift

local function exit_status(found)
  local problem = found.problem and core.codes[found.problem.code]
  if problem and (#found.drift == 0 or FIRST[problem.exit]) then
    return problem.exit
  end
  return #found.drift > 0 and DRIFT or 0
end

return function(session)
  local base, values = session.options.base, session:settings()
  local has_server = values.mongo_uri or values.s3_bucket
  local migration = session:open { offline = session.options.offline or base and not has_server or nil }
  local found = migration:validate { base = base }
  local steps = migration:steps()
  found.steps = #steps
  found.from_version, found.to_version = text.version(steps[1].from or "?"), text.version(steps[#steps].to or "?")
  session:result(found, json.VALIDATION, function()
    return require("smartmigration.report.status").validation(found, session.out)
  end)
  return exit_status(found)
end
