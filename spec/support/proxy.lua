-- A proxy before the test server's primary that loses answers: the server does the work, the client never hears of it.
--
--   local proxy <close> = proxies.start()
--   proxy.uri                       -- the test server's, by way of the proxy alone
--   proxy:cut(3)                    -- from here on the third answer is lost, with its connection; more numbers, more cuts
--   local answers, cuts = proxy:tell()   -- since then
local process = require "spec.support.process"
local server = require "spec.support.server"

local proxies = {}
local Proxy = {}
Proxy.__index = Proxy

function proxies.start()
  local primary = server.client():database("admin"):run_command("hello").primary
  local host, port = primary:match "^(.*):(%d+)$"
  local child = process.start { "python3", "spec/support/proxy.py", host, port, env = { LD_PRELOAD = false } }
  local own = child:wait_for "port (%d+)\n"
  local login, rest = server.uri:match "//([^/]*@)", server.uri:match "//[^/]*/?(.*)"
  local uri = ("mongodb://%s127.0.0.1:%s/%s"):format(login or "", own, rest:gsub("replicaSet=[^&]*", "directConnection=true"))
  return setmetatable({ child = child, uri = uri, commands = 0 }, Proxy)
end

function Proxy:ask(word, answer, ...)
  self.commands = self.commands + 1
  self.child:write(table.concat({ word, self.commands, ... }, " ") .. "\n")
  return self.child:wait_for(answer:format(self.commands))
end

function Proxy:cut(...)
  self:ask("cut", "armed %d\n", ...)
end

function Proxy:tell()
  local answers, cuts = self:ask("tell", "told %d (%%d+) (%%d+)\n")
  return math.tointeger(tonumber(answers)), math.tointeger(tonumber(cuts))
end

function Proxy:close()
  self.child:close()
end
Proxy.__close = Proxy.close

return proxies
