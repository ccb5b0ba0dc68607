-- `unlock`: frees the lock of a run that is gone, or by force that of a live one. Needs no migration files. Returns 0.
local report = require "smartmigration.report.operations"

return function(session)
  local migration = session:open_for_operator(true)
  local result = migration:unlock { force = session.options.force_holder }
  session:result(result, report.UNLOCK, function()
    return report.unlock(result)
  end)
  return 0
end
