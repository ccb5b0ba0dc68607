/* What a step's handler sees of its run: smig_ctx_* of the public header, and the connection for the bindings. */
#include "context.h"
#include "clock.h"

struct _mongoc_client_t *smig_ctx_mongo_client(const smig_ctx_t *ctx) {
  smig_mongo_connection_t *connection = ctx->run->engine->connection;
  return connection ? smig_mongo_connection_client(connection) : NULL;
}

smig_mongo_connection_t *smig_ctx_mongo_connection(const smig_ctx_t *ctx) {
  return ctx->run->engine->connection;
}

const char *smig_ctx_mongo_database(const smig_ctx_t *ctx) {
  return ctx->run->engine->settings.database;
}

struct smig_s3 *smig_ctx_s3(const smig_ctx_t *ctx) {
  return ctx->run->engine->s3;
}

const char *smig_ctx_s3_bucket(const smig_ctx_t *ctx) {
  return ctx->run->engine->settings.bucket;
}

struct _mongoc_client_session_t *smig_ctx_session(const smig_ctx_t *ctx) {
  return ctx->session;
}

const char *smig_ctx_comment(const smig_ctx_t *ctx) {
  return ctx->comment;
}

bool smig_ctx_append_opts(const smig_ctx_t *ctx, bson_t *opts, smig_error_t *error) {
  if (!ctx->session) {
    smig_error_set(error, SMIG_NO_DB_CONFIGURED, "the run has no MongoDB: give mongo.uri");
    return false;
  }
  bson_error_t cause;
  smig_mongo_connection_await(ctx->run->engine->connection, false, NULL);
  if (!mongoc_client_session_append(ctx->session, opts, &cause)) {
    smig_mongo_error(ctx->run->engine->connection, error, "append the session to", ctx->step.id, NULL, &cause);
    return false;
  }
  BSON_APPEND_UTF8(opts, "comment", ctx->comment);
  return true;
}

const smig_step_t *smig_ctx_step(const smig_ctx_t *ctx) {
  return &ctx->step;
}

const char *smig_ctx_run_id(const smig_ctx_t *ctx) {
  return ctx->run->lease.run_id;
}

bool smig_ctx_skip_forward(const smig_ctx_t *ctx) {
  return ctx->skip_forward;
}

const char *smig_ctx_holder(const smig_ctx_t *ctx) {
  return ctx->run->lease.holder;
}

int64_t smig_ctx_fence(const smig_ctx_t *ctx) {
  return ctx->run->lease.fence;
}

int64_t smig_ctx_remaining_ms(const smig_ctx_t *ctx) {
  int64_t left = atomic_load(&ctx->run->engine->guard.deadline_boot_ms) - smig_clock_boot_ms();
  return left > 0 ? left : 0;
}

bool smig_ctx_check(smig_ctx_t *ctx, smig_error_t *error) {
  if (smig_guard_check(&ctx->run->engine->guard, true, error)) return true;
  ctx->refused = true;
  return false;
}

void smig_ctx_log(smig_ctx_t *ctx, smig_log_level_t level, const char *message, const bson_t *fields) {
  if (!ctx->run->engine->settings.log) return;
  bson_t all = BSON_INITIALIZER;
  BSON_APPEND_UTF8(&all, "run_id", ctx->run->lease.run_id);
  BSON_APPEND_UTF8(&all, "step", ctx->step.id);
  if (fields) bson_concat(&all, fields);
  smig_engine_log(ctx->run->engine, level, &all, "%s", message);
  bson_destroy(&all);
}

bool smig_ctx_progress(smig_ctx_t *ctx, int64_t done, int64_t total, smig_error_t *error) {
  enum { EVERY_MS = 1000 };
  if (!smig_ctx_check(ctx, error)) return false;
  int64_t now = smig_clock_mono_ms();
  bool finished = total >= 0 && done >= total;
  if (now - ctx->progress_said_mono_ms < EVERY_MS && !finished) return true;
  ctx->progress_said_mono_ms = now;
  bson_t fields = BSON_INITIALIZER;
  BSON_APPEND_INT64(&fields, "done", done);
  if (total >= 0) BSON_APPEND_INT64(&fields, "total", total);
  smig_ctx_log(ctx, SMIG_LOG_INFO, "progress", &fields);
  bson_destroy(&fields);
  smig_run_heartbeat_warnings(ctx->run);
  return true;
}

void smig_ctx_count(smig_ctx_t *ctx, const smig_counts_t *counts) {
  ctx->counts.operations += counts->operations;
  ctx->counts.inserted += counts->inserted;
  ctx->counts.matched += counts->matched;
  ctx->counts.modified += counts->modified;
  ctx->counts.deleted += counts->deleted;
}

static void append_step_id(const smig_ctx_t *ctx, smig_error_t *error) {
  bson_t *details = smig_error_details(error);
  if (details) BSON_APPEND_UTF8(details, "step_id", ctx->step.id);
}

static bool may_use_checkpoints(smig_ctx_t *ctx, const char *key, smig_error_t *error) {
  if (!ctx->step.resumable) {
    smig_error_set(error, SMIG_CHECKPOINT_NOT_RESUMABLE,
                   "step '%s' is not resumable, so it has no checkpoints: declare it with resumable = true",
                   ctx->step.id);
    append_step_id(ctx, error);
    return false;
  }
  const char *why;
  if (key && !smig_step_id_valid(key, strlen(key), &why)) {
    smig_error_set(error, SMIG_INVALID_STEP_ID, "checkpoint key of step '%s' is not acceptable: %s", ctx->step.id, why);
    append_step_id(ctx, error);
    return false;
  }
  /* A stop does not forbid the ledger: a checkpoint is the safest point to stop at. */
  if (smig_guard_check(&ctx->run->engine->guard, false, error)) return true;
  ctx->refused = true;
  return false;
}

bool smig_ctx_checkpoint_read(smig_ctx_t *ctx, const char *key, bson_t *value, bool *found, smig_error_t *error) {
  bson_init(value);
  *found = false;
  if (!may_use_checkpoints(ctx, key, error)) return false;
  bson_destroy(value);
  smig_ledger_t *ledger = ctx->run->engine->ledger;
  return ledger->ops->checkpoint_read(ledger, &ctx->run->lease, ctx->step.id, key, value, found, error);
}

bool smig_ctx_checkpoint_write(smig_ctx_t *ctx, const char *key, const bson_t *value, smig_error_t *error) {
  smig_ledger_t *ledger = ctx->run->engine->ledger;
  return may_use_checkpoints(ctx, key, error) &&
         ledger->ops->checkpoint_write(ledger, &ctx->run->lease, ctx->step.id, key, value, error) &&
         smig_ctx_check(ctx, error);
}

bool smig_ctx_checkpoint_clear(smig_ctx_t *ctx, smig_error_t *error) {
  smig_ledger_t *ledger = ctx->run->engine->ledger;
  return may_use_checkpoints(ctx, NULL, error) &&
         ledger->ops->checkpoint_clear(ledger, &ctx->run->lease, ctx->step.id, error);
}
