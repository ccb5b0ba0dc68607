-- The policy that gives an S3 ledger, or the look around a bucket, the rights it needs. Users: doctor/s3.lua. Pure.
local bson = require "smartmigration.bson"

local policy = {}

local function is_aws(endpoint)
  return endpoint:find "%.amazonaws%.com$" ~= nil or endpoint:find "%.amazonaws%.com%.cn$" ~= nil
end

local function arn(facts, path)
  local region = facts.s3.region
  local partition = region:find "^cn%-" and "aws-cn" or region:find "^us%-gov%-" and "aws-us-gov" or "aws"
  return ("arn:%s:s3:::%s%s"):format(partition, facts.s3.bucket, path)
end

local function statement(principal, actions, resources)
  local pairs_ = { { "Effect", "Allow" } }
  if principal then
    pairs_[2] = { "Principal", bson.doc { { "AWS", bson.array { principal } } } }
  end
  pairs_[#pairs_ + 1] = { "Action", bson.array(actions) }
  pairs_[#pairs_ + 1] = { "Resource", bson.array(resources) }
  return bson.doc(pairs_)
end

local function document(facts, principal)
  local list = { statement(principal, { "s3:ListBucket" }, { arn(facts, "") }) }
  local looks = {}
  for i, key in ipairs(facts.s3.looks) do
    looks[i] = arn(facts, "/" .. key)
  end
  list[2] = statement(principal, { "s3:GetObject" }, looks)
  if facts.ledger.backend == "s3" then
    list[3] = statement(principal, { "s3:GetObject", "s3:PutObject" }, { arn(facts, "/" .. facts.ledger.id) })
    list[4] = statement(principal, { "s3:GetObject", "s3:PutObject", "s3:DeleteObject" },
      { arn(facts, "/" .. facts.ledger.scratch .. "*"), arn(facts, "/" .. facts.ledger.history .. "*") })
  end
  return bson.json(bson.doc { { "Version", "2012-10-17" }, { "Statement", bson.array(list) } })
end

-- An `aws` command line of S3.
function policy.command(facts, words)
  local endpoint = is_aws(facts.s3.place) and "" or (" --endpoint-url %s"):format(facts.s3.place)
  return ("aws%s s3api %s"):format(endpoint, words)
end

-- The way out where a right is missing: for AWS a policy of the user or role, elsewhere one of the bucket.
function policy.way_out(facts)
  local key = facts.s3.credentials.access_key_id
  if is_aws(facts.s3.place) then
    return { fix = ("attach this policy to the user or role of access key %s; what the steps need comes on top:"):format(key),
      paste = { document(facts) } }
  end
  local words = ("put-bucket-policy --bucket %s --policy '%s'"):format(facts.s3.bucket, document(facts, key))
  return { fix = "let the owner of the bucket give it this policy (it takes the place of the one that is there: take over what "
    .. "that says); what the steps need comes on top:", paste = { policy.command(facts, words) } }
end

return policy
