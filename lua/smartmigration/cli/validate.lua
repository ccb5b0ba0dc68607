-- `validate`: files and chain, and unless --offline both against the ledger. Returns 0, or 6 when the file of a step
-- was changed after the step was applied; every other finding is raised.
local json = require "smartmigration.report.json"

local DRIFT = 6

return function(session)
  local offline = session.options.offline
  local migration = session:open { offline = offline }
  local found = migration:validate()
  local steps = migration:steps()
  found.steps, found.from_version, found.to_version = #steps, steps[1].from, steps[#steps].to
  found.drift = found.drift or {}
  session:result(found, json.VALIDATION, function()
    return require("smartmigration.report.status").validation(found, session.out)
  end)
  return #found.drift > 0 and DRIFT or 0
end
