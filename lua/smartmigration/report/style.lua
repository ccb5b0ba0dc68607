-- How a stream is written to: with colours or without, and tables in columns. Users: log and the reports.
local text = require "smartmigration.text"

local style = {}
style.__index = style

local SGR = { bold = "1", dim = "2", red = "31", green = "32", yellow = "33", cyan = "36" }

-- mode: "auto" (a terminal, and NO_COLOR not set), "always", "never".
function style.new(mode, is_terminal)
  local no_color = os.getenv "NO_COLOR"
  local colored = mode == "always" or mode == "auto" and is_terminal and (no_color == nil or no_color == "")
  return setmetatable({ colored = colored }, style)
end

-- `name` may be nil: no colour.
function style:paint(name, escaped)
  if not self.colored or not name or escaped == "" then
    return escaped
  end
  return ("\27[%sm%s\27[0m"):format(SGR[name], escaped)
end

-- Rows of cells as lines, indented by two. A cell is a string (escaped here) or { string, color }; the widths are
-- those of the text without colours, the last cell of a row is not filled up.
function style:columns(rows)
  local widths = {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do
      local shown = text.escape(type(cell) == "table" and cell[1] or cell)
      widths[i] = math.max(widths[i] or 0, text.width(shown))
    end
  end
  local lines = {}
  for _, row in ipairs(rows) do
    local parts = {}
    for i, cell in ipairs(row) do
      local raw, color = cell, nil
      if type(cell) == "table" then
        raw, color = cell[1], cell[2]
      end
      local shown = text.escape(raw)
      local fill = i < #row and (" "):rep(widths[i] - text.width(shown)) or ""
      parts[i] = self:paint(color, shown) .. fill
    end
    lines[#lines + 1] = ("  " .. table.concat(parts, "  ")):gsub("%s+$", "")
  end
  return lines
end

return style
