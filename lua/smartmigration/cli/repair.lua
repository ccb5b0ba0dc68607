-- `repair`: corrects the record of one step, or runs it once more. Returns 0; refusals and failures are raised.
local core = require "smartmigration.core"
local report = require "smartmigration.report.operations"

local KINDS = { "mark_applied", "mark_pending", "accept_drift", "rerun" }

local function kind_of(options)
  local given
  for _, kind in ipairs(KINDS) do
    if options[kind] then
      if given then
        core.raise("INVALID_OPTIONS", "repair takes one of its options at a time")
      end
      given = kind
    end
  end
  return given or core.raise("INVALID_OPTIONS",
    "repair needs one of --mark-applied ID, --mark-pending ID, --accept-drift ID, --rerun ID")
end

return function(session)
  local kind = kind_of(session.options)
  local migration = session:open_for_operator()
  local result = migration:repair { [kind] = session.options[kind] }
  session:result(result, report.REPAIR, function()
    return report.repair(result)
  end)
  return 0
end
