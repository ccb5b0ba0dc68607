/*
 * baseline: records that the data is at a version without running anything. Source of the rules: the command line's page.
 * Users: smartmigration.h. Main thread.
 */
#include "operation.h"
#include "semver.h"

typedef struct baseline {
  smig_engine_t *engine;
  smig_operation_t *operation;
  char *version;        /* normalized */
  char *former_version; /* NULL: none was recorded */
  bool force;
  bson_t *report;
} baseline_t;

static bool is(const char *left, const char *right) {
  return smig_semver_compare(left, right) == 0;
}

/* A version that no step begins or ends at is a mistake of typing, or lies inside a step, which then runs either way. */
static bool is_of_chain(const baseline_t *baseline, smig_error_t *error) {
  const smig_chain_t *chain = &baseline->engine->chain;
  const char *version = baseline->version, *target = smig_engine_target(baseline->engine);
  if (is(version, target)) return true;
  for (size_t i = 0; i < chain->count; i++)
    if (is(version, chain->steps[i].from) || is(version, chain->steps[i].to)) return true;
  for (size_t i = 0; i < chain->count; i++) {
    const smig_step_t *step = &chain->steps[i];
    if (smig_semver_compare(step->from, version) > 0 || smig_semver_compare(version, step->to) > 0) continue;
    return smig_refuse(
        error, "not-in-chain",
        "no step begins or ends at %s: it lies inside step '%s' (%s -> %s); give %s, and the step runs, or "
        "%s, and it counts as done",
        version, step->id, step->from, step->to, step->from, step->to);
  }
  return smig_refuse(error, "not-in-chain", "no step begins or ends at %s: the chain leads from %s to %s", version,
                     chain->count ? chain->steps[0].from : target,
                     chain->count ? chain->steps[chain->count - 1].to : target);
}

static bool check(smig_run_t *run, void *arg, smig_error_t *error) {
  const baseline_t *baseline = arg;
  const char *recorded = run->survey.state.current_version;
  if (!is_of_chain(baseline, error)) return false;
  if (recorded && !baseline->force) {
    return smig_refuse(
        error, "already-versioned",
        "the ledger %s says already that the data is at %s; to say otherwise: smartmigration-lua baseline %s "
        "--force",
        run->engine->ledger->place, recorded, baseline->version);
  }
  /* As a run does before it bootstraps: the ledger may be stored under another name. */
  return recorded || smig_survey_check_elsewhere(run->engine, &run->survey, error);
}

static bool is_above(const char *to, const char *version) {
  return to && smig_semver_compare(to, version) > 0;
}

/*
 * The ids of the records that lead above the version, as recorded or as the chain has it, NULL at the end; the array is to be freed,
 * the ids are the state's.
 */
static const char **records_above(const smig_chain_t *chain, const smig_ledger_state_t *state, const char *version) {
  const char **ids = bson_malloc0((state->entry_count + 1) * sizeof *ids);
  size_t count = 0;
  for (size_t i = 0; i < state->entry_count; i++) {
    const smig_entry_t *entry = &state->entries[i];
    const smig_step_t *step = smig_chain_find(chain, entry->id);
    if (is_above(entry->to_version, version) || is_above(step ? step->to : NULL, version)) ids[count++] = entry->id;
  }
  return ids;
}

static void report_of(const baseline_t *baseline, const char *const *removed) {
  bson_t list;
  BSON_APPEND_UTF8(baseline->report, "version", baseline->version);
  smig_append_text_or_null(baseline->report, "former_version", baseline->former_version);
  BSON_APPEND_BOOL(baseline->report, "forced", baseline->former_version != NULL);
  BSON_APPEND_ARRAY_BEGIN(baseline->report, "removed", &list);
  for (uint32_t i = 0; removed[i]; i++) {
    char buffer[16];
    const char *key;
    bson_uint32_to_string(i, &key, buffer, sizeof buffer);
    BSON_APPEND_UTF8(&list, key, removed[i]);
  }
  bson_append_array_end(baseline->report, &list);
}

static bool perform(smig_run_t *run, void *arg, smig_error_t *error) {
  baseline_t *baseline = arg;
  const smig_ledger_state_t *state = &run->survey.state;
  const char **removed = records_above(&baseline->engine->chain, state, baseline->version);
  smig_ledger_change_t change = {.bootstrap_mode = "baseline",
                                 .bootstrap_version = baseline->version,
                                 .bootstrap_replaced = state->current_version,
                                 .current_version = baseline->version,
                                 .compatible_from = baseline->version,
                                 .remove_entries = removed,
                                 .clear_leftovers = state->has_leftovers,
                                 .release = true};
  bool good = smig_run_commit(run, &change, error);
  if (good) {
    baseline->former_version = state->current_version ? bson_strdup(state->current_version) : NULL;
    baseline->operation->version_after = baseline->version;
    report_of(baseline, removed);
  }
  bson_free(removed);
  return good;
}

bool smig_engine_baseline(smig_engine_t *engine, const char *version, bool force, bson_t *report, smig_error_t *error) {
  bson_t command = BSON_INITIALIZER;
  smig_operation_t operation = {
      .kind = "baseline", .command = &command, .of_chain = true, .check = check, .perform = perform};
  baseline_t baseline = {.engine = engine, .operation = &operation, .force = force, .report = report};
  operation.arg = &baseline;
  bson_init(report);
  bool good = smig_semver_parse(version, version ? strlen(version) : 0, "version", &baseline.version, error);
  if (good) {
    BSON_APPEND_UTF8(&command, "version", baseline.version);
    BSON_APPEND_BOOL(&command, "force", force);
    good = smig_operate(engine, &operation, error);
  }
  bson_free(baseline.version);
  bson_free(baseline.former_version);
  bson_destroy(&command);
  return good;
}
