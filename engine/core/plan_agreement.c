/*
 * The agreement of ledger and chain. See plan.h.
 * Errors: LEDGER_CHAIN_MISMATCH. Pure. O(n).
 * Source of the rules: the contract's section on chain validation. Only `applied` records count; a version that a record
 * lacks is not compared; bridges are exempt.
 */
#include "plan.h"

#include "semver.h"
#include "text.h"

#include <string.h>

enum {
  NAMED_VIOLATIONS = 20, /* in the message; the details have all */
  QUOTED_LENGTH = 160
};

typedef struct agreement {
  const smig_chain_t *chain;
  const smig_ledger_state_t *state;
  const smig_resolved_t *resolved;
  const char *began;  /* where recording began; NULL: not known */
  const char *lowest; /* version that a violation concerns; NULL: none yet */
  bson_t violations;  /* an array */
  bson_string_t *text;
  uint32_t count;
} agreement_t;

static bool is_applied(const smig_entry_t *entry) {
  return entry && entry->status && strcmp(entry->status, "applied") == 0;
}

static bool is_bridge(const char *id) {
  return strncmp(id, "bridge:", 7) == 0;
}

static void append_if(bson_t *to, const char *key, const char *text) {
  if (text) BSON_APPEND_UTF8(to, key, text);
}

/* "1.0.0 -> 1.1.0", "?" for what a record lacks. */
static char *range_of(const char *from, const char *to) {
  return bson_strdup_printf("%s -> %s", from ? from : "?", to ? to : "?");
}

static void say(agreement_t *agreement, const char *kind, const char *id, const smig_entry_t *entry,
                const smig_step_t *step) {
  if (agreement->count >= NAMED_VIOLATIONS) return;
  char *recorded = entry ? range_of(entry->from_version, entry->to_version) : NULL;
  char *chained = step ? range_of(step->from, step->to) : NULL;
  char *quoted = smig_text_escape(id, strlen(id), QUOTED_LENGTH);
  bson_string_append_printf(agreement->text, "%sstep '%s' ", agreement->count ? "; " : "", quoted);
  if (strcmp(kind, "versions-differ") == 0) {
    bson_string_append_printf(agreement->text, "was applied as %s but the chain has it as %s", recorded, chained);
  } else if (strcmp(kind, "not-in-chain") == 0) {
    bson_string_append_printf(agreement->text, "was applied as %s but is not in the chain", recorded);
  } else if (strcmp(kind, "not-recorded") == 0) {
    bson_string_append_printf(agreement->text, "(%s) has no applied record although the data is at %s", chained,
                              agreement->state->current_version);
  } else {
    bson_string_append_printf(agreement->text, "(%s) is about to run but was applied as %s already", chained, recorded);
  }
  bson_free(quoted);
  bson_free(recorded);
  bson_free(chained);
}

static void lower(agreement_t *agreement, const char *version) {
  if (version && (!agreement->lowest || smig_semver_compare(version, agreement->lowest) < 0))
    agreement->lowest = version;
}

static void violate(agreement_t *agreement, const char *kind, const char *id, const smig_entry_t *entry,
                    const smig_step_t *step) {
  bson_t item;
  char buffer[16];
  const char *key = NULL;
  size_t length = bson_uint32_to_string(agreement->count, &key, buffer, sizeof buffer);
  say(agreement, kind, id, entry, step);
  bson_append_document_begin(&agreement->violations, key, (int)length, &item);
  BSON_APPEND_UTF8(&item, "step_id", id);
  BSON_APPEND_UTF8(&item, "kind", kind);
  append_if(&item, "recorded_from", entry ? entry->from_version : NULL);
  append_if(&item, "recorded_to", entry ? entry->to_version : NULL);
  append_if(&item, "chain_from", step ? step->from : NULL);
  append_if(&item, "chain_to", step ? step->to : NULL);
  bson_append_document_end(&agreement->violations, &item);
  agreement->count++;
  lower(agreement, entry ? entry->from_version : NULL);
  lower(agreement, step ? step->from : NULL);
}

/* The highest version of the chain that is not above `version`; its beginning when there is none. */
static const char *version_at(const smig_chain_t *chain, const char *version) {
  const char *found = chain->steps[0].from;
  for (size_t i = 0; version && i < chain->count; i++)
    if (smig_semver_compare(chain->steps[i].to, version) <= 0) found = chain->steps[i].to;
  return found;
}

/* The commands that make the record agree, to be freed: forget it from the lowest violation on, and perhaps say anew where the data is. */
static char *way_out_of(const agreement_t *agreement) {
  const char *current = agreement->state->current_version;
  bool is_below = current && (!agreement->lowest || smig_semver_compare(current, agreement->lowest) < 0);
  const char *restart = version_at(agreement->chain, is_below ? current : agreement->lowest);
  const char *again = current ? version_at(agreement->chain, current) : restart;
  bool is_of_chain = current && smig_semver_compare(again, current) == 0 && smig_semver_compare(restart, again) < 0;
  if (!is_of_chain) {
    return bson_strdup_printf("`smartmigration-lua baseline %s --force` makes the next run begin there", restart);
  }
  return bson_strdup_printf("`smartmigration-lua baseline %s --force` makes the next run begin there, and "
                            "`smartmigration-lua baseline %s --force` after it says that nothing is to run again",
                            restart, again);
}

static bool same_version(const char *recorded, const char *chained) {
  return !recorded || smig_semver_compare(recorded, chained) == 0;
}

static bool same_range(const smig_entry_t *entry, const smig_step_t *step) {
  return same_version(entry->from_version, step->from) && same_version(entry->to_version, step->to);
}

/* Records below the chain are pruned, above it newer: neither has to be in it. */
static bool lies_inside(const smig_entry_t *entry, const smig_chain_t *chain) {
  return chain->count && entry->from_version && entry->to_version &&
         smig_semver_compare(entry->from_version, chain->steps[0].from) >= 0 &&
         smig_semver_compare(entry->to_version, chain->steps[chain->count - 1].to) <= 0;
}

static void check_records(agreement_t *agreement) {
  for (size_t i = 0; i < agreement->state->entry_count; i++) {
    const smig_entry_t *entry = &agreement->state->entries[i];
    if (!is_applied(entry) || is_bridge(entry->id)) continue;
    const smig_step_t *step = smig_chain_find(agreement->chain, entry->id);
    if (step && !same_range(entry, step))
      violate(agreement, "versions-differ", entry->id, entry, step);
    else if (!step && lies_inside(entry, agreement->chain))
      violate(agreement, "not-in-chain", entry->id, entry, NULL);
  }
}

const char *smig_plan_recording_began(const smig_ledger_state_t *state) {
  const char *lowest = NULL;
  if (state->bootstrap_version) return state->bootstrap_version;
  for (size_t i = 0; i < state->entry_count; i++) {
    const char *from = state->entries[i].from_version;
    if (from && (!lowest || smig_semver_compare(from, lowest) < 0)) lowest = from;
  }
  return lowest;
}

/* A step that recording began inside of was run, by skipping forward, and so recorded. */
static void check_passed(agreement_t *agreement) {
  const char *current = agreement->state->current_version;
  if (!current || !agreement->began) return;
  for (size_t i = 0; i < agreement->chain->count; i++) {
    const smig_step_t *step = &agreement->chain->steps[i];
    if (smig_semver_compare(step->to, current) > 0) break;
    if (smig_semver_compare(step->to, agreement->began) <= 0) continue;
    if (!is_applied(smig_ledger_state_find(agreement->state, step->id)))
      violate(agreement, "not-recorded", step->id, NULL, step);
  }
}

static void check_planned(agreement_t *agreement) {
  for (size_t i = 0; i < agreement->resolved->planned_count; i++) {
    const smig_step_t *step = agreement->resolved->planned[i].step;
    if (!step) continue;
    const smig_entry_t *entry = smig_ledger_state_find(agreement->state, step->id);
    if (is_applied(entry) && same_range(entry, step)) violate(agreement, "already-applied", step->id, entry, step);
  }
}

bool smig_plan_check_agreement(const smig_chain_t *chain, const smig_ledger_state_t *state,
                               const smig_resolved_t *resolved, smig_error_t *error) {
  agreement_t agreement = {.chain = chain, .state = state, .resolved = resolved};
  agreement.began = smig_plan_recording_began(state);
  agreement.text = bson_string_new(NULL);
  bson_init(&agreement.violations);
  check_records(&agreement);
  check_passed(&agreement);
  check_planned(&agreement);
  if (agreement.count > NAMED_VIOLATIONS)
    bson_string_append_printf(agreement.text, "; and %u more", agreement.count - NAMED_VIOLATIONS);
  if (agreement.count) {
    char *way_out = way_out_of(&agreement);
    smig_error_set(error, SMIG_LEDGER_CHAIN_MISMATCH,
                   "the ledger and the chain disagree: %s; put the chain right, or the record: %s; or give another "
                   "ledger_name if this ledger is another program's",
                   agreement.text->str, way_out);
    bson_t *details = smig_error_details(error);
    if (details) BSON_APPEND_ARRAY(details, "violations", &agreement.violations);
    bson_free(way_out);
  }
  bson_string_free(agreement.text, true);
  bson_destroy(&agreement.violations);
  return !agreement.count;
}

bool smig_plan_drifted(const smig_step_t *step, const smig_ledger_state_t *state, const smig_entry_t **entry) {
  const smig_entry_t *recorded = smig_ledger_state_find(state, step->id);
  *entry = NULL;
  if (!step->checksum || !is_applied(recorded) || !recorded->checksum ||
      strcmp(step->checksum, recorded->checksum) == 0)
    return false;
  *entry = recorded;
  return true;
}
