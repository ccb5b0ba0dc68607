/* The ledger in memory, for tests: ledgers of one store share it, as processes share a server. Thread-safe. */
#ifndef SMIG_LEDGER_MEMORY_LEDGER_H
#define SMIG_LEDGER_MEMORY_LEDGER_H

#include "ledger.h"

typedef struct smig_memory_store smig_memory_store_t;

smig_memory_store_t *smig_memory_store_new(void);
void smig_memory_store_free(smig_memory_store_t *store);
/* The stored data (a copy, to be destroyed), or an empty document; and to plant one (NULL: none, nor any history). */
void smig_memory_store_get(smig_memory_store_t *store, bson_t *data);
void smig_memory_store_set(smig_memory_store_t *store, const bson_t *data);
/* The store's own clock runs ahead of the wall clock by this. */
void smig_memory_store_advance(smig_memory_store_t *store, int64_t ms);

smig_ledger_t *smig_memory_ledger_new(smig_memory_store_t *store);

#endif
