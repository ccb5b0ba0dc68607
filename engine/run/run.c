/*
 * Plan and run (contract, sections 4 and 5). The writes of a run: the lock; the bootstrap with the first `running` entry; one
 * per step, which carries the next step's `running` entry, or the release.
 */
#include "run.h"
#include "clock.h"
#include "history.h"
#include "semver.h"

bool smig_engine_plan(smig_engine_t *engine, smig_result_t **result, smig_error_t *error) {
  *result = NULL;
  int64_t started = smig_clock_mono_ms();
  smig_survey_t survey;
  smig_survey_init(&survey);
  smig_engine_begin_call(engine);
  bool good = smig_survey_load(engine, &survey, error) && smig_survey_resolve(engine, &survey, error);
  if (good) {
    smig_survey_say(engine, &survey);
    *result = smig_result_from_plan(&survey.resolved, smig_engine_target(engine));
    (*result)->total_duration_ms = smig_clock_mono_ms() - started;
  }
  smig_survey_release(&survey);
  smig_engine_end_call(engine, !good, error);
  return good;
}

/* How often the step has been tried, this time included. */
static int64_t attempts_of(const smig_run_t *run, const char *id) {
  const smig_entry_t *entry = smig_ledger_state_find(&run->survey.state, id);
  return entry ? (entry->attempts > 0 ? entry->attempts : 1) + 1 : 1;
}

static smig_entry_write_t entry_of(const smig_run_t *run, const smig_planned_step_t *planned, smig_status_t status,
                                   const smig_outcome_t *outcome) {
  return (smig_entry_write_t){
      .id = planned->id,
      .from_version = planned->from,
      .to_version = planned->to,
      .status = status,
      .started_at = outcome->started_at,
      .finished_at = status == SMIG_STATUS_RUNNING ? NULL : outcome->finished_at,
      .duration_ms = status == SMIG_STATUS_RUNNING ? -1 : outcome->duration_ms,
      .attempts = attempts_of(run, planned->id),
      .checksum = planned->step ? planned->step->checksum : NULL,
  };
}

bool smig_run_commit(smig_run_t *run, smig_ledger_change_t *change, smig_error_t *error) {
  smig_ledger_t *ledger = run->engine->ledger;
  /* A beat after the release would find nobody's lock, so the heartbeat ends first. */
  if (change->release && !run->transaction) smig_run_stop_heartbeat(run);
  smig_error_t failure = SMIG_ERROR_INIT;
  bool committed = ledger->ops->commit(ledger, &run->lease, change, &failure);
  if (committed && run->transaction) {
    committed = smig_transaction_commit(run, change->finished->id, &failure);
    if (committed && change->release) smig_run_stop_heartbeat(run);
  }
  if (committed ? change->release : failure.code == SMIG_LOCK_LOST) run->locked = false;
  smig_error_move(error, &failure);
  return committed;
}

/* The first write under the lock: the bootstrap, the first step's `running` entry, the end of what was left over. */
static bool begin(smig_run_t *run, smig_outcome_t *first, smig_error_t *error) {
  const smig_resolved_t *resolved = &run->survey.resolved;
  smig_ledger_change_t change = {.clear_leftovers = run->survey.state.has_leftovers,
                                 .release = resolved->planned_count == 0};
  if (resolved->bootstrap_version_to_persist) {
    change.bootstrap_mode = smig_bootstrap_mode_name(resolved->bootstrap_mode);
    change.bootstrap_version = resolved->bootstrap_version_to_persist;
    change.current_version = resolved->bootstrap_version_to_persist;
    change.compatible_from = resolved->bootstrap_version_to_persist;
  }
  smig_entry_write_t started;
  if (resolved->planned_count > 0) {
    smig_clock_iso(smig_clock_wall_ms(), first->started_at);
    started = entry_of(run, &resolved->planned[0], SMIG_STATUS_RUNNING, first);
    change.started = &started;
  }
  if (!smig_run_commit(run, &change, error)) return false;
  if (resolved->bootstrap_version_to_persist) {
    bson_free(run->result->current_version_after);
    run->result->current_version_after = bson_strdup(resolved->bootstrap_version_to_persist);
  }
  return true;
}

/* compatibleFrom only rises: the greater of what it was and what the step says. */
static const char *raised(const char *former, const char *of_step) {
  return former && smig_semver_compare(former, of_step) >= 0 ? former : of_step;
}

static void note_applied(smig_run_t *run, const smig_planned_step_t *planned, const smig_outcome_t *outcome) {
  smig_result_t *result = run->result;
  smig_step_result_t *applied =
      smig_result_add(&result->steps_applied, &result->steps_applied_count, planned->id, planned->from, planned->to);
  applied->status = SMIG_STATUS_APPLIED;
  applied->skip_forward = planned->skip_forward;
  applied->started_at = bson_strdup(outcome->started_at);
  applied->finished_at = bson_strdup(outcome->finished_at);
  applied->duration_ms = outcome->duration_ms;
  if (!run->rerun) {
    bson_free(result->current_version_after);
    result->current_version_after = bson_strdup(planned->to);
  }
  smig_history_step(run, planned, outcome);
  bson_t fields = BSON_INITIALIZER;
  BSON_APPEND_UTF8(&fields, "step", planned->id);
  BSON_APPEND_UTF8(&fields, "to_version", planned->to);
  BSON_APPEND_INT64(&fields, "duration_ms", outcome->duration_ms);
  smig_engine_log(run->engine, SMIG_LOG_INFO, &fields, "applied step '%s' (%s -> %s) in %" PRId64 " ms", planned->id,
                  planned->from, planned->to, outcome->duration_ms);
  bson_destroy(&fields);
}

static bool stamp(smig_run_t *run, size_t index, const smig_outcome_t *outcome, smig_outcome_t *next,
                  const char **compatible_from, smig_error_t *error) {
  const smig_resolved_t *resolved = &run->survey.resolved;
  const smig_planned_step_t *planned = &resolved->planned[index];
  const char *step_compatible =
      planned->step && planned->step->compatible_from ? planned->step->compatible_from : planned->to;
  *compatible_from = raised(*compatible_from, step_compatible);
  smig_entry_write_t finished = entry_of(run, planned, SMIG_STATUS_APPLIED, outcome), started;
  smig_ledger_change_t change = {
      .finished = &finished,
      .current_version = run->rerun ? NULL : planned->to,
      .compatible_from = run->rerun ? NULL : *compatible_from,
      .clear_checkpoints_of = planned->step && planned->step->resumable ? planned->id : NULL,
  };
  bool last = index + 1 == resolved->planned_count;
  if (last || smig_guard_asked_to_stop(&run->engine->guard)) {
    change.release = true;
  } else {
    smig_clock_iso(smig_clock_wall_ms(), next->started_at);
    started = entry_of(run, &resolved->planned[index + 1], SMIG_STATUS_RUNNING, next);
    change.started = &started;
  }
  smig_error_t failure = SMIG_ERROR_INIT;
  bool committed = smig_run_commit(run, &change, &failure);
  /* The stamp may be in the ledger although the lock was lost after it. */
  if (committed || smig_run_says(&failure, "landed")) note_applied(run, planned, outcome);
  smig_error_move(error, &failure);
  return committed;
}

/* Writes the failed or interrupted entry, in one write with the release; a failure to do so is only a warning. */
static void record_failure(smig_run_t *run, const smig_planned_step_t *planned, const smig_outcome_t *outcome) {
  bool unclear = outcome->outcome_unknown || outcome->status == SMIG_STATUS_INTERRUPTED;
  bool left = run->engine->connection && unclear && !smig_run_end_own_commands(run);
  if (left) {
    smig_engine_log(run->engine, SMIG_LOG_WARN, NULL,
                    "a command of step '%s' may still run on the server: the lock is not released, it ends by itself "
                    "in %" PRId64 " ms",
                    planned->id, run->lease.ttl_ms);
  }
  bson_t recorded = BSON_INITIALIZER;
  smig_history_append_error(&recorded, &outcome->error);
  smig_entry_write_t finished = entry_of(run, planned, outcome->status, outcome);
  finished.error = &recorded;
  /* The entry of a step that ran once more stays as it was. */
  smig_ledger_change_t change = {.finished = run->rerun ? NULL : &finished, .release = !left};
  smig_error_t failure = SMIG_ERROR_INIT;
  if (!smig_run_commit(run, &change, &failure)) {
    smig_engine_log(run->engine, SMIG_LOG_WARN, NULL, "the failure of step '%s' could not be recorded: %s", planned->id,
                    failure.message);
    smig_error_release(&failure);
  }
  if (left) {
    smig_run_stop_heartbeat(run);
    run->locked = false; /* not ours to release: its time runs out */
  }
  bson_destroy(&recorded);
}

/* A stop between two steps: everything done is stamped, the lock is released. */
static void stopped_between(const smig_run_t *run, smig_error_t *error) {
  if (!smig_guard_check(&run->engine->guard, true, error)) return;
  smig_error_set(error, SMIG_INTERRUPTED, "the run was asked to stop");
}

static void fail(smig_run_t *run, size_t index, smig_outcome_t *outcome, smig_error_t *error) {
  const smig_planned_step_t *planned = &run->survey.resolved.planned[index];
  smig_history_step(run, planned, outcome);
  switch (outcome->status) {
  case SMIG_STATUS_RUNNING: /* the lock is lost: nothing of ours may be written any more */
    run->locked = false;
    smig_error_move(error, &outcome->error);
    break;
  case SMIG_STATUS_INTERRUPTED:
    record_failure(run, planned, outcome);
    smig_error_move(error, &outcome->error);
    break;
  default:
    record_failure(run, planned, outcome);
    smig_run_set_step_failed(planned, outcome, error);
    return;
  }
  bson_t *details = smig_error_details(error);
  if (details && !bson_has_field(details, "step_id")) smig_run_append_step(details, planned);
}

/* Runs a step and stamps it; one in a transaction as often as the server says that it may succeed. */
static bool run_and_stamp(smig_run_t *run, size_t index, smig_outcome_t *outcome, smig_outcome_t *next,
                          const char **compatible_from, smig_error_t *error) {
  const smig_planned_step_t *planned = &run->survey.resolved.planned[index];
  bool transactional = planned->step && planned->step->transaction;
  smig_transaction_tries_t tries = {0};
  for (;;) {
    smig_error_t failure = SMIG_ERROR_INIT;
    if (!transactional || smig_transaction_begin(run, planned->id, &tries, &outcome->error)) {
      smig_run_step(run, planned, outcome);
    } else {
      smig_clock_iso(smig_clock_wall_ms(), outcome->finished_at);
      outcome->status = outcome->error.code == SMIG_LOCK_LOST ? SMIG_STATUS_RUNNING : SMIG_STATUS_FAILED;
    }
    smig_run_heartbeat_warnings(run);
    if (outcome->status == SMIG_STATUS_APPLIED) {
      if (stamp(run, index, outcome, next, compatible_from, &failure)) return true;
      if (!transactional || failure.code == SMIG_LOCK_LOST) {
        smig_transaction_abort(run);
        smig_error_move(error, &failure);
        return false;
      }
      /* What did not commit has not happened: the step failed. */
      outcome->status = SMIG_STATUS_FAILED;
      smig_error_move(&outcome->error, &failure);
    }
    smig_transaction_abort(run);
    if (transactional && outcome->status == SMIG_STATUS_FAILED &&
        smig_transaction_again(run, planned->id, &tries, &outcome->error)) {
      smig_error_release(&outcome->error);
      continue;
    }
    fail(run, index, outcome, error);
    smig_error_release(&outcome->error);
    return false;
  }
}

bool smig_run_steps(smig_run_t *run, smig_outcome_t *first, smig_error_t *error) {
  const smig_resolved_t *resolved = &run->survey.resolved;
  /* A ledger that does not say was written for programs of the version it has. */
  const char *compatible_from = run->survey.state.compatible_from;
  if (!compatible_from) compatible_from = resolved->effective_current_version;
  smig_outcome_t outcome = *first;
  for (size_t i = 0; i < resolved->planned_count; i++) {
    run->begun = i + 1;
    smig_outcome_t next = {0};
    if (!run_and_stamp(run, i, &outcome, &next, &compatible_from, error)) {
      run->ended = outcome; /* its error has been moved or released */
      return false;
    }
    if (!run->locked && i + 1 < resolved->planned_count) {
      stopped_between(run, error);
      return false;
    }
    outcome = next;
  }
  return true;
}

void smig_run_release(smig_run_t *run) {
  smig_run_stop_heartbeat(run);
  if (!run->locked) return;
  smig_ledger_change_t change = {.release = true};
  smig_error_t failure = SMIG_ERROR_INIT;
  if (!smig_run_commit(run, &change, &failure)) {
    smig_engine_log(run->engine, SMIG_LOG_WARN, NULL, "the lock could not be released, it ends by itself: %s",
                    failure.message);
    smig_error_release(&failure);
  }
  run->locked = false;
}

/* The result begins with the version that the last survey found: a wait for the lock may have seen it change. */
static void begin_result(smig_run_t *run) {
  smig_result_free(run->result);
  run->result = smig_result_new(run->survey.resolved.current_version_before, smig_engine_target(run->engine));
}

/* Everything under the lock. */
static bool migrate(smig_run_t *run, smig_error_t *error) {
  smig_engine_t *engine = run->engine;
  /* Another run may have finished meanwhile: what counts is the ledger that was locked. */
  if (!smig_survey_resolve(engine, &run->survey, error)) return false;
  smig_survey_say(engine, &run->survey);
  const smig_resolved_t *resolved = &run->survey.resolved;
  begin_result(run);
  if (smig_survey_nothing_to_do(&run->survey)) return true;
  run->result->was_fresh_install = resolved->was_fresh_install;
  run->result->bootstrap_mode = resolved->bootstrap_mode;
  smig_history_begin(run, "run", NULL);
  smig_outcome_t first = {0};
  return smig_run_end_leftovers(run, error) && smig_guard_check(&engine->guard, true, error) &&
         begin(run, &first, error) && smig_run_steps(run, &first, error);
}

/* What the URI asks of reads and writes and does not get: said once. */
static void say_overridden(smig_engine_t *engine) {
  const char *overridden = engine->connection ? smig_mongo_connection_overridden(engine->connection) : NULL;
  if (!overridden || engine->said_overridden) return;
  engine->said_overridden = true;
  smig_engine_log(
      engine, SMIG_LOG_INFO, NULL,
      "the mongo uri's %s is not used: ledger and steps read from the primary with read concern majority and "
      "write with w: majority, j: true; a step lowers that for its own handles",
      overridden);
}

bool smig_engine_run(smig_engine_t *engine, smig_result_t **result, smig_error_t *error) {
  *result = NULL;
  smig_run_t run = {.engine = engine, .started_mono_ms = smig_clock_mono_ms()};
  smig_survey_init(&run.survey);
  smig_engine_begin_call(engine);
  say_overridden(engine);
  bool good = smig_survey_load(engine, &run.survey, error) && smig_survey_resolve(engine, &run.survey, error);
  if (good) {
    begin_result(&run);
    if (!smig_survey_nothing_to_do(&run.survey)) {
      good = smig_run_lock(&run, error) && (!run.locked || migrate(&run, error));
      if (!run.held) begin_result(&run);
    }
    if (good && !run.held) smig_survey_say(engine, &run.survey);
  }
  smig_run_release(&run);
  smig_history_finish(&run, good, run.result ? run.result->current_version_after : NULL, error);
  if (good) {
    run.result->total_duration_ms = smig_clock_mono_ms() - run.started_mono_ms;
    *result = run.result;
  } else {
    bool promised = run.held || (error && error->code == SMIG_INTERRUPTED);
    if (run.result && promised) smig_run_append_result(&run, error);
    smig_result_free(run.result);
  }
  smig_survey_release(&run.survey);
  smig_engine_end_call(engine, true, error); /* also one that came after the last step: it was for this run */
  return good;
}
