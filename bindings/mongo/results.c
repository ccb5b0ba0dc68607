/*
 * What operations return: plain tables with integers, made of the driver's and the server's replies.
 * Users: the operations in mongo/. Errors: memory only.
 */
#include "internal.h"

int64_t lmongo_reply_number(const bson_t *reply, const char *key) {
  bson_iter_t iter, found;
  return bson_iter_init(&iter, reply) && bson_iter_find_descendant(&iter, key, &found) ? bson_iter_as_int64(&found) : 0;
}

/* One of the two is in a reply. */
static int64_t either(const bson_t *reply, const char *first, const char *second) {
  return lmongo_reply_number(reply, first) + lmongo_reply_number(reply, second);
}

static void count_documents(const bson_t *reply, smig_counts_t *counts) {
  counts->inserted = either(reply, "insertedCount", "nInserted") + lmongo_reply_number(reply, "nUpserted");
  if (bson_has_field(reply, "upsertedId")) counts->inserted++;
  counts->matched = either(reply, "matchedCount", "nMatched");
  counts->modified = either(reply, "modifiedCount", "nModified");
  counts->deleted = either(reply, "deletedCount", "nRemoved");
  if (!bson_has_field(reply, "lastErrorObject")) return;
  int64_t found = lmongo_reply_number(reply, "lastErrorObject.n");
  if (!bson_has_field(reply, "lastErrorObject.updatedExisting"))
    counts->deleted = found;
  else if (bson_has_field(reply, "lastErrorObject.upserted"))
    counts->inserted = found;
  else
    counts->matched = found; /* whether it was changed is not told */
}

void lmongo_tell(const lmongo_scope_t *scope, const bson_t *reply) {
  if (!scope->ctx) return;
  smig_counts_t counts = {.operations = 1};
  if (reply) count_documents(reply, &counts);
  smig_ctx_count(scope->ctx, &counts);
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
