-- ctx: what a step gets, and that it ends with the step.
local migrations = require "spec.support.migrations"
local server = require "spec.support.server"
local smartmigration = require "smartmigration"

local failure = migrations.failure

local function said(lines, message)
  for _, line in ipairs(lines) do
    if line.message == message then
      return line
    end
  end
end

-- ----------------------------------------------------------------------- ctx

describe("ctx", function()
  it("has what the step needs", function()
    local seen = {}
    local _, _, settings = migrations.with_step(print)
    local migration <close> = smartmigration.new(settings)
    migration:step("only"):from("1.0.0"):to("1.1.0"):description("does it"):up(function(ctx)
      seen = { id = ctx.step.id, from = ctx.step.from, to = ctx.step.to, description = ctx.step.description,
        dry_run = ctx.dry_run, mode = ctx.mode, run_id = ctx.run_id, holder = ctx.lease.holder, fence = ctx.lease.fence,
        remaining = ctx.lease:remaining_ms(), s3 = ctx.s3, bucket = ctx.bucket, same = ctx.mongo == ctx.mongo,
        bson = ctx.bson == require "smartmigration.bson", name = ctx.mongo.name, text = tostring(ctx) }
    end)
    migration:run()
    assert.are.equal("only 1.0.0 1.1.0 does it", table.concat({ seen.id, seen.from, seen.to, seen.description }, " "))
    assert.is_false(seen.dry_run)
    assert.are.equal("exact", seen.mode)
    assert.are.equal(32, #seen.run_id)
    assert.are.equal(seen.run_id .. "@", seen.holder:sub(1, 33))
    assert.are.equal("integer", math.type(seen.fence))
    assert.is_true(seen.remaining > 0 and seen.remaining <= 60000)
    assert.is_nil(seen.s3)
    assert.is_nil(seen.bucket)
    assert.is_true(seen.same)
    assert.is_true(seen.bson)
    assert.are.equal(settings.mongo.database, seen.name)
    assert.are.equal("ctx of step 'only'", seen.text)
  end)

  it("hands out the database", function()
    local migration <close>, _, settings = migrations.with_step(function(ctx)
      ctx.mongo:collection("users"):insert_one { name = "Ada" }
    end)
    migration:run()
    assert.are.equal("Ada", server.open(settings.mongo.database):collection("users"):find_one({}).name)
  end)

  it("is strict and read-only", function()
    migrations.run_step(function(ctx)
      for name, message in pairs {
        mongoo = "ctx has no field 'mongoo'; did you mean 'mongo'?", runId = "ctx has no field 'runId'; did you mean 'run_id'?",
        startSession = "ctx has no field 'startSession'; did you mean 'start_session'?", zzz = "ctx has no field 'zzz'",
      } do
        assert.are.equal(message, failure(function() return ctx[name] end).message)
      end
      assert.are.equal("ctx is read-only: cannot set 'x'", failure(function() ctx.x = 1 end).message)
      assert.are.equal("ctx.step has no field 'idd': it has id, from, to and description",
        failure(function() return ctx.step.idd end).message)
      assert.is_truthy(failure(function() ctx.step.id = "b" end).message:find "read%-only")
      assert.is_truthy(failure(function() return ctx.log.inof end).message:find("did you mean 'info'?", 1, true))
    end)
  end)

  it("ends with its step", function()
    local kept = {}
    migrations.run_step(function(ctx)
      kept = { ctx = ctx, log = ctx.log, checkpoint = ctx.checkpoint, lease = ctx.lease, mongo = ctx.mongo, try = ctx.try }
    end)
    for _, call in ipairs {
      function() return kept.ctx.run_id end, function() kept.ctx:check() end, function() kept.log:info "x" end,
      function() kept.checkpoint:read "x" end, function() return kept.lease.fence end,
      function() kept.try(kept.ctx, print) end,
    } do
      assert.are.equal("ctx of step 'only' is no longer valid", failure(call).message)
    end
    assert.is_truthy(failure(function() kept.mongo:collection("x"):find_one {} end).message:find "no longer valid")
    assert.are.equal("ctx of step 'only' (over)", tostring(kept.ctx))
  end)

  it("logs with fields, and print goes to the log", function()
    local lines = migrations.run_step(function(ctx)
      ctx.log:warn("careful", { count = 3 })
      ctx.log:info(ctx.bson.null)
      print("one", 2)
    end)
    local line = said(lines, "careful")
    assert.are.equal("warn", line.level)
    assert.are.equal(3, line.fields.count)
    assert.are.equal("only", line.fields.step)
    assert.is_truthy(said(lines, "null"))
    assert.are.equal("info", said(lines, "one 2").level)
  end)

  it("does not fail by its logger, and the logger's own print is the host's", function()
    local printed = {}
    local original = print
    print = function(...) printed[#printed + 1] = ... end -- luacheck: ignore
    local ok, problem = pcall(migrations.run_step, function(ctx) ctx.log:info "from the step" end, {
      log = function(_, message)
        if message == "from the step" then print(message) end
        error "the logger is broken"
      end,
    })
    print = original -- luacheck: ignore
    assert.is_true(ok, tostring(problem))
    assert.are.same({ "from the step" }, printed)
  end)

  it("keeps checkpoints of any value", function()
    local attempts = 0
    local migration <close> = migrations.with_step(function(ctx)
      attempts = attempts + 1
      local bson = ctx.bson
      if attempts == 1 then
        assert.is_nil(ctx.checkpoint:read "last")
        ctx.checkpoint:write("last", bson.doc { { "at", bson.date(5) }, { "n", 7 } })
        ctx.checkpoint:write("a.b", "dotted")
        error "not yet"
      end
      assert.are.equal(7, ctx.checkpoint:read("last").n)
      assert.are.equal(bson.date(5), ctx.checkpoint:read("last").at)
      assert.are.equal("dotted", ctx.checkpoint:read "a.b")
      ctx.checkpoint:clear()
      assert.is_nil(ctx.checkpoint:read "last")
      assert.is_truthy(failure(function() ctx.checkpoint:write("x", nil) end).message:find "is nil")
    end)
    assert.are.equal("STEP_FAILED", failure(migration.run, migration).code)
    migration:run()
    assert.are.equal(2, attempts)
  end)

  it("refuses checkpoints of a step that is not resumable", function()
    local _, _, settings = migrations.with_step(print)
    local migration <close> = smartmigration.new(settings)
    migration:step("only"):from("1.0.0"):to("1.1.0"):up(function(ctx) ctx.checkpoint:write("x", 1) end)
    local raised = failure(migration.run, migration)
    assert.are.equal("CHECKPOINT_NOT_RESUMABLE", raised.details.cause and raised.details.cause.code or raised.cause.code)
  end)

  it("tries: operational errors are handed over, the rest passes", function()
    migrations.run_step(function(ctx)
      local users = ctx.mongo:collection "users"
      users:insert_one { _id = 1 }
      local value, err = ctx:try(users.insert_one, users, { _id = 1 })
      assert.is_nil(value)
      assert.is_true(err:is "duplicate_key")
      assert.are.equal(1, select("#", ctx:try(users.find_one, users, { _id = 1 })))
      assert.are.same({ 1, 2, 3 }, { ctx:try(function(...) return ... end, 1, 2, 3) })
      assert.are.equal("INVALID_ARGUMENT", failure(function() ctx:try(users.find_one, users, {}, { lmit = 1 }) end).code)
      assert.are.equal("bad argument #1 to 'delete_many' (filter expected, {} for every document)",
        failure(function() ctx:try(users.delete_many, users) end).message)
      local ok, text = pcall(function() ctx:try(function() error("a mistake", 0) end) end)
      assert.is_false(ok)
      assert.is_truthy(tostring(text):find "a mistake")
    end)
  end)

  it("says how a method is tried, and where collections are", function()
    migrations.run_step(function(ctx)
      local users = ctx.mongo:collection "users"
      local wanted = "ctx:try wants the method, then its handle: ctx:try(c.find_one, c, filter)"
      assert.are.equal(wanted, failure(function() ctx:try(users.find_one, {}) end).message)
      assert.are.equal(wanted, failure(function() ctx:try(users.find_one) end).message)
      assert.are.equal(wanted, failure(function() ctx:try(users:find_one {}) end).message)
      assert.are.equal(wanted, failure(function() ctx:try() end).message)
      assert.is_nil(ctx:try(users:find {}))
      assert.are.equal([[database has no method 'users'; a collection is ctx.mongo:collection "users"]],
        failure(function() return ctx.mongo.users end).message)
    end)
  end)

  it("gives sessions and transactions", function()
    migrations.run_step(function(ctx)
      local users = ctx.mongo:collection "users"
      ctx.mongo:create_collection "users"
      ctx:transaction(function(session)
        users:insert_one({ _id = 1 }, { session = session })
      end)
      assert.are.equal(1, users:count {})
      local session <close> = ctx:start_session()
      session:start_transaction()
      users:insert_one({ _id = 2 }, { session = session })
      session:abort()
      assert.are.equal(1, users:count {})
    end)
  end)

  it("says progress", function()
    local line = said(migrations.run_step(function(ctx) ctx:progress(3, 10) end), "progress")
    assert.are.equal(3, line.fields.done)
    assert.are.equal(10, line.fields.total)
  end)

  it("goes on in coroutines", function()
    migrations.run_step(function(ctx)
      local users = ctx.mongo:collection "users"
      local produce = coroutine.wrap(function()
        for i = 1, 3 do
          users:insert_one { _id = i }
          coroutine.yield(ctx:try(users.find_one, users, { _id = i })._id)
        end
      end)
      assert.are.same({ 1, 2, 3 }, { produce(), produce(), produce() })
    end)
  end)
end)
