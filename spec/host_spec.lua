-- The host: the module as programs meet it, what a step's errors become, and how a step ends that must.
local build = require "spec.support.build"
local migrations = require "spec.support.migrations"
local process = require "spec.support.process"
local server = require "spec.support.server"
local smartmigration = require "smartmigration"
local system = require "smartmigration.process"

local failure, offline, step_failure = migrations.failure, migrations.offline, migrations.step_failure

teardown(migrations.clean)

-- -------------------------------------------------------------------- module

describe("the module", function()
  it("loads in a stock lua5.4 and makes no global", function()
    local result = migrations.lua [[
      local before = {}
      for name in pairs(_G) do before[name] = true end
      local smartmigration = require "smartmigration"
      for name in pairs(_G) do assert(before[name], name) end
      assert(require "smartmigration" == smartmigration)
      io.write(smartmigration.version)
    ]]
    assert.are.equal("", result.err)
    assert.are.equal(0, result.status)
    assert.are.equal(smartmigration.version, result.out)
  end)

  it("gives the drivers alone, without the engine first", function()
    for _, name in ipairs { "bson", "mongo", "core", "process" } do
      local result = migrations.lua(("assert(type(require 'smartmigration.%s') == 'table')"):format(name))
      assert.are.equal("", result.err)
    end
  end)

  it("leaves an installed argparse its right of way", function()
    local path = migrations.folder { ["argparse.lua"] = "return 'installed'" }
    local script = "package.path = %q; require 'smartmigration'; io.write((require 'argparse'))"
    local result = migrations.lua(script:format(path .. "/?.lua"))
    assert.are.equal("installed", result.out)
    result = migrations.lua "package.path = ''; require 'smartmigration'; io.write(type(require 'argparse'))"
    assert.are.equal("table", result.out)
  end)

  it("has every code with its exit status", function()
    assert.are.equal(4, smartmigration.codes.LOCK_TIMEOUT.exit)
    assert.are.equal(130, smartmigration.codes.INTERRUPTED.exit)
  end)
end)

describe("settings", function()
  local function refused(settings)
    return failure(smartmigration.new, settings)
  end

  it("refuses unknown names with a suggestion", function()
    local raised = refused { target_verison = "1.0.0" }
    assert.are.equal("INVALID_OPTIONS", raised.code)
    assert.are.equal("unknown option 'target_verison' (did you mean 'target_version'?)", raised.message)
    assert.are.equal("unknown option 'lock.ttl' (did you mean 'lock.ttl_ms'?)", refused({ lock = { ttl = 1 } }).message)
  end)

  it("refuses wrong types without quoting values", function()
    for name, settings in pairs {
      ["target_version"] = { target_version = 1 }, ["mongo"] = { mongo = "mongodb://u:secret@h" },
      ["lock.wait_ms"] = { lock = { wait_ms = "5s" } }, ["lock.ttl_ms"] = { lock = { ttl_ms = 0.5 } },
      ["fresh_scope"] = { fresh_scope = { "a", 1 } }, ["log"] = { log = true },
      ["ledger.name"] = { ledger = { name = "a\0b" } },
    } do
      local raised = refused(settings)
      assert.are.equal("INVALID_OPTIONS", raised.code)
      assert.is_truthy(raised.message:find("'" .. name .. "'", 1, true), raised.message)
      assert.is_nil(raised.message:find "secret")
    end
    assert.are.equal("INVALID_OPTIONS", refused(nil).code)
  end)

  it("says what was given", function()
    assert.are.equal("option 'log' must be a function, not a string", refused({ log = "x" }).message)
    assert.are.equal("option 'lock.wait_ms' must be an integer, not a string", refused({ lock = { wait_ms = "5s" } }).message)
    assert.are.equal("option 'target_version' must be a string, not an integer", refused({ target_version = 1 }).message)
    assert.are.equal("option 'ledger.name' must be a string, not one that is not valid UTF-8 without NUL",
      refused({ ledger = { name = "a\0b" } }).message)
  end)

  it("leaves the rest to the engine", function()
    assert.are.equal("MISSING_TARGET_VERSION", refused({}).code)
    assert.are.equal("INVALID_VERSION", refused({ target_version = "1" }).code)
    assert.are.equal("NO_RESOURCES", refused({ target_version = "1.0.0" }).code)
  end)

  it("loads the folder they name", function()
    local path = migrations.folder { ["1.lua"] = migrations.text("a", "1.0.0", "1.1.0") }
    assert.are.equal("a", migrations.ids(offline { migrations = path }))
  end)
end)

describe("the migration object", function()
  it("suggests method names and is read-only", function()
    local migration = offline()
    for message, mistake in pairs {
      ["migration has no method 'vaildate'; did you mean 'validate'?"] = function() migration:vaildate() end,
      ["migration is read-only: cannot set 'x'"] = function() migration.x = 1 end,
      ["step has no method 'form'; did you mean 'from'?"] = function() migration:step("a"):form("1.0.0") end,
    } do
      local raised = failure(mistake)
      assert.are.equal(message, raised.message)
      assert.are.equal("argument", raised.category)
      assert.is_truthy(raised.where:find "host_spec.lua:%d+$")
    end
  end)

  it("says where a dot stands in place of a colon", function()
    local migration = offline()
    for message, mistake in pairs {
      ['write m:step("id"):from(...) with a colon'] = function() migration:step("a").from("1.0.0") end,
      ['write m:step("id"):up(...) with a colon'] = function() migration:step("b").up(function() end) end,
      ['write m:step("id"):resumable(...) with a colon'] = function() migration:step("c").resumable() end,
      ["write m:step(...) with a colon"] = function() migration.step("d") end,
      ["write m:add(...) with a colon"] = function() migration.add { id = "e" } end,
      ["write smartmigration.new { ... } with a dot"] = function() smartmigration:new {} end,
    } do
      local raised = failure(mistake)
      assert.are.equal(message, raised.message)
      assert.are.equal("argument", raised.category)
      assert.is_truthy(raised.where:find "host_spec.lua:%d+$")
    end
  end)

  it("closes once and for all", function()
    local migration = offline()
    migration:close()
    migration:close()
    assert.are.equal("migration (closed)", tostring(migration))
    assert.are.equal("migration is closed", failure(migration.validate, migration).message)
  end)

  it("takes steps from the builder and from tables", function()
    local migration = offline()
    assert.are.equal(migration, migration:step("a"):from("1.0.0"):to("1.1.0"):up(function() end))
    assert.are.equal(migration, migration:add { id = "b", from = "1.1.0", to = "1.2.0", up = function() end })
    assert.are.equal(2, migration:validate().steps)
  end)

  it("names the step's place and what is wrong", function()
    local raised = failure(offline().add, offline(), { id = "a", form = "1.0.0", up = function() end })
    assert.are.equal("STEP_LOAD_FAILED", raised.code)
    assert.is_truthy(raised.message:find("step 'a': unknown key 'form' (did you mean 'from'?)", 1, true), raised.message)
    assert.is_truthy(raised.details.file:find "host_spec.lua$")
    assert.is_true(raised.details.line > 100)
    raised = failure(offline().add, offline(), { id = "a", resumable = "yes" })
    assert.is_truthy(raised.message:find("'resumable' must be a boolean, not a string", 1, true))
  end)

  it("leaves the chain's rules to the chain", function()
    for code, step in pairs {
      INVALID_STEP_ID = { from = "1.0.0", to = "1.1.0", up = print }, STEP_MISSING_FROM = { id = "a", to = "1.1.0", up = print },
      INVALID_VERSION = { id = "a", from = 1.0, to = "1.1.0", up = print },
      INVALID_STEP_HANDLER = { id = "a", from = "1.0.0", to = "1.1.0", up = "no function" },
    } do
      local migration = offline():add(step)
      assert.are.equal(code, failure(migration.validate, migration).code)
    end
  end)

  it("does not lose a step that was begun and not ended", function()
    local migration = offline():add { id = "a", from = "1.0.0", to = "1.1.0", up = print }
    migration:step("b"):from("1.1.0"):to("1.2.0")
    local raised = failure(migration.validate, migration)
    assert.are.equal("INVALID_STEP_HANDLER", raised.code)
    assert.are.equal("step 'b' has no up: end it with :up(function(ctx) ... end)", raised.message)
  end)

  it("is collected although its step mentions it", function()
    local seen = setmetatable({}, { __mode = "k" })
    do
      local migration = offline { log = function() end }
      migration:step("a"):from("1.0.0"):to("1.1.0"):up(function() return migration end)
      seen[migration] = true
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(seen))
  end)
end)

-- -------------------------------------------------------------------- errors

describe("a step's error", function()
  it("comes back as STEP_FAILED with message, value and trace", function()
    local raised = step_failure(function()
      local function inner() error "no way" end
      inner()
    end)
    assert.are.equal("STEP_FAILED", raised.code)
    assert.is_truthy(raised.message:find("host_spec.lua:%d+: no way"))
    local trace = raised.cause.traceback
    assert.is_truthy(trace:find "host_spec.lua:%d+: in .*inner")
    assert.is_nil(trace:find "%[C%]: in %?")
    assert.is_nil(trace:find("smartmigration/", 1, true))
    assert.are.equal("1.0.0", raised.details.result.current_version_after)
  end)

  it("keeps the very value", function()
    local value = { reason = "mine" }
    assert.are.equal(value, step_failure(function() error(value) end).value)
    local object = failure(smartmigration.new, {})
    local raised = step_failure(function() error(object, 0) end)
    assert.are.equal(object, raised.cause)
    assert.is_truthy(step_failure(function() error() end).message:find "step raised nil")
    assert.is_truthy(step_failure(function()
      error(setmetatable({}, { __tostring = function() return "speaking table" end }))
    end).message:find "speaking table")
    assert.are.equal("STEP_FAILED", step_failure(function()
      error(setmetatable({}, { __tostring = function() error "twice" end }))
    end).code)
  end)

  it("can be a stack overflow", function()
    local raised = step_failure(function()
      local function down() return 1 + down() end
      return down()
    end)
    assert.is_truthy(raised.message:find "stack overflow")
  end)

  it("explains a nil that is not configured", function()
    for field, sentence in pairs {
      s3 = "ctx.s3 is nil: no S3 is configured", bucket = "ctx.bucket is nil: no S3 is configured",
    } do
      local raised = step_failure(load(("return function(ctx) ctx.%s:list() end"):format(field))())
      assert.is_truthy(raised.message:find(sentence, 1, true), raised.message)
    end
    local raised = step_failure(function() local config = {} return config.mongo.uri end)
    assert.is_nil(raised.message:find "no MongoDB")
  end)

  it("ends a run whose file calls os.exit or debug.sethook in a step", function()
    assert.is_truthy(step_failure(function() os.exit(0) end).message:find "os.exit is not for migration files")
    assert.is_truthy(step_failure(function() debug.sethook() end).message:find "debug.sethook is not for")
  end)

  it("refuses to be run by itself", function()
    local migration
    local refusals = {}
    migration = migrations.with_step(function()
      for _, name in ipairs { "run", "plan", "status", "close" } do
        refusals[#refusals + 1] = failure(migration[name], migration).message
      end
    end)
    migration:run()
    migration:close()
    assert.are.equal(4, #refusals)
    for _, message in ipairs(refusals) do
      assert.is_truthy(message:find "migration is running")
    end
  end)

  it("lets a step run another migration", function()
    local inner <close> = migrations.with_step(function(ctx) ctx.mongo:collection("x"):insert_one {} end)
    migrations.run_step(function(ctx)
      inner:run()
      ctx:check()
      ctx.mongo:collection("y"):insert_one {}
    end)
  end)
end)

-- -------------------------------------------------------------- interruption

describe("an interrupted step", function()
  -- The step is asked to stop by itself, and then does not care.
  local function stubborn(body)
    local migration
    migration = migrations.with_step(function(ctx)
      migration:cancel()
      body(ctx)
    end)
    local raised = failure(migration.run, migration)
    local status = migration:status()
    migration:close()
    return raised, status
  end

  local loops = {
    ["in a loop"] = function() while true do end end,
    ["in a loop around pcall"] = function() while true do pcall(function() while true do end end) end end,
    ["in a coroutine"] = function() coroutine.wrap(function() while true do end end)() end,
    ["in pcall in a coroutine in a loop"] = function()
      while true do
        coroutine.wrap(function() while true do pcall(function() while true do end end) end end)()
      end
    end,
    ["around message handlers"] = function() while true do xpcall(error, function() return 1 end) end end,
    ["with closing variables"] = function()
      while true do
        pcall(function()
          local closing <close> = setmetatable({}, { __close = function() while true do end end })
          error(closing)
        end)
      end
    end,
    ["in calls of ctx"] = function(ctx) while true do pcall(ctx.check, ctx) end end,
    ["after swallowing it"] = function(ctx) pcall(ctx.check, ctx) end,
  }
  for name, body in pairs(loops) do
    it("ends " .. name, function()
      local raised, status = stubborn(body)
      assert.are.equal("INTERRUPTED", raised.code)
      assert.are.equal("interrupted", status.steps[1].status)
      assert.are.equal("1.0.0", status.current_version)
      assert.is_nil(status.lock)
    end)
  end

  it("takes along the migration that it runs", function()
    local limit, seen = 20, nil
    local outer
    outer = migrations.with_step(function()
      local inner <close> = migrations.with_step(function()
        outer:cancel()
        local began = os.time()
        while os.time() - began < limit do end
        seen = "the end of the loop"
      end)
      seen = failure(inner.run, inner).details.cause.code
    end)
    assert.are.equal("INTERRUPTED", failure(outer.run, outer).code)
    outer:close()
    assert.are.not_equal("the end of the loop", seen)
  end)

  it("leaves the host's hook as it was", function()
    local function hook() end
    debug.sethook(hook, "c", 12345)
    local migration <close> = migrations.with_step(function() end)
    migration:run()
    local now, mask, count = debug.gethook()
    debug.sethook()
    assert.are.equal(hook, now)
    assert.are.equal("c", mask)
    assert.are.equal(12345, count)
  end)

  it("ends by a signal, and a second signal ends the process", function()
    local script = ([[
      local migration = require("smartmigration").new {
        target_version = "1.1.0", mongo = { uri = %q, database = %q }, log = function() end }
      local process = require "smartmigration.process"
      migration:step("only"):from("1.0.0"):to("1.1.0"):up(function()
        io.stdout:write "stepping\n"
        io.stdout:flush()
        while true do
          if arg[1] == "sleep" then -- each sleep ends by one signal
            process.sleep_ms(60000)
            io.stdout:write "woken\n"
            io.stdout:flush()
            process.sleep_ms(60000)
          end
        end
      end)
      process.handle_signals(migration)
      local ok, problem = pcall(migration.run, migration)
      io.stdout:write(problem.code, " ", process.received_signal())
    ]])
    for signal, number in pairs { INT = 2, TERM = 15 } do
      local path = migrations.folder { ["script"] = script:format(server.uri, server.database()) }
      local command = { "lua5.4", "-e", ("package.cpath = %q"):format(build.cpath), path .. "/script" }
      local child = process.start(command)
      child:wait_for "stepping"
      child:kill(signal)
      local result = child:wait(20000)
      assert.are.equal("stepping\nINTERRUPTED " .. number, result.out)

      command[#command + 1] = "sleep"
      child = process.start(command)
      child:wait_for "stepping"
      child:kill(signal)
      child:wait_for "woken"
      child:kill(signal == "INT" and "TERM" or "INT")
      result = child:wait(20000)
      assert.are.equal(128 + (signal == "INT" and 15 or 2), result.status)
    end
  end)
end)

-- ------------------------------------------------------------------- process

describe("the binary", function()
  -- What a migration file of it sees.
  local function seen(expression, ...)
    local path = migrations.folder { ["1.lua"] = ("error('<' .. %s .. '>')"):format(expression) }
    local result = process.run { build.binary, "validate", "--offline", "--json", "--dir", path, ... }
    assert.are.equal(2, result.status, result.err)
    return result.out:match "<(.-)>"
  end

  it("does not search the current directory", function()
    local paths = ";" .. seen "package.path .. ';' .. package.cpath"
    assert.is_truthy(paths:find("/?.lua", 1, true), paths)
    assert.is_nil(paths:find(";./", 1, true), paths)
  end)

  it("dumps no core", function()
    local limit = seen "io.open('/proc/self/limits'):read('a'):match('Max core file size +(%w+ +%w+)')"
    assert.is_truthy(limit:find "^0 +0 *$", limit)
  end)

  it("hides a URI in the process list", function()
    local expression = "io.open('/proc/self/cmdline'):read('a'):gsub('%z', ' ')"
    local words = seen(expression, "--mongo-uri", "mongodb://u:hidden@127.0.0.1:1/x")
    assert.is_nil(words:find "hidden", words)
    assert.is_truthy(words:find "%-%-mongo%-uri %*+ ", words)
  end)
end)

describe("smartmigration.process", function()
  it("hashes", function()
    assert.are.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", system.sha256 "abc")
  end)

  it("knows clocks and terminals", function()
    local before = system.monotonic_ms()
    system.sleep_ms(5)
    assert.is_true(system.monotonic_ms() - before >= 5)
    local result = migrations.lua "local p = require 'smartmigration.process' print(p.isatty(1), p.terminal_width(1))"
    assert.are.equal("false\n", (result.out:gsub("%s*\n", "\n")))
  end)
end)
