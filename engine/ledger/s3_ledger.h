/*
 * The ledger in S3: one JSON object, written by conditional PUTs alone (contract, sections 6 and 7).
 *
 * Whether the store keeps the promise of such writes is probed before the first lock (s3_probe.h); the verdict is kept in the ledger, in
 * `conditionalWrites {verdict, seen?, at, store}`.
 */
#ifndef SMIG_LEDGER_S3_LEDGER_H
#define SMIG_LEDGER_S3_LEDGER_H

#include "connection.h"
#include "ledger.h"
#include "s3.h"

/*
 * `client` and `connection` are borrowed and shared with the steps. `ledger_id` is the object's key. `best_effort` accepts a store that is
 * not exclusive. `connection` is NULL without MongoDB; with it, what a dead run left there is ended as with a ledger in MongoDB.
 */
smig_ledger_t *smig_s3_ledger_new(smig_s3_t *client, const char *bucket, const char *ledger_id, bool best_effort,
                                  smig_mongo_connection_t *connection, const char *database);
/* What the keys of a ledger's history begin with: "<ledger id without .json>/history/" (bson_free). */
char *smig_s3_history_prefix(const char *ledger_id);

#endif
