-- Secrets never appear: planted passwords, keys and tokens are searched raw, percent-encoded, base64-encoded and in
-- hexadecimal in all that every command says, in both formats, in what the process list shows, in the ledger and in the history.
-- A step tries hard to let them out. That the search finds one which got out is shown for every form.
local bson = require "smartmigration.bson"
local cli = require "spec.support.cli"
local dkjson = require "dkjson"
local s3 = require "spec.support.s3"
local server = require "spec.support.server"

local PASSWORD = 'P@ss/w"\u{f6}rd%1 +key'
local KEY, TOKEN = "wJalrXUtnFEMI/K7MDENG+bPxRfiPlanted", "FwoGZXIvYXdzEPlanted//Token+abc=="

local function percent(text, kept)
  return (text:gsub(kept and "[^" .. kept .. "]" or ".", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function hex(text)
  return (text:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function base64(text)
  local out = text:gsub("..?.?", function(group)
    local a, b, c = group:byte(1, 3)
    local bits, letters = a << 16 | (b or 0) << 8 | (c or 0), ""
    for i = 3, 3 - #group, -1 do
      local at = (bits >> 6 * i & 63) + 1
      letters = letters .. ALPHABET:sub(at, at)
    end
    return letters .. ("="):rep(3 - #group)
  end)
  return out
end

-- How a secret may be written, by name; some with something before it, as "user:password" is in a header.
local function forms(secret)
  return {
    raw = secret, percent = percent(secret, "%w"), ["percent of all"] = percent(secret), hex = hex(secret),
    HEX = hex(secret):upper(),
    base64 = base64(secret), ["base64 at 1"] = base64("u" .. secret), ["base64 at 2"] = base64("u:" .. secret),
    ["base64 of urls"] = base64(secret):gsub("[+/]", { ["+"] = "-", ["/"] = "_" }), json = dkjson.encode(secret),
  }
end

-- The form in which the secret is in the text, or nil.
local function leak(text, secret)
  local decoded = text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end)
  for form, there in pairs {
    raw = text, percent = decoded, plus = decoded:gsub("+", " "), json = text:gsub('\\+(["\\/])', "%1"),
  } do
    if there:find(secret, 1, true) then return form end
  end
  if text:lower():find(hex(secret), 1, true) then return "hex" end
  for lead = 0, 2 do
    -- Without the letters that hold bits of what stands around.
    local encoded = base64(("x"):rep(lead) .. secret):sub(lead > 0 and lead + 2 or 1, -1):gsub("=+$", "")
    encoded = (#secret + lead) % 3 > 0 and encoded:sub(1, -2) or encoded
    for _, there in ipairs { text, decoded } do
      if there:gsub("[-_]", { ["-"] = "+", ["_"] = "/" }):find(encoded, 1, true) then return "base64" end
    end
  end
end

-- Says every line of the file `planted` in all the ways a step has, then fails with all of them.
local STEP = [[
return { id = "talk", from = "1.0.0", to = "1.1.0", resumable = true, description = "Says what it must not", up = function(ctx)
  local all = {}
  for line in io.lines "planted" do
    all[#all + 1] = line
    ctx.log:info("it is " .. line)
    ctx.log:warn("in a field", { value = line, list = { line }, [ "key " .. #all ] = { deep = line } })
    print(line)
    pcall(error, line)
  end
  if ctx.bucket then ctx.log:info("signed " .. ctx.bucket:presign("GET", "key")) end
  if io.open "put" then ctx.bucket:put("made", "body") end
  ctx.mongo:collection("things"):insert_one { said = #all }
  if io.open "fail" then error(table.concat(all, " ")) end
end }]]

describe("the search for secrets", function()
  it("finds each one that got out, in every form, and nothing else", function()
    for _, secret in ipairs { PASSWORD, KEY, TOKEN } do
      for form, text in pairs(forms(secret)) do
        assert.is_truthy(leak("before " .. text .. " after", secret), form)
      end
      assert.is_nil(leak("mongodb://ada:***@localhost/app " .. base64("ada:something else") .. secret:sub(1, -2), secret))
    end
  end)
end)

describe("planted secrets", function()
  local own, store, bucket, uri
  local database <const> = "planted"

  setup(function()
    own, store = server.start { auth = true }, s3.shared()
    server.client(own.uri):database("admin"):run_command("createUser", "ada", { pwd = PASSWORD, roles = bson.array { "root" } })
    bucket = store:bucket()
    local user = "//ada:" .. percent(PASSWORD, "%w") .. "@"
    uri = own.uri:gsub("//[^@]*@", function() return user end)
  end)

  teardown(function() own:close() end)

  local function clean(text, secrets, what)
    for name, secret in pairs(secrets) do
      local form = leak(text, secret)
      assert.is_nil(form, ("the %s is told (%s) by %s:\n%s"):format(name, form, what, text))
    end
  end

  -- A place whose step knows the secrets in all their forms.
  local function place(env, secrets)
    env.SMARTMIGRATION_MONGO_DB = database
    local here = cli.place({ ["migrations/1.lua"] = STEP }, { env = env })
    local lines = {}
    for _, secret in pairs(secrets) do
      for _, text in pairs(forms(secret)) do lines[#lines + 1] = text end
    end
    here:write("planted", table.concat(lines, "\n") .. "\n")
    return here
  end

  local function ledger()
    local all = {}
    for document in server.client(own.uri):database(database):collection("SmartdataEasyStore"):find {} do
      all[#all + 1] = bson.json(document)
    end
    return table.concat(all, "\n")
  end

  local COMMANDS = {
    { "plan" }, { "run" }, { "status" }, { "history" }, { "validate" }, { "checkpoint", "show" }, { "unlock" }, { "run" },
    { "repair", "--rerun", "talk" }, { "baseline", "1.0.0", "--force" }, { "repair", "--mark-applied", "talk" },
    { "status", "--check" }, { "version", "--verbose" }, { "help", "run" }, { "run", "--nonsense" },
    { "doctor" },
  }

  -- Every command with `words` besides, in both formats; the first run fails.
  local function all_clean(here, secrets, words)
    for _, format in ipairs { { "--log-format", "text" }, { "--log-format", "json", "--json" } } do
      server.client(own.uri):database(database):drop()
      here:write("fail", "")
      for i, command in ipairs(COMMANDS) do
        local line = { "--log-level=debug", stdin = words.stdin }
        for _, more in ipairs { command, words, format } do table.move(more, 1, #more, #line + 1, line) end
        local result = here:run(line)
        clean(result.out .. result.err, secrets, table.concat(command, " "))
        if i == 2 then
          assert.are.equal(1, result.status, result.err)
          assert.is_truthy(result.err:find("it is ***", 1, true), result.err)
          os.remove(here.folder .. "/fail")
        elseif command[1] == "run" and not command[2] then
          assert.are.equal(0, result.status, result.err)
        end
      end
      local stored = ledger()
      assert.is_truthy(stored:find("talk", 1, true) and stored:find("smartmigration-history", 1, true), stored)
      clean(stored, secrets, "the ledger")
    end
  end

  it("do not appear when they come from variables", function()
    local secrets = { password = PASSWORD, key = store.env.AWS_SECRET_ACCESS_KEY }
    local env = { SMARTMIGRATION_MONGO_URI = uri, SMARTMIGRATION_S3_ENDPOINT = store.endpoint, SMARTMIGRATION_S3_BUCKET = bucket,
      SMARTMIGRATION_S3_STYLE = "path" }
    for name, value in pairs(store.env) do env[name] = value end
    local here <close> = place(env, secrets)
    here:write("put", "")
    all_clean(here, secrets, {})
    assert.is_truthy((store:get(bucket, "made")))
  end)

  it("do not appear when they come from the config file, nor when the store refuses them", function()
    local secrets = { password = PASSWORD, key = KEY, token = TOKEN }
    local here <close> = place({}, secrets)
    here:write("smartmigration.config.lua", ([[return { mongo = { uri = %q }, s3 = { endpoint = %q, bucket = %q, style = "path",
      region = "us-east-1", access_key_id = "AKIAPLANTED", secret_access_key = %q, session_token = %q } }]]):format(uri,
      store.endpoint, bucket, KEY, TOKEN))
    here:write("plain.lua", ("return { mongo = { uri = %q } }"):format(uri))
    for _, format in ipairs { { "--log-format", "text" }, { "--log-format", "json", "--json" } } do
      server.client(own.uri):database(database):drop()
      for _, command in ipairs {
        { 5, "run" }, { 0, "baseline", "1.0.0", "-c", "plain.lua" }, { 0, "plan" }, { 0, "run" }, { 0, "status" },
        { 0, "history" }, { 0, "repair", "--mark-pending", "talk" }, { 1, "run", put = "" }, { 0, "history" }, { 0, "unlock" },
        { 1, "doctor" },
      } do
        local line = { "--log-level=debug", table.unpack(command, 2) }
        table.move(format, 1, #format, #line + 1, line)
        if command.put then here:write("put", "") end
        local result = here:run(line)
        assert.are.equal(command[1], result.status, result.out .. result.err)
        clean(result.out .. result.err, secrets, table.concat(command, " ", 2))
      end
      clean(ledger(), secrets, "the ledger")
      os.remove(here.folder .. "/put")
    end
  end)

  it("do not appear when they come in a file, on stdin or as an argument", function()
    local secrets = { password = PASSWORD }
    local here <close> = place({}, secrets)
    here:write("uri", uri .. "\n")
    all_clean(here, secrets, { "--mongo-uri-file", "uri" })
    all_clean(here, secrets, { "--mongo-uri-file", "-", stdin = uri })
    all_clean(here, secrets, { "--mongo-uri", uri })
    all_clean(here, secrets, { "--mongo-uri=" .. uri })
  end)

  it("do not appear in the process list, nor in what is said of a run that was stopped", function()
    local secrets = { password = PASSWORD }
    local here <close> = cli.place({ ["migrations/1.lua"] = [[return { id = "a", from = "1.0.0", to = "1.1.0", up = function(ctx)
      ctx.log:info("under way")
      while true do ctx:check() end
    end }]] }, { env = {} })
    for _, words in ipairs { { "--mongo-uri", uri }, { "--mongo-uri=" .. uri } } do
      local child <close> = here:start { "run", "--mongo-db", "stopped", table.unpack(words) }
      child:wait_for "under way"
      local file <close> = assert(io.open(("/proc/%d/cmdline"):format(child.pid)))
      local shown = file:read "a"
      assert.is_truthy(shown:find("--mongo-uri", 1, true), shown)
      clean(shown, secrets, "the process list")
      child:kill "TERM"
      local result = child:wait(20000)
      assert.are.equal(143, result.status, result.err)
      assert.is_truthy(result.err:find("Next: smartmigration%-lua run %-%-mongo%-db stopped '?%-%-mongo%-uri"), result.err)
      clean(result.out .. result.err, secrets, "a run that was stopped")
    end
  end)

  it("do not appear when the server refuses them or is not there, which is told in time and with its name", function()
    local secrets = { password = PASSWORD }
    local here <close> = place({}, secrets)
    local wrong = own.uri:gsub("//[^@]*@", function() return "//nobody:" .. percent(PASSWORD, "%w") .. "@" end)
    local options = "?serverSelectionTimeoutMS=1000"
    local gone = "mongodb://ada:" .. percent(PASSWORD, "%w") .. "@127.0.0.1:1,127.0.0.1:2/app" .. options
    for _, words in ipairs { {}, { "--json" } } do
      for given, name in pairs { [wrong] = "uthentication", [gone] = "127.0.0.1:1,127.0.0.1:2" } do
        local result = here:run { "run", "--log-level", "debug", env = { SMARTMIGRATION_MONGO_URI = given }, table.unpack(words) }
        assert.are.equal(5, result.status, result.out .. result.err)
        assert.is_truthy((result.out .. result.err):find(name, 1, true), result.out .. result.err)
        assert.is_true(result.ms < 4000, result.ms)
        clean(result.out .. result.err, secrets, "a server that cannot be used")
      end
    end
  end)

  it("are found where they are let out on purpose", function()
    local secrets = { password = PASSWORD }
    local here <close> = place({ SMARTMIGRATION_MONGO_URI = uri }, secrets)
    for form, text in pairs(forms(PASSWORD)) do
      server.client(own.uri):database(database):drop()
      -- Past every sink: the step's own writing to stderr, and to the ledger's collection.
      here:write("text", text)
      here:write("migrations/1.lua", [[return { id = "a", from = "1.0.0", to = "1.1.0", up = function(ctx)
        local text = io.open("text"):read "a"
        io.stderr:write(text, "\n")
        ctx.mongo:collection("SmartdataEasyStore"):insert_one { nameId = "x", text = text }
      end }]])
      local result = here:run { "run", leaks = true }
      assert.are.equal(0, result.status, result.err)
      assert.is_truthy(leak(result.err, PASSWORD), form .. ": " .. result.err)
      assert.is_truthy(leak(ledger(), PASSWORD), form .. ": " .. ledger())
      assert.is_false(pcall(clean, result.err, secrets, "a step"), form)
    end
  end)
end)
