-- Requests and the waiting for them. A coroutine of `parallel` lets the others work while it waits; everywhere else waiting
-- blocks, and what is under way on the same client goes on. Users: the methods. Errors: as engine/s3/s3.h tells.
local core = require "smartmigration.s3.core"

local exchanges = {}

-- Kept, so that what a script makes of the library's does not matter here.
local running, is_yieldable, yield = coroutine.running, coroutine.isyieldable, coroutine.yield

-- The coroutines of `parallel`, which alone may yield in a request: in another one the yield would reach its own loop.
local own = setmetatable({}, { __mode = "k" })

-- What a coroutine of `parallel` yields first, so that it can tell its waiting from a script's own yield.
exchanges.WAITING = {}

function exchanges.adopt(thread)
  own[thread] = true
end

local function check_place(operation)
  local thread = running()
  if own[thread] and not is_yieldable() then
    core.raise_argument(("cannot run s3.%s here: inside a non-yieldable function (a sort's comparison, a __gc, an "
      .. "iterator in C)"):format(operation))
  end
  return own[thread]
end

-- Begins a request and does not wait. Fields of the request: bindings/s3/request.c.
function exchanges.start(handle, request)
  check_place(request.operation)
  return core.start(handle, request)
end

local function any_ready(list)
  for _, exchange in ipairs(list) do
    if exchange:ready() then
      return true
    end
  end
  return false
end

-- Moves all clients on that the exchanges are of.
local function drive(list)
  local clients, count = {}, 0
  for _, exchange in ipairs(list) do
    local client = exchange:client()
    if not clients[client] then
      clients[client] = exchange
      count = count + 1
    end
  end
  for _, exchange in pairs(clients) do
    exchange:drive(count == 1 and 1000 or 5)
  end
end

-- Until the exchange is ready: its answer, or of an answered stream its next bytes.
function exchanges.wait(exchange, operation)
  if exchange:ready() then
    return
  elseif check_place(operation) then
    yield(exchanges.WAITING, { exchange })
  else
    exchange:wait()
  end
end

-- Until one of several is ready.
function exchanges.wait_any(list, operation)
  if any_ready(list) then
    return
  elseif check_place(operation) then
    yield(exchanges.WAITING, list)
  else
    repeat
      drive(list)
    until any_ready(list)
  end
end

exchanges.any_ready = any_ready

-- The answer: { status, headers, body, received }. Raises the failure.
function exchanges.finish(exchange, operation)
  exchanges.wait(exchange, operation)
  return exchange:finish()
end

function exchanges.perform(handle, request)
  return exchanges.finish(exchanges.start(handle, request), request.operation)
end

-- The same for answers that are expected to be failures: true and the answer, or false and what was raised.
function exchanges.try(handle, request)
  local started = exchanges.start(handle, request)
  exchanges.wait(started, request.operation)
  return pcall(started.finish, started)
end

return exchanges
