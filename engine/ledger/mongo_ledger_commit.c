/*
 * Commits to the MongoDB ledger: each is one update that names the holder. See mongo_ledger_internal.h.
 */
#include "data.h"
#include "mongo_ledger_internal.h"

enum { ENTRY_SIZE = 1024 }; /* more than an entry without an error takes */

static bool landed_unanswered(smig_mongo_ledger_t *self, const smig_ledger_change_t *change, const smig_lease_t *lease,
                              smig_error_t *error) {
  smig_ledger_state_t state;
  bool ok = smig_mongo_ledger_read_state(self, lease->run_id, &state, error);
  bool in_ledger = ok && smig_change_landed(&state, change, lease);
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
    smig_mongo_channel_fail(&self->channel, "write", &lower, error);
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
