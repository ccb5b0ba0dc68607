-- `checkpoint list|show|clear [STEP]`: what steps have left to go on from. Needs no migration files. Returns 0.
local core = require "smartmigration.core"
local report = require "smartmigration.report.operations"
local text = require "smartmigration.text"

local actions = {}

function actions.list(session, step)
  local result = session:open({}, true):checkpoints(step)
  session:result(result, report.CHECKPOINTS, function()
    return report.checkpoints(result, step, session.out)
  end)
end

function actions.show(session, step)
  local result = session:open({}, true):checkpoints(step, { values = true })
  session:result(result, report.CHECKPOINTS, function()
    return report.checkpoints(result, step, session.out)
  end)
end

function actions.clear(session, step)
  local result = session:open_for_operator(true):clear_checkpoints(step)
  session:result(result, report.CLEARED, function()
    return report.cleared(result)
  end)
end

return function(session)
  local action, step = table.unpack(session.request.arguments)
  if not actions[action] then
    core.raise("INVALID_OPTIONS", ("checkpoint takes list, show or clear, not '%s'%s"):format(text.escape(action),
      text.did_you_mean(core.suggest(action, { "list", "show", "clear" }))))
  end
  actions[action](session, step)
  return 0
end
