-- `init`: the files of a new project, and that they do what they are for.
local cli = require "spec.support.cli"
local process = require "spec.support.process"
local server = require "spec.support.server"

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function luacheck(place)
  return process.run { "luacheck", "--no-color", ".", cwd = place.folder }
end

local function annotations()
  local names = {}
  for path in process.run({ "find", "lua/library", "-name", "*.lua" }).out:gmatch "[^\n]+" do
    names[#names + 1] = ".smartmigration/" .. path:match "^lua/(.*)$"
  end
  table.sort(names)
  return names
end

describe("init", function()
  it("writes a project", function()
    local place <close> = cli.place {}
    local result = place:run { "init" }
    assert.are.equal(0, result.status, result.err)
    local expected = { "smartmigration.config.lua", "migrations/0001-lowercase-emails.lua", ".luarc.json", ".luacheckrc" }
    table.move(annotations(), 1, #annotations(), #expected + 1, expected)
    assert.are.equal("wrote " .. table.concat(expected, "\nwrote ") .. "\n", result.out)
    assert.are.equal([[
-- Settings of smartmigration-lua. Flags and environment variables go before them.
return {
  migrations = "migrations",
  -- Where the data is comes from SMARTMIGRATION_MONGO_URI and SMARTMIGRATION_S3_BUCKET. What is no secret may stand
  -- here, too:
  --   mongo = { uri = "mongodb://localhost:27017/app?replicaSet=rs0" },
  --   s3 = { bucket = "uploads" },
  -- Data without a ledger is not touched: `smartmigration-lua baseline VERSION` says what version it has.
  unversioned_data = "refuse",
}
]], read(place.folder .. "/smartmigration.config.lua"))
    assert.are.equal([[
{
  "runtime.version": "Lua 5.4",
  "workspace.library": [".smartmigration/library"],
  "workspace.checkThirdParty": false,
  "diagnostics.globals": ["env"]
}
]], read(place.folder .. "/.luarc.json"))
    assert.is_table(cli.parse(read(place.folder .. "/.luarc.json")))
    assert.are.equal([[
std = "lua54"
exclude_files = { ".smartmigration" }
files["smartmigration.config.lua"] = { read_globals = { "env" } }
files["migrations"] = { std = "lua54", allow_defined_top = true, max_line_length = false }
]], read(place.folder .. "/.luacheckrc"))
    for _, path in ipairs(annotations()) do
      assert.are.equal(read("lua" .. path:match "^%.smartmigration(.*)$"), read(place.folder .. "/" .. path))
    end
  end)

  it("writes what luacheck passes, with the steps that new writes", function()
    local place <close> = cli.place {}
    place:run { "init" }
    for _, name in ipairs { "split-name", "Ada's \"step\"", ("long"):rep(32) } do
      assert.are.equal(0, place:run({ "new", name }).status)
    end
    place:write("migrations/0009-globals.lua", "function helper() return 1 end\n"
      .. "return { id = 'g', from = '1.4.0', to = '1.5.0', up = function(ctx) ctx.log:info(helper()) end }\n")
    local checked = luacheck(place)
    assert.are.equal(0, checked.status, checked.out)
    assert.is_truthy(checked.out:find "0 warnings / 0 errors in 6 files", checked.out)
    -- It looks: a name that nothing defines is found.
    place:write("migrations/0010-wrong.lua",
      "return { id = 'w', from = '1.5.0', to = '1.6.0', up = function(ctx) user = ctx end }\n")
    assert.are.equal(1, luacheck(place).status)
  end)

  it("writes an example that runs, twice too", function()
    local place <close> = cli.place({}, { env = { SMARTMIGRATION_MONGO_URI = server.uri,
      SMARTMIGRATION_MONGO_DB = server.database() } })
    place:run { "init" }
    local users = server.open(place.env.SMARTMIGRATION_MONGO_DB):collection "example_users"
    local ledgerless = place:run { "run", "--json" }
    assert.are.equal(0, ledgerless.status, ledgerless.out .. ledgerless.err)
    assert.are.equal("1.1.0", ledgerless.json.currentVersionAfter)
    users:insert_one { email = "Ada@Example.COM" }
    assert.are.equal(0, place:run({ "repair", "--rerun", "lowercase-emails" }).status)
    assert.are.equal("ada@example.com", users:find_one().email)
  end)

  it("refuses data without a ledger, as its config says", function()
    local place <close> = cli.place({}, { env = { SMARTMIGRATION_MONGO_URI = server.uri,
      SMARTMIGRATION_MONGO_DB = server.database() } })
    server.open(place.env.SMARTMIGRATION_MONGO_DB):collection("users"):insert_one { email = "Ada@Example.COM" }
    place:run { "init" }
    local result = place:run { "run", "--json" }
    assert.are.equal(2, result.status)
    assert.are.equal("UNVERSIONED_DATA", result.json.error.code)
    assert.are.equal(0, place:run({ "baseline", "1.0.0" }).status)
    assert.are.equal(0, place:run({ "run" }).status)
  end)

  it("keeps what is there", function()
    local place <close> = cli.place {
      ["smartmigration.config.lua"] = "return { migrations = 'steps' }\n", [".luarc.json"] = "{}\n",
      [".luacheckrc"] = "std = 'max'\n", ["steps/1.lua"] = "return { id = 'mine', from = '1.0.0', to = '1.1.0', up = print }\n",
      [".smartmigration/library/smartmigration/bson.lua"] = "-- mine\n",
    }
    local result = place:run { "init" }
    assert.are.equal(0, result.status, result.err)
    assert.is_truthy(result.out:find("kept  smartmigration.config.lua\nkept  .luarc.json\nkept  .luacheckrc\n"
      .. "kept  .smartmigration/library/smartmigration/bson.lua\n"
      .. ".luacheckrc is yours; migrations need these lines in it:\n"
      .. '  exclude_files = { ".smartmigration" }\n'
      .. '  files["smartmigration.config.lua"] = { read_globals = { "env" } }\n'
      .. '  files["steps"] = { std = "lua54", allow_defined_top = true, max_line_length = false }\n', 1, true), result.out)
    assert.are.equal("std = 'max'\n", read(place.folder .. "/.luacheckrc"))
    assert.are.equal("{}\n", read(place.folder .. "/.luarc.json"))
    assert.are.equal("-- mine\n", read(place.folder .. "/.smartmigration/library/smartmigration/bson.lua"))
    assert.are.equal("1.lua\n", process.run({ "ls", "-A", place.folder .. "/steps" }).out)
    local again = place:run { "init", "--json" }
    assert.are.same({}, again.json.written)
    assert.are.equal(3 + #annotations(), #again.json.kept)
  end)

  it("makes the folder that is asked for", function()
    local place <close> = cli.place {}
    local result = place:run { "init", "-d", "db/steps/", "-c", "app.lua", "--json" }
    assert.are.equal(2, result.status) -- a config file that is named must be there
    result = place:run { "init", "-d", "db/my steps", "--json" }
    assert.are.equal("db/my steps/0001-lowercase-emails.lua", result.json.written[2])
    assert.is_truthy(read(place.folder .. "/smartmigration.config.lua"):find('migrations = "db/my steps"', 1, true))
    assert.are.equal(0, place:run({ "validate", "--offline" }).status)
    assert.are.equal(0, luacheck(place).status)
  end)

  it("says what stands in its way", function()
    local place <close> = cli.place { migrations = "a file" }
    local result = place:run { "init" }
    assert.are.equal(2, result.status)
    assert.is_truthy(result.err:find("cannot make the folder migrations: Not a directory", 1, true), result.err)
    assert.is_nil(io.open(place.folder .. "/smartmigration.config.lua"))
    assert.are.equal("INVALID_OPTIONS", place:run({ "init", "--json" }).json.error.code)
    assert.is_truthy(place:run({ "init", "here" }).err:find("'init' does not take the argument 'here'", 1, true))
  end)
end)
