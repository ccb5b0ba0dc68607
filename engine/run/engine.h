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
#include "s3.h"

/* The checked options: copies, versions normalized, NULLs replaced by defaults. */
typedef struct smig_settings {
  char *target_version;        /* NULL: the chain's end */
  char *fresh_install_version; /* NULL: none */
  char *database;              /* NULL without MongoDB */
  char *bucket;                /* NULL without S3 */
  char *ledger_name, *ledger_id;
  char **fresh_scope; /* NULL: everything; else NULL at the end */
  bool offline, bridge, refuse_newer, refuse_unversioned;
  bool ledger_in_s3, s3_best_effort;
  int64_t lock_wait_ms, lock_ttl_ms, stop_timeout_ms;
  smig_log_fn log;
  void *log_user;
} smig_settings_t;

struct smig_engine {
  smig_settings_t settings;
  smig_chain_t chain;
  smig_mongo_connection_t *connection; /* NULL without MongoDB */
  smig_s3_t *s3;                       /* NULL without S3 */
  bool owns_connection, owns_s3;
  smig_ledger_t *ledger; /* NULL when offline */
  smig_guard_t guard;
  const smig_guard_t *outer_guard;    /* of the run whose step calls this engine over its own connection; NULL: none */
  const smig_guard_t *outer_s3_guard; /* likewise, over its own S3 client */
  bool said_overridden;
  char run_id[SMIG_RUN_ID_SIZE]; /* of the run under way, once it reaches for the lock; else empty */
};

/* Checks the options but for the resources, in the contract's order, and copies them. On failure everything is released. */
bool smig_settings_init(smig_settings_t *settings, const smig_options_t *options, smig_error_t *error);
void smig_settings_release(smig_settings_t *settings);

/* What an option's error tells beside its message: false. A value that is not UTF-8 is left out. */
bool smig_settings_refuse(smig_error_t *error, const char *option, const char *value);
bool smig_options_have_mongo(const smig_options_t *options);
bool smig_options_have_s3(const smig_options_t *options);

/*
 * Resources (resources.c). Checks what the options say of them and opens them (nothing is sent), completing the settings; freed with
 * the engine, also after a failure.
 */
bool smig_engine_open_resources(smig_engine_t *engine, const smig_options_t *options, smig_error_t *error);

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
