-- Encryption and the expected owner of the bucket on every request of a whole chain, the ledger's, its history's and the probe's
-- included. A proxy notes what was sent; the server behind it does not see these headers: it has neither keys nor that account.
local project = require "spec.support.project"
local s3_project = require "spec.support.s3_project"
local s3_proxy = require "spec.support.s3_proxy"

local OWNER, KEY_ID = "111122223333", "arn:aws:kms:eu-central-1:111122223333:key/the-key"
local SSE, SSE_KEY = "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"
local EXPECTED, SOURCE = "x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"

-- Every kind of request that a step can make of objects, and a beat of the heartbeat.
local EVERYTHING = [[
  local bucket, path = ctx.bucket, os.tmpname()
  local six = ("x"):rep(6 << 20)
  local file <close> = assert(io.open(path, "wb"))
  file:write(six)
  file:flush()
  bucket:put("a", "1")
  bucket:get "a"
  bucket:head "a"
  bucket:exists "missing"
  bucket:put_file("file", path, { part_size = 5 << 20 })
  bucket:get_to_file("file", path)
  os.remove(path)
  local chunks = 0
  bucket:put_stream("stream", function()
    chunks = chunks + 1
    return chunks <= 7 and ("y"):rep(1 << 20) or nil
  end, { part_size = 5 << 20 })
  local reader <close> = bucket:open "stream"
  reader:read(10)
  bucket:copy("file", "copy")
  bucket:copy("file", "parts", { part_size = 5 << 20 })
  bucket:move("copy", "moved", { overwrite = true })
  bucket:put_tags("a", { x = "y" })
  bucket:get_tags "a"
  bucket:delete_tags "a"
  local upload <close> = bucket:upload "by hand"
  upload:part "z"
  upload:complete()
  bucket:upload("left"):abort()
  bucket:abort_stale(0)
  bucket:request("PUT", "raw", { body = "r" })
  bucket:request("GET", "raw")
  bucket:list():all()
  bucket:list_versions():all()
  bucket:parallel({ 1, 2 }, function(i) bucket:put("p/" .. i, "") end)
  bucket:delete "a"
  bucket:delete_many { "p/1", "p/2" }
  ctx.s3:bucket_exists(bucket.name)
  ctx.checkpoint:write("seen", 1)
  local before = ctx.lease:remaining_ms()
  repeat
    local now = ctx.lease:remaining_ms()
    local extended = now > before
    before = now
    ctx:check()
  until extended
  if os.getenv "FAIL" then error "not this time" end
]]

-- Whether a request makes an object, as AWS's reference has it: PutObject, CopyObject, CreateMultipartUpload.
local function creates(entry)
  local key = entry.path:match "^/[^/]+/(.+)"
  return key ~= nil and (entry.method == "PUT" and entry.query == ""
    or entry.method == "POST" and entry.query:find "^uploads=?$" ~= nil)
end

describe("encryption and the expected owner", function()
  it("are on every request that takes them", function()
    local proxy <close> = s3_proxy.start()
    proxy:add { ignore = { SSE, SSE_KEY, EXPECTED, SOURCE } }
    local p <close> = s3_project.new({
      ["1.lua"] = project.step("one", "1.0.0", "1.1.0", EVERYTHING, "resumable = true,"),
      ["2.lua"] = project.step("two", "1.1.0", "1.2.0", "ctx.bucket:put('two', 'x')"),
    }, { proxy = proxy, env = { SMARTMIGRATION_S3_SSE_KMS_KEY_ID = KEY_ID },
      flags = { "--s3-sse", "aws:kms", "--s3-expected-bucket-owner", OWNER, "--lock-ttl", "5s" } })
    local function done(words, status)
      local result = p:run(words)
      assert.are.equal(status or 0, result.status, result.out .. result.err)
    end
    done { "plan" }
    done { "run", "--dry-run" }
    done({ "run", env = { FAIL = "1" } }, 1)
    done { "checkpoint", "show" }
    done { "checkpoint", "clear" }
    done { "run" }
    done { "status" }
    done { "validate" }
    done { "repair", "--mark-pending", "two" }
    done { "repair", "--mark-applied", "two" }
    done { "repair", "--rerun", "two" }
    done { "baseline", "1.2.0", "--force" }
    done { "unlock" }
    done { "history" }
    done { "history", "--prune-older-than", "0" }

    local kinds, made = {}, {}
    for _, entry in ipairs(proxy:log()) do
      local what = ("%s %s ?%s"):format(entry.method, entry.path, entry.query)
      local sent = entry.headers
      assert.are.equal(OWNER, sent[EXPECTED], what)
      assert.are.equal(sent["x-amz-copy-source"] and OWNER, sent[SOURCE], what)
      assert.are.equal(creates(entry) and "aws:kms" or nil, sent[SSE], what)
      assert.are.equal(creates(entry) and KEY_ID or nil, sent[SSE_KEY], what)
      local key = entry.path:match "^/[^/]+/(.*)" or ""
      local part = key:match "%.probe%-" or key:match "/history/" or key == s3_project.KEY and "ledger" or "data"
      kinds[part .. " " .. entry.method] = (kinds[part .. " " .. entry.method] or 0) + 1
      if creates(entry) then made[key] = true end
    end
    -- That these were sent at all: of each part of the ledger, and of each way to make an object.
    for _, kind in ipairs { "ledger GET", "ledger PUT", ".probe- PUT", ".probe- GET", ".probe- DELETE", "/history/ PUT",
      "/history/ GET", "/history/ DELETE", "data HEAD", "data GET", "data PUT", "data POST", "data DELETE" } do
      assert.is_truthy(kinds[kind], kind)
    end
    for _, key in ipairs { "a", "file", "stream", "copy", "parts", "moved", "by hand", "left", "raw", "p/1" } do
      assert.is_truthy(made[key], key)
    end
    assert.are.equal("1.2.0", p:ledger().currentVersion)
  end)
end)
