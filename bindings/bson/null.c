/*
 * bson.null: one light userdata, truthy, the same in every state.
 * Users: the BSON binding. It prints as "null", for which light userdata get a metatable, unless the host gave them one.
 */
#include "lbson_internal.h"

static char null_address;

void lbson_push_null(lua_State *L) {
  lua_pushlightuserdata(L, &null_address);
}

bool lbson_is_null(lua_State *L, int idx) {
  return lua_type(L, idx) == LUA_TLIGHTUSERDATA && lua_touserdata(L, idx) == &null_address;
}

static int light_tostring(lua_State *L) {
  if (lbson_is_null(L, 1))
    lua_pushliteral(L, "null");
  else
    lua_pushfstring(L, "userdata: %p", lua_touserdata(L, 1));
  return 1;
}

static int is_null(lua_State *L) {
  lua_pushboolean(L, lbson_is_null(L, 1));
  return 1;
}

static int nilify(lua_State *L) {
  lua_settop(L, 1);
  if (lbson_is_null(L, 1)) lua_pushnil(L);
  return 1;
}

void lbson_open_null(lua_State *L) {
  lbson_push_null(L);
  if (lua_getmetatable(L, -1)) {
    lua_pop(L, 1);
  } else {
    lua_newtable(L);
    lua_pushcfunction(L, light_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_setmetatable(L, -2);
  }
  lua_setfield(L, -2, "null");
  lua_pushcfunction(L, is_null);
  lua_setfield(L, -2, "is_null");
  lua_pushcfunction(L, nilify);
  lua_setfield(L, -2, "nilify");
}
