-- The module in states that are not the suite's: when memory runs out, and beside another state of the same process.
local build = require "spec.support.build"
local migrations = require "spec.support.migrations"
local process = require "spec.support.process"
local server = require "spec.support.server"

teardown(migrations.clean)

local function run(how, script, more)
  local path = migrations.folder { script = script }
  local result = process.run { build.dev.folder .. "/tests/states", how, build.dev.cpath, path .. "/script", more,
    env = { ASAN_OPTIONS = false, UBSAN_OPTIONS = false }, limit = 300000 }
  assert.are.equal(0, result.status, (result.out .. result.err):sub(-3000))
  return result
end

-- Failures that the script expects are caught; that memory is gone must not pass for one of them.
local OFFLINE = [[
  local bson, smartmigration = require "smartmigration.bson", require "smartmigration"
  local function expected(ok, failure)
    assert(not ok)
    if tostring(failure):find "not enough memory" then error(failure, 0) end
    return failure
  end
  local document = bson.doc { a = 1, b = { 1, { x = "y" } }, c = bson.array { bson.objectid() },
    d = { e = { f = bson.date(5) } } }
  document.a, document.b[3], document.new, document.c, document.d.e.f = 5, { z = 1 }, "x", nil, 2.5
  assert(bson.equal(bson.from_bytes(bson.to_bytes(document)), document))
  local text = bson.json(document) .. tostring(document) .. #bson.to_table(document).b
  for name in pairs(document) do text = text .. name end
  local failure = expected(pcall(bson.objectid, "short"))
  assert(failure.where and failure.details and failure.labels and failure.traceback)
  local migration = smartmigration.new { target_from_chain = true, offline = true, log = print }
  migration:step("a"):from("1.0.0"):to("1.1.0"):up(print)
  expected(pcall(migration.add, migration, { id = "b", form = "1.1.0" }))
  assert(migration:validate().steps == 1)
]]

local STEP = [[
  local things = ctx.mongo:collection "things"
  things:insert_many { { _id = 1 }, { _id = 2 } }
  for thing in things:find({}, { batch_size = 1 }) do
    things:update_one({ _id = thing._id }, { ["$set"] = { seen = true } })
  end
  things:bulk_write { { insert_one = { document = { _id = 3 } } } }
  assert(#things:aggregate { { ["$match"] = { _id = { ["$gt"] = 1 } } } }:all() == 2 and things:count() == 3)
  ctx:transaction(function(session) things:insert_one({ _id = 4 }, { session = session }) end)
  local _, failure = ctx:try(things.insert_one, things, { _id = 1 })
  if not failure:is "duplicate_key" then error(failure, 0) end
  ctx.checkpoint:write("at", { id = 4 })
  ctx.log:info("at", { id = ctx.checkpoint:read "at".id })
]]

-- `name` is Lua text for the database's name.
local function over_server(step, name)
  return ([[
  local uri, name = %q, %s
  local client <close> = require("smartmigration.mongo").connect(uri)
  client:database(name):drop()
  local migration = require("smartmigration").new {
    target_version = "1.1.0", mongo = { uri = uri, database = name }, log = function() end }
  migration:step("a"):from("1.0.0"):to("1.1.0"):resumable():up(function(ctx) %s end)
  assert(migration:run().current_version_after == "1.1.0")
  migration:close()
]]):format(server.uri, name or ("%q"):format(server.database()), step)
end

describe("memory that runs out", function()
  it("ends what is under way and nothing else", function()
    assert.is_true(tonumber(run("memory", OFFLINE, 1).out) > 200)
  end)

  it("ends a run, which then runs again #slow", function()
    assert.is_true(tonumber(run("memory", over_server(STEP), 7).out) > 300)
  end)
end)

it("two states of a process do not know each other, even one within a step of the other", function()
  run("nested", over_server([[
    ctx.mongo:collection "things":insert_one { _id = 1 }
    if other then
      local call = other
      other = nil
      call()
    end
    ctx.mongo:collection "things":insert_one { _id = 2 }
  ]], ("other and %q or %q"):format(server.database(), server.database())))
end)
