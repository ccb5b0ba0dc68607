/*
 * Bulk writers: statements collected and sent in batches, for loops over millions of documents.
 * Users: Lua. Errors: argument errors at once; a server's when a batch is sent, with `partial_result` of all batches and write errors
 * that count from the writer's first statement. Rule: bindings design, section 3.
 *
 * Closing sends the rest. After an error inside the block of a `<close>` variable nothing more is sent, so that the first error is the
 * one that is seen. A writer that ends with statements it has not sent is noted, and the end of the step raises that.
 */
#include "internal.h"

#include <string.h>

enum { DEFAULT_BATCH = 1000, BATCH_BYTES = 16 * 1024 * 1024 };

typedef enum writer_state { WRITER_CLOSED, WRITER_OPEN, WRITER_FAILED } writer_state_t;

typedef struct writer {
  lmongo_child_t child;  /* user value 2 keeps the session's handle */
  lmongo_scope_t *scope; /* user value 1 */
  lmongo_bulk_t bulk;    /* user values 3 and 4 are its buffers; no operation: nothing is pending */
  mongoc_collection_t *collection;
  bson_t *opts; /* of every batch */
  char *ns;
  writer_state_t state;
  bool ordered, bypass_document_validation;
  int64_t batch, pending, sent; /* statements */
  size_t bytes;                 /* that are pending */
  int64_t counts[LMONGO_COUNTS];
} writer_t;

/* Frees what is the driver's, and what is pending with it. */
static void release(writer_t *writer, writer_state_t state) {
  if (writer->state == WRITER_OPEN) lmongo_unlink(writer->scope, &writer->child);
  writer->state = state;
  if (writer->bulk.operation) mongoc_bulk_operation_destroy(writer->bulk.operation);
  if (writer->collection) mongoc_collection_destroy(writer->collection);
  bson_destroy(writer->opts);
  writer->bulk.operation = NULL;
  writer->collection = NULL;
  writer->opts = NULL;
  writer->pending = 0;
}

/* The end of what it stands on, or the collector: what is pending is lost, and must not be unseen. */
static void abandon(writer_t *writer) {
  if (writer->state == WRITER_OPEN && writer->pending) {
    lmongo_note_unfinished(writer->scope,
                           bson_strdup_printf("the bulk_writer of '%s' was not closed: %lld statements were not sent; "
                                              "declare it <close>, or call close()",
                                              writer->ns, (long long)writer->pending));
  }
  release(writer, WRITER_CLOSED);
}

static void close_child(lmongo_child_t *child) {
  abandon((writer_t *)(void *)child);
}

/* ----------------------------------------------------------------- sending */

/* The write errors of the reply, counted from the writer's first statement. */
static void shift_write_errors(bson_t *reply, int64_t by) {
  bson_iter_t iter, error, field;
  if (!by || !bson_iter_init_find(&iter, reply, "writeErrors") || !bson_iter_recurse(&iter, &error)) return;
  bson_t shifted = BSON_INITIALIZER, errors, kept;
  bson_copy_to_excluding_noinit(reply, &shifted, "writeErrors", NULL);
  BSON_APPEND_ARRAY_BEGIN(&shifted, "writeErrors", &errors);
  while (bson_iter_next(&error)) {
    BSON_APPEND_DOCUMENT_BEGIN(&errors, bson_iter_key(&error), &kept);
    for (bool more = bson_iter_recurse(&error, &field) && bson_iter_next(&field); more; more = bson_iter_next(&field)) {
      if (strcmp(bson_iter_key(&field), "index") == 0)
        BSON_APPEND_INT64(&kept, "index", bson_iter_as_int64(&field) + by);
      else
        bson_append_iter(&kept, NULL, 0, &field);
    }
    bson_append_document_end(&errors, &kept);
  }
  bson_append_array_end(&shifted, &errors);
  bson_destroy(reply);
  bson_copy_to(&shifted, reply);
  bson_destroy(&shifted);
}

/* Raises what the batch failed with. Refused documents of an unordered writer leave it usable. */
static int fail(lua_State *L, writer_t *writer, int64_t before, bson_t *reply, const bson_error_t *cause) {
  smig_error_t error = SMIG_ERROR_INIT;
  bool refused = bson_has_field(reply, "writeErrors.0");
  shift_write_errors(reply, before);
  lmongo_make_error(writer->scope, &error, "bulk_writer in", writer->ns, reply, cause);
  bson_destroy(reply);
  bson_t partial;
  bson_t *details = smig_error_details(&error);
  BSON_APPEND_DOCUMENT_BEGIN(details, "partial_result", &partial);
  for (int i = 0; i < LMONGO_COUNTS; i++) BSON_APPEND_INT64(&partial, lmongo_counts[i].field, writer->counts[i]);
  bson_append_document_end(details, &partial);
  if (writer->ordered || !refused) release(writer, WRITER_FAILED);
  return kit_raise(L, &error);
}

static void flush(lua_State *L, writer_t *writer) {
  if (!writer->pending) return;
  lmongo_check_scope(L, writer->scope, "bulk_writer");
  bson_t reply;
  bson_error_t cause;
  smig_mongo_connection_await(writer->scope->connection, true, NULL);
  bool done = mongoc_bulk_operation_execute(writer->bulk.operation, &reply, &cause);
  mongoc_bulk_operation_destroy(writer->bulk.operation);
  writer->bulk.operation = NULL;
  int64_t before = writer->sent;
  writer->sent += writer->pending;
  writer->pending = 0;
  writer->bytes = 0;
  lmongo_tell(writer->scope, &reply);
  for (int i = 0; i < LMONGO_COUNTS; i++) writer->counts[i] += lmongo_reply_number(&reply, lmongo_counts[i].reply);
  if (!done) fail(L, writer, before, &reply, &cause);
  bson_destroy(&reply);
}

/* ----------------------------------------------------------------- methods */

static writer_t *check_writer(lua_State *L) {
  writer_t *writer = luaL_testudata(L, 1, LMONGO_BULK_WRITER);
  if (!writer) kit_argerror(L, 1, "bulk_writer");
  return writer;
}

static writer_t *check_open(lua_State *L) {
  writer_t *writer = check_writer(L);
  if (writer->state == WRITER_OPEN) return writer;
  const char *owner = writer->scope->connection ? NULL : writer->scope->owner;
  if (owner) kit_raise_argument(L, "bulk_writer of %s is no longer valid", owner);
  if (writer->state == WRITER_FAILED)
    kit_raise_argument(L, "bulk_writer has failed and takes nothing more; make a new one");
  kit_raise_argument(L, "bulk_writer is closed");
  return NULL;
}

/* Adds a statement whose filter and change are at those indexes; sends the batch when it is full. */
static int add(lua_State *L, lmongo_model_kind_t kind, int filter, int change, int options) {
  writer_t *writer = check_open(L);
  lua_settop(L, options);
  lmongo_model_t model = {.filter = filter, .change = change};
  lmongo_read_model(L, options, kind, false, &model);
  if (!writer->bulk.operation) {
    writer->bulk.operation = mongoc_collection_create_bulk_operation_with_opts(writer->collection, writer->opts);
    if (writer->bypass_document_validation)
      mongoc_bulk_operation_set_bypass_document_validation(writer->bulk.operation, true);
  }
  writer->bytes += lmongo_bulk_add(L, &writer->bulk, kind, &model);
  writer->pending++;
  if (writer->pending >= writer->batch || writer->bytes >= BATCH_BYTES) flush(L, writer);
  return 0;
}

/* writer:insert_one(document) */
static int writer_insert_one(lua_State *L) {
  return add(L, LMONGO_INSERT_ONE, 0, 2, 3);
}

/* writer:update_one(filter, update [, opts]) */
static int writer_update_one(lua_State *L) {
  return add(L, LMONGO_UPDATE_ONE, 2, 3, 4);
}

static int writer_update_many(lua_State *L) {
  return add(L, LMONGO_UPDATE_MANY, 2, 3, 4);
}

/* writer:replace_one(filter, document [, opts]) */
static int writer_replace_one(lua_State *L) {
  return add(L, LMONGO_REPLACE_ONE, 2, 3, 4);
}

/* writer:delete_one(filter [, opts]) */
static int writer_delete_one(lua_State *L) {
  return add(L, LMONGO_DELETE_ONE, 2, 0, 3);
}

static int writer_delete_many(lua_State *L) {
  return add(L, LMONGO_DELETE_MANY, 2, 0, 3);
}

/* writer:flush(): sends what is pending */
static int writer_flush(lua_State *L) {
  flush(L, check_open(L));
  return 0;
}

/* writer:close(): sends what is pending; again it does nothing */
static int writer_close(lua_State *L) {
  writer_t *writer = check_writer(L);
  if (writer->state != WRITER_OPEN) return 0;
  flush(L, writer);
  release(writer, WRITER_CLOSED);
  return 0;
}

/* The end of the block: (writer, error or nil) */
static int writer_leave(lua_State *L) {
  writer_t *writer = check_writer(L);
  if (lua_isnoneornil(L, 2)) return writer_close(L);
  release(writer, WRITER_CLOSED);
  return 0;
}

static int writer_gc(lua_State *L) {
  writer_t *writer = lua_touserdata(L, 1);
  abandon(writer);
  bson_free(writer->ns);
  writer->ns = NULL;
  return 0;
}

static int writer_tostring(lua_State *L) {
  static const char *const states[] = {"closed", "open", "failed"};
  const writer_t *writer = check_writer(L);
  lua_pushfstring(L, "bulk_writer '%s' (%s)", writer->ns ? writer->ns : "", states[writer->state]);
  return 1;
}

/* writer.counts: of what was sent; writer.pending: statements that were not */
static int writer_field(lua_State *L, const char *field) {
  const writer_t *writer = check_writer(L);
  if (strcmp(field, "pending") == 0) {
    lua_pushinteger(L, writer->pending);
  } else if (strcmp(field, "counts") == 0) {
    lua_createtable(L, 0, LMONGO_COUNTS);
    for (int i = 0; i < LMONGO_COUNTS; i++) lmongo_set_integer(L, lmongo_counts[i].field, writer->counts[i]);
  } else {
    return 0;
  }
  return 1;
}

/* collection:bulk_writer([opts]) */
int lmongo_bulk_writer(lua_State *L) {
  typedef struct {
    lmongo_common_t common;
    int let;
    int64_t batch;
    bool ordered, bypass_document_validation;
  } writer_options_t;
  static const kit_option_t writer_options[] = {
      LMONGO_BASE_OPTIONS,
      LMONGO_OPTION(lmongo_common_t, write_concern, KIT_INDEX),
      LMONGO_OPTION(writer_options_t, let, KIT_INDEX),
      LMONGO_RANGE(writer_options_t, batch, 1, 100000),
      LMONGO_OPTION(writer_options_t, ordered, KIT_BOOLEAN),
      LMONGO_OPTION(writer_options_t, bypass_document_validation, KIT_BOOLEAN),
      LMONGO_END_OPTIONS};
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 2);
  writer_options_t options = {.batch = DEFAULT_BATCH};
  kit_read_options(L, 2, "bulk_writer", writer_options, &options);
  lmongo_call_t *call = lmongo_call(L, target, "bulk_writer in", LMONGO_WRITE, &options.common);
  lmongo_append_document(L, options.let, LBSON_DOCUMENT, &call->opts, "let", "let");
  if (!options.ordered) BSON_APPEND_BOOL(&call->opts, "ordered", false);
  writer_t *writer = lua_newuserdatauv(L, sizeof *writer, 4);
  *writer = (writer_t){.child = {.close = close_child, .session = call->session}, .scope = target->scope};
  luaL_setmetatable(L, LMONGO_BULK_WRITER);
  int handle = lua_gettop(L);
  lua_getiuservalue(L, 1, 1);
  lua_setiuservalue(L, handle, 1);
  if (call->session_idx) {
    lua_pushvalue(L, call->session_idx);
    lua_setiuservalue(L, handle, 2);
  }
  writer->bulk.name = "bulk_writer";
  writer->bulk.filter = lbson_push_buffer(L);
  lua_setiuservalue(L, handle, 3);
  writer->bulk.change = lbson_push_buffer(L);
  lua_setiuservalue(L, handle, 4);
  writer->batch = options.batch;
  writer->ordered = options.ordered;
  writer->bypass_document_validation = options.bypass_document_validation;
  writer->ns = bson_strdup(target->ns);
  writer->opts = bson_copy(&call->opts);
  writer->collection = lmongo_call_collection(call);
  call->collection = NULL; /* the writer's now */
  writer->state = WRITER_OPEN;
  lmongo_link(writer->scope, &writer->child);
  lmongo_call_end(call);
  return 1;
}

void lmongo_new_bulk_writer_class(lua_State *L) {
  static const luaL_Reg methods[] = {{"insert_one", writer_insert_one},
                                     {"update_one", writer_update_one},
                                     {"update_many", writer_update_many},
                                     {"replace_one", writer_replace_one},
                                     {"delete_one", writer_delete_one},
                                     {"delete_many", writer_delete_many},
                                     {"flush", writer_flush},
                                     {"close", writer_close},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {
      {"__close", writer_leave}, {"__gc", writer_gc}, {"__tostring", writer_tostring}, {NULL, NULL}};
  kit_new_class(L, LMONGO_BULK_WRITER, "bulk_writer", methods, meta, writer_field);
}
