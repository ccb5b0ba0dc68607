-- The command line of smartmigration-lua. main(arg) runs it and returns the exit status; it never raises and never ends
-- the process. Users: main.c. Exit codes: docs/exit-codes.md.
local arguments = require "smartmigration.cli.arguments"
local commands = require "smartmigration.cli.commands"
local core = require "smartmigration.core"
local output = require "smartmigration.cli.output"
local process = require "smartmigration.process"
local session = require "smartmigration.cli.session"

local cli = {}

local FAILED = 1
local STDERR = 2
local SIGTERM = 15
local TERMINATED = 143

-- What a command raised, as plain fields: an error object, or a mistake of this program's own.
local function describe(raised)
  if type(raised) == "userdata" then
    local cause = raised.cause
    return {
      code = raised.code, message = raised.message, details = raised.details or {},
      cause_code = cause and cause.code,
      traceback = cause and cause.traceback or raised.traceback, where = cause and cause.where or raised.where,
    }
  end
  return { code = "INTERNAL_ERROR", message = tostring(raised), details = {} }
end

local function exit_status(fault)
  if fault.code == "INTERRUPTED" and process.received_signal() == SIGTERM then
    return TERMINATED
  end
  local known = core.codes[fault.code]
  return known and known.exit or FAILED
end

local function report(fault, current, words)
  if current then
    current:end_log()
  end
  if current and current.json or not current and arguments.wants_json(words) then
    output.write(require("smartmigration.report.json").failure(fault), "\n")
    return
  end
  if current then
    local of_usage = fault.code == "INVALID_OPTIONS" and not fault.details.reason
    fault.help = of_usage and "smartmigration-lua help " .. current.request.command
    fault.checkpoints = current.checkpoints
    fault.again = arguments.shown(words)
  end
  local style = current and current.err
    or require("smartmigration.report.style").new("auto", STDERR)
  local lines = require("smartmigration.report.failure").lines(fault, style)
  io.stderr:write(table.concat(lines, "\n"), "\n")
end

-- A mistake of this program's own is shown with its traceback, errors of the engine are not.
local function handler(raised)
  return type(raised) == "string" and debug.traceback(raised, 2) or raised
end

function cli.main(arg)
  local words = table.move(arg, 1, #arg, 1, {})
  arguments.hide_uris(words, process.hide_argument)
  process.handle_signals() -- until a run takes them over, a signal ends the process, also as PID 1
  local current
  local ok, status = xpcall(function()
    local request = arguments.parse(words)
    local opened <close> = session.new(request)
    current = opened
    return require("smartmigration.cli." .. (commands.by_name[request.command].module or request.command))(opened)
  end, handler)
  if not ok then
    local fault = describe(status)
    status = exit_status(fault)
    report(fault, current, words)
  end
  if output.problem then
    io.stderr:write("error: the result could not be written to stdout: ", output.problem, "\n")
    status = status == 0 and FAILED or status
  end
  return status
end

return cli
