-- Change streams of collections, databases and clients, against a real server.
local bson = require "smartmigration.bson"
local migrations = require "spec.support.migrations"
local server = require "spec.support.server"
local support = require "spec.support.mongo"

local caught = support.caught

describe("a change stream", function()
  local db, users

  before_each(function()
    db = server.open(server.database())
    users = db:collection "users"
    users:insert_one { _id = 0 }
  end)

  it("gives what happens from its opening on, in order, as read-only documents", function()
    local stream <close> = users:watch()
    users:insert_one { _id = 1, name = "Ada" }
    users:update_one({ _id = 1 }, { ["$set"] = { name = "Eve" } })
    users:delete_one { _id = 1 }
    local event = stream:next()
    assert.equal("insert", event.operationType)
    assert.equal("Ada", event.fullDocument.name)
    assert.has_error(function() event.operationType = "x" end)
    assert.equal("Eve", stream().updateDescription.updatedFields.name)
    assert.equal("delete", stream:next().operationType)
  end)

  it("is asked without waiting for more than max_await_time_ms", function()
    local stream <close> = users:watch({}, { max_await_time_ms = 1 })
    assert.is_nil(stream:try_next())
    users:insert_one { _id = 1 }
    local event = stream:try_next() or stream:try_next() or stream:next()
    assert.equal(1, event.documentKey._id)
  end)

  it("obeys its pipeline and full_document", function()
    users:insert_many { { _id = 1, n = 1 }, { _id = 2, n = 2 } }
    local stream <close> = users:watch({ { ["$match"] = { ["documentKey._id"] = 2 } } }, { full_document = "updateLookup" })
    users:update_many({}, { ["$set"] = { seen = true } })
    local event = stream:next()
    assert.equal(2, event.documentKey._id)
    assert.equal(2, event.fullDocument.n)
  end)

  it("goes on where another stopped, or from a time", function()
    local first <close> = users:watch()
    users:insert_many { { _id = 1 }, { _id = 2 }, { _id = 3 } }
    assert.equal(1, first:next().documentKey._id)
    local token = first:resume_token()
    local after <close> = users:watch({}, { resume_after = token, batch_size = 1 })
    assert.equal(2, after:next().documentKey._id)
    local start <close> = users:watch({}, { start_after = token })
    assert.equal(2, start:next().documentKey._id)
    local time = after:next().clusterTime
    local timed <close> = users:watch({}, { start_at_operation_time = time })
    assert.equal(3, timed:next().documentKey._id)
  end)

  it("watches a database and a whole deployment", function()
    local client = server.client()
    local of_db <close> = db:watch()
    local of_all <close> = client:watch { { ["$match"] = { ["ns.db"] = db.name } } }
    users:insert_one { _id = 1 }
    db:collection("others"):insert_one { _id = 2 }
    for _, stream in ipairs { of_db, of_all } do
      assert.equal("users", stream:next().ns.coll)
      assert.equal("others", stream:next().ns.coll)
    end
  end)

  it("ends a generic for when its collection is gone", function()
    local stream <close> = users:watch()
    users:insert_one { _id = 1 }
    users:drop()
    local seen = {}
    for event in stream do seen[#seen + 1] = event.operationType end
    assert.same({ "insert", "drop", "invalidate" }, seen)
    assert.is_false(stream.alive)
    assert.is_nil(stream:next())
    assert.matches("at its end", tostring(stream))
  end)

  it("resumes by itself when the server has killed its cursor", function()
    local stream <close> = users:watch({}, { max_await_time_ms = 100 })
    stream:try_next()
    local pipeline = { { ["$currentOp"] = { idleCursors = true, allUsers = true } },
      { ["$match"] = { ns = users.namespace, type = "idleCursor" } } }
    local killed = 0
    for op in server.open("admin"):aggregate(pipeline) do
      db:run_command("killCursors", "users", { cursors = { op.cursor.cursorId } })
      killed = killed + 1
    end
    assert.equal(1, killed)
    users:insert_one { _id = "after" }
    assert.equal("after", stream:next().documentKey._id)
  end)

  it("raises what the server refuses, and wrong options", function()
    local err = caught(users.watch, users, { { ["$nope"] = 1 } })
    assert.equal("Location40324", err.code)
    assert.equal("watch", err.operation)
    assert.equal(users.namespace, err.namespace)
    assert.is_false(err.outcome_unknown)
    assert.matches("must be an array", caught(users.watch, users, bson.doc { a = 1 }).message)
    assert.matches("did you mean 'resume_after'", caught(users.watch, users, {}, { resumeAfter = {} }).message)
    assert.matches("must be a bson.timestamp",
      caught(users.watch, users, {}, { start_at_operation_time = 5 }).message)
    assert.matches("only one of resume_after",
      caught(users.watch, users, {}, { resume_after = { a = 1 }, start_after = { a = 1 } }).message)
  end)

  it("is closed once, by name, by its block or with its client, and leaves no cursor behind", function()
    local stream = users:watch({}, { max_await_time_ms = 1 })
    stream:try_next()
    stream:close()
    stream:close()
    assert.equal("change_stream is closed", caught(stream.next, stream).message)
    assert.equal("change_stream is closed", caught(stream.try_next, stream).message)
    assert.equal("change_stream is closed", caught(stream.resume_token, stream).message)
    local client = server.client()
    local kept = client:database(db.name):collection("users"):watch()
    client:close()
    assert.equal("change_stream is closed", caught(kept.next, kept).message)
    do
      local session <close> = db:start_session()
      kept = users:watch({}, { session = session })
    end
    assert.equal("change_stream is closed", caught(kept.next, kept).message)
    assert.equal(0, support.idle_cursors(users.namespace))
  end)

  it("stops waiting when its run has lost the lock", function()
    local err = migrations.step_failure(function(ctx)
      local stream <close> = ctx.mongo:collection("users"):watch({}, { max_await_time_ms = 3600000 })
      local ledger = server.open(ctx.mongo.name):collection "SmartdataEasyStore"
      ledger:update_one({}, { ["$set"] = { ["data.lock.holder"] = "somebody else" } })
      stream:next()
    end, { lock = { ttl_ms = 1500 } })
    assert.equal("LOCK_LOST", err.code)
  end)

  it("ends with its step", function()
    local kept
    migrations.run_step(function(ctx) kept = ctx.mongo:collection("users"):watch() end)
    assert.equal("change_stream of step 'only' is no longer valid", caught(kept.next, kept).message)
  end)
end)
