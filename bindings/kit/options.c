/*
 * Options tables read through descriptors, and names checked.
 * Users: every binding with options. Rule: bindings design, D1: unknown options raise with a suggestion.
 */
#include "kit.h"

#include <string.h>

static int unknown_option(lua_State *L, const char *operation, const kit_option_t *options) {
  if (lua_type(L, -1) != LUA_TSTRING) {
    return kit_raise_argument(L, "options of %s must have names as keys, not a %s", operation, luaL_typename(L, -1));
  }
  size_t count = 0;
  while (options[count].name) count++;
  const char **names = lua_newuserdatauv(L, (count + 1) * sizeof *names, 0);
  for (size_t i = 0; i <= count; i++) names[i] = options[i].name;
  const char *name = lua_tostring(L, -2);
  const char *near = kit_suggest(name, names);
  if (near) {
    return kit_raise_argument(L, "unknown option '%s' for %s (did you mean '%s'?)", name, operation, near);
  }
  return kit_raise_argument(L, "unknown option '%s' for %s", name, operation);
}

static void check_names(lua_State *L, int idx, const char *operation, const kit_option_t *options) {
  for (lua_pushnil(L); lua_next(L, idx);) {
    lua_pop(L, 1);
    bool known = false;
    if (lua_type(L, -1) == LUA_TSTRING) {
      const char *name = lua_tostring(L, -1);
      for (const kit_option_t *option = options; !known && option->name; option++) {
        known = strcmp(option->name, name) == 0;
      }
    }
    if (!known) unknown_option(L, operation, options);
  }
}

static int wrong_type(lua_State *L, const kit_option_t *option, const char *operation, const char *expected) {
  return kit_raise_argument(L, "option '%s' of %s must be %s, got %s", option->name, operation, expected,
                            luaL_typename(L, -1));
}

/* The value is on top. */
static int64_t read_integer(lua_State *L, const kit_option_t *option, const char *operation) {
  int is_integer = 0;
  lua_Integer value = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &is_integer) : 0;
  if (!is_integer) wrong_type(L, option, operation, "an integer");
  if (option->max > option->min && (value < option->min || value > option->max)) {
    if (value < option->min && option->max == INT64_MAX) {
      kit_raise_argument(L, "option '%s' of %s must be at least %lld, got %lld", option->name, operation,
                         (long long)option->min, (long long)value);
    }
    kit_raise_argument(L, "option '%s' of %s must be between %lld and %lld, got %lld", option->name, operation,
                       (long long)option->min, (long long)option->max, (long long)value);
  }
  return value;
}

static const char *read_string(lua_State *L, const kit_option_t *option, const char *operation) {
  if (lua_type(L, -1) != LUA_TSTRING) wrong_type(L, option, operation, "a string");
  size_t length;
  const char *text = lua_tolstring(L, -1, &length);
  if (!bson_utf8_validate(text, length, false)) {
    kit_raise_argument(L, "option '%s' of %s must be valid UTF-8 without NUL", option->name, operation);
  }
  return text;
}

static void read_option(lua_State *L, const kit_option_t *option, const char *operation, void *member) {
  switch (option->type) {
  case KIT_BOOLEAN:
    if (!lua_isboolean(L, -1)) wrong_type(L, option, operation, "a boolean");
    *(bool *)member = lua_toboolean(L, -1);
    break;
  case KIT_INTEGER:
    *(int64_t *)member = read_integer(L, option, operation);
    break;
  case KIT_STRING:
    *(const char **)member = read_string(L, option, operation);
    break;
  case KIT_INDEX:
    *(int *)member = lua_gettop(L);
    return; /* stays on the stack */
  }
  lua_pop(L, 1);
}

void kit_read_options(lua_State *L, int idx, const char *operation, const kit_option_t *options, void *out) {
  char *base = out;
  int count = 0;
  for (const kit_option_t *option = options; option->name; option++, count++) {
    if (option->type == KIT_INDEX) *(int *)(void *)(base + option->offset) = 0;
  }
  if (lua_isnoneornil(L, idx)) return;
  if (lua_type(L, idx) != LUA_TTABLE) {
    kit_raise_argument(L, "options of %s must be a table, got %s", operation, luaL_typename(L, idx));
  }
  idx = lua_absindex(L, idx);
  luaL_checkstack(L, count + 8, NULL);
  check_names(L, idx, operation, options);
  for (const kit_option_t *option = options; option->name; option++) {
    lua_pushstring(L, option->name);
    if (lua_rawget(L, idx) == LUA_TNIL) {
      lua_pop(L, 1);
      continue;
    }
    read_option(L, option, operation, base + option->offset);
    if (option->set) *(bool *)(void *)(base + option->set) = true;
  }
}

const char *kit_check_name(lua_State *L, int arg, size_t *length) {
  if (lua_type(L, arg) != LUA_TSTRING) kit_argerror(L, arg, "string");
  size_t name_length;
  const char *name = lua_tolstring(L, arg, &name_length);
  if (!bson_utf8_validate(name, name_length, false)) kit_argerror(L, arg, "string of valid UTF-8 without NUL expected");
  if (length) *length = name_length;
  return name;
}
