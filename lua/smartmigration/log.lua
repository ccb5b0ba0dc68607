-- The default loggers of the binary: text or JSON lines to stderr. A logger is a function (level, message, fields).
--
-- Lines come from the engine, from steps (ctx.log) and from the command line; secrets were cut out before. Progress
-- (lines with a field `done`, from ctx:progress) is thinned out. Users: the command line. Nothing is raised.
local bson = require "smartmigration.bson"
local text = require "smartmigration.text"

local log = {}

local RANK = { debug = 1, info = 2, warn = 3, error = 4 }
local COLORS = { debug = "dim", warn = "yellow", error = "red" }
local PROGRESS_EVERY_MS = 5000

local function sorted_keys(fields)
  local keys = {}
  for key in pairs(fields) do
    keys[#keys + 1] = tostring(key)
  end
  table.sort(keys)
  return keys
end

-- `key=value`, quoted where blanks would make it ambiguous.
local function field_text(key, value)
  if type(value) == "table" then
    value = require("smartmigration.report.json").line(value)
  end
  local escaped = text.escape(value)
  if escaped == "" or escaped:find "[%s\"=]" then
    escaped = ('"%s"'):format(escaped:gsub('"', '\\"'))
  end
  return text.escape(key) .. "=" .. escaped
end

-- "step 'a': 30 of 100 (30 %)"
local function progress_text(fields)
  local done, total = fields.done, fields.total
  local of = total and (" of %s"):format(total) or ""
  local percent = total and total > 0 and (" (%d %%)"):format(done * 100 // total) or ""
  return ("step '%s': %s%s%s"):format(fields.step, done, of, percent)
end

local function text_line(style, now, level, message, fields)
  local parts = { now, style:paint(COLORS[level], ("%-5s"):format(level)), text.escape(message) }
  for _, key in ipairs(sorted_keys(fields)) do
    parts[#parts + 1] = style:paint("dim", field_text(key, fields[key]))
  end
  return table.concat(parts, " ")
end

local function json_line(now, level, message, fields)
  local line = { time = now, level = level, message = message }
  for key, value in pairs(fields) do
    line[line[key] == nil and key or "field_" .. key] = value
  end
  return require("smartmigration.report.json").line(line, { { "time" }, { "level" }, { "message" } })
end

-- Decides which progress lines are shown. `always`: each one, whatever the level; `auto`: at most one every 5 s for a
-- step, and the last.
local function progress_gate(mode, shows_level)
  local last_ms, last_step
  return function(now_ms, level, fields)
    if mode ~= "auto" then
      return mode == "always"
    elseif not shows_level(level) then
      return false
    end
    local soon = last_ms and now_ms >= last_ms and now_ms - last_ms < PROGRESS_EVERY_MS
    if soon and fields.step == last_step and fields.done ~= fields.total then
      return false
    end
    last_ms, last_step = now_ms, fields.step
    return true
  end
end

-- A logger. options: level, format ("text" or "json"), progress, quiet, style (of report.style, for stderr).
function log.new(options)
  local least = RANK[options.level]
  if options.quiet then
    least = math.max(least, RANK.warn)
  end
  local function shows_level(level)
    return RANK[level] >= least
  end
  local shows_progress = progress_gate(options.progress, shows_level)
  return function(level, message, fields)
    fields = fields or {}
    local now = bson.now()
    local is_progress = message == "progress" and fields.done ~= nil
    if is_progress then
      if not shows_progress(now.ms, level, fields) then
        return
      end
    elseif not shows_level(level) then
      return
    end
    local line
    if options.format == "json" then
      line = json_line(tostring(now), level, message, fields)
    else
      if is_progress then
        message, fields = progress_text(fields), {}
      end
      line = text_line(options.style, tostring(now), level, message, fields)
    end
    io.stderr:write(line, "\n")
  end
end

return log
