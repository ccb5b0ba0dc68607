/*
 * Indexes: create_index, create_indexes, list_indexes, index_names, drop_index, drop_indexes.
 * Users: collection.c. Errors: argument errors; a server's: IndexOptionsConflict (85) for the same keys under another name,
 * IndexKeySpecsConflict (86) for the same name over another definition. Rule: bindings design, section 3.
 */
#include "internal.h"

#include <math.h>
#include <string.h>

typedef struct index_options {
  lmongo_common_t common;
  int keys, partial_filter_expression, collation, wildcard_projection, weights, commit_quorum;
  const char *name, *default_language, *language_override;
  bool unique, sparse, hidden, has_expiry;
  int64_t expire_after_seconds;
} index_options_t;

#define INDEX_OPTIONS                                                                                                  \
  LMONGO_OPTION(index_options_t, name, KIT_STRING), LMONGO_OPTION(index_options_t, unique, KIT_BOOLEAN),               \
      LMONGO_OPTION(index_options_t, sparse, KIT_BOOLEAN), LMONGO_OPTION(index_options_t, hidden, KIT_BOOLEAN),        \
      {"expire_after_seconds",                                                                                         \
       KIT_INTEGER,                                                                                                    \
       offsetof(index_options_t, expire_after_seconds),                                                                \
       0,                                                                                                              \
       INT32_MAX,                                                                                                      \
       offsetof(index_options_t, has_expiry)},                                                                         \
      LMONGO_OPTION(index_options_t, partial_filter_expression, KIT_INDEX),                                            \
      LMONGO_OPTION(index_options_t, collation, KIT_INDEX),                                                            \
      LMONGO_OPTION(index_options_t, wildcard_projection, KIT_INDEX),                                                  \
      LMONGO_OPTION(index_options_t, weights, KIT_INDEX),                                                              \
      LMONGO_OPTION(index_options_t, default_language, KIT_STRING),                                                    \
      LMONGO_OPTION(index_options_t, language_override, KIT_STRING)

static const kit_option_t create_options[] = {
    LMONGO_WRITE_OPTIONS, INDEX_OPTIONS, LMONGO_OPTION(index_options_t, commit_quorum, KIT_INDEX), LMONGO_END_OPTIONS};
static const kit_option_t model_options[] = {LMONGO_OPTION(index_options_t, keys, KIT_INDEX), INDEX_OPTIONS,
                                             LMONGO_OPTION(lmongo_common_t, extra, KIT_INDEX), LMONGO_END_OPTIONS};
static const kit_option_t many_options[] = {
    LMONGO_WRITE_OPTIONS, LMONGO_OPTION(index_options_t, commit_quorum, KIT_INDEX), LMONGO_END_OPTIONS};

/* "last_name_1_city_-1", as every driver names an index that is given no name. Pushes it. */
static const char *push_default_name(lua_State *L, const bson_t *keys) {
  luaL_Buffer name;
  bson_iter_t iter;
  luaL_buffinit(L, &name);
  bson_iter_init(&iter, keys);
  for (bool first = true; bson_iter_next(&iter); first = false) {
    if (!first) luaL_addchar(&name, '_');
    luaL_addstring(&name, bson_iter_key(&iter));
    luaL_addchar(&name, '_');
    char number[32];
    const char *direction = number;
    if (BSON_ITER_HOLDS_UTF8(&iter))
      direction = bson_iter_utf8(&iter, NULL);
    else if (BSON_ITER_HOLDS_INT(&iter) || (BSON_ITER_HOLDS_DOUBLE(&iter) && fabs(bson_iter_double(&iter)) < 1e9))
      snprintf(number, sizeof number, "%lld", (long long)bson_iter_as_int64(&iter));
    else
      kit_raise_argument(L, "the key '%s' of an index must be 1, -1 or the name of a kind (\"text\", \"hashed\", …)",
                         bson_iter_key(&iter));
    luaL_addstring(&name, direction);
  }
  luaL_pushresult(&name);
  return lua_tostring(L, -1);
}

/* Appends one index to the array; pushes its name. */
static void append_index(lua_State *L, int keys_idx, const index_options_t *options, bson_t *indexes, uint32_t place) {
  kit_box_t *box = kit_box_push(L, NULL, lmongo_free_bson);
  bson_t *index = bson_new();
  box->pointer = index;
  int top = lua_gettop(L);
  bool is_array = false;
  const bson_t *keys = lbson_check(L, keys_idx, LBSON_ORDERED, "keys", &is_array);
  if (is_array || bson_empty(keys))
    kit_raise_argument(L, "the keys of an index must be a document with at least one field");
  BSON_APPEND_DOCUMENT(index, "key", keys);
  if (options->name)
    lua_pushstring(L, options->name);
  else
    push_default_name(L, keys);
  BSON_APPEND_UTF8(index, "name", lua_tostring(L, -1));
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
  if (options->unique) BSON_APPEND_BOOL(index, "unique", true);
  if (options->sparse) BSON_APPEND_BOOL(index, "sparse", true);
  if (options->hidden) BSON_APPEND_BOOL(index, "hidden", true);
  if (options->has_expiry) BSON_APPEND_INT64(index, "expireAfterSeconds", options->expire_after_seconds);
  lmongo_append_document(L, options->partial_filter_expression, LBSON_DOCUMENT, index, "partialFilterExpression",
                         "partial_filter_expression");
  lmongo_append_document(L, options->collation, LBSON_DOCUMENT, index, "collation", "collation");
  lmongo_append_document(L, options->wildcard_projection, LBSON_DOCUMENT, index, "wildcardProjection",
                         "wildcard_projection");
  lmongo_append_document(L, options->weights, LBSON_DOCUMENT, index, "weights", "weights");
  if (options->default_language) BSON_APPEND_UTF8(index, "default_language", options->default_language);
  if (options->language_override) BSON_APPEND_UTF8(index, "language_override", options->language_override);
  lmongo_append_extra(L, options->common.extra, index);
  char buffer[16];
  const char *key;
  bson_uint32_to_string(place, &key, buffer, sizeof buffer);
  BSON_APPEND_DOCUMENT(indexes, key, index);
  lua_remove(L, top); /* the box */
}

static void append_commit_quorum(lua_State *L, int idx, bson_t *command) {
  if (!idx) return;
  int is_integer;
  lua_Integer members = lua_tointegerx(L, idx, &is_integer);
  if (is_integer && members >= 0 && members <= 50)
    BSON_APPEND_INT32(command, "commitQuorum", (int32_t)members);
  else
    BSON_APPEND_UTF8(command, "commitQuorum", kit_check_name(L, idx, NULL));
}

static const bson_t *send_indexes(lua_State *L, lmongo_call_t *call, const bson_t *indexes, int commit_quorum) {
  BSON_APPEND_UTF8(&call->command, "createIndexes", call->target->collection);
  BSON_APPEND_ARRAY(&call->command, "indexes", indexes);
  append_commit_quorum(L, commit_quorum, &call->command);
  bson_error_t cause;
  if (!lmongo_try(call, LMONGO_WRITE, call->target->database, &cause)) lmongo_indexes_failed(L, call, indexes, &cause);
  return &call->reply;
}

/* collection:create_index(keys [, opts]) -> name */
int lmongo_create_index(lua_State *L) {
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 3);
  index_options_t options = {0};
  kit_read_options(L, 3, "create_index", create_options, &options);
  lmongo_common_t common = options.common;
  common.extra = 0; /* of the index */
  lmongo_call_t *call = lmongo_call(L, target, "create_index in", LMONGO_WRITE, &common);
  kit_box_t *box = kit_box_push(L, NULL, lmongo_free_bson);
  bson_t *indexes = bson_new();
  box->pointer = indexes;
  append_index(L, 2, &options, indexes, 0);
  send_indexes(L, call, indexes, options.commit_quorum);
  lmongo_call_end(call);
  return 1;
}

/* collection:create_indexes(models [, opts]) -> {names, num_indexes_before, num_indexes_after, note} */
int lmongo_create_indexes(lua_State *L) {
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 3);
  if (!lua_istable(L, 2)) return kit_argerror(L, 2, "array of indexes");
  index_options_t options = {0};
  kit_read_options(L, 3, "create_indexes", many_options, &options);
  lmongo_call_t *call = lmongo_call(L, target, "create_indexes in", LMONGO_WRITE, &options.common);
  kit_box_t *box = kit_box_push(L, NULL, lmongo_free_bson);
  bson_t *indexes = bson_new();
  box->pointer = indexes;
  lua_Integer count = luaL_len(L, 2);
  if (!count) return kit_argerror(L, 2, "at least one index expected, as { keys = …, unique = … }");
  lua_newtable(L);
  int names = lua_gettop(L);
  for (lua_Integer i = 1; i <= count; i++) {
    index_options_t model = {0};
    lua_geti(L, 2, i);
    kit_read_options(L, names + 1, "create_indexes", model_options, &model);
    if (!model.keys) return kit_raise_argument(L, "index %lld of create_indexes needs 'keys'", (long long)i);
    append_index(L, model.keys, &model, indexes, (uint32_t)(i - 1));
    lua_rawseti(L, names, i);
    lua_settop(L, names);
  }
  const bson_t *reply = send_indexes(L, call, indexes, options.commit_quorum);
  lua_createtable(L, 0, 4);
  lua_pushvalue(L, names);
  lua_setfield(L, -2, "names");
  lmongo_set_integer(L, "num_indexes_before", lmongo_reply_number(reply, "numIndexesBefore"));
  lmongo_set_integer(L, "num_indexes_after", lmongo_reply_number(reply, "numIndexesAfter"));
  lmongo_set_value(L, "note", reply, "note");
  lmongo_call_end(call);
  return 1;
}

/* The cursor of listIndexes: pushed. A collection that is not there has no indexes. */
static void push_indexes(lua_State *L, const char *operation, const char *phrase) {
  static const kit_option_t options[] = {LMONGO_COMMAND_OPTIONS, LMONGO_END_OPTIONS};
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 2);
  lmongo_common_t common = {0};
  kit_read_options(L, 2, operation, options, &common);
  lmongo_call_t *call = lmongo_call(L, target, phrase, LMONGO_PLAIN, &common);
  lmongo_cursor_t *cursor = lmongo_push_cursor(L, call, NULL);
  lmongo_cursor_open(L, cursor, mongoc_collection_find_indexes_with_opts(lmongo_call_collection(call), &call->opts));
  lmongo_call_end(call);
}

/* collection:list_indexes([opts]) -> cursor */
int lmongo_list_indexes(lua_State *L) {
  push_indexes(L, "list_indexes", "list_indexes of");
  return lmongo_return_cursor(L, -1);
}

/* collection:index_names([opts]) -> array */
int lmongo_index_names(lua_State *L) {
  push_indexes(L, "index_names", "index_names of");
  return lmongo_collect_names(L, -1);
}

/* -------------------------------------------------------------------- drop */

/* collection:drop_index(name or keys [, opts]) */
int lmongo_drop_index(lua_State *L) {
  static const kit_option_t options[] = {LMONGO_WRITE_OPTIONS, LMONGO_END_OPTIONS};
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 3);
  lmongo_common_t common = {0};
  kit_read_options(L, 3, "drop_index", options, &common);
  lmongo_call_t *call = lmongo_call(L, target, "drop_index of", LMONGO_WRITE, &common);
  BSON_APPEND_UTF8(&call->command, "dropIndexes", target->collection);
  if (lua_type(L, 2) == LUA_TSTRING) {
    const char *name = kit_check_name(L, 2, NULL);
    if (strcmp(name, "*") == 0) return kit_argerror(L, 2, "name of one index expected; drop_indexes() drops them all");
    BSON_APPEND_UTF8(&call->command, "index", name);
  } else {
    if (lua_isnil(L, 2)) return kit_argerror(L, 2, "name or keys of an index");
    lmongo_append_document(L, 2, LBSON_ORDERED, &call->command, "index", "keys");
  }
  lmongo_run(L, call, LMONGO_WRITE, target->database);
  lmongo_call_end(call);
  return 0;
}

/* collection:drop_indexes([opts]): all but that of _id */
int lmongo_drop_indexes(lua_State *L) {
  static const kit_option_t options[] = {LMONGO_WRITE_OPTIONS, LMONGO_END_OPTIONS};
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 2);
  lmongo_common_t common = {0};
  kit_read_options(L, 2, "drop_indexes", options, &common);
  lmongo_call_t *call = lmongo_call(L, target, "drop_indexes of", LMONGO_WRITE, &common);
  BSON_APPEND_UTF8(&call->command, "dropIndexes", target->collection);
  BSON_APPEND_UTF8(&call->command, "index", "*");
  lmongo_run(L, call, LMONGO_WRITE, target->database);
  lmongo_call_end(call);
  return 0;
}
