/*
 * The unique index of nameId: what makes "somebody else was first" a duplicate key. Looked at before every locking, so that
 * dropping it in between does no harm; created before the first ledger is. See mongo_ledger_internal.h.
 */
#include "mongo_ledger_internal.h"

enum {
  UNAUTHORIZED = 13,
  NAMESPACE_NOT_FOUND = 26,
  INDEX_OPTIONS_CONFLICT = 85,
  INDEX_KEY_CONFLICT = 86,
  DUPLICATE_KEY = 11000
};

typedef enum verdict { NONE, GOOD, CONTRADICTS } verdict_t;

static bool true_field(const bson_t *index, const char *name) {
  bson_iter_t iter;
  return bson_iter_init_find(&iter, index, name) && bson_iter_as_bool(&iter);
}

static bool has_field(const bson_t *index, const char *name) {
  bson_iter_t iter;
  return bson_iter_init_find(&iter, index, name);
}

static verdict_t judge(const bson_t *index) {
  bson_iter_t iter, key;
  bool of_name_id = bson_iter_init_find(&iter, index, "key") && bson_iter_recurse(&iter, &key) &&
                    bson_iter_next(&key) && strcmp(bson_iter_key(&key), "nameId") == 0 && !bson_iter_next(&key);
  bool named = bson_iter_init_find(&iter, index, "name") && BSON_ITER_HOLDS_UTF8(&iter) &&
               strcmp(bson_iter_utf8(&iter, NULL), "nameId_1") == 0;
  bool unique = of_name_id && true_field(index, "unique") && !has_field(index, "partialFilterExpression");
  if (unique) return GOOD;
  return named ? CONTRADICTS : NONE;
}

/* A unique index is enough, whatever else there is. */
static bool look(smig_mongo_ledger_t *self, const char *run_id, verdict_t *verdict, smig_error_t *lower) {
  bson_t command = BSON_INITIALIZER, reply;
  bson_iter_t iter, batch, items;
  *verdict = NONE;
  BCON_APPEND(&command, "listIndexes", SMIG_MONGO_LEDGER_COLLECTION, "cursor", "{", "}");
  bool ok = smig_mongo_channel_command(&self->channel, SMIG_MONGO_CHANNEL_PLAIN, self->database, &command, run_id,
                                       &reply, lower);
  if (ok && bson_iter_init(&iter, &reply) && bson_iter_find_descendant(&iter, "cursor.firstBatch", &batch) &&
      bson_iter_recurse(&batch, &items)) {
    while (*verdict != GOOD && bson_iter_next(&items)) {
      const uint8_t *bytes;
      uint32_t length;
      bson_t index;
      if (!BSON_ITER_HOLDS_DOCUMENT(&items)) continue;
      bson_iter_document(&items, &length, &bytes);
      if (bson_init_static(&index, bytes, length) && judge(&index) != NONE) *verdict = judge(&index);
    }
  } else if (!ok && (smig_mongo_channel_native(lower) == NAMESPACE_NOT_FOUND ||
                     smig_mongo_channel_native(lower) == UNAUTHORIZED)) {
    /* No collection yet; or no right to look, then creating shows what is there. */
    smig_error_release(lower);
    ok = true;
  }
  bson_destroy(&command);
  bson_destroy(&reply);
  return ok;
}

static bool create(smig_mongo_ledger_t *self, const char *run_id, smig_error_t *lower) {
  bson_t command = BSON_INITIALIZER, reply;
  BCON_APPEND(&command, "createIndexes", SMIG_MONGO_LEDGER_COLLECTION, "indexes", "[", "{", "key", "{", "nameId",
              BCON_INT32(1), "}", "name", "nameId_1", "unique", BCON_BOOL(true), "}", "]");
  bool ok = smig_mongo_channel_command(&self->channel, SMIG_MONGO_CHANNEL_WRITE, self->database, &command, run_id,
                                       &reply, lower);
  bson_destroy(&command);
  bson_destroy(&reply);
  return ok;
}

static void set_corrupt(const smig_mongo_ledger_t *self, const char *text, smig_error_t *error) {
  smig_error_set(error, SMIG_LEDGER_CORRUPT, "the ledger %s is corrupt: %s", self->base.place, text);
  bson_t *details = smig_error_details(error);
  if (details) BSON_APPEND_UTF8(details, "place", self->base.place);
}

bool smig_mongo_ledger_index(smig_mongo_ledger_t *self, const char *run_id, bool create_it, smig_error_t *error) {
  static const char not_unique[] =
      "its index nameId_1 is not a unique index of nameId: drop it, and a run creates the right one";
  smig_error_t lower = SMIG_ERROR_INIT;
  verdict_t verdict = NONE;
  smig_mongo_patience_t patience = smig_mongo_channel_patience(&self->channel);
  for (;;) {
    if (look(self, run_id, &verdict, &lower)) {
      if (verdict != NONE || !create_it || create(self, run_id, &lower)) break;
      /* Somebody may be creating the same one, or another that will do. */
      int64_t native = smig_mongo_channel_native(&lower);
      if (native == DUPLICATE_KEY) {
        smig_error_release(&lower);
        set_corrupt(self, "several documents of its collection have one nameId: keep one of each", error);
        return false;
      }
      if (native == INDEX_OPTIONS_CONFLICT || native == INDEX_KEY_CONFLICT) {
        smig_error_release(&lower);
        if (look(self, run_id, &verdict, &lower) && verdict == NONE) verdict = CONTRADICTS;
        if (verdict != NONE) break;
      }
    }
    if (!smig_mongo_channel_unclear(&lower) || !smig_mongo_channel_again(&patience)) {
      bool forbidden = smig_mongo_channel_native(&lower) == UNAUTHORIZED;
      smig_mongo_channel_fail(&self->channel,
                              forbidden ? "create the unique index nameId_1 (grant createIndex, or create it and grant "
                                          "listIndexes) of"
                                        : "create the unique index nameId_1 of",
                              &lower, error);
      return false;
    }
    smig_error_release(&lower);
  }
  if (verdict == CONTRADICTS) {
    set_corrupt(self, not_unique, error);
    return false;
  }
  return true;
}
