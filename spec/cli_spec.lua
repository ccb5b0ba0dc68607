-- The commands against a server: results, reports and exit codes, in success and failure.
local cli = require "spec.support.cli"
local process = require "spec.support.process"
local server = require "spec.support.server"
local wait_for = require "spec.support.wait_for"

local A = [[
return { id = "a", from = "1.0.0", to = "1.1.0", description = "First things first",
  up = function(ctx) ctx.mongo:collection("done"):insert_one { _id = "a" } end }
]]
local B = [[
return { id = "b", from = "1.1.0", to = "1.2.0",
  up = function(ctx) ctx.mongo:collection("done"):insert_one { _id = "b" } end }
]]
local FAILING = [[
return { id = "b", from = "1.1.0", to = "1.2.0",
  up = function(ctx)
    error("the boom\27[31m")
  end }
]]
local LAST = [[return { id = "c", from = "1.2.0", to = "1.3.0", up = function() end }]]
-- Says that it runs, then goes on until it is stopped.
local ENDLESS = [[
return { id = "endless", from = "1.0.0", to = "1.1.0", resumable = true,
  up = function(ctx)
    ctx.checkpoint:write("at", 7)
    ctx.log:info("under way")
    while true do end
  end }
]]

-- A working folder with these migration files, and a database of its own.
local function place(...)
  local files = {}
  for i, content in ipairs { ... } do
    files[("migrations/%04d.lua"):format(i)] = content
  end
  local database = server.database()
  local made = cli.place(files, { env = { SMARTMIGRATION_MONGO_URI = server.uri, SMARTMIGRATION_MONGO_DB = database } })
  made.database = database
  return made
end

local function ends_with(status, result)
  assert.are.equal(status, result.status, result.out .. result.err)
  return result
end

local function shows(text, part)
  assert.is_truthy(text:find(part, 1, true), ("'%s' is not in:\n%s"):format(part, text))
end

local function ids(steps)
  local list = {}
  for i, step in ipairs(steps) do
    list[i] = step.id
  end
  return table.concat(list, " ")
end

describe("plan", function()
  it("shows what would run, and writes nothing", function()
    local here <close> = place(A, B)
    local result = ends_with(0, here:run { "plan" })
    shows(result.out, "a  1.0.0 -> 1.1.0  First things first")
    shows(result.out, "2 steps to run; the version after: 1.2.0")
    assert.are.same({}, server.open(here.database):collection_names())
  end)

  it("has every field in its JSON", function()
    local here <close> = place(A, B)
    local result = ends_with(0, here:run { "plan", "--json" })
    local plan = result.json
    assert.are.equal(cli.null, plan.currentVersionBefore)
    assert.are.equal("1.2.0", plan.currentVersionAfter)
    assert.are.equal("1.2.0", plan.targetVersion)
    assert.is_false(plan.wasFreshInstall)
    assert.are.equal("chain-start", plan.bootstrapMode)
    assert.are.equal("a b", ids(plan.stepsSkipped))
    assert.are.equal("1.0.0", plan.stepsSkipped[1].fromVersion)
    assert.is_number(plan.totalDurationMs)
    shows(result.out, '"stepsApplied":[]')
    shows(result.out, '{"currentVersionBefore":null,"currentVersionAfter":"1.2.0","targetVersion":"1.2.0"')
  end)

  it("tells with --exit-code whether steps are pending", function()
    local here <close> = place(A)
    ends_with(10, here:run { "plan", "--exit-code" })
    ends_with(0, here:run { "run" })
    shows(ends_with(0, here:run { "plan", "--exit-code" }).out, "Nothing to do: the data is at 1.1.0.")
  end)

  it("marks a step that the data's version lies inside of", function()
    local here <close> = place(A, B)
    local result = ends_with(0, here:run { "plan", "--fresh-install-version", "1.0.5" })
    shows(result.out, "a  1.0.0 -> 1.1.0  skip-forward  First things first")
    shows(result.out, "Fresh install")
  end)
end)

describe("run", function()
  it("migrates, says what it did, and has nothing to do afterwards", function()
    local here <close> = place(A, B)
    local result = ends_with(0, here:run { "run" })
    shows(result.out, "applied  a  1.0.0 -> 1.1.0")
    shows(result.out, ": 1.0.0 -> 1.2.0")
    assert.are.equal(2, server.open(here.database):collection("done"):count {})
    shows(ends_with(0, here:run { "run" }).out, "Nothing to do: the data is at 1.2.0.")
    local nothing = ends_with(0, here:run { "run", "--json" }).json
    assert.are.equal("1.2.0", nothing.currentVersionBefore)
    assert.are.equal(0, #nothing.stepsApplied)
  end)

  it("has every step's times in its JSON", function()
    local here <close> = place(A, B)
    local run = ends_with(0, here:run { "run", "--json" }).json
    assert.are.equal("a b", ids(run.stepsApplied))
    local step = run.stepsApplied[1]
    assert.are.equal("applied", step.status)
    assert.is_truthy(step.startedAt:find "^%d+%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$")
    assert.is_true(step.finishedAt >= step.startedAt)
    assert.is_true(step.durationMs >= 0)
  end)

  it("stops at the target that is given", function()
    local here <close> = place(A, B)
    assert.are.equal("a", ids(ends_with(0, here:run { "--target", "1.1.0", "run", "--json" }).json.stepsApplied))
    local by_variable = here:run { "plan", "--json", env = { SMARTMIGRATION_TARGET = "1.1.0" } }
    assert.are.equal("1.1.0", ends_with(0, by_variable).json.targetVersion)
    for target, code in pairs { latest = "INVALID_VERSION", ["9.0.0"] = "TARGET_NOT_REACHABLE" } do
      assert.are.equal(code, ends_with(3, here:run { "run", "--target", target, "--json" }).json.error.code)
    end
  end)

  it("writes nothing with --dry-run", function()
    local here <close> = place(A, B)
    assert.are.equal("a b", ids(ends_with(0, here:run { "run", "--dry-run", "--json" }).json.stepsSkipped))
    assert.are.same({}, server.open(here.database):collection_names())
  end)

  it("is born with the fresh install version", function()
    local here <close> = place(A, B)
    local result = ends_with(0, here:run { "run", "--fresh-install-version", "1.2.0" })
    shows(result.out, "Recorded version 1.2.0.")
    assert.are.equal("1.2.0", here:run({ "status", "--json" }).json.currentVersion)
  end)

  it("leaves newer data alone that says it is compatible", function()
    local here <close> = place((A:gsub('description', 'compatible_from = "1.0.0", description')))
    ends_with(0, here:run { "run" })
    local result = ends_with(0, here:run { "run", "--target", "1.0.0" })
    shows(result.out, "Nothing to do: the data is at 1.1.0, newer than the target 1.0.0 and compatible with it.")
    shows(result.err, " warn ")
    ends_with(0, here:run { "status", "--check", "--target", "1.0.0" })
  end)

  it("refuses data without a version where it is told to", function()
    local here <close> = place(A)
    server.open(here.database):collection("users"):insert_one { name = "Ada" }
    local result = ends_with(2, here:run { "run", "--unversioned-data", "refuse", "--json" })
    assert.are.equal("UNVERSIONED_DATA", result.json.error.code)
  end)

  it("reports a failed step: what was applied, what was not run, where, and the way on", function()
    local here <close> = place(A, FAILING, LAST)
    local result = ends_with(1, here:run { "run" })
    assert.are.equal("", result.out)
    shows(result.err, "error: step 'b' (1.1.0 -> 1.2.0) failed: ")
    shows(result.err, "0002.lua:3:")
    shows(result.err, "  --> migrations/0002.lua:3\n      2 |   up = function(ctx)\n")
    shows(result.err, '      3 |     error("the boom\\27[31m")\n        |     ^^^^^^^^^^^^^^^^^^^^^^^^\n      4 |   end }\n')
    shows(result.err, "applied  a  1.0.0 -> 1.1.0")
    shows(result.err, "failed   b  1.1.0 -> 1.2.0")
    shows(result.err, "not run  c  1.2.0 -> 1.3.0")
    shows(result.err, "The data is at 1.1.0.\n'b' runs again with the next run, from its beginning.")
    shows(result.err, "smartmigration-lua run")
    assert.is_nil(result.err:find("\27", 1, true), "a control character of a step reached the terminal")
  end)

  it("shows the code of what a step failed of", function()
    local here <close> = place((A:gsub("insert_one { _id = \"a\" }", "insert_many { { _id = 1 }, { _id = 1 } }")))
    shows(ends_with(1, here:run { "run" }).err, "(STEP_FAILED: DuplicateKey)")
  end)

  it("has the result beside the error in the JSON of a failure", function()
    local here <close> = place(A, FAILING, LAST)
    local run = ends_with(1, here:run { "run", "--json" }).json
    assert.are.equal("STEP_FAILED", run.error.code)
    assert.are.equal("b", run.error.details.stepId)
    assert.are.equal("a", ids(run.stepsApplied))
    assert.are.equal("c", ids(run.stepsNotRun))
    local failed = run.stepsFailed[1]
    assert.are.equal("b", ids(run.stepsFailed))
    assert.are.same({ "1.1.0", "1.2.0", "failed" }, { failed.fromVersion, failed.toVersion, failed.status })
    assert.is_true(failed.durationMs >= 0 and failed.startedAt <= failed.finishedAt)
    shows(failed.error.message, "the boom")
    assert.are.equal(run.error.details.cause.code, failed.error.code)
    assert.are.equal("1.1.0", run.currentVersionAfter)
    assert.is_nil(run.error.details.result)
    shows(run.error.details.traceback, "0002.lua:3:")
  end)

  it("has nothing in its JSON that steers a terminal or is no UTF-8", function()
    local here <close> = place [[
return { id = "a", from = "1.0.0", to = "1.1.0", up = function(ctx) error("boom\u{202e}\u{9b}2J\u{2029}\u{20ac}\27\xff") end }]]
    local result = ends_with(1, here:run { "run", "--json" })
    shows(result.out, [[boom\u202e\u009b2J\u2029]] .. "\u{20ac}" .. [[\u001b]] .. "\u{fffd}")
  end)

  it("is quiet on demand, and never about errors", function()
    local here <close> = place(A, FAILING)
    here.env.SMARTMIGRATION_TARGET = "1.1.0"
    local good = ends_with(0, here:run { "run", "--quiet", "--fresh-install-version", "1.0.0" })
    assert.are.equal("", good.out .. good.err)
    shows(ends_with(1, here:run { "run", "--quiet", "--target", "1.2.0" }).err, "STEP_FAILED")
  end)
end)

describe("signals", function()
  for signal, status in pairs { TERM = 143, INT = 130 } do
    it("stop a step in a loop: " .. signal, function()
      local here <close> = place(ENDLESS)
      local child <close> = here:start { "run", "--json" }
      child:wait_for "under way"
      child:kill(signal)
      local result = ends_with(status, child:wait(30000))
      local run = cli.parse(result.out)
      assert.are.equal("INTERRUPTED", run.error.code)
      local after = here:run({ "status", "--json" }).json
      assert.are.equal("interrupted", after.steps[1].status)
      assert.are.equal(1, after.steps[1].checkpoints)
      assert.are.equal(cli.null, after.lock)
      assert.is_nil(result.err:find("second signal", 1, true))
    end)
  end

  -- With stdin and stderr on a terminal, where ^C is typed; stdout too. Returns what was shown.
  local function interrupted_at_terminal(here, words)
    local command = here:command {}
    local child <close> = process.start { "script", "-qfec", cli.binary .. " " .. words, "/dev/null",
      env = command.env, cwd = command.cwd }
    wait_for("the step to run", function()
      child:pump(10)
      local status = here:run({ "status", "--json" }).json
      return status.steps[1].checkpoints == 1
    end)
    child:write "\3"
    return ends_with(130, child:wait(30000)).out
  end

  it("tell a person that the run stops, and what a second one does", function()
    local here <close> = place(ENDLESS)
    shows(interrupted_at_terminal(here, "run"),
      "The run stops at its next safe point; a second signal ends the program at once.")
  end)

  for _, words in ipairs { "run --quiet", "run --log-format json" } do
    it("tell nobody who did not want to know: " .. words, function()
      local here <close> = place(ENDLESS)
      assert.is_nil(interrupted_at_terminal(here, words):find("second signal", 1, true))
    end)
  end

  it("end a wait for the lock", function()
    local here <close> = place(ENDLESS)
    local holder <close> = here:start { "run" }
    holder:wait_for "under way"
    local waiting <close> = here:start { "run", "--lock-wait", "forever", "--json" }
    waiting:wait_for "waiting for the lock"
    waiting:kill "TERM"
    assert.are.equal("INTERRUPTED", cli.parse(ends_with(143, waiting:wait(10000)).out).error.code)
    holder:kill "TERM"
    ends_with(143, holder:wait())
  end)

  it("end a command that has no run at once", function()
    local here <close> = place(A)
    local child <close> = here:start { "status", "--wait", "forever", "--log-level", "debug" }
    child:wait_for "not yet"
    child:kill "TERM"
    ends_with(143, child:wait(5000))
  end)
end)

describe("status", function()
  it("shows version, lock and steps", function()
    local here <close> = place(A, FAILING)
    ends_with(1, here:run { "run" })
    local result = ends_with(0, here:run { "status" })
    shows(result.out, "version   1.1.0")
    shows(result.out, "target    1.2.0")
    shows(result.out, "lock      free")
    shows(result.out, "applied  a  1.0.0 -> 1.1.0")
    shows(result.out, "failed   b  1.1.0 -> 1.2.0")
    shows(result.out, "1 step is pending.")
    local status = here:run({ "status", "--json" }).json
    assert.are.equal("1.1.0", status.currentVersion)
    assert.are.equal(1, status.pending)
    assert.are.equal(cli.null, status.lock)
    assert.are.equal("failed", status.steps[2].status)
    assert.is_false(status.steps[1].drift)
  end)

  it("tells with --check what a run would do", function()
    local here <close> = place(A, B)
    ends_with(0, here:run { "status" })
    ends_with(10, here:run { "status", "--check" })
    ends_with(0, here:run { "run" })
    ends_with(0, here:run { "status", "--check" })
    local refused = here:run { "status", "--check", "--target", "1.1.0", "--newer-ledger", "refuse" }
    shows(ends_with(3, refused).out, "DOWNGRADE_NOT_SUPPORTED")
  end)

  it("shows a live lock and its holder", function()
    local here <close> = place(ENDLESS)
    local child <close> = here:start { "run" }
    child:wait_for "under way"
    local status = here:run({ "status", "--json" }).json
    assert.is_false(status.lock.stale)
    assert.are.equal("running", status.steps[1].status)
    local shown = here:run({ "status" }).out
    shows(shown, "lock      live, since " .. status.lock.acquiredAt)
    shows(shown, status.lock.holder)
    local busy = ends_with(4, here:run { "run", "--lock-wait", "0", "--json" })
    assert.are.equal("LOCK_TIMEOUT", busy.json.error.code)
    assert.are.equal(status.lock.holder, busy.json.error.details.holder)
    child:kill "TERM"
    child:wait()
  end)

  it("waits until there is nothing to do, or the time is over", function()
    local here <close> = place(A)
    ends_with(10, here:run { "status", "--wait", "1" })
    local waiting <close> = here:start { "status", "--wait", "60s", "--log-level", "debug" }
    waiting:wait_for "not yet"
    ends_with(0, here:run { "run" })
    ends_with(0, waiting:wait(30000))
  end)
end)

describe("validate", function()
  it("finds chain and ledger sound", function()
    local here <close> = place(A, B)
    shows(ends_with(0, here:run { "validate" }).out, "2 steps, chain 1.0.0 -> 1.2.0 is sound.")
    ends_with(0, here:run { "run" })
    local found = ends_with(0, here:run { "validate", "--json" })
    assert.are.equal("1.2.0", found.json.currentVersion)
    shows(found.out, '"drift":[]')
  end)

  it("finds a step whose file changed", function()
    local here <close> = place(A)
    ends_with(0, here:run { "run" })
    here:write("migrations/0001.lua", A .. "-- changed\n")
    local result = ends_with(6, here:run { "validate", "--json" })
    assert.are.equal("a", result.json.drift[1].id)
    shows(ends_with(6, here:run { "validate" }).out, "drift: a was changed after it was applied")
    assert.is_true(here:run({ "status", "--json" }).json.steps[1].drift)
    ends_with(0, here:run { "run" })
  end)

  it("finds a ledger that contradicts the chain", function()
    local here <close> = place(A)
    ends_with(0, here:run { "run" })
    here:write("migrations/0001.lua", (A:gsub('"a"', '"renamed"')))
    local drift = ends_with(6, here:run { "validate", "--json" }).json.drift
    assert.are.same({ "missing", "late-inserted" }, { drift[1].kind, drift[2].kind })
  end)
end)

describe("a server that is not there", function()
  local URI = "mongodb://ada:sesame@127.0.0.1:1/app?serverSelectionTimeoutMS=300"

  it("is an error within its time, which names the host and no password", function()
    local here <close> = place(A)
    for _, words in ipairs { { "run" }, { "plan" }, { "status", "--check" }, { "validate" } } do
      words.env = { SMARTMIGRATION_MONGO_URI = URI }
      local result = ends_with(5, here:run(words))
      shows(result.err, "127.0.0.1:1")
      assert.is_nil((result.out .. result.err):find("sesame", 1, true))
      assert.is_true(result.ms < 5000)
    end
  end)

  it("is waited for by status --wait", function()
    local here <close> = place(A)
    ends_with(5, here:run { "status", "--wait", "1s", env = { SMARTMIGRATION_MONGO_URI = URI } })
  end)

  it("gives a warning for a password in an argument, which leaves the process list", function()
    local here <close> = place(A)
    local slow = (URI:gsub("=300", "=20000"))
    local child <close> = here:start { "plan", "--mongo-uri", slow }
    child:wait_for "a password in an argument can be read by others"
    local file <close> = assert(io.open(("/proc/%d/cmdline"):format(child.pid), "rb"))
    assert.is_nil(file:read("a"):find("sesame", 1, true))
    assert.is_nil(child.err:find("sesame", 1, true))
  end)
end)

it("a killed command leaves nothing in shared memory", function()
  local here <close> = place(A)
  here.env.MONGOC_DISABLE_SHM = false
  local child <close> = here:start { "status", "--wait", "forever", "--log-level", "debug" }
  child:wait_for "not yet"
  child:kill "KILL"
  child:wait(5000)
  assert.is_nil((io.open("/dev/shm/mongoc-" .. child.pid)))
end)

describe("the URI", function()
  it("comes from a file or from stdin", function()
    local here <close> = place(A)
    here.env.SMARTMIGRATION_MONGO_URI = false
    here:write("secret/uri", server.uri .. "\n")
    ends_with(10, here:run { "plan", "--exit-code", "--mongo-uri-file", "secret/uri" })
    ends_with(10, here:run { "plan", "--exit-code", "--mongo-uri-file", "-", stdin = server.uri })
    local by_variable = { SMARTMIGRATION_MONGO_URI_FILE = "secret/uri" }
    ends_with(10, here:run { "plan", "--exit-code", env = by_variable })
  end)
end)

describe("logs", function()
  local TALKING = [[
return { id = "a", from = "1.0.0", to = "1.1.0", up = function(ctx)
  ctx.log:debug("whisper")
  ctx.log:warn("two\nlines \27[2J", { user_name = "Ada Lovelace" })
  ctx:progress(5, 10)
end }
]]

  it("are lines of text on stderr, without control characters", function()
    local here <close> = place(TALKING)
    local result = ends_with(0, here:run { "run" })
    shows(result.err, [[ warn  two\nlines \u{1b}[2J ]])
    shows(result.err, [[user_name="Ada Lovelace"]])
    shows(result.err, "info  step 'a': 5 of 10 (50 %)")
    assert.is_nil(result.err:find("whisper", 1, true))
    assert.is_nil(result.err:find("\27", 1, true))
  end)

  it("are JSON lines on demand", function()
    local here <close> = place(TALKING)
    local words = { "run", "--log-format", "json", "--log-level", "debug", "--progress", "never" }
    local result = ends_with(0, here:run(words))
    local seen = {}
    for line in result.err:gmatch "[^\n]+" do
      local entry = cli.parse(line .. "\n")
      assert.is_string(entry.time)
      seen[entry.message] = entry
    end
    assert.are.equal("debug", seen.whisper.level)
    assert.are.equal("Ada Lovelace", seen["two\nlines \27[2J"].userName)
    assert.is_nil(seen.progress)
  end)

  it("keep progress where only that is asked for", function()
    local here <close> = place(TALKING)
    local result = ends_with(0, here:run { "run", "--log-level", "error", "--progress", "always" })
    assert.are.equal(1, select(2, result.err:gsub("\n", "\n")), result.err)
    shows(result.err, "5 of 10")
  end)

  it("have colours only when they are asked for", function()
    local here <close> = place(A)
    shows(here:run({ "status", "--color", "always" }).out, "\27[1mnone recorded\27[0m")
    assert.is_nil(here:run({ "status" }).out:find("\27", 1, true))
  end)
end)

it("a run and a waiting run do the work once", function()
  local here <close> = place(A, B)
  local first <close> = here:start { "run", "--json" }
  local second <close> = here:start { "run", "--json" }
  local results = { cli.parse(ends_with(0, first:wait()).out), cli.parse(ends_with(0, second:wait()).out) }
  assert.are.equal(2, #results[1].stepsApplied + #results[2].stepsApplied)
  wait_for("the lock to be free", function()
    return here:run({ "status", "--json" }).json.lock == cli.null
  end)
end)
