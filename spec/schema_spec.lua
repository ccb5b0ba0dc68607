-- docs/schemas: one closed schema for each command and one for failures. That the documents of all specs fit is checked where
-- they are made (spec/support/cli.lua, project.lua); here, that nothing else would.
local bson = require "smartmigration.bson"
local cli = require "spec.support.cli"
local dkjson = require "dkjson"
local process = require "spec.support.process"
local schema = require "spec.support.schema"
local server = require "spec.support.server"

local STEPS = [[
return {
  { id = "a", from = "1.0.0", to = "1.1.0", description = "First", up = function(ctx)
    ctx.mongo:collection("things"):insert_one { _id = 1 }
  end },
  { id = "b", from = "1.1.0", to = "1.2.0", resumable = true, up = function(ctx)
    ctx.checkpoint:write("at", { n = 1 })
    if ctx.mongo:collection("things"):count {} > 0 then ctx.mongo:collection("things"):insert_one { _id = 1 } end
  end },
  { id = "c", from = "1.2.0", to = "1.3.0", up = function() end },
}]]

local function database()
  return { SMARTMIGRATION_MONGO_URI = server.uri, SMARTMIGRATION_MONGO_DB = server.database() }
end

local function shell(place, command)
  local result = process.run { "sh", "-ec", command, cwd = place.folder }
  assert(result.status == 0, result.err)
end

-- Adds { schema, text } to `made` for each command line, after what the shell did before it.
local function collect(made, place, turns)
  for _, words in ipairs(turns) do
    if words.before then shell(place, words.before) end
    table.insert(words, "--json")
    local result = place:run(words)
    made[#made + 1] = { schema.of(words, result.json), result.out }
  end
end

-- Documents of every command, richer ones first.
local function documents()
  local made, env = {}, database()
  local here <close> = cli.place({ ["migrations/1.lua"] = STEPS }, { env = env })
  collect(made, here, {
    { "help" }, { "version", "--verbose" }, { "completion", "bash" }, { "completion", "steps" },
    { "plan" }, { "run" }, { "status" }, { "checkpoint", "show" },
    { "validate", before = "echo >> migrations/1.lua" }, { "status" }, { "repair", "--accept-drift", "a" },
    { "history" }, { "checkpoint", "clear" },
    { "baseline", "1.0.0", "--force" }, { "repair", "--mark-applied", "a" }, { "unlock" },
    { "status", "--target", "1.0.0" }, { "history", "--prune-older-than", "1h" }, { "run", "--target", "9.9.9" },
    { "doctor", "--mongo-uri", (server.uri:gsub("//", "//nobody:no-word@", 1)) },
  })

  env = database()
  local other <close> = cli.place({}, { env = env })
  server.open(env.SMARTMIGRATION_MONGO_DB):collection("changelog"):insert_one {
    fileName = "lowercase-emails.js", appliedAt = bson.now(),
  }
  collect(made, other, {
    { "init" }, { "new", "second" }, { "init" }, { "import-ledger", "--from", "migrate-mongo" }, { "history" },
    -- One step renamed and the chain broken, with a record of its former name.
    { "validate", "--base", "HEAD", before = "git init -q && git add . && git -c user.name=a -c user.email=a@b commit -qm a"
      .. " && sed -i s/lowercase-emails/renamed/ migrations/0001-*" },
    { "validate", "--base", "HEAD", before = "sed -i 's/1[.]1[.]0/1.2.0/' migrations/0001-*" },
  })
  return made
end

-- What is as others made it, so that any name goes.
local OPEN = { cause = true, value = true, reply = true }

-- Calls visit(rename) for each name in the document; rename() gives the document's text with that name changed.
local function each_name(document, visit)
  local function walk(node)
    local names = {}
    for name in pairs(node) do
      if type(name) == "string" then names[#names + 1] = name end
    end
    table.sort(names)
    for _, name in ipairs(names) do
      local value = node[name]
      node[name], node[name .. "x"] = nil, value
      visit(name, dkjson.encode(document))
      node[name], node[name .. "x"] = value, nil
    end
    for name, value in pairs(node) do
      if type(value) == "table" and value ~= dkjson.null and not OPEN[name] then walk(value) end
    end
  end
  walk(document)
end

describe("the schemas", function()
  it("refuse every renamed field of every command's document", function()
    local seen, fields = {}, {}
    for _, made in ipairs(documents()) do
      local name, text = table.unpack(made)
      assert.is_nil(schema.problem(name, text))
      local count = 0
      each_name(dkjson.decode(text, 1, dkjson.null), function(field, changed)
        assert.is_truthy(schema.problem(name, changed), ("%s.json takes '%sx': %s"):format(name, field, changed))
        count, fields[field] = count + 1, true
      end)
      seen[name] = (seen[name] or 0) + count
    end
    for name in schema.names:gmatch "[%l-]+" do
      assert.is_true((seen[name] or 0) > 0, "no document was made for " .. name)
    end
    assert.is_true(seen.run > 40 and seen.status > 20 and seen.history > 40)
    for _, field in ipairs { "renamedTo", "problem", "recordedFrom", "wayOut", "appliedAt", "traceback", "kept" } do
      assert.is_true(fields[field], "no document had the field " .. field)
    end
  end)

  it("are there for every command", function()
    schema.of({}, {})
    for _, command in ipairs(cli.commands) do
      assert.is_truthy((", " .. schema.names .. ","):find(", " .. command.name .. ",", 1, true), command.name)
    end
  end)

  it("that are not closed are not taken", function()
    local folder = process.run({ "mktemp", "-d" }).out:match "%S+"
    local file = assert(io.open(folder .. "/x.json", "w"))
    file:write '{"type": "object", "properties": {"a": {"type": "object"}}, "additionalProperties": false}'
    file:close()
    local result = process.run { "python3", "spec/support/schema.py", folder }
    process.run { "rm", "-r", folder }
    assert.are.equal(1, result.status)
    assert.is_truthy(result.err:find("x.json: the object at a is not closed", 1, true), result.err)
  end)
end)
