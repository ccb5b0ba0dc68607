-- delete_many: batches of 1,000 keys. Users: init.lua makes it a method.
local core = require "smartmigration.s3.core"
local exchanges = require "smartmigration.s3.exchanges"
local failures = require "smartmigration.s3.failures"
local items = require "smartmigration.s3.items"
local options = require "smartmigration.s3.options"
local text = require "smartmigration.text"
local xml = require "smartmigration.s3.xml"

local BATCH = 1000

-- { key, version_id } of a key or of what a listing gives.
local function read_item(item)
  local key, version_id = item, nil
  if type(item) == "table" then
    key, version_id = item.key, item.version_id
  end
  if type(key) ~= "string" or key == "" then
    options.refuse("delete_many got a %s for a key: strings, or what a listing gives, are expected", type(item))
  end
  return { key = key, version_id = version_id }
end

-- The batch in one request; failed ones into `errors`. How many were deleted.
local function delete_batch(self, bucket, batch, errors)
  local parts = { "<Quiet>true</Quiet>" }
  for _, item in ipairs(batch) do
    parts[#parts + 1] = xml.element("Object", xml.text("Key", item.key)
      .. (item.version_id and xml.text("VersionId", item.version_id) or ""))
  end
  local body = xml.element("Delete", table.concat(parts))
  local answer = exchanges.perform(self, { operation = "delete_many", method = "POST", bucket = bucket,
    query = { delete = true }, body = body, error_in_200 = true, headers = {
      ["content-md5"] = core.base64(core.digest("md5", body)), ["content-type"] = "application/xml" } })
  local name, root = core.xml(answer.body)
  if name ~= "DeleteResult" then
    failures.raise("InvalidResponse", "s3", "delete_many", bucket, nil, "the answer is a " .. name)
  end
  local failed = 0
  for _, child in ipairs(type(root) == "table" and root or {}) do
    if child.name == "Error" then
      local about = type(child.value) == "table" and child.value or {}
      failed = failed + 1
      errors[#errors + 1] = { key = about.Key, version_id = about.VersionId ~= "" and about.VersionId or nil,
        code = about.Code, message = about.Message }
    end
  end
  return #batch - failed
end

-- A key that XML cannot hold is deleted by a request of its own.
local function delete_one(self, bucket, item, errors)
  local ok, failure = exchanges.try(self, { operation = "delete_many", method = "DELETE", bucket = bucket, key = item.key,
    query = item.version_id and { versionId = item.version_id } or nil })
  if ok then
    return 1
  elseif type(failure) ~= "userdata" or failure.category ~= "s3" then
    error(failure, 0)
  end
  errors[#errors + 1] = { key = item.key, version_id = item.version_id, code = failure.code, message = failure.message }
  return 0
end

local function raise_first(bucket, deleted, errors)
  local list = {}
  for i, each in ipairs(errors) do
    list[i] = { key = text.escape(each.key or ""), version_id = each.version_id, code = each.code, message = each.message }
  end
  local first = list[1]
  failures.raise(first.code or "InternalError", "s3", "delete_many", bucket, nil,
    ("%d of the keys were not deleted, first '%s': %s: %s"):format(#list, first.key, first.code or "?", first.message or "?"),
    { errors = list, deleted = deleted })
end

-- bucket:delete_many(keys or iterator [, opts]) -> { deleted, errors }: a number, a list of { key, version_id, code, message }
local function delete_many(self, source, opts)
  local bucket
  bucket, opts = options.begin(self, "delete_many", opts, { partial = "boolean" })
  local next_item = items.of(source, "delete_many")
  local batch, result = {}, { deleted = 0, errors = {} }
  local function flush()
    if #batch > 0 then
      result.deleted = result.deleted + delete_batch(self, bucket, batch, result.errors)
      batch = {}
    end
  end
  local function check()
    if #result.errors > 0 and not opts.partial then
      raise_first(bucket, result.deleted, result.errors)
    end
  end
  for item in next_item do
    item = read_item(item)
    if xml.can_hold(item.key) then
      batch[#batch + 1] = item
    else
      result.deleted = result.deleted + delete_one(self, bucket, item, result.errors)
      check()
    end
    if #batch == BATCH then
      flush()
      check()
    end
  end
  flush()
  check()
  return result
end

return { delete_many = delete_many }
