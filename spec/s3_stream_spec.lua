-- Readers, streams and files of the S3 binding: bodies in bounded memory, and bodies that break off. Against a real server.
local server = require "spec.support.s3"
local support = require "spec.support.s3_lua"

local caught = support.caught
local MIB = 1 << 20

describe("a stream", function()
  local bucket, client, proxy, own, through, _
  local content
  setup(function()
    bucket, _, client = support.bucket()
    proxy, own, through = support.by_proxy(bucket)
    local lines = {}
    for i = 1, 200000 do lines[i] = ("line %d of many"):format(i) end
    content = table.concat(lines, "\n")
    bucket:put("lines", content)
  end)
  before_each(function()
    proxy:remove()
    proxy:clear()
  end)
  teardown(function()
    own:close()
    proxy:close()
    client:close()
    support.clean()
  end)

  it("is read in pieces of the size asked for", function()
    local reader <close> = bucket:open "lines"
    assert.equal(#content, reader.info.size)
    local at = 1
    while true do
      local bytes = reader:read(100001)
      if not bytes then break end
      assert.is_true(bytes == content:sub(at, at + 100000))
      at = at + #bytes
    end
    assert.equal(#content, at - 1)
    assert.is_nil((reader:read(1)))
    assert.is_nil((reader:read()))
  end)

  it("is read in lines", function()
    local reader <close> = bucket:open "lines"
    local count = 0
    for line in reader:lines() do
      count = count + 1
      if line ~= ("line %d of many"):format(count) then error("line " .. count .. " is " .. line) end
    end
    assert.equal(200000, count)
    bucket:put("few", "a\n\nb\n")
    local few <close> = bucket:open "few"
    local list = {}
    for line in few:lines() do list[#list + 1] = line end
    assert.same({ "a", "", "b" }, list)
  end)

  it("mixes pieces and lines", function()
    bucket:put("mixed", "one\ntwo\nthree")
    local reader <close> = bucket:open "mixed"
    assert.equal("o", reader:read(1))
    assert.equal("ne", reader:lines()())
    assert.equal("tw", reader:read(2))
    assert.equal("o\nthree", reader:read(100))
  end)

  it("is read by a for loop, in part, and when it is empty", function()
    local parts = {}
    local reader <close> = bucket:open("lines", { range = { 10, 19 } })
    for chunk in reader do parts[#parts + 1] = chunk end
    assert.equal(content:sub(11, 20), table.concat(parts))
    bucket:put("empty", "")
    local empty <close> = bucket:open "empty"
    assert.is_nil((empty:read()))
  end)

  it("raises for what is not there, and when it is closed", function()
    assert.equal("NoSuchKey", caught(bucket.open, bucket, "missing").code)
    local reader = bucket:open "lines"
    reader:read(10)
    reader:close()
    reader:close()
    assert.equal("reader is closed", caught(reader.read, reader, 1).message)
    assert.matches("^reader of '.+/lines' %(closed%)$", tostring(reader))
    local other <close> = bucket:open "lines"
    assert.matches("bytes from 1 expected, got 0", caught(other.read, other, 0).message)
    assert.matches("did you mean 'lines'", caught(function() return other.line end).message)
  end)

  it("goes on where it broke off", function()
    proxy:add { method = "GET", path = "/lines$", times = 1, truncate = 1000000 }
    local parts = {}
    local reader <close> = through:open "lines"
    for chunk in reader do parts[#parts + 1] = chunk end
    assert.is_true(table.concat(parts) == content)
    assert.equal(2, #proxy:log { method = "GET" })
  end)

  it("raises when the object is another one by then", function()
    bucket:put("changing", ("a"):rep(3 * MIB))
    local rule = proxy:add { method = "GET", path = "/changing$", times = 1, truncate = 100000 }
    local reader <close> = through:open "changing"
    assert.equal(50000, #reader:read(50000))
    bucket:put("changing", ("b"):rep(3 * MIB))
    local err = caught(reader.read, reader, 3 * MIB)
    assert.is_truthy(err:is "precondition_failed" or err.message:find "another one now", tostring(err))
    rule:remove()
  end)

  it("of a file goes on where it broke off", function()
    local target = support.path()
    local body = content:rep(6)
    bucket:put("big", body)
    proxy:add { method = "GET", path = "/big$", skip = 1, times = 1, truncate = 1000000 }
    through:get_to_file("big", target)
    assert.is_true(support.read(target) == body)
  end)

  it("of a file leaves no file behind when it fails", function()
    local target = support.path()
    bucket:put("denied", content)
    proxy:add { method = "GET", path = "/denied$", skip = 1, answer = { status = 403, error = "AccessDenied" } }
    bucket:put("denied", content:rep(4))
    assert.equal("AccessDenied", caught(through.get_to_file, through, "denied", target).code)
    assert.is_nil(io.open(target))
    local listed = require("spec.support.process").run { "sh", "-c", "ls -d " .. target .. "*; true" }
    assert.equal("", listed.out)
    assert.equal("NoSuchKey", caught(bucket.get_to_file, bucket, "missing", target).code)
    assert.equal("FileError", caught(bucket.get_to_file, bucket, "lines", "/there/is/no/folder").code)
    support.path("old")
  end)

  it("of a file replaces the file whole", function()
    local target = support.path "what was there before"
    bucket:get_to_file("lines", target)
    assert.is_true(support.read(target) == content)
    assert.is_true(caught(bucket.get_to_file, bucket, "lines", target, { if_match = "0" }):is "precondition_failed")
    assert.is_true(support.read(target) == content)
  end)

  it("to the service wants strings", function()
    assert.matches("put_stream got a number for a chunk", caught(bucket.put_stream, bucket, "a", function() return 5 end).message)
    assert.matches("a function that gives strings expected", caught(bucket.put_stream, bucket, "a", "text").message)
    assert.is_nil(bucket:head "a")
    local reader <close> = bucket:open "lines"
    bucket:put_stream("lines2", reader)
    assert.equal(bucket:head("lines").size, bucket:head("lines2").size)
  end)

  -- What the kernel counts, in a process of its own: 2 GiB of a sparse file there, back, and through.
  it("of 2 GiB takes at most 32 MiB of memory #slow", function()
    local path, back = support.path "", support.path()
    assert(os.execute(("truncate -s 2G %q"):format(path)))
    local store = server.shared()
    local text = [[
      local s3 = require "smartmigration.s3"
      local function peak() return tonumber(io.open("/proc/self/status"):read("a"):match "VmHWM:%s*(%d+)") // 1024 end
      local b = s3.connect { endpoint = os.getenv "S3_ENDPOINT" }:bucket(arg[1])
      b:head "nothing"
      print("base", peak())
      b:put_file("2g", arg[2]) print("put_file", peak())
      b:get_to_file("2g", arg[3]) print("get_to_file", peak())
      local reader <close> = b:open "2g"
      b:put_stream("2g stream", reader) print("put_stream", peak())
      print("sizes:", b:head("2g").size, b:head("2g stream").size)
    ]]
    local run = support.run(store, text, bucket.name, path, back)
    assert.equal("", run.err)
    assert.matches("sizes:\t2147483648\t2147483648", run.out)
    for what, mib in run.out:gmatch "([%a_]+)\t(%d+)\n" do
      assert.is_true(tonumber(mib) <= 32, ("%s took %s MiB\n%s"):format(what, mib, run.out))
    end
    for _, key in ipairs { "2g", "2g stream" } do bucket:delete(key) end
    os.remove(back)
  end)
end)
