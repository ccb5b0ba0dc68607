-- Reports of the operator's commands: baseline, repair, unlock, checkpoint and history, for people, and the layouts of their
-- JSON documents. Input: the tables that the module's methods return. Pure. Users: the command line.
local durations = require "smartmigration.durations"
local json = require "smartmigration.report.json"
local text = require "smartmigration.text"

local report = {}

report.BASELINE = { { "version" }, { "former_version", null = true }, { "forced" }, { "removed" } }

function report.baseline(result)
  local lines = {}
  if result.former_version then
    lines[1] = ("The data is recorded to be at %s; it was recorded to be at %s."):format(result.version,
      text.escape(result.former_version))
  else
    lines[1] = ("The data is recorded to be at %s."):format(result.version)
  end
  for _, id in ipairs(result.removed) do
    lines[#lines + 1] = ("The record of step '%s', which leads above it, was removed."):format(text.escape(id))
  end
  return lines
end

report.REPAIR = { { "repair" }, { "step_id" }, { "former_version", null = true }, { "version", null = true } }

function report.repair(result)
  local id, version = text.escape(result.step_id), text.escape(result.version)
  local sentences = {
    ["mark-applied"] = ("Step '%s' counts as applied, without having run; the data is at %s."):format(id, version),
    ["mark-pending"] = ("Step '%s' counts as pending and runs again; the data is at %s."):format(id, version),
    ["accept-drift"] = ("The file of step '%s' is recorded as it is now."):format(id),
    ["rerun"] = ("Step '%s' ran once more in %s; the data is at %s."):format(id,
      durations.format(result.duration_ms or 0), version),
  }
  return { sentences[result.repair] }
end

report.UNLOCK = { { "unlocked" }, { "holder", null = true }, { "forced" }, { "fence" } }

function report.unlock(result)
  if not result.unlocked then
    return { "Nothing to do: nobody holds the lock." }
  end
  return { ("The lock is free; %s held it%s."):format(text.escape(result.holder),
    result.forced and " and was forced to give it up" or "") }
end

-- ------------------------------------------------------------------ checkpoints

report.CHECKPOINTS = { { "checkpoints", list = { { "step_id" }, { "key" }, { "size" }, { "value" } } } }
report.CLEARED = { { "cleared", list = { { "step_id" }, { "keys" } } } }

function report.checkpoints(result, step, style)
  local rows = {}
  for _, checkpoint in ipairs(result.checkpoints) do
    rows[#rows + 1] = { { checkpoint.step_id, "bold" }, checkpoint.key, ("%d bytes"):format(checkpoint.size),
      checkpoint.value ~= nil and json.line(checkpoint.value) or "" }
  end
  if #rows == 0 then
    return { step and ("Step '%s' has no checkpoints."):format(text.escape(step)) or "There are no checkpoints." }
  end
  return style:columns(rows)
end

function report.cleared(result)
  local lines = {}
  for i, step in ipairs(result.cleared) do
    lines[i] = ("%d checkpoint%s of step '%s' removed."):format(step.keys, step.keys == 1 and "" or "s",
      text.escape(step.step_id))
  end
  return #lines > 0 and lines or { "Nothing to do: there are no checkpoints." }
end

-- ---------------------------------------------------------------------- history

local STEP = {
  { "id" }, { "from_version" }, { "to_version" }, { "status" }, { "started_at" }, { "finished_at" }, { "duration_ms" },
  { "operations" }, { "documents", object = { { "inserted" }, { "matched" }, { "modified" }, { "deleted" } } }, { "error" },
}

report.HISTORY = { { "runs", list = {
  { "run" }, { "kind" }, { "status" }, { "command" }, { "from_version", null = true }, { "to_version" },
  { "target_version" }, { "started_at" }, { "finished_at" }, { "duration_ms" }, { "host" }, { "os_user" }, { "db_user" },
  { "engine" }, { "steps", list = STEP }, { "error" },
} } }
report.PRUNED = { { "removed" }, { "before" } }

local COLORS = { succeeded = "green", applied = "green", running = "cyan", failed = "red", interrupted = "yellow" }

-- What an operator asked for, in the command line's words.
local function command_of(run)
  local command = run.command or {}
  if run.kind == "baseline" then
    return ("baseline %s%s"):format(command.version, command.force and " --force" or "")
  elseif run.kind == "repair" then
    return ("repair --%s %s"):format(command.repair, command.step_id)
  elseif run.kind == "unlock" then
    return ("unlock %s%s"):format(command.forced and "--force " or "", command.holder)
  end
  return run.kind
end

local function documents(step)
  local parts = { ("%d operation%s"):format(step.operations, step.operations == 1 and "" or "s") }
  for _, what in ipairs { "inserted", "matched", "modified", "deleted" } do
    local count = step.documents[what]
    if count > 0 then
      parts[#parts + 1] = ("%d %s"):format(count, what)
    end
  end
  return table.concat(parts, ", ")
end

local function version(value)
  return type(value) == "string" and value or "none"
end

function report.history(result, style)
  local lines = {}
  for _, run in ipairs(result.runs) do
    local user = run.db_user ~= "" and run.os_user .. " as " .. run.db_user or run.os_user
    table.move(style:columns { { run.started_at, { run.status, COLORS[run.status] }, { command_of(run), "bold" },
      version(run.from_version) .. " -> " .. version(run.to_version),
      run.duration_ms and durations.format(run.duration_ms) or "", ("%s on %s"):format(user, run.host),
      run.error and { "error " .. run.error.code, "red" } or "" } }, 1, 1, #lines + 1, lines)
    local rows = {}
    for i, step in ipairs(run.steps or {}) do
      rows[i] = { "", { step.status, COLORS[step.status] }, step.id, step.from_version .. " -> " .. step.to_version,
        durations.format(step.duration_ms), documents(step),
        step.error and { "error " .. step.error.code, "red" } or "" }
    end
    table.move(style:columns(rows), 1, #rows, #lines + 1, lines)
  end
  return #lines > 0 and lines or { "Nothing has run yet." }
end

function report.pruned(result)
  return { ("%d entr%s from before %s removed."):format(result.removed, result.removed == 1 and "y" or "ies", result.before) }
end

return report
