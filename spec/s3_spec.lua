-- The S3 binding: one object, one request, and buckets. Against a real server.
local bson = require "smartmigration.bson"
local s3 = require "smartmigration.s3"
local server = require "spec.support.s3"
local support = require "spec.support.s3_lua"

local caught = support.caught

describe("an S3 bucket", function()
  local bucket, store, client
  setup(function() bucket, store, client = support.bucket() end)
  teardown(function()
    client:close()
    support.clean()
  end)

  it("puts and gets with all that describes an object", function()
    local put = bucket:put("doc", "Hello, world", { content_type = "text/plain", cache_control = "no-store",
      content_disposition = "inline", content_language = "en", metadata = { Author = "Ada", year = "1843" },
      tags = { kind = "letter" } })
    assert.equal("bc6e6f16b8a077ef5fbc8d59d0b931b9", put.etag)
    local got = bucket:get "doc"
    assert.equal("Hello, world", got.body)
    assert.equal(put.etag, got.etag)
    assert.equal(12, got.size)
    assert.equal("text/plain", got.content_type)
    assert.equal("no-store", got.cache_control)
    assert.equal("inline", got.content_disposition)
    assert.equal("en", got.content_language)
    assert.same({ author = "Ada", year = "1843" }, got.metadata)
    assert.is_true(math.abs(got.last_modified.ms - bson.now().ms) < 60000)
    assert.equal("Hello, world", (store:get(bucket.name, "doc")))
    assert.same({ kind = "letter" }, bucket:get_tags "doc")
  end)

  it("holds every byte, and none", function()
    local bytes = {}
    for i = 0, 255 do bytes[i + 1] = string.char(i) end
    local all = table.concat(bytes):rep(5)
    bucket:put("bytes", all)
    assert.equal(all, bucket:get("bytes").body)
    bucket:put("none", "")
    local none = bucket:get "none"
    assert.equal("", none.body)
    assert.equal(0, none.size)
  end)

  it("gets a part", function()
    bucket:put("digits", "0123456789")
    local got = bucket:get("digits", { range = { 2, 4 } })
    assert.equal("234", got.body)
    assert.equal(10, got.size)
    assert.equal("789", bucket:get("digits", { range = { 7 } }).body)
    assert.equal(416, caught(bucket.get, bucket, "digits", { range = { 10, 11 } }).status)
    for _, range in ipairs { { 3, 2 }, { -1 }, { "0", 1 }, {} } do
      assert.matches("positions from 0", caught(bucket.get, bucket, "digits", { range = range }).message)
    end
  end)

  it("gets on conditions", function()
    local etag = bucket:put("conditions", "1").etag
    assert.equal("1", bucket:get("conditions", { if_match = etag }).body)
    assert.equal("1", bucket:get("conditions", { if_match = '"' .. etag .. '"' }).body)
    local err = caught(bucket.get, bucket, "conditions", { if_match = "0" })
    assert.is_true(err:is "precondition_failed")
    assert.equal("conflict", err.category)
    assert.equal(304, caught(bucket.get, bucket, "conditions", { if_none_match = etag }).status)
  end)

  it("raises for what is not there", function()
    local err = caught(bucket.get, bucket, "missing")
    assert.equal("NoSuchKey", err.code)
    assert.is_true(err:is "no_such_key")
    assert.equal("s3", err.category)
    assert.equal(404, err.native)
    assert.equal(404, err.status)
    assert.equal("get", err.operation)
    assert.equal(bucket.name, err.bucket)
    assert.equal("missing", err.key)
    assert.is_string(err.request_id)
    assert.matches("^get '" .. bucket.name:gsub("%-", "%%-") .. "/missing' failed: ", err.message)
    local _, here = pcall(function() bucket:get "missing" end)
    assert.matches("s3_spec.lua:%d+", here.where)
    assert.is_nil(bucket:get("missing", { missing_ok = true }))
    assert.is_nil(bucket:head "missing")
    assert.is_false(bucket:exists "missing")
  end)

  it("does not take a missing bucket for a missing object", function()
    local other <const> = client:bucket "smig-there-is-no-such-bucket"
    assert.equal("NoSuchBucket", caught(other.get, other, "a", { missing_ok = true }).code)
    assert.equal("NoSuchBucket", caught(other.head, other, "a").code)
    assert.equal("NoSuchBucket", caught(other.exists, other, "a").code)
    assert.equal("NoSuchBucket", caught(other.put, other, "a", "b").code)
    assert.equal("NoSuchBucket", caught(function() return other:list():next() end).code)
  end)

  it("refuses a body over max_body, with a hint", function()
    bucket:put("large", ("x"):rep(1000))
    assert.equal(1000, #bucket:get("large", { max_body = 1000 }).body)
    local err = caught(bucket.get, bucket, "large", { max_body = 999 })
    assert.equal("BodyTooLarge", err.code)
    assert.matches("use open%(%) or get_to_file%(%)", err.message)
  end)

  it("heads", function()
    bucket:put("head", "12345", { metadata = { a = "b" } })
    local info = bucket:head "head"
    assert.equal(5, info.size)
    assert.equal("b", info.metadata.a)
    assert.is_nil(info.body)
    assert.is_true(bucket:exists "head")
  end)

  it("puts on conditions", function()
    local first = bucket:put("once", "1", { if_none_match = "*" })
    local err = caught(bucket.put, bucket, "once", "2", { if_none_match = "*" })
    assert.equal("PreconditionFailed", err.code)
    assert.equal("conflict", err.category)
    assert.equal("1", bucket:get("once").body)
    bucket:put("once", "3", { if_match = first.etag })
    assert.is_true(caught(bucket.put, bucket, "once", "4", { if_match = first.etag }):is "precondition_failed")
    assert.equal("3", bucket:get("once").body)
  end)

  it("sends a checksum that the server checks", function()
    bucket:put("checked", "body", { checksum = "sha256" })
    assert.equal("body", bucket:get("checked").body)
    assert.matches("must be \"sha256\"", caught(bucket.put, bucket, "checked", "body", { checksum = "md4" }).message)
    local wrong = { headers = { ["x-amz-checksum-sha256"] = "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=" } }
    assert.equal(400, caught(bucket.put, bucket, "checked", "other", wrong).status)
  end)

  it("deletes, also what is not there", function()
    bucket:put("gone", "")
    bucket:delete "gone"
    assert.is_nil((store:get(bucket.name, "gone")))
    bucket:delete "gone"
  end)

  it("deletes many, and says which were not", function()
    local keys = {}
    for i = 1, 5 do
      keys[i] = ("many/%d <&>\"'"):format(i)
      bucket:put(keys[i], "")
    end
    assert.same({ deleted = 5, errors = {} }, bucket:delete_many(keys))
    assert.same({}, store:keys(bucket.name, "many/"))
    for i = 1, 3 do bucket:put("list/" .. i, "") end
    assert.equal(3, bucket:delete_many((bucket:list "list/")).deleted)
    assert.same({ deleted = 0, errors = {} }, bucket:delete_many {})
    assert.matches("list or iterator expected, got number", caught(bucket.delete_many, bucket, 5).message)
    assert.matches("delete_many got a number", caught(bucket.delete_many, bucket, { 5 }).message)
  end)

  it("keeps tags", function()
    bucket:put("tagged", "")
    assert.same({}, bucket:get_tags "tagged")
    bucket:put_tags("tagged", { team = "a b", ["x:y"] = "1" })
    assert.same({ team = "a b", ["x:y"] = "1" }, bucket:get_tags "tagged")
    bucket:delete_tags "tagged"
    assert.same({}, bucket:get_tags "tagged")
    assert.equal("NoSuchKey", caught(bucket.get_tags, bucket, "missing").code)
    assert.equal("NoSuchKey", caught(bucket.put_tags, bucket, "missing", {}).code)
    assert.equal("NoSuchKey", caught(bucket.delete_tags, bucket, "missing").code)
    assert.matches("names and strings", caught(bucket.put_tags, bucket, "tagged", { a = 1 }).message)
  end)

  it("presigns", function()
    bucket:put("signed a+b", "signed")
    local url = bucket:presign("GET", "signed a+b", { expires_s = 60 })
    local process = require "spec.support.process"
    assert.equal("signed", process.run({ "curl", "-s", url }).out)
    local other = process.run({ "curl", "-s", (url:gsub("signed", "other", 1)) }).out
    assert.matches("SignatureDoesNotMatch", other)
    assert.matches("between 1 and 604800", caught(bucket.presign, bucket, "GET", "a", { expires_s = 604801 }).message)
    assert.matches("GET, PUT", caught(bucket.presign, bucket, "FETCH", "a").message)
  end)

  it("copies", function()
    bucket:put("src é+ %", "copied", { metadata = { a = "1" }, content_type = "text/x-a" })
    local info = bucket:copy("src é+ %", "dst/é+ %")
    local got = bucket:get "dst/é+ %"
    assert.equal("copied", got.body)
    assert.equal(info.etag, got.etag)
    assert.equal("1", got.metadata.a)
    assert.equal("text/x-a", got.content_type)
    bucket:copy("src é+ %", "replaced", { metadata = { b = "2" }, content_type = "text/x-b" })
    local replaced = bucket:head "replaced"
    assert.same({ b = "2" }, replaced.metadata)
    assert.equal("text/x-b", replaced.content_type)
    assert.equal("NoSuchKey", caught(bucket.copy, bucket, "missing", "dst").code)
    assert.is_true(caught(bucket.copy, bucket, "src é+ %", "dst", { if_match = "0" }):is "precondition_failed")
    assert.matches("give 'metadata' too", caught(bucket.copy, bucket, "a", "b", { content_type = "x" }).message)
  end)

  it("copies from another bucket", function()
    local other = client:bucket(store:bucket())
    other:put("there", "from there")
    bucket:copy("there", "here", { source_bucket = other.name })
    assert.equal("from there", bucket:get("here").body)
  end)

  it("copies in parts", function()
    local body = ("0123456789abcdef"):rep(1 << 19) .. "tail" -- 8 MiB and 4 bytes
    bucket:put("parts", body, { metadata = { kept = "yes" }, content_type = "text/x-p", tags = { t = "1" } })
    bucket:copy("parts", "parts2", { part_size = 5 << 20 })
    local got = bucket:get "parts2"
    assert.is_true(got.body == body)
    assert.equal("yes", got.metadata.kept)
    assert.equal("text/x-p", got.content_type)
    assert.matches("%-2$", got.etag)
    assert.equal("NoSuchKey", caught(bucket.copy, bucket, "missing", "x", { part_size = 5 << 20 }).code)
  end)

  it("moves", function()
    bucket:put("move/a", "a")
    bucket:put("move/b", "b")
    local err = caught(bucket.move, bucket, "move/a", "move/b")
    assert.equal("DestinationExists", err.code)
    assert.equal("conflict", err.category)
    assert.equal("a", bucket:get("move/a").body)
    assert.equal("b", bucket:get("move/b").body)
    bucket:move("move/a", "move/c")
    assert.is_false(bucket:exists "move/a")
    assert.equal("a", bucket:get("move/c").body)
    bucket:move("move/c", "move/b", { overwrite = true })
    assert.equal("a", bucket:get("move/b").body)
    assert.same({ "move/b" }, store:keys(bucket.name, "move/"))
    assert.equal("NoSuchKey", caught(bucket.move, bucket, "move/a", "move/d").code)
    assert.matches("to itself", caught(bucket.move, bucket, "move/b", "move/b").message)
    assert.is_true(bucket:exists "move/b")
  end)

  it("answers requests as they are", function()
    bucket:put("raw", "raw")
    local answer = bucket:request("GET", "raw", { headers = { Range = "bytes=1-2" } })
    assert.equal(206, answer.status)
    assert.equal("aw", answer.body)
    assert.equal("bytes 1-2/3", answer.headers["content-range"])
    assert.matches("<ListBucketResult", bucket:request("GET", nil, { query = { ["list-type"] = "2", prefix = "raw" } }).body)
    assert.equal("NoSuchKey", caught(bucket.request, bucket, "GET", "missing").code)
    assert.matches("GET, PUT", caught(bucket.request, bucket, "get", "raw").message)
  end)

  it("has the same methods on the client, with a bucket", function()
    client:put("on client", "1", { bucket = bucket.name })
    assert.equal("1", client:get("on client", { bucket = bucket.name }).body)
    assert.matches("put needs a bucket", caught(client.put, client, "a", "b").message)
    assert.matches("unknown option 'bucket' for put", caught(bucket.put, bucket, "a", "b", { bucket = "x" }).message)
    local own <close> = support.client(store, { bucket = bucket.name })
    assert.equal("1", own:get("on client").body)
    assert.equal(bucket.name, own:bucket().name)
    assert.equal("1", bucket:client():get("on client", { bucket = bucket.name }).body)
  end)

  it("suggests what was meant", function()
    assert.equal("bucket has no method 'putFile'; did you mean 'put_file'?",
      caught(function() return bucket.putFile end).message)
    assert.equal("s3 client has no method 'listBuckets'; did you mean 'list_buckets'?",
      caught(function() return client.listBuckets end).message)
    local given = { parallel = { {}, print }, copy = { "a", "b" }, move = { "a", "b" }, put = { "a", "b" },
      put_file = { "a", "b" },
      put_stream = { "a", print }, get_to_file = { "a", "b" }, put_tags = { "a", {} }, presign = { "GET", "a" },
      request = { "GET", "a" }, delete_many = { {} }, list_prefixes = { "a", "/" }, abort_stale = { 1 }, list = {},
      list_versions = {}, list_uploads = {} }
    for _, name in ipairs { "get", "put", "head", "exists", "delete", "get_tags", "put_tags", "delete_tags", "presign",
      "request", "put_file", "put_stream", "get_to_file", "open", "copy", "move", "list", "list_prefixes", "list_versions",
      "list_uploads", "upload", "abort_stale", "delete_many", "parallel" } do
      local arguments = table.pack(table.unpack(given[name] or { "a" }))
      arguments[arguments.n + 1] = { no_such_option = 1 }
      local err = caught(bucket[name], bucket, table.unpack(arguments, 1, arguments.n + 1))
      assert.matches("^unknown option 'no_such_option' for " .. name, err.message)
      assert.equal("argument", err.category)
    end
    assert.equal("unknown option 'content_tpye' for put (did you mean 'content_type'?)",
      caught(bucket.put, bucket, "a", "b", { content_tpye = "x" }).message)
  end)

  it("refuses wrong arguments", function()
    assert.matches("a key of 1 to 1024 bytes expected, got nil", caught(bucket.get, bucket).message)
    assert.matches("got an empty one", caught(bucket.get, bucket, "").message)
    assert.matches("got 1025 bytes", caught(bucket.get, bucket, ("x"):rep(1025)).message)
    assert.matches("string expected, got number", caught(bucket.put, bucket, "a", 5).message)
    assert.matches("without control characters", caught(bucket.put, bucket, "a", "b", { content_type = "a\r\nx: y" }).message)
    assert.matches("without control characters", caught(bucket.put, bucket, "a", "b", { metadata = { a = "b\n" } }).message)
    assert.matches("no name that a header can have",
      caught(bucket.put, bucket, "a", "b", { metadata = { ["a b"] = "c" } }).message)
    assert.matches("must be a table, got string", caught(bucket.put, bucket, "a", "b", "c").message)
    assert.matches("with a colon", caught(bucket.get, "key").message)
    assert.matches("must be an integer", caught(bucket.get, bucket, "a", { max_body = "x" }).message)
  end)

  it("knows buckets", function()
    local name = bucket.name .. "-made"
    local made = client:create_bucket(name)
    assert.equal(name, made.name)
    assert.is_true(client:bucket_exists(name))
    assert.is_false(client:bucket_exists(name .. "-not"))
    assert.equal("BucketAlreadyOwnedByYou", caught(client.create_bucket, client, name).code)
    assert.equal(name, client:create_bucket(name, { if_not_exists = true }).name)
    local found
    for _, entry in ipairs(client:list_buckets()) do found = found or entry.name == name and entry end
    assert.is_true(math.abs(found.created.ms - bson.now().ms) < 60000)
    made:put("a", "b")
    assert.equal("BucketNotEmpty", caught(client.delete_bucket, client, name).code)
    made:delete "a"
    client:delete_bucket(name)
    assert.is_false(client:bucket_exists(name))
    assert.equal("NoSuchBucket", caught(client.delete_bucket, client, name).code)
    assert.matches("a name expected", caught(client.bucket_exists, client).message)
    assert.matches("no bucket is configured", caught(client.bucket, client).message)
  end)

  it("shows itself, and says that it is closed", function()
    local own = support.client(store)
    local handle = own:bucket(bucket.name)
    assert.equal("s3 client '" .. store.endpoint .. "' (open)", tostring(own))
    assert.equal("bucket '" .. bucket.name .. "' (open)", tostring(handle))
    local listing, reader = handle:list(), handle:open "doc"
    local upload = handle:upload "closed"
    own:close()
    own:close()
    assert.equal("s3 client (closed)", tostring(own))
    local given = { copy = { "a", "b" }, move = { "a", "b" }, put = { "a", "b" }, put_file = { "a", "b" },
      put_stream = { "a", print },
      get_to_file = { "a", "/dev/null" }, put_tags = { "a", {} }, presign = { "GET", "a" }, request = { "GET", "a" },
      delete_many = { { "a" } }, abort_stale = { 1 }, parallel = { { 1 }, print }, list = {}, list_prefixes = {},
      list_versions = {}, list_uploads = {} }
    for _, name in ipairs { "get", "put", "head", "exists", "delete", "get_tags", "put_tags", "delete_tags", "presign",
      "request", "put_file", "put_stream", "get_to_file", "open", "copy", "move", "list", "list_prefixes", "list_versions",
      "list_uploads", "upload", "abort_stale", "delete_many", "parallel", "client" } do
      assert.equal("bucket is closed", caught(handle[name], handle, table.unpack(given[name] or { "a" })).message)
    end
    for _, name in ipairs { "bucket", "list_buckets", "create_bucket", "delete_bucket", "bucket_exists", "get" } do
      assert.equal("s3 client is closed", caught(own[name], own, "a").message)
    end
    assert.matches("is closed", caught(listing.next, listing).message)
    assert.matches("is closed", caught(reader.read, reader).message)
    assert.matches("is closed", caught(upload.part, upload, "x").message)
    bucket:abort_stale(0)
  end)

  it("is what it is called", function()
    assert.matches("must be a string", caught(s3.connect, { bucket = 5 }).message)
    assert.equal("unknown option 'buket' for connect (did you mean 'bucket'?)", caught(s3.connect, { buket = "x" }).message)
    assert.equal("INVALID_OPTIONS", caught(s3.connect, { style = "paths" }).code)
    local own <close> = s3.connect { endpoint = server.shared().endpoint, bucket = bucket.name }
    assert.equal("Hello, world", own:get("doc").body) -- credentials of the environment
    assert.matches("read%-only", caught(function() bucket.name = "x" end).message)
  end)
end)
