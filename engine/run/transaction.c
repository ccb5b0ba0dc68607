/*
 * Transactional steps: the handler's work and the ledger's stamp commit together, so the step is applied exactly once or not at
 * all. Users: run.c. Main thread. Units: ms, monotonic.
 *
 * Beats and such a transaction write the same document, so one beat first carries the lease past the transaction's life, and beats
 * rest while it is open. Rules for trying again: MongoDB's specification of transactions (TransientTransactionError runs the whole
 * again, UnknownTransactionCommitResult commits again), each within a limit of time.
 */
#include "clock.h"
#include "run.h"

enum {
  LIFETIME_MS = 60000, /* the server's own limit, unless it was changed */
  GRANT_MS = 160000,   /* three quarters of it outlast the lifetime and the commit */
  PATIENCE_MS = 120000,
  PAUSE_FIRST_MS = 5,
  PAUSE_LAST_MS = 500,
};

/* The server session's UUID. */
static bool session_id(mongoc_client_session_t *session, uint8_t out[16]) {
  bson_iter_t iter;
  const uint8_t *bytes;
  uint32_t length = 0;
  if (bson_iter_init_find(&iter, mongoc_client_session_get_lsid(session), "id") && BSON_ITER_HOLDS_BINARY(&iter)) {
    bson_iter_binary(&iter, NULL, &length, &bytes);
  }
  if (length != 16) return false;
  memcpy(out, bytes, length);
  return true;
}

bool smig_transaction_begin(smig_run_t *run, const char *step_id, smig_transaction_tries_t *tries,
                            smig_error_t *error) {
  smig_engine_t *engine = run->engine;
  if (!engine->connection) {
    smig_error_set(error, SMIG_NO_DB_CONFIGURED,
                   "step '%s' wants a transaction and the run has no MongoDB: give mongo.uri", step_id);
    return false;
  }
  smig_mongo_topology_t topology;
  if (!smig_mongo_connection_topology(engine->connection, &topology, error)) return false;
  if (topology == SMIG_MONGO_STANDALONE) {
    smig_error_set_foreign(
        error, "IllegalOperation",
        "step '%s' wants a transaction and the server is a standalone one: transactions need a replica "
        "set or a sharded cluster",
        step_id);
    return false;
  }
  mongoc_client_session_t *session = smig_run_start_session(run, step_id, error);
  if (!session) return false;
  int64_t grant = run->lease.ttl_ms > GRANT_MS ? run->lease.ttl_ms : GRANT_MS;
  uint8_t id[16];
  bool known = session_id(session, id);
  if (!known) smig_error_set_foreign(error, "InvalidSession", "the driver's session for step '%s' has no id", step_id);
  if (!known || !smig_heartbeat_rest(run->heartbeat, grant, id, error)) {
    mongoc_client_session_destroy(session);
    return false;
  }
  tries->began_mono_ms = smig_clock_mono_ms();
  if (!tries->count++) tries->since_mono_ms = tries->began_mono_ms;
  mongoc_transaction_opt_t *options = mongoc_transaction_opts_new();
  mongoc_read_concern_t *snapshot = mongoc_read_concern_new();
  mongoc_write_concern_t *durable = mongoc_write_concern_new();
  mongoc_read_concern_set_level(snapshot, MONGOC_READ_CONCERN_LEVEL_SNAPSHOT);
  mongoc_write_concern_set_wmajority(durable, 0);
  mongoc_write_concern_set_journal(durable, true);
  mongoc_transaction_opts_set_read_concern(options, snapshot);
  mongoc_transaction_opts_set_write_concern(options, durable);
  bson_error_t cause;
  bool started = mongoc_client_session_start_transaction(session, options, &cause);
  mongoc_transaction_opts_destroy(options);
  mongoc_read_concern_destroy(snapshot);
  mongoc_write_concern_destroy(durable);
  if (!started) {
    smig_mongo_error(engine->connection, error, "start a transaction for step", step_id, NULL, &cause);
    mongoc_client_session_destroy(session);
    return false;
  }
  run->transaction = session;
  engine->ledger->ops->join(engine->ledger, session);
  return true;
}

/* The transaction is over, one way or the other. */
static void leave(smig_run_t *run) {
  run->engine->ledger->ops->join(run->engine->ledger, NULL);
  mongoc_client_session_destroy(run->transaction);
  run->transaction = NULL;
}

void smig_transaction_abort(smig_run_t *run) {
  if (run->transaction) {
    if (mongoc_client_session_in_transaction(run->transaction)) {
      mongoc_client_session_abort_transaction(run->transaction, NULL);
    }
    leave(run);
  }
  if (run->heartbeat) smig_heartbeat_resume(run->heartbeat);
}

static void pause_before(int count) {
  int64_t pause = PAUSE_FIRST_MS;
  for (int i = 1; i < count && pause < PAUSE_LAST_MS; i++) pause *= 2;
  smig_clock_sleep_ms(pause < PAUSE_LAST_MS ? pause : PAUSE_LAST_MS);
}

/* No clear answer to the commit: the step's entry in the ledger is written by this transaction or by nobody. */
static bool landed(smig_run_t *run, const char *step_id) {
  smig_ledger_t *ledger = run->engine->ledger;
  smig_ledger_state_t state;
  smig_error_t ignored = SMIG_ERROR_INIT;
  bool applied = false;
  if (ledger->ops->load(ledger, &state, &ignored)) {
    const smig_entry_t *entry = smig_ledger_state_find(&state, step_id);
    applied = entry && entry->run && strcmp(entry->run, run->lease.run_id) == 0 && entry->status &&
              strcmp(entry->status, smig_status_name(SMIG_STATUS_APPLIED)) == 0;
  }
  smig_error_release(&ignored);
  smig_ledger_state_release(&state);
  return applied;
}

bool smig_transaction_commit(smig_run_t *run, const char *step_id, smig_error_t *error) {
  smig_mongo_connection_t *connection = run->engine->connection;
  int64_t until = smig_clock_mono_ms() + LIFETIME_MS;
  for (int count = 1;; count++) {
    bson_t reply;
    bson_error_t cause;
    smig_error_t failure = SMIG_ERROR_INIT;
    smig_mongo_connection_await(connection, true, NULL);
    bool committed = mongoc_client_session_commit_transaction(run->transaction, &reply, &cause);
    if (!committed) smig_mongo_error(connection, &failure, "commit the transaction of step", step_id, &reply, &cause);
    bson_destroy(&reply);
    bool unknown = !committed && smig_error_has_label(&failure, "UnknownTransactionCommitResult");
    if (unknown && smig_clock_mono_ms() < until && smig_guard_permits(&run->engine->guard)) {
      smig_error_release(&failure);
      pause_before(count);
      continue;
    }
    leave(run);
    if (unknown && landed(run, step_id)) {
      smig_error_release(&failure);
      committed = true;
    }
    if (committed && run->heartbeat) smig_heartbeat_resume(run->heartbeat);
    smig_error_move(error, &failure);
    return committed;
  }
}

/* How long the server lets a transaction live. */
static int64_t server_lifetime_ms(smig_run_t *run) {
  mongoc_client_t *client = smig_mongo_connection_client(run->engine->connection);
  char *comment = bson_strdup_printf("%s%s:", run->engine->ledger->comment_prefix, run->lease.run_id);
  bson_t *command = BCON_NEW("getParameter", BCON_INT32(1), "transactionLifetimeLimitSeconds", BCON_INT32(1), "comment",
                             BCON_UTF8(comment)),
         reply;
  bson_iter_t iter;
  int64_t lifetime = LIFETIME_MS;
  if (mongoc_client_command_simple(client, "admin", command, NULL, &reply, NULL) &&
      bson_iter_init_find(&iter, &reply, "transactionLifetimeLimitSeconds")) {
    lifetime = bson_iter_as_int64(&iter) * 1000;
  }
  bson_free(comment);
  bson_destroy(command);
  bson_destroy(&reply);
  return lifetime;
}

/* Says what a person can do about a limit that another try would run into again. */
static bool explain_limit(smig_run_t *run, const smig_transaction_tries_t *tries, smig_error_t *failure) {
  static const char *const too_large[] = {"TransactionTooLarge", "TransactionTooLargeForCache",
                                          "TransactionExceededLifetimeLimitSeconds"};
  bool limited = false;
  for (size_t i = 0; i < sizeof too_large / sizeof *too_large; i++) limited |= strcmp(failure->name, too_large[i]) == 0;
  if (!limited && strcmp(failure->name, "NoSuchTransaction") == 0) {
    limited = smig_clock_mono_ms() - tries->began_mono_ms >= server_lifetime_ms(run);
  }
  if (!limited) return false;
  char *text =
      bson_strdup_printf("%s (the server limits what one transaction may do and how long it may live, 60 s unless "
                         "transactionLifetimeLimitSeconds says otherwise: do less in the step, or make it "
                         "resumable in place of transactional)",
                         failure->message);
  bson_free(failure->message);
  failure->message = text;
  return true;
}

bool smig_transaction_again(smig_run_t *run, const char *step_id, smig_transaction_tries_t *tries,
                            smig_error_t *failure) {
  if (explain_limit(run, tries, failure)) return false;
  if (!smig_error_has_label(failure, "TransientTransactionError") ||
      smig_clock_mono_ms() - tries->since_mono_ms >= PATIENCE_MS ||
      !smig_guard_check(&run->engine->guard, true, NULL)) {
    return false;
  }
  smig_engine_log(run->engine, SMIG_LOG_INFO, NULL, "the transaction of step '%s' is tried again: %s", step_id,
                  failure->message);
  pause_before(tries->count);
  return true;
}
