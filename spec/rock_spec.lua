-- The rock: `luarocks make` in a clone puts the module and the binary into a tree, where a stock lua5.4 finds them.
local build = require "spec.support.build"
local process = require "spec.support.process"

local function shell(command, ...)
  return process.run { "sh", "-euc", command, "rock", ..., cwd = build.root, env = { LUA_PATH = false, LUA_CPATH = false },
    limit = 600000 }
end

describe("#slow the rock", function()
  local folder

  setup(function()
    folder = os.tmpname()
    os.remove(folder)
    local result = shell([[mkdir -p "$1/clone"
      git ls-files -co --exclude-standard -z | tar -c --null -T - | tar -x -C "$1/clone"]], folder)
    assert(result.status == 0, result.err)
  end)

  teardown(function()
    os.execute("rm -rf '" .. folder .. "'")
  end)

  it("names a library that is missing before it builds anything", function()
    local result = shell([[cd "$1/clone"; luarocks --lua-version 5.4 make --tree "$1/tree" EXPAT_DIR=/nowhere]], folder)
    assert.are_not.equal(0, result.status)
    assert.is_truthy(result.err:find("EXPAT", 1, true), result.err)
    assert.is_nil(result.out:find("CMake", 1, true), result.out)
  end)

  it("is made from clean and holds the module and the binary, nothing else", function()
    local made = shell([[cd "$1/clone"; luarocks --lua-version 5.4 make --local --tree "$1/tree"]], folder)
    assert.are.equal(0, made.status, made.out .. made.err)
    local files = shell([[cd "$1/tree"; find bin lib/lua share -type f 2>/dev/null | sort]], folder)
    assert.are.equal("bin/smartmigration-lua\nlib/lua/5.4/smartmigration.so\n", files.out)
    local loaded = shell([[eval "$(luarocks --lua-version 5.4 --tree "$1/tree" path)"; cd /
      lua5.4 -l smartmigration -e 'print(package.searchpath("smartmigration", package.cpath), smartmigration.version)'
      "$1/tree/bin/smartmigration-lua" version]], folder)
    assert.are.equal(0, loaded.status, loaded.out .. loaded.err)
    assert.is_truthy(loaded.out:find(folder .. "/tree/lib/lua/5.4/smartmigration.so", 1, true), loaded.out)
    assert.is_truthy(loaded.out:find("smartmigration-lua", 1, true), loaded.out)
  end)
end)
