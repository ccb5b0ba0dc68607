/*
 * What the error of a run that stopped says: the step it stopped in, why, and what had been done by then (contract, section 5.7).
 * Users: run.c. Main thread.
 */
#include "clock.h"
#include "run.h"

static void begin_item(bson_t *list, uint32_t index, bson_t *item) {
  char buffer[16];
  const char *key;
  bson_uint32_to_string(index, &key, buffer, sizeof buffer);
  bson_append_document_begin(list, key, -1, item);
}

/* The step's own error: what it raised, or why it was stopped. */
static void append_step_error(bson_t *item, const smig_error_t *error) {
  static const char *const fields[] = {"code", "message"};
  bson_t own;
  bson_iter_t iter, cause;
  bool raised =
      error->code == SMIG_STEP_FAILED && error->details && bson_iter_init_find(&cause, error->details, "cause");
  BSON_APPEND_DOCUMENT_BEGIN(item, "error", &own);
  for (size_t i = 0; raised && i < sizeof fields / sizeof *fields; i++) {
    if (bson_iter_recurse(&cause, &iter) && bson_iter_find(&iter, fields[i]))
      bson_append_iter(&own, fields[i], -1, &iter);
  }
  if (!raised) {
    BSON_APPEND_UTF8(&own, "code", error->name);
    BSON_APPEND_UTF8(&own, "message", error->message);
  }
  bson_append_document_end(item, &own);
}

/*
 * The step that was begun and not recorded as applied, if any: failed, or interrupted, which is also one whose lock was lost or
 * whose stamp did not reach the ledger.
 */
static void append_failed(const smig_run_t *run, const smig_error_t *error, bson_t *to) {
  bson_t list, item;
  BSON_APPEND_ARRAY_BEGIN(to, "steps_failed", &list);
  if (run->begun > run->result->steps_applied_count) {
    const smig_planned_step_t *planned = &run->survey.resolved.planned[run->begun - 1];
    const smig_outcome_t *ended = &run->ended;
    smig_step_result_t step = {
        .id = planned->id,
        .from_version = planned->from,
        .to_version = planned->to,
        .status = ended->status == SMIG_STATUS_FAILED ? SMIG_STATUS_FAILED : SMIG_STATUS_INTERRUPTED,
        .skip_forward = planned->skip_forward,
        .started_at = (char *)ended->started_at,
        .finished_at = (char *)ended->finished_at,
        .duration_ms = ended->duration_ms,
    };
    begin_item(&list, 0, &item);
    smig_step_result_append(&step, &item);
    append_step_error(&item, error);
    bson_append_document_end(&list, &item);
  }
  bson_append_array_end(to, &list);
}

static void append_not_run(const smig_run_t *run, bson_t *to) {
  bson_t list, item;
  BSON_APPEND_ARRAY_BEGIN(to, "steps_not_run", &list);
  for (size_t i = run->begun; i < run->survey.resolved.planned_count; i++) {
    const smig_planned_step_t *planned = &run->survey.resolved.planned[i];
    begin_item(&list, (uint32_t)(i - run->begun), &item);
    BSON_APPEND_UTF8(&item, "id", planned->id);
    BSON_APPEND_UTF8(&item, "from_version", planned->from);
    BSON_APPEND_UTF8(&item, "to_version", planned->to);
    bson_append_document_end(&list, &item);
  }
  bson_append_array_end(to, &list);
}

void smig_run_append_result(const smig_run_t *run, smig_error_t *error) {
  bson_t *details = smig_error_details(error);
  if (!details || bson_has_field(details, "result")) return;
  run->result->total_duration_ms = smig_clock_mono_ms() - run->started_mono_ms;
  /* Apart: the step's error is copied out of the details, which move as they grow. */
  bson_t result = BSON_INITIALIZER;
  smig_result_append(run->result, &result);
  append_failed(run, error, &result);
  append_not_run(run, &result);
  BSON_APPEND_DOCUMENT(details, "result", &result);
  bson_destroy(&result);
}

void smig_run_append_step(bson_t *details, const smig_planned_step_t *planned) {
  BSON_APPEND_UTF8(details, "step_id", planned->id);
  BSON_APPEND_UTF8(details, "from_version", planned->from);
  BSON_APPEND_UTF8(details, "to_version", planned->to);
  if (planned->step && planned->step->file) BSON_APPEND_UTF8(details, "file", planned->step->file);
}

void smig_run_set_step_failed(const smig_planned_step_t *planned, smig_outcome_t *outcome, smig_error_t *error) {
  smig_error_t *cause = &outcome->error;
  smig_error_set(error, SMIG_STEP_FAILED, "step '%s' (%s -> %s) failed: %s", planned->id, planned->from, planned->to,
                 cause->message);
  bson_t *details = smig_error_details(error);
  if (!details) return;
  smig_run_append_step(details, planned);
  bson_t child;
  BSON_APPEND_DOCUMENT_BEGIN(details, "cause", &child);
  BSON_APPEND_UTF8(&child, "code", cause->name);
  BSON_APPEND_UTF8(&child, "message", cause->message);
  BSON_APPEND_DOCUMENT(&child, "details", cause->details);
  bson_append_document_end(details, &child);
  bson_iter_t traceback;
  if (bson_iter_init_find(&traceback, cause->details, "traceback")) {
    bson_append_iter(details, "traceback", -1, &traceback);
  }
  if (cause->value) {
    smig_error_set_value(error, cause->value, cause->value_free);
    cause->value = NULL;
    cause->value_free = NULL;
  }
}
