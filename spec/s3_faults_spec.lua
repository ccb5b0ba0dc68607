-- What the S3 binding makes of bad days: refusals, wrong answers, slow and broken connections. Real answers where the server can
-- be made to give them, a proxy's where not.
local bson = require "smartmigration.bson"
local support = require "spec.support.s3_lua"

local caught = support.caught

describe("a bad day of S3", function()
  local bucket, store, client, proxy, own, through
  setup(function()
    bucket, store, client = support.bucket()
    proxy, own, through = support.by_proxy(bucket)
    bucket:put("a", "body")
  end)
  before_each(function()
    proxy:remove()
    proxy:clear()
  end)
  teardown(function()
    own:close()
    proxy:close()
    client:close()
  end)

  it("wrong keys", function()
    local wrong <close> = support.client(store, { secret_access_key = ("x"):rep(40) })
    local there = wrong:bucket(bucket.name)
    local err = caught(there.get, there, "a")
    assert.equal("SignatureDoesNotMatch", err.code)
    assert.equal(403, err.status)
    assert.is_nil(tostring(err):find(("x"):rep(40), 1, true))
    local unknown <close> = support.client(store, { access_key_id = "AKIAUNKNOWN" })
    assert.equal("s3", caught(unknown.get, unknown, "a", { bucket = bucket.name }).category) -- its code is the server's own
    assert.equal(403, caught(there.head, there, "a").status)
    assert.equal(403, caught(there.exists, there, "a").status)
  end)

  it("credentials that have expired", function()
    proxy:add { answer = { status = 400, error = "ExpiredToken" } }
    local err = caught(through.get, through, "a")
    assert.equal("ExpiredToken", err.code)
    assert.equal(400, err.status)
  end)

  it("a clock that is off by an hour", function()
    proxy:add { clock_s = 3600 }
    assert.equal("body", through:get("a").body)
    proxy:remove()
    proxy:add { clock_s = -3600 }
    assert.equal("body", through:get("a").body)
  end)

  it("403 on the listing, not on objects", function()
    proxy:add { method = "GET", query = "list-type", answer = { status = 403, error = "AccessDenied" } }
    assert.equal("AccessDenied", caught(function() through:list():next() end).code)
    assert.is_true(caught(function() through:list():next() end):is "access_denied")
    assert.equal("body", through:get("a").body)
  end)

  it("403 for an object that is missing", function()
    proxy:add { method = "HEAD", answer = { status = 403 } }
    assert.equal(403, caught(through.exists, through, "missing").status)
    assert.equal(403, caught(through.head, through, "missing").status)
  end)

  it("SlowDown, and what comes of it", function()
    proxy:add { times = 2, answer = { status = 503, error = "SlowDown" } }
    assert.equal("body", through:get("a").body)
    assert.equal(3, #proxy:log())
    proxy:clear()
    proxy:add { answer = { status = 503, error = "SlowDown" } }
    local err = caught(through.get, through, "a")
    assert.equal("SlowDown", err.code)
    assert.is_true(err.retryable)
    assert.equal(5, #proxy:log())
  end)

  it("a truncated body", function()
    bucket:put("long", ("x"):rep(300000))
    proxy:add { method = "GET", times = 1, truncate = 100000 }
    assert.equal(300000, #through:get("long").body)
  end)

  it("a connection that is cut", function()
    proxy:add { method = "GET", times = 1, drop = "before" }
    assert.equal("body", through:get("a").body)
    proxy:add { method = "PUT", times = 1, drop = "after" }
    through:put("cut", "whole")
    assert.equal("whole", bucket:get("cut").body)
    proxy:add { method = "PUT", drop = "after" }
    local err = caught(through.put, through, "conditional", "x", { if_none_match = "*" })
    assert.is_true(err.outcome_unknown)
    assert.equal("network", err.category)
    assert.equal("x", bucket:get("conditional").body)
  end)

  it("nobody there", function()
    local nobody <close> = support.client(store, { endpoint = "http://127.0.0.1:1" })
    local err = caught(nobody.get, nobody, "a", { bucket = "nobody" })
    assert.equal("network", err.category)
    assert.equal("NetworkError", err.code)
    assert.matches("127.0.0.1", err.message)
  end)

  it("an error inside of a 200", function()
    local body = "\n  <Error><Code>InternalError</Code><Message>again</Message><RequestId>r1</RequestId></Error>"
    proxy:add { method = "PUT", header = { ["x-amz-copy-source"] = "." }, times = 1, answer = { status = 200, body = body } }
    through:copy("a", "copied")
    assert.equal("body", bucket:get("copied").body)
    proxy:add { method = "PUT", header = { ["x-amz-copy-source"] = "." },
      answer = { status = 200, body = body:gsub("InternalError", "AccessDenied") } }
    assert.equal("AccessDenied", caught(through.copy, through, "a", "copied2").code)
  end)

  it("per-key errors of delete_many", function()
    local body = "<DeleteResult><Error><Key>b</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"
    proxy:add { method = "POST", query = "delete", answer = { status = 200, body = body } }
    local err = caught(through.delete_many, through, { "a", "b", "c" })
    assert.equal("AccessDenied", err.code)
    assert.matches("1 of the keys were not deleted, first 'b'", err.message)
    assert.equal("b", err.details.errors[1].key)
    assert.equal(2, err.details.deleted)
    assert.same({ deleted = 2, errors = { { key = "b", code = "AccessDenied", message = "no" } } },
      through:delete_many({ "a", "b", "c" }, { partial = true }))
  end)

  it("an answer that is no XML", function()
    local page = { status = 502, headers = { ["content-type"] = "text/html" }, body = "<html><body><h1>Bad gateway<br>" }
    proxy:add { answer = page }
    local err = caught(through.get, through, "a")
    assert.equal(502, err.status)
    proxy:remove()
    proxy:add { query = "list-type", answer = { status = 200, body = "<html>hello" } }
    assert.equal("InvalidResponse", caught(function() through:list():next() end).code)
    proxy:remove()
    proxy:add { query = "list-type", answer = { status = 200, body = "<Other/>" } }
    assert.matches("no ListBucketResult but a Other", caught(function() through:list():next() end).message)
  end)

  it("an XML bomb", function()
    local bomb = "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"bbbbbbbbbb\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;\">]>"
      .. "<ListBucketResult><Name>&c;</Name></ListBucketResult>"
    proxy:add { query = "list-type", answer = { status = 200, body = bomb } }
    assert.equal("InvalidResponse", caught(function() through:list():next() end).code)
    proxy:remove()
    proxy:add { query = "list-type", answer = { status = 200, body = ("<a>"):rep(10000) } }
    assert.equal("InvalidResponse", caught(function() through:list():next() end).code)
  end)

  it("an answer of the wrong length", function()
    local target = support.path()
    bucket:put("length", ("x"):rep(1000))
    proxy:add { method = "GET", path = "/length$", headers = { ["content-range"] = "bytes 0-999/2000" } }
    local err = caught(through.get_to_file, through, "length", target)
    assert.is_truthy(err.code == "InvalidResponse" or err.status == 416, tostring(err))
    assert.is_nil(io.open(target))
  end)

  it("an answer without an ETag", function()
    proxy:add { headers = { etag = bson.null } }
    assert.is_nil(through:put("no etag", "x").etag)
    assert.equal("x", through:get("no etag").body)
  end)

  it("a bucket of another region", function()
    proxy:add { times = 1, answer = { status = 301, error = "PermanentRedirect",
      headers = { ["x-amz-bucket-region"] = "eu-central-1" } } }
    proxy:add { header = { ["x-amz-date"] = "." }, answer = { status = 200, body = "moved" } }
    assert.equal("moved", through:get("a").body)
  end)

  it("a slow body", function()
    bucket:put("slow", ("x"):rep(50000))
    proxy:add { method = "GET", path = "/slow$", rate = 100000 }
    assert.equal(50000, #through:get("slow").body)
  end)

  it("tells no secret", function()
    proxy:add { answer = { status = 403, error = "AccessDenied" } }
    local err = caught(through.get, through, "a")
    local told = tostring(err) .. bson.json(bson.doc { details = tostring(err.details) }) .. tostring(own) .. tostring(through)
    assert.is_nil(told:find(store.env.AWS_SECRET_ACCESS_KEY, 1, true))
    assert.is_nil(told:find("Signature=", 1, true))
  end)
end)
