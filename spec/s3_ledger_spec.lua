-- The ledger in S3 through the binary, with nothing but a bucket: processes that start at once, kills, thefts, costs.
local process = require "spec.support.process"
local project = require "spec.support.project"
local s3 = require "spec.support.s3"
local s3_project = require "spec.support.s3_project"
local s3_proxy = require "spec.support.s3_proxy"
local smartmigration = require "smartmigration"
local wait_for = require "spec.support.wait_for"

local KEY = s3_project.KEY
local ROUNDS, RACERS = 5, 8

-- Each application of a step leaves an object of its own.
local function chain(count)
  return project.chain(count, function(i)
    return ("ctx.bucket:put(('effects/%d/%%s'):format(ctx.run_id), 'x')"):format(i)
  end)
end

local function race(count, existing, rounds, options)
  local doubles = 0
  local p <close> = s3_project.new(chain(2), options)
  for _ = 1, rounds do
    p:empty()
    if existing then p:set_ledger '{"currentVersion": "1.0.0", "steps": {}, "mine": 12345678901234567890}' end
    local commands = {}
    for i = 1, count do commands[i] = p:command { "run" } end
    local applied = 0
    for _, result in ipairs(process.race(commands)) do
      project.parse(result)
      if result.json and result.json.stepsApplied then applied = applied + #result.json.stepsApplied end
      if not options then
        assert.are.equal(0, result.status, result.out .. result.err)
        assert.are.equal("1.0.2", result.json.currentVersionAfter)
      end
    end
    local effects = #p:keys "effects/"
    if effects > 2 then doubles = doubles + 1 end
    if not options then
      assert.are.equal(2, effects)
      assert.are.equal(2, applied, "each step is reported by one process")
      assert.are.equal("1.0.2", p:ledger().currentVersion)
      assert.are.same({}, p:keys ".smartmigration/smartmigration.probe-")
      if existing then assert.is_truthy(p.store:get(p.bucket, KEY):find("12345678901234567890", 1, true)) end
    end
  end
  return doubles
end

describe("processes over a ledger in S3 that start at once", function()
  for _, existing in ipairs { false, true } do
    it(("%d on %s ledger apply each step once, %d rounds"):format(RACERS, existing and "an existing" or "a fresh", ROUNDS),
      function() race(RACERS, existing, ROUNDS) end)
  end

  it("would apply steps twice without the lock's condition", function()
    local doubles = race(4, true, 10, { dev = true, env = { SMIG_FAULT = "lock-condition" } })
    assert.is_true(doubles > 0, "10 rounds of 4 processes without the condition saw no double")
  end)
end)

it("two runs of one process over a ledger in S3 exclude each other", function()
  local store = s3.shared()
  local bucket = store:bucket()
  local function engine(up)
    local migration = smartmigration.new { target_version = "1.1.0", log = function() end, lock = { wait_ms = 0 },
      s3 = { endpoint = store.endpoint, bucket = bucket } }
    migration:step("only"):from("1.0.0"):to("1.1.0"):up(up)
    return migration
  end
  local ran, refusal, holder = 0, nil, nil
  local other <close> = engine(function() ran = ran + 1 end)
  local first <close> = engine(function(ctx)
    ran = ran + 1
    holder = ctx.lease.holder
    local _
    _, refusal = pcall(other.run, other)
  end)
  first:run()
  assert.are.equal("LOCK_TIMEOUT", refusal.code)
  assert.are.equal(holder, refusal.details.holder)
  assert.are.same({}, other:run().steps_applied)
  assert.are.equal(1, ran)
end)

describe("a call to an S3 server that freezes", function()
  local TTL_MS, STOP_MS, END_MS, RECORD_MS = 5000, 1000, 2000, 3000
  local ASK = [[
    io.stderr:write "begun\n"
    local ok, err
    repeat ok, err = pcall(ctx.bucket.head, ctx.bucket, "k") until not ok
    error(err, 0)]]

  -- `latest`: how long after the freeze, and `act`, the step must have ended, and with it its call.
  local function ended(flags, code, latest, act)
    local own <close> = s3.start()
    local p <close> = s3_project.new({ ["1.lua"] = project.step("s", "1.0.0", "1.1.0", ASK) }, { store = own, flags = flags })
    local child <close> = p:start { "run" }
    child:wait_for "begun"
    process.kill(own.pids[1], "STOP")
    local since = process.now_ms()
    act(child)
    local result = project.parse(child:wait())
    local took = process.now_ms() - since
    assert.are.equal(code, result.json.error.code, result.out .. result.err)
    local step = result.json.stepsFailed[1]
    assert.is_true(step.durationMs <= since - child.started + latest, ("%d ms"):format(step.durationMs))
    return result, took
  end

  it("ends within two seconds of the loss of the lock", function()
    local result = ended({ "--lock-ttl", TTL_MS .. "ms" }, "LOCK_LOST", TTL_MS * 3 // 4 + END_MS, function() end)
    assert.are.equal(4, result.status, result.out .. result.err)
  end)

  it("ends within two seconds of the end of the time to stop in, and so does, a little later, the process", function()
    local result, took = ended({ "--stop-timeout", STOP_MS .. "ms" }, "INTERRUPTED", STOP_MS + END_MS,
      function(child) child:kill "TERM" end)
    assert.are.equal(143, result.status, result.out .. result.err)
    assert.is_truthy(result.err:find("could not be recorded", 1, true), result.err)
    -- The last calls, beside the beat under way, still look once for the server.
    assert.is_true(took <= STOP_MS + RECORD_MS + 4 * END_MS, took .. " ms")
  end)
end)

describe("a run over a ledger in S3", function()
  local RESUMABLE = [[
    local from = ctx.checkpoint:read "next" or 0
    ctx.bucket:put(("starts/%03d"):format(from), "x")
    for batch = from, 299 do
      ctx.bucket:put(("batches/%03d/%s"):format(batch, ctx.run_id), "x")
      ctx.checkpoint:write("next", batch + 1)
    end
  ]]

  it("that was killed in a step is taken over at once and resumes from its checkpoint", function()
    local p <close> = s3_project.new { ["1.lua"] = project.step("grow", "1.0.0", "1.1.0", RESUMABLE, "resumable = true,") }
    local child <close> = p:start { "run" }
    wait_for("some batches", function()
      local ledger = p:ledger()
      local kept = ledger and ledger.checkpoints and ledger.checkpoints.grow
      return kept and kept.next and kept.next >= 5
    end)
    child:kill "KILL"
    child:wait()
    local at_kill = p:ledger()
    assert.are.equal("running", at_kill.steps.grow.status)
    assert.is_string(at_kill.lock.holder)
    local result = p:migrate()
    assert.are.equal("1.1.0", result.currentVersionAfter)
    assert.is_true(result.totalDurationMs < 30000, "the lock was waited for")
    assert.are.same({ "starts/000", ("starts/%03d"):format(at_kill.checkpoints.grow.next) }, p:keys "starts/")
    local ledger = p:ledger()
    assert.is_nil(ledger.checkpoints.grow)
    assert.is_nil(ledger.leftovers)
    assert.are.equal(2, ledger.steps.grow.attempts)
  end)

  it("whose lock was stolen is stopped, stamps nothing and leaves the thief's lock alone", function()
    local p <close> = s3_project.new({ ["1.lua"] = project.step("s", "1.0.0", "1.1.0",
      "while true do ctx.bucket:put('begun', 'x') end") }, { flags = { "--lock-ttl", "5s" } })
    local child <close> = p:start { "run" }
    wait_for("the step to run", function() return p.store:head(p.bucket, "begun") end)
    local text = p.store:get(p.bucket, KEY)
    p:set_ledger((text:gsub('"holder":"[^"]*"', '"holder":"thief"', 1)))
    local result = project.parse(child:wait(15000))
    assert.are.equal("LOCK_LOST", result.json.error.code, result.out .. result.err)
    assert.are.equal("thief", p:ledger().lock.holder)
    assert.are.equal("running", p:ledger().steps.s.status)
  end)

  it("costs n + 2 writes of the ledger, and one GET when there is nothing to do; plans write nothing", function()
    local proxy <close> = s3_proxy.start()
    local p <close> = s3_project.new(chain(3), { proxy = proxy })
    local path = "/" .. p.bucket .. "/" .. KEY
    for _, words in ipairs { { "plan" }, { "run", "--dry-run" }, { "status" }, { "validate" } } do
      assert.are.equal(0, p:run(words).status)
    end
    assert.are.equal(#proxy:log(), #proxy:log { method = "GET" })
    p:migrate()
    assert.are.equal(5, #proxy:log { method = "PUT", path = path })
    proxy:clear()
    p:migrate()
    assert.are.equal(1, #proxy:log())
    assert.are.equal(1, #proxy:log { method = "GET", path = path })
  end)

  it("survives answers that get lost at every write of the ledger", function()
    local proxy <close> = s3_proxy.start()
    for write = 0, 4 do
      for _, drop in ipairs { "before", "after" } do
        local p <close> = s3_project.new(chain(3), { proxy = proxy })
        local rule = proxy:add { method = "PUT", path = "smartmigration\\.json$", skip = write, times = 1, drop = drop }
        proxy:clear()
        p:migrate()
        assert.are.equal(1, #proxy:log { rule = rule.number })
        proxy:remove()
        assert.are.equal(3, #p:keys "effects/")
        local ledger = p:ledger()
        assert.are.equal("1.0.3", ledger.currentVersion)
        assert.is_nil(ledger.lock.holder)
      end
    end
  end)

  it("refuses a store that loses races, unless told to do its best", function()
    local proxy <close> = s3_proxy.start()
    proxy:add { races = 2 }
    local p <close> = s3_project.new(chain(1), { proxy = proxy })
    local result = p:run { "run" }
    assert.are.equal(2, result.status)
    assert.are.equal("LEDGER_NOT_EXCLUSIVE", result.json.error.code)
    assert.is_nil(p:ledger())
    assert.are.same({}, p:keys())
    result = p:run { "run", "--s3-lock", "best-effort" }
    assert.are.equal(0, result.status, result.out .. result.err)
    local _, warnings = result.err:gsub("is best effort", "")
    assert.are.equal(1, warnings)
    assert.are.equal("races", p:ledger().conditionalWrites.verdict)
  end)

  it("is worked on by operators' commands, and keeps a history", function()
    local p <close> = s3_project.new(chain(2))
    assert.are.equal(0, p:run { "baseline", "1.0.1" }.status)
    assert.are.equal("1.0.1", p:ledger().currentVersion)
    p:migrate()
    assert.are.equal(1, #p:keys "effects/")
    assert.are.equal(2, #p:keys ".smartmigration/smartmigration/history/")
    local history = p:run { "history" }
    assert.are.equal(0, history.status, history.out .. history.err)
    local text = p.store:get(p.bucket, KEY):gsub('"holder":null', '"holder":"somebody@elsewhere"', 1)
    local soon = os.date("!%Y-%m-%dT%H:%M:%S.000Z", os.time() + 5)
    p:set_ledger((text:gsub('"expiresAt":null', '"expiresAt":"' .. soon .. '"', 1)))
    local freed = p:run { "unlock", "--force", "somebody@elsewhere", "--lock-ttl", "5s" }
    assert.are.equal(0, freed.status, freed.out .. freed.err)
    assert.is_nil(p:ledger().lock.holder)
  end)
end)
