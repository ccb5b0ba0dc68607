-- `status`: version, lock and steps. With --check or --wait the exit status tells whether a run would have nothing to
-- do.
local core = require "smartmigration.core"
local json = require "smartmigration.report.json"
local process = require "smartmigration.process"

local PENDING, TOO_NEW, UNREACHABLE = 10, 3, 5
local POLL_MS = 1000
local LONGEST_SEARCH_MS = 5000

local CHECKS = { ["up-to-date"] = 0, pending = PENDING, ["too-new"] = TOO_NEW }

local function verdict(status)
  return CHECKS[status.check] or core.codes[status.problem.code].exit
end

-- Whether a wait goes on after this error: a server that is not up yet is what start-up probes wait for.
local function may_pass(raised)
  local known = type(raised) == "userdata" and core.codes[raised.code]
  return known and known.exit == UNREACHABLE and raised.code ~= "LEDGER_CORRUPT"
end

-- Asks until the check is 0 or the time is over; the last answer, or the last error, counts.
local function wait(session, migration, limit_ms)
  local began = process.monotonic_ms()
  while true do
    local ok, status = pcall(migration.status, migration)
    if ok and verdict(status) == 0 then
      return status
    elseif not ok and not may_pass(status) then
      error(status, 0)
    end
    local left = limit_ms - (process.monotonic_ms() - began)
    if left <= 0 then
      if not ok then
        error(status, 0)
      end
      return status
    end
    session:log()("debug", "not yet", { check = ok and status.check or status.code })
    process.sleep_ms(math.min(left, POLL_MS))
  end
end

-- The URI with a limit to looking for a server, unless it has one: a single look must not outlast the wait by far.
local function searching(uri, limit_ms)
  if uri:lower():find("serverselectiontimeoutms=", 1, true) then
    return uri
  end
  local joint = uri:find "[?&]$" and "" or uri:find("?", 1, true) and "&" or uri:find "^[^/]*//[^/]*/" and "?" or "/?"
  local search_ms = math.max(POLL_MS, math.min(limit_ms, LONGEST_SEARCH_MS))
  return ("%s%sserverSelectionTimeoutMS=%d"):format(uri, joint, search_ms)
end

return function(session)
  local values = session:settings()
  local limit_ms, uri = values.wait, values.mongo_uri
  local migration = session:open {
    mongo = limit_ms and uri and { uri = searching(uri, limit_ms), database = values.mongo_database } or nil,
  }
  local status = limit_ms and wait(session, migration, limit_ms) or migration:status()
  session:result(status, json.STATUS, function()
    return require("smartmigration.report.status").status(status, session.out)
  end)
  return (session.options.check or limit_ms) and verdict(status) or 0
end
