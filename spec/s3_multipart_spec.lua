-- Multipart uploads of the S3 binding: files, the handle, what is left behind, answers that are lost. Against a real server.
local bson = require "smartmigration.bson"
local support = require "spec.support.s3_lua"
local wait_for = require "spec.support.wait_for"

local caught = support.caught
local MIB = 1 << 20

describe("a multipart upload", function()
  local bucket, client, proxy, own, through, _
  setup(function()
    bucket, _, client = support.bucket()
    proxy, own, through = support.by_proxy(bucket)
  end)
  before_each(function()
    proxy:remove()
    proxy:clear()
  end)
  after_each(function() assert.same({}, bucket:list_uploads():all()) end)
  teardown(function()
    proxy:remove()
    own:close()
    proxy:close()
    client:close()
    support.clean()
  end)

  -- Bytes that are different everywhere, so that parts in the wrong order are seen.
  local function bytes(size)
    local lines, length, i = {}, 0, 0
    while length < size do
      i = i + 1
      lines[i] = ("%015d\n"):format(i)
      length = length + 16
    end
    return table.concat(lines):sub(1, size)
  end

  for name, size in pairs { ["nothing"] = 0, ["5 MiB - 1"] = 5 * MIB - 1, ["5 MiB"] = 5 * MIB, ["3 parts"] = 12 * MIB + 7 } do
    it("of a file, and back: " .. name, function()
      local content = bytes(size)
      local path, target = support.path(content), support.path()
      local info = bucket:put_file("file", path, { part_size = 5 * MIB, content_type = "text/x-f", metadata = { a = "b" } })
      assert.is_true(bucket:get("file").body == content)
      local got = bucket:get_to_file("file", target)
      assert.is_true(support.read(target) == content)
      assert.equal(size, got.size)
      assert.equal(info.etag, got.etag)
      assert.equal("text/x-f", got.content_type)
      assert.same({ a = "b" }, got.metadata)
      assert.equal(size > 5 * MIB, info.etag:find "%-" ~= nil)
      local at = 1
      local streamed = bucket:put_stream("stream", function()
        local chunk = content:sub(at, at + 777776)
        at = at + 777777
        return chunk ~= "" and chunk or nil
      end, { checksum = "sha256" })
      assert.is_true(bucket:get("stream").body == content)
      assert.equal(size > 5 * MIB, streamed.etag:find "%-" ~= nil)
    end)
  end

  it("of a file has four parts under way", function()
    local path = support.path(bytes(40 * MIB))
    proxy:add { method = "PUT", query = "partNumber", hold = "before" }
    own:parallel({ 1, 2 }, function(i)
      if i == 1 then return through:put_file("window", path, { part_size = 5 * MIB }) end
      wait_for("four parts", function()
        through:head "file" -- lets the other coroutine go on
        return #proxy:log { method = "PUT" } == 4
      end)
      proxy:remove()
    end)
    assert.equal(8, #proxy:log { method = "PUT" })
    assert.is_true(bucket:get("window").body == bytes(40 * MIB))
  end)

  it("sends checksums of parts when it is asked to", function()
    local path = support.path(bytes(6 * MIB))
    through:put_file("checked", path, { part_size = 5 * MIB, checksum = "sha256" })
    local parts = proxy:log { method = "PUT" }
    assert.equal(2, #parts)
    for _, part in ipairs(parts) do assert.is_string(part.headers["x-amz-checksum-sha256"]) end
    assert.is_true(bucket:get("checked").body == bytes(6 * MIB))
  end)

  it("leaves nothing behind when a part fails", function()
    local path = support.path(bytes(12 * MIB))
    proxy:add { method = "PUT", query = "partNumber=2", answer = { status = 403, error = "AccessDenied" } }
    local err = caught(through.put_file, through, "failed", path, { part_size = 5 * MIB })
    assert.equal("AccessDenied", err.code)
    assert.is_nil(bucket:head "failed")
    assert.equal(1, #proxy:log { method = "DELETE" })
  end)

  it("sends a part again that the server was too busy for", function()
    local path = support.path(bytes(12 * MIB))
    proxy:add { method = "PUT", query = "partNumber=2", times = 2, answer = { status = 503, error = "SlowDown" } }
    through:put_file("again", path, { part_size = 5 * MIB })
    assert.is_true(bucket:get("again").body == bytes(12 * MIB))
  end)

  it("is known to be done when the answer to that was lost", function()
    local path = support.path(bytes(11 * MIB))
    proxy:add { method = "POST", query = "uploadId", times = 1, drop = "after" }
    local info = through:put_file("lost", path, { part_size = 5 * MIB })
    assert.equal(bucket:head("lost").etag, info.etag)
    assert.is_true(bucket:get("lost").body == bytes(11 * MIB))
  end)

  it("fails when it was aborted by another, though an object is there", function()
    bucket:put("aborted", "old")
    local upload = bucket:upload "aborted"
    upload:part "newer"
    bucket:abort_stale(0)
    upload:abort()
    local there = through:upload "aborted"
    there:part "newer"
    proxy:add { method = "POST", query = "uploadId", answer = { status = 404, error = "NoSuchUpload" } }
    assert.equal("NoSuchUpload", caught(there.complete, there).code)
    assert.equal("old", bucket:get("aborted").body)
    proxy:remove()
    there:abort()
  end)

  it("that the server calls done has the right size", function()
    local path = support.path(bytes(6 * MIB))
    bucket:put("odd", "old")
    local function answer(etag)
      proxy:remove()
      proxy:add { method = "POST", query = "uploadId", forward = true, answer = { status = 200,
        body = "<CompleteMultipartUploadResult><ETag>" .. etag .. "</ETag></CompleteMultipartUploadResult>" } }
    end
    answer "odd"
    assert.equal("odd", through:put_file("odd", path, { part_size = 5 * MIB }).etag)
    bucket:put("odd", "old")
    proxy:add { method = "HEAD", path = "/odd$", answer = { status = 200, headers = { ["Content-Length"] = "3" } } }
    assert.matches("the object has 3 bytes, not 6291456",
      caught(through.put_file, through, "odd", path, { part_size = 5 * MIB }).message)
  end)

  it("fails when completing fails inside of a 200", function()
    local path = support.path(bytes(6 * MIB))
    proxy:add { method = "POST", query = "uploadId",
      answer = { status = 200, body = "   \n<Error><Code>AccessDenied</Code><Message>no</Message></Error>" } }
    local err = caught(through.put_file, through, "inside", path, { part_size = 5 * MIB })
    assert.equal("AccessDenied", err.code)
    assert.is_nil(bucket:head "inside")
  end)

  it("fails without an ETag of a part", function()
    local path = support.path(bytes(6 * MIB))
    proxy:add { method = "PUT", query = "partNumber=1", headers = { etag = bson.null } }
    local err = caught(through.put_file, through, "etag", path, { part_size = 5 * MIB })
    assert.equal("InvalidResponse", err.code)
    assert.matches("part 1 has no ETag", err.message)
  end)

  it("keeps conditions", function()
    local path = support.path(bytes(6 * MIB))
    bucket:put("conditional", "old")
    local err = caught(bucket.put_file, bucket, "conditional", path, { part_size = 5 * MIB, if_none_match = "*" })
    assert.is_true(err:is "precondition_failed")
    assert.equal("old", bucket:get("conditional").body)
    bucket:put_file("conditional new", path, { part_size = 5 * MIB, if_none_match = "*" })
  end)

  it("of a file that cannot be read raises", function()
    local err = caught(bucket.put_file, bucket, "a", "/there/is/no/file")
    assert.equal("FileError", err.code)
    assert.matches("put_file cannot read '/there/is/no/file': No such file", err.message)
    assert.matches("no regular file", caught(bucket.put_file, bucket, "a", "/tmp").message)
    assert.matches("a path expected", caught(bucket.put_file, bucket, "a").message)
    assert.matches("between 5242880", caught(bucket.put_file, bucket, "a", "b", { part_size = 1 }).message)
  end)

  it("of a file that is written to meanwhile raises", function()
    local path = support.path(bytes(6 * MIB))
    proxy:add { method = "POST", query = "uploads", hold = "after" }
    local err = caught(own.parallel, own, { 1, 2 }, function(i)
      if i == 1 then
        through:put_file("changing", path, { part_size = 5 * MIB })
      else
        local file <close> = assert(io.open(path, "ab"))
        file:write "more"
        file:close()
        proxy:remove()
      end
    end)
    assert.equal("FileChanged", err.code)
    assert.is_nil(bucket:head "changing")
  end)

  describe("by hand", function()
    it("takes parts", function()
      local upload = bucket:upload("hand", { content_type = "text/x-h" })
      assert.is_string(upload.id)
      upload:part(("a"):rep(5 * MIB))
      upload:part "b"
      local info = upload:complete()
      local got = bucket:get "hand"
      assert.equal(info.etag, got.etag)
      assert.equal(5 * MIB + 1, got.size)
      assert.equal("text/x-h", got.content_type)
      assert.equal("upload is completed", caught(upload.part, upload, "x").message)
      assert.equal("upload is completed", caught(upload.complete, upload).message)
      upload:abort()
      assert.matches("upload '.+/hand' %(completed%)", tostring(upload))
    end)

    it("is aborted by the end of its block", function()
      do
        local upload <close> = bucket:upload "block"
        upload:part "x"
        assert.equal(1, #bucket:list_uploads("block"):all())
      end
      assert.is_nil(bucket:head "block")
      local ok = pcall(function()
        local upload <close> = bucket:upload "block"
        upload:part "x"
        error "broken"
      end)
      assert.is_false(ok)
      assert.same({}, bucket:list_uploads("block"):all())
    end)

    it("refuses what the service would", function()
      local upload <close> = bucket:upload "refused"
      assert.matches("has no part", caught(upload.complete, upload).message)
      upload:part "short"
      assert.matches("less than 5 MiB", caught(upload.part, upload, "x").message)
      assert.matches("string expected, got nil", caught(upload.part, upload).message)
      assert.matches("did you mean 'part'", caught(function() return upload.prt end).message)
    end)

    it("is found and aborted when it is stale", function()
      local first, second = bucket:upload "stale/1", bucket:upload "stale/2 + é"
      local listed = bucket:list_uploads("stale/"):all()
      assert.equal(2, #listed)
      assert.equal("stale/1", listed[1].key)
      assert.equal("stale/2 + é", listed[2].key)
      assert.equal(first.id, listed[1].upload_id)
      assert.is_true(math.abs(listed[1].initiated.ms - bson.now().ms) < 60000)
      assert.equal(0, bucket:abort_stale(3600))
      assert.equal(1, bucket:abort_stale(0, { prefix = "stale/1" }))
      assert.equal(1, bucket:abort_stale(0))
      assert.equal("NoSuchUpload", caught(second.part, second, "x").code)
      first:abort()
      second:abort()
      assert.matches("seconds expected", caught(bucket.abort_stale, bucket).message)
    end)
  end)
end)
