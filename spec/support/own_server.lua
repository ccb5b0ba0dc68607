-- A throw-away server that only one spec knows, by scripts/with-mongod or scripts/with-s3. It ends with the handle or the suite.
--
--   local own <close> = own_server.start({ "scripts/with-s3" }, "SMARTMIGRATION_TEST_S3_ENDPOINT", { "AWS_REGION" })
--   own.told.AWS_REGION           -- what the script tells its command, by the names given; "" for what it does not tell
--   own.pids = { … }              -- of processes that may be frozen when the end comes
local process = require "spec.support.process"

local own_server = {}
local Own = {}
Own.__index = Own

-- `given` is the variable that would name a server to use instead of an own one.
function own_server.start(words, given, names)
  local command = { env = { [given] = false }, table.unpack(words) }
  -- It lives until its input ends: with close(), or with the suite.
  local tell = 'for name; do eval "echo $name=\\$$name"; done; echo told; cat'
  for _, word in ipairs { "sh", "-c", tell, "sh", given, table.unpack(names) } do command[#command + 1] = word end
  local child = process.start(command)
  local told = {}
  for name, value in child:wait_for("^(.*)told\n"):gmatch "([%w_]+)=([^\n]*)\n" do told[name] = value end
  return setmetatable({ child = child, told = told, pids = {} }, Own)
end

function Own:close()
  if self.child.ended then return end
  -- A frozen server would not hear the end.
  for _, pid in ipairs(self.pids) do process.kill(pid, "CONT") end
  self.child:wait(30000)
end

Own.__close = Own.close

return own_server
