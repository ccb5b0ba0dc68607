/*
 * Taking and renewing the MongoDB lock. See mongo_ledger_internal.h; the expressions stand in mongo_ledger_lock.c.
 *
 * A write without an answer may land later. It is sent again unchanged: an existing ledger's filter names the former
 * holder and a first one is created under one _id, so at most one of the tries takes effect, and the own holder string,
 * read back, tells which answer the others would have got.
 */
#include "mongo_ledger_internal.h"

enum { DUPLICATE_KEY = 11000 };

typedef enum outcome { TAKEN, REFUSED, FAILED } outcome_t;

/* One try. REFUSED: the filter matched nothing, or another document with this nameId exists. */
static outcome_t try_once(smig_mongo_ledger_t *self, const smig_lease_t *lease, const bson_t *filter,
                          const bson_t *pipeline, bool create, bson_t *taken, smig_error_t *lower) {
  bson_t command = BSON_INITIALIZER, reply, document;
  bson_iter_t iter;
  outcome_t outcome = FAILED;
  BCON_APPEND(&command, "findAndModify", SMIG_MONGO_LEDGER_COLLECTION, "query", BCON_DOCUMENT(filter), "update",
              BCON_ARRAY(pipeline), "new", BCON_BOOL(true), "upsert", BCON_BOOL(create), "fields", "{", "_id",
              BCON_INT32(0), "data", BCON_INT32(1), "now", "$$NOW", "}");
  if (smig_mongo_channel_command(&self->channel, SMIG_MONGO_CHANNEL_WRITE, self->database, &command, lease->run_id,
                                 &reply, lower)) {
    outcome = REFUSED;
    if (bson_iter_init_find(&iter, &reply, "value") && BSON_ITER_HOLDS_DOCUMENT(&iter)) {
      const uint8_t *bytes;
      uint32_t length;
      bson_iter_document(&iter, &length, &bytes);
      bson_init_static(&document, bytes, length);
      bson_concat(taken, &document);
      outcome = TAKEN;
    }
  } else if (create && smig_mongo_channel_native(lower) == DUPLICATE_KEY) {
    smig_error_release(lower);
    outcome = REFUSED;
  }
  bson_destroy(&command);
  bson_destroy(&reply);
  return outcome;
}

typedef enum verdict { OURS, THEIRS, UNCHANGED, UNREAD } verdict_t;

/* After a try without an answer: whose is the lock? *state is initialised on every path. */
static verdict_t read_back(smig_mongo_ledger_t *self, const smig_lease_t *lease, const smig_acquire_t *acquire,
                           smig_ledger_state_t *state) {
  smig_error_t ignored = SMIG_ERROR_INIT;
  if (!smig_mongo_ledger_read_state(self, lease->run_id, state, &ignored)) {
    smig_error_release(&ignored);
    return UNREAD;
  }
  const char *holder = state->lock.holder, *former = acquire->seen->lock.holder;
  if (holder && strcmp(holder, lease->holder) == 0) return OURS;
  bool same = holder && former ? strcmp(holder, former) == 0 : holder == former;
  return same && state->exists == acquire->seen->exists ? UNCHANGED : THEIRS;
}

static void build(const smig_mongo_ledger_t *self, const smig_lease_t *lease, const smig_acquire_t *acquire,
                  bson_t *filter, bson_t *pipeline) {
  if (acquire->seen->exists) {
    smig_mongo_ledger_lock_filter(self, lease, acquire, filter);
  } else {
    bson_oid_t id; /* nobody else's: the upsert can only insert */
    bson_oid_init(&id, NULL);
    bson_init(filter);
    BSON_APPEND_UTF8(filter, "nameId", self->ledger_id);
    BSON_APPEND_OID(filter, "_id", &id);
  }
  smig_mongo_ledger_lock_pipeline(self, lease, acquire, pipeline);
}

/* Until one try is answered, or patience ends. */
static bool take(smig_mongo_ledger_t *self, smig_lease_t *lease, const smig_acquire_t *acquire, bool *won,
                 smig_ledger_state_t *state, int64_t *sent_boot_ms, smig_error_t *error) {
  bson_t filter, pipeline, taken = BSON_INITIALIZER;
  smig_error_t lower = SMIG_ERROR_INIT;
  smig_mongo_patience_t patience = smig_mongo_channel_patience(&self->channel);
  int64_t first_sent = smig_clock_boot_ms();
  bool ok = false, unanswered = false;
  build(self, lease, acquire, &filter, &pipeline);
  for (;;) {
    *sent_boot_ms = smig_clock_boot_ms();
    outcome_t outcome = try_once(self, lease, &filter, &pipeline, !acquire->seen->exists, &taken, &lower);
    /* The driver sent it again: the server answers from its record of the first try, which knows no projection. */
    bool from_record = outcome == TAKEN && !bson_has_field(&taken, "now");
    if (outcome == TAKEN && !from_record) {
      smig_ledger_state_release(state);
      *won = ok = smig_mongo_ledger_parse(self, &taken, state, error);
      /* What was written since it was read makes it a ledger that nobody can work on: not with our lock on it either. */
      if (!ok) smig_mongo_ledger_commit(&self->base, lease, &(smig_ledger_change_t){.release = true}, NULL);
      break;
    }
    if (outcome == REFUSED && !unanswered) {
      ok = true;
      break;
    }
    if (outcome == FAILED && !smig_mongo_channel_unclear(&lower)) break;
    if (outcome == FAILED || from_record) unanswered = true;
    bson_reinit(&taken);
    smig_ledger_state_release(state);
    verdict_t verdict = read_back(self, lease, acquire, state);
    if (verdict == OURS || verdict == THEIRS) {
      /* Which try it was is not known: the first is the careful answer. */
      if (verdict == OURS) *sent_boot_ms = first_sent;
      *won = verdict == OURS;
      ok = true;
      break;
    }
    if (!smig_mongo_channel_again(&patience)) break;
    smig_error_release(&lower);
  }
  if (!ok && lower.code != SMIG_OK)
    smig_mongo_channel_fail(&self->channel, "lock", &lower, error);
  else if (!ok && error && error->code == SMIG_OK)
    smig_error_set(error, SMIG_LEDGER_IO, "cannot lock %s: an earlier try was not answered", self->base.place);
  smig_error_release(&lower);
  bson_destroy(&filter);
  bson_destroy(&pipeline);
  bson_destroy(&taken);
  return ok;
}

bool smig_mongo_ledger_acquire(smig_ledger_t *base, smig_lease_t *lease, const smig_acquire_t *acquire, bool *won,
                               smig_ledger_state_t *state, int64_t *sent_boot_ms, smig_error_t *error) {
  smig_mongo_ledger_t *self = smig_mongo_ledger_of(base);
  smig_error_t lower = SMIG_ERROR_INIT;
  const char *user;
  *won = false;
  *sent_boot_ms = smig_clock_boot_ms();
  smig_ledger_state_init(state);
  if (!smig_mongo_commands_user(&self->commands, lease->run_id, &user, &lower)) {
    smig_mongo_channel_fail(&self->channel, "ask who is signed in for", &lower, error);
    return false;
  }
  smig_mongo_commands_end_transaction(&self->commands, lease->run_id, acquire->seen);
  if (!smig_mongo_ledger_index(self, lease->run_id, !acquire->seen->exists, error) ||
      !take(self, lease, acquire, won, state, sent_boot_ms, error))
    return false;
  if (*won) {
    lease->fence = state->lock.fence;
    smig_mongo_commands_remember(&self->commands, state);
  }
  return true;
}

bool smig_mongo_ledger_renew(smig_ledger_t *base, const smig_lease_t *lease, bool *ours, smig_error_t *error) {
  smig_mongo_ledger_t *self = smig_mongo_ledger_of(base);
  bson_t command = BSON_INITIALIZER, pipeline, reply;
  bson_iter_t iter;
  smig_error_t lower = SMIG_ERROR_INIT;
  *ours = false;
  smig_mongo_ledger_renew_pipeline(lease, &pipeline);
  BCON_APPEND(&command, "update", SMIG_MONGO_LEDGER_COLLECTION, "updates", "[", "{", "q", "{", "nameId",
              BCON_UTF8(self->ledger_id), "data.lock.holder", BCON_UTF8(lease->holder), "}", "u", BCON_ARRAY(&pipeline),
              "}", "]");
  bool ok = smig_mongo_channel_command(&self->channel, SMIG_MONGO_CHANNEL_WRITE, self->database, &command,
                                       lease->run_id, &reply, &lower);
  if (ok)
    *ours = bson_iter_init_find(&iter, &reply, "n") && bson_iter_as_int64(&iter) > 0;
  else
    smig_mongo_channel_fail(&self->channel, "renew the lock of", &lower, error);
  bson_destroy(&pipeline);
  bson_destroy(&command);
  bson_destroy(&reply);
  return ok;
}
