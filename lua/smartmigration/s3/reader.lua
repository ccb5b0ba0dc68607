-- Readers: the body of an object, pulled as it is wanted; at most 1 MiB of it waits in memory. Users: init.lua makes `open` a
-- method.
local core = require "smartmigration.s3.core"
local exchanges = require "smartmigration.s3.exchanges"
local headers = require "smartmigration.s3.headers"
local objects = require "smartmigration.s3.objects"
local options = require "smartmigration.s3.options"
local strict = require "smartmigration.strict"

local reader = {}

local CHUNK, MAX_LINE = 64 * 1024, 64 * 1024 * 1024

local Reader = {}
local states = setmetatable({}, { __mode = "k" })

local function check(self)
  local state = states[self]
  core.target(state.handle)
  if state.closed then
    core.raise_argument "reader is closed"
  end
  return state
end

-- Sees to it that state.kept holds bytes, from state.at on; false at the end.
local function pull(state)
  if not state.kept and not state.ended then
    exchanges.wait(state.exchange, "open")
    state.kept, state.at = state.exchange:read(CHUNK), 1
    state.ended = state.kept == nil
  end
  return not state.ended
end

-- The next bytes, at most so many; nil at the end.
local function take(state, most)
  if not pull(state) then
    return nil
  end
  local kept, last = state.kept, state.at + most - 1
  if state.at == 1 and last >= #kept then
    state.kept = nil
    return kept
  end
  local bytes = kept:sub(state.at, last)
  state.at = last + 1
  if state.at > #kept then
    state.kept = nil
  end
  return bytes
end

-- reader:read([n]) -> n bytes, fewer only at the end; without n what is there; nil at the end
function Reader:read(n)
  local state = check(self)
  if n == nil then
    return take(state, CHUNK)
  elseif math.type(n) ~= "integer" or n < 1 then
    options.refuse("bad argument #1 to 'read' (a number of bytes from 1 expected, got %s)", tostring(n))
  end
  local parts, left = {}, n
  while left > 0 do
    local bytes = take(state, left)
    if not bytes then
      break
    end
    parts[#parts + 1] = bytes
    left = left - #bytes
  end
  return left < n and table.concat(parts) or nil
end

-- for line in reader:lines() do: without the line's end
function Reader:lines()
  check(self)
  return function()
    local state = check(self)
    local parts, size = {}, 0
    while pull(state) do
      local newline = state.kept:find("\n", state.at, true)
      local part = take(state, (newline or #state.kept) - state.at + 1)
      parts[#parts + 1] = newline and part:sub(1, -2) or part
      size = size + #part
      if newline then
        break
      elseif size > MAX_LINE then
        core.raise_argument(("a line has more than %d bytes: use read(n)"):format(MAX_LINE))
      end
    end
    return size > 0 and table.concat(parts) or nil
  end
end

-- reader:close(); again it does nothing
function Reader:close()
  local state = states[self]
  state.closed, state.kept = true, nil
  state.exchange:abandon()
end

strict.called_with_colon("smartmigration.s3_reader", Reader, "reader")

local methods = strict.index("reader", Reader)

local meta = {
  __name = "smartmigration.s3_reader",
  __metatable = "smartmigration.s3_reader",
  __index = function(self, name)
    return name == "info" and states[self].info or methods(self, name)
  end,
  __newindex = strict.newindex "reader",
  __call = function(self)
    return Reader.read(self)
  end,
  __close = Reader.close,
  __tostring = function(self)
    local state = states[self]
    return ("reader of '%s/%s' (%s)"):format(state.bucket, state.key, state.closed and "closed" or "open")
  end,
}

local OPEN = options.join(headers.READ_OPTIONS, { range = "table" })

-- bucket:open(key [, opts]) -> reader; its field `info` is what head gives
function reader.open(self, key, opts)
  local bucket
  bucket, opts = options.begin(self, "open", opts, OPEN)
  options.check_key(key, "open")
  local request = objects.reading(bucket, key, "open", opts)
  request.stream = true
  local exchange = exchanges.start(self, request)
  local info = headers.info(exchanges.finish(exchange, "open"))
  local handle = setmetatable({}, meta)
  states[handle] = { handle = self, bucket = bucket, key = key, exchange = exchange, info = info }
  return handle
end

return reader
