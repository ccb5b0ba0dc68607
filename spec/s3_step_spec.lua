-- ctx.s3 and ctx.bucket inside of a step: the settings that make them, that they end with it, and that a run that must end ends
-- its requests. Against real servers.
local migrations = require "spec.support.migrations"
local process = require "spec.support.process"
local s3_proxy = require "spec.support.s3_proxy"
local server = require "spec.support.s3"
local support = require "spec.support.s3_lua"

local caught = support.caught

describe("S3 in a step", function()
  local store, client, name
  setup(function()
    store = server.shared()
    client = support.client(store)
  end)
  before_each(function() name = store:bucket() end)
  teardown(function()
    client:close()
    migrations.clean()
  end)

  local function settings(changes)
    local s3 = { endpoint = store.endpoint, bucket = name }
    for key, value in pairs(changes or {}) do s3[key] = value end
    return { s3 = s3 }
  end

  it("is the configured bucket, and the client", function()
    migrations.run_step(function(ctx)
      assert.equal(name, ctx.bucket.name)
      ctx.bucket:put("a", "1")
      assert.equal("1", ctx.s3:get("a").body)
      assert.equal("1", ctx.s3:bucket(name):get("a").body)
      assert.equal(ctx.bucket, ctx.bucket)
      ctx.s3:parallel({ 1, 2, 3 }, function(i) ctx.bucket:put("p/" .. i, "") end)
      local doc, err = ctx:try(ctx.bucket.get, ctx.bucket, "missing")
      assert.is_nil(doc)
      assert.is_true(err:is "no_such_key")
      assert.equal("1", ctx:try(ctx.bucket.get, ctx.bucket, "a").body)
      assert.matches("wants the method, then its handle", caught(ctx.try, ctx, ctx.bucket.get, "a").message)
      assert.equal("INVALID_ARGUMENT", caught(ctx.try, ctx, ctx.bucket.get, ctx.bucket, "a", { x = 1 }).code)
    end, settings())
    assert.same({ "a", "p/1", "p/2", "p/3" }, store:keys(name))
  end)

  it("may be a client that is open already", function()
    migrations.run_step(function(ctx) ctx.bucket:put("given", "1") end, { s3 = { client = client, bucket = name } })
    assert.equal("1", (store:get(name, "given")))
    assert.equal("1", client:get("given", { bucket = name }).body)
    local err = migrations.failure(migrations.with_step, print, { s3 = { client = client, bucket = name, region = "x" } })
    assert.equal("INVALID_OPTIONS", err.code)
    assert.matches("s3.client or s3.region, not both", err.message)
    local closed = support.client(store)
    closed:close()
    local refused = migrations.failure(migrations.with_step, print, { s3 = { client = closed, bucket = name } })
    assert.matches("is closed", refused.message)
  end)

  it("ends with the step, and says so", function()
    local kept = {}
    migrations.run_step(function(ctx)
      ctx.bucket:put("kept", ("x"):rep(300000))
      kept.bucket, kept.client, kept.reader = ctx.bucket, ctx.s3, ctx.bucket:open "kept"
      kept.reader:read(10)
      kept.listing = ctx.bucket:list()
      kept.listing:next()
      assert.matches("is closed by the engine$", caught(ctx.s3.close, ctx.s3).message)
    end, settings())
    assert.equal("bucket of step 'only' is no longer valid", caught(kept.bucket.get, kept.bucket, "kept").message)
    assert.equal("s3 client of step 'only' is no longer valid", caught(kept.client.get, kept.client, "kept").message)
    assert.equal("bucket of step 'only' is no longer valid", caught(kept.reader.read, kept.reader).message)
    assert.equal("bucket of step 'only' is no longer valid", caught(kept.listing.next, kept.listing).message)
    kept.reader:close()
  end)

  it("fails when an upload is left open", function()
    local upload
    local err = migrations.step_failure(function(ctx)
      upload = ctx.bucket:upload "open"
      upload:part "x"
    end, settings())
    assert.equal("STEP_FAILED", err.code)
    assert.equal("UNFINISHED_WRITES", err.cause.code)
    assert.matches("the upload of '" .. name:gsub("%-", "%%-") .. "/open' was neither completed nor aborted", err.message)
    assert.equal(1, client:bucket(name):abort_stale(0))
    migrations.run_step(function(ctx)
      local own <close> = ctx.bucket:upload "open"
      own:part "x"
    end, settings())
  end)

  it("is nil without S3, and the failure says why", function()
    local err = migrations.step_failure(function(ctx) return ctx.bucket:get "a" end)
    assert.matches("ctx.bucket is nil: no S3 is configured %(set s3.bucket%)", err.message)
    err = migrations.step_failure(function(ctx) return ctx.s3:get "a" end)
    assert.matches("ctx.s3 is nil: no S3 is configured", err.message)
  end)

  it("says when another name is nil", function()
    local err = migrations.step_failure(function()
      local own = {}
      return own.bucket.name
    end, settings())
    assert.is_nil(err.message:find("no S3 is configured", 1, true))
  end)

  it("carries the step's failure to the run", function()
    local err = migrations.step_failure(function(ctx) ctx.bucket:get "missing" end, settings())
    assert.equal("STEP_FAILED", err.code)
    assert.equal("NoSuchKey", err.cause.code)
    assert.equal("missing", err.cause.key)
  end)

  it("refuses settings that make no sense", function()
    for _, case in ipairs {
      { { s3 = { endpoint = "http://127.0.0.1:1" } }, "'s3.bucket' is missing" },
      { { s3 = { bukcet = "x" } }, "unknown option 's3.bukcet' %(did you mean 's3.bucket'" },
      { { s3 = { bucket = 5 } }, "'s3.bucket' must be a string" },
      { { s3 = { client = "x" } }, "'s3.client' must be an open handle" },
      { { s3 = { bucket = "x", insecure = "yes" } }, "'s3.insecure' must be a boolean" },
    } do
      local err = migrations.failure(migrations.with_step, print, case[1])
      assert.equal("INVALID_OPTIONS", err.code)
      assert.matches(case[2], err.message)
    end
  end)

  -- What a cancelled run has under way: a request that is never answered, and many of them.
  for what, work in pairs {
    ["a request"] = function(ctx) ctx.bucket:get "held" end,
    ["parallel"] = function(ctx)
      ctx.s3:parallel({ 1, 2, 3, 4 }, function(i) pcall(ctx.bucket.get, ctx.bucket, "held" .. i) end, { on_error = "collect" })
    end,
    ["a stream"] = function(ctx) ctx.bucket:put_stream("held", function() return ("x"):rep(1 << 20) end) end,
  } do
    it("is ended when the run is, within 2 s: " .. what, function()
      local proxy <close> = s3_proxy.start()
      proxy:add { path = "/held", hold = "before" }
      local migration
      local cancelled_ms
      local function up(ctx)
        cancelled_ms = process.now_ms()
        migration:cancel()
        work(ctx)
      end
      migration = migrations.with_step(up, { s3 = { endpoint = proxy.endpoint, bucket = name }, stop_timeout_ms = 500 })
      local err = migrations.failure(migration.run, migration)
      local took_ms = process.now_ms() - cancelled_ms
      assert.equal("INTERRUPTED", err.code)
      assert.is_true(took_ms < 2500, ("%d ms"):format(took_ms))
      migration:close()
      proxy:remove()
    end)
  end
end)
