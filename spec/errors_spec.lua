-- Error objects: what every failure looks like from Lua.
local bson = require "smartmigration.bson"
local core = require "smartmigration.core"

local function caught(f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  return err
end

local function lock_timeout()
  return caught(core.raise, "LOCK_TIMEOUT", "the lock is held by x", {
    holder = "x", expires_at = bson.date(0), n = bson.int64(7), labels = { "Retry", "Later" }, native = 11000,
    retryable = true, namespace = "app.users", write_errors = { { index = 1, code = 11000 } },
    reply = { ok = 0, errors = { 1 } },
    cause = { code = "DuplicateKey", message = "E11000", namespace = "app.users", category = "server" },
  })
end

describe("an error object", function()
  it("prints as code and message", function()
    local err = lock_timeout()
    assert.equal("LOCK_TIMEOUT: the lock is held by x", tostring(err))
    assert.equal("LOCK_TIMEOUT", err.code)
    assert.equal("the lock is held by x", err.message)
    assert.equal("userdata", type(err))
    assert.equal("smartmigration.error", getmetatable(err))
  end)

  it("has its fields, and nil for what it has not", function()
    local err = lock_timeout()
    assert.equal("timeout", err.category)
    assert.equal(11000, err.native)
    assert.equal("app.users", err.namespace)
    assert.is_true(err.retryable)
    assert.is_false(err.outcome_unknown)
    assert.is_false(err.timeout)
    assert.equal(1, err.write_errors[1].index)
    assert.equal(1, #err.write_errors)
    assert.is_nil(err.operation)
    assert.is_nil(err.value)
    assert.is_nil(err.nonsense)
    assert.is_nil(err[1])
  end)

  it("is known by aliases of its code", function()
    local err = lock_timeout()
    assert.is_true(err:is "lock_timeout")
    assert.is_true(err:is "LOCK_TIMEOUT")
    assert.is_false(err:is "lock_lost")
    assert.is_true(err.cause:is "duplicate_key")
    assert.is_true(err.cause:is "DuplicateKey")
    assert.is_false(err.cause:is "duplicate")
    assert.equal("INVALID_ARGUMENT", caught(err.is, err, 5).code)
    assert.equal("INVALID_ARGUMENT", caught(err.is, {}, "x").code)
  end)

  it("knows its labels", function()
    local err = lock_timeout()
    assert.is_true(err.labels.Retry)
    assert.is_nil(err.labels.Other)
    assert.is_true(err:has_label "Later")
    assert.is_false(err:has_label "Other")
    assert.is_false(err.cause:has_label "Later")
    assert.is_nil(next(bson.to_table(bson.doc(err.cause.labels))))
  end)

  it("has details as a plain table that is read-only", function()
    local err = lock_timeout()
    assert.equal("table", type(err.details))
    assert.equal("x", err.details.holder)
    assert.equal(7, err.details.n)
    assert.equal("1970-01-01T00:00:00.000Z", err.details.expires_at)
    assert.equal("DuplicateKey", err.details.cause.code)
    assert.equal(err.details, err.details)
    for _, change in ipairs {
      function() err.details.x = 1 end, function() err.details.cause.code = "x" end, function() err.x = 1 end,
      function() err.labels.x = true end, function() err.write_errors[2] = {} end, function() err.reply.ok = 1 end,
      function() err.reply.errors[1] = 1 end,
    } do
      assert.truthy(caught(change).message:find("read-only", 1, true))
    end
    local names = {}
    for name in pairs(err.details.cause) do names[#names + 1] = name end
    table.sort(names)
    assert.same({ "category", "code", "message", "namespace" }, names)
    for i, write_error in ipairs(err.write_errors) do assert.equal(i, write_error.index) end
    assert.equal('{"code":11000,"index":1}', bson.json(err.details.write_errors[1]))
  end)

  it("has its cause as an error object", function()
    local cause = lock_timeout().cause
    assert.equal("DuplicateKey: E11000", tostring(cause))
    assert.equal("server", cause.category)
    assert.equal("app.users", cause.namespace)
    assert.is_nil(cause.cause)
  end)

  it("shows the server's reply as a view", function()
    assert.equal('{"errors":[1],"ok":0}', bson.json(lock_timeout().reply))
  end)

  it("keeps its identity through error and pcall", function()
    local err = lock_timeout()
    assert.is_true(rawequal(err, caught(error, err, 0)))
    assert.is_true(rawequal(err, caught(error, err)))
    assert.is_true(rawequal(err, select(2, coroutine.resume(coroutine.create(error), err))))
  end)

  it("points at the caller's line and shows frames of scripts alone", function()
    local function call()
      return bson.objectid "short"
    end
    local line = debug.getinfo(call, "S").linedefined + 1
    local err = caught(function()
      local id = call()
      return id
    end)
    assert.equal("argument", err.category)
    assert.truthy(err.where:find("errors_spec.lua:" .. line, 1, true), err.where)
    assert.truthy(err.traceback:find("errors_spec.lua:" .. line, 1, true), err.traceback)
    assert.is_nil(err.traceback:find("[C]: in ?", 1, true), err.traceback)
    assert.is_nil(err.traceback:find("objectid'", 1, true), err.traceback)
    assert.is_nil(err.traceback:find("'pcall'", 1, true), err.traceback)
  end)

  it("names the whole path, also in a folder that is called smartmigration", function()
    for _, path in ipairs { "/" .. ("folder/"):rep(20) .. "1.lua", "smartmigration/1.lua" } do
      local err = caught(assert(load("local call = ... call 'short' return", "@" .. path)), bson.objectid)
      assert.equal(path .. ":1", err.where)
    end
    local err = caught(assert(load("local call = ... call 'short' return", "@smartmigration/1.lua")), bson.objectid)
    assert.truthy(err.traceback:find("smartmigration/1.lua:1", 1, true), err.traceback)
  end)

  it("is freed", function()
    local weak = setmetatable({}, { __mode = "v" })
    local err = lock_timeout()
    weak[1] = err
    assert.truthy(err.cause and err.details and err.reply)
    err = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak[1])
  end)
end)

describe("argument errors", function()
  it("name the function and the argument", function()
    local err = caught(bson.binary, 5)
    assert.equal("INVALID_ARGUMENT", err.code)
    assert.truthy(err.message:find("bad argument #1 to '.-' %(string expected, got number%)"), err.message)
  end)

  it("suggest the option that was meant", function()
    assert.equal("unknown option 'mod' for json (did you mean 'mode'?)", caught(bson.json, {}, { mod = "x" }).message)
    assert.equal("unknown option 'zzzzzz' for json", caught(bson.json, {}, { zzzzzz = "x" }).message)
    assert.equal("option 'mode' of json must be a string, got number", caught(bson.json, {}, { mode = 1 }).message)
    assert.equal("options of json must be a table, got string", caught(bson.json, {}, "relaxed").message)
    assert.equal("options of json must have names as keys, not a number", caught(bson.json, {}, { 1 }).message)
  end)
end)
