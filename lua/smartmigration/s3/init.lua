-- smartmigration.s3: an S3 client for Lua. `ctx.s3` and `ctx.bucket` are the same handles inside of a step.
--
--   local s3 = require "smartmigration.s3"
--   local client <close> = s3.connect { endpoint = "http://127.0.0.1:7070", bucket = "uploads" }
--   client:bucket():put("a.txt", "text")
--
-- The methods are written in Lua over one request at a time (exchanges.lua), so that all of them work inside of `parallel`.
-- Settings, methods and errors: docs/s3.md.
local core = require "smartmigration.s3.core"

local OF_BOTH = {
  objects = { "get", "put", "head", "exists", "delete", "get_tags", "put_tags", "delete_tags", "presign", "request" },
  files = { "put_file", "put_stream", "get_to_file" },
  reader = { "open" },
  copy = { "copy", "move" },
  list = { "list", "list_prefixes", "list_versions", "list_uploads" },
  multipart = { "upload", "abort_stale" },
  delete_many = { "delete_many" },
  parallel = { "parallel" },
}

-- A module is loaded when the first of its methods is called: most steps need few of them.
local function deferred(module, name)
  local method
  return function(...)
    method = method or require("smartmigration.s3." .. module)[name]
    return method(...)
  end
end

local of_both, of_client = {}, {}
for module, names in pairs(OF_BOTH) do
  for _, name in ipairs(names) do
    of_both[name] = deferred(module, name)
  end
end
for _, name in ipairs { "bucket", "list_buckets", "create_bucket", "delete_bucket", "bucket_exists" } do
  of_client[name] = deferred("buckets", name)
end

core.add_methods("client", of_both)
core.add_methods("client", of_client)
core.add_methods("bucket", of_both)
core.add_methods("bucket", { client = function(self)
  return core.client(self)
end })

local s3 = {}

-- A client with connections of its own. Sends nothing; credentials are looked for with the first request.
--   endpoint, region, bucket, style, access_key_id, secret_access_key, session_token, profile, ca_file, sse, sse_kms_key_id,
--   expected_bucket_owner, insecure
function s3.connect(settings)
  return core.connect(settings)
end

return s3
