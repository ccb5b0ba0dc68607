/*
 * Edits as one update of MongoDB. Classic dotted $set and $unset touch only what changes; a name that is no part of a
 * path (a dot inside, a dollar in front) takes a pipeline, which rewrites the document. See mongo_ledger_internal.h.
 */
#include "mongo_ledger_internal.h"

static void append_classic(const smig_edits_t *edits, const char *now, bson_t *update) {
  bson_t set, unset = BSON_INITIALIZER;
  BSON_APPEND_DOCUMENT_BEGIN(update, "$set", &set);
  for (size_t i = 0; i < edits->count; i++) {
    const smig_edit_t *edit = &edits->list[i];
    char *path = bson_strdup_printf("data.%s%s%s%s%s", edit->path[0], edit->depth > 1 ? "." : "",
                                    edit->depth > 1 ? edit->path[1] : "", edit->depth > 2 ? "." : "",
                                    edit->depth > 2 ? edit->path[2] : "");
    if (edit->remove)
      BSON_APPEND_UTF8(&unset, path, "");
    else
      bson_append_value(&set, path, -1, &edit->value);
    bson_free(path);
  }
  BSON_APPEND_UTF8(&set, "_updatedAt", now);
  bson_append_document_end(update, &set);
  if (!bson_empty(&unset)) BSON_APPEND_DOCUMENT(update, "$unset", &unset);
  bson_destroy(&unset);
}

/* Whether two edits agree on their path's first `depth` parts. */
static bool same_parent(const smig_edit_t *left, const smig_edit_t *right, size_t depth) {
  if (left->depth < depth || right->depth < depth) return false;
  for (size_t i = 0; i < depth; i++)
    if (strcmp(left->path[i], right->path[i]) != 0) return false;
  return true;
}

static bson_t *merge(const smig_edits_t *edits, const smig_edit_t *model, size_t depth, const bson_t *input);

/* Appends [name, new value] for each field below `model`'s first `depth` parts that is set or holds such a field. */
static void append_fields(const smig_edits_t *edits, const smig_edit_t *model, size_t depth, const bson_t *input,
                          bson_t *pairs) {
  uint32_t count = 0;
  for (size_t i = 0; i < edits->count; i++) {
    const smig_edit_t *edit = &edits->list[i];
    bool known = edit->depth <= depth || !same_parent(edit, model, depth);
    for (size_t j = 0; j < i && !known; j++) known = same_parent(edit, &edits->list[j], depth + 1);
    bool leaf = edit->depth == depth + 1;
    if (known || (leaf && edit->remove)) continue;
    bson_t pair;
    char index[16];
    const char *key;
    bson_uint32_to_string(count++, &key, index, sizeof index);
    BSON_APPEND_ARRAY_BEGIN(pairs, key, &pair);
    BCON_APPEND(&pair, "0", "{", "$literal", BCON_UTF8(edit->path[depth]), "}");
    if (leaf) {
      bson_t literal;
      BSON_APPEND_DOCUMENT_BEGIN(&pair, "1", &literal);
      bson_append_value(&literal, "$literal", -1, &edit->value);
      bson_append_document_end(&pair, &literal);
    } else {
      bson_t *child_input = BCON_NEW("$getField", "{", "field", "{", "$literal", BCON_UTF8(edit->path[depth]), "}",
                                     "input", BCON_DOCUMENT(input), "}");
      bson_t *child = merge(edits, edit, depth + 1, child_input);
      BSON_APPEND_DOCUMENT(&pair, "1", child);
      bson_destroy(child_input);
      bson_destroy(child);
    }
    bson_append_array_end(pairs, &pair);
  }
}

/* The object that `input` becomes: its fields without the removed ones, with the set ones. */
static bson_t *merge(const smig_edits_t *edits, const smig_edit_t *model, size_t depth, const bson_t *input) {
  bson_t *base = BCON_NEW("$ifNull", "[", BCON_DOCUMENT(input), "{", "}", "]"), pairs = BSON_INITIALIZER;
  for (size_t i = 0; i < edits->count; i++) {
    const smig_edit_t *edit = &edits->list[i];
    if (!edit->remove || edit->depth != depth + 1 || !same_parent(edit, model, depth)) continue;
    bson_t *without = BCON_NEW("$unsetField", "{", "field", "{", "$literal", BCON_UTF8(edit->path[depth]), "}", "input",
                               BCON_DOCUMENT(base), "}");
    bson_destroy(base);
    base = without;
  }
  append_fields(edits, model, depth, input, &pairs);
  if (!bson_empty(&pairs)) {
    bson_t *merged = BCON_NEW("$mergeObjects", "[", BCON_DOCUMENT(base), "{", "$arrayToObject", "[", BCON_ARRAY(&pairs),
                              "]", "}", "]");
    bson_destroy(base);
    base = merged;
  }
  bson_destroy(&pairs);
  return base;
}

static void append_pipeline(const smig_edits_t *edits, const char *now, bson_t *pipeline) {
  bson_t *input = BCON_NEW("$getField", "data");
  bson_t *data = merge(edits, &edits->list[0], 0, input);
  BCON_APPEND(pipeline, "0", "{", "$set", "{", "data", BCON_DOCUMENT(data), "_updatedAt", BCON_UTF8(now), "}", "}");
  bson_destroy(input);
  bson_destroy(data);
}

/* {u: …}: a classic update where all paths are paths, else a pipeline. `now` becomes _updatedAt. */
static void append_update(const smig_edits_t *edits, const char *now, bson_t *update_statement) {
  bson_t update;
  if (smig_edits_are_paths(edits)) {
    BSON_APPEND_DOCUMENT_BEGIN(update_statement, "u", &update);
    append_classic(edits, now, &update);
    bson_append_document_end(update_statement, &update);
  } else {
    BSON_APPEND_ARRAY_BEGIN(update_statement, "u", &update);
    append_pipeline(edits, now, &update);
    bson_append_array_end(update_statement, &update);
  }
}

void smig_mongo_ledger_set_unknown(smig_error_t *error) {
  if (!error || !error->details) return;
  bson_t *details = bson_new();
  bson_copy_to_excluding_noinit(error->details, details, "outcome_unknown", NULL);
  BSON_APPEND_BOOL(details, "outcome_unknown", true);
  bson_destroy(error->details);
  error->details = details;
}

bool smig_mongo_ledger_update(smig_mongo_ledger_t *self, const smig_lease_t *lease, const smig_edits_t *edits,
                              bool *matched, bool *resent, smig_error_t *lower) {
  smig_mongo_patience_t patience = smig_mongo_channel_patience(&self->channel);
  *matched = *resent = false;
  for (;;) {
    bson_t command = BSON_INITIALIZER, statements, statement, reply;
    bson_iter_t iter;
    char now[SMIG_ISO_SIZE];
    smig_mongo_ledger_now(self, now);
    BSON_APPEND_UTF8(&command, "update", SMIG_MONGO_LEDGER_COLLECTION);
    BSON_APPEND_ARRAY_BEGIN(&command, "updates", &statements);
    BSON_APPEND_DOCUMENT_BEGIN(&statements, "0", &statement);
    BCON_APPEND(&statement, "q", "{", "nameId", BCON_UTF8(self->ledger_id), "data.lock.holder",
                BCON_UTF8(lease->holder), "}");
    append_update(edits, now, &statement);
    bson_append_document_end(&statements, &statement);
    bson_append_array_end(&command, &statements);
    bool ok = smig_mongo_channel_command(&self->channel, SMIG_MONGO_CHANNEL_WRITE, self->database, &command,
                                         lease->run_id, &reply, lower);
    if (ok) *matched = bson_iter_init_find(&iter, &reply, "n") && bson_iter_as_int64(&iter) > 0;
    bson_destroy(&command);
    bson_destroy(&reply);
    if (ok) return true;
    if (!smig_mongo_channel_unclear(lower) || !smig_mongo_channel_again(&patience)) break;
    *resent = true;
    smig_error_release(lower);
  }
  /* Whatever the last try says of itself: one before it may have happened. */
  if (*resent) smig_mongo_ledger_set_unknown(lower);
  return false;
}
