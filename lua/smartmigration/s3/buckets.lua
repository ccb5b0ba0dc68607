-- Buckets: methods of the client. Users: init.lua.
local core = require "smartmigration.s3.core"
local exchanges = require "smartmigration.s3.exchanges"
local failures = require "smartmigration.s3.failures"
local options = require "smartmigration.s3.options"
local xml = require "smartmigration.s3.xml"

local buckets = {}

-- s3:bucket([name]) -> handle of the bucket; without a name the configured one
function buckets.bucket(self, name)
  local _, configured = core.target(self)
  if name == nil then
    name = configured or options.refuse "no bucket is configured: give bucket() a name"
  end
  options.check_string(name, "bucket", 1, "a name")
  return core.bucket(self, name)
end

-- s3:list_buckets() -> list of { name, created }
function buckets.list_buckets(self)
  core.target(self)
  local answer = exchanges.perform(self, { operation = "list_buckets", method = "GET", bucket = false })
  local _, root = core.xml(answer.body)
  local list = {}
  local set = type(root) == "table" and type(root.Buckets) == "table" and root.Buckets or {}
  for _, entry in ipairs(set) do
    if entry.name == "Bucket" and type(entry.value) == "table" then
      list[#list + 1] = { name = entry.value.Name, created = core.http_date(entry.value.CreationDate or "") }
    end
  end
  return list
end

-- s3:create_bucket(name [, opts]) -> handle of it
function buckets.create_bucket(self, name, opts)
  core.target(self)
  opts = options.read("create_bucket", opts, { region = "text", if_not_exists = "boolean" })
  options.check_string(name, "create_bucket", 1, "a name")
  local body = opts.region and xml.element("CreateBucketConfiguration", xml.text("LocationConstraint", opts.region))
  local ok, failure = exchanges.try(self, { operation = "create_bucket", method = "PUT", bucket = name, body = body })
  local is_ours = not ok and failures.is(failure, "BucketAlreadyOwnedByYou")
  if not ok and not (is_ours and opts.if_not_exists) then
    error(failure, 0)
  end
  return core.bucket(self, name)
end

-- s3:delete_bucket(name); it must be empty
function buckets.delete_bucket(self, name)
  core.target(self)
  options.check_string(name, "delete_bucket", 1, "a name")
  exchanges.perform(self, { operation = "delete_bucket", method = "DELETE", bucket = name })
end

-- s3:bucket_exists(name) -> boolean; a bucket of others (403) raises
function buckets.bucket_exists(self, name)
  core.target(self)
  options.check_string(name, "bucket_exists", 1, "a name")
  local ok, failure = exchanges.try(self, { operation = "bucket_exists", method = "HEAD", bucket = name })
  if not ok and not (type(failure) == "userdata" and failure.status == 404) then
    error(failure, 0)
  end
  return ok
end

return buckets
