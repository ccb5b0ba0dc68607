-- Drift between chain and record: each kind is told by name with the command that mends it, which mends it; and the chain of a
-- git ref, in real repositories.
local cli = require "spec.support.cli"
local migrations = require "spec.support.migrations"
local process = require "spec.support.process"
local project = require "spec.support.project"
local s3_project = require "spec.support.s3_project"

local step = project.step

local function chain()
  return {
    ["1.lua"] = step("first", "1.0.0", "1.1.0"), ["2.lua"] = step("second", "1.1.0", "1.2.0"),
    ["3.lua"] = step("third", "1.2.0", "1.3.0"),
  }
end

local function migrated()
  local p = project.new(chain())
  p:migrate()
  return p
end

-- "kind id" of each finding, in order.
local function kinds(list)
  local named = {}
  for i, found in ipairs(list) do named[i] = found.kind .. " " .. found.id end
  return table.concat(named, ", ")
end

local function words_of(command)
  local words = {}
  for word in command:gsub("^smartmigration%-lua ", ""):gmatch "%S+" do words[#words + 1] = (word:gsub("'", "")) end
  return words
end

-- validate and status both tell of that drift; the list.
local function drifted(p, expected)
  local found = p:run { "validate" }
  assert.are.equal(6, found.status, found.out .. found.err)
  assert.are.equal(expected, kinds(found.json.drift))
  local status = p:run { "status" }
  assert.are.equal(0, status.status, status.out)
  assert.are.same(found.json.drift, status.json.drift)
  return found.json.drift
end

local function sound(p)
  local found = p:run { "validate" }
  assert.are.equal(0, found.status, found.out .. found.err)
  assert.are.same({}, found.json.drift)
end

-- Does what the finding's way out says.
local function mend(p, found)
  local result = p:run(words_of(found.way_out or found.wayOut))
  assert.are.equal(0, result.status, result.out .. result.err)
  return result.json
end

describe("drift", function()
  it("is a changed file, which is put on record once reviewed", function()
    local p <close> = migrated()
    p:file("2.lua", step("second", "1.1.0", "1.2.0", "-- reviewed"))
    local found = drifted(p, "changed second")[1]
    assert.is_truthy(found.file:find "2.lua$")
    assert.are.same({ "1.1.0", "1.2.0" }, { found.recordedFrom, found.recordedTo })
    assert.are.equal("smartmigration-lua repair --accept-drift 'second'", found.wayOut)
    assert.are.equal("changed", mend(p, found).drift)
    sound(p)
  end)

  it("is a renamed step: one is missing, one was inserted late", function()
    local p <close> = migrated()
    p:file("2.lua", step("deuxième", "1.1.0", "1.2.0"))
    local list = drifted(p, "missing second, late-inserted deuxième")
    assert.is_nil(list[1].file)
    assert.are.equal("1.1.0", list[1].recordedFrom)
    assert.are.equal("1.1.0", list[2].chainFrom)
    mend(p, list[1])
    assert.is_nil(p:ledger().steps.second)
    list = drifted(p, "late-inserted deuxième")
    mend(p, list[1])
    sound(p)
    assert.are.equal("applied", p:ledger().steps["deuxième"].status)
    assert.are.equal("1.3.0", p:ledger().currentVersion)
    local history = p:run({ "history" }).json.runs
    assert.are.same({ repair = "accept-drift", stepId = "deuxième" }, history[1].command)
  end)

  it("is a step inserted between others: it and the one that made room are told", function()
    local p <close> = migrated()
    p:file("2.lua", step("second", "1.1.0", "1.1.5"))
    p:file("2a.lua", step("late", "1.1.5", "1.2.0"))
    local list = drifted(p, "moved second, late-inserted late")
    assert.are.same({ "1.2.0", "1.1.5" }, { list[1].recordedTo, list[1].chainTo })
    mend(p, list[1])
    assert.are.equal("1.1.5", p:ledger().steps.second.toVersion)
    mend(p, list[2])
    sound(p)
  end)

  it("is a step that was made longer than the data is far: its way out runs it", function()
    local p <close> = migrated()
    p:file("3.lua", step("third", "1.2.0", "1.4.0"))
    local found = drifted(p, "moved third")[1]
    assert.are.equal("smartmigration-lua baseline 1.2.0 --force", found.wayOut)
    local refused = p:run { "repair", "--accept-drift", "third" }
    assert.are.equal("not-reached", refused.json.error.details.reason)
    mend(p, found)
    p:migrate()
    sound(p)
  end)

  it("is an applied step above the version, which is about to run again", function()
    local p <close> = migrated()
    p.db:collection(project.LEDGER):update_one({ nameId = project.NAME_ID }, { ["$set"] = { ["data.currentVersion"] = "1.2.0" } })
    local found = drifted(p, "ahead third")[1]
    assert.are.equal("smartmigration-lua baseline 1.2.0 --force", found.wayOut)
    mend(p, found)
    sound(p)
  end)

  it("is not where old steps were pruned, line ends or a byte order mark changed", function()
    local p <close> = migrated()
    p:remove "1.lua"
    p:file("2.lua", "\xef\xbb\xbf" .. chain()["2.lua"])
    p:file("3.lua", (chain()["3.lua"]:gsub("\n", "\r\n")))
    sound(p)
    local status = p:run({ "status" }).json
    assert.are.same({}, status.drift)
  end)

  it("is the same over a ledger in S3", function()
    local p <close> = s3_project.new(chain())
    p:migrate()
    p:file("2.lua", step("other", "1.1.0", "1.2.0"))
    local list = drifted(p, "missing second, late-inserted other")
    mend(p, list[1])
    mend(p, list[2])
    sound(p)
  end)

  it("is told to people by step, file, versions and command", function()
    local p <close> = migrated()
    p:file("2.lua", step("it's", "1.1.0", "1.2.0"))
    local command = p:command { "validate" }
    table.remove(command, 2) -- --json
    local out = process.run(command).out
    for _, line in ipairs {
      "drift: second was applied (1.1.0 -> 1.2.0) and is not in the chain any more; put its file back, or, if it was removed or "
        .. "renamed on purpose, take it out of the record: smartmigration-lua repair --accept-drift 'second'\n",
      "drift: it's (1.1.0 -> 1.2.0) stands below the version of the data and was never applied, migrations/2.lua; ",
      "smartmigration-lua repair --accept-drift 'it'\\''s'\n",
    } do
      assert.is_truthy(out:find(line, 1, true), out)
    end
    command[#command] = "status"
    out = process.run(command).out
    assert.is_truthy(out:find("inserted late", 1, true), out)
    assert.is_truthy(out:find("drift: second was applied", 1, true), out)
  end)
end)

-- ---------------------------------------------------------------------- a git ref

-- A place with the chain committed on main, and a branch `work` checked out; place:git(words), place:commit().
local function repository(files)
  local place = cli.place(files or {})
  function place:git(words)
    local command = { "git", "-C", self.folder, "-c", "user.name=a", "-c", "user.email=a@example.org", table.unpack(words) }
    local result = process.run(command)
    assert(result.status == 0, result.out .. result.err)
    return result.out
  end
  function place:commit()
    self:git { "add", "--all" }
    self:git { "commit", "--quiet", "--allow-empty", "--message", "x" }
  end
  function place:remove(name)
    assert(os.remove(self.folder .. "/" .. name))
  end
  function place:step(name, ...)
    self:write("migrations/" .. name, step(...))
  end
  place:git { "init", "--quiet", "--initial-branch", "main" }
  for name, text in pairs(chain()) do place:write("migrations/" .. name, text) end
  place:commit()
  place:git { "checkout", "--quiet", "-b", "work" }
  return place
end

local function against(place, status, expected, base)
  local result = place:run { "validate", "--base", base or "main", "--json" }
  assert.are.equal(status, result.status, result.out .. result.err)
  assert.are.equal(expected, kinds(result.json.drift))
  for _, found in ipairs(result.json.drift) do assert.are.equal("base", found.against) end
  return result.json
end

describe("validate --base", function()
  it("finds nothing where nothing changed, or steps were added at the end", function()
    local place <close> = repository()
    local found = against(place, 0, "")
    assert.are.same({ "main", 3 }, { found.base.ref, found.base.steps })
    assert.are.equal(place:git({ "rev-parse", "main" }), found.base.commit .. "\n")
    place:step("4.lua", "fourth", "1.3.0", "1.4.0")
    against(place, 0, "")
    place:commit()
    against(place, 0, "")
    assert.are.equal("4 steps, chain 1.0.0 -> 1.4.0 is sound.\n", place:run({ "validate", "--base", "main" }).out)
    assert.are.equal("", place:git { "status", "--porcelain" })
  end)

  it("finds two merged branches with the same from, whichever way their files sort", function()
    for _, name in ipairs { "3z.lua", "5.lua" } do
      local place <close> = repository()
      place:step(name, "mine", "1.3.0", "1.4.0")
      place:commit()
      place:git { "checkout", "--quiet", "main" }
      place:step("4.lua", "theirs", "1.3.0", "1.4.0")
      place:commit()
      place:git { "checkout", "--quiet", "work" }
      place:git { "merge", "--quiet", "--no-edit", "main" }
      local found = against(place, 3, "late-inserted mine")
      assert.are.equal("CHAIN_NOT_CONTIGUOUS", found.problem.code)
      assert.are.equal('from = "1.4.0", in a file whose name sorts behind 4.lua', found.drift[1].wayOut)
      assert.are.equal("migrations/" .. name, found.drift[1].file)
    end
  end)

  it("finds a renamed step; a renamed file is none", function()
    local place <close> = repository()
    place:step("2.lua", "deux", "1.1.0", "1.2.0")
    local found = against(place, 6, "renamed second").drift[1]
    assert.are.equal("deux", found.renamedTo)
    assert.is_truthy(place:run({ "validate", "--base", "main" }).out:find(
      "drift: second (1.1.0 -> 1.2.0) was renamed to 'deux' since the base, migrations/2.lua; keep its id", 1, true))
    place:git { "checkout", "--quiet", "." }
    place:git { "mv", "migrations/2.lua", "migrations/2-second.lua" }
    against(place, 0, "")
  end)

  it("finds a step inserted between those of the base", function()
    local place <close> = repository()
    place:step("2.lua", "second", "1.1.0", "1.1.5")
    place:step("2a.lua", "late", "1.1.5", "1.2.0")
    local list = against(place, 6, "moved second, late-inserted late").drift
    assert.are.equal("git -C 'migrations' checkout 'main' -- '2.lua'", list[1].wayOut)
    assert.are.same({ "1.2.0", "1.1.5" }, { list[1].recordedTo, list[1].chainTo })
  end)

  it("finds a step at the beginning, a changed one, and a removed one", function()
    local place <close> = repository()
    place:step("0.lua", "zeroth", "0.9.0", "1.0.0")
    against(place, 6, "late-inserted zeroth")
    place:remove "migrations/0.lua"
    place:step("3.lua", "third", "1.2.0", "1.3.0", "-- changed")
    local found = against(place, 6, "changed third").drift[1]
    assert.are_not.equal(found.recorded, found.found)
    place:remove "migrations/3.lua"
    against(place, 6, "missing third")
  end)

  it("takes line ends, a byte order mark and pruned old steps as they are", function()
    local place <close> = repository()
    place:write("migrations/2.lua", "\xef\xbb\xbf" .. chain()["2.lua"])
    place:write("migrations/3.lua", (chain()["3.lua"]:gsub("\n", "\r\n")))
    place:remove "migrations/1.lua"
    against(place, 0, "")
    place:remove "migrations/2.lua"
    place:commit()
    against(place, 0, "")
  end)

  it("loads what the files of the base required, not what is there now", function()
    local place <close> = repository { ["migrations/_names.lua"] = "return { id = 'shared' }" }
    place:git { "checkout", "--quiet", "main" }
    place:write("migrations/4.lua", (step("x", "1.3.0", "1.4.0"):gsub('"x"', "require('_names').id")))
    place:commit()
    place:git { "checkout", "--quiet", "-B", "work" }
    place:write("migrations/_names.lua", "return { id = 'other' }")
    against(place, 6, "renamed shared")
  end)

  it("begins where the folder was not there yet, and works below a repository's top and inside of a hook", function()
    local place <close> = repository()
    place:git { "checkout", "--quiet", "--orphan", "empty" }
    place:git { "rm", "--quiet", "-r", "-f", "migrations" }
    place:commit()
    place:git { "checkout", "--quiet", "work" }
    assert.are.equal(0, against(place, 0, "", "empty").base.steps)
    place:step("2.lua", "second", "1.1.0", "1.2.0", "-- changed")
    local result = place:run { "validate", "--base", "main", "--dir", "../migrations", "--json",
      env = { GIT_DIR = ".git", GIT_INDEX_FILE = "nowhere" } }
    assert.are.equal(2, result.status) -- the folder is not there
    result = place:run { "validate", "--base", "main", "--json", env = { GIT_DIR = "elsewhere", GIT_INDEX_FILE = "nowhere" } }
    assert.are.equal("changed second", kinds(result.json.drift))
  end)

  it("names what changed also where the chain is broken besides", function()
    local place <close> = repository()
    for fields, expected in pairs {
      ['id = "second", to = "1.2.0"'] = "moved second", ['id = "second", from = "latest", to = 2'] = "moved second",
      ['from = "1.1.0", to = "1.2.0"'] = "missing second", ["id = 2"] = "missing second, late-inserted 2",
    } do
      place:write("migrations/2.lua", ("return { %s, up = function() end }"):format(fields))
      assert.is_truthy(against(place, 3, expected).problem.code, fields)
    end
    place:write("migrations/2.lua", step("second", "v1.1.0", "1.2.0+build"))
    against(place, 6, "changed second")
  end)

  it("refuses what git does not know, and says so", function()
    local place <close> = repository()
    local function refused(words, part)
      words[#words + 1] = "--json"
      local result = place:run(words)
      assert.are.equal(2, result.status, result.out .. result.err)
      assert.are.equal("INVALID_OPTIONS", result.json.error.code)
      assert.is_truthy(result.json.error.message:find(part, 1, true), result.json.error.message)
    end
    refused({ "validate", "--base", "nowhere" }, "git knows no commit 'nowhere'")
    refused({ "validate", "--base", "main; touch here" }, "git knows no commit 'main; touch here'")
    refused({ "validate", "--base=--help" }, "git knows no commit '--help'")
    local tools = "mkdir bin && ln -s $(which env mktemp rm) bin"
    assert.are.equal(0, process.run({ "sh", "-c", tools, cwd = place.folder }).status)
    refused({ "validate", "--base", "main", env = { PATH = place.folder .. "/bin" } }, "needs git, and there is none")
    refused({ "validate", "--base", "main", env = { PATH = "/nowhere" } }, "no temporary folder can be made")
    refused({ "plan", "--base", "main" }, "belong to 'plan' but to 'validate'")
    local bare <close> = cli.place { ["migrations/1.lua"] = chain()["1.lua"] }
    local result = bare:run { "validate", "--base", "main", "--json", env = { GIT_CEILING_DIRECTORIES = "/tmp" } }
    assert.are.equal(2, result.status, result.out)
    assert.is_truthy(result.json.error.message:find("the folder 'migrations' is in no git repository", 1, true), result.out)
  end)

  it("leaves nothing behind", function()
    local place <close> = repository()
    local temporary <close> = cli.place { ["keep"] = "" }
    -- A base that does not load, a good end, and a refusal.
    place:git { "checkout", "--quiet", "-B", "broken" }
    place:write("migrations/3.lua", "return {")
    place:commit()
    place:git { "checkout", "--quiet", "work" }
    local broken = place:run { "validate", "--base", "broken", "--json", env = { TMPDIR = temporary.folder } }
    assert.are.equal("STEP_LOAD_FAILED", broken.json.error.code)
    assert.is_truthy(broken.json.error.message:find "^the folder does not load as it was at broken: migrations/3.lua:",
      broken.out)
    for _, base in ipairs { "main", "nowhere" } do
      place:run { "validate", "--base", base, env = { TMPDIR = temporary.folder } }
      assert.are.equal("keep\n", process.run({ "ls", temporary.folder }).out)
    end
  end)

  it("asks the server too, when one is given", function()
    local p <close> = project.new(chain())
    p:migrate()
    for _, words in ipairs { { "init", "--quiet", "--initial-branch", "main" }, { "add", "--all" },
      { "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", "x" } } do
      assert.are.equal(0, process.run({ "git", "-C", p.folder, table.unpack(words) }).status)
    end
    assert.are.equal("1.3.0", p:run({ "validate", "--base", "main" }).json.currentVersion)
    p:file("2.lua", step("second", "1.1.0", "1.2.0", "-- changed"))
    local found = p:run { "validate", "--base", "main" }
    assert.are.equal("changed second, changed second", kinds(found.json.drift))
    assert.is_nil(found.json.drift[1].against) -- the ledger
    assert.are.equal("base", found.json.drift[2].against)
  end)

  it("is the module's, too", function()
    local place <close> = repository()
    place:step("2.lua", "deux", "1.1.0", "1.2.0")
    local migration <close> = migrations.offline()
    migration:load(place.folder .. "/migrations")
    assert.are.equal("renamed second", kinds(migration:validate({ base = "main" }).drift))
    assert.are.same({}, migration:validate().drift)
    local failure = migrations.failure(migration.validate, migration, { bsae = "main" })
    assert.are.equal("unknown option 'bsae' for validate (did you mean 'base'?)", failure.message)
    local without <close> = migrations.offline()
    without:step("a"):from("1.0.0"):to("1.1.0"):up(function() end)
    assert.are.equal("INVALID_OPTIONS", migrations.failure(without.validate, without, { base = "main" }).code)
  end)
end)
