-- Copies and moves within the service. Users: init.lua makes them methods.
local core = require "smartmigration.s3.core"
local exchanges = require "smartmigration.s3.exchanges"
local failures = require "smartmigration.s3.failures"
local headers = require "smartmigration.s3.headers"
local multipart = require "smartmigration.s3.multipart"
local objects = require "smartmigration.s3.objects"
local options = require "smartmigration.s3.options"

local copy = {}

-- What CopyObject takes at most, and the size of the parts of what is larger.
local MAX_COPY, PART, WINDOW = 5 << 30, 256 << 20, 4

local COPY = options.join(headers.WRITE_OPTIONS, { source_bucket = "text", source_version_id = "text", if_match = "text",
  if_none_match = "text", part_size = multipart.PART_SIZE })

-- Metadata given replaces all that describes the object, so what else is replaced must come with it.
local function check_description(opts, operation)
  if opts.metadata then
    return
  end
  for _, name in ipairs(headers.DESCRIPTION) do
    if opts[name] then
      options.refuse("option '%s' of %s replaces all that describes the object: give 'metadata' too, {} for none", name,
        operation)
    end
  end
end

-- What the requests of one copy have in common.
local function plan(self, operation, src, dst, opts, bucket)
  check_description(opts, operation)
  local source_bucket = opts.source_bucket or bucket
  local source = "/" .. source_bucket .. "/" .. headers.encode_key(src)
  if opts.source_version_id then
    source = source .. "?versionId=" .. opts.source_version_id
  end
  return { handle = self, operation = operation, src = src, dst = dst, opts = opts, bucket = bucket, source = source,
    source_bucket = source_bucket }
end

local function copy_whole(job)
  local opts = job.opts
  local head = headers.written(opts, job.operation)
  head["x-amz-copy-source"] = job.source
  headers.add_conditions(head, { if_none_match = opts.if_none_match })
  if opts.if_match then
    head["x-amz-copy-source-if-match"] = headers.quote(opts.if_match)
  end
  if opts.metadata then
    head["x-amz-metadata-directive"] = "REPLACE"
  end
  if opts.tags then
    head["x-amz-tagging-directive"] = "REPLACE"
  end
  local answer = exchanges.perform(job.handle, { operation = job.operation, method = "PUT", bucket = job.bucket, key = job.dst,
    headers = head, creates_object = true, error_in_200 = true, once = opts.if_none_match ~= nil })
  local name, root = core.xml(answer.body)
  if name ~= "CopyObjectResult" then
    failures.raise("InvalidResponse", "s3", job.operation, job.bucket, job.dst, "the answer is a " .. name)
  end
  root = type(root) == "table" and root or {}
  return { etag = root.ETag and headers.unquote(root.ETag), version_id = answer.headers["x-amz-version-id"],
    last_modified = root.LastModified and core.http_date(root.LastModified) }
end

local function look_at_source(job)
  local opts = job.opts
  local info = objects.look(job.handle, job.operation, job.source_bucket, job.src,
    { version_id = opts.source_version_id, if_match = opts.if_match })
  if not info then
    failures.raise("NoSuchKey", "s3", job.operation, job.source_bucket, job.src, "there is no such object",
      { status = 404, native = 404 })
  end
  return info
end

-- A multipart copy takes nothing over by itself.
local function description(job, source)
  local opts, taken = job.opts, {}
  for name in pairs(headers.WRITE_OPTIONS) do
    taken[name] = opts[name]
  end
  if not opts.metadata then
    taken.metadata = source.metadata
    for _, name in ipairs(headers.DESCRIPTION) do
      taken[name] = source[name]
    end
  end
  if not opts.tags and (source.tag_count or 0) > 0 then
    taken.tags = objects.get_tags(core.bucket(job.handle, job.source_bucket), job.src, { version_id = opts.source_version_id })
  end
  return headers.written(taken, job.operation)
end

local function copy_parts(job, source, part_size)
  local upload = multipart.begin(job.handle, job.operation, job.bucket, job.dst, description(job, source))
  local function next_part(number)
    local first = (number - 1) * part_size
    local last = math.min(first + part_size, source.size) - 1
    if last >= first then
      return { error_in_200 = true, headers = { ["x-amz-copy-source"] = job.source,
        ["x-amz-copy-source-range"] = ("bytes=%d-%d"):format(first, last),
        ["x-amz-copy-source-if-match"] = source.etag and headers.quote(source.etag) } }, last - first + 1
    end
  end
  return multipart.send(upload, next_part, WINDOW, nil, { if_none_match = job.opts.if_none_match })
end

-- The answers to a CopyObject of more than 5 GiB.
local function is_too_large(failure)
  return failures.is(failure, "EntityTooLarge") or failures.is(failure, "InvalidRequest")
end

local function run(job, source)
  local part_size = job.opts.part_size
  source = source or part_size and look_at_source(job)
  if source and source.size and source.size > (part_size or MAX_COPY) then
    return copy_parts(job, source, part_size or PART)
  end
  local ok, info = pcall(copy_whole, job)
  if ok then
    return info
  elseif not source and is_too_large(info) then
    source = look_at_source(job)
    if source.size and source.size > MAX_COPY then
      return copy_parts(job, source, PART)
    end
  end
  error(info, 0)
end

-- bucket:copy(src, dst [, opts]) -> { etag, version_id, last_modified }
function copy.copy(self, src, dst, opts)
  local bucket
  bucket, opts = options.begin(self, "copy", opts, COPY)
  options.check_key(src, "copy", 1)
  options.check_key(dst, "copy", 2)
  return run(plan(self, "copy", src, dst, opts, bucket))
end

-- ----------------------------------------------------------------------- move

local MOVE = options.join(headers.WRITE_OPTIONS, { overwrite = "boolean", source_bucket = "text", if_match = "text",
  part_size = multipart.PART_SIZE })

local function destination_exists(job)
  failures.raise("DestinationExists", "conflict", job.operation, job.bucket, job.dst,
    "there is such an object already: give overwrite = true to replace it")
end

-- A copy that no object of that name is lost by: on condition where the service knows conditions on copies.
local function copy_without_overwrite(job, source)
  if objects.look(job.handle, job.operation, job.bucket, job.dst, {}) then
    destination_exists(job)
  end
  job.opts.if_none_match = "*"
  local ok, info = pcall(run, job, source)
  if not ok and failures.is(info, "NotImplemented") then
    job.opts.if_none_match = nil
    ok, info = pcall(run, job, source)
  end
  if ok then
    return info
  elseif failures.is(info, "PreconditionFailed") and objects.look(job.handle, job.operation, job.bucket, job.dst, {}) then
    destination_exists(job)
  end
  error(info, 0)
end

-- bucket:move(src, dst [, opts]) -> { etag, version_id, last_modified }: copies, compares, deletes
function copy.move(self, src, dst, opts)
  local bucket
  bucket, opts = options.begin(self, "move", opts, MOVE)
  options.check_key(src, "move", 1)
  options.check_key(dst, "move", 2)
  local own = {} -- the caller's table stays as it is
  for name, value in pairs(opts) do
    own[name] = value
  end
  local job = plan(self, "move", src, dst, own, bucket)
  if src == dst and job.source_bucket == bucket then
    options.refuse("move of '%s' to itself", src)
  end
  local source = look_at_source(job)
  own.if_match = source.etag
  local info = opts.overwrite and run(job, source) or copy_without_overwrite(job, source)
  local copied = objects.look(self, "move", bucket, dst, { version_id = info.version_id })
  if not copied or copied.size ~= source.size then
    failures.raise("CopyDiffers", "s3", "move", bucket, dst,
      ("the copy has %s bytes, its source %s: the source was kept"):format(copied and copied.size or "no", source.size))
  end
  exchanges.perform(self, { operation = "move", method = "DELETE", bucket = job.source_bucket, key = src })
  return info
end

return copy
