-- What a dead or stopped run leaves behind, and who may take its lock.
local bson = require "smartmigration.bson"
local process = require "spec.support.process"
local json = require "spec.support.json"
local project = require "spec.support.project"
local s3 = require "spec.support.s3"
local s3_project = require "spec.support.s3_project"
local server = require "spec.support.server"
local wait_for = require "spec.support.wait_for"

local BATCHES = 40

-- Adds 1 to every document, in batches, with a checkpoint after each. `pace` makes a batch take a while on the server.
local RESUMABLE = [[
  local things = ctx.mongo:collection "things"
  local from = ctx.checkpoint:read "next" or 0
  ctx.mongo:collection("starts"):insert_one { from = from }
  for batch = from, %d - 1 do
    things:update_many({ batch = batch, ["$where"] = "sleep(2) || true" }, { ["$inc"] = { n = 1 } })
    ctx.checkpoint:write("next", batch + 1)
  end
]]

local function fill(p, documents, batches)
  local rows = {}
  for i = 1, documents do rows[i] = { _id = i, n = 0, batch = i % batches } end
  p.db:collection("things"):insert_many(rows)
end

-- Commands on the server for this database's collection `things` that a step sent.
local function commands_on_things(p)
  local found = 0
  for op in p.db:client():database("admin"):aggregate({ { ["$currentOp"] = { allUsers = true } },
    { ["$match"] = { ns = p.database .. ".things", ["command.comment"] = bson.regex "^smartmigration:" } } }) do
    found = found + (op and 1 or 0)
  end
  return found
end

local function hash(p)
  return p.db:run_command("dbHash", 1, { collections = { "things" } }).md5
end

describe("after kill -9", function()
  it("in a resumable step, the next run takes over at once and resumes from the checkpoint", function()
    local p <close> = project.new({ ["1.lua"] = project.step("grow", "1.0.0", "1.1.0", RESUMABLE:format(BATCHES),
      "resumable = true,") })
    fill(p, 400, BATCHES)
    local child <close> = p:start { "run" }
    wait_for("some batches", function()
      local ledger = p:ledger()
      return ledger and ledger.checkpoints and ledger.checkpoints.grow and ledger.checkpoints.grow.next >= 5
    end)
    child:kill "KILL"
    child:wait()
    local at_kill = p:ledger()
    assert.are.equal("running", at_kill.steps.grow.status)
    assert.is_string(at_kill.lock.holder)

    local result = p:migrate()
    assert.are.equal("1.1.0", result.currentVersionAfter)
    assert.is_true(result.totalDurationMs < 30000, "the lock was waited for")
    local starts = p.db:collection("starts"):find({}, { sort = { from = 1 } }):all()
    assert.are.equal(2, #starts)
    assert.are.equal(0, starts[1].from)
    assert.is_true(starts[2].from >= 5, "the second run began at the checkpoint")
    assert.are.equal(400, p.db:collection("things"):count { n = { ["$gte"] = 1 } })
    assert.are.equal(0, p.db:collection("things"):count { n = { ["$gt"] = 2 } })
    assert.is_true(p.db:collection("things"):count { n = 2 } <= 400 // BATCHES, "at most one batch is repeated")
    local ledger = p:ledger()
    assert.is_nil(ledger.checkpoints.grow)
    assert.is_nil(ledger.leftovers)
    assert.are.equal(2, ledger.steps.grow.attempts)
  end)

  -- The first try sends one update that takes many seconds on the server; later tries send nothing.
  local LONG = [[
    if os.getenv "FIRST_TRY" then
      ctx.mongo:collection("things"):update_many({ ["$where"] = "sleep(10) || true" }, { ["$inc"] = { n = 1 } })
    end
  ]]

  local function kill_in_a_long_update(options)
    local p = project.new({ ["1.lua"] = project.step("long", "1.0.0", "1.1.0", LONG) }, options)
    fill(p, 800, 1)
    local child <close> = p:start { "run", env = { FIRST_TRY = "1" } }
    wait_for("the update to have begun", function() return commands_on_things(p) > 0 end)
    child:kill "KILL"
    child:wait()
    assert.are.equal(1, commands_on_things(p), "the server goes on with the update of a killed process")
    return p
  end

  local function ends_the_leftover(options, ledger)
    local p <close> = kill_in_a_long_update(options)
    assert.are.equal("running", ledger(p).steps.long.status)
    p:migrate()
    local after = hash(p)
    assert.are.equal(0, commands_on_things(p))
    assert.are.equal(after, hash(p))
    assert.is_true(p.db:collection("things"):count { n = 1 } < 800, "the update was not ended, it was waited for")
    assert.are.equal("1.1.0", ledger(p).currentVersion)
    assert.is_nil(ledger(p).leftovers)
  end

  it("in a long update, the next run ends it before its first step", function()
    ends_the_leftover(nil, function(p) return p:ledger() end)
  end)

  it("in a long update with the ledger in S3, the same", function()
    local store = s3.shared()
    local bucket = store:bucket()
    local options = { env = store.env,
      flags = { "--s3-bucket", bucket, "--s3-endpoint", store.endpoint, "--ledger", "s3" } }
    ends_the_leftover(options, function(p)
      assert.is_nil(p:ledger(), "there is a ledger in MongoDB")
      return json.plain(store:get(bucket, s3_project.KEY))
    end)
  end)

  it("in a long update, data would still change after the next run without the clean-up", function()
    local p <close> = kill_in_a_long_update { dev = true, env = { SMIG_FAULT = "leftovers" } }
    p:migrate()
    local after = hash(p)
    assert.are.equal(1, commands_on_things(p))
    wait_for("the update to end", function() return commands_on_things(p) == 0 end, 60000)
    assert.are_not.equal(after, hash(p))
  end)
end)

describe("a live holder", function()
  local SPIN = [[ctx.mongo:collection("things"):update_one({ _id = "begun" }, { ["$set"] = { x = 1 } }, { upsert = true })
    while not ctx.mongo:collection("things"):find_one { _id = "stop" } do ctx:check() end]]

  local function holding(p, words)
    local child = p:start(words)
    wait_for("the step to run", function() return p.db:collection("things"):find_one { _id = "begun" } end)
    return child
  end

  it("keeps its lock through a step longer than the TTL", function()
    local p <close> = project.new({ ["1.lua"] = project.step("long", "1.0.0", "1.1.0", SPIN) },
      { flags = { "--lock-ttl", "1s" } })
    local child <close> = holding(p, { "run" })
    local first = p:ledger().lock.expiresAt
    local waiter = p:run { "run", "--lock-wait", "3500ms" } -- three TTLs and a half
    assert.are.equal(4, waiter.status, waiter.out .. waiter.err)
    assert.are_not.equal(first, p:ledger().lock.expiresAt)
    p.db:collection("things"):insert_one { _id = "stop" }
    assert.are.equal(0, child:wait().status)
    assert.are.equal("1.1.0", p:ledger().currentVersion)
  end)

  it("in another pid namespace of this host is never taken over early", function()
    local p <close> = project.new { ["1.lua"] = project.step("long", "1.0.0", "1.1.0", SPIN) }
    local unshare = { "unshare", "--pid", "--fork", "--kill-child" }
    if io.popen("id -u"):read "n" ~= 0 then table.insert(unshare, 2, "--map-root-user") end
    local child <close> = holding(p, { "run", prefix = unshare })
    local holder = p:ledger().lock.holder
    assert.are_not.equal(holder:match "^[^@]*@[^/]*/[^/]*/([^/]*)/", io.popen("readlink /proc/self/ns/pid"):read "l")
    local second = p:run { "run", "--lock-wait", "1500ms" }
    assert.are.equal(4, second.status, second.out .. second.err)
    assert.are.equal("LOCK_TIMEOUT", second.json.error.code)
    assert.are.equal(holder, second.json.error.details.holder)
    assert.are.equal(holder, p:ledger().lock.holder)
    p.db:collection("things"):insert_one { _id = "stop" }
    assert.are.equal(0, child:wait().status)
  end)

  it("would be taken over if a holder counted as dead without proof", function()
    local p <close> = project.new({ ["1.lua"] = project.step("long", "1.0.0", "1.1.0", SPIN) }, { dev = true })
    local child <close> = holding(p, { "run" })
    child:kill "STOP"
    p.db:collection("things"):insert_one { _id = "stop" }
    local second = p:run { "run", "--lock-wait", "1500ms", env = { SMIG_FAULT = "early-take-over" } }
    child:kill "CONT"
    assert.are.equal(0, second.status, second.out .. second.err)
    assert.are_not.equal(0, child:wait().status)
  end)

  it("that is frozen loses its lock when the TTL has run out, and stamps nothing once thawed", function()
    local p <close> = project.new({ ["1.lua"] = project.step("long", "1.0.0", "1.1.0", SPIN) },
      { flags = { "--lock-ttl", "1s" } })
    local child <close> = holding(p, { "run" })
    child:kill "STOP"
    p.db:collection("things"):insert_one { _id = "stop" }
    local second = p:run { "run", "--lock-wait", "20s" }
    assert.are.equal(0, second.status, second.out .. second.err)
    local after = p:ledger()
    child:kill "CONT"
    local first = project.parse(child:wait())
    assert.are.equal(4, first.status, first.out .. first.err)
    assert.are.equal("LOCK_LOST", first.json.error.code)
    assert.are.same(after, p:ledger())
  end)
end)

describe("a lock that is stolen", function()
  local function steal(p)
    p.db:collection(project.LEDGER):update_one({ nameId = project.NAME_ID },
      { ["$set"] = { ["data.lock.holder"] = "thief", ["data.lock.expiresAt"] = "2999-01-01T00:00:00.000Z" } })
  end

  local bodies = {
    ["a pure Lua loop within pcall"] = "while true do pcall(function() while true do end end) end",
    ["a loop of database calls within pcall"] =
      "while true do pcall(function() ctx.mongo:collection('things'):find_one { _id = 'x' } end) end",
    ["a coroutine that swallows errors"] =
      "while true do coroutine.wrap(function() pcall(function() while true do end end) end)() end",
    ["one long command"] =
      "ctx.mongo:collection('things'):update_many({ ['$where'] = 'sleep(60000) || true' }, { ['$set'] = { x = 1 } })",
  }
  for name, body in pairs(bodies) do
    it("ends " .. name .. " and stamps nothing", function()
      local p <close> = project.new({ ["1.lua"] = project.step("s", "1.0.0", "1.1.0",
        "ctx.mongo:collection('things'):insert_one { _id = 'begun' }\n" .. body) }, { flags = { "--lock-ttl", "1s" } })
      local child <close> = p:start { "run" }
      wait_for("the step to run", function() return p.db:collection("things"):find_one { _id = "begun" } end)
      steal(p)
      local result = project.parse(child:wait(10000))
      assert.are.equal(4, result.status, result.out .. result.err)
      assert.are.equal("LOCK_LOST", result.json.error.code)
      local ledger = p:ledger()
      assert.are.equal("thief", ledger.lock.holder)
      assert.are.equal("1.0.0", ledger.currentVersion)
      assert.are.equal("running", ledger.steps.s.status)
      wait_for("the server to have nothing of it", function() return commands_on_things(p) == 0 end)
    end)
  end
end)

describe("SIGTERM", function()
  local function interrupted(body, signal, status, flags, fields, wrap)
    local p <close> = project.new({ ["1.lua"] = project.step("s", "1.0.0", "1.1.0",
      "ctx.mongo:collection('things'):insert_one { _id = 'begun' }\n" .. body, fields) }, { flags = flags })
    local child <close> = p:start { "run", prefix = wrap }
    wait_for("the step to run", function() return p.db:collection("things"):find_one { _id = "begun" } end)
    if wrap then
      process.run { "sh", "-c", ("kill -%s $(pgrep -P %d)"):format(signal, child.pid) }
    else
      child:kill(signal)
    end
    local result = project.parse(child:wait(15000))
    assert.are.equal(status, result.status, result.out .. result.err)
    assert.are.equal("INTERRUPTED", result.json.error.code)
    local ledger = p:ledger()
    assert.are.equal("interrupted", ledger.steps.s.status)
    assert.are.equal("INTERRUPTED", ledger.steps.s.error.code)
    assert.is_true(bson.is_null(ledger.lock.holder))
    assert.are.equal(0, commands_on_things(p))
    return ledger
  end

  it("stops a pure Lua loop", function()
    interrupted("while true do pcall(function() while true do end end) end", "TERM", 143)
  end)

  it("ends a long command after the stop time-out", function()
    interrupted("ctx.mongo:collection('things'):update_many({ ['$where'] = 'sleep(60000) || true' }, { ['$set'] = { x = 1 } })",
      "INT", 130, { "--stop-timeout", "500ms" })
  end)

  it("leaves the checkpoints", function()
    local ledger = interrupted("while true do ctx.checkpoint:write('k', 7) end", "TERM", 143, nil, "resumable = true,")
    assert.are.equal(7, ledger.checkpoints.s.k)
  end)

  it("works on PID 1", function()
    local unshare = { "unshare", "--pid", "--fork" }
    if io.popen("id -u"):read "n" ~= 0 then table.insert(unshare, 2, "--map-root-user") end
    interrupted("while true do ctx:check() end", "TERM", 143, nil, nil, unshare)
  end)

  it("a second one ends the process", function()
    local p <close> = project.new({ ["1.lua"] = project.step("s", "1.0.0", "1.1.0", [[
      ctx.mongo:collection('things'):insert_one { _id = 'begun' }
      ctx.mongo:collection('things'):update_many({ ['$where'] = 'sleep(60000) || true' }, { ['$set'] = { x = 1 } })]]) })
    local child <close> = p:start { "run" }
    wait_for("the long command", function() return commands_on_things(p) > 0 end)
    child:kill "TERM"
    child:kill "INT" -- another number, since two pending signals of one number are one
    local result = child:wait(5000)
    assert.is_true(result.status == 130 or result.status == 143)
  end)
end)

describe("a server that freezes", function()
  it("ends the run when the lease has run out", function()
    local own <close> = server.start()
    local p <close> = project.new({ ["1.lua"] = project.step("s", "1.0.0", "1.1.0",
      "ctx.mongo:collection('things'):insert_one { _id = 'begun' }\n" ..
      "while true do ctx.mongo:collection('things'):find_one { _id = 'x' } end") },
      { uri = own.uri, flags = { "--lock-ttl", "2s" } })
    local child <close> = p:start { "run" }
    wait_for("the step to run", function() return p.db:collection("things"):find_one { _id = "begun" } end)
    for _, pid in ipairs(own.pids) do process.kill(pid, "STOP") end
    local result = project.parse(child:wait(15000))
    for _, pid in ipairs(own.pids) do process.kill(pid, "CONT") end
    assert.are.equal(4, result.status, result.out .. result.err)
    assert.are.equal("LOCK_LOST", result.json.error.code)
    assert.are.equal("running", p:ledger().steps.s.status)
  end)
end)
