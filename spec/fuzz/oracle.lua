-- What must hold for any bytes given to the BSON binding; run by the fuzz target and by the bounded run of
-- test_bson_mutations.c. `stored` makes a document of bytes as if the server had sent them, unchecked. Whatever does not hold
-- raises; that input is refused with an argument error is no failure.
local bson, stored = ...
local oracle = {}

oracle.seeds = {
  [==[{"double":{"$numberDouble":"-0.0"},"nan":{"$numberDouble":"NaN"},"string":"ä\u0000☆😀","doc":{"a":{"b":{"c":1}},"e":{}},
     "array":[1,[],{"x":null},[[2.5]]],"binary":{"$binary":{"base64":"//8=","subType":"80"}},
     "old":{"$binary":{"base64":"//8=","subType":"02"}},"uuid":{"$uuid":"73ffd264-44b3-4c69-90e8-e7d1dfc035d4"}}]==],
  [==[{"undefined":{"$undefined":true},"oid":{"$oid":"57e193d7a9cc81b4027498b5"},"t":true,"f":false,"null":null,
     "date":{"$date":"2012-12-24T12:15:30.501Z"},"early":{"$date":{"$numberLong":"-1"}},
     "regex":{"$regularExpression":{"pattern":"a.*b","options":"xmi"}},"legacy":{"$regex":"a","$options":"i"},
     "pointer":{"$dbPointer":{"$ref":"db.c","$id":{"$oid":"57e193d7a9cc81b4027498b1"}}}}]==],
  [==[{"code":{"$code":"f()"},"scoped":{"$code":"f()","$scope":{"x":{"y":"z"}}},"symbol":{"$symbol":"s"},"int":-2147483648,
     "time":{"$timestamp":{"t":4294967295,"i":1}},"long":{"$numberLong":"9223372036854775807"},"big":18446744073709551616,
     "decimal":{"$numberDecimal":"-1.10E-6000"},"min":{"$minKey":1},"max":{"$maxKey":1},"":"","a":1,"a":2}]==],
}

local views = { ["smartmigration.bson.document"] = true, ["smartmigration.bson.array"] = true }

local function is_view(value)
  return type(value) == "userdata" and views[getmetatable(value)] or false
end

-- Reads everything there is.
local function walk(value)
  if not is_view(value) then return tostring(value) end
  for key, member in pairs(value) do
    bson.type_of(member)
    walk(member)
    if type(key) == "number" then assert(value[key] ~= nil) end
  end
end

local function canonical(value)
  return bson.json(value, { mode = "canonical" })
end

-- What is done with a document, whatever it holds.
local function use(doc)
  walk(doc)
  tostring(doc)
  bson.to_table(doc)
  bson.json(doc)
  assert(bson.equal(doc, doc))
  for key, value in pairs(bson.from_bytes(bson.to_bytes(doc))) do doc[key] = value end
  doc["\1new"] = { 1, { a = "b" } }
end

local function refused(err)
  if type(err) ~= "userdata" or err.code ~= "INVALID_ARGUMENT" then error(err, 0) end
end

local function check_bytes(data)
  local done, doc = pcall(bson.from_bytes, data)
  if not done then return refused(doc) end
  assert(bson.to_bytes(doc) == data, "the bytes of an untouched document changed")
  local text = canonical(doc)
  if not data:find("$", 1, true) then
    local back, other = pcall(bson.from_json, text)
    if back then
      assert(canonical(other) == text, "Extended JSON changed on its way: " .. text)
    else
      assert(other.message:find("nested deeper", 1, true), "its own Extended JSON is refused: " .. text)
    end
  end
  use(doc)
  bson.from_bytes(bson.to_bytes(doc))
  return true
end

local function check_stored(data)
  local doc = stored(data)
  if not doc then return end
  assert(bson.to_bytes(doc) == data, "the bytes of an untouched document changed")
  local done, err = pcall(use, doc)
  if not done then refused(err) end
  done, err = pcall(function() doc.x = 1 return bson.to_bytes(doc) end)
  if not done then refused(err) end
end

local function check_json(text)
  local done, value = pcall(bson.from_json, text)
  if not done then return refused(value) end
  local written = canonical(value)
  local again = bson.from_json(written)
  assert(canonical(again) == written, "canonical Extended JSON changed on its way: " .. written)
  assert(bson.equal(value, again), "the value changed on its way: " .. written)
  bson.from_json(bson.json(value))
  if is_view(value) then
    bson.from_bytes(bson.to_bytes(value))
    walk(value)
  end
  return true
end

-- Says whether the bytes were a document, and whether they were Extended JSON.
function oracle.check(data)
  check_stored(data)
  return check_bytes(data) or false, check_json(data) or false
end

return oracle
