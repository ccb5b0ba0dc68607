-- The options that lua/api documents and those that the methods take are the same. It is asked of the methods themselves: each
-- name that is documented or that stands in a descriptor of the sources, one by one. An unknown option is refused before
-- anything is sent, and nothing listens where these clients would send what is not refused.
local api = require "spec.support.api"
local bson = require "smartmigration.bson"
local mongo = require "smartmigration.mongo"
local process = require "spec.support.process"
local s3 = require "smartmigration.s3"
local smartmigration = require "smartmigration"

-- Arguments that stand before the options, by name; `false` where a method has another idea of the name.
local ARGUMENTS = {
  filter = {}, update = { ["$set"] = { a = 1 } }, pipeline = {}, document = {}, documents = { {} }, keys = { a = 1 },
  models = { { insert_one = { document = {} } } }, name = "name", field = "f", fields = { a = 1 }, id = 1, source = "s",
    value = 1,
  version = "1.0.0", step = "s", index = "i", work = function() end, sink = function() end, key = "k", body = "b", tags = {},
  destination = "d", method = "GET", path = "p", next_chunk = function() end, items = {}, older_than_s = 1, prefix = "p",
  delimiter = "/",
}
local SPECIAL = {
  create_indexes = { { { keys = { a = 1 } } } }, to_table = { bson.doc { a = 1 } }, json = { bson.doc { a = 1 } },
  delete_many = { { "k" } },
}
local EXPLAINED = { find = {}, distinct = {}, update_many = {}, aggregate = bson.array {} }

-- Whether the call gets past the check of names with this option.
local function takes(call, handle, arguments, at, option)
  arguments[at] = { [option] = io.stdout } -- right for none
  local ok, raised
  if handle then
    ok, raised = pcall(call, handle, table.unpack(arguments, 1, at))
  else
    ok, raised = pcall(call, table.unpack(arguments, 1, at))
  end
  return ok or not tostring(raised):find "unknown option"
end

local function arguments_of(entry, owner)
  local arguments = {}
  for i, text in ipairs(entry.params) do
    arguments[i] = ARGUMENTS[api.reference.parse_field(text).name]
  end
  local special = SPECIAL[entry.name]
  if special and (entry.name ~= "delete_many" or owner == "s3_handle") then
    arguments[1] = special[1]
  end
  return arguments
end

-- The names in the sources' descriptors of options, so that one which nobody documented is asked for, too.
local function names_of_sources(into)
  local patterns = { "LMONGO_%u+%([%w_]+, ([%w_]+)", "EXPLAIN%(([%w_]+)", 'MODEL%("([%w_]+)"', '{"([%w_]+)", KIT_',
    '%.name = "([%w_]+)"',
    '([%w_]+) = "text"', '([%w_]+) = "string"', '([%w_]+) = "boolean"', '([%w_]+) = "integer"', '([%w_]+) = "table"',
    '([%w_]+) = "function"', '([%w_]+) = { "integer"' }
  local found = process.run { "sh", "-c",
    "cat bindings/mongo/*.[ch] bindings/bson/*.c lua/smartmigration/*.lua lua/smartmigration/*/*.lua" }
  for _, pattern in ipairs(patterns) do
    for name in found.out:gmatch(pattern) do into[name] = true end
  end
end

describe("options", function()
  local migration <const> = smartmigration.new { target_version = "1.0.0", offline = true }
  local client <const> = mongo.connect "mongodb://127.0.0.1:1/app?serverSelectionTimeoutMS=1&serverSelectionTryOnce=true"
  local store <const> = s3.connect { endpoint = "http://127.0.0.1:1", bucket = "nowhere", access_key_id = "a",
    secret_access_key = "b" }
  local collection <const> = client:database():collection "c"
  local every <const> = {}
  for _, class in pairs(api.classes) do
    if class.kind == "options" then api.options_of(class, every) end
  end
  names_of_sources(every)
  teardown(function()
    store:close()
    client:close()
    migration:close()
  end)

  -- Every method of `owner` on this handle: { name, documented options }; `but` is not for this handle.
  local function check(owner, handle, but)
    local tried = 0
    for _, entry in ipairs(api.entries) do
      local class, at = api.options_argument(entry.data)
      if entry.owner == owner and class then
        local call = handle[entry.data.name]
        local documented = api.options_of(class)
        if but then documented[but] = nil end
        for option in pairs(every) do
          tried = tried + 1
          local taken = false
          if owner == "collection" and entry.data.name == "explain" then
            for operation, filter in pairs(EXPLAINED) do
              taken = taken or takes(call, handle, { operation, filter }, at, option)
            end
          else
            taken = takes(call, handle ~= bson and handle, arguments_of(entry.data, owner), at, option)
          end
          assert.are.equal(documented[option] or false, taken, ("%s.%s and the option '%s'"):format(owner, entry.data.name,
            option))
        end
      end
    end
    assert.is_true(tried > 0, owner)
  end

  it("of MongoDB's handles", function()
    check("client", client)
    check("database", client:database())
    check("collection", collection)
    check("bulk_writer", collection:bulk_writer())
    check("gridfs", client:database():gridfs())
  end)

  it("of S3's handles", function()
    check("s3_handle", store)
    check("s3_handle", store:bucket(), "bucket")
    check("s3_client", store)
  end)

  it("of a migration", function()
    check("migration", migration)
  end)

  it("of bson", function()
    check("bson", bson)
  end)
end)
