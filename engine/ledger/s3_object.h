/*
 * One JSON object in S3 that is read and replaced as a whole: GET, and PUT under a condition until it is known whose write won.
 * Every body has a fresh top-level `nonce`: after a 412 or a lost answer it tells whether the own write landed.
 * Users: s3_ledger, s3_probe (errors), s3_survey. One thread at a time per object. Units: ms. Source: the contract, sections 6 and 7.
 */
#ifndef SMIG_LEDGER_S3_OBJECT_H
#define SMIG_LEDGER_S3_OBJECT_H

#include "s3.h"

typedef struct smig_s3_object {
  smig_s3_t *client;        /* borrowed */
  const char *bucket, *key; /* borrowed */
  const char *place;        /* borrowed: for messages, see smig_ledger */
  int64_t limit_ms;         /* of one request, with all its tries */
  bool conditional;         /* false: the store refuses conditions */
  bool distrusted;          /* the store may let two writes win: what was written is read back */
} smig_s3_object_t;

/* The object as it was at one moment. Owned. */
typedef struct smig_s3_snapshot {
  bson_t *data; /* NULL: there is none */
  char *etag;
  int64_t date_ms;          /* the Date of the answer that told; 0: it told none */
  int64_t answered_boot_ms; /* when that answer came */
} smig_s3_snapshot_t;

#define SMIG_S3_SNAPSHOT_INIT                                                                                          \
  { NULL, NULL, 0, 0 }

void smig_s3_snapshot_release(smig_s3_snapshot_t *snapshot);
/* Moves a snapshot: *to (initialised) is replaced. */
void smig_s3_snapshot_move(smig_s3_snapshot_t *to, smig_s3_snapshot_t *from);
void smig_s3_snapshot_copy(smig_s3_snapshot_t *to, const smig_s3_snapshot_t *from);

/* LEDGER_CORRUPT; else the client's error, see smig_s3_object_fail. *snapshot (initialised) is replaced. */
bool smig_s3_object_get(const smig_s3_object_t *object, smig_s3_snapshot_t *snapshot, smig_error_t *lower);

typedef enum smig_s3_put {
  SMIG_S3_PUT_DONE,   /* *now is what was written */
  SMIG_S3_PUT_RACED,  /* somebody else's write came first, or the store wants another try: *now is what is there */
  SMIG_S3_PUT_FAILED, /* *lower says why */
} smig_s3_put_t;

/* What a try of a write has met. */
typedef struct smig_s3_attempt {
  int64_t until_boot_ms; /* no try begins after it */
  bool unanswered;       /* a try was not answered and may have landed */
  int64_t sent_boot_ms;  /* when the first try of the last body was sent */
} smig_s3_attempt_t;

/*
 * Replaces the object that was `before` by `data` (with its nonce in it), or creates it where `before` has no data. *now (initialised) is
 * replaced unless it failed. FAILED: LEDGER_IO when the object vanished, INVALID_OPTIONS when the data is no JSON, else the client's
 * error, with details.outcome_unknown where the write may have landed.
 */
smig_s3_put_t smig_s3_object_put(const smig_s3_object_t *object, const smig_s3_snapshot_t *before, const bson_t *data,
                                 smig_s3_attempt_t *attempt, smig_s3_snapshot_t *now, smig_error_t *lower);
/* Waits 50 to 400 ms, as a lost race wants; false: `until` would be past. */
bool smig_s3_object_pause(int64_t until_boot_ms);

/* Makes the client's error LEDGER_IO or CONNECTION_FAILED "cannot <what> <place>: …", with the lower one as cause. */
void smig_s3_object_fail(const char *place, const char *what, smig_error_t *lower, smig_error_t *error);
/* The HTTP status of a client's error; 0: none. */
int64_t smig_s3_status(const smig_error_t *lower);
/* Whether a write with this error may have happened. */
bool smig_s3_is_unclear(const smig_error_t *lower);

#endif
