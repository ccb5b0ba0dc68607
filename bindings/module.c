/*
 * smartmigration.so: `require "smartmigration"` of a stock lua5.4. It brings no liblua of its own.
 * The drivers alone (`require "smartmigration.bson"`, …) are found here by Lua's all-in-one searcher, so they work first, too.
 */
#include "lhost.h"

SMIG_API int luaopen_smartmigration(lua_State *L);

int luaopen_smartmigration(lua_State *L) {
  lhost_preload(L, false);
  return lhost_open_embedded(L, "smartmigration");
}
