/*
 * What is known about the store of an S3 ledger: the verdict of a probe, kept in the ledger as `conditionalWrites {verdict, seen?, at,
 * store}`. It counts for the store that it was given to: a ledger that was copied into another one is probed again. See
 * s3_ledger_internal.h.
 */
#include "s3_ledger_internal.h"

static const char field[] = "conditionalWrites";

static const char *text_of(const bson_t *data, const char *name) {
  bson_iter_t iter;
  return smig_data_find(data, field, name, NULL, &iter) && BSON_ITER_HOLDS_UTF8(&iter) ? bson_iter_utf8(&iter, NULL)
                                                                                       : NULL;
}

static void take(smig_s3_ledger_t *self, smig_s3_verdict_t verdict, char *seen) {
  bson_free(self->seen);
  self->verdict = verdict;
  self->seen = seen;
}

void smig_s3_ledger_note_verdict(smig_s3_ledger_t *self, const bson_t *data) {
  const char *verdict = text_of(data, "verdict"), *store = text_of(data, "store"), *seen = text_of(data, "seen");
  if (self->verdict || !verdict || !store || strcmp(store, self->store) != 0) return;
  take(self, smig_s3_verdict_from(verdict), bson_strdup(seen));
}

void smig_s3_ledger_record_verdict(const smig_s3_ledger_t *self, int64_t wall_ms, smig_edits_t *edits) {
  char iso[SMIG_ISO_SIZE];
  if (!self->probed) return;
  smig_clock_iso(wall_ms, iso);
  smig_edits_set_utf8(edits, smig_s3_verdict_name(self->verdict), field, "verdict", NULL);
  if (self->seen)
    smig_edits_set_utf8(edits, self->seen, field, "seen", NULL);
  else
    smig_edits_remove(edits, field, "seen", NULL);
  smig_edits_set_utf8(edits, iso, field, "at", NULL);
  smig_edits_set_utf8(edits, self->store, field, "store", NULL);
}

static bool refuse(const smig_s3_ledger_t *self, smig_error_t *error) {
  smig_error_set(
      error, SMIG_LEDGER_NOT_EXCLUSIVE,
      "the store of %s cannot keep the lock to one run: %s; keep the ledger in MongoDB (ledger_backend \"mongo\"), use "
      "a "
      "store whose conditional writes are atomic, or accept it with s3_lock \"best-effort\" where only one run is ever "
      "started at a time",
      self->base.place, self->seen ? self->seen : "its conditional writes are not atomic");
  bson_t *details = smig_error_details(error);
  if (!details) return false;
  BSON_APPEND_UTF8(details, "place", self->base.place);
  BSON_APPEND_UTF8(details, "verdict", smig_s3_verdict_name(self->verdict));
  if (self->seen) BSON_APPEND_UTF8(details, "seen", self->seen);
  return false;
}

bool smig_s3_ledger_trust(smig_s3_ledger_t *self, smig_error_t *error) {
  /* A bad verdict is asked for again where it stands in the way: the store may have been repaired. */
  bool known = self->verdict == SMIG_S3_EXCLUSIVE || (self->best_effort && self->verdict != SMIG_S3_UNKNOWN);
  if (!known) {
    smig_error_t lower = SMIG_ERROR_INIT;
    smig_s3_verdict_t verdict;
    char *seen;
    if (!smig_s3_probe(self->object.client, self->bucket, self->key, self->object.limit_ms, &verdict, &seen, &lower)) {
      smig_s3_object_fail(self->base.place, "probe the store of", &lower, error);
      return false;
    }
    take(self, verdict, seen);
    self->probed = true;
  }
  bool exclusive = self->verdict == SMIG_S3_EXCLUSIVE;
  self->object.distrusted = !exclusive;
  self->object.conditional = self->verdict != SMIG_S3_REFUSES;
  bson_free(self->base.doubt);
  self->base.doubt = exclusive ? NULL : bson_strdup(self->seen ? self->seen : "its conditional writes are not atomic");
  return exclusive || self->best_effort || refuse(self, error);
}
