-- A JSON reader for specs that judge JSON, so that nothing under test judges itself. Objects are
-- { object = { { key, value }, … } } in their order, arrays { array = … }, numbers { number = text }, null { null = true };
-- strings, true and false are themselves. json.plain and json.write are for what specs say to their own helpers.
local json = {}

local escapes = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ["/"] = "/", ["\\"] = "\\", ['"'] = '"' }
local read_value

local function skip(text, at)
  return text:find("[^ \n\r\t]", at) or #text + 1
end

local function expect(text, at, char)
  assert(text:sub(at, at) == char, ("%s expected at byte %d"):format(char, at))
  return at + 1
end

local function read_string(text, at)
  at = expect(text, at, '"')
  local parts = {}
  while true do
    local stop = assert(text:find('["\\]', at), "a string does not end")
    parts[#parts + 1] = text:sub(at, stop - 1)
    if text:sub(stop, stop) == '"' then return table.concat(parts), stop + 1 end
    local letter = text:sub(stop + 1, stop + 1)
    at = stop + 2
    if letter == "u" then
      local code = tonumber(text:match("^%x%x%x%x", at), 16)
      at = at + 4
      local low = code >= 0xd800 and code < 0xdc00 and text:match("^\\u(%x%x%x%x)", at)
      if low then
        code = 0x10000 + (code - 0xd800) * 0x400 + (tonumber(low, 16) - 0xdc00)
        at = at + 6
      end
      parts[#parts + 1] = utf8.char(code)
    else
      parts[#parts + 1] = assert(escapes[letter], "unknown escape")
    end
  end
end

-- The members between brackets; `read` gives one and where it ends.
local function read_list(text, at, close, read)
  local list = {}
  at = skip(text, at + 1)
  if text:sub(at, at) == close then return list, at + 1 end
  while true do
    list[#list + 1], at = read(skip(text, at))
    at = skip(text, at)
    if text:sub(at, at) == close then return list, at + 1 end
    at = expect(text, at, ",")
  end
end

local words = { ["true"] = true, ["false"] = false, null = { null = true } }

function read_value(text, at)
  at = skip(text, at)
  local char = text:sub(at, at)
  if char == '"' then return read_string(text, at) end
  if char == "{" then
    local members, stop = read_list(text, at, "}", function(here)
      local key, after = read_string(text, here)
      local value
      value, after = read_value(text, expect(text, skip(text, after), ":"))
      return { key, value }, after
    end)
    return { object = members }, stop
  end
  if char == "[" then
    local items, stop = read_list(text, at, "]", function(here) return read_value(text, here) end)
    return { array = items }, stop
  end
  local word = text:match("^%a+", at)
  if word then
    assert(words[word] ~= nil, "unknown word")
    return words[word], at + #word
  end
  local number = assert(text:match("^-?%d[%d.eE+-]*", at), ("a value expected at byte %d"):format(at))
  return { number = number }, at + #number
end

function json.read(text)
  local value, at = read_value(text, 1)
  assert(skip(text, at) > #text, "text after the value")
  return value
end

-- The member of that name, or nil.
function json.get(object, name)
  for _, member in ipairs(object.object) do
    if member[1] == name then return member[2] end
  end
end

local function plain(value)
  if type(value) ~= "table" then return value end
  if value.number then return math.tointeger(value.number) or tonumber(value.number) end
  local result = {}
  for _, member in ipairs(value.object or {}) do result[member[1]] = plain(member[2]) end
  for i, item in ipairs(value.array or {}) do result[i] = plain(item) end
  return not value.null and result or nil
end

-- As Lua tables, with nil for null.
function json.plain(text)
  return plain(json.read(text))
end

local function quote(text)
  return '"' .. text:gsub('[%c"\\]', function(char) return ("\\u%04x"):format(char:byte()) end) .. '"'
end

-- A table with entries from 1 on is an array. Bytes that are no UTF-8 are left as they are.
function json.write(value)
  if type(value) == "string" then return quote(value) end
  if type(value) ~= "table" then return tostring(value) end
  local parts = {}
  for i, item in ipairs(value) do parts[i] = json.write(item) end
  if #parts > 0 then return "[" .. table.concat(parts, ",") .. "]" end
  for name, item in pairs(value) do parts[#parts + 1] = quote(name) .. ":" .. json.write(item) end
  return "{" .. table.concat(parts, ",") .. "}"
end

return json
