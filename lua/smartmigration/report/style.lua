-- How a stream is written to: with colours or without, and tables in columns that suit a terminal's width. Users: log and the
-- reports.
local process = require "smartmigration.process"
local text = require "smartmigration.text"

local style = {}
style.__index = style

local SGR = { bold = "1", dim = "2", red = "31", green = "32", yellow = "33", cyan = "36" }

local function is_set(name)
  return (os.getenv(name) or "") ~= ""
end

-- mode: "auto" (a terminal that can, and NO_COLOR not set), "always", "never". stream: 1 or 2.
function style.new(mode, stream)
  local is_terminal = process.isatty(stream)
  local can_draw = is_terminal and os.getenv "TERM" ~= "dumb"
  local colored = mode == "always" or mode == "auto" and can_draw and not is_set "NO_COLOR"
  return setmetatable({ colored = colored, can_draw = can_draw, width = process.terminal_width(stream) }, style)
end

-- Whether a line can be drawn over.
function style:draws()
  return self.can_draw
end

-- `name` may be nil: no colour.
function style:paint(name, escaped)
  if not self.colored or not name or escaped == "" then
    return escaped
  end
  return ("\27[%sm%s\27[0m"):format(SGR[name], escaped)
end

local FOLDED = "\n      " -- the rest of a row that is too long for the terminal

-- Cells { text, columns, fill } as one row. With a `limit` it goes on in the next line where the terminal ends.
local function join(cells, limit)
  local parts, used = {}, 0
  for i, cell in ipairs(cells) do
    local gap = "  "
    if limit and i > 1 and used + 2 + cell.columns > limit then
      gap, used = FOLDED, #FOLDED - 3
    end
    if i == 1 or cell.columns > 0 or not limit and cell.fill > 0 then
      parts[#parts + 1] = gap .. cell.text .. (" "):rep(cell.fill)
      used = used + 2 + cell.columns + cell.fill
    end
  end
  return (table.concat(parts):gsub("%s+$", ""):gsub(" +\n", "\n"))
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
  local longest = 0
  for _, width in pairs(widths) do
    longest = longest + 2 + width
  end
  local limit = self.width and longest > self.width and self.width or nil
  local lines = {}
  for n, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      local raw, color = cell, nil
      if type(cell) == "table" then
        raw, color = cell[1], cell[2]
      end
      local shown = text.escape(raw)
      local columns = text.width(shown)
      cells[i] = { text = self:paint(color, shown), columns = columns, fill = widths[i] - columns }
    end
    lines[n] = join(cells, limit)
  end
  return lines
end

return style
