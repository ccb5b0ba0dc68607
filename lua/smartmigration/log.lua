-- The default loggers of the binary: text or JSON lines to stderr. A logger is a function (level, message, fields).
--
-- Lines come from the engine, from steps (ctx.log) and from the command line; secrets were cut out before. Progress
-- (lines with a field `done`, from ctx:progress) is a bar at the foot of a terminal (report/bar.lua), elsewhere lines, thinned
-- out. Users: the command line. Nothing is raised.
local bson = require "smartmigration.bson"
local process = require "smartmigration.process"
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

-- Where lines go: straight to stderr, or around a bar. write(line), progress(fields) or nil, finish().
local function plain_sink()
  return {
    write = function(line)
      io.stderr:write(line .. "\n")
    end,
    finish = function() end,
  }
end

-- The bar goes with its step: the engine's line that ends a step tells the version it led to.
local function bar_sink(options)
  local bar
  local function write(line, fields)
    if not bar then
      io.stderr:write(line .. "\n")
    elseif fields.step == bar.step and fields.to_version then
      io.stderr:write(bar:clear() .. line .. "\n")
    else
      io.stderr:write(bar:above(line))
    end
  end
  local function progress(fields)
    bar = bar or require("smartmigration.report.bar").new(options.style, options.width)
    io.stderr:write(bar:update(fields.step, fields.done, fields.total, process.monotonic_ms()))
  end
  local function finish()
    if bar then
      io.stderr:write(bar:clear())
    end
  end
  return { write = write, progress = progress, finish = finish }
end

-- A logger, and a function that takes away a bar, to be called before others write to the terminal. options: level, format
-- ("text" or "json"), progress, quiet, style (of report.style, for stderr), width (a function: the columns of the terminal that
-- stderr is, nil where it is none).
function log.new(options)
  local least = RANK[options.level]
  if options.quiet then
    least = math.max(least, RANK.warn)
  end
  local function shows_level(level)
    return RANK[level] >= least
  end
  local shows_progress = progress_gate(options.progress, shows_level)
  local draws = options.width and options.progress == "auto" and options.format == "text"
  local sink = draws and bar_sink(options) or plain_sink()
  local function logger(level, message, fields)
    fields = fields or {}
    local now = bson.now()
    local is_progress = message == "progress" and fields.done ~= nil
    if is_progress and sink.progress then
      if shows_level(level) then
        sink.progress(fields)
      end
      return
    elseif is_progress then
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
    sink.write(line, fields)
  end
  return logger, sink.finish
end

return log
