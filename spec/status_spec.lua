-- status, as those read it who wait for a migration: what runs, what was interrupted, whose lock it is, and when it is over.
local bson = require "smartmigration.bson"
local project = require "spec.support.project"
local wait_for = require "spec.support.wait_for"

local CHAIN = {
  ["1.lua"] = project.step("first", "1.0.0", "1.1.0", "ctx.mongo:collection('things'):insert_one { _id = 'first' }"),
  ["2.lua"] = project.step("second", "1.1.0", "1.2.0", [[
    ctx.mongo:collection("things"):insert_one { _id = ctx.run_id }
    ctx.checkpoint:write("a", 1)
    ctx.checkpoint:write("b", 2)
    if os.getenv "FIRST_TRY" then
      while not ctx.mongo:collection("things"):find_one { _id = "stop" } do ctx:check() end
    end]], "resumable = true,"),
  ["3.lua"] = project.step("third", "1.2.0", "1.3.0"),
}

local function status(p, ...)
  local result = p:run { "status", ... }
  assert.is_truthy(result.json and result.json.steps, result.out .. result.err)
  local of = {}
  for _, step in ipairs(result.json.steps) do of[step.id] = step end
  return result.json, of, result
end

-- A run in the middle of its second step.
local function running(p)
  local child = p:start { "run", env = { FIRST_TRY = "1" } }
  wait_for("the second step's checkpoints", function()
    local ledger = p:ledger()
    return ledger and ledger.checkpoints.second and ledger.checkpoints.second.b
  end)
  return child
end

local function check_steps(of, second)
  assert.are.equal("applied", of.first.status)
  assert.are.equal(second, of.second.status)
  assert.are.equal("pending", of.third.status)
  assert.are.equal(1, of.second.attempts)
  assert.are.equal(2, of.second.checkpoints)
end

describe("status", function()
  it("shows what runs under a live lock; once its process is dead, a stale lock and what was interrupted", function()
    local p <close> = project.new(CHAIN)
    local child <close> = running(p)
    local told, of = status(p)
    check_steps(of, "running")
    assert.are.equal("1.1.0", told.currentVersion)
    assert.are.equal("1.3.0", told.targetVersion)
    assert.are.equal(2, told.pending)
    assert.are.equal(p:ledger().lock.holder, told.lock.holder)
    assert.are.equal(p:ledger().lock.acquiredAt, told.lock.acquiredAt)
    assert.is_true(told.lock.expiresAt > told.lock.acquiredAt)
    assert.is_false(told.lock.stale)
    assert.are.equal(10, p:run({ "status", "--check" }).status)

    child:kill "KILL"
    child:wait()
    local before = p:document()
    told, of = status(p)
    check_steps(of, "interrupted")
    assert.is_true(told.lock.stale)
    assert.is_true(bson.equal(before, p:document()), "status wrote to the ledger")

    p:migrate()
    told, of = status(p, "--check")
    assert.is_nil(told.lock)
    assert.are.equal(0, told.pending)
    for id, step in pairs(of) do
      assert.are.equal("applied", step.status)
      assert.are.equal(id == "second" and 2 or 1, step.attempts)
      assert.is_nil(step.checkpoints)
    end
  end)

  local function planted(lock, entry)
    return { currentVersion = "1.1.0", lock = lock, checkpoints = bson.doc {}, steps = {
      first = { stepId = "first", fromVersion = "1.0.0", toVersion = "1.1.0", status = "applied" },
      second = { stepId = "second", fromVersion = "1.1.0", toVersion = "1.2.0", status = "running", run = entry } } }
  end

  local PAST, FUTURE = "2020-01-01T00:00:00.000Z", "2999-01-01T00:00:00.000Z"
  local RUN, OTHER = ("a"):rep(32), ("b"):rep(32)
  local ELSEWHERE = "@far/boot/pid:[1]/time:[1]/1/1"

  -- name -> the lock, what the second step shows as, and whether the lock is stale (nil: there is none)
  for name, row in pairs {
    ["released"] = { { holder = bson.null }, "interrupted" },
    ["live and its run's"] = { { holder = RUN .. ELSEWHERE, acquiredAt = PAST, expiresAt = FUTURE }, "running", false },
    ["live and another run's"] = { { holder = OTHER .. ELSEWHERE, acquiredAt = PAST, expiresAt = FUTURE }, "interrupted",
      false },
    ["expired"] = { { holder = RUN .. ELSEWHERE, acquiredAt = PAST, expiresAt = PAST }, "interrupted", true },
    ["expired by a Date"] = { { holder = RUN .. ELSEWHERE, acquiredAt = bson.date(PAST), expiresAt = bson.date(PAST) },
      "interrupted", true },
    ["live by a Date"] = { { holder = RUN .. ELSEWHERE, acquiredAt = bson.date(PAST), expiresAt = bson.date(FUTURE) },
      "running", false },
  } do
    it("shows a running entry as " .. row[2] .. " where the lock is " .. name, function()
      local p <close> = project.new(CHAIN)
      p:set_ledger(planted(row[1], RUN))
      local told, of, result = status(p)
      assert.are.equal(row[2], of.second.status, result.out)
      if row[3] == nil then
        assert.is_nil(told.lock)
      else
        assert.are.equal(row[3], told.lock.stale, result.out)
        assert.are.equal(row[1].holder, told.lock.holder)
        assert.is_string(told.lock.expiresAt)
      end
    end)
  end
end)

describe("status of steps that were never to run", function()
  local function statuses(p, ...)
    local told, of, result = status(p, ...)
    return { of.first.status, of.second.status, of.third.status }, told, result
  end

  it("shows those below a fresh install's version as skipped, before and after it", function()
    local p <close> = project.new(CHAIN, { flags = { "--fresh-install-version", "1.2.0" } })
    local shown, told = statuses(p)
    assert.are.same({ "skipped", "skipped", "pending" }, shown)
    assert.are.equal(1, told.pending)
    p:migrate()
    assert.are.same({ "skipped", "skipped", "applied" }, (statuses(p)))
    assert.is_truthy(p:run({ "status" }).out:find('"status":"skipped"', 1, true))
  end)

  it("shows none as skipped where the chain begins", function()
    local p <close> = project.new(CHAIN)
    assert.are.same({ "pending", "pending", "pending" }, (statuses(p)))
  end)

  it("shows those below a version without records as skipped, and one that a record should be of as pending", function()
    local p <close> = project.new(CHAIN)
    p:set_ledger { currentVersion = "1.1.0" }
    assert.are.same({ "skipped", "pending", "pending" }, (statuses(p)))
    p:set_ledger { currentVersion = "1.2.0", bootstrap = { mode = "baseline", version = "1.1.0" } }
    assert.are.same({ "skipped", "pending", "pending" }, (statuses(p)))
  end)
end)

describe("status --wait", function()
  it("ends with 0 when another process has migrated", function()
    local p <close> = project.new(CHAIN)
    local child <close> = running(p)
    local waiting <close> = p:start { "status", "--wait", "30s", "--log-level", "debug" }
    waiting:wait_for "not yet"
    p.db:collection("things"):insert_one { _id = "stop" }
    assert.are.equal(0, child:wait().status)
    local result = project.parse(waiting:wait())
    assert.are.equal(0, result.status, result.out .. result.err)
    assert.are.equal("1.3.0", result.json.currentVersion)
    assert.are.equal(0, result.json.pending)
  end)

  it("ends with 10 when steps are still pending after its time, and shows them", function()
    local p <close> = project.new(CHAIN)
    p:set_ledger { currentVersion = "1.1.0" }
    local told, of, result = status(p, "--wait", "1200ms")
    assert.are.equal(10, result.status, result.err)
    assert.is_true(result.ms >= 1200)
    assert.are.equal(2, told.pending)
    assert.are.equal("pending", of.second.status)
  end)

  it("ends at once with 0 where there is nothing to do, also for older programs that are compatible", function()
    local p <close> = project.new(CHAIN)
    p:migrate()
    assert.are.equal(0, p:run({ "status", "--wait", "30s" }).status)
    p:set_ledger { currentVersion = "2.0.0", compatibleFrom = "1.3.0" }
    local result = p:run { "status", "--wait", "30s" }
    assert.are.equal(0, result.status, result.out .. result.err)
    assert.is_true(result.ms < 5000)
  end)

  it("waits for a server that is not there yet, and ends with its error", function()
    local p <close> = project.new(CHAIN)
    p.uri = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200"
    local result = p:run { "status", "--wait", "1500ms" }
    assert.are.equal(5, result.status, result.out .. result.err)
    assert.are.equal("CONNECTION_FAILED", result.json.error.code)
    assert.is_true(result.ms >= 1500)
  end)

  it("looks for a server no longer than it may wait", function()
    local p <close> = project.new(CHAIN)
    for _, rest in ipairs { "", "/", "/app", "/app?", "/?replicaSet=rs0" } do
      p.uri = "mongodb://ada:sesame@127.0.0.1:1" .. rest
      local result = p:run { "status", "--wait", "1s" }
      assert.are.equal(5, result.status, result.out .. result.err)
      assert.are.equal("CONNECTION_FAILED", result.json.error.code)
      assert.is_true(result.ms >= 1000 and result.ms < 4000, rest .. ": " .. result.ms)
    end
  end)
end)
