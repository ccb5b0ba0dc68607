/* Looking around in MongoDB before a bootstrap, see surroundings.h. Users: run/survey. Errors: LEDGER_IO, CONNECTION_FAILED. */
#ifndef SMIG_LEDGER_MONGO_SURVEY_H
#define SMIG_LEDGER_MONGO_SURVEY_H

#include "mongo_channel.h"
#include "surroundings.h"

/*
 * *why (bson_free) says what makes the database not fresh; NULL: it is: within the scope, no collection beside system.* and the
 * ledgers', and in the latter no document but this engine's.
 */
bool smig_mongo_is_fresh(smig_mongo_channel_t *channel, const char *database, const smig_surroundings_t *around,
                         char **why, smig_error_t *error);
/*
 * LEDGER_ELSEWHERE when this program's ledger is here under another name, or here at all although it should be elsewhere. Adds the
 * names of other programs' ledgers to `others`.
 */
bool smig_mongo_look_elsewhere(smig_mongo_channel_t *channel, const char *database, const smig_surroundings_t *around,
                               bson_string_t *others, smig_error_t *error);

#endif
