/* Looking around in a bucket before a bootstrap, see surroundings.h. Users: run/survey. Errors: LEDGER_IO, CONNECTION_FAILED. */
#ifndef SMIG_LEDGER_S3_SURVEY_H
#define SMIG_LEDGER_S3_SURVEY_H

#include "s3.h"
#include "surroundings.h"

/*
 * *why (bson_free) says what makes the bucket not fresh; NULL: it is: within the scope, no object but this engine's (the ledger, its
 * history, the keys of a probe).
 */
bool smig_s3_is_fresh(smig_s3_t *client, const char *bucket, const smig_surroundings_t *around, char **why,
                      smig_error_t *error);
/*
 * LEDGER_ELSEWHERE when this program's ledger is here under another key, or here at all although it should be elsewhere. Adds the keys
 * of other programs' ledgers to `others`.
 */
bool smig_s3_look_elsewhere(smig_s3_t *client, const char *bucket, const smig_surroundings_t *around,
                            bson_string_t *others, smig_error_t *error);

#endif
