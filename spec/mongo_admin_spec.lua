-- ctx.mongo's handles: databases, collections as a whole, indexes, commands.
local bson = require "smartmigration.bson"
local server = require "spec.support.server"
local support = require "spec.support.mongo"

local caught = support.caught

describe("a database", function()
  local db

  before_each(function() db = server.open(server.database()) end)

  it("knows its name and client, and goes to others", function()
    assert.matches("^smig_spec_", db.name)
    assert.equal(("database '%s' (open)"):format(db.name), tostring(db))
    local other = db:client():database(server.database())
    other:collection("x"):insert_one { _id = 1 }
    assert.is_true(other:has_collection "x")
    assert.is_false(db:has_collection "x")
    assert.matches("name of a database expected", caught(db:client().database, db:client(), "a.b").message)
    assert.matches("name of a collection expected", caught(db.collection, db, "").message)
    assert.equal("database has no method 'runCommand'; did you mean 'run_command'?",
      caught(function() return db.runCommand end).message)
    assert.equal([[database has no method 'users'; a collection is database:collection "users"]],
      caught(function() return db.users end).message)
  end)

  describe("run_command", function()
    it("puts the name first, then the fields, and answers with the reply", function()
      assert.equal(1.0, db:run_command("ping").ok)
      db:run_command("create", "made", { capped = true, size = 4096 })
      assert.is_true(db:run_command("collStats", "made").capped)
      assert.equal(0, db:run_command("count", "made", { query = bson.doc {} }, { read = true, read_concern = "local" }).n)
      assert.has_error(function() db:run_command("ping").ok = 2 end)
    end)

    it("keeps the order of a command within", function()
      local plan = db:run_command("explain", bson.doc { { "find", "made" }, { "filter", bson.doc {} } })
      assert.is_not_nil(plan.queryPlanner)
      assert.matches("key order matters",
        caught(db.run_command, db, "explain", { find = "made", filter = bson.doc {} }).message)
    end)

    it("raises what the server refuses", function()
      local err = caught(db.run_command, db, "nope")
      assert.equal("CommandNotFound", err.code)
      assert.equal(59, err.native)
      assert.equal("run_command", err.operation)
      assert.matches("^run_command 'nope' in '" .. db.name .. "' failed: no such command", err.message)
    end)

    it("raises write errors that come with ok", function()
      db:run_command("insert", "x", { documents = { { _id = 1 } } })
      assert.equal("DuplicateKey", caught(db.run_command, db, "insert", "x", { documents = { { _id = 1 } } }).code)
    end)

    it("takes the comment as an option alone", function()
      assert.matches("'comment'", caught(db.run_command, db, "ping", 1, { comment = "x" }).message)
      assert.equal(1.0, db:run_command("ping", nil, nil, { comment = "x" }).ok)
    end)
  end)

  it("aggregates without a collection", function()
    local documents = db:aggregate { { ["$documents"] = { { n = 1 }, { n = 2 } } } }
    assert.equal(2, #documents:all())
    local ops = server.open("admin"):aggregate({ { ["$currentOp"] = bson.doc {} } }):all()
    assert.is_true(#ops > 0)
    assert.matches("Unrecognized pipeline stage", caught(function() db:aggregate({ { ["$nope"] = 1 } }):next() end).message)
  end)

  it("lists collections", function()
    db:create_collection "a"
    db:create_collection "b"
    local names = db:collection_names()
    table.sort(names)
    assert.same({ "a", "b" }, names)
    assert.equal("b", db:list_collections({ name = "b" }):next().name)
    assert.is_nil(db:list_collections({ name = "b" }, { name_only = true }):next().info)
    assert.is_true(db:has_collection "a")
    assert.is_false(db:has_collection "z")
    assert.matches("unknown option 'nameOnly' for list_collections %(did you mean 'name_only'%?%)",
      caught(db.list_collections, db, {}, { nameOnly = true }).message)
  end)

  describe("create_collection", function()
    it("makes one as asked", function()
      local events = db:create_collection("events", { capped = true, size = 5000, max = 10 })
      assert.equal(db.name .. ".events", events.namespace)
      local options = db:list_collections({ name = "events" }):next().options
      assert.is_true(options.capped)
      assert.equal(10, options.max)
    end)

    it("raises for one that is there", function()
      db:create_collection "x"
      local err = caught(db.create_collection, db, "x", { capped = true, size = 4096 })
      assert.equal("NamespaceExists", err.code)
      assert.matches("^create_collection 'x' in '", err.message)
    end)

    it("accepts one that is there and agrees, if told so", function()
      local options = {
        validator = { age = { ["$type"] = "int" } }, validation_level = "moderate", collation = { locale = "de" },
        if_not_exists = true,
      }
      db:create_collection("x", options)
      db:create_collection("x", options)
      db:create_collection("x", { if_not_exists = true })
      db:create_collection("capped", { capped = true, size = 5000, if_not_exists = true })
      db:create_collection("capped", { capped = true, size = 5000, if_not_exists = true })
      db:create_collection("view", { view_on = "x", pipeline = {}, if_not_exists = true })
      db:create_collection("view", { view_on = "x", pipeline = {}, if_not_exists = true })
      db:create_collection("times", { timeseries = { timeField = "t" }, if_not_exists = true })
      db:create_collection("times", { timeseries = { timeField = "t" }, if_not_exists = true })
    end)

    it("names the option in which one that is there differs", function()
      db:create_collection("x", { validator = { a = 1 } })
      local differs = function(name, options)
        options.if_not_exists = true
        local err = caught(db.create_collection, db, name, options)
        assert.equal("NamespaceExists", err.code)
        return err.message:match "another '(.-)'"
      end
      assert.equal("validator", differs("x", { validator = { a = 2 } }))
      assert.equal("validationAction", differs("x", { validator = { a = 1 }, validation_action = "warn" }))
      assert.equal("capped", differs("x", { capped = true, size = 4096 }))
      assert.equal("viewOn", differs("x", { view_on = "y" }))
      db:create_collection("view", { view_on = "x" })
      assert.equal("viewOn", differs("view", {}))
    end)
  end)

  it("modifies a collection", function()
    db:create_collection "x"
    assert.equal(1.0, db:modify_collection("x", { validator = { a = { ["$exists"] = true } }, validationLevel = "strict" }).ok)
    assert.equal("DocumentValidationFailure", caught(db:collection("x").insert_one, db:collection "x", {}).code)
    assert.equal("NamespaceNotFound", caught(db.modify_collection, db, "y", { validationLevel = "off" }).code)
  end)

  it("drops itself", function()
    db:create_collection "x"
    db:drop()
    assert.same({}, db:collection_names())
    assert.matches("unknown option 'force'", caught(db.drop, db, { force = true }).message)
  end)

  it("hands its concerns down", function()
    local derived = db:with { write_concern = { w = 7, wtimeout_ms = 20 } }
    local x = derived:collection "x"
    assert.is_table(caught(x.insert_one, x, {}).write_concern_error)
    assert.equal(1, db:collection("x"):count())
  end)
end)

describe("a collection as a whole", function()
  local db, users

  before_each(function()
    db = server.open(server.database())
    users = db:collection "users"
    users:insert_many { { _id = 1, name = "Ada" }, { _id = 2, name = "Eve" } }
  end)

  it("has names", function()
    assert.equal("users", users.name)
    assert.equal(db.name .. ".users", users.namespace)
    assert.equal(("collection '%s.users' (open)"):format(db.name), tostring(users))
  end)

  it("is renamed, and the handle of the new name comes back", function()
    local people = users:rename "people"
    assert.equal(db.name .. ".people", people.namespace)
    assert.equal(2, people:count())
    users:insert_one { _id = 3 }
    local err = caught(people.rename, people, "users")
    assert.equal("NamespaceExists", err.code)
    assert.equal(2, people:rename("users", { drop_target = true }):count())
    local other = server.database()
    assert.equal(other .. ".users", users:rename("users", { database = other }).namespace)
  end)

  it("is dropped, and says whether it was there", function()
    assert.is_true(users:drop())
    assert.is_false(users:drop())
    db:run_command("profile", 2)
    users:insert_one { _id = 1 }
    local profile = db:collection "system.profile"
    local err = caught(profile.drop, profile)
    db:run_command("profile", 0)
    assert.equal("IllegalOperation", err.code)
    assert.matches("^drop of '", err.message)
  end)

  it("has statistics", function()
    assert.equal(2, users:stats().count)
    assert.equal(1024, users:stats({ scale = 1024 }).scaleFactor)
    assert.matches("between 1 and", caught(users.stats, users, { scale = 0 }).message)
  end)

  describe("index", function()
    it("is made, under a name that tells its keys", function()
      assert.equal("name_1", users:create_index { name = 1 })
      assert.equal("b_1_a_-1", users:create_index { { "b", 1 }, { "a", -1.0 } })
      assert.equal("bio_text", users:create_index { bio = "text" })
      assert.equal("mine", users:create_index({ c = 1 }, { name = "mine", unique = true, sparse = true,
        expire_after_seconds = 0 }))
      local names = users:index_names()
      table.sort(names)
      assert.same({ "_id_", "b_1_a_-1", "bio_text", "mine", "name_1" }, names)
      local found = {}
      for index in users:list_indexes() do found[index.name] = bson.to_table(index) end
      assert.is_true(found.mine.unique)
      assert.equal(0, found.mine.expireAfterSeconds)
    end)

    it("may be made again, but not otherwise", function()
      users:create_index { name = 1 }
      assert.equal("name_1", users:create_index { name = 1 })
      local err = caught(users.create_index, users, { name = 1 }, { name = "other" })
      assert.equal("IndexOptionsConflict", err.code)
      assert.equal(85, err.native)
      assert.matches("name_1", err.message)
      err = caught(users.create_index, users, { name = 1 }, { unique = true })
      assert.equal("IndexKeySpecsConflict", err.code)
      assert.equal(86, err.native)
      assert.matches("name_1", err.message)
    end)

    it("wants order where there are several keys", function()
      assert.matches("key order matters in 'keys'", caught(users.create_index, users, { a = 1, b = 1 }).message)
      assert.matches("at least one field", caught(users.create_index, users, {}).message)
      assert.matches("the key 'a' of an index", caught(users.create_index, users, { a = true }).message)
    end)

    it("is made with others at once", function()
      local result = users:create_indexes({ { keys = { a = 1 } }, { keys = { b = 1 }, name = "bee" } },
        { commit_quorum = "majority" })
      assert.same({ names = { "a_1", "bee" }, num_indexes_before = 1, num_indexes_after = 3 }, result)
      result = users:create_indexes { { keys = { a = 1 } } }
      assert.equal("all indexes already exist", result.note)
      assert.equal("index 1 of create_indexes needs 'keys'", caught(users.create_indexes, users, { { name = "x" } }).message)
      assert.matches("at least one index", caught(users.create_indexes, users, {}).message)
      assert.matches("unknown option 'uniqe'",
        caught(users.create_indexes, users, { { keys = { z = 1 }, uniqe = true } }).message)
    end)

    it("is refused over data that breaks it", function()
      users:insert_one { _id = 3, name = "Ada" }
      assert.equal("DuplicateKey", caught(users.create_index, users, { name = 1 }, { unique = true }).code)
    end)

    it("is dropped by name or keys", function()
      users:create_indexes { { keys = { a = 1 } }, { keys = { { "b", 1 }, { "c", 1 } } }, { keys = { d = 1 } } }
      users:drop_index "a_1"
      users:drop_index { { "b", 1 }, { "c", 1 } }
      assert.same({ "_id_", "d_1" }, users:index_names())
      users:drop_indexes()
      assert.same({ "_id_" }, users:index_names())
      assert.equal("IndexNotFound", caught(users.drop_index, users, "a_1").code)
      assert.matches("drop_indexes%(%) drops them all", caught(users.drop_index, users, "*").message)
    end)

    it("is none where no collection is", function()
      local nowhere = db:collection "nowhere"
      assert.same({}, nowhere:index_names())
      assert.is_nil(nowhere:list_indexes():next())
      assert.equal("NamespaceNotFound", caught(nowhere.drop_indexes, nowhere).code)
    end)
  end)
end)

describe("explain", function()
  local users

  before_each(function()
    users = server.open(server.database()):collection "users"
    users:insert_many { { _id = 1, n = 1 }, { _id = 2, n = 2 } }
    users:create_index { n = 1 }
  end)

  it("tells how an operation would be done, and does nothing", function()
    local plan = users:explain("find", { n = 1 }, { sort = { n = 1 }, projection = { n = 1 } })
    assert.equal("n_1", plan.queryPlanner.winningPlan.inputStage.inputStage.indexName)
    assert.is_nil(plan.executionStats)
    local options = { update = { ["$set"] = { a = 1 } }, verbosity = "executionStats" }
    assert.equal(2, users:explain("update_many", {}, options).executionStats.executionStages.nWouldModify)
    assert.equal(1, users:explain("update_one", { n = 1 }, options).executionStats.executionStages.nWouldModify)
    assert.equal(2, users:explain("delete_many", {}, { verbosity = "executionStats" }).executionStats.totalDocsExamined)
    assert.equal(0, users:count { a = 1 })
    assert.equal(2, users:count())
    for operation, given in pairs { count = { { n = 1 } }, distinct = { { n = 1 }, { field = "n" } },
      aggregate = { { { ["$match"] = { n = 1 } } } }, delete_one = { { n = 1 } } } do
      assert.is_truthy(users:explain(operation, given[1], given[2]).queryPlanner, operation)
    end
  end)

  it("tells how a cursor is done, before, while and after it is read", function()
    local cursor <close> = users:find({ n = { ["$gt"] = 0 } }, { batch_size = 1, limit = 2, hint = "n_1" })
    assert.equal(2, cursor:explain("executionStats").executionStats.nReturned)
    assert.equal(1, cursor:next().n)
    assert.is_truthy(cursor:explain().queryPlanner)
    assert.equal(2, cursor:next().n)
    assert.is_nil(cursor:next())
    assert.is_truthy(cursor:explain().queryPlanner)
    assert.is_truthy((users:aggregate({ { ["$match"] = { n = 1 } } }, { batch_size = 1 })):explain().queryPlanner)
  end)

  it("refuses what cannot be explained", function()
    assert.matches("find, count, distinct, aggregate", caught(users.explain, users, "insert_one").message)
    assert.matches("needs the option 'field'", caught(users.explain, users, "distinct").message)
    assert.matches("needs the option 'update'", caught(users.explain, users, "update_one", {}).message)
    assert.matches("filter expected", caught(users.explain, users, "delete_many").message)
    assert.matches("the verbosity must be one of", caught(users.explain, users, "find", {}, { verbosity = "all" }).message)
    assert.matches("unknown option 'sort' for explain", caught(users.explain, users, "count", {}, { sort = { n = 1 } }).message)
    assert.equal("BadValue", caught(users.explain, users, "find", { ["$nope"] = 1 }).code)
    local listing = users:list_indexes()
    assert.matches("only a cursor of find or aggregate", caught(listing.explain, listing).message)
    local client = server.client()
    local cursor = client:database("x"):collection("y"):find()
    client:close()
    assert.equal("collection is closed", caught(cursor.explain, cursor).message)
  end)
end)

describe("an index that stands in the way", function()
  local users

  before_each(function()
    users = server.open(server.database()):collection "users"
    users:create_index({ a = 1 })
    users:create_index({ b = 1 }, { name = "mine" })
  end)

  it("is shown with what was wanted, for a name that is taken", function()
    local err = caught(users.create_index, users, { c = 1 }, { name = "mine" })
    assert.equal("IndexKeySpecsConflict", err.code)
    assert.equal(86, err.native)
    assert.matches('the index {.*"b" : 1.*"mine".*} stands in the way of {.*"c" : 1.*"mine".*}; drop it', err.message)
    assert.equal(1, err.details.existing_index.key.b)
    assert.equal(1, err.details.wanted_index.key.c)
    err = caught(users.create_index, users, { a = 1 }, { unique = true })
    assert.matches('stands in the way of {.*"unique" : true', err.message)
  end)

  it("is shown for keys that are taken, among models that are there already", function()
    local err = caught(users.create_indexes, users, { { keys = { a = 1 } }, { keys = { b = 1 } } })
    assert.equal("IndexOptionsConflict", err.code)
    assert.equal(85, err.native)
    assert.matches('the index {.*"mine".*} stands in the way of {.*"name" : "b_1".*}', err.message)
    err = caught(users.create_index, users, { a = 1 }, { expire_after_seconds = 60 })
    assert.equal("IndexOptionsConflict", err.code)
    assert.matches('"expireAfterSeconds"', err.message)
  end)

  it("is none when it is the same", function()
    assert.equal("a_1", users:create_index { a = 1.0 })
    local result = users:create_indexes { { keys = { a = 1 } }, { keys = { b = 1 }, name = "mine" } }
    assert.equal("all indexes already exist", result.note)
    assert.equal(3, result.num_indexes_after)
  end)
end)
