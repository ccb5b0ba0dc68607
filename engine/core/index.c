/*
 * Positions by name. See index.h.
 * At most half of the slots are used; the hash is FNV-1a, which is fair to short names. A hostile migration folder could
 * only slow itself down.
 */
#include "index.h"

#include <bson/bson.h>
#include <string.h>

static size_t hash_of(const char *name) {
  uint64_t hash = UINT64_C(14695981039346656037);
  for (; *name; name++) hash = (hash ^ (unsigned char)*name) * UINT64_C(1099511628211);
  return (size_t)(hash ^ hash >> 32);
}

void smig_index_init(smig_index_t *index, size_t count) {
  size_t size = 8;
  while (size < count * 2) size *= 2;
  index->slots = bson_malloc0(size * sizeof *index->slots);
  index->mask = size - 1;
}

void smig_index_release(smig_index_t *index) {
  bson_free(index->slots);
  *index = (smig_index_t){NULL, 0};
}

/* The slot of a name, or the free one where it belongs. */
static smig_index_slot_t *slot_of(const smig_index_t *index, const char *name) {
  size_t at = hash_of(name) & index->mask;
  while (index->slots[at].name && strcmp(index->slots[at].name, name) != 0) at = (at + 1) & index->mask;
  return &index->slots[at];
}

size_t smig_index_put(smig_index_t *index, const char *name, size_t position) {
  smig_index_slot_t *slot = slot_of(index, name);
  if (slot->name) return slot->position;
  *slot = (smig_index_slot_t){name, position};
  return SMIG_INDEX_NONE;
}

size_t smig_index_get(const smig_index_t *index, const char *name) {
  if (!index->slots) return SMIG_INDEX_NONE;
  const smig_index_slot_t *slot = slot_of(index, name);
  return slot->name ? slot->position : SMIG_INDEX_NONE;
}
