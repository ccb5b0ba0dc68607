-- Objects of files and streams, and files of objects, in memory that does not grow with them. Users: init.lua makes them methods.
local core = require "smartmigration.s3.core"
local exchanges = require "smartmigration.s3.exchanges"
local failures = require "smartmigration.s3.failures"
local headers = require "smartmigration.s3.headers"
local items = require "smartmigration.s3.items"
local multipart = require "smartmigration.s3.multipart"
local objects = require "smartmigration.s3.objects"
local options = require "smartmigration.s3.options"

local files = {}

local MIB = 1 << 20
local FILE_PART, STREAM_PART = 8 * MIB, 5 * MIB
-- Parts under way at a time: of a file they cost no memory, of a stream a buffer each, of which one is filled while the other is
-- sent.
local FILE_WINDOW, STREAM_WINDOW = 4, 2

local PUT = options.join(objects.PUT_OPTIONS, { part_size = multipart.PART_SIZE })

-- ------------------------------------------------------------------- put_file

-- No more than so many parts: a very large file has larger ones.
local function part_size_of(size, wanted)
  local least = (size + multipart.MAX_PARTS - 1) // multipart.MAX_PARTS
  return math.max(wanted, (least + MIB - 1) // MIB * MIB)
end

local function put_parts(self, bucket, key, source, size, opts, unchanged)
  local part_size = part_size_of(size, opts.part_size or FILE_PART)
  local checksum = objects.wants_checksum(opts, "put_file")
  local upload = multipart.begin(self, "put_file", bucket, key, headers.written(opts, "put_file"), checksum)
  local function next_part(number)
    local offset = (number - 1) * part_size
    local length = math.min(part_size, size - offset)
    if length > 0 then
      return { file = source, file_offset = offset, file_length = length,
        sha256 = checksum and source:sha256(offset, length) or nil }, length
    end
  end
  return multipart.send(upload, next_part, FILE_WINDOW, nil,
    { if_match = opts.if_match, if_none_match = opts.if_none_match, before = unchanged })
end

-- bucket:put_file(key, path [, opts]) -> { etag, version_id }
function files.put_file(self, key, path, opts)
  local bucket
  bucket, opts = options.begin(self, "put_file", opts, PUT)
  options.check_key(key, "put_file")
  options.check_string(path, "put_file", 2, "a path")
  local checksum = objects.wants_checksum(opts, "put_file")
  local source <close> = core.source(path, "put_file")
  local size, state = source:state()
  local function unchanged()
    local now_size, now_state = source:state()
    if now_size ~= size or now_state ~= state then
      failures.raise("FileChanged", "s3", "put_file", bucket, key, ("'%s' was written to while it was sent"):format(path))
    end
  end
  if size > (opts.part_size or FILE_PART) then
    return put_parts(self, bucket, key, source, size, opts, unchanged)
  end
  local request = objects.putting(bucket, key, "put_file", opts, checksum and source:sha256(0, size) or nil)
  request.file, request.file_offset, request.file_length = source, 0, size
  local info = headers.written_info(exchanges.perform(self, request))
  unchanged()
  return info
end

-- ----------------------------------------------------------------- put_stream

-- Fills buffers from a function that gives chunks.
local function filler(next_chunk)
  local chunk, from, ended
  -- Whether there is anything more to come after the buffer.
  return function(buffer)
    while not ended do
      if not chunk then
        chunk, from = next_chunk(), 1
        if chunk == nil then
          ended = true
          break
        elseif type(chunk) ~= "string" then
          options.refuse("put_stream got a %s for a chunk: strings are expected, nil at the end", type(chunk))
        end
      end
      from = buffer:append(chunk, from)
      if from then
        return true
      end
      chunk = nil
    end
    return false
  end
end

-- bucket:put_stream(key, next_chunk [, opts]) -> { etag, version_id }; next_chunk() gives a string, nil at the end
function files.put_stream(self, key, next_chunk, opts)
  local bucket
  bucket, opts = options.begin(self, "put_stream", opts, PUT)
  options.check_key(key, "put_stream")
  if not items.is_callable(next_chunk) then
    options.refuse("bad argument #2 to 'put_stream' (a function that gives strings expected, got %s)", type(next_chunk))
  end
  local checksum = objects.wants_checksum(opts, "put_stream")
  local part_size = opts.part_size or STREAM_PART
  local fill, free, made = filler(next_chunk), {}, {}
  local _ <close> = setmetatable({}, { __close = function()
    for _, buffer in ipairs(made) do
      buffer:free()
    end
  end })
  local function filled()
    local buffer = table.remove(free)
    if not buffer then
      buffer = core.buffer(part_size)
      made[#made + 1] = buffer
    end
    buffer:reset()
    return buffer, fill(buffer)
  end
  local function digest_of(buffer)
    return checksum and core.digest("sha256", buffer) or nil
  end
  local buffer, more = filled()
  if not more then -- all there is: one request
    local request = objects.putting(bucket, key, "put_stream", opts, digest_of(buffer))
    request.body = buffer
    return headers.written_info(exchanges.perform(self, request))
  end
  local upload = multipart.begin(self, "put_stream", bucket, key, headers.written(opts, "put_stream"), checksum)
  local sending = {}
  local function next_part(number)
    if number > 1 then
      if not more then
        return nil
      end
      buffer, more = filled()
      if buffer:size() == 0 then
        return nil
      end
    end
    sending[number] = buffer
    return { body = buffer, sha256 = digest_of(buffer) }, buffer:size()
  end
  local function sent(number)
    free[#free + 1] = sending[number]
    sending[number] = nil
  end
  return multipart.send(upload, next_part, STREAM_WINDOW, sent,
    { if_match = opts.if_match, if_none_match = opts.if_none_match })
end

-- ---------------------------------------------------------------- get_to_file

local CHUNK, CHUNK_WINDOW = 8 * MIB, 4

local function wrong_length(bucket, key, wanted, got)
  failures.raise("InvalidResponse", "s3", "get_to_file", bucket, key, ("%d bytes were to come, %d did"):format(wanted, got))
end

-- The first range tells how long the object is and which one it is; the others must be of the same one.
local function get_first(self, bucket, key, opts, sink)
  local function ask(range)
    local request = objects.reading(bucket, key, "get_to_file", opts)
    request.headers.range, request.sink, request.sink_offset = range, sink, 0
    return exchanges.try(self, request)
  end
  local ok, answer = ask(("bytes=0-%d"):format(CHUNK - 1))
  if not ok and type(answer) == "userdata" and answer.status == 416 then
    ok, answer = ask(nil) -- an empty object has no range
  end
  if not ok then
    error(answer, 0)
  end
  return answer
end

local function get_rest(self, bucket, key, info, sink)
  local window, first, last = {}, 1, 0
  local _ <close> = setmetatable({}, { __close = function()
    for i = first, last do
      window[i].exchange:abandon()
    end
  end })
  local function finish_first()
    local range = window[first]
    local answer = exchanges.finish(range.exchange, "get_to_file")
    if answer.received ~= range.length then
      wrong_length(bucket, key, range.length, answer.received)
    end
    window[first] = nil
    first = first + 1
  end
  for offset = CHUNK, info.size - 1, CHUNK do
    local length = math.min(CHUNK, info.size - offset)
    last = last + 1
    window[last] = { length = length, exchange = exchanges.start(self, { operation = "get_to_file", method = "GET",
      bucket = bucket, key = key, query = info.version_id and { versionId = info.version_id } or nil, sink = sink,
      sink_offset = offset, headers = { range = ("bytes=%d-%d"):format(offset, offset + length - 1),
        ["if-match"] = info.etag and headers.quote(info.etag) } }) }
    if last - first + 1 >= CHUNK_WINDOW then
      finish_first()
    end
  end
  while first <= last do
    finish_first()
  end
end

-- bucket:get_to_file(key, path [, opts]) -> information. The file appears when it is whole and on the disk.
function files.get_to_file(self, key, path, opts)
  local bucket
  bucket, opts = options.begin(self, "get_to_file", opts, headers.READ_OPTIONS)
  options.check_key(key, "get_to_file")
  options.check_string(path, "get_to_file", 2, "a path")
  local sink <close> = core.sink(path, "get_to_file")
  local answer = get_first(self, bucket, key, opts, sink)
  local info = headers.info(answer)
  local first_size = info.size
  if answer.status == 206 and info.size then
    first_size = math.min(CHUNK, info.size)
  end
  if not info.size then
    failures.raise("InvalidResponse", "s3", "get_to_file", bucket, key, "the answer does not tell the object's size")
  elseif answer.received ~= first_size then
    wrong_length(bucket, key, first_size, answer.received)
  end
  if first_size < info.size then
    get_rest(self, bucket, key, info, sink)
  end
  sink:commit("get_to_file", info.size)
  return info
end

return files
