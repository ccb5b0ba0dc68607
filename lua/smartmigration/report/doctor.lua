-- The report of `doctor`: for people, and the layout of its JSON document. Input: what the module's method returns. Pure. Users:
-- the command line.
local text = require "smartmigration.text"

local report = {}

report.DOCTOR = {
  { "checks", list = { { "store" }, { "check" }, { "status" }, { "finding" }, { "fix" }, { "paste", list = {} } } },
  { "errors" }, { "warnings" },
}

local COLORS = { ok = "green", warning = "yellow", error = "red", skipped = "dim" }
local HEADINGS = { mongo = "MongoDB", s3 = "S3", settings = "Settings" }

local function count(n, what)
  return ("%d %s%s"):format(n, what, n == 1 and "" or "s")
end

function report.doctor(result, style)
  local lines, rows, store = {}, {}, nil
  for i, check in ipairs(result.checks) do
    rows[i] = { { check.status, COLORS[check.status] }, { check.check, "bold" }, check.finding }
  end
  local shown = style:columns(rows)
  for i, check in ipairs(result.checks) do
    if check.store ~= store then
      store = check.store
      lines[#lines + 1] = style:paint("bold", HEADINGS[store])
    end
    lines[#lines + 1] = shown[i]
    if check.fix then
      lines[#lines + 1] = "      to mend it: " .. text.escape(check.fix)
    end
    for _, line in ipairs(check.paste or {}) do
      lines[#lines + 1] = "        " .. text.escape(line)
    end
  end
  lines[#lines + 1] = ""
  local healthy = result.errors + result.warnings == 0
  lines[#lines + 1] = healthy and style:paint("green", "Nothing is wrong.")
    or style:paint(result.errors > 0 and "red" or "yellow",
      ("%s, %s."):format(count(result.errors, "error"), count(result.warnings, "warning")))
  return lines
end

return report
