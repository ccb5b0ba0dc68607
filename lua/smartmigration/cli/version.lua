-- `version`: of this program, with --verbose of the linked libraries too. Returns 0.
local core = require "smartmigration.core"

local PROGRAM = "smartmigration"

return function(session)
  local versions, libraries = { [PROGRAM] = core.version[PROGRAM] }, {}
  if session.options.verbose then
    for name, version in pairs(core.version) do
      versions[name] = version
      if name ~= PROGRAM then
        libraries[#libraries + 1] = name
      end
    end
    table.sort(libraries)
  end
  session:result(versions, { { PROGRAM } }, function()
    local lines = { "smartmigration-lua " .. versions[PROGRAM] }
    for _, name in ipairs(libraries) do
      lines[#lines + 1] = name .. " " .. versions[name]:gsub("^Lua ", "")
    end
    return lines
  end)
  return 0
end
