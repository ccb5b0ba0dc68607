/* The history in memory, see memory_history.h. */
#include "memory_history.h"

#include <string.h>

void smig_memory_history_put(bson_t **history, const char *run_id, const bson_t *document) {
  bson_t *next = bson_new();
  if (*history) bson_copy_to_excluding_noinit(*history, next, run_id, NULL);
  BSON_APPEND_DOCUMENT(next, run_id, document);
  bson_destroy(*history);
  *history = next;
}

void smig_memory_history_list(const bson_t *history, bson_t *list) {
  bson_iter_t iter;
  if (!history || !bson_iter_init(&iter, history)) return;
  for (uint32_t count = 0; bson_iter_next(&iter); count++) {
    char buffer[16];
    const char *key;
    bson_uint32_to_string(count, &key, buffer, sizeof buffer);
    bson_append_iter(list, key, -1, &iter);
  }
}

static bool began_before(const bson_iter_t *document, const char *before) {
  bson_iter_t field;
  return bson_iter_recurse(document, &field) && bson_iter_find(&field, "startedAt") && BSON_ITER_HOLDS_UTF8(&field) &&
         strcmp(bson_iter_utf8(&field, NULL), before) < 0;
}

int64_t smig_memory_history_prune(bson_t **history, const char *before) {
  bson_iter_t iter;
  int64_t removed = 0;
  if (!*history || !bson_iter_init(&iter, *history)) return 0;
  bson_t *kept = bson_new();
  while (bson_iter_next(&iter)) {
    if (began_before(&iter, before))
      removed++;
    else
      bson_append_iter(kept, NULL, 0, &iter);
  }
  bson_destroy(*history);
  *history = kept;
  return removed;
}
