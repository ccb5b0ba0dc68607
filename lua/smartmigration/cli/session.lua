-- One call of the command line: its settings, its two streams, and the engine it opens. Users: the commands.
--
-- Results go to stdout, everything else to stderr. Settings are resolved when a command asks for its engine.
local config = require "smartmigration.config"
local output = require "smartmigration.cli.output"
local process = require "smartmigration.process"
local style = require "smartmigration.report.style"

local session = {}
session.__index = session

local STDOUT, STDERR = 1, 2

-- `request` is what arguments.parse returns.
function session.new(request)
  local shape = config.output(request.options)
  return setmetatable({
    request = request,
    options = request.options,
    json = shape.json,
    quiet = shape.quiet,
    shape = shape,
    out = style.new(shape.color, STDOUT),
    err = style.new(shape.color, STDERR),
  }, session)
end

function session:log()
  if not self.logger then
    self.logger, self.finish_log = require("smartmigration.log").new {
      level = self.shape.log_level, format = self.shape.log_format, progress = self.shape.progress,
      quiet = self.quiet, style = self.err, width = self.err:draws() and function()
        return process.terminal_width(STDERR)
      end,
    }
  end
  return self.logger
end

-- Leaves the terminal to whoever writes next.
function session:end_log()
  if self.finish_log then
    self.finish_log()
  end
end

-- Whether somebody reads stderr as it comes, and wants to.
function session:talks_to_person()
  return process.isatty(STDERR) and not self.quiet and self.shape.log_format ~= "json"
end

local function holds_password(uri)
  return uri:find "^[^/]*//[^/@]*:[^/@]*@" ~= nil
end

-- Whether an argument of this call holds a password.
function session:has_password_argument()
  local uri = self.options.mongo_uri
  return uri ~= nil and holds_password(uri)
end

function session:settings()
  if not self.values then
    self.values = config.resolve(self.options)
    if self:has_password_argument() then
      self:log()("warn", "a password in an argument can be read by others of this machine: use --mongo-uri-file or "
        .. "SMARTMIGRATION_MONGO_URI", nil)
    end
  end
  return self.values
end

-- The migration object with the folder's steps, or `without_steps`; `changes` are options of `smartmigration.new` to set
-- besides. It is closed with the session.
function session:open(changes, without_steps)
  local values = self:settings()
  local options = config.engine_options(values, self:log())
  for name, value in pairs(changes or {}) do
    options[name] = value
  end
  self.migration = require("smartmigration").new(options)
  if not without_steps then
    self.migration:load(values.migrations)
  end
  return self.migration
end

-- The same for a command of an operator: it does not wait for the lock unless --lock-wait says so, and a signal stops it.
function session:open_for_operator(without_steps)
  local values = self:settings()
  local wait_ms = self.options.lock_wait_ms and values.lock_wait_ms or 0
  local migration = self:open({ lock = { ttl_ms = values.lock_ttl_ms, wait_ms = wait_ms } }, without_steps)
  process.handle_signals(migration, self:talks_to_person())
  return migration
end

function session:__close()
  if self.migration then
    self.migration:close()
  end
end

-- Writes a result: as JSON of `layout`, or the lines that `lines()` gives.
function session:result(value, layout, lines)
  self:end_log()
  if self.json then
    output.write(require("smartmigration.report.json").line(value, layout), "\n")
  else
    output.write(table.concat(lines(), "\n"), "\n")
  end
end

return session
