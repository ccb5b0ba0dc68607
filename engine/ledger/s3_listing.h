/*
 * Keys of a bucket by prefix, page by page. Users: s3_survey, s3_ledger_history. Errors: the client's. One thread.
 */
#ifndef SMIG_LEDGER_S3_LISTING_H
#define SMIG_LEDGER_S3_LISTING_H

#include "s3.h"

/* Called with each key (NUL added; any bytes); false ends the listing. */
typedef bool (*smig_s3_key_fn)(const char *key, size_t length, void *user);

/* All keys that begin with the prefix, until `each` has seen enough; `delimiter` NULL: those of every depth. */
bool smig_s3_list(smig_s3_t *client, const char *bucket, const char *prefix, const char *delimiter, smig_s3_key_fn each,
                  void *user, smig_error_t *lower);

#endif
