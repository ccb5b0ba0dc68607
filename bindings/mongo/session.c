/*
 * Sessions: what several operations run in, and their transactions.
 * Users: Lua; transaction.c; the context. Errors: "session is closed"; a server's. Threads: the thread of the Lua state.
 * Rule: bindings design, section 3.1. A session belongs to one scope: another client or step cannot use it.
 */
#include "internal.h"

/* What a step wrote in a transaction that nobody ended is lost: the step must not pass for done. */
static void note_transaction(lmongo_session_t *session) {
  if (!session->session || !session->scope->owner || !mongoc_client_session_in_transaction(session->session)) return;
  lmongo_note_unfinished(session->scope,
                         bson_strdup("the step ended with a transaction under way: end it with session:commit() or "
                                     "session:abort(), or use ctx:transaction(f)"));
}

/* With the scope. */
static void close_child(lmongo_child_t *child) {
  lmongo_session_t *session = (lmongo_session_t *)(void *)child;
  note_transaction(session);
  lmongo_session_close(session);
}

void lmongo_session_close(lmongo_session_t *session) {
  if (!session->session) return;
  lmongo_scope_t *scope = session->scope;
  lmongo_close_cursors_of(scope, session->session); /* they point to it */
  if (scope->transaction == session) scope->transaction = NULL;
  lmongo_unlink(scope, &session->child);
  mongoc_client_session_destroy(session->session); /* aborts a transaction */
  session->session = NULL;
}

lmongo_session_t *lmongo_check_session(lua_State *L, int idx, const lmongo_scope_t *scope) {
  lmongo_session_t *session = luaL_testudata(L, idx, LMONGO_SESSION);
  if (!session) kit_raise_argument(L, "option 'session' must be a session, got %s", luaL_typename(L, idx));
  if (!session->session) kit_raise_argument(L, "session is closed");
  if (session->scope != scope) kit_raise_argument(L, "the session belongs to another client or step");
  return session;
}

/* ------------------------------------------------------------------ making */

static void free_session_opts(void *opts) {
  mongoc_session_opts_destroy(opts);
}

static void free_transaction_opts(void *opts) {
  mongoc_transaction_opts_destroy(opts);
}

/* The driver's form of the concern that lmongo_append_… put into `wrapped` under "c"; NULL when it is not there. */
static mongoc_read_concern_t *to_read_concern(const bson_t *wrapped) {
  bson_iter_t iter, level;
  if (!bson_iter_init(&iter, wrapped) || !bson_iter_find_descendant(&iter, "c.level", &level)) return NULL;
  mongoc_read_concern_t *concern = mongoc_read_concern_new();
  mongoc_read_concern_set_level(concern, bson_iter_utf8(&level, NULL));
  return concern;
}

mongoc_write_concern_t *lmongo_new_write_concern(const bson_t *fields) {
  bson_iter_t field;
  mongoc_write_concern_t *concern = mongoc_write_concern_new();
  for (bool more = bson_iter_init(&field, fields) && bson_iter_next(&field); more; more = bson_iter_next(&field)) {
    const char *key = bson_iter_key(&field);
    if (*key == 'j')
      mongoc_write_concern_set_journal(concern, bson_iter_bool(&field));
    else if (key[1])
      mongoc_write_concern_set_wtimeout_int64(concern, bson_iter_as_int64(&field));
    else if (BSON_ITER_HOLDS_UTF8(&field))
      mongoc_write_concern_set_wtag(concern, bson_iter_utf8(&field, NULL)); /* "majority", too, is a tag on the wire */
    else
      mongoc_write_concern_set_w(concern, (int32_t)bson_iter_as_int64(&field));
  }
  return concern;
}

static mongoc_write_concern_t *to_write_concern(const bson_t *wrapped) {
  bson_iter_t iter;
  uint32_t length;
  const uint8_t *bytes;
  bson_t fields;
  if (!bson_iter_init(&iter, wrapped) || !bson_iter_next(&iter)) return NULL;
  bson_iter_document(&iter, &length, &bytes);
  return bson_init_static(&fields, bytes, length) ? lmongo_new_write_concern(&fields) : NULL;
}

mongoc_transaction_opt_t *lmongo_push_transaction_opts(lua_State *L, const lmongo_transaction_options_t *options) {
  kit_box_t *box = kit_box_push(L, NULL, free_transaction_opts);
  mongoc_transaction_opt_t *opts = mongoc_transaction_opts_new();
  box->pointer = opts;
  kit_box_t *scratch = kit_box_push(L, NULL, lmongo_free_bson);
  bson_t *wrapped = bson_new();
  scratch->pointer = wrapped;
  if (options->read_concern) {
    lmongo_append_read_concern(L, options->read_concern, wrapped, "c");
    mongoc_read_concern_t *concern = to_read_concern(wrapped);
    mongoc_transaction_opts_set_read_concern(opts, concern);
    mongoc_read_concern_destroy(concern);
    bson_reinit(wrapped);
  }
  if (options->write_concern) {
    lmongo_append_write_concern(L, options->write_concern, wrapped, "c");
    mongoc_write_concern_t *concern = to_write_concern(wrapped);
    mongoc_transaction_opts_set_write_concern(opts, concern);
    mongoc_write_concern_destroy(concern);
  }
  if (options->read_preference) {
    kit_box_t *prefs_box = kit_box_push(L, NULL, lmongo_free_read_prefs);
    lmongo_read_preference(L, options->read_preference, (mongoc_read_prefs_t **)&prefs_box->pointer);
    mongoc_transaction_opts_set_read_prefs(opts, prefs_box->pointer);
    kit_box_free(prefs_box);
    lua_pop(L, 1);
  }
  if (options->max_commit_time_ms) mongoc_transaction_opts_set_max_commit_time_ms(opts, options->max_commit_time_ms);
  lua_pop(L, 1);
  return opts;
}

lmongo_session_t *lmongo_push_session(lua_State *L, int scope_idx, int options_idx) {
  typedef struct {
    bool causal_consistency, has_causal_consistency, snapshot;
    int default_transaction;
  } session_options_t;
  static const kit_option_t session_options[] = {{"causal_consistency", KIT_BOOLEAN,
                                                  offsetof(session_options_t, causal_consistency), 0, 0,
                                                  offsetof(session_options_t, has_causal_consistency)},
                                                 LMONGO_OPTION(session_options_t, snapshot, KIT_BOOLEAN),
                                                 LMONGO_OPTION(session_options_t, default_transaction, KIT_INDEX),
                                                 LMONGO_END_OPTIONS};
  static const kit_option_t default_options[] = {LMONGO_TRANSACTION_OPTIONS, LMONGO_END_OPTIONS};
  luaL_checkstack(L, 20, NULL);
  scope_idx = lua_absindex(L, scope_idx);
  lmongo_scope_t *scope = lmongo_to_scope(L, scope_idx);
  session_options_t options = {0};
  if (options_idx) kit_read_options(L, options_idx, "start_session", session_options, &options);
  lmongo_check_scope(L, scope, "database");
  kit_box_t *box = kit_box_push(L, NULL, free_session_opts);
  mongoc_session_opt_t *opts = mongoc_session_opts_new();
  box->pointer = opts;
  if (options.has_causal_consistency) mongoc_session_opts_set_causal_consistency(opts, options.causal_consistency);
  if (options.snapshot) {
    if (options.causal_consistency) kit_raise_argument(L, "a session is either causally consistent or a snapshot");
    mongoc_session_opts_set_causal_consistency(opts, false);
    mongoc_session_opts_set_snapshot(opts, true);
  }
  if (options.default_transaction) {
    lmongo_transaction_options_t given = {0};
    kit_read_options(L, options.default_transaction, "default_transaction", default_options, &given);
    mongoc_session_opts_set_default_transaction_opts(opts, lmongo_push_transaction_opts(L, &given));
  }
  lmongo_session_t *session = lua_newuserdatauv(L, sizeof *session, 1);
  *session = (lmongo_session_t){.child = {.close = close_child, .is_session = true}, .scope = scope};
  luaL_setmetatable(L, LMONGO_SESSION);
  lua_pushvalue(L, scope_idx);
  lua_setiuservalue(L, -2, 1);
  bson_error_t cause;
  smig_mongo_connection_await(scope->connection, false, NULL);
  session->session = mongoc_client_start_session(smig_mongo_connection_client(scope->connection), opts, &cause);
  if (!session->session) {
    smig_error_t error = SMIG_ERROR_INIT;
    lmongo_make_error(scope, &error, "start_session at", smig_mongo_connection_hosts(scope->connection), NULL, &cause);
    kit_raise(L, &error);
  }
  lmongo_link(scope, &session->child);
  kit_box_free(box);
  return session;
}

int lmongo_start_session(lua_State *L, int scope_idx, int options_idx) {
  lmongo_push_session(L, scope_idx, options_idx);
  return 1;
}

/* ------------------------------------------------------------ transactions */

static void make_error(lmongo_session_t *session, smig_error_t *error, const char *phrase, const bson_t *reply,
                       const bson_error_t *cause) {
  lmongo_scope_t *scope = session->scope;
  lmongo_make_error(scope, error, phrase, smig_mongo_connection_hosts(scope->connection), reply, cause);
}

void lmongo_session_begin(lua_State *L, lmongo_session_t *session, const mongoc_transaction_opt_t *opts) {
  lmongo_scope_t *scope = session->scope;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_mongo_topology_t topology;
  if (!smig_mongo_connection_topology(scope->connection, &topology, &error)) kit_raise(L, &error);
  bson_error_t cause;
  if (topology == SMIG_MONGO_STANDALONE) {
    /* The server would say so only at the first command, as code 20. */
    bson_set_error(&cause, MONGOC_ERROR_SERVER, 20,
                   "transactions need a replica set or a sharded cluster, and this server is "
                   "standalone; start it with --replSet and initiate the set");
  } else if (mongoc_client_session_start_transaction(session->session, opts, &cause)) {
    session->warned = false;
    scope->transaction = session;
    return;
  }
  make_error(session, &error, "start_transaction at", NULL, &cause);
  kit_raise(L, &error);
}

bool lmongo_session_commit(lmongo_session_t *session, smig_error_t *error) {
  bson_t reply;
  bson_error_t cause;
  if (session->scope->transaction == session) session->scope->transaction = NULL;
  smig_mongo_connection_await(session->scope->connection, true, NULL);
  bool done = mongoc_client_session_commit_transaction(session->session, &reply, &cause);
  if (!done) make_error(session, error, "commit at", &reply, &cause);
  bson_destroy(&reply);
  return done;
}

bool lmongo_session_abort(lmongo_session_t *session, smig_error_t *error) {
  bson_error_t cause;
  if (session->scope->transaction == session) session->scope->transaction = NULL;
  bool done = mongoc_client_session_abort_transaction(session->session, &cause);
  if (!done && error) make_error(session, error, "abort at", NULL, &cause);
  return done;
}

/* ----------------------------------------------------------------- methods */

static lmongo_session_t *check_session(lua_State *L) {
  lmongo_session_t *session = luaL_testudata(L, 1, LMONGO_SESSION);
  if (!session) kit_argerror(L, 1, "session");
  return session;
}

static lmongo_session_t *check_open(lua_State *L) {
  lmongo_session_t *session = check_session(L);
  lmongo_check_scope(L, session->scope, "session");
  if (!session->session) kit_raise_argument(L, "session is closed");
  return session;
}

/* session:start_transaction([opts]) */
static int start_transaction(lua_State *L) {
  static const kit_option_t descriptors[] = {LMONGO_TRANSACTION_OPTIONS, LMONGO_END_OPTIONS};
  lua_settop(L, 2);
  lmongo_session_t *session = check_open(L);
  lmongo_transaction_options_t options = {0};
  kit_read_options(L, 2, "start_transaction", descriptors, &options);
  lmongo_session_begin(L, session, lmongo_push_transaction_opts(L, &options));
  return 0;
}

/* session:commit(): may be called again after an error with the label UnknownTransactionCommitResult */
static int commit(lua_State *L) {
  smig_error_t error = SMIG_ERROR_INIT;
  if (!lmongo_session_commit(check_open(L), &error)) return kit_raise(L, &error);
  return 0;
}

static int abort_transaction(lua_State *L) {
  smig_error_t error = SMIG_ERROR_INIT;
  if (!lmongo_session_abort(check_open(L), &error)) return kit_raise(L, &error);
  return 0;
}

static int session_close(lua_State *L) {
  lmongo_session_close(check_session(L));
  return 0;
}

/* Nobody held it any more, and nobody ended its transaction. */
static int session_gc(lua_State *L) {
  lmongo_session_t *session = lua_touserdata(L, 1);
  note_transaction(session);
  lmongo_session_close(session);
  return 0;
}

static int session_tostring(lua_State *L) {
  const lmongo_session_t *session = check_session(L);
  bool busy = session->session && mongoc_client_session_in_transaction(session->session);
  lua_pushfstring(L, "session (%s)", !session->session ? "closed" : busy ? "in a transaction" : "open");
  return 1;
}

void lmongo_new_session_class(lua_State *L) {
  static const luaL_Reg methods[] = {{"start_transaction", start_transaction},
                                     {"commit", commit},
                                     {"abort", abort_transaction},
                                     {"close", session_close},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {
      {"__close", session_close}, {"__gc", session_gc}, {"__tostring", session_tostring}, {NULL, NULL}};
  kit_new_class(L, LMONGO_SESSION, "session", methods, meta, NULL);
}
