-- bson: values and documents. Bytes are built here by hand (string.pack), so that encoder and reader are judged by
-- something else.
local bson = require "smartmigration.bson"
local process = require "spec.support.process"

-- ---------------------------------------------------------------------- bytes

local function element(type, key, value)
  return string.char(type) .. key .. "\0" .. value
end

local function document(...)
  local body = table.concat({ ... })
  return string.pack("<i4", #body + 5) .. body .. "\0"
end

local function str(text)
  return string.pack("<s4", text .. "\0")
end

local function int32(n)
  return string.pack("<i4", n)
end

local function int64(n)
  return string.pack("<i8", n)
end

local function double(n)
  return string.pack("<d", n)
end

local oid = "0123456789ab"
local scope = document(element(0x10, "x", int32(1)))
local code_with_scope = str "f()" .. scope
code_with_scope = int32(#code_with_scope + 4) .. code_with_scope

-- name of the type -> an element of it with the key "v"
local every_type = {
  double = element(0x01, "v", double(1.5)),
  string = element(0x02, "v", str "text\0with NUL"),
  document = element(0x03, "v", document(element(0x10, "a", int32(1)), element(0x03, "e", document()))),
  array = element(0x04, "v", document(element(0x10, "0", int32(1)), element(0x0a, "1", ""))),
  binary = element(0x05, "v", int32(3) .. "\x80abc"),
  undefined = element(0x06, "v", ""),
  objectid = element(0x07, "v", oid),
  bool = element(0x08, "v", "\1"),
  date = element(0x09, "v", int64(-1)),
  null = element(0x0a, "v", ""),
  regex = element(0x0b, "v", "a.*b\0im\0"),
  dbpointer = element(0x0c, "v", str "db.c" .. oid),
  code = element(0x0d, "v", str "f()"),
  symbol = element(0x0e, "v", str "sym"),
  code_with_scope = element(0x0f, "v", code_with_scope),
  int32 = element(0x10, "v", int32(5)),
  timestamp = element(0x11, "v", int64(7 << 32 | 3)),
  int64 = element(0x12, "v", int64(5)),
  decimal128 = element(0x13, "v", int64(110) .. int64(0x303c000000000000)),
  minkey = element(0xff, "v", ""),
  maxkey = element(0x7f, "v", ""),
}

local function value_of(name)
  return bson.from_bytes(document(every_type[name])).v
end

local function raises(text, f, ...)
  local ok, err = pcall(f, ...)
  assert.is_false(ok)
  assert.equal("INVALID_ARGUMENT", err.code)
  assert.equal("argument", err.category)
  assert.truthy(err.message:find(text, 1, true), ("%q is not in %q"):format(text, err.message))
end

-- ----------------------------------------------------------------------- types

describe("every BSON type", function()
  for name, bytes in pairs(every_type) do
    it(name .. " is written back byte for byte", function()
      local before = document(element(0x02, "first", str "ä\0ö"), bytes, element(0x12, "last", int64(1)))
      local doc = bson.from_bytes(before)
      assert.equal(name, bson.type_of(doc, "v"))
      assert.equal(before, bson.to_bytes(doc))
      doc.last = 2
      assert.equal(document(element(0x02, "first", str "ä\0ö"), bytes, element(0x12, "last", int64(2))),
        bson.to_bytes(doc))
    end)

    it(name .. " survives being read and assigned elsewhere", function()
      if name == "int64" then return end -- reads as a plain integer: its width is the field's, not the number's
      assert.equal(document(bytes), bson.to_bytes(bson.doc { v = value_of(name) }))
      local doc = bson.doc { v = "else" }
      doc.v = value_of(name)
      assert.equal(document(bytes), bson.to_bytes(doc))
    end)
  end

  it("reads as the Lua value it has a twin of", function()
    assert.equal("float", math.type(value_of "double"))
    assert.equal("integer", math.type(value_of "int32"))
    assert.equal("integer", math.type(value_of "int64"))
    assert.equal("text\0with NUL", value_of "string")
    assert.is_true(value_of "bool")
    assert.equal(bson.null, value_of "null")
    assert.equal("\x61\x62\x63", value_of("binary").data)
    assert.equal(0x80, value_of("binary").subtype)
    assert.equal(-1, value_of("date").ms)
    assert.equal("a.*b", value_of("regex").pattern)
    assert.equal("im", value_of("regex").options)
    assert.equal(7, value_of("timestamp").t)
    assert.equal(3, value_of("timestamp").i)
    assert.equal("1.10", tostring(value_of "decimal128"))
    assert.equal("303132333435363738396162", tostring(value_of "objectid"))
    assert.equal(bson.minkey, value_of "minkey")
    assert.equal(bson.maxkey, value_of "maxkey")
  end)

  it("compares values of one type, and refuses to change them", function()
    assert.equal(bson.objectid(tostring(value_of "objectid")), value_of "objectid")
    assert.not_equal(bson.decimal128 "1.1", bson.decimal128 "1.10")
    assert.is_true(bson.objectid "000000000000000000000001" < bson.objectid "000000000000000000000002")
    assert.is_true(bson.date(1) < bson.date(2) and bson.date(2) <= bson.date(2))
    assert.is_true(bson.timestamp(1, 2) < bson.timestamp(2, 1))
    raises("read-only", function() value_of("date").ms = 1 end)
  end)

  it("keeps numbers as they are", function()
    for _, number in ipairs { 5.0, -0.0, 2 ^ 53 + 1, math.huge, 5, -1, 2 ^ 31 | 0, math.mininteger, math.maxinteger } do
      local back = bson.from_bytes(bson.to_bytes { n = number }).n
      assert.equal(math.type(number), math.type(back))
      assert.equal(string.format("%q", number), string.format("%q", back))
    end
    local nan = bson.doc({ n = 0 / 0 }).n
    assert.is_true(nan ~= nan)
  end)

  it("chooses int32 where it fits, and obeys the wrappers", function()
    local types = { [5] = "int32", [2 ^ 31 - 1 | 0] = "int32", [2 ^ 31 | 0] = "int64", [-2 ^ 31 | 0] = "int32" }
    for number, name in pairs(types) do assert.equal(name, bson.type_of(number)) end
    assert.equal("double", bson.type_of(5.0))
    assert.equal("int64", bson.type_of(bson.int64(5)))
    assert.equal("double", bson.type_of(bson.double(5)))
    assert.equal("int32", bson.type_of(bson.int32(5.0)))
    raises("does not fit", bson.int32, 2 ^ 31 | 0)
    raises("integer expected", bson.int64, 1.5)
  end)
end)

describe("constructors", function()
  it("make every type that can be made, with its bytes and its text", function()
    local uuid = "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"
    local cases = {
      { 1.5, "double", double(1.5), "1.5" }, { bson.double(5), "double", double(5), "5.0" },
      { 5, "int32", int32(5), "5" }, { bson.int32(5), "int32", int32(5), "5" }, { bson.int64(5), "int64", int64(5), "5" },
      { 2 ^ 31 | 0, "int64", int64(2 ^ 31 | 0), "2147483648" }, { "a\0ä", "string", str "a\0ä", "a\0ä" },
      { bson.doc { a = 1 }, "document", document(element(0x10, "a", int32(1))), '{"a":1}' },
      { { a = 1 }, "document", document(element(0x10, "a", int32(1))) },
      { bson.array { true }, "array", document(element(0x08, "0", "\1")), "[true]" },
      { { true }, "array", document(element(0x08, "0", "\1")) }, { bson.array(), "array", document(), "[]" },
      { bson.binary("abc", 0x80), "binary", int32(3) .. "\x80abc", "binary(subtype 128, 3 bytes)" },
      { bson.binary "", "binary", int32(0) .. "\0", "binary(subtype 0, 0 bytes)" },
      { bson.uuid "00112233-4455-6677-8899-AABBCCDDEEFF", "binary", int32(16) .. "\4" .. uuid,
        "00112233-4455-6677-8899-aabbccddeeff" },
      { bson.objectid "303132333435363738396162", "objectid", oid, "303132333435363738396162" },
      { true, "bool", "\1", "true" }, { false, "bool", "\0", "false" }, { bson.null, "null", "", "null" },
      { bson.date(-1), "date", int64(-1), "1969-12-31T23:59:59.999Z" },
      { bson.date(math.mininteger), "date", int64(math.mininteger), "-292275055-05-16T16:47:04.192Z" },
      { bson.date(math.maxinteger), "date", int64(math.maxinteger), "+292278994-08-17T07:12:55.807Z" },
      { bson.regex("a.*b", "mi"), "regex", "a.*b\0im\0", "/a.*b/im" }, { bson.regex "", "regex", "\0\0", "//" },
      { bson.timestamp(7, 4294967295), "timestamp", int64(7 << 32 | 4294967295), "timestamp(7, 4294967295)" },
      { bson.decimal128 "1.10", "decimal128", int64(110) .. int64(0x303c000000000000), "1.10" },
      { bson.code "f()", "code", str "f()", "f()" }, { bson.minkey, "minkey", "", "minkey" },
      { bson.maxkey, "maxkey", "", "maxkey" },
    }
    for number, case in ipairs(cases) do
      local doc = bson.doc { v = case[1] }
      assert.equal(case[2], bson.type_of(doc, "v"), "case " .. number)
      assert.equal(case[2], bson.type_of(case[1]))
      assert.equal(document(element(every_type[case[2]]:byte(), "v", case[3])), bson.to_bytes(doc), "case " .. number)
      if case[4] then assert.equal(case[4], tostring(case[1])) end
      local read = bson.from_bytes(bson.to_bytes(doc)).v
      assert.is_true(bson.equal(bson.to_table(doc, { numbers = "wrapped" }).v, case[1]))
      if type(case[1]) ~= "table" then assert.equal(case[4], tostring(read)) end
    end
  end)

  it("refuse what they cannot make", function()
    raises("string", bson.binary, 5)
    raises("subtype of 0 to 255", bson.binary, "x", 256)
    raises("not a UUID", bson.uuid, "00112233-4455-6677-8899-aabbccddeef")
    raises("not an objectid", bson.objectid, ("0"):rep(23) .. "g")
    raises("integer of 0 to 4294967295", bson.timestamp, 4294967296, 0)
    raises("integer of 0 to 4294967295", bson.timestamp, 0, -1)
    raises("without NUL", bson.regex, "a\0b")
    raises("without NUL", bson.regex, "a", "i\0")
    raises("not a decimal128", bson.decimal128, "1.1\0")
    raises("string", bson.decimal128, 1.1)
    raises("valid UTF-8", bson.code, "\xff")
    raises("out of range", bson.date_from_s, math.maxinteger)
    raises("out of range", bson.date_from_s, 0 / 0)
    raises("integer (milliseconds)", bson.date, 1.5)
  end)

  it("read and print dates", function()
    assert.equal(1706695200123, bson.date("2024-01-31T10:00:00.123Z").ms)
    assert.equal(1706695200000, bson.date("2024-01-31T12:00:00+02:00").ms)
    assert.equal("2024-01-31T10:00:00.123Z", tostring(bson.date(1706695200123)))
    assert.equal("1969-12-31T23:59:59.999Z", tostring(bson.date(-1)))
    assert.equal("+010000-01-01T00:00:00.000Z", tostring(bson.date(253402300800000)))
    assert.equal(-62135596800000, bson.date("0001-01-01T00:00:00Z").ms)
    assert.equal(5000, bson.date_from_s(5).ms)
    assert.equal(1500, bson.date_from_s(1.5).ms)
    assert.equal(-1500, bson.date_from_s(-1.5).ms)
    assert.equal(1000, bson.date(2000) - bson.date(1000))
    assert.equal(bson.date(3000), bson.date(1000) + 2000)
    assert.equal(bson.date(500), bson.date(1000) - 500)
    assert.is_true(math.abs(bson.now().ms - os.time() * 1000) < 10000)
    for _, bad in ipairs { "2024-02-30T00:00:00Z", "2024-01-31", "2024-01-31T10:00:00", "2024-1-31T10:00:00Z", "x" } do
      raises("is not a date", bson.date, bad)
    end
    raises("out of range", function() return bson.date(math.maxinteger) + 1 end)
  end)

  it("make ids, binaries, UUIDs, expressions", function()
    assert.not_equal(bson.objectid(), bson.objectid())
    assert.is_true(math.abs(bson.objectid():timestamp_s() - os.time()) < 10)
    raises("24 hexadecimal digits", bson.objectid, "xyz")
    local uuid = "00112233-4455-6677-8899-aabbccddeeff"
    assert.equal(uuid, tostring(bson.uuid(uuid)))
    assert.equal(bson.uuid(uuid), bson.uuid((uuid:gsub("-", ""))))
    assert.equal(4, bson.uuid().subtype)
    raises("is not a UUID", bson.uuid, "0011")
    assert.equal("old", bson.binary("old", 2).data)
    assert.equal(document(element(0x05, "b", int32(7) .. "\2" .. int32(3) .. "old")),
      bson.to_bytes { b = bson.binary("old", 2) })
    assert.equal("ix", bson.regex("a", "xi").options)
    raises("regex options", bson.regex, "a", "q")
    raises("decimal128", bson.decimal128, "one")
    assert.equal("f()", tostring(bson.code "f()"))
  end)

  it("treat null as truthy, and nilify it", function()
    assert.equal("null", tostring(bson.null))
    assert.is_true(bson.is_null(bson.null))
    assert.is_false(bson.is_null(nil))
    assert.is_nil(bson.nilify(bson.null))
    assert.equal(5, bson.nilify(5))
    assert.is_nil(bson.doc({ a = bson.null }).b)
  end)
end)

-- ------------------------------------------------------------------------ encoding

describe("plain tables", function()
  it("are sorted, pairs keep their order", function()
    assert.equal([[{"a":1,"b":2,"c":{"y":1,"z":2}}]], bson.json { c = { z = 2, y = 1 }, b = 2, a = 1 })
    assert.equal([[{"b":1,"a":-1}]], bson.json(bson.doc { { "b", 1 }, { "a", -1 } }))
    assert.equal("[]", bson.json(bson.array {}))
    assert.equal("{}", bson.json(bson.doc {}))
    assert.equal("[1,[],{}]", bson.json { 1, bson.array(), bson.doc() })
    assert.equal("[]", bson.json(setmetatable({}, bson.array_mt)))
    assert.equal([[{"0":1}]], bson.json { ["0"] = 1 })
  end)

  it("are the same bytes in every process", function()
    local script = ([[package.cpath = %q local bson = require "smartmigration.bson" local t = {}
      for i = 1, 50 do t["k" .. i] = i end io.write(bson.json(t))]]):format(package.cpath)
    local first
    for _ = 1, 100 do
      local result = process.run { "lua5.4", "-e", script }
      assert.equal(0, result.status, result.err)
      first = first or result.out
      assert.equal(first, result.out)
    end
    assert.truthy(first:find('"k1":1', 1, true))
  end)

  it("empty are what their place says", function()
    for _, key in ipairs { "$in", "$nin", "$all", "$and", "$or", "$nor", "$each", "$pullAll" } do
      assert.equal(('{"a":{"%s":[]}}'):format(key), bson.json { a = { [key] = {} } })
    end
    assert.equal([[{"$set":{}}]], bson.json { ["$set"] = {} })
    raises("empty table is ambiguous; use bson.array{} or bson.doc{} (at 'a.b[2]')", bson.json, { a = { b = { 1, {} } } })
  end)

  it("raise where order matters", function()
    raises("key order matters in '$sort': write { { \"a\", 1 }, { \"b\", -1 } } (at '[1].$sort')", bson.json,
      { { ["$sort"] = { a = 1, b = 1 } } })
    raises("key order matters in '_id'", bson.doc, { _id = { a = 1, b = 2 } })
    assert.equal([[{"_id":{"b":1,"a":2}}]], bson.json { _id = { { "b", 1 }, { "a", 2 } } })
    assert.equal([[{"_id":{"$gt":1,"$lt":9}}]], bson.json { _id = { ["$lt"] = 9, ["$gt"] = 1 } })
    assert.equal([[{"_id":{"a":1}}]], bson.json { _id = { a = 1 } })
  end)

  it("raise with the path for what cannot be encoded", function()
    local cycle = {}
    cycle.again = cycle
    raises("(at 'again.again.", bson.doc, cycle)
    raises("holes", bson.doc, { a = { lines = { 1, nil, 3 } } })
    raises("(at 'a.lines')", bson.doc, { a = { lines = { 1, nil, 3 } } })
    raises("both names and indexes", bson.doc, { a = { 1, x = 2 } })
    raises("begins at [1]", bson.doc, { a = { [0] = 1 } })
    raises("with a number as key", bson.doc, { a = { [1.5] = 1 } })
    raises("with a boolean as key", bson.doc, { a = { [true] = 1 } })
    raises("cannot encode a function (at 'a[1]')", bson.doc, { a = { print } })
    raises("cannot encode a thread (at 'a')", bson.doc, { a = coroutine.create(print) })
    raises("cannot encode a userdata (at 'a')", bson.doc, { a = io.stdout })
    raises("must not contain NUL (at 'a.b\\x00c')", bson.doc, { a = { ["b\0c"] = 1 } })
    raises("key must be valid UTF-8 (at '\\xff')", bson.doc, { ["\xff"] = 1 })
    raises("use bson.binary(s) for bytes (at 'a')", bson.doc, { a = "\xff" })
    raises("larger than 16 MiB (at 'a.b')", bson.doc, { a = { b = ("x"):rep(17 * 1024 * 1024) } })
    raises("larger than 16 MiB (at 'a.b')", bson.doc, { a = { b = bson.binary(("x"):rep(16 * 1024 * 1024)) } })
  end)

  it("may be nested 100 levels, no more", function()
    local function nest(levels)
      local t = { leaf = 1 }
      for _ = 2, levels do t = { d = t } end
      return t
    end
    assert.equal(100, select(2, bson.json(bson.doc(nest(100))):gsub("{", "{")))
    raises("deeper than 100", bson.doc, nest(101))
  end)
end)

-- --------------------------------------------------------------------------- views

describe("document views", function()
  it("have no methods: every name is a field", function()
    local doc = bson.doc { get = 1, __index = 2, n = 3, id = 4, [""] = 5 }
    assert.same({ 1, 2, 3, 4, 5 }, { doc.get, doc.__index, doc.n, doc.id, doc[""] })
    assert.is_nil(doc.absent)
    assert.is_nil(doc[1])
    raises("has no length", function() return #doc end)
    raises("strings as names", function() doc[1] = 1 end)
  end)

  it("are walked in stored order, also while they are written to", function()
    local doc, seen = bson.doc { { "b", 1 }, { "a", 2 }, { "c", 3 } }, {}
    for key, value in pairs(doc) do
      seen[#seen + 1] = key
      doc[key] = value * 10
      if key == "b" then doc.a = nil end
    end
    assert.same({ "b", "c" }, seen)
    assert.equal([[{"b":10,"c":30}]], bson.json(doc))
  end)

  it("keep order when fields change, append new ones, forget removed ones", function()
    local doc = bson.doc { { "b", 1 }, { "a", "x" }, { "c", true } }
    doc.a, doc.z, doc.b = "longer", 1, nil
    doc.absent = nil
    assert.equal([[{"a":"longer","c":true,"z":1}]], bson.json(doc))
    for i = 1, 100 do doc["n" .. i] = i end
    assert.equal(100, doc.n100)
    assert.equal(100, bson.from_bytes(bson.to_bytes(doc)).n100)
  end)

  it("read the first of duplicate keys and keep both", function()
    local bytes = document(element(0x10, "a", int32(1)), element(0x10, "b", int32(2)), element(0x10, "a", int32(3)))
    local doc = bson.from_bytes(bytes)
    assert.equal(1, doc.a)
    doc.b = 5
    assert.equal((bytes:gsub("b\0\2", "b\0\5")), bson.to_bytes(doc))
    doc.a = nil
    assert.is_nil(doc.a)
    assert.equal(document(element(0x10, "b", int32(5))), bson.to_bytes(doc))
  end)

  it("find fields of large documents, first ones and last ones", function()
    local pairs_list = {}
    for i = 1, 1000 do pairs_list[i] = { "k" .. i, i } end
    local doc = bson.doc(pairs_list)
    for _ = 1, 3 do
      for i = 1, 1000, 37 do assert.equal(i, doc["k" .. i]) end
      assert.is_nil(doc.k1001)
    end
    doc.k500 = "changed"
    assert.equal("changed", doc.k500)
    assert.equal(1000, doc.k1000)
  end)

  it("write nested views through", function()
    local doc = bson.doc { a = { b = { { c = 1 }, { c = 2 } } }, x = 1 }
    local held = doc.a.b[2]
    assert.equal(held, doc.a.b[2])
    held.c = 20
    held.new = "n"
    assert.equal([[{"a":{"b":[{"c":1},{"c":20,"new":"n"}]},"x":1}]], bson.json(doc))
    assert.equal(held, doc.a.b[2])
  end)

  it("copy what is assigned, and leave a replaced view readable only", function()
    local doc, other = bson.doc { a = { n = 1 }, b = { n = 2 } }, { list = { 1 } }
    local old = doc.a
    doc.a = doc.b
    doc.a.n = 3
    assert.same({ 3, 2, 1 }, { doc.a.n, doc.b.n, old.n })
    raises("replaced or removed", function() old.n = 9 end)
    doc.c = other
    other.list[1] = 99
    doc.c.list[2] = 2
    assert.equal("[1,2]", bson.json(doc.c.list))
    local inner = doc.c.list
    doc.c = nil
    raises("replaced or removed", function() inner[1] = 5 end)
    assert.equal(1, inner[1])
    local same = doc.b
    doc.b = same
    same.n = 7
    assert.equal(7, doc.b.n)
  end)

  it("refuse what cannot be encoded when it is assigned, with the whole path", function()
    local doc = bson.doc { a = { lines = { { x = 1 } } } }
    raises("(at 'a.lines[1].y.z')", function() doc.a.lines[1].y = { z = {} } end)
    raises("(at 'a.lines[2]')", function() doc.a.lines[2] = print end)
    raises("(at 'a.t')", function() doc.a.t = "\xff" end)
    doc.b = { c = { 1 } }
    raises("(at 'b.c[2].d')", function() doc.b.c[2] = { d = {} } end)
    assert.equal([[{"a":{"lines":[{"x":1}]},"b":{"c":[1]}}]], bson.json(doc))
  end)

  it("keep the type of numbers where it fits", function()
    local cases = {
      { bson.int64(1), 5, "int64", 5 },       { bson.int32(1), 5, "int32", 5 },
      { bson.int32(1), 2 ^ 40 | 0, "int64", 2 ^ 40 | 0 }, { 1.5, 5, "double", 5.0 },
      { 1.5, 2 ^ 53 | 0, "double", 2.0 ^ 53 }, { bson.int32(1), 1.5, "double", 1.5 },
      { bson.int64(1), 1.5, "double", 1.5 },  { bson.int64(1), bson.int32(7), "int32", 7 },
      { 1.5, bson.int64(2), "int64", 2 },     { "text", 5, "int32", 5 },
      { bson.decimal128 "1", bson.double(2), "double", 2.0 }, { bson.int64(1), "text", "string", "text" },
    }
    for number, case in ipairs(cases) do
      local doc = bson.from_bytes(bson.to_bytes { n = case[1] })
      doc.n = case[2]
      for _ = 1, 2 do
        assert.equal(case[3], bson.type_of(doc, "n"), "case " .. number)
        assert.equal(case[4], doc.n)
        assert.equal(math.type(case[4]), math.type(doc.n))
        doc = bson.from_bytes(bson.to_bytes(doc))
      end
    end
    local doc = bson.doc { n = bson.int64(1), d = 1.5, m = bson.decimal128 "1" }
    doc.n = doc.n + 1
    doc.n = doc.n + 1
    assert.equal("int64", bson.type_of(doc, "n"))
    raises("cannot hold 9007199254740993 exactly", function() doc.d = 2 ^ 53 + 1 | 1 end)
    raises("cannot hold", function() doc.d = math.maxinteger end)
    raises("decimal128", function() doc.m = 1 end)
    raises("decimal128", function() doc.m = 1.5 end)
  end)

  it("survive a collector that runs at every step", function()
    local bytes = bson.to_bytes { a = { b = { c = { 1, 2, { d = "x" } } } }, list = { { n = 1 }, { n = 2 } } }
    local function work()
      local doc = bson.from_bytes(bytes)
      doc.a.b.c[3].d = "changed"
      doc.list[1].n = doc.list[1].n + 1
      table.insert(doc.list, { n = { 3 } })
      doc.list[3].n[2] = bson.date(1)
      table.remove(doc.list, 2)
      for _, item in ipairs(doc.list) do item.seen = true end
      return bson.json(bson.from_bytes(bson.to_bytes(doc)))
    end
    local expected = work()
    assert.equal([[{"a":{"b":{"c":[1,2,{"d":"changed"}]}},]]
      .. [["list":[{"n":2,"seen":true},{"n":[3,{"$date":"1970-01-01T00:00:00.001Z"}],"seen":true}]}]], expected)
    local hook, mask, count = debug.gethook()
    local collect = collectgarbage
    debug.sethook(function() collect() end, "", 1)
    local ok, result = pcall(work)
    debug.sethook(hook, mask, count)
    assert.is_true(ok, result)
    assert.equal(expected, result)
    local mode = collectgarbage "generational"
    local pause, multiplier = collectgarbage("setpause", 0), collectgarbage("setstepmul", 1000)
    for _ = 1, 200 do assert.equal(expected, work()) end
    collectgarbage("setpause", pause)
    collectgarbage("setstepmul", multiplier)
    collectgarbage(mode)
  end)
end)

describe("array views", function()
  it("work with the table library", function()
    local list = bson.array { 3, 1, 2 }
    assert.equal(3, #list)
    table.insert(list, 5)
    table.insert(list, 1, 9)
    assert.equal(2, table.remove(list, 4))
    assert.equal(5, table.remove(list))
    table.sort(list)
    assert.equal("1,3,9", table.concat(list, ","))
    assert.same({ 1, 3, 9 }, { table.unpack(list) })
    assert.is_nil(list[4])
    assert.is_nil(list.n)
    local seen = {}
    for i, value in pairs(list) do seen[i] = value end
    assert.same({ 1, 3, 9 }, seen)
    assert.equal(document(element(0x10, "0", int32(1)), element(0x10, "1", int32(3)), element(0x10, "2", int32(9))),
      bson.to_bytes(list))
    local empty = bson.array()
    assert.is_nil(table.remove(empty))
    empty[1] = "a"
    assert.equal([=[["a"]]=], bson.json(empty))
  end)

  it("refuse holes and names", function()
    local list = bson.array { 1, 2, 3 }
    raises("hole", function() list[5] = 1 end)
    raises("table.remove", function() list[1] = nil end)
    raises("hole", function() list[0] = 1 end)
    raises("integers", function() list.x = 1 end)
    list[9] = nil
    list[3] = nil
    list[3] = "again"
    assert.equal([=[[1,2,"again"]]=], bson.json(list))
  end)

  it("move documents by copying them", function()
    local list = bson.array { { n = 2 }, { n = 1 }, { n = 3 } }
    table.sort(list, function(a, b) return a.n < b.n end)
    list[1].n = 10
    assert.equal([=[[{"n":10},{"n":2},{"n":3}]]=], bson.json(list))
  end)

  it("are read forward, backward and at random", function()
    local plain = {}
    for i = 1, 3000 do plain[i] = i end
    local list = bson.array(plain)
    for i = 1, 3000 do assert.equal(i, list[i]) end
    for i = 3000, 1, -1 do assert.equal(i, list[i]) end
    for i = 1, 3000, 7 do assert.equal((i * 31) % 3000 + 1, list[(i * 31) % 3000 + 1]) end
  end)
end)

-- ---------------------------------------------------------------------- operations

describe("operations", function()
  it("to_table gives tables that encode back", function()
    local doc = bson.doc { a = bson.array(), d = bson.doc(), n = bson.null, l = { 1, bson.null }, i = bson.int64(5) }
    local plain = bson.to_table(doc)
    assert.equal("table", type(plain.a))
    assert.equal(bson.null, plain.n)
    assert.equal([[{"a":[],"d":{},"i":5,"l":[1,null],"n":null}]], bson.json(plain))
    assert.equal("int64", bson.type_of(bson.to_table(doc, { numbers = "wrapped" }), "i"))
    assert.is_nil(bson.to_table(doc, { null = "nil" }).n)
    assert.equal(bson.null, bson.to_table(doc, { null = "nil" }).l[2])
    raises("did you mean 'numbers'", bson.to_table, doc, { number = "plain" })
    raises("'plain' or 'wrapped'", bson.to_table, doc, { numbers = "x" })
  end)

  it("type_of follows paths", function()
    local doc = bson.doc { a = { { b = bson.date(0) } } }
    assert.equal("date", bson.type_of(doc, "a[1].b"))
    assert.equal("array", bson.type_of(doc, "a"))
    assert.is_nil(bson.type_of(doc, "a[2]"))
    assert.is_nil(bson.type_of(doc, "x.y"))
    assert.equal("document", bson.type_of(doc))
    assert.equal("null", bson.type_of(bson.null))
  end)

  it("equal compares types, values and order", function()
    assert.is_true(bson.equal(bson.doc { a = { 1 } }, { a = { 1 } }))
    assert.is_false(bson.equal({ a = 1 }, { a = 1.0 }))
    assert.is_false(bson.equal(bson.doc { { "a", 1 }, { "b", 2 } }, bson.doc { { "b", 2 }, { "a", 1 } }))
    assert.is_false(bson.equal(bson.array(), bson.doc()))
    assert.is_true(bson.equal(bson.date(1), bson.date(1)))
    assert.is_false(bson.equal(nil, bson.null))
  end)

  it("from_bytes checks the structure", function()
    for _, bad in ipairs { "", "\5\0\0\0", "\6\0\0\0\0", "\5\0\0\0\1", document "\16a", document "\66a\0", int32(-1) .. "\0",
      document(element(0x02, "s", int32(100) .. "x\0")), document(element(0x02, "s", int32(1) .. "x")),
      document(element(0x03, "d", int32(5) .. "\1")), document(element(0x08, "b", "\2")),
      document(element(0x0f, "c", int32(14) .. int32(9) .. ("x"):rep(6))), document(element(0x0b, "r", "abc")) } do
      raises("not a BSON document", bson.from_bytes, bad)
    end
    local deep = document()
    for _ = 1, 300 do deep = document(element(0x03, "d", deep)) end
    raises("nested too deeply", bson.from_bytes, deep)
  end)

  it("tostring is cut, json is whole", function()
    local doc = bson.doc { text = ("ä"):rep(2000) }
    assert.is_true(#tostring(doc) <= 1003)
    assert.truthy(utf8.len(tostring(doc)))
    assert.equal("...", tostring(doc):sub(-3))
    assert.is_true(#bson.json(doc) > 4000)
  end)

  it("json writes Extended JSON", function()
    local cases = {
      { "double", "1.5", '{"$numberDouble":"1.5"}' },
      { "int32", "5", '{"$numberInt":"5"}' },
      { "int64", "5", '{"$numberLong":"5"}' },
      { "string", '"text\\u0000with NUL"' },
      { "document", '{"a":1,"e":{}}', '{"a":{"$numberInt":"1"},"e":{}}' },
      { "array", "[1,null]", '[{"$numberInt":"1"},null]' },
      { "binary", '{"$binary":{"base64":"YWJj","subType":"80"}}' },
      { "undefined", '{"$undefined":true}' },
      { "objectid", '{"$oid":"303132333435363738396162"}' },
      { "bool", "true" },
      { "date", '{"$date":{"$numberLong":"-1"}}' },
      { "null", "null" },
      { "regex", '{"$regularExpression":{"pattern":"a.*b","options":"im"}}' },
      { "dbpointer", '{"$dbPointer":{"$ref":"db.c","$id":{"$oid":"303132333435363738396162"}}}' },
      { "code", '{"$code":"f()"}' },
      { "symbol", '{"$symbol":"sym"}' },
      { "code_with_scope", '{"$code":"f()","$scope":{"x":1}}', '{"$code":"f()","$scope":{"x":{"$numberInt":"1"}}}' },
      { "timestamp", '{"$timestamp":{"t":7,"i":3}}' },
      { "decimal128", '{"$numberDecimal":"1.10"}' },
      { "minkey", '{"$minKey":1}' },
      { "maxkey", '{"$maxKey":1}' },
    }
    assert.equal(21, #cases)
    for _, case in ipairs(cases) do
      local doc = bson.from_bytes(document(every_type[case[1]]))
      assert.equal(('{"v":%s}'):format(case[2]), bson.json(doc))
      assert.equal(('{"v":%s}'):format(case[3] or case[2]), bson.json(doc, { mode = "canonical" }))
    end
    assert.equal('{"$date":"2024-01-31T10:00:00Z"}', bson.json(bson.date "2024-01-31T10:00:00Z"))
    assert.equal('{"$date":"2024-01-31T10:00:00.120Z"}', bson.json(bson.date "2024-01-31T10:00:00.12Z"))
    assert.equal('{"$numberDouble":"NaN"}', bson.json(0 / 0))
    assert.equal("[5.0,0.1,-0.0]", bson.json { 5.0, 0.1, -0.0 })
    assert.equal([=[["\"\\\n\u0001é"]]=], bson.json { '"\\\n\1é' })
  end)
end)
