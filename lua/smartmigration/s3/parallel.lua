-- parallel: many items at a time with one Lua state. Each item is worked on in a coroutine, which yields while a request of its
-- own is under way; Lua code never runs at the same time. Users: init.lua makes it a method.
local core = require "smartmigration.s3.core"
local exchanges = require "smartmigration.s3.exchanges"
local failures = require "smartmigration.s3.failures"
local items = require "smartmigration.s3.items"
local options = require "smartmigration.s3.options"

local create, resume, yield, close = coroutine.create, coroutine.resume, coroutine.yield, coroutine.close

local OPTIONS = { concurrency = { "integer", 1, 256 }, on_error = "text", on_progress = "function" }
local READY = {} -- what a worker yields when it is done with its item

-- What on_progress is told: the item's key, if it has one.
local function key_of(item)
  return type(item) == "table" and item.key ~= nil and item.key or item
end

-- --------------------------------------------------------------------- workers

-- A coroutine that works on one item after the other: resumed with an item, it ends with READY and the failure, if there was one.
local function new_worker(fn)
  local thread = create(function(item)
    while true do
      local ok, failure = xpcall(fn, core.handler, item)
      item = yield(READY, not ok and failure or nil)
    end
  end)
  exchanges.adopt(thread)
  return { thread = thread }
end

local Crew = {}
Crew.__index = Crew

-- Takes note that the worker's item has ended.
function Crew:ended(worker, failure)
  local number = worker.number
  self.busy[worker] = nil
  self.running = self.running - 1
  if failure then
    self.failed[#self.failed + 1] = { item = worker.item, error = failure }
    if self.stops or failures.is_final(failure) then
      self.stopped = true
      self.fatal = failures.is_final(failure) and failure or self.fatal
    end
  else
    self.completed = self.completed + 1
    self.done[number] = key_of(worker.item)
  end
  worker.item, worker.waiting = nil, nil
end

-- Lets the worker go on until it waits or its item has ended.
function Crew:resume(worker, ...)
  worker.waiting = nil
  local ok, what, value = resume(worker.thread, ...)
  if ok and what == exchanges.WAITING then
    worker.waiting = value
    return
  elseif ok and what == READY then
    self.idle[#self.idle + 1] = worker
    return self:ended(worker, value)
  end
  -- The function yielded by itself, or its coroutine could not even catch what it raised.
  close(worker.thread)
  local _, failure = xpcall(ok and core.raise_argument or error, core.handler,
    ok and "the function of parallel must not yield" or what)
  self:ended(worker, failure)
end

function Crew:begin(item)
  local worker = table.remove(self.idle) or new_worker(self.fn)
  self.last = self.last + 1
  worker.item, worker.number = item, self.last
  self.busy[worker] = true
  self.running = self.running + 1
  self:resume(worker, item)
end

-- Lets all go on that can; whether there were any.
function Crew:turn()
  local ready, waiting = {}, {}
  for worker in pairs(self.busy) do
    if exchanges.any_ready(worker.waiting) then
      ready[#ready + 1] = worker
    else
      table.move(worker.waiting, 1, #worker.waiting, #waiting + 1, waiting)
    end
  end
  table.sort(ready, function(a, b)
    return a.number < b.number
  end)
  for _, worker in ipairs(ready) do
    self:resume(worker)
  end
  if #ready == 0 then
    exchanges.wait_any(waiting, "parallel")
  end
end

-- Tells how far all items from the first one on are done; a failed one holds that back.
function Crew:progress()
  local key
  while self.done[self.front + 1] ~= nil do
    self.front = self.front + 1
    key = self.done[self.front]
    self.done[self.front] = nil
  end
  if key ~= nil and self.on_progress then
    self.on_progress(key)
  end
end

-- Raises the first failure (what ends the run before others), which tells what was done and what was not.
function Crew:raise()
  local first = self.fatal or self.failed[1].error
  core.annotate(first, "completed", self.completed)
  core.annotate(first, "failed", self.failed)
  error(first, 0)
end

local function work(crew, next_item, concurrency)
  local more = true
  repeat
    while more and not crew.stopped and crew.running < concurrency do
      local item = next_item()
      if item == nil then
        more = false
      else
        crew:begin(item)
      end
      crew:progress()
    end
    if crew.running > 0 then
      crew:turn()
      crew:progress()
    end
  until crew.running == 0 and (crew.stopped or not more)
end

-- bucket:parallel(iterator, fn [, opts]) -> { completed, failed }
local function parallel(self, iterator, fn, opts)
  local is_client = core.target(self)
  opts = options.read("parallel", opts, OPTIONS, is_client)
  local next_item = items.of(iterator, "parallel")
  if type(fn) ~= "function" then
    options.refuse("bad argument #2 to 'parallel' (function expected, got %s)", type(fn))
  end
  local on_error = opts.on_error or "stop"
  if on_error ~= "stop" and on_error ~= "collect" then
    options.refuse("option 'on_error' of parallel must be \"stop\" or \"collect\", got \"%s\"", on_error)
  end
  local crew = setmetatable({ fn = fn, idle = {}, busy = {}, running = 0, last = 0, front = 0, done = {}, completed = 0,
    failed = {}, stops = on_error == "stop", on_progress = opts.on_progress }, Crew)
  -- What the iterator or on_progress raises ends it all, but what is under way is waited for: what was sent may take effect.
  local ok, failure = pcall(work, crew, next_item, opts.concurrency or 16)
  if not ok then
    crew.stopped = true
    while crew.running > 0 do
      crew:turn()
    end
    error(failure, 0)
  end
  if crew.stopped then
    crew:raise()
  end
  return { completed = crew.completed, failed = crew.failed }
end

return { parallel = parallel }
