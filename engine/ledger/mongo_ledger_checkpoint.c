/*
 * Checkpoints in the MongoDB ledger. Reading asks for the one value by expressions, which take any name; writing is one
 * update that names the holder. See mongo_ledger_internal.h.
 */
#include "mongo_ledger_internal.h"

/* Reads the ledger's document with the given projection; *document stays empty when there is none. */
static bool find_projected(smig_mongo_ledger_t *self, const smig_lease_t *lease, const bson_t *projection,
                           bson_t *document, smig_error_t *lower) {
  bson_t *filter = BCON_NEW("nameId", BCON_UTF8(self->ledger_id));
  bool ok =
      smig_mongo_channel_find_one(&self->channel, self->database, lease->run_id, filter, projection, document, lower);
  bson_destroy(filter);
  return ok;
}

bool smig_mongo_ledger_checkpoint_read(smig_ledger_t *base, const smig_lease_t *lease, const char *step_id,
                                       const char *key, bson_t *value, bool *found, smig_error_t *error) {
  smig_mongo_ledger_t *self = smig_mongo_ledger_of(base);
  smig_error_t lower = SMIG_ERROR_INIT;
  bson_t *projection = BCON_NEW("_id", BCON_INT32(0), "v", "{", "$getField", "{", "field", "{", "$literal",
                                BCON_UTF8(key), "}", "input", "{", "$getField", "{", "field", "{", "$literal",
                                BCON_UTF8(step_id), "}", "input", "$data.checkpoints", "}", "}", "}", "}");
  bson_init(value);
  bool ok = find_projected(self, lease, projection, value, &lower);
  if (!ok) smig_mongo_channel_fail(&self->channel, "read a checkpoint of", &lower, error);
  *found = ok && bson_has_field(value, "v");
  bson_destroy(projection);
  return ok;
}

/* Asks the server how large the ledger is, without the value that is about to be replaced. */
static bool measure(smig_mongo_ledger_t *self, const smig_lease_t *lease, const char *step_id, const char *key,
                    smig_error_t *error) {
  smig_error_t lower = SMIG_ERROR_INIT;
  bson_t *projection = BCON_NEW("_id", BCON_INT32(0), "size", "{", "$bsonSize", "$data", "}");
  bson_t document = BSON_INITIALIZER, former;
  bson_iter_t iter;
  bool found = false;
  bool ok = find_projected(self, lease, projection, &document, &lower);
  if (!ok)
    smig_mongo_channel_fail(&self->channel, "measure", &lower, error);
  else if (bson_iter_init_find(&iter, &document, "size"))
    self->size = bson_iter_as_int64(&iter);
  bson_init(&former);
  if (ok) {
    bson_destroy(&former);
    ok = smig_mongo_ledger_checkpoint_read(&self->base, lease, step_id, key, &former, &found, error);
    if (found) self->size -= former.len;
  }
  bson_destroy(&former);
  bson_destroy(&document);
  bson_destroy(projection);
  return ok;
}

static bool write_fenced(smig_mongo_ledger_t *self, const smig_lease_t *lease, const smig_edits_t *edits,
                         smig_error_t *error) {
  smig_error_t lower = SMIG_ERROR_INIT;
  bool matched, resent;
  if (!smig_mongo_ledger_update(self, lease, edits, &matched, &resent, &lower)) {
    smig_mongo_channel_fail(&self->channel, "write a checkpoint to", &lower, error);
    return false;
  }
  if (!matched) smig_mongo_ledger_set_lost(self, lease, error);
  return matched;
}

bool smig_mongo_ledger_checkpoint_write(smig_ledger_t *base, const smig_lease_t *lease, const char *step_id,
                                        const char *key, const bson_t *value, smig_error_t *error) {
  smig_mongo_ledger_t *self = smig_mongo_ledger_of(base);
  smig_edits_t edits = SMIG_EDITS_INIT;
  bson_iter_t iter;
  if (!bson_iter_init_find(&iter, value, "v")) {
    smig_error_set(error, SMIG_INVALID_OPTIONS, "checkpoint \"%s\" of step \"%s\" has no value", key, step_id);
    return false;
  }
  if (!smig_checkpoint_fits(step_id, key, value, error)) return false;
  int64_t more = (int64_t)(value->len + strlen(step_id) + strlen(key));
  if (self->size + more > SMIG_LEDGER_MAX && !measure(self, lease, step_id, key, error)) return false;
  if (self->size + more > SMIG_LEDGER_MAX) {
    smig_checkpoint_overfills(step_id, key, self->size + more, error);
    return false;
  }
  smig_edits_set(&edits, bson_iter_value(&iter), "checkpoints", step_id, key);
  bool ok = write_fenced(self, lease, &edits, error);
  if (ok) self->size += more;
  smig_edits_release(&edits);
  return ok;
}

bool smig_mongo_ledger_checkpoint_clear(smig_ledger_t *base, const smig_lease_t *lease, const char *step_id,
                                        smig_error_t *error) {
  smig_edits_t edits = SMIG_EDITS_INIT;
  smig_edits_remove(&edits, "checkpoints", step_id, NULL);
  bool ok = write_fenced(smig_mongo_ledger_of(base), lease, &edits, error);
  smig_edits_release(&edits);
  return ok;
}
