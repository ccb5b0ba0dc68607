-- What a run makes of the ledger it finds: each row of the contract's tables on resolving and planning, through the binary
-- on a real server.
local bson = require "smartmigration.bson"
local project = require "spec.support.project"

local function body(i)
  return ("ctx.mongo:collection('ran'):insert_one { _id = %q, mode = ctx.mode }"):format("step-" .. i)
end

-- 1.0.0 -> 1.1.0 -> 1.2.0 -> 2.0.0; programs of 1.1.0 can work with what the second step makes.
local function chain()
  return {
    ["1.lua"] = project.step("step-1", "1.0.0", "1.1.0", body(1)),
    ["2.lua"] = project.step("step-2", "1.1.0", "1.2.0", body(2), "compatible_from = '1.1.0',"),
    ["3.lua"] = project.step("step-3", "1.2.0", "2.0.0", body(3)),
  }
end

local function ran(p)
  local ids = {}
  for document in p.db:collection("ran"):find({}, { sort = { _id = 1 } }) do ids[#ids + 1] = document._id end
  return table.concat(ids, " ")
end

local function ids(steps)
  local list = {}
  for i, step in ipairs(steps) do list[i] = step.id end
  return table.concat(list, " ")
end

-- How many lines of the log hold the level and the pattern.
local function lines(result, level, pattern)
  local count = 0
  for line in result.err:gmatch "[^\n]+" do
    if line:find("Z " .. level, 1, true) and line:find(pattern) then count = count + 1 end
  end
  return count
end

local function prepared(row)
  local p = project.new(row.files or chain(), { flags = row.flags })
  if row.ledger then p:set_ledger(row.ledger) end
  for _, name in ipairs(row.collections or {}) do p.db:collection(name):insert_one {} end
  for _, name in ipairs(row.documents or {}) do p.db:collection(project.LEDGER):insert_one { nameId = name } end
  return p
end

-- name -> ledger, flags, collections and documents that are there; then bootstrap mode, version before and after, what runs.
local plans = {
  ["a recorded version is the version"] = { ledger = { currentVersion = "1.1.0" }, mode = "none", before = "1.1.0",
    after = "2.0.0", runs = "step-2 step-3" },
  ["at the target nothing runs"] = { ledger = { currentVersion = "2.0.0" }, mode = "none", before = "2.0.0", after = "2.0.0",
    runs = "" },
  ["a target on the way is where it ends"] = { flags = { "--target", "1.2.0" }, ledger = { currentVersion = "1.0.0" },
    mode = "none", before = "1.0.0", after = "1.2.0", runs = "step-1 step-2" },
  ["build metadata is no other version"] = { ledger = { currentVersion = "2.0.0+build.5" }, mode = "none", before = "2.0.0",
    after = "2.0.0", runs = "" },
  ["inside a step it runs"] = { ledger = { currentVersion = "1.1.5" }, mode = "none", before = "1.1.5", after = "2.0.0",
    runs = "step-2 step-3", skips = "step-2" },
  ["before a step's end, in its pre-releases, it runs"] = { ledger = { currentVersion = "1.1.0-rc.1" }, mode = "none",
    before = "1.1.0-rc.1", after = "2.0.0", runs = "step-1 step-2 step-3", skips = "step-1" },
  ["an empty database begins at the chain's start"] = { mode = "chain-start", after = "2.0.0",
    runs = "step-1 step-2 step-3" },
  ["a ledger without a version, too"] = { ledger = { steps = bson.doc {} }, mode = "chain-start", after = "2.0.0",
    runs = "step-1 step-2 step-3" },
  ["data without a version, too, with one warning"] = { collections = { "users" }, mode = "chain-start", after = "2.0.0",
    runs = "step-1 step-2 step-3", assumed = 1 },
  ["a fresh install begins at its version"] = { flags = { "--fresh-install-version", "1.2.0" }, mode = "fresh-install-version",
    after = "2.0.0", runs = "step-3", fresh = true },
  ["a fresh install at the target runs nothing"] = { flags = { "--fresh-install-version", "2.0.0" },
    mode = "fresh-install-version", after = "2.0.0", runs = "", fresh = true },
  ["with data there is no fresh install"] = { flags = { "--fresh-install-version", "1.2.0" }, collections = { "users" },
    mode = "chain-start", after = "2.0.0", runs = "step-1 step-2 step-3", assumed = 1 },
  ["another's document in the store is data"] = { flags = { "--fresh-install-version", "1.2.0" }, documents = { "theirs" },
    mode = "chain-start", after = "2.0.0", runs = "step-1 step-2 step-3", assumed = 1 },
  ["collections out of scope are no data"] = { collections = { "audit_log", "billing" }, mode = "fresh-install-version",
    flags = { "--fresh-install-version", "1.2.0", "--fresh-scope", "users", "--fresh-scope", "app_*" }, after = "2.0.0",
    runs = "step-3", fresh = true },
  ["collections in scope are"] = { collections = { "billing", "app_settings" }, mode = "chain-start",
    flags = { "--fresh-install-version", "1.2.0", "--fresh-scope", "users", "--fresh-scope", "app_*" }, after = "2.0.0",
    runs = "step-1 step-2 step-3", assumed = 1 },
  ["a recorded version comes before fresh_install_version"] = { flags = { "--fresh-install-version", "1.2.0" },
    ledger = { currentVersion = "1.0.0" }, mode = "none", before = "1.0.0", after = "2.0.0", runs = "step-1 step-2 step-3" },
  ["a bridge leads on from the chain's end"] = { flags = { "--target", "3.0.0", "--target-strategy", "bridge" },
    ledger = { currentVersion = "1.2.0" }, mode = "none", before = "1.2.0", after = "3.0.0", runs = "step-3 bridge:3.0.0" },
  ["a bridge alone"] = { flags = { "--target", "3.0.0", "--target-strategy", "bridge" }, ledger = { currentVersion = "2.5.0" },
    mode = "none", before = "2.5.0", after = "3.0.0", runs = "bridge:3.0.0" },
  ["no bridge where the chain leads to the target"] = { flags = { "--target", "2.0.0", "--target-strategy", "bridge" },
    ledger = { currentVersion = "1.2.0" }, mode = "none", before = "1.2.0", after = "2.0.0", runs = "step-3" },
}

describe("resolving", function()
  for name, row in pairs(plans) do
    it(name .. ", and the plan says so", function()
      local p <close> = prepared(row)
      local before = #p:oplog()
      local plan = p:run { "plan" }
      assert.are.equal(0, plan.status, plan.out .. plan.err)
      assert.are.equal(before, #p:oplog())
      local result = p:run { "run" }
      assert.are.equal(0, result.status, result.out .. result.err)
      for _, said in ipairs { plan, result } do
        assert.are.equal(row.mode, said.json.bootstrapMode)
        assert.are.equal(row.before, said.json.currentVersionBefore)
        assert.are.equal(row.after, said.json.currentVersionAfter)
        assert.are.equal(row.fresh or false, said.json.wasFreshInstall)
        assert.are.equal(row.assumed or 0, lines(said, "warn", "no recorded version"), said.err)
        assert.are.equal(row.skips and 1 or 0, lines(said, "info", "skipping forward"), said.err)
      end
      assert.are.equal(row.runs, ids(plan.json.stepsSkipped))
      assert.are.equal(row.runs, ids(result.json.stepsApplied))
      assert.are.equal(row.runs:gsub(" ?bridge:%S+", ""), ran(p))
      for _, step in ipairs(result.json.stepsApplied) do
        local entry = p:ledger().steps[step.id]
        assert.are.equal("applied", entry.status)
        assert.are.equal(step.id == row.skips, step.skipForward)
      end
      if row.skips then assert.are.equal("skip-forward", p.db:collection("ran"):find_one({ _id = row.skips }).mode) end
      -- With nothing to do there was nothing to bootstrap but what is recorded already, normalised or not.
      assert.are.equal(row.runs == "" and row.ledger and row.ledger.currentVersion or row.after, p:ledger().currentVersion)
      local again = p:run { "run" }
      assert.are.equal(0, again.status, again.out .. again.err)
      assert.are.equal("", ids(again.json.stepsApplied))
    end)
  end
end)

local function entry(id, from, to)
  return { stepId = id, fromVersion = from, toVersion = to, status = "applied", run = "r" }
end

-- What a run of the whole chain leaves; a program of an older target meets it.
local function newer(compatible_from)
  return { currentVersion = "2.0.0", compatibleFrom = compatible_from, steps = {
    ["step-1"] = entry("step-1", "1.0.0", "1.1.0"), ["step-2"] = entry("step-2", "1.1.0", "1.2.0"),
    ["step-3"] = entry("step-3", "1.2.0", "2.0.0") } }
end

local refusals = {
  ["a target between two steps"] = { flags = { "--target", "1.1.5" }, ledger = { currentVersion = "1.0.0" },
    code = "TARGET_NOT_REACHABLE", exit = 3, says = "step-2" },
  ["a chain that ends below the target"] = { flags = { "--target", "3.0.0" }, ledger = { currentVersion = "1.0.0" },
    code = "TARGET_NOT_REACHABLE", exit = 3, says = "2.0.0" },
  ["a ledger past the chain's end"] = { flags = { "--target", "3.0.0" }, ledger = { currentVersion = "2.5.0" },
    code = "TARGET_NOT_REACHABLE", exit = 3, says = "2.5.0" },
  ["a bridge that a step would overshoot"] = { flags = { "--target", "1.1.5", "--target-strategy", "bridge" },
    ledger = { currentVersion = "1.0.0" }, code = "TARGET_NOT_REACHABLE", exit = 3, says = "step-2" },
  ["data older than the chain"] = { ledger = { currentVersion = "0.9.0" }, code = "CHAIN_NOT_AT_CURRENT", exit = 3,
    says = "step-1" },
  ["a fresh install below the chain"] = { flags = { "--fresh-install-version", "0.9.0" }, code = "CHAIN_NOT_AT_CURRENT",
    exit = 3, says = "0.9.0" },
  ["a fresh install above the target"] = { flags = { "--fresh-install-version", "2.5.0" },
    code = "DOWNGRADE_NOT_SUPPORTED", exit = 3, says = "2.5.0" },
  ["data that is too new"] = { flags = { "--target", "1.2.0" }, ledger = newer "2.0.0", code = "DOWNGRADE_NOT_SUPPORTED",
    exit = 3, says = "step-3" },
  ["data that says nothing of older programs"] = { flags = { "--target", "1.2.0" }, ledger = newer(nil),
    code = "DOWNGRADE_NOT_SUPPORTED", exit = 3, says = "step-3" },
  ["data that is newer and compatible, when told to"] = { flags = { "--target", "1.2.0", "--newer-ledger", "refuse" },
    ledger = newer "1.1.0", code = "DOWNGRADE_NOT_SUPPORTED", exit = 3, says = "newer_ledger" },
  ["data without a version, when told to"] = { flags = { "--unversioned-data", "refuse" }, collections = { "users" },
    code = "UNVERSIONED_DATA", exit = 2, says = "baseline" },
}

describe("refused and untouched is", function()
  for name, row in pairs(refusals) do
    it(name, function()
      local p <close> = prepared(row)
      local before = #p:oplog()
      for _, words in ipairs { { "plan" }, { "run" } } do
        local result = p:run(words)
        assert.are.equal(row.exit, result.status, words[1] .. ": " .. result.out .. result.err)
        assert.are.equal(row.code, result.json.error.code)
        assert.is_truthy(result.json.error.message:find(row.says, 1, true), result.json.error.message)
      end
      assert.are.equal(before, #p:oplog())
    end)
  end
end)

describe("unversioned_data = refuse", function()
  it("does not hinder a fresh install", function()
    local p <close> = project.new(chain(), { flags = { "--unversioned-data", "refuse" } })
    assert.are.equal("2.0.0", p:migrate().currentVersionAfter)
  end)
end)

describe("a newer ledger that is compatible", function()
  it("is success with one warning, and stays as it is", function()
    local p <close> = project.new(chain(), { flags = { "--target", "1.2.0" } })
    p:set_ledger(newer "1.1.0")
    local before = #p:oplog()
    local result = p:run { "run" }
    assert.are.equal(0, result.status, result.out .. result.err)
    assert.are.equal("2.0.0", result.json.currentVersionAfter)
    assert.are.equal(1, lines(result, "warn", "."), result.err)
    assert.are.equal(1, lines(result, "warn", "2%.0%.0, newer than the target 1%.2%.0"), result.err)
    assert.are.equal(before, #p:oplog())
    assert.are.equal(0, p:run({ "status", "--check" }).status)
  end)

  it("is what steps that name older programs leave", function()
    local p <close> = project.new(chain(), { flags = { "--target", "1.2.0" } })
    p:set_ledger { currentVersion = "1.1.0" }
    p:migrate()
    assert.are.equal("1.1.0", p:ledger().compatibleFrom)
    p.flags = { "--target", "1.1.0" }
    local older = p:run { "run" }
    assert.are.equal(0, older.status, older.out .. older.err)
    -- The next step names none: it breaks them, and compatibleFrom only rises.
    p.flags = {}
    p:migrate()
    assert.are.equal("2.0.0", p:ledger().compatibleFrom)
    p.flags = { "--target", "1.1.0" }
    local refused = p:run { "run" }
    assert.are.equal("DOWNGRADE_NOT_SUPPORTED", refused.json.error.code)
    assert.are.equal("step-3", refused.json.error.details.stepId)
    assert.are.equal(3, p:run({ "status", "--check" }).status)
  end)
end)

describe("a bridge", function()
  it("is recorded, and no contradiction when the chain has grown since", function()
    local p <close> = project.new(chain(), { flags = { "--target", "2.5.0", "--target-strategy", "bridge" } })
    p:migrate()
    local bridge = p:ledger().steps["bridge:2.5.0"]
    assert.are.equal("applied", bridge.status)
    assert.are.equal("2.0.0", bridge.fromVersion)
    assert.are.equal("2.5.0", bridge.toVersion)
    p:file("4.lua", project.step("step-4", "2.0.0", "3.0.0", body(4)))
    p.flags = {}
    local result = p:migrate()
    assert.are.equal("step-4", ids(result.stepsApplied))
    assert.is_true(result.stepsApplied[1].skipForward)
  end)
end)

describe("a file that changed after it was applied", function()
  local function changed()
    local p = project.new(chain())
    p:migrate { "--target", "1.2.0" }
    p:file("1.lua", chain()["1.lua"] .. "-- a remark\n")
    return p
  end

  it("is one warning in a run, with and without something to do", function()
    local p <close> = changed()
    for _, words in ipairs { { "plan" }, { "run" }, { "run" } } do
      local result = p:run(words)
      assert.are.equal(0, result.status, result.out .. result.err)
      assert.are.equal(1, lines(result, "warn", "."), result.err)
      assert.are.equal(1, lines(result, "warn", "step%-1.*changed"), result.err)
    end
    assert.are.equal("2.0.0", p:ledger().currentVersion)
  end)

  it("is exit 6 in validate, which names it, and drift in status", function()
    local p <close> = changed()
    local result = p:run { "validate" }
    assert.are.equal(6, result.status, result.out .. result.err)
    assert.are.equal(1, #result.json.drift)
    assert.are.equal("step-1", result.json.drift[1].id)
    local status = p:run { "status" }
    assert.are.equal(0, status.status)
    for _, step in ipairs(status.json.steps) do assert.are.equal(step.id == "step-1", step.drift, step.id) end
    assert.are.equal(0, p:run({ "validate", "--offline" }).status)
  end)

  it("is none when only its line ends or a byte order mark differ, or the step was not applied", function()
    local p <close> = project.new(chain())
    p:migrate { "--target", "1.2.0" }
    p:file("1.lua", "\xEF\xBB\xBF" .. chain()["1.lua"]:gsub("\n", "\r\n"))
    p:file("3.lua", chain()["3.lua"] .. "-- a remark\n")
    local result = p:run { "validate" }
    assert.are.equal(0, result.status, result.out .. result.err)
    assert.are.equal(0, lines(p:run { "run" }, "warn", "."))
  end)
end)
