-- Options to headers of a request, and headers of an answer to fields. Users: the methods.
local core = require "smartmigration.s3.core"
local options = require "smartmigration.s3.options"

local headers = {}

-- option -> header, of requests that create an object
local WRITTEN = {
  content_type = "content-type",
  cache_control = "cache-control",
  content_disposition = "content-disposition",
  content_encoding = "content-encoding",
  content_language = "content-language",
  storage_class = "x-amz-storage-class",
  sse = "x-amz-server-side-encryption",
  sse_kms_key_id = "x-amz-server-side-encryption-aws-kms-key-id",
}

-- Options of what creates an object.
headers.WRITE_OPTIONS = { metadata = "table", tags = "table", headers = "table" }
for name in pairs(WRITTEN) do
  headers.WRITE_OPTIONS[name] = "text"
end

-- Those of them that belong to the object's description, which a copy either takes over whole or replaces whole.
headers.DESCRIPTION = { "content_type", "cache_control", "content_disposition", "content_encoding", "content_language" }

headers.READ_OPTIONS = { version_id = "text", if_match = "text", if_none_match = "text", headers = "table" }

local function encode(text, kept)
  return (text:gsub("[^A-Za-z0-9%-._~" .. kept .. "]", function(char)
    return ("%%%02X"):format(char:byte())
  end))
end

-- A key as it stands in a header: `/` stays.
function headers.encode_key(key)
  return encode(key, "/")
end

local function check_pairs(operation, name, list)
  for key, value in pairs(list) do
    if type(key) ~= "string" or key == "" or key:find "%c" or type(value) ~= "string" or value:find "%c" then
      options.refuse("option '%s' of %s must have names and strings, without control characters", name, operation)
    end
  end
end

-- The entity tag as a header wants it: in quotation marks, but for `*` and weak ones.
function headers.quote(etag)
  if etag == "*" or etag:find '^"' or etag:find "^W/" then
    return etag
  end
  return '"' .. etag .. '"'
end

-- The escape hatch: headers as they are.
local function add_raw(to, opts, operation)
  if opts.headers then
    check_pairs(operation, "headers", opts.headers)
    for name, value in pairs(opts.headers) do
      to[name:lower()] = value
    end
  end
end

function headers.tagging(tags, operation)
  check_pairs(operation, "tags", tags)
  local list = {}
  for name, value in pairs(tags) do
    list[#list + 1] = encode(name, "") .. "=" .. encode(value, "")
  end
  table.sort(list)
  return table.concat(list, "&")
end

-- Of a request that creates an object.
function headers.written(opts, operation)
  local to = {}
  for name, header in pairs(WRITTEN) do
    to[header] = opts[name]
  end
  if opts.metadata then
    check_pairs(operation, "metadata", opts.metadata)
    for name, value in pairs(opts.metadata) do
      if not name:find "^[%w!#$%%&'*+%-.^_`|~]+$" then
        options.refuse("'%s' in option 'metadata' of %s is no name that a header can have", name, operation)
      end
      to["x-amz-meta-" .. name:lower()] = value
    end
  end
  if opts.tags then
    to["x-amz-tagging"] = headers.tagging(opts.tags, operation)
  end
  add_raw(to, opts, operation)
  return to
end

-- The conditions of a request, into its headers; whether there are any.
function headers.add_conditions(to, opts)
  to["if-match"] = opts.if_match and headers.quote(opts.if_match) or to["if-match"]
  to["if-none-match"] = opts.if_none_match and headers.quote(opts.if_none_match) or to["if-none-match"]
  return opts.if_match ~= nil or opts.if_none_match ~= nil
end

-- Of a request that reads an object.
function headers.read(opts, operation)
  local to = {}
  headers.add_conditions(to, opts)
  add_raw(to, opts, operation)
  return to
end

local function unquote(etag)
  return etag and (etag:match '^"(.*)"$' or etag)
end

headers.unquote = unquote

-- header -> field, as text
local INFO = {
  ["content-type"] = "content_type",
  ["cache-control"] = "cache_control",
  ["content-disposition"] = "content_disposition",
  ["content-encoding"] = "content_encoding",
  ["content-language"] = "content_language",
  ["x-amz-version-id"] = "version_id",
  ["x-amz-storage-class"] = "storage_class",
  ["x-amz-server-side-encryption"] = "sse",
  ["x-amz-server-side-encryption-aws-kms-key-id"] = "sse_kms_key_id",
}

-- What an answer says of an object. `size` is the whole object's, also where a part of it was asked for.
function headers.info(answer)
  local from, info = answer.headers, { metadata = {} }
  for name, value in pairs(from) do
    local field = INFO[name]
    if field then
      info[field] = value
    else
      local meta = name:match "^x%-amz%-meta%-(.+)"
      if meta then
        info.metadata[meta] = value
      end
    end
  end
  info.etag = unquote(from.etag)
  local range = from["content-range"]
  info.size = math.tointeger(tonumber(range and range:match "/(%d+)$" or from["content-length"]))
  info.tag_count = math.tointeger(tonumber(from["x-amz-tagging-count"]))
  if from["last-modified"] then
    info.last_modified = core.http_date(from["last-modified"])
  end
  return info
end

-- What an answer to a write says.
function headers.written_info(answer)
  return { etag = unquote(answer.headers.etag), version_id = answer.headers["x-amz-version-id"] }
end

return headers
