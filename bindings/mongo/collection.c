/*
 * Collection handles, and what concerns a collection as a whole: with, rename, drop, stats.
 * Users: Lua. Errors: argument errors; a server's. Rule: bindings design, section 3. A collection that is not there is dropped
 * already: drop says false.
 */
#include "internal.h"

#include <string.h>

enum { NAMESPACE_NOT_FOUND = 26 };

/* collection:rename(name [, opts]) -> collection of the new name */
static int rename_collection(lua_State *L) {
  typedef struct {
    lmongo_common_t common;
    bool drop_target;
    const char *database;
  } rename_options_t;
  static const kit_option_t rename_options[] = {
      LMONGO_WRITE_OPTIONS, LMONGO_OPTION(rename_options_t, drop_target, KIT_BOOLEAN),
      LMONGO_OPTION(rename_options_t, database, KIT_STRING), LMONGO_END_OPTIONS};
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 3);
  const char *name = lmongo_check_collection_name(L, 2);
  rename_options_t options = {0};
  kit_read_options(L, 3, "rename", rename_options, &options);
  const char *database = options.database ? options.database : target->database;
  lmongo_call_t *call = lmongo_call(L, target, "rename of", LMONGO_WRITE, &options.common);
  BSON_APPEND_UTF8(&call->command, "renameCollection", target->ns);
  char *to = bson_strdup_printf("%s.%s", database, name);
  BSON_APPEND_UTF8(&call->command, "to", to);
  bson_free(to);
  if (options.drop_target) BSON_APPEND_BOOL(&call->command, "dropTarget", true);
  lmongo_run(L, call, LMONGO_WRITE, "admin");
  lmongo_call_end(call);
  lua_getiuservalue(L, 1, 1);
  lmongo_push_target(L, -1, 1, database, name);
  return 1;
}

/* collection:drop([opts]) -> whether it was there */
static int drop(lua_State *L) {
  static const kit_option_t options[] = {LMONGO_WRITE_OPTIONS, LMONGO_END_OPTIONS};
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 2);
  lmongo_common_t common = {0};
  kit_read_options(L, 2, "drop", options, &common);
  lmongo_call_t *call = lmongo_call(L, target, "drop of", LMONGO_WRITE, &common);
  BSON_APPEND_UTF8(&call->command, "drop", target->collection);
  bson_error_t cause;
  bool dropped = lmongo_try(call, LMONGO_WRITE, target->database, &cause);
  if (!dropped && (cause.domain != MONGOC_ERROR_SERVER || cause.code != NAMESPACE_NOT_FOUND)) {
    return lmongo_call_failed(L, call, &cause);
  }
  /* Servers from 7.0 on answer ok for a collection that is not there, without its name. */
  lua_pushboolean(L, dropped && bson_has_field(&call->reply, "ns"));
  lmongo_call_end(call);
  return 1;
}

/* collection:stats([opts]) -> reply of collStats */
static int stats(lua_State *L) {
  typedef struct {
    lmongo_common_t common;
    int64_t scale;
  } stats_options_t;
  static const kit_option_t stats_options[] = {LMONGO_COMMAND_OPTIONS,
                                               LMONGO_OPTION(lmongo_common_t, read_preference, KIT_INDEX),
                                               LMONGO_RANGE(stats_options_t, scale, 1, INT32_MAX), LMONGO_END_OPTIONS};
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 2);
  stats_options_t options = {0};
  kit_read_options(L, 2, "stats", stats_options, &options);
  lmongo_call_t *call = lmongo_call(L, target, "stats of", LMONGO_PLAIN, &options.common);
  BSON_APPEND_UTF8(&call->command, "collStats", target->collection);
  if (options.scale) BSON_APPEND_INT64(&call->command, "scale", options.scale);
  lbson_push_frozen(L, lmongo_run(L, call, LMONGO_PLAIN, target->database));
  lmongo_call_end(call);
  return 1;
}

static int collection_tostring(lua_State *L) {
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_pushfstring(L, "collection '%s' (%s)", target->ns, target->scope->connection ? "open" : "closed");
  return 1;
}

/* What other drivers and the shell call it, where the name alone is too far from ours. */
static void suggest_alias(lua_State *L, const char *field) {
  static const struct {
    const char *name, *ours;
  } aliases[] = {{"insert", "'insert_one' or 'insert_many'"},
                 {"count_documents", "'count'"},
                 {"countDocuments", "'count'"},
                 {"update", "'update_one' or 'update_many'"},
                 {"remove", "'delete_one' or 'delete_many'"},
                 {"delete", "'delete_one' or 'delete_many'"},
                 {"find_and_modify", "'find_one_and_update', 'find_one_and_replace' or 'find_one_and_delete'"},
                 {"findAndModify", "'find_one_and_update', 'find_one_and_replace' or 'find_one_and_delete'"}};
  for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
    if (strcmp(field, aliases[i].name) == 0)
      kit_raise_argument(L, "collection has no method '%s'; did you mean %s?", field, aliases[i].ours);
  }
}

static int collection_field(lua_State *L, const char *field) {
  const lmongo_target_t *target = lmongo_check_collection(L);
  if (strcmp(field, "name") == 0)
    lua_pushstring(L, target->collection);
  else if (strcmp(field, "namespace") == 0)
    lua_pushstring(L, target->ns);
  else
    return suggest_alias(L, field), 0;
  return 1;
}

bool lmongo_is_method(lua_State *L, int function_idx) {
  return kit_is_method(L, LMONGO_COLLECTION, function_idx) || kit_is_method(L, LMONGO_DATABASE, function_idx);
}

void lmongo_new_collection_class(lua_State *L) {
  static const luaL_Reg methods[] = {{"with", lmongo_with},
                                     {"find", lmongo_find},
                                     {"find_one", lmongo_find_one},
                                     {"count", lmongo_count},
                                     {"estimated_count", lmongo_estimated_count},
                                     {"distinct", lmongo_distinct},
                                     {"aggregate", lmongo_aggregate},
                                     {"insert_one", lmongo_insert_one},
                                     {"insert_many", lmongo_insert_many},
                                     {"update_one", lmongo_update_one},
                                     {"update_many", lmongo_update_many},
                                     {"replace_one", lmongo_replace_one},
                                     {"delete_one", lmongo_delete_one},
                                     {"delete_many", lmongo_delete_many},
                                     {"find_one_and_update", lmongo_find_one_and_update},
                                     {"find_one_and_replace", lmongo_find_one_and_replace},
                                     {"find_one_and_delete", lmongo_find_one_and_delete},
                                     {"bulk_write", lmongo_bulk_write},
                                     {"bulk_writer", lmongo_bulk_writer},
                                     {"watch", lmongo_watch},
                                     {"explain", lmongo_explain},
                                     {"create_index", lmongo_create_index},
                                     {"create_indexes", lmongo_create_indexes},
                                     {"list_indexes", lmongo_list_indexes},
                                     {"index_names", lmongo_index_names},
                                     {"drop_index", lmongo_drop_index},
                                     {"drop_indexes", lmongo_drop_indexes},
                                     {"rename", rename_collection},
                                     {"drop", drop},
                                     {"stats", stats},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", collection_tostring}, {NULL, NULL}};
  kit_new_class(L, LMONGO_COLLECTION, "collection", methods, meta, collection_field);
}
