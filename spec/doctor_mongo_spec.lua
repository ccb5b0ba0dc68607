-- `doctor` over MongoDB: each finding is provoked for real, and what it says mends it. 0.0.0.0 is a name of this machine that
-- does not look like one: what is warned of beyond loopback is provoked by it.
local bson = require "smartmigration.bson"
local doctor = require "spec.support.doctor"
local process = require "spec.support.process"
local project = require "spec.support.project"
local server = require "spec.support.server"
local smartmigration = require "smartmigration"
local wait_for = require "spec.support.wait_for"

local PASSWORD = "d0ctor:pa55/w"
local ENCODED = "d0ctor%3Apa55%2Fw"
local FAST = "&serverSelectionTimeoutMS=1000"

local function words_of(uri, database, more)
  local words = { "--mongo-db", database, env = { SMARTMIGRATION_MONGO_URI = uri } }
  return table.move(more or {}, 1, #(more or {}), 3, words)
end

local function far(uri)
  return (uri:gsub("127%.0%.0%.1", "0.0.0.0", 1):gsub("replicaSet=rs0", "directConnection=true"))
end

describe("doctor over MongoDB", function()
  local place

  setup(function() place = doctor.place() end)
  teardown(function() place:close() end)

  it("finds nothing wrong with a good server, leaves nothing behind, and takes no lock", function()
    local p <close> = project.new { ["1.lua"] = project.step("spin", "1.0.0", "1.1.0",
      "ctx.mongo:collection('things'):insert_one {} while true do ctx:check() end") }
    local child <close> = p:start { "run" }
    wait_for("the step to run", function() return p.db:collection("things"):find_one {} end)
    local before = #p:oplog "things"
    local result = doctor.ask(place, words_of(server.uri, p.database))
    assert.are.same({ 0, 0 }, { result.json.errors, result.json.warnings })
    assert.are.equal("running", p:ledger().steps.spin.status)
    assert.are.equal(before, #p:oplog "things")
    child:kill "TERM"
    child:wait()
    local other = server.database()
    doctor.ask(place, words_of(server.uri, other))
    assert.are.same({}, bson.to_table(server.open(other):collection_names()))
    assert.are.same({}, server.open("local"):collection("oplog.rs"):find({ ns = bson.regex("^" .. other .. "\\.") }):all())
  end)

  it("is a method of the module, with open handles as with settings", function()
    local name = server.database()
    for _, mongo in ipairs { { uri = server.uri, database = name }, { database = server.open(name) } } do
      local migration <close> = smartmigration.new { target_version = "1.0.0", mongo = mongo }
      local result = migration:doctor()
      assert.are.same({ 0, 0 }, { result.errors, result.warnings })
      assert.are.same({ "mongo", "reachable", "ok" },
        { result.checks[1].store, result.checks[1].check, result.checks[1].status })
      assert.is_true(server.open(name).name == name) -- a given handle stays open
    end
    local migration <close> = smartmigration.new { target_version = "1.0.0", mongo = { uri = server.uri, database = name } }
    local _, refused = pcall(migration.doctor, migration, { file = {} })
    assert.are.equal("INVALID_OPTIONS", refused.code)
    assert.is_truthy(refused.message:find("did you mean 'files'?", 1, true))
    local offline <close> = smartmigration.new { target_version = "1.0.0", offline = true }
    _, refused = pcall(offline.doctor, offline)
    assert.are.equal("NO_RESOURCES", refused.code)
  end)

  it("says who does not answer, also for people", function()
    local own <close> = server.start {}
    local words = server.words(own)
    local ask = words_of(own.uri .. FAST, "app")
    server.stop(own)
    local check, result = doctor.finds(place, ask, "mongo", "reachable", "error")
    local host = own.uri:match "//([^/]+)/"
    assert.is_truthy(check.finding:find(host, 1, true), check.finding)
    assert.is_truthy(check.fix:find("start MongoDB at " .. host, 1, true), check.fix)
    assert.are.equal("MongoDB cannot be reached", result.check("mongo", "ledger").finding)
    local text = place:run { "doctor", env = ask.env, table.unpack(ask) }
    assert.are.equal(1, text.status)
    assert.is_truthy(text.out:find("to mend it: start MongoDB at " .. host, 1, true), text.out)
    assert.is_truthy(text.out:find("\n1 error, 0 warnings.\n", 1, true), text.out)

    local again <close> = server.restart(words)
    assert.is_truthy(again)
    server.client(own.uri):database("admin"):run_command("ping")
    doctor.passes(place, ask, "mongo", "reachable")
  end)

  it("makes a replica set of a standalone server", function()
    local own <close> = server.start { standalone = true }
    local words = server.words(own)
    local ask = words_of(own.uri, "app")
    local check, result = doctor.finds(place, ask, "mongo", "topology", "warning")
    assert.are.equal(0, result.status)
    assert.is_truthy(check.fix:find("--replSet rs0", 1, true), check.fix)
    assert.are.equal("skipped", result.check("mongo", "majority").status)
    server.stop(own)
    local again <close> = server.restart(words, { "--replSet", "rs0" })
    assert.is_truthy(again)
    doctor.mongosh(server.client(own.uri), check.paste[1], {})
    wait_for("a primary", function()
      return server.client(own.uri):database("admin"):run_command("hello").isWritablePrimary
    end)
    for _, name in ipairs { "topology", "majority", "primary" } do
      doctor.passes(place, words_of(own.uri:gsub("directConnection=true", "replicaSet=rs0"), "app"), "mongo", name)
    end
  end)

  it("tells a set without a primary, and one whose majority lags, and which members are down", function()
    local own <close> = server.start { members = 3 }
    local ask = words_of(own.uri .. FAST, "app")
    doctor.passes(place, ask, "mongo", "primary")
    local ports = {}
    for port in own.uri:gmatch "127%.0%.0%.1:(%d+)" do ports[#ports + 1] = port end
    local function member(i)
      return server.client(("mongodb://127.0.0.1:%s/?directConnection=true"):format(ports[i])):database "admin"
    end
    local primary
    for i = 1, 3 do
      if member(i):run_command("hello").isWritablePrimary then primary = i end
    end

    -- The secondaries take in nothing while the primary goes on.
    local function stop_applying(mode)
      for i = 1, 3 do
        if i ~= primary then member(i):run_command("configureFailPoint", "rsSyncApplyStop", { mode = mode }) end
      end
    end
    stop_applying "alwaysOn"
    local things = member(primary):client():database("app"):with { write_concern = { w = 1 } }:collection "things"
    wait_for("the majority to lag", function()
      things:insert_one {}
      local last = member(primary):run_command("hello").lastWrite
      return last.lastWriteDate - last.majorityWriteDate > 6000
    end, 30000)
    local check = doctor.finds(place, ask, "mongo", "majority", "error")
    assert.is_truthy(check.finding:find("lags %d+ s"), check.finding)
    assert.is_truthy(check.fix:find("why the others do not keep up", 1, true), check.fix)
    stop_applying "off"
    things:with { write_concern = { w = "majority" } }:insert_one {}
    doctor.passes(place, ask, "mongo", "majority")

    -- Two of three are frozen, so the third cannot be primary.
    local down = {}
    for i = 1, 3 do
      if i ~= primary then
        process.kill(own.pids[i], "STOP")
        down[#down + 1] = "127.0.0.1:" .. ports[i]
      end
    end
    wait_for("the primary to step down", function() return not member(primary):run_command("hello").isWritablePrimary end, 60000)
    wait_for("it to know which are down", function()
      local status = member(primary):run_command "replSetGetStatus"
      local unhealthy = 0
      for _, one in ipairs(status.members) do unhealthy = unhealthy + (one.health ~= 1 and 1 or 0) end
      return unhealthy == 2
    end, 60000)
    local result
    check, result = doctor.finds(place, ask, "mongo", "primary", "error")
    for _, host in ipairs(down) do assert.is_truthy(check.finding:find(host, 1, true), check.finding) end
    assert.is_truthy(check.fix:find("start the members that are down", 1, true), check.fix)
    assert.are.equal("ok", result.check("mongo", "reachable").status)
    assert.are.equal("there is no primary", result.check("mongo", "ledger").finding)
    for i = 1, 3 do process.kill(own.pids[i], "CONT") end
    wait_for("a primary", function()
      for i = 1, 3 do
        if member(i):run_command("hello").isWritablePrimary then return true end
      end
    end, 60000)
    doctor.passes(place, ask, "mongo", "primary")
  end)

  it("compares clocks", function()
    local ask = words_of(server.uri, server.database())
    for offset, says in pairs { ["+1h"] = "3600 s ahead of", ["-20s"] = "20 s behind" } do
      ask.env = doctor.clock(offset, { SMARTMIGRATION_MONGO_URI = server.uri })
      local check, result = doctor.finds(place, ask, "mongo", "clock", "warning")
      assert.is_truthy(check.finding:find(says, 1, true), check.finding)
      assert.is_truthy(check.finding:find("the lock goes by the server's clock", 1, true), check.finding)
      assert.are.equal("sudo timedatectl set-ntp true", check.paste[1])
      assert.are.equal(0, result.status)
    end
    ask.env = doctor.clock("+0", { SMARTMIGRATION_MONGO_URI = server.uri })
    doctor.passes(place, ask, "mongo", "clock")
  end)

  it("tells a server that is too old", function()
    local own <close> = server.start {}
    local ask = words_of(own.uri, "app")
    local admin = server.client(own.uri):database "admin"
    -- What a server answers that does not know an operator of the ledger's first read.
    local function is_old(mode)
      admin:run_command("configureFailPoint", "failCommand",
        { mode = mode, data = { failCommands = bson.array { "find" }, errorCode = 168 } })
    end
    is_old "alwaysOn"
    local check = doctor.finds(place, ask, "mongo", "version", "error")
    assert.is_truthy(check.fix:find("MongoDB 5.0", 1, true), check.fix)
    is_old "off"
    doctor.passes(place, ask, "mongo", "version")
  end)

  it("tells a ledger that is corrupt, and one that another program writes", function()
    local p <close> = project.new {}
    local ask = words_of(server.uri, p.database)
    p:set_ledger { currentVersion = 5 }
    local check = doctor.finds(place, ask, "mongo", "ledger", "error")
    assert.is_truthy(check.finding:find("currentVersion", 1, true), check.finding)
    assert.is_truthy(check.fix:find("correct it", 1, true), check.fix)
    p:set_ledger { currentVersion = "1.0.0", steps = bson.doc {}, lock = { holder = bson.null }, checkpoints = bson.doc {} }
    check = doctor.finds(place, ask, "mongo", "ledger", "warning")
    assert.are.equal("--lock-ttl 10m", check.paste[1])
    local option, value = check.paste[1]:match "(%S+) (%S+)"
    doctor.passes(place, words_of(server.uri, p.database, { option, value }), "mongo", "ledger")
  end)

  it("warns of connections that are not encrypted, and of certificates that nobody checks", function()
    local own <close> = server.start { tls = true }
    local uri = far(own.uri)
    local check = doctor.finds(place, words_of(uri, "app"), "mongo", "encryption", "warning")
    assert.is_truthy(check.finding:find("0.0.0.0", 1, true), check.finding)
    local mended = uri .. "&" .. check.paste[1]:gsub("FILE", own.ca_file)
    doctor.passes(place, words_of(mended, "app"), "mongo", "encryption")
    doctor.passes(place, words_of(mended, "app"), "mongo", "reachable")

    for _, option in ipairs { "tlsInsecure", "tlsAllowInvalidCertificates" } do
      check = doctor.finds(place, words_of(("%s&tls=true&%s=true"):format(own.uri, option), "app"), "mongo", "encryption",
        "warning")
      assert.is_truthy(check.fix:lower():find(("take %s out of the URI"):format(option):lower(), 1, true), check.fix)
      doctor.passes(place, words_of(own.uri .. "&" .. check.paste[1]:gsub("FILE", own.ca_file), "app"), "mongo", "encryption")
    end
    -- A certificate that is checked and not trusted is no connection at all.
    check = doctor.finds(place, words_of(own.uri .. "&tls=true" .. FAST, "app"), "mongo", "reachable", "error")
    assert.is_truthy(check.fix:find("TLS options", 1, true), check.fix)
  end)

  it("warns of a server without access control, and says how to get one", function()
    local own <close> = server.start { standalone = true }
    local words = server.words(own)
    local check = doctor.finds(place, words_of(far(own.uri), "app"), "mongo", "access_control", "warning")
    assert.is_truthy(check.fix:find("security.authorization", 1, true), check.fix)
    doctor.mongosh(server.client(own.uri), check.paste[1], { USER = "ada", PASSWORD = PASSWORD })
    server.stop(own)
    local again <close> = server.restart(words, { "--auth" })
    assert.is_truthy(again)
    local with_user = far(own.uri):gsub("//", function() return ("//ada:%s@"):format(ENCODED) end, 1)
    doctor.passes(place, words_of(with_user, "app"), "mongo", "access_control")
  end)

  it("warns of a password in an argument, and of files with secrets that everybody can read", function()
    local database = server.database()
    local uri = server.uri:gsub("//", function() return ("//nobody:%s@"):format(ENCODED) end, 1)
    local check = doctor.finds(place, { "--mongo-uri", uri, "--mongo-db", database }, "settings", "password_argument", "warning")
    local option = check.paste[1]:match "^(%S+) FILE$"
    local file = place:write("uri.txt", uri .. "\n")
    assert(os.execute("chmod 644 " .. file))
    local ask = { option, file, "--mongo-db", database }
    local result
    check, result = doctor.finds(place, ask, "settings", "secret_file", "warning")
    assert.is_nil(result.out:find("password_argument", 1, true))
    assert.are.equal("chmod 600 " .. file, check.paste[1])
    assert(os.execute(check.paste[1]))
    doctor.passes(place, ask, "settings", "secret_file")

    local config = place:write("it is secret.lua", ("return { mongo = { uri = %q, database = %q } }"):format(uri, database))
    check = doctor.finds(place, { "--config", config }, "settings", "secret_file", "warning")
    assert(os.execute(check.paste[1]))
    doctor.passes(place, { "--config", config }, "settings", "secret_file")
    -- Without a secret in it, a file may be read.
    place:write("plain.lua", ("return { mongo = { uri = env 'DOCTOR_URI', database = %q } }"):format(database))
    result = doctor.ask(place, { "--config", "plain.lua", env = { DOCTOR_URI = uri } })
    assert.is_nil(result.out:find("secret_file", 1, true))
  end)
end)

describe("doctor on a server with access control", function()
  local own, admin, place, count = nil, nil, nil, 0

  setup(function()
    own = server.start { auth = true }
    admin = server.client(own.uri):database "admin"
    place = doctor.place()
  end)

  teardown(function()
    place:close()
    own:close()
  end)

  local function uri_of(name, password)
    return (own.uri:gsub("//[^@]*@", function() return ("//%s:%s@"):format(name, password or ENCODED) end))
  end

  -- A user with a role that has these privileges, and a database of their own.
  local function user(privileges)
    count = count + 1
    local name, database = "user" .. count, "app" .. count
    local list = {}
    for i, privilege in ipairs(privileges) do
      list[i] = { resource = { db = database, collection = privilege[1] }, actions = bson.array(privilege[2]) }
    end
    admin:run_command("createRole", name, { privileges = bson.array(list), roles = bson.array {} })
    admin:run_command("createUser", name, { pwd = PASSWORD, roles = bson.array { { role = name, db = "admin" } } })
    return name, database
  end

  local function paste(check)
    for _, line in ipairs(check.paste) do doctor.mongosh(admin:client(), line, { USER = "nobody", PASSWORD = PASSWORD }) end
  end

  it("tells a password that is refused", function()
    local name, database = user {}
    local check, result = doctor.finds(place, words_of(uri_of(name, "wr0ng-secret"), database), "mongo", "login", "error")
    assert.are.equal(1, result.status)
    assert.are.equal("ok", result.check("mongo", "reachable").status)
    doctor.mongosh(admin:client(), check.paste[1], { USER = name, PASSWORD = "wr0ng-secret" })
    doctor.passes(place, words_of(uri_of(name, "wr0ng-secret"), database), "mongo", "login")
  end)

  it("tells a URI without a user", function()
    local uri = own.uri:gsub("//[^@]*@", "//")
    local check, result = doctor.finds(place, words_of(uri, "nobodys"), "mongo", "login", "error")
    assert.are.equal("nobody is signed in", result.check("mongo", "permissions").finding)
    doctor.mongosh(admin:client(), check.paste[1], { USER = "new", PASSWORD = PASSWORD })
    doctor.passes(place, words_of(uri_of "new", "nobodys"), "mongo", "login")
  end)

  it("names the rights that are missing, and the role that has them; with it a run works", function()
    local name, database = user { { "SmartdataEasyStore", { "find", "update" } }, { "things", { "insert" } } }
    local ask = words_of(uri_of(name), database)
    local check, result = doctor.finds(place, ask, "mongo", "permissions", "error")
    for _, action in ipairs { "insert", "createIndex", "listIndexes", "listCollections" } do
      assert.is_truthy(check.finding:find(action, 1, true), check.finding)
    end
    for _, action in ipairs { "find on", "update on" } do
      assert.is_nil(check.finding:find(action, 1, true), check.finding)
    end
    assert.are.equal("warning", result.check("mongo", "dead_runs").status)
    paste(check)
    result = doctor.ask(place, ask)
    assert.are.same({ 0, 0 }, { result.json.errors, result.json.warnings }, result.out)

    -- Exactly that is enough for all that the engine does.
    local p <close> = project.new({ ["1.lua"] = project.step("one", "1.0.0", "1.1.0",
      "ctx.mongo:collection('things'):insert_one {}") }, { uri = own.uri, database = database })
    p.uri = uri_of(name)
    for _, words in ipairs { { "run" }, { "plan" }, { "history" }, { "repair", "--mark-pending", "one" }, { "unlock" },
      { "history", "--prune-older-than", "0" } } do
      local done = p:run(words)
      assert.are.equal(0, done.status, done.out .. done.err)
    end
    p:close()
  end)

  it("takes each right of that role for needed", function()
    local name, database = user {}
    local ask = words_of(uri_of(name), database)
    paste((doctor.finds(place, ask, "mongo", "permissions", "error")))
    local role = admin:run_command("rolesInfo", "smartmigration-" .. database, { showPrivileges = true }).roles[1]
    local whole = bson.to_table(role.privileges)
    for i, privilege in ipairs(whole) do
      for at = 1, #privilege.actions do
        local action = table.remove(privilege.actions, at)
        local fewer = {}
        for k, one in ipairs(whole) do
          fewer[k] = #one.actions > 0 and { resource = one.resource, actions = bson.array(one.actions) } or nil
        end
        local kept = {}
        for k = 1, #whole do kept[#kept + 1] = fewer[k] end
        admin:run_command("updateRole", role.role, { privileges = bson.array(kept) })
        table.insert(privilege.actions, at, action)
        local on_cluster = privilege.resource.cluster
        local check = doctor.finds(place, ask, "mongo", on_cluster and "dead_runs" or "permissions",
          (on_cluster or action == "remove") and "warning" or "error")
        assert.is_truthy(check.finding:find(action, 1, true), i .. " " .. action .. ": " .. check.finding)
        assert.is_truthy(check.paste[1]:find('"updateRole"', 1, true), check.paste[1])
        paste(check)
        doctor.passes(place, ask, "mongo", on_cluster and "dead_runs" or "permissions")
      end
    end
  end)

  it("does not want createIndex where the index is", function()
    local name, database = user { { "SmartdataEasyStore", { "find", "insert", "update", "remove", "listIndexes" } },
      { "", { "listCollections" } } }
    local ask = words_of(uri_of(name), database)
    doctor.finds(place, ask, "mongo", "permissions", "error")
    admin:client():database(database):collection("SmartdataEasyStore"):create_index({ nameId = 1 }, { unique = true })
    doctor.passes(place, ask, "mongo", "permissions")
  end)

  it("knows rights by wider roles: readWrite is enough but for the commands of other users", function()
    count = count + 1
    local name, database = "wide" .. count, "app" .. count
    admin:run_command("createUser", name, { pwd = PASSWORD, roles = bson.array { { role = "readWrite", db = database } } })
    local ask = words_of(uri_of(name), database)
    local check, result = doctor.finds(place, ask, "mongo", "dead_runs", "warning")
    assert.are.equal(0, result.status)
    assert.are.equal("ok", result.check("mongo", "permissions").status)
    assert.is_truthy(check.finding:find("inprog and killAnySession", 1, true), check.finding)
    paste(check)
    doctor.passes(place, ask, "mongo", "dead_runs")
    doctor.passes(place, words_of(own.uri, database), "mongo", "permissions")
  end)
end)
