-- ctx.mongo's sessions and transactions: what is retried, how often, and how long.
local mongo = require "smartmigration.mongo"
local process = require "spec.support.process"
local server = require "spec.support.server"
local support = require "spec.support.mongo"

local caught = support.caught

describe("a session", function()
  local db, users

  before_each(function()
    db = server.open(server.database())
    users = db:create_collection "users"
  end)

  it("commits, and others see nothing before", function()
    local session <close> = db:start_session { causal_consistency = true }
    assert.equal("session (open)", tostring(session))
    session:start_transaction()
    users:insert_one({ _id = 1 }, { session = session })
    assert.equal("session (in a transaction)", tostring(session))
    assert.equal(1, users:count({}, { session = session }))
    assert.equal(0, users:count())
    session:commit()
    assert.equal(1, users:count())
  end)

  it("aborts, when told and when closed", function()
    local session = db:start_session()
    session:start_transaction { read_concern = "snapshot", write_concern = { w = "majority" }, max_commit_time_ms = 1000 }
    users:insert_one({ _id = 1 }, { session = session })
    session:abort()
    assert.equal(0, users:count())
    session:start_transaction()
    users:insert_one({ _id = 1 }, { session = session })
    session:close()
    session:close()
    assert.equal(0, users:count())
    assert.equal("session is closed", caught(session.start_transaction, session).message)
    assert.equal("session is closed", caught(session.commit, session).message)
    assert.equal("session is closed", caught(session.abort, session).message)
    assert.equal("session is closed", caught(users.count, users, {}, { session = session }).message)
  end)

  it("says what is out of order", function()
    local session <close> = db:start_session { default_transaction = { read_concern = "majority" } }
    assert.equal("InvalidTransactionState", caught(session.commit, session).code)
    assert.matches("^abort at '.+' failed: No transaction started", caught(session.abort, session).message)
    session:start_transaction()
    assert.matches("already in progress", caught(session.start_transaction, session).message)
    assert.matches("unknown option 'snapshots' for start_session %(did you mean 'snapshot'%?%)",
      caught(db.start_session, db, { snapshots = 1 }).message)
    assert.matches("unknown option 'writeConcern' for start_transaction",
      caught(session.start_transaction, session, { writeConcern = 1 }).message)
  end)

  it("belongs to its client", function()
    local session <close> = db:start_session()
    local elsewhere = server.client():database(db.name):collection "users"
    assert.equal("the session belongs to another client or step",
      caught(elsewhere.count, elsewhere, {}, { session = session }).message)
    assert.equal("option 'session' must be a session, got number", caught(users.count, users, {}, { session = 1 }).message)
  end)

  it("takes its cursors with it", function()
    users:insert_many { { _id = 1 }, { _id = 2 }, { _id = 3 } }
    local session = db:start_session { snapshot = true }
    local cursor = users:find({}, { session = session, batch_size = 1 })
    cursor:next()
    session:close()
    assert.equal("cursor is closed", caught(cursor).message)
    assert.equal(0, support.idle_cursors(users.namespace))
  end)

  it("leaves the concerns of a handle out of a transaction", function()
    local derived = users:with { read_concern = "local", write_concern = { w = 1 } }
    db:transaction(function(session)
      derived:insert_one({ _id = 1 }, { session = session })
      assert.equal(1, derived:find_one({}, { session = session })._id)
      derived:find_one_and_update({}, { ["$set"] = { a = 1 } }, { session = session })
      derived:bulk_write({ { delete_one = { filter = {} } } }, { session = session })
    end)
    assert.equal(0, users:count())
  end)
end)

describe("a transaction", function()
  local db, users, name

  before_each(function()
    local client
    client, name = support.named_client()
    db = client:database(name)
    users = db:create_collection "users"
  end)

  after_each(support.fail_no_more)

  local function labelled(...)
    return { errorCode = 112, errorLabels = { ... } }
  end

  it("returns what the function returns", function()
    local a, b, c = db:transaction(function(session)
      users:insert_one({ _id = 1 }, { session = session })
      return 1, nil, "three"
    end)
    assert.same({ 1, nil, "three" }, { a, b, c })
    assert.equal(1, users:count())
    assert.equal(0, select("#", db:transaction(function() end)))
  end)

  it("is undone by an error, which comes out as it was", function()
    local mine = { "mine" }
    local calls = 0
    assert.equal(mine, caught(db.transaction, db, function(session)
      calls = calls + 1
      users:insert_one({ _id = 1 }, { session = session })
      error(mine)
    end))
    assert.equal(1, calls)
    assert.equal(0, users:count())
    local err = caught(db.transaction, db, function(session)
      users:insert_many({ { _id = 1 }, { _id = 1 } }, { session = session })
    end)
    assert.equal("DuplicateKey", err.code)
    assert.equal(0, users:count())
  end)

  it("shows where a mistake was made", function()
    local function mistaken()
      error "a mistake"
    end
    local err = caught(db.transaction, db, mistaken)
    local place = "mongo_transaction_spec.lua:" .. debug.getinfo(mistaken, "S").linedefined + 1
    assert.truthy(tostring(err):find(place .. ": a mistake", 1, true))
    assert.truthy(err.where:find(place, 1, true), err.where)
    assert.truthy(err.traceback:find(place, 1, true), err.traceback)
  end)

  it("runs the function again after a transient error", function()
    support.fail_next(name, "insert", 2, labelled "TransientTransactionError")
    local calls = 0
    db:transaction(function(session)
      calls = calls + 1
      users:insert_one({ _id = calls }, { session = session })
    end)
    assert.equal(3, calls)
    assert.equal(3, users:find_one()._id)
    assert.equal(1, users:count())
  end)

  it("runs the function again when two transactions meet", function()
    users:insert_one { _id = 1, n = 0 }
    local other = server.open(name)
    local calls = 0
    db:transaction(function(session)
      calls = calls + 1
      users:find_one({}, { session = session })
      if calls == 1 then other:collection("users"):update_one({ _id = 1 }, { ["$inc"] = { n = 10 } }) end
      users:update_one({ _id = 1 }, { ["$inc"] = { n = 1 } }, { session = session })
    end)
    assert.equal(2, calls)
    assert.equal(11, users:find_one().n)
  end)

  it("runs the function again when the commit is transient", function()
    support.fail_next(name, "commitTransaction", 1, { errorCode = 251, errorLabels = { "TransientTransactionError" } })
    local calls = 0
    db:transaction(function(session)
      calls = calls + 1
      users:insert_one({ _id = calls }, { session = session })
    end)
    assert.equal(2, calls)
  end)

  it("commits again, alone, when the result is unknown", function()
    -- The driver tries once more by itself: three failures need ours.
    support.fail_next(name, "commitTransaction", 3, { errorCode = 91 })
    local calls = 0
    db:transaction(function(session)
      calls = calls + 1
      users:insert_one({ _id = calls }, { session = session })
    end)
    assert.equal(1, calls)
    assert.equal(1, users:count())
  end)

  it("raises an error without a label from the commit at once", function()
    support.fail_next(name, "commitTransaction", 1, { errorCode = 20 })
    local calls = 0
    local err = caught(db.transaction, db, function(session)
      calls = calls + 1
      users:insert_one({ _id = calls }, { session = session })
    end)
    assert.equal("IllegalOperation", err.code)
    assert.is_string(err.traceback)
    assert.equal(1, calls)
  end)

  it("stops at max_time_ms with the last error", function()
    support.fail_next(name, "insert", 1000, labelled "TransientTransactionError")
    local calls = 0
    local err = caught(db.transaction, db, function(session)
      calls = calls + 1
      users:insert_one({ _id = calls }, { session = session })
    end, { max_time_ms = 300 })
    assert.equal("WriteConflict", err.code)
    assert.is_true(err:has_label "TransientTransactionError")
    assert.is_true(calls > 1 and calls < 300, calls .. " calls")
    support.fail_next(name, "commitTransaction", 1000, { errorCode = 91 })
    err = caught(db.transaction, db, function(session)
      users:insert_one({ _id = 1 }, { session = session })
    end, { max_time_ms = 300 })
    assert.equal("ShutdownInProgress", err.code)
    assert.is_true(err:has_label "UnknownTransactionCommitResult")
    assert.is_true(err.outcome_unknown)
  end)

  it("lets the function end it", function()
    db:transaction(function(session)
      users:insert_one({ _id = 1 }, { session = session })
      session:abort()
    end)
    assert.equal(0, users:count())
    db:transaction(function(session)
      users:insert_one({ _id = 1 }, { session = session })
      session:commit()
    end)
    assert.equal(1, users:count())
    assert.matches("must not close its session", caught(db.transaction, db, function(session) session:close() end).message)
  end)

  it("closes its session", function()
    local kept
    db:transaction(function(session) kept = session end)
    assert.equal("session (closed)", tostring(kept))
    pcall(db.transaction, db, function(session)
      kept = session
      error "out"
    end)
    assert.equal("session (closed)", tostring(kept))
  end)

  it("warns once of an operation that is not part of it, with the line", function()
    local script = ([[
      package.cpath = %q
      local db = require "smartmigration.mongo".connect(%q):database(%q)
      local users = db:collection "users"
      db:transaction(function(session)
        users:insert_one({ _id = 1 }, { session = session })
        users:count() -- line 6
        users:count()
      end)
      users:count()
    ]]):format(package.cpath, server.uri, name)
    local result = process.run { "lua5.4", "-W", "-e", script }
    assert.equal(0, result.status, result.err)
    local _, warnings = result.err:gsub("outside of the transaction", "")
    assert.equal(1, warnings, result.err)
    assert.matches(":6: count in '" .. name .. ".users' runs outside", result.err)
  end)

  it("wants a function", function()
    assert.matches("function expected", caught(db.transaction, db, 1).message)
    assert.matches("unknown option 'retries' for transaction",
      caught(db.transaction, db, function() end, { retries = 1 }).message)
  end)

  it("needs a replica set, and says so", function()
    local own <close> = server.start { standalone = true }
    local client <close> = mongo.connect(own.uri)
    local err = caught(function() client:database("x"):transaction(function() end) end)
    assert.equal("IllegalOperation", err.code)
    assert.matches("transactions need a replica set", err.message)
  end)
end)
