-- The progress of a step as one line that is drawn over and over at the foot of a terminal; log lines scroll by above it.
--
-- A line: the step, a bar, done and total, how many a second of late, and how long the rest takes at that rate. Parts that do
-- not fit go: first the bar, then rate and rest, then the end of the step's name. The width is asked for with every drawing, so
-- a resized window is right with the next one. Units: milliseconds; columns. Users: log. Nothing is raised.
local durations = require "smartmigration.durations"
local text = require "smartmigration.text"

local bar = {}
bar.__index = bar

local ERASE = "\r\27[K"
local MEMORY = 30 -- how many of the last reports the rate is taken from; they come about once a second
local WIDEST, NARROWEST = 40, 8 -- of the bar itself
local SHORTEST_NAME = 4

-- width(): the terminal's columns. style: of report.style, for the same stream.
function bar.new(style, width)
  return setmetatable({ style = style, width = width, samples = {}, shown = "" }, bar)
end

-- Per second, over the samples; nil while there is nothing to tell it from.
local function rate_of(samples)
  local first, last = samples[1], samples[#samples]
  local ms = last.ms - first.ms
  if ms <= 0 or last.done < first.done then
    return nil
  end
  return (last.done - first.done) * 1000 / ms
end

local function rate_text(rate)
  return (rate < 10 and "%.1f/s" or "%.0f/s"):format(rate)
end

local function cut(name, columns)
  if text.width(name) <= columns then
    return name
  end
  return name:sub(1, (utf8.offset(name, columns) or columns) - 1) .. "~"
end

-- Joins the parts that fit into `columns`, in their order; the first always stays, cut if need be. `room` is what is left.
local function fit(parts, columns)
  local room, kept = columns - text.width(parts[2]) - 2, {}
  local name = cut(parts[1], math.max(SHORTEST_NAME, room))
  room = room - text.width(name)
  for i = 3, #parts do
    local needed = 2 + text.width(parts[i])
    if needed <= room then
      kept[#kept + 1] = parts[i]
      room = room - needed
    end
  end
  return name, kept, room
end

-- The line for `columns`, without its end. Its first part may be a bar. Pure, for the specs too.
function bar.line(style, step, samples, columns)
  local now = samples[#samples]
  local done, total = now.done, now.total
  local rate = rate_of(samples)
  local count = total and ("%d/%d"):format(done, total) or tostring(done)
  local parts = { text.escape(step), count }
  if total and total > 0 then
    parts[#parts + 1] = ("%d %%"):format(math.min(100, done * 100 // total))
  end
  if rate then
    parts[#parts + 1] = rate_text(rate)
    if total and rate > 0 and done < total then
      parts[#parts + 1] = "ETA " .. durations.format(math.ceil((total - done) * 1000 / rate))
    end
  end
  local name, kept, room = fit(parts, columns)
  local drawn = ""
  local length = math.min(WIDEST, room - 4)
  if total and total > 0 and length >= NARROWEST then
    local full = math.max(0, math.min(length, done * length // total))
    local head = full > 0 and full < length and ">" or ""
    drawn = ("  [%s%s%s]"):format(("="):rep(full - #head), head, (" "):rep(length - full))
  end
  return table.concat({ style:paint("bold", name) .. style:paint("cyan", drawn), count, table.unpack(kept) }, "  ")
end

-- What to write for new numbers of a step. `now_ms` only grows.
function bar:update(step, done, total, now_ms)
  if self.step ~= step or self.total ~= total then
    self.step, self.total, self.samples = step, total, {}
  end
  local samples = self.samples
  samples[#samples + 1] = { done = done, total = total, ms = now_ms }
  if #samples > MEMORY then
    table.remove(samples, 1)
  end
  return self:draw()
end

function bar:draw()
  self.shown = bar.line(self.style, self.step, self.samples, (self.width() or 80) - 1)
  return ERASE .. self.shown
end

-- What to write so that `line` stands above the bar.
function bar:above(line)
  return ERASE .. line .. "\n" .. (self.step and self:draw() or "")
end

-- What to write when the bar is no longer wanted.
function bar:clear()
  local erase = self.step and ERASE or ""
  self.step = nil
  return erase
end

return bar
