/*
 * Scalars: values without a Lua twin, kept as the bytes they have in BSON, so that they are encoded as they came.
 * Users: the files of the single types. Threads: class metatables live in the registry of their state.
 */
#include "lbson_internal.h"

#include <string.h>

static const char kind_key;          /* metatable[&kind_key] = kind */
static const char class_keys[0x102]; /* registry[&class_keys[kind]] = metatable */

int lbson_kind(lua_State *L, int idx) {
  if (lua_type(L, idx) != LUA_TUSERDATA || !lua_getmetatable(L, idx)) return LBSON_NO_KIND;
  lua_rawgetp(L, -1, &kind_key);
  int kind = (int)lua_tointeger(L, -1);
  lua_pop(L, 2);
  return kind;
}

void lbson_set_class(lua_State *L, int kind, const char *name) {
  lua_pushinteger(L, kind);
  lua_rawsetp(L, -2, &kind_key);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__metatable");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &class_keys[kind]);
}

void lbson_push_class(lua_State *L, int kind) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &class_keys[kind]) == LUA_TTABLE) return;
  luaopen_smartmigration_bson(L);
  lua_pop(L, 2);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &class_keys[kind]);
}

lbson_scalar_t *lbson_new_scalar(lua_State *L, uint8_t type, const void *bytes, size_t length) {
  lbson_scalar_t *scalar = lua_newuserdatauv(L, sizeof *scalar + length, 0);
  scalar->type = type;
  scalar->length = (uint32_t)length;
  if (bytes && length) memcpy(scalar->bytes, bytes, length);
  lbson_push_class(L, type);
  lua_setmetatable(L, -2);
  return scalar;
}

const lbson_scalar_t *lbson_check_scalar(lua_State *L, int arg, uint8_t type) {
  if (lbson_kind(L, arg) != type) {
    char what[32];
    bson_snprintf(what, sizeof what, "bson.%s", lbson_type_name(type));
    kit_argerror(L, arg, what);
  }
  return lua_touserdata(L, arg);
}

static bool is_scalar(int kind) {
  return kind > LBSON_NO_KIND && kind < LBSON_KIND_DOCUMENT;
}

/* __eq: called for two userdata of which one is ours. */
static int scalar_eq(lua_State *L) {
  int kind = lbson_kind(L, 1);
  bool equal = false;
  if (is_scalar(kind) && kind == lbson_kind(L, 2)) {
    const lbson_scalar_t *a = lua_touserdata(L, 1), *b = lua_touserdata(L, 2);
    equal = a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
  }
  lua_pushboolean(L, equal);
  return 1;
}

static int scalar_tostring(lua_State *L) {
  if (!is_scalar(lbson_kind(L, 1))) return kit_argerror(L, 1, "BSON value");
  lbson_push_scalar_text(L, lua_touserdata(L, 1));
  return 1;
}

static int scalar_newindex(lua_State *L) {
  return kit_raise_argument(L, "BSON values are read-only");
}

void lbson_scalar_class(lua_State *L, uint8_t type, lua_CFunction index, const luaL_Reg *meta) {
  static const luaL_Reg common[] = {
      {"__eq", scalar_eq}, {"__tostring", scalar_tostring}, {"__newindex", scalar_newindex}, {NULL, NULL}};
  lua_newtable(L);
  luaL_setfuncs(L, common, 0);
  if (meta) luaL_setfuncs(L, meta, 0);
  lua_pushcfunction(L, index);
  lua_setfield(L, -2, "__index");
  char name[48];
  bson_snprintf(name, sizeof name, "smartmigration.bson.%s", lbson_type_name(type));
  lbson_set_class(L, type, name);
  lua_pop(L, 1);
}

/* ----------------------------------------------------------------- ordering */

typedef struct order {
  lbson_compare_fn compare;
  uint8_t type;
} order_t;

static int compare_arguments(lua_State *L) {
  const order_t *order = lua_touserdata(L, lua_upvalueindex(1));
  return order->compare(lbson_check_scalar(L, 1, order->type), lbson_check_scalar(L, 2, order->type));
}

static int scalar_lt(lua_State *L) {
  lua_pushboolean(L, compare_arguments(L) < 0);
  return 1;
}

static int scalar_le(lua_State *L) {
  lua_pushboolean(L, compare_arguments(L) <= 0);
  return 1;
}

void lbson_scalar_order(lua_State *L, uint8_t type, lbson_compare_fn compare) {
  lbson_push_class(L, type);
  order_t *order = lua_newuserdatauv(L, sizeof *order, 0);
  *order = (order_t){compare, type};
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, scalar_lt, 1);
  lua_setfield(L, -3, "__lt");
  lua_pushcclosure(L, scalar_le, 1);
  lua_setfield(L, -2, "__le");
  lua_pop(L, 1);
}

/* -------------------------------------------------------------- pushing values */

void lbson_push_plain(lua_State *L, uint8_t type, const uint8_t *value, uint32_t length) {
  switch (type) {
  case BSON_TYPE_DOUBLE:
    lua_pushnumber(L, lbson_read_double(value));
    break;
  case BSON_TYPE_INT32:
    lua_pushinteger(L, lbson_read_i32(value));
    break;
  case BSON_TYPE_INT64:
    lua_pushinteger(L, lbson_read_i64(value));
    break;
  case BSON_TYPE_UTF8:
    lua_pushlstring(L, (const char *)value + 4, length - 5);
    break;
  case BSON_TYPE_BOOL:
    lua_pushboolean(L, *value);
    break;
  case BSON_TYPE_NULL:
    lbson_push_null(L);
    break;
  default:
    lbson_new_scalar(L, type, value, length);
    break;
  }
}
