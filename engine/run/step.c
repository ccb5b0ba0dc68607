/* Runs one step's handler with its ctx and judges how it ended. Users: run.c. Main thread. */
#include "clock.h"
#include "context.h"

/* The session that every command of the step carries; without causal consistency, whose reads would wait for it. */
mongoc_client_session_t *smig_run_start_session(smig_run_t *run, const char *step_id, smig_error_t *error) {
  smig_mongo_connection_t *connection = run->engine->connection;
  mongoc_session_opt_t *options = mongoc_session_opts_new();
  mongoc_session_opts_set_causal_consistency(options, false);
  bson_error_t cause;
  smig_mongo_connection_await(connection, false, NULL);
  mongoc_client_session_t *session =
      mongoc_client_start_session(smig_mongo_connection_client(connection), options, &cause);
  mongoc_session_opts_destroy(options);
  if (!session) smig_mongo_error(connection, error, "start a session for step", step_id, NULL, &cause);
  return session;
}

static bool call_handler(smig_ctx_t *ctx, const smig_planned_step_t *planned, smig_error_t *error) {
  /* A stop that came since the last write: the step is not begun. */
  if (!smig_ctx_check(ctx, error)) return false;
  if (!planned->step) return true; /* the bridge has nothing to do */
  smig_run_t *run = ctx->run;
  if (run->transaction) {
    ctx->session = run->transaction; /* it outlives the handler: the stamp joins it */
    return planned->step->up(ctx, planned->step->user, error);
  }
  if (run->engine->connection) {
    ctx->session = smig_run_start_session(run, planned->id, error);
    if (!ctx->session) return false;
  }
  bool done = planned->step->up(ctx, planned->step->user, error);
  if (ctx->session) mongoc_client_session_destroy(ctx->session);
  return done;
}

bool smig_run_says(const smig_error_t *error, const char *field) {
  bson_iter_t iter;
  return error->details && bson_iter_init_find(&iter, error->details, field) && bson_iter_as_bool(&iter);
}

static smig_status_t judge(smig_ctx_t *ctx, bool done, smig_outcome_t *outcome) {
  const smig_guard_t *guard = &ctx->run->engine->guard;
  smig_error_t reason = SMIG_ERROR_INIT;
  if (!smig_guard_check(guard, false, &reason)) {
    smig_status_t status = reason.code == SMIG_LOCK_LOST ? SMIG_STATUS_RUNNING : SMIG_STATUS_INTERRUPTED;
    smig_error_move(&outcome->error, &reason);
    outcome->outcome_unknown = true;
    return status;
  }
  /* A handler that was refused a call cannot have done its work, whatever it caught and returned. */
  if (ctx->refused && !smig_guard_check(guard, true, &reason)) {
    smig_error_move(&outcome->error, &reason);
    return SMIG_STATUS_INTERRUPTED;
  }
  if (done) {
    smig_error_release(&outcome->error); /* one that the handler got over */
    return SMIG_STATUS_APPLIED;
  }
  if (outcome->error.code == SMIG_INTERRUPTED) return SMIG_STATUS_INTERRUPTED;
  if (outcome->error.code == SMIG_OK)
    smig_error_set_foreign(&outcome->error, smig_code_name(SMIG_FOREIGN), "it gave no reason");
  /* A command may have reached the server without an answer. */
  outcome->outcome_unknown = smig_run_says(&outcome->error, "outcome_unknown");
  return SMIG_STATUS_FAILED;
}

void smig_run_step(smig_run_t *run, const smig_planned_step_t *planned, smig_outcome_t *outcome) {
  smig_engine_t *engine = run->engine;
  smig_ctx_t ctx = {.run = run, .skip_forward = planned->skip_forward};
  if (planned->step) ctx.step = *planned->step;
  ctx.step.id = planned->id;
  ctx.step.from = planned->from;
  ctx.step.to = planned->to;
  ctx.comment = bson_strdup_printf("%s%s:%s", engine->ledger->comment_prefix, run->lease.run_id, planned->id);

  int64_t started = smig_clock_mono_ms();
  atomic_store(&engine->guard.step_running, true);
  bool done = call_handler(&ctx, planned, &outcome->error);
  atomic_store(&engine->guard.step_running, false);
  outcome->counts = ctx.counts;
  outcome->duration_ms = smig_clock_mono_ms() - started;
  smig_clock_iso(smig_clock_wall_ms(), outcome->finished_at);

  /* INTERRUPTED refuses only while a step runs, so it is asked for as if one still did. */
  atomic_store(&engine->guard.step_running, true);
  outcome->status = judge(&ctx, done, outcome);
  atomic_store(&engine->guard.step_running, false);
  bson_free(ctx.comment);
}
