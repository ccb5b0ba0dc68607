-- The command line with S3: flags, variables and the config file lead to ctx.bucket, and to the ledger in S3.
local cli = require "spec.support.cli"
local s3 = require "spec.support.s3"
local server = require "spec.support.server"

describe("the command line with S3", function()
  local store = s3.shared()
  local STEP = [[return { id = "put", from = "1.0.0", to = "1.1.0", up = function(ctx)
    ctx.bucket:put("made", ctx.bucket.name)
  end }]]
  local bucket
  before_each(function() bucket = store:bucket() end)

  local function place(files)
    files = files or {}
    files["migrations/0001-put.lua"] = STEP
    return cli.place(files, { env = store.env })
  end

  local function made()
    return (store:get(bucket, "made"))
  end

  it("takes flags", function()
    local here <close> = place()
    local result = here:run { "run", "--mongo-uri", server.uri, "--mongo-db", server.database(), "--s3-endpoint", store.endpoint,
      "--s3-bucket", bucket, "--s3-path-style", "--s3-region", store.env.AWS_REGION, "--s3-lock", "best-effort", "--json" }
    assert.equal(0, result.status, result.err .. result.out)
    assert.equal(bucket, made())
    assert.is_nil(store:keys(bucket)[2]) -- the ledger is in MongoDB
  end)

  it("takes variables, and keeps the ledger in S3 without MongoDB", function()
    local here <close> = place()
    local env = { SMARTMIGRATION_S3_ENDPOINT = store.endpoint, SMARTMIGRATION_S3_BUCKET = bucket,
      SMARTMIGRATION_S3_STYLE = "path", SMARTMIGRATION_S3_INSECURE = "true", SMARTMIGRATION_LEDGER = "s3" }
    local result = here:run { "run", "--json", env = env }
    assert.equal(0, result.status, result.err .. result.out)
    assert.equal(bucket, made())
    assert.equal("1.1.0", here:run({ "status", "--json", env = env }).json.currentVersion)
    local ledger
    for _, key in ipairs(store:keys(bucket)) do ledger = ledger or key:find("^%.smartmigration/smartmigration%.json$") end
    assert.is_truthy(ledger)
  end)

  it("takes the config file", function()
    local here <close> = place { ["smartmigration.config.lua"] = ([[
      return { s3 = { endpoint = %q, bucket = %q, style = "path", insecure = false }, s3_lock = "exclusive" }
    ]]):format(store.endpoint, bucket) }
    local result = here:run { "run", "--json" }
    assert.equal(0, result.status, result.err .. result.out)
    assert.equal(bucket, made())
  end)

  it("refuses what makes no sense", function()
    local here <close> = place { ["odd.lua"] = "return { s3 = { bucket = 'x', insecure = 'yes' } }" }
    for _, case in ipairs {
      { { "plan", "--s3-endpoint", store.endpoint }, "'s3.bucket' is missing" },
      { { "plan", "--s3-buckt", "x" }, "did you mean '%-%-s3%-bucket'" },
      { { "plan", env = { SMARTMIGRATION_S3_BUCKET = "x", SMARTMIGRATION_S3_INSECURE = "1" } },
        "SMARTMIGRATION_S3_INSECURE must be true or false, not '1'" },
      { { "plan", "--config", "odd.lua" }, "'s3.insecure' must be a boolean" },
      { { "plan", "--s3-bucket", "x", "--s3-endpoint", "http://s3.example.com" }, "insecure" },
    } do
      local result = here:run(case[1])
      assert.equal(2, result.status, result.err)
      assert.matches(case[2], result.err)
    end
  end)

  it("tells of its options", function()
    local here <close> = place()
    local out = here:run({ "help", "run" }).out
    for _, flag in ipairs { "--s3-endpoint", "--s3-region", "--s3-bucket", "--s3-path-style", "--s3-ca-file", "--s3-insecure",
      "--s3-sse", "--s3-expected-bucket-owner", "--s3-lock", "--ledger" } do
      assert.is_truthy(out:find(flag, 1, true), flag)
    end
  end)
end)
