-- Reports of `plan` and `run` for people. Input: the tables that the module's methods return. Pure.
-- Users: the command line, the report of failures.
local durations = require "smartmigration.durations"
local text = require "smartmigration.text"

local report = {}

local function versions(step)
  return step.from_version .. " -> " .. step.to_version
end

local function counted(n, word)
  return ("%d %s%s"):format(n, word, n == 1 and "" or "s")
end

local function standing(result)
  local before = result.current_version_before
  if before then
    return ("The data is at %s, the target is %s."):format(text.escape(before), text.escape(result.target_version))
  end
  return ("No version is recorded, the target is %s."):format(text.escape(result.target_version))
end

-- How a version came to be taken where none was recorded.
local function bootstrap(result, first, verb)
  if result.bootstrap_mode == "fresh-install-version" then
    return ("Fresh install: nothing is there yet, the data %s born with its version."):format(verb)
  elseif result.bootstrap_mode == "chain-start" and first then
    return ("The data %s taken to be at %s, where the chain starts."):format(verb, text.escape(first.from_version))
  end
end

local function nothing_to_do(result)
  local after = text.escape(result.current_version_after or result.current_version_before)
  local target = text.escape(result.target_version)
  if after == target then
    return ("Nothing to do: the data is at %s."):format(after)
  end
  return ("Nothing to do: the data is at %s, newer than the target %s and compatible with it."):format(after, target)
end

-- `descriptions`: { [step id] = text }.
function report.plan(result, descriptions, style)
  local steps = result.steps_skipped
  if #steps == 0 and not result.was_fresh_install then
    return { nothing_to_do(result) }
  end
  local lines = { standing(result) }
  lines[#lines + 1] = bootstrap(result, steps[1], "is")
  if #steps > 0 then
    local rows = {}
    for _, step in ipairs(steps) do
      local mark = step.skip_forward and { "skip-forward", "yellow" } or ""
      rows[#rows + 1] = { { step.id, "bold" }, versions(step), mark, descriptions[step.id] or "" }
    end
    lines[#lines + 1] = ""
    table.move(style:columns(rows), 1, #rows, #lines + 1, lines)
    lines[#lines + 1] = ""
  end
  lines[#lines + 1] = ("%s to run; the version after: %s"):format(counted(#steps, "step"),
    text.escape(result.current_version_after))
  return lines
end

-- A run that went well.
function report.run(result, style)
  local steps = result.steps_applied
  if #steps == 0 then
    if result.was_fresh_install then
      local recorded = ("Recorded version %s."):format(text.escape(result.current_version_after))
      return { bootstrap(result, nil, "was"), recorded }
    end
    return { nothing_to_do(result) }
  end
  local rows = {}
  for _, step in ipairs(steps) do
    local mark = step.skip_forward and { "skip-forward", "yellow" } or ""
    rows[#rows + 1] = { { "applied", "green" }, { step.id, "bold" }, versions(step),
      durations.format(step.duration_ms), mark }
  end
  local lines = style:columns(rows)
  lines[#lines + 1] = ""
  lines[#lines + 1] = ("%s applied in %s: %s -> %s"):format(counted(#steps, "step"),
    durations.format(result.total_duration_ms), text.escape(result.current_version_before or steps[1].from_version),
    text.escape(result.current_version_after))
  return lines
end

-- Rows of a run that failed, for the report of failures: what was applied, the step it ended in, what was not run.
function report.stopped_rows(result, stopped_in, word)
  local rows = {}
  for _, step in ipairs(result.steps_applied) do
    rows[#rows + 1] = { { "applied", "green" }, { step.id, "bold" }, versions(step),
      durations.format(step.duration_ms) }
  end
  if stopped_in then
    rows[#rows + 1] = { { word, "red" }, { stopped_in.step_id, "bold" }, versions(stopped_in) }
  end
  for _, step in ipairs(result.steps_not_run or {}) do
    rows[#rows + 1] = { { "not run", "dim" }, { step.id, "bold" }, versions(step) }
  end
  return rows
end

return report
