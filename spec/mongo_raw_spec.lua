-- Raw means raw: a C module that knows nothing but the installed header reaches the driver's own handles.
local migrations = require "spec.support.migrations"
local server = require "spec.support.server"
local support = require "spec.support.mongo"

local caught = support.caught

describe("another C module", function()
  local raw, folder, db, users

  setup(function()
    folder = os.tmpname()
    os.remove(folder)
    local compile = [[mkdir '%s' && cc -std=gnu11 -Wall -Wextra -Werror -fPIC -shared -o '%s/raw.so' spec/raw/raw.c ]] ..
      [[-Ibindings/include $(pkg-config --cflags lua5.4 libmongoc-1.0) $(pkg-config --libs libmongoc-1.0)]]
    assert(os.execute(compile:format(folder, folder)))
    raw = assert(package.loadlib(folder .. "/raw.so", "luaopen_raw"))()
  end)

  teardown(function() os.execute("rm -r '" .. folder .. "'") end)

  before_each(function()
    db = server.open(server.database())
    users = db:collection "users"
  end)

  it("works on the driver's client, database and collection behind the handles", function()
    users:insert_many { { _id = 1 }, { _id = 2 } }
    assert.equal(2, raw.count(users))
    local one, name = raw.same(db:client(), db)
    assert.is_true(one)
    assert.equal(db.name, name)
    local session <close> = db:start_session()
    assert.is_true(raw.has_session(session))
    assert.is_false(raw.has_session(db))
  end)

  it("gives and takes documents, tables and views", function()
    assert.equal(1, raw.insert(users, { _id = 1, n = 5 }).insertedCount)
    local view = users:find_one()
    view._id = 2
    raw.insert(users, view)
    assert.equal(5, users:find_one({ _id = 2 }).n)
  end)

  it("is held to what `with` gave the handle", function()
    local concern = { w = 7, wtimeout_ms = 50 }
    local err = caught(raw.insert, users:with { write_concern = concern }, { _id = 1 })
    assert.equal(100, err.write_concern_error.code)
  end)

  it("raises error objects like the methods do", function()
    users:insert_one { _id = 1 }
    local err = caught(raw.insert, users, { _id = 1 })
    assert.equal("DuplicateKey", err.code)
    assert.matches("^insert by hand into '" .. users.namespace .. "' failed: E11000", err.message)
  end)

  it("cannot reach through what is no handle, or closed", function()
    assert.equal("INVALID_ARGUMENT", caught(raw.count, {}).code)
    assert.equal("INVALID_ARGUMENT", caught(raw.count, db).code)
    local client = server.client()
    local closed = client:database(db.name):collection "users"
    client:close()
    assert.equal("collection is closed", caught(raw.count, closed).message)
  end)

  it("carries the step's session and comment, and ends with it", function()
    local kept
    local migration <close>, _, settings = migrations.with_step(function(ctx)
      kept = ctx.mongo:collection "users"
      ctx.mongo:run_command("profile", 2)
      assert.is_true(raw.has_session(kept))
      raw.insert(kept, { _id = 1 })
      ctx.mongo:run_command("profile", 0)
    end)
    migration:run()
    local profile = server.open(settings.mongo.database):collection "system.profile"
    local entry = profile:find_one { op = "insert", ns = settings.mongo.database .. ".users" }
    assert.matches("^smartmigration:.+:only$", entry.command.comment)
    assert.equal("collection of step 'only' is no longer valid", caught(raw.count, kept).message)
  end)
end)
