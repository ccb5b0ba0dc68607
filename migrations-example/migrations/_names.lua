-- What the steps mean by a clean name. Shared code: a file whose name begins with `_` is no step.
local names = {}

-- Blanks at either end of a name: white space and controls, zero-width space and marks of direction. The zero-width
-- joiners (U+200C, U+200D) are part of the spelling in several scripts and stay.
local BLANK = {}
for _, range in ipairs {
  { 0x00, 0x20 }, { 0x7F, 0xA0 }, { 0x2000, 0x200B }, { 0x200E, 0x200F }, { 0x2028, 0x202F }, { 0x205F, 0x2060 },
  { 0x3000, 0x3000 }, { 0xFEFF, 0xFEFF },
} do
  for code = range[1], range[2] do BLANK[code] = true end
end

function names.trim(text)
  local first, last = 1, #text
  while first <= last and BLANK[utf8.codepoint(text, first)] do first = utf8.offset(text, 2, first) end
  while first <= last do
    local start = utf8.offset(text, -1, last + 1)
    if not BLANK[utf8.codepoint(text, start)] then break end
    last = start - 1
  end
  return text:sub(first, last)
end

-- The names of `list`, trimmed, each once, in their order; without empty ones and without `own`.
function names.clean(list, own)
  local cleaned, seen = {}, { [""] = true, [own] = true }
  for _, name in ipairs(list) do
    name = names.trim(name)
    if not seen[name] then
      seen[name] = true
      cleaned[#cleaned + 1] = name
    end
  end
  return cleaned
end

function names.same(one, other)
  for i, name in ipairs(one) do
    if name ~= other[i] then return false end
  end
  return true
end

return names
