-- smartmigration: versioned migrations of data in MongoDB and S3, as a Lua module. Makes no global; nothing connects in require.
--
--   local smartmigration = require "smartmigration"
--   local migration <close> = smartmigration.new { target_version = "1.1.0", mongo = { uri = uri } }
--   migration:step("lowercase-emails"):from("1.0.0"):to("1.1.0"):up(function(ctx) … end)
--   local result = migration:run()
--
-- Every failure raises the error object (code, message, details, …); nothing returns nil, err. Users: embedding
-- programs and the command line. One thread; a migration is not used by its own steps, but for cancel.
local builder = require "smartmigration.builder"
local core = require "smartmigration.core"
local loader = require "smartmigration.loader"
local operations = require "smartmigration.operations"
local options = require "smartmigration.options"
local strict = require "smartmigration.strict"

local smartmigration = { version = core.version.smartmigration, codes = core.codes }

local Migration = {}

-- ------------------------------------------------------------------- the chain

-- Appends a step. `source` is what the loader knows of the file it stands in: { file =, checksum = }.
local function append(migration, step)
  local state = migration.state
  if type(step) ~= "table" then
    core.raise("STEP_LOAD_FAILED", ("a step must be a table, not a %s"):format(type(step)))
  end
  local source = state.source
  migration.engine:add_step(step, source and source.file, source and source.checksum)
  state.steps[#state.steps + 1] = step
  state.sources[#state.steps] = source
end

-- Adds a step that is a table: { id =, from =, to =, description =, compatible_from =, resumable =, up = }.
function Migration:add(step)
  append(self, step)
  return self
end

-- Begins a step; its `up` ends it and returns the migration.
function Migration:step(id)
  return builder.new(self, id, append)
end

-- Adds the steps of a folder of migration files, in natural order of their names. After a failure the chain is not
-- whole, so the migration refuses to be used.
function Migration:load(folder)
  local state = self.state
  local source = state.source -- of the file that calls, if one does
  local ok, failure = pcall(loader.load, self, folder, append)
  state.source, state.folder = source, state.folder or folder
  if not ok then
    state.failure = failure
    error(failure, 0)
  end
  return self
end

-- The chain as it was given: a list of { id, from, to, description }.
function Migration:steps()
  local list = {}
  for i, step in ipairs(self.state.steps) do
    list[i] = { id = step.id, from = step.from, to = step.to, description = step.description }
  end
  return list
end

-- The engine, when the chain is whole.
local function ready(migration)
  local state = migration.state
  if state.failure then
    error(state.failure, 0)
  end
  local _, unfinished = next(state.unfinished)
  if unfinished then
    core.raise("INVALID_STEP_HANDLER", builder.unfinished_text(unfinished), { step_id = tostring(unfinished.step.id) })
  end
  return migration.engine
end

-- ------------------------------------------------------------------ what it does

-- The steps with what is known of their files: a list of { id, from, to, file, checksum }.
local function with_sources(migration)
  local list = migration:steps()
  for i, step in ipairs(list) do
    local source = migration.state.sources[i] or {}
    step.file, step.checksum = source.file, source.checksum
  end
  return list
end

local function validate(migration)
  local engine = ready(migration)
  if migration.state.offline then
    engine:validate_chain()
    return { steps = #migration.state.steps, drift = {} }
  end
  return engine:validate()
end

-- The same besides the findings against a git ref. Where there are any, what else is wrong is told as `problem`: it may
-- follow of them.
local function validate_with_base(migration, ref)
  local folder = migration.state.folder or core.raise("INVALID_OPTIONS", "validate compares a folder of migration files with a "
    .. "base, and none was loaded")
  local findings, base = require("smartmigration.base").check(folder, with_sources(migration), ref, function(other)
    local former <close> = smartmigration.new { offline = true, target_from_chain = true, migrations = other }
    return with_sources(former)
  end)
  local ok, found = pcall(validate, migration)
  if not ok and (#findings == 0 or type(found) ~= "userdata") then
    error(found, 0)
  elseif not ok then
    found = { steps = #migration.state.steps, drift = {}, problem = { code = found.code, message = found.message } }
  end
  found.base = base
  table.move(findings, 1, #findings, #found.drift + 1, found.drift)
  return found
end

-- Checks the chain, and chain and checksums against the ledger: { steps, current_version, drift }. With the option
-- `offline` the chain alone: { steps, drift = {} }. `{ base = ref }` compares the folder with what it was at a git ref besides:
-- { base = { ref, commit, steps } }, and `problem` where something else is wrong, too.
function Migration:validate(settings)
  local ref = options.read_validate(settings)
  ready(self)
  return ref and validate_with_base(self, ref) or validate(self)
end

-- What run would do. Writes nothing.
function Migration:plan()
  return ready(self):plan()
end

-- Migrates to the target version. `{ dry_run = true }` is plan.
function Migration:run(settings)
  local dry_run = options.read_run(settings)
  return dry_run and self:plan() or ready(self):run()
end

-- Version, lock and steps, for a person or a probe. Needs read rights only.
function Migration:status()
  return ready(self):status()
end

operations.add(Migration, ready, with_sources)

-- Asks a run to stop; `reason` is a signal's number. The one method that a step or a logger may call.
function Migration:cancel(reason)
  self.engine:cancel(reason)
end

-- Closes what the migration opened. Idempotent.
function Migration:close()
  self.engine:close()
end

-- --------------------------------------------------------------------- objects

strict.called_with_colon("smartmigration.migration", Migration, "m")

local meta = {
  __name = "smartmigration.migration",
  __metatable = "smartmigration.migration",
  __index = strict.index("migration", Migration),
  __newindex = strict.newindex "migration",
  __close = function(self)
    self:close()
  end,
  __tostring = function(self)
    return tostring(self.engine)
  end,
}

-- A migration. What the settings mean, their defaults and their codes: docs/configuration.md.
--   target_version (or target_from_chain = true), mongo = { uri =, database = name or an open database handle },
--   s3 = { bucket =, endpoint =, region =, … } or { client = an open client, bucket = }, s3_lock,
--   ledger = { backend =, name =, id = }, lock = { ttl_ms =, wait_ms = }, fresh_install_version, fresh_scope,
--   target_version_strategy, newer_ledger, unversioned_data, stop_timeout_ms, offline, migrations = folder,
--   log = function(level, message, fields)
function smartmigration.new(settings)
  if settings == smartmigration then
    core.raise_argument "write smartmigration.new { ... } with a dot"
  end
  local flat, folder = options.flatten(settings)
  local migration = setmetatable({
    engine = core.engine(flat),
    state = {
      steps = {}, sources = {}, unfinished = {}, log = flat.log, offline = flat.offline,
      mongo = { uri = flat.mongo_uri, name = flat.mongo_database, database = flat.mongo },
      s3 = settings.s3 or {},
    },
  }, meta)
  if folder then
    migration:load(folder)
  end
  return migration
end

return smartmigration
