/*
 * What a collection writes one statement at a time: insert_one, update_*, replace_one, delete_*.
 * Users: collection.c. Errors: argument errors; a server's. Rule: bindings design, section 3.
 *
 * They go through the driver's own helpers, since in libmongoc 1.23 only those make these commands retryable. Validation by the
 * driver is off (`validate`): it would refuse empty keys, and its checks of UTF-8 are weaker than ours.
 */
#include "internal.h"

/* -------------------------------------------------------------- insert_one */

typedef struct insert_options {
  lmongo_common_t common;
  bool bypass_document_validation;
} insert_options_t;

/* collection:insert_one(document [, opts]) -> {inserted_id} */
int lmongo_insert_one(lua_State *L) {
  static const kit_option_t insert_options[] = {
      LMONGO_WRITE_OPTIONS, LMONGO_OPTION(insert_options_t, bypass_document_validation, KIT_BOOLEAN),
      LMONGO_END_OPTIONS};
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 3);
  insert_options_t options = {0};
  kit_read_options(L, 3, "insert_one", insert_options, &options);
  lmongo_call_t *call = lmongo_call(L, target, "insert_one into", LMONGO_WRITE, &options.common);
  const bson_t *document = lmongo_check_insert(L, 2);
  BSON_APPEND_BOOL(&call->opts, "validate", false);
  if (options.bypass_document_validation) BSON_APPEND_BOOL(&call->opts, "bypassDocumentValidation", true);
  bson_error_t cause;
  bool done = mongoc_collection_insert_one(lmongo_call_collection(call), document, &call->opts, &call->reply, &cause);
  lmongo_tell(call->scope, &call->reply);
  if (!done) return lmongo_call_failed(L, call, &cause);
  lua_createtable(L, 0, 1);
  lmongo_set_value(L, "inserted_id", document, "_id");
  kit_box_free(lua_touserdata(L, -2));
  lmongo_call_end(call);
  return 1;
}

/* ------------------------------------------------------------------ update */

typedef struct update_options {
  lmongo_common_t common;
  int array_filters, hint, collation, let;
  bool upsert, bypass_document_validation;
} update_options_t;

static const kit_option_t update_options[] = {LMONGO_WRITE_OPTIONS,
                                              LMONGO_OPTION(update_options_t, array_filters, KIT_INDEX),
                                              LMONGO_OPTION(update_options_t, hint, KIT_INDEX),
                                              LMONGO_OPTION(update_options_t, collation, KIT_INDEX),
                                              LMONGO_OPTION(update_options_t, let, KIT_INDEX),
                                              LMONGO_OPTION(update_options_t, upsert, KIT_BOOLEAN),
                                              LMONGO_OPTION(update_options_t, bypass_document_validation, KIT_BOOLEAN),
                                              LMONGO_END_OPTIONS};

static const kit_option_t replace_options[] = {LMONGO_WRITE_OPTIONS,
                                               LMONGO_OPTION(update_options_t, hint, KIT_INDEX),
                                               LMONGO_OPTION(update_options_t, collation, KIT_INDEX),
                                               LMONGO_OPTION(update_options_t, let, KIT_INDEX),
                                               LMONGO_OPTION(update_options_t, upsert, KIT_BOOLEAN),
                                               LMONGO_OPTION(update_options_t, bypass_document_validation, KIT_BOOLEAN),
                                               LMONGO_END_OPTIONS};

/* Fields of the statement: where the driver's options and the command's statement agree. */
static void append_statement(lua_State *L, const update_options_t *options, bson_t *to) {
  lmongo_append_document(L, options->array_filters, LBSON_ARRAY, to, "arrayFilters", "array_filters");
  lmongo_append_hint(L, options->hint, to);
  lmongo_append_document(L, options->collation, LBSON_DOCUMENT, to, "collation", "collation");
  if (options->upsert) BSON_APPEND_BOOL(to, "upsert", true);
  lmongo_append_extra(L, options->common.extra, to);
}

typedef bool (*update_fn)(mongoc_collection_t *collection, const bson_t *filter, const bson_t *update,
                          const bson_t *opts, bson_t *reply, bson_error_t *error);

/* By the driver's helper: retryable. */
static void update_by_helper(lua_State *L, lmongo_call_t *call, update_fn helper, const bson_t *filter,
                             const bson_t *update, const update_options_t *options) {
  append_statement(L, options, &call->opts);
  BSON_APPEND_BOOL(&call->opts, "validate", false);
  bson_error_t cause;
  bool done = helper(lmongo_call_collection(call), filter, update, &call->opts, &call->reply, &cause);
  lmongo_tell(call->scope, &call->reply);
  if (!done) lmongo_call_failed(L, call, &cause);
  lua_createtable(L, 0, 3);
  lmongo_set_integer(L, "matched_count", lmongo_reply_number(&call->reply, "matchedCount"));
  lmongo_set_integer(L, "modified_count", lmongo_reply_number(&call->reply, "modifiedCount"));
  lmongo_set_value(L, "upserted_id", &call->reply, "upsertedId");
}

/* As a command: the helper has no place for maxTimeMS, which is the command's. The driver does not retry it. */
static void update_by_command(lua_State *L, lmongo_call_t *call, bool multi, const bson_t *filter, const bson_t *update,
                              bool is_pipeline, const update_options_t *options) {
  bson_t *command = &call->command, statement = BSON_INITIALIZER, updates;
  BSON_APPEND_UTF8(command, "update", call->target->collection);
  kit_box_t *box = kit_box_push(L, NULL, lmongo_free_bson);
  bson_t *fields = bson_new();
  box->pointer = fields;
  append_statement(L, options, fields);
  BSON_APPEND_DOCUMENT(&statement, "q", filter);
  if (is_pipeline)
    BSON_APPEND_ARRAY(&statement, "u", update);
  else
    BSON_APPEND_DOCUMENT(&statement, "u", update);
  if (multi) BSON_APPEND_BOOL(&statement, "multi", true);
  bson_concat(&statement, fields);
  BSON_APPEND_ARRAY_BEGIN(command, "updates", &updates);
  BSON_APPEND_DOCUMENT(&updates, "0", &statement);
  bson_append_array_end(command, &updates);
  bson_destroy(&statement);
  BSON_APPEND_INT64(command, "maxTimeMS", options->common.max_time_ms);
  const bson_t *reply = lmongo_run(L, call, LMONGO_WRITE, call->target->database);
  bool upserted = bson_has_field(reply, "upserted.0._id");
  smig_counts_t counts = {.inserted = upserted ? 1 : 0,
                          .matched = lmongo_reply_number(reply, "n") - (upserted ? 1 : 0),
                          .modified = lmongo_reply_number(reply, "nModified")};
  if (call->scope->ctx) smig_ctx_count(call->scope->ctx, &counts);
  lua_createtable(L, 0, 3);
  lmongo_set_integer(L, "matched_count", counts.matched);
  lmongo_set_integer(L, "modified_count", counts.modified);
  lmongo_set_value(L, "upserted_id", reply, "upserted.0._id");
}

static int update(lua_State *L, const char *operation, const char *phrase, update_fn helper, bool multi, bool replace) {
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 4);
  update_options_t options = {0};
  kit_read_options(L, 4, operation, replace ? replace_options : update_options, &options);
  lmongo_common_t common = options.common;
  common.max_time_ms = 0;
  common.extra = 0; /* of the statement */
  lmongo_call_t *call = lmongo_call(L, target, phrase, LMONGO_WRITE, &common);
  const bson_t *filter = lmongo_check_filter(L, 2, true);
  bool is_pipeline = false;
  const bson_t *change =
      replace ? lmongo_check_replacement(L, 3, operation) : lmongo_check_update(L, 3, operation, &is_pipeline);
  lmongo_append_document(L, options.let, LBSON_DOCUMENT, &call->opts, "let", "let");
  if (options.bypass_document_validation) BSON_APPEND_BOOL(&call->opts, "bypassDocumentValidation", true);
  if (options.common.max_time_ms)
    update_by_command(L, call, multi, filter, change, is_pipeline, &options);
  else
    update_by_helper(L, call, helper, filter, change, &options);
  lmongo_call_end(call);
  return 1;
}

/* collection:update_one(filter, update [, opts]) -> {matched_count, modified_count, upserted_id} */
int lmongo_update_one(lua_State *L) {
  return update(L, "update_one", "update_one in", mongoc_collection_update_one, false, false);
}

int lmongo_update_many(lua_State *L) {
  return update(L, "update_many", "update_many in", mongoc_collection_update_many, true, false);
}

int lmongo_replace_one(lua_State *L) {
  return update(L, "replace_one", "replace_one in", mongoc_collection_replace_one, false, true);
}

/* ------------------------------------------------------------------ delete */

typedef struct delete_options {
  lmongo_common_t common;
  int hint, collation, let;
} delete_options_t;

static const kit_option_t delete_options[] = {LMONGO_WRITE_OPTIONS, LMONGO_OPTION(delete_options_t, hint, KIT_INDEX),
                                              LMONGO_OPTION(delete_options_t, collation, KIT_INDEX),
                                              LMONGO_OPTION(delete_options_t, let, KIT_INDEX), LMONGO_END_OPTIONS};

static int delete_(lua_State *L, const char *operation, const char *phrase, bool many) {
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 3);
  delete_options_t options = {0};
  kit_read_options(L, 3, operation, delete_options, &options);
  lmongo_call_t *call = lmongo_call(L, target, phrase, LMONGO_WRITE, &options.common);
  const bson_t *filter = lmongo_check_filter(L, 2, true);
  lmongo_append_hint(L, options.hint, &call->opts);
  lmongo_append_document(L, options.collation, LBSON_DOCUMENT, &call->opts, "collation", "collation");
  lmongo_append_document(L, options.let, LBSON_DOCUMENT, &call->opts, "let", "let");
  BSON_APPEND_BOOL(&call->opts, "validate", false);
  mongoc_collection_t *collection = lmongo_call_collection(call);
  bson_error_t cause;
  bool done = many ? mongoc_collection_delete_many(collection, filter, &call->opts, &call->reply, &cause)
                   : mongoc_collection_delete_one(collection, filter, &call->opts, &call->reply, &cause);
  lmongo_tell(call->scope, &call->reply);
  if (!done) return lmongo_call_failed(L, call, &cause);
  lua_createtable(L, 0, 1);
  lmongo_set_integer(L, "deleted_count", lmongo_reply_number(&call->reply, "deletedCount"));
  lmongo_call_end(call);
  return 1;
}

/* collection:delete_one(filter [, opts]) -> {deleted_count} */
int lmongo_delete_one(lua_State *L) {
  return delete_(L, "delete_one", "delete_one from", false);
}

int lmongo_delete_many(lua_State *L) {
  return delete_(L, "delete_many", "delete_many from", true);
}
