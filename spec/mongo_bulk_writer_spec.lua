-- Writers that send statements in batches, against a real server.
local bson = require "smartmigration.bson"
local migrations = require "spec.support.migrations"
local server = require "spec.support.server"
local support = require "spec.support.mongo"

local caught, ids = support.caught, support.ids

describe("a bulk writer", function()
  local db, users

  before_each(function()
    db = server.open(server.database())
    users = db:collection "users"
  end)

  it("sends a batch when it is full, the rest when it is closed", function()
    local writer <close> = users:bulk_writer { batch = 10 }
    for i = 1, 25 do writer:insert_one { _id = i } end
    assert.equal(20, users:count())
    assert.equal(5, writer.pending)
    writer:flush()
    assert.equal(25, users:count())
    assert.equal(25, writer.counts.inserted_count)
    writer:insert_one { _id = 26 }
    writer:close()
    writer:close()
    assert.equal(26, users:count())
    assert.equal(26, writer.counts.inserted_count)
    assert.matches("%(closed%)", tostring(writer))
  end)

  it("does every kind, with its options, and counts", function()
    local writer = users:bulk_writer { ordered = true }
    local id = bson.objectid()
    writer:insert_one { _id = id, n = 1 }
    writer:insert_one { name = "without an id" }
    writer:insert_one { _id = 3, n = 3, list = { 1, 5, 9 } }
    writer:update_one(id, { ["$inc"] = { n = 10 } })
    writer:update_one({ _id = 3 }, { ["$set"] = { ["list.$[big]"] = 0 } }, { array_filters = { { big = { ["$gt"] = 4 } } } })
    writer:update_many({}, { { ["$set"] = { all = true } } }, { hint = "_id_" })
    writer:replace_one({ _id = 4 }, { n = 4 }, { upsert = true })
    writer:delete_one({ NAME = "x" }, { collation = { locale = "en", strength = 2 } })
    writer:delete_many { name = "without an id" }
    writer:close()
    assert.same({ inserted_count = 3, matched_count = 5, modified_count = 5, deleted_count = 1, upserted_count = 1 },
      writer.counts)
    assert.equal(11, users:find_one(id).n)
    assert.same({ 1, 0, 0 }, bson.to_table(users:find_one { _id = 3 }).list)
    assert.equal(4, users:find_one({ _id = 4 }).n)
  end)

  it("keeps documents as they were when the caller changes them afterwards", function()
    local writer <close> = users:bulk_writer()
    local document = { _id = 1, n = 1 }
    writer:insert_one(document)
    document._id, document.n = 2, "changed"
    writer:insert_one(document)
    writer:close()
    assert.equal(1, users:find_one({ _id = 1 }).n)
  end)

  it("sends what is left when its block ends early, and nothing after an error", function()
    local function stop_early()
      local writer <close> = users:bulk_writer()
      for i = 1, 10 do
        writer:insert_one { _id = i }
        if i == 3 then return end
      end
    end
    stop_early()
    assert.equal(3, users:count())
    local err = caught(function()
      local writer <close> = users:bulk_writer()
      writer:insert_one { _id = 1 } -- a duplicate: sending it would raise, too
      writer:insert_one { _id = 4 }
      error("the first one", 0)
    end)
    assert.equal("the first one", err)
    assert.equal(3, users:count())
  end)

  it("raises a refusal with the place among all statements, and what was done", function()
    users:insert_one { _id = 15 }
    local writer = users:bulk_writer { batch = 10, ordered = true }
    local err = caught(function() for i = 1, 30 do writer:insert_one { _id = i } end end)
    assert.equal("DuplicateKey", err.code)
    assert.equal("bulk_writer", err.operation)
    assert.equal(15, err.write_errors[1].index)
    assert.equal(14, err.partial_result.inserted_count)
    assert.equal(15, users:count())
    assert.matches("has failed and takes nothing more", caught(writer.insert_one, writer, { _id = 99 }).message)
    writer:close()
    assert.equal(15, users:count())
  end)

  it("goes on after refusals when it is not ordered", function()
    users:insert_one { _id = 5 }
    local writer <close> = users:bulk_writer { batch = 10 }
    local refused = 0
    for i = 1, 30 do
      local done, err = pcall(writer.insert_one, writer, { _id = i })
      if not done then
        assert.equal(5, err.write_errors[1].index)
        refused = refused + 1
      end
    end
    writer:close()
    assert.equal(1, refused)
    assert.equal(29, writer.counts.inserted_count)
    assert.equal(30, users:count())
  end)

  it("raises wrong statements at once, and is usable after", function()
    local writer <close> = users:bulk_writer()
    writer:insert_one { _id = 1 }
    assert.equal("update_one of bulk_writer needs 'filter'", caught(writer.update_one, writer).message)
    assert.equal("update_one of bulk_writer needs 'update'", caught(writer.update_one, writer, {}).message)
    assert.matches("use replace_one$", caught(writer.update_one, writer, {}, { a = 1 }).message)
    assert.matches("use update_one$", caught(writer.replace_one, writer, {}, { ["$set"] = { a = 1 } }).message)
    assert.matches("unknown option 'upsret' for update_one %(did you mean 'upsert'%?%)",
      caught(writer.update_one, writer, {}, { ["$set"] = { a = 1 } }, { upsret = true }).message)
    assert.matches("option 'upsert' of update_one must be a boolean",
      caught(writer.update_one, writer, {}, { ["$set"] = { a = 1 } }, { upsert = 1 }).message)
    assert.matches("at 'a.b'", caught(writer.insert_one, writer, { a = { b = print } }).message)
    assert.matches("did you mean 'insert_one'", caught(function() return writer.insertOne end).message)
    assert.matches("'batch' of bulk_writer must be between", caught(users.bulk_writer, users, { batch = 0 }).message)
    writer:insert_one { _id = 2 }
    writer:close()
    assert.same({ 1, 2 }, ids(users:find({}, { sort = { _id = 1 } })))
    assert.equal("bulk_writer is closed", caught(writer.insert_one, writer, { _id = 3 }).message)
    assert.equal("bulk_writer is closed", caught(writer.flush, writer).message)
  end)

  it("bypasses validation when told, and knows variables", function()
    db:create_collection("checked", { validator = { age = { ["$type"] = "int" } } })
    local checked = db:collection "checked"
    local writer <close> = checked:bulk_writer { bypass_document_validation = true, let = { wanted = 1 } }
    writer:insert_one { _id = 1, age = "old" }
    writer:update_many({ ["$expr"] = { ["$eq"] = { "$_id", "$$wanted" } } }, { ["$set"] = { seen = true } })
    writer:close()
    assert.is_true(checked:find_one().seen)
  end)

  it("takes part in a session's transaction", function()
    users:insert_one { _id = 0 }
    local session <close> = db:start_session()
    session:start_transaction()
    do
      local writer <close> = users:bulk_writer { session = session }
      writer:insert_one { _id = 1 }
    end
    assert.equal(1, users:count())
    session:commit()
    assert.equal(2, users:count())
  end)

  it("sends the step's comment, and one's own", function()
    local settings = select(3, (function()
      local migration <close>, lines, used = migrations.with_step(function(ctx)
        ctx.mongo:run_command("profile", 2)
        local writer <close> = ctx.mongo:collection("users"):bulk_writer { comment = "mine" }
        writer:insert_one { _id = 1 }
        writer:close()
        ctx.mongo:run_command("profile", 0)
      end)
      migration:run()
      return nil, lines, used
    end)())
    local profile = server.open(settings.mongo.database):collection "system.profile"
    local entry = profile:find_one { op = "insert", ns = settings.mongo.database .. ".users" }
    assert.matches("^smartmigration:.+:only mine$", entry.command.comment)
  end)

  it("left open fails its step: nobody may take it for done", function()
    local failure = migrations.step_failure(function(ctx)
      ctx.mongo:collection("users"):bulk_writer():insert_one { _id = 1 }
    end)
    assert.equal("STEP_FAILED", failure.code)
    assert.equal("UNFINISHED_WRITES", failure.cause.code)
    assert.matches("the bulk_writer of '.+users' was not closed: 1 statements were not sent", failure.message)
    failure = migrations.step_failure(function(ctx)
      ctx.mongo:collection("users"):bulk_writer():insert_one { _id = 1 }
      collectgarbage()
      collectgarbage()
    end)
    assert.equal("UNFINISHED_WRITES", failure.cause.code)
    failure = migrations.step_failure(function(ctx)
      ctx.mongo:collection("users"):bulk_writer():insert_one { _id = 1 }
      error("the step's own", 0)
    end)
    assert.matches("the step's own", failure.message)
  end)

  it("left open raises when its client is closed", function()
    local client = server.client()
    local writer = client:database(db.name):collection("users"):bulk_writer()
    writer:insert_one { _id = 1 }
    assert.equal("UNFINISHED_WRITES", caught(client.close, client).code)
    assert.equal("bulk_writer is closed", caught(writer.insert_one, writer, { _id = 2 }).message)
    client:close()
  end)
end)
