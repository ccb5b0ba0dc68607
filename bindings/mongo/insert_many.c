/*
 * insert_many: documents of an array or an iterator, sent in batches.
 * Users: collection.c. Errors: argument errors; a server's, with `partial_result` and, for each document that was refused, its
 * place (from 1) and id, never the document. Rule: bindings design, sections 3 and 5.
 */
#include "internal.h"

#include <string.h>

enum {
  BATCH_DOCUMENTS = 10000,
  BATCH_BYTES = 16 * 1024 * 1024,
};

/* One batch, and what earlier ones came to. Owned by a box. */
typedef struct insertion {
  bson_t **documents;
  size_t count, bytes;
  int64_t sent; /* documents of earlier batches */
  int64_t inserted;
  bson_t *errors; /* {index, code, errmsg, id} of all batches, the index from 0 */
  uint32_t errors_count;
  bson_error_t first;
} insertion_t;

static void drop_documents(insertion_t *insertion) {
  for (size_t i = 0; i < insertion->count; i++) bson_destroy(insertion->documents[i]);
  insertion->count = 0;
  insertion->bytes = 0;
}

static void free_insertion(void *pointer) {
  insertion_t *insertion = pointer;
  drop_documents(insertion);
  bson_free(insertion->documents);
  bson_destroy(insertion->errors);
  bson_free(insertion);
}

static void append_id(bson_t *to, const bson_t *document) {
  bson_iter_t id;
  if (bson_iter_init_find(&id, document, "_id")) bson_append_iter(to, "id", -1, &id);
}

/* Keeps the batch's write errors, with the place in the whole and the document's id; never the document. */
static void keep_errors(insertion_t *insertion, const bson_t *reply) {
  bson_iter_t iter, error, field;
  if (!bson_iter_init_find(&iter, reply, "writeErrors") || !bson_iter_recurse(&iter, &error)) return;
  while (bson_iter_next(&error)) {
    char buffer[16];
    const char *key;
    bson_uint32_to_string(insertion->errors_count++, &key, buffer, sizeof buffer);
    bson_t kept;
    int64_t index = 0;
    BSON_APPEND_DOCUMENT_BEGIN(insertion->errors, key, &kept);
    if (bson_iter_recurse(&error, &field) && bson_iter_find(&field, "index")) index = bson_iter_as_int64(&field);
    BSON_APPEND_INT64(&kept, "index", index + insertion->sent);
    if (bson_iter_recurse(&error, &field) && bson_iter_find(&field, "code"))
      bson_append_iter(&kept, "code", -1, &field);
    if (bson_iter_recurse(&error, &field) && bson_iter_find(&field, "errmsg"))
      bson_append_iter(&kept, "errmsg", -1, &field);
    /* Of the first, which the message is about: what a validator found. */
    if (insertion->errors_count == 1 && bson_iter_recurse(&error, &field) && bson_iter_find(&field, "errInfo"))
      bson_append_iter(&kept, "errInfo", -1, &field);
    if (index >= 0 && (size_t)index < insertion->count) append_id(&kept, insertion->documents[index]);
    bson_append_document_end(insertion->errors, &kept);
  }
}

/* The reply that stands for all batches: the last one's, with every batch's write errors. */
static void merge_reply(lmongo_call_t *call, const insertion_t *insertion) {
  bson_t merged = BSON_INITIALIZER;
  bson_copy_to_excluding_noinit(&call->reply, &merged, "writeErrors", "insertedCount", NULL);
  BSON_APPEND_INT64(&merged, "insertedCount", insertion->inserted);
  if (insertion->errors_count) BSON_APPEND_ARRAY(&merged, "writeErrors", insertion->errors);
  bson_destroy(&call->reply);
  bson_copy_to(&merged, &call->reply);
  bson_destroy(&merged);
}

/* The error's write errors again, with the ids: {index from 1, code, message, id}. */
static void append_write_errors(bson_t *details, const insertion_t *insertion) {
  bson_t array, kept;
  bson_iter_t error, field;
  char buffer[16];
  const char *key;
  BSON_APPEND_ARRAY_BEGIN(details, "write_errors", &array);
  bson_iter_init(&error, insertion->errors);
  for (uint32_t i = 0; bson_iter_next(&error); i++) {
    bson_uint32_to_string(i, &key, buffer, sizeof buffer);
    BSON_APPEND_DOCUMENT_BEGIN(&array, key, &kept);
    bson_iter_recurse(&error, &field);
    while (bson_iter_next(&field)) {
      const char *name = bson_iter_key(&field);
      if (strcmp(name, "index") == 0)
        BSON_APPEND_INT64(&kept, "index", bson_iter_as_int64(&field) + 1);
      else if (strcmp(name, "errInfo") != 0)
        bson_append_iter(&kept, strcmp(name, "errmsg") == 0 ? "message" : name, -1, &field);
    }
    bson_append_document_end(&array, &kept);
  }
  bson_append_array_end(details, &array);
}

static int fail(lua_State *L, lmongo_call_t *call, const insertion_t *insertion) {
  merge_reply(call, insertion);
  smig_error_t error = SMIG_ERROR_INIT;
  lmongo_make_error(call->scope, &error, call->phrase, call->target->ns, &call->reply, &insertion->first);
  bson_t *details = bson_new(), partial;
  bson_copy_to_excluding_noinit(error.details, details, "write_errors", NULL);
  if (insertion->errors_count) append_write_errors(details, insertion);
  BSON_APPEND_DOCUMENT_BEGIN(details, "partial_result", &partial);
  BSON_APPEND_INT64(&partial, "inserted_count", insertion->inserted);
  bson_append_document_end(details, &partial);
  bson_destroy(error.details);
  error.details = details;
  lmongo_call_end(call);
  return kit_raise(L, &error);
}

/* Sends the batch. False when the rest is not to be sent. */
static bool flush(insertion_t *insertion, lmongo_call_t *call, bool ordered) {
  if (!insertion->count) return true;
  bson_error_t cause;
  smig_mongo_connection_await(call->scope->connection, true, NULL);
  bson_destroy(&call->reply);
  bool done = mongoc_collection_insert_many(lmongo_call_collection(call), (const bson_t **)insertion->documents,
                                            insertion->count, &call->opts, &call->reply, &cause);
  lmongo_tell(call->scope, &call->reply);
  insertion->inserted += lmongo_reply_number(&call->reply, "insertedCount");
  bool goes_on = done;
  if (!done) {
    if (!insertion->first.code && !insertion->first.domain) insertion->first = cause;
    uint32_t before = insertion->errors_count;
    keep_errors(insertion, &call->reply);
    goes_on = !ordered && insertion->errors_count > before; /* documents were refused, the server is well */
  }
  insertion->sent += (int64_t)insertion->count;
  drop_documents(insertion);
  return goes_on;
}

/* Pushes the element at `i` of the array at 2, or what the iterator at 2 gives. False at the end. */
static bool push_element(lua_State *L, bool is_iterator, lua_Integer i) {
  if (is_iterator) {
    lua_pushvalue(L, 2);
    lua_call(L, 0, 1);
  } else {
    lua_geti(L, 2, i);
  }
  if (!lua_isnil(L, -1)) return true;
  lua_pop(L, 1);
  return false;
}

static bool check_source(lua_State *L) {
  if (lua_type(L, 2) == LUA_TFUNCTION) return true;
  if (luaL_getmetafield(L, 2, "__call") != LUA_TNIL) {
    lua_pop(L, 1);
    return true;
  }
  bool has_index = lua_istable(L, 2);
  if (!has_index && lua_isuserdata(L, 2) && luaL_getmetafield(L, 2, "__index") != LUA_TNIL) {
    has_index = true;
    lua_pop(L, 1);
  }
  if (!has_index) kit_argerror(L, 2, "array of documents or iterator");
  return false;
}

/* An array that is none, {name = "Ada"} for {{name = "Ada"}}, must not pass for an empty one. */
static void check_array(lua_State *L) {
  if (luaL_len(L, 2) > 0 || !lua_istable(L, 2)) return;
  lua_pushnil(L);
  if (lua_next(L, 2)) kit_argerror(L, 2, "array of documents expected, got a table with other keys");
}

/* collection:insert_many(documents [, opts]) -> {inserted_count, inserted_ids} */
int lmongo_insert_many(lua_State *L) {
  typedef struct {
    lmongo_common_t common;
    bool ordered, bypass_document_validation;
  } insert_many_options_t;
  static const kit_option_t options_of[] = {
      LMONGO_WRITE_OPTIONS, LMONGO_OPTION(insert_many_options_t, ordered, KIT_BOOLEAN),
      LMONGO_OPTION(insert_many_options_t, bypass_document_validation, KIT_BOOLEAN), LMONGO_END_OPTIONS};
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 3);
  bool is_iterator = check_source(L);
  if (!is_iterator) check_array(L);
  insert_many_options_t options = {.ordered = true};
  kit_read_options(L, 3, "insert_many", options_of, &options);
  lmongo_call_t *call = lmongo_call(L, target, "insert_many into", LMONGO_WRITE, &options.common);
  BSON_APPEND_BOOL(&call->opts, "validate", false);
  if (!options.ordered) BSON_APPEND_BOOL(&call->opts, "ordered", false);
  if (options.bypass_document_validation) BSON_APPEND_BOOL(&call->opts, "bypassDocumentValidation", true);
  kit_box_t *box = kit_box_push(L, NULL, free_insertion);
  insertion_t *insertion = bson_malloc0(sizeof *insertion);
  box->pointer = insertion;
  insertion->errors = bson_new();
  insertion->documents = bson_malloc(BATCH_DOCUMENTS * sizeof *insertion->documents);
  lua_newtable(L);
  int ids = lua_gettop(L);
  bool goes_on = true;
  for (lua_Integer i = 1; goes_on && push_element(L, is_iterator, i); i++) {
    bson_t *document = lmongo_check_insert(L, -1);
    ((kit_box_t *)lua_touserdata(L, -1))->pointer = NULL; /* it is the batch's now */
    insertion->documents[insertion->count++] = document;
    insertion->bytes += document->len;
    lua_settop(L, ids);
    bson_iter_t id;
    if (bson_iter_init_find(&id, document, "_id")) {
      lbson_push_value(L, &id);
      lua_rawseti(L, ids, i);
    }
    if (insertion->count < BATCH_DOCUMENTS && insertion->bytes < BATCH_BYTES) continue;
    lmongo_check_scope(L, target->scope, "collection");
    goes_on = flush(insertion, call, options.ordered);
  }
  if (goes_on) {
    lmongo_check_scope(L, target->scope, "collection");
    goes_on = flush(insertion, call, options.ordered);
  }
  if (!goes_on || insertion->errors_count) return fail(L, call, insertion);
  lua_createtable(L, 0, 2);
  lmongo_set_integer(L, "inserted_count", insertion->inserted);
  lua_pushvalue(L, ids);
  lua_setfield(L, -2, "inserted_ids");
  kit_box_free(box);
  lmongo_call_end(call);
  return 1;
}
