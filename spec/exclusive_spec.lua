-- Many processes start at once: each step is applied once. A second application shows in `$inc`.
local process = require "spec.support.process"
local project = require "spec.support.project"

local ROUNDS = 50

local function chain()
  return project.chain(2, function(i)
    return ("ctx.mongo:collection('effects'):update_one({ _id = %d }, { ['$inc'] = { n = 1 } }, { upsert = true })"):format(i)
  end)
end

-- With `options` nothing is asserted. Runs `rounds` rounds of `count` processes on fresh databases; returns how many rounds saw
-- an effect more than once.
local function race(count, existing, rounds, options)
  local doubles = 0
  local p <close> = project.new(chain(), options)
  for _ = 1, rounds do
    p.db:drop()
    if existing then p:set_ledger { currentVersion = "1.0.0", steps = require("smartmigration.bson").doc {} } end
    local commands = {}
    for i = 1, count do commands[i] = p:command { "run" } end
    local results = process.race(commands)
    local applied = 0
    for _, result in ipairs(results) do
      project.parse(result)
      if result.json and result.json.stepsApplied then applied = applied + #result.json.stepsApplied end
      if not options then
        assert.are.equal(0, result.status, result.out .. result.err)
        assert.are.equal("1.0.2", result.json.currentVersionAfter, "a waiter tells what it waited for")
      end
    end
    local twice = p.db:collection("effects"):count { n = { ["$gt"] = 1 } } > 0
    if twice then doubles = doubles + 1 end
    if not options then
      assert.is_false(twice)
      assert.are.equal(2, p.db:collection("effects"):count { n = 1 })
      assert.are.equal(2, applied, "each step is reported by one process")
      assert.are.equal("1.0.2", p:ledger().currentVersion)
    end
  end
  return doubles
end

describe("processes that start at once", function()
  for _, count in ipairs { 2, 8 } do
    for _, existing in ipairs { false, true } do
      it(("%d on %s ledger apply each step once, %d rounds"):format(count, existing and "an existing" or "a fresh", ROUNDS),
        function() race(count, existing, ROUNDS) end)
    end
  end

  it("would apply steps twice without the lock's condition", function()
    local doubles = race(4, true, 20, { dev = true, env = { SMIG_FAULT = "lock-condition" } })
    assert.is_true(doubles > 0, "20 rounds of 4 processes without the condition saw no double")
  end)
end)
