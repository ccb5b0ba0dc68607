-- `run`: migrates the data to the target. Returns 0; failures are raised (STEP_FAILED, LOCK_TIMEOUT, …).
local json = require "smartmigration.report.json"
local process = require "smartmigration.process"

-- The checkpoints that the step has left: for people, who want to know what its next run does. Not asked when the server has
-- just failed to answer; nil when they are not known.
local function checkpoints_of(migration, failure)
  local cause, step = failure.cause, failure.details.step_id
  local asked = failure.code == "STEP_FAILED" or failure.code == "INTERRUPTED"
  if not asked or not step or cause and (cause.category == "network" or cause.category == "timeout") then
    return nil
  end
  local ok, found = pcall(migration.checkpoints, migration, step, { values = true })
  return ok and found.checkpoints or nil
end

return function(session)
  if session.options.dry_run then
    return require "smartmigration.cli.plan"(session)
  end
  local migration = session:open()
  process.handle_signals(migration, session:talks_to_person())
  local ok, result = pcall(migration.run, migration)
  if not ok then
    if not session.json and type(result) == "userdata" then
      session.checkpoints = checkpoints_of(migration, result)
    end
    error(result, 0)
  end
  if session.json or not session.quiet then
    session:result(result, json.RESULT, function()
      return require("smartmigration.report.run").run(result, session.out)
    end)
  end
  return 0
end
