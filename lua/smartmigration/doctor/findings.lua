-- What doctor found: a list of checks, each with its status and, where something is wrong, the way to mend it.
--
--   local found = findings.new "mongo"
--   found:ok("reachable", "%s answers", place)
--   found:warn("topology", "it is standalone", { fix = "make it a replica set", paste = { "command" } })
--   found:fail(…)                                     -- as warn; status "error"
--   found:skip("clock", "the store tells no time")    -- why it was not looked at
--   found:block "MongoDB cannot be reached"           -- why what is not told of until the end was not looked at
--   return found:finish { "reachable", "clock", … }   -- the checks in this order
-- Users: the modules of doctor. Pure.
local findings = {}
findings.__index = findings

-- `store`: "mongo", "s3" or "settings".
function findings.new(store)
  return setmetatable({ store = store, list = {} }, findings)
end

local function add(self, check, status, finding, way_out)
  self.list[#self.list + 1] = {
    store = self.store, check = check, status = status, finding = finding, fix = way_out and way_out.fix,
    paste = way_out and way_out.paste,
  }
end

function findings:ok(check, format, ...)
  add(self, check, "ok", format:format(...))
end

function findings:skip(check, reason)
  add(self, check, "skipped", reason)
end

function findings:warn(check, finding, way_out)
  add(self, check, "warning", finding, way_out)
end

function findings:fail(check, finding, way_out)
  add(self, check, "error", finding, way_out)
end

-- The first reason counts.
function findings:block(reason)
  self.reason = self.reason or reason
end

-- Brings the checks in order, those that nothing was said of as skipped ones.
function findings:finish(order)
  local known, sorted = {}, {}
  for _, entry in ipairs(self.list) do
    known[entry.check] = entry
  end
  for i, check in ipairs(order) do
    if not known[check] then
      self:skip(check, self.reason)
      known[check] = self.list[#self.list]
    end
    sorted[i] = known[check]
  end
  self.list = sorted
  return self
end

-- ------------------------------------------------------------------- what checks share

-- What a call returns, or nil and the error object that it raised. Mistakes of this program's own are passed on.
function findings.try(call, ...)
  local ok, value = pcall(call, ...)
  if ok then
    return value
  elseif type(value) ~= "userdata" then
    error(value, 0)
  end
  return nil, value
end

-- Whether a host is this machine, as far as its name tells.
function findings.is_loopback(host)
  host = host:lower()
  return host == "localhost" or host == "::1" or host == "[::1]" or host:find "^127%.%d+%.%d+%.%d+$" ~= nil
    or host:sub(1, 1) == "/"
end

local SKEW_MS = 5000

-- Compares the server's clock with this machine's, which said `before_ms` and `after_ms` around the question.
function findings:compare_clocks(server_ms, before_ms, after_ms, consequence)
  local skew = (before_ms + after_ms) / 2 - server_ms
  if math.abs(skew) <= SKEW_MS + (after_ms - before_ms) / 2 then
    return self:ok("clock", "this machine's clock and the server's agree")
  end
  self:warn("clock", ("this machine's clock is %.0f s %s the server's; %s"):format(math.abs(skew) / 1000,
    skew > 0 and "ahead of" or "behind", consequence),
    { fix = "have the clock of this machine (or of the server, whichever is wrong) kept by NTP",
      paste = { "sudo timedatectl set-ntp true" } })
end

return findings
