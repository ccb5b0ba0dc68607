-- What specs of migrations share: folders of files, migrations over databases of their own, and the errors they raise.
local build = require "spec.support.build"
local process = require "spec.support.process"
local server = require "spec.support.server"
local smartmigration = require "smartmigration"

local migrations = {}

local folders = {}

-- A folder with files { name = text } and the sub-folders lib and _shared; `migrations.clean` removes it.
function migrations.folder(files)
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute(("mkdir -p '%s/lib' '%s/_shared'"):format(path, path)))
  folders[#folders + 1] = path
  for name, text in pairs(files) do
    local file <close> = assert(io.open(path .. "/" .. name, "wb"))
    file:write(text)
  end
  return path
end

-- For `teardown`.
function migrations.clean()
  for _, path in ipairs(folders) do
    os.execute("rm -rf '" .. path .. "'")
  end
  folders = {}
end

-- The text of a file that returns a step.
function migrations.text(id, from, to, body)
  return ("return { id = %q, from = %q, to = %q, up = function(ctx) %s end }"):format(id, from, to, body or "")
end

-- The ids of the chain, in order, as one string.
function migrations.ids(migration)
  local list = {}
  for i, step in ipairs(migration:steps()) do
    list[i] = step.id
  end
  return table.concat(list, " ")
end

-- The error object that the call raises.
function migrations.failure(call, ...)
  local ok, raised = pcall(call, ...)
  assert(not ok, "nothing was raised")
  assert(type(raised) == "userdata", tostring(raised))
  return raised
end

-- A migration that needs no server; `changes` are settings besides.
function migrations.offline(changes)
  local settings = { target_from_chain = true, offline = true }
  for name, value in pairs(changes or {}) do
    settings[name] = value
  end
  return smartmigration.new(settings)
end

-- A migration over a new database with one resumable step "only"; returns it, the lines of its log, its settings.
function migrations.with_step(up, changes)
  local lines = {}
  local settings = {
    target_version = "1.1.0", mongo = { uri = server.uri, database = server.database() },
    log = function(level, message, fields)
      lines[#lines + 1] = { level = level, message = message, fields = fields }
    end,
  }
  for name, value in pairs(changes or {}) do
    settings[name] = value
  end
  local migration = smartmigration.new(settings)
  migration:step("only"):from("1.0.0"):to("1.1.0"):resumable():up(up)
  return migration, lines, settings
end

-- Runs such a step; returns the lines of the log.
function migrations.run_step(up, changes)
  local migration <close>, lines = migrations.with_step(up, changes)
  migration:run()
  return lines
end

-- The error that such a run raises.
function migrations.step_failure(up, changes)
  local migration <close> = migrations.with_step(up, changes)
  return migrations.failure(migration.run, migration)
end

-- Runs a text in a stock lua5.4 that finds the module under test.
function migrations.lua(text, ...)
  return process.run { "lua5.4", "-e", ("package.cpath = %q .. ';' .. package.cpath"):format(build.cpath), "-e", text, ... }
end

return migrations
