-- A throw-away project whose data and ledger are in S3 alone: a folder of migrations, a bucket, and the binary run over them.
--
--   local p <close> = s3_project.new({ ["1.lua"] = project.step(…) }, { flags = …, env = …, dev = true, proxy = proxy })
--   p:run { "plan" }, p:start { "run" }, p:command { "run" }, p:migrate()      as of spec.support.project
--   p:file(name, text)                   writes a migration
--   p:ledger(), p:set_ledger(json)       the ledger's data as a plain table, or nil; stores one
--   p:keys(prefix), p:empty()            what the bucket holds; takes it away
-- With `proxy` (spec.support.s3_proxy) the program goes by way of it; what is looked at here never does. `store`: a server of the
-- spec's own (spec.support.s3) in place of the shared one.
local build = require "spec.support.build"
local json = require "spec.support.json"
local process = require "spec.support.process"
local project = require "spec.support.project"
local s3 = require "spec.support.s3"

local s3_project = { KEY = ".smartmigration/smartmigration.json" }
local Project = {}
Project.__index = Project

function s3_project.new(files, options)
  options = options or {}
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute(("mkdir -p '%s/migrations'"):format(folder)))
  local store = options.store or s3.shared()
  local self = setmetatable({
    folder = folder, store = store, bucket = store:bucket(), flags = options.flags or {},
    endpoint = options.proxy and options.proxy.endpoint or store.endpoint, env = options.env or {},
    binary = options.dev and build.dev.binary or build.binary,
  }, Project)
  for name, text in pairs(files) do self:file(name, text) end
  return self
end

function Project:file(name, text)
  local file <close> = assert(io.open(self.folder .. "/migrations/" .. name, "wb"))
  file:write(text)
end

function Project:command(words)
  local command = { self.binary, cwd = self.folder, env = {}, limit = words.limit }
  for _, changes in ipairs { self.store.env, self.env, words.env or {} } do
    for name, value in pairs(changes) do command.env[name] = value end
  end
  for _, list in ipairs { { "--json", "--s3-bucket", self.bucket, "--s3-endpoint", self.endpoint }, self.flags, words } do
    for _, word in ipairs(list) do table.insert(command, word) end
  end
  return command
end

function Project:start(words)
  return process.start(self:command(words))
end

function Project:run(words)
  return project.parse(process.run(self:command(words)))
end

function Project:migrate()
  local result = self:run { "run" }
  if result.status ~= 0 then error("run ended with " .. tostring(result.status) .. ":\n" .. result.out .. result.err, 2) end
  return result.json
end

function Project:ledger()
  local text = self.store:get(self.bucket, s3_project.KEY)
  return text and json.plain(text)
end

function Project:set_ledger(text)
  assert(self.store:put(self.bucket, s3_project.KEY, text))
end

function Project:keys(prefix)
  return self.store:keys(self.bucket, prefix)
end

function Project:empty()
  for _, key in ipairs(self:keys()) do self.store:delete(self.bucket, key) end
end

function Project:close()
  os.execute(("rm -rf '%s'"):format(self.folder))
end
Project.__close = Project.close

return s3_project
