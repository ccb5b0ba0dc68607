-- `run`: migrates the data to the target. Returns 0; failures are raised (STEP_FAILED, LOCK_TIMEOUT, …).
local json = require "smartmigration.report.json"
local process = require "smartmigration.process"

return function(session)
  if session.options.dry_run then
    return require "smartmigration.cli.plan"(session)
  end
  local migration = session:open()
  process.handle_signals(migration)
  local result = migration:run()
  if session.json or not session.quiet then
    session:result(result, json.RESULT, function()
      return require("smartmigration.report.run").run(result, session.out)
    end)
  end
  return 0
end
