-- The C library without Lua: spec/embed/main.c, also built against what is installed, by the commands of the README.
local build = require "spec.support.build"
local process = require "spec.support.process"
local server = require "spec.support.server"

describe("the C library", function()
  it("runs C steps, records their failure, resumes, and is done", function()
    local database = server.database()
    local result = process.run { build.dev.folder .. "/tests/embed", database,
      env = { SMARTMIGRATION_TEST_MONGO_URI = server.uri } }
    assert.are.equal(0, result.status, result.out .. result.err)
    assert.are.equal(1, server.open(database):collection("things"):count { name = "Ada" })
  end)

  it("is installed and linked as the README says", function()
    local readme <close> = assert(io.open "README.md")
    local commands = "make build && (cmake %-%-install build/release [^\n]*)\n(cc main%.c [^\n]*)\n"
    local install, compile = readme:read("a"):match(commands)
    local folder = os.tmpname()
    os.remove(folder)
    finally(function() os.execute("rm -rf '" .. folder .. "'") end)
    -- A library under a sanitizer wants its program so, too.
    local script = install:gsub("build/release", build.dev.folder) .. [[; cd "$PREFIX"; cp "$ROOT/spec/embed/main.c" .
      case $(ldd lib/libsmartmigration.so) in
      *libasan*) flags=-fsanitize=address,undefined ;;
      *libtsan*) flags=-fsanitize=thread ;;
      esac
      ]] .. compile .. [[ $flags -Wl,-rpath,"$PREFIX/lib" -o program; exec ./program "$DATABASE"]]
    local database = server.database()
    local result = process.run { "sh", "-ec", script, env = { PREFIX = folder, ROOT = build.root, DATABASE = database, flags = "",
      LD_PRELOAD = false, SMARTMIGRATION_TEST_MONGO_URI = server.uri } }
    assert.are.equal(0, result.status, result.out .. result.err)
    assert.are.equal(1, server.open(database):collection("things"):count { name = "Ada" })
  end)

  it("exports the public header's functions and nothing else", function()
    local header = assert(io.open "engine/include/smartmigration.h"):read "a"
    local exported = process.run { "nm", "-D", "--defined-only", "--format=posix", build.dev.folder .. "/libsmartmigration.so" }
    local count = 0
    for name in exported.out:gmatch "(%S+) T " do
      count = count + 1
      assert.is_truthy(header:find("[^%w_]" .. name .. "%("), name .. " is exported but not declared")
    end
    local declared = 0
    for name in header:gmatch "\nSMIG_API [^;{]-([%w_]+)%(" do
      declared = declared + 1
      assert.is_truthy(exported.out:find(name .. " T ", 1, true), name .. " is declared but not exported")
    end
    assert.is_true(count > 30 and count == declared)
  end)
end)
