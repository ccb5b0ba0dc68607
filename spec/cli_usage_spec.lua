-- The command line without a server: words, settings, config file, help, and the pages that list them.
local cli = require "spec.support.cli"
local process = require "spec.support.process"

local STEP = [[return { id = "a", from = "1.0.0", to = "1.1.0", description = "First", up = function(ctx) end }]]

local function refused(place, words, message)
  local result = place:run(words)
  assert.are.equal(2, result.status, result.err)
  assert.are.equal("", result.out)
  assert.is_truthy(result.err:find(message, 1, true), result.err)
  return result
end

describe("durations", function()
  it("are rounded for people", function()
    for ms, shown in pairs {
      [999] = "999 ms", [4786] = "4.8 s", [59949] = "59.9 s", [59950] = "1m 00s", [119600] = "2m 00s",
      [3599499] = "59m 59s", [3599500] = "1h 00m", [7229999] = "2h 00m",
    } do
      local text = ("package.path = 'lua/?.lua' print(require('smartmigration.durations').format(%d))"):format(ms)
      assert.are.equal(shown .. "\n", process.run({ "lua5.4", "-e", text }).out)
    end
  end)
end)

describe("words", function()
  local place <const> = cli.place { ["migrations/1.lua"] = STEP }
  teardown(function() place:close() end)

  it("names the way to help for every mistake", function()
    local result = refused(place, { "run", "--nonsense" }, "unknown option '--nonsense'")
    assert.is_truthy(result.err:find("try 'smartmigration-lua help run'", 1, true), result.err)
    refused(place, {}, "no command is given")
    refused(place, { "run", "now" }, "'run' does not take the argument 'now'")
    refused(place, { "run", "--lock-wait" }, "option '--lock-wait' requires an argument")
    refused(place, { "run", "--json=yes" }, "option '--json' does not take arguments")
    refused(place, { "help", "everything" }, "there is no command 'everything' to explain")
  end)

  it("answers --version and -v as it answers version", function()
    local out = place:run({ "version" }).out
    assert.is_truthy(out:find "^smartmigration%-lua %d")
    for _, word in ipairs { "--version", "-v" } do
      local result = place:run { word }
      assert.are.equal(0, result.status, result.err)
      assert.are.equal(out, result.out)
    end
  end)

  it("suggests what may have been meant", function()
    refused(place, { "run", "--lock-wiat", "5" }, "unknown option '--lock-wiat' (did you mean '--lock-wait'?)")
    refused(place, { "statsu" }, "unknown command 'statsu' (did you mean 'status'?)")
  end)

  it("says whose an option is", function()
    refused(place, { "run", "--check" }, "option '--check' does not belong to 'run' but to 'status'")
  end)

  it("takes an option that two commands have in the way of the one that is given", function()
    refused(place, { "run", "--force" }, "option '--force' does not belong to 'run' but to 'baseline'")
    refused(place, { "baseline", "1.0.0", "--force" }, "NO_RESOURCES")
    refused(place, { "--force", "x", "unlock" }, "NO_RESOURCES")
    refused(place, { "unlock", "--force" }, "option '--force' requires an argument")
    refused(place, { "baseline" }, "'baseline' needs an argument: VERSION")
    refused(place, { "unlock", "now" }, "'unlock' does not take the argument 'now'")
  end)

  it("takes options before and after the command", function()
    for _, words in ipairs { { "--json", "validate", "--offline" }, { "--offline", "validate", "--json" } } do
      assert.are.equal(1, place:run(words).json.steps)
    end
  end)

  it("fails as JSON where JSON was asked for", function()
    local result = place:run { "run", "--json", "--nonsense" }
    assert.are.equal(2, result.status)
    assert.are.equal("INVALID_OPTIONS", result.json.error.code)
    assert.are.equal("smartmigration-lua help run", result.json.error.details.help)
  end)

  it("does not repeat words that may hold a password", function()
    local result = refused(place, { "mongodb://ada:sesame@host/db" }, "unknown command")
    assert.is_nil(result.err:find("sesame", 1, true))
  end)
end)

describe("stdout", function()
  it("that cannot take the result makes a failure", function()
    local result = process.run { "sh", "-c", '"$0" version >/dev/full', cli.binary }
    assert.are.equal(1, result.status)
    assert.is_truthy(result.err:find("could not be written to stdout", 1, true), result.err)
  end)
end)

describe("version and help", function()
  local place <const> = cli.place {}
  teardown(function() place:close() end)

  it("says the version, and the libraries when asked", function()
    assert.are.equal("smartmigration-lua 0.1.0\n", place:run({ "version" }).out)
    assert.is_truthy(place:run({ "version", "--verbose" }).out:find "\nlibmongoc %d+%.%d+")
    assert.are.same({ smartmigration = "0.1.0" }, place:run({ "version", "--json" }).json)
    assert.is_string(place:run({ "version", "--verbose", "--json" }).json.lua)
  end)

  it("explains every command, with examples", function()
    local general = place:run { "help" }
    assert.are.equal(0, general.status)
    assert.are.equal(general.out, place:run({ "--help" }).out)
    for _, command in ipairs { "run", "plan", "status", "validate", "history", "baseline", "repair", "unlock", "checkpoint",
      "doctor", "version", "help" } do
      assert.is_truthy(general.out:find("\n  " .. command .. " ", 1, true), command)
      local result = place:run { "help", command }
      assert.are.equal(0, result.status)
      assert.is_truthy(result.out:find("Examples:\n  smartmigration-lua " .. command, 1, true), result.out)
      assert.are.equal(result.out, place:run({ command, "-h" }).out)
    end
  end)

  it("keeps within a terminal of ordinary width", function()
    for line in place:run({ "help", "status" }).out:gmatch "[^\n]+" do
      assert.is_true(utf8.len(line) <= 120, line)
    end
  end)
end)

describe("settings", function()
  local place <const> = cli.place { ["migrations/1.lua"] = STEP, ["other/1.lua"] = STEP:gsub("1%.1%.0", "2.0.0") }
  teardown(function() place:close() end)

  local function last_version(words)
    local command = { "validate", "--offline", "--json", env = words.env }
    table.move(words, 1, #words, #command + 1, command)
    local result = place:run(command)
    assert.are.equal(0, result.status, result.out)
    return result.json.toVersion
  end

  it("come from flag, environment, file, default, in this order", function()
    local config = place:write("settings.lua", [[return { migrations = env("FOLDER", "other") }]])
    assert.are.equal("1.1.0", last_version {})
    assert.are.equal("2.0.0", last_version { "-c", config })
    assert.are.equal("1.1.0", last_version { "-c", config, env = { FOLDER = "migrations" } })
    assert.are.equal("1.1.0", last_version { "-c", config, env = { SMARTMIGRATION_DIR = "migrations" } })
    assert.are.equal("2.0.0", last_version { "-c", config, env = { SMARTMIGRATION_DIR = "" } })
    local both = { SMARTMIGRATION_DIR = "migrations", SMARTMIGRATION_CONFIG = config }
    assert.are.equal("2.0.0", last_version { "-d", "other", env = both })
  end)

  it("refuse bad values, naming where they stand", function()
    refused(place, { "plan", "--lock-wait", "5 minutes" }, "--lock-wait: '5 minutes' is not a duration")
    refused(place, { "plan", "--lock-ttl", "forever" }, "--lock-ttl: 'forever' is not a duration")
    refused(place, { "plan", "--stop-timeout=-1" }, "--stop-timeout: '-1' is not a duration")
    local by_variable = { "plan", env = { SMARTMIGRATION_LOCK_TTL = "1d" } }
    refused(place, by_variable, "SMARTMIGRATION_LOCK_TTL: '1d' is not a duration")
    refused(place, { "plan", "--progress", "some" }, "--progress must be one of auto, always, never, not 'some'")
    refused(place, { "plan", "--mongo-uri", "mongodb://localhost/x", "--ledger-name", ".x" }, "ledger_name")
    refused(place, { "plan", "--mongo-uri", "mongodb://localhost/x", "--lock-ttl", "999ms" }, "lock_ttl_ms")
    refused(place, { "plan", "--mongo-uri", "mongodb://localhost/x", "--ledger", "s3" }, "LEDGER_BACKEND_MISMATCH")
    refused(place, { "plan", "--mongo-uri", "mongodb://localhost/x", "--target-strategy", "lax" },
      "INVALID_TARGET_VERSION_STRATEGY")
  end)

  it("refuse two ways to give the URI", function()
    refused(place, { "plan", "--mongo-uri", "mongodb://a/b", "--mongo-uri-file", "x" },
      "--mongo-uri and --mongo-uri-file are both given")
    refused(place, { "plan", "--mongo-uri-file", "not-there" }, "'not-there'")
    refused(place, { "plan", "--mongo-uri-file", "-" }, "no MongoDB URI in stdin")
    refused(place, { "plan", "--mongo-uri-file", "-", stdin = "mongodb://a\nmongodb://b\n" }, "one line")
  end)

  it("say that there is nothing to migrate", function()
    assert.is_truthy(refused(place, { "plan" }, "NO_RESOURCES").err:find("SMARTMIGRATION_MONGO_URI", 1, true))
  end)
end)

describe("the config file", function()
  local place <const> = cli.place { ["migrations/1.lua"] = STEP }
  teardown(function() place:close() end)

  local function with(content, message)
    place:write("smartmigration.config.lua", content)
    return refused(place, { "plan" }, message)
  end

  it("is data", function()
    with("return { migrations = os.tmpname() }", "smartmigration.config.lua:1: 'os' is not there")
    with("x = 1", "sets no variables")
    with("return {", "does not load")
    with("\27Lua", "does not load")
    with("return 'text'", "must return a table")
    with("return { lock = { ttl_ms = '60s' } }", "'lock.ttl_ms' must be a number of milliseconds")
    with("return { lock = { wait_ms = -1 } }", "not below 0")
    with("return { fresh_scope = 'users' }", "'fresh_scope' must be a table of strings")
    with("return { mongo = 'uri' }", "'mongo' must be a table")
  end)

  it("is never quoted where it may hold a password", function()
    for _, content in ipairs {
      "return { mongo = { uri = 'mongodb://ada:sesame@h } }\n", "return { mongo = ('mongodb://ada:sesame@h')() }",
    } do
      local shown = with(content, "smartmigration.config.lua:1: ")
      assert.is_nil((shown.out .. shown.err):find("sesame", 1, true), shown.err)
    end
  end)

  it("refuses unknown keys with a suggestion", function()
    with("return { mongo = { ur = 'x' } }", "unknown key 'mongo.ur' (did you mean 'mongo.uri'?)")
    with("return { target_verison = '1.0.0' }", "(did you mean 'target_version'?)")
    with("return { 'x' }", "unknown key '1'")
  end)

  it("must be there when it is named", function()
    refused(place, { "plan", "-c", "not-there.lua" }, "not-there.lua: No such file or directory")
    refused(place, { "plan", "-c", "." }, "cannot be read")
  end)
end)

describe("migration files", function()
  it("are looked for in a folder that must be there and hold a step", function()
    local place <close> = cli.place { ["empty/_shared.lua"] = "return {}" }
    local result = place:run { "validate", "--offline", "--json" }
    assert.are.equal(2, result.status)
    assert.are.equal("STEP_LOAD_FAILED", result.json.error.code)
    assert.is_truthy(result.json.error.message:find("migrations", 1, true))
    refused(place, { "validate", "--offline", "-d", "empty" }, "STEP_LOAD_FAILED")
  end)

  it("show where they fail to load", function()
    local place <close> = cli.place { ["migrations/1.lua"] = "return {\n  id = \n}" }
    refused(place, { "validate", "--offline" }, "1.lua:3:")
  end)

  it("make a chain", function()
    local place <close> = cli.place { ["migrations/1.lua"] = STEP,
      ["migrations/2.lua"] = [[return { id = "b", from = "1.2.0", to = "1.3.0", up = function() end }]] }
    local result = place:run { "validate", "--offline", "--json" }
    assert.are.equal(3, result.status)
    assert.are.equal("CHAIN_NOT_CONTIGUOUS", result.json.error.code)
  end)

  it("are sound", function()
    local place <close> = cli.place { ["migrations/1.lua"] = STEP }
    assert.are.equal("1 step, chain 1.0.0 -> 1.1.0 is sound.\n", place:run({ "validate", "--offline" }).out)
  end)
end)

describe("the pages", function()
  local function read(path)
    local file <close> = assert(io.open(path))
    return file:read "a"
  end

  it("list every setting", function()
    local page = read "docs/configuration.md"
    local settings = dofile "lua/smartmigration/settings.lua"
    for _, setting in ipairs(settings) do
      if setting.env then
        local value = setting.value and " " .. setting.value:gsub("|", "\\|") or ""
        local flag = setting.flag and ("`%s%s%s`"):format(setting.short and setting.short .. ", " or "", setting.flag, value)
        local row = ("| %s | %s | `%s` | %s |"):format(setting.path and "`" .. setting.path .. "`" or "-", flag or "-",
          setting.env, setting.default)
        assert.is_truthy(page:find(row, 1, true), row)
        assert.is_nil(setting.env:find "_PORT$" or setting.env:find "_HOST$", setting.env)
      elseif setting.flag then
        assert.is_truthy(page:find(setting.flag, 1, true), setting.flag)
      elseif setting.path then
        local row = ("| `%s` | - | - | %s |"):format(setting.path, setting.default)
        assert.is_truthy(page:find(row, 1, true), row)
      end
    end
  end)

  it("list every code with its exit code", function()
    local page, count = read "docs/exit-codes.md", 0
    for name, exit, text in read("engine/include/smartmigration.h"):gmatch 'X%(([%u_]+), (%d+), "([^"]+)"%)' do
      local row = ("| `%s` | %s | %s |"):format(name, name == "INTERRUPTED" and exit .. " or 143" or exit, text)
      assert.is_truthy(page:find(row, 1, true), row)
      count = count + 1
    end
    assert.is_true(count > 25)
  end)
end)
