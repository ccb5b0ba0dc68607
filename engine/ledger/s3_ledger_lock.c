/*
 * The lock of the S3 ledger: reading, taking, beating. See s3_ledger_internal.h; source of the rules: the contract, section 7.
 * Time is the store's: the Date of its latest answer and the monotonic time since. It has whole seconds, so an expiry is rounded up to one,
 * and past only when the Date of the very read is past it by more than 2 s.
 */
#include "s3_ledger_internal.h"

enum { SECOND_MS = 1000 };

static int64_t expiry_of(int64_t wall_ms, int64_t ttl_ms) {
  return (wall_ms + ttl_ms + SECOND_MS - 1) / SECOND_MS * SECOND_MS;
}

bool smig_s3_ledger_load(smig_ledger_t *base, smig_ledger_state_t *state, smig_error_t *error) {
  smig_s3_ledger_t *self = smig_s3_ledger_of(base);
  smig_s3_snapshot_t now = SMIG_S3_SNAPSHOT_INIT;
  smig_ledger_state_init(state);
  bool good =
      smig_s3_ledger_read(self, "read the ledger", &now, error) && smig_s3_ledger_parse(self, &now, state, error);
  smig_s3_snapshot_release(&now);
  return good;
}

/* ------------------------------------------------------------------- taking */

typedef struct taking {
  smig_lease_t *lease;
  const smig_acquire_t *acquire;
  const char *user;
  bool begun, ours; /* a write was sent; an unanswered one turned out to have landed */
} taking_t;

static smig_s3_decision_t decide_take(smig_s3_ledger_t *self, const smig_s3_snapshot_t *now, int64_t wall_ms,
                                      smig_edits_t *edits, void *user, smig_error_t *error) {
  taking_t *taking = user;
  smig_ledger_state_t state;
  smig_s3_decision_t decision = SMIG_S3_REFUSE;
  if (!smig_s3_ledger_parse(self, now, &state, error)) {
    decision = SMIG_S3_FAIL;
  } else if (taking->begun && smig_data_held_by(now->data, taking->lease->holder)) {
    taking->ours = true;
  } else if (smig_data_may_take(&state, taking->lease, taking->acquire)) {
    smig_data_take(edits, &state, taking->lease, wall_ms, expiry_of(wall_ms, taking->lease->ttl_ms), taking->user);
    smig_s3_ledger_record_verdict(self, wall_ms, edits);
    taking->begun = true;
    decision = SMIG_S3_WRITE;
  }
  smig_ledger_state_release(&state);
  return decision;
}

/* Whether it is worth to find out about the store: what is known of the ledger does not already forbid the lock. */
static bool looks_free(smig_s3_ledger_t *self, const smig_lease_t *lease, const smig_acquire_t *acquire, bool *free,
                       smig_error_t *error) {
  smig_s3_snapshot_t now = SMIG_S3_SNAPSHOT_INIT;
  smig_ledger_state_t state;
  bool good = smig_s3_shared_recall(self->shared, &now) || smig_s3_ledger_read(self, "lock", &now, error);
  *free = false;
  if (good) {
    good = smig_s3_ledger_parse(self, &now, &state, error);
    *free = good && smig_data_may_take(&state, lease, acquire);
    smig_s3_ledger_note_verdict(self, now.data);
    smig_ledger_state_release(&state);
  }
  smig_s3_snapshot_release(&now);
  return good;
}

/* Who this run is on MongoDB, and the end of the former holder's transaction there. */
static bool prepare_mongo(smig_s3_ledger_t *self, const smig_lease_t *lease, const smig_acquire_t *acquire,
                          const char **user, smig_error_t *error) {
  smig_error_t lower = SMIG_ERROR_INIT;
  *user = "";
  if (!self->mongo.channel.connection) return true;
  if (!smig_mongo_commands_user(&self->mongo.commands, lease->run_id, user, &lower)) {
    smig_mongo_channel_fail(&self->mongo.channel, "ask who is signed in to", &lower, error);
    return false;
  }
  smig_mongo_commands_end_transaction(&self->mongo.commands, lease->run_id, acquire->seen);
  return true;
}

bool smig_s3_ledger_acquire(smig_ledger_t *base, smig_lease_t *lease, const smig_acquire_t *acquire, bool *won,
                            smig_ledger_state_t *state, int64_t *sent_boot_ms, smig_error_t *error) {
  smig_s3_ledger_t *self = smig_s3_ledger_of(base);
  taking_t taking = {.lease = lease, .acquire = acquire};
  smig_s3_change_t change = {.what = "lock", .decide = decide_take, .user = &taking};
  smig_s3_written_t written;
  bool free;
  *won = false;
  *sent_boot_ms = smig_clock_boot_ms();
  smig_ledger_state_init(state);
  if (!looks_free(self, lease, acquire, &free, error)) return false;
  if (!free) return true;
  if (!prepare_mongo(self, lease, acquire, &taking.user, error) || !smig_s3_ledger_trust(self, error)) return false;
  bool good = smig_s3_ledger_write(self, &change, &written, error);
  if (good && (written.done || taking.ours)) {
    good = smig_s3_ledger_parse(self, &written.now, state, error);
    *won = good;
    *sent_boot_ms = written.sent_boot_ms;
    lease->fence = state->lock.fence;
    self->probed = false;
    smig_mongo_commands_remember(&self->mongo.commands, state);
  }
  smig_s3_snapshot_release(&written.now);
  return good;
}

/* ------------------------------------------------------------------- beating */

static smig_s3_decision_t decide_beat(smig_s3_ledger_t *self, const smig_s3_snapshot_t *now, int64_t wall_ms,
                                      smig_edits_t *edits, void *user, smig_error_t *error) {
  (void)self;
  (void)error;
  const smig_lease_t *lease = user;
  if (!smig_data_held_by(now->data, lease->holder)) return SMIG_S3_REFUSE;
  smig_data_extend(edits, now->data, expiry_of(wall_ms, lease->ttl_ms));
  return SMIG_S3_WRITE;
}

bool smig_s3_ledger_renew(smig_ledger_t *self, const smig_lease_t *lease, bool *ours, smig_error_t *error) {
  smig_s3_written_t written;
  smig_s3_change_t change = {.what = "renew the lock of", .decide = decide_beat, .user = (void *)lease};
  bool good = smig_s3_ledger_write(smig_s3_ledger_of(self), &change, &written, error);
  *ours = good && written.done;
  smig_s3_snapshot_release(&written.now);
  return good;
}
