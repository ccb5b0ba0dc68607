/*
 * repair: corrects the record of one step, or runs an applied step once more. Source of the rules: the command line's page.
 * Users: smartmigration.h. Main thread.
 */
#include "clock.h"
#include "operation.h"
#include "semver.h"

typedef struct repair {
  smig_engine_t *engine;
  smig_operation_t *operation;
  smig_repair_t kind;
  const char *id;
  bson_t *report;
  char *version; /* that the ledger has afterwards */
} repair_t;

const char *smig_repair_name(smig_repair_t repair) {
  static const char *const names[] = {"mark-applied", "mark-pending", "accept-drift", "rerun"};
  return (size_t)repair < sizeof names / sizeof *names ? names[repair] : "unknown";
}

/* ------------------------------------------------------------------- refusals */

static bool is_applied(const smig_entry_t *entry) {
  return entry && entry->status && strcmp(entry->status, smig_status_name(SMIG_STATUS_APPLIED)) == 0;
}

/* No step of the chain, and with `recorded` no record either, has this id. */
static bool unknown_step(const repair_t *repair, const smig_ledger_state_t *recorded, smig_error_t *error) {
  const smig_chain_t *chain = &repair->engine->chain;
  size_t count = 0;
  const char **names = bson_malloc0((chain->count + (recorded ? recorded->entry_count : 0) + 1) * sizeof *names);
  for (size_t i = 0; i < chain->count; i++) names[count++] = chain->steps[i].id;
  for (size_t i = 0; recorded && i < recorded->entry_count; i++) names[count++] = recorded->entries[i].id;
  char *near = smig_did_you_mean(repair->id, names);
  smig_refuse(error, "unknown-step", "there is no step '%s'%s", repair->id, near);
  bson_free(near);
  bson_free(names);
  return false;
}

static bool not_applied(const repair_t *repair, const smig_entry_t *entry, smig_error_t *error) {
  return smig_refuse(error, "not-applied", "step '%s' is not applied: it is %s", repair->id,
                     entry && entry->status ? entry->status : smig_status_name(SMIG_STATUS_PENDING));
}

/* --------------------------------------------------------------------- checks */

static bool check_next(const repair_t *repair, smig_run_t *run, smig_error_t *error) {
  if (!smig_survey_plan(repair->engine, &run->survey, error)) return false;
  const smig_resolved_t *resolved = &run->survey.resolved;
  if (resolved->planned_count && strcmp(resolved->planned[0].id, repair->id) == 0) return true;
  if (!smig_chain_find(&repair->engine->chain, repair->id)) return unknown_step(repair, NULL, error);
  if (!resolved->planned_count) {
    return smig_refuse(error, "not-next",
                       "step '%s' cannot be marked as applied: nothing is pending, the data is at %s", repair->id,
                       run->survey.state.current_version);
  }
  return smig_refuse(error, "not-next", "step '%s' cannot be marked as applied before '%s', which is the next to run",
                     repair->id, resolved->planned[0].id);
}

/* The record that led to the current version, or NULL; `id` is preferred where two say so. */
static const smig_entry_t *last_applied(const smig_ledger_state_t *state, const char *id) {
  const smig_entry_t *found = NULL;
  for (size_t i = 0; i < state->entry_count; i++) {
    const smig_entry_t *entry = &state->entries[i];
    if (!is_applied(entry) || !entry->from_version || !entry->to_version ||
        smig_semver_compare(entry->to_version, state->current_version) != 0)
      continue;
    if (!found || strcmp(entry->id, id) == 0) found = entry;
  }
  return found;
}

static bool check_last(const repair_t *repair, const smig_ledger_state_t *state, smig_error_t *error) {
  const smig_entry_t *last = last_applied(state, repair->id), *entry = smig_ledger_state_find(state, repair->id);
  if (last && strcmp(last->id, repair->id) == 0) return true;
  if (!entry && !smig_chain_find(&repair->engine->chain, repair->id)) return unknown_step(repair, state, error);
  if (!is_applied(entry)) return not_applied(repair, entry, error);
  if (!last) {
    return smig_refuse(error, "not-last-applied",
                       "step '%s' cannot be marked as pending: no record leads to %s, where the data is; to say what "
                       "version it has: smartmigration-lua baseline VERSION --force",
                       repair->id, state->current_version);
  }
  return smig_refuse(error, "not-last-applied",
                     "step '%s' cannot be marked as pending before '%s', which was applied last", repair->id, last->id);
}

static bool same_version(const char *recorded, const char *chained) {
  return !recorded || smig_semver_compare(recorded, chained) == 0;
}

/* The applied step of the chain with that id: *step and *entry. */
static bool check_applied(const repair_t *repair, const smig_ledger_state_t *state, const smig_step_t **step,
                          const smig_entry_t **entry, smig_error_t *error) {
  *step = smig_chain_find(&repair->engine->chain, repair->id);
  *entry = smig_ledger_state_find(state, repair->id);
  if (!*step) return unknown_step(repair, NULL, error);
  if (!is_applied(*entry)) return not_applied(repair, *entry, error);
  return true;
}

static bool check_drifted(const repair_t *repair, const smig_ledger_state_t *state, smig_error_t *error) {
  const smig_step_t *step;
  const smig_entry_t *entry;
  if (!check_applied(repair, state, &step, &entry, error)) return false;
  return smig_plan_drifted(step, state, &entry) ||
         smig_refuse(error, "no-drift", "the file of step '%s' has not changed since it was applied: nothing to accept",
                     repair->id);
}

static bool check_rerun(const repair_t *repair, const smig_ledger_state_t *state, smig_error_t *error) {
  const smig_step_t *step;
  const smig_entry_t *entry;
  if (!check_applied(repair, state, &step, &entry, error)) return false;
  return (same_version(entry->from_version, step->from) && same_version(entry->to_version, step->to)) ||
         smig_refuse(error, "versions-differ",
                     "step '%s' was applied as %s -> %s but the chain has it as %s -> %s: put the chain right first",
                     repair->id, entry->from_version ? entry->from_version : "?",
                     entry->to_version ? entry->to_version : "?", step->from, step->to);
}

static bool check(smig_run_t *run, void *arg, smig_error_t *error) {
  const repair_t *repair = arg;
  const smig_ledger_state_t *state = &run->survey.state;
  if (!smig_require_ledger(run, error)) return false;
  if (!state->current_version) {
    return smig_refuse(error, "no-ledger",
                       "the ledger %s records no version; to say what version the data has: "
                       "smartmigration-lua baseline VERSION",
                       repair->engine->ledger->place);
  }
  switch (repair->kind) {
  case SMIG_REPAIR_MARK_APPLIED:
    return check_next(repair, run, error);
  case SMIG_REPAIR_MARK_PENDING:
    return check_last(repair, state, error);
  case SMIG_REPAIR_ACCEPT_DRIFT:
    return check_drifted(repair, state, error);
  default:
    return check_rerun(repair, state, error);
  }
}

/* -------------------------------------------------------------------- changes */

static bool mark_applied(repair_t *repair, smig_run_t *run, smig_error_t *error) {
  const smig_ledger_state_t *state = &run->survey.state;
  const smig_planned_step_t *planned = &run->survey.resolved.planned[0];
  const smig_entry_t *former = smig_ledger_state_find(state, repair->id);
  const char *compatible =
      planned->step && planned->step->compatible_from ? planned->step->compatible_from : planned->to;
  const char *recorded = state->compatible_from ? state->compatible_from : state->current_version;
  char now[SMIG_ISO_SIZE];
  smig_clock_iso(smig_clock_wall_ms(), now);
  smig_entry_write_t entry = {.id = planned->id,
                              .from_version = planned->from,
                              .to_version = planned->to,
                              .status = SMIG_STATUS_APPLIED,
                              .started_at = now,
                              .finished_at = now,
                              .attempts = former ? former->attempts : 0,
                              .checksum = planned->step ? planned->step->checksum : NULL};
  smig_ledger_change_t change = {.finished = &entry,
                                 .current_version = planned->to,
                                 .compatible_from =
                                     smig_semver_compare(recorded, compatible) >= 0 ? recorded : compatible,
                                 .clear_checkpoints_of = planned->id,
                                 .clear_leftovers = state->has_leftovers,
                                 .release = true};
  repair->version = bson_strdup(planned->to);
  return smig_run_commit(run, &change, error);
}

static bool mark_pending(repair_t *repair, smig_run_t *run, smig_error_t *error) {
  const smig_ledger_state_t *state = &run->survey.state;
  const char *from = last_applied(state, repair->id)->from_version;
  const char *removed[] = {repair->id, NULL};
  /* Older programs than the ones of the version itself are not known to work on it. */
  bool compatible = state->compatible_from && smig_semver_compare(state->compatible_from, from) <= 0;
  smig_ledger_change_t change = {.remove_entries = removed,
                                 .current_version = from,
                                 .compatible_from = compatible ? state->compatible_from : from,
                                 .clear_leftovers = state->has_leftovers,
                                 .release = true};
  repair->version = bson_strdup(from);
  return smig_run_commit(run, &change, error);
}

static bool accept_drift(repair_t *repair, smig_run_t *run, smig_error_t *error) {
  const smig_step_t *step = smig_chain_find(&repair->engine->chain, repair->id);
  smig_ledger_change_t change = {.accept_checksum_of = repair->id,
                                 .accepted_checksum = step->checksum,
                                 .clear_leftovers = run->survey.state.has_leftovers,
                                 .release = true};
  BSON_APPEND_UTF8(repair->report, "checksum", step->checksum);
  return smig_run_commit(run, &change, error);
}

/* The one step is all that is planned; nothing says in the ledger that it runs. */
static bool rerun(const repair_t *repair, smig_run_t *run, smig_error_t *error) {
  const smig_step_t *step = smig_chain_find(&repair->engine->chain, repair->id);
  smig_resolved_t *resolved = &run->survey.resolved;
  smig_outcome_t first = {0};
  run->rerun = true;
  run->result = smig_result_new(repair->version, smig_engine_target(repair->engine));
  resolved->effective_current_version = bson_strdup(repair->version);
  resolved->planned = bson_malloc0(sizeof *resolved->planned);
  resolved->planned[0] = (smig_planned_step_t){
      .step = step, .id = bson_strdup(step->id), .from = bson_strdup(step->from), .to = bson_strdup(step->to)};
  resolved->planned_count = 1;
  smig_clock_iso(smig_clock_wall_ms(), first.started_at);
  smig_ledger_change_t ended = {.clear_leftovers = true};
  bool good =
      (!run->survey.state.has_leftovers || smig_run_commit(run, &ended, error)) && smig_run_steps(run, &first, error);
  if (good) BSON_APPEND_INT64(repair->report, "duration_ms", run->result->steps_applied[0].duration_ms);
  if (!good) {
    smig_engine_log(repair->engine, SMIG_LOG_WARN, NULL,
                    "step '%s' did not succeed once more: its record and the version are as they were", repair->id);
  }
  return good;
}

static bool perform(smig_run_t *run, void *arg, smig_error_t *error) {
  repair_t *repair = arg;
  const char *current = run->survey.state.current_version;
  BSON_APPEND_UTF8(repair->report, "repair", smig_repair_name(repair->kind));
  BSON_APPEND_UTF8(repair->report, "step_id", repair->id);
  BSON_APPEND_UTF8(repair->report, "former_version", current);
  bool good;
  switch (repair->kind) {
  case SMIG_REPAIR_MARK_APPLIED:
    good = mark_applied(repair, run, error);
    break;
  case SMIG_REPAIR_MARK_PENDING:
    good = mark_pending(repair, run, error);
    break;
  case SMIG_REPAIR_ACCEPT_DRIFT:
    repair->version = bson_strdup(current);
    good = accept_drift(repair, run, error);
    break;
  default:
    repair->version = bson_strdup(current);
    good = rerun(repair, run, error);
    break;
  }
  repair->operation->version_after = good ? repair->version : current;
  BSON_APPEND_UTF8(repair->report, "version", repair->version);
  return good;
}

bool smig_engine_repair(smig_engine_t *engine, smig_repair_t kind, const char *step_id, bson_t *report,
                        smig_error_t *error) {
  bson_t command = BSON_INITIALIZER;
  smig_operation_t operation = {
      .kind = "repair", .command = &command, .of_chain = true, .check = check, .perform = perform};
  repair_t repair = {.engine = engine, .operation = &operation, .kind = kind, .id = step_id, .report = report};
  operation.arg = &repair;
  bson_init(report);
  BSON_APPEND_UTF8(&command, "repair", smig_repair_name(kind));
  BSON_APPEND_UTF8(&command, "stepId", step_id);
  bool good = smig_operate(engine, &operation, error);
  bson_free(repair.version);
  bson_destroy(&command);
  return good;
}
