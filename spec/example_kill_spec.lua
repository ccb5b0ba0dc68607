-- The example's chain on a very small part of its data, killed at every send: no document ever names an object that cannot be
-- read as it says, and the next run leaves all as it has to be, without an orphan. With the ledger in MongoDB and in S3.
local build = require "spec.support.build"
local process = require "spec.support.process"
local s3 = require "spec.support.s3"
local server = require "spec.support.server"

local EXAMPLE = build.root .. "/migrations-example"
local ENOUGH = 2000

describe("#slow the example, killed at every send", function()
  local store = s3.shared()
  local scratch, data

  setup(function()
    scratch = process.run({ "mktemp", "-d" }).out:gsub("%s+$", "")
    data = scratch .. "/data"
    local made = process.run { EXAMPLE .. "/sample", data, "--every", "100000", "--flags", "4", "--countries", "AD,LI" }
    assert.equal(0, made.status, made.err)
  end)

  teardown(function() process.run { "rm", "-r", scratch } end)

  for _, ledger in ipairs { "mongo", "s3" } do
    it("leaves nothing behind with the ledger in " .. ledger, function()
      local database = server.database()
      local bucket = database:gsub("_", "-")

      local function run(words, context)
        words.env = { SMARTMIGRATION_MONGO_URI = server.uri, SMARTMIGRATION_MONGO_DB = database,
          SMARTMIGRATION_S3_ENDPOINT = store.endpoint, SMARTMIGRATION_S3_BUCKET = bucket }
        local result = process.run(words)
        if context then assert.equal(0, result.status, context .. ":\n" .. result.out .. result.err) end
        return result
      end

      local function migration(...)
        return { build.binary, "--config", EXAMPLE .. "/smartmigration.config.lua", "--dir", EXAMPLE .. "/migrations",
          "--ledger", ledger, "run", ... }
      end

      local function check(context, ...)
        run({ EXAMPLE .. "/check", database, bucket, "--data", data, "--ledger", ledger, ... }, context)
      end

      local came_through
      for k = 1, ENOUGH do
        local context = ("killed at send %d"):format(k)
        run({ EXAMPLE .. "/import", database, bucket, "--data", data }, context)
        local killed = run { "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=sendto,sendmsg", "-e",
          ("inject=sendto,sendmsg:signal=SIGKILL:when=%d"):format(k), table.unpack(migration()) }
        if killed.status ~= 0 then
          assert.equal(9, killed.signal or killed.status - 128, context .. ":\n" .. killed.out .. killed.err)
        end
        check(context, "--references")
        if killed.status ~= 0 then run(migration(), context) end
        check(context)
        server.open(database):drop()
        store:ask { "delete-bucket", bucket }
        came_through = killed.status == 0 and k
        if came_through then break end
      end
      assert.is_true((came_through or 0) > 50, "it was through after " .. tostring(came_through) .. " sends")
    end)
  end
end)
