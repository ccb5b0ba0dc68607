-- A replica set of three: a primary that steps down on the way, and secondaries that the ledger never asks.
local bson = require "smartmigration.bson"
local process = require "spec.support.process"
local project = require "spec.support.project"
local server = require "spec.support.server"
local wait_for = require "spec.support.wait_for"

local DOCUMENTS, LAST = 600, "1.2.0"

-- Adds 1 to each document, one by one: what is done twice shows. The first document is the sign that it has begun.
local COUNT = ([[
  ctx.mongo:collection("starts"):insert_one { step = ctx.step.id }
  local things = ctx.mongo:collection "things"
  for i = ctx.checkpoint:read "next" or 1, %d do
    things:update_one({ _id = i }, { ["$inc"] = { n = 1 } })
    if i %% 20 == 0 then ctx.checkpoint:write("next", i + 1) end
  end]]):format(DOCUMENTS)

local CHAIN = {
  ["1.lua"] = project.step("count", "1.0.0", "1.1.0", COUNT, "resumable = true,"),
  ["2.lua"] = project.step("after", "1.1.0", LAST, "ctx.mongo:collection('starts'):insert_one { step = ctx.step.id }"),
}

local function with(uri, options)
  return uri .. (uri:find("?", 1, true) and "&" or "/?") .. options
end

describe("#slow a replica set of three", function()
  local own, admin

  setup(function()
    own = server.start { members = 3 }
    admin = server.client(own.uri):database "admin"
  end)

  teardown(function() own:close() end)

  -- The term of today's primary, as any member tells it; nil while there is none.
  local function election()
    local ok, status = pcall(admin.run_command, admin, "replSetGetStatus")
    for _, member in ipairs(ok and status.members or {}) do
      if member.stateStr == "PRIMARY" then return status.term end
    end
  end

  local function step_down()
    local former = wait_for("a primary", election, 30000)
    -- A client that still takes a former primary for the primary is told so, and looks again.
    wait_for("the primary to step down", function()
      return pcall(admin.run_command, admin, "replSetStepDown", 5, { secondaryCatchUpPeriodSecs = 3, force = true })
        or election() ~= former
    end, 30000)
    wait_for("another election", function()
      local now = election()
      return now and now ~= former
    end, 30000)
  end

  for _, options in ipairs { "retryWrites=true", "retryWrites=false" } do
    it("whose primary steps down lets a run go on, or fail clearly and be finished; " .. options, function()
      local p <close> = project.new(CHAIN, { uri = own.uri })
      local things = p.db:collection "things"
      local rows = {}
      for i = 1, DOCUMENTS do rows[i] = { _id = i, n = 0 } end
      things:insert_many(rows)
      p.uri = with(own.uri, options)
      local child <close> = p:start { "run" }
      wait_for("the step to be on its way", function() return things:find_one { _id = 30, n = 1 } end)
      assert.is_true(child:running(), "the run was over before the primary stepped down")
      assert.are.equal(0, things:find_one({ _id = DOCUMENTS }).n, "the step was over before the primary stepped down")
      step_down()
      local first = project.parse(child:wait(60000))
      local twice = things:count { n = { ["$gt"] = 1 } }
      assert.are.equal(0, twice, "documents that were counted twice by one run")
      local context = first.out .. first.err
      if first.status ~= 0 then
        assert.is_truthy(({ STEP_FAILED = true, LEDGER_IO = true, LOCK_LOST = true })[first.json.error.code], context)
        assert.are_not.equal("retryWrites=true", options, "a driver that sends again should have come through: " .. context)
        p:migrate()
      end
      local ledger = p:ledger()
      assert.are.equal(LAST, ledger.currentVersion, context)
      assert.is_nil(next(ledger.checkpoints))
      assert.is_true(bson.is_null(ledger.lock.holder))
      assert.are.equal(0, things:count { n = 0 }, context)
      -- What a run that failed had done after its last checkpoint is done again, and no more.
      assert.is_true(things:count { n = { ["$gt"] = 1 } } <= (first.status == 0 and 0 or 20), context)
      for id, entry in pairs(ledger.steps) do
        assert.are.equal("applied", entry.status)
        assert.are.equal(p.db:collection("starts"):count { step = id }, entry.attempts, context)
      end
      assert.are.equal(1, ledger.steps.after.attempts)
    end)
  end

  for _, options in ipairs { "retryWrites=true", "retryWrites=false" } do
    it("whose primary steps down in the middle of a bulk loses and repeats none of it, or says so; " .. options, function()
      -- Each statement takes a moment, so that one command is under way for seconds.
      local p <close> = project.new({ ["1.lua"] = project.step("bulk", "1.0.0", "1.1.0", ([[
        local models = {}
        for i = 1, %d do
          local slowly = { _id = i, ["$where"] = "sleep(5) || true" }
          models[i] = { update_one = { filter = slowly, update = { ["$inc"] = { n = 1 } } } }
        end
        local result = ctx.mongo:collection("things"):bulk_write(models)
        assert(result.modified_count == #models, "modified " .. result.modified_count)]]):format(DOCUMENTS)) }, { uri = own.uri })
      local things, rows = p.db:collection "things", {}
      for i = 1, DOCUMENTS do rows[i] = { _id = i, n = 0 } end
      things:insert_many(rows)
      p.uri = with(own.uri, options)
      local child <close> = p:start { "run" }
      wait_for("the bulk to be on its way", function() return things:find_one { _id = 30, n = 1 } end)
      assert.are.equal(0, things:find_one({ _id = DOCUMENTS }).n, "the bulk was over before the primary stepped down")
      step_down()
      local result = project.parse(child:wait(60000))
      local context = result.out .. result.err
      assert.are.equal(0, things:count { n = { ["$gt"] = 1 } }, "statements that were done twice: " .. context)
      if options == "retryWrites=true" then
        assert.are.equal(0, result.status, context)
        assert.are.equal(DOCUMENTS, things:count { n = 1 }, context)
      else
        assert.are.equal("STEP_FAILED", result.json.error.code, context)
        assert.are.equal("1.0.0", p:ledger().currentVersion)
        assert.are.equal("failed", p:ledger().steps.bulk.status)
        assert.is_true(things:count { n = 0 } > 0, "the bulk was through before the primary stepped down")
      end
    end)
  end

  -- For each member: its host, whether it is the primary, and the database there, asked directly.
  local function members(name)
    local list, hello = {}, admin:run_command("hello")
    for _, host in ipairs(hello.hosts) do
      local client = server.client("mongodb://" .. host .. "/?directConnection=true")
      list[#list + 1] = { host = host, primary = host == hello.primary, db = client:database(name) }
    end
    return list
  end

  it("is asked at its primary alone, whatever the URI says", function()
    local p <close> = project.new(CHAIN, { uri = own.uri })
    p.db:collection("things"):insert_many({ { _id = 1, n = 0 }, { _id = 2, n = 0 } }, { write_concern = { w = 3 } })
    local all = members(p.database)
    for _, member in ipairs(all) do member.db:run_command("profile", 2) end
    p.uri = with(own.uri, "readPreference=secondaryPreferred&w=1&journal=false&readConcernLevel=local")
    for _, words in ipairs { { "plan" }, { "status" }, { "run" }, { "status", "--check" }, { "run" } } do
      local result = p:run(words)
      assert.are.equal(0, result.status, words[1] .. ": " .. result.out .. result.err)
    end
    -- The proof that a secondary's profile would show it: a read of another client does.
    local reader = server.client(with(own.uri, "readPreference=secondary&appName=reader"))
    reader:database(p.database):collection(project.LEDGER):find_one({}, { read_preference = "secondary" })

    local seen = 0
    for _, member in ipairs(all) do
      member.db:run_command("profile", 0)
      local of = function(name)
        return member.db:collection("system.profile"):find({ appName = name, op = { ["$ne"] = "getmore" } }):all()
      end
      seen = seen + #of "reader"
      if not member.primary then
        assert.are.equal(0, #of "smartmigration", member.host)
      else
        local writes, reads = 0, 0 -- of writes the profile shows the concern of commands, not of update statements
        for _, op in ipairs(of "smartmigration") do
          local command = op.command
          if op.ns == p.database .. "." .. project.LEDGER then
            if command.writeConcern then
              writes = writes + 1
              assert.are.equal("majority", command.writeConcern.w, bson.json(command))
              assert.is_true(command.writeConcern.j, bson.json(command))
            elseif command.find then
              reads = reads + 1
              assert.are.equal("majority", command.readConcern.level, bson.json(command))
            end
          end
        end
        assert.is_true(writes >= 2 and reads >= 5, writes .. " writes and " .. reads .. " reads")
      end
    end
    assert.are.equal(1, seen)
  end)

  it("without a majority keeps a run from writing, and the next one finishes", function()
    local p <close> = project.new({ ["1.lua"] = project.step("one", "1.0.0", "1.1.0",
      "ctx.mongo:collection('starts'):insert_one { step = ctx.step.id }") }, { uri = own.uri })
    local frozen = {}
    for _, member in ipairs(members "admin") do
      if not member.primary then frozen[#frozen + 1] = math.tointeger(member.db:run_command("serverStatus").pid) end
    end
    for _, pid in ipairs(frozen) do process.kill(pid, "STOP") end
    p.uri = with(own.uri, "w=1&serverSelectionTimeoutMS=3000")
    local result = p:run { "run", "--lock-ttl", "2s", limit = 60000 }
    for _, pid in ipairs(frozen) do process.kill(pid, "CONT") end
    assert.are.equal(5, result.status, result.out .. result.err)
    wait_for("a primary", election, 30000)
    p.uri = own.uri
    p:migrate()
    assert.are.equal(1, p.db:collection("starts"):count {})
    assert.are.equal("1.1.0", p:ledger().currentVersion)
  end)
end)
