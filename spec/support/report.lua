-- The suite's output: a line for each spec as it ends, the reason below a failed one, and "N passed, N failed" as the last
-- line. A pending spec and an error outside a spec count as failed. Given to busted by spec/run.
local pretty = require "pl.pretty"

return function()
  local busted = require "busted"
  local handler = require "busted.outputHandlers.base"()
  local passed, failed = 0, 0
  local started

  local function say(...)
    io.stdout:write(string.format(...), "\n")
    io.stdout:flush()
  end

  local function fail(report)
    failed = failed + 1
    local trace = report.trace or {}
    local message = report.message
    if type(message) ~= "string" then message = message == nil and "nil" or pretty.write(message) end
    say("not ok - %s", report.name)
    say("# %s:%s", report.element.trace and report.element.trace.short_src or "?",
      report.element.trace and report.element.trace.currentline or "?")
    say("# %s", (message .. "\n" .. (trace.traceback or "")):gsub("%s+$", ""):gsub("\n", "\n# "))
  end

  local function test_start()
    started = busted.monotime()
    return nil, true
  end

  local function test_end(element, _, status)
    if status == "success" then
      passed = passed + 1
      say("ok - %s (%d ms)", handler.getFullName(element), math.floor((busted.monotime() - started) * 1000))
    elseif status == "failure" then
      fail(handler.failures[#handler.failures])
    elseif status == "error" then
      fail(handler.errors[#handler.errors])
    else
      failed = failed + 1
      say("not ok - %s\n# pending counts as failed", handler.getFullName(element))
    end
    return nil, true
  end

  local function outside_error(element)
    if element.descriptor ~= "it" and element.descriptor ~= "pending" then fail(handler.errors[#handler.errors]) end
    return nil, true
  end

  local function outside_failure(element)
    if element.descriptor ~= "it" then fail(handler.errors[#handler.errors]) end
    return nil, true
  end

  busted.subscribe({ "test", "start" }, test_start, { predicate = handler.cancelOnPending })
  busted.subscribe({ "test", "end" }, test_end, { predicate = handler.cancelOnPending })
  busted.subscribe({ "error" }, outside_error)
  busted.subscribe({ "failure" }, outside_failure)
  busted.subscribe({ "exit" }, function()
    say("%d passed, %d failed", passed, failed)
    return nil, true
  end)
  return handler
end
