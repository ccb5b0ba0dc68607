-- Multipart uploads: the steps of one, a window of parts under way, and the handle that scripts hold. Users: put_file,
-- put_stream, copy, and upload() as a method.
local bson = require "smartmigration.bson"
local core = require "smartmigration.s3.core"
local exchanges = require "smartmigration.s3.exchanges"
local failures = require "smartmigration.s3.failures"
local headers = require "smartmigration.s3.headers"
local objects = require "smartmigration.s3.objects"
local options = require "smartmigration.s3.options"
local strict = require "smartmigration.strict"
local xml = require "smartmigration.s3.xml"

local multipart = {}

multipart.MIN_PART, multipart.MAX_PART, multipart.MAX_PARTS = 5 << 20, 5 << 30, 10000
multipart.PART_SIZE = { "integer", multipart.MIN_PART, multipart.MAX_PART }

-- ------------------------------------------------------------------- the steps

-- Begins an upload: { handle, bucket, key, operation, id, parts = { etag, … } }. `head` are the object's headers.
function multipart.begin(handle, operation, bucket, key, head, checksum)
  head["x-amz-checksum-algorithm"] = checksum and "SHA256" or head["x-amz-checksum-algorithm"]
  local answer = exchanges.perform(handle, { operation = operation, method = "POST", bucket = bucket, key = key,
    query = { uploads = true }, headers = head, creates_object = true })
  local name, root = core.xml(answer.body)
  local id = name == "InitiateMultipartUploadResult" and type(root) == "table" and root.UploadId
  if type(id) ~= "string" or id == "" then
    failures.raise("InvalidResponse", "s3", operation, bucket, key, "the answer names no upload")
  end
  return { handle = handle, operation = operation, bucket = bucket, key = key, id = id, parts = {}, digests = {},
    size = 0, checksum = checksum }
end

-- Begins to send a part. `what`: { body } or { file, file_offset, file_length } or { headers, error_in_200 }; `size`: its bytes.
function multipart.start_part(upload, number, what, size)
  local request = { operation = upload.operation, method = "PUT", bucket = upload.bucket, key = upload.key,
    query = { partNumber = tostring(number), uploadId = upload.id }, headers = what.headers or {} }
  for _, field in ipairs { "body", "file", "file_offset", "file_length", "sha256", "error_in_200" } do
    request[field] = what[field]
  end
  if upload.checksum and what.sha256 then
    upload.digests[number] = core.base64(what.sha256)
    request.headers["x-amz-checksum-sha256"] = upload.digests[number]
  end
  upload.size = upload.size + size
  return exchanges.start(upload.handle, request)
end

-- Takes the answer to a part.
function multipart.finish_part(upload, number, exchange)
  local answer = exchanges.finish(exchange, upload.operation)
  local etag = answer.headers.etag
  if answer.body ~= "" then -- of a part that was copied
    local _, root = core.xml(answer.body)
    etag = type(root) == "table" and root.ETag or etag
  end
  if type(etag) ~= "string" or etag == "" then
    failures.raise("InvalidResponse", "s3", upload.operation, upload.bucket, upload.key,
      ("the answer to part %d has no ETag"):format(number))
  end
  upload.parts[number] = headers.unquote(etag)
end

-- The entity tag that S3 gives to an object of these parts; nil where theirs are no MD5.
local function expected_etag(upload)
  local digests = {}
  for number, etag in ipairs(upload.parts) do
    if not etag:find "^%x+$" or #etag ~= 32 then
      return nil
    end
    digests[number] = etag:gsub("%x%x", function(byte)
      return string.char(tonumber(byte, 16))
    end)
  end
  local digest = core.digest("md5", table.concat(digests)):gsub(".", function(byte)
    return ("%02x"):format(byte:byte())
  end)
  return ("%s-%d"):format(digest, #upload.parts)
end

-- Whether the object is there as the upload was to make it: when the answer was lost, the upload that was completed is gone.
local function was_completed(upload)
  local expected = expected_etag(upload)
  local ok, info = pcall(objects.look, upload.handle, upload.operation, upload.bucket, upload.key, {})
  if ok and expected and info and info.etag == expected and info.size == upload.size then
    return info
  end
end

-- Some servers say yes to an upload that is gone when there is another object of the key. An entity tag that is not the expected
-- one may be that, or come from a server that makes them otherwise: the size tells.
local function check_completed(upload, etag, version_id)
  if etag == expected_etag(upload) then
    return
  end
  local info = objects.look(upload.handle, upload.operation, upload.bucket, upload.key, { version_id = version_id })
  if not info or info.size ~= upload.size then
    failures.raise("InvalidResponse", "s3", upload.operation, upload.bucket, upload.key,
      ("the server said that it is done, but the object has %s bytes, not %d"):format(info and info.size or "no", upload.size))
  end
end

-- Makes the object of the parts. `head`: conditions.
function multipart.complete(upload, head, conditional)
  local parts = {}
  for number, etag in ipairs(upload.parts) do
    local digest = upload.digests[number] and xml.text("ChecksumSHA256", upload.digests[number]) or ""
    parts[number] = xml.element("Part", digest .. xml.text("PartNumber", tostring(number))
      .. xml.text("ETag", headers.quote(etag)))
  end
  head = head or {}
  head["content-type"] = "application/xml"
  local ok, answer = exchanges.try(upload.handle, { operation = upload.operation, method = "POST", bucket = upload.bucket,
    key = upload.key, query = { uploadId = upload.id }, headers = head, error_in_200 = true, once = conditional,
    body = xml.element("CompleteMultipartUpload", table.concat(parts)) })
  if not ok then
    local unclear = failures.is(answer, "NoSuchUpload") or type(answer) == "userdata" and answer.outcome_unknown
    local info = unclear and not failures.is_final(answer) and was_completed(upload)
    if not info then
      error(answer, 0)
    end
    return { etag = info.etag, version_id = info.version_id }
  end
  local name, root = core.xml(answer.body)
  if name ~= "CompleteMultipartUploadResult" then
    failures.raise("InvalidResponse", "s3", upload.operation, upload.bucket, upload.key, "the answer is a " .. name)
  end
  local etag = headers.unquote(type(root) == "table" and root.ETag or answer.headers.etag)
  local version_id = answer.headers["x-amz-version-id"]
  check_completed(upload, etag, version_id)
  return { etag = etag, version_id = version_id }
end

-- Frees the parts on the service. An upload that is gone is aborted.
function multipart.abort(handle, operation, bucket, key, id)
  local ok, failure = exchanges.try(handle, { operation = operation, method = "DELETE", bucket = bucket, key = key,
    query = { uploadId = id } })
  if not ok and not failures.is(failure, "NoSuchUpload") then
    error(failure, 0)
  end
end

-- Sends parts, `most` of them at a time: next_part(number) gives what start_part takes and the part's size, or nil at the end;
-- sent(number) may be nil. Then completes. Whatever fails, the upload is aborted.
function multipart.send(upload, next_part, most, sent, conditions)
  local window, first, number, done = {}, 1, 0, false
  -- Not pcall: what is raised in next_part, which may be a script's, keeps its place and trace.
  local _ <close> = setmetatable({}, { __close = function()
    if done then
      return
    end
    for i = first, number do
      if window[i] then
        window[i]:abandon()
      end
    end
    pcall(multipart.abort, upload.handle, upload.operation, upload.bucket, upload.key, upload.id)
  end })
  local function finish_first()
    multipart.finish_part(upload, first, window[first])
    window[first] = nil
    if sent then
      sent(first)
    end
    first = first + 1
  end
  while true do
    local what, size = next_part(number + 1)
    if not what then
      break
    elseif number == multipart.MAX_PARTS then
      options.refuse("%s takes at most %d parts: give a larger part_size", upload.operation, multipart.MAX_PARTS)
    end
    number = number + 1
    window[number] = multipart.start_part(upload, number, what, size)
    if number - first + 1 >= most then
      finish_first()
    end
  end
  while first <= number do
    finish_first()
  end
  if conditions.before then
    conditions.before()
  end
  local head = {}
  local conditional = headers.add_conditions(head, conditions)
  local info = multipart.complete(upload, head, conditional)
  done = true
  return info
end

-- ------------------------------------------------------------------ the handle

local Upload = {}
local states = setmetatable({}, { __mode = "k" })

local function check(self)
  local state = states[self]
  core.target(state.upload.handle)
  if state.ended then
    core.raise_argument(("upload is %s"):format(state.ended))
  end
  return state
end

local function finish(state, how)
  state.ended = how
  core.upload(state.upload.handle, -1)
end

-- upload:part(data): sends the next part; all but the last have at least 5 MiB
function Upload:part(data)
  local state = check(self)
  if type(data) ~= "string" then
    options.refuse("bad argument #1 to 'part' (string expected, got %s)", type(data))
  end
  local upload = state.upload
  if state.short then
    options.refuse("part %d of the upload has less than 5 MiB, which only the last one may", #upload.parts)
  end
  local number = #upload.parts + 1
  if number > multipart.MAX_PARTS then
    options.refuse("an upload takes at most %d parts", multipart.MAX_PARTS)
  end
  local digest = upload.checksum and core.digest("sha256", data) or nil
  local exchange = multipart.start_part(upload, number, { body = data, sha256 = digest }, #data)
  multipart.finish_part(upload, number, exchange)
  state.short = #data < multipart.MIN_PART
end

-- upload:complete() -> { etag, version_id }
function Upload:complete()
  local state = check(self)
  if #state.upload.parts == 0 then
    options.refuse "the upload has no part: give it one, or abort() it"
  end
  local head = {}
  local conditional = headers.add_conditions(head, state.conditions)
  local info = multipart.complete(state.upload, head, conditional)
  finish(state, "completed")
  return info
end

-- upload:abort(); of one that has ended it does nothing
function Upload:abort()
  local state = states[self]
  if state.ended then
    return
  end
  local upload = state.upload
  multipart.abort(upload.handle, "upload", upload.bucket, upload.key, upload.id)
  finish(state, "aborted")
end

strict.called_with_colon("smartmigration.s3_upload", Upload, "upload")

local meta = {
  __name = "smartmigration.s3_upload",
  __metatable = "smartmigration.s3_upload",
  __index = function(self, name)
    return name == "id" and states[self].upload.id or strict.index("upload", Upload)(self, name)
  end,
  __newindex = strict.newindex "upload",
  __close = Upload.abort,
  __tostring = function(self)
    local state = states[self]
    return ("upload '%s/%s' (%s)"):format(state.upload.bucket, state.upload.key, state.ended or "open")
  end,
}

-- bucket:upload(key [, opts]) -> upload
function multipart.upload(self, key, opts)
  local bucket
  bucket, opts = options.begin(self, "upload", opts, objects.PUT_OPTIONS)
  options.check_key(key, "upload")
  local upload = multipart.begin(self, "upload", bucket, key, headers.written(opts, "upload"),
    objects.wants_checksum(opts, "upload"))
  local handle = setmetatable({}, meta)
  states[handle] = { upload = upload, conditions = { if_match = opts.if_match, if_none_match = opts.if_none_match } }
  core.upload(self, 1, bucket .. "/" .. key)
  return handle
end

-- bucket:abort_stale(older_than_s [, opts]) -> how many uploads were aborted that were begun so long ago
function multipart.abort_stale(self, older_than_s, opts)
  local list = require "smartmigration.s3.list"
  local bucket
  bucket, opts = options.begin(self, "abort_stale", opts, { prefix = "string" })
  if type(older_than_s) ~= "number" or older_than_s < 0 then
    options.refuse("bad argument #1 to 'abort_stale' (seconds expected, got %s)", type(older_than_s))
  end
  local before_ms, count = bson.now().ms - older_than_s * 1000, 0
  for upload in list.list_uploads(core.bucket(self, bucket), opts.prefix) do
    if type(upload.initiated) == "userdata" and upload.initiated.ms <= before_ms then
      multipart.abort(self, "abort_stale", bucket, upload.key, upload.upload_id)
      count = count + 1
    end
  end
  return count
end

return multipart
