-- What every spec stands on; busted loads it first (.busted). Chooses the build under test, checks the Lua, and makes a
-- pending spec fail: what is not checked is not green.
--
--   SMARTMIGRATION_BUILD       the build under test (build/release)
--   SMARTMIGRATION_DEV_BUILD   the build with fault points, for twins with a protection switched off (build/dev)
assert(_VERSION == "Lua 5.4", "specs run under Lua 5.4, not " .. _VERSION .. ": busted --lua=lua5.4")

local build = os.getenv "SMARTMIGRATION_BUILD" or "build/release"
package.path = "./?.lua;" .. package.path
package.cpath = build .. "/?.so;.cache/tools/?.so;" .. package.cpath

local busted = require "busted"
assert(package.searchpath("smig_process", package.cpath), "the specs' tools are not built: run scripts/setup tools")
require "smig_process" -- before a spec starts any child
assert(package.searchpath("smartmigration", package.cpath), "no smartmigration.so in " .. build .. ": run make build")

busted.subscribe({ "test", "end" }, function(element, parent, status)
  if status == "pending" then
    busted.publish({ "error", "pending" }, element, parent, "a pending spec counts as failed", {})
  end
  return nil, true
end)

-- busted gives each file package.loaded of its own, so the databases and buckets to drop are known to the file that made them.
busted.subscribe({ "file", "end" }, function()
  for _, name in ipairs { "server", "s3" } do
    local servers = package.loaded["spec.support." .. name]
    if servers then servers.clean() end
  end
  return nil, true
end)
