-- `run`: migrates the data to the target. Returns 0; failures are raised (STEP_FAILED, LOCK_TIMEOUT, …).
local json = require "smartmigration.report.json"
local process = require "smartmigration.process"

-- How many checkpoints the failed step has left: for people, who want to know what its next run does. Not asked when
-- the server has just failed to answer; nil when it is not known.
local function count_checkpoints(migration, failure)
  local cause = failure.cause
  if failure.code ~= "STEP_FAILED" or cause and (cause.category == "network" or cause.category == "timeout") then
    return nil
  end
  local ok, status = pcall(migration.status, migration)
  for _, step in ipairs(ok and status.steps or {}) do
    if step.id == failure.details.step_id then
      return step.checkpoints or 0
    end
  end
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
      session.checkpoints = count_checkpoints(migration, result)
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
