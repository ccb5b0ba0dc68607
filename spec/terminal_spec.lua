-- What people see on a real terminal, and what is left of it where there is none: progress, widths, colours, pipes.
local cli = require "spec.support.cli"
local process = require "spec.support.process"
local server = require "spec.support.server"
local terminal = require "spec.support.terminal"
local wait_for = require "spec.support.wait_for"

-- Reports progress until the file `go` is there; says something when the file `say` is there.
local SLOW = [[
return { id = "copy files", from = "1.0.0", to = "1.1.0", resumable = true, up = function(ctx)
  ctx.checkpoint:write("at", { after = "k-41", done = 41 })
  local done = 0
  while not io.open "go" do
    done = math.min(done + 1, 4000000)
    ctx:progress(done, 5000000)
    if os.remove "say" then ctx.log:info("a message under way") end
  end
  ctx:progress(5000000, 5000000)
end }]]
local QUICK = [[return { id = "a", from = "1.0.0", to = "1.1.0", description = "Gives every user a name that can be searched for",
  up = function(ctx) for i = 1, 100 do ctx:progress(i, 100) end end }]]

local function place(step)
  return cli.place({ ["migrations/1.lua"] = step }, { env = {
    SMARTMIGRATION_MONGO_URI = server.uri, SMARTMIGRATION_MONGO_DB = server.database(), TERM = "xterm", PAGER = false,
  } })
end

local function shows(text, part)
  assert.is_truthy(text:find(part, 1, true), ("'%s' is not in:\n%s"):format(part, text))
end

local function lacks(text, part)
  assert.is_nil(text:find(part, 1, true), ("'%s' is in:\n%s"):format(part, text))
end

-- Everything drawn at the foot, without colours.
local function drawings(text)
  local list = {}
  for drawn in terminal.plain(text):gmatch "\r\27%[K([^\r\n]*)" do
    list[#list + 1] = drawn
  end
  return list
end

local function widest(lines)
  local width = 0
  for _, line in ipairs(lines) do width = math.max(width, utf8.len(line)) end
  return width
end

describe("a step's progress on a terminal", function()
  it("is a bar with done and total, rate and time left, below the messages, at the width of the moment", function()
    local here <close> = place(SLOW)
    local child <close> = terminal.start(100, here:command { "run" })
    -- Two reports make a rate.
    child:wait_for "%[=*>? *%].-%d+/5000000  %d+ %%  %d+/s  ETA "
    assert.is_true(widest(drawings(child.out)) <= 99, child.out)

    here:write("say", "")
    child:wait_for("\r\27%[K[^\r\n]*a message under way[^\r\n]*\r\n\r\27%[K[^\r\n]*copy files")
    local seen = #child.out
    terminal.resize(child, 40)
    wait_for("the bar to be drawn anew", function()
      child:pump(20)
      return #drawings(child.out:sub(seen + 1)) >= 3
    end)
    local narrow = drawings(child.out:sub(seen + 1))
    assert.is_true(widest { narrow[#narrow] } <= 39, narrow[#narrow])
    shows(narrow[#narrow], "copy files  ")
    shows(narrow[#narrow], "/5000000")

    here:write("go", "")
    local result = child:wait(30000)
    assert.are.equal(0, result.status, result.out)
    local left = table.concat(terminal.lines(result.out), "\n")
    shows(left, "a message under way")
    shows(left, "applied step 'copy files'")
    shows(left, "1 step applied in")
    lacks(left, "/5000000")
  end)

  it("is taken away when the step is interrupted; what is left says how it goes on", function()
    local here <close> = place(SLOW)
    local child <close> = terminal.start(100, here:command { "run", "--target", "1.1.0" })
    child:wait_for "/5000000"
    terminal.interrupt(child)
    local result = child:wait(30000)
    assert.are.equal(130, result.status, result.out)
    local left = table.concat(terminal.lines(result.out), "\n")
    shows(left, "a second signal ends the program at once")
    shows(left, "\nerror: ")
    shows(left, "(INTERRUPTED)")
    shows(left, "interrupted  copy files  1.0.0 -> 1.1.0")
    shows(left, "The data is at 1.0.0.\n'copy files' runs again with the next run and finds the 1 checkpoint it wrote:\n"
      .. '  at = {"after":"k-41","done":41}\nNext: smartmigration-lua run --target 1.1.0')
  end)

  it("is lines where a line cannot be drawn over, and nothing where it is not wanted", function()
    local here <close> = place(QUICK)
    local dumb = terminal.run(100, here:command { "run", "--ledger-name", "x1", env = { TERM = "dumb" } })
    shows(dumb.out, "info  step 'a': 100 of 100 (100 %)")
    lacks(dumb.out, "\27")
    local json = terminal.run(100, here:command { "run", "--ledger-name", "x2", "--log-format", "json" })
    shows(json.out, '"done":100')
    lacks(json.out, "\27[K")
    for i, words in ipairs { { "--progress", "never" }, { "--quiet" }, { "--log-level", "warn" } } do
      local result = terminal.run(100, here:command { "run", "--ledger-name", "y" .. i, table.unpack(words) })
      assert.are.equal(0, result.status, result.out)
      lacks(result.out, "100")
      lacks(result.out, "\27[K")
    end
    local fresh <close> = place(QUICK)
    local words = { "run", "--quiet", "--fresh-install-version", "1.0.0" }
    assert.are.equal("", terminal.run(100, fresh:command(words)).out)
  end)

  it("is lines at a sensible pace where there is no terminal", function()
    local here <close> = place(SLOW)
    local child <close> = here:start { "run" }
    child:wait_for "step 'copy files': 1 of 5000000"
    -- The engine reports every second; in three of them one line was shown, every line with --progress always.
    local began = process.now_ms()
    wait_for("three reports to be due", function()
      child:pump(20)
      return process.now_ms() - began > 3200
    end)
    here:write("go", "")
    local result = child:wait(30000)
    local _, count = result.err:gsub("of 5000000", "")
    assert.are.equal(2, count, result.err)
    lacks(result.err, "\27")

    os.remove(here.folder .. "/go")
    local all <close> = here:start { "run", "--ledger-name", "always", "--progress", "always" }
    wait_for("three lines", function()
      all:pump(20)
      return select(2, all.err:gsub("of 5000000", "")) >= 3
    end)
    here:write("go", "")
    assert.are.equal(0, all:wait(30000).status)
  end)
end)

describe("colours", function()
  it("come on terminals alone, and not with NO_COLOR; --color decides over both", function()
    local here <close> = place(QUICK)
    local function colored(words, columns)
      local command = here:command(words)
      local result = columns and terminal.run(columns, command) or process.run(command)
      assert.are.equal(0, result.status, result.out)
      return result.out:find("\27[", 1, true) ~= nil
    end
    assert.is_true(colored({ "status" }, 100))
    assert.is_true(colored({ "status", env = { NO_COLOR = "" } }, 100))
    assert.is_false(colored({ "status", env = { NO_COLOR = "1" } }, 100))
    assert.is_false(colored({ "status", "--color", "never" }, 100))
    assert.is_false(colored({ "status", env = { TERM = "dumb" } }, 100))
    assert.is_true(colored({ "status", "--color", "always", env = { NO_COLOR = "1" } }, 100))
    assert.is_false(colored { "status" })
    assert.is_true(colored { "status", "--color", "always" })
  end)
end)

describe("the width of a terminal", function()
  it("folds tables and help, and loses nothing", function()
    local here <close> = place(QUICK)
    assert.are.equal(0, here:run({ "run" }).status)
    for _, words in ipairs { { "status" }, { "history" }, { "plan", "--ledger-name", "other", "--log-level", "error" } } do
      local wide = terminal.plain(terminal.run(200, here:command(words)).out)
      local narrow = terminal.plain(terminal.run(40, here:command(words)).out)
      assert.are.equal((process.run(here:command(words)).out:gsub("%s+", " ")), (wide:gsub("%s+", " ")))
      assert.are.equal((wide:gsub("%s+", " ")), (narrow:gsub("%s+", " ")))
      local _, rows = narrow:gsub("\n", "")
      local _, fewer = wide:gsub("\n", "")
      assert.is_true(rows > fewer, narrow)
    end
    for _, topic in ipairs { "run", "status", "unlock", "version" } do
      for _, columns in ipairs { 40, 79, 200 } do
        local shown = terminal.run(columns, here:command { "help", topic }).out
        local body = shown:gsub("\r", ""):gsub("\nExamples:\n.-\n\n", "\n\n"):gsub("\n      %-%-[^\n]*", "")
        for line in body:gsub("^.-\n\nUsage[^\n]*", ""):gmatch "[^\n]+" do
          assert.is_true(utf8.len(line) <= math.min(columns, 112) or not line:find "%S%s%S", line)
        end
      end
    end
  end)

  it("is nothing that JSON depends on", function()
    local here <close> = place(QUICK)
    local narrow = terminal.run(40, here:command { "help", "run", "--json" }).out
    assert.are.equal(process.run(here:command { "help", "run", "--json" }).out, (narrow:gsub("\r\n", "\n")))
  end)
end)

describe("a pipe", function()
  it("whose reader goes away is no failure", function()
    local here <close> = place(QUICK)
    local command = here:command {}
    -- The reader has gone before the first byte comes.
    local result = process.run { "bash", "-c", [[exec 3> >(exit 0); wait $!; "$0" help >&3]], cli.binary,
      env = command.env, cwd = command.cwd }
    assert.are.same({ 0, "" }, { result.status, result.err })
  end)

  it("into a pager has neither colours nor folded lines", function()
    local here <close> = place(QUICK)
    assert.are.equal(0, here:run({ "run" }).status)
    local command = here:command {}
    local shown = terminal.run(40, { "sh", "-c", [["$0" status | cat]], cli.binary, env = command.env, cwd = command.cwd }).out
    assert.are.equal(process.run(here:command { "status" }).out, (shown:gsub("\r\n", "\n")))
  end)
end)
