-- `doctor` over S3: each finding is provoked for real, and what it says mends it. What the honest server cannot be made to do, a
-- proxy before it does (spec/support/s3_proxy.lua). 0.0.0.0: see doctor_mongo_spec.lua.
local doctor = require "spec.support.doctor"
local json = require "spec.support.json"
local project = require "spec.support.project"
local s3 = require "spec.support.s3"
local s3_project = require "spec.support.s3_project"
local s3_proxy = require "spec.support.s3_proxy"
local server = require "spec.support.server"
local smartmigration = require "smartmigration"
local wait_for = require "spec.support.wait_for"

local GONE = { AWS_ACCESS_KEY_ID = false, AWS_SECRET_ACCESS_KEY = false, AWS_EC2_METADATA_DISABLED = "true", HOME = "/nowhere" }
local ALL = { "credentials", "reachable", "bucket", "region", "list", "permissions", "conditional_writes", "s3_lock", "clock",
  "encryption", "ledger" }

local function merged(...)
  local all = {}
  for _, one in ipairs { ... } do
    for name, value in pairs(one) do all[name] = value end
  end
  return all
end

-- Settings for a bucket; `env` beside the store's.
local function words_of(store, bucket, more, env)
  local words = { "--s3-endpoint", store.endpoint, "--s3-bucket", bucket, env = merged(store.env, env or {}) }
  return table.move(more or {}, 1, #(more or {}), 5, words)
end

describe("doctor over S3", function()
  local store, place, bucket = s3.shared()

  setup(function() place = doctor.place() end)
  teardown(function() place:close() end)
  before_each(function() bucket = store:bucket() end)

  it("finds nothing wrong with a good store, leaves nothing behind, and takes no lock", function()
    local result = doctor.ask(place, words_of(store, bucket))
    assert.are.same({ 0, 0 }, { result.json.errors, result.json.warnings }, result.out)
    for i, name in ipairs(ALL) do
      assert.are.same({ name, "ok" }, { result.json.checks[i].check, result.json.checks[i].status })
    end
    assert.are.same({}, store:keys(bucket))
    assert.is_truthy(result.check("s3", "credentials").finding:find("the environment", 1, true))

    -- Beside a run, whose ledger stays as it is.
    local p <close> = s3_project.new { ["1.lua"] = project.step("spin", "1.0.0", "1.1.0",
      "ctx.bucket:put('begun', 'x') while true do ctx:check() end") }
    local child <close> = p:start { "run" }
    wait_for("the step to run", function() return p.store:head(p.bucket, "begun") end)
    local holder, fence = p:ledger().lock.holder, p:ledger().lock.fence
    result = doctor.ask(place, words_of(store, p.bucket))
    assert.are.same({ 0, 0 }, { result.json.errors, result.json.warnings }, result.out)
    assert.are.same({ holder, fence }, { p:ledger().lock.holder, p:ledger().lock.fence })
    child:kill "TERM"
    child:wait()
    for _, key in ipairs(p:keys()) do assert.is_nil(key:find "probe" or key:find "doctor", key) end
  end)

  it("asks of MongoDB and S3 what each is for, and only of those that are given", function()
    local both = words_of(store, bucket, { "--mongo-db", server.database() }, { SMARTMIGRATION_MONGO_URI = server.uri })
    local result = doctor.ask(place, both)
    assert.are.same({ 0, 0 }, { result.json.errors, result.json.warnings }, result.out)
    assert.are.equal("the ledger is in MongoDB", result.check("s3", "conditional_writes").finding)
    assert.are.equal("ok", result.check("s3", "list").status)
    assert.are.equal("ok", result.check("mongo", "ledger").status)
    table.insert(both, "--ledger")
    table.insert(both, "s3")
    result = doctor.ask(place, both)
    assert.are.equal("ok", result.check("s3", "conditional_writes").status)
    assert.are.equal("it is in S3", result.check("mongo", "ledger").finding)
    assert.are.equal("ok", result.check("mongo", "version").status)
    result = doctor.ask(place, words_of(store, bucket))
    assert.is_nil(result.out:find('"mongo"', 1, true))
  end)

  it("is a method of the module, with an open client as with settings", function()
    local client <close> = require("smartmigration.s3").connect { endpoint = store.endpoint, ca_file = store.ca_file }
    for _, settings in ipairs { { endpoint = store.endpoint, bucket = bucket }, { client = client, bucket = bucket } } do
      local migration <close> = smartmigration.new { target_version = "1.0.0", s3 = settings }
      local result = migration:doctor()
      assert.are.same({ 0, 0 }, { result.errors, result.warnings })
      assert.are.equal(#ALL, #result.checks)
    end
    assert.is_true(client:bucket_exists(bucket))
  end)

  it("tells credentials that are missing, and those that are refused", function()
    local check, result = doctor.finds(place, words_of(store, bucket, {}, GONE), "s3", "credentials", "error")
    assert.is_truthy(check.finding:find("AWS_ACCESS_KEY_ID", 1, true), check.finding)
    assert.are.equal("there are no credentials", result.check("s3", "list").finding)
    local env = {}
    for name in check.paste[1]:gmatch "(%u[%u_]+)=" do env[name] = store.env[name] end
    doctor.passes(place, words_of(store, bucket, {}, merged(GONE, env)), "s3", "credentials")

    check, result = doctor.finds(place, words_of(store, bucket, {}, { AWS_SECRET_ACCESS_KEY = "wr0ng-secret" }), "s3",
      "credentials", "error")
    assert.is_truthy(check.fix:find("the environment (AWS_ACCESS_KEY_ID)", 1, true), check.fix)
    assert.are.equal("ok", result.check("s3", "reachable").status)
    doctor.passes(place, words_of(store, bucket), "s3", "credentials")

    place:write("aws", ("[deploy]\naws_access_key_id = %s\naws_secret_access_key = %s\n"):format(store.env.AWS_ACCESS_KEY_ID,
      store.env.AWS_SECRET_ACCESS_KEY))
    check = doctor.passes(place, words_of(store, bucket, {}, merged(GONE,
      { AWS_PROFILE = "deploy", AWS_SHARED_CREDENTIALS_FILE = place.folder .. "/aws" })), "s3", "credentials")
    assert.is_truthy(check.finding:find("profile 'deploy'", 1, true), check.finding)
  end)

  it("tells a service that does not answer, also one whose certificate is not trusted", function()
    local ask = words_of({ endpoint = "http://127.0.0.1:1", env = store.env }, bucket)
    local check, result = doctor.finds(place, ask, "s3", "reachable", "error")
    assert.is_truthy(check.finding:find("127.0.0.1:1", 1, true), check.finding)
    local option = check.fix:match "%((%-%-s3%-endpoint)%)"
    assert.are.equal("S3 cannot be reached", result.check("s3", "bucket").finding)
    assert.are.equal("S3 cannot be reached", result.check("s3", "ledger").finding)
    doctor.passes(place, { option, store.endpoint, "--s3-bucket", bucket, env = store.env }, "s3", "reachable")

    local own <close> = s3.start { tls = true }
    local there = own:bucket()
    ask = words_of(own, there)
    check = doctor.finds(place, ask, "s3", "reachable", "error")
    option = check.fix:match "%((%-%-s3%-ca%-file)%)"
    check = doctor.passes(place, words_of(own, there, { option, own.ca_file }), "s3", "encryption")
    assert.is_truthy(check.finding:find("certificates are checked", 1, true), check.finding)
  end)

  it("warns of http beyond this machine", function()
    local plain = { endpoint = store.endpoint:gsub("127%.0%.0%.1", "0.0.0.0"), env = store.env }
    local check = doctor.finds(place, words_of(plain, bucket, { "--s3-insecure" }), "s3", "encryption", "warning")
    assert.is_truthy(check.finding:find("0.0.0.0", 1, true), check.finding)
    local own <close> = s3.start { tls = true }
    local far = own.endpoint:gsub("127%.0%.0%.1", "0.0.0.0")
    local line = check.paste[1]:gsub("https://HOST:PORT", far):gsub("FILE", own.ca_file)
    local words = { "--s3-bucket", own:bucket(), env = own.env }
    for word in line:gmatch "%S+" do words[#words + 1] = word end
    doctor.passes(place, words, "s3", "encryption")
    doctor.passes(place, words, "s3", "reachable")
  end)

  it("tells a bucket that is not there", function()
    local check = doctor.finds(place, words_of(store, bucket .. "x"), "s3", "bucket", "error")
    doctor.aws(store, check.paste[1])
    doctor.passes(place, words_of(store, bucket .. "x"), "s3", "bucket")
    table.insert(store.buckets, bucket .. "x")
  end)

  it("tells the wrong region", function()
    for _, ledger in ipairs { "s3", "mongo" } do
      local more = { "--s3-region", "eu-west-1", "--ledger", ledger, "--mongo-db", server.database() }
      local env = { SMARTMIGRATION_MONGO_URI = server.uri }
      local check, result = doctor.finds(place, words_of(store, bucket, more, env), "s3", "region", "warning")
      assert.are.equal(0, result.status)
      more[1], more[2] = check.paste[1]:match "^(%S+) (%S+)$"
      doctor.passes(place, words_of(store, bucket, more, env), "s3", "region")
    end
  end)

  it("compares clocks", function()
    for offset, says in pairs { ["+1h"] = "3[56]%d%d s ahead of", ["-30s"] = "[23]%d s behind" } do
      local check, result = doctor.finds(place, words_of(store, bucket, {}, doctor.clock(offset, {})), "s3", "clock", "warning")
      assert.is_truthy(check.finding:find(says), check.finding)
      assert.are.equal("sudo timedatectl set-ntp true", check.paste[1])
      assert.are.same({ 0, 1 }, { result.json.errors, result.json.warnings }, result.out)
    end
    doctor.passes(place, words_of(store, bucket, {}, doctor.clock("+0", {})), "s3", "clock")
  end)

  it("tells a store that does not keep conditional writes, and leaves nothing there either", function()
    local proxy <close> = s3_proxy.start()
    for _, lie in ipairs {
      { rule = { races = 2 }, says = "at the same time" },
      { rule = { ignore = { "if-match", "if-none-match" } }, says = "it accepts a second create" },
      { rule = { header = { ["if-none-match"] = "." }, answer = { status = 501, error = "NotImplemented" } },
        says = "it refuses" },
    } do
      proxy:add(lie.rule)
      local check, result = doctor.finds(place, words_of(proxy, bucket), "s3", "conditional_writes", "error")
      assert.is_truthy(check.finding:find(lie.says, 1, true), check.finding)
      assert.are.equal(1, result.status)
      assert.are.same({}, store:keys(bucket))
      -- Of the three ways out: another store, best-effort, the ledger in MongoDB.
      local option, value = check.fix:match "%((%-%-s3%-lock) (%S+)%)"
      _, result = doctor.finds(place, words_of(proxy, bucket, { option, value }), "s3", "conditional_writes", "warning")
      assert.are.equal(0, result.status)
      option, value = check.paste[1]:match "^(%S+) (%S+)$"
      result = doctor.ask(place, words_of(proxy, bucket, { option, value, "--mongo-db", server.database() },
        { SMARTMIGRATION_MONGO_URI = server.uri }))
      assert.are.same({ 0, 0 }, { result.json.errors, result.json.warnings }, result.out)
      proxy:remove()
      doctor.passes(place, words_of(proxy, bucket), "s3", "conditional_writes")
    end
  end)

  it("never risks a ledger in a store that ignores conditions", function()
    local proxy <close> = s3_proxy.start()
    proxy:add { ignore = { "if-match", "if-none-match" } }
    local key, text = s3_project.KEY, '{"currentVersion": "1.0.0", "steps": {}, "lock": {"holder": null, "fence": 1}}'
    store:put(bucket, key, text)
    doctor.finds(place, words_of(proxy, bucket), "s3", "conditional_writes", "error")
    assert.are.equal(text, store:get(bucket, key))
    assert.are.equal(0, #proxy:log { method = "PUT", path = "/" .. bucket .. "/" .. key })
    assert.are.same({ key }, store:keys(bucket))
  end)

  it("warns of a lock that asks for less than the store keeps", function()
    local check = doctor.finds(place, words_of(store, bucket, { "--s3-lock", "best-effort" }), "s3", "s3_lock", "warning")
    local option, value = check.paste[1]:match "^(%S+) (%S+)$"
    doctor.passes(place, words_of(store, bucket, { option, value }), "s3", "s3_lock")
  end)

  it("tells a ledger that is corrupt, and one that another program writes", function()
    local p <close> = s3_project.new { ["1.lua"] = project.step("one", "1.0.0", "1.1.0") }
    p:set_ledger "not a ledger"
    local check = doctor.finds(place, words_of(store, p.bucket), "s3", "ledger", "error")
    assert.is_truthy(check.fix:find("correct it", 1, true), check.fix)
    p:set_ledger '{"currentVersion": "1.0.0", "steps": {}, "lock": {"holder": null}, "checkpoints": {}}'
    check = doctor.finds(place, words_of(store, p.bucket), "s3", "ledger", "warning")
    assert.are.equal("smartmigration-lua run", check.paste[1])
    p:migrate()
    doctor.passes(place, words_of(store, p.bucket), "s3", "ledger")
  end)
end)

describe("doctor with the rights of a user", function()
  local own, place, count = nil, nil, 0

  setup(function()
    own = s3.start { users = true }
    place = doctor.place()
  end)

  teardown(function()
    place:close()
    own:close()
  end)

  local SECRET = "of-a-user-of-the-specs"

  -- A user whom a bucket of the owner grants these actions: { resource (behind the bucket's name) = actions }.
  local function user(grants)
    count = count + 1
    local name, bucket = "USER" .. count, own:bucket()
    local made = own:ask({ "request", "PATCH", "/create-user" },
      ("<Account><Access>%s</Access><Secret>%s</Secret><Role>user</Role></Account>"):format(name, SECRET))
    assert.is_nil(made.code, made.message)
    local statements = {}
    for resource, actions in pairs(grants) do
      statements[#statements + 1] = { Effect = "Allow", Principal = { AWS = { name } }, Action = actions,
        Resource = { "arn:aws:s3:::" .. bucket .. resource } }
    end
    if #statements > 0 then
      local policy = json.write { Version = "2012-10-17", Statement = statements }
      local put = own:ask({ "request", "PUT", ("/%s?policy="):format(bucket) }, policy)
      assert.is_nil(put.code, put.message)
    end
    return bucket, { AWS_ACCESS_KEY_ID = name, AWS_SECRET_ACCESS_KEY = SECRET }
  end

  local STEM = "/.smartmigration/smartmigration"
  local OBJECTS = { "s3:GetObject", "s3:PutObject", "s3:DeleteObject" }

  -- Asks, insists on the finding, does what it says, and sees that all is well.
  local function mend(bucket, env, name, says, keys)
    local ask = words_of(own, bucket, {}, env)
    local check, result = doctor.finds(place, ask, "s3", name, "error")
    assert.is_truthy(check.finding:find(says, 1, true), check.finding)
    assert.are.same(keys or {}, own:keys(bucket))
    doctor.aws(own, check.paste[1])
    local after = doctor.ask(place, ask)
    assert.are.same({ 0, 0 }, { after.json.errors, after.json.warnings }, after.out)
    assert.are.same(keys or {}, own:keys(bucket))
    return check, result
  end

  it("tells a bucket without the right to list", function()
    local bucket, env = user { ["/*"] = OBJECTS }
    local _, result = mend(bucket, env, "list", "may not list the bucket")
    assert.are.equal("ok", result.check("s3", "permissions").status)
    assert.are.equal("ok", result.check("s3", "conditional_writes").status)
    assert.are.equal("ok", result.check("s3", "credentials").status)
  end)

  it("tells a user without any right", function()
    local bucket, env = user {}
    mend(bucket, env, "permissions", "s3:DeleteObject on .smartmigration/smartmigration.probe-*")
  end)

  it("writes no scratch object that it could not remove", function()
    local bucket, env = user { [""] = { "s3:ListBucket" }, ["/*"] = { "s3:GetObject", "s3:PutObject" } }
    local _, result = mend(bucket, env, "permissions", "s3:DeleteObject on .smartmigration/smartmigration.probe-*")
    assert.are.equal("scratch objects may not be written and removed", result.check("s3", "conditional_writes").finding)
  end)

  it("tells rights on scratch objects, ledger and history apart", function()
    for lacking, resources in pairs {
      ["s3:PutObject on .smartmigration/smartmigration.json"] =
        { [STEM .. ".json"] = { "s3:GetObject" }, [STEM .. ".probe-*"] = OBJECTS, [STEM .. "/history/*"] = OBJECTS },
      ["s3:GetObject on .smartmigration/smartmigration.json"] =
        { [STEM .. ".json"] = { "s3:PutObject" }, [STEM .. ".probe-*"] = OBJECTS, [STEM .. "/history/*"] = OBJECTS },
      ["s3:PutObject on .smartmigration/smartmigration/history/*"] =
        { [STEM .. ".json"] = OBJECTS, [STEM .. ".probe-*"] = OBJECTS, [STEM .. "/history/*"] = { "s3:GetObject" } },
      ["s3:GetObject on .smartmigration/smartmigration.probe-*"] =
        { [STEM .. ".json"] = OBJECTS, [STEM .. ".probe-*"] = { "s3:PutObject", "s3:DeleteObject" },
          [STEM .. "/history/*"] = OBJECTS },
      ["s3:PutObject on .smartmigration/smartmigration.probe-*"] =
        { [STEM .. ".json"] = OBJECTS, [STEM .. ".probe-*"] = { "s3:GetObject", "s3:DeleteObject" },
          [STEM .. "/history/*"] = OBJECTS },
    } do
      resources[""] = { "s3:ListBucket" }
      local bucket, env = user(resources)
      mend(bucket, env, "permissions", "lacks " .. lacking)
    end
  end)

  it("names a policy that is enough for a run", function()
    local bucket, env = user { [""] = { "s3:ListBucket" } }
    mend(bucket, env, "permissions", "lacks")
    place:write("migrations/1.lua", project.step("one", "1.0.0", "1.1.0"))
    for _, words in ipairs { { "run" }, { "plan" }, { "history" }, { "repair", "--mark-pending", "one" }, { "unlock" },
      { "history", "--prune-older-than", "0" } } do
      local done = place:run(words_of(own, bucket, words, env))
      assert.are.equal(0, done.status, done.out .. done.err)
    end
    doctor.passes(place, words_of(own, bucket, {}, env), "s3", "ledger")
  end)

  it("wants no more than looking around where the ledger is in MongoDB, and with that a run works", function()
    place:write("migrations/1.lua", project.step("one", "1.0.0", "1.1.0"))
    for name, grants in pairs {
      list = { ["/*"] = OBJECTS },
      permissions = { [""] = { "s3:ListBucket" }, [STEM .. ".json"] = OBJECTS },
    } do
      local bucket, env = user(grants)
      env.SMARTMIGRATION_MONGO_URI = server.uri
      local words = { "--mongo-db", server.database() }
      local check = doctor.finds(place, words_of(own, bucket, words, env), "s3", name, "error")
      assert.is_nil(check.paste[1]:find("PutObject", 1, true), check.paste[1])
      doctor.aws(own, check.paste[1])
      local result = doctor.ask(place, words_of(own, bucket, words, env))
      assert.are.same({ 0, 0 }, { result.json.errors, result.json.warnings }, result.out)
      table.insert(words, "run")
      local done = place:run(words_of(own, bucket, words, env))
      assert.are.equal(0, done.status, done.out .. done.err)
    end
  end)
end)
