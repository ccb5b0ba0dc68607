/*
 * Writing the S3 ledger: edits over the latest body, under the condition that it still is the latest. See s3_ledger_internal.h.
 * A write by somebody else in between is read, the decision taken anew, and the same edits go over the fresher body; edits set paths to
 * values, so that a try that had landed unseen is only repeated.
 */
#include "s3_ledger_internal.h"

bool smig_s3_ledger_parse(const smig_s3_ledger_t *self, const smig_s3_snapshot_t *snapshot, smig_ledger_state_t *state,
                          smig_error_t *error) {
  /* The Date has whole seconds, and hosts of one store may differ a little. */
  int64_t now = snapshot->date_ms ? snapshot->date_ms - SMIG_LEDGER_QUIET_MS : INT64_MIN;
  return smig_ledger_state_parse(state, snapshot->data, now, self->base.place, error);
}

bool smig_s3_ledger_read(smig_s3_ledger_t *self, const char *what, smig_s3_snapshot_t *snapshot, smig_error_t *error) {
  smig_error_t lower = SMIG_ERROR_INIT;
  if (!smig_s3_object_get(&self->object, snapshot, &lower)) {
    smig_s3_object_fail(self->base.place, what, &lower, error);
    return false;
  }
  smig_s3_shared_remember(self->shared, snapshot);
  return true;
}

static void set_unknown(smig_error_t *error) {
  bson_t *details = smig_error_details(error);
  if (!details) return;
  bson_t changed = BSON_INITIALIZER;
  bson_copy_to_excluding_noinit(details, &changed, "outcome_unknown", NULL);
  BSON_APPEND_BOOL(&changed, "outcome_unknown", true);
  bson_reinit(details);
  bson_concat(details, &changed);
  bson_destroy(&changed);
}

/* What the edits make of the body, with a nonce that no other body has. */
static void edit(smig_edits_t *edits, const smig_s3_snapshot_t *before, bson_t *after) {
  char nonce[SMIG_RUN_ID_SIZE];
  bson_t empty = BSON_INITIALIZER;
  smig_run_id_new(nonce);
  smig_edits_set_utf8(edits, nonce, "nonce", NULL, NULL);
  smig_edits_apply(edits, before->data ? before->data : &empty, after);
  bson_destroy(&empty);
}

static bool server_time(smig_s3_ledger_t *self, int64_t *wall_ms, smig_error_t *error) {
  if (smig_s3_shared_now(self->shared, wall_ms)) return true;
  smig_error_set(error, SMIG_LEDGER_IO,
                 "the store of %s does not tell its time (its answers have no Date), by which a lock expires",
                 self->base.place);
  return false;
}

/* How one decision, and one write that may lose its race, ended. STALE: it was refused over a body that is not fresh. */
typedef enum outcome { ENDED, FAILED, STALE, RACED } outcome_t;

static outcome_t write_once(smig_s3_ledger_t *self, const smig_s3_change_t *change, bool fresh,
                            smig_s3_attempt_t *attempt, smig_s3_written_t *written, smig_error_t *error) {
  smig_edits_t edits = SMIG_EDITS_INIT;
  smig_error_t lower = SMIG_ERROR_INIT;
  int64_t wall_ms = 0;
  outcome_t outcome = FAILED;
  smig_s3_decision_t decision = SMIG_S3_FAIL;
  if (server_time(self, &wall_ms, error))
    decision = change->decide(self, &written->now, wall_ms, &edits, change->user, error);
  if (decision == SMIG_S3_REFUSE) {
    outcome = fresh ? ENDED : STALE;
  } else if (decision == SMIG_S3_WRITE) {
    bson_t after;
    edit(&edits, &written->now, &after);
    smig_s3_put_t put = smig_s3_object_put(&self->object, &written->now, &after, attempt, &written->now, &lower);
    bson_destroy(&after);
    written->done = put == SMIG_S3_PUT_DONE;
    if (put == SMIG_S3_PUT_FAILED)
      smig_s3_object_fail(self->base.place, change->what, &lower, error);
    else
      smig_s3_shared_remember(self->shared, &written->now);
    outcome = put == SMIG_S3_PUT_DONE ? ENDED : put == SMIG_S3_PUT_RACED ? RACED : FAILED;
  }
  smig_edits_release(&edits);
  return outcome;
}

static bool write_in_turn(smig_s3_ledger_t *self, const smig_s3_change_t *change, smig_s3_written_t *written,
                          smig_error_t *error) {
  int64_t time_ms = smig_s3_time_left_ms(self->object.client, self->patience_ms);
  smig_s3_attempt_t attempt = {.until_boot_ms = smig_clock_boot_ms() + time_ms};
  /* Where conditions protect nothing, a body that was read earlier must not be written back. */
  bool fresh = self->object.distrusted || !smig_s3_shared_recall(self->shared, &written->now);
  if (fresh && !smig_s3_ledger_read(self, change->what, &written->now, error)) return false;
  for (bool raced = false;;) {
    outcome_t outcome = write_once(self, change, fresh, &attempt, written, error);
    written->unanswered = attempt.unanswered;
    written->sent_boot_ms = attempt.sent_boot_ms;
    if (outcome == ENDED) return true;
    /* One write in between is told at once by what was read back; many want room. */
    if (outcome == RACED && raced && !smig_s3_object_pause(attempt.until_boot_ms)) {
      smig_error_set(error, SMIG_LEDGER_IO,
                     "cannot %s %s: other writes came between again and again; see who else writes this object",
                     change->what, self->base.place);
      outcome = FAILED;
    }
    if (outcome == STALE && !smig_s3_ledger_read(self, change->what, &written->now, error)) outcome = FAILED;
    if (outcome == FAILED) {
      if (attempt.unanswered) set_unknown(error);
      return false;
    }
    raced = raced || outcome == RACED;
    fresh = true;
  }
}

bool smig_s3_ledger_write(smig_s3_ledger_t *self, const smig_s3_change_t *change, smig_s3_written_t *written,
                          smig_error_t *error) {
  *written = (smig_s3_written_t){.now = SMIG_S3_SNAPSHOT_INIT};
  bool ours = smig_s3_shared_begin_turn(self->shared, self->object.limit_ms / 4);
  bool good = write_in_turn(self, change, written, error);
  if (ours) smig_s3_shared_end_turn(self->shared);
  return good;
}
