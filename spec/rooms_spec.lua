-- Who may include whom: a wrong include must not compile. Each room's own compiler call is tried with a header it must not see,
-- and, so that the check itself is checked, with one it may.
local build = require "spec.support.build"
local json = require "dkjson"
local process = require "spec.support.process"

-- room -> { headers it sees, headers it must not see }
local rooms = {
  ["engine/core/"] = { { "semver.h", "smartmigration.h", "bson/bson.h" },
    { "lua.h", "mongoc/mongoc.h", "connection.h", "ledger.h", "engine.h" } },
  ["engine/mongo/"] = { { "guard.h", "mongoc/mongoc.h" }, { "lua.h", "ledger.h", "engine.h" } },
  ["engine/ledger/"] = { { "guard.h", "connection.h", "mongoc/mongoc.h" }, { "lua.h", "engine.h" } },
  ["engine/run/"] = { { "guard.h", "connection.h", "ledger.h" }, { "lua.h", "kit.h" } },
  ["bindings/s3/"] = { { "lua.h", "kit.h", "s3.h", "smartmigration.h" },
    { "guard.h", "ledger.h", "engine.h", "semver.h" } },
  ["bindings/mongo/"] = { { "lua.h", "kit.h", "connection.h", "smartmigration.h" },
    { "guard.h", "ledger.h", "engine.h", "semver.h" } },
}

-- The compiler's words for one source of a folder, without its output.
local function compiler_call(folder)
  local commands = json.decode(assert(io.open(build.dev.folder .. "/compile_commands.json")):read "a")
  for _, entry in ipairs(commands) do
    if entry.file:find(folder, 1, true) then
      local words = {}
      for word in entry.command:gmatch "%S+" do words[#words + 1] = word end
      for i = #words, 1, -1 do
        if words[i] == "-o" or words[i] == "-c" then
          table.remove(words, i)
          table.remove(words, i)
        end
      end
      words.cwd = entry.directory
      return words
    end
  end
  error("no source of " .. folder .. " is compiled")
end

local function compiles(folder, header)
  local command = compiler_call(folder)
  for _, word in ipairs { "-fsyntax-only", "-Wno-error", "-x", "c", "-" } do table.insert(command, word) end
  command.stdin = ("#include <%s>\nint smig_room_probe;\n"):format(header)
  return process.run(command).status == 0
end

describe("a room", function()
  for folder, headers in pairs(rooms) do
    it(folder .. " sees what it may", function()
      for _, header in ipairs(headers[1]) do assert.is_true(compiles(folder, header), folder .. " must see " .. header) end
    end)

    it(folder .. " does not see the rest", function()
      for _, header in ipairs(headers[2]) do
        assert.is_false(compiles(folder, header), folder .. " must not see " .. header)
      end
    end)
  end
end)
