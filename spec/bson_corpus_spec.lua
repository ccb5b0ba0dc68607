-- The BSON corpus of the MongoDB specifications (scripts/setup corpus): every valid case, decode error and parse error in it, as
-- its README wants them tested. The number of cases that ran is compared with the number in the files.
local bson = require "smartmigration.bson"
local json = require "spec.support.json"

local folder = ".cache/bson_corpus"

local function read_files()
  local files = {}
  local listing = assert(io.popen("ls " .. folder .. "/*.json"))
  for path in listing:lines() do
    local file <close> = assert(io.open(path, "rb"))
    local text = file:read "a"
    files[#files + 1] = { name = path:match "([^/]+)%.json$", text = text, corpus = json.read(text) }
  end
  assert(listing:close() and #files > 0, "there is no BSON corpus in " .. folder .. ": run scripts/setup corpus")
  return files
end

local files = read_files()
local ran = { valid = 0, decodeErrors = 0, parseErrors = 0 }

-- How many cases the files hold, counted in their text and not by what was read: each has a description, and so has the file.
local function cases_in_files()
  local count = 0
  for _, file in ipairs(files) do
    count = count + select(2, file.text:gsub('"description"%s*:', "")) - 1
  end
  return count
end

local function each_case(list, run)
  for _, file in ipairs(files) do
    local cases = json.get(file.corpus, list)
    for number, case in ipairs(cases and cases.array or {}) do
      local function get(name) return json.get(case, name) end
      local done, err = xpcall(run, debug.traceback, get, json.get(file.corpus, "bson_type"))
      assert(done, ("%s, %s %d, %s: %s"):format(file.name, list, number, get "description", tostring(err)))
      ran[list] = ran[list] + 1
    end
  end
end

local function bytes_of(hex)
  return hex and (hex:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end))
end

-- JSON made comparable: white space, escapes and the way a double is written do not count; order does, and so do the types.
local function normal(value, in_double)
  if type(value) ~= "table" then
    if in_double and tonumber(value) then return ("%q"):format(tonumber(value) + 0.0) end
    return type(value) == "string" and ("%q"):format(value) or tostring(value)
  end
  if value.number then
    return value.number:find "[.eE]" and ("%q"):format(tonumber(value.number)) or value.number
  end
  local parts = {}
  for _, member in ipairs(value.object or {}) do
    parts[#parts + 1] = ("%q:%s"):format(member[1], normal(member[2], member[1] == "$numberDouble"))
  end
  for _, item in ipairs(value.array or {}) do parts[#parts + 1] = normal(item) end
  local open, close = table.unpack(value.object and { "{", "}" } or value.array and { "[", "]" } or { "null", "" })
  return open .. table.concat(parts, ",") .. close
end

local function same_json(expected, got)
  assert.equal(normal(json.read(expected)), normal(json.read(got)))
end

local function canonical(value)
  return bson.json(value, { mode = "canonical" })
end

local function check_bytes(bytes)
  local doc = bson.from_bytes(bytes)
  assert.equal(bytes, bson.to_bytes(doc))
  -- A field elsewhere changes: every other byte stays.
  doc["field of the spec"] = true
  local field = "\8field of the spec\0\1"
  assert.equal(string.pack("<i4", #bytes + #field) .. bytes:sub(5, -2) .. field .. "\0", bson.to_bytes(doc))
  doc["field of the spec"] = nil
  assert.equal(bytes, bson.to_bytes(doc))
  -- The same as a nested document, with a change beside it.
  local outer = bson.doc { { "before", 1 }, { "inner", bson.from_bytes(bytes) } }
  outer.before = 2
  local inner = "\16before\0\2\0\0\0\3inner\0" .. bytes
  assert.equal(string.pack("<i4", #inner + 5) .. inner .. "\0", bson.to_bytes(outer))
end

-- Every value read and written one by one, so that no bytes are copied but those of scalars.
local function rebuilt(doc)
  local list = {}
  for key in pairs(doc) do
    local value = doc[key]
    if math.type(value) == "integer" then value = bson[bson.type_of(doc, key)](value) end
    list[#list + 1] = { key, value }
  end
  return #list > 0 and bson.doc(list) or bson.doc()
end

describe("the BSON corpus", function()
  it("valid cases are converted and written back", function()
    each_case("valid", function(get)
      local bytes, extended = bytes_of(get "canonical_bson"), get "canonical_extjson"
      local relaxed, degenerate = get "relaxed_extjson", get "degenerate_extjson"
      check_bytes(bytes)
      local doc = bson.from_bytes(bytes)
      same_json(extended, canonical(doc))
      if relaxed then
        same_json(relaxed, bson.json(doc))
        same_json(relaxed, bson.json(bson.from_json(relaxed)))
      end
      same_json(extended, canonical(bson.from_json(extended)))
      if not get "lossy" then
        assert.equal(bytes, bson.to_bytes(bson.from_json(extended)))
        assert.equal(bytes, bson.to_bytes(bson.from_json(canonical(doc))))
        assert.equal(bytes, bson.to_bytes(rebuilt(doc)))
      end
      if degenerate then
        same_json(extended, canonical(bson.from_json(degenerate)))
        if not get "lossy" then assert.equal(bytes, bson.to_bytes(bson.from_json(degenerate))) end
      end
      local stored = bytes_of(get "degenerate_bson")
      if stored then
        check_bytes(stored) -- what was stored so stays so
        local other = bson.from_bytes(stored)
        same_json(extended, canonical(other))
        if relaxed then same_json(relaxed, bson.json(other)) end
        assert.equal(bytes, bson.to_bytes(bson.from_json(canonical(other))))
      end
    end)
  end)

  it("decode errors are refused", function()
    each_case("decodeErrors", function(get)
      local done, err = pcall(bson.from_bytes, bytes_of(get "bson"))
      assert.is_false(done)
      assert.truthy(err.message:find("not a BSON document", 1, true), err.message)
    end)
  end)

  it("parse errors are refused", function()
    each_case("parseErrors", function(get, kind)
      local text = get "string"
      if kind == "0x13" then
        local done, err = pcall(bson.decimal128, text)
        assert.is_false(done)
        assert.equal("INVALID_ARGUMENT", err.code)
        text = ('{"d":{"$numberDecimal":"%s"}}'):format((text:gsub('[\\"]', "\\%0")))
      end
      json.read(text) -- what is wrong with it is not its JSON
      local done, err = pcall(bson.from_json, text)
      assert.is_false(done)
      assert.truthy(err.message:find("not Extended JSON", 1, true), err.message)
    end)
  end)

  it("was run whole", function()
    local expected = cases_in_files()
    local total = ran.valid + ran.decodeErrors + ran.parseErrors
    print(("bson corpus: %d valid cases, %d decode errors and %d parse errors run, %d of the %d cases in %d files"):format(
      ran.valid, ran.decodeErrors, ran.parseErrors, total, expected, #files))
    assert.equal(expected, total)
    for list, count in pairs(ran) do assert.is_true(count > 0, list .. " is empty") end
  end)
end)
