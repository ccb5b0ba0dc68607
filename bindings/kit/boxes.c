/*
 * Boxes: C memory that belongs to the collector while Lua may raise.
 * Users: every binding. Rule: bindings design, section 9.
 */
#include "kit.h"

static const char metatable_key; /* its address is the registry key of the metatable */

void kit_box_free(kit_box_t *box) {
  void *pointer = box->pointer;
  box->pointer = NULL;
  if (pointer) box->free_fn(pointer);
}

static int box_gc(lua_State *L) {
  kit_box_free(lua_touserdata(L, 1));
  return 0;
}

static int new_box(lua_State *L) {
  kit_box_t *box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = (kit_box_t){NULL, NULL};
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, box_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &metatable_key);
  }
  lua_setmetatable(L, -2);
  return 1;
}

kit_box_t *kit_box_push(lua_State *L, void *pointer, void (*free_fn)(void *)) {
  if (!pointer) {
    luaL_checkstack(L, 5, NULL);
    new_box(L);
  } else {
    /* The pointer is nobody's until the box has it: no Lua error may pass before. */
    bool room = lua_checkstack(L, 5);
    if (room) lua_pushcfunction(L, new_box);
    if (!room || lua_pcall(L, 0, 1, 0) != LUA_OK) {
      free_fn(pointer);
      if (!room) luaL_error(L, "stack overflow");
      lua_error(L);
    }
  }
  kit_box_t *box = lua_touserdata(L, -1);
  box->pointer = pointer;
  box->free_fn = free_fn;
  return box;
}
