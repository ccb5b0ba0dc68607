-- What an operator does to the ledger: baseline, repair, unlock, checkpoint; and that what is refused changes nothing.
local bson = require "smartmigration.bson"
local cli = require "spec.support.cli"
local migrations = require "spec.support.migrations"
local project = require "spec.support.project"
local server = require "spec.support.server"
local smartmigration = require "smartmigration"
local wait_for = require "spec.support.wait_for"

local step = project.step
local FUTURE, PAST = "2999-01-01T00:00:00.000Z", "2020-01-01T00:00:00.000Z"
local THEIRS = ("b"):rep(32) .. "@far/boot/pid:[1]/time:[1]/1/1"

-- Each step counts how often it ran; the second one can be made to fail, or to wait.
local COUNT = "ctx.mongo:collection('ran'):update_one({ _id = ctx.step.id }, { ['$inc'] = { n = 1 } }, { upsert = true })\n"
local function chain()
  return {
    ["1.lua"] = step("first", "1.0.0", "1.1.0", COUNT),
    ["2.lua"] = step("second", "1.1.0", "1.2.0", COUNT .. [[
      ctx.checkpoint:write("at", { seen = 7 })
      if os.getenv "FAIL" then error "not this time" end
      while os.getenv "HANG" do ctx:check() end]], "resumable = true,"),
    ["3.lua"] = step("third", "1.2.0", "1.3.0", COUNT),
  }
end

local function ran(p, id)
  local found = p.db:collection("ran"):find_one { _id = id }
  return found and found.n or 0
end

-- Runs the words and insists on success; the JSON document.
local function done(p, words)
  local result = p:run(words)
  assert.are.equal(0, result.status, result.out .. result.err)
  return result.json
end

-- The words are refused with that code, exit status, reason (nil: none) and part of the message, and change nothing.
local function refused(p, words, code, status, reason, part)
  local before = p:document()
  local result = p:run(words)
  assert.are.equal(status, result.status, result.out .. result.err)
  local err = result.json.error
  assert.are.equal(code, err.code, err.message)
  assert.are.equal(reason, err.details.reason, err.message)
  assert.is_truthy(err.message:find(part, 1, true), err.message)
  local after = p:document()
  if before then
    assert.is_true(bson.equal(before.data, after.data), "the ledger was changed by what was refused")
  else
    assert.is_nil(after)
  end
  return err
end

local function migrated(files)
  local p = project.new(files or chain())
  p:migrate()
  return p
end

local function newest(p)
  return done(p, { "history" }).runs[1]
end

local function released(ledger)
  assert.is_true(bson.is_null(ledger.lock.holder))
end

describe("baseline", function()
  it("records a version on an empty database, and a run begins there", function()
    local p <close> = project.new(chain())
    local told = done(p, { "baseline", "v1.1.0" })
    assert.are.same({ version = "1.1.0", forced = false, removed = {} }, told)
    local ledger = p:ledger()
    assert.are.equal("1.1.0", ledger.currentVersion)
    assert.are.equal("1.1.0", ledger.compatibleFrom)
    assert.are.equal("baseline", ledger.bootstrap.mode)
    assert.are.equal("1.1.0", ledger.bootstrap.version)
    assert.is_truthy(ledger.bootstrap.at:find "^%d+%-%d%d%-%d%dT")
    assert.is_nil(ledger.bootstrap.replaced)
    released(ledger)
    assert.are.equal("1.3.0", p:migrate().currentVersionAfter)
    assert.are.equal(0, ran(p, "first"))
    assert.are.equal(1, ran(p, "second"))
    done(p, { "validate" })
  end)

  it("is the way on where unversioned data is refused", function()
    local p <close> = project.new(chain(), { flags = { "--unversioned-data", "refuse" } })
    p.db:collection("users"):insert_one {}
    local result = p:run { "run" }
    assert.are.equal("UNVERSIONED_DATA", result.json.error.code)
    assert.is_truthy(result.json.error.message:find("`smartmigration-lua baseline VERSION`", 1, true))
    done(p, { "baseline", "1.2.0" })
    assert.are.equal(1, #p:migrate().stepsApplied)
  end)

  it("goes over a recorded version only with --force, which it records, and removes the records above", function()
    local p <close> = migrated()
    refused(p, { "baseline", "1.1.0" }, "INVALID_OPTIONS", 2, "already-versioned",
      "to say otherwise: smartmigration-lua baseline 1.1.0 --force")
    p.db:collection(project.LEDGER):update_one({ nameId = project.NAME_ID },
      { ["$set"] = { ["data.checkpoints.third.k"] = 1, ["data.foreign"] = "kept", ["data.steps.first.note"] = "kept" } })
    local told = done(p, { "baseline", "1.1.0", "--force" })
    assert.are.equal("1.3.0", told.formerVersion)
    assert.is_true(told.forced)
    table.sort(told.removed)
    assert.are.same({ "second", "third" }, told.removed)
    local ledger = p:ledger()
    assert.are.equal("1.1.0", ledger.currentVersion)
    assert.are.equal("1.1.0", ledger.compatibleFrom)
    assert.are.equal("1.3.0", ledger.bootstrap.replaced)
    assert.are.equal("kept", ledger.foreign)
    assert.are.equal("kept", ledger.steps.first.note)
    assert.is_nil(ledger.steps.second)
    assert.is_nil(ledger.checkpoints.third)
    local entry = newest(p)
    assert.are.equal("baseline", entry.kind)
    assert.are.same({ version = "1.1.0", force = true }, entry.command)
    assert.are.equal("1.3.0", entry.fromVersion)
    assert.are.equal("1.1.0", entry.toVersion)
    p:migrate()
    assert.are.equal(2, ran(p, "third"))
    assert.are.equal(1, ran(p, "first"))
  end)

  it("takes a version of the chain only", function()
    local p <close> = project.new(chain())
    refused(p, { "baseline", "1.0.5" }, "INVALID_OPTIONS", 2, "not-in-chain",
      "inside step 'first' (1.0.0 -> 1.1.0); give 1.0.0, and the step runs, or 1.1.0, and it counts as done")
    refused(p, { "baseline", "9.0.0" }, "INVALID_OPTIONS", 2, "not-in-chain", "the chain leads from 1.0.0 to 1.3.0")
    refused(p, { "baseline", "newest" }, "INVALID_VERSION", 3, nil, 'version is not a valid semver string: "newest"')
    refused(p, { "baseline" }, "INVALID_OPTIONS", 2, nil, "needs an argument: VERSION")
    refused(p, { "baseline", "1.0.0", "1.1.0" }, "INVALID_OPTIONS", 2, nil, "does not take the argument '1.1.0'")
    done(p, { "baseline", "1.0.0" })
  end)

  it("does not begin a second ledger where this program's is stored under another name", function()
    local p <close> = project.new(chain())
    p:set_ledger({ currentVersion = "1.1.0" }, "smartmigration")
    refused(p, { "baseline", "1.0.0" }, "LEDGER_ELSEWHERE", 2, nil, 'give ledger_id "smartmigration"')
  end)
end)

describe("repair", function()
  it("marks the next planned step as applied", function()
    local p <close> = project.new(chain())
    p:run { "run", env = { FAIL = "1" } }
    assert.are.equal("failed", p:ledger().steps.second.status)
    local told = done(p, { "repair", "--mark-applied", "second" })
    assert.are.equal("mark-applied", told.repair)
    assert.are.equal("second", told.stepId)
    assert.are.equal("1.1.0", told.formerVersion)
    assert.are.equal("1.2.0", told.version)
    local ledger = p:ledger()
    assert.are.equal("1.2.0", ledger.currentVersion)
    assert.are.equal("1.2.0", ledger.compatibleFrom)
    assert.are.equal("applied", ledger.steps.second.status)
    assert.are.equal(1, ledger.steps.second.attempts)
    assert.is_nil(ledger.steps.second.error)
    assert.is_truthy(ledger.steps.second.checksum:find "^sha256:")
    assert.is_nil(ledger.checkpoints.second)
    released(ledger)
    assert.are.equal(1, ran(p, "second"))
    local entry = newest(p)
    assert.are.equal("repair", entry.kind)
    assert.are.same({ repair = "mark-applied", stepId = "second" }, entry.command)
    assert.are.equal(entry.run, ledger.steps.second.run)
    p:migrate()
    done(p, { "validate" })
  end)

  it("marks the last applied step as pending, down to the first of the chain", function()
    local p <close> = migrated()
    assert.are.equal("1.2.0", done(p, { "repair", "--mark-pending", "third" }).version)
    assert.are.equal("1.1.0", done(p, { "repair", "--mark-pending", "second" }).version)
    assert.are.equal("1.0.0", done(p, { "repair", "--mark-pending", "first" }).version)
    local ledger = p:ledger()
    assert.are.equal("1.0.0", ledger.currentVersion)
    assert.are.equal("1.0.0", ledger.compatibleFrom)
    assert.are.same({}, ledger.steps)
    assert.are.equal(3, #p:migrate().stepsApplied)
    assert.are.equal(2, ran(p, "first"))
    done(p, { "validate" })
  end)

  it("refuses what is not the next, not the last or not there", function()
    local p <close> = project.new(chain())
    refused(p, { "repair", "--mark-applied", "first" }, "INVALID_OPTIONS", 2, "no-ledger", "there is no ledger mongodb ")
    p:set_ledger { steps = bson.doc {} }
    refused(p, { "repair", "--mark-applied", "first" }, "INVALID_OPTIONS", 2, "no-ledger", "records no version")
    p:run { "run", env = { FAIL = "1" } }
    refused(p, { "repair", "--mark-applied", "third" }, "INVALID_OPTIONS", 2, "not-next",
      "before 'second', which is the next to run")
    refused(p, { "repair", "--mark-applied", "secnod" }, "INVALID_OPTIONS", 2, "unknown-step",
      "there is no step 'secnod' (did you mean 'second'?)")
    refused(p, { "repair", "--mark-pending", "second" }, "INVALID_OPTIONS", 2, "not-applied", "it is failed")
    refused(p, { "repair", "--rerun", "third" }, "INVALID_OPTIONS", 2, "not-applied", "it is pending")
    p:migrate()
    refused(p, { "repair", "--mark-applied", "third" }, "INVALID_OPTIONS", 2, "not-next", "nothing is pending")
    refused(p, { "repair", "--mark-pending", "first" }, "INVALID_OPTIONS", 2, "not-last-applied",
      "before 'third', which was applied last")
    refused(p, { "repair", "--mark-pending", "firsst" }, "INVALID_OPTIONS", 2, "unknown-step", "(did you mean 'first'?)")
    refused(p, { "repair", "--accept-drift", "first" }, "INVALID_OPTIONS", 2, "no-drift", "nothing to accept")
    refused(p, { "repair", "--accept-drift", "frist" }, "INVALID_OPTIONS", 2, "unknown-step", "(did you mean 'first'?)")
    refused(p, { "repair", "--rerun", "frist" }, "INVALID_OPTIONS", 2, "unknown-step", "(did you mean 'first'?)")
    refused(p, { "repair" }, "INVALID_OPTIONS", 2, nil, "repair needs one of --mark-applied ID")
    refused(p, { "repair", "--rerun", "first", "--mark-pending", "third" }, "INVALID_OPTIONS", 2, nil, "one of its options")
    p.db:collection(project.LEDGER):update_one({ nameId = project.NAME_ID },
      { ["$set"] = { ["data.steps.first.toVersion"] = "1.0.9" } })
    refused(p, { "repair", "--rerun", "first" }, "INVALID_OPTIONS", 2, "versions-differ",
      "applied as 1.0.0 -> 1.0.9 but the chain has it as 1.0.0 -> 1.1.0")
    p.db:collection(project.LEDGER):update_one({ nameId = project.NAME_ID }, { ["$set"] = { ["data.currentVersion"] = "1.2.5" } })
    refused(p, { "repair", "--mark-pending", "third" }, "INVALID_OPTIONS", 2, "not-last-applied", "no record leads to 1.2.5")
  end)

  it("accepts that the file of an applied step was changed", function()
    local p <close> = migrated()
    p:file("1.lua", step("first", "1.0.0", "1.1.0", COUNT .. "-- a comment more"))
    local report = p:run { "validate" }
    assert.are.equal(6, report.status)
    local before = p:ledger()
    done(p, { "repair", "--accept-drift", "first" })
    local after = p:ledger()
    assert.are.equal(report.json.drift[1].found, after.steps.first.checksum)
    before.steps.first.checksum, after.steps.first.checksum = nil, nil
    assert.are.same(before.steps, after.steps)
    assert.are.equal("1.3.0", after.currentVersion)
    done(p, { "validate" })
    assert.are.equal(1, ran(p, "first"))
  end)

  it("runs an applied step once more, and records that", function()
    local p <close> = migrated()
    p:file("2.lua", chain()["2.lua"] .. "-- changed")
    local before = p:ledger()
    local told = done(p, { "repair", "--rerun", "second" })
    assert.are.equal("1.3.0", told.version)
    assert.is_true(told.durationMs >= 0)
    assert.are.equal(2, ran(p, "second"))
    local ledger = p:ledger()
    assert.are.equal("1.3.0", ledger.currentVersion)
    assert.are.equal(before.compatibleFrom, ledger.compatibleFrom)
    assert.are.equal("applied", ledger.steps.second.status)
    assert.are.equal(2, ledger.steps.second.attempts)
    assert.is_nil(ledger.checkpoints.second)
    assert.are_not.equal(before.steps.second.checksum, ledger.steps.second.checksum)
    assert.are.same(before.steps.third, ledger.steps.third)
    released(ledger)
    local entry = newest(p)
    assert.are.equal("succeeded", entry.status)
    assert.are.equal("second", entry.steps[1].id)
    assert.are.equal(1, entry.steps[1].documents.modified)
    done(p, { "validate" })
  end)

  it("runs a step in its transaction once more", function()
    local files = chain()
    files["3.lua"] = step("third", "1.2.0", "1.3.0", COUNT .. "if os.getenv 'FAIL' then error 'no' end", "transaction = true,")
    local p <close> = migrated(files)
    local before = p:ledger()
    assert.are.equal("STEP_FAILED", p:run({ "repair", "--rerun", "third", env = { FAIL = "1" } }).json.error.code)
    assert.are.equal(1, ran(p, "third"))
    assert.are.same(before.steps, p:ledger().steps)
    done(p, { "repair", "--rerun", "third" })
    assert.are.equal(2, ran(p, "third"))
    assert.are.equal(2, p:ledger().steps.third.attempts)
  end)

  it("leaves record and version when the step fails, and goes on from its checkpoint next time", function()
    local p <close> = migrated()
    local before = p:ledger()
    local result = p:run { "repair", "--rerun", "second", env = { FAIL = "1" } }
    assert.are.equal(1, result.status, result.out .. result.err)
    assert.are.equal("STEP_FAILED", result.json.error.code)
    assert.is_truthy(result.err:find("its record and the version are as they were", 1, true), result.err)
    local after = p:ledger()
    assert.are.same(before.steps, after.steps)
    assert.are.equal("1.3.0", after.currentVersion)
    assert.are.equal(7, after.checkpoints.second.at.seen)
    released(after)
    local entry = newest(p)
    assert.are.equal("failed", entry.status)
    assert.are.equal("STEP_FAILED", entry.error.code)
    assert.are.equal("failed", entry.steps[1].status)
    assert.are.equal(0, p:run({ "status", "--check" }).status)
  end)

  -- A migrated project whose second step runs once more until the signal comes; its ledger before, and how the child ended.
  local function disturbed(signal)
    local p = migrated()
    local before = p:ledger()
    local child <close> = p:start { "repair", "--rerun", "second", env = { HANG = "1" } }
    wait_for("the step to run", function() return p:ledger().checkpoints.second end)
    child:kill(signal)
    return p, before, project.parse(child:wait())
  end

  it("leaves record and version when it is killed with SIGKILL, and the next command takes the lock over", function()
    local p <close>, before = disturbed "KILL"
    local after = p:ledger()
    assert.are.same(before.steps, after.steps)
    assert.are.equal("1.3.0", after.currentVersion)
    assert.is_string(after.lock.holder)
    assert.are.equal("interrupted", newest(p).status)
    done(p, { "repair", "--rerun", "second" })
    assert.are.equal(2, p:ledger().steps.second.attempts)
    assert.is_nil(p:ledger().leftovers)
  end)

  it("ends when it is told to stop", function()
    local p <close>, before, result = disturbed "TERM"
    assert.are.equal(143, result.status, result.out .. result.err)
    assert.are.equal("INTERRUPTED", result.json.error.code)
    assert.are.same(before.steps, p:ledger().steps)
    released(p:ledger())
    assert.are.equal("interrupted", newest(p).status)
  end)
end)

describe("a ledger that contradicts the chain", function()
  local function applied(from, to)
    return { fromVersion = from, toVersion = to, status = "applied" }
  end

  -- name -> a ledger that a run refuses with LEDGER_CHAIN_MISMATCH
  for name, data in pairs {
    ["by a renamed step"] = { currentVersion = "1.1.0", steps = { old = applied("1.0.0", "1.1.0") } },
    ["by other versions of a step"] = { currentVersion = "1.1.0", steps = { first = applied("0.9.0", "1.1.0") } },
    ["by versions below the chain"] = { currentVersion = "1.1.0", steps = { first = applied("0.8.0", "0.9.0") } },
    ["by a step that was never run"] = { currentVersion = "1.2.0", bootstrap = { version = "1.0.0" },
      steps = { first = applied("1.0.0", "1.1.0") } },
    ["by a step that is to run again"] = { currentVersion = "1.1.0",
      steps = { first = applied("1.0.0", "1.1.0"), second = applied("1.1.0", "1.2.0") } },
    ["at a version that is no step's"] = { currentVersion = "1.1.5",
      steps = { old = applied("1.0.0", "1.1.5") } },
  } do
    it(name .. " is put right by the commands that the message names", function()
      local p <close> = project.new(chain())
      p:set_ledger(data)
      local result = p:run { "run" }
      assert.are.equal("LEDGER_CHAIN_MISMATCH", result.json.error.code, result.out)
      local count = 0
      for command in result.json.error.message:gmatch "`smartmigration%-lua ([^`]*)`" do
        local words = {}
        for word in command:gmatch "%S+" do words[#words + 1] = word end
        done(p, words)
        count = count + 1
        assert.is_true(p:run({ "plan" }).json.error == nil)
      end
      assert.is_true(count >= 1, result.json.error.message)
      done(p, { "validate" })
      p:migrate()
      done(p, { "validate" })
    end)
  end
end)

describe("a command that changes the ledger", function()
  local WORDS = {
    { "baseline", "1.0.0", "--force" }, { "repair", "--mark-pending", "first" }, { "checkpoint", "clear" },
    { "repair", "--rerun", "first" },
  }

  local function held(p, lock)
    local first = { fromVersion = "1.0.0", toVersion = "1.1.0", status = "applied" }
    p:set_ledger { currentVersion = "1.1.0", steps = { first = first }, checkpoints = { second = { k = 1 } }, lock = lock }
  end

  it("does not wait for a lock that is held, unless it is told to", function()
    local p <close> = project.new(chain())
    held(p, { holder = THEIRS, acquiredAt = PAST, expiresAt = FUTURE })
    for _, words in ipairs(WORDS) do
      local err = refused(p, words, "LOCK_TIMEOUT", 4, nil, THEIRS)
      assert.is_true(err.details.waitedMs < 2000)
    end
    local waiting <close> = p:start { "--lock-wait", "30s", table.unpack(WORDS[1]) }
    waiting:wait_for "waiting for the lock"
    p.db:collection(project.LEDGER):update_one({ nameId = project.NAME_ID }, { ["$set"] = { ["data.lock.holder"] = bson.null } })
    local result = waiting:wait()
    assert.are.equal(0, result.status, result.out .. result.err)
  end)

  it("takes over one that has expired", function()
    for _, words in ipairs(WORDS) do
      local p <close> = project.new(chain())
      held(p, { holder = THEIRS, acquiredAt = PAST, expiresAt = PAST, fence = 5 })
      done(p, words)
      local ledger = p:ledger()
      released(ledger)
      assert.is_true(ledger.lock.fence > 5)
      assert.is_nil(ledger.leftovers)
    end
  end)

  it("refuses a ledger of the wrong shape", function()
    local p <close> = project.new(chain())
    p:set_ledger { currentVersion = 5 }
    for _, words in ipairs(WORDS) do refused(p, words, "LEDGER_CORRUPT", 5, nil, "currentVersion") end
    for _, words in ipairs { { "unlock" }, { "history" }, { "checkpoint", "list" } } do
      refused(p, words, "LEDGER_CORRUPT", 5, nil, "currentVersion")
    end
  end)

  it("refuses a chain that is not sound", function()
    local files = chain()
    files["2.lua"] = nil
    local p <close> = project.new(files)
    refused(p, { "baseline", "1.0.0" }, "CHAIN_NOT_CONTIGUOUS", 3, nil, "third")
    refused(p, { "repair", "--rerun", "first" }, "CHAIN_NOT_CONTIGUOUS", 3, nil, "third")
  end)
end)

describe("unlock", function()
  -- A folder without migrations will do.
  local function locked(lock)
    local p = project.new {}
    p:set_ledger { currentVersion = "1.1.0", lock = lock }
    return p
  end

  it("frees a stale lock, and the fence rises", function()
    local p <close> = locked { holder = THEIRS, acquiredAt = PAST, expiresAt = PAST, fence = 4000000000000000 }
    local told = done(p, { "unlock" })
    assert.are.same({ unlocked = true, holder = THEIRS, forced = false, fence = 4000000000000001 }, told)
    local ledger = p:ledger()
    released(ledger)
    assert.are.equal(4000000000000001, ledger.lock.fence)
    assert.is_nil(ledger.leftovers)
    assert.are.equal("1.1.0", ledger.currentVersion)
    local entry = newest(p)
    assert.are.equal("unlock", entry.kind)
    assert.are.same({ holder = THEIRS, forced = false }, entry.command)
    assert.is_false(done(p, { "unlock" }).unlocked)
    assert.are.equal(1, #done(p, { "history" }).runs)
  end)

  it("frees the lock of a process that is gone, before its time", function()
    local p <close> = project.new(chain())
    local child <close> = p:start { "run", env = { HANG = "1" } }
    wait_for("the step to run", function()
      local ledger = p:ledger()
      return ledger and ledger.checkpoints.second
    end)
    child:kill "KILL"
    child:wait()
    assert.is_true(done(p, { "unlock" }).unlocked)
    released(p:ledger())
    assert.are.equal("running", p:ledger().steps.second.status)
    p:migrate()
  end)

  it("refuses a live lock, a wrong holder, and a ledger that is not there", function()
    local p <close> = locked { holder = THEIRS, acquiredAt = PAST, expiresAt = FUTURE }
    local err = refused(p, { "unlock" }, "LOCK_TIMEOUT", 4, nil, ("smartmigration-lua unlock --force '%s'"):format(THEIRS))
    assert.are.equal(THEIRS, err.details.holder)
    assert.are.equal(FUTURE, err.details.expiresAt)
    refused(p, { "unlock", "--force", THEIRS:sub(1, 32) }, "INVALID_OPTIONS", 2, "wrong-holder",
      ("is not held by '%s' but by '%s'"):format(THEIRS:sub(1, 32), THEIRS))
    refused(p, { "unlock", "--force" }, "INVALID_OPTIONS", 2, nil, "option '--force' requires an argument")
    local empty <close> = project.new {}
    refused(empty, { "unlock" }, "INVALID_OPTIONS", 2, "no-ledger", "there is no ledger mongodb ")
    local unreadable <close> = locked { holder = THEIRS, expiresAt = "soon" }
    refused(unreadable, { "unlock" }, "LOCK_TIMEOUT", 4, nil, "an unreadable time")
  end)

  local LONG = "ctx.mongo:collection('things'):update_many({ ['$where'] = 'sleep(10) || true' }, { ['$inc'] = { n = 1 } })"

  local function commands(p)
    local found = 0
    for op in p.db:client():database("admin"):aggregate { { ["$currentOp"] = { allUsers = true } } } do
      if op.ns == p.database .. ".things" and op.op == "update" then found = found + 1 end
    end
    return found
  end

  -- A run whose step waits in a way that a lost lock alone ends late: it swallows every error.
  local STUBBORN = [[
    while true do
      pcall(function()
        ctx.mongo:collection("things"):update_many({ ["$where"] = "sleep(10) || true" }, { ["$inc"] = { n = 1 } })
      end)
    end]]

  for name, body in pairs { ["one long command"] = LONG, ["a step that tries again and again"] = STUBBORN } do
    it("by force ends a live holder, " .. name .. ", before the lock is free", function()
      local p <close> = project.new({ ["1.lua"] = step("long", "1.0.0", "1.1.0", body) }, { flags = { "--lock-ttl", "3s" } })
      local documents = {}
      for i = 1, 800 do documents[i] = { _id = i, n = 0 } end
      p.db:collection("things"):insert_many(documents)
      local child <close> = p:start { "run" }
      wait_for("the update to have begun", function() return commands(p) > 0 end)
      local before = p:ledger().lock
      local told = done(p, { "unlock", "--force", before.holder })
      assert.is_true(told.forced)
      assert.is_true(told.fence > before.fence)
      assert.are.equal(0, commands(p))
      local sums = p.db:collection("things"):aggregate({ { ["$group"] = { _id = bson.null, n = { ["$sum"] = "$n" } } } }):all()
      local result = project.parse(child:wait())
      -- The end of its command may reach the run before the loss of its lock does.
      local err = result.json.error
      local interrupted = err.code == "STEP_FAILED" and err.details.cause.code == "Interrupted"
      assert.is_true(result.status == 4 and err.code == "LOCK_LOST" or interrupted, result.out .. result.err)
      local again = p.db:collection("things"):aggregate({ { ["$group"] = { _id = bson.null, n = { ["$sum"] = "$n" } } } }):all()
      assert.are.equal(sums[1].n, again[1].n, "the holder wrote after its lock was free")
      local ledger = p:ledger()
      released(ledger)
      assert.is_nil(ledger.leftovers)
      assert.are.equal("running", ledger.steps.long.status)
      assert.are.equal("1.0.0", ledger.currentVersion)
      assert.are.same({ holder = before.holder, forced = true }, newest(p).command)
    end)
  end

  it("by force can be stopped while it waits: the next run ends what is left", function()
    local p <close> = locked { holder = THEIRS, acquiredAt = PAST, expiresAt = FUTURE }
    local child <close> = p:start { "unlock", "--force", THEIRS }
    child:wait_for "may believe in its lock for 600000 ms more" -- whatever its expiry says
    child:kill "INT"
    local result = project.parse(child:wait())
    assert.are.equal(130, result.status, result.out .. result.err)
    released(p:ledger())
    assert.are.equal(THEIRS, p:ledger().leftovers.holder)
  end)
end)

describe("checkpoint", function()
  local function left()
    local p = project.new {}
    p:set_ledger { currentVersion = "1.1.0", checkpoints = {
      ["a.b"] = { k = 1 }, second = { next = bson.objectid("64b0c0ffee64b0c0ffee64b0"), seen = { x = bson.array { 1, 2 } } } } }
    return p
  end

  it("lists keys and sizes, and shows values", function()
    local p <close> = left()
    local told = done(p, { "checkpoint", "list" }).checkpoints
    table.sort(told, function(a, b) return a.stepId .. a.key < b.stepId .. b.key end)
    assert.are.same({ { stepId = "a.b", key = "k", size = 4 }, { stepId = "second", key = "next", size = 12 },
      { stepId = "second", key = "seen", size = 27 } }, told)
    local shown = done(p, { "checkpoint", "show", "a.b" }).checkpoints
    assert.are.same({ { stepId = "a.b", key = "k", size = 4, value = 1 } }, shown)
    assert.are.equal(3, #done(p, { "checkpoint", "show" }).checkpoints)
    assert.are.same({}, done(p, { "checkpoint", "list", "other" }).checkpoints)
    assert.are.same({}, done(project.new {}, { "checkpoint", "list" }).checkpoints)
  end)

  it("clears one step's, or all", function()
    local p <close> = left()
    refused(p, { "checkpoint", "clear", "secnod" }, "INVALID_OPTIONS", 2, "unknown-step",
      "step 'secnod' has no checkpoints (did you mean 'second'?)")
    assert.are.same({ { stepId = "a.b", keys = 1 } }, done(p, { "checkpoint", "clear", "a.b" }).cleared)
    assert.is_nil(p:ledger().checkpoints["a.b"])
    assert.is_not_nil(p:ledger().checkpoints.second)
    assert.are.same({ { stepId = "second", keys = 2 } }, done(p, { "checkpoint", "clear" }).cleared)
    assert.are.same({}, p:ledger().checkpoints)
    assert.are.same({}, done(p, { "checkpoint", "clear" }).cleared)
    local empty <close> = project.new {}
    refused(empty, { "checkpoint", "clear" }, "INVALID_OPTIONS", 2, "no-ledger", "there is no ledger mongodb ")
    refused(p, { "checkpoint", "clean" }, "INVALID_OPTIONS", 2, nil, "not 'clean' (did you mean 'clear'?)")
    refused(p, { "checkpoint" }, "INVALID_OPTIONS", 2, nil, "needs an argument: list|show|clear [STEP]")
  end)
end)

describe("the reports for people", function()
  it("say what was done, and what the way on is", function()
    local database = server.database()
    local place <close> = cli.place({ ["migrations/1.lua"] = chain()["1.lua"], ["migrations/2.lua"] = chain()["2.lua"] },
      { env = { SMARTMIGRATION_MONGO_URI = server.uri, SMARTMIGRATION_MONGO_DB = database } })
    -- words and options -> exit status, part of stdout or stderr
    for _, case in ipairs {
      { { "baseline", "1.0.0" }, 0, "The data is recorded to be at 1.0.0.\n" },
      { { "run", env = { FAIL = "1" } }, 1, "finds the 1 checkpoint it wrote" },
      { { "checkpoint", "list" }, 0, "second  at  15 bytes\n" },
      { { "checkpoint", "show", "second" }, 0, 'second  at  15 bytes  {"seen":7}\n' },
      { { "checkpoint", "show", "first" }, 0, "Step 'first' has no checkpoints.\n" },
      { { "checkpoint", "clear" }, 0, "1 checkpoint of step 'second' removed.\n" },
      { { "checkpoint", "clear" }, 0, "Nothing to do: there are no checkpoints.\n" },
      { { "checkpoint", "list" }, 0, "There are no checkpoints.\n" },
      { { "repair", "--mark-applied", "second" }, 0, "counts as applied, without having run; the data is at 1.2.0.\n" },
      { { "repair", "--mark-pending", "second" }, 0, "Step 'second' counts as pending and runs again; the data is at 1.1.0." },
      { { "repair", "--rerun", "first" }, 0, "Step 'first' ran once more in " },
      { { "repair", "--rerun", "frist" }, 2, "error: there is no step 'frist' (did you mean 'first'?) (INVALID_OPTIONS)\n" },
      { { "baseline", "1.0.0", "--force" }, 0, "it was recorded to be at 1.1.0.\nThe record of step 'first', which leads" },
      { { "unlock" }, 0, "Nothing to do: nobody holds the lock.\n" },
    } do
      local result = place:run(case[1])
      local text = result.out .. result.err
      assert.are.equal(case[2], result.status, text)
      assert.is_truthy(text:find(case[3], 1, true), text)
      assert.is_nil(text:find("try '", 1, true), text)
    end
    server.open(database):collection(project.LEDGER):update_one({ nameId = project.NAME_ID },
      { ["$set"] = { ["data.lock.holder"] = THEIRS, ["data.lock.expiresAt"] = PAST } })
    assert.are.equal(("The lock is free; %s held it.\n"):format(THEIRS), place:run({ "unlock" }).out)
    place:run { "run" }
    place:write("migrations/1.lua", chain()["1.lua"] .. "-- changed")
    local drifted = place:run { "validate" }
    assert.is_truthy(drifted.out:find("or accept it: smartmigration-lua repair --accept-drift 'first'\n", 1, true), drifted.out)
    local accepted = place:run { "repair", "--accept-drift", "first" }
    assert.are.equal("The file of step 'first' is recorded as it is now.\n", accepted.out)
    assert.are.equal(0, place:run({ "validate" }).status)
  end)
end)

describe("the module", function()
  local function module()
    local migration = smartmigration.new {
      target_version = "1.1.0", mongo = { uri = server.uri, database = server.database() }, lock = { wait_ms = 0 },
    }
    return migration:step("only"):from("1.0.0"):to("1.1.0"):up(function() end)
  end

  it("gives what the commands print, in snake_case", function()
    local migration <close> = module()
    assert.are.same({ version = "1.0.0", forced = false, removed = {} }, migration:baseline "1.0.0")
    migration:run()
    assert.are.equal("1.0.0", migration:repair({ mark_pending = "only" }).version)
    assert.are.equal("1.1.0", migration:repair({ mark_applied = "only" }).version)
    assert.is_number(migration:repair({ rerun = "only" }).duration_ms)
    assert.is_false(migration:unlock().unlocked)
    assert.are.same({}, migration:checkpoints("only", { values = true }).checkpoints)
    assert.are.same({}, migration:clear_checkpoints().cleared)
    local runs = migration:history().runs
    assert.are.equal(5, #runs)
    assert.are.equal("rerun", runs[1].command.repair)
    assert.are.equal("only", runs[1].steps[1].id)
    assert.are.equal(5, migration:history({ prune_older_than_ms = 0 }).removed)
    assert.are.same({}, migration:history().runs)
  end)

  it("refuses wrong arguments", function()
    local migration <close> = module()
    for _, case in ipairs {
      { "the version of baseline must be a string, not a nil", migration.baseline },
      { "unknown option 'froce' for baseline (did you mean 'force'?)", migration.baseline, "1.0.0", { froce = true } },
      { "option 'force' must be of type boolean, not string", migration.baseline, "1.0.0", { force = "yes" } },
      { "repair takes one of", migration.repair },
      { "repair takes one of", migration.repair, { rerun = "a", mark_applied = "a" } },
      { "option 'rerun' must be a string, not a number", migration.repair, { rerun = 1 } },
      { "options of unlock must be a table, not a string", migration.unlock, "holder" },
      { "option 'force' must be a string, not an empty one", migration.unlock, { force = "" } },
      { "option 'prune_older_than_ms' must be of type integer, not float", migration.history, { prune_older_than_ms = 1.5 } },
      { "the age must lie between 0 and now", migration.history, { prune_older_than_ms = -1 } },
      { "the step of checkpoints must be a string", migration.checkpoints, 5 },
    } do
      local err = migrations.failure(case[2], migration, case[3], case[4])
      assert.are.equal("INVALID_OPTIONS", err.code)
      assert.is_truthy(err.message:find(case[1], 1, true), err.message)
    end
  end)
end)
