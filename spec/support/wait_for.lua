-- wait_for(what, condition, limit_ms): polls until condition() is neither nil nor false and returns it; an error that
-- names `what` when that has not come within the limit (default 10 s). Specs wait for states with this, never for time.
local system = require "smig_process"

local INTERVAL_MS = 10

return function(what, condition, limit_ms)
  local deadline = system.now_ms() + (limit_ms or 10000)
  while true do
    local value = condition()
    if value then return value end
    if system.now_ms() > deadline then
      error(("waited %d ms in vain for %s"):format(limit_ms or 10000, what), 2)
    end
    system.poll({}, INTERVAL_MS)
  end
end
