-- `doctor`: what is wrong with the stores and the settings, and how to mend it. Needs no migration files. Returns 0, or 1 when a
-- check failed; warnings are no failure.
local config = require "smartmigration.config"
local doctor = require "smartmigration.doctor"
local findings = require "smartmigration.doctor.findings"
local report = require "smartmigration.report.doctor"

local FAILED = 1

-- The files that the settings came from, those that are there.
local function files_of(values)
  local files = {}
  for _, path in ipairs { values.config or config.DEFAULT_FILE, values.mongo_uri_file or "-" } do
    local file = path ~= "-" and io.open(path, "rb")
    if file then
      file:close()
      files[#files + 1] = path
    end
  end
  return files
end

-- The one setting that only a command line can get wrong.
local function check_arguments(session)
  local found = findings.new "settings"
  if session:has_password_argument() then
    found:warn("password_argument", "the password stands in an argument, where others of this machine can read it for a moment", {
      fix = "put the URI into a file that only its owner reads, and name it:", paste = { "--mongo-uri-file FILE" } })
  end
  return found.list
end

return function(session)
  local values = session:settings()
  local result = session:open({}, true):doctor { files = files_of(values) }
  local list = check_arguments(session)
  table.move(list, 1, #list, #result.checks + 1, result.checks)
  doctor.count(result)
  session:result(result, report.DOCTOR, function()
    return report.doctor(result, session.out)
  end)
  return result.errors > 0 and FAILED or 0
end
