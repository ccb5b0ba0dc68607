-- The example's chain on a part of its data: the independent check is content with it, not with a chain in which a step does
-- nothing, and again with one whose steps all run twice or in which the long step was killed on its way.
local build = require "spec.support.build"
local process = require "spec.support.process"
local s3 = require "spec.support.s3"
local server = require "spec.support.server"
local wait_for = require "spec.support.wait_for"

local EXAMPLE = build.root .. "/migrations-example"
local STEPS = {
  "0001-locations", "0002-lists", "0003-alternate-names", "0004-currencies", "0005-country-of-city", "0006-capitals",
  "0007-obsolete-fields", "0008-flags", "0009-old-flags",
}

-- What a step did not do is seen by a later step, whose documents the validator then refuses, or which finds no copy of a flag;
-- or by the check.
local REFUSED = {
  ["0002-lists"] = "property 'languages'", ["0004-currencies"] = "property 'currency'", ["0006-capitals"] = "property 'capital'",
  ["0008-flags"] = "is not removed: no document names a copy",
}

local function run(command)
  local result = process.run(command)
  assert.equal(0, result.status, table.concat(command, " ") .. "\n" .. result.out .. result.err)
  return result
end

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  file:write(text)
end

describe("the example", function()
  local store = s3.shared()
  local scratch, data, database, bucket

  setup(function()
    scratch = run({ "mktemp", "-d" }).out:gsub("%s+$", "")
    data = scratch .. "/data"
    run { EXAMPLE .. "/sample", data }
  end)

  teardown(function()
    run { "rm", "-r", scratch }
  end)

  before_each(function()
    database = server.database()
    bucket = database:gsub("_", "-")
    run { EXAMPLE .. "/import", database, bucket, "--data", data }
  end)

  after_each(function()
    store:ask { "delete-bucket", bucket }
  end)

  -- A copy of the chain in which `change(name)` is Lua text that may alter the table `step`; nil leaves a step as it is.
  local function altered(change)
    local folder = ("%s/%s"):format(scratch, database)
    run { "cp", "-r", EXAMPLE .. "/migrations", folder }
    for _, name in ipairs(STEPS) do
      local path = ("%s/%s.lua"):format(folder, name)
      local text = change(name)
      if text then
        write(path, ("local step = (function(...) %s end)(...)\n%s\nreturn step\n"):format(read(path), text))
      end
    end
    return folder
  end

  local function migration(folder)
    return {
      build.binary, "--config", EXAMPLE .. "/smartmigration.config.lua", "run", "--dir", folder or EXAMPLE .. "/migrations",
      env = { SMARTMIGRATION_MONGO_URI = server.uri, SMARTMIGRATION_MONGO_DB = database,
        SMARTMIGRATION_S3_ENDPOINT = store.endpoint, SMARTMIGRATION_S3_BUCKET = bucket },
    }
  end

  local function check()
    return process.run { EXAMPLE .. "/check", database, bucket, "--data", data }
  end

  local function assert_right()
    local result = check()
    assert.equal(0, result.status, result.out .. result.err)
  end

  it("leaves nothing for the check to find", function()
    run(migration())
    assert_right()
  end)

  for _, emptied in ipairs(STEPS) do
    it("does not come through when " .. emptied .. " does nothing", function()
      local result = process.run(migration(altered(function(name) return name == emptied and "step.up = function() end" end)))
      if REFUSED[emptied] then
        assert.equal(1, result.status)
        return assert.matches(REFUSED[emptied], result.err, 1, true)
      end
      assert.equal(0, result.status, result.out .. result.err)
      result = check()
      assert.equal(1, result.status)
      assert.matches("different: ", result.out)
    end)
  end

  it("comes to the same when every step runs twice", function()
    run(migration(altered(function()
      return "local up = step.up\nstep.up = function(ctx) up(ctx) up(ctx) end"
    end)))
    assert_right()
  end)

  it("goes on behind the last batch after the run was killed", function()
    local marker = scratch .. "/" .. database .. ".batches"
    -- Batches of 100, and after the third a wait in which the run is killed.
    local folder = altered(function() end)
    local path = folder .. "/0003-alternate-names.lua"
    local text, changed = read(path):gsub("BATCH = %d+", "BATCH = 100")
    assert.equal(1, changed)
    write(path, (text:gsub("ctx:progress%(done, total%)", function(call)
      return ("%s\nlocal file <close> = io.open(%q, 'a') file:write(done, '\\n') file:close()\n"
        .. "while done == 300 do ctx:check() end"):format(call, marker)
    end)))
    local child <close> = process.start(migration(folder))
    wait_for("the third batch", function()
      local file <close> = io.open(marker)
      return file and file:read "a":find "\n300\n"
    end, 30000)
    child:kill "KILL"
    assert.equal(9, child:wait().signal)

    run(migration(folder)) -- were it to begin anew, it would wait at 300 again
    assert.matches("^100\n200\n300\n400\n", read(marker))
    assert_right()
  end)
end)
