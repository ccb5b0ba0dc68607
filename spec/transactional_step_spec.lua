-- A step with `transaction = true`: its work and the ledger's stamp commit together, so it is applied exactly once or not at all.
local bson = require "smartmigration.bson"
local project = require "spec.support.project"
local server = require "spec.support.server"
local wait_for = require "spec.support.wait_for"

-- Two inserts and an increment: a second application, or half of one, would show.
local BODY = [[
  ctx.mongo:collection("a"):insert_one { _id = 1 }
  %s
  ctx.mongo:collection("counter"):update_one({ _id = "n" }, { ["$inc"] = { n = 1 } })
]]

local function prepared(middle, options, fields)
  local p = project.new({ ["1.lua"] = project.step("both", "1.0.0", "1.1.0", BODY:format(middle or ""),
    fields or "transaction = true,") }, options)
  p.db:create_collection "a"
  p.db:collection("counter"):insert_one { _id = "n", n = 0 }
  return p
end

local function effects(p)
  return p.db:collection("a"):count {}, p.db:collection("counter"):find_one({ _id = "n" }).n
end

local function assert_once(p)
  local inserted, counted = effects(p)
  assert.are.equal(1, inserted)
  assert.are.equal(1, counted)
  local ledger = p:ledger()
  assert.are.equal("1.1.0", ledger.currentVersion)
  assert.are.equal("applied", ledger.steps.both.status)
  assert.is_true(bson.is_null(ledger.lock.holder))
end

local function assert_nothing(p)
  local inserted, counted = effects(p)
  assert.are.equal(0, inserted)
  assert.are.equal(0, counted)
  assert.are_not.equal("1.1.0", (p:ledger() or {}).currentVersion)
end

local function fail_point(p, mode, data)
  data.appName = "smartmigration"
  p.db:client():database("admin"):run_command("configureFailPoint", "failCommand", { mode = mode, data = data })
end

describe("a transactional step", function()
  after_each(function() fail_point(project.new {}, "off", { failCommands = bson.array {} }) end)

  it("is applied together with its record", function()
    local p <close> = prepared()
    p:migrate()
    assert_once(p)
  end)

  it("is written with the builder, too", function()
    local p <close> = project.new { ["1.lua"] = [[
      local migration = ...
      migration:step("both"):from("1.0.0"):to("1.1.0"):transaction():up(function(ctx)
        ctx.mongo:collection("a"):insert_one { _id = 1 }
        error "no"
      end)]] }
    p.db:create_collection "a"
    assert.are.equal(1, p:run({ "run" }).status)
    assert.are.equal(0, p.db:collection("a"):count {})
  end)

  it("that fails leaves nothing, where one without a transaction leaves half", function()
    for _, fields in ipairs { "transaction = true,", "" } do
      local p <close> = prepared("error 'half-way'", nil, fields)
      local result = p:run { "run" }
      assert.are.equal("STEP_FAILED", result.json.error.code)
      assert.are.equal("failed", p:ledger().steps.both.status)
      assert.are.equal(fields == "" and 1 or 0, p.db:collection("a"):count {})
    end
  end)

  it("may be followed and preceded by others", function()
    local files = project.chain(3, function(i) return ("ctx.mongo:collection('a'):insert_one { _id = %d }"):format(i) end)
    files["00002.lua"] = files["00002.lua"]:gsub("up =", "transaction = true, up =")
    local p <close> = project.new(files)
    p.db:create_collection "a"
    local result = p:migrate()
    assert.are.equal(3, #result.stepsApplied)
    assert.are.equal(3, p.db:collection("a"):count {})
  end)

  it("is run again as a whole after a transient error", function()
    local p <close> = prepared("print 'called'")
    fail_point(p, { times = 1 }, { failCommands = bson.array { "update" }, errorCode = 112,
      namespace = p.database .. ".counter", errorLabels = bson.array { "TransientTransactionError" } })
    local result = p:run { "run" }
    assert.are.equal(0, result.status, result.out .. result.err)
    assert.are.equal(2, select(2, result.err:gsub("called", "")))
    assert_once(p)
  end)

  it("commits again when the commit's answer is lost", function()
    local p <close> = prepared("print 'called'")
    fail_point(p, { times = 2 }, { failCommands = bson.array { "commitTransaction" }, closeConnection = true })
    local result = p:run { "run" }
    assert.are.equal(0, result.status, result.out .. result.err)
    assert.are.equal(1, select(2, result.err:gsub("called", "")))
    assert_once(p)
  end)

  -- Three times its time to live and more.
  local function outlasts(step_s, ttl)
    local p <close> = prepared(([[print 'called'
      local ends = os.time() + %d
      while os.time() < ends do ctx.mongo:collection("a"):find_one { _id = 1 } end]]):format(step_s),
      { flags = { "--lock-ttl", ttl } })
    local child <close> = p:start { "run", limit = (step_s + 30) * 1000 }
    wait_for("the step to run", function() return child:pump(0) or child.err:find "called" end)
    local waiter = p:run { "run", "--lock-wait", "2s" }
    assert.are.equal(4, waiter.status, waiter.out .. waiter.err)
    local result = child:wait()
    assert.are.equal(0, result.status, result.out .. result.err)
    assert.are.equal(1, select(2, result.err:gsub("called", "")))
    assert.is_true(result.ms >= (step_s - 1) * 1000, "the step was shorter")
    assert_once(p)
  end

  it("longer than the TTL keeps the lock and commits the first time", function() outlasts(4, "1s") end)

  it("of three quarters of a minute commits the first time under a TTL of a quarter #slow", function() outlasts(45, "15s") end)

  it("joins its checkpoints", function()
    local p <close> = prepared("ctx.checkpoint:write('k', 1) assert(ctx.checkpoint:read 'k' == 1) error 'no'", nil,
      "transaction = true, resumable = true,")
    assert.are.equal(1, p:run({ "run" }).status)
    assert_nothing(p)
    assert.is_nil(p:ledger().checkpoints.both)
  end)

  it("is refused on a standalone server", function()
    local own <close> = server.start { standalone = true }
    local p <close> = prepared(nil, { uri = own.uri })
    local result = p:run { "run" }
    assert.are.equal("STEP_FAILED", result.json.error.code)
    assert.is_truthy(result.json.error.message:find("need a replica set", 1, true), result.json.error.message)
    assert_nothing(p)
  end)

  it("that outlives the server's limit says what to do", function()
    local own <close> = server.start()
    local p <close> = prepared([[print 'called'
      local ends = os.time() + 5
      while os.time() < ends do ctx.mongo:collection("a"):find_one { _id = 1 } end]], { uri = own.uri })
    p.db:client():database("admin"):run_command("setParameter", 1, { transactionLifetimeLimitSeconds = 1 })
    local result = p:run { "run" }
    assert.are.equal("STEP_FAILED", result.json.error.code)
    assert.is_truthy(result.json.error.message:find("transactionLifetimeLimitSeconds", 1, true), result.json.error.message)
    assert.are.equal(1, select(2, result.err:gsub("called", "")))
    assert_nothing(p)
  end)

  it("loses everything with the lock", function()
    local p <close> = prepared([[print 'called'
      while true do ctx.mongo:collection("a"):find_one { _id = 1 } end]], { flags = { "--stop-timeout", "300ms" } })
    local child <close> = p:start { "run" }
    wait_for("the step to run", function() return child:pump(0) or child.err:find "called" end)
    child:kill "TERM"
    assert.are.equal(143, child:wait(20000).status)
    assert_nothing(p)
    assert.are.equal("interrupted", p:ledger().steps.both.status)
  end)

  it("killed at any network call leaves both or neither #slow", function()
    local p <close> = prepared()
    for k = 1, 100 do
      p.db:drop()
      p.db:create_collection "a"
      p.db:collection("counter"):insert_one { _id = "n", n = 0 }
      local result = p:run { "run", prefix = { "strace", "-f", "-qq", "-o", "/dev/null",
        "-e", "trace=sendto,sendmsg,writev", "-e", ("inject=sendto,sendmsg,writev:signal=SIGKILL:when=%d"):format(k) } }
      local inserted, counted = effects(p)
      local done = (p:ledger() or {}).currentVersion == "1.1.0"
      assert.are.equal(done and 1 or 0, inserted, "killed at " .. k)
      assert.are.equal(done and 1 or 0, counted, "killed at " .. k)
      if result.status == 0 then
        assert.is_true(k > 5, "nothing was killed")
        return
      end
      p:migrate()
      assert_once(p)
    end
    error "the run never survived"
  end)
end)
