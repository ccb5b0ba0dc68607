/* Looking at the checkpoints of steps, and removing them. Users: smartmigration.h. Main thread. */
#include "edits.h"
#include "operation.h"

/* Begins to walk over the steps that have checkpoints; false: there are none. */
static bool begin_steps(const smig_ledger_state_t *state, bson_iter_t *steps) {
  bson_iter_t iter;
  return bson_iter_init_find(&iter, &state->data, "checkpoints") && BSON_ITER_HOLDS_DOCUMENT(&iter) &&
         bson_iter_recurse(&iter, steps);
}

static bool is_wanted(const bson_iter_t *step, const char *step_id) {
  return BSON_ITER_HOLDS_DOCUMENT(step) && (!step_id || strcmp(bson_iter_key(step), step_id) == 0);
}

static void append_keys(const bson_iter_t *step, bool values, bson_t *list, uint32_t *index) {
  bson_iter_t keys;
  bson_iter_recurse(step, &keys);
  while (bson_iter_next(&keys)) {
    bson_t item, value = BSON_INITIALIZER;
    char buffer[16];
    const char *key;
    bson_append_iter(&value, "v", -1, &keys);
    bson_uint32_to_string((*index)++, &key, buffer, sizeof buffer);
    bson_append_document_begin(list, key, -1, &item);
    BSON_APPEND_UTF8(&item, "step_id", bson_iter_key(step));
    BSON_APPEND_UTF8(&item, "key", bson_iter_key(&keys));
    BSON_APPEND_INT64(&item, "size", (int64_t)value.len - SMIG_CHECKPOINT_WRAP);
    if (values) bson_append_iter(&item, "value", -1, &keys);
    bson_append_document_end(list, &item);
    bson_destroy(&value);
  }
}

bool smig_engine_checkpoints(smig_engine_t *engine, const char *step_id, bool values, bson_t *report,
                             smig_error_t *error) {
  smig_survey_t survey;
  bson_iter_t steps;
  bson_t list;
  bson_init(report);
  smig_survey_init(&survey);
  smig_engine_begin_call(engine);
  bool good = smig_survey_read(engine, &survey, error);
  if (good) {
    uint32_t index = 0;
    BSON_APPEND_ARRAY_BEGIN(report, "checkpoints", &list);
    for (bool more = begin_steps(&survey.state, &steps); more && bson_iter_next(&steps);)
      if (is_wanted(&steps, step_id)) append_keys(&steps, values, &list, &index);
    bson_append_array_end(report, &list);
  }
  smig_survey_release(&survey);
  smig_engine_end_call(engine, !good, error);
  return good;
}

/* ---------------------------------------------------------------------- clear */

typedef struct clearing {
  const char *step_id; /* NULL: every step */
  smig_operation_t *operation;
  bson_t *report;
} clearing_t;

static bool unknown_step(const smig_ledger_state_t *state, const char *step_id, smig_error_t *error) {
  const char **names = NULL;
  size_t count = 0;
  bson_iter_t steps;
  for (bool more = begin_steps(state, &steps); more && bson_iter_next(&steps);) {
    names = bson_realloc(names, (count + 2) * sizeof *names);
    names[count++] = bson_iter_key(&steps);
    names[count] = NULL;
  }
  char *near = names ? smig_did_you_mean(step_id, names) : bson_strdup("");
  smig_refuse(error, "unknown-step", "step '%s' has no checkpoints%s", step_id, near);
  bson_free(near);
  bson_free(names);
  return false;
}

static bool check(smig_run_t *run, void *arg, smig_error_t *error) {
  const clearing_t *clearing = arg;
  const smig_ledger_state_t *state = &run->survey.state;
  bson_iter_t steps;
  if (!smig_require_ledger(run, error)) return false;
  if (clearing->step_id && !smig_ledger_state_checkpoints(state, clearing->step_id))
    return unknown_step(state, clearing->step_id, error);
  clearing->operation->nothing_to_do = !begin_steps(state, &steps) || !bson_iter_next(&steps);
  return true;
}

/* What is about to be cleared, counted under the lock. */
static void append_cleared(const smig_ledger_state_t *state, const char *step_id, bson_t *list) {
  bson_iter_t steps;
  uint32_t index = 0;
  for (bool more = begin_steps(state, &steps); more && bson_iter_next(&steps);) {
    if (!is_wanted(&steps, step_id)) continue;
    char buffer[16];
    const char *key;
    bson_t item;
    bson_uint32_to_string(index++, &key, buffer, sizeof buffer);
    bson_append_document_begin(list, key, -1, &item);
    BSON_APPEND_UTF8(&item, "step_id", bson_iter_key(&steps));
    BSON_APPEND_INT64(&item, "keys", (int64_t)smig_ledger_state_checkpoints(state, bson_iter_key(&steps)));
    bson_append_document_end(list, &item);
  }
}

static bool perform(smig_run_t *run, void *arg, smig_error_t *error) {
  const clearing_t *clearing = arg;
  bson_t list = BSON_INITIALIZER;
  append_cleared(&run->survey.state, clearing->step_id, &list);
  smig_ledger_change_t change = {.clear_checkpoints_of = clearing->step_id,
                                 .clear_all_checkpoints = !clearing->step_id,
                                 .clear_leftovers = run->survey.state.has_leftovers,
                                 .release = true};
  bool good = smig_run_commit(run, &change, error);
  if (good) BSON_APPEND_ARRAY(clearing->report, "cleared", &list);
  bson_destroy(&list);
  return good;
}

bool smig_engine_clear_checkpoints(smig_engine_t *engine, const char *step_id, bson_t *report, smig_error_t *error) {
  smig_operation_t operation = {.check = check, .perform = perform};
  clearing_t clearing = {.step_id = step_id, .operation = &operation, .report = report};
  operation.arg = &clearing;
  bson_init(report);
  bool good = smig_operate(engine, &operation, error);
  if (good && operation.nothing_to_do) {
    bson_t none = BSON_INITIALIZER;
    BSON_APPEND_ARRAY(report, "cleared", &none);
    bson_destroy(&none);
  }
  return good;
}
