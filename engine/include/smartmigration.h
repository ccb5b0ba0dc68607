/*
 * smartmigration.h - the public API of libsmartmigration.
 *
 * Model. An engine holds a chain of steps, each leading the data from one semver version to the next, and a
 * ledger that says what version the data has. `smig_engine_plan` says what a run would do and writes nothing;
 * `smig_engine_run` takes the ledger's lock, runs the steps that lead to the target version and records each.
 *
 *     smig_options_t options = SMIG_OPTIONS_INIT;
 *     options.target_version = "1.1.0";
 *     options.mongo.uri = "mongodb://localhost:27017/app?replicaSet=rs0";
 *     smig_error_t error = SMIG_ERROR_INIT;
 *     smig_engine_t *engine = smig_engine_new(&options, &error);
 *     smig_step_t step = SMIG_STEP_INIT;
 *     step.id = "lowercase-emails"; step.from = "1.0.0"; step.to = "1.1.0"; step.up = lowercase_emails;
 *     smig_result_t *result = NULL;
 *     bool done = engine && smig_engine_add_step(engine, &step, &error) && smig_engine_run(engine, &result, &error);
 *     if (!done) fprintf(stderr, "%s: %s\n", error.name, error.message);
 *     smig_result_free(result); smig_engine_free(engine); smig_error_release(&error);
 *
 * Threads. An engine is used by one thread at a time; `smig_engine_cancel` alone may be called from any thread
 * and from a signal handler. Two engines are independent. A step's handler and the logger are called only on
 * the thread that called the engine. While steps run, the engine keeps one thread of its own: the heartbeat.
 *
 * Caveats. A step may run more than once (after a crash, or when the data's version lies inside its range):
 * steps must be idempotent. libmongoc is initialised by the first engine and never cleaned up. The library installs no signal
 * handler and prints nothing.
 *
 * Ownership. A pointer passed in is borrowed for the call and copied where it is needed later. `init/release`
 * work on the caller's storage, `new/free` on the heap; `free` takes NULL. Strings are UTF-8.
 *
 * Errors. A function that can fail returns false (or NULL) and fills `*error`, which may be NULL. An error that
 * is passed in must be SMIG_ERROR_INIT or released.
 */
#ifndef SMARTMIGRATION_H
#define SMARTMIGRATION_H

#include <bson/bson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SMIG_VERSION "0.1.0"

#if defined(__GNUC__)
#define SMIG_API __attribute__((visibility("default")))
#else
#define SMIG_API
#endif

/* ------------------------------------------------------------------ errors */

/*
 * Every code of the engine: X(name, exit status of the command line, when it is raised). The one table of codes.
 * The names are stable.
 */
#define SMIG_CODES(X)                                                                                                  \
  X(INVALID_OPTIONS, 2, "an option is unknown, of the wrong type or out of its range")                                 \
  X(MISSING_TARGET_VERSION, 2, "no target version is given")                                                           \
  X(INVALID_VERSION, 3, "a version is not a semver string")                                                            \
  X(NO_RESOURCES, 2, "neither MongoDB nor S3 is given")                                                                \
  X(LEDGER_BACKEND_MISMATCH, 2, "the ledger's backend has no resource")                                                \
  X(INVALID_TARGET_VERSION_STRATEGY, 2, "the target version strategy is neither strict nor bridge")                    \
  X(STEP_LOAD_FAILED, 2, "a migration file or folder cannot be loaded")                                                \
  X(INVALID_STEP_ID, 3, "a step's id, or the key of a checkpoint, is not acceptable")                                  \
  X(DUPLICATE_STEP_ID, 3, "two steps have one id")                                                                     \
  X(STEP_MISSING_FROM, 3, "a step has no from version")                                                                \
  X(STEP_MISSING_TO, 3, "a step has no to version")                                                                    \
  X(INVALID_STEP_HANDLER, 3, "a step's up is not a function")                                                          \
  X(NON_INCREASING_STEP, 3, "a step's from is not below its to")                                                       \
  X(CHAIN_NOT_CONTIGUOUS, 3, "a step's from is not the to of the step before it")                                      \
  X(CHAIN_NOT_AT_CURRENT, 3, "the data is older than the first step's from")                                           \
  X(TARGET_NOT_REACHABLE, 3, "the chain has no way from the current version to the target")                            \
  X(DOWNGRADE_NOT_SUPPORTED, 3, "the data is newer than the target and not compatible with it")                        \
  X(UNVERSIONED_DATA, 2, "there is data but no ledger, and the options forbid to assume its version")                  \
  X(LEDGER_ELSEWHERE, 2, "this program's ledger is stored under another name")                                         \
  X(LEDGER_CHAIN_MISMATCH, 6, "what the ledger recorded and the chain disagree")                                       \
  X(LEDGER_CORRUPT, 5, "the ledger's content has the wrong shape")                                                     \
  X(LEDGER_NOT_EXCLUSIVE, 2, "the S3 store cannot keep the lock to one run")                                           \
  X(LEDGER_IO, 5, "the ledger could not be read or written")                                                           \
  X(CONNECTION_FAILED, 5, "the server could not be reached or refused the credentials")                                \
  X(UNSUPPORTED_SERVER, 5, "the server cannot do what the engine needs")                                               \
  X(LOCK_TIMEOUT, 4, "another run held the lock for longer than the wait allowed")                                     \
  X(LOCK_LOST, 4, "the run lost the lock and was stopped")                                                             \
  X(STEP_FAILED, 1, "a step raised an error")                                                                          \
  X(INTERRUPTED, 130, "the run was asked to stop")                                                                     \
  X(CHECKPOINT_NOT_RESUMABLE, 1, "a step that is not resumable used ctx.checkpoint")                                   \
  X(CHECKPOINT_TOO_LARGE, 1, "a checkpoint is over 1 MiB, or the ledger over 12 MiB")                                  \
  X(NO_DB_CONFIGURED, 1, "a session was asked for without MongoDB")

typedef enum smig_code {
  SMIG_OK = 0,
#define X(name, exit_status, text) SMIG_##name,
  SMIG_CODES(X)
#undef X
  /* An error with a code of somebody else's: a server's, a driver's, a step's. `name` has it. */
  SMIG_FOREIGN
} smig_code_t;

/* The name of a code, e.g. "LOCK_TIMEOUT"; "FOREIGN" for SMIG_FOREIGN. Never NULL. */
SMIG_API const char *smig_code_name(smig_code_t code);
/* The exit status that the command line gives to a code (143 for INTERRUPTED by SIGTERM is the caller's). */
SMIG_API int smig_code_exit_status(smig_code_t code);
/* When a code is raised: one line. */
SMIG_API const char *smig_code_text(smig_code_t code);
/* Whether `name` is the name of a code; *code is set if it is. */
SMIG_API bool smig_code_from_name(const char *name, smig_code_t *code);

typedef struct smig_error {
  smig_code_t code;
  char *name;      /* the stable code as text; of a foreign error its own, e.g. "DuplicateKey" */
  char *message;   /* one line, lower case, no secrets, no full stop */
  bson_t *details; /* never NULL once set; snake_case keys, by code. `cause` holds a lower error {code, message, …} */
  void *value;     /* what a handler raised, if the caller's language wants it back; see smig_error_set_value */
  void (*value_free)(void *value);
} smig_error_t;

#define SMIG_ERROR_INIT                                                                                                \
  { SMIG_OK, NULL, NULL, NULL, NULL, NULL }

/* Frees what the error holds and makes it SMIG_ERROR_INIT again. */
SMIG_API void smig_error_release(smig_error_t *error);
/* Sets an error (a set one is replaced). Secrets known to the process are cut out of the message. */
SMIG_API void smig_error_set(smig_error_t *error, smig_code_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Sets an error with a code that is not in the table. */
SMIG_API void smig_error_set_foreign(smig_error_t *error, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The error's details, to append to. NULL if error is NULL or not set. */
SMIG_API bson_t *smig_error_details(smig_error_t *error);
/* Attaches a value that travels with the error unchanged, e.g. to a STEP_FAILED. It is freed with the error. */
SMIG_API void smig_error_set_value(smig_error_t *error, void *value, void (*value_free)(void *));
/* Moves an error: *to is replaced, *from becomes SMIG_ERROR_INIT. `to` may be NULL. */
SMIG_API void smig_error_move(smig_error_t *to, smig_error_t *from);

/* The one of the names (NULL at the end) that `name` may have been meant for: "did you mean"; NULL: none is near. */
SMIG_API const char *smig_suggest(const char *name, const char *const *names);

/* ----------------------------------------------------------------- options */

typedef enum smig_log_level { SMIG_LOG_DEBUG, SMIG_LOG_INFO, SMIG_LOG_WARN, SMIG_LOG_ERROR } smig_log_level_t;

/*
 * Receives the engine's and the steps' log lines. `fields` (snake_case) may be NULL. Called only on the thread
 * that called the engine; what the heartbeat has to say is delivered at the next occasion.
 */
typedef void (*smig_log_fn)(void *user, smig_log_level_t level, const char *message, const bson_t *fields);

#define SMIG_WAIT_FOREVER INT64_MAX

typedef struct smig_options {
  const char *target_version; /* required unless target_from_chain */
  bool target_from_chain;     /* the target is the `to` of the last step */
  bool offline;               /* only the chain is to be checked: no resource is needed, nothing connects */
  struct {
    const char *uri;      /* NULL: no MongoDB. w=0 is refused. Ledger I/O ignores its preferences and concerns */
    const char *database; /* NULL: the one named in the URI */
    /* Instead of `uri`: a connection opened by the Lua binding, see mongo/connection.h. It is never closed. */
    struct smig_mongo_connection *connection;
  } mongo;
  struct {
    const char *bucket;   /* NULL: no S3 */
    const char *endpoint; /* "http://127.0.0.1:7070"; NULL: AWS's for the region */
    const char *region;   /* NULL: as the AWS tools find it */
    const char
        *style; /* "path" or "virtual"; NULL: "path" for an endpoint given, else "virtual" where the name allows it */
    const char *access_key_id, *secret_access_key, *session_token; /* NULL: as the AWS tools find them */
    const char *profile;               /* of the shared AWS files; NULL: AWS_PROFILE, "default" */
    const char *ca_file;               /* PEM; NULL: the system's */
    const char *sse, *sse_kms_key_id;  /* sent with every request that creates an object, the ledger's included */
    const char *expected_bucket_owner; /* sent with every request on the bucket */
    bool insecure;                     /* plain http to a host that is not loopback is allowed */
    /* Instead of the settings but `bucket`: a client opened by the Lua binding, see s3/s3.h. It is never closed. */
    struct smig_s3 *client;
  } s3;
  const char *ledger_backend; /* "mongo" or "s3"; NULL: "mongo" when MongoDB is given, else "s3" */
  const char *ledger_name;    /* NULL: "smartmigration"; 1 to 128 of A-Za-z0-9._-, no leading dot */
  const char *ledger_id;      /* NULL: "smartmigration:<ledger_name>"; in S3 ".smartmigration/<ledger_name>.json" */
  const char *fresh_install_version; /* NULL: none */
  const char *const *
      fresh_scope; /* NULL: everything; else names of collections and prefixes of keys (`*` allowed), NULL at the end */
  const char *target_version_strategy; /* "strict" (NULL) or "bridge" */
  const char *newer_ledger;            /* "compatible" (NULL) or "refuse" */
  const char *unversioned_data;        /* "assume" (NULL) or "refuse" */
  const char *s3_lock;     /* "exclusive" (NULL) or "best-effort": whether a store must keep its conditional writes */
  int64_t lock_wait_ms;    /* 0: do not wait; SMIG_WAIT_FOREVER */
  int64_t lock_ttl_ms;     /* at least 1000, with the ledger in S3 at least 5000; at most a day */
  int64_t stop_timeout_ms; /* how long an interrupted run may take to a safe point */
  smig_log_fn log;         /* NULL: nothing is logged */
  void *log_user;
} smig_options_t;

#define SMIG_OPTIONS_INIT                                                                                              \
  { .lock_wait_ms = 120000, .lock_ttl_ms = 60000, .stop_timeout_ms = 20000 }

/* ------------------------------------------------------------------- steps */

typedef struct smig_ctx smig_ctx_t;

/*
 * A step's work. Returns false with *error set when it failed (any error; the engine wraps it in STEP_FAILED).
 * `ctx` is valid until it returns.
 */
typedef bool (*smig_up_fn)(smig_ctx_t *ctx, void *user, smig_error_t *error);

typedef struct smig_step {
  const char *id;
  size_t id_length; /* 0: id ends with NUL */
  const char *from, *to;
  const char *description;     /* NULL: none */
  const char *compatible_from; /* NULL: same as `to` */
  bool resumable;
  /*
   * The handler's work and the step's record commit in one transaction: exactly once or not at all. The step's session
   * is in that transaction; the handler may be called again when the server asks for it. Needs a replica set; at most
   * 60 s (the server's limit).
   */
  bool transaction;
  smig_up_fn up;
  void *user;                /* passed to up */
  void (*user_free)(void *); /* NULL, or called when the engine is freed, also when adding the step failed */
  const char *checksum;      /* NULL: none; "sha256:<hex>" of the file the step stands in */
  const char *file;          /* NULL: none; where the step is defined, for messages */
  int line;                  /* 0: unknown */
} smig_step_t;

#define SMIG_STEP_INIT                                                                                                 \
  { 0 }

/* ----------------------------------------------------------------- results */

typedef enum smig_status {
  SMIG_STATUS_PENDING,
  SMIG_STATUS_RUNNING,
  SMIG_STATUS_APPLIED,
  SMIG_STATUS_FAILED,
  SMIG_STATUS_INTERRUPTED,
  SMIG_STATUS_SKIPPED
} smig_status_t;

SMIG_API const char *smig_status_name(smig_status_t status);

typedef enum smig_bootstrap_mode {
  SMIG_BOOTSTRAP_NONE,                  /* the ledger has a version */
  SMIG_BOOTSTRAP_FRESH_INSTALL_VERSION, /* empty ledger, fresh resources, fresh_install_version given */
  SMIG_BOOTSTRAP_CHAIN_START,           /* empty ledger otherwise: the first step's from */
  SMIG_BOOTSTRAP_TARGET_WITHOUT_STEPS   /* empty ledger, no steps: the target */
} smig_bootstrap_mode_t;

/* "none", "fresh-install-version", "chain-start", "target-without-steps" */
SMIG_API const char *smig_bootstrap_mode_name(smig_bootstrap_mode_t mode);

typedef struct smig_step_result {
  char *id, *from_version, *to_version;
  smig_status_t status; /* of a plan or a dry run: SMIG_STATUS_SKIPPED */
  bool skip_forward;    /* the data's version lies inside the step's range */
  char *started_at;     /* ISO 8601, UTC, ms; NULL in a plan */
  char *finished_at;
  int64_t duration_ms; /* monotonic */
} smig_step_result_t;

typedef struct smig_result {
  char *current_version_before; /* NULL: nothing was recorded */
  char *current_version_after;  /* of a plan: the prediction */
  char *target_version;
  bool was_fresh_install; /* only in mode fresh-install-version */
  smig_bootstrap_mode_t bootstrap_mode;
  smig_step_result_t *steps_applied;
  size_t steps_applied_count;
  smig_step_result_t *steps_skipped; /* plan and dry run: the planned steps */
  size_t steps_skipped_count;
  int64_t total_duration_ms;
} smig_result_t;

SMIG_API void smig_result_free(smig_result_t *result);
/* Appends the result's fields in snake_case, as the Lua module returns them; `--json` prints the same in camelCase. */
SMIG_API void smig_result_append(const smig_result_t *result, bson_t *document);

/* ------------------------------------------------------------------ engine */

typedef struct smig_engine smig_engine_t;

/*
 * Checks the options in this order: the options themselves (INVALID_OPTIONS, INVALID_TARGET_VERSION_STRATEGY),
 * presence of the target (MISSING_TARGET_VERSION), its semver (INVALID_VERSION), fresh_install_version
 * (INVALID_VERSION), resources (NO_RESOURCES), backend (LEDGER_BACKEND_MISMATCH). Connects to nothing.
 */
SMIG_API smig_engine_t *smig_engine_new(const smig_options_t *options, smig_error_t *error);
SMIG_API void smig_engine_free(smig_engine_t *engine);

/* Appends a step to the chain. The chain is checked by validate, plan, run and status. */
SMIG_API bool smig_engine_add_step(smig_engine_t *engine, const smig_step_t *step, smig_error_t *error);

/* Checks the chain alone; connects to nothing. INVALID_STEP_ID to CHAIN_NOT_CONTIGUOUS in the table. */
SMIG_API bool smig_engine_validate_chain(smig_engine_t *engine, smig_error_t *error);

/*
 * Checks the chain, and chain and checksums against the ledger. The report (initialised by the call, to be
 * destroyed by the caller on every path):
 *   {steps: int, current_version: string|null, drift: [{id, kind, file?, chain_from?, chain_to?, recorded_from?, recorded_to?,
 *    recorded? and found? (checksums of kind changed), way_out (a command that makes the record agree)}]}
 * kind: "changed" (an applied step's file), "missing" (applied, and not in the chain any more), "late-inserted" (in the chain below the
 * version, never applied), "moved" (applied between other versions), "ahead" (applied, and about to run again).
 */
SMIG_API bool smig_engine_validate(smig_engine_t *engine, bson_t *report, smig_error_t *error);

/* What run would do. Writes nothing, takes no lock. *result is NULL on failure. */
SMIG_API bool smig_engine_plan(smig_engine_t *engine, smig_result_t **result, smig_error_t *error);

/*
 * Migrates to the target. *result is NULL on failure; INTERRUPTED, and every error that came after the lock was taken
 * (STEP_FAILED, LOCK_LOST, a late LEDGER_IO or CONNECTION_FAILED), carry it in details.result, with `steps_failed` (the
 * step that the run ended in: a step result with status failed or interrupted, and error {code, message}) and `steps_not_run`.
 */
SMIG_API bool smig_engine_run(smig_engine_t *engine, smig_result_t **result, smig_error_t *error);

/*
 * The ledger and the chain, for a person or a probe. Needs read rights only. The report (as above):
 *   {current_version: string|null, target_version, pending: int, check: "up-to-date"|"pending"|"too-new"|"problem",
 *    problem: {code, message}|null (why a run would be refused; too-new has one too),
 *    lock: {holder, acquired_at, expires_at, stale: bool}|null, ledger: string, drift: [as of validate],
 *    steps: [{id, from_version, to_version, status, drift: bool, in_chain: bool, description?, started_at?, finished_at?, duration_ms?, attempts?,
 *             host?, error?, checkpoints?: int}]}
 */
SMIG_API bool smig_engine_status(smig_engine_t *engine, bson_t *report, smig_error_t *error);

/* ------------------------------------------------- commands of an operator */

/*
 * All but the history's and smig_engine_checkpoints take the lock as a run does, within lock_wait_ms (LOCK_TIMEOUT), and end what a
 * dead run left on the server. The report is initialised by the call, to be destroyed by the caller on every path. A refusal is
 * INVALID_OPTIONS with details.reason, unless another code is named; nothing is written then.
 */

/*
 * Records that the data is at `version`, a version of the chain, without running anything. Over a recorded version only with `force`
 * ("already-versioned"); entries that lead above it are removed. LEDGER_ELSEWHERE, INVALID_VERSION.
 *   {version, former_version: string|null, forced: bool, removed: [id]}
 */
SMIG_API bool smig_engine_baseline(smig_engine_t *engine, const char *version, bool force, bson_t *report,
                                   smig_error_t *error);

typedef enum smig_repair {
  SMIG_REPAIR_MARK_APPLIED, /* the next planned step counts as applied; the version becomes its `to` */
  SMIG_REPAIR_MARK_PENDING, /* the last applied step's entry is removed; the version becomes its `from` */
  SMIG_REPAIR_ACCEPT_DRIFT, /* a step's record becomes what the chain says: checksum, versions, applied, or no record at all */
  SMIG_REPAIR_RERUN         /* an applied step runs once more; entry and version stay until it succeeds (STEP_FAILED) */
} smig_repair_t;

/* "mark-applied", "mark-pending", "accept-drift", "rerun" */
SMIG_API const char *smig_repair_name(smig_repair_t repair);

/*
 * Corrects the record of one step. Reasons: "no-ledger", "unknown-step", "not-next", "not-last-applied", "not-applied", "no-drift",
 * "not-reached".
 *   {repair, step_id, former_version: string|null, version: string|null, drift? (its kind), checksum?, duration_ms? (of a rerun)}
 */
SMIG_API bool smig_engine_repair(smig_engine_t *engine, smig_repair_t repair, const char *step_id, bson_t *report,
                                 smig_error_t *error);

/* A step that another tool's record says was applied. */
typedef struct smig_import {
  const char *step_id;
  int64_t applied_at_wall_ms; /* since 1970, UTC */
} smig_import_t;

/*
 * Begins a ledger with the steps that another tool has applied, in any order: they must be the chain's first ones. `source` says in
 * the history where that was read. With `dry_run` nothing is written and no lock taken. Reasons: "nothing-to-import",
 * "unknown-step", "named-twice", "not-a-prefix", "already-versioned". LEDGER_ELSEWHERE.
 *   {dry_run: bool, version, imported: [{step_id, from_version, to_version, applied_at}], pending: int}
 */
SMIG_API bool smig_engine_import(smig_engine_t *engine, const smig_import_t *applied, size_t count, const char *source,
                                 bool dry_run, bson_t *report, smig_error_t *error);

/*
 * Frees the lock of a dead or expired holder. A live one's (else LOCK_TIMEOUT) only with `force_holder`, the whole holder string
 * ("wrong-holder"): its commands are ended until its time has run out, so that it can send nothing more. The fence has risen
 * when it returns. Reasons: "no-ledger".
 *   {unlocked: bool (false: nobody held it), holder: string|null, forced: bool, fence: int}
 */
SMIG_API bool smig_engine_unlock(smig_engine_t *engine, const char *force_holder, bson_t *report, smig_error_t *error);

/*
 * The checkpoints of a step, NULL: of every step. Read rights only.
 *   {checkpoints: [{step_id, key, size: int (bytes), value? (with `values`)}]}
 */
SMIG_API bool smig_engine_checkpoints(smig_engine_t *engine, const char *step_id, bool values, bson_t *report,
                                      smig_error_t *error);
/* Removes them. Reasons: "no-ledger", "unknown-step" (it has none). {cleared: [{step_id, keys: int}]} */
SMIG_API bool smig_engine_clear_checkpoints(smig_engine_t *engine, const char *step_id, bson_t *report,
                                            smig_error_t *error);

/*
 * What ran, newest first. Read rights only. An entry whose run neither ended nor holds the lock is "interrupted".
 *   {runs: [{run, kind: "run"|"baseline"|"repair"|"unlock"|"import", status: "running"|"succeeded"|"failed"|"interrupted",
 *            started_at, finished_at?, duration_ms?, from_version, to_version?, target_version?, host, os_user, db_user, engine,
 *            command? (of an operator), steps: [{id, from_version, to_version, status, started_at, finished_at,
 *            duration_ms, operations, documents: {inserted, matched, modified, deleted}, error?}],
 *            error?: {code, operation?, namespace?, index?}}]}
 */
SMIG_API bool smig_engine_history(smig_engine_t *engine, bson_t *report, smig_error_t *error);
/* Removes what began more than `older_than_ms` ago. {removed: int, before: date} */
SMIG_API bool smig_engine_prune_history(smig_engine_t *engine, int64_t older_than_ms, bson_t *report,
                                        smig_error_t *error);

/*
 * What is known of the stores without asking them; only credentials for S3 are looked for, where they are kept. For `doctor`. Reads
 * no ledger, takes no lock.
 *   {mongo: {place, database, hosts: [string], tls: bool, unchecked: [string] (options that switch off checks of certificates)}|null,
 *    s3: {place, bucket, region, tls: bool, best_effort: bool,
 *         looks: [string] (keys that are read before a bootstrap, beside the ledger's),
 *         credentials: {origin, access_key_id}|{error: {code, message}}}|null,
 *    ledger: {backend: "mongo"|"s3", id, lock_ttl_ms: int, and in S3 scratch, history (what the keys of a probe's and of history's
 *             objects begin with)}}
 */
SMIG_API bool smig_engine_stores(smig_engine_t *engine, bson_t *report, smig_error_t *error);
/*
 * Asks the store of a ledger in S3 whether it keeps the promise of conditional writes, as a run does before its first lock, whatever the
 * ledger says of it. Scratch objects are made and removed again. LEDGER_BACKEND_MISMATCH without a ledger in S3.
 *   {verdict: "exclusive"|"refuses"|"ignores"|"races", seen: string|null (what breaks the promise)}
 */
SMIG_API bool smig_engine_probe(smig_engine_t *engine, bson_t *report, smig_error_t *error);

/*
 * Asks the call under way to stop, else the next one: a run comes to a safe point within stop_timeout_ms, what only looks
 * (plan, status, validate) ends at once; INTERRUPTED. `reason` is a signal's number, or 0. Any thread, and signal handlers.
 */
SMIG_API void smig_engine_cancel(smig_engine_t *engine, int reason);

/* --------------------------------------------------------------------- ctx */

struct smig_s3;
struct _mongoc_client_t;
struct _mongoc_client_session_t;

/* The run's client and the database's name; NULL without MongoDB. Owned by the engine. */
SMIG_API struct _mongoc_client_t *smig_ctx_mongo_client(const smig_ctx_t *ctx);
SMIG_API const char *smig_ctx_mongo_database(const smig_ctx_t *ctx);
/*
 * The step's session; NULL without MongoDB. Every command of a step must carry it and the comment, so that what
 * a dead run left behind is found and ended: append both to a command's options with smig_ctx_append_opts.
 */
SMIG_API struct _mongoc_client_session_t *smig_ctx_session(const smig_ctx_t *ctx);
SMIG_API const char *smig_ctx_comment(const smig_ctx_t *ctx);
SMIG_API bool smig_ctx_append_opts(const smig_ctx_t *ctx, bson_t *opts, smig_error_t *error);
/* The run's S3 client (see s3/s3.h, for bindings) and the configured bucket; NULL without S3. Owned by the engine. */
SMIG_API struct smig_s3 *smig_ctx_s3(const smig_ctx_t *ctx);
SMIG_API const char *smig_ctx_s3_bucket(const smig_ctx_t *ctx);
/* The step as it runs: id, from, to, description. Valid until the handler returns. */
SMIG_API const smig_step_t *smig_ctx_step(const smig_ctx_t *ctx);
SMIG_API const char *smig_ctx_run_id(const smig_ctx_t *ctx);
/* Whether the data's version lay inside the step's range when the step began. */
SMIG_API bool smig_ctx_skip_forward(const smig_ctx_t *ctx);
/* The lease: the holder's string, the number that only rises from holder to holder, and what is left of it. */
SMIG_API const char *smig_ctx_holder(const smig_ctx_t *ctx);
SMIG_API int64_t smig_ctx_fence(const smig_ctx_t *ctx);
SMIG_API int64_t smig_ctx_remaining_ms(const smig_ctx_t *ctx);
/* Fails with LOCK_LOST or INTERRUPTED when the run must end. For long work without calls of ctx. */
SMIG_API bool smig_ctx_check(smig_ctx_t *ctx, smig_error_t *error);
SMIG_API void smig_ctx_log(smig_ctx_t *ctx, smig_log_level_t level, const char *message, const bson_t *fields);
/* How far the step is; total below 0: unknown. Logged at most once a second, at level info. */
SMIG_API bool smig_ctx_progress(smig_ctx_t *ctx, int64_t done, int64_t total, smig_error_t *error);
/* Adds to what the history says of the step; for handlers that talk to a server by smig_ctx_mongo_client. */
typedef struct smig_counts {
  int64_t operations;                           /* commands and requests sent */
  int64_t inserted, matched, modified, deleted; /* documents, as the server counted them */
} smig_counts_t;
SMIG_API void smig_ctx_count(smig_ctx_t *ctx, const smig_counts_t *counts);
/*
 * Checkpoints of a resumable step (else CHECKPOINT_NOT_RESUMABLE). A value is the one field `v` of a document.
 * Read initialises *value always and sets *found. A write is durable when it returns.
 */
SMIG_API bool smig_ctx_checkpoint_read(smig_ctx_t *ctx, const char *key, bson_t *value, bool *found,
                                       smig_error_t *error);
SMIG_API bool smig_ctx_checkpoint_write(smig_ctx_t *ctx, const char *key, const bson_t *value, smig_error_t *error);
SMIG_API bool smig_ctx_checkpoint_clear(smig_ctx_t *ctx, smig_error_t *error);

#ifdef __cplusplus
}
#endif
#endif
