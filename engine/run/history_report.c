/*
 * Reading and pruning the history. The report has snake_case names, what is stored camelCase. Users: smartmigration.h. Main thread.
 */
#include "clock.h"
#include "operation.h"

#include <ctype.h>
#include <stdlib.h>

enum { KEY_SIZE = 64 };

static void snake_case(const char *key, char out[KEY_SIZE]) {
  size_t used = 0;
  for (const char *c = key; *c && used + 2 < KEY_SIZE; c++) {
    if (isupper((unsigned char)*c)) out[used++] = '_';
    out[used++] = (char)tolower((unsigned char)*c);
  }
  out[used] = '\0';
}

static void append_renamed(bson_t *to, const bson_t *from) {
  bson_iter_t iter;
  for (bool more = bson_iter_init(&iter, from); more && bson_iter_next(&iter);) {
    char key[KEY_SIZE];
    const uint8_t *bytes;
    uint32_t length;
    bson_t child, renamed;
    snake_case(bson_iter_key(&iter), key);
    if (BSON_ITER_HOLDS_DOCUMENT(&iter)) {
      bson_iter_document(&iter, &length, &bytes);
      bson_append_document_begin(to, key, -1, &renamed);
      if (bson_init_static(&child, bytes, length)) append_renamed(&renamed, &child);
      bson_append_document_end(to, &renamed);
    } else if (BSON_ITER_HOLDS_ARRAY(&iter)) {
      bson_iter_array(&iter, &length, &bytes);
      bson_append_array_begin(to, key, -1, &renamed);
      if (bson_init_static(&child, bytes, length)) append_renamed(&renamed, &child);
      bson_append_array_end(to, &renamed);
    } else {
      bson_append_iter(to, key, -1, &iter);
    }
  }
}

/* A stored document; what it points at is the list's. */
typedef struct stored {
  const uint8_t *bytes;
  uint32_t length;
  const char *started_at, *run, *status; /* "" where the document does not tell */
} stored_t;

static const char *text_of(const bson_t *document, const char *key) {
  bson_iter_t field;
  bool found = bson_iter_init_find(&field, document, key) && BSON_ITER_HOLDS_UTF8(&field);
  return found ? bson_iter_utf8(&field, NULL) : "";
}

static bool read_stored(const bson_iter_t *iter, stored_t *stored) {
  bson_t document;
  if (!BSON_ITER_HOLDS_DOCUMENT(iter)) return false;
  bson_iter_document(iter, &stored->length, &stored->bytes);
  if (!bson_init_static(&document, stored->bytes, stored->length)) return false;
  stored->started_at = text_of(&document, "startedAt");
  stored->run = text_of(&document, "run");
  stored->status = text_of(&document, "status");
  return true;
}

static int newest_first(const void *left, const void *right) {
  return strcmp(((const stored_t *)right)->started_at, ((const stored_t *)left)->started_at);
}

static void append_run(bson_t *runs, uint32_t index, const stored_t *stored, const char *holder_run) {
  char buffer[16];
  const char *key;
  bson_t document, corrected = BSON_INITIALIZER, item;
  bson_init_static(&document, stored->bytes, stored->length);
  /* Unfinished, and its run does not hold the lock, or is gone with it: it ended without a word. */
  if (strcmp(stored->status, "running") == 0 && strcmp(stored->run, holder_run) != 0) {
    bson_copy_to_excluding_noinit(&document, &corrected, "status", NULL);
    BSON_APPEND_UTF8(&corrected, "status", smig_status_name(SMIG_STATUS_INTERRUPTED));
  } else {
    bson_concat(&corrected, &document);
  }
  bson_uint32_to_string(index, &key, buffer, sizeof buffer);
  bson_append_document_begin(runs, key, -1, &item);
  append_renamed(&item, &corrected);
  bson_append_document_end(runs, &item);
  bson_destroy(&corrected);
}

static void append_runs(bson_t *report, const bson_t *list, const smig_ledger_state_t *state) {
  char holder_run[SMIG_RUN_ID_SIZE] = "";
  stored_t *documents = bson_malloc0((bson_count_keys(list) + 1) * sizeof *documents);
  bson_iter_t iter;
  size_t count = 0;
  bson_t runs;
  if (state->lock.holder && !smig_survey_lock_is_stale(state)) smig_holder_run_id(state->lock.holder, holder_run);
  for (bool more = bson_iter_init(&iter, list); more && bson_iter_next(&iter);)
    if (read_stored(&iter, &documents[count])) count++;
  qsort(documents, count, sizeof *documents, newest_first);
  BSON_APPEND_ARRAY_BEGIN(report, "runs", &runs);
  for (size_t i = 0; i < count; i++) append_run(&runs, (uint32_t)i, &documents[i], holder_run);
  bson_append_array_end(report, &runs);
  bson_free(documents);
}

bool smig_engine_history(smig_engine_t *engine, bson_t *report, smig_error_t *error) {
  smig_survey_t survey;
  bson_t list = BSON_INITIALIZER;
  bson_init(report);
  smig_survey_init(&survey);
  smig_engine_begin_call(engine);
  bool good = smig_survey_read(engine, &survey, error);
  if (good) {
    atomic_store(&engine->guard.looking, true);
    good = engine->ledger->ops->history_list(engine->ledger, &list, error);
    atomic_store(&engine->guard.looking, false);
  }
  if (good) append_runs(report, &list, &survey.state);
  bson_destroy(&list);
  smig_survey_release(&survey);
  smig_engine_end_call(engine, !good, error);
  return good;
}

bool smig_engine_prune_history(smig_engine_t *engine, int64_t older_than_ms, bson_t *report, smig_error_t *error) {
  char before[SMIG_ISO_SIZE];
  int64_t removed = 0, now = smig_clock_wall_ms();
  bson_init(report);
  if (!engine->ledger) {
    smig_error_set(error, SMIG_NO_RESOURCES, "the engine was made offline: it has no history");
    return false;
  }
  if (older_than_ms < 0 || older_than_ms > now)
    return smig_refuse(error, "age",
                       "history older than %" PRId64 " ms cannot be pruned: the age must lie between 0 and now",
                       older_than_ms);
  smig_clock_iso(now - older_than_ms, before);
  smig_engine_begin_call(engine);
  bool good = engine->ledger->ops->history_prune(engine->ledger, before, &removed, error);
  if (good) {
    BSON_APPEND_INT64(report, "removed", removed);
    BSON_APPEND_UTF8(report, "before", before);
  }
  smig_engine_end_call(engine, !good, error);
  return good;
}
