-- What people read when a command failed: the error, where it came from, what was done before it, and the way on.
-- Input: { code, message, details, traceback, where, help, checkpoints }. Pure but for reading the file of an
-- excerpt. Users: the command line.
local runs = require "smartmigration.report.run"
local text = require "smartmigration.text"

local failure = {}

-- Three lines around the place where a step raised, with a mark. Nothing when the file cannot be read.
local function excerpt(where, style)
  local path, at = (where or ""):match "^(.+):(%d+)$"
  local file = path and io.open(path, "r")
  if not file then
    return {}
  end
  local wanted, number, lines = math.tointeger(at), 0, {}
  for line in file:lines() do
    number = number + 1
    if number >= wanted - 1 and number <= wanted + 1 then
      local mark = number == wanted and ">" or " "
      local shown = ("  %s %4d | %s"):format(mark, number, text.escape((line:gsub("\t", "  "))))
      lines[#lines + 1] = style:paint(number == wanted and "bold" or "dim", shown)
    end
  end
  file:close()
  return #lines > 0 and { "", table.unpack(lines) } or {}
end

local function append(lines, more)
  return table.move(more, 1, #more, #lines + 1, lines)
end

local function traceback_lines(traceback)
  local lines = {}
  for line in (traceback or ""):gmatch "[^\n]+" do
    lines[#lines + 1] = "  " .. text.escape((line:gsub("\t", "  ")))
  end
  return #lines > 1 and { "", table.unpack(lines) } or {} -- the first line is a title
end

-- What a step that did not get through meets when it runs again. `checkpoints`: how many it left, nil when nobody knows.
local function next_time(id, checkpoints)
  local from = ""
  if checkpoints == 0 then
    from = ", from its beginning"
  elseif checkpoints then
    from = (" and finds the %d checkpoint%s it wrote"):format(checkpoints, checkpoints == 1 and "" or "s")
  end
  return ("'%s' runs again with the next run%s."):format(text.escape(id), from)
end

-- Where the data stands after a run that ended early, and what to do.
local function way_on(fault, result)
  local details = fault.details
  local version = result.current_version_after
  local lines = { version and ("The data is at %s."):format(text.escape(version)) or "No version is recorded yet." }
  if details.step_id then
    lines[#lines + 1] = next_time(details.step_id, fault.checkpoints)
  end
  if fault.code == "STEP_FAILED" then
    lines[#lines + 1] = "Next: mend the step, then: smartmigration-lua run"
  elseif fault.code == "LOCK_LOST" then
    lines[#lines + 1] = "Next: see who holds the lock: smartmigration-lua status"
  else
    lines[#lines + 1] = "Next: smartmigration-lua run"
  end
  return lines
end

local WORDS = { STEP_FAILED = "failed", INTERRUPTED = "interrupted" }

local HINTS = {
  CONNECTION_FAILED = "check that the server runs, that the URI is right, and that nothing lies between",
  NO_RESOURCES = "give --mongo-uri, SMARTMIGRATION_MONGO_URI or mongo.uri in smartmigration.config.lua",
}

function failure.lines(fault, style)
  local details = fault.details
  local code = text.escape(fault.code)
  if fault.code == "STEP_FAILED" and fault.cause_code and fault.cause_code ~= "SCRIPT_ERROR" then
    code = code .. ": " .. text.escape(fault.cause_code)
  end
  local lines = { ("%s %s (%s)"):format(style:paint("red", "error:"), text.escape(fault.message), code) }
  if fault.code == "STEP_FAILED" or fault.code == "STEP_LOAD_FAILED" then
    append(lines, excerpt(fault.where, style))
    append(lines, traceback_lines(fault.traceback))
  end
  local result = details.result
  if type(result) == "table" and result.steps_applied then
    lines[#lines + 1] = ""
    append(lines, style:columns(runs.stopped_rows(result, details.step_id and details, WORDS[fault.code] or "stopped")))
    lines[#lines + 1] = ""
    append(lines, way_on(fault, result))
  elseif details.help or fault.help then
    lines[#lines + 1] = ("try '%s'"):format(text.escape(details.help or fault.help))
  elseif HINTS[fault.code] then
    lines[#lines + 1] = HINTS[fault.code]
  end
  return lines
end

return failure
