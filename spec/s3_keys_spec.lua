-- Keys of any bytes the server can hold: put, listed, got, copied, deleted; and, of those it cannot, what is sent. A key there is
-- a path in a file system: no part of it may be "." or "..", longer than 255 bytes, or a file where another key has a folder.
local s3_proxy = require "spec.support.s3_proxy"
local support = require "spec.support.s3_lua"

describe("keys", function()
  local bucket, client, _
  setup(function() bucket, _, client = support.bucket() end)
  teardown(function() client:close() end)

  local SPECIAL = { "a b", "a+b", "a%20b", "a%2Bb", "a&b=c", "a?b#c", "é", "日本語", "😀", "a;b", "a:b", "a@b", "a,b", "a'b\"c",
    "<a>&amp;", "(a)", "[a]", "{a}", "a\\b", "a|b", "a^b`c", "~a", "a*b", "$a!", "a\tb", "-", "_", "...", " a", "a ", "x/y z/w+",
    "a=b", "%", "%%", "+", "++ ", "a\rb", "a\nb" }

  local function random_key(i)
    local parts = {}
    for _ = 1, math.random(1, 3) do
      local letters = {}
      for j = 1, math.random(1, 12) do
        local which = math.random(1, 10)
        if which <= 4 then
          letters[j] = string.char(math.random(0x30, 0x7a)):gsub("[/.]", "_")
        elseif which <= 8 then
          local text = " !\"#$%&'()*+,-:;<=>?@[\\]^_`{|}~"
          local at = math.random(1, #text)
          letters[j] = text:sub(at, at)
        else
          local planes = { math.random(0xa1, 0x7ff), math.random(0x800, 0xd7ff), math.random(0x10000, 0x1f9ff) }
          letters[j] = utf8.char(planes[math.random(3)])
        end
      end
      parts[#parts + 1] = table.concat(letters)
    end
    return ("%d/%s"):format(i, table.concat(parts, "/"))
  end

  -- All that can happen to a key, for all of them at once.
  local function round_trip(keys)
    local expected = {}
    for i, key in ipairs(keys) do expected[i] = key end
    table.sort(expected)
    client:parallel(keys, function(key) bucket:put(key, "body of " .. key) end)
    local listed = support.keys((bucket:list()))
    table.sort(listed)
    assert.same(expected, listed)
    client:parallel(keys, function(key)
      local got = bucket:get(key)
      if got.body ~= "body of " .. key then error(("%q has the body %q"):format(key, got.body)) end
      bucket:copy(key, "copy/" .. key)
      if not bucket:exists("copy/" .. key) then error(("%q has no copy"):format(key)) end
      bucket:delete(key)
      if bucket:head(key) then error(("%q is still there"):format(key)) end
    end)
    local copies = support.keys((bucket:list { prefix = "copy/", page_size = 333 }))
    assert.equal(#keys, #copies)
    assert.equal(#keys, bucket:delete_many(copies).deleted)
    assert.same({}, bucket:list():all())
  end

  it("with special characters", function() round_trip(SPECIAL) end)

  it("of 500 random ones", function()
    math.randomseed(20260401)
    local keys = {}
    for i = 1, 500 do keys[i] = random_key(i) end
    round_trip(keys)
  end)

  it("of 10,000 random ones #slow", function()
    math.randomseed(20260402)
    local keys = {}
    for i = 1, 10000 do keys[i] = random_key(i) end
    round_trip(keys)
  end)

  it("are sent as they are, whatever they hold", function()
    local proxy <close> = s3_proxy.start()
    local own <close> = support.client(proxy)
    local through = own:bucket(bucket.name)
    proxy:add { answer = { status = 200 } }
    local keys = { "../a", "a/../b", "a/./b", ".", "..", "/a", "//a//", "a//b/", "\1\31\127", ("x"):rep(1024), "a/b" }
    for _, key in ipairs(keys) do through:put(key, "") end
    for i, entry in ipairs(proxy:log()) do assert.equal("/" .. bucket.name .. "/" .. keys[i], entry.path) end
  end)

  it("that XML cannot hold are deleted one by one", function()
    local proxy <close> = s3_proxy.start()
    local own <close> = support.client(proxy)
    local through = own:bucket(bucket.name)
    local keys = { "ok", "a\1b", "a\27b" }
    for _, key in ipairs(keys) do bucket:put(key, "") end
    assert.equal(3, through:delete_many(keys).deleted)
    assert.equal(2, #proxy:log { method = "DELETE" })
    assert.same({}, bucket:list():all())
  end)
end)
