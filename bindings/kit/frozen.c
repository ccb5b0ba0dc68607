/*
 * Read-only tables: what error objects hand out of their details.
 * Users: error objects; the BSON encoder and whoever needs the plain table behind one (kit_thaw).
 */
#include "kit_internal.h"

static int frozen_newindex(lua_State *L) {
  return kit_raise_argument(L, "this table is read-only");
}

static void push_inner(lua_State *L) {
  luaL_getmetafield(L, 1, "__index");
}

static int frozen_len(lua_State *L) {
  push_inner(L);
  lua_pushinteger(L, (lua_Integer)lua_rawlen(L, -1));
  return 1;
}

static int frozen_pairs(lua_State *L) {
  lua_getglobal(L, "next");
  push_inner(L);
  lua_pushnil(L);
  return 3;
}

/* The metatable of one frozen table: the plain table is its __index, so no upvalues are needed. */
static const luaL_Reg frozen_meta[] = {
    {"__newindex", frozen_newindex}, {"__len", frozen_len}, {"__pairs", frozen_pairs}, {NULL, NULL}};

void kit_freeze(lua_State *L, int idx) {
  luaL_checkstack(L, 8, NULL);
  idx = lua_absindex(L, idx);
  lua_pushnil(L);
  while (lua_next(L, idx)) {
    if (lua_type(L, -1) == LUA_TTABLE) {
      kit_freeze(L, -1);
      lua_pushvalue(L, -2);
      lua_pushvalue(L, -2);
      lua_rawset(L, idx); /* an existing field: allowed while traversing */
    }
    lua_pop(L, 1);
  }
  lua_newtable(L);
  luaL_newlib(L, frozen_meta);
  lua_pushvalue(L, idx);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, "frozen");
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
  lua_replace(L, idx);
}

bool kit_thaw(lua_State *L, int idx) {
  if (lua_type(L, idx) != LUA_TTABLE || !lua_getmetatable(L, idx)) return false;
  lua_pushliteral(L, "__newindex");
  lua_rawget(L, -2);
  bool frozen = lua_tocfunction(L, -1) == frozen_newindex;
  lua_pop(L, 1);
  if (!frozen) {
    lua_pop(L, 1);
    return false;
  }
  lua_pushliteral(L, "__index");
  lua_rawget(L, -2);
  lua_remove(L, -2);
  return true;
}
