-- `baseline VERSION`: records which version the data has. Returns 0; refusals are raised.
local report = require "smartmigration.report.operations"

return function(session)
  local migration = session:open_for_operator()
  local result = migration:baseline(session.request.arguments[1], { force = session.options.force or false })
  session:result(result, report.BASELINE, function()
    return report.baseline(result)
  end)
  return 0
end
