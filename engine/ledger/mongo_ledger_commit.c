/*
 * Commits to the MongoDB ledger: each is one update that names the holder. See mongo_ledger_internal.h.
 */
#include "mongo_ledger_internal.h"

enum { ENTRY_SIZE = 1024 }; /* more than an entry without an error takes */

static bool same(const char *left, const char *right) {
  return left && right ? strcmp(left, right) == 0 : left == right;
}

/* Whether the ledger shows this entry as this run would have written it. */
static bool shows(const smig_ledger_state_t *state, const smig_entry_write_t *entry, const smig_lease_t *lease) {
  const smig_entry_t *found = smig_ledger_state_find(state, entry->id);
  return found && same(found->run, lease->run_id) && same(found->status, smig_status_name(entry->status)) &&
         (!entry->started_at || same(found->started_at, entry->started_at));
}

static bool has_checkpoints(const smig_ledger_state_t *state) {
  bson_iter_t iter, steps;
  return bson_iter_init_find(&iter, &state->data, "checkpoints") && BSON_ITER_HOLDS_DOCUMENT(&iter) &&
         bson_iter_recurse(&iter, &steps) && bson_iter_next(&steps);
}

/* The lock is not ours any more: did the change land before that, by a try that was not answered? */
static bool landed(const smig_ledger_state_t *state, const smig_ledger_change_t *change, const smig_lease_t *lease) {
  if (change->finished) return shows(state, change->finished, lease);
  if (change->started) return shows(state, change->started, lease);
  if (change->bootstrap_version) return same(state->bootstrap_version, change->bootstrap_version);
  if (change->accept_checksum_of) {
    const smig_entry_t *entry = smig_ledger_state_find(state, change->accept_checksum_of);
    return entry && same(entry->checksum, change->accepted_checksum);
  }
  if (change->current_version) return same(state->current_version, change->current_version);
  if (change->clear_checkpoints_of) return !smig_ledger_state_checkpoints(state, change->clear_checkpoints_of);
  if (change->clear_all_checkpoints) return !has_checkpoints(state);
  /* A release alone says that the lock is not ours: so it is. */
  return change->release;
}

static bool landed_unanswered(smig_mongo_ledger_t *self, const smig_ledger_change_t *change, const smig_lease_t *lease,
                              smig_error_t *error) {
  smig_ledger_state_t state;
  bool ok = smig_mongo_ledger_read_state(self, lease->run_id, &state, error);
  bool in_ledger = ok && landed(&state, change, lease);
  if (!ok) smig_mongo_ledger_set_unknown(error);
  if (ok && !(in_ledger && change->release)) {
    smig_lock_lost(self->base.place, state.lock.holder, error);
    bson_t *details = smig_error_details(error);
    if (details) BSON_APPEND_BOOL(details, "landed", in_ledger);
    ok = false;
  }
  smig_ledger_state_release(&state);
  return ok;
}

bool smig_mongo_ledger_commit(smig_ledger_t *base, const smig_lease_t *lease, const smig_ledger_change_t *change,
                              smig_error_t *error) {
  smig_mongo_ledger_t *self = smig_mongo_ledger_of(base);
  smig_edits_t edits = SMIG_EDITS_INIT;
  smig_error_t lower = SMIG_ERROR_INIT;
  char now[SMIG_ISO_SIZE];
  bool matched, resent, ok;
  smig_mongo_ledger_now(self, now);
  smig_edits_of_change(&edits, change, lease, now);
  if (!edits.count) return true;
  ok = smig_mongo_ledger_update(self, lease, &edits, &matched, &resent, &lower);
  if (!ok) {
    smig_mongo_ledger_fail(self, "write", &lower, error);
  } else if (!matched && resent) {
    ok = landed_unanswered(self, change, lease, error);
  } else if (!matched) {
    smig_mongo_ledger_set_lost(self, lease, error);
    ok = false;
  }
  if (ok) {
    if (change->finished) self->size += ENTRY_SIZE + (change->finished->error ? change->finished->error->len : 0);
    if (change->started) self->size += ENTRY_SIZE;
  }
  smig_edits_release(&edits);
  return ok;
}
