-- ctx.mongo's cursors: loops, ends, and what is left on the server.
local server = require "spec.support.server"
local support = require "spec.support.mongo"

local caught, ids = support.caught, support.ids

describe("a cursor", function()
  local db, numbers

  setup(function()
    db = server.open(server.database())
    numbers = db:collection "numbers"
    local n = 0
    numbers:insert_many(function()
      n = n + 1
      if n <= 2500 then return { _id = n } end
    end)
  end)

  local function idle()
    return support.idle_cursors(numbers.namespace)
  end

  it("reads everything over small batches, in order", function()
    local expected = 0
    for document in numbers:find({}, { sort = { _id = 1 }, batch_size = 7 }) do
      expected = expected + 1
      assert.equal(expected, document._id)
    end
    assert.equal(2500, expected)
    assert.equal(0, idle())
  end)

  it("is closed by break, by an error, and by <close>", function()
    for document in numbers:find({}, { batch_size = 5 }) do
      assert.equal(1, idle())
      if document._id == 3 then break end
    end
    assert.equal(0, idle())
    pcall(function()
      for _ in numbers:find({}, { batch_size = 5 }) do error "out" end
    end)
    assert.equal(0, idle())
    do
      local cursor <close> = numbers:find({}, { batch_size = 5 })
      cursor:next()
      assert.equal(1, idle())
    end
    assert.equal(0, idle())
  end)

  it("is closed on the server when it is collected", function()
    local cursor = numbers:find({}, { batch_size = 5 })
    cursor:next()
    assert.equal(1, idle())
    cursor = nil -- luacheck: ignore 311
    collectgarbage()
    assert.equal(0, idle())
  end)

  it("is a handle, too", function()
    local cursor = numbers:find({}, { sort = { _id = -1 }, limit = 3, skip = 1, batch_size = 2 })
    assert.equal(("cursor '%s' (open)"):format(numbers.namespace), tostring(cursor))
    assert.is_true(cursor.alive)
    assert.equal(2499, cursor()._id)
    assert.equal(2498, cursor:next()._id)
    assert.equal(2497, cursor:try_next()._id)
    assert.is_nil(cursor:next())
    assert.is_nil(cursor:next())
    assert.is_false(cursor.alive)
    assert.equal(("cursor '%s' (at its end)"):format(numbers.namespace), tostring(cursor))
    cursor:close()
    cursor:close()
    assert.equal("cursor is closed", caught(cursor.next, cursor).message)
    assert.equal("cursor is closed", caught(cursor.try_next, cursor).message)
    assert.equal("cursor is closed", caught(cursor.all, cursor).message)
    assert.equal("cursor is closed", caught(cursor:batches(2)).message)
    assert.equal("cursor has no method 'nextt'; did you mean 'next'?", caught(function() return cursor.nextt end).message)
  end)

  it("gives all, but not more than wanted", function()
    assert.same({ 1, 2 }, ids(numbers:find({}, { sort = { _id = 1 }, limit = 2 }):all()))
    assert.equal(2500, #numbers:find():all())
    assert.same({}, numbers:find({ _id = 0 }):all())
    local cursor = numbers:find({}, { batch_size = 5 })
    assert.equal("the cursor has more than 10 documents: give a greater maximum to all(), or loop over it",
      caught(cursor.all, cursor, 10).message)
    assert.equal("cursor is closed", caught(cursor).message)
    assert.equal(0, idle())
    assert.equal(10, #numbers:find({}, { limit = 10 }):all(10))
  end)

  it("gives arrays", function()
    local sizes = {}
    for documents in numbers:find({}, { limit = 25, batch_size = 4, as = "table" }):batches(10) do
      sizes[#sizes + 1] = #documents
      assert.is_table(documents[1])
    end
    assert.same({ 10, 10, 5 }, sizes)
    for _ in numbers:find({}, { batch_size = 4 }):batches(3) do break end -- luacheck: ignore 512
    assert.equal(0, idle())
    assert.matches("integer from 1", caught(function() numbers:find():batches(0) end).message)
  end)

  it("gives documents or tables", function()
    assert.equal("table", type(numbers:find({}, { as = "table" }):next()))
    assert.equal("userdata", type(numbers:find({}, { as = "document" }):next()))
    assert.matches('option \'as\' must be "document" or "table"', caught(numbers.find, numbers, {}, { as = "xml" }).message)
  end)

  it("gives documents that outlive it, its client and a collection of garbage", function()
    local client = server.client()
    local kept
    for document in client:database(db.name):collection("numbers"):find({ _id = 42 }) do kept = document end
    client:close()
    client = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    assert.equal(42, kept._id)
  end)

  it("raises what the server finds wrong, with a name for the operation", function()
    local err = caught(function() for _ in numbers:find { ["$nope"] = 1 } do end end)
    assert.equal("BadValue", err.code)
    assert.equal("find", err.operation)
    assert.matches("^find in '" .. numbers.namespace .. "' failed: unknown top level operator", err.message)
  end)

  it("says that the server has ended it", function()
    local cursor = numbers:find({}, { batch_size = 2, comment = "kill " .. db.name })
    cursor:next()
    local pipeline = {
      { ["$currentOp"] = { idleCursors = true } },
      { ["$match"] = { type = "idleCursor", ns = numbers.namespace } },
    }
    local found = server.open("admin"):aggregate(pipeline):next()
    db:run_command("killCursors", "numbers", { cursors = { found.cursor.cursorId } })
    cursor:next()
    local err = caught(cursor)
    assert.equal("CursorNotFound", err.code)
    assert.is_false(err.outcome_unknown)
    assert.equal("cursor is closed", caught(cursor).message)
  end)

  it("is no table, and says how it is read", function()
    local cursor <close> = numbers:find()
    for _, use in ipairs { ipairs, pairs, function(c) return #c end, function(c) return c[1] end } do
      local err = caught(function()
        local step, state, first = use(cursor)
        return step(state, first)
      end)
      assert.equal("a cursor is no table: for doc in cursor do ... end, or cursor:all()", err.message)
    end
  end)

  it("obeys sort, hint, min and max", function()
    local options = { sort = { _id = 1 }, hint = { _id = 1 }, min = { _id = 5 }, max = { _id = 8 } }
    assert.same({ 5, 6, 7 }, ids(numbers:find({}, options)))
    assert.matches("key order matters in 'sort'", caught(numbers.find, numbers, {}, { sort = { a = 1, b = 1 } }).message)
    assert.matches("hint provided does not correspond", caught(function()
      numbers:find({}, { hint = "nowhere" }):next()
    end).message)
  end)
end)
