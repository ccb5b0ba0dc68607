-- What other specs stand on: the S3 servers, the client beside what is under test, and the proxy that gives bad answers.
local process = require "spec.support.process"
local s3 = require "spec.support.s3"
local s3_proxy = require "spec.support.s3_proxy"
local wait_for = require "spec.support.wait_for"

local CREATE = { ["if-none-match"] = "*" }
local RACERS = 6

-- A command of s3_admin.py for process.start.
local function admin(store, ...)
  local command = { "python3", "spec/support/s3_admin.py", stdin = "x", env = { LD_PRELOAD = false }, ... }
  for name, value in pairs(store.env) do command.env[name] = value end
  return command
end

-- How many of several creates of one key, sent at the same moment, are answered with success.
local function winners(store, bucket, key)
  local commands = {}
  for i = 1, RACERS do commands[i] = admin(store, "put", bucket, key, "-H", "if-none-match: *") end
  local won = 0
  for _, result in ipairs(process.race(commands)) do won = won + (result.status == 0 and 1 or 0) end
  return won
end

describe("the S3 server of the specs", function()
  local store = s3.shared()

  it("keeps objects, and says what it does not have", function()
    local bucket = store:bucket()
    store:put(bucket, "a/ä+b &c", "body\0\n", { ["content-type"] = "text/x", ["x-amz-meta-one"] = "1" })
    assert.equal("body\0\n", store:get(bucket, "a/ä+b &c"))
    local headers = store:head(bucket, "a/ä+b &c")
    assert.equal("text/x", headers["content-type"])
    assert.equal("1", headers["x-amz-meta-one"])
    assert.same({ "a/ä+b &c" }, store:keys(bucket, "a/"))
    store:delete(bucket, "a/ä+b &c")
    local none, answer = store:get(bucket, "a/ä+b &c")
    assert.is_nil(none)
    assert.equal("NoSuchKey", answer.code)
    assert.same({}, store:list(bucket))
  end)

  it("lists more objects than a page holds, and takes away a bucket with all of them", function()
    local bucket = store:bucket()
    local put_many = "import sys; sys.path.insert(0, 'spec/support'); import s3_admin; client = s3_admin.from_environment()\n"
      .. "for i in range(1001): client.object('PUT', sys.argv[1], f'key{i:04}')"
    local env = { LD_PRELOAD = false }
    for name, value in pairs(store.env) do env[name] = value end
    assert.equal(0, process.run({ "python3", "-c", put_many, bucket, env = env }).status)
    local keys = store:keys(bucket)
    assert.equal(1001, #keys)
    assert.equal("key1000", keys[1001])
    s3.clean()
    assert.equal("NoSuchBucket", s3.shared():ask({ "list", bucket }).code)
  end)

  it("lets exactly one of several racing creates win", function()
    assert.equal(1, winners(store, store:bucket(), "key"))
  end)

  it("can be one of a spec's own, with versions and https, and ends with it", function()
    local pid
    do
      local own <close> = s3.start { versions = true, tls = true }
      pid = own.pids[1]
      assert.not_equal(store.env.AWS_ACCESS_KEY_ID, own.env.AWS_ACCESS_KEY_ID)
      local bucket = own:bucket()
      local status = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
      assert.equal(200, own:ask({ "request", "PUT", "/" .. bucket .. "?versioning" }, status).status)
      own:put(bucket, "key", "1")
      own:put(bucket, "key", "2")
      assert.equal(2, #own:ask { "versions", bucket })
      assert.equal(204, own:ask({ "delete-bucket", bucket }).status)
      process.kill(pid, "STOP")
    end
    wait_for("the server to be gone", function() return not io.open("/proc/" .. pid .. "/stat") end)
  end)
end)

describe("the S3 proxy", function()
  local store, proxy = s3.shared(), nil
  local bucket

  before_each(function()
    proxy = s3_proxy.start()
    bucket = store:bucket()
  end)

  after_each(function() proxy:close() end)

  it("passes requests on as they are, and tells of them", function()
    local big = ("0123456789abcdef"):rep(1 << 18)
    proxy.store:put(bucket, "ä b", big)
    assert.equal(big, proxy.store:get(bucket, "ä b"))
    assert.equal(1, winners(proxy.store, bucket, "key"))
    local asked = proxy:log { method = "GET" }
    assert.equal(1, #asked)
    assert.equal("/" .. bucket .. "/ä b", asked[1].path)
    assert.equal(200, asked[1].status)
    assert.is_nil(asked[1].headers.authorization)
    assert.equal(2 + RACERS, #proxy:log())
    proxy:clear()
    assert.same({}, proxy:log())
  end)

  it("ignores conditions", function()
    proxy:add { ignore = { "if-none-match", "if-match" } }
    for _ = 1, 2 do proxy.store:put(bucket, "key", "x", CREATE) end
    proxy:remove()
    assert.equal(412, proxy.store:ask({ "put", bucket, "key", headers = CREATE }, "x").status)
  end)

  it("honours conditions one by one and loses races", function()
    proxy:add { races = 500 }
    assert.equal(RACERS, winners(proxy.store, bucket, "raced"))
    assert.equal(412, proxy.store:ask({ "put", bucket, "raced", headers = CREATE }, "x").status)
    local etag = store:head(bucket, "raced").etag
    assert.equal(412, proxy.store:ask({ "put", bucket, "raced", headers = { ["if-match"] = '"other"' } }, "x").status)
    assert.equal(404, proxy.store:ask({ "put", bucket, "none", headers = { ["if-match"] = etag } }, "x").status)
    assert.equal(200, proxy.store:ask({ "put", bucket, "raced", headers = { ["if-match"] = etag } }, "y").status)
    assert.equal("y", store:get(bucket, "raced"))
  end)

  it("answers in the server's place, so often and after so many", function()
    proxy:add { method = "GET", path = "key$", skip = 1, times = 2, answer = { status = 503, error = "SlowDown" } }
    proxy:add { method = "PUT", forward = true, answer = { status = 200, error = "InternalError" } }
    proxy.store:ask({ "put", bucket, "key" }, "x")
    local seen = {}
    for i = 1, 4 do
      local _, answer = proxy.store:get(bucket, "key")
      seen[i] = answer and answer.code or "read"
    end
    assert.same({ "read", "SlowDown", "SlowDown", "read" }, seen)
    assert.equal("x", store:get(bucket, "key"))
    proxy:add { method = "DELETE", answer = { status = 301, body = "no XML", headers = { ["x-amz-bucket-region"] = "eu-x" } } }
    local moved = proxy.store:ask { "delete", bucket, "key" }
    assert.equal(301, moved.status)
    assert.equal("eu-x", moved.headers["x-amz-bucket-region"])
    assert.equal("no XML", moved.message)
  end)

  it("cuts the connection before and after the server's work", function()
    local rule = proxy:add { method = "PUT", drop = "before" }
    assert.error(function() proxy.store:put(bucket, "before", "x") end)
    rule:remove()
    proxy:add { method = "PUT", drop = "after" }
    assert.error(function() proxy.store:put(bucket, "after", "x") end)
    assert.same({ "after" }, store:keys(bucket))
  end)

  it("breaks off, slows down and changes answers", function()
    store:put(bucket, "key", ("x"):rep(1000))
    proxy:add { query = "truncate", truncate = 10 }
    assert.error(function() proxy.store:ask { "request", "GET", "/" .. bucket .. "/key?truncate=" } end)
    proxy:add { query = "rate", rate = 5000 }
    local started = process.now_ms()
    assert.equal(1000, #proxy.store:ask({ "request", "GET", "/" .. bucket .. "/key?rate=" }).body)
    assert.is_true(process.now_ms() - started >= 150)
    for _, length in ipairs { 999, 1001 } do
      local rule = proxy:add { query = "length", headers = { ["Content-Length"] = length } }
      local read, answer = pcall(proxy.store.ask, proxy.store, { "request", "GET", "/" .. bucket .. "/key?length=" })
      assert.equal(length < 1000, read)
      if read then assert.equal(length, #answer.body) end
      rule:remove()
    end
    proxy:add { headers = { ETag = false, Date = "Thu, 01 Jan 1970 00:00:00 GMT" } }
    local headers = proxy.store:head(bucket, "key")
    assert.is_nil(headers.etag)
    assert.equal("Thu, 01 Jan 1970 00:00:00 GMT", headers.date)
  end)

  it("holds a request until it is released", function()
    local rule = proxy:add { method = "PUT", hold = "before" }
    local child <close> = process.start(admin(proxy.store, "put", bucket, "key"))
    wait_for("the request", function() return proxy:log({ method = "PUT" })[1] end)
    assert.same({}, store:keys(bucket))
    rule:release()
    assert.equal(0, child:wait().status)
    assert.same({ "key" }, store:keys(bucket))
  end)

  it("has a clock that is off", function()
    store:put(bucket, "key", "x")
    local hour = os.date "!%H"
    proxy:add { clock_s = 3600 }
    local answer = proxy.store:ask { "request", "GET", "/" .. bucket .. "/key" }
    assert.equal("RequestTimeTooSkewed", answer.code)
    assert.not_equal(hour, answer.headers.date:match " (%d+):")
    local later = os.date("!%Y%m%dT%H%M%SZ", os.time() + 3600)
    answer = proxy.store:ask { "request", "GET", "/" .. bucket .. "/key", headers = { ["x-amz-date"] = later } }
    assert.equal("x", answer.body)
  end)
end)
