/*
 * What to do after a try that failed: the table, and how long to wait. Pure; any thread. Users: s3/exchange.c.
 * Source of the rules: AWS's SDK retry behaviour ("standard" mode) and S3's list of error codes. Every request counts as safe to
 * repeat but for those that their caller marked `once`.
 */
#ifndef SMIG_S3_RETRY_H
#define SMIG_S3_RETRY_H

#include <stdbool.h>
#include <stdint.h>

enum { SMIG_S3_TRIES = 5, SMIG_S3_RETRY_BASE_MS = 100, SMIG_S3_RETRY_CAP_MS = 20000 };

typedef enum smig_s3_remedy {
  SMIG_S3_NO_REMEDY,
  SMIG_S3_WAIT,            /* the same again, later */
  SMIG_S3_SET_CLOCK,       /* again with the server's time */
  SMIG_S3_NEW_CREDENTIALS, /* again with credentials fetched anew */
  SMIG_S3_OTHER_REGION,    /* again as the answer's region wants it */
} smig_s3_remedy_t;

/* Of an answer: its status and the service's code. A region is a remedy only when the answer names one (`names_region`). */
smig_s3_remedy_t smig_s3_remedy(int status, const char *code, bool names_region);
/* Whether an answer leaves open what a request did that changes something. */
bool smig_s3_leaves_unknown(int status, const char *code);
/* Full jitter: of `tries` failed ones, `random` any number; at least what the server asked for (0: nothing), at most the cap. */
int64_t smig_s3_retry_delay_ms(int tries, uint32_t random, int64_t retry_after_ms);

#endif
