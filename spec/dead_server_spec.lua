-- A server that the driver knows and that is gone at the driver's next regular look at it: the call fails in its time. (libmongoc
-- 1.23 waits for ever when its own retry of that look cannot connect, so connecting never fails at once here.)
local build = require "spec.support.build"
local process = require "spec.support.process"
local server = require "spec.support.server"
local wait_for = require "spec.support.wait_for"

local LOOK_MS = 500

describe("a known server that dies", function()
  it("fails the next call and hangs neither it nor the close", function()
    local own <close> = server.start()
    local uri = own.uri .. (own.uri:find("?", 1, true) and "&" or "?")
      .. ("heartbeatFrequencyMS=%d&serverSelectionTimeoutMS=1500"):format(LOOK_MS)
    local child <close> = process.start { "lua5.4", "-e", ([[
      package.cpath = %q .. ";" .. package.cpath
      local client = require("smartmigration.mongo").connect(%q)
      client:database("x"):run_command "ping"
      io.stdout:write "known\n"
      io.stdout:flush()
      io.read()
      local ok, err = pcall(function() client:database("x"):run_command "ping" end)
      client:close()
      print(ok, err.code)]]):format(build.cpath, uri) }
    child:wait_for "known"
    for _, pid in ipairs(own.pids) do process.kill(pid, "KILL") end
    local killed = process.now_ms()
    wait_for("the driver's next look to be due", function() return process.now_ms() > killed + 2 * LOOK_MS end)
    child:write "go\n"
    local result = child:wait(15000)
    assert.are.equal(0, result.status, result.out .. result.err)
    assert.is_truthy(result.out:find("false\tServerSelectionTimeout", 1, true), result.out)
  end)
end)
