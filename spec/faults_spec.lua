-- Faults at every place where one can happen: the process killed at each of its network calls, the answer to each of its
-- commands lost. Afterwards the data must be as if nothing had happened, and the ledger must tell the truth.
local bson = require "smartmigration.bson"
local project = require "spec.support.project"
local proxies = require "spec.support.proxy"

local BATCHES, BULK = 4, 50
local STEPS = { "plain", "batches", "bulk" }
local LAST = "1.3.0"
local ENOUGH = 200 -- more faults than a run has places for them
local AT_ONCE_MS = 10000 -- far below the TTL of a minute that a lock which is not freed would cost

local PLAIN = [[
  ctx.mongo:collection("a"):update_one({ _id = 1 }, { ["$set"] = { n = 1 } }, { upsert = true })]]

local IN_BATCHES = ([[
  local b = ctx.mongo:collection "b"
  for i = ctx.checkpoint:read "next" or 0, %d do
    b:update_one({ _id = i }, { ["$set"] = { n = i } }, { upsert = true })
    ctx.checkpoint:write("next", i + 1)
  end]]):format(BATCHES - 1)

local IN_BULK = ([[
  local models = {}
  for i = 1, %d do
    models[i] = { replace_one = { filter = { _id = i }, replacement = { n = i }, upsert = true } }
  end
  ctx.mongo:collection("c"):bulk_write(models)]]):format(BULK)

local function chain()
  return {
    ["1.lua"] = project.step("plain", "1.0.0", "1.1.0", PLAIN),
    ["2.lua"] = project.step("batches", "1.1.0", "1.2.0", IN_BATCHES, "resumable = true,"),
    ["3.lua"] = project.step("bulk", "1.2.0", LAST, IN_BULK),
  }
end

-- A database as before the first run: without a ledger, or with one at the chain's start.
local function begin_again(p, existing)
  p.db:drop()
  if existing then
    p:set_ledger { currentVersion = "1.0.0", steps = bson.doc {}, lock = { holder = bson.null }, checkpoints = bson.doc {} }
  end
end

-- Everything but the ledger, as text.
local function data(p)
  local lines = {}
  for _, name in ipairs { "a", "b", "c" } do
    for document in p.db:collection(name):find({}, { sort = { _id = 1 } }) do
      lines[#lines + 1] = name .. " " .. bson.json(document)
    end
  end
  return table.concat(lines, "\n")
end

-- What an oplog entry says about the step's status: nil when it does not touch it. `o` is the document, or a difference
-- whose sub-documents carry an `s` before their names and whose new and changed fields stand below `i` and `u`.
local function status_in(o, id)
  if o.data then
    local entry = o.data.steps and o.data.steps[id]
    return entry and entry.status
  end
  local steps = o.diff and o.diff.sdata and o.diff.sdata.ssteps
  if not steps then return nil end
  for _, new in ipairs { steps.i or {}, steps.u or {} } do
    if new[id] then return new[id].status end
  end
  local entry = steps["s" .. id]
  if not entry then return nil end
  return entry.u and entry.u.status or entry.i and entry.i.status
end

-- The oplog's entries for the ledger, not for the history beside it, since that time (a condition on `ts` is found without
-- a scan).
local function ledger_writes(p, since)
  local document = p:document()
  if not document then return {} end
  local ledger = document._id
  return p.db:client():database("local"):collection("oplog.rs"):find({ ts = { ["$gt"] = since },
    ns = p.database .. "." .. project.LEDGER, ["$or"] = { { op = "i", ["o._id"] = ledger }, { op = "u", ["o2._id"] = ledger } },
  }):all()
end

-- How often the step became `applied` in these writes.
local function stamps(writes, id)
  local status, count = nil, 0
  for _, entry in ipairs(writes) do
    local new = status_in(bson.to_table(entry.o), id)
    if new == "applied" and status ~= "applied" then count = count + 1 end
    status = new or status
  end
  return count
end

-- The time of the newest oplog entry there is.
local function oplog_end(p)
  return p.db:client():database("local"):collection("oplog.rs"):find_one({}, { sort = { { "$natural", -1 } } }).ts
end

local function ids(results)
  local set = {}
  for _, step in ipairs(results) do set[step.id] = true end
  return set
end

local function applied(ledger)
  local set = {}
  for id, entry in pairs(ledger and ledger.steps or {}) do
    if entry.status == "applied" then set[id] = true end
  end
  return set
end

-- The ledger after everything is done: nothing is missing, nothing is left over.
local function assert_clean(p, since, context)
  local ledger = p:ledger()
  assert.are.equal(LAST, ledger.currentVersion, context)
  assert.is_true(bson.is_null(ledger.lock.holder), context)
  assert.is_nil(ledger.leftovers, context)
  assert.is_nil(next(ledger.checkpoints), context)
  assert.are.equal(1, p.db:collection(project.LEDGER):count { nameId = project.NAME_ID }, context)
  local writes = ledger_writes(p, since)
  for _, id in ipairs(STEPS) do
    assert.are.equal("applied", ledger.steps[id].status, context)
    assert.are.equal(1, stamps(writes, id), context .. ": stamps of " .. id)
  end
  return ledger, #writes
end

local function undisturbed(p, existing)
  begin_again(p, existing)
  local since = oplog_end(p)
  p:migrate()
  local _, writes = assert_clean(p, since, "undisturbed")
  return data(p), writes
end

-- At the entry of sendmsg a command was not sent; of poll it was, and the server may be at it while its client dies.
local MOMENTS = { sendmsg = "before it sends a command", poll = "when it has sent one" }

local function killed_everywhere(syscall, existing)
  local p <close> = project.new(chain())
  local expected = undisturbed(p, existing)
  for k = 1, ENOUGH do
    begin_again(p, existing)
    local since = oplog_end(p)
    local killed = p:run { "run", prefix = { "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" .. syscall, "-e",
      ("inject=%s:signal=SIGKILL:when=%d"):format(syscall, k) } }
    if killed.status == 0 then
      assert.is_true(k > 20, "the run was through after " .. k .. " calls of " .. syscall)
      return
    end
    local context = ("killed at %s %d"):format(syscall, k)
    assert.are.equal(9, killed.signal or killed.status - 128, context .. killed.err)
    local at_kill = applied(p:ledger())
    local result = p:run { "run" }
    assert.are.equal(0, result.status, context .. ": " .. result.out .. result.err)
    assert.is_true(result.ms < AT_ONCE_MS, context .. ": " .. result.ms .. " ms")
    local ledger = assert_clean(p, since, context)
    assert.are.equal(expected, data(p), context)
    local by_second = ids(result.json.stepsApplied)
    for _, id in ipairs(STEPS) do
      assert.is_falsy(at_kill[id] and by_second[id], context .. ": " .. id .. " was recorded and ran again")
      assert.is_true(ledger.steps[id].attempts <= 2, context)
    end
  end
  error "the run never came through"
end

describe("#slow a run that is killed", function()
  for syscall, moment in pairs(MOMENTS) do
    for _, existing in ipairs { false, true } do
      it(("%s is finished by the next one, at once, on %s ledger"):format(moment, existing and "an existing" or "a fresh"),
        function() killed_everywhere(syscall, existing) end)
    end
  end
end)

-- What the steps did, where `$inc` shows a second time; and each start of a step.
local COUNTED = {
  ["1.lua"] = project.step("plain", "1.0.0", "1.1.0", [[
    ctx.mongo:collection("starts"):insert_one { step = ctx.step.id }
    ctx.mongo:collection("a"):update_one({ _id = 1 }, { ["$inc"] = { n = 1 } }, { upsert = true })]]),
  ["2.lua"] = project.step("batches", "1.1.0", "1.2.0", ([[
    ctx.mongo:collection("starts"):insert_one { step = ctx.step.id }
    local b = ctx.mongo:collection "b"
    for i = ctx.checkpoint:read "next" or 0, %d do
      b:update_one({ _id = i }, { ["$inc"] = { n = 1 } }, { upsert = true })
      ctx.checkpoint:write("next", i + 1)
    end]]):format(BATCHES - 1), "resumable = true,"),
  ["3.lua"] = project.step("bulk", "1.2.0", LAST, ([[
    ctx.mongo:collection("starts"):insert_one { step = ctx.step.id }
    local models = {}
    for i = 1, %d do
      models[i] = { update_one = { filter = { _id = i }, update = { ["$inc"] = { n = 1 } }, upsert = true } }
    end
    ctx.mongo:collection("c"):bulk_write(models)]]):format(BULK)),
}

-- What a run may say that lost an answer for good.
local CLEAR = { LEDGER_IO = 5, CONNECTION_FAILED = 5, STEP_FAILED = 1 }

-- How often each step was started is how often the ledger says; a step that was recorded never starts again.
local function assert_starts(p, ledger, recorded, context)
  for _, id in ipairs(STEPS) do
    local starts = p.db:collection("starts"):count { step = id }
    assert.are.equal(starts, ledger.steps[id].attempts, context .. ": attempts of " .. id)
    if recorded[id] then assert.are.equal(1, starts, context .. ": " .. id .. " was recorded and ran again") end
  end
end

-- Runs without the n-th answer, for every n there is; `check(first, seen)` for each such run.
-- Afterwards an ordinary run leaves everything clean.
local function without_answers(existing, options, check)
  local proxy <close> = proxies.start()
  local p <close> = project.new(COUNTED)
  local direct = p.uri
  local expected, writes = undisturbed(p, existing)
  for n = 1, ENOUGH do
    begin_again(p, existing)
    local since, context = oplog_end(p), "without answer " .. n
    proxy:cut(n)
    p.uri = proxy.uri .. options
    local first = p:run { "run" }
    p.uri = direct
    local _, cuts = proxy:tell()
    if cuts == 0 then
      assert.are.equal(0, first.status, first.out .. first.err)
      assert.is_true(n > 20, "the run was through after " .. n .. " answers")
      return
    end
    local at_end = p:ledger()
    context = ("%s: %s%s"):format(context, first.out, first.err)
    check(first, { context = context, same_data = data(p) == expected, ledger = at_end, usual_writes = writes,
      writes = #ledger_writes(p, since) })
    if first.status ~= 0 then
      assert.are.equal(CLEAR[first.json.error.code], first.status, context)
      local second = p:run { "run" }
      assert.are.equal(0, second.status, context .. second.out .. second.err)
      assert.is_true(second.ms < AT_ONCE_MS, context)
    end
    assert_starts(p, assert_clean(p, since, context), applied(at_end), context)
  end
  error "the run never came through"
end

describe("#slow a run that loses an answer", function()
  -- The driver sends reads and writes of single documents again, and the server knows them; the engine the rest.
  for _, existing in ipairs { false, true } do
    it("comes through, and nothing happened twice, on " .. (existing and "an existing ledger" or "a fresh ledger"), function()
      without_answers(existing, "", function(first, seen)
        assert.are.equal(0, first.status, seen.context)
        assert.is_true(seen.same_data, seen.context)
        assert.is_true(seen.writes <= seen.usual_writes + 1, seen.context) -- one may have been sent again
      end)
    end)
  end

  it("without a driver that sends again, proves what it had written, or says so", function()
    without_answers(true, "&retryWrites=false", function(first, seen)
      if first.status == 0 then
        assert.is_true(seen.same_data, seen.context)
      elseif first.json.error.code == "STEP_FAILED" then
        assert.are.equal("failed", seen.ledger.steps[first.json.error.details.stepId].status, seen.context)
      end
      assert.is_true(not seen.ledger.lock or bson.is_null(seen.ledger.lock.holder), seen.context)
    end)
  end)
end)
