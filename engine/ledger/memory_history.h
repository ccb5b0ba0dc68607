/*
 * The history of the ledger in memory: documents by run id. Users: memory_ledger, which holds its store's mutex around every
 * call. No errors.
 */
#ifndef SMIG_LEDGER_MEMORY_HISTORY_H
#define SMIG_LEDGER_MEMORY_HISTORY_H

#include <bson/bson.h>

/* *history is {run id: document}; NULL: nothing is stored. */
void smig_memory_history_put(bson_t **history, const char *run_id, const bson_t *document);
void smig_memory_history_list(const bson_t *history, bson_t *list);
/* How many were removed. */
int64_t smig_memory_history_prune(bson_t **history, const char *before);

#endif
