-- What an operator does, and the history, where the ledger is in S3 and there is no MongoDB: the commands are the same.
local project = require "spec.support.project"
local s3_project = require "spec.support.s3_project"
local wait_for = require "spec.support.wait_for"

local step = project.step
local HISTORY = ".smartmigration/smartmigration/history/"
local COUNT = "ctx.bucket:put(('ran/%s/%s'):format(ctx.step.id, ctx.run_id), 'x')\n"

local function chain()
  return {
    ["1.lua"] = step("first", "1.0.0", "1.1.0", COUNT),
    ["2.lua"] = step("second", "1.1.0", "1.2.0", COUNT .. [[
      ctx.checkpoint:write("at", { seen = 7 })
      if os.getenv "FAIL" then error "not this time" end]], "resumable = true,"),
  }
end

local function done(p, words)
  local result = p:run(words)
  assert.are.equal(0, result.status, result.out .. result.err)
  return result.json
end

local function refused(p, words, code, status, reason)
  local before = p.store:get(p.bucket, s3_project.KEY)
  local result = p:run(words)
  assert.are.equal(status, result.status, result.out .. result.err)
  assert.are.equal(code, result.json.error.code)
  assert.are.equal(reason, result.json.error.details.reason)
  assert.are.equal(before, p.store:get(p.bucket, s3_project.KEY))
end

describe("an operator of a ledger in S3", function()
  it("says what version the data has, corrects records, and runs a step once more", function()
    local p <close> = s3_project.new(chain())
    assert.are.equal("1.0.0", done(p, { "baseline", "1.0.0" }).version)
    p:migrate()
    refused(p, { "baseline", "1.1.0" }, "INVALID_OPTIONS", 2, "already-versioned")
    refused(p, { "repair", "--mark-pending", "first" }, "INVALID_OPTIONS", 2, "not-last-applied")
    assert.are.equal("1.1.0", done(p, { "repair", "--mark-pending", "second" }).version)
    assert.is_nil(p:ledger().steps.second)
    assert.are.equal("1.2.0", done(p, { "repair", "--mark-applied", "second" }).version)
    assert.are.equal("applied", p:ledger().steps.second.status)
    p:file("1.lua", chain()["1.lua"] .. "-- changed")
    assert.are.equal(6, p:run({ "validate" }).status)
    done(p, { "repair", "--accept-drift", "first" })
    done(p, { "validate" })

    local before = p:ledger().steps
    assert.are.equal("STEP_FAILED", p:run({ "repair", "--rerun", "second", env = { FAIL = "1" } }).json.error.code)
    assert.are.same(before, p:ledger().steps)
    assert.are.same({ { stepId = "second", key = "at", size = 15, value = { seen = 7 } } },
      done(p, { "checkpoint", "show" }).checkpoints)
    assert.are.same({ { stepId = "second", keys = 1 } }, done(p, { "checkpoint", "clear" }).cleared)
    done(p, { "repair", "--rerun", "second" })
    assert.are.equal(3, #p:keys "ran/second/")
    assert.are.same({ "second" }, done(p, { "baseline", "1.1.0", "--force" }).removed)
    assert.are.equal("1.2.0", p:ledger().bootstrap.replaced)
  end)

  it("frees a lock: a stale one, and by force a live one, whose holder can write nothing more", function()
    local p <close> = s3_project.new({ ["1.lua"] = step("s", "1.0.0", "1.1.0",
      "for i = 1, 1e9 do pcall(function() ctx.bucket:put(('n/%09d'):format(i), 'x') end) end") },
      { flags = { "--lock-ttl", "5s" } })
    local child <close> = p:start { "run" }
    wait_for("the step to run", function() return p.store:head(p.bucket, "n/000000001") end)
    local holder = p:ledger().lock.holder
    assert.are.equal("wrong-holder", p:run({ "unlock", "--force", holder:sub(1, 32) }).json.error.details.reason)
    local live = p:run { "unlock" }
    assert.are.equal(4, live.status, live.out .. live.err)
    assert.are.equal(holder, p:ledger().lock.holder)
    local fence = p:ledger().lock.fence
    local told = done(p, { "unlock", "--force", holder })
    local written = #p:keys "n/"
    assert.is_true(told.forced and told.fence > fence)
    local result = project.parse(child:wait(15000))
    assert.are.equal("LOCK_LOST", result.json.error.code, result.out .. result.err)
    assert.are.equal(written, #p:keys "n/", "the holder wrote after its lock was free")
    assert.are.equal("running", p:ledger().steps.s.status)
    assert.is_nil(p:ledger().leftovers)

    local again <close> = p:start { "run" }
    wait_for("the step to run again", function() return p:ledger().steps.s.attempts == 2 end)
    again:kill "KILL"
    again:wait()
    assert.is_false(done(p, { "unlock" }).forced)
    assert.is_false(done(p, { "unlock" }).unlocked)
  end)

  it("reads the history, which stands beside the ledger, and prunes it", function()
    local p <close> = s3_project.new(chain())
    p:migrate()
    p:migrate()
    done(p, { "repair", "--mark-pending", "second" })
    local runs = done(p, { "history" }).runs
    assert.are.equal(2, #runs)
    assert.are.same({ repair = "mark-pending", stepId = "second" }, runs[1].command)
    assert.are.equal("succeeded", runs[2].status)
    assert.are.equal("first", runs[2].steps[1].id)
    assert.are.equal(1, runs[2].steps[1].operations)
    local keys = p:keys(HISTORY)
    table.sort(keys)
    local expected = { HISTORY .. runs[1].run .. ".json", HISTORY .. runs[2].run .. ".json" }
    table.sort(expected)
    assert.are.same(expected, keys)
    assert.are.equal(0, done(p, { "history", "--prune-older-than", "90d" }).removed)
    assert.are.equal(2, done(p, { "history", "--prune-older-than", "0" }).removed)
    assert.are.same({}, p:keys(HISTORY))
    assert.are.same({}, done(p, { "history" }).runs)
  end)
end)
