/*
 * Reading the ledger in MongoDB: one find, which also brings the server's clock and shows by behaviour whether the
 * server can do what the writes need. See mongo_ledger_internal.h.
 */
#include "mongo_ledger_internal.h"

/*
 * The projection asks for $getField (MongoDB 5.0, as $setField, which ids that are no path need) around $$NOW, so an
 * older server refuses the read itself and nothing has been written. Constant for the server: it costs nothing.
 */
static void build_find(const smig_mongo_ledger_t *self, bson_t *command) {
  bson_init(command);
  BCON_APPEND(command, "find", SMIG_MONGO_LEDGER_COLLECTION,                                                  //
              "filter", "{", "nameId", BCON_UTF8(self->ledger_id), "}",                                       //
              "projection", "{", "_id", BCON_INT32(0), "data", BCON_INT32(1),                                 //
              "now", "{", "$getField", "{", "field", "now", "input", "{", "now", "$$NOW", "}", "}", "}", "}", //
              "limit", BCON_INT64(2), "singleBatch", BCON_BOOL(true));
}

/* What a server says that does not know a command's field, a stage, an operator or the read concern. */
static bool lacks_ability(int64_t native) {
  static const int64_t codes[] = {2, 9, 59, 72, 115, 148, 168, 238, 303, 304, 31249, 31325, 40415};
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
    if (codes[i] == native) return true;
  return false;
}

static void set_unsupported(const smig_mongo_ledger_t *self, const char *text, smig_error_t *error) {
  smig_error_set(error, SMIG_UNSUPPORTED_SERVER,
                 "the server of %s cannot do what the ledger needs (MongoDB 5.0 or later can): %s", self->base.place,
                 text);
}

static void corrupt(const smig_mongo_ledger_t *self, const char *text, smig_error_t *error) {
  smig_error_set(error, SMIG_LEDGER_CORRUPT, "the ledger %s is corrupt: %s", self->base.place, text);
  bson_t *details = smig_error_details(error);
  if (details) BSON_APPEND_UTF8(details, "place", self->base.place);
}

void smig_mongo_ledger_clock(smig_mongo_ledger_t *self, int64_t server_wall_ms) {
  self->clock_known = true;
  self->clock_offset_ms = server_wall_ms - smig_clock_boot_ms();
}

void smig_mongo_ledger_now(const smig_mongo_ledger_t *self, char out[SMIG_ISO_SIZE]) {
  smig_clock_iso(self->clock_known ? smig_clock_boot_ms() + self->clock_offset_ms : smig_clock_wall_ms(), out);
}

bool smig_mongo_ledger_parse(smig_mongo_ledger_t *self, const bson_t *document, smig_ledger_state_t *state,
                             smig_error_t *error) {
  bson_iter_t data_iter, now;
  const uint8_t *bytes;
  uint32_t length;
  bson_t data;
  smig_mongo_topology_t topology = SMIG_MONGO_STANDALONE;
  if (!bson_iter_init_find(&now, document, "now") || !BSON_ITER_HOLDS_DATE_TIME(&now)) {
    smig_ledger_state_init(state);
    set_unsupported(self, "it did not tell its time in a read", error);
    return false;
  }
  smig_mongo_ledger_clock(self, bson_iter_date_time(&now));
  if (!bson_iter_init_find(&data_iter, document, "data") || !BSON_ITER_HOLDS_DOCUMENT(&data_iter)) {
    smig_ledger_state_init(state);
    corrupt(self, "data is not an object: restore it, or move the document away", error);
    return false;
  }
  bson_iter_document(&data_iter, &length, &bytes);
  bson_init_static(&data, bytes, length);
  self->size = length;
  if (!smig_ledger_state_parse(state, &data, bson_iter_date_time(&now), self->base.place, error)) return false;
  if (!smig_mongo_connection_topology(self->channel.connection, &topology, error)) return false;
  state->lock.clock_doubtful = topology == SMIG_MONGO_SHARDED;
  return true;
}

bool smig_mongo_ledger_read_state(smig_mongo_ledger_t *self, const char *run_id, smig_ledger_state_t *state,
                                  smig_error_t *error) {
  bson_t command, reply, document;
  bson_iter_t iter, batch, items;
  smig_error_t lower = SMIG_ERROR_INIT;
  bool ok = false;
  smig_ledger_state_init(state);
  build_find(self, &command);
  if (!smig_mongo_channel_command(&self->channel, SMIG_MONGO_CHANNEL_READ, self->database, &command, run_id, &reply,
                                  &lower)) {
    if (lower.code == SMIG_FOREIGN && lacks_ability(smig_mongo_channel_native(&lower))) {
      set_unsupported(self, lower.message, error);
      smig_error_release(&lower);
    } else {
      smig_mongo_channel_fail(&self->channel, "read the ledger", &lower, error);
    }
    goto done;
  }
  if (!bson_iter_init(&iter, &reply) || !bson_iter_find_descendant(&iter, "cursor.firstBatch", &batch) ||
      !bson_iter_recurse(&batch, &items)) {
    set_unsupported(self, "its answer to a find holds no documents", error);
    goto done;
  }
  if (!bson_iter_next(&items)) {
    smig_ledger_state_release(state);
    ok = smig_ledger_state_parse(state, NULL, smig_clock_wall_ms(), self->base.place, error);
    goto done;
  }
  uint32_t length = 0;
  const uint8_t *bytes = NULL;
  if (BSON_ITER_HOLDS_DOCUMENT(&items)) bson_iter_document(&items, &length, &bytes);
  if (!bytes || !bson_init_static(&document, bytes, length)) {
    set_unsupported(self, "its answer to a find is no document", error);
    goto done;
  }
  if (bson_iter_next(&items)) {
    corrupt(self, "two documents have this nameId: keep one of them", error);
    goto done;
  }
  smig_ledger_state_release(state);
  ok = smig_mongo_ledger_parse(self, &document, state, error);
done:
  bson_destroy(&command);
  bson_destroy(&reply);
  return ok;
}

bool smig_mongo_ledger_load(smig_ledger_t *self, smig_ledger_state_t *state, smig_error_t *error) {
  return smig_mongo_ledger_read_state(smig_mongo_ledger_of(self), "", state, error);
}

void smig_mongo_ledger_set_lost(smig_mongo_ledger_t *self, const smig_lease_t *lease, smig_error_t *error) {
  smig_ledger_state_t state;
  smig_error_t ignored = SMIG_ERROR_INIT;
  if (smig_mongo_ledger_read_state(self, lease->run_id, &state, &ignored))
    smig_lock_lost(self->base.place, state.lock.holder, error);
  else
    smig_error_set(error, SMIG_LOCK_LOST, "the lock of %s was lost: see who took it and run again", self->base.place);
  smig_error_release(&ignored);
  smig_ledger_state_release(&state);
}
