-- stdout, with the first failure to write remembered: a result that got lost on a full disk must not look like success. A reader
-- that went away had what it wanted (`... | head`): that is no failure.
-- Users: session and the entry of the command line.
local output = { problem = nil }

local EPIPE = 32

function output.write(...)
  local ok, problem, number = io.stdout:write(...)
  if ok then
    ok, problem, number = io.stdout:flush()
  end
  if not ok and number ~= EPIPE then
    output.problem = output.problem or problem
  end
end

return output
