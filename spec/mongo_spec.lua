-- ctx.mongo's handles: what collections read and write, against a real server.
local bson = require "smartmigration.bson"
local mongo = require "smartmigration.mongo"
local server = require "spec.support.server"
local support = require "spec.support.mongo"

local caught, ids = support.caught, support.ids

describe("a collection", function()
  local db, users

  before_each(function()
    db = server.open(server.database())
    users = db:collection "users"
  end)

  describe("insert_one", function()
    it("stores the document and tells its id", function()
      local result = users:insert_one { name = "Ada", age = 36 }
      assert.equal("objectid", bson.type_of(users:find_one(), "_id"))
      assert.equal(result.inserted_id, users:find_one()._id)
      assert.equal("Ada", users:find_one(result.inserted_id).name)
    end)

    it("keeps an id that is given, and leaves the caller's table alone", function()
      local document = { _id = "ada", name = "Ada" }
      assert.same({ inserted_id = "ada" }, users:insert_one(document))
      local plain = { name = "Eve" }
      users:insert_one(plain)
      assert.is_nil(plain._id)
    end)

    it("names what was refused, and keeps the document out of the error", function()
      users:insert_one { _id = 1, secret = "hush" }
      local err = caught(users.insert_one, users, { _id = 1, secret = "hush" })
      assert.equal("DuplicateKey", err.code)
      assert.equal(11000, err.native)
      assert.equal("conflict", err.category)
      assert.is_true(err:is "duplicate_key")
      assert.equal("insert_one", err.operation)
      assert.equal(users.namespace, err.namespace)
      assert.matches("^insert_one into '" .. users.namespace .. "' failed: E11000", err.message)
      assert.equal(1, err.write_errors[1].index)
      assert.equal(11000, err.write_errors[1].code)
      assert.is_nil(bson.json(err.reply):find("hush", 1, true))
    end)

    it("names it in UTF-8, wherever the driver cuts the text", function()
      for pad = 0, 1 do
        local key = ("a"):rep(pad) .. ("é"):rep(600)
        users:insert_one { _id = key }
        assert.truthy(utf8.len(caught(users.insert_one, users, { _id = key }).message))
      end
    end)

    it("raises what a validator refuses, unless it is bypassed", function()
      db:create_collection("checked", { validator = { age = { ["$type"] = "int" } } })
      local checked = db:collection "checked"
      local err = caught(checked.insert_one, checked, { age = "old" })
      assert.equal("DocumentValidationFailure", err.code)
      checked:insert_one({ _id = 1, age = "old" }, { bypass_document_validation = true })
      assert.equal(1, checked:count())
    end)

    it("stores keys that other drivers refuse", function()
      users:insert_one { _id = 1, [""] = "empty", ["a.b"] = "dotted" }
      assert.equal("empty", users:find_one()[""])
      assert.equal("dotted", users:find_one()["a.b"])
    end)

    it("refuses a write that nobody acknowledges", function()
      local err = caught(users.insert_one, users, { _id = 1 }, { write_concern = { w = 0 } })
      assert.equal("INVALID_ARGUMENT", err.code)
      assert.matches("option 'w' of write_concern", err.message)
    end)

    it("raises a write concern that cannot be met, with the outcome unknown", function()
      local concern = { w = 7, wtimeout_ms = 50 }
      local err = caught(users.insert_one, users, { _id = 1 }, { write_concern = concern })
      assert.is_true(err.outcome_unknown)
      assert.equal(100, err.write_concern_error.code)
      assert.equal(1, users:count({ _id = 1 }, { read_concern = "local" }))
    end)
  end)

  describe("insert_many", function()
    it("takes an array", function()
      local result = users:insert_many { { _id = 1 }, { name = "Eve" }, { _id = "x" } }
      assert.equal(3, result.inserted_count)
      assert.equal(1, result.inserted_ids[1])
      assert.equal("Eve", users:find_one(result.inserted_ids[2]).name)
      assert.equal("x", result.inserted_ids[3])
    end)

    it("takes an iterator, over more documents than fit a batch", function()
      local made = 0
      local result = users:insert_many(function()
        made = made + 1
        if made <= 10500 then return { _id = made } end
      end)
      assert.equal(10500, result.inserted_count)
      assert.equal(10500, users:count())
      assert.equal(10500, result.inserted_ids[10500])
    end)

    it("takes a cursor", function()
      users:insert_many { { _id = 1, a = 1 }, { _id = 2, a = 2 } }
      local copies = db:collection "copies"
      assert.equal(2, copies:insert_many(users:find()).inserted_count)
      assert.equal(2, copies:find_one({ _id = 2 }).a)
    end)

    it("does nothing about no documents", function()
      assert.same({ inserted_count = 0, inserted_ids = {} }, users:insert_many {})
    end)

    it("stops at the first refusal in order, and says how far it came", function()
      local err = caught(users.insert_many, users, { { _id = 1 }, { _id = 2 }, { _id = 1 }, { _id = 3 } })
      assert.equal("DuplicateKey", err.code)
      assert.equal(2, err.partial_result.inserted_count)
      assert.equal(3, err.write_errors[1].index)
      assert.equal(1, err.write_errors[1].id)
      assert.same({ 1, 2 }, ids(users:find({}, { sort = { _id = 1 } })))
    end)

    it("goes on without order, and tells every refusal, over all batches", function()
      local made = 0
      local err = caught(users.insert_many, users, function()
        made = made + 1
        if made <= 10002 then return { _id = made % 10001 } end
      end, { ordered = false })
      assert.equal(10001, err.partial_result.inserted_count)
      assert.equal(1, #err.write_errors)
      assert.equal(10002, err.write_errors[1].index)
      assert.equal(1, err.write_errors[1].id)
    end)

    it("lets an iterator raise", function()
      assert.equal("mine", caught(users.insert_many, users, function() error("mine", 0) end))
    end)

    it("refuses one document for an array of them", function()
      local err = caught(users.insert_many, users, { name = "Ada" })
      assert.equal("INVALID_ARGUMENT", err.code)
      assert.matches("array of documents expected", err.message)
    end)
  end)

  describe("update", function()
    before_each(function() users:insert_many { { _id = 1, n = 1 }, { _id = 2, n = 1 }, { _id = 3, n = 2 } } end)

    it("changes one or many, and counts", function()
      assert.same({ matched_count = 1, modified_count = 1 }, users:update_one({ n = 1 }, { ["$inc"] = { n = 5 } }))
      assert.same({ matched_count = 3, modified_count = 3 }, users:update_many({}, { ["$set"] = { m = 1 } }))
      assert.same({ matched_count = 3, modified_count = 0 }, users:update_many({}, { ["$set"] = { m = 1 } }))
    end)

    it("takes a pipeline, array filters, a hint and variables", function()
      users:update_one({ _id = 3 }, { { ["$set"] = { n = { ["$add"] = { "$n", 40 } } } } })
      assert.equal(42, users:find_one({ _id = 3 }).n)
      users:update_one({ _id = 1 }, { ["$set"] = { list = { 1, 5, 9 } } }, { hint = "_id_" })
      users:update_one({ _id = 1 }, { ["$set"] = { ["list.$[big]"] = 0 } }, { array_filters = { { big = { ["$gt"] = 4 } } } })
      assert.same({ 1, 0, 0 }, bson.to_table(users:find_one { _id = 1 }).list)
      local by = { ["$expr"] = { ["$eq"] = { "$_id", "$$wanted" } } }
      assert.equal(1, users:update_many(by, { ["$set"] = { let = true } }, { let = { wanted = 2 } }).modified_count)
    end)

    it("tells the id that an upsert made", function()
      local result = users:update_one({ _id = "new" }, { ["$set"] = { n = 1 } }, { upsert = true })
      assert.same({ matched_count = 0, modified_count = 0, upserted_id = "new" }, result)
    end)

    it("says the same under a time limit, which goes another way", function()
      local limit = { max_time_ms = 10000 }
      assert.same({ matched_count = 3, modified_count = 3 }, users:update_many({}, { ["$set"] = { m = 1 } }, limit))
      limit.upsert = true
      assert.same({ matched_count = 0, modified_count = 0, upserted_id = "u" },
        users:update_one({ _id = "u" }, { ["$set"] = { n = 1 } }, limit))
      local slow = { ["$where"] = "sleep(200) || true" }
      local err = caught(users.update_many, users, slow, { ["$set"] = { m = 2 } }, { max_time_ms = 50 })
      assert.equal("MaxTimeMSExpired", err.code)
      assert.is_true(err.timeout)
    end)

    it("points from a whole document to replace_one, and back", function()
      assert.matches("use replace_one$", caught(users.update_one, users, {}, { a = 1 }).message)
      assert.matches("use replace_one$", caught(users.update_many, users, {}, {}).message)
      assert.matches("use update_one$", caught(users.replace_one, users, {}, { ["$set"] = { a = 1 } }).message)
    end)

    it("wants a filter", function()
      assert.matches("filter expected", caught(users.update_many, users, nil, { ["$set"] = { a = 1 } }).message)
    end)

    it("names a duplicate key", function()
      users:create_index({ n = 1 }, { name = "n", partial_filter_expression = { u = 1 }, unique = true })
      users:insert_one { _id = 9, n = 7, u = 1 }
      local err = caught(users.update_one, users, { _id = 1 }, { ["$set"] = { n = 7, u = 1 } })
      assert.equal("DuplicateKey", err.code)
      assert.matches("^update_one in '", err.message)
    end)

    it("replaces", function()
      assert.same({ matched_count = 1, modified_count = 1 }, users:replace_one({ _id = 1 }, { whole = true }))
      assert.same({ _id = 1, whole = true }, bson.to_table(users:find_one { _id = 1 }))
      assert.equal(10, users:replace_one({ _id = 10 }, { n = 1 }, { upsert = true }).upserted_id)
    end)
  end)

  it("deletes one or many, and wants a filter", function()
    users:insert_many { { _id = 1 }, { _id = 2 }, { _id = 3 } }
    assert.same({ deleted_count = 1 }, users:delete_one {})
    assert.same({ deleted_count = 2 }, users:delete_many {})
    assert.same({ deleted_count = 0 }, users:delete_many {})
    assert.matches("{} for every document", caught(users.delete_many, users).message)
    assert.equal("BadValue", caught(users.delete_one, users, { ["$nope"] = 1 }).code)
  end)

  describe("find_one_and", function()
    before_each(function() users:insert_many { { _id = 1, n = 1 }, { _id = 2, n = 2 } } end)

    it("returns the document before, unless asked for after", function()
      assert.equal(1, users:find_one_and_update({ _id = 1 }, { ["$inc"] = { n = 10 } }).n)
      local after = { return_document = "after" }
      assert.equal(21, users:find_one_and_update({ _id = 1 }, { ["$inc"] = { n = 10 } }, after).n)
      assert.equal("x", users:find_one_and_replace({ _id = 1 }, { n = "x" }, after).n)
    end)

    it("sorts, projects and upserts", function()
      local options = { sort = { n = -1 }, projection = { n = 1, _id = 0 } }
      assert.same({ n = 2 }, bson.to_table(users:find_one_and_delete({}, options)))
      assert.is_nil(users:find_one_and_update({ _id = 5 }, { ["$set"] = { n = 5 } }, { upsert = true }))
      assert.equal(5, users:find_one({ _id = 5 }).n)
    end)

    it("finds nothing without raising", function()
      assert.is_nil(users:find_one_and_delete { _id = 9 })
    end)

    it("raises what the server refuses", function()
      local err = caught(users.find_one_and_update, users, { _id = 1 }, { ["$set"] = { _id = 2 } })
      assert.equal("ImmutableField", err.code)
      assert.matches("^find_one_and_update in '", err.message)
      assert.matches("'return_document' must be",
        caught(users.find_one_and_replace, users, {}, {}, { return_document = "new" }).message)
      assert.equal("BadValue", caught(users.find_one_and_delete, users, { ["$nope"] = 1 }).code)
    end)
  end)

  describe("bulk_write", function()
    it("does every kind, counts, and tells upserted ids by their place", function()
      local result = users:bulk_write {
        { insert_one = { document = { _id = 1, n = 1 } } },
        { insert_one = { document = { _id = 2, n = 1 } } },
        { update_one = { filter = { _id = 1 }, update = { ["$inc"] = { n = 1 } } } },
        { update_many = { filter = {}, update = { { ["$set"] = { all = true } } } } },
        { replace_one = { filter = { _id = 3 }, replacement = { n = 3 }, upsert = true } },
        { delete_one = { filter = { _id = 2 } } },
        { delete_many = { filter = { n = 99 } } },
      }
      assert.same({
        inserted_count = 2, matched_count = 3, modified_count = 3, deleted_count = 1, upserted_count = 1,
        upserted_ids = { [5] = 3 },
      }, result)
      assert.same({ 1, 3 }, ids(users:find({}, { sort = { _id = 1 } })))
    end)

    it("does a thousand at once", function()
      local models = {}
      for i = 1, 1000 do models[i] = { insert_one = { document = { _id = i } } } end
      assert.equal(1000, users:bulk_write(models).inserted_count)
      assert.equal(1000, users:count())
    end)

    it("says what was done before it failed", function()
      local models = { { insert_one = { document = { _id = 1 } } }, { insert_one = { document = { _id = 1 } } },
        { insert_one = { document = { _id = 2 } } } }
      local err = caught(users.bulk_write, users, models)
      assert.equal("DuplicateKey", err.code)
      assert.equal(1, err.partial_result.inserted_count)
      assert.equal(2, err.write_errors[1].index)
      users:delete_many {}
      err = caught(users.bulk_write, users, models, { ordered = false })
      assert.equal(2, err.partial_result.inserted_count)
    end)

    it("does nothing about no models", function()
      assert.equal(0, users:bulk_write({}).inserted_count)
    end)

    it("survives models whose reading closes the session", function()
      local session = db:start_session()
      local models = setmetatable({}, { __len = function() return 1 end, __index = function()
        session:close()
        return { insert_one = { document = { n = 1 } } }
      end })
      assert.equal("session is closed", caught(users.bulk_write, users, models, { session = session }).message)
    end)

    it("names the model that is wrong", function()
      local wrong = function(model) return caught(users.bulk_write, users, { { delete_one = { filter = {} } },
        model }).message end
      assert.equal("model 2 of bulk_write: unknown operation 'updateOne' (did you mean 'update_one'?)",
        wrong { updateOne = {} })
      assert.equal("model 2 of bulk_write: update_one needs 'filter'", wrong { update_one = {} })
      assert.equal("model 2 of bulk_write has more than one operation", wrong { delete_one = {}, delete_many = {} })
      assert.matches("unknown option 'upsret' for update_one", wrong { update_one = { filter = {}, upsret = true } })
    end)
  end)

  describe("reading", function()
    before_each(function()
      users:insert_many { { _id = 1, n = 1, c = "a" }, { _id = 2, n = 2, c = "b" }, { _id = 3, n = 3, c = "a" } }
    end)

    it("finds one, or nil", function()
      assert.equal(3, users:find_one({}, { sort = { _id = -1 } })._id)
      assert.equal(2, users:find_one({}, { sort = { _id = 1 }, skip = 1 })._id)
      assert.is_nil(users:find_one { _id = 9 })
      assert.same({ _id = 1, c = "a" }, users:find_one(bson.doc { _id = 1 }, { projection = { n = 0 }, as = "table" }))
      assert.equal("BadValue", caught(users.find_one, users, { ["$nope"] = 1 }).code)
      assert.equal(0, support.idle_cursors(users.namespace))
    end)

    it("takes an objectid for a filter", function()
      local id = users:insert_one({ n = 9 }).inserted_id
      assert.equal(9, users:find_one(id).n)
      assert.same({ deleted_count = 1 }, users:delete_one(id))
    end)

    it("counts", function()
      assert.equal(3, users:count())
      assert.equal(2, users:count { c = "a" })
      assert.equal(1, users:count({ c = "a" }, { skip = 1, hint = "_id_" }))
      assert.equal(2, users:count({}, { limit = 2 }))
      assert.equal(0, users:count { c = "z" })
      assert.equal("integer", math.type(users:count()))
      assert.equal(3, users:estimated_count())
      assert.equal("BadValue", caught(users.count, users, { ["$nope"] = 1 }).code)
      assert.matches("unknown option 'session_'", caught(users.estimated_count, users, { session_ = 1 }).message)
    end)

    it("lists distinct values", function()
      local values = users:distinct "c"
      table.sort(values)
      assert.same({ "a", "b" }, values)
      assert.same({ 2 }, users:distinct("n", { c = "b" }))
      assert.same({}, users:distinct "nowhere")
      assert.equal("BadValue", caught(users.distinct, users, "c", { ["$nope"] = 1 }).code)
    end)

    it("aggregates", function()
      local groups = users:aggregate({
        { ["$group"] = { _id = "$c", n = { ["$sum"] = "$n" } } }, { ["$sort"] = { _id = 1 } },
      }, { as = "table" }):all()
      assert.same({ { _id = "a", n = 4 }, { _id = "b", n = 2 } }, groups)
      local pipeline = { { ["$match"] = { ["$expr"] = { ["$eq"] = { "$n", "$$wanted" } } } } }
      assert.same({ 2 }, ids(users:aggregate(pipeline, { let = { wanted = 2 } })))
      local unknown = { { ["$nope"] = {} } }
      assert.matches("Unrecognized pipeline stage", caught(function() users:aggregate(unknown):next() end).message)
      assert.matches("pipeline must be an array", caught(users.aggregate, users, bson.doc { a = 1 }).message)
    end)

    it("runs $out and $merge at once, though nobody reads", function()
      users:aggregate { { ["$match"] = { c = "a" } }, { ["$out"] = "copies" } }
      assert.equal(2, db:collection("copies"):count())
      users:aggregate { { ["$merge"] = { into = "copies" } } }
      assert.equal(3, db:collection("copies"):count())
    end)

    it("watches the server, which takes no read concern", function()
      assert.equal("_id_", users:aggregate({ { ["$indexStats"] = {} } }):next().name)
      assert.equal(3, users:aggregate({ { ["$collStats"] = { count = bson.doc {} } } }):next().count)
    end)

    it("obeys read and write concerns, on the call and on a derived handle", function()
      assert.equal(3, users:count({}, { read_concern = "local", read_preference = "primaryPreferred" }))
      local derived = users:with { read_concern = { level = "available" }, write_concern = { w = 1 } }
      assert.equal(users.namespace, derived.namespace)
      derived:insert_one { _id = 4 }
      assert.equal(4, derived:count())
      local impossible = users:with { write_concern = { w = 7, wtimeout_ms = 20 } }
      assert.is_table(caught(impossible.delete_one, impossible, { _id = 1 }).write_concern_error)
      assert.matches("must be one of local", caught(users.count, users, {}, { read_concern = "all" }).message)
      assert.matches("must be one of primary", caught(users.with, users, { read_preference = "first" }).message)
      assert.matches("neither tags",
        caught(users.count, users, {}, { read_preference = { mode = "primary", tags = { { dc = "x" } } } }).message)
    end)

    it("ends at max_time_ms", function()
      local err = caught(users.find_one, users, { ["$where"] = "sleep(300) || true" }, { max_time_ms = 50 })
      assert.equal("MaxTimeMSExpired", err.code)
      assert.equal("timeout", err.category)
    end)

    it("passes raw fields, but not those that have an option", function()
      assert.same({ 1 }, ids(users:find({}, { extra = bson.doc { { "returnKey", false } }, limit = 1 })))
      assert.matches("must not hold 'comment'", caught(users.find, users, {}, { extra = { comment = "x" } }).message)
      local err = caught(users.insert_one, users, {}, { extra = { nonsense = 1 } })
      assert.matches("nonsense", err.message)
    end)
  end)

  it("carries the comment on every command", function()
    db:run_command("profile", 2)
    local given = { comment = "why" }
    users:insert_many({ { _id = 1 }, { _id = 2 }, { _id = 3 } }, given)
    users:insert_one({ _id = 4 }, given)
    users:find({}, { comment = "why", batch_size = 2 }):all()
    users:update_one({ _id = 1 }, { ["$set"] = { a = 1 } }, given)
    users:update_one({ _id = 1 }, { ["$set"] = { a = 2 } }, { comment = "why", max_time_ms = 5000 })
    users:delete_one({ _id = 1 }, given)
    users:find_one_and_delete({ _id = 2 }, given)
    users:bulk_write({ { delete_many = { filter = { _id = 3 } } } }, given)
    users:count({}, given)
    users:estimated_count(given)
    users:distinct("a", {}, given)
    users:aggregate({ { ["$out"] = "copies" } }, given)
    users:create_index({ a = 1 }, given)
    users:index_names(given)
    users:stats(given)
    db:run_command("profile", 0)
    local seen = 0
    for entry in db:collection("system.profile"):find { ns = users.namespace, op = { ["$ne"] = "killcursors" } } do
      seen = seen + 1
      assert.equal("why", entry.command.comment, bson.json(entry.command))
    end
    assert.is_true(seen >= 16, seen .. " commands were seen")
  end)

  it("tells what a validator found wrong, never the value", function()
    local checked = users.name .. "_checked"
    db:create_collection(checked, { validator = { ["$jsonSchema"] = {
      required = { "name" }, properties = { age = { bsonType = "int" } },
    } } })
    local people = db:collection(checked)
    local err = caught(people.insert_one, people, { name = "x", age = "topsecret" })
    assert.matches("property 'age': bsonType: type did not match%)$", err.message)
    assert.is_nil(err.message:find("topsecret", 1, true))
    assert.matches("property 'name' is missing%)$", caught(people.insert_one, people, { age = bson.int32(1) }).message)
    local many = caught(people.insert_many, people, { { name = "y" }, { name = "x", age = "topsecret" } })
    assert.matches("property 'age': bsonType: type did not match%)$", many.message)
    assert.is_nil(many.message:find("topsecret", 1, true))
    assert.is_nil(many.write_errors[1].errInfo)
    assert.matches("property 'name' is missing%)$",
      caught(people.insert_many, people, { { age = bson.int32(1) }, { age = "z" } }, { ordered = false }).message)
  end)

  it("suggests what was meant", function()
    assert.equal("collection has no method 'findOne'; did you mean 'find_one'?",
      caught(function() return users.findOne end).message)
    assert.equal("unknown option 'upsret' for update_one (did you mean 'upsert'?)",
      caught(users.update_one, users, {}, {}, { upsret = true }).message)
    assert.equal("collection has no method 'insert'; did you mean 'insert_one' or 'insert_many'?",
      caught(function() return users.insert end).message)
    assert.equal("collection has no method 'countDocuments'; did you mean 'count'?",
      caught(function() return users.countDocuments end).message)
    assert.equal("collection has no method 'nothing_near'", caught(function() return users.nothing_near end).message)
    assert.equal("model 2 of bulk_write: write insert_one = { document = ... }", caught(function()
      users:bulk_write { { insert_one = { document = { _id = 1 } } }, { insert_one = { _id = 2 } } }
    end).message)
    assert.equal("bson has no 'ObjectId'; did you mean 'objectid'?", caught(function() return bson.ObjectId end).message)
    assert.equal("bson has no 'Date'; did you mean 'date'?", caught(function() return bson.Date end).message)
    assert.equal("bson has no 'nothing_near'", caught(function() return bson.nothing_near end).message)
    assert.equal("collection is read-only: cannot set 'x'", caught(function() users.x = 1 end).message)
  end)
end)

describe("a closed client", function()
  it("closes what belongs to it, and closes once", function()
    local client = mongo.connect(server.uri)
    local db = client:database(server.database())
    local users = db:collection "users"
    users:insert_many { { _id = 1 }, { _id = 2 }, { _id = 3 } }
    local cursor, session = users:find({}, { batch_size = 1 }), db:start_session()
    cursor:next()
    assert.matches("^client '.+' %(open%)$", tostring(client))
    client:close()
    client:close()
    assert.equal("client (closed)", tostring(client))
    assert.equal(("database '%s' (closed)"):format(db.name), tostring(db))
    assert.equal(("collection '%s' (closed)"):format(users.namespace), tostring(users))
    assert.equal(("cursor '%s' (closed)"):format(users.namespace), tostring(cursor))
    assert.equal("session (closed)", tostring(session))
    assert.equal("cursor is closed", caught(cursor).message)
    assert.equal("session is closed", caught(session.commit, session).message)
    assert.equal("client is closed", caught(client.database, client, "x").message)
    assert.equal(0, support.idle_cursors(users.namespace))

    local set = { ["$set"] = { a = 1 } }
    local calls = {
      find = {}, find_one = {}, count = {}, estimated_count = {}, distinct = { "a" }, aggregate = { {} },
      insert_one = { {} }, insert_many = { { {} } }, update_one = { {}, set }, update_many = { {}, set },
      replace_one = { {}, {} }, delete_one = { {} }, delete_many = { {} }, find_one_and_update = { {}, set },
      find_one_and_replace = { {}, {} }, find_one_and_delete = { {} }, bulk_write = { {} }, create_index = { { a = 1 } },
      create_indexes = { { { keys = { a = 1 } } } }, list_indexes = {}, index_names = {}, drop_index = { "a" },
      drop_indexes = {}, rename = { "x" }, drop = {}, stats = {}, with = { {} },
    }
    for method, arguments in pairs(calls) do
      assert.equal("collection is closed", caught(users[method], users, table.unpack(arguments)).message, method)
    end
    calls = {
      client = {}, collection = { "x" }, run_command = { "ping" }, aggregate = { {} }, list_collections = {},
      collection_names = {}, has_collection = { "x" }, create_collection = { "x" }, modify_collection = { "x", {} },
      drop = {}, start_session = {}, transaction = { function() end }, with = { {} },
    }
    for method, arguments in pairs(calls) do
      assert.equal("database is closed", caught(db[method], db, table.unpack(arguments)).message, method)
    end
  end)

  it("may be collected in any order", function()
    for _ = 1, 20 do
      local client = mongo.connect(server.uri)
      local users = client:database(server.database()):collection "users"
      users:insert_many { { _id = 1 }, { _id = 2 } }
      local cursor = users:find({}, { batch_size = 1 })
      cursor:next()
      client, users = nil, nil -- luacheck: ignore 311
      collectgarbage()
      assert.equal(2, cursor:next()._id)
      cursor = nil -- luacheck: ignore 311
      collectgarbage()
    end
  end)

  it("connects nowhere before it is used, and says where it could not", function()
    local client = mongo.connect "mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=200"
    local users = client:database():collection "users"
    local err = caught(users.find_one, users)
    assert.equal("ServerSelectionTimeout", err.code)
    assert.equal("network", err.category)
    assert.matches("^INVALID_OPTIONS: ", tostring(caught(mongo.connect, "http://x")))
    assert.matches("unknown option 'pool' for connect", caught(mongo.connect, "mongodb://x", { pool = 1 }).message)
    assert.matches("names no database", caught(function() mongo.connect("mongodb://127.0.0.1:1"):database() end).message)
  end)
end)
