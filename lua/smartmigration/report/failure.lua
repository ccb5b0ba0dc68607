-- What people read when a command failed: the error, where it came from, what was done before it, and the way on.
-- Input: { code, message, details, traceback, where, help, checkpoints (a list as the module returns it, nil: not known), again
-- (the command line that was given, secrets left out) }. Pure but for reading the file of an excerpt. Users: the command line.
local json = require "smartmigration.report.json"
local runs = require "smartmigration.report.run"
local text = require "smartmigration.text"

local failure = {}

local function shown_source(line)
  return text.escape((line:gsub("\t", "  ")))
end

-- Where in a line the mistake is, and how long it is: what Lua's message names, else the whole statement. Columns.
local function culprit(line, message)
  local name = message:match "near '(.-)'" or message:match "%(%l+ '([%w_]+)'%)" or message:match "variable '([%w_]+)'"
  local from, to = line:find(name or "", 1, true)
  if name and from and name ~= "" and not line:find(name, to + 1, true) then
    return text.width(shown_source(line:sub(1, from - 1))), text.width(shown_source(name))
  end
  local indent, statement = line:match "^(%s*)(.-)%s*$"
  return text.width(shown_source(indent)), math.max(1, text.width(shown_source(statement)))
end

-- The place where a step raised: file and line, three lines of source, and carets below the one that is meant. Nothing when the
-- file cannot be read.
local function excerpt(where, message, style)
  local path, at = (where or ""):match "^(.+):(%d+)$"
  local file = path and io.open(path, "r")
  if not file then
    return {}
  end
  local wanted, number = math.tointeger(at), 0
  local lines = { "", "  --> " .. style:paint("bold", text.escape(where)) }
  for line in file:lines() do
    number = number + 1
    if number >= wanted - 1 and number <= wanted + 1 then
      local shown = ("  %5d | %s"):format(number, shown_source(line))
      lines[#lines + 1] = style:paint(number == wanted and "bold" or "dim", shown)
    end
    if number == wanted then
      local indent, length = culprit(line, message)
      lines[#lines + 1] = "        | " .. (" "):rep(indent) .. style:paint("red", ("^"):rep(length))
    end
  end
  file:close()
  return #lines > 2 and lines or {}
end

local function append(lines, more)
  return table.move(more, 1, #more, #lines + 1, lines)
end

local function traceback_lines(traceback)
  local lines = {}
  for line in (traceback or ""):gmatch "[^\n]+" do
    if not line:find "^%s*%(%.%.%.tail calls%.%.%.%)$" then -- it tells nothing
      lines[#lines + 1] = "  " .. text.escape((line:gsub("\t", "  ")))
    end
  end
  return #lines > 1 and { "", table.unpack(lines) } or {} -- the first line is a title
end

local LONGEST_VALUE = 60

local function short(value)
  local shown = json.line(value)
  local cut = utf8.offset(shown, LONGEST_VALUE)
  return cut and cut < #shown and shown:sub(1, cut - 1) .. "..." or shown
end

-- What a step that did not get through meets when it runs again.
local function next_time(id, checkpoints)
  id = text.escape(id)
  if not checkpoints then
    return { ("'%s' runs again with the next run."):format(id) }
  elseif #checkpoints == 0 then
    return { ("'%s' runs again with the next run, from its beginning."):format(id) }
  end
  local lines = { ("'%s' runs again with the next run and finds the %d checkpoint%s it wrote:"):format(id, #checkpoints,
    #checkpoints == 1 and "" or "s") }
  for _, checkpoint in ipairs(checkpoints) do
    lines[#lines + 1] = ("  %s = %s"):format(text.escape(checkpoint.key), short(checkpoint.value))
  end
  return lines
end

-- Where the data stands after a run that ended early, and what to do.
local function way_on(fault, result)
  local details = fault.details
  local version = result.current_version_after
  local lines = { version and ("The data is at %s."):format(text.escape(version)) or "No version is recorded yet." }
  if details.step_id then
    append(lines, next_time(details.step_id, fault.checkpoints))
  end
  if fault.code == "STEP_FAILED" then
    lines[#lines + 1] = "Next: mend the step, then: " .. fault.again
  elseif fault.code == "LOCK_LOST" then
    lines[#lines + 1] = "Next: see who holds the lock: smartmigration-lua status"
  else
    lines[#lines + 1] = "Next: " .. fault.again
  end
  return lines
end

local WORDS = { STEP_FAILED = "failed", INTERRUPTED = "interrupted" }

local HINTS = {
  CONNECTION_FAILED = "check that the server runs, that the URI is right, and that nothing lies between",
  LEDGER_CHAIN_MISMATCH = "Next: smartmigration-lua validate, which names the command that puts each step right",
  LEDGER_IO = "Next: smartmigration-lua doctor, which says what is wrong with the store and what mends it",
  LOCK_TIMEOUT = "Next: see what it does: smartmigration-lua status; or wait longer: --lock-wait 30m, or forever",
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
    local at_load = details.line and ("%s:%d"):format(details.file, details.line)
    append(lines, excerpt(fault.where or at_load, fault.message, style))
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
