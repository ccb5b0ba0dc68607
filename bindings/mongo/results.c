/*
 * What operations return: plain tables with integers, made of the driver's and the server's replies.
 * Users: the operations in mongo/. Errors: memory only.
 */
#include "internal.h"

int64_t lmongo_reply_number(const bson_t *reply, const char *key) {
  bson_iter_t iter, found;
  return bson_iter_init(&iter, reply) && bson_iter_find_descendant(&iter, key, &found) ? bson_iter_as_int64(&found) : 0;
}

void lmongo_set_integer(lua_State *L, const char *field, int64_t value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, field);
}

void lmongo_set_value(lua_State *L, const char *field, const bson_t *reply, const char *key) {
  bson_iter_t iter, found;
  if (!bson_iter_init(&iter, reply) || !bson_iter_find_descendant(&iter, key, &found)) return;
  lbson_push_value(L, &found);
  lua_setfield(L, -2, field);
}

void lmongo_push_values(lua_State *L, const bson_t *reply, const char *key) {
  bson_iter_t iter, array, value;
  lua_newtable(L);
  if (!bson_iter_init(&iter, reply) || !bson_iter_find_descendant(&iter, key, &array) ||
      !BSON_ITER_HOLDS_ARRAY(&array) || !bson_iter_recurse(&array, &value)) {
    return;
  }
  for (lua_Integer i = 1; bson_iter_next(&value); i++) {
    lbson_push_value(L, &value);
    lua_rawseti(L, -2, i);
  }
}
