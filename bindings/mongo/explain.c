/*
 * explain: how the server does, or would do, an operation. Of a collection by name, and of a cursor that there is.
 * Users: collection.c, cursor.c, reads.c. Errors: argument errors; a server's. Rule: bindings design, section 3.
 * An explained command changes nothing, whatever its verbosity.
 */
#include "internal.h"

#include <string.h>

typedef struct explain_options {
  lmongo_common_t common;
  int sort, projection, hint, min, max, collation, let, update, array_filters;
  int64_t skip, limit;
  bool upsert, allow_disk_use;
  const char *field, *verbosity;
} explain_options_t;

#define EXPLAIN(member, kind) LMONGO_OPTION(explain_options_t, member, kind)
#define COMMON_OPTIONS                                                                                                 \
  LMONGO_BASE_OPTIONS, LMONGO_RANGE(lmongo_common_t, max_time_ms, 1, INT32_MAX),                                       \
      LMONGO_OPTION(lmongo_common_t, read_preference, KIT_INDEX), EXPLAIN(verbosity, KIT_STRING),                      \
      EXPLAIN(collation, KIT_INDEX)
#define SELECTION                                                                                                      \
  EXPLAIN(hint, KIT_INDEX), EXPLAIN(let, KIT_INDEX), LMONGO_RANGE(explain_options_t, skip, 0, INT64_MAX),              \
      LMONGO_RANGE(explain_options_t, limit, 0, INT64_MAX)

static const kit_option_t find_options[] = {COMMON_OPTIONS,
                                            SELECTION,
                                            EXPLAIN(sort, KIT_INDEX),
                                            EXPLAIN(projection, KIT_INDEX),
                                            EXPLAIN(min, KIT_INDEX),
                                            EXPLAIN(max, KIT_INDEX),
                                            EXPLAIN(allow_disk_use, KIT_BOOLEAN),
                                            LMONGO_END_OPTIONS};
static const kit_option_t count_options[] = {COMMON_OPTIONS, EXPLAIN(hint, KIT_INDEX),
                                             LMONGO_RANGE(explain_options_t, skip, 0, INT64_MAX),
                                             LMONGO_RANGE(explain_options_t, limit, 0, INT64_MAX), LMONGO_END_OPTIONS};
static const kit_option_t distinct_options[] = {COMMON_OPTIONS, EXPLAIN(field, KIT_STRING), LMONGO_END_OPTIONS};
static const kit_option_t aggregate_options[] = {COMMON_OPTIONS, EXPLAIN(hint, KIT_INDEX), EXPLAIN(let, KIT_INDEX),
                                                 EXPLAIN(allow_disk_use, KIT_BOOLEAN), LMONGO_END_OPTIONS};
static const kit_option_t update_options[] = {COMMON_OPTIONS,
                                              EXPLAIN(hint, KIT_INDEX),
                                              EXPLAIN(let, KIT_INDEX),
                                              EXPLAIN(update, KIT_INDEX),
                                              EXPLAIN(array_filters, KIT_INDEX),
                                              EXPLAIN(upsert, KIT_BOOLEAN),
                                              LMONGO_END_OPTIONS};
static const kit_option_t delete_options[] = {COMMON_OPTIONS, EXPLAIN(hint, KIT_INDEX), EXPLAIN(let, KIT_INDEX),
                                              LMONGO_END_OPTIONS};

typedef struct operation {
  const char *name, *command;
  const kit_option_t *options;
  bool many;
} operation_t;

static const operation_t operations[] = {{"find", "find", find_options, false},
                                         {"count", "count", count_options, false},
                                         {"distinct", "distinct", distinct_options, false},
                                         {"aggregate", "aggregate", aggregate_options, false},
                                         {"update_one", "update", update_options, false},
                                         {"update_many", "update", update_options, true},
                                         {"delete_one", "delete", delete_options, false},
                                         {"delete_many", "delete", delete_options, true}};
enum { OPERATIONS = sizeof operations / sizeof *operations };

static const operation_t *check_operation(lua_State *L, int arg) {
  const char *name = kit_check_name(L, arg, NULL);
  for (int i = 0; i < OPERATIONS; i++)
    if (strcmp(operations[i].name, name) == 0) return &operations[i];
  kit_argerror(L, arg, "find, count, distinct, aggregate, update_one, update_many, delete_one or delete_many expected");
  return NULL;
}

static const char *check_verbosity(lua_State *L, const char *verbosity) {
  static const char *const known[] = {"queryPlanner", "executionStats", "allPlansExecution"};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strcmp(known[i], verbosity) == 0) return known[i];
  kit_raise_argument(L, "the verbosity must be one of queryPlanner, executionStats, allPlansExecution, got '%s'",
                     verbosity);
  return NULL;
}

const char *lmongo_check_verbosity(lua_State *L, int arg) {
  return lua_isnil(L, arg) ? "queryPlanner" : check_verbosity(L, kit_check_name(L, arg, NULL));
}

/* ------------------------------------------------------------- the command */

/* Fields of the command (find, count, aggregate, distinct), or of the statement of an update or delete. */
static void append_options(lua_State *L, const explain_options_t *options, bson_t *to) {
  lmongo_append_document(L, options->sort, LBSON_ORDERED, to, "sort", "sort");
  lmongo_append_document(L, options->projection, LBSON_DOCUMENT, to, "projection", "projection");
  lmongo_append_hint(L, options->hint, to);
  lmongo_append_document(L, options->min, LBSON_ORDERED, to, "min", "min");
  lmongo_append_document(L, options->max, LBSON_ORDERED, to, "max", "max");
  lmongo_append_document(L, options->collation, LBSON_DOCUMENT, to, "collation", "collation");
  lmongo_append_document(L, options->array_filters, LBSON_ARRAY, to, "arrayFilters", "array_filters");
  if (options->skip) BSON_APPEND_INT64(to, "skip", options->skip);
  if (options->limit) BSON_APPEND_INT64(to, "limit", options->limit);
  if (options->allow_disk_use) BSON_APPEND_BOOL(to, "allowDiskUse", true);
  if (options->upsert) BSON_APPEND_BOOL(to, "upsert", true);
}

/* find, count, distinct, aggregate */
static void append_reading(lua_State *L, const operation_t *operation, const explain_options_t *options,
                           bson_t *command) {
  if (strcmp(operation->command, "aggregate") == 0) {
    bson_t cursor;
    if (lua_isnil(L, 3)) kit_argerror(L, 3, "pipeline");
    lmongo_append_document(L, 3, LBSON_ARRAY, command, "pipeline", "pipeline");
    BSON_APPEND_DOCUMENT_BEGIN(command, "cursor", &cursor);
    bson_append_document_end(command, &cursor);
  } else {
    const bson_t *filter = lmongo_check_filter(L, 3, false);
    BSON_APPEND_DOCUMENT(command, strcmp(operation->command, "find") == 0 ? "filter" : "query", filter);
    lmongo_pop_box(L);
  }
  if (options->field)
    BSON_APPEND_UTF8(command, "key", options->field);
  else if (strcmp(operation->command, "distinct") == 0)
    kit_raise_argument(L, "explain of distinct needs the option 'field'");
  append_options(L, options, command);
}

/* update_*, delete_* */
static void append_writing(lua_State *L, const operation_t *operation, const explain_options_t *options,
                           bson_t *command) {
  bool updates = strcmp(operation->command, "update") == 0, is_pipeline = false;
  kit_box_t *box = kit_box_push(L, NULL, lmongo_free_bson);
  bson_t *statement = box->pointer = bson_new(), statements;
  BSON_APPEND_DOCUMENT(statement, "q", lmongo_check_filter(L, 3, true));
  lmongo_pop_box(L);
  if (updates) {
    if (!options->update) kit_raise_argument(L, "explain of %s needs the option 'update'", operation->name);
    const bson_t *update = lmongo_check_update(L, options->update, operation->name, &is_pipeline);
    if (is_pipeline)
      BSON_APPEND_ARRAY(statement, "u", update);
    else
      BSON_APPEND_DOCUMENT(statement, "u", update);
    lmongo_pop_box(L);
    BSON_APPEND_BOOL(statement, "multi", operation->many);
  } else {
    BSON_APPEND_INT32(statement, "limit", operation->many ? 0 : 1);
  }
  append_options(L, options, statement);
  BSON_APPEND_ARRAY_BEGIN(command, updates ? "updates" : "deletes", &statements);
  BSON_APPEND_DOCUMENT(&statements, "0", statement);
  bson_append_array_end(command, &statements);
  lmongo_pop_box(L);
}

/* ----------------------------------------------------------------- sending */

int lmongo_push_explanation(lua_State *L, const lmongo_target_t *target, const lmongo_common_t *common,
                            const char *verbosity, const bson_t *command) {
  lmongo_call_t *call = lmongo_call(L, target, "explain in", LMONGO_PLAIN, common);
  BSON_APPEND_DOCUMENT(&call->command, "explain", command);
  BSON_APPEND_UTF8(&call->command, "verbosity", verbosity);
  lbson_push_frozen(L, lmongo_run(L, call, LMONGO_PLAIN, target->database));
  lmongo_call_end(call);
  return 1;
}

/* collection:explain(operation [, filter or pipeline [, opts]]) -> reply */
int lmongo_explain(lua_State *L) {
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 4);
  const operation_t *operation = check_operation(L, 2);
  explain_options_t options = {.verbosity = "queryPlanner"};
  kit_read_options(L, 4, "explain", operation->options, &options);
  const char *verbosity = check_verbosity(L, options.verbosity);
  kit_box_t *box = kit_box_push(L, NULL, lmongo_free_bson);
  bson_t *command = box->pointer = bson_new();
  BSON_APPEND_UTF8(command, operation->command, target->collection);
  if (operation->options == update_options || operation->options == delete_options)
    append_writing(L, operation, &options, command);
  else
    append_reading(L, operation, &options, command);
  lmongo_append_document(L, options.let, LBSON_DOCUMENT, command, "let", "let");
  return lmongo_push_explanation(L, target, &options.common, verbosity, command);
}

/* ----------------------------------------------------------------- cursors */

void lmongo_keep_explained(lua_State *L, const char *name, const lmongo_call_t *call, const char *field,
                           const bson_t *value, bool is_array) {
  lmongo_cursor_t *cursor = lua_touserdata(L, -1);
  bson_t *command = cursor->explained = bson_new();
  bson_iter_t iter;
  if (call->target->collection)
    BSON_APPEND_UTF8(command, name, call->target->collection);
  else
    BSON_APPEND_INT32(command, name, 1);
  if (is_array)
    BSON_APPEND_ARRAY(command, field, value);
  else
    BSON_APPEND_DOCUMENT(command, field, value);
  bool has_batch_size = bson_iter_init_find(&iter, &call->opts, "batchSize");
  if (is_array) {
    bson_t options;
    BSON_APPEND_DOCUMENT_BEGIN(command, "cursor", &options);
    if (has_batch_size) bson_append_iter(&options, NULL, 0, &iter);
    bson_append_document_end(command, &options);
  }
  bson_copy_to_excluding_noinit(&call->opts, command, "sessionId", "comment", "readConcern", "writeConcern",
                                "maxTimeMS", is_array ? "batchSize" : "sessionId", NULL);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 4);
}
