-- The module alone, in the system's lua5.4 with nothing but package.cpath: the example's chain leaves the very database that
-- the binary leaves.
local build = require "spec.support.build"
local migrations = require "spec.support.migrations"
local process = require "spec.support.process"
local s3 = require "spec.support.s3"
local server = require "spec.support.server"

local EXAMPLE = build.root .. "/migrations-example"

local CHAIN = [[
  local uri, database, folder, endpoint, bucket = ...
  local smartmigration = require "smartmigration"
  local migration <close> = smartmigration.new {
    target_from_chain = true, mongo = { uri = uri, database = database }, migrations = folder,
    s3 = { endpoint = endpoint, bucket = bucket } }
  local planned, result, again = migration:plan(), migration:run(), migration:run()
  for i, step in ipairs(result.steps_applied) do
    assert(step.id == planned.steps_skipped[i].id and step.status == "applied")
    io.write(step.id, " ")
  end
  assert(#again.steps_applied == 0 and migration:status().check == "up-to-date")
  io.write(again.current_version_after)
]]

local function run(command)
  local result = process.run(command)
  assert.are.equal(0, result.status, result.out .. result.err)
  return result
end

-- What a run stores of itself: it differs from one to the next.
local OF_A_RUN = { startedAt = true, finishedAt = true, durationMs = true, run = true, host = true, fence = true, nonce = true,
  _createdAt = true, _updatedAt = true, at = true, user = true, _id = true }

local function without_times(value)
  if type(value) ~= "table" then return value end
  local kept = {}
  for name, inner in pairs(value) do
    if not OF_A_RUN[name] then kept[name] = without_times(inner) end
  end
  return kept
end

-- All that is in the database: the bytes of every document in the order of their ids, indexes and options of collections; of the
-- ledger what does not differ from run to run.
local function contents(name)
  local bson = require "smartmigration.bson"
  local database, found, documents = server.open(name), {}, 0
  for collection in database:list_collections() do
    local handle, here = database:collection(collection.name), { options = tostring(collection.options) }
    for index in handle:list_indexes() do here[#here + 1] = tostring(index) end
    table.sort(here)
    if collection.name == "SmartdataEasyStore" then
      here.ledger = without_times(bson.to_table(handle:find_one { nameId = "smartmigration:smartmigration" }))
    else
      for document in handle:find({}, { sort = { _id = 1 } }) do
        -- Flags are copied side by side: which shape stands first in its country is chance.
        local flags = document.flags and bson.to_bytes(bson.to_table(document.flags)) or ""
        document.flags = nil
        here[#here + 1] = bson.to_bytes(document) .. flags
        documents = documents + 1
      end
    end
    found[collection.name] = here
  end
  return found, documents
end

describe("the module in a stock lua5.4", function()
  local data
  setup(function()
    data = run({ "mktemp", "-d" }).out:gsub("%s+$", "") .. "/data"
    run { EXAMPLE .. "/sample", data }
  end)
  teardown(function()
    run { "rm", "-r", (data:gsub("/data$", "")) }
  end)

  it("refuses to run over a client that was closed, and to close one under a run", function()
    local path = migrations.folder { ["closed.lua"] = [[
      local uri, name = ...
      local client = require("smartmigration.mongo").connect(uri)
      local migration = require("smartmigration").new { target_from_chain = true, mongo = { database = client:database(name) } }
      local refused
      migration:step("only"):from("1.0.0"):to("1.1.0"):up(function() refused = select(2, pcall(client.close, client)) end)
      assert(migration:run().current_version_after == "1.1.0")
      client:close()
      local ok, failure = pcall(migration.run, migration)
      assert(not ok)
      migration:close()
      io.write(refused.message, "; ", failure.message) ]] }
    local result = run { "lua5.4", "-e", ("package.path, package.cpath = '', %q"):format(build.cpath), path .. "/closed.lua",
      server.uri, server.database() }
    migrations.clean()
    assert.equal("client is in use by a migration that runs: close it afterwards; the client of the migration's database is " ..
      "closed: keep it open as long as the migration", result.out)
  end)

  it("does likewise with an S3 client", function()
    local path = migrations.folder { ["closed.lua"] = [[
      local smartmigration = require "smartmigration"
      local endpoint, bucket = ...
      local client = require("smartmigration.s3").connect { endpoint = endpoint, bucket = bucket }
      local function new(up)
        local migration = smartmigration.new { target_from_chain = true, s3 = { client = client } }
        migration:step("only"):from("1.0.0"):to("1.1.0"):up(up)
        return migration
      end
      local refused
      local migration = new(function() refused = select(2, pcall(client.close, client)) end)
      assert(migration:run().current_version_after == "1.1.0")
      client:close()
      local ok, failure = pcall(migration.run, migration)
      assert(not ok)
      migration:close()
      io.write(refused.message, "; ", failure.message) ]] }
    local store = s3.shared()
    local bucket = store:bucket()
    local result = run { "lua5.4", "-e", ("package.path, package.cpath = '', %q"):format(build.cpath), path .. "/closed.lua",
      store.endpoint, bucket, env = store.env }
    migrations.clean()
    assert.equal("s3 client is in use by a migration that runs: close it afterwards; " ..
      "the s3 client of the migration is closed: keep it open as long as the migration", result.out)
  end)

  it("runs the example's chain as the binary does", function()
    local store = s3.shared()
    local by_module, by_binary = server.database(), server.database()
    local module_bucket, binary_bucket = by_module:gsub("_", "-"), by_binary:gsub("_", "-")
    run { EXAMPLE .. "/import", by_module, module_bucket, "--data", data }
    run { EXAMPLE .. "/import", by_binary, binary_bucket, "--data", data }
    local path = migrations.folder { ["chain.lua"] = CHAIN }
    local result = run { "lua5.4", "-e", ("package.path, package.cpath = '', %q"):format(build.cpath), path .. "/chain.lua",
      server.uri, by_module, EXAMPLE .. "/migrations", store.endpoint, module_bucket }
    migrations.clean()
    assert.are.equal("locations lists alternate-names currencies country-of-city capitals obsolete-fields flags old-flags 3.0.0",
      result.out)
    assert.are.equal("", result.err)
    run { build.binary, "run", "--dir", EXAMPLE .. "/migrations",
      env = { SMARTMIGRATION_MONGO_URI = server.uri, SMARTMIGRATION_MONGO_DB = by_binary,
        SMARTMIGRATION_S3_ENDPOINT = store.endpoint, SMARTMIGRATION_S3_BUCKET = binary_bucket } }
    local left, documents = contents(by_module)
    assert.is_true(documents > 1000)
    local expected = contents(by_binary)
    for collection, here in pairs(expected) do
      for i, bytes in ipairs(here) do
        assert.are.equal(bytes, left[collection] and left[collection][i], collection)
      end
    end
    assert.are.same(expected, left)
    run { EXAMPLE .. "/check", by_module, module_bucket, "--data", data }
    store:ask { "delete-bucket", module_bucket }
    store:ask { "delete-bucket", binary_bucket }
  end)
end)
