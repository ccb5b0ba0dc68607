/*
 * A call: one operation on its way to the server, with the session, comment and concerns it carries, and what it needs of the
 * driver, all owned by one box on the Lua stack.
 * Users: the operations in mongo/. Errors: argument errors; a server's or driver's as smig_mongo_error makes them.
 * Threads: the thread of the Lua state. Rules: bindings design, section 3 (every command carries the comment of its step and the
 * step's session) and 3.1 (a command outside of the transaction that is under way is warned of).
 */
#include "internal.h"

#include <string.h>

static void free_call(void *pointer) {
  lmongo_call_t *call = pointer;
  bson_destroy(&call->command);
  bson_destroy(&call->opts);
  bson_destroy(&call->reply);
  mongoc_read_prefs_destroy(call->prefs);
  if (call->bulk) mongoc_bulk_operation_destroy(call->bulk);
  if (call->collection) mongoc_collection_destroy(call->collection);
  if (call->database) mongoc_database_destroy(call->database);
  bson_free(call->phrase_owned);
  bson_free(call);
}

void lmongo_call_end(lmongo_call_t *call) {
  kit_box_free(call->box);
}

static const char *kind_of(const lmongo_target_t *target) {
  return target->collection ? "collection" : "database";
}

/* Forgetting `session = s` inside a transaction is the classic mistake: the command is not part of it. */
static void warn_outside(lua_State *L, lmongo_scope_t *scope, const lmongo_call_t *call) {
  lmongo_session_t *active = scope->transaction;
  if (!active || active->warned || call->session == active->session) return;
  active->warned = true;
  luaL_where(L, 1);
  const char *text =
      lua_pushfstring(L, "%s%s '%s' runs outside of the transaction that is under way: give it session = s",
                      lua_tostring(L, -1), call->phrase, call->target->ns);
  if (scope->ctx)
    smig_ctx_log(scope->ctx, SMIG_LOG_WARN, text, NULL);
  else
    lua_warning(L, text, 0);
  lua_pop(L, 2);
}

static void append_session(lua_State *L, lmongo_call_t *call, const lmongo_common_t *common) {
  lmongo_scope_t *scope = call->scope;
  call->session = scope->session;
  if (common->session) {
    call->session = lmongo_check_session(L, common->session, scope)->session;
    call->session_idx = common->session;
  }
  warn_outside(L, scope, call);
  bson_error_t cause;
  if (call->session && !mongoc_client_session_append(call->session, &call->opts, &cause)) {
    lmongo_call_failed(L, call, &cause);
  }
}

static void append_comment(lmongo_call_t *call, const char *given) {
  const char *own = call->scope->comment;
  if (own && given) {
    char *both = bson_strdup_printf("%s %s", own, given);
    BSON_APPEND_UTF8(&call->opts, "comment", both);
    bson_free(both);
  } else if (own || given) {
    BSON_APPEND_UTF8(&call->opts, "comment", own ? own : given);
  }
}

/* A transaction has concerns of its own: those of the handle do not count inside of one, those given are the driver's to refuse. */
static void append_concerns(lua_State *L, lmongo_call_t *call, lmongo_call_kind_t kind, const lmongo_common_t *common) {
  static const lmongo_concerns_t none;
  const lmongo_concerns_t *handle = call->target->concerns;
  if (!handle || (call->session && mongoc_client_session_in_transaction(call->session))) handle = &none;
  bool reads = kind == LMONGO_READ || kind == LMONGO_BOTH, writes = kind == LMONGO_WRITE || kind == LMONGO_BOTH;
  if (common->read_concern)
    lmongo_append_read_concern(L, common->read_concern, &call->opts, "readConcern");
  else if (reads && handle->read_concern)
    BSON_APPEND_DOCUMENT(&call->opts, "readConcern", handle->read_concern);
  if (common->write_concern)
    lmongo_append_write_concern(L, common->write_concern, &call->opts, "writeConcern");
  else if (writes && handle->write_concern)
    BSON_APPEND_DOCUMENT(&call->opts, "writeConcern", handle->write_concern);
  if (common->read_preference)
    lmongo_read_preference(L, common->read_preference, &call->prefs);
  else if (reads && handle->read_preference)
    call->prefs = mongoc_read_prefs_copy(handle->read_preference);
}

lmongo_call_t *lmongo_call(lua_State *L, const lmongo_target_t *target, const char *phrase, lmongo_call_kind_t kind,
                           const lmongo_common_t *common) {
  luaL_checkstack(L, 20, NULL);
  lmongo_check_scope(L, target->scope, kind_of(target));
  kit_box_t *box = kit_box_push(L, NULL, free_call);
  lmongo_call_t *call = BSON_ALIGNED_ALLOC0(lmongo_call_t);
  bson_init(&call->command);
  bson_init(&call->opts);
  bson_init(&call->reply);
  box->pointer = call;
  call->box = box;
  call->target = target;
  call->scope = target->scope;
  call->client = smig_mongo_connection_client(target->scope->connection);
  call->phrase = phrase;
  append_session(L, call, common);
  append_comment(call, common->comment);
  append_concerns(L, call, kind, common);
  if (common->max_time_ms) BSON_APPEND_INT64(&call->opts, "maxTimeMS", common->max_time_ms);
  lmongo_append_extra(L, common->extra, &call->opts);
  smig_mongo_connection_await(target->scope->connection, kind == LMONGO_WRITE, call->prefs);
  return call;
}

mongoc_collection_t *lmongo_call_collection(lmongo_call_t *call) {
  if (!call->collection) {
    call->collection = mongoc_client_get_collection(call->client, call->target->database, call->target->collection);
  }
  return call->collection;
}

mongoc_database_t *lmongo_call_database(lmongo_call_t *call) {
  if (!call->database) call->database = mongoc_client_get_database(call->client, call->target->database);
  return call->database;
}

int lmongo_call_failed(lua_State *L, lmongo_call_t *call, const bson_error_t *cause) {
  smig_error_t error = SMIG_ERROR_INIT;
  lmongo_make_error(call->scope, &error, call->phrase, call->target->ns, &call->reply, cause);
  lmongo_call_end(call);
  return kit_raise(L, &error);
}

int lmongo_call_failed_partly(lua_State *L, lmongo_call_t *call, const bson_error_t *cause, bson_t *partial) {
  smig_error_t error = SMIG_ERROR_INIT;
  lmongo_make_error(call->scope, &error, call->phrase, call->target->ns, &call->reply, cause);
  BSON_APPEND_DOCUMENT(smig_error_details(&error), "partial_result", partial);
  bson_destroy(partial);
  lmongo_call_end(call);
  return kit_raise(L, &error);
}

/* Whether the reply holds write errors or a write concern error; *error is set then. */
static bool reply_failed(const bson_t *reply, bson_error_t *error) {
  bson_iter_t iter, code, text;
  uint32_t domain = MONGOC_ERROR_SERVER;
  bool found = bson_iter_init(&iter, reply) && bson_iter_find_descendant(&iter, "writeErrors.0", &code);
  if (!found) {
    domain = MONGOC_ERROR_WRITE_CONCERN;
    found = bson_iter_init_find(&code, reply, "writeConcernError");
  }
  bson_iter_t fields;
  if (!found || !bson_iter_recurse(&code, &fields)) return false;
  text = fields;
  int64_t number = bson_iter_find(&fields, "code") ? bson_iter_as_int64(&fields) : 0;
  const char *message =
      bson_iter_find(&text, "errmsg") && BSON_ITER_HOLDS_UTF8(&text) ? bson_iter_utf8(&text, NULL) : "";
  bson_set_error(error, domain, (uint32_t)number, "%s", message);
  return true;
}

bool lmongo_try(lmongo_call_t *call, lmongo_call_kind_t kind, const char *database, bson_error_t *cause) {
  bool done = false;
  bson_t *reply = &call->reply;
  bson_destroy(reply); /* the driver makes it anew */
  *cause = (bson_error_t){0};
  switch (kind) {
  case LMONGO_READ:
    done = mongoc_client_read_command_with_opts(call->client, database, &call->command, call->prefs, &call->opts, reply,
                                                cause);
    break;
  case LMONGO_WRITE:
    done = mongoc_client_write_command_with_opts(call->client, database, &call->command, &call->opts, reply, cause);
    break;
  default:
    done =
        mongoc_client_command_with_opts(call->client, database, &call->command, call->prefs, &call->opts, reply, cause);
    break;
  }
  bool modifies = kind == LMONGO_WRITE && bson_has_field(&call->command, "findAndModify");
  lmongo_tell(call->scope, modifies ? reply : NULL);
  return done && !reply_failed(reply, cause);
}

const bson_t *lmongo_run(lua_State *L, lmongo_call_t *call, lmongo_call_kind_t kind, const char *database) {
  bson_error_t cause;
  if (!lmongo_try(call, kind, database, &cause)) lmongo_call_failed(L, call, &cause);
  return &call->reply;
}
