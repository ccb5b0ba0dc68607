-- A server with access control: what a run needs, what it does without more, and what it never says.
local bson = require "smartmigration.bson"
local project = require "spec.support.project"
local server = require "spec.support.server"
local wait_for = require "spec.support.wait_for"

local PASSWORD = "pa55:w/rd&%secret"
local ENCODED = "pa55%3Aw%2Frd%26%25secret"

local SPIN = [[
  ctx.mongo:collection("things"):insert_one { run = ctx.run_id }
  if os.getenv "FIRST_TRY" then while true do ctx:check() end end]]

describe("on a server with access control", function()
  local own, admin

  setup(function()
    own = server.start { auth = true }
    admin = server.client(own.uri):database "admin"
  end)

  teardown(function() own:close() end)

  -- A user of database `admin` with these roles; the URI to be that user, with `password` instead of the right one.
  local function user(name, roles, password)
    admin:run_command("createUser", name, { pwd = PASSWORD, roles = bson.array(roles) })
    local uri = own.uri:gsub("//[^@]*@", function() return ("//%s:%s@"):format(name, password or ENCODED) end)
    return uri
  end

  local function role(name, privileges, roles)
    admin:run_command("createRole", name, { privileges = bson.array(privileges), roles = bson.array(roles or {}) })
    return name
  end

  local count = 0

  -- A project over a database of its own, and the roles `read` or `readWrite` there.
  local function over(files)
    count = count + 1
    local p = project.new(files, { uri = own.uri })
    return p, function(kind) return { { role = kind, db = p.database } } end, tostring(count)
  end

  local ONE = { ["1.lua"] = project.step("one", "1.0.0", "1.1.0", "ctx.mongo:collection('things'):insert_one { n = 1 }") }

  local function without_secrets(result)
    for _, text in ipairs { result.out, result.err } do
      for _, secret in ipairs { PASSWORD, ENCODED, "pa55" } do
        assert.is_nil(text:find(secret, 1, true), text)
      end
    end
    return result
  end

  it("a user who may read and write the database can run", function()
    local p <close>, on, n = over(ONE)
    p.uri = user("writer" .. n, on "readWrite")
    for _, words in ipairs { { "plan" }, { "run" }, { "run" }, { "status", "--check" }, { "validate" } } do
      local result = without_secrets(p:run(words))
      assert.are.equal(0, result.status, words[1] .. ": " .. result.out .. result.err)
    end
    local ledger = p:ledger()
    assert.are.equal("1.1.0", ledger.currentVersion)
    assert.are.equal(1, p.db:collection("things"):count {})
  end)

  it("a user who may only read can see plan and status, and a run says what is missing and leaves nothing", function()
    local p <close>, on, n = over(ONE)
    p.uri = user("reader" .. n, on "read")
    for _, words in ipairs { { "status" }, { "plan" } } do
      local result = p:run(words)
      assert.are.equal(0, result.status, result.out .. result.err)
    end
    assert.are.equal(10, p:run({ "status", "--check" }).status)
    local refused = without_secrets(p:run { "run" })
    assert.are.equal(5, refused.status, refused.out .. refused.err)
    assert.are.equal("LEDGER_IO", refused.json.error.code)
    assert.is_truthy(refused.json.error.message:find("createIndex", 1, true), refused.json.error.message)
    assert.is_false(p.db:has_collection(project.LEDGER))

    p.uri = own.uri
    p:migrate()
    p.uri = user("late-reader" .. n, on "read")
    local status = p:run { "status", "--check" }
    assert.are.equal(0, status.status, status.out .. status.err)
    assert.are.equal("1.1.0", status.json.currentVersion)
  end)

  it("a user without the right to create indexes can run where the index is", function()
    local p <close>, _, n = over(ONE)
    local roles = { role("no-index" .. n, { { resource = { db = p.database, collection = "" },
      actions = bson.array { "find", "insert", "update", "remove", "listCollections", "listIndexes" } } }) }
    p.uri = user("no-index" .. n, roles)
    local refused = p:run { "run" }
    assert.are.equal("LEDGER_IO", refused.json.error.code, refused.out .. refused.err)
    assert.is_truthy(refused.json.error.message:find("createIndex", 1, true), refused.json.error.message)
    assert.are.equal(0, p.db:collection("things"):count {})
    -- of another name, and over no documents yet: a unique index is a unique index
    p.db:collection(project.LEDGER):create_index({ nameId = 1 }, { name = "byName", unique = true })
    local result = p:run { "run" }
    assert.are.equal(0, result.status, result.out .. result.err)
    assert.are.equal("1.1.0", p:ledger().currentVersion)
    assert.are.same({ "_id_", "byName" }, bson.to_table(p.db:collection(project.LEDGER):index_names()))
  end)

  it("a wrong password is CONNECTION_FAILED, and stands in no output", function()
    local p <close>, on, n = over(ONE)
    local wrong = "wr0ng%3Asecret"
    p.uri = user("wrong" .. n, on "readWrite", wrong)
    for _, words in ipairs { { "run" }, { "status" }, { "run", "--log-level", "debug" }, { "run", "--log-format", "json" } } do
      local result = p:run(words)
      assert.are.equal(5, result.status, result.out .. result.err)
      assert.are.equal("CONNECTION_FAILED", result.json.error.code)
      for _, text in ipairs { result.out, result.err } do
        for _, secret in ipairs { wrong, "wr0ng:secret", "wr0ng" } do assert.is_nil(text:find(secret, 1, true), text) end
      end
    end
  end)

  local TTL_MS, LONGER_MS = 2000, 4000

  -- A run by `first` that is killed in its step.
  local function killed_run(p, first)
    p.uri = first
    local child <close> = p:start { "run", "--lock-ttl", LONGER_MS .. "ms", env = { FIRST_TRY = "1" } }
    wait_for("the step to run", function() return p.db:collection("things"):find_one {} end)
    child:kill "KILL"
    child:wait()
    assert.is_string(p:ledger().lock.holder)
  end

  local function take_over(p, uri)
    p.uri = uri
    local result = p:run { "run", "--lock-ttl", TTL_MS .. "ms" }
    assert.are.equal(0, result.status, result.out .. result.err)
    assert.is_truthy(result.err:find("took over", 1, true), result.err)
    local ledger = p:ledger()
    assert.are.equal("applied", ledger.steps.spin.status)
    assert.are.equal(2, ledger.steps.spin.attempts)
    assert.is_nil(ledger.leftovers)
    return without_secrets(result)
  end

  local SPINNING = { ["1.lua"] = project.step("spin", "1.0.0", "1.1.0", SPIN) }

  it("a dead holder of the same user is taken over at once", function()
    local p <close>, on, n = over(SPINNING)
    local uri = user("same" .. n, on "readWrite")
    killed_run(p, uri)
    local result = take_over(p, uri)
    assert.is_true(result.ms < TTL_MS, "it took " .. result.ms .. " ms")
    assert.is_nil(result.err:find("killAnySession", 1, true))
  end)

  it("a dead holder of another user costs the longer TTL of both without the rights to look, and the run says so", function()
    local p <close>, on, n = over(SPINNING)
    killed_run(p, user("first" .. n, on "readWrite"))
    local result = take_over(p, user("second" .. n, on "readWrite"))
    assert.is_true(result.ms >= LONGER_MS, "it took only " .. result.ms .. " ms")
    assert.is_truthy(result.err:find("killAnySession", 1, true), result.err)
    assert.is_truthy(result.err:find(LONGER_MS .. " ms", 1, true), result.err)
  end)

  it("unlock waits a full TTL, too, for the commands of another user that it cannot see", function()
    local p <close>, on, n = over(SPINNING)
    killed_run(p, user("held" .. n, on "readWrite"))
    p.uri = user("freeing" .. n, on "readWrite")
    local result = without_secrets(p:run { "unlock", "--lock-ttl", TTL_MS .. "ms" })
    assert.are.equal(0, result.status, result.out .. result.err)
    assert.is_true(result.ms >= TTL_MS, "it took only " .. result.ms .. " ms")
    assert.is_truthy(result.err:find("killAnySession", 1, true), result.err)
    assert.is_true(bson.is_null(p:ledger().lock.holder))
    assert.is_nil(p:ledger().leftovers)
  end)

  it("a user who may only read can see history and checkpoints, and is refused what would change the ledger", function()
    local p <close>, on, n = over(ONE)
    p.uri = user("migrator" .. n, on "readWrite")
    p:migrate()
    p.uri = user("watcher" .. n, on "read")
    local result = p:run { "history" }
    assert.are.equal(0, result.status, result.out .. result.err)
    assert.are.equal(("migrator%s@admin"):format(n), result.json.runs[1].dbUser)
    assert.are.equal(0, p:run({ "checkpoint", "show" }).status)
    local before = p:document()
    for _, words in ipairs { { "baseline", "1.0.0", "--force" }, { "repair", "--mark-pending", "one" },
      { "history", "--prune-older-than", "0" } } do
      local refused = without_secrets(p:run(words))
      assert.are.equal(5, refused.status, refused.out .. refused.err)
      assert.are.equal("LEDGER_IO", refused.json.error.code)
    end
    assert.is_true(bson.equal(before, p:document()))
  end)

  it("a dead holder of another user is taken over at once with those rights, and its command is ended", function()
    local p <close>, on, n = over { ["1.lua"] = project.step("spin", "1.0.0", "1.1.0", [[
      ctx.mongo:collection("things"):insert_one { run = ctx.run_id }
      if os.getenv "FIRST_TRY" then
        ctx.mongo:collection("things"):update_many({ ["$where"] = "sleep(60000) || true" }, { ["$set"] = { late = true } })
      end]]) }
    local function commands()
      return #admin:aggregate({ { ["$currentOp"] = { allUsers = true } },
        { ["$match"] = { ns = p.database .. ".things", op = "update",
          ["command.comment"] = bson.regex "^smartmigration:" } } }):all()
    end
    p.uri = user("slow" .. n, on "readWrite")
    local child <close> = p:start { "run", env = { FIRST_TRY = "1" } }
    wait_for("the long command", function() return commands() > 0 end)
    child:kill "KILL"
    child:wait()
    assert.are.equal(1, commands(), "the server goes on with the command of a killed process")
    local sees = role("sees" .. n, { { resource = { cluster = true }, actions = bson.array { "inprog", "killAnySession" } } })
    local roles = on "readWrite"
    table.insert(roles, { role = sees, db = "admin" })
    local result = take_over(p, user("strong" .. n, roles))
    assert.is_nil(result.err:find("killAnySession", 1, true), result.err)
    assert.are.equal(0, commands())
    assert.are.equal(0, p.db:collection("things"):count { late = true })
  end)

  it("a step that needs more than it has fails, and the server's word for it is told", function()
    local p <close>, on, n = over { ["1.lua"] = project.step("one", "1.0.0", "1.1.0", "ctx.mongo:drop()") }
    p.uri = user("no-drop" .. n, on "readWrite")
    local result = without_secrets(p:run { "run" })
    assert.are.equal(1, result.status, result.out .. result.err)
    assert.are.equal("Unauthorized", result.json.error.details.cause.code)
    assert.are.equal("Unauthorized", p:ledger().steps.one.error.code)
    assert.is_true(bson.is_null(p:ledger().lock.holder))
  end)
end)
