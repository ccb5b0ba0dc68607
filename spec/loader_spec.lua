-- Loading of migration files: which, in which order, in which environment, and what is said about those that fail.
local migrations = require "spec.support.migrations"
local server = require "spec.support.server"
local smartmigration = require "smartmigration"
local system = require "smartmigration.process"

local failure, offline = migrations.failure, migrations.offline

local function load_failure(files)
  local raised = failure(function()
    return offline():load(migrations.folder(files))
  end)
  assert.are.equal("STEP_LOAD_FAILED", raised.code)
  return raised
end

teardown(migrations.clean)

-- ------------------------------------------------------------------- loading

describe("loading", function()
  it("takes files in natural order and skips what is no step", function()
    local path = migrations.folder {
      ["10-d.lua"] = migrations.text("d", "1.3.0", "1.4.0"), ["2-b.lua"] = migrations.text("b", "1.1.0", "1.2.0"),
      ["02-c.lua"] = migrations.text("c", "1.2.0", "1.3.0"), ["1-a.lua"] = migrations.text("a", "1.0.0", "1.1.0"),
      ["_helper.lua"] = "error 'not a step'", [".hidden.lua"] = "error 'not a step'", ["notes.txt"] = "not Lua",
      ["lib/x.lua"] = "error 'not a step'",
    }
    local migration = offline():load(path .. "/")
    assert.are.equal("a b c d", migrations.ids(migration))
  end)

  it("lists a folder in natural order", function()
    local path = migrations.folder {
      ["a10"] = "", ["a9"] = "", ["a09"] = "", ["a09b"] = "", ["A"] = "", ["b99999999999999999999999"] = "",
      ["b100000000000000000000000"] = "",
    }
    local names, types = system.list_directory(path)
    assert.are.same({
      "A", "_shared", "a09", "a9", "a09b", "a10", "b99999999999999999999999", "b100000000000000000000000", "lib",
    }, names)
    assert.are.equal("file", types[1])
    assert.are.equal("directory", types[2])
    local none, message = system.list_directory(path .. "/none")
    assert.is_nil(none)
    assert.is_truthy(message:find "No such file")
  end)

  it("takes a step, a list and the builder", function()
    local path = migrations.folder {
      ["1.lua"] = migrations.text("a", "1.0.0", "1.1.0"),
      ["2.lua"] = [[return { { id = "b", from = "1.1.0", to = "1.2.0", up = function() end },
                             { id = "c", from = "1.2.0", to = "1.3.0", up = function() end } }]],
      ["3.lua"] = [[local migration = ...
        migration:step("d"):from("1.3.0"):to("1.4.0"):up(function() end)
                 :step("e"):from("1.4.0"):to("1.5.0"):up(function() end)]],
      ["4.lua"] = [[return (...):step("f"):from("1.5.0"):to("1.6.0"):up(function() end)]],
    }
    local migration = offline():load(path)
    assert.are.equal("a b c d e f", migrations.ids(migration))
    assert.are.equal(6, migration:validate().steps)
  end)

  it("refuses a file that does neither, naming it", function()
    for text, message in pairs {
      [""] = "registers no step", ["return {}"] = "registers no step", ["return 1"] = "returns a number",
      ["return { 1 }"] = "entry 1 of the list is a number", ["(...):step 'a'"] = "step 'a' has no up",
      ["return { { id = 'a' }, extra = 1 }"] = "must not have the key 'extra'",
    } do
      local raised = load_failure { ["1-bad.lua"] = text }
      assert.is_truthy(raised.message:find(message, 1, true), raised.message)
      assert.is_truthy(raised.message:find("1-bad.lua", 1, true), raised.message)
      assert.is_truthy(raised.details.file:find "/1%-bad%.lua$")
    end
  end)

  it("names file and line of errors", function()
    local raised = load_failure { ["1.lua"] = "local a = 1\nreturn {" }
    assert.are.equal(2, raised.details.line)
    assert.is_truthy(raised.message:find("/1.lua:2: ", 1, true))
    raised = load_failure { ["1.lua"] = "\n\nerror 'no way'" }
    assert.are.equal(3, raised.details.line)
    assert.is_truthy(raised.message:find "/1%.lua:3: no way$")
    raised = load_failure { ["1.lua"] = migrations.text("a", "1.0.0", "1.1.0"):gsub("up =", "pu =") }
    assert.is_truthy(raised.message:find("unknown key 'pu' (did you mean 'up'?)", 1, true), raised.message)
  end)

  it("names the whole path however long it is", function()
    local path = migrations.folder {}
    local long = path .. "/" .. ("folder"):rep(20)
    os.execute("mkdir '" .. long .. "'")
    local file <close> = assert(io.open(long .. "/1.lua", "w"))
    file:write "error 'here'"
    file:close()
    local raised = failure(offline().load, offline(), long)
    assert.are.equal(long .. "/1.lua:1: here", raised.message)
    assert.are.equal(1, raised.details.line)
  end)

  it("gives the chain's errors the place of up", function()
    local migration = offline():load(migrations.folder {
      ["1.lua"] = migrations.text("a", "1.0.0", "1.1.0"),
      ["2.lua"] = 'return {\n  id = "b", from = "1.5.0", to = "1.6.0",\n  up = function() end }',
    })
    local raised = failure(migration.validate, migration)
    assert.are.equal("CHAIN_NOT_CONTIGUOUS", raised.code)
    assert.is_truthy(raised.details.file:find "/2%.lua$")
    assert.are.equal(3, raised.details.line)
  end)

  it("refuses folders that are missing, empty or no folder, and links that lead nowhere", function()
    assert.are.equal("STEP_LOAD_FAILED", failure(offline().load, offline(), "/nowhere/at/all").code)
    assert.is_truthy(load_failure({ ["_a.lua"] = "" }).message:find "holds no migration files")
    assert.are.equal("STEP_LOAD_FAILED", failure(offline().load, offline(), nil).code)
    local path = migrations.folder { ["1.lua"] = migrations.text("a", "1.0.0", "1.1.0") }
    assert.are.equal("STEP_LOAD_FAILED", failure(offline().load, offline(), path .. "/1.lua").code)
    os.execute(("ln -s /nowhere '%s/2.lua'"):format(path))
    assert.is_truthy(failure(offline().load, offline(), path).message:find "2%.lua")
  end)

  it("will not be used after a failed load", function()
    local migration = offline()
    local first = failure(migration.load, migration,
      migrations.folder { ["1.lua"] = migrations.text("a", "1.0.0", "1.1.0"), ["2.lua"] = "error 'late'" })
    assert.are.equal(first, failure(migration.validate, migration))
  end)

  it("skips a byte order mark and a first line for the shell", function()
    local raised = load_failure { ["1.lua"] = "\xEF\xBB\xBF#!/usr/bin/lua\nerror 'line two'" }
    assert.are.equal(2, raised.details.line)
    local path = migrations.folder { ["1.lua"] = "\xEF\xBB\xBF" .. migrations.text("a", "1.0.0", "1.1.0") }
    assert.are.equal("a", migrations.ids(offline():load(path)))
  end)

  it("refuses bytecode", function()
    local raised = load_failure { ["1.lua"] = string.dump(load(migrations.text("a", "1.0.0", "1.1.0"))) }
    assert.is_truthy(raised.message:find "binary chunk")
  end)

  it("keeps the cause of an error object", function()
    local raised = load_failure { ["1.lua"] = "require('smartmigration').new { targte_version = 1 }" }
    assert.are.equal("INVALID_OPTIONS", raised.details.cause.code)
    assert.is_truthy(raised.details.cause.traceback:find "1%.lua:1:")
  end)

  it("records a checksum that does not know line ends and byte order marks", function()
    local text = "-- a step\nreturn { id = 'only', from = '1.0.0', to = '1.1.0', up = function() end }\n"
    for _, variant in ipairs { text, (text:gsub("\n", "\r\n")), (text:gsub("\n", "\r")), "\xEF\xBB\xBF" .. text } do
      local name = server.database()
      local migration <close> = smartmigration.new { target_version = "1.1.0", mongo = { uri = server.uri, database = name } }
      migration:load(migrations.folder { ["1.lua"] = variant }):run()
      local ledger = server.open(name):collection("SmartdataEasyStore"):find_one {}
      assert.are.equal("sha256:" .. system.sha256(text), ledger.data.steps.only.checksum)
    end
  end)

  it("loads 500 files within 60 us each", function()
    local files = {}
    for i = 1, 500 do
      files[("%04d.lua"):format(i)] = migrations.text("step" .. i, "1." .. i .. ".0", "1." .. i + 1 .. ".0")
    end
    local path = migrations.folder(files)
    local best = math.huge
    for _ = 1, 5 do
      local migration <close> = offline()
      local began = os.clock()
      migration:load(path):validate()
      best = math.min(best, os.clock() - began)
    end
    -- The build under test may be one with sanitizers; the benchmark has the figure that counts.
    assert.is_true(best / 500 < 600e-6, best)
  end)
end)

-- -------------------------------------------------------------- environments

describe("a file's environment", function()
  it("keeps globals in the file", function()
    local path = migrations.folder {
      ["1.lua"] = "shared = 1; local function get() return shared end assert(get() == 1 and _G.shared == 1) "
        .. migrations.text("a", "1.0.0", "1.1.0"),
      ["2.lua"] = "assert(rawget(_ENV, 'shared') == nil) local ok = pcall(function() return shared end) assert(not ok) "
        .. migrations.text("b", "1.1.0", "1.2.0"),
    }
    assert.are.equal("a b", migrations.ids(offline():load(path)))
    assert.is_nil(rawget(_G, "shared"))
  end)

  it("raises for undefined and undeclared names, with the line", function()
    local raised = load_failure { ["1.lua"] = "\nlocal x = undefnied" }
    assert.is_truthy(raised.message:find "1%.lua:2: variable 'undefnied' is not defined")
    raised = load_failure { ["1.lua"] = "local function f()\n  stray = 1\nend f()" }
    assert.is_truthy(raised.message:find "1%.lua:2: assignment to undeclared variable 'stray': make it local")
    assert.is_nil(rawget(_G, "stray"))
  end)

  it("lets a name declared as nil be read and set", function()
    local path = migrations.folder { ["1.lua"] = "later = nil local function f() local was = later later = 2 return was end "
      .. "assert(f() == nil and later == 2) " .. migrations.text("a", "1.0.0", "1.1.0") }
    assert.are.equal("a", migrations.ids(offline():load(path)))
  end)

  it("requires from the folder, its lib, what is compiled in, and the host", function()
    local path = migrations.folder {
      ["1.lua"] = [[
        assert(require "_shared.x" == "x" and require "y" == "y of lib" and require "_z" == "z of folder")
        assert(require "smartmigration.bson" and require "string" == string)
        local same, file = require "y"
        assert(file:find "lib/y%.lua$")
      ]] .. migrations.text("a", "1.0.0", "1.1.0"),
      ["_shared/x.lua"] = "local name, file = ... assert(name == '_shared.x' and file:find 'x%.lua$') return 'x'",
      ["lib/y.lua"] = "return 'y of lib'", ["_z.lua"] = "return 'z of folder'", ["lib/_z.lua"] = "return 'z of lib'",
      ["smartmigration.lua"] = migrations.text("b", "1.1.0", "1.2.0"),
    }
    assert.are.equal("a b", migrations.ids(offline():load(path)))
    assert.is_nil(package.loaded.y)
  end)

  it("loads modules once a run, not once a process", function()
    local path = migrations.folder {
      ["1.lua"] = "require('count').n = require('count').n + 1 " .. migrations.text("a", "1.0.0", "1.1.0"),
      ["2.lua"] = "assert(require('count').n == 1) " .. migrations.text("b", "1.1.0", "1.2.0"),
      ["lib/count.lua"] = "return { n = 0 }",
    }
    for _ = 1, 2 do
      assert.are.equal("a b", migrations.ids(offline():load(path)))
    end
  end)

  it("says where a module was sought, and not in the current directory", function()
    local raised = load_failure { ["1.lua"] = "require 'spec.host_spec'" }
    assert.is_truthy(raised.message:find("module 'spec.host_spec' not found:", 1, true), raised.message)
    assert.is_truthy(raised.message:find("/lib/spec/host_spec.lua'", 1, true))
    assert.is_nil(raised.message:find("'./", 1, true))
    assert.is_truthy(package.path:find("./?.lua", 1, true))
  end)

  it("finds modules that require each other and modules that fail", function()
    local raised = load_failure { ["1.lua"] = "require 'a'", ["lib/a.lua"] = "require 'b'", ["lib/b.lua"] = "require 'a'" }
    assert.is_truthy(raised.message:find("requires itself", 1, true))
    raised = load_failure { ["1.lua"] = "require 'a'", ["lib/a.lua"] = "x =" }
    assert.is_truthy(raised.message:find("error loading module 'a'", 1, true))
    raised = load_failure { ["1.lua"] = "require 'a'", ["lib/a.lua"] = "stray.x = 1" }
    assert.is_truthy(raised.message:find "lib/a%.lua:1: variable 'stray' is not defined")
  end)

  it("has no os.exit and no debug.sethook, and gives the host its own back", function()
    local exit, sethook, out = os.exit, debug.sethook, print
    assert.is_truthy(load_failure({ ["1.lua"] = "os.exit(0)" }).message:find "os.exit is not for migration files")
    assert.is_truthy(load_failure({ ["1.lua"] = "local exit = os.exit exit(0)" }).message:find "os.exit is not")
    assert.is_truthy(load_failure({ ["1.lua"] = "debug.sethook()" }).message:find "debug.sethook is not for")
    assert.are.equal(exit, os.exit)
    assert.are.equal(sethook, debug.sethook)
    assert.are.equal(out, print)
  end)

  it("prints to the log", function()
    local lines = {}
    local path = migrations.folder { ["1.lua"] = "print('loading', 1, nil) " .. migrations.text("a", "1.0.0", "1.1.0") }
    offline { log = function(level, message) lines[#lines + 1] = level .. " " .. message end }:load(path)
    assert.are.same({ "info loading 1 nil" }, lines)
  end)
end)
