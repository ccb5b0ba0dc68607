-- `history`: what ran, newest first; with --prune-older-than removes what is old. Needs no migration files. Returns 0.
local core = require "smartmigration.core"
local durations = require "smartmigration.durations"
local report = require "smartmigration.report.operations"
local text = require "smartmigration.text"

return function(session)
  local age = session.options.prune_older_than
  if age then
    local ms, problem = durations.parse_age(age)
    if not ms then
      core.raise("INVALID_OPTIONS", "--prune-older-than: " .. text.escape(problem))
    end
    local result = session:open({}, true):history { prune_older_than_ms = ms }
    session:result(result, report.PRUNED, function()
      return report.pruned(result)
    end)
    return 0
  end
  local result = session:open({}, true):history()
  session:result(result, report.HISTORY, function()
    return report.history(result, session.out)
  end)
  return 0
end
