/*
 * The engine's inside: settings, chain, and the ledger they work on. Users: run/ alone, and C tests that bring a ledger of
 * their own. One thread at a time, but for the guard's request to stop.
 */
#ifndef SMIG_RUN_ENGINE_H
#define SMIG_RUN_ENGINE_H

#include "connection.h"
#include "guard.h"
#include "ledger.h"
#include "plan.h"

/* The checked options: copies, versions normalized, NULLs replaced by defaults. */
typedef struct smig_settings {
  char *target_version;        /* NULL: the chain's end */
  char *fresh_install_version; /* NULL: none */
  char *database;              /* NULL without MongoDB */
  char *ledger_name, *ledger_id;
  char **fresh_scope; /* NULL: everything; else NULL at the end */
  bool offline, bridge, refuse_newer, refuse_unversioned;
  int64_t lock_wait_ms, lock_ttl_ms, stop_timeout_ms;
  smig_log_fn log;
  void *log_user;
} smig_settings_t;

struct smig_engine {
  smig_settings_t settings;
  smig_chain_t chain;
  smig_mongo_connection_t *connection; /* NULL without MongoDB */
  bool owns_connection;
  smig_ledger_t *ledger; /* NULL when offline */
  smig_guard_t guard;
  bool said_overridden;
  char run_id[SMIG_RUN_ID_SIZE]; /* of the run under way, once it reaches for the lock; else empty */
};

/*
 * Checks the options in the contract's order and copies them; opens the connection (nothing is sent). *connection is NULL
 * without MongoDB; *owned says whether it was opened here. On failure everything is released.
 */
bool smig_settings_init(smig_settings_t *settings, const smig_options_t *options, smig_mongo_connection_t **connection,
                        bool *owned, smig_error_t *error);
void smig_settings_release(smig_settings_t *settings);

/* An engine over a ledger that the caller brings (taken over, also on failure); no other resource is needed. */
smig_engine_t *smig_engine_new_with_ledger(const smig_options_t *options, smig_ledger_t *ledger, smig_error_t *error);

/* Around every call that may reach the server: a stop request ends it. */
void smig_engine_begin_call(smig_engine_t *engine);
/* `obeyed`: a stop request has had its effect and is forgotten. Cuts secrets out of the details of *error (may be NULL). */
void smig_engine_end_call(smig_engine_t *engine, bool obeyed, smig_error_t *error);

/* The target: the setting, or the chain's end. The chain must be valid. */
const char *smig_engine_target(const smig_engine_t *engine);

/* A copy of `from` with secrets cut out of every string; *to is initialised and empty. */
void smig_engine_scrub(const bson_t *from, bson_t *to);

/* Sends a line to the logger, with the run's id; secrets are cut out. `fields` may be NULL. Main thread. */
void smig_engine_log(const smig_engine_t *engine, smig_log_level_t level, const bson_t *fields, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
