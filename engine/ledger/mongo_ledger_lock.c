/*
 * The expressions of the MongoDB lock: when it is free, and what taking and renewing it write. All times are the
 * server's ($$NOW), so hosts with wrong clocks cannot steal or lose a lock. See mongo_ledger_internal.h.
 */
#include "fault.h"
#include "mongo_ledger_internal.h"

#define NOW_ISO "{", "$dateToString", "{", "date", "$$NOW", "format", "%Y-%m-%dT%H:%M:%S.%LZ", "}", "}"

/* {$cond: …}: `date` in the BSON type that the field of the lock has; as an ISO string unless that is a date. */
static bson_t *in_type_of(const char *field, const bson_t *date) {
  return BCON_NEW("$cond", "[",                                                           //
                  "{", "$eq", "[", "{", "$type", BCON_UTF8(field), "}", "date", "]", "}", //
                  BCON_DOCUMENT(date),                                                    //
                  "{", "$dateToString", "{", "date", BCON_DOCUMENT(date), "format", "%Y-%m-%dT%H:%M:%S.%LZ", "}", "}",
                  "]");
}

static bson_t *new_expiry(const smig_lease_t *lease) {
  bson_t *date = BCON_NEW("$add", "[", "$$NOW", BCON_INT64(lease->ttl_ms), "]");
  bson_t *expiry = in_type_of("$data.lock.expiresAt", date);
  bson_destroy(date);
  return expiry;
}

/* Null when it is neither a date nor the text of one. */
static bson_t *stored_expiry(void) {
  return BCON_NEW("$switch", "{", "branches", "[",                                                             //
                  "{", "case", "{", "$eq", "[", "{", "$type", "$data.lock.expiresAt", "}", "date", "]", "}",   //
                  "then", "$data.lock.expiresAt", "}",                                                         //
                  "{", "case", "{", "$eq", "[", "{", "$type", "$data.lock.expiresAt", "}", "string", "]", "}", //
                  "then", "{", "$dateFromString", "{", "dateString", "$data.lock.expiresAt", "onError", BCON_NULL,
                  "onNull", BCON_NULL, "}", "}", "}", //
                  "]", "default", BCON_NULL, "}");
}

static void append_free_condition(const smig_lease_t *lease, bson_t *filter) {
  bson_t *expiry = stored_expiry();
  BCON_APPEND(filter, "$expr", "{", "$or", "[",                                                                    //
              "{", "$eq", "[", "{", "$ifNull", "[", "$data.lock.holder", BCON_NULL, "]", "}", BCON_NULL, "]", "}", //
              "{", "$eq", "[", "$data.lock.holder", "{", "$literal", BCON_UTF8(lease->holder), "}", "]", "}",      //
              "{", "$and", "[",                                                                                    //
              "{", "$ne", "[", BCON_DOCUMENT(expiry), BCON_NULL, "]", "}",                                         //
              "{", "$lte", "[", BCON_DOCUMENT(expiry), "$$NOW", "]", "}",                                          //
              "]", "}", "]", "}");
  bson_destroy(expiry);
}

/* Whoever judged the holder dead saw this expiry: a beat since then proves life. */
static void append_seen_expiry(const smig_ledger_state_t *seen, bson_t *filter) {
  bson_iter_t iter, expiry;
  bson_t equal;
  BSON_APPEND_DOCUMENT_BEGIN(filter, "data.lock.expiresAt", &equal);
  if (bson_iter_init(&iter, &seen->data) && bson_iter_find_descendant(&iter, "lock.expiresAt", &expiry))
    bson_append_iter(&equal, "$eq", -1, &expiry);
  else
    BSON_APPEND_NULL(&equal, "$eq");
  bson_append_document_end(filter, &equal);
}

void smig_mongo_ledger_lock_filter(const smig_mongo_ledger_t *self, const smig_lease_t *lease,
                                   const smig_acquire_t *acquire, bson_t *filter) {
  const smig_ledger_state_t *seen = acquire->seen;
  bson_init(filter);
  /* $type also looks into arrays. */
  BCON_APPEND(filter, "nameId", BCON_UTF8(self->ledger_id), "data", "{", "$type", "object", "$not", "{", "$type",
              "array", "}", "}");
  if (smig_fault("lock-condition")) return;
  if (seen->lock.holder)
    BSON_APPEND_UTF8(filter, "data.lock.holder", seen->lock.holder);
  else
    BSON_APPEND_NULL(filter, "data.lock.holder");
  if (acquire->dead)
    append_seen_expiry(seen, filter);
  else
    append_free_condition(lease, filter);
}

/* Greater than any before it, whatever number it is stored as. */
static bson_t *new_fence(void) {
  return BCON_NEW("$max", "[", //
                  "{", "$add", "[", "{", "$convert", "{", "input", "$data.lock.fence", "to", "long", "onError",
                  BCON_INT64(0), "onNull", BCON_INT64(0), "}", "}", BCON_INT64(1), "]", "}", //
                  "{", "$toLong", "$$NOW", "}", "]");
}

static bool same(const char *left, const char *right) {
  return left && right && strcmp(left, right) == 0;
}

/*
 * Who did not release the lock, as which database user, and how long its time to live was: needed by whoever looks for commands
 * left behind. While an older mark is still set, the users of both count, and the longer time.
 */
static void append_leftovers(const smig_lease_t *lease, const smig_ledger_state_t *seen, bson_t *set) {
  const char *holder = seen->lock.holder, *user = seen->lock.user, *older = NULL;
  char run[SMIG_RUN_ID_SIZE];
  bson_iter_t iter, found;
  bson_t mark, at;
  if (!holder || same(holder, lease->holder)) return;
  if (bson_iter_init(&iter, &seen->data) && bson_iter_find_descendant(&iter, "leftovers.user", &found) &&
      BSON_ITER_HOLDS_UTF8(&found))
    older = bson_iter_utf8(&found, NULL);
  smig_holder_run_id(holder, run);
  BSON_APPEND_DOCUMENT_BEGIN(set, "data.leftovers", &mark);
  BCON_APPEND(&mark, "run", "{", "$literal", BCON_UTF8(run), "}", "holder", "{", "$literal", BCON_UTF8(holder), "}");
  BSON_APPEND_DOCUMENT_BEGIN(&mark, "user", &at);
  if (user && older && !same(user, older)) {
    char *both = bson_strdup_printf("%s,%s", older, user);
    BSON_APPEND_UTF8(&at, "$literal", both);
    bson_free(both);
  } else if (user) {
    BSON_APPEND_UTF8(&at, "$literal", user);
  } else {
    BSON_APPEND_NULL(&at, "$literal");
  }
  bson_append_document_end(&mark, &at);
  if (smig_ledger_state_leftovers_ttl_ms(seen) > 0)
    BCON_APPEND(&mark, "ttlMs", "{", "$literal", BCON_INT64(smig_ledger_state_leftovers_ttl_ms(seen)), "}");
  BCON_APPEND(&mark, "at", NOW_ISO);
  bson_append_document_end(set, &mark);
}

/* A null counts as missing, but a dotted path cannot lead through it. */
static void append_repairs(const smig_ledger_state_t *seen, bson_t *set) {
  bson_iter_t iter;
  if (bson_iter_init_find(&iter, &seen->data, "steps") && BSON_ITER_HOLDS_NULL(&iter))
    BCON_APPEND(set, "data.steps", "{", "$literal", "{", "}", "}");
  if (bson_iter_init_find(&iter, &seen->data, "checkpoints") && BSON_ITER_HOLDS_NULL(&iter))
    BCON_APPEND(set, "data.checkpoints", "{", "$literal", "{", "}", "}");
  if (bson_iter_init_find(&iter, &seen->data, "bootstrap") && BSON_ITER_HOLDS_NULL(&iter))
    BCON_APPEND(set, "data.bootstrap", "$$REMOVE");
}

void smig_mongo_ledger_lock_pipeline(const smig_mongo_ledger_t *self, const smig_lease_t *lease,
                                     const smig_acquire_t *acquire, bson_t *pipeline) {
  const smig_ledger_state_t *seen = acquire->seen;
  bson_t *now = BCON_NEW("$add", "[", "$$NOW", BCON_INT64(0), "]");
  bson_t *acquired = in_type_of("$data.lock.acquiredAt", now), *expiry = new_expiry(lease), *fence = new_fence();
  bson_t stage, set;
  bson_init(pipeline);
  BSON_APPEND_DOCUMENT_BEGIN(pipeline, "0", &stage);
  BSON_APPEND_DOCUMENT_BEGIN(&stage, "$set", &set);
  BCON_APPEND(&set, "_updatedAt", NOW_ISO);
  if (!seen->exists) {
    BCON_APPEND(&set, "_createdAt", NOW_ISO);
    BCON_APPEND(&set, "data.currentVersion", BCON_NULL, "data.steps", "{", "$literal", "{", "}", "}");
  }
  BCON_APPEND(&set, "data.lock", "{", "$mergeObjects", "[", "$data.lock", "{",                         //
              "holder", "{", "$literal", BCON_UTF8(lease->holder), "}",                                //
              "acquiredAt", BCON_DOCUMENT(acquired), "expiresAt", BCON_DOCUMENT(expiry),               //
              "fence", BCON_DOCUMENT(fence), "ttlMs", "{", "$literal", BCON_INT64(lease->ttl_ms), "}", //
              "user", "{", "$literal", BCON_UTF8(self->commands.user ? self->commands.user : ""), "}", "}", "]", "}");
  if (!seen->exists) BCON_APPEND(&set, "data.checkpoints", "{", "$literal", "{", "}", "}");
  append_repairs(seen, &set);
  append_leftovers(lease, seen, &set);
  bson_append_document_end(&stage, &set);
  bson_append_document_end(pipeline, &stage);
  BCON_APPEND(pipeline, "1", "{", "$unset", "data.lock.session", "}");
  bson_destroy(now);
  bson_destroy(acquired);
  bson_destroy(expiry);
  bson_destroy(fence);
}

/* Never earlier than what is stored: whoever was granted it relies on it. */
static bson_t *later_expiry(const smig_lease_t *lease) {
  bson_t *stored = stored_expiry();
  bson_t *date =
      BCON_NEW("$max", "[", BCON_DOCUMENT(stored), "{", "$add", "[", "$$NOW", BCON_INT64(lease->ttl_ms), "]", "}", "]");
  bson_t *expiry = in_type_of("$data.lock.expiresAt", date);
  bson_destroy(stored);
  bson_destroy(date);
  return expiry;
}

void smig_mongo_ledger_renew_pipeline(const smig_lease_t *lease, bson_t *pipeline) {
  bson_t *expiry = later_expiry(lease);
  bson_init(pipeline);
  bson_t stage, set;
  BSON_APPEND_DOCUMENT_BEGIN(pipeline, "0", &stage);
  BSON_APPEND_DOCUMENT_BEGIN(&stage, "$set", &set);
  BCON_APPEND(&set, "data.lock.expiresAt", BCON_DOCUMENT(expiry), "_updatedAt", NOW_ISO);
  if (lease->has_session) {
    BCON_APPEND(&set, "data.lock.session", "{", "$literal",
                BCON_BIN(BSON_SUBTYPE_UUID, lease->session, sizeof lease->session), "}");
  }
  bson_append_document_end(&stage, &set);
  bson_append_document_end(pipeline, &stage);
  bson_destroy(expiry);
}
