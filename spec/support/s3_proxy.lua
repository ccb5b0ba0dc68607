-- A proxy before an honest S3 server that gives the answers the server cannot be made to give (spec/support/s3_proxy.py tells
-- every word of a rule).
--
--   local proxy <close> = s3_proxy.start()               -- before the suite's server; s3_proxy.start(store) before another
--   proxy.endpoint, proxy.env                            -- for the program under test; proxy.store to look by way of the proxy
--   local rule = proxy:add { method = "PUT", path = "key$", times = 2, answer = { status = 503, error = "SlowDown" } }
--   rule:release(); rule:remove()                        -- what it holds; the rule
--   proxy:remove()                                       -- all rules
--   local asked = proxy:log { method = "PUT" }           -- requests in order: { method, path, query, headers, rule, status, … }
--   proxy:clear()                                        -- forgets them
local json = require "spec.support.json"
local process = require "spec.support.process"
local s3 = require "spec.support.s3"

local s3_proxy = {}
local Proxy, Rule = {}, {}
Proxy.__index, Rule.__index = Proxy, Rule

function s3_proxy.start(store)
  store = store or s3.shared()
  local env = { LD_PRELOAD = false }
  for name, value in pairs(store.env) do env[name] = value end
  local child = process.start { "python3", "spec/support/s3_proxy.py", store.endpoint, env = env }
  local endpoint = "http://127.0.0.1:" .. child:wait_for "port (%d+)\n"
  local own = s3.store(endpoint, store.env)
  return setmetatable({ child = child, endpoint = endpoint, env = own.env, store = own, commands = 0 }, Proxy)
end

function Proxy:ask(command, words)
  self.commands = self.commands + 1
  words.id, words["do"] = self.commands, command
  self.child:write(json.write(words) .. "\n")
  local answer = self.child:wait_for(("done %d ([^\n]*)\n"):format(self.commands))
  self.child.out = "" -- or a long log would be searched again and again
  return json.plain(answer)
end

function Proxy:add(rule)
  return setmetatable({ proxy = self, number = self:ask("add", { rule = rule }) }, Rule)
end

function Proxy:remove()
  self:ask("remove", {})
end

-- The requests since clear(), those whose fields are as `like` says.
function Proxy:log(like)
  local found = {}
  for _, entry in ipairs(self:ask("log", {})) do
    local same = true
    for name, value in pairs(like or {}) do same = same and entry[name] == value end
    if same then found[#found + 1] = entry end
  end
  return found
end

function Proxy:clear()
  self:ask("clear", {})
end

function Rule:remove()
  self.proxy:ask("remove", { rule = self.number })
end

function Rule:release()
  self.proxy:ask("release", { rule = self.number })
end

function Proxy:close()
  self.child:close()
end
Proxy.__close = Proxy.close

return s3_proxy
