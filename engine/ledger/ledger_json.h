/*
 * A ledger's `data` as the JSON text that is stored in S3, and back.
 *
 * Plain JSON, but for the values of checkpoints, which can have any BSON type: relaxed Extended JSON where that reads back as the same
 * type, else canonical. Numbers of others are kept exactly: a whole one as an integer, any other as a double where that prints as the
 * same text, else as a decimal, and one that no decimal holds as a symbol, which plain JSON knows no other use for.
 * Users: s3_ledger, s3_survey. Pure. Source of the form: the contract, section 6.
 */
#ifndef SMIG_LEDGER_LEDGER_JSON_H
#define SMIG_LEDGER_LEDGER_JSON_H

#include "smartmigration.h"

/* The data (bson_destroy); NULL with LEDGER_CORRUPT {place}, saying where the text stops to be the JSON of an object. */
bson_t *smig_ledger_json_read(const char *text, size_t length, const char *place, smig_error_t *error);
/* The text (free); NULL with INVALID_OPTIONS when a checkpoint's value would read back as another one. */
char *smig_ledger_json_write(const bson_t *data, size_t *length, smig_error_t *error);

/* Parts of the above. */

/* A checkpoint's value as it is read, appended to `out`: as Extended JSON, else, where that is none, as plain JSON. False: it is no JSON. */
bool smig_ledger_json_value(const char *text, size_t length, bson_t *out, const char *key, int key_length);
/* Whether this is one whole JSON number. */
bool smig_ledger_json_is_number(const char *text, size_t length);

#endif
