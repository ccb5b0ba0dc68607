-- ctx.mongo's handles inside a step: what its commands carry, and that they end with it.
local bson = require "smartmigration.bson"
local migrations = require "spec.support.migrations"
local server = require "spec.support.server"
local support = require "spec.support.mongo"

local caught = support.caught

describe("in a step", function()
  -- Runs a step; returns the database's handle of a client that is no part of it, and the lines of the log.
  local function run(up)
    local migration, lines, settings = migrations.with_step(up)
    migration:run()
    migration:close()
    return server.open(settings.mongo.database), lines
  end

  it("every command carries the step's comment and session", function()
    local run_id
    local db = run(function(ctx)
      run_id = ctx.run_id
      local db, users = ctx.mongo, ctx.mongo:collection "users"
      db:run_command("profile", 2)
      users:insert_many { { _id = 1 }, { _id = 2 }, { _id = 3 } }
      users:insert_one({ _id = 4 }, { comment = "mine" })
      users:find({}, { batch_size = 2 }):all()
      users:find_one()
      users:update_one({ _id = 1 }, { ["$set"] = { a = 1 } })
      users:update_many({}, { ["$set"] = { a = 2 } }, { max_time_ms = 5000 })
      users:delete_one { _id = 1 }
      users:find_one_and_delete { _id = 2 }
      users:bulk_write { { delete_many = { filter = { _id = 3 } } } }
      users:count()
      users:estimated_count()
      users:distinct "a"
      users:aggregate { { ["$out"] = "copies" } }
      users:create_index { a = 1 }
      users:index_names()
      users:stats()
      db:run_command("profile", 0)
    end)
    local seen, sessions, mine = 0, {}, 0
    for entry in db:collection("system.profile"):find { ns = db.name .. ".users", op = { ["$ne"] = "killcursors" } } do
      seen = seen + 1
      local comment = entry.command.comment
      assert.matches("^smartmigration:.+:" .. run_id .. ":only", comment, 1, false, bson.json(entry.command))
      if comment:match ":only mine$" then mine = mine + 1 else assert.matches(":only$", comment) end
      -- The profiler shows statements of updates and deletes without their command.
      if entry.command.lsid then sessions[tostring(entry.command.lsid.id)] = true end
    end
    assert.is_true(seen >= 17, seen .. " commands were seen")
    assert.equal(1, mine)
    local first = next(sessions)
    assert.is_string(first)
    assert.is_nil(next(sessions, first), "there was more than one session")
  end)

  it("handles end with it, and say so", function()
    local kept = {}
    local db = run(function(ctx)
      kept.db, kept.users, kept.client = ctx.mongo, ctx.mongo:collection "users", ctx.mongo:client()
      kept.users:insert_many { { _id = 1 }, { _id = 2 } }
      kept.cursor = kept.users:find({}, { batch_size = 1 })
      kept.cursor:next()
      kept.session = ctx.mongo:start_session()
      assert.matches("is closed by the engine$", caught(kept.client.close, kept.client).message)
    end)
    assert.equal("database of step 'only' is no longer valid", caught(kept.db.collection, kept.db, "x").message)
    assert.equal("collection of step 'only' is no longer valid", caught(kept.users.count, kept.users).message)
    assert.equal("client of step 'only' is no longer valid", caught(kept.client.database, kept.client, "x").message)
    assert.equal("cursor of step 'only' is no longer valid", caught(kept.cursor).message)
    assert.equal("session of step 'only' is no longer valid", caught(kept.session.commit, kept.session).message)
    assert.equal(0, support.idle_cursors(db.name .. ".users"))
  end)

  it("a session of another step or client is refused", function()
    local outside <close> = server.open(server.database()):start_session()
    run(function(ctx)
      local users = ctx.mongo:collection "users"
      assert.matches("belongs to another client or step", caught(users.count, users, {}, { session = outside }).message)
    end)
  end)

  it("a transaction has a session of its own, and what is not part of it is warned of in the log", function()
    local db, lines = run(function(ctx)
      local users = ctx.mongo:collection "users"
      ctx:transaction(function(session)
        users:insert_one({ _id = 1 }, { session = session })
        assert.is_nil(users:find_one())
        assert.equal(1, users:find_one({}, { session = session })._id)
      end)
    end)
    assert.equal(1, db:collection("users"):count())
    local warned = {}
    for _, line in ipairs(lines) do
      if line.message:find("outside of the transaction", 1, true) then warned[#warned + 1] = line end
    end
    assert.equal(1, #warned)
    assert.equal("warn", warned[1].level)
    assert.matches("mongo_step_spec.lua:%d+: find_one in '", warned[1].message)
  end)

  it("a stopped run makes no further call", function()
    local migration, called
    migration = migrations.with_step(function(ctx)
      local users = ctx.mongo:collection "users"
      migration:cancel()
      called = pcall(users.insert_one, users, { _id = 1 })
    end)
    local err = caught(migration.run, migration)
    assert.equal("INTERRUPTED", err.code)
    assert.is_false(called or false)
    migration:close()
  end)

  describe("that returns", function()
    -- The failure's cause, and how many documents are there.
    local function failed(up)
      local migration <close>, _, settings = migrations.with_step(up)
      local err = migrations.failure(migration.run, migration)
      assert.equal("STEP_FAILED", err.code)
      return err.cause, server.open(settings.mongo.database):collection("users"):count()
    end

    local UNDER_WAY = "the step ended with a transaction under way: end it with session:commit() or session:abort(), "
      .. "or use ctx:transaction(f)"

    it("with a transaction under way fails", function()
      local cause, count = failed(function(ctx)
        local session = ctx:start_session()
        session:start_transaction()
        ctx.mongo:collection("users"):insert_one({ _id = 1 }, { session = session })
      end)
      assert.equal(UNDER_WAY, cause.message)
      assert.equal("UNFINISHED_WRITES", cause.code)
      assert.equal(0, count)
    end)

    it("with such a session already collected fails", function()
      local cause = failed(function(ctx)
        do
          local session = ctx:start_session()
          session:start_transaction()
          ctx.mongo:collection("users"):insert_one({ _id = 1 }, { session = session })
        end
        collectgarbage()
        collectgarbage()
      end)
      assert.equal(UNDER_WAY, cause.message)
    end)

    it("with its transactions ended is applied", function()
      local db = run(function(ctx)
        local users, session = ctx.mongo:collection "users", ctx:start_session()
        session:start_transaction()
        users:insert_one({ _id = 1 }, { session = session })
        session:commit()
        session:start_transaction()
        users:insert_one({ _id = 2 }, { session = session })
        session:abort()
      end)
      assert.equal(1, db:collection("users"):count())
    end)

    it("false, or nil and a value, fails", function()
      assert.equal("the step returned false, which does not make it fail: raise with error(), or return nothing",
        failed(function() return false end).message)
      assert.equal("the step returned nil and 'why': raise what makes a step fail with error()",
        failed(function() return nil, "why" end).message)
      assert.equal("the step returned false and 'why': raise what makes a step fail with error()",
        failed(function() return false, "why" end).message)
      assert.matches("^the step returned nil and '.*find_one",
        failed(function(ctx)
          local users = ctx.mongo:collection "users"
          return ctx:try(users.find_one, users, { ["$nothing"] = 1 })
        end).message)
    end)

    it("anything else is applied", function()
      run(function() end)
      run(function() return nil end)
      run(function() return true, "well" end)
      run(function() return 0 end)
    end)

    it("nil and a value out of ctx:transaction undoes it", function()
      for _, first in ipairs { "nil", "false" } do
        local cause, count = failed(function(ctx)
          ctx:transaction(function(session)
            ctx.mongo:collection("users"):insert_one({ _id = 1 }, { session = session })
            if first == "false" then return false, "why" end
            return nil, "why"
          end)
        end)
        assert.equal(("the function of transaction returned %s and 'why': raise what is to undo it with error()")
          :format(first), cause.message)
        assert.equal(0, count)
      end
    end)

    it("an error object out of ctx:transaction raises it", function()
      local cause = failed(function(ctx)
        ctx:transaction(function(session)
          local users = ctx.mongo:collection "users"
          return ctx:try(users.find_one, users, { ["$nothing"] = 1 }, { session = session })
        end)
      end)
      assert.equal("find_one", cause.operation)
    end)

    it("false alone out of ctx:transaction is a result", function()
      run(function(ctx)
        assert.is_false(ctx:transaction(function() return false end))
      end)
    end)
  end)
end)
