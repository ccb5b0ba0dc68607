-- What the specs of `doctor` share: asking it, and doing what it says.
--
--   local place <close> = doctor.place { env = … }          -- a folder for the binary (spec.support.cli)
--   local finding = doctor.finds(place, words, "mongo", "topology", "warning")   -- asks, and insists on that check
--   doctor.passes(place, words, "mongo", "topology")        -- the same for "ok"
--   doctor.mongosh(client, line, { USER = "ada", PASSWORD = "…" })   -- runs a line that was to be pasted into mongosh
--   doctor.aws(store, line)                                 -- runs a line that was to be pasted into a shell with the AWS tools
--   doctor.clock("+1h", { NAME = "value" })                 -- variables that set the clock of a program wrong, and others
local bson = require "smartmigration.bson"
local cli = require "spec.support.cli"
local process = require "spec.support.process"

local doctor = {}

function doctor.place(options)
  return cli.place({}, options)
end

-- The result of `doctor --json` with `check(store, name)`.
function doctor.ask(place, words)
  local command = { "doctor", "--json", env = words.env, limit = words.limit, table.unpack(words) }
  local result = place:run(command)
  if not (result.json and result.json.checks) then
    error("doctor ended with " .. tostring(result.status) .. ":\n" .. result.out .. result.err, 2)
  end
  function result.check(store, name)
    for _, check in ipairs(result.json.checks) do
      if check.store == store and check.check == name then return check end
    end
    error(("doctor tells nothing of %s %s:\n%s"):format(store, name, result.out), 2)
  end
  -- The counts and the exit status agree with the checks, and whatever is wrong has a way out.
  local errors, warnings = 0, 0
  for _, check in ipairs(result.json.checks) do
    local wrong = check.status == "error" or check.status == "warning"
    errors = errors + (check.status == "error" and 1 or 0)
    warnings = warnings + (check.status == "warning" and 1 or 0)
    assert((check.fix ~= nil) == wrong, result.out)
    assert(check.finding ~= "", result.out)
  end
  assert(result.json.errors == errors and result.json.warnings == warnings, result.out)
  assert(result.status == (errors > 0 and 1 or 0), result.out .. tostring(result.status))
  return result
end

function doctor.finds(place, words, store, name, status)
  local result = doctor.ask(place, words)
  local check = result.check(store, name)
  if check.status ~= status then
    error(("%s %s is %s, not %s: %s\n%s"):format(store, name, check.status, status, check.finding, result.out), 2)
  end
  return check, result
end

function doctor.passes(place, words, store, name)
  return doctor.finds(place, words, store, name, "ok")
end

-- Does what a line says in mongosh. `answers`: what a person puts in place of capital words, and types at a prompt.
function doctor.mongosh(client, line, answers)
  local database, text = line:match '^db%.getSiblingDB%("([^"]+)"%)%.runCommand%((.*)%)$'
  if not database then error("not a command for mongosh: " .. line, 2) end
  text = text:gsub("passwordPrompt%(%)", function() return bson.json(answers.PASSWORD) end)
  text = text:gsub('"USER"', function() return bson.json(answers.USER) end)
  local name = text:match '^{%s*"(%w+)"'
  local command = bson.from_json(text)
  local fields = {}
  for key, value in pairs(command) do
    if key ~= name then fields[#fields + 1] = { key, value } end
  end
  client:database(database):run_command(name, command[name], bson.doc(fields))
end

-- Does what a line says with the AWS tools, by the owner of the store.
function doctor.aws(store, line)
  local endpoint, command, bucket, rest = line:match "^aws %-%-endpoint%-url (%S+) s3api (%S+) %-%-bucket (%S+)(.*)$"
  assert(endpoint, "not a command of the AWS tools: " .. line)
  local answer
  if command == "create-bucket" then
    answer = store:ask { "create-bucket", bucket }
  elseif command == "put-bucket-policy" then
    answer = store:ask({ "request", "PUT", ("/%s?policy="):format(bucket) }, assert(rest:match "^ %-%-policy '(.*)'$"))
  end
  assert(answer and not answer.code, line .. ": " .. tostring(answer and answer.message))
end

-- The runtime of a sanitizer that the binary was built with, which has to be loaded before all else.
local function sanitizer()
  return process.run({ "ldd", cli.binary }).out:match "lib[at]san%.so%S* => (%S+)"
end

-- `offset`: "+1h", "-30s"; by libfaketime.
function doctor.clock(offset, others)
  local said = process.run { "faketime", "-f", "+0", "printenv", "LD_PRELOAD", env = { LD_PRELOAD = false } }
  local library = said.status == 0 and said.out:match "%S+" or error("there is no faketime: run scripts/setup test", 2)
  local runtime = sanitizer()
  local env = { LD_PRELOAD = runtime and runtime .. ":" .. library or library, FAKETIME = offset,
    FAKETIME_DONT_FAKE_MONOTONIC = "1" }
  for name, value in pairs(others) do env[name] = value end
  return env
end

return doctor
