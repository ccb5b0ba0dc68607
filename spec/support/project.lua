-- A throw-away project for one spec: a folder of migrations, a database, and the binary run over them.
--
--   local p <close> = project.new { ["0001-a.lua"] = project.step("a", "1.0.0", "1.1.0", "ctx.log:info 'here'") }
--   local result = p:run { "plan" }            -- the binary with --json; result.json is the parsed document
--   local child <close> = p:start { "run" }    -- a child process (spec.support.process)
--   p.db                                       -- a handle of the database from a client that is no part of what is under test
--   p:ledger()                                 -- the ledger's `data` as a plain table, or nil
--   p:set_ledger { currentVersion = "1.0.0" }  -- stores one
-- Options in the second table: database, dev (use the build with fault points), flags and env (for every command), uri.
local bson = require "smartmigration.bson"
local build = require "spec.support.build"
local json = require "dkjson"
local process = require "spec.support.process"
local schema = require "spec.support.schema"
local server = require "spec.support.server"

local project = {}
local Project = {}
Project.__index = Project

project.LEDGER = "SmartdataEasyStore"
project.NAME_ID = "smartmigration:smartmigration"

function project.step(id, from, to, body, fields)
  return ("return { id = %q, from = %q, to = %q, %s up = function(ctx)\n%s\nend }\n"):format(id, from, to, fields or "",
    body or "")
end

-- A chain of `n` files, 1.0.0 -> 1.0.<n>, whose bodies are made by `body(i)`.
function project.chain(n, body)
  local files = {}
  for i = 1, n do
    files[("%05d.lua"):format(i)] = project.step("step-" .. i, "1.0." .. i - 1, "1.0." .. i, body(i))
  end
  return files
end

function project.new(files, options)
  options = options or {}
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute(("mkdir -p '%s/migrations'"):format(folder)))
  local self = setmetatable({
    folder = folder, database = options.database or server.database(), flags = options.flags or {},
    env = options.env or {}, binary = options.dev and build.dev.binary or build.binary, uri = options.uri or server.uri,
  }, Project)
  self.db = options.uri and server.client(options.uri):database(self.database) or server.open(self.database)
  for name, text in pairs(files) do self:file(name, text) end
  return self
end

function Project:file(name, text)
  local file <close> = assert(io.open(self.folder .. "/migrations/" .. name, "wb"))
  file:write(text)
end

function Project:remove(name)
  assert(os.remove(self.folder .. "/migrations/" .. name))
end

-- The command's words, the settings as flags, and the process options of spec.support.process.
function Project:command(words)
  local command = { self.binary, cwd = self.folder, env = {}, limit = words.limit }
  for _, changes in ipairs { self.env, words.env } do
    for name, value in pairs(changes) do command.env[name] = value end
  end
  if words.prefix then
    for i, word in ipairs(words.prefix) do table.insert(command, i, word) end
  end
  for _, word in ipairs { "--json", "--mongo-uri", self.uri, "--mongo-db", self.database } do table.insert(command, word) end
  for _, word in ipairs(self.flags) do table.insert(command, word) end
  for _, word in ipairs(words) do table.insert(command, word) end
  return command
end

function Project:start(words)
  return process.start(self:command(words))
end

function project.parse(result)
  result.json = json.decode(result.out, 1, nil)
  return result
end

function Project:run(words)
  local result = project.parse(process.run(self:command(words)))
  if result.json then schema.check(schema.of(words, result.json), result.out) end
  return result
end

-- Runs and insists on success.
function Project:migrate(words)
  local result = self:run { "run", table.unpack(words or {}) }
  if result.status ~= 0 then error("run ended with " .. tostring(result.status) .. ":\n" .. result.out .. result.err, 2) end
  return result.json
end

function Project:document(name_id)
  return self.db:collection(project.LEDGER):find_one { nameId = name_id or project.NAME_ID }
end

function Project:ledger(name_id)
  local document = self:document(name_id)
  return document and bson.to_table(document.data)
end

function Project:set_ledger(data, name_id)
  self.db:collection(project.LEDGER):replace_one({ nameId = name_id or project.NAME_ID },
    { nameId = name_id or project.NAME_ID, data = data }, { upsert = true })
end

-- The oplog's entries for this database (of one collection, when given), newest last.
function Project:oplog(collection)
  local oplog = self.db:client():database("local"):collection "oplog.rs"
  local ns = collection and self.database .. "." .. collection or bson.regex("^" .. self.database .. "\\.")
  return oplog:find({ ["$or"] = { { ns = ns }, { ["o.applyOps.ns"] = ns } } }):all()
end

function Project:close()
  os.execute(("rm -rf '%s'"):format(self.folder))
end
Project.__close = Project.close

return project
