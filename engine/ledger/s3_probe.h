/*
 * Whether a store keeps the promise of conditional writes, found out by behaviour alone (contract, section 7).
 * Scratch objects "<stem>.probe-<random>-<n>" are made and removed again, also after a failure.
 * Users: s3_ledger. One thread. Errors: the client's; a refusal or a broken promise is a verdict, not an error.
 */
#ifndef SMIG_LEDGER_S3_PROBE_H
#define SMIG_LEDGER_S3_PROBE_H

#include "s3.h"

typedef enum smig_s3_verdict {
  SMIG_S3_UNKNOWN,
  SMIG_S3_EXCLUSIVE,
  SMIG_S3_REFUSES, /* conditional writes are refused */
  SMIG_S3_IGNORES, /* a condition is not looked at */
  SMIG_S3_RACES    /* asked one by one it keeps the promise, in a race it does not */
} smig_s3_verdict_t;

/* "exclusive", "refuses", "ignores", "races"; and back: UNKNOWN for anything else. */
const char *smig_s3_verdict_name(smig_s3_verdict_t verdict);
smig_s3_verdict_t smig_s3_verdict_from(const char *name);

/* What the keys of a ledger's scratch objects begin with: "<ledger id without .json>.probe-" (bson_free). */
char *smig_s3_probe_prefix(const char *ledger_id);

/*
 * Asks the store. *seen (bson_free) says what was found when the verdict is not EXCLUSIVE, for a message: "a second create of one key
 * succeeded". False with *lower: it could not be found out.
 */
bool smig_s3_probe(smig_s3_t *client, const char *bucket, const char *ledger_id, int64_t limit_ms,
                   smig_s3_verdict_t *verdict, char **seen, smig_error_t *lower);

#endif
