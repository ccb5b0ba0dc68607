-- import-ledger: a ledger that begins with what migrate-mongo has applied. The documents are as migrate-mongo 14.0.7 writes them
-- (fileName, appliedAt as a date, migrationBlock as a double, fileHash with useFileHash); docs/from-migrate-mongo.md says how
-- that was checked with the tool itself.
local bson = require "smartmigration.bson"
local migrations = require "spec.support.migrations"
local process = require "spec.support.process"
local project = require "spec.support.project"
local s3_project = require "spec.support.s3_project"
local server = require "spec.support.server"
local smartmigration = require "smartmigration"

local step = project.step
local FIRST, SECOND = "20240105093000-lowercase-emails.js", "20240212101500-add-index.js"
local COUNT = "ctx.mongo:collection('ran'):insert_one({ _id = ctx.step.id })"

local function chain()
  return {
    ["20240105093000-lowercase-emails.lua"] = step("emails", "1.0.0", "1.1.0", COUNT),
    ["20240212101500-add-index.lua"] = step("index", "1.1.0", "1.2.0", COUNT, "compatible_from = '1.1.0',"),
    ["20240301000000-new.lua"] = step("new", "1.2.0", "1.3.0", COUNT),
  }
end

-- What migrate-mongo leaves after `up` over those files, in two calls.
local function applied(db, files, collection)
  for i, file in ipairs(files) do
    local at = bson.date(("2024-03-0%dT12:31:34.123Z"):format(i))
    db:collection(collection or "changelog"):insert_one { fileName = file, appliedAt = at, migrationBlock = at.ms - 5.0 }
  end
end

local function words(more)
  return { "import-ledger", "--from", "migrate-mongo", table.unpack(more or {}) }
end

local function done(p, list)
  local result = p:run(list)
  assert.are.equal(0, result.status, result.out .. result.err)
  return result.json
end

-- Refused with that reason and part of the message; neither ledger nor changelog is touched.
local function refused(p, list, reason, part)
  local before, log = p:document(), p.db:collection("changelog"):find({}):all()
  local result = p:run(list)
  assert.are.equal(2, result.status, result.out .. result.err)
  local err = result.json.error
  assert.are.equal("INVALID_OPTIONS", err.code, err.message)
  assert.are.equal(reason, err.details.reason, err.message)
  assert.is_truthy(err.message:find(part, 1, true), err.message)
  local after = p:document()
  assert.is_true(before == nil and after == nil or bson.equal(before, after), "the ledger was changed")
  assert.is_true(bson.equal(bson.array(log), bson.array(p.db:collection("changelog"):find({}):all())))
  return err
end

local function imported(files)
  local p = project.new(chain())
  applied(p.db, files or { FIRST, SECOND })
  return p
end

describe("import-ledger", function()
  it("records what the changelog says, and a run goes on from there", function()
    local p <close> = imported()
    local before = bson.array(p.db:collection("changelog"):find({}):all())
    local told = done(p, words())
    assert.are.same({ "1.2.0", 1, 2 }, { told.version, told.pending, told.files })
    assert.are.equal(p.database .. ".changelog", told.source)
    assert.are.same({ stepId = "emails", fromVersion = "1.0.0", toVersion = "1.1.0", appliedAt = "2024-03-01T12:31:34.123Z" },
      told.imported[1])
    local ledger = p:ledger()
    assert.are.equal("1.2.0", ledger.currentVersion)
    assert.are.equal("1.1.0", ledger.compatibleFrom)
    assert.are.same({ "import", "1.0.0" }, { ledger.bootstrap.mode, ledger.bootstrap.version })
    assert.is_truthy(ledger.bootstrap.at:find "^%d+%-%d%d%-%d%dT")
    local entry = ledger.steps.index
    assert.are.same({ "index", "applied", "1.1.0", "1.2.0" }, { entry.stepId, entry.status, entry.fromVersion, entry.toVersion })
    assert.are.same({ "2024-03-02T12:31:34.123Z", "2024-03-02T12:31:34.123Z" }, { entry.startedAt, entry.finishedAt })
    assert.is_nil(entry.durationMs)
    assert.is_truthy(entry.checksum:find "^sha256:")
    assert.is_true(bson.is_null(ledger.lock.holder))
    assert.is_true(bson.equal(before, bson.array(p.db:collection("changelog"):find({}):all())))
    local history = done(p, { "history" }).runs[1]
    assert.are.same({ "import", "succeeded", "1.2.0" }, { history.kind, history.status, history.toVersion })
    assert.are.equal("migrate-mongo " .. p.database .. ".changelog", history.command.source)
    assert.are.same({}, done(p, { "validate" }).drift)
    assert.are.equal(1, #p:migrate().stepsApplied)
    assert.are.equal(1, p.db:collection("ran"):count {})
    p:file("20240105093000-lowercase-emails.lua", step("emails", "1.0.0", "1.1.0", "-- changed"))
    assert.are.equal("changed", p:run({ "validate" }).json.drift[1].kind)
  end)

  it("writes nothing and takes no lock in a dry run", function()
    local p <close> = imported()
    local told = done(p, words { "--dry-run" })
    assert.is_true(told.dryRun)
    assert.are.same({ "1.2.0", 2 }, { told.version, #told.imported })
    assert.are.same({ "changelog" }, p.db:collection_names())
    local command = p:command(words { "--dry-run" })
    table.remove(command, 2) -- --json
    local out = process.run(command).out
    local line = "Would record 2 steps of %s.changelog as applied; the data would be at 1.2.0, 1 step is pending.\n"
    assert.is_truthy(out:find(line:format(p.database), 1, true), out)
  end)

  it("takes a file by a step's id, by --map, and several for one step", function()
    local p <close> = project.new(chain(), { flags = { "--collection", "migrations_log" } })
    applied(p.db, { "emails.ts", "old-1.js", "old-2.js" }, "migrations_log")
    local told = done(p, words { "--map", "old-1.js=index", "--map", "old-2.js=index" })
    assert.are.same({ "1.2.0", 3 }, { told.version, told.files })
    assert.are.equal("2024-03-03T12:31:34.123Z", told.imported[2].appliedAt)
  end)

  it("takes all steps of a file that holds several, and the file's latest entry where its hash changed", function()
    local p <close> = project.new { ["1-both.lua"] = ([[
      return { { id = "a", from = "1.0.0", to = "1.1.0", up = function() end },
        { id = "b", from = "1.1.0", to = "1.2.0", up = function() end } }]]) }
    local log = p.db:collection "changelog"
    for day = 2, 3 do
      log:insert_one { fileName = "1-both.js", fileHash = ("%064x"):format(day), migrationBlock = 1709294000000.0 + day,
        appliedAt = bson.date(("2024-03-0%dT00:00:00.000Z"):format(day)) }
    end
    local told = done(p, words())
    assert.are.same({ "1.2.0", 2, "2024-03-03T00:00:00.000Z" }, { told.version, #told.imported, told.imported[2].appliedAt })
  end)

  it("refuses and lists what matches no step", function()
    local p <close> = imported { FIRST, "20240110000000-gone.js", "20240111000000-too.js" }
    local err = refused(p, words(), "unmatched",
      "'20240110000000-gone.js' matches no step, '20240111000000-too.js' matches no step; say which step each stands for: "
        .. "--map '20240110000000-gone.js=STEP-ID'")
    assert.are.same({ "20240110000000-gone.js", "20240111000000-too.js" }, err.details.files)
  end)

  it("refuses a file that stands for two steps", function()
    local p <close> = project.new { ["a.lua"] = step("b", "1.0.0", "1.1.0"), ["b.lua"] = step("a", "1.1.0", "1.2.0") }
    applied(p.db, { "a.js" })
    refused(p, words(), "unmatched", "'a.js' stands for two")
    assert.are.equal("1.1.0", done(p, words { "--map", "a.js=b" }).version)
  end)

  it("refuses what is no beginning of the chain, naming both steps", function()
    local p <close> = imported { FIRST, "20240301000000-new.js" }
    refused(p, words(), "not-a-prefix", "step 'new' is applied, but 'index' (1.1.0 -> 1.2.0), which stands before it")
  end)

  it("refuses over a version that is recorded already", function()
    local p <close> = imported()
    done(p, words())
    local err = refused(p, words(), "already-versioned", "says already that the data is at 1.2.0")
    assert.is_truthy(err.message:find("an import begins a ledger, and changes none", 1, true))
    refused(p, words { "--dry-run" }, "already-versioned", "1.2.0")
  end)

  it("does not begin a second ledger where this program's is stored under another name", function()
    local p <close> = imported()
    p:set_ledger({ currentVersion = "1.1.0" }, "smartmigration")
    local result = p:run(words())
    assert.are.equal("LEDGER_ELSEWHERE", result.json.error.code)
    assert.is_nil(p:document())
  end)

  it("waits for nobody by default", function()
    local p <close> = imported()
    p:set_ledger { currentVersion = bson.null, steps = bson.doc {}, checkpoints = bson.doc {},
      lock = { holder = ("b"):rep(32) .. "@far/boot/pid:[1]/time:[1]/1/1", acquiredAt = "2024-01-01T00:00:00.000Z",
        expiresAt = "2999-01-01T00:00:00.000Z" } }
    assert.are.equal(4, p:run(words()).status)
  end)

  it("refuses what is no changelog, and wrong words", function()
    local p <close> = project.new(chain())
    refused(p, words(), "nothing-to-import", p.database .. ".changelog holds no applied migration")
    applied(p.db, { FIRST })
    refused(p, { "import-ledger" }, nil, "needs --from migrate-mongo")
    refused(p, { "import-ledger", "--from", "migrate-mogno" }, "unknown-tool",
      "not of 'migrate-mogno' (did you mean 'migrate-mongo'?)")
    refused(p, words { "--map", "x" }, nil, "--map takes FILE=STEP-ID")
    refused(p, words { "--map", "20240105093000-lowercase-emial.js=emails" }, "unknown-file",
      "(did you mean '" .. FIRST .. "'?)")
    refused(p, words { "--map", FIRST .. "=emial" }, "unknown-step", "(did you mean 'emails'?)")
    refused(p, words { "--map", FIRST .. "=emails", "--map", FIRST .. "=index" }, nil, "names a file twice")
    p.db:collection("changelog"):insert_one { _id = 7, fileName = "x.js", appliedAt = "yesterday" }
    refused(p, words(), "not-a-changelog", "_id 7 lacks the date appliedAt")
  end)

  it("tells a server that is not there by its exit code", function()
    local p <close> = project.new(chain(), { flags = { "--mongo-uri", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200" } })
    local result = p:run(words())
    assert.are.equal(5, result.status, result.out)
    assert.are.equal("CONNECTION_FAILED", result.json.error.code)
  end)

  it("records into a ledger in S3, and needs MongoDB all the same", function()
    local p <close> = s3_project.new(chain())
    local db = server.open(server.database())
    applied(db, { FIRST, SECOND })
    local without = p:run(words())
    assert.are.equal("no-mongo", without.json.error.details.reason)
    p.flags = { "--mongo-uri", server.uri, "--mongo-db", db.name, "--ledger", "s3" }
    done(p, words { "--dry-run" })
    assert.is_nil(p:ledger())
    assert.are.equal("1.2.0", done(p, words()).version)
    local ledger = p:ledger()
    assert.are.equal("import", ledger.bootstrap.mode)
    assert.are.equal("2024-03-01T12:31:34.123Z", ledger.steps.emails.finishedAt)
    assert.is_nil(ledger.steps.emails.durationMs)
    assert.are.equal("import", done(p, { "history" }).runs[1].kind)
    assert.are.same({ "changelog" }, db:collection_names())
    assert.are.equal("already-versioned", p:run(words()).json.error.details.reason)
    assert.are.equal(1, #p:migrate().stepsApplied)
  end)

  it("is the module's, over a handle that is open already", function()
    local db = server.open(server.database())
    applied(db, { "a.js" })
    local migration <close> = smartmigration.new { target_version = "1.1.0", mongo = { database = db } }
    migration:step("a"):from("1.0.0"):to("1.1.0"):up(function() end)
    assert.are.equal("unknown option 'form' for import_ledger (did you mean 'from'?)",
      migrations.failure(migration.import_ledger, migration, { form = "migrate-mongo" }).message)
    assert.are.equal("bad-map", migrations.failure(migration.import_ledger, migration,
      { from = "migrate-mongo", map = { "a" } }).details.reason)
    local result = migration:import_ledger { from = "migrate-mongo" }
    assert.are.same({ "1.1.0", 0, false }, { result.version, result.pending, result.dry_run })
    assert.are.equal("1.1.0", migration:status().current_version)
    assert.is_truthy(tostring(db):find "open" or db:collection_names())
  end)
end)
