-- `new`: the next file of a folder. No server is asked: none is given.
local cli = require "spec.support.cli"
local process = require "spec.support.process"

local function step(id, from, to)
  return ("return { id = %q, from = %q, to = %q, up = function(ctx) end }\n"):format(id, from, to)
end

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function names(folder)
  return process.run({ "ls", "-A", folder }).out
end

-- Runs `new` and insists that nothing was written.
local function refused(place, words, status, message)
  local before = process.run({ "find", place.folder, "-type", "f" }).out
  local result = place:run(words)
  assert.are.equal(status, result.status, result.out .. result.err)
  assert.is_truthy(result.err:find(message, 1, true), result.err)
  assert.are.equal("", result.out)
  assert.are.equal(before, process.run({ "find", place.folder, "-type", "f" }).out)
  return result
end

describe("new", function()
  it("writes the next step", function()
    local place <close> = cli.place { ["migrations/0001-a.lua"] = step("a", "1.0.0", "1.4.2") }
    local result = place:run { "new", "split-name" }
    assert.are.equal(0, result.status, result.err)
    assert.are.equal("migrations/0002-split-name.lua: from 1.4.2 to 1.5.0\n", result.out)
    assert.are.equal([[
---@type smartmigration.step
return {
  id = "split-name",
  from = "1.4.2",
  to = "1.5.0",
  description = "Split name",
  up = function(ctx)
    -- A step may run more than once, after a crash for one: write what can be done again.
    error(("step '%s' is not written yet"):format(ctx.step.id))
  end,
}
]], read(place.folder .. "/migrations/0002-split-name.lua"))
    assert.are.equal(0, place:run({ "validate", "--offline" }).status)
  end)

  it("prints JSON", function()
    local place <close> = cli.place { ["migrations/1.lua"] = step("a", "1.0.0", "1.1.0") }
    assert.are.equal(
      '{"file":"migrations/2-b.lua","id":"b","fromVersion":"1.1.0","toVersion":"2.0.0"}\n',
      place:run({ "new", "b", "--bump", "major", "--json" }).out)
    assert.are.equal("DUPLICATE_STEP_ID", place:run({ "new", "b", "--json" }).json.error.code)
  end)

  it("writes the first step of an empty folder", function()
    local place <close> = cli.place { ["migrations/_shared.lua"] = "return {}", ["migrations/lib/x.lua"] = "return {}" }
    assert.are.equal("migrations/0001-first.lua: from 1.0.0 to 1.1.0\n", place:run({ "new", "first" }).out)
    assert.are.equal("migrations/0002-second.lua: from 1.1.0 to 1.1.1\n", place:run({ "new", "second", "--bump", "patch" }).out)
  end)

  it("raises the version as semver does", function()
    for _, row in ipairs {
      { "1.2.3", "patch", "1.2.4" }, { "1.2.3", "minor", "1.3.0" }, { "1.2.3", "major", "2.0.0" },
      { "2.0.0-rc.1", "patch", "2.0.0" }, { "2.0.0-rc.1", "minor", "2.0.0" }, { "2.0.0-rc.1", "major", "2.0.0" },
      { "2.1.0-rc.1", "major", "3.0.0" }, { "2.1.1-rc.1", "minor", "2.2.0" }, { "v1.2.3+build.5", "patch", "1.2.4" },
    } do
      local place <close> = cli.place { ["migrations/1.lua"] = step("a", "0.1.0", row[1]) }
      local result = place:run { "new", "b", "--bump", row[2], "--json" }
      assert.are.equal(row[3], result.json.toVersion, row[1] .. " " .. row[2])
      assert.are.equal(0, place:run({ "validate", "--offline" }).status)
    end
  end)

  it("takes the version that is given, if the chain can go on there", function()
    local place <close> = cli.place { ["migrations/1.lua"] = step("a", "1.0.0", "1.1.0") }
    refused(place, { "new", "b", "--to", "1.1.0" }, 3, "NON_INCREASING_STEP")
    refused(place, { "new", "b", "--to", "latest" }, 3, "INVALID_VERSION")
    refused(place, { "new", "b", "--to", "2.0.0", "--bump", "major" }, 2, "--to and --bump both say")
    refused(place, { "new", "b", "--bump", "huge" }, 2, "--bump must be one of patch, minor, major")
    refused(place, { "plan", "--to", "2.0.0" }, 2, "option '--to' does not belong to 'plan' but to 'new'")
    assert.are.equal("migrations/2-b.lua: from 1.1.0 to 1.2.0-rc.1\n", place:run({ "new", "b", "--to", "1.2.0-rc.1" }).out)
    assert.are.equal("migrations/3-c.lua: from 1.2.0-rc.1 to 1.2.0\n", place:run({ "new", "c", "--to", "v1.2.0+build" }).out)
  end)

  it("counts on with the folder's numbers", function()
    for last, next_name in pairs {
      ["1-a.lua"] = "2-b.lua", ["9-a.lua"] = "10-b.lua", ["0099-a.lua"] = "0100-b.lua", ["20260131-a.lua"] = "20260132-b.lua",
      ["999.lua"] = "1000-b.lua",
    } do
      local place <close> = cli.place { ["migrations/" .. last] = step("a", "1.0.0", "1.1.0") }
      assert.are.equal("migrations/" .. next_name, place:run({ "new", "b", "--json" }).json.file)
      assert.are.equal(0, place:run({ "validate", "--offline" }).status)
    end
    local place <close> = cli.place { ["migrations/users.lua"] = step("a", "1.0.0", "1.1.0") }
    refused(place, { "new", "b" }, 2, "the file 'users.lua' would stand behind any file with a number")
  end)

  it("quotes names, and keeps them out of other folders", function()
    local place <close> = cli.place { ["migrations/0001.lua"] = step("a", "1.0.0", "1.1.0") }
    local id = [[Ada's "great" \ idea]]
    refused(place, { "new", id }, 2, "must not hold '/', '\\' or control characters")
    id = [==[Ada's "great" ]] idea: %s, $(touch x) ü]==]
    local result = place:run { "new", id, "--json" }
    assert.are.equal(0, result.status, result.out)
    assert.are.equal("migrations/0002-Ada-s-great-idea-s-touch-x-ü.lua", result.json.file)
    assert.are.equal(id, result.json.id)
    assert.are.equal("a\n" .. id .. "\n", place:run({ "completion", "steps" }).out)
    for _, name in ipairs { "../evil", "/etc/evil", "a/b", "a\nb", "a\27[2J" } do
      refused(place, { "new", name }, 2, "must not hold")
    end
    for _, name in ipairs { "..", "-", "___", " " } do
      refused(place, { "new", "--", name }, 2, "must hold a letter or a digit")
    end
    refused(place, { "new", "$a" }, 3, "INVALID_STEP_ID")
    refused(place, { "new", ("a"):rep(129) }, 3, "INVALID_STEP_ID")
    refused(place, { "new", "a" }, 3, "DUPLICATE_STEP_ID")
    refused(place, { "new" }, 2, "'new' needs an argument: NAME")
    refused(place, { "new", "two", "words" }, 2, "'new' does not take the argument 'words'")
    assert.are.equal("0001.lua\n0002-Ada-s-great-idea-s-touch-x-ü.lua\n", names(place.folder .. "/migrations"))
  end)

  it("never writes over a file, nor through a link", function()
    local place <close> = cli.place { ["migrations/1-a.lua"] = step("a", "1.0.0", "1.1.0"), ["outside"] = "kept" }
    -- A folder of that name is no step, and stands where the file would.
    assert(process.run({ "mkdir", place.folder .. "/migrations/2-b.lua" }).status == 0)
    refused(place, { "new", "b" }, 2, "the file 'migrations/2-b.lua' is there already")
    -- A link that leads nowhere is not followed: the loader refuses it.
    assert(process.run({ "rmdir", place.folder .. "/migrations/2-b.lua" }).status == 0)
    assert(process.run({ "ln", "-s", "../new-file", place.folder .. "/migrations/2-b.lua" }).status == 0)
    assert.are.equal(2, place:run({ "new", "b" }).status)
    assert.is_nil(io.open(place.folder .. "/new-file"))
    assert.are.equal("kept", read(place.folder .. "/outside"))
  end)

  it("refuses a chain that is not sound, and a folder that is not there", function()
    local place <close> = cli.place { ["migrations/1.lua"] = step("a", "1.0.0", "1.1.0"),
      ["migrations/2.lua"] = step("b", "1.2.0", "1.3.0") }
    refused(place, { "new", "c" }, 3, "CHAIN_NOT_CONTIGUOUS")
    refused(place, { "new", "c", "-d", "nowhere" }, 2, "`smartmigration-lua init` makes it")
    place:write("migrations/2.lua", "return {")
    refused(place, { "new", "c" }, 2, "STEP_LOAD_FAILED")
    assert(process.run({ "mkdir", "-m", "555", place.folder .. "/sealed" }).status == 0)
    local sealed = process.run { "setpriv", "--reuid=65534", "--clear-groups", cli.binary, "-d", place.folder .. "/sealed",
      "new", "c" }
    assert.are.equal(2, sealed.status, sealed.err)
    assert.are.equal("", names(place.folder .. "/sealed"))
  end)
end)
