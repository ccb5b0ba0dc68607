-- The history: what stands in it of a run, what does not, and that a run never fails for its sake.
local bson = require "smartmigration.bson"
local cli = require "spec.support.cli"
local process = require "spec.support.process"
local project = require "spec.support.project"
local server = require "spec.support.server"
local wait_for = require "spec.support.wait_for"

local step = project.step

local function history(p, ...)
  local result = p:run { "history", ... }
  assert.are.equal(0, result.status, result.out .. result.err)
  return result.json
end

local function is_time(text)
  return type(text) == "string" and text:find "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$" ~= nil
end

describe("the history of a run", function()
  it("says who ran what, when and how long", function()
    local p <close> = project.new { ["1.lua"] = step("a", "1.0.0", "1.1.0"), ["2.lua"] = step("b", "1.1.0", "1.2.0") }
    p:migrate()
    local runs = history(p).runs
    assert.are.equal(1, #runs)
    local run = runs[1]
    assert.are.equal("run", run.kind)
    assert.are.equal("succeeded", run.status)
    assert.is_nil(run.error)
    assert.are.equal("1.2.0", run.toVersion)
    assert.are.equal("1.2.0", run.targetVersion)
    assert.is_truthy(is_time(run.startedAt) and is_time(run.finishedAt) and run.startedAt <= run.finishedAt)
    assert.are.equal("number", type(run.durationMs))
    assert.are.equal(process.run({ "hostname" }).out:match "%S+", run.host)
    assert.are.equal(process.run({ "id", "-un" }).out:match "%S+", run.osUser)
    assert.is_truthy(run.engine:find "^smartmigration%-lua/%d")
    assert.are.equal(p:ledger().steps.a.run, run.run)
    local ids = {}
    for i, each in ipairs(run.steps) do
      ids[i] = each.id
      assert.are.equal("applied", each.status)
      assert.is_truthy(is_time(each.startedAt) and is_time(each.finishedAt))
      assert.are.equal(p:ledger().steps[each.id].startedAt, each.startedAt)
    end
    assert.are.same({ "a", "b" }, ids)
  end)

  it("is one EasyStore document beside the ledger, which it leaves as it was", function()
    local p <close> = project.new { ["1.lua"] = step("a", "1.0.0", "1.1.0") }
    p:migrate()
    local stored = p.db:collection(project.LEDGER):find({ nameId = { ["$ne"] = project.NAME_ID } }):all()
    assert.are.equal(1, #stored)
    assert.are.equal("smartmigration-history:smartmigration:" .. p:ledger().steps.a.run, stored[1].nameId)
    assert.is_truthy(is_time(stored[1]._createdAt) and is_time(stored[1]._updatedAt))
    assert.are.equal("succeeded", stored[1].data.status)
  end)

  it("counts commands and documents as the server told them", function()
    -- what a step does -> { operations, inserted, matched, modified, deleted }
    for body, counts in pairs {
      ["c:insert_one { _id = 'x' }"] = { 1, 1, 0, 0, 0 },
      ["c:insert_many { { _id = 'x' }, { _id = 'y' } }"] = { 1, 2, 0, 0, 0 },
      ["c:insert_many({ { _id = 1 }, { _id = 'y' } }, { ordered = false })"] = false,
      ["c:update_many({}, { ['$set'] = { n = 1 } })"] = { 1, 0, 3, 2, 0 },
      ["c:update_one({ _id = 'x' }, { ['$set'] = { n = 1 } }, { upsert = true })"] = { 1, 1, 0, 0, 0 },
      ["c:update_one({ _id = 'x' }, { ['$set'] = { n = 1 } }, { upsert = true, max_time_ms = 5000 })"] = { 1, 1, 0, 0, 0 },
      ["c:update_many({}, { ['$set'] = { n = 1 } }, { max_time_ms = 5000 })"] = { 1, 0, 3, 2, 0 },
      ["c:replace_one({ _id = 2 }, { n = 5 })"] = { 1, 0, 1, 1, 0 },
      ["c:delete_one { _id = 2 }"] = { 1, 0, 0, 0, 1 },
      ["c:delete_many {}"] = { 1, 0, 0, 0, 3 },
      ["c:find_one_and_update({ _id = 2 }, { ['$set'] = { n = 5 } })"] = { 1, 0, 1, 0, 0 },
      ["c:find_one_and_update({ _id = 'x' }, { ['$set'] = { n = 5 } }, { upsert = true })"] = { 1, 1, 0, 0, 0 },
      ["c:find_one_and_delete { _id = 2 }"] = { 1, 0, 0, 0, 1 },
      ["c:find_one_and_delete { _id = 'x' }"] = { 1, 0, 0, 0, 0 },
      ["c:bulk_write { { insert_one = { document = { _id = 'x' } } }, { delete_one = { filter = { _id = 1 } } } }"] =
        { 1, 1, 0, 0, 1 },
      [ [[local w <close> = c:bulk_writer { batch = 2 }
          for i = 11, 15 do w:update_one({ _id = i }, { ["$set"] = { n = i } }, { upsert = true }) end]] ] = { 3, 5, 0, 0, 0 },
      ["for _ in c:find {} do end c:find_one {} c:count {}"] = { 3, 0, 0, 0, 0 },
      ["ctx.mongo:run_command('ping', 1)"] = { 1, 0, 0, 0, 0 },
      [ [[ctx:transaction(function(session)
            c:insert_one({ _id = "x" }, { session = session })
            c:update_one({ _id = 1 }, { ["$set"] = { n = 7 } }, { session = session })
          end)]] ] = { 2, 1, 1, 1, 0 },
    } do
      local whole = "local c = ctx.mongo:collection 'things'\n" .. body
      local p <close> = project.new { ["1.lua"] = step("a", "1.0.0", "1.1.0", whole) }
      p.db:collection("things"):insert_many { { _id = 1, n = 1 }, { _id = 2, n = 2 }, { _id = 3, n = 3 } }
      p:run { "run" }
      local told = history(p).runs[1].steps[1]
      if counts then
        local documents = told.documents
        local found = { told.operations }
        for i, what in ipairs { "inserted", "matched", "modified", "deleted" } do found[i + 1] = documents[what] end
        assert.are.same(counts, found, body)
      else -- refused in part: what was done counts
        assert.are.equal("failed", told.status)
        assert.are.equal(1, told.documents.inserted)
      end
    end
  end)

  it("keeps of an error its code, operation, namespace and index, never a text", function()
    local p <close> = project.new { ["1.lua"] = step("a", "1.0.0", "1.1.0",
      "ctx.mongo:collection('things'):insert_many { { _id = 'x' }, { _id = 'ada@example.org' } }") }
    p.db:collection("things"):insert_one { _id = "ada@example.org" }
    assert.are.equal(1, p:run({ "run" }).status)
    local result = p:run { "history" }
    local run = result.json.runs[1]
    assert.are.equal("failed", run.status)
    assert.are.same({ code = "STEP_FAILED" }, run.error)
    assert.are.equal("DuplicateKey", run.steps[1].error.code)
    assert.are.equal("insert_many", run.steps[1].error.operation)
    assert.are.equal(p.database .. ".things", run.steps[1].error.namespace)
    assert.is_nil(result.out:find("ada@example.org", 1, true))
    assert.are.equal("1.0.0", run.toVersion)
  end)

  it("is not written when there is nothing to do, when nothing was changed, and when the lock was not had", function()
    local p <close> = project.new { ["1.lua"] = step("a", "1.0.0", "1.1.0") }
    p:run { "plan" }
    p:run { "run", "--dry-run" }
    p:run { "status" }
    p:run { "validate" }
    assert.is_nil(p:document())
    p:migrate()
    p:migrate()
    assert.are.equal(1, #history(p).runs)
    p:set_ledger { currentVersion = "1.0.0", lock = { holder = "them", expiresAt = "2999-01-01T00:00:00.000Z" } }
    assert.are.equal(4, p:run({ "run", "--lock-wait", "0" }).status)
    assert.are.equal(1, #history(p).runs)
  end)

  it("shows a run under way, and one that was killed as interrupted", function()
    local p <close> = project.new { ["1.lua"] = step("a", "1.0.0", "1.1.0", [[
      ctx.mongo:collection("things"):insert_one { _id = "begun" }
      while true do ctx:check() end]]) }
    local child <close> = p:start { "run" }
    wait_for("the step to run", function() return p.db:collection("things"):find_one { _id = "begun" } end)
    local run = history(p).runs[1]
    assert.are.equal("running", run.status)
    assert.is_nil(run.finishedAt)
    child:kill "KILL"
    child:wait()
    assert.are.equal("interrupted", history(p).runs[1].status)
  end)

  it("names the database user", function()
    local own <close> = server.start { auth = true }
    local p <close> = project.new({ ["1.lua"] = step("a", "1.0.0", "1.1.0") }, { uri = own.uri })
    p:migrate()
    assert.are.equal("root@admin", history(p).runs[1].dbUser)
  end)

  it("that cannot be written is a warning, never a failure", function()
    local p <close> = project.new { ["1.lua"] = step("a", "1.0.0", "1.1.0"), ["2.lua"] = step("b", "1.1.0", "1.2.0") }
    p.db:run_command("create", project.LEDGER, { validator = bson.doc { { "nameId", project.NAME_ID } } })
    local result = p:run { "run" }
    assert.are.equal(0, result.status, result.out .. result.err)
    assert.are.equal("1.2.0", result.json.currentVersionAfter)
    local _, count = result.err:gsub("the history of this run could not be written: ", "")
    assert.are.equal(1, count, result.err)
    assert.are.same({}, history(p).runs)
    assert.are.equal(0, p:run({ "repair", "--mark-pending", "b" }).status)
    assert.are.equal("1.1.0", p:ledger().currentVersion)
  end)

  it("does not make a database look used", function()
    local p <close> = project.new({ ["1.lua"] = step("a", "1.0.0", "1.1.0") }, { flags = { "--fresh-install-version", "1.1.0" } })
    p:migrate()
    p.db:collection(project.LEDGER):delete_one { nameId = project.NAME_ID }
    assert.is_true(p:migrate().wasFreshInstall)
    local runs = history(p).runs
    assert.are.equal(2, #runs)
    assert.are.same({}, runs[1].steps)
  end)

  it("belongs to its ledger's name", function()
    local p <close> = project.new { ["1.lua"] = step("a", "1.0.0", "1.1.0") }
    p:migrate()
    p:migrate { "--ledger-name", "smart.igration" }
    p:migrate { "--ledger-name", "smartXigration" }
    assert.are.equal(1, #history(p).runs)
    assert.are.equal(1, #history(p, "--ledger-name", "smart.igration").runs)
  end)

  it("is read newest first, also when it is long", function()
    local p <close> = project.new {}
    local documents = {}
    for i = 1, 300 do
      documents[i] = { nameId = ("smartmigration-history:smartmigration:%032x"):format(i), data = { run = ("%032x"):format(i),
        kind = "run", status = "succeeded", startedAt = ("2026-01-01T00:00:00.%03dZ"):format(i * 7 % 300),
        host = ("x"):rep(100000), osUser = "", dbUser = "", engine = "", steps = bson.array {} } }
    end
    p.db:collection(project.LEDGER):insert_many(documents)
    local runs = history(p).runs
    assert.are.equal(300, #runs)
    for i = 2, #runs do assert.is_true(runs[i - 1].startedAt >= runs[i].startedAt) end
  end)
end)

describe("history --prune-older-than", function()
  it("removes what began longer ago", function()
    local p <close> = project.new { ["1.lua"] = step("a", "1.0.0", "1.1.0") }
    p:migrate()
    local function age(days)
      local began = tostring(bson.date(bson.now().ms - days * 86400000))
      p.db:collection(project.LEDGER):insert_one { nameId = ("smartmigration-history:smartmigration:%032d"):format(days),
        data = { run = ("%032d"):format(days), kind = "run", status = "succeeded", startedAt = began, host = "",
          osUser = "", dbUser = "", engine = "", steps = bson.array {} } }
    end
    for _, days in ipairs { 89, 91, 400 } do age(days) end
    local ledger = p:document()
    local told = history(p, "--prune-older-than", "90d")
    assert.are.equal(2, told.removed)
    assert.is_truthy(is_time(told.before))
    local runs = history(p).runs
    assert.are.equal(2, #runs)
    assert.are.equal("1.1.0", runs[1].toVersion)
    assert.are.equal(1, history(p, "--prune-older-than", "1000h").removed)
    assert.are.equal(0, history(p, "--prune-older-than", "1h").removed)
    assert.is_true(bson.equal(ledger, p:document()))
    for _, bad in ipairs { "90", "soon", "-1d", "90days" } do
      local result = p:run { "history", "--prune-older-than=" .. bad }
      if bad == "90" then
        assert.are.equal(1, result.json.removed) -- milliseconds
      else
        assert.are.equal(2, result.status, result.out)
        assert.is_truthy(result.json.error.message:find("is not an age: write 90d", 1, true), result.out)
      end
    end
  end)
end)

describe("history for people", function()
  it("shows a line for each run and each step", function()
    local database = server.database()
    local place <close> = cli.place({ ["migrations/1.lua"] = step("a", "1.0.0", "1.1.0",
      "ctx.mongo:collection('c'):insert_one { _id = 1 }"), ["migrations/2.lua"] = step("b", "1.1.0", "1.2.0", "error 'no'") },
      { env = { SMARTMIGRATION_MONGO_URI = server.uri, SMARTMIGRATION_MONGO_DB = database } })
    assert.are.equal("Nothing has run yet.\n", place:run({ "history" }).out)
    place:run { "run" }
    place:run { "repair", "--mark-applied", "b" }
    local out = place:run({ "history" }).out
    assert.is_truthy(out:find("succeeded  repair --mark-applied b  1.1.0 -> 1.2.0", 1, true), out)
    assert.is_truthy(out:find("failed  run  none -> 1.1.0", 1, true), out)
    assert.is_truthy(out:find "applied  a  1%.0%.0 %-> 1%.1%.0  %d+ ms  1 operation, 1 inserted", out)
    assert.is_truthy(out:find("error SCRIPT_ERROR", 1, true), out)
    assert.are.equal("2 entries", place:run({ "history", "--prune-older-than", "0" }).out:match "^%d+ %a+")
  end)
end)
