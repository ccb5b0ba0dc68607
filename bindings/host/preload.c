/*
 * What is compiled in: the Lua sources and the C modules, as package.preload entries. Users: module.c, main.c.
 * Nothing here connects, reads a file or makes a global.
 */
#include "embedded.h"
#include "lbson.h"
#include "lengine.h"
#include "lhost.h"
#include "lmongo.h"
#include "ls3.h"

#include <string.h>

static const char argparse[] = "argparse";

/* (name, …) -> what the chunk returns; upvalue: the source */
static int run_embedded(lua_State *L) {
  const lhost_embedded_t *source = lua_touserdata(L, lua_upvalueindex(1));
  if (luaL_loadbufferx(L, source->code, source->length, source->chunk, "b") != LUA_OK) return lua_error(L);
  lua_pushstring(L, source->name);
  lua_call(L, 1, 1);
  return 1;
}

/* In a program of others an installed argparse keeps its right of way over ours. */
static int run_installed_or_embedded(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, LUA_LOADLIBNAME);
  lua_getfield(L, -1, "searchpath");
  lua_pushstring(L, argparse);
  lua_getfield(L, -3, "path");
  lua_call(L, 2, 1);
  if (lua_type(L, -1) != LUA_TSTRING) return run_embedded(L);
  if (luaL_loadfile(L, lua_tostring(L, -1)) != LUA_OK) return lua_error(L);
  lua_pushstring(L, argparse);
  lua_pushvalue(L, -3);
  lua_call(L, 2, 1);
  return 1;
}

static const luaL_Reg c_modules[] = {{"smartmigration.bson", luaopen_smartmigration_bson},
                                     {"smartmigration.mongo", luaopen_smartmigration_mongo},
                                     {"smartmigration.core", luaopen_smartmigration_core},
                                     {"smartmigration.process", luaopen_smartmigration_process},
                                     {"smartmigration.host", luaopen_smartmigration_host},
                                     {"smartmigration.s3.core", luaopen_smartmigration_s3_core},
                                     {NULL, NULL}};

void lhost_preload(lua_State *L, bool own_state) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  luaL_setfuncs(L, c_modules, 0);
  for (const lhost_embedded_t *source = lhost_embedded; source->name; source++) {
    bool deferring = !own_state && strcmp(source->name, argparse) == 0;
    if (deferring && lua_getfield(L, -1, argparse) != LUA_TNIL) {
      lua_pop(L, 1);
      continue;
    }
    if (deferring) lua_pop(L, 1);
    lua_pushlightuserdata(L, (void *)source);
    lua_pushcclosure(L, deferring ? run_installed_or_embedded : run_embedded, 1);
    lua_setfield(L, -2, source->name);
  }
  lua_pop(L, 1);
}

int lhost_open_embedded(lua_State *L, const char *name) {
  for (const lhost_embedded_t *source = lhost_embedded; source->name; source++) {
    if (strcmp(source->name, name) != 0) continue;
    lua_pushlightuserdata(L, (void *)source);
    lua_pushcclosure(L, run_embedded, 1);
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
    return 1;
  }
  return luaL_error(L, "module '%s' is not compiled in", name);
}
