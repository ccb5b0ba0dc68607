/*
 * Classes of handles: a metatable whose __index knows methods, then fields, and raises for anything else.
 * Users: every binding with handles. Rule: bindings design, D1.
 */
#include "kit_internal.h"

#include <string.h>

typedef struct class_info {
  int (*fields)(lua_State *L, const char *field);
} class_info_t;

enum { UPVALUE_METHODS = 1, UPVALUE_KIND, UPVALUE_INFO };

/* Raises "collection has no method 'findOne'; did you mean 'find_one'?" The name is a string at 2. */
static int unknown_name(lua_State *L) {
  const char *kind = lua_tostring(L, lua_upvalueindex(UPVALUE_KIND));
  size_t count = 0;
  for (lua_pushnil(L); lua_next(L, lua_upvalueindex(UPVALUE_METHODS)); lua_pop(L, 1)) count++;
  const char **names = lua_newuserdatauv(L, (count + 1) * sizeof *names, 0);
  size_t used = 0;
  for (lua_pushnil(L); lua_next(L, lua_upvalueindex(UPVALUE_METHODS)); lua_pop(L, 1)) {
    names[used++] = lua_tostring(L, -2); /* a key of the methods: lives as long as they do */
  }
  names[used] = NULL;
  const char *name = lua_tostring(L, 2);
  const char *near = kit_suggest(name, names);
  if (near) return kit_raise_argument(L, "%s has no method '%s'; did you mean '%s'?", kind, name, near);
  return kit_raise_argument(L, "%s has no method '%s'", kind, name);
}

static int class_index(lua_State *L) {
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(UPVALUE_METHODS)) != LUA_TNIL) return 1;
  lua_settop(L, 2);
  if (lua_type(L, 2) != LUA_TSTRING) {
    if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) { /* of a handle that ipairs cannot walk either: it says why */
      lua_pushvalue(L, 1);
      lua_call(L, 1, 0);
    }
    return kit_raise_argument(L, "%s has no field of type %s", lua_tostring(L, lua_upvalueindex(UPVALUE_KIND)),
                              luaL_typename(L, 2));
  }
  const class_info_t *info = lua_touserdata(L, lua_upvalueindex(UPVALUE_INFO));
  if (info->fields && info->fields(L, lua_tostring(L, 2)) == 1) return 1;
  return unknown_name(L);
}

void kit_add_methods(lua_State *L, const char *name, int idx) {
  idx = lua_absindex(L, idx);
  int top = lua_gettop(L);
  luaL_getmetatable(L, name);
  lua_getfield(L, -1, "__index");
  lua_getupvalue(L, -1, UPVALUE_METHODS);
  for (lua_pushnil(L); lua_next(L, idx);) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, top + 3);
  }
  lua_settop(L, top);
}

bool kit_is_method(lua_State *L, const char *name, int function_idx) {
  function_idx = lua_absindex(L, function_idx);
  int top = lua_gettop(L);
  bool found = false;
  if (luaL_getmetatable(L, name) == LUA_TTABLE && lua_getfield(L, -1, "__index") == LUA_TFUNCTION &&
      lua_getupvalue(L, -1, UPVALUE_METHODS)) {
    for (lua_pushnil(L); !found && lua_next(L, -2); lua_pop(L, 1)) found = lua_rawequal(L, -1, function_idx);
  }
  lua_settop(L, top);
  return found;
}

bool kit_push_method_name(lua_State *L, int function_idx) {
  function_idx = lua_absindex(L, function_idx);
  if (luaL_getmetafield(L, 1, "__index") == LUA_TNIL) return false;
  if (lua_tocfunction(L, -1) == class_index && lua_getupvalue(L, -1, UPVALUE_METHODS)) {
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
      if (!lua_rawequal(L, -1, function_idx)) continue;
      lua_pop(L, 1);
      return true;
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return false;
}

static int class_newindex(lua_State *L) {
  const char *kind = lua_tostring(L, lua_upvalueindex(1));
  if (lua_type(L, 2) != LUA_TSTRING) return kit_raise_argument(L, "%s is read-only", kind);
  return kit_raise_argument(L, "%s is read-only: cannot set '%s'", kind, lua_tostring(L, 2));
}

void kit_new_class(lua_State *L, const char *name, const char *kind, const luaL_Reg *methods, const luaL_Reg *meta,
                   int (*fields)(lua_State *L, const char *field)) {
  luaL_checkstack(L, 8, NULL);
  bool known = luaL_getmetatable(L, name) != LUA_TNIL;
  lua_pop(L, 1);
  if (known) return;
  lua_createtable(L, 0, 8);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  lua_newtable(L);
  if (methods) luaL_setfuncs(L, methods, 0);
  lua_pushstring(L, kind);
  class_info_t *info = lua_newuserdatauv(L, sizeof *info, 0);
  info->fields = fields;
  lua_pushcclosure(L, class_index, 3);
  lua_setfield(L, -2, "__index");
  lua_pushstring(L, kind);
  lua_pushcclosure(L, class_newindex, 1);
  lua_setfield(L, -2, "__newindex");
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__metatable");
  if (meta) luaL_setfuncs(L, meta, 0);
  lua_setfield(L, LUA_REGISTRYINDEX, name); /* when it is whole: memory may have run out on the way */
}
