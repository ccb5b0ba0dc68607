-- Completion in real shells, and the man page: both are made of the tables that --help is made of.
local build = require "spec.support.build"
local cli = require "spec.support.cli"
local process = require "spec.support.process"
local shells = require "spec.support.shells"

local COMMANDS <const> = dofile "lua/smartmigration/cli/commands.lua"
local SETTINGS <const> = dofile "lua/smartmigration/settings.lua"

local function step(id, from, to)
  return ("return { id = %q, from = %q, to = %q, up = function(ctx) end }"):format(id, from, to)
end

local function sorted(list)
  table.sort(list)
  return list
end

-- The long options that stand behind a command (nil: before any).
local function flags_of(command)
  local flags, seen = {}, {}
  for _, setting in ipairs(SETTINGS) do
    local owned = not setting.commands
    for _, owner in ipairs(setting.commands or {}) do owned = owned or owner == command end
    if setting.flag and owned and not seen[setting.flag] then
      seen[setting.flag] = true
      flags[#flags + 1] = setting.flag
    end
  end
  return sorted(flags)
end

describe("completion", function()
  local place <const> = cli.place {
    ["migrations/1-a.lua"] = step("lowercase-emails", "1.0.0", "1.1.0"), ["migrations/2-b.lua"] = step("it's 2", "1.1.0",
      "1.2.0"),
    ["other/1.lua"] = step("elsewhere", "1.0.0", "1.1.0"), ["settings.lua"] = "return { migrations = 'other' }",
  }
  teardown(function() place:close() end)

  -- Each row: a line without the program's name, and what every shell has to offer at its end.
  local function asked(rows)
    local lines = {}
    for i, row in ipairs(rows) do lines[i] = "smartmigration-lua " .. row[1] end
    for _, shell in ipairs { "bash", "zsh", "fish" } do
      for i, found in ipairs(shells[shell](place, lines)) do
        -- fish offers `--color=never` whole and a folder with its slash, bash and zsh quote what has to be.
        for at, word in ipairs(found) do found[at] = word:gsub("^%-%-[%w-]+=", ""):gsub("/$", ""):gsub("\\", "") end
        assert.are.same(rows[i][2], sorted(found), ("%s: '%s'"):format(shell, lines[i]))
      end
    end
  end

  it("offers every command", function()
    local names = {}
    for i, command in ipairs(COMMANDS) do names[i] = command.name end
    sorted(names)
    asked {
      { "", names }, { "--json ", names }, { "-d other ", names }, { "--dir=other sta", { "status" } }, { "nothing-such", {} },
    }
  end)

  it("offers the options of the command and the general ones, before and behind it", function()
    local rows = { { "--", flags_of(nil) } }
    for _, command in ipairs(COMMANDS) do rows[#rows + 1] = { command.name .. " --", flags_of(command.name) } end
    asked(rows)
    asked {
      { "run --dry", { "--dry-run" } }, { "plan --dry", {} }, { "--color never run --exit", {} },
      { "--color never plan --exit", { "--exit-code" } }, { "baseline 1.0.0 --for", { "--force" } },
    }
  end)

  it("offers the choices of an option and of an argument", function()
    asked {
      { "--color ", { "always", "auto", "never" } }, { "run --color=n", { "never" } },
      { "run --log-level=", { "debug", "error", "info", "warn" } }, { "new it --bump m", { "major", "minor" } },
      { "--unversioned-data ", { "assume", "refuse" } }, { "completion ", { "bash", "fish", "zsh" } },
      { "checkpoint ", { "clear", "list", "show" } }, { "help comp", { "completion" } },
      { "--s3-sse ", { "AES256", "aws:kms" } }, { "--s3-path-style pl", { "plan" } },
    }
  end)

  it("offers nothing where anything may stand", function()
    asked { { "--ledger-name ", {} }, { "--ledger-id ", {} }, { "baseline ", {} }, { "unlock --force ", {} } }
  end)

  it("offers files and folders", function()
    asked { { "-c s", { "settings.lua" } }, { "run -d ", { "migrations", "other" } } }
  end)

  it("offers the ids of the folder that the line names", function()
    asked {
      { "repair --rerun ", { "it's 2", "lowercase-emails" } }, { "repair --mark-applied l", { "lowercase-emails" } },
      { "checkpoint show ", { "it's 2", "lowercase-emails" } }, { "-d other repair --rerun ", { "elsewhere" } },
      { "--config settings.lua checkpoint clear ", { "elsewhere" } }, { "-d nowhere repair --rerun ", {} },
    }
  end)

  it("prints the ids for the scripts", function()
    local result = place:run { "completion", "steps" }
    assert.are.equal(0, result.status)
    assert.are.equal("lowercase-emails\nit's 2\n", result.out)
    assert.are.same({ steps = { "elsewhere" } }, place:run({ "completion", "steps", "--json", "-d", "other" }).json)
    local failed = place:run { "completion", "steps", "-d", "nowhere" }
    assert.are.equal(2, failed.status)
    assert.are.equal("", failed.out)
  end)

  it("prints a script that the shell takes, with --json too", function()
    for _, shell in ipairs { "bash", "zsh", "fish" } do
      local result = place:run { "completion", shell }
      assert.are.equal(0, result.status, result.err)
      assert.are.equal(result.out, place:run({ "completion", shell, "--json" }).json.script .. "\n")
      local checked = process.run { shell, "-n", place:write("script." .. shell, result.out) }
      assert.are.equal(0, checked.status, checked.err)
      assert.are.equal("", checked.err)
    end
  end)

  it("costs other commands nothing: what it stands on is not loaded for them", function()
    local loaded = [[
      require "smartmigration"
      require("smartmigration.cli").main(arg)
      for name in pairs(package.loaded) do io.stderr:write(name, "\n") end]]
    local function load(word, argument)
      local result = process.run { "lua5.4", "-e", ("package.cpath = %q"):format(build.cpath), "-e", loaded, "-", word, argument }
      return result.err
    end
    local own = "smartmigration%.cli%.words\n"
    assert.is_truthy(load("completion", "bash"):find(own))
    local version = load "version"
    assert.is_truthy(version:find "smartmigration%.cli%.version\n", version)
    for _, name in ipairs { own, "smartmigration%.cli%.library\n", "smartmigration%.cli%.new",
      "smartmigration%.cli%.help_text\n" } do
      assert.is_nil(version:find(name), version)
    end
  end)

  it("refuses other shells", function()
    local result = place:run { "completion", "zhs" }
    assert.are.equal(2, result.status)
    assert.is_truthy(result.err:find("completion is for bash, zsh and fish, not 'zhs' (did you mean 'zsh'?)", 1, true),
      result.err)
    assert.are.equal(2, place:run({ "completion" }).status)
    assert.are.equal("INVALID_OPTIONS", place:run({ "completion", "tcsh", "--json" }).json.error.code)
  end)
end)

describe("the man page", function()
  local path <const> = build.folder .. "/smartmigration-lua.1"

  it("is sound roff", function()
    local result = process.run { "mandoc", "-T", "lint", "-W", "warning", path }
    assert.are.equal(0, result.status, result.out .. result.err)
  end)

  it("tells of every command, option and variable, with the words of help", function()
    local shown = process.run { "mandoc", "-T", "utf8", "-O", "width=1000", path }
    assert.are.equal(0, shown.status, shown.err)
    local page = shown.out:gsub(".\b", ""):gsub("%s+", " ")
    for _, command in ipairs(COMMANDS) do
      assert.is_truthy(page:find(command.text:gsub("`", ""):gsub("%s+", " "), 1, true), command.name)
      for _, example in ipairs(command.examples) do assert.is_truthy(page:find(example:gsub("%s+", " "), 1, true), example) end
    end
    for _, setting in ipairs(SETTINGS) do
      if setting.flag then
        local line = setting.flag .. (setting.value and " " .. setting.value or "") .. " " .. setting.help:gsub("`", "")
        assert.is_truthy(page:find(line, 1, true), line)
      end
      assert.is_truthy(not setting.env or page:find(setting.env, 1, true), setting.env)
    end
    for _, code in ipairs { 0, 1, 2, 3, 4, 5, 6, 10, 130, 143 } do
      assert.is_truthy(page:match("EXIT STATUS.*" .. code .. " %l"), "exit code " .. code)
    end
  end)
end)
