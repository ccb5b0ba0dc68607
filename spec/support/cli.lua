-- The binary under test, in a folder of its own: for the specs of the command line.
--
--   local place <close> = cli.place { ["migrations/0001-a.lua"] = "return …" }   -- a working folder with files
--   local result = place:run { "plan", "--json", env = { NAME = "value" } }  -- { status, signal, out, err, ms, json }
--   local child = place:start { "run" }                                          -- a child of spec.support.process
--   for _, command in ipairs(cli.commands) do … end              -- what the sources define: name, summary, …
--
-- SMARTMIGRATION_BIN names another binary than the build's. `json` is the parsed stdout where --json was asked for;
-- that it is exactly one document, and that it is as docs/schemas says, is checked here.
local build = require "spec.support.build"
local dkjson = require "dkjson"
local process = require "spec.support.process"
local schema = require "spec.support.schema"

local cli = { null = dkjson.null, commands = dofile(build.root .. "/lua/smartmigration/cli/commands.lua") }

cli.binary = os.getenv "SMARTMIGRATION_BIN" or build.binary

local Place = {}
Place.__index = Place

local function shell(...)
  assert(process.run({ ... }).status == 0)
end

function Place:write(name, content)
  local path = self.folder .. "/" .. name
  shell("mkdir", "-p", path:match "^(.*)/")
  local file <close> = assert(io.open(path, "wb"))
  file:write(content)
  return path
end

function Place:command(words)
  local command = { cli.binary, table.unpack(words) }
  command.cwd, command.stdin, command.limit, command.leaks = self.folder, words.stdin or "", words.limit, words.leaks
  command.env = { NO_COLOR = false }
  for name, value in pairs(self.env) do
    command.env[name] = value
  end
  for name, value in pairs(words.env or {}) do
    command.env[name] = value
  end
  return command
end

function cli.parse(text)
  local value, after, problem = dkjson.decode(text, 1, dkjson.null, nil, nil)
  assert(value ~= nil, ("no JSON on stdout: %s\n%s"):format(problem, text))
  assert(text:sub(after) == "\n", "more than one JSON document on stdout: " .. text)
  return value
end

local function with_json(words, result)
  for _, word in ipairs(words) do
    if word == "--json" then
      result.json = cli.parse(result.out)
      schema.check(schema.of(words, result.json), result.out)
    end
  end
  return result
end

function Place:run(words)
  return with_json(words, process.run(self:command(words)))
end

function Place:start(words)
  return process.start(self:command(words))
end

function Place:close()
  shell("rm", "-rf", self.folder)
end

Place.__close = Place.close

-- options: env, for each call.
function cli.place(files, options)
  local folder = process.run({ "mktemp", "-d" }).out:match "%S+"
  local place = setmetatable({ folder = folder, env = options and options.env or {} }, Place)
  for name, content in pairs(files) do
    place:write(name, content)
  end
  return place
end

return cli
