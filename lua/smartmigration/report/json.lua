-- JSON of results: keys in camelCase and in a given order, strings that are safe to print.
--
-- A layout is a list of fields in order: { "name", null = true (an absent value is written as null),
-- list = layout (an array of objects), object = layout }. Fields outside the layout follow, sorted. Users: the
-- commands, failures, log.
local bson = require "smartmigration.bson"
local text = require "smartmigration.text"

local json = {}

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

-- Bytes that are no UTF-8 become U+FFFD.
local function repair(value)
  local parts, at = {}, 1
  while at <= #value do
    local _, bad = utf8.len(value, at)
    parts[#parts + 1] = value:sub(at, (bad or #value + 1) - 1)
    if bad then
      parts[#parts + 1] = "\u{fffd}"
    end
    at = (bad or #value) + 1
  end
  return table.concat(parts)
end

local function quote(value)
  if not utf8.len(value) then
    value = repair(value)
  end
  value = value:gsub('[%c"\\\x7f]', function(c)
    return ESCAPES[c] or ("\\u%04x"):format(c:byte())
  end)
  -- C1 control characters steer some terminals.
  value = value:gsub("\xc2([\x80-\x9f])", function(c)
    return ("\\u%04x"):format(c:byte())
  end)
  -- Marks that change the direction of text, and line separators, as text.lua has them.
  if value:find("\xe2[\x80\x81]") then
    value = value:gsub("\xe2[\x80\x81][\x80-\xbf]", function(c)
      return text.escape(c) ~= c and ("\\u%04x"):format(utf8.codepoint(c)) or c
    end)
  end
  return '"' .. value .. '"'
end

local function number(value)
  if math.type(value) == "integer" then
    return ("%d"):format(value)
  elseif value ~= value or value == math.huge or value == -math.huge then
    return "null"
  end
  return (("%.17g"):format(value):gsub(",", "."))
end

local encode

local function is_array(value)
  return getmetatable(value) == bson.array_mt or #value > 0
end

local function encode_array(value, item_layout)
  local parts = {}
  for _, item in ipairs(value) do
    parts[#parts + 1] = encode(item, item_layout)
  end
  return "[" .. table.concat(parts, ",") .. "]"
end

local function encode_object(value, layout)
  local parts, written = {}, {}
  local function add(key, encoded)
    parts[#parts + 1] = quote(text.camel(key)) .. ":" .. encoded
  end
  for _, field in ipairs(layout or {}) do
    local name = field[1]
    local item = value[name]
    written[name] = true
    if field.list and type(item) == "table" then
      add(name, encode_array(item, field.list))
    elseif item ~= nil then
      add(name, encode(item, field.object))
    elseif field.null then
      add(name, "null")
    end
  end
  local rest = {}
  for key in pairs(value) do
    if not written[key] then
      rest[#rest + 1] = key
    end
  end
  table.sort(rest, function(a, b)
    return tostring(a) < tostring(b)
  end)
  for _, key in ipairs(rest) do
    add(tostring(key), encode(value[key]))
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

function encode(value, layout)
  local kind = type(value)
  if kind == "string" then
    return quote(value)
  elseif kind == "number" then
    return number(value)
  elseif kind == "boolean" then
    return tostring(value)
  elseif kind == "table" then
    if not layout and is_array(value) then
      return encode_array(value)
    end
    return encode_object(value, layout)
  elseif value == nil or bson.is_null(value) then
    return "null"
  end
  return quote(tostring(value))
end

-- One line of JSON, without a line end.
function json.line(value, layout)
  return encode(value, layout)
end

-- ------------------------------------------------------------------- documents

local STEP_RESULT = {
  { "id" }, { "from_version" }, { "to_version" }, { "status" }, { "skip_forward" }, { "started_at" },
  { "finished_at" }, { "duration_ms" }, { "error" },
}

-- Lists that may be empty; what else is in the details is as it came.
local CAUSE = { { "labels", list = {} }, { "write_errors", list = {} } }
local ERROR = { { "code" }, { "message" }, { "details", object = { { "cause", object = CAUSE }, CAUSE[1], CAUSE[2] } } }

-- plan and run; `error` stands last.
json.RESULT = {
  { "current_version_before", null = true }, { "current_version_after", null = true }, { "target_version" },
  { "was_fresh_install" }, { "bootstrap_mode" }, { "steps_applied", list = STEP_RESULT },
  { "steps_skipped", list = STEP_RESULT }, { "steps_failed", list = STEP_RESULT },
  { "steps_not_run", list = STEP_RESULT }, { "total_duration_ms" },
}

local DRIFT = {
  { "id" }, { "kind" }, { "file" }, { "against" }, { "recorded_from" }, { "recorded_to" }, { "chain_from" }, { "chain_to" },
  { "renamed_to" }, { "recorded" }, { "found" }, { "way_out" },
}
local PROBLEM = { { "code" }, { "message" } }

json.STATUS = {
  { "current_version", null = true }, { "target_version" }, { "pending" }, { "check" },
  { "problem", null = true, object = PROBLEM }, { "ledger" },
  { "lock", null = true,
    object = { { "holder" }, { "acquired_at", null = true }, { "expires_at", null = true }, { "stale" } } },
  { "steps", list = {
    { "id" }, { "from_version" }, { "to_version" }, { "status" }, { "drift" }, { "in_chain" }, { "description" },
    { "started_at" }, { "finished_at" }, { "duration_ms" }, { "attempts" }, { "host" }, { "checkpoints" }, { "error" },
  } },
  { "drift", list = DRIFT },
}

json.VALIDATION = {
  { "steps" }, { "from_version" }, { "to_version" }, { "current_version", null = true },
  { "base", object = { { "ref" }, { "commit" }, { "steps" } } }, { "drift", list = DRIFT }, { "problem", object = PROBLEM },
}

-- {"error": {…}}, or the result that a failure carries with its error. `details` loses the result, which stands beside
-- it, and gets the traceback of a failed step.
function json.failure(failure)
  local details, result = {}, nil
  for key, value in pairs(failure.details) do
    if key == "result" and type(value) == "table" then
      result = value
    else
      details[key] = value
    end
  end
  if failure.code == "STEP_FAILED" then
    details.traceback = details.traceback or failure.traceback
  end
  local fault = encode({ code = failure.code, message = failure.message, details = details }, ERROR)
  if not result then
    return '{"error":' .. fault .. "}"
  end
  return encode(result, json.RESULT):sub(1, -2) .. ',"error":' .. fault .. "}"
end

return json
