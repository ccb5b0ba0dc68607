-- parallel: many requests at a time with one Lua state. Against a real server, through a proxy that holds requests.
local s3_proxy = require "spec.support.s3_proxy"
local support = require "spec.support.s3_lua"

local caught = support.caught

describe("parallel", function()
  local bucket, store, client
  setup(function() bucket, store, client = support.bucket() end)
  teardown(function() client:close() end)

  local function numbers(n)
    local list = {}
    for i = 1, n do list[i] = i end
    return list
  end

  it("works on every item once, and counts", function()
    local result = client:parallel(numbers(100), function(i) bucket:put(("n/%03d"):format(i), tostring(i)) end)
    assert.same({ completed = 100, failed = {} }, result)
    local keys = support.keys((bucket:list "n/"))
    assert.equal(100, #keys)
    local sum = 0
    bucket:parallel(bucket:list "n/", function(entry)
      local number = math.tointeger(bucket:get(entry.key).body)
      sum = sum + number
    end)
    assert.equal(5050, sum)
    assert.same({ completed = 0, failed = {} }, client:parallel({}, error))
  end)

  it("has as many requests under way as it is told, not more", function()
    local proxy <close> = s3_proxy.start()
    local own <close> = support.client(proxy)
    local through = own:bucket(bucket.name)
    for _, concurrency in ipairs { 1, 4, 16 } do
      proxy:clear()
      -- The proxy lets none go on before so many are there: were fewer sent at a time, they would be refused.
      local gathered = proxy:add { method = "PUT", gather = concurrency }
      local under_way, most = 0, 0
      own:parallel(numbers(64), function(i)
        under_way = under_way + 1
        most = math.max(most, under_way)
        through:put("c/" .. i, "")
        under_way = under_way - 1
      end, { concurrency = concurrency })
      assert.equal(64, #proxy:log { rule = gathered.number })
      assert.equal(concurrency, most)
      gathered:remove()
    end
  end)

  it("tells progress in order", function()
    local proxy <close> = s3_proxy.start()
    local own <close> = support.client(proxy)
    local through = own:bucket(bucket.name)
    local held = proxy:add { method = "PUT", path = "/o/03$", hold = "before" }
    local told, told_by_then = {}, nil
    own:parallel(numbers(20), function(i)
      through:put(("o/%02d"):format(i), "")
      if i == 10 then
        told_by_then = told[#told] or 0
        held:remove()
      end
    end, { concurrency = 8, on_progress = function(i) told[#told + 1] = i end })
    assert.is_true(told_by_then <= 2, "3 was not done, but was told " .. told_by_then)
    for i = 2, #told do assert.is_true(told[i] > told[i - 1]) end
    assert.equal(20, told[#told])
  end)

  it("stops at the first failure, waits for the others, and tells", function()
    local started = 0
    local ok, err = pcall(client.parallel, client, numbers(100), function(i)
      started = started + 1
      if i == 5 then bucket:get "missing" end
      bucket:put("f/" .. i, "")
    end, { concurrency = 4 })
    assert.is_false(ok)
    assert.equal("NoSuchKey", err.code)
    assert.is_true(started < 20, tostring(started))
    assert.equal(started - 1, err.completed)
    assert.equal(1, #err.failed)
    assert.equal(5, err.failed[1].item)
    assert.equal(err, err.failed[1].error)
    assert.equal(err.completed, #support.keys((bucket:list "f/")))
  end)

  it("goes on over failures when it is to collect them", function()
    local told
    local result = client:parallel(numbers(30), function(i)
      if i % 10 == 0 then error("bad " .. i) end
      bucket:put("g/" .. i, "")
    end, { on_error = "collect", concurrency = 4, on_progress = function(i) told = i end })
    assert.equal(27, result.completed)
    assert.equal(3, #result.failed)
    table.sort(result.failed, function(a, b) return a.item < b.item end)
    assert.equal(20, result.failed[2].item)
    assert.matches("bad 20", result.failed[2].error.message)
    assert.matches("s3_parallel_spec.lua:%d+", result.failed[2].error.traceback)
    assert.equal(9, told) -- what failed holds progress back
  end)

  it("waits for what is under way when the iterator or on_progress raises", function()
    local function failing()
      local i = 0
      return function()
        i = i + 1
        if i == 10 then error("no more", 0) end
        return i
      end
    end
    local ok, err = pcall(client.parallel, client, failing(), function(i) bucket:put("i/" .. i, "") end)
    assert.is_false(ok)
    assert.equal("no more", err)
    assert.equal(9, #support.keys((bucket:list "i/")))
    ok, err = pcall(client.parallel, client, numbers(50), function(i) bucket:put("h/" .. i, "") end,
      { on_progress = function() error("told", 0) end })
    assert.is_false(ok)
    assert.equal("told", err)
  end)

  it("leaves generators of the script alone", function()
    client:parallel(numbers(8), function(i)
      local generator = coroutine.wrap(function()
        for j = 1, 3 do
          bucket:put(("w/%d-%d"):format(i, j), "")
          coroutine.yield(j)
        end
      end)
      for j = 1, 3 do assert.equal(j, generator()) end
    end)
    assert.equal(24, #support.keys((bucket:list "w/")))
  end)

  it("works inside of pcall, of a listing, and of itself", function()
    local found = 0
    client:parallel({ "x", "y" }, function(name)
      client:parallel(numbers(10), function(i) bucket:put(("%s/%d"):format(name, i), "") end)
      assert.is_false((pcall(bucket.get, bucket, "missing")))
      for _ in bucket:list { prefix = name .. "/", page_size = 3 } do found = found + 1 end
    end)
    assert.equal(20, found)
  end)

  it("works between two clients", function()
    local other <close> = support.client(store)
    local there = other:bucket(store:bucket())
    client:parallel(numbers(20), function(i)
      bucket:put("two/" .. i, tostring(i))
      there:put("two/" .. i, bucket:get("two/" .. i).body)
    end)
    assert.equal(20, #support.keys((there:list "two/")))
  end)

  it("says where a request cannot wait", function()
    local err = caught(client.parallel, client, { 1 }, function()
      table.sort({ 2, 1 }, function(a, b)
        bucket:get "missing"
        return a < b
      end)
    end)
    assert.matches("cannot run s3.get here: inside a non%-yieldable function", err.message)
    assert.equal("argument", err.category)
  end)

  it("refuses a function that yields by itself", function()
    local err = caught(client.parallel, client, { 1, 2 }, function() coroutine.yield() end)
    assert.matches("must not yield", err.message)
    assert.equal(1, client:parallel({ 1 }, function() bucket:put("after", "") end).completed)
  end)

  it("refuses wrong arguments", function()
    assert.matches("list or iterator expected", caught(client.parallel, client, 5, print).message)
    assert.matches("function expected, got nil", caught(client.parallel, client, {}).message)
    assert.matches("between 1 and 256", caught(client.parallel, client, {}, print, { concurrency = 0 }).message)
    assert.matches("\"stop\" or \"collect\"", caught(client.parallel, client, {}, print, { on_error = "x" }).message)
  end)

  it("runs every kind of operation", function()
    local path = support.path(("x"):rep(6 << 20))
    client:parallel(numbers(6), function(i)
      local name = "k/" .. i .. "/"
      bucket:put_file(name .. "file", path, { part_size = 5 << 20 })
      local target = support.path()
      bucket:get_to_file(name .. "file", target)
      assert.equal(6 << 20, #support.read(target))
      local n = 0
      bucket:put_stream(name .. "stream", function()
        n = n + 1
        return n <= 6 and ("y"):rep(1 << 20) or nil
      end)
      local size, reader <close> = 0, bucket:open(name .. "stream")
      for chunk in reader do size = size + #chunk end
      assert.equal(6 << 20, size)
      bucket:copy(name .. "file", name .. "copy")
      bucket:move(name .. "copy", name .. "moved")
      bucket:put_tags(name .. "moved", { a = "b" })
      local upload <close> = bucket:upload(name .. "upload")
      upload:part "z"
      upload:complete()
      local ok, failure = pcall(bucket.put_stream, bucket, name .. "failing", function()
        n = n + 1
        if n > 16 then error("broken", 0) end
        return ("z"):rep(1 << 20)
      end)
      assert.is_false(ok)
      assert.equal("broken", failure)
      assert.equal(4, bucket:delete_many((bucket:list(name))).deleted)
    end)
    assert.same({}, bucket:list_uploads():all())
    support.clean()
  end)

  it("stands a collector that never rests", function()
    local collect = collectgarbage
    local mode = collect "incremental"
    local pause, multiplier = collect("setpause", 0), collect("setstepmul", 1000)
    local path = support.path(("x"):rep(6 << 20))
    local ok, failure = pcall(client.parallel, client, numbers(12), function(i)
      local name = "gc/" .. i
      bucket:put(name, name, { metadata = { a = name } })
      bucket:put_file(name .. "f", path, { part_size = 5 << 20 })
      assert.is_false((pcall(bucket.get, bucket, "missing")))
      assert.equal(name, bucket:get(name).body)
      local left = bucket:open(name .. "f") -- not closed: the collector's
      assert.equal(10, #left:read(10))
      bucket:list({ prefix = "gc/", page_size = 2 }):next()
      collect()
      bucket:delete_many { name, name .. "f" }
    end)
    collect("setpause", pause)
    collect("setstepmul", multiplier)
    collect(mode)
    assert.is_true(ok, tostring(failure))
    assert.same({}, bucket:list("gc/"):all())
    support.clean()
  end)

  it("ends when its requests are cut", function()
    local proxy <close> = s3_proxy.start()
    local own = support.client(proxy)
    local through = own:bucket(bucket.name)
    proxy:add { method = "PUT", path = "/cut/", hold = "before" }
    -- The client is closed in the middle: what is under way is abandoned, every waiting coroutine is told.
    local err = caught(own.parallel, own, numbers(4), function(i)
      if i == 4 then
        own:close()
      end
      through:put("cut/" .. i, "")
    end)
    assert.matches("closed", err.message)
    assert.equal(4, #err.failed)
    proxy:remove()
  end)
end)
