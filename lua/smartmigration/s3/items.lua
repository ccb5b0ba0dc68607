-- What methods take many of: a list, or an iterator (a function, a listing, whatever can be called). Users: parallel,
-- delete_many, put_stream.
local options = require "smartmigration.s3.options"

local items = {}

-- Whether the value can be called.
function items.is_callable(value)
  local meta = debug.getmetatable(value)
  return type(value) == "function" or meta ~= nil and meta.__call ~= nil
end

-- A function that gives the items, nil at the end.
function items.of(source, operation)
  if type(source) == "table" and getmetatable(source) == nil then
    local position = 0
    return function()
      position = position + 1
      return source[position]
    end
  elseif not items.is_callable(source) then
    options.refuse("bad argument #1 to '%s' (list or iterator expected, got %s)", operation, type(source))
  end
  return source
end

return items
