-- Failures that the methods themselves find. Users: the methods.
local core = require "smartmigration.s3.core"
local text = require "smartmigration.text"

local failures = {}

-- "move 'uploads/a' failed: <why>"; `category` is "s3" or "conflict".
function failures.raise(code, category, operation, bucket, key, why, more)
  local details = { operation = operation, bucket = bucket, key = key and text.escape(key) }
  for name, value in pairs(more or {}) do
    details[name] = value
  end
  local subject = bucket .. (key and "/" .. text.escape(key) or "")
  core.raise(code, category, ("%s '%s' failed: %s"):format(operation, subject, why), details)
end

-- Whether what was raised is an error object with this code.
function failures.is(failure, code)
  return type(failure) == "userdata" and failure.code == code
end

-- Whether the run must end: then nothing goes on.
function failures.is_final(failure)
  local category = type(failure) == "userdata" and failure.category
  return category == "lease_lost" or category == "cancelled"
end

return failures
