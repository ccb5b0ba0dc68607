-- The checks of S3.
--
-- What is written are scratch objects of a ledger in S3, under the keys that a run's probe has, and they are removed again;
-- whether the ledger and its history may be written is asked by writes whose condition cannot hold, once the store is known to
-- keep conditions. Users: doctor.
local bson = require "smartmigration.bson"
local findings = require "smartmigration.doctor.findings"
local ledger = require "smartmigration.doctor.ledger"
local policy = require "smartmigration.doctor.s3_policy"

local s3 = {}

local try = findings.try
local HALF_A_SECOND_MS = 500 -- the Date header has whole ones
local NO_ETAG = "00000000000000000000000000000000"
local ORDER = {
  "credentials", "reachable", "bucket", "region", "list", "permissions", "conditional_writes", "s3_lock", "clock", "encryption",
  "ledger",
}
local BAD_KEYS = { InvalidAccessKeyId = true, SignatureDoesNotMatch = true, ExpiredToken = true, InvalidToken = true }

local function is_denied(failure)
  return failure ~= nil and failure.status == 403
end

-- ------------------------------------------------------------ one question first

local CLOCK = "the lock goes by the store's clock and is in no danger, but S3 refuses signatures that are 15 minutes off, which "
  .. "costs each process a request, and the times of steps in the record are this machine's"

-- When the store answered, by its own clock; nil: it does not tell.
local function date_of(answer, failure)
  local header, told = answer and answer.headers.date, failure and failure.details.server_date
  local date = header and require("smartmigration.s3.core").http_date(header) or told and bson.date(told)
  return date and date.ms + HALF_A_SECOND_MS
end

-- Asks for a listing: the answer or the failure, and what the clocks say.
local function ask(found, bucket, facts)
  local before = bson.now().ms
  local answer, failure = try(bucket.request, bucket, "GET", nil,
    { query = { ["list-type"] = "2", ["max-keys"] = "1", prefix = facts.ledger.scratch or "" } })
  local after, server_ms = bson.now().ms, date_of(answer, failure)
  if server_ms then
    found:compare_clocks(server_ms, before, after, CLOCK)
  elseif answer or failure.status then
    found:skip("clock", "the store does not tell its time")
  end
  return answer, failure
end

-- Why the bucket cannot be used at all, as a finding.
local function refuse(found, failure, facts)
  if BAD_KEYS[failure.code] then
    found:fail("credentials", failure.message, { fix = ("correct the credentials, which come from %s"):format(
      facts.s3.credentials.origin) })
    found:block "the credentials are refused"
  elseif failure.code == "NoSuchBucket" then
    found:fail("bucket", failure.message, { fix = "correct s3.bucket (--s3-bucket), or make the bucket:",
      paste = { policy.command(facts, "create-bucket --bucket " .. facts.s3.bucket) } })
    found:block "there is no bucket"
  else
    found:fail("bucket", failure.message, { fix = "see what the store says, and correct bucket, endpoint or region" })
    found:block "the bucket does not answer"
  end
end

-- Whether the bucket can be used, and the answer to a listing, where it may be listed.
local function reach(found, bucket, facts)
  local place, name, key = facts.s3.place, facts.s3.bucket, facts.s3.credentials.access_key_id
  local answer, failure = ask(found, bucket, facts)
  if not answer and not failure.status then
    found:fail("reachable", failure.message, {
      fix = ("start the service at %s or let this machine connect to it, or correct s3.endpoint (--s3-endpoint); for a "
        .. "certificate of one's own, name its authority in s3.ca_file (--s3-ca-file)"):format(place) })
    found:block "S3 cannot be reached"
    return false
  end
  found:ok("reachable", "%s answers", place)
  local denied = is_denied(failure) and not BAD_KEYS[failure.code]
  if failure and not denied then
    refuse(found, failure, facts)
    return false
  end
  found:ok("credentials", "access key %s, from %s", key, facts.s3.credentials.origin)
  if denied then
    found:fail("list", ("%s may not list the bucket: %s"):format(key, failure.message), policy.way_out(facts))
    found:block "without s3:ListBucket the store does not tell"
  else
    found:ok("bucket", "'%s' is there", name)
    found:ok("list", "the bucket may be listed")
  end
  return true, answer
end

local function check_region(found, answer, facts, told)
  local region = answer.headers["x-amz-bucket-region"] or told
  if region ~= facts.s3.region then
    found:warn("region", ("the bucket is in region %s and the settings say %s: each process finds out by a refused request")
      :format(region, facts.s3.region), { fix = "give the right region:", paste = { "--s3-region " .. region } })
  else
    found:ok("region", "requests are signed for %s, and the store agrees", region)
  end
end

-- ----------------------------------------------------------------- permissions

-- What may not be done with scratch objects: a list of actions. Nothing is made that cannot be removed again.
local function try_scratch(bucket, facts)
  local key = ("%sdoctor-%s"):format(facts.ledger.scratch, tostring(bson.objectid()))
  local missing, other = {}, nil
  local function attempt(action, method, ...)
    local _, failure = try(method, bucket, key, ...)
    if is_denied(failure) then
      missing[#missing + 1] = ("%s on %s*"):format(action, facts.ledger.scratch)
    elseif failure then
      other = other or failure
    end
    return not failure
  end
  if attempt("s3:DeleteObject", bucket.delete) and attempt("s3:PutObject", bucket.put, "doctor\n") then
    attempt("s3:GetObject", bucket.head)
    attempt("s3:DeleteObject", bucket.delete)
  end
  return missing, other
end

-- Whether these objects may be read and written: writes nothing where conditions are kept.
local function try_objects(bucket, facts, listable)
  local missing, of_history = {}, facts.ledger.history .. "doctor"
  local shown = { [facts.ledger.id] = facts.ledger.id, [of_history] = facts.ledger.history .. "*" }
  for _, key in ipairs { facts.ledger.id, of_history } do
    local content, unread = try(bucket.get, bucket, key, { missing_ok = true })
    if listable and is_denied(unread) then
      missing[#missing + 1] = "s3:GetObject on " .. shown[key]
    end
    -- The content as it is: even a store that had lied until now would lose nothing.
    local _, unwritten = try(bucket.put, bucket, key, content and content.body or "", { if_match = NO_ETAG })
    if is_denied(unwritten) then
      missing[#missing + 1] = "s3:PutObject on " .. shown[key]
    end
  end
  return missing
end

-- Whether the keys may be read under which a run looks for its ledger before it begins one. Without the right to list, a missing
-- key is denied, too.
local function try_looks(bucket, facts, missing)
  for _, key in ipairs(facts.s3.looks) do
    local _, failure = try(bucket.head, bucket, key)
    if is_denied(failure) then
      missing[#missing + 1] = "s3:GetObject on " .. key
    end
  end
  return missing
end

local function tell_permissions(found, missing, facts)
  local key = facts.s3.credentials.access_key_id
  if #missing > 0 then
    found:fail("permissions", ("%s lacks %s"):format(key, table.concat(missing, ", ")), policy.way_out(facts))
  else
    found:ok("permissions", "%s may do what the engine does", key)
  end
end

local UNKEPT = {
  fix = "use a store whose conditional writes are atomic, or accept it where only one run is ever started at a time "
    .. "(--s3-lock best-effort), or give a MongoDB URI and keep the ledger there:",
  paste = { "--ledger mongo" },
}

-- Whether the store keeps the promise of conditional writes.
local function check_conditional_writes(found, engine, facts)
  local answer, failure = try(engine.probe, engine)
  local broken = "the store cannot keep the lock to one run: "
  if not answer then
    found:fail("conditional_writes", failure.message, { fix = "mend what the other checks of this store say, and ask again" })
  elseif answer.verdict == "exclusive" then
    found:ok("conditional_writes", "the store keeps their promise, also in races")
    return true
  elseif facts.s3.best_effort then
    found:warn("conditional_writes", broken .. answer.seen .. "; best-effort accepts it", UNKEPT)
  else
    found:fail("conditional_writes", broken .. answer.seen, UNKEPT)
  end
  return false
end

-- Whether writes can be made and conditions are kept.
local function check_writes(found, engine, bucket, facts, listable)
  local missing, other = try_scratch(bucket, facts)
  if other then
    found:fail("permissions", other.message, { fix = "see what the store says, and mend that" })
    return found:block "scratch objects cannot be written"
  elseif #missing > 0 then
    tell_permissions(found, missing, facts)
    return found:block "scratch objects may not be written and removed"
  end
  local exclusive = check_conditional_writes(found, engine, facts)
  local lacking = exclusive and try_objects(bucket, facts, listable) or {}
  tell_permissions(found, listable and try_looks(bucket, facts, lacking) or lacking, facts)
  if not facts.s3.best_effort then
    found:ok("s3_lock", "exclusive")
  elseif exclusive then
    found:warn("s3_lock", "best-effort, although the store keeps conditional writes: should it stop to, nobody would be told",
      { fix = "let the lock insist on them:", paste = { "--s3-lock exclusive" } })
  else
    found:ok("s3_lock", "best-effort, as the store needs it")
  end
end

-- ------------------------------------------------------------------ everything

local function check_encryption(found, facts)
  local host = facts.s3.place:match "^%w+://(%[.-%])" or facts.s3.place:match "^%w+://([^:/]+)"
  if facts.s3.tls then
    found:ok("encryption", "connections are encrypted and certificates are checked")
  elseif findings.is_loopback(host) then
    found:ok("encryption", "not encrypted, but the service is on this machine")
  else
    found:warn("encryption", ("requests to %s are not encrypted (s3.insecure)"):format(host), {
      fix = "have the service take https, give that endpoint, and name the authority of its certificate if it is one's own:",
      paste = { "--s3-endpoint https://HOST:PORT --s3-ca-file FILE" } })
  end
end

local function read_ledger(bucket, facts)
  local object = bucket:get(facts.ledger.id, { missing_ok = true })
  return object and bson.from_json(object.body)
end

-- The findings. `bucket`: an open handle.
function s3.check(engine, facts, bucket)
  local found = findings.new "s3"
  local credentials = facts.s3.credentials
  check_encryption(found, facts)
  if credentials.error then
    found:fail("credentials", credentials.error.message, { fix = "give the process credentials, for instance:",
      paste = { "export AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…" } })
    found:block "there are no credentials"
    return found:finish(ORDER)
  end
  local reached, answer = reach(found, bucket, facts)
  if reached and facts.ledger.backend == "s3" then
    check_writes(found, engine, bucket, facts, answer ~= nil)
    ledger.check_s3(found, engine, function() return read_ledger(bucket, facts) end)
  elseif reached then
    if answer then
      tell_permissions(found, try_looks(bucket, facts, {}), facts)
    end
    for _, check in ipairs { "conditional_writes", "s3_lock", "ledger" } do
      found:skip(check, "the ledger is in MongoDB")
    end
  end
  if answer then
    check_region(found, answer, facts, engine:stores().s3.region)
  end
  return found:finish(ORDER)
end

return s3
