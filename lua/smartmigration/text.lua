-- Strings for people: escaping of what came from a ledger, a server, a file or a step, and names as JSON has them.
-- Users: log, config, command line, reports. Pure.
local text = {}

-- Characters that steer a terminal or reorder what it shows: C0, DEL, C1, and the marks that change text direction.
local function is_control(code)
  return code < 0x20 or code == 0x7f or code >= 0x80 and code <= 0x9f
    or code >= 0x200e and code <= 0x200f or code >= 0x2028 and code <= 0x202e or code >= 0x2066 and code <= 0x2069
end

local NAMED = { ["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r" }

-- One line without control characters. Bytes that are no UTF-8 become `\xNN`.
function text.escape(value)
  value = tostring(value)
  if not value:find "[%c\x7f-\xff]" then
    return value
  end
  local parts, at = {}, 1
  while at <= #value do
    local byte = value:sub(at, at)
    local ends = utf8.len(value, at, at) and utf8.offset(value, 2, at)
    if not ends then
      parts[#parts + 1] = ("\\x%02x"):format(byte:byte())
      at = at + 1
    else
      local code = utf8.codepoint(value, at)
      if not is_control(code) then
        parts[#parts + 1] = value:sub(at, ends - 1)
      else
        parts[#parts + 1] = NAMED[byte] or ("\\u{%02x}"):format(code)
      end
      at = ends
    end
  end
  return table.concat(parts)
end

-- How many columns a terminal takes for an escaped text, near enough: characters.
function text.width(escaped)
  return utf8.len(escaped) or #escaped
end

-- " (did you mean 'x'?)", or nothing; `nearest` is a name or nil.
function text.did_you_mean(nearest)
  return nearest and (" (did you mean '%s'?)"):format(nearest) or ""
end

-- A version as a checked chain has it: without blanks, `v` and build metadata. What is no version stays as it is.
function text.version(value)
  value = tostring(value)
  return value:match "^%s*v?(%d+%.%d+%.%d+[%w.-]*)" or value
end

-- snake_case to camelCase; a leading underscore stays.
function text.camel(key)
  return key:sub(1, 1) .. key:sub(2):gsub("_(%w)", string.upper)
end

return text
