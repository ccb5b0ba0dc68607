/*
 * What a collection reads: find, find_one, count, estimated_count, distinct, aggregate (of a database, too).
 * Users: collection.c, database.c. Errors: argument errors; a server's. Rule: bindings design, section 3.
 */
#include "internal.h"

#include <string.h>

/* -------------------------------------------------------------------- find */

typedef struct find_options {
  lmongo_common_t common;
  int sort, projection, hint, min, max, collation, let;
  int64_t skip, limit, batch_size; /* 0: none, none, the server's */
  bool no_cursor_timeout, allow_disk_use;
  const char *as;
} find_options_t;

/* What find and find_one both take. */
#define ONE_OPTIONS                                                                                                    \
  LMONGO_READ_OPTIONS, LMONGO_OPTION(find_options_t, sort, KIT_INDEX),                                                 \
      LMONGO_OPTION(find_options_t, projection, KIT_INDEX), LMONGO_OPTION(find_options_t, hint, KIT_INDEX),            \
      LMONGO_OPTION(find_options_t, min, KIT_INDEX), LMONGO_OPTION(find_options_t, max, KIT_INDEX),                    \
      LMONGO_OPTION(find_options_t, collation, KIT_INDEX), LMONGO_OPTION(find_options_t, let, KIT_INDEX),              \
      LMONGO_RANGE(find_options_t, skip, 0, INT64_MAX), LMONGO_OPTION(find_options_t, allow_disk_use, KIT_BOOLEAN),    \
      LMONGO_OPTION(find_options_t, as, KIT_STRING)

static const kit_option_t find_options[] = {ONE_OPTIONS, LMONGO_RANGE(find_options_t, limit, 0, INT64_MAX),
                                            LMONGO_RANGE(find_options_t, batch_size, 1, INT32_MAX),
                                            LMONGO_OPTION(find_options_t, no_cursor_timeout, KIT_BOOLEAN),
                                            LMONGO_END_OPTIONS};

/* What find and find_one have in common: limit, batch size and `as` are find's, single is find_one's. */
static lmongo_cursor_t *start_find(lua_State *L, lmongo_call_t *call, const bson_t *filter,
                                   const find_options_t *options, bool single) {
  bson_t *opts = &call->opts;
  lmongo_append_document(L, options->sort, LBSON_ORDERED, opts, "sort", "sort");
  lmongo_append_document(L, options->projection, LBSON_DOCUMENT, opts, "projection", "projection");
  lmongo_append_hint(L, options->hint, opts);
  lmongo_append_document(L, options->min, LBSON_ORDERED, opts, "min", "min");
  lmongo_append_document(L, options->max, LBSON_ORDERED, opts, "max", "max");
  lmongo_append_document(L, options->collation, LBSON_DOCUMENT, opts, "collation", "collation");
  lmongo_append_document(L, options->let, LBSON_DOCUMENT, opts, "let", "let");
  if (options->skip) BSON_APPEND_INT64(opts, "skip", options->skip);
  if (single || options->limit) BSON_APPEND_INT64(opts, "limit", single ? 1 : options->limit);
  if (single) BSON_APPEND_BOOL(opts, "singleBatch", true);
  if (options->batch_size) BSON_APPEND_INT64(opts, "batchSize", options->batch_size);
  if (options->no_cursor_timeout) BSON_APPEND_BOOL(opts, "noCursorTimeout", true);
  if (options->allow_disk_use) BSON_APPEND_BOOL(opts, "allowDiskUse", true);
  lmongo_cursor_t *cursor = lmongo_push_cursor(L, call, options->as);
  if (!single) lmongo_keep_explained(L, "find", call, "filter", filter, false);
  mongoc_collection_t *collection = lmongo_call_collection(call);
  lmongo_cursor_open(L, cursor, mongoc_collection_find_with_opts(collection, filter, opts, call->prefs));
  lmongo_call_end(call);
  return cursor;
}

/* collection:find([filter [, opts]]) */
int lmongo_find(lua_State *L) {
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 3);
  find_options_t options = {0};
  kit_read_options(L, 3, "find", find_options, &options);
  lmongo_call_t *call = lmongo_call(L, target, "find in", LMONGO_READ, &options.common);
  const bson_t *filter = lmongo_check_filter(L, 2, false);
  start_find(L, call, filter, &options, false);
  return lmongo_return_cursor(L, -1);
}

/* collection:find_one([filter [, opts]]) -> document or nil */
int lmongo_find_one(lua_State *L) {
  static const kit_option_t one_options[] = {ONE_OPTIONS, LMONGO_END_OPTIONS};
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 3);
  find_options_t options = {0};
  kit_read_options(L, 3, "find_one", one_options, &options);
  lmongo_call_t *call = lmongo_call(L, target, "find_one in", LMONGO_READ, &options.common);
  const bson_t *filter = lmongo_check_filter(L, 2, false);
  lmongo_cursor_t *cursor = start_find(L, call, filter, &options, true);
  bool found = lmongo_cursor_advance(L, -1, true);
  if (cursor->state == LMONGO_OPEN) cursor->child.close(&cursor->child);
  if (!found) lua_pushnil(L);
  return 1;
}

/* --------------------------------------------------------------- aggregate */

typedef struct aggregate_options {
  lmongo_common_t common;
  int hint, collation, let;
  int64_t batch_size;
  bool allow_disk_use, bypass_document_validation;
  const char *as;
} aggregate_options_t;

static const kit_option_t aggregate_options[] = {
    LMONGO_READ_OPTIONS,
    LMONGO_OPTION(lmongo_common_t, write_concern, KIT_INDEX),
    LMONGO_OPTION(aggregate_options_t, hint, KIT_INDEX),
    LMONGO_OPTION(aggregate_options_t, collation, KIT_INDEX),
    LMONGO_OPTION(aggregate_options_t, let, KIT_INDEX),
    LMONGO_RANGE(aggregate_options_t, batch_size, 1, INT32_MAX),
    LMONGO_OPTION(aggregate_options_t, allow_disk_use, KIT_BOOLEAN),
    LMONGO_OPTION(aggregate_options_t, bypass_document_validation, KIT_BOOLEAN),
    LMONGO_OPTION(aggregate_options_t, as, KIT_STRING),
    LMONGO_END_OPTIONS};

/* The name of a stage, "$match"; NULL when the element is no document with a field. */
static const char *stage_name(const bson_iter_t *element) {
  bson_iter_t stage;
  if (!BSON_ITER_HOLDS_DOCUMENT(element) || !bson_iter_recurse(element, &stage) || !bson_iter_next(&stage)) return NULL;
  return bson_iter_key(&stage);
}

/* Whether the pipeline writes (its last stage), and whether it watches the server (its first), which takes no read concern. */
static void inspect_pipeline(const bson_t *pipeline, bool *writes, bool *monitors) {
  static const char *const monitoring[] = {"$currentOp",  "$listLocalSessions", "$listSessions",
                                           "$indexStats", "$planCacheStats",    "$collStats"};
  *writes = *monitors = false;
  bson_iter_t iter;
  bool first = true;
  for (bool more = bson_iter_init(&iter, pipeline) && bson_iter_next(&iter); more; more = bson_iter_next(&iter)) {
    const char *name = stage_name(&iter);
    *writes = name && (strcmp(name, "$out") == 0 || strcmp(name, "$merge") == 0);
    for (size_t i = 0; first && name && i < sizeof monitoring / sizeof *monitoring; i++) {
      *monitors |= strcmp(name, monitoring[i]) == 0;
    }
    first = false;
  }
}

/* collection:aggregate(pipeline [, opts]), database:aggregate(pipeline [, opts]) */
int lmongo_aggregate(lua_State *L) {
  const lmongo_target_t *target =
      luaL_testudata(L, 1, LMONGO_DATABASE) ? lmongo_check_db(L) : lmongo_check_collection(L);
  lua_settop(L, 3);
  aggregate_options_t options = {0};
  kit_read_options(L, 3, "aggregate", aggregate_options, &options);
  bool is_array = false, writes, monitors;
  const bson_t *pipeline = lbson_check(L, 2, LBSON_ARRAY, "pipeline", &is_array);
  if (!is_array) return kit_argerror(L, 2, "pipeline expected, an array of stages");
  inspect_pipeline(pipeline, &writes, &monitors);
  lmongo_call_kind_t kind = monitors ? LMONGO_PLAIN : writes ? LMONGO_BOTH : LMONGO_READ;
  lmongo_call_t *call = lmongo_call(L, target, "aggregate in", kind, &options.common);
  bson_t *opts = &call->opts;
  lmongo_append_hint(L, options.hint, opts);
  lmongo_append_document(L, options.collation, LBSON_DOCUMENT, opts, "collation", "collation");
  lmongo_append_document(L, options.let, LBSON_DOCUMENT, opts, "let", "let");
  if (options.batch_size) BSON_APPEND_INT64(opts, "batchSize", options.batch_size);
  if (options.allow_disk_use) BSON_APPEND_BOOL(opts, "allowDiskUse", true);
  if (options.bypass_document_validation) BSON_APPEND_BOOL(opts, "bypassDocumentValidation", true);
  lmongo_cursor_t *cursor = lmongo_push_cursor(L, call, options.as);
  lmongo_keep_explained(L, "aggregate", call, "pipeline", pipeline, true);
  mongoc_read_concern_t *local = mongoc_read_concern_new();
  mongoc_cursor_t *opened;
  if (target->collection) {
    mongoc_collection_t *collection = lmongo_call_collection(call);
    if (monitors) mongoc_collection_set_read_concern(collection, local);
    opened = mongoc_collection_aggregate(collection, MONGOC_QUERY_NONE, pipeline, opts, call->prefs);
  } else {
    mongoc_database_t *database = lmongo_call_database(call);
    if (monitors) mongoc_database_set_read_concern(database, local);
    opened = mongoc_database_aggregate(database, pipeline, opts, call->prefs);
  }
  mongoc_read_concern_destroy(local);
  lmongo_cursor_open(L, cursor, opened);
  lmongo_call_end(call);
  /* The driver sends nothing until it is asked for a document: what writes must not wait for a reader. */
  if (writes && lmongo_cursor_advance(L, -1, true)) lua_pop(L, 1);
  return lmongo_return_cursor(L, -1);
}

/* ---------------------------------------------------------- count, distinct */

/* collection:count([filter [, opts]]) -> integer: exact, by an aggregation, so that it works in transactions. */
int lmongo_count(lua_State *L) {
  typedef struct {
    lmongo_common_t common;
    int hint, collation, let;
    int64_t skip, limit;
  } count_options_t;
  static const kit_option_t count_options[] = {LMONGO_READ_OPTIONS,
                                               LMONGO_OPTION(count_options_t, hint, KIT_INDEX),
                                               LMONGO_OPTION(count_options_t, collation, KIT_INDEX),
                                               LMONGO_OPTION(count_options_t, let, KIT_INDEX),
                                               LMONGO_RANGE(count_options_t, skip, 0, INT64_MAX),
                                               LMONGO_RANGE(count_options_t, limit, 0, INT64_MAX),
                                               LMONGO_END_OPTIONS};
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 3);
  count_options_t options = {0};
  kit_read_options(L, 3, "count", count_options, &options);
  lmongo_call_t *call = lmongo_call(L, target, "count in", LMONGO_READ, &options.common);
  const bson_t *filter = lmongo_check_filter(L, 2, false);
  bson_t pipeline = BSON_INITIALIZER, stage, child, sum;
  BSON_APPEND_DOCUMENT_BEGIN(&pipeline, "0", &stage);
  BSON_APPEND_DOCUMENT(&stage, "$match", filter);
  bson_append_document_end(&pipeline, &stage);
  if (options.skip) {
    BSON_APPEND_DOCUMENT_BEGIN(&pipeline, "1", &stage);
    BSON_APPEND_INT64(&stage, "$skip", options.skip);
    bson_append_document_end(&pipeline, &stage);
  }
  if (options.limit) {
    BSON_APPEND_DOCUMENT_BEGIN(&pipeline, "2", &stage);
    BSON_APPEND_INT64(&stage, "$limit", options.limit);
    bson_append_document_end(&pipeline, &stage);
  }
  BSON_APPEND_DOCUMENT_BEGIN(&pipeline, "3", &stage);
  BSON_APPEND_DOCUMENT_BEGIN(&stage, "$group", &child);
  BSON_APPEND_INT32(&child, "_id", 1);
  BSON_APPEND_DOCUMENT_BEGIN(&child, "n", &sum);
  BSON_APPEND_INT32(&sum, "$sum", 1);
  bson_append_document_end(&child, &sum);
  bson_append_document_end(&stage, &child);
  bson_append_document_end(&pipeline, &stage);
  BSON_APPEND_UTF8(&call->command, "aggregate", target->collection);
  BSON_APPEND_ARRAY(&call->command, "pipeline", &pipeline);
  bson_destroy(&pipeline);
  BSON_APPEND_DOCUMENT_BEGIN(&call->command, "cursor", &child);
  bson_append_document_end(&call->command, &child);
  lmongo_append_hint(L, options.hint, &call->opts);
  lmongo_append_document(L, options.collation, LBSON_DOCUMENT, &call->opts, "collation", "collation");
  lmongo_append_document(L, options.let, LBSON_DOCUMENT, &call->opts, "let", "let");
  lua_pushinteger(L, lmongo_reply_number(lmongo_run(L, call, LMONGO_READ, target->database), "cursor.firstBatch.0.n"));
  lmongo_call_end(call);
  return 1;
}

/* collection:estimated_count([opts]) -> integer: from the collection's metadata; it reads no document. */
int lmongo_estimated_count(lua_State *L) {
  static const kit_option_t options[] = {
      LMONGO_COMMAND_OPTIONS, LMONGO_OPTION(lmongo_common_t, read_preference, KIT_INDEX), LMONGO_END_OPTIONS};
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 2);
  lmongo_common_t common = {0};
  kit_read_options(L, 2, "estimated_count", options, &common);
  lmongo_call_t *call = lmongo_call(L, target, "estimated_count in", LMONGO_PLAIN, &common);
  BSON_APPEND_UTF8(&call->command, "count", target->collection);
  lua_pushinteger(L, lmongo_reply_number(lmongo_run(L, call, LMONGO_PLAIN, target->database), "n"));
  lmongo_call_end(call);
  return 1;
}

/* collection:distinct(field [, filter [, opts]]) -> array */
int lmongo_distinct(lua_State *L) {
  typedef struct {
    lmongo_common_t common;
    int collation;
  } distinct_options_t;
  static const kit_option_t distinct_options[] = {
      LMONGO_READ_OPTIONS, LMONGO_OPTION(distinct_options_t, collation, KIT_INDEX), LMONGO_END_OPTIONS};
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 4);
  const char *field = kit_check_name(L, 2, NULL);
  distinct_options_t options = {0};
  kit_read_options(L, 4, "distinct", distinct_options, &options);
  lmongo_call_t *call = lmongo_call(L, target, "distinct in", LMONGO_READ, &options.common);
  const bson_t *filter = lmongo_check_filter(L, 3, false);
  BSON_APPEND_UTF8(&call->command, "distinct", target->collection);
  BSON_APPEND_UTF8(&call->command, "key", field);
  BSON_APPEND_DOCUMENT(&call->command, "query", filter);
  lmongo_append_document(L, options.collation, LBSON_DOCUMENT, &call->opts, "collation", "collation");
  lmongo_push_values(L, lmongo_run(L, call, LMONGO_READ, target->database), "values");
  lmongo_call_end(call);
  return 1;
}
