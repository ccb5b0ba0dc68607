/*
 * Numbers with a width: bson.int32, bson.int64, bson.double force how a number is encoded; bson.decimal128.
 * Users: the BSON binding. A wrapper is only for writing: reading gives Lua's numbers, but for decimal128.
 */
#include "lbson_internal.h"

#include <string.h>

static void push_value(lua_State *L, const lbson_scalar_t *scalar) {
  lbson_push_plain(L, scalar->type, scalar->bytes, scalar->length);
}

static int number_index(lua_State *L) {
  int kind = lbson_kind(L, 1);
  if (kind != BSON_TYPE_INT32 && kind != BSON_TYPE_INT64 && kind != BSON_TYPE_DOUBLE) {
    return kit_argerror(L, 1, "BSON number");
  }
  if (lua_type(L, 2) != LUA_TSTRING || strcmp(lua_tostring(L, 2), "value") != 0) return 0;
  push_value(L, lua_touserdata(L, 1));
  return 1;
}

static int no_fields(lua_State *L) {
  (void)L;
  return 0;
}

static lua_Integer check_integer(lua_State *L) {
  int is_integer = 0;
  lua_Integer value = lua_type(L, 1) == LUA_TNUMBER ? lua_tointegerx(L, 1, &is_integer) : 0;
  if (!is_integer) kit_argerror(L, 1, "integer");
  return value;
}

static int new_int32(lua_State *L) {
  lua_Integer value = check_integer(L);
  if (value < INT32_MIN || value > INT32_MAX)
    return kit_raise_argument(L, "%lld does not fit an int32", (long long)value);
  uint32_t little = BSON_UINT32_TO_LE((uint32_t)(int32_t)value);
  lbson_new_scalar(L, BSON_TYPE_INT32, &little, sizeof little);
  return 1;
}

static int new_int64(lua_State *L) {
  uint64_t little = BSON_UINT64_TO_LE((uint64_t)check_integer(L));
  lbson_new_scalar(L, BSON_TYPE_INT64, &little, sizeof little);
  return 1;
}

static int new_double(lua_State *L) {
  if (lua_type(L, 1) != LUA_TNUMBER) return kit_argerror(L, 1, "number");
  double little = BSON_DOUBLE_TO_LE(lua_tonumber(L, 1));
  lbson_new_scalar(L, BSON_TYPE_DOUBLE, &little, sizeof little);
  return 1;
}

static int new_decimal128(lua_State *L) {
  if (lua_type(L, 1) != LUA_TSTRING) return kit_argerror(L, 1, "string");
  size_t length;
  const char *text = lua_tolstring(L, 1, &length);
  bson_decimal128_t decimal;
  if (strlen(text) != length || !bson_decimal128_from_string(text, &decimal)) {
    return kit_raise_argument(L, "'%s' is not a decimal128", text);
  }
  uint64_t little[2] = {BSON_UINT64_TO_LE(decimal.low), BSON_UINT64_TO_LE(decimal.high)};
  lbson_new_scalar(L, BSON_TYPE_DECIMAL128, little, sizeof little);
  return 1;
}

void lbson_open_numbers(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"int32", new_int32}, {"int64", new_int64}, {"double", new_double}, {"decimal128", new_decimal128}, {NULL, NULL}};
  lbson_scalar_class(L, BSON_TYPE_INT32, number_index, NULL);
  lbson_scalar_class(L, BSON_TYPE_INT64, number_index, NULL);
  lbson_scalar_class(L, BSON_TYPE_DOUBLE, number_index, NULL);
  lbson_scalar_class(L, BSON_TYPE_DECIMAL128, no_fields, NULL);
  luaL_setfuncs(L, functions, 0);
}
