-- What a run writes and reads, seen from outside the engine: the stored document, the oplog, the server's profiler.
local bson = require "smartmigration.bson"
local project = require "spec.support.project"

local function insert(i)
  return ("ctx.mongo:collection('things'):insert_one { n = %d }"):format(i)
end

-- The commands that the server saw for the ledger's collection since profiling began, from the binary.
local function profiled(p, work)
  p.db:run_command("profile", 2)
  work()
  p.db:run_command("profile", 0)
  return p.db:collection("system.profile"):find({ ns = p.database .. "." .. project.LEDGER,
    appName = "smartmigration" }, { sort = { ts = 1 } }):all()
end

-- The oplog's entries for the ledger itself: the history, which stands beside it, is not counted.
local function ledger_writes(p)
  local id = tostring(p:document()._id)
  local writes = {}
  for _, entry in ipairs(p:oplog(project.LEDGER)) do
    local of = entry.op == "i" and entry.o._id or entry.op == "u" and entry.o2._id
    if of and tostring(of) == id then writes[#writes + 1] = entry end
  end
  return writes
end

describe("the cost of a run", function()
  it("is n + 2 ledger writes for n steps on a fresh ledger, by the oplog", function()
    for _, n in ipairs { 1, 7 } do
      local p <close> = project.new(project.chain(n, insert))
      p:migrate()
      assert.are.equal(n + 2, #ledger_writes(p))
    end
  end)

  it("is n + 2 write commands on an existing ledger, by the profiler", function()
    local p <close> = project.new(project.chain(3, insert))
    p:set_ledger { currentVersion = "1.0.0", lock = { holder = bson.null } }
    local writes, reads, history = 0, 0, 0
    for _, op in ipairs(profiled(p, function() p:migrate() end)) do
      local of_history = op.command.q and tostring(op.command.q.nameId):find "^smartmigration%-history:"
      if of_history or op.op == "insert" then
        history = history + 1
      elseif op.command.update or op.command.findAndModify or op.command.findandmodify or op.op == "update" then
        writes = writes + 1
      else
        reads = reads + 1
      end
    end
    assert.are.equal(5, writes)
    assert.are.equal(2, history)
  end)

  it("is one read when there is nothing to do", function()
    local p <close> = project.new(project.chain(3, insert))
    p:migrate()
    local before = #p:oplog()
    local operations = profiled(p, function() p:migrate() end)
    assert.are.equal(1, #operations)
    assert.are.equal(before, #p:oplog())
  end)

  it("is one write for a failure", function()
    local p <close> = project.new { ["1.lua"] = project.step("s", "1.0.0", "1.1.0", "error 'no'") }
    p:set_ledger { currentVersion = "1.0.0", lock = { holder = bson.null } }
    local before = #ledger_writes(p)
    assert.are.equal(1, p:run({ "run" }).status)
    assert.are.equal(before + 3, #ledger_writes(p)) -- the lock, the `running` entry, the failure
  end)
end)

describe("plan and dry run", function()
  for _, words in ipairs { { "plan" }, { "run", "--dry-run" }, { "status" }, { "validate" } } do
    for _, existing in ipairs { false, true } do
      it(("'%s' leaves nothing behind on %s ledger"):format(table.concat(words, " "), existing and "an existing" or "no"),
        function()
          local p <close> = project.new(project.chain(3, insert))
          if existing then p:set_ledger { currentVersion = "1.0.1" } end
          local before = #p:oplog()
          local result = p:run(words)
          assert.are.equal(0, result.status, result.out .. result.err)
          assert.are.equal(before, #p:oplog())
          assert.are.equal(existing, p.db:has_collection(project.LEDGER))
        end)
    end
  end

  it("predict what a run does", function()
    local p <close> = project.new(project.chain(3, insert), { flags = { "--fresh-install-version", "1.0.2" } })
    local plan = p:run({ "plan" }).json
    local dry = p:run({ "run", "--dry-run" }).json
    local result = p:migrate()
    for _, predicted in ipairs { plan, dry } do
      assert.are.equal(result.currentVersionAfter, predicted.currentVersionAfter)
      assert.are.equal(result.bootstrapMode, predicted.bootstrapMode)
      assert.are.equal(result.wasFreshInstall, predicted.wasFreshInstall)
      assert.are.equal(#result.stepsApplied, #predicted.stepsSkipped)
    end
    assert.is_true(result.wasFreshInstall)
    assert.are.equal("step-3", result.stepsApplied[1].id)
  end)
end)

describe("a ledger that another program wrote", function()
  it("keeps its unknown fields", function()
    local p <close> = project.new(project.chain(2, insert))
    p.db:collection(project.LEDGER):insert_one {
      nameId = project.NAME_ID, _createdAt = "2026-01-01T00:00:00.000Z", extra = { keep = 1 },
      data = {
        currentVersion = "1.0.1", note = "mine", checkpoints = bson.doc {},
        steps = { ["step-1"] = { stepId = "step-1", fromVersion = "1.0.0", toVersion = "1.0.1", status = "applied",
          startedAt = "2026-01-01T00:00:00.000Z", finishedAt = "2026-01-01T00:00:01.000Z", durationMs = 1000, by = "them" } },
        lock = { holder = bson.null, acquiredAt = bson.null, expiresAt = bson.null, mark = "x" },
      },
    }
    p:migrate()
    local document = bson.to_table(p:document())
    assert.are.equal("2026-01-01T00:00:00.000Z", document._createdAt)
    assert.are.equal(1, document.extra.keep)
    assert.are.equal("mine", document.data.note)
    assert.are.equal("them", document.data.steps["step-1"].by)
    assert.are.equal("x", document.data.lock.mark)
    assert.are.equal("1.0.2", document.data.currentVersion)
    assert.are.equal("applied", document.data.steps["step-2"].status)
  end)

  it("with a Date as expiry expires by it, and keeps Dates", function()
    local p <close> = project.new(project.chain(1, insert))
    p:set_ledger { currentVersion = "1.0.0",
      lock = { holder = "them", acquiredAt = bson.date "2026-01-01T00:00:00Z", expiresAt = bson.date "2999-01-01T00:00:00Z" } }
    local held = p:run { "run", "--lock-wait", "0" }
    assert.are.equal("LOCK_TIMEOUT", held.json.error.code)
    assert.are.equal("them", held.json.error.details.holder)
    p.db:collection(project.LEDGER):update_one({ nameId = project.NAME_ID },
      { ["$set"] = { ["data.lock.expiresAt"] = bson.date "2020-01-01T00:00:00Z" } })
    p:migrate { "--lock-wait", "0" }
    assert.are.equal("1.0.1", p:ledger().currentVersion)
  end)

  it("with an ISO string as expiry expires by it", function()
    local p <close> = project.new(project.chain(1, insert))
    p:set_ledger { currentVersion = "1.0.0", lock = { holder = "them", expiresAt = "2020-01-01T00:00:00.000Z" } }
    p:migrate { "--lock-wait", "0" }
    assert.are.equal("1.0.1", p:ledger().currentVersion)
  end)

  for name, data in pairs {
    ["a version that is none"] = { currentVersion = "latest" },
    ["a version that is a number"] = { currentVersion = 1 },
    ["steps that are a list"] = { currentVersion = "1.0.0", steps = bson.array {} },
    ["an entry that is a string"] = { currentVersion = "1.0.0", steps = { a = "applied" } },
    ["a lock that is a string"] = { currentVersion = "1.0.0", lock = "mine" },
    ["data that is a list"] = bson.array {},
    ["data that is a string"] = "1.0.0",
  } do
    it("and " .. name .. " is corrupt, and nothing is written", function()
      local p <close> = project.new(project.chain(1, insert))
      p:set_ledger(data)
      local before = #p:oplog()
      local result = p:run { "run" }
      assert.are.equal(5, result.status, result.out .. result.err)
      assert.are.equal("LEDGER_CORRUPT", result.json.error.code)
      assert.are.equal(before, #p:oplog())
    end)
  end

  it("twice is corrupt", function()
    local p <close> = project.new(project.chain(1, insert))
    for _ = 1, 2 do
      p.db:collection(project.LEDGER):insert_one { nameId = project.NAME_ID, data = { currentVersion = "1.0.0" } }
    end
    local result = p:run { "run" }
    assert.are.equal("LEDGER_CORRUPT", result.json.error.code)
    assert.is_truthy(result.json.error.message:find(project.NAME_ID, 1, true))
  end)

  it("with an index that is not unique is corrupt before any write", function()
    local p <close> = project.new(project.chain(1, insert))
    p.db:collection(project.LEDGER):create_index({ nameId = 1 }, { name = "nameId_1" })
    local before = #p:oplog()
    local result = p:run { "run" }
    assert.are.equal("LEDGER_CORRUPT", result.json.error.code, result.out .. result.err)
    assert.are.equal(before, #p:oplog())
  end)

  it("under the name without its prefix is found", function()
    local p <close> = project.new(project.chain(1, insert))
    p:set_ledger({ currentVersion = "1.0.0" }, "smartmigration")
    local result = p:run { "run" }
    assert.are.equal(2, result.status)
    assert.are.equal("LEDGER_ELSEWHERE", result.json.error.code)
    assert.are.equal("1.0.0", result.json.error.details.version)
    p:migrate { "--ledger-id", result.json.error.details.ledgerId }
    assert.are.equal("1.0.1", p:ledger("smartmigration").currentVersion)
  end)
end)

describe("ledger and chain that disagree", function()
  local function entry(id, from, to)
    return { stepId = id, fromVersion = from, toVersion = to, status = "applied" }
  end

  local function refused(files, data, ...)
    local p <close> = project.new(files)
    p:set_ledger(data)
    local before = #p:oplog()
    local result = p:run { "run" }
    assert.are.equal(6, result.status, result.out .. result.err)
    assert.are.equal("LEDGER_CHAIN_MISMATCH", result.json.error.code)
    for _, name in ipairs { ... } do
      assert.is_truthy(result.json.error.message:find(name, 1, true), result.json.error.message)
    end
    assert.are.equal(before, #p:oplog())
  end

  it("are refused for merged branches", function()
    refused({
      ["1.lua"] = project.step("base", "1.0.0", "1.1.0"), ["2.lua"] = project.step("from-main", "1.1.0", "1.2.0"),
      ["3.lua"] = project.step("from-branch", "1.2.0", "1.3.0"),
    }, { currentVersion = "1.2.0", bootstrap = { mode = "chain-start", version = "1.0.0", at = "2026-01-01T00:00:00.000Z" },
      steps = { base = entry("base", "1.0.0", "1.1.0"), ["from-branch"] = entry("from-branch", "1.1.0", "1.2.0") } },
      "from-branch", "from-main", "1.1.0", "1.2.0")
  end)

  it("are refused for a renamed step", function()
    refused({ ["1.lua"] = project.step("new-name", "1.0.0", "1.1.0"), ["2.lua"] = project.step("next", "1.1.0", "1.2.0") },
      { currentVersion = "1.1.0", steps = { ["old-name"] = entry("old-name", "1.0.0", "1.1.0") } }, "old-name", "new-name")
  end)

  it("are refused for a foreign ledger", function()
    refused({ ["1.lua"] = project.step("ours", "1.0.0", "2.0.0"), ["2.lua"] = project.step("next", "2.0.0", "3.0.0") },
      { currentVersion = "2.0.0",
        steps = { theirs = entry("theirs", "1.0.0", "1.5.0"), other = entry("other", "1.5.0", "2.0.0") } },
      "theirs", "other", "ledger_name")
  end)

  it("are one warning when there is nothing to do", function()
    local p <close> = project.new { ["1.lua"] = project.step("new-name", "1.0.0", "1.1.0") }
    p:set_ledger { currentVersion = "1.1.0", steps = { ["old-name"] = entry("old-name", "1.0.0", "1.1.0") } }
    local result = p:run { "run" }
    assert.are.equal(0, result.status)
    assert.is_truthy(result.err:find("old-name", 1, true))
  end)

  it("are no matter for records below the chain", function()
    local p <close> = project.new { ["1.lua"] = project.step("new", "2.0.0", "2.1.0") }
    p:set_ledger { currentVersion = "2.0.0", steps = { pruned = entry("pruned", "1.0.0", "2.0.0") } }
    p:migrate()
  end)
end)

describe("step ids that are no path", function()
  for _, id in ipairs { "a.b", "a.$b", ".", "a.", ".a", "0", "ünï·code", ("x"):rep(128), "a b" } do
    it(("%q is recorded, resumed and cleared"):format(id), function()
      local body = [[
        local seen = ctx.checkpoint:read "k.$1"
        ctx.checkpoint:write("k.$1", (seen or 0) + 1)
        if not seen then error "first try" end
        assert(seen == 1)]]
      local p <close> = project.new { ["1.lua"] = project.step(id, "1.0.0", "1.1.0", body, "resumable = true,"),
        ["2.lua"] = project.step("next", "1.1.0", "1.2.0") }
      local first = p:run { "run" }
      assert.are.equal(1, first.status, first.out .. first.err)
      local data = p:document().data
      assert.are.equal("failed", data.steps[id].status)
      assert.are.equal(1, data.checkpoints[id]["k.$1"])
      p:migrate()
      data = p:document().data
      assert.are.equal("applied", data.steps[id].status)
      assert.are.equal(2, data.steps[id].attempts)
      assert.is_nil(data.checkpoints[id])
    end)
  end
end)

describe("a URI that asks for less", function()
  it("does not weaken the ledger", function()
    local p <close> = project.new(project.chain(2, insert))
    local separator = p.uri:find("?", 1, true) and "&" or "/?"
    p.uri = p.uri .. separator .. "w=1&journal=false&readPreference=secondaryPreferred&readConcernLevel=local"
    p:set_ledger { currentVersion = "1.0.0" }
    local operations = profiled(p, function() p:migrate() end)
    assert.is_true(#operations >= 5)
    local reads, writes = 0, 0
    for _, op in ipairs(operations) do
      local command = op.command
      local preference = command["$readPreference"]
      assert.is_true(preference == nil or preference.mode == "primary", bson.json(command))
      if command.writeConcern then
        writes = writes + 1
        assert.are.equal("majority", command.writeConcern.w, bson.json(command))
        assert.is_true(command.writeConcern.j)
      end
      if command.find or command.aggregate then
        reads = reads + 1
        assert.are.equal("majority", command.readConcern and command.readConcern.level, bson.json(command))
      end
    end
    assert.is_true(reads >= 1)
  end)
end)
