/*
 * Error objects: a C error owned by a userdata, and the way from one to the other that keeps what a script raised.
 * Users: every binding. Rule: bindings design, section 5; "moves first, then raises" so that nothing leaks.
 */
#include "kit_internal.h"

#include <stdarg.h>
#include <string.h>

/* What a C error carries of Lua: a reference that keeps the value alive until the C error is released. */
typedef struct carried {
  lua_State *main;
  int reference;
} carried_t;

static const char metatable_key; /* its address is the registry key of the metatable */

static void carried_free(void *value) {
  carried_t *carried = value;
  luaL_unref(carried->main, LUA_REGISTRYINDEX, carried->reference);
  bson_free(carried);
}

/* ------------------------------------------------------------------ objects */

kit_error_object_t *kit_error_object(lua_State *L, int idx) {
  kit_error_object_t *object = lua_touserdata(L, idx);
  if (!object || !lua_getmetatable(L, idx)) return NULL;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
  if (!lua_rawequal(L, -1, -2)) object = NULL;
  lua_pop(L, 2);
  return object;
}

const smig_error_t *kit_test_error(lua_State *L, int idx) {
  const kit_error_object_t *object = kit_error_object(L, idx);
  return object ? &object->error : NULL;
}

static int error_gc(lua_State *L) {
  kit_error_object_t *object = lua_touserdata(L, 1);
  smig_error_release(&object->error);
  return 0;
}

static int error_tostring(lua_State *L) {
  const kit_error_object_t *object = kit_error_object(L, 1);
  if (!object) return kit_argerror(L, 1, KIT_ERROR);
  lua_pushfstring(L, "%s: %s", object->error.name ? object->error.name : "OK",
                  object->error.message ? object->error.message : "");
  return 1;
}

static int error_newindex(lua_State *L) {
  return kit_raise_argument(L, "error objects are read-only");
}

static void push_metatable(lua_State *L) {
  static const luaL_Reg meta[] = {
      {"__gc", error_gc}, {"__tostring", error_tostring}, {"__newindex", error_newindex}, {NULL, NULL}};
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key) == LUA_TTABLE) return;
  lua_pop(L, 1);
  luaL_newmetatable(L, KIT_ERROR);
  luaL_setfuncs(L, meta, 0);
  lua_newtable(L);
  luaL_setfuncs(L, kit_error_methods, 0);
  lua_pushcclosure(L, kit_error_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, KIT_ERROR);
  lua_setfield(L, -2, "__metatable");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &metatable_key);
}

static int new_object(lua_State *L) {
  kit_error_object_t *object = lua_newuserdatauv(L, sizeof *object, 1);
  object->error = (smig_error_t)SMIG_ERROR_INIT;
  lua_newtable(L);
  lua_setiuservalue(L, -2, 1);
  push_metatable(L);
  lua_setmetatable(L, -2);
  return 1;
}

static bool same_text(const char *a, const char *b) {
  return a && b && strcmp(a, b) == 0;
}

/*
 * Replaces the new object on top by the one it was made of, when that is the same error; else takes what the C error carries
 * as its `value` and, if it is an error, as its `cause`.
 */
static void unwrap_carried(lua_State *L, kit_error_object_t *object) {
  const carried_t *carried = object->error.value;
  lua_getiuservalue(L, -1, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, carried->reference);
  const smig_error_t *lower = kit_test_error(L, -1);
  if (lower && same_text(lower->name, object->error.name) && same_text(lower->message, object->error.message)) {
    lua_replace(L, -3);
    lua_pop(L, 1);
    return;
  }
  if (lower) {
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "cause");
    /* A message handler's object stands for the value that was raised. */
    lua_getiuservalue(L, -1, 1);
    if (lua_getfield(L, -1, "value") == LUA_TNIL) {
      lua_pop(L, 2);
    } else {
      lua_copy(L, -1, -3);
      lua_pop(L, 2);
    }
  }
  if (lua_type(L, -1) == LUA_TSTRING)
    lua_pop(L, 1); /* it is the message */
  else
    lua_setfield(L, -2, "value");
  lua_pop(L, 1);
  smig_error_set_value(&object->error, NULL, NULL);
}

void kit_push_error(lua_State *L, smig_error_t *error) {
  /* No Lua error may pass while the C error is still the caller's. */
  if (!lua_checkstack(L, 8)) {
    smig_error_release(error);
    luaL_error(L, "stack overflow");
  }
  lua_pushcfunction(L, new_object);
  if (lua_pcall(L, 0, 1, 0) != LUA_OK) {
    smig_error_release(error);
    lua_error(L);
  }
  kit_error_object_t *object = lua_touserdata(L, -1);
  smig_error_move(&object->error, error);
  if (object->error.value && object->error.value_free == carried_free) unwrap_carried(L, object);
}

void kit_set_error_field(lua_State *L, int idx, const char *field) {
  lua_getiuservalue(L, lua_absindex(L, idx), 1);
  lua_insert(L, -2);
  lua_setfield(L, -2, field);
  lua_pop(L, 1);
}

int kit_raise(lua_State *L, smig_error_t *error) {
  kit_push_error(L, error);
  kit_attach_traceback(L, -1, 1);
  return lua_error(L);
}

/* -------------------------------------------------------- Lua value -> error */

static const char *const raised_nil = "step raised nil";

/* Protected body of kit_to_error: (value, error*) */
static int to_error(lua_State *L) {
  smig_error_t *error = lua_touserdata(L, 2);
  const smig_error_t *lower = kit_test_error(L, 1);
  if (lower) {
    if (lower->code == SMIG_FOREIGN)
      smig_error_set_foreign(error, lower->name, "%s", lower->message);
    else
      smig_error_set(error, lower->code, "%s", lower->message);
    bson_t *details = smig_error_details(error);
    if (details && lower->details) bson_concat(details, lower->details);
  } else {
    kit_push_text(L, 1);
    smig_error_set_foreign(error, "SCRIPT_ERROR", "%s", lua_tostring(L, -1));
    BSON_APPEND_UTF8(smig_error_details(error), "category", "script");
  }
  if (lua_isnil(L, 1)) return 0;
  carried_t *carried = bson_malloc(sizeof *carried);
  carried->reference = LUA_NOREF;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  carried->main = lua_tothread(L, -1);
  smig_error_set_value(error, carried, carried_free); /* owned before the call that can fail */
  lua_pushvalue(L, 1);
  carried->reference = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

void kit_to_error(lua_State *L, int idx, smig_error_t *error) {
  idx = lua_absindex(L, idx);
  if (!lua_checkstack(L, 4)) {
    smig_error_set_foreign(error, "SCRIPT_ERROR", "stack overflow");
    return;
  }
  lua_pushcfunction(L, to_error);
  lua_pushvalue(L, idx);
  lua_pushlightuserdata(L, error);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return;
  /* Memory is gone: what is set stays, else the little that needs no memory of Lua's. */
  lua_pop(L, 1);
  if (error->code == SMIG_OK) {
    smig_error_set_foreign(error, "SCRIPT_ERROR", "%s",
                           lua_type(L, idx) == LUA_TSTRING ? lua_tostring(L, idx) : "not enough memory");
  }
}

/* Body of kit_push_text: this may run a __tostring that fails. A table without one gives its `message`, never its address. */
static int to_text(lua_State *L) {
  if (lua_type(L, 1) == LUA_TTABLE && luaL_getmetafield(L, 1, "__tostring") == LUA_TNIL) {
    if (lua_getfield(L, 1, "message") != LUA_TSTRING) lua_pushliteral(L, "step raised a table");
    return 1;
  }
  luaL_tolstring(L, 1, NULL);
  return 1;
}

void kit_push_text(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  if (lua_isnoneornil(L, idx)) {
    lua_pushstring(L, raised_nil);
    return;
  }
  lua_pushcfunction(L, to_text);
  lua_pushvalue(L, idx);
  if (lua_pcall(L, 1, 1, 0) == LUA_OK) return;
  lua_pop(L, 1);
  lua_pushfstring(L, "step raised a %s value whose text cannot be had", luaL_typename(L, idx));
}

int kit_message_handler(lua_State *L) {
  luaL_checkstack(L, 10, NULL);
  if (kit_test_error(L, 1)) {
    kit_attach_traceback(L, 1, 1);
    lua_settop(L, 1);
    return 1;
  }
  smig_error_t error = SMIG_ERROR_INIT;
  kit_push_text(L, 1);
  smig_error_set_foreign(&error, "SCRIPT_ERROR", "%s", lua_tostring(L, -1));
  BSON_APPEND_UTF8(smig_error_details(&error), "category", "script");
  kit_push_error(L, &error);
  if (!lua_isnil(L, 1) && lua_type(L, 1) != LUA_TSTRING) {
    lua_getiuservalue(L, -1, 1);
    lua_pushvalue(L, 1);
    lua_setfield(L, -2, "value");
    lua_pop(L, 1);
  }
  kit_attach_traceback(L, -1, 1);
  return 1;
}

/* ----------------------------------------------------------- argument errors */

int kit_raise_argument(lua_State *L, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *message = bson_strdupv_printf(format, arguments);
  va_end(arguments);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_error_set_foreign(&error, "INVALID_ARGUMENT", "%s", message);
  bson_free(message);
  BSON_APPEND_UTF8(smig_error_details(&error), "category", "argument");
  return kit_raise(L, &error);
}

int kit_argerror(lua_State *L, int arg, const char *what) {
  const char *function = "?", *got = luaL_typename(L, arg);
  lua_Debug frame;
  luaL_checkstack(L, 8, NULL);
  if (lua_getstack(L, 0, &frame)) {
    lua_getinfo(L, "nf", &frame);
    bool is_method = frame.name && strcmp(frame.namewhat, "method") == 0;
    if (frame.name) {
      function = frame.name;
    } else if (kit_push_method_name(L, -1)) { /* called by pcall or ctx:try */
      function = lua_tostring(L, -1);
      is_method = true;
    }
    if (is_method) arg--; /* do not count self */
    if (arg == 0) return kit_raise_argument(L, "calling '%s' on bad self (%s)", function, what);
  }
  if (strstr(what, "expected")) return kit_raise_argument(L, "bad argument #%d to '%s' (%s)", arg, function, what);
  return kit_raise_argument(L, "bad argument #%d to '%s' (%s expected, got %s)", arg, function, what, got);
}
