/*
 * Resolving and planning. See plan.h.
 * Errors: DOWNGRADE_NOT_SUPPORTED, CHAIN_NOT_AT_CURRENT, TARGET_NOT_REACHABLE, UNVERSIONED_DATA. Pure.
 * Source of the rules: the contract's section on resolving and planning; the order of the checks is its order.
 */
#include "plan.h"

#include "semver.h"
#include "text.h"

#include <string.h>

enum { QUOTED_LENGTH = 160 };

/* What the functions below pass around. */
typedef struct planning {
  const smig_chain_t *chain;
  const smig_ledger_state_t *state;
  const smig_plan_options_t *options;
  smig_resolved_t *resolved;
  smig_error_t *error;
} planning_t;

bool smig_plan_needs_fresh(const smig_ledger_state_t *state) {
  return !state->current_version;
}

void smig_resolved_release(smig_resolved_t *resolved) {
  for (size_t i = 0; i < resolved->planned_count; i++) {
    bson_free(resolved->planned[i].id);
    bson_free(resolved->planned[i].from);
    bson_free(resolved->planned[i].to);
  }
  bson_free(resolved->planned);
  bson_free(resolved->current_version_before);
  bson_free(resolved->effective_current_version);
  bson_free(resolved->bootstrap_version_to_persist);
  bson_free(resolved->predicted_current_version_after);
  *resolved = (smig_resolved_t){0};
}

static const smig_step_t *last_step(const smig_chain_t *chain) {
  return chain->count ? &chain->steps[chain->count - 1] : NULL;
}

static char *normalized(const char *version) {
  char *copy = NULL;
  smig_semver_parse(version, strlen(version), "version", &copy, NULL);
  return copy;
}

/* Where the effective version comes from, for messages. */
static const char *origin_of(const smig_resolved_t *resolved) {
  switch (resolved->bootstrap_mode) {
  case SMIG_BOOTSTRAP_FRESH_INSTALL_VERSION:
    return "a fresh install begins at fresh_install_version";
  case SMIG_BOOTSTRAP_CHAIN_START:
    return "data without a recorded version counts as being at the chain's start,";
  default:
    return "the data is at";
  }
}

static void append_versions(const planning_t *planning) {
  bson_t *details = smig_error_details(planning->error);
  if (!details) return;
  BSON_APPEND_UTF8(details, "current_version", planning->resolved->effective_current_version);
  BSON_APPEND_UTF8(details, "target_version", planning->options->target_version);
  BSON_APPEND_UTF8(details, "bootstrap_mode", smig_bootstrap_mode_name(planning->resolved->bootstrap_mode));
}

static void append_text(smig_error_t *error, const char *key, const char *text) {
  bson_t *details = smig_error_details(error);
  if (details && text) BSON_APPEND_UTF8(details, key, text);
}

/* ------------------------------------------------------------- resolving */

static bool refuse_unversioned(const planning_t *planning) {
  const smig_step_t *first = planning->chain->count ? planning->chain->steps : NULL;
  smig_error_set(planning->error, SMIG_UNVERSIONED_DATA,
                 "there is data but the ledger records no version, and unversioned_data = \"refuse\" forbids to assume "
                 "%s; say what version the data has with `smartmigration-lua baseline VERSION`, or set "
                 "unversioned_data = \"assume\"",
                 planning->resolved->effective_current_version);
  append_versions(planning);
  append_text(planning->error, "assumed_version", planning->resolved->effective_current_version);
  append_text(planning->error, "first_step_id", first ? first->id : NULL);
  return false;
}

static bool resolve(const planning_t *planning, bool fresh) {
  const smig_plan_options_t *options = planning->options;
  smig_resolved_t *resolved = planning->resolved;
  const char *effective = options->target_version;
  if (planning->state->current_version) {
    resolved->bootstrap_mode = SMIG_BOOTSTRAP_NONE;
    resolved->current_version_before = normalized(planning->state->current_version);
    resolved->effective_current_version = bson_strdup(resolved->current_version_before);
    return true;
  }
  resolved->bootstrap_mode = SMIG_BOOTSTRAP_TARGET_WITHOUT_STEPS;
  if (fresh && options->fresh_install_version) {
    resolved->bootstrap_mode = SMIG_BOOTSTRAP_FRESH_INSTALL_VERSION;
    resolved->was_fresh_install = true;
    effective = options->fresh_install_version;
  } else if (planning->chain->count) {
    resolved->bootstrap_mode = SMIG_BOOTSTRAP_CHAIN_START;
    effective = planning->chain->steps[0].from;
    resolved->assumed_unversioned = !fresh;
  }
  resolved->effective_current_version = bson_strdup(effective);
  resolved->bootstrap_version_to_persist = bson_strdup(effective);
  return fresh || !options->refuse_unversioned || refuse_unversioned(planning);
}

/* ---------------------------------------------------- above the target */

static bool is_applied(const smig_entry_t *entry) {
  return entry->status && strcmp(entry->status, "applied") == 0;
}

/*
 * The oldest target that still works on the data, as far as the ledger tells; NULL: nothing older than the data. A step
 * that another engine applied above the target broke older programs: it did not move compatibleFrom.
 */
static const char *compatible_from(const planning_t *planning) {
  const smig_ledger_state_t *state = planning->state;
  if (!state->current_version || !state->compatible_from) return NULL;
  for (size_t i = 0; i < state->entry_count; i++) {
    const smig_entry_t *entry = &state->entries[i];
    if (is_applied(entry) && !entry->run && entry->to_version &&
        smig_semver_compare(entry->to_version, state->compatible_from) > 0 &&
        smig_semver_compare(entry->to_version, planning->options->target_version) > 0)
      return NULL;
  }
  return state->compatible_from;
}

/*
 * The applied step that broke programs of the target's age: the one that leads to `oldest`, else the lowest one above
 * it (a step may name an older version as compatible than its own); without `oldest`, the lowest one above the target.
 */
static const smig_entry_t *breaking_entry(const planning_t *planning, const char *oldest) {
  const smig_entry_t *found = NULL;
  for (size_t i = 0; i < planning->state->entry_count; i++) {
    const smig_entry_t *entry = &planning->state->entries[i];
    if (!is_applied(entry) || !entry->to_version ||
        smig_semver_compare(entry->to_version, planning->options->target_version) <= 0 ||
        (oldest && smig_semver_compare(entry->to_version, oldest) < 0))
      continue;
    if (!found || smig_semver_compare(entry->to_version, found->to_version) < 0) found = entry;
  }
  return found;
}

static bool refuse_downgrade(const planning_t *planning, const char *oldest, bool compatible) {
  const smig_resolved_t *resolved = planning->resolved;
  const char *target = planning->options->target_version;
  const smig_entry_t *entry = compatible ? NULL : breaking_entry(planning, oldest);
  const char *needed = oldest && !compatible ? oldest : resolved->effective_current_version;
  char *why;
  if (compatible) {
    why = bson_strdup("and newer_ledger = \"refuse\" forbids to leave it so");
  } else if (entry) {
    char *id = smig_text_escape(entry->id, strlen(entry->id), QUOTED_LENGTH);
    why = bson_strdup_printf("and step '%s' (%s -> %s) changed it so that older programs cannot work with it", id,
                             entry->from_version ? entry->from_version : "?", entry->to_version);
    bson_free(id);
  } else {
    why = bson_strdup("and nothing says that older programs can work with it");
  }
  const char *way_out = resolved->bootstrap_mode == SMIG_BOOTSTRAP_NONE
                            ? "deploy a program whose target is at least %s, or put back a backup of the data"
                            : "give a target version of at least %s";
  char *advice = bson_strdup_printf(way_out, needed);
  smig_error_set(planning->error, SMIG_DOWNGRADE_NOT_SUPPORTED, "%s %s, above the target %s, %s; %s",
                 origin_of(resolved), resolved->effective_current_version, target, why, advice);
  append_versions(planning);
  append_text(planning->error, "compatible_from", oldest ? oldest : resolved->effective_current_version);
  append_text(planning->error, "step_id", entry ? entry->id : NULL);
  append_text(planning->error, "from", entry ? entry->from_version : NULL);
  append_text(planning->error, "to", entry ? entry->to_version : NULL);
  bson_free(why);
  bson_free(advice);
  return false;
}

static bool plan_above_target(const planning_t *planning) {
  const char *oldest = compatible_from(planning);
  bool compatible = oldest && smig_semver_compare(planning->options->target_version, oldest) >= 0;
  if (!compatible || planning->options->refuse_newer) return refuse_downgrade(planning, oldest, compatible);
  planning->resolved->newer_but_compatible = true;
  return true;
}

/* ---------------------------------------------------- below the target */

static void take(const planning_t *planning, const smig_step_t *step, char *id, const char *from, const char *to) {
  smig_resolved_t *resolved = planning->resolved;
  if ((resolved->planned_count & (resolved->planned_count - 1)) == 0) { /* full at every power of two */
    resolved->planned = bson_realloc(resolved->planned, (resolved->planned_count ? resolved->planned_count * 2 : 1) *
                                                            sizeof *resolved->planned);
  }
  resolved->planned[resolved->planned_count++] = (smig_planned_step_t){
      .step = step,
      .id = id,
      .from = bson_strdup(from),
      .to = bson_strdup(to),
      .skip_forward = smig_semver_compare(from, resolved->effective_current_version) < 0,
  };
}

static bool refuse_not_at_current(const planning_t *planning) {
  const smig_step_t *first = planning->chain->steps;
  const smig_resolved_t *resolved = planning->resolved;
  smig_error_set(planning->error, SMIG_CHAIN_NOT_AT_CURRENT, "%s %s, below %s where the chain begins (step '%s'); %s",
                 origin_of(resolved), resolved->effective_current_version, first->from, first->id,
                 resolved->bootstrap_mode == SMIG_BOOTSTRAP_NONE
                     ? "add the steps that lead there, or migrate with an older program that has them first"
                     : "set it to a version of the chain");
  append_versions(planning);
  append_text(planning->error, "step_id", first->id);
  append_text(planning->error, "from", first->from);
  return false;
}

static bool refuse_overshoot(const planning_t *planning, const smig_step_t *step) {
  smig_error_set(planning->error, SMIG_TARGET_NOT_REACHABLE,
                 "the target %s cannot be reached from %s: step '%s' (%s -> %s) goes past it; set the target to the "
                 "version a step ends at",
                 planning->options->target_version, planning->resolved->effective_current_version, step->id, step->from,
                 step->to);
  append_versions(planning);
  append_text(planning->error, "reason", "overshoot");
  append_text(planning->error, "step_id", step->id);
  append_text(planning->error, "from", step->from);
  append_text(planning->error, "to", step->to);
  return false;
}

/* The chain has nothing left and the target is not reached: it ends too low, or the ledger was past its end already. */
static bool refuse_end(const planning_t *planning) {
  const smig_step_t *last = last_step(planning->chain);
  const char *target = planning->options->target_version, *current = planning->resolved->effective_current_version;
  static const char advice[] = "add the missing steps, lower the target, or set target_version_strategy = \"bridge\"";
  const char *reason = "chain-ends-below";
  if (!last) {
    reason = "no-steps";
    smig_error_set(planning->error, SMIG_TARGET_NOT_REACHABLE,
                   "the target %s cannot be reached from %s: the chain has no steps; %s", target, current, advice);
  } else if (smig_semver_compare(current, last->to) > 0) {
    reason = "ledger-past-end";
    smig_error_set(planning->error, SMIG_TARGET_NOT_REACHABLE,
                   "the target %s cannot be reached: the data is at %s, past the end of the chain (step '%s' ends at "
                   "%s); %s",
                   target, current, last->id, last->to, advice);
  } else {
    smig_error_set(planning->error, SMIG_TARGET_NOT_REACHABLE,
                   "the target %s cannot be reached from %s: the chain ends below it (step '%s' ends at %s); %s",
                   target, current, last->id, last->to, advice);
  }
  append_versions(planning);
  append_text(planning->error, "reason", reason);
  append_text(planning->error, "step_id", last ? last->id : NULL);
  append_text(planning->error, "chain_end", last ? last->to : NULL);
  return false;
}

static bool plan_below_target(const planning_t *planning) {
  const smig_chain_t *chain = planning->chain;
  const char *target = planning->options->target_version, *at = planning->resolved->effective_current_version;
  if (chain->count && smig_semver_compare(at, chain->steps[0].from) < 0) return refuse_not_at_current(planning);
  for (size_t i = 0; i < chain->count; i++) {
    const smig_step_t *step = &chain->steps[i];
    if (smig_semver_compare(step->to, at) <= 0) continue;
    int past_target = smig_semver_compare(step->to, target);
    if (past_target > 0) return refuse_overshoot(planning, step);
    take(planning, step, bson_strdup(step->id), step->from, step->to);
    if (past_target == 0) return true;
    at = step->to;
  }
  if (!planning->options->bridge) return refuse_end(planning);
  take(planning, NULL, bson_strdup_printf("bridge:%s", target), at, target);
  return true;
}

static void predict(smig_resolved_t *resolved) {
  size_t count = resolved->planned_count;
  resolved->predicted_current_version_after =
      bson_strdup(count ? resolved->planned[count - 1].to : resolved->effective_current_version);
}

bool smig_plan_resolve(const smig_chain_t *chain, const smig_ledger_state_t *state, const smig_plan_options_t *options,
                       bool fresh, smig_resolved_t *resolved, smig_error_t *error) {
  *resolved = (smig_resolved_t){0};
  planning_t planning = {chain, state, options, resolved, error};
  if (!resolve(&planning, fresh)) return false;
  int order = smig_semver_compare(resolved->effective_current_version, options->target_version);
  if (order > 0 && !plan_above_target(&planning)) return false;
  if (order < 0 && !plan_below_target(&planning)) return false;
  predict(resolved);
  return true;
}
