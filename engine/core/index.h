/*
 * Positions by name: an open-addressed hash over borrowed strings, filled once and then only read.
 * Users: chain (ids), ledger state (recorded ids). No errors. Readers on any thread once it is filled.
 */
#ifndef SMIG_CORE_INDEX_H
#define SMIG_CORE_INDEX_H

#include <stddef.h>
#include <stdint.h>

#define SMIG_INDEX_NONE SIZE_MAX

typedef struct smig_index_slot {
  const char *name; /* borrowed; NULL: free */
  size_t position;
} smig_index_slot_t;

typedef struct smig_index {
  smig_index_slot_t *slots; /* NULL: nothing is in it */
  size_t mask;
} smig_index_t;

/* Makes room for `count` names and empties it. */
void smig_index_init(smig_index_t *index, size_t count);
void smig_index_release(smig_index_t *index);
/* Enters a name and returns SMIG_INDEX_NONE, or the position under which it is known already. */
size_t smig_index_put(smig_index_t *index, const char *name, size_t position);
size_t smig_index_get(const smig_index_t *index, const char *name);

#endif
