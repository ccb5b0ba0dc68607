/*
 * bson.objectid.
 * Users: the BSON binding; the others through lbson_test_oid.
 */
#include "lbson_internal.h"

#include <string.h>

static void push_oid(lua_State *L, const bson_oid_t *oid) {
  lbson_new_scalar(L, BSON_TYPE_OID, oid->bytes, sizeof oid->bytes);
}

bool lbson_test_oid(lua_State *L, int idx, bson_oid_t *oid) {
  if (lbson_kind(L, idx) != BSON_TYPE_OID) return false;
  const lbson_scalar_t *scalar = lua_touserdata(L, idx);
  memcpy(oid->bytes, scalar->bytes, sizeof oid->bytes);
  return true;
}

static int timestamp_s(lua_State *L) {
  const uint8_t *bytes = lbson_check_scalar(L, 1, BSON_TYPE_OID)->bytes;
  lua_pushinteger(L, (lua_Integer)bytes[0] << 24 | (lua_Integer)bytes[1] << 16 | (lua_Integer)bytes[2] << 8 | bytes[3]);
  return 1;
}

static int objectid_index(lua_State *L) {
  lbson_check_scalar(L, 1, BSON_TYPE_OID);
  if (lua_type(L, 2) != LUA_TSTRING || strcmp(lua_tostring(L, 2), "timestamp_s") != 0) return 0;
  lua_pushcfunction(L, timestamp_s);
  return 1;
}

static int compare(const lbson_scalar_t *a, const lbson_scalar_t *b) {
  return memcmp(a->bytes, b->bytes, a->length);
}

/* bson.objectid([hex]) */
static int new_objectid(lua_State *L) {
  bson_oid_t oid;
  if (lua_isnoneornil(L, 1)) {
    bson_oid_init(&oid, NULL);
  } else if (lbson_test_oid(L, 1, &oid)) {
    lua_settop(L, 1);
    return 1;
  } else {
    if (lua_type(L, 1) != LUA_TSTRING) return kit_argerror(L, 1, "string of 24 hexadecimal digits");
    size_t length;
    const char *hex = lua_tolstring(L, 1, &length);
    if (!bson_oid_is_valid(hex, length) || length != 24) {
      return kit_raise_argument(L, "'%s' is not an objectid: 24 hexadecimal digits expected", hex);
    }
    bson_oid_init_from_string(&oid, hex);
  }
  push_oid(L, &oid);
  return 1;
}

void lbson_open_objectid(lua_State *L) {
  lbson_scalar_class(L, BSON_TYPE_OID, objectid_index, NULL);
  lbson_scalar_order(L, BSON_TYPE_OID, compare);
  lua_pushcfunction(L, new_objectid);
  lua_setfield(L, -2, "objectid");
}
