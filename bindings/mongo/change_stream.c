/*
 * Change streams of a collection, a database and a whole deployment.
 * Users: Lua. Units: milliseconds. Errors: "change_stream is closed"; a server's; LOCK_LOST or INTERRUPTED when the run must end.
 * Rule: bindings design, section 3. The driver resumes after what may be resumed after; events are read-only documents.
 *
 * The server is asked to wait for SLICE_MS at most, and asked again as long as the caller wants to wait: between two slices the run
 * may be stopped.
 */
#include "internal.h"

#include <string.h>

enum { SLICE_MS = 1000, LONGEST_WAIT_MS = 3600000 };

typedef enum stream_state { STREAM_CLOSED, STREAM_OPEN, STREAM_DONE } stream_state_t;

typedef struct change_stream {
  lmongo_child_t child;  /* user value 2 keeps the session's handle */
  lmongo_scope_t *scope; /* user value 1 */
  mongoc_change_stream_t *stream;
  char *ns;
  int64_t wait_ms; /* of try_next */
  stream_state_t state;
} change_stream_t;

static void release(change_stream_t *stream, stream_state_t state) {
  if (stream->state == STREAM_OPEN) lmongo_unlink(stream->scope, &stream->child);
  if (stream->stream) mongoc_change_stream_destroy(stream->stream); /* ends the server's cursor, too */
  stream->stream = NULL;
  stream->state = state;
}

static void close_child(lmongo_child_t *child) {
  release((change_stream_t *)(void *)child, STREAM_CLOSED);
}

static void raise_if_failed(lua_State *L, change_stream_t *stream) {
  bson_error_t cause = {0};
  const bson_t *reply = NULL;
  if (!mongoc_change_stream_error_document(stream->stream, &cause, &reply)) return;
  smig_error_t error = SMIG_ERROR_INIT;
  lmongo_make_error(stream->scope, &error, "watch of", stream->ns, reply, &cause);
  release(stream, STREAM_CLOSED);
  kit_raise(L, &error);
}

/* -------------------------------------------------------------------- next */

static change_stream_t *check_stream(lua_State *L) {
  change_stream_t *stream = luaL_testudata(L, 1, LMONGO_CHANGE_STREAM);
  if (!stream) kit_argerror(L, 1, "change_stream");
  return stream;
}

/* After an invalidation nothing comes any more, and the driver would answer so at once, for ever. */
static bool is_last(const bson_t *event) {
  bson_iter_t type;
  return bson_iter_init_find(&type, event, "operationType") && BSON_ITER_HOLDS_UTF8(&type) &&
         strcmp(bson_iter_utf8(&type, NULL), "invalidate") == 0;
}

/* Pushes the next event, or nil: the stream is at its end, or wait_ms (-1: without limit) have passed. */
static int advance(lua_State *L, int64_t wait_ms) {
  change_stream_t *stream = check_stream(L);
  if (stream->state == STREAM_CLOSED) {
    const char *owner = stream->scope->connection ? NULL : stream->scope->owner;
    if (owner) return kit_raise_argument(L, "change_stream of %s is no longer valid", owner);
    return kit_raise_argument(L, "change_stream is closed");
  }
  int64_t until = bson_get_monotonic_time() / 1000 + wait_ms;
  lua_settop(L, 1);
  while (stream->state == STREAM_OPEN) {
    lmongo_check_scope(L, stream->scope, "change_stream");
    const bson_t *event;
    if (mongoc_change_stream_next(stream->stream, &event)) {
      lbson_push_frozen(L, event);
      if (is_last(event)) release(stream, STREAM_DONE);
      return 1;
    }
    raise_if_failed(L, stream);
    if (wait_ms >= 0 && bson_get_monotonic_time() / 1000 >= until) break;
  }
  lua_pushnil(L);
  return 1;
}

/* stream:next(), stream() -> event, waiting for one; nil after an invalidation */
static int stream_next(lua_State *L) {
  return advance(L, -1);
}

/* stream:try_next() -> event, or nil when none came within max_await_time_ms */
static int stream_try_next(lua_State *L) {
  return advance(L, check_stream(L)->wait_ms);
}

/* stream:resume_token() -> read-only document for resume_after, or nil while the server has given none */
static int stream_resume_token(lua_State *L) {
  change_stream_t *stream = check_stream(L);
  if (!stream->stream) return kit_raise_argument(L, "change_stream is closed");
  const bson_t *token = mongoc_change_stream_get_resume_token(stream->stream);
  if (token)
    lbson_push_frozen(L, token);
  else
    lua_pushnil(L);
  return 1;
}

static int stream_close(lua_State *L) {
  release(check_stream(L), STREAM_CLOSED);
  return 0;
}

static int stream_gc(lua_State *L) {
  change_stream_t *stream = lua_touserdata(L, 1);
  release(stream, STREAM_CLOSED);
  bson_free(stream->ns);
  stream->ns = NULL;
  return 0;
}

static int stream_tostring(lua_State *L) {
  static const char *const states[] = {"closed", "open", "at its end"};
  const change_stream_t *stream = check_stream(L);
  lua_pushfstring(L, "change_stream '%s' (%s)", stream->ns ? stream->ns : "", states[stream->state]);
  return 1;
}

static int stream_field(lua_State *L, const char *field) {
  if (strcmp(field, "alive") != 0) return 0;
  lua_pushboolean(L, check_stream(L)->state == STREAM_OPEN);
  return 1;
}

/* ------------------------------------------------------------------- watch */

typedef struct watch_options {
  lmongo_common_t common;
  int resume_after, start_after, start_at_operation_time, collation;
  const char *full_document, *full_document_before_change;
  int64_t max_await_time_ms, batch_size; /* batch_size 0: the server's */
} watch_options_t;

static const kit_option_t watch_options[] = {LMONGO_BASE_OPTIONS,
                                             LMONGO_OPTION(lmongo_common_t, extra, KIT_INDEX),
                                             LMONGO_OPTION(lmongo_common_t, read_preference, KIT_INDEX),
                                             LMONGO_OPTION(lmongo_common_t, read_concern, KIT_INDEX),
                                             LMONGO_OPTION(watch_options_t, resume_after, KIT_INDEX),
                                             LMONGO_OPTION(watch_options_t, start_after, KIT_INDEX),
                                             LMONGO_OPTION(watch_options_t, start_at_operation_time, KIT_INDEX),
                                             LMONGO_OPTION(watch_options_t, collation, KIT_INDEX),
                                             LMONGO_OPTION(watch_options_t, full_document, KIT_STRING),
                                             LMONGO_OPTION(watch_options_t, full_document_before_change, KIT_STRING),
                                             LMONGO_RANGE(watch_options_t, max_await_time_ms, 1, LONGEST_WAIT_MS),
                                             LMONGO_RANGE(watch_options_t, batch_size, 1, INT32_MAX),
                                             LMONGO_END_OPTIONS};

static void append_options(lua_State *L, const watch_options_t *options, bson_t *opts) {
  int starts = !!options->resume_after + !!options->start_after + !!options->start_at_operation_time;
  if (starts > 1) {
    kit_raise_argument(L, "only one of resume_after, start_after and start_at_operation_time can be given to watch");
  }
  lmongo_append_document(L, options->resume_after, LBSON_DOCUMENT, opts, "resumeAfter", "resume_after");
  lmongo_append_document(L, options->start_after, LBSON_DOCUMENT, opts, "startAfter", "start_after");
  lmongo_append_document(L, options->collation, LBSON_DOCUMENT, opts, "collation", "collation");
  if (options->start_at_operation_time) {
    static const char key[] = "startAtOperationTime";
    bson_iter_t iter;
    lbson_append(L, options->start_at_operation_time, opts, key, sizeof key - 1, "start_at_operation_time");
    if (!bson_iter_init_find(&iter, opts, key) || !BSON_ITER_HOLDS_TIMESTAMP(&iter))
      kit_raise_argument(L, "option 'start_at_operation_time' of watch must be a bson.timestamp");
  }
  if (options->full_document) BSON_APPEND_UTF8(opts, "fullDocument", options->full_document);
  if (options->full_document_before_change)
    BSON_APPEND_UTF8(opts, "fullDocumentBeforeChange", options->full_document_before_change);
  int64_t slice = options->max_await_time_ms < SLICE_MS ? options->max_await_time_ms : SLICE_MS;
  BSON_APPEND_INT64(opts, "maxAwaitTimeMS", slice);
  if (options->batch_size) BSON_APPEND_INT32(opts, "batchSize", (int32_t)options->batch_size);
}

/* The handle at 1. A client watches everything; its commands go to `admin`. Pushes what keeps the target. */
static const lmongo_target_t *check_target(lua_State *L) {
  lua_pushvalue(L, 1);
  if (luaL_testudata(L, 1, LMONGO_DATABASE)) return lmongo_check_db(L);
  if (!luaL_testudata(L, 1, LMONGO_CLIENT)) return lmongo_check_collection(L);
  lua_pop(L, 1);
  lua_getiuservalue(L, 1, 1);
  lmongo_push_target(L, -1, 0, "admin", NULL);
  lua_remove(L, -2);
  return lua_touserdata(L, -1);
}

/* The client's defaults are not asked: preference and concern are those of a handle of the driver. */
static mongoc_change_stream_t *open_stream(lmongo_call_t *call, bool whole, const bson_t *pipeline) {
  if (call->target->collection) {
    mongoc_collection_t *collection = lmongo_call_collection(call);
    if (call->prefs) mongoc_collection_set_read_prefs(collection, call->prefs);
    return mongoc_collection_watch(collection, pipeline, &call->opts);
  }
  if (whole) return mongoc_client_watch(call->client, pipeline, &call->opts);
  mongoc_database_t *database = lmongo_call_database(call);
  if (call->prefs) mongoc_database_set_read_prefs(database, call->prefs);
  return mongoc_database_watch(database, pipeline, &call->opts);
}

static void refuse_in_client(lua_State *L, const watch_options_t *options) {
  if (options->common.read_preference || options->common.read_concern)
    kit_raise_argument(L, "watch of a client takes neither read_preference nor read_concern");
}

/* collection:watch([pipeline [, opts]]), database:watch(…), client:watch(…) -> change stream */
int lmongo_watch(lua_State *L) {
  lua_settop(L, 3);
  bool whole = luaL_testudata(L, 1, LMONGO_CLIENT) != NULL;
  watch_options_t options = {.max_await_time_ms = SLICE_MS};
  kit_read_options(L, 3, "watch", watch_options, &options);
  const lmongo_target_t *target = check_target(L);
  if (whole) refuse_in_client(L, &options);
  if (lua_isnil(L, 2)) {
    lua_newtable(L);
    lua_replace(L, 2);
  }
  bool is_array = false;
  const bson_t *pipeline = lbson_check(L, 2, LBSON_ARRAY, "pipeline", &is_array);
  lmongo_call_t *call = lmongo_call(L, target, "watch of", whole ? LMONGO_PLAIN : LMONGO_READ, &options.common);
  append_options(L, &options, &call->opts);
  change_stream_t *stream = lua_newuserdatauv(L, sizeof *stream, 2);
  *stream = (change_stream_t){.child = {.close = close_child, .session = call->session}, .scope = target->scope};
  luaL_setmetatable(L, LMONGO_CHANGE_STREAM);
  int handle = lua_gettop(L);
  lua_getiuservalue(L, 1, 1);
  lua_setiuservalue(L, handle, 1);
  if (call->session_idx) {
    lua_pushvalue(L, call->session_idx);
    lua_setiuservalue(L, handle, 2);
  }
  stream->wait_ms = options.max_await_time_ms;
  stream->ns = bson_strdup(whole ? smig_mongo_connection_hosts(target->scope->connection) : target->ns);
  stream->stream = open_stream(call, whole, pipeline);
  stream->state = STREAM_OPEN;
  lmongo_link(stream->scope, &stream->child);
  raise_if_failed(L, stream);
  lmongo_call_end(call);
  return 1;
}

void lmongo_new_change_stream_class(lua_State *L) {
  static const luaL_Reg methods[] = {{"next", stream_next},
                                     {"try_next", stream_try_next},
                                     {"resume_token", stream_resume_token},
                                     {"close", stream_close},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__call", stream_next},
                                  {"__close", stream_close},
                                  {"__gc", stream_gc},
                                  {"__tostring", stream_tostring},
                                  {NULL, NULL}};
  kit_new_class(L, LMONGO_CHANGE_STREAM, "change_stream", methods, meta, stream_field);
}
