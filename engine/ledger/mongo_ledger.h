/* The ledger in MongoDB: one document {nameId, data} of collection SmartdataEasyStore (contract, sections 6 and 7). */
#ifndef SMIG_LEDGER_MONGO_LEDGER_H
#define SMIG_LEDGER_MONGO_LEDGER_H

#include "ledger.h"
#include "mongo_channel.h"

/*
 * `connection` is borrowed and shared with the steps (its time limits per ledger operation come from
 * smig_mongo_connection_limit). `ledger_id` is the nameId; `ledger_name` names the history.
 */
smig_ledger_t *smig_mongo_ledger_new(smig_mongo_connection_t *connection, const char *database, const char *ledger_id,
                                     const char *ledger_name);
/* The regular expression of the nameIds of a ledger's history (bson_free). */
char *smig_mongo_history_pattern(const char *ledger_name);

#endif
