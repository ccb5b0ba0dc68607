rockspec_format = "3.0"
package = "smartmigration"
version = "scm-1"
source = { url = "git+file://." } -- for `luarocks make` in a clone, which builds what lies there
description = {
  summary = "Data migrations for MongoDB and S3: a C engine whose steps are Lua scripts",
  detailed = "Runs migration steps in order, once, under a fenced lock, and remembers what version the data has.",
}
supported_platforms = { "linux" }
dependencies = { "lua ~> 5.4" }
-- Looked for before CMake is started, which names Debian's package for whatever is missing. Paths as Debian's packages have them; the
-- header of libcurl lies in a folder that LuaRocks does not search.
external_dependencies = {
  BSON = { header = "libbson-1.0/bson/bson.h" },
  MONGOC = { header = "libmongoc-1.0/mongoc/mongoc.h" },
  OPENSSL = { header = "openssl/evp.h" },
  EXPAT = { header = "expat.h" },
}
build = {
  type = "cmake",
  variables = {
    CMAKE_BUILD_TYPE = "Release",
    CMAKE_C_FLAGS = "$(CFLAGS)",
    CMAKE_INSTALL_PREFIX = "$(PREFIX)",
    SMIG_LUA_INCLUDE = "$(LUA_INCDIR)",
    SMIG_LUA = "$(LUA)",
    SMIG_ROCK_LIBDIR = "$(LIBDIR)",
    SMIG_ROCK_BINDIR = "$(BINDIR)",
  },
}
