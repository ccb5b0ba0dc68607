-- Child processes with pipes, signals and time limits, for specs. Times are in milliseconds; nothing waits without a limit.
--
--   local result = process.run { "lua5.4", "-v" }                 -- start and wait: { status =, signal =, out =, err =, ms = }
--   local child <close> = process.start { "prog", "arg", env = { NAME = "value", GONE = false }, cwd = "/tmp", stdin = "text" }
--   child:wait_for("ready")                                       -- until stdout or stderr holds the pattern
--   child:write "go\n"; child:kill "STOP"; child:kill "CONT"; child:kill "KILL"
--   local result = child:wait(10000)
--   local results = process.race { { "prog", "1" }, { "prog", "2" } }   -- all start at the same moment; results in order
--
-- The binary's output is searched for the secrets it was given: one that is shown fails the spec, but with `leaks = true`.
-- stdin stays open until close_stdin(), wait() or the child's end; with `stdin = text` it is written and closed at once.
-- A child that is closed, collected or left behind by a dead suite gets SIGKILL.
local system = require "smig_process"
local wait_for = require "spec.support.wait_for"

local process = {}
local Child = {}
Child.__index = Child

local SIGNALS = { HUP = 1, INT = 2, QUIT = 3, KILL = 9, USR1 = 10, USR2 = 12, PIPE = 13, TERM = 15, CONT = 18, STOP = 19 }
local OPTIONS = { env = true, cwd = true, stdin = true, limit = true, gate = true, leaks = true }
local DEFAULT_LIMIT = 60000
local SHORTEST_SECRET = 4 -- engine/core/secrets.c

-- Under a sanitizer the suite's Lua runs with its runtime loaded before it, and without a search for leaks (spec/run).
-- Another Lua needs that runtime too. The binary has it linked in, and its leaks count.
local function sanitized(argv, changes)
  local own = {}
  if table.concat(argv, " "):find("lua5.4", 1, true) then own.LD_PRELOAD = system.preloaded() end
  if argv[1]:match "smartmigration%-lua$" then own.ASAN_OPTIONS = false end
  for name, value in pairs(changes or {}) do own[name] = value end
  return own
end

local function environment(changes)
  local list = {}
  for _, entry in ipairs(system.environment()) do
    if (changes or {})[entry:match "^[^=]*"] == nil then list[#list + 1] = entry end
  end
  for name, value in pairs(changes or {}) do
    if value then list[#list + 1] = name .. "=" .. tostring(value) end
  end
  return list
end

-- What no output of the binary may show: passwords of the URIs it is given, and AWS's secrets. What is shorter is a word as any
-- other.
local function secrets_of(argv, env)
  local found = {}
  local function learn(text)
    for password in text:gmatch "://[^/@%s:]*:([^/@%s]+)@" do
      local plain = password:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
      for _, form in ipairs(#plain < SHORTEST_SECRET and {} or { password, plain }) do found[form] = true end
    end
  end
  if not argv[1]:match "smartmigration%-lua$" then return found end
  for _, word in ipairs(argv) do learn(word) end
  for _, entry in ipairs(env) do
    learn(entry)
    local secret = entry:match "^AWS_SECRET_ACCESS_KEY=(.+)" or entry:match "^AWS_SESSION_TOKEN=(.+)"
    if secret then found[secret] = true end
  end
  return found
end

-- A gate holds children back just before they become their program, until it is opened.
local Gate = {}
Gate.__index = Gate

function process.gate()
  local reading, writing = system.gate()
  return setmetatable({ reading = reading, writing = writing }, Gate)
end

function Gate:open()
  system.close(self.writing)
  system.close(self.reading)
  self.opened = true
end

function Gate:__close()
  if not self.opened then self:open() end
end

function process.start(command)
  local argv = {}
  for i, word in ipairs(command) do argv[i] = tostring(word) end
  for name in pairs(command) do
    if math.type(name) ~= "integer" and not OPTIONS[name] then error("unknown option '" .. name .. "'", 2) end
  end
  local gate = command.gate or {}
  local env = environment(sanitized(argv, command.env))
  local pid, stdin, out, err = system.spawn(argv, env, command.cwd, gate.reading, gate.writing)
  local child = setmetatable({
    pid = pid, stdin = stdin, out_fd = out, err_fd = err, out = "", err = "", limit = command.limit or DEFAULT_LIMIT,
    command = table.concat(argv, " "), started = system.now_ms(),
    secrets = command.leaks and {} or secrets_of(argv, env),
  }, Child)
  if command.stdin then
    child:write(command.stdin)
    child:close_stdin()
  end
  return child
end

local function drain(child, which)
  local fd = child[which .. "_fd"]
  while fd do
    local text = system.read(fd)
    if text == false then return end
    if text == nil then
      system.close(fd)
      child[which .. "_fd"], fd = nil, nil
    else
      child[which] = child[which] .. text
    end
  end
end

-- Takes in what there is, waiting at most `ms` for more; true once the child has ended and its pipes are read.
function Child:pump(ms)
  system.poll({ self.out_fd or self.err_fd, self.out_fd and self.err_fd }, ms or 0)
  if not self.ended then
    local how, number = system.reap(self.pid)
    if how then
      self.ended, self.ms = true, system.now_ms() - self.started
      if how == "exit" then self.status = number else self.signal = number end
    end
  end
  drain(self, "out")
  drain(self, "err")
  return self.ended
end

function Child:describe()
  return ("%s (pid %d)\nstdout:\n%s\nstderr:\n%s"):format(self.command, self.pid, self.out, self.err)
end

function Child:write(text)
  wait_for("'" .. self.command .. "' to read its input", function()
    local taken = system.write(self.stdin, text)
    text = text:sub((taken or #text) + 1)
    self:pump(0)
    return text == ""
  end, self.limit)
end

function Child:close_stdin()
  if self.stdin then system.close(self.stdin) end
  self.stdin = nil
end

function Child:kill(signal)
  local number = SIGNALS[signal] or error("unknown signal '" .. tostring(signal) .. "'", 2)
  if not self.ended then system.kill(self.pid, number) end
end

function Child:running()
  return not self:pump(0)
end

-- Until stdout or stderr holds the Lua pattern; returns its captures.
function Child:wait_for(pattern, limit)
  local deadline = system.now_ms() + (limit or self.limit)
  while true do
    local ended = self:pump(20)
    local found = table.pack(self.out:match(pattern))
    if found[1] == nil then found = table.pack(self.err:match(pattern)) end
    if found[1] ~= nil then return table.unpack(found, 1, found.n) end
    if ended then error(("'%s' never came: %s"):format(pattern, self:describe()), 2) end
    if system.now_ms() > deadline then error(("'%s' did not come in time: %s"):format(pattern, self:describe()), 2) end
  end
end

-- Until it has ended: { status = n } or { signal = n }, with out, err and ms (how long it ran).
function Child:wait(limit)
  limit = limit or self.limit
  self:close_stdin()
  local deadline = system.now_ms() + limit
  while not self:pump(20) do
    if system.now_ms() > deadline then
      self:close()
      error(("still running after %d ms: %s"):format(limit, self:describe()), 2)
    end
  end
  self:close()
  for secret in pairs(self.secrets) do
    if (self.out .. self.err):find(secret, 1, true) then error("a secret is shown by " .. self:describe(), 2) end
  end
  return { status = self.status, signal = self.signal, out = self.out, err = self.err, ms = self.ms }
end

function Child:close()
  self:close_stdin()
  if not self.ended then
    system.kill(self.pid, SIGNALS.KILL)
    while not self:pump(20) do end
  end
  for _, which in ipairs { "out_fd", "err_fd" } do
    if self[which] then system.close(self[which]) end
    self[which] = nil
  end
end

Child.__close = Child.close
Child.__gc = Child.close

function process.run(command)
  return process.start(command):wait()
end

-- Starts every command at the same moment and waits for all.
function process.race(commands)
  local gate <close> = process.gate()
  local children, results = {}, {}
  for i, command in ipairs(commands) do
    local held = { gate = gate }
    for key, value in pairs(command) do held[key] = value end
    children[i] = process.start(held)
  end
  gate:open()
  for i, child in ipairs(children) do results[i] = child:wait() end
  return results
end

function process.kill(pid, signal)
  system.kill(pid, SIGNALS[signal])
end

process.now_ms = system.now_ms
process.own_pid = system.pid

return process
