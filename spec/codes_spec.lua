-- Every error code, provoked through the public interface, with its message and details. The list comes from the engine's
-- table of codes: a code without a row here fails the suite.
local bson = require "smartmigration.bson"
local core = require "smartmigration.core"
local project = require "spec.support.project"
local s3_project = require "spec.support.s3_project"
local s3_proxy = require "spec.support.s3_proxy"
local server = require "spec.support.server"
local smartmigration = require "smartmigration"
local wait_for = require "spec.support.wait_for"

local step = project.step

-- Runs `words` over `files` after `prepare(p)`; the error of the binary's JSON document.
local function binary(files, words, prepare, options)
  local p <close> = project.new(files, options)
  if prepare then prepare(p) end
  local result = p:run(words or { "run" })
  assert.is_truthy(result.json and result.json.error, result.out .. result.err)
  assert.are.equal(core.codes[result.json.error.code].exit, result.status)
  return result.json.error
end

-- The error of smartmigration.new with these settings beside the usual ones (false: without that one).
local function module(settings)
  local all = { target_version = "1.0.0", mongo = { uri = server.uri, database = "app" } }
  for key, value in pairs(settings) do all[key] = value or nil end
  local ok, err = pcall(smartmigration.new, all)
  assert.is_false(ok)
  return { code = err.code, message = err.message, details = err.details }
end

local function ledger(data)
  return function(p) p:set_ledger(data) end
end

-- An error of a step that runs in a child which is stopped or robbed on the way.
local function running(body, disturb, flags)
  local p <close> = project.new({ ["1.lua"] = step("s", "1.0.0", "1.1.0",
    "ctx.mongo:collection('c'):insert_one { _id = 'begun' }\n" .. body) }, { flags = flags })
  local child <close> = p:start { "run" }
  wait_for("the step to run", function() return p.db:collection("c"):find_one { _id = "begun" } end)
  disturb(p, child)
  return project.parse(child:wait(15000)).json.error
end

local function first_find_fails(code)
  return function(p)
    p.db:client():database("admin"):run_command("configureFailPoint", "failCommand", { mode = { times = 1 },
      data = { failCommands = bson.array { "find" }, errorCode = code, appName = "smartmigration" } })
  end
end

local ONE = { ["1.lua"] = step("a", "1.0.0", "1.1.0") }

-- code -> { provoke, part of the message, details that must be there (`true`: any value) }
local rows = {
  INVALID_OPTIONS = { function() return module { lock = { ttl_ms = 5 } } end, "lock_ttl_ms must be at least 1000",
    { option = "lock_ttl_ms", value = 5 } },
  MISSING_TARGET_VERSION = { function() return module { target_version = false } end, "no target version", {} },
  INVALID_VERSION = { function() return module { target_version = "latest" } end,
    'options.targetVersion is not a valid semver string: "latest"',
    { version = "latest", label = "options.targetVersion", cause = true } },
  NO_RESOURCES = { function() return module { mongo = false } end, "mongo.uri", {} },
  LEDGER_BACKEND_MISMATCH = { function() return module { ledger = { backend = "s3" } } end, '"s3" needs an S3 bucket',
    { ledger_backend = "s3" } },
  INVALID_TARGET_VERSION_STRATEGY = { function() return module { target_version_strategy = "loose" } end,
    'must be "strict" or "bridge", not "loose"', { option = "target_version_strategy", value = "loose" } },
  STEP_LOAD_FAILED = { function() return binary { ["1.lua"] = "return {" } end, "1.lua", { file = true } },
  INVALID_STEP_ID = { function() return binary { ["1.lua"] = step("bridge:x", "1.0.0", "1.1.0") } end, "bridge:",
    { file = true, index = 1 } },
  DUPLICATE_STEP_ID = { function()
    return binary { ["1.lua"] = step("a", "1.0.0", "1.1.0"), ["2.lua"] = step("a", "1.1.0", "1.2.0") }
  end, "'a'", { stepId = "a", index = 2 } },
  STEP_MISSING_FROM = { function() return binary { ["1.lua"] = 'return { id = "a", to = "1.0.0", up = print }' } end, "'a'",
    { stepId = "a" } },
  STEP_MISSING_TO = { function() return binary { ["1.lua"] = 'return { id = "a", from = "1.0.0", up = print }' } end, "'a'",
    { stepId = "a" } },
  INVALID_STEP_HANDLER = { function()
    return binary { ["1.lua"] = 'return { id = "a", from = "1.0.0", to = "1.1.0" }' }
  end, "'a'", { stepId = "a" } },
  NON_INCREASING_STEP = { function() return binary { ["1.lua"] = step("a", "1.1.0", "1.0.0") } end, "1.1.0",
    { stepId = "a", from = "1.1.0", to = "1.0.0" } },
  CHAIN_NOT_CONTIGUOUS = { function()
    return binary { ["1.lua"] = step("a", "1.0.0", "1.1.0"), ["2.lua"] = step("b", "1.2.0", "1.3.0") }
  end, "1.2.0", { stepId = "b", index = 2 } },
  CHAIN_NOT_AT_CURRENT = { function() return binary(ONE, nil, ledger { currentVersion = "0.9.0" }) end, "0.9.0", {} },
  TARGET_NOT_REACHABLE = { function() return binary(ONE, { "run", "--target", "1.5.0" }) end, "1.5.0", {} },
  DOWNGRADE_NOT_SUPPORTED = { function() return binary(ONE, nil, ledger { currentVersion = "2.0.0" }) end, "2.0.0", {} },
  UNVERSIONED_DATA = { function()
    return binary(ONE, { "run", "--unversioned-data", "refuse" }, function(p) p.db:collection("c"):insert_one {} end)
  end, "baseline", {} },
  LEDGER_ELSEWHERE = { function()
    return binary(ONE, nil, function(p) p:set_ledger({ currentVersion = "1.0.0" }, "smartmigration") end)
  end, "smartmigration", { ledgerId = "smartmigration", version = "1.0.0", place = true } },
  LEDGER_CHAIN_MISMATCH = { function()
    return binary({ ["1.lua"] = step("b", "1.0.0", "1.1.0"), ["2.lua"] = step("c", "1.1.0", "1.2.0") }, nil,
      ledger { currentVersion = "1.1.0", steps = { a = { fromVersion = "1.0.0", toVersion = "1.1.0", status = "applied" } } })
  end, "'a'", { violations = true } },
  LEDGER_NOT_EXCLUSIVE = { function()
    local proxy <close> = s3_proxy.start()
    proxy:add { races = 2 }
    local p <close> = s3_project.new(ONE, { proxy = proxy })
    local result = p:run { "run" }
    assert.are.equal(2, result.status)
    return result.json.error
  end, "best-effort", { verdict = "races", seen = true, place = true } },
  LEDGER_CORRUPT = { function() return binary(ONE, nil, ledger { currentVersion = 5 }) end, "currentVersion", {} },
  LEDGER_IO = { function() return binary(ONE, nil, first_find_fails(96)) end, "SmartdataEasyStore", { cause = true } },
  -- 168: what a server answers that does not know an operator of the first read
  UNSUPPORTED_SERVER = { function() return binary(ONE, nil, first_find_fails(168)) end, "MongoDB 5.0", {} },
  CONNECTION_FAILED = { function()
    return binary(ONE, nil, function(p) p.uri = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300" end)
  end, "127.0.0.1:1", {} },
  LOCK_TIMEOUT = { function()
    return binary(ONE, { "run", "--lock-wait", "0" },
      ledger { currentVersion = "1.0.0", lock = { holder = "them", expiresAt = "2999-01-01T00:00:00.000Z" } })
  end, "them", { holder = "them", expiresAt = "2999-01-01T00:00:00.000Z", waitedMs = true } },
  LOCK_LOST = { function()
    return running("while true do ctx:check() end", function(p)
      p.db:collection(project.LEDGER):update_one({ nameId = project.NAME_ID },
        { ["$set"] = { ["data.lock.holder"] = "thief", ["data.lock.expiresAt"] = "2999-01-01T00:00:00.000Z" } })
    end, { "--lock-ttl", "1s" })
  end, "lock", { stepId = "s" } },
  STEP_FAILED = { function() return binary { ["1.lua"] = step("a", "1.0.0", "1.1.0", "error 'no such thing'") } end,
    "no such thing", { stepId = "a", fromVersion = "1.0.0", toVersion = "1.1.0", cause = true } },
  INTERRUPTED = { function()
    return running("while true do ctx:check() end", function(_, child) child:kill "INT" end)
  end, "stop", { stepId = "s" } },
  CHECKPOINT_NOT_RESUMABLE = { function()
    return binary({ ["1.lua"] = step("a", "1.0.0", "1.1.0", "ctx.checkpoint:write('k', 1)") }).details.cause
  end, "resumable = true", {} },
  CHECKPOINT_TOO_LARGE = { function()
    return binary({ ["1.lua"] = step("a", "1.0.0", "1.1.0", "ctx.checkpoint:write('k', ('x'):rep(1 << 20))",
      "resumable = true,") }).details.cause
  end, "at most 1048576", {} },
}

-- A run without MongoDB needs a ledger in memory, which only C can bring.
local ELSEWHERE = { NO_DB_CONFIGURED = "spec/c/test_run.c" }

describe("the table of codes", function()
  for code, entry in pairs(core.codes) do
    it("has " .. code .. " provoked", function()
      if ELSEWHERE[code] then
        local file <close> = assert(io.open(ELSEWHERE[code]))
        assert.is_truthy(file:read("a"):find("SMIG_" .. code, 1, true), ELSEWHERE[code] .. " does not provoke " .. code)
        return
      end
      local row = assert(rows[code], "no spec provokes " .. code)
      local err = row[1]()
      assert.are.equal(code, err.code, err.message)
      assert.is_truthy(err.message:find(row[2], 1, true), err.message)
      for name, value in pairs(row[3]) do
        assert.is_not_nil(err.details and err.details[name], code .. " has no details." .. name .. ": " .. err.message)
        if value ~= true then assert.are.equal(value, err.details[name]) end
      end
      assert.is_truthy(math.type(entry.exit) == "integer" and #entry.text > 0)
    end)
  end

  it("has every row here", function()
    for code in pairs(rows) do assert.is_not_nil(core.codes[code], code .. " is no code") end
  end)
end)
