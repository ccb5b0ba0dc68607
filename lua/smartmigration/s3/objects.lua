-- One object, one request: get, put, head, exists, delete, tags. Users: init.lua makes them methods.
local core = require "smartmigration.s3.core"
local exchanges = require "smartmigration.s3.exchanges"
local failures = require "smartmigration.s3.failures"
local headers = require "smartmigration.s3.headers"
local options = require "smartmigration.s3.options"

local objects = {}

local begin, check_key, join, perform = options.begin, options.check_key, options.join, exchanges.perform

local function version_query(opts)
  return opts.version_id and { versionId = opts.version_id } or nil
end

-- ------------------------------------------------------------------------ get

local MAX_BODY = 64 * 1024 * 1024
local BODY_LIMIT = { "integer", 1, 1 << 40 }

local GET = join(headers.READ_OPTIONS, { range = "table", max_body = BODY_LIMIT, missing_ok = "boolean" })

-- "bytes=0-99" of { 0, 99 }; the last may be missing.
function objects.range(range, operation)
  local first, last = range[1], range[2]
  local good = math.type(first) == "integer" and first >= 0
    and (last == nil or math.type(last) == "integer" and last >= first)
  if not good then
    options.refuse("option 'range' of %s must be { first, last }: positions from 0, both included", operation)
  end
  return ("bytes=%d-%s"):format(first, last or "")
end

-- What get and open ask for.
function objects.reading(bucket, key, operation, opts)
  local head = headers.read(opts, operation)
  head.range = opts.range and objects.range(opts.range, operation) or head.range
  return { operation = operation, method = "GET", bucket = bucket, key = key, query = version_query(opts), headers = head }
end

-- bucket:get(key [, opts]) -> { body, etag, size, content_type, metadata, last_modified, version_id, … }
function objects.get(self, key, opts)
  local bucket
  bucket, opts = begin(self, "get", opts, GET)
  check_key(key, "get")
  local request = objects.reading(bucket, key, "get", opts)
  request.max_body = opts.max_body or MAX_BODY
  local ok, answer = exchanges.try(self, request)
  if not ok then
    if opts.missing_ok and failures.is(answer, "NoSuchKey") then
      return nil
    elseif failures.is(answer, "BodyTooLarge") then
      failures.raise("BodyTooLarge", "s3", "get", bucket, key, ("the object has more than max_body, %d bytes: use open() or "
        .. "get_to_file(), or give a larger max_body"):format(request.max_body))
    end
    failures.pass_on(answer)
  end
  local info = headers.info(answer)
  info.body = answer.body
  return info
end

-- ------------------------------------------------------------------------ put

objects.PUT_OPTIONS = join(headers.WRITE_OPTIONS, { if_none_match = "text", if_match = "text", checksum = "text" })

-- Whether a SHA-256 is asked for.
function objects.wants_checksum(opts, operation)
  if opts.checksum ~= nil and opts.checksum ~= "sha256" then
    options.refuse("option 'checksum' of %s must be \"sha256\", got \"%s\"", operation, opts.checksum)
  end
  return opts.checksum ~= nil
end

-- The request that puts one body; its body is still missing. `digest`: its SHA-256, when it is asked for.
function objects.putting(bucket, key, operation, opts, digest)
  local head = headers.written(opts, operation)
  local conditional = headers.add_conditions(head, opts)
  head["x-amz-checksum-sha256"] = digest and core.base64(digest) or head["x-amz-checksum-sha256"]
  return { operation = operation, method = "PUT", bucket = bucket, key = key, headers = head, creates_object = true,
    once = conditional, sha256 = digest }
end

-- bucket:put(key, body [, opts]) -> { etag, version_id }
function objects.put(self, key, body, opts)
  local bucket
  bucket, opts = begin(self, "put", opts, objects.PUT_OPTIONS)
  check_key(key, "put")
  if type(body) ~= "string" then
    options.refuse("bad argument #2 to 'put' (string expected, got %s)", type(body))
  end
  local digest = objects.wants_checksum(opts, "put") and core.digest("sha256", body) or nil
  local request = objects.putting(bucket, key, "put", opts, digest)
  request.body = body
  return headers.written_info(perform(self, request))
end

-- ----------------------------------------------------------------------- head

local HEAD = headers.READ_OPTIONS

-- handle -> { bucket = true }: buckets that are known to be there.
local seen = setmetatable({}, { __mode = "k" })

-- A HEAD has no body, so 404 may mean that the bucket is missing: a mistyped bucket must not pass for a missing object.
local function check_bucket(self, operation, bucket)
  local known = seen[self] or {}
  seen[self] = known
  if known[bucket] then
    return
  end
  local ok, failure = exchanges.try(self, { operation = operation, method = "HEAD", bucket = bucket })
  if not ok and failure.status == 404 then
    failures.raise("NoSuchBucket", "s3", operation, bucket, nil, "there is no such bucket", { status = 404, native = 404 })
  elseif not ok and failures.is_final(failure) then
    failures.pass_on(failure)
  end
  known[bucket] = true -- whoever may not ask for the bucket (403) may still ask for its objects
end

-- The information, or nil when the service says 404.
function objects.look(self, operation, bucket, key, opts)
  local ok, answer = exchanges.try(self, { operation = operation, method = "HEAD", bucket = bucket, key = key,
    query = version_query(opts), headers = headers.read(opts, operation) })
  if ok then
    return headers.info(answer)
  elseif type(answer) == "userdata" and answer.status == 404 then
    check_bucket(self, operation, bucket)
    return nil
  end
  failures.pass_on(answer)
end

-- bucket:head(key [, opts]) -> information, or nil when there is no such object
function objects.head(self, key, opts)
  local bucket
  bucket, opts = begin(self, "head", opts, HEAD)
  check_key(key, "head")
  return objects.look(self, "head", bucket, key, opts)
end

-- bucket:exists(key [, opts]) -> boolean; raises when the service will not tell
function objects.exists(self, key, opts)
  local bucket
  bucket, opts = begin(self, "exists", opts, { version_id = "text", headers = "table" })
  check_key(key, "exists")
  return objects.look(self, "exists", bucket, key, opts) ~= nil
end

-- --------------------------------------------------------------------- delete

-- bucket:delete(key [, opts]) -> { version_id, delete_marker }; a missing object is no error
function objects.delete(self, key, opts)
  local bucket
  bucket, opts = begin(self, "delete", opts, { version_id = "text", if_match = "text", headers = "table" })
  check_key(key, "delete")
  local answer = perform(self, { operation = "delete", method = "DELETE", bucket = bucket, key = key,
    query = version_query(opts), headers = headers.read(opts, "delete"), once = opts.if_match ~= nil })
  return { version_id = answer.headers["x-amz-version-id"],
    delete_marker = answer.headers["x-amz-delete-marker"] == "true" or nil }
end

-- ----------------------------------------------------------------------- tags

local TAGS = { version_id = "text" }

local function tags_request(operation, method, bucket, key, opts)
  return { operation = operation, method = method, bucket = bucket, key = key,
    query = { tagging = true, versionId = opts.version_id } }
end

-- bucket:get_tags(key [, opts]) -> { name = value }
function objects.get_tags(self, key, opts)
  local bucket
  bucket, opts = begin(self, "get_tags", opts, TAGS)
  check_key(key, "get_tags")
  local answer = perform(self, tags_request("get_tags", "GET", bucket, key, opts))
  local _, root = core.xml(answer.body)
  local tags = {}
  local set = type(root) == "table" and type(root.TagSet) == "table" and root.TagSet or {}
  for _, tag in ipairs(set) do
    if tag.name == "Tag" and type(tag.value) == "table" then
      tags[tag.value.Key or ""] = tag.value.Value or ""
    end
  end
  return tags
end

-- bucket:put_tags(key, tags [, opts]): they replace those there are
function objects.put_tags(self, key, tags, opts)
  local bucket
  bucket, opts = begin(self, "put_tags", opts, TAGS)
  check_key(key, "put_tags")
  if type(tags) ~= "table" then
    options.refuse("bad argument #2 to 'put_tags' (table of names and strings expected, got %s)", type(tags))
  end
  headers.tagging(tags, "put_tags") -- checks them
  local xml = require "smartmigration.s3.xml"
  local names = {}
  for name in pairs(tags) do
    names[#names + 1] = name
  end
  table.sort(names)
  local set = {}
  for i, name in ipairs(names) do
    set[i] = xml.element("Tag", xml.text("Key", name) .. xml.text("Value", tags[name]))
  end
  local body = xml.element("Tagging", xml.element("TagSet", table.concat(set)))
  local request = tags_request("put_tags", "PUT", bucket, key, opts)
  request.body = body
  request.headers = { ["content-md5"] = core.base64(core.digest("md5", body)), ["content-type"] = "application/xml" }
  perform(self, request)
end

-- bucket:delete_tags(key [, opts])
function objects.delete_tags(self, key, opts)
  local bucket
  bucket, opts = begin(self, "delete_tags", opts, TAGS)
  check_key(key, "delete_tags")
  perform(self, tags_request("delete_tags", "DELETE", bucket, key, opts))
end

-- ------------------------------------------------------------- raw and presign

local METHODS = { GET = true, PUT = true, HEAD = true, DELETE = true, POST = true }

local function check_method(method, operation)
  if not METHODS[method] then
    options.refuse("bad argument #1 to '%s' (GET, PUT, HEAD, DELETE or POST expected, got %s)", operation,
      type(method) == "string" and "'" .. method .. "'" or type(method))
  end
end

local PRESIGN = { expires_s = { "integer", 1, 604800 }, headers = "table", version_id = "text" }

-- bucket:presign(method, key [, opts]) -> url; whoever has it may do what it says until it expires
function objects.presign(self, method, key, opts)
  local bucket
  bucket, opts = begin(self, "presign", opts, PRESIGN)
  check_method(method, "presign")
  check_key(key, "presign", 2)
  return core.presign(self, { operation = "presign", method = method, bucket = bucket, key = key,
    query = version_query(opts), headers = headers.read({ headers = opts.headers }, "presign") }, opts.expires_s or 3600)
end

local REQUEST = { query = "table", headers = "table", body = "string", max_body = BODY_LIMIT }

-- bucket:request(method, key or nil [, opts]) -> { status, headers, body }: what has no method here
function objects.request(self, method, key, opts)
  local bucket
  bucket, opts = begin(self, "request", opts, REQUEST)
  check_method(method, "request")
  if key ~= nil then
    check_key(key, "request", 2)
  end
  local answer = perform(self, { operation = "request", method = method, bucket = bucket, key = key, query = opts.query,
    creates_object = method == "PUT" and key ~= nil and next(opts.query or {}) == nil,
    headers = headers.read({ headers = opts.headers }, "request"), body = opts.body, max_body = opts.max_body or MAX_BODY })
  return { status = answer.status, headers = answer.headers, body = answer.body }
end

return objects
