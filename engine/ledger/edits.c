/*
 * Edits of a ledger's `data`; see edits.h. The fields of an entry are written one by one and never as a whole, so
 * fields that others put there survive.
 */
#include "edits.h"

enum { ERROR_MAX = 2048, ERROR_TEXT_MAX = 256 };

void smig_edits_release(smig_edits_t *edits) {
  for (size_t i = 0; i < edits->count; i++)
    if (!edits->list[i].remove) bson_value_destroy(&edits->list[i].value);
  bson_free(edits->list);
  *edits = (smig_edits_t)SMIG_EDITS_INIT;
}

static smig_edit_t *add(smig_edits_t *edits, const char *first, const char *second, const char *third) {
  if (edits->count == edits->capacity) {
    edits->capacity = edits->capacity ? edits->capacity * 2 : 32;
    edits->list = bson_realloc(edits->list, edits->capacity * sizeof *edits->list);
  }
  smig_edit_t *edit = &edits->list[edits->count++];
  *edit = (smig_edit_t){.path = {first, second, third}, .depth = third ? 3 : second ? 2 : 1};
  return edit;
}

void smig_edits_set(smig_edits_t *edits, const bson_value_t *value, const char *first, const char *second,
                    const char *third) {
  bson_value_copy(value, &add(edits, first, second, third)->value);
}

void smig_edits_set_utf8(smig_edits_t *edits, const char *text, const char *first, const char *second,
                         const char *third) {
  bson_value_t value = {.value_type = BSON_TYPE_UTF8};
  value.value.v_utf8.str = (char *)text;
  value.value.v_utf8.len = (uint32_t)strlen(text);
  smig_edits_set(edits, &value, first, second, third);
}

void smig_edits_set_number(smig_edits_t *edits, int64_t number, const char *first, const char *second,
                           const char *third) {
  bson_value_t value = {0};
  if (number >= INT32_MIN && number <= INT32_MAX) {
    value.value_type = BSON_TYPE_INT32;
    value.value.v_int32 = (int32_t)number;
  } else {
    value.value_type = BSON_TYPE_INT64;
    value.value.v_int64 = number;
  }
  smig_edits_set(edits, &value, first, second, third);
}

void smig_edits_set_null(smig_edits_t *edits, const char *first, const char *second, const char *third) {
  bson_value_t value = {.value_type = BSON_TYPE_NULL};
  smig_edits_set(edits, &value, first, second, third);
}

void smig_edits_remove(smig_edits_t *edits, const char *first, const char *second, const char *third) {
  add(edits, first, second, third)->remove = true;
}

/* How many bytes of `text` fit into `limit` without cutting a character. */
static size_t cut(const char *text, size_t length, size_t limit) {
  if (length <= limit) return length;
  while (limit && ((unsigned char)text[limit] & 0xC0) == 0x80) limit--;
  return limit;
}

/* An entry's error takes at most 2 KiB: texts are cut first; if that is not enough, the code alone stays. */
static void shorten_error(const bson_t *error, bson_t *out) {
  bson_iter_t iter;
  bson_init(out);
  if (error->len <= ERROR_MAX) {
    bson_concat(out, error);
    return;
  }
  bson_t code = BSON_INITIALIZER;
  for (bool more = bson_iter_init(&iter, error); more && bson_iter_next(&iter);) {
    const char *key = bson_iter_key(&iter);
    if (BSON_ITER_HOLDS_UTF8(&iter)) {
      uint32_t length;
      const char *text = bson_iter_utf8(&iter, &length);
      int kept = (int)cut(text, length, ERROR_TEXT_MAX);
      bson_append_utf8(out, key, -1, text, kept);
      if (strcmp(key, "code") == 0) bson_append_utf8(&code, key, -1, text, kept);
    } else {
      bson_append_iter(out, key, -1, &iter);
    }
  }
  if (out->len > ERROR_MAX) {
    bson_destroy(out);
    bson_copy_to(&code, out);
  }
  bson_destroy(&code);
}

/* What both kinds of entries carry. */
static void describe(smig_edits_t *edits, const smig_entry_write_t *entry, const smig_lease_t *lease) {
  const char *id = entry->id;
  char *host = smig_holder_host(lease->holder);
  smig_edits_set_utf8(edits, id, "steps", id, "stepId");
  if (entry->from_version) smig_edits_set_utf8(edits, entry->from_version, "steps", id, "fromVersion");
  if (entry->to_version) smig_edits_set_utf8(edits, entry->to_version, "steps", id, "toVersion");
  smig_edits_set_utf8(edits, smig_status_name(entry->status), "steps", id, "status");
  if (entry->started_at) smig_edits_set_utf8(edits, entry->started_at, "steps", id, "startedAt");
  if (entry->checksum) smig_edits_set_utf8(edits, entry->checksum, "steps", id, "checksum");
  smig_edits_set_utf8(edits, lease->run_id, "steps", id, "run");
  smig_edits_set_utf8(edits, "smartmigration-lua/" SMIG_VERSION, "steps", id, "engine");
  smig_edits_set_utf8(edits, host, "steps", id, "host");
  if (entry->attempts > 0) smig_edits_set_number(edits, entry->attempts, "steps", id, "attempts");
  bson_free(host);
}

static void finish(smig_edits_t *edits, const smig_entry_write_t *entry, const smig_lease_t *lease) {
  const char *id = entry->id;
  describe(edits, entry, lease);
  if (entry->finished_at) smig_edits_set_utf8(edits, entry->finished_at, "steps", id, "finishedAt");
  if (entry->duration_ms >= 0) smig_edits_set_number(edits, entry->duration_ms, "steps", id, "durationMs");
  if (!entry->checksum) smig_edits_remove(edits, "steps", id, "checksum");
  if (entry->error) {
    bson_t error;
    shorten_error(entry->error, &error);
    bson_value_t value = {.value_type = BSON_TYPE_DOCUMENT};
    value.value.v_doc.data = (uint8_t *)bson_get_data(&error);
    value.value.v_doc.data_len = error.len;
    smig_edits_set(edits, &value, "steps", id, "error");
    bson_destroy(&error);
  } else {
    smig_edits_remove(edits, "steps", id, "error");
  }
}

static void start(smig_edits_t *edits, const smig_entry_write_t *entry, const smig_lease_t *lease) {
  const char *id = entry->id;
  describe(edits, entry, lease);
  if (!entry->checksum) smig_edits_remove(edits, "steps", id, "checksum");
  smig_edits_remove(edits, "steps", id, "finishedAt");
  smig_edits_remove(edits, "steps", id, "durationMs");
  smig_edits_remove(edits, "steps", id, "error");
}

void smig_edits_of_change(smig_edits_t *edits, const smig_ledger_change_t *change, const smig_lease_t *lease,
                          const char *now) {
  if (change->finished) finish(edits, change->finished, lease);
  if (change->started) start(edits, change->started, lease);
  if (change->current_version) smig_edits_set_utf8(edits, change->current_version, "currentVersion", NULL, NULL);
  if (change->compatible_from) smig_edits_set_utf8(edits, change->compatible_from, "compatibleFrom", NULL, NULL);
  if (change->bootstrap_version) {
    if (change->bootstrap_mode) smig_edits_set_utf8(edits, change->bootstrap_mode, "bootstrap", "mode", NULL);
    smig_edits_set_utf8(edits, change->bootstrap_version, "bootstrap", "version", NULL);
    smig_edits_set_utf8(edits, now, "bootstrap", "at", NULL);
    if (change->bootstrap_replaced)
      smig_edits_set_utf8(edits, change->bootstrap_replaced, "bootstrap", "replaced", NULL);
    else
      smig_edits_remove(edits, "bootstrap", "replaced", NULL);
  }
  for (const char *const *id = change->remove_entries; id && *id; id++) {
    smig_edits_remove(edits, "steps", *id, NULL);
    smig_edits_remove(edits, "checkpoints", *id, NULL);
  }
  if (change->accept_checksum_of)
    smig_edits_set_utf8(edits, change->accepted_checksum, "steps", change->accept_checksum_of, "checksum");
  if (change->clear_all_checkpoints) {
    bson_t none = BSON_INITIALIZER;
    bson_value_t empty = {.value_type = BSON_TYPE_DOCUMENT};
    empty.value.v_doc.data = (uint8_t *)bson_get_data(&none);
    empty.value.v_doc.data_len = none.len;
    smig_edits_set(edits, &empty, "checkpoints", NULL, NULL);
    bson_destroy(&none);
  }
  if (change->clear_checkpoints_of) smig_edits_remove(edits, "checkpoints", change->clear_checkpoints_of, NULL);
  if (change->clear_leftovers) smig_edits_remove(edits, "leftovers", NULL, NULL);
  if (change->release) {
    smig_edits_set_null(edits, "lock", "holder", NULL);
    smig_edits_set_null(edits, "lock", "acquiredAt", NULL);
    smig_edits_set_null(edits, "lock", "expiresAt", NULL);
  }
}

/* Copies `in` (NULL: empty) to the empty `out` with one edit applied below `depth`. */
static void apply_one(const smig_edit_t *edit, size_t depth, const bson_t *in, bson_t *out) {
  const char *name = edit->path[depth];
  bool last = depth + 1 == edit->depth, found = false;
  bson_iter_t iter;
  for (bool more = in && bson_iter_init(&iter, in); more && bson_iter_next(&iter);) {
    const char *key = bson_iter_key(&iter);
    if (strcmp(key, name) != 0) {
      bson_append_iter(out, key, -1, &iter);
      continue;
    }
    found = true;
    if (last) {
      if (!edit->remove) bson_append_value(out, key, -1, &edit->value);
    } else if (BSON_ITER_HOLDS_DOCUMENT(&iter)) {
      const uint8_t *bytes;
      uint32_t length;
      bson_t child_in, child_out;
      bson_iter_document(&iter, &length, &bytes);
      bson_init_static(&child_in, bytes, length);
      bson_append_document_begin(out, key, -1, &child_out);
      apply_one(edit, depth + 1, &child_in, &child_out);
      bson_append_document_end(out, &child_out);
    } else if (edit->remove) {
      bson_append_iter(out, key, -1, &iter);
    } else {
      found = false; /* replaced below by a document */
    }
  }
  if (found || edit->remove) return;
  if (last) {
    bson_append_value(out, name, -1, &edit->value);
  } else {
    bson_t child;
    bson_append_document_begin(out, name, -1, &child);
    apply_one(edit, depth + 1, NULL, &child);
    bson_append_document_end(out, &child);
  }
}

void smig_edits_apply(const smig_edits_t *edits, const bson_t *data, bson_t *out) {
  bson_t *current = bson_copy(data);
  for (size_t i = 0; i < edits->count; i++) {
    bson_t *next = bson_new();
    apply_one(&edits->list[i], 0, current, next);
    bson_destroy(current);
    current = next;
  }
  bson_copy_to(current, out);
  bson_destroy(current);
}

bool smig_edits_is_path(const char *name) {
  return *name && *name != '$' && !strchr(name, '.');
}

bool smig_edits_are_paths(const smig_edits_t *edits) {
  for (size_t i = 0; i < edits->count; i++)
    for (size_t part = 0; part < edits->list[i].depth; part++)
      if (!smig_edits_is_path(edits->list[i].path[part])) return false;
  return true;
}

bool smig_checkpoint_fits(const char *step_id, const char *key, const bson_t *value, smig_error_t *error) {
  int64_t size = (int64_t)value->len - SMIG_CHECKPOINT_WRAP;
  if (size <= SMIG_CHECKPOINT_MAX) return true;
  smig_error_set(error, SMIG_CHECKPOINT_TOO_LARGE,
                 "checkpoint \"%s\" of step \"%s\" has %" PRId64 " bytes, at most %d are kept: store a position, not "
                 "the data",
                 key, step_id, size, SMIG_CHECKPOINT_MAX);
  bson_t *details = smig_error_details(error);
  if (details) BCON_APPEND(details, "step_id", step_id, "key", key, "size", BCON_INT64(size));
  return false;
}

void smig_checkpoint_overfills(const char *step_id, const char *key, int64_t size, smig_error_t *error) {
  smig_error_set(error, SMIG_CHECKPOINT_TOO_LARGE,
                 "checkpoint \"%s\" of step \"%s\" would make the ledger %" PRId64 " bytes large, at most %d are "
                 "kept: store a position, not the data",
                 key, step_id, size, SMIG_LEDGER_MAX);
  bson_t *details = smig_error_details(error);
  if (details) BCON_APPEND(details, "step_id", step_id, "key", key, "ledger_size", BCON_INT64(size));
}

void smig_lock_lost(const char *place, const char *holder, smig_error_t *error) {
  if (holder) {
    char *host = smig_holder_host(holder);
    smig_error_set(error, SMIG_LOCK_LOST,
                   "the lock of %s was lost: it is held by %s; run again when that run has ended", place, host);
    bson_free(host);
  } else {
    smig_error_set(error, SMIG_LOCK_LOST, "the lock of %s was lost: nobody holds it now; run again", place);
  }
  bson_t *details = smig_error_details(error);
  if (!details) return;
  if (holder)
    BSON_APPEND_UTF8(details, "holder", holder);
  else
    BSON_APPEND_NULL(details, "holder");
}
