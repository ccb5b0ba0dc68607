-- Durations as people write them: `500ms`, `90s`, `2m`, `1h`, `forever`; a bare number is milliseconds.
-- Users: the settings of the command line and the reports. Unit: milliseconds, integers. No errors are raised.
local durations = {}

-- What the engine takes for "no limit".
durations.FOREVER = math.maxinteger

local UNITS = { [""] = 1, ms = 1, s = 1000, m = 60 * 1000, h = 60 * 60 * 1000 }
local MOST_DIGITS = 12 -- in hours still far from overflowing 64 bits

-- Milliseconds, or nil and a sentence. `forever` is only accepted where `or_forever` says that it makes sense.
function durations.parse(text, or_forever)
  if text == "forever" and or_forever then
    return durations.FOREVER
  end
  local digits, unit = text:match "^(%d+)(%l*)$"
  local factor = UNITS[unit]
  if not factor or #digits > MOST_DIGITS then
    return nil, ("'%s' is not a duration: write 500ms, 90s, 2m, 1h%s or a number of milliseconds"):format(
      text, or_forever and ", forever" or "")
  end
  return math.tointeger(digits) * factor
end

-- An age, which may also be told in days: `90d`. Milliseconds, or nil and a sentence.
function durations.parse_age(text)
  local days = text:match "^(%d+)d$"
  if days and #days <= MOST_DIGITS then
    return math.tointeger(days) * 24 * UNITS.h
  end
  local ms = durations.parse(text)
  if not ms then
    return nil, ("'%s' is not an age: write 90d, 12h, 30m, 90s or a number of milliseconds"):format(text)
  end
  return ms
end

-- For people, rounded: "333 ms", "12.3 s", "2m 03s", "1h 02m".
function durations.format(ms)
  local tenths, seconds, minutes = (ms + 50) // 100, (ms + 500) // 1000, (ms + 30000) // 60000
  if ms < 1000 then
    return ("%d ms"):format(ms)
  elseif tenths < 600 then
    return ("%.1f s"):format(tenths / 10)
  elseif seconds < 3600 then
    return ("%dm %02ds"):format(seconds // 60, seconds % 60)
  end
  return ("%dh %02dm"):format(minutes // 60, minutes % 60)
end

return durations
