/*
 * Looking without acting: status and validate (contract, section 4; the command line's page for the shape of a report). Needs
 * read rights only. Users: smartmigration.h.
 */
#include "clock.h"
#include "semver.h"
#include "survey.h"

static void append_string(bson_t *to, const char *key, const char *value) {
  if (value) BSON_APPEND_UTF8(to, key, value);
}

static void append_string_or_null(bson_t *to, const char *key, const char *value) {
  if (value && *value) {
    BSON_APPEND_UTF8(to, key, value);
  } else {
    BSON_APPEND_NULL(to, key);
  }
}

static void append_lock(bson_t *report, const smig_ledger_state_t *state) {
  if (!state->lock.holder) {
    BSON_APPEND_NULL(report, "lock");
    return;
  }
  bson_t lock;
  BSON_APPEND_DOCUMENT_BEGIN(report, "lock", &lock);
  BSON_APPEND_UTF8(&lock, "holder", state->lock.holder);
  append_string_or_null(&lock, "acquired_at", state->lock.acquired_at);
  append_string_or_null(&lock, "expires_at", state->lock.expires_at);
  BSON_APPEND_BOOL(&lock, "stale", smig_survey_lock_is_stale(state));
  bson_append_document_end(report, &lock);
}

/* The version up to which no step was recorded and none will run: a fresh install's or a baseline's. NULL: there is none. */
static const char *skipped_up_to(const smig_survey_t *survey) {
  const smig_ledger_state_t *state = &survey->state;
  if (!state->current_version) return survey->resolved.effective_current_version;
  const char *began = smig_plan_recording_began(state);
  return began ? began : state->current_version;
}

/* A `running` entry whose run no longer holds the lock was interrupted. */
static const char *status_of(const smig_step_t *step, const smig_entry_t *entry, const smig_survey_t *survey) {
  const smig_ledger_state_t *state = &survey->state;
  if (!entry) {
    const char *up_to = skipped_up_to(survey);
    bool skipped = up_to && smig_semver_compare(step->to, up_to) <= 0;
    return smig_status_name(skipped ? SMIG_STATUS_SKIPPED : SMIG_STATUS_PENDING);
  }
  if (!entry->status) return smig_status_name(SMIG_STATUS_APPLIED);
  if (strcmp(entry->status, smig_status_name(SMIG_STATUS_RUNNING)) != 0) return entry->status;
  char holder_run[SMIG_RUN_ID_SIZE] = "";
  if (state->lock.holder) smig_holder_run_id(state->lock.holder, holder_run);
  bool held =
      state->lock.holder && !smig_survey_lock_is_stale(state) && entry->run && strcmp(entry->run, holder_run) == 0;
  return smig_status_name(held ? SMIG_STATUS_RUNNING : SMIG_STATUS_INTERRUPTED);
}

static void append_step(bson_t *list, uint32_t index, const smig_step_t *step, const smig_entry_t *entry,
                        const smig_survey_t *survey) {
  const smig_ledger_state_t *state = &survey->state;
  char buffer[16];
  const char *key;
  bson_uint32_to_string(index, &key, buffer, sizeof buffer);
  const char *id = step ? step->id : entry->id;
  bson_t item;
  bson_append_document_begin(list, key, -1, &item);
  BSON_APPEND_UTF8(&item, "id", id);
  append_string_or_null(&item, "from_version", step ? step->from : entry->from_version);
  append_string_or_null(&item, "to_version", step ? step->to : entry->to_version);
  BSON_APPEND_UTF8(&item, "status", status_of(step, entry, survey));
  const smig_entry_t *drifted;
  BSON_APPEND_BOOL(&item, "drift", step && smig_plan_drifted(step, state, &drifted));
  BSON_APPEND_BOOL(&item, "in_chain", step != NULL);
  if (step) append_string(&item, "description", step->description);
  if (entry) {
    append_string(&item, "started_at", entry->started_at);
    append_string(&item, "finished_at", entry->finished_at);
    if (entry->duration_ms >= 0) BSON_APPEND_INT64(&item, "duration_ms", entry->duration_ms);
    if (entry->attempts > 0) BSON_APPEND_INT64(&item, "attempts", entry->attempts);
    append_string(&item, "host", entry->host);
    if (!bson_empty(&entry->error)) BSON_APPEND_DOCUMENT(&item, "error", &entry->error);
  }
  size_t checkpoints = smig_ledger_state_checkpoints(state, id);
  if (checkpoints > 0) BSON_APPEND_INT64(&item, "checkpoints", (int64_t)checkpoints);
  bson_append_document_end(list, &item);
}

/* The chain's steps in their order, then what the ledger recorded beside them. */
static void append_steps(const smig_engine_t *engine, const smig_survey_t *survey, bson_t *report) {
  const smig_ledger_state_t *state = &survey->state;
  bson_t list;
  uint32_t index = 0;
  BSON_APPEND_ARRAY_BEGIN(report, "steps", &list);
  for (size_t i = 0; i < engine->chain.count; i++) {
    const smig_step_t *step = &engine->chain.steps[i];
    append_step(&list, index++, step, smig_ledger_state_find(state, step->id), survey);
  }
  for (size_t i = 0; i < state->entry_count; i++) {
    const smig_entry_t *entry = &state->entries[i];
    if (!smig_chain_find(&engine->chain, entry->id)) append_step(&list, index++, NULL, entry, survey);
  }
  bson_append_array_end(report, &list);
}

static void append_verdict(bson_t *report, const smig_survey_t *survey, bool resolved, const smig_error_t *problem) {
  const char *check = "up-to-date";
  if (!resolved) {
    check = problem->code == SMIG_DOWNGRADE_NOT_SUPPORTED ? "too-new" : "problem";
  } else if (!smig_survey_nothing_to_do(survey)) {
    check = "pending";
  }
  BSON_APPEND_INT64(report, "pending", resolved ? (int64_t)survey->resolved.planned_count : 0);
  BSON_APPEND_UTF8(report, "check", check);
  if (resolved) {
    BSON_APPEND_NULL(report, "problem");
    return;
  }
  bson_t child;
  BSON_APPEND_DOCUMENT_BEGIN(report, "problem", &child);
  BSON_APPEND_UTF8(&child, "code", problem->name);
  BSON_APPEND_UTF8(&child, "message", problem->message);
  bson_append_document_end(report, &child);
}

bool smig_engine_status(smig_engine_t *engine, bson_t *report, smig_error_t *error) {
  bson_init(report);
  smig_survey_t survey;
  smig_survey_init(&survey);
  smig_error_t problem = SMIG_ERROR_INIT;
  smig_engine_begin_call(engine);
  bool good = smig_survey_load(engine, &survey, error);
  bool resolved = good && smig_survey_resolve(engine, &survey, &problem);
  if (good && problem.code == SMIG_INTERRUPTED) {
    smig_error_move(error, &problem);
    good = false;
  }
  if (good) {
    append_string_or_null(report, "current_version", survey.state.current_version);
    BSON_APPEND_UTF8(report, "target_version", smig_engine_target(engine));
    append_verdict(report, &survey, resolved, &problem);
    append_lock(report, &survey.state);
    BSON_APPEND_UTF8(report, "ledger", engine->ledger->place);
    append_steps(engine, &survey, report);
  }
  smig_error_release(&problem);
  smig_survey_release(&survey);
  smig_engine_end_call(engine, !good, error);
  return good;
}

static void append_drift(const smig_engine_t *engine, const smig_ledger_state_t *state, bson_t *report) {
  bson_t list;
  uint32_t index = 0;
  BSON_APPEND_ARRAY_BEGIN(report, "drift", &list);
  for (size_t i = 0; i < engine->chain.count; i++) {
    const smig_step_t *step = &engine->chain.steps[i];
    const smig_entry_t *entry;
    if (!smig_plan_drifted(step, state, &entry)) continue;
    char buffer[16];
    const char *key;
    bson_uint32_to_string(index++, &key, buffer, sizeof buffer);
    bson_t item;
    bson_append_document_begin(&list, key, -1, &item);
    BSON_APPEND_UTF8(&item, "id", step->id);
    BSON_APPEND_UTF8(&item, "kind", "changed");
    append_string(&item, "file", step->file);
    BSON_APPEND_UTF8(&item, "recorded", entry->checksum);
    BSON_APPEND_UTF8(&item, "found", step->checksum);
    bson_append_document_end(&list, &item);
  }
  bson_append_array_end(report, &list);
}

bool smig_engine_validate(smig_engine_t *engine, bson_t *report, smig_error_t *error) {
  bson_init(report);
  smig_survey_t survey;
  smig_survey_init(&survey);
  smig_engine_begin_call(engine);
  bool good = smig_survey_load(engine, &survey, error) && smig_survey_resolve(engine, &survey, error);
  /* With nothing to do a disagreement is a run's warning, but it is what validate is asked for. */
  if (good && survey.mismatch.code) {
    smig_error_move(error, &survey.mismatch);
    good = false;
  }
  if (good) {
    BSON_APPEND_INT64(report, "steps", (int64_t)engine->chain.count);
    append_string_or_null(report, "current_version", survey.state.current_version);
    append_drift(engine, &survey.state, report);
  }
  smig_survey_release(&survey);
  smig_engine_end_call(engine, !good, error);
  return good;
}
