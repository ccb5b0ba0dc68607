-- stdout, with the first failure to write remembered: a result that got lost on a full disk must not look like success.
-- Users: session and the entry of the command line.
local output = { problem = nil }

function output.write(...)
  local ok, problem = io.stdout:write(...)
  if ok then
    ok, problem = io.stdout:flush()
  end
  if not ok then
    output.problem = output.problem or problem
  end
end

return output
