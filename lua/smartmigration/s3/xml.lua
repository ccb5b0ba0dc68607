-- XML to send. Users: tags, delete_many, multipart, create_bucket. Pure.
local xml = {}

local ESCAPES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["\r"] = "&#13;", ["\n"] = "&#10;",
  ["\t"] = "&#9;" }

function xml.escape(text)
  return (text:gsub('[&<>"\r\n\t]', ESCAPES))
end

-- Whether XML can hold the text at all: valid UTF-8 without control characters, surrogates and U+FFFE, U+FFFF.
function xml.can_hold(text)
  return utf8.len(text) ~= nil and not text:find "[\0-\8\11\12\14-\31]" and not text:find "\xef\xbf[\xbe\xbf]"
end

function xml.element(name, content)
  return ("<%s>%s</%s>"):format(name, content, name)
end

function xml.text(name, text)
  return xml.element(name, xml.escape(text))
end

return xml
