/*
 * The parts of the S3 ledger among themselves; see s3_ledger.h.
 *
 * Threads: an instance belongs to one thread; what it and the instances reopened from it share is behind a mutex. Both write the same
 * object and so move its ETag: they write in turn, from the latest body that either knows. Waiting for one's turn is bounded, for a
 * stamp that hangs must not keep a beat past its deadline; who goes out of turn only loses the race at the store and reads again.
 */
#ifndef SMIG_LEDGER_S3_LEDGER_INTERNAL_H
#define SMIG_LEDGER_S3_LEDGER_INTERNAL_H

#include "data.h"
#include "mongo_commands.h"
#include "s3_ledger.h"
#include "s3_object.h"
#include "s3_probe.h"

typedef struct smig_s3_shared smig_s3_shared_t;

typedef struct smig_s3_ledger {
  smig_ledger_t base;
  smig_s3_object_t object;
  bool owns_client;
  char *bucket, *key;
  char *store; /* "<endpoint> <bucket>": what a verdict is about */
  bool best_effort;
  int64_t patience_ms; /* of one operation, all its requests together */
  smig_s3_verdict_t verdict;
  char *seen;  /* what the verdict is based on; NULL: nothing was found */
  bool probed; /* the verdict is this instance's own and not in the ledger yet */
  smig_s3_shared_t *shared;
  struct {                        /* with MongoDB */
    smig_mongo_channel_t channel; /* connection NULL: without */
    smig_mongo_commands_t commands;
    char *place, *database;
    bool owns_connection;
  } mongo;
} smig_s3_ledger_t;

static inline smig_s3_ledger_t *smig_s3_ledger_of(smig_ledger_t *self) {
  return (smig_s3_ledger_t *)self;
}

/* --- s3_ledger_shared.c --------------------------------------------------------------------------------------- */

smig_s3_shared_t *smig_s3_shared_new(void);
smig_s3_shared_t *smig_s3_shared_use(smig_s3_shared_t *shared);
void smig_s3_shared_release(smig_s3_shared_t *shared);
/* Waits for the turn to write, at most limit_ms; whether it is ours, to be ended. */
bool smig_s3_shared_begin_turn(smig_s3_shared_t *shared, int64_t limit_ms);
void smig_s3_shared_end_turn(smig_s3_shared_t *shared);
/* The latest body that is known. Remembering also sets the clock. */
void smig_s3_shared_remember(smig_s3_shared_t *shared, const smig_s3_snapshot_t *latest);
bool smig_s3_shared_recall(smig_s3_shared_t *shared, smig_s3_snapshot_t *latest);
/* The server's time: the Date of the latest answer and the time since. False: no answer told it yet. */
bool smig_s3_shared_now(smig_s3_shared_t *shared, int64_t *wall_ms);

/* --- s3_ledger_write.c ---------------------------------------------------------------------------------------- */

typedef enum smig_s3_decision {
  SMIG_S3_WRITE,  /* the edits are to be written */
  SMIG_S3_REFUSE, /* nothing is: the lock is not ours, not free */
  SMIG_S3_FAIL    /* *error says why not */
} smig_s3_decision_t;

/* Decides over the latest body what is to be written; called again whenever a fresher one came. */
typedef struct smig_s3_change {
  const char *what; /* for messages: "lock" */
  smig_s3_decision_t (*decide)(smig_s3_ledger_t *self, const smig_s3_snapshot_t *now, int64_t wall_ms,
                               smig_edits_t *edits, void *user, smig_error_t *error);
  void *user;
} smig_s3_change_t;

typedef struct smig_s3_written {
  bool done;              /* false without error: it was refused */
  bool unanswered;        /* an earlier try was not answered and may have landed */
  int64_t sent_boot_ms;   /* when what was written was first sent */
  smig_s3_snapshot_t now; /* what is there, to be released */
} smig_s3_written_t;

/* Writes edits over the latest body, again over a fresher one as long as somebody else's writes come between. *written is set on every path. */
bool smig_s3_ledger_write(smig_s3_ledger_t *self, const smig_s3_change_t *change, smig_s3_written_t *written,
                          smig_error_t *error);
/* Reads the object and remembers it. */
bool smig_s3_ledger_read(smig_s3_ledger_t *self, const char *what, smig_s3_snapshot_t *snapshot, smig_error_t *error);
/* The state of a snapshot, its lock judged by the Date of the answer that brought it. */
bool smig_s3_ledger_parse(const smig_s3_ledger_t *self, const smig_s3_snapshot_t *snapshot, smig_ledger_state_t *state,
                          smig_error_t *error);

bool smig_s3_ledger_commit(smig_ledger_t *self, const smig_lease_t *lease, const smig_ledger_change_t *change,
                           smig_error_t *error);
bool smig_s3_ledger_checkpoint_read(smig_ledger_t *self, const smig_lease_t *lease, const char *step_id,
                                    const char *key, bson_t *value, bool *found, smig_error_t *error);
bool smig_s3_ledger_checkpoint_write(smig_ledger_t *self, const smig_lease_t *lease, const char *step_id,
                                     const char *key, const bson_t *value, smig_error_t *error);
bool smig_s3_ledger_checkpoint_clear(smig_ledger_t *self, const smig_lease_t *lease, const char *step_id,
                                     smig_error_t *error);

/* --- s3_ledger_lock.c, s3_ledger_trust.c ---------------------------------------------------------------------- */

bool smig_s3_ledger_load(smig_ledger_t *self, smig_ledger_state_t *state, smig_error_t *error);
bool smig_s3_ledger_acquire(smig_ledger_t *self, smig_lease_t *lease, const smig_acquire_t *acquire, bool *won,
                            smig_ledger_state_t *state, int64_t *sent_boot_ms, smig_error_t *error);
bool smig_s3_ledger_renew(smig_ledger_t *self, const smig_lease_t *lease, bool *ours, smig_error_t *error);

/* Takes what the ledger says about its store. */
void smig_s3_ledger_note_verdict(smig_s3_ledger_t *self, const bson_t *data);
/* Before the lock is taken: whether the store is exclusive, probed unless it is known. LEDGER_NOT_EXCLUSIVE unless that is accepted. */
bool smig_s3_ledger_trust(smig_s3_ledger_t *self, smig_error_t *error);
/* Puts an own verdict into the ledger. */
void smig_s3_ledger_record_verdict(const smig_s3_ledger_t *self, int64_t wall_ms, smig_edits_t *edits);

/* --- s3_ledger_history.c -------------------------------------------------------------------------------------- */

/* Beginning and end alike: the whole document is put in its place. */
bool smig_s3_ledger_history_write(smig_ledger_t *self, const smig_lease_t *lease, const bson_t *document,
                                  smig_error_t *error);
bool smig_s3_ledger_history_list(smig_ledger_t *self, bson_t *list, smig_error_t *error);
bool smig_s3_ledger_history_prune(smig_ledger_t *self, const char *before, int64_t *removed, smig_error_t *error);

#endif
