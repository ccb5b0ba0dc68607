-- A server that dies. At the driver's next regular look at one that it knows the call fails in its time (libmongoc 1.23 waits for
-- ever when its own retry of that look cannot connect, so connecting never fails at once here). A call that looks for a server
-- when the lock is lost or the run is stopped ends within two seconds, although a server may be looked for far longer. A stopped
-- run tries to record that for three seconds more than it had to stop in.
local build = require "spec.support.build"
local process = require "spec.support.process"
local project = require "spec.support.project"
local server = require "spec.support.server"
local wait_for = require "spec.support.wait_for"

local LOOK_MS = 500
local TTL_MS, STOP_MS, END_MS, RECORD_MS = 2000, 1000, 2000, 3000

-- The first call is retried by the driver once its server is gone, the second begins without a server.
local IN_A_CALL = [[
  local things = ctx.mongo:collection "things"
  things:insert_one { _id = 1 }
  print "begun"
  for call = 1, 2 do
    local ok, err = pcall(things.find_one, things, { ["$where"] = "sleep(60000) || true" })
    print(("call %d ended: %s"):format(call, ok or err.code))
  end]]

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

describe("a call without a server", function()
  local function ended(flags, code, act)
    local own <close> = server.start()
    local files = { ["1.lua"] = project.step("s", "1.0.0", "1.1.0", IN_A_CALL) }
    local p <close> = project.new(files, { uri = own.uri, flags = flags })
    local child <close> = p:start { "run" }
    child:wait_for "begun"
    for _, pid in ipairs(own.pids) do process.kill(pid, "KILL") end
    local since, latest = process.now_ms(), act(child)
    child:wait_for("call 1 ended: " .. code, latest)
    local first = process.now_ms() - since
    child:wait_for("call 2 ended: " .. code, latest)
    assert.is_true(process.now_ms() - since <= latest, ("after %d and %d ms"):format(first, process.now_ms() - since))
    local result = child:wait()
    return result, process.now_ms() - since
  end

  it("ends within two seconds of the loss of the lock", function()
    local result = ended({ "--lock-ttl", TTL_MS .. "ms" }, "LOCK_LOST", function()
      return TTL_MS * 3 // 4 + END_MS -- the lock is lost when no beat got through for three quarters of its time
    end)
    assert.are.equal(4, result.status, result.out .. result.err)
  end)

  it("ends within two seconds of the end of the time to stop in, and so does, a little later, the process", function()
    local result, took = ended({ "--stop-timeout", STOP_MS .. "ms" }, "INTERRUPTED", function(child)
      child:kill "TERM"
      return STOP_MS + END_MS
    end)
    assert.are.equal(143, result.status, result.out .. result.err)
    assert.is_truthy(result.err:find("could not be recorded", 1, true), result.err)
    -- Each of the last calls, beside the beat under way, still looks once for a server.
    assert.is_true(took <= STOP_MS + RECORD_MS + 4 * END_MS, took .. " ms")
  end)
end)
