-- What an operator does with a migration: the methods baseline, repair, import_ledger, unlock, checkpoints,
-- clear_checkpoints, history,
-- doctor.
--
-- They take the lock as a run does (lock.wait_ms); doctor, the history and looking at checkpoints do not. Users: init.lua.
-- Errors: INVALID_OPTIONS for wrong arguments and for what the ledger does not permit (details.reason), LOCK_TIMEOUT,
-- STEP_FAILED (repair with rerun), and those of every command that reaches the ledger.
local core = require "smartmigration.core"

local operations = {}

local KINDS = {
  mark_applied = "mark-applied", mark_pending = "mark-pending", accept_drift = "accept-drift", rerun = "rerun",
}

local function refuse(format, ...)
  core.raise("INVALID_OPTIONS", format:format(...))
end

local function check_text(value, what)
  if type(value) ~= "string" or value == "" or value:find("\0", 1, true) or not utf8.len(value) then
    refuse("%s must be a string, not %s", what, value == "" and "an empty one" or "a " .. type(value))
  end
  return value
end

-- Checks an options table: every name is known and of its type. `known`: { name = type }.
local function check_options(settings, method, known)
  if settings == nil then
    return {}
  elseif type(settings) ~= "table" then
    refuse("options of %s must be a table, not a %s", method, type(settings))
  end
  local names = {}
  for name in pairs(known) do
    names[#names + 1] = name
  end
  for name, value in pairs(settings) do
    local wanted = known[name]
    if not wanted then
      local near = core.suggest(tostring(name), names)
      refuse("unknown option '%s' for %s%s", tostring(name), method, near and (" (did you mean '%s'?)"):format(near) or "")
    elseif wanted == "string" then
      check_text(value, ("option '%s'"):format(name))
    elseif wanted == "integer" and math.type(value) ~= "integer" or wanted ~= "integer" and type(value) ~= wanted then
      refuse("option '%s' must be of type %s, not %s", name, wanted, math.type(value) or type(value))
    end
  end
  return settings
end

-- Adds the methods to the class; `ready(migration)` is its engine when the chain is whole, `steps(migration)` the chain with the
-- files of its steps.
function operations.add(Migration, ready, steps)
  -- Records that the data is at `version`; { force = true } over a version that is recorded.
  function Migration:baseline(version, settings)
    local force = check_options(settings, "baseline", { force = "boolean" }).force
    return ready(self):baseline(check_text(version, "the version of baseline"), force)
  end

  -- Corrects the record of one step: { mark_applied = id }, { mark_pending = id }, { accept_drift = id } or { rerun = id }.
  function Migration:repair(settings)
    local known = {}
    for name in pairs(KINDS) do
      known[name] = "string"
    end
    check_options(settings, "repair", known)
    local name, id = next(settings or {})
    if not name or next(settings, name) then
      refuse "repair takes one of mark_applied, mark_pending, accept_drift and rerun, with a step's id"
    end
    return ready(self):repair(KINDS[name], id)
  end

  -- Begins a ledger with what another tool has applied: { from = "migrate-mongo", collection = "changelog", dry_run = true,
  -- map = { ["20200101000000-a.js"] = id } }.
  function Migration:import_ledger(settings)
    check_options(settings, "import_ledger", { from = "string", collection = "string", map = "table", dry_run = "boolean" })
    return require("smartmigration.import_ledger").run(ready(self), steps(self), self.state.mongo, settings or {})
  end

  -- Frees a stale lock; { force = holder }: that holder's, although it is live.
  function Migration:unlock(settings)
    return self.engine:unlock(check_options(settings, "unlock", { force = "string" }).force)
  end

  -- The checkpoints of a step (nil: of all); { values = true } with their values.
  function Migration:checkpoints(step, settings)
    local values = check_options(settings, "checkpoints", { values = "boolean" }).values
    return self.engine:checkpoints(step and check_text(step, "the step of checkpoints"), values)
  end

  -- Removes the checkpoints of a step (nil: of all).
  function Migration:clear_checkpoints(step)
    return self.engine:clear_checkpoints(step and check_text(step, "the step of clear_checkpoints"))
  end

  -- What ran, newest first; { prune_older_than_ms = n } removes what began longer ago, and tells how many that were.
  function Migration:history(settings)
    local age = check_options(settings, "history", { prune_older_than_ms = "integer" }).prune_older_than_ms
    if age then
      return self.engine:prune_history(age)
    end
    return self.engine:history()
  end

  -- What is wrong with the stores, and how to mend it; { files = paths } are looked at, too, whether everybody can read secrets
  -- in them.
  function Migration:doctor(settings)
    local files = check_options(settings, "doctor", { files = "table" }).files or {}
    for _, path in ipairs(files) do
      check_text(path, "a path in option 'files'")
    end
    return require("smartmigration.doctor").run(self.engine, self.state, files)
  end
end

return operations
