-- `plan` and `run --dry-run`: what a run would do. Returns 0, or 10 with --exit-code when steps are pending.
local json = require "smartmigration.report.json"

local PENDING = 10

return function(session)
  local migration = session:open()
  local result = migration:plan()
  session:result(result, json.RESULT, function()
    local descriptions = {}
    for _, step in ipairs(migration:steps()) do
      descriptions[step.id] = step.description
    end
    return require("smartmigration.report.run").plan(result, descriptions, session.out)
  end)
  return session.options.exit_code and #result.steps_skipped > 0 and PENDING or 0
end
