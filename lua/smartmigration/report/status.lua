-- Reports of `status` and `validate` for people. Input: the tables that the module's methods return. Pure; users: the
-- command line.
local durations = require "smartmigration.durations"
local text = require "smartmigration.text"

local report = {}

local COLORS = { applied = "green", running = "cyan", failed = "red", interrupted = "yellow", pending = "dim", skipped = "dim" }

local function check_line(status, style)
  if status.check == "up-to-date" then
    return style:paint("green", "A run would have nothing to do.")
  elseif status.check == "pending" then
    local n = status.pending
    return style:paint("yellow", n == 0 and "A run would record the version."
      or ("%d step%s pending."):format(n, n == 1 and " is" or "s are"))
  end
  local problem = status.problem
  return style:paint("red", ("A run would be refused: %s (%s)"):format(text.escape(problem.message), problem.code))
end

local function lock_line(lock, style)
  if not lock then
    return "lock      free"
  end
  local state = lock.stale and style:paint("yellow", "stale") or style:paint("cyan", "live")
  return ("lock      %s, since %s, expires %s, held by\n          %s"):format(state,
    text.escape(lock.acquired_at or "unknown"), text.escape(lock.expires_at or "unknown"), text.escape(lock.holder))
end

local function notes(step)
  local list = {}
  if step.drift then
    list[#list + 1] = "file changed since"
  end
  if step.in_chain == false then
    list[#list + 1] = "not in the chain"
  end
  if step.checkpoints then
    list[#list + 1] = ("%d checkpoint%s"):format(step.checkpoints, step.checkpoints == 1 and "" or "s")
  end
  if step.attempts and step.attempts > 1 then
    list[#list + 1] = ("%d attempts"):format(step.attempts)
  end
  if step.error and step.error.code then
    list[#list + 1] = "error " .. tostring(step.error.code)
  end
  return table.concat(list, ", ")
end

function report.status(status, style)
  local lines = {
    "version   " .. style:paint("bold", text.escape(status.current_version or "none recorded")),
    "target    " .. text.escape(status.target_version),
    "ledger    " .. text.escape(status.ledger),
    lock_line(status.lock, style),
    "",
  }
  local rows = {}
  for _, step in ipairs(status.steps) do
    rows[#rows + 1] = {
      { step.status, COLORS[step.status] }, { step.id, "bold" },
      (step.from_version or "?") .. " -> " .. (step.to_version or "?"),
      step.finished_at or step.started_at or "", step.duration_ms and durations.format(step.duration_ms) or "",
      { notes(step), "yellow" }, step.description or "",
    }
  end
  table.move(style:columns(rows), 1, #rows, #lines + 1, lines)
  lines[#lines + 1] = ""
  lines[#lines + 1] = check_line(status, style)
  return lines
end

function report.validation(found, style)
  local lines = {}
  for _, drift in ipairs(found.drift or {}) do
    local id = text.escape(drift.id)
    lines[#lines + 1] = ("%s: %s was changed after it was applied; put the file back as it was%s, or accept it: "
      .. "smartmigration-lua repair --accept-drift '%s'"):format(style:paint("red", "drift"), id,
      drift.file and " (" .. text.escape(drift.file) .. ")" or "", id)
  end
  if #lines == 0 then
    lines[1] = ("%d step%s, chain %s -> %s is sound."):format(found.steps, found.steps == 1 and "" or "s",
      text.escape(found.from_version), text.escape(found.to_version))
  end
  return lines
end

return report
