-- bson.from_json: Extended JSON into values, and everything it must refuse, with the place.
local bson = require "smartmigration.bson"

local function refuses(text, why)
  local ok, err = pcall(bson.from_json, text)
  assert.is_false(ok, "accepted: " .. text)
  assert.equal("INVALID_ARGUMENT", err.code)
  assert.truthy(err.message:find(why, 1, true), ("%q is not in %q"):format(why, err.message))
end

local function canonical(value)
  return bson.json(value, { mode = "canonical" })
end

describe("bson.from_json", function()
  it("gives documents, arrays and other values", function()
    assert.equal("x", bson.from_json([[ { "a" : { "b" : [ 1 , "x" ] } } ]]).a.b[2])
    assert.equal(3, #bson.from_json "[1,[],{}]")
    assert.equal("text", bson.from_json '"text"')
    assert.equal(bson.null, bson.from_json "null")
    assert.is_true(bson.from_json "true")
    assert.is_false(bson.from_json "\n\t\rfalse ")
    assert.equal(bson.objectid "56e1fc72e0c917e9c4714161", bson.from_json '{"$oid":"56e1fc72e0c917e9c4714161"}')
    local doc = bson.from_json '{"a":1}'
    doc.a = doc.a + 1
    assert.equal('{"a":2}', bson.json(doc))
  end)

  it("chooses the type of numbers by their form and size", function()
    local cases = {
      { "0", "int32", 0 }, { "-0", "int32", 0 }, { "2147483647", "int32", 2147483647 }, { "-2147483648", "int32", -2147483648 },
      { "2147483648", "int64", 2147483648 }, { "9223372036854775807", "int64", math.maxinteger },
      { "-9223372036854775808", "int64", math.mininteger }, { "9223372036854775808", "double", 2.0 ^ 63 },
      { "1.0", "double", 1.0 }, { "-0.0", "double", -0.0 }, { "1e2", "double", 100.0 }, { "1E-2", "double", 0.01 },
      { "5e-324", "double", 5e-324 }, { "0.1", "double", 0.1 }, { "1" .. ("0"):rep(300), "double", 1e300 },
    }
    for _, case in ipairs(cases) do
      local doc = bson.from_json(('{"n":%s}'):format(case[1]))
      assert.equal(case[2], bson.type_of(doc, "n"), case[1])
      assert.equal(("%q"):format(case[3]), ("%q"):format(doc.n))
    end
    for _, bad in ipairs { "01", "-", "1.", ".5", "+1", "1e", "1e+", "--1" } do refuses(bad, "(line 1, column 1)") end
    refuses("0x10", "there is more text after the value (line 1, column 2)")
    for _, bad in ipairs { "NaN", "Infinity" } do refuses(bad, "a value expected") end
    refuses("1e400", "beyond the range of doubles")
  end)

  it("reads strings strictly", function()
    assert.equal('"\\/\b\f\n\r\tä😀\0', bson.from_json [["\"\\\/\b\f\n\r\t\u00e4\ud83d\uDE00\u0000"]])
    assert.equal("\u{ffff}\u{10ffff}\u{800}\u{7f}", bson.from_json [["\uffff\udbff\udfff\u0800\u007f"]])
    refuses([["\ud800"]], "first half of a surrogate pair")
    refuses([["\ud800\u0041"]], "first half of a surrogate pair")
    refuses([["\udc00"]], "second half of a surrogate pair")
    refuses([["\u12g4"]], "four hexadecimal digits")
    refuses([["\x41"]], "unknown escape")
    refuses('"a\nb"', "control character")
    refuses('"a\0b"', "control character")
    refuses('"abc', "the string does not end (line 1, column 1)")
    refuses('"abc\\', "unknown escape")
    for _, bytes in ipairs { "\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x80" } do
      refuses('{"a":"' .. bytes .. '"}', "not valid UTF-8 (line 1, column 7)")
      refuses('{"' .. bytes .. '":1}', "not valid UTF-8 (line 1, column 3)")
    end
  end)

  it("keeps the order of fields, and duplicate ones", function()
    local doc = bson.from_json '{"b":1,"a":2,"b":3,"":4}'
    assert.equal('{"b":1,"a":2,"b":3,"":4}', bson.json(doc))
    assert.equal(1, doc.b)
  end)

  it("says where the text is wrong", function()
    refuses("", "it ends where a value is expected (line 1, column 1)")
    refuses('{"a":1,}', "a key in quotes expected, got '}' (line 1, column 8)")
    refuses('{"a" 1}', "':' expected, got '1' (line 1, column 6)")
    refuses('{"a":1 "b":2}', "',' or '}' expected, got '\"' (line 1, column 8)")
    refuses("[1 2]", "',' or ']' expected, got '2' (line 1, column 4)")
    refuses('{\n  "ä": [1,\n  "ö" ä]\n}', "',' or ']' expected, got 'ä' (line 3, column 7)")
    refuses("{} x", "there is more text after the value (line 1, column 4)")
    refuses("nul", "a value expected, got 'n'")
    refuses("{'a':1}", "a key in quotes expected")
    refuses("\u{feff}{}", "a value expected")
    refuses("[1]\0", "there is more text")
    refuses('{"a\\u0000":1}', "a key must not contain NUL (line 1, column 4)")
    refuses('{"a":\n{"$oid":5}}', 'malformed $oid: write {"$oid": "<24 hexadecimal digits>"} (line 2, column 1)')
    assert.is_false((pcall(bson.from_json, 5)))
  end)

  it("reads every wrapper in every form", function()
    local cases = {
      { '{"$numberInt":"-5"}' }, { '{"$numberLong":"5"}' }, { '{"$numberDouble":"-0.0"}' }, { '{"$numberDouble":"NaN"}' },
      { '{"$numberDouble":"-Infinity"}' }, { '{"$numberDecimal":"1.10"}' }, { '{"$undefined":true}' }, { '{"$minKey":1}' },
      { '{"$maxKey":1}' }, { '{"$symbol":"s"}' }, { '{"$code":"f()"}' }, { '{"$code":"f()","$scope":{}}' },
      { '{"$scope":{"x":{"$numberInt":"1"}},"$code":"f()"}', '{"$code":"f()","$scope":{"x":{"$numberInt":"1"}}}' },
      { '{"$oid":"56E1FC72E0C917E9C4714161"}', '{"$oid":"56e1fc72e0c917e9c4714161"}' },
      { '{"$date":"2012-12-24T12:15:30.501Z"}', '{"$date":{"$numberLong":"1356351330501"}}' },
      { '{"$date":"2012-12-24T13:15:30+01:00"}', '{"$date":{"$numberLong":"1356351330000"}}' },
      { '{"$date":{"$numberLong":"-9223372036854775808"}}' },
      { '{"$binary":{"base64":"//8=","subType":"80"}}' }, { '{"$binary":{"base64":"","subType":"02"}}' },
      { '{"$binary":{"subType":"5","base64":"AAEC"}}', '{"$binary":{"base64":"AAEC","subType":"05"}}' },
      { '{"$binary":"//8=","$type":"0"}', '{"$binary":{"base64":"//8=","subType":"00"}}' },
      { '{"$type":"80","$binary":"//8="}', '{"$binary":{"base64":"//8=","subType":"80"}}' },
      { '{"$uuid":"73ffd264-44b3-4c69-90e8-e7d1dfc035d4"}', '{"$binary":{"base64":"c//SZESzTGmQ6OfR38A11A==","subType":"04"}}' },
      { '{"$regularExpression":{"pattern":"a","options":"xi"}}', '{"$regularExpression":{"pattern":"a","options":"ix"}}' },
      { '{"$options":"i","$regex":"a"}', '{"$regularExpression":{"pattern":"a","options":"i"}}' },
      { '{"$timestamp":{"i":4294967295,"t":0}}', '{"$timestamp":{"t":0,"i":4294967295}}' },
      { '{"$dbPointer":{"$id":{"$oid":"56e1fc72e0c917e9c4714161"},"$ref":"b"}}',
        '{"$dbPointer":{"$ref":"b","$id":{"$oid":"56e1fc72e0c917e9c4714161"}}}' },
      -- No wrappers, though they look like some: query operators, DBRefs.
      { '{"$regex":"a"}' }, { '{"$type":"string"}' }, { '{"$regex":{"$symbol":"a"},"$options":"i"}' }, { '{"$options":"i"}' },
      { '{"$ref":"c","$id":{"$oid":"56e1fc72e0c917e9c4714161"}}' }, { '{"$scope":{}}' }, { '{"$":"a"}' }, { '{"$oidx":"a"}' },
    }
    for _, case in ipairs(cases) do
      local text = ('{"v":%s}'):format(case[2] or case[1])
      assert.equal(text, canonical(bson.from_json(('{"v":%s}'):format(case[1]))))
      assert.equal(text, canonical(bson.from_json(text)))
      assert.equal('{"v":[' .. (case[2] or case[1]) .. "]}", canonical(bson.from_json(('{"v":[%s]}'):format(case[1]))))
    end
  end)

  it("refuses what is no wrapper but has its name", function()
    local bad = {
      ["$oid"] = { '"56e1fc72e0c917e9c471416"', '"56e1fc72e0c917e9c471416g"', "1", '"56e1fc72e0c917e9c4714161","x":1' },
      ["$numberInt"] = { '"2147483648"', '"1.0"', '""', '" 1"', '"0x1"', '"1\\u0000"', '{"$numberInt":"1"}' },
      ["$numberLong"] = { '"9223372036854775808"', '"1e3"', '"-"', "true" },
      ["$numberDouble"] = { '"1e400"', '"inf"', '"nan"', '"1,5"', '"1.5x"', '"0x1p3"', '""' },
      ["$numberDecimal"] = { '"1.1.1"', '""', '"1\\u0000"', "1.5" },
      ["$date"] = { "5000000000000", "1.5", '"2012-13-24T00:00:00Z"', '"2012-12-24"',
        '{"$numberInt":"1"}', '{"$numberDouble":"1"}' },
      ["$binary"] = { '"AA==","$type":"100"', '"AA==","$type":0', '"AA=="', '{"base64":"AA=","subType":"0"}',
        '{"base64":"A===","subType":"0"}', '{"base64":"AB==","subType":"0"}', '{"base64":"A A=","subType":"0"}',
        '{"base64":"AA==","subType":"g"}', '{"base64":"AA==","subType":""}', '{"base64":"AA==AA==","subType":"0"}' },
      ["$uuid"] = { '"73ffd26444b34c6990e8e7d1dfc035d4"', '{"$binary":{"base64":"","subType":"04"}}' },
      ["$timestamp"] = { '{"t":-1,"i":0}', '{"t":4294967296,"i":0}', '{"t":1.0,"i":0}', '{"t":{"$numberInt":"1"},"i":0}',
        '{"t":1}' },
      ["$regularExpression"] = { '{"pattern":"a\\u0000","options":""}', '{"pattern":"a","options":"","pattern":"b"}', '"a"' },
      ["$code"] = { '"f()","$scope":[]', '{"$symbol":"x"}', '"f()","$code":"g()"' },
      ["$symbol"] = { "1", '"a","b":"c"' },
      ["$dbPointer"] = { '{"$ref":"b","$id":"56e1fc72e0c917e9c4714161"}', '{"$ref":"b"}' },
      ["$minKey"] = { "2", "1.0", '{"$numberInt":"1"}', '{"$numberLong":"1"}' },
      ["$maxKey"] = { '"1"', "null" },
      ["$undefined"] = { "false", "1" },
    }
    for name, values in pairs(bad) do
      for _, value in ipairs(values) do
        refuses(('{"v":{"%s":%s}}'):format(name, value), "malformed ")
        refuses(('{"x":1,"%s":%s}'):format(name, value), "malformed ")
      end
    end
  end)

  it("may be nested 100 levels, wrappers not counted", function()
    local pointer = '{"$dbPointer":{"$ref":"b","$id":{"$oid":"56e1fc72e0c917e9c4714161"}}}'
    local function nest(levels, leaf) return ('{"d":'):rep(levels) .. leaf .. ("}"):rep(levels) end
    for _, leaf in ipairs { "1", pointer, '{"$timestamp":{"t":1,"i":2}}', '{"$code":"","$scope":{}}' } do
      local text = nest(100, leaf)
      assert.equal(bson.json(bson.from_json(text)), bson.json(bson.from_json(bson.json(bson.from_json(text)))))
      refuses(nest(101, leaf), "deeper than 100 levels")
    end
    refuses(nest(100, "{}"), "deeper than 100 levels")
    refuses(nest(100, "[]"), "deeper than 100 levels")
    refuses(("["):rep(100000), "deeper than 100 levels")
    refuses(('{"$date":'):rep(100000), "deeper than 100 levels")
    refuses(('{"a":'):rep(100000), "deeper than 100 levels")
  end)

  it("is bounded by the size of the document, not of the text", function()
    local MiB = 1024 * 1024
    local doc = bson.doc { b = bson.binary(("x"):rep(16 * MiB - 100)) }
    local text = bson.json(doc)
    assert.is_true(#text > 20 * MiB)
    assert.equal(bson.to_bytes(doc), bson.to_bytes(bson.from_json(text)))
    for _, large in ipairs { ('{"s":"%s"}'):format(("x"):rep(17 * MiB)), "[" .. ("1,"):rep(2 * MiB) .. "1]" } do
      local ok, err = pcall(bson.from_json, large)
      assert.is_false(ok)
      assert.truthy(err.message:find("larger than 16 MiB", 1, true), err.message)
    end
  end)

  it("survives a collector that runs at every step", function()
    local text = [[{"a":[{"$oid":"56e1fc72e0c917e9c4714161"},{"$date":"2012-12-24T12:15:30Z"}],]]
      .. [["c":{"$code":"f","$scope":{"x":1}}}]]
    local collect = collectgarbage
    local mode = collect "generational"
    local pause, multiplier = collect("setpause", 0), collect("setstepmul", 1000)
    debug.sethook(function() collect() end, "", 1)
    local results = {}
    for i = 1, 50 do results[i] = bson.json(bson.from_json(text)) end
    debug.sethook()
    collect("setpause", pause)
    collect("setstepmul", multiplier)
    collect(mode)
    for _, result in ipairs(results) do assert.equal(text, result) end
  end)

  it("does not depend on the locale", function()
    local before = os.setlocale(nil, "numeric")
    for _, name in ipairs { "C", "C.UTF-8", "de_DE.UTF-8" } do
      os.setlocale(name, "numeric")
      local ok, text = pcall(function() return bson.json(bson.from_json '[1.5,-2.5e-3,{"$numberDouble":"0.25"}]') end)
      os.setlocale(before, "numeric")
      assert.is_true(ok, text)
      assert.equal("[1.5,-0.0025,0.25]", text)
    end
  end)
end)

describe("bson.from_bytes", function()
  it("refuses text that is no UTF-8, with the path", function()
    local function document(...)
      local body = table.concat { ... }
      return string.pack("<i4", #body + 5) .. body .. "\0"
    end
    local function refused(bytes, why)
      local ok, err = pcall(bson.from_bytes, bytes)
      assert.is_false(ok)
      assert.equal("not a BSON document: " .. why, err.message)
    end
    local str = "\2\0\0\0\xe9\0"
    refused(document("\2s\0" .. str), "the text is not valid UTF-8 (at 's')")
    refused(document("\3a\0" .. document("\4b\0" .. document("\0080\0\1", "\0021\0" .. str))),
      "the text is not valid UTF-8 (at 'a.b[2]')")
    refused(document("\13c\0" .. str), "the text is not valid UTF-8 (at 'c')")
    refused(document("\14y\0" .. str), "the text is not valid UTF-8 (at 'y')")
    refused(document("\11r\0\xe9\0\0"), "the text is not valid UTF-8 (at 'r')")
    refused(document("\10\xe9\0"), "the key is not valid UTF-8 (at '\\xe9')")
    refused(document("\2s\0\3\0\0\0\xc0\x80\0"), "the text is not valid UTF-8 (at 's')")
    refused(document("\3a\0" .. document("\8b\0\2")), "a boolean that is neither 0 nor 1 (at 'a.b')")
    refused(document("\5b\0\6\0\0\0\2\3\0\0\0ab"), "a binary of subtype 2 with two different lengths (at 'b')")
    refused(document("\3a\0" .. document "\16b\0"), "an element that does not fit, or of unknown type (at 'a')")
  end)
end)
