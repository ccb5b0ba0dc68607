/*
 * handle:add_step(step [, file, checksum]): an author's step table to smig_step_t. What the chain's validation judges (missing
 * versions, a missing up) passes; unknown keys and wrong types are STEP_LOAD_FAILED, since they are mistakes of writing.
 */
#include "engine_internal.h"

#include <string.h>

enum { STEP = 2, FILE_NAME = 3, CHECKSUM = 4 };

static const char *const keys[] = {"id",        "from",        "to", "description", "compatible_from",
                                   "resumable", "transaction", "up", NULL};

/* Where the step stands: the file given, and the line of its `up` when that stands in this file. */
typedef struct place {
  const char *file;
  int line;
} place_t;

static place_t find_place(lua_State *L) {
  place_t place = {.file = lua_tostring(L, FILE_NAME)};
  lua_pushliteral(L, "up");
  if (lua_rawget(L, STEP) == LUA_TFUNCTION) {
    lua_Debug info;
    lua_getinfo(L, ">S", &info);
    bool of_file = info.source[0] == '@' && info.linedefined > 0;
    if (of_file && !place.file) {
      lua_pushstring(L, info.source + 1); /* stays on the stack, and so alive */
      place.file = lua_tostring(L, -1);
    }
    if (of_file && strcmp(info.source + 1, place.file) == 0) place.line = info.linedefined;
  } else {
    lua_pop(L, 1);
  }
  return place;
}

/* Raises STEP_LOAD_FAILED "<file>: step 'id': <what>". */
static int refuse(lua_State *L, const place_t *place, const char *what) {
  lua_pushliteral(L, "id");
  lua_rawget(L, STEP);
  const char *id = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?";
  smig_error_t error = SMIG_ERROR_INIT;
  smig_error_set(&error, SMIG_STEP_LOAD_FAILED, "%s%sstep '%s': %s", place->file ? place->file : "",
                 place->file ? ": " : "", id, what);
  bson_t *details = smig_error_details(&error);
  if (place->file) BSON_APPEND_UTF8(details, "file", place->file);
  if (place->line) BSON_APPEND_INT32(details, "line", place->line);
  BSON_APPEND_UTF8(details, "step_id", id);
  return kit_raise(L, &error);
}

static void check_keys(lua_State *L, const place_t *place) {
  for (lua_pushnil(L); lua_next(L, STEP); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) {
      lua_pushfstring(L, "has a key of type %s", luaL_typename(L, -2));
      refuse(L, place, lua_tostring(L, -1));
    }
    const char *key = lua_tostring(L, -2);
    bool known = false;
    for (int i = 0; !known && keys[i]; i++) known = strcmp(keys[i], key) == 0;
    if (known) continue;
    const char *near = kit_suggest(key, keys);
    lua_pushfstring(L, near ? "unknown key '%s' (did you mean '%s'?)" : "unknown key '%s'", key, near);
    refuse(L, place, lua_tostring(L, -1));
  }
}

/*
 * A text of the table, NULL when it is missing; it stays on the stack. A number passes as its text: a version written without
 * quotes gets the chain's message about versions.
 */
static const char *read_text(lua_State *L, const place_t *place, const char *key, size_t *length) {
  lua_pushstring(L, key);
  int type = lua_rawget(L, STEP);
  if (type == LUA_TNIL) return NULL;
  if (type != LUA_TSTRING && type != LUA_TNUMBER) {
    lua_pushfstring(L, "'%s' must be a string, not a %s", key, lua_typename(L, type));
    refuse(L, place, lua_tostring(L, -1));
  }
  size_t own_length;
  const char *text = lua_tolstring(L, -1, &own_length);
  if (length)
    *length = own_length;
  else if (memchr(text, '\0', own_length)) {
    lua_pushfstring(L, "'%s' must not hold a NUL", key);
    refuse(L, place, lua_tostring(L, -1));
  }
  return text;
}

static bool read_flag(lua_State *L, const place_t *place, const char *key) {
  lua_pushstring(L, key);
  int type = lua_rawget(L, STEP);
  if (type != LUA_TNIL && type != LUA_TBOOLEAN) {
    lua_pushfstring(L, "'%s' must be a boolean, not a %s", key, lua_typename(L, type));
    refuse(L, place, lua_tostring(L, -1));
  }
  bool value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

int engine_add_step(lua_State *L) {
  lua_settop(L, CHECKSUM);
  lengine_t *handle = engine_check(L);
  luaL_checktype(L, STEP, LUA_TTABLE);
  luaL_checkstack(L, 20, NULL);
  place_t place = find_place(L);
  check_keys(L, &place);
  smig_step_t step = SMIG_STEP_INIT;
  step.id = read_text(L, &place, "id", &step.id_length);
  step.from = read_text(L, &place, "from", NULL);
  step.to = read_text(L, &place, "to", NULL);
  step.description = read_text(L, &place, "description", NULL);
  step.compatible_from = read_text(L, &place, "compatible_from", NULL);
  step.resumable = read_flag(L, &place, "resumable");
  step.transaction = read_flag(L, &place, "transaction");
  step.checksum = lua_tostring(L, CHECKSUM);
  step.file = place.file;
  step.line = place.line;
  lua_pushliteral(L, "up");
  if (lua_rawget(L, STEP) == LUA_TFUNCTION) {
    /* The handle keeps the function, the engine what finds it. */
    lua_getiuservalue(L, 1, 1);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 1);
    step.user = lhost_step_new(L, -1);
    step.user_free = lhost_step_free;
    step.up = lhost_step_up;
  }
  smig_error_t error = SMIG_ERROR_INIT;
  if (!smig_engine_add_step(handle->engine, &step, &error)) return kit_raise(L, &error);
  return 0;
}
