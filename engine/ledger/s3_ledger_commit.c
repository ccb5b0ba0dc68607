/* Commits and checkpoints of the S3 ledger: edits that are written while the lock is ours. See s3_ledger_internal.h. */
#include "s3_ledger_internal.h"

/* What a fenced write is made of: a change, a checkpoint's value, or the clearing of a step's checkpoints. */
typedef struct fenced {
  const smig_lease_t *lease;
  const smig_ledger_change_t *change;
  const char *step_id, *key;
  const bson_t *value; /* NULL with a step_id: they are cleared */
} fenced_t;

static smig_s3_decision_t decide(smig_s3_ledger_t *self, const smig_s3_snapshot_t *now, int64_t wall_ms,
                                 smig_edits_t *edits, void *user, smig_error_t *error) {
  (void)self;
  const fenced_t *fenced = user;
  if (!smig_data_held_by(now->data, fenced->lease->holder)) return SMIG_S3_REFUSE;
  if (fenced->change) {
    char iso[SMIG_ISO_SIZE];
    smig_clock_iso(wall_ms, iso);
    smig_edits_of_change(edits, fenced->change, fenced->lease, iso);
  } else if (!fenced->value) {
    smig_edits_remove(edits, "checkpoints", fenced->step_id, NULL);
  } else if (!smig_data_checkpoint(edits, now->data, fenced->step_id, fenced->key, fenced->value, error)) {
    return SMIG_S3_FAIL;
  }
  return SMIG_S3_WRITE;
}

/* The lock is not ours any more: a change that landed unseen before that is told as landed, a release is then what was wanted. */
static bool judge_refused(smig_s3_ledger_t *self, const fenced_t *fenced, const smig_s3_written_t *written,
                          smig_error_t *error) {
  smig_ledger_state_t state;
  bool parsed = true, landed = false;
  if (written->unanswered && fenced->change) {
    parsed = smig_s3_ledger_parse(self, &written->now, &state, error);
    landed = parsed && smig_change_landed(&state, fenced->change, fenced->lease);
    smig_ledger_state_release(&state);
  }
  if (!parsed) return false;
  if (landed && fenced->change->release) return true;
  smig_data_set_lost(written->now.data, self->base.place, error);
  bson_t *details = smig_error_details(error);
  if (details && written->unanswered && fenced->change) BSON_APPEND_BOOL(details, "landed", landed);
  return false;
}

static bool write_fenced(smig_s3_ledger_t *self, const char *what, fenced_t *fenced, smig_error_t *error) {
  smig_s3_written_t written;
  smig_s3_change_t change = {.what = what, .decide = decide, .user = fenced};
  bool good = smig_s3_ledger_write(self, &change, &written, error);
  if (good && !written.done) good = judge_refused(self, fenced, &written, error);
  smig_s3_snapshot_release(&written.now);
  return good;
}

bool smig_s3_ledger_commit(smig_ledger_t *self, const smig_lease_t *lease, const smig_ledger_change_t *change,
                           smig_error_t *error) {
  return write_fenced(smig_s3_ledger_of(self), "write", &(fenced_t){.lease = lease, .change = change}, error);
}

bool smig_s3_ledger_checkpoint_read(smig_ledger_t *self, const smig_lease_t *lease, const char *step_id,
                                    const char *key, bson_t *value, bool *found, smig_error_t *error) {
  (void)lease;
  smig_s3_snapshot_t now = SMIG_S3_SNAPSHOT_INIT;
  bson_iter_t iter;
  bson_init(value);
  bool good = smig_s3_ledger_read(smig_s3_ledger_of(self), "read a checkpoint of", &now, error);
  *found = good && smig_data_find(now.data, "checkpoints", step_id, key, &iter);
  if (*found) bson_append_iter(value, "v", 1, &iter);
  smig_s3_snapshot_release(&now);
  return good;
}

bool smig_s3_ledger_checkpoint_write(smig_ledger_t *self, const smig_lease_t *lease, const char *step_id,
                                     const char *key, const bson_t *value, smig_error_t *error) {
  fenced_t fenced = {.lease = lease, .step_id = step_id, .key = key, .value = value};
  return write_fenced(smig_s3_ledger_of(self), "write a checkpoint to", &fenced, error);
}

bool smig_s3_ledger_checkpoint_clear(smig_ledger_t *self, const smig_lease_t *lease, const char *step_id,
                                     smig_error_t *error) {
  return write_fenced(smig_s3_ledger_of(self), "clear checkpoints of", &(fenced_t){.lease = lease, .step_id = step_id},
                      error);
}
