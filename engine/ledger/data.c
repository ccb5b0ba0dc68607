/* The lock's rules over a ledger's `data` held in memory, see data.h. */
#include "data.h"

#include "fault.h"

bool smig_data_find(const bson_t *data, const char *first, const char *second, const char *third, bson_iter_t *iter) {
  const char *path[] = {first, second, third};
  if (!data || !bson_iter_init_find(iter, data, first)) return false;
  for (size_t i = 1; i < 3 && path[i]; i++) {
    bson_iter_t child;
    if (!BSON_ITER_HOLDS_DOCUMENT(iter) || !bson_iter_recurse(iter, &child) || !bson_iter_find(&child, path[i]))
      return false;
    *iter = child;
  }
  return true;
}

static const char *text_at(const bson_t *data, const char *first, const char *second) {
  bson_iter_t iter;
  return smig_data_find(data, first, second, NULL, &iter) && BSON_ITER_HOLDS_UTF8(&iter) ? bson_iter_utf8(&iter, NULL)
                                                                                         : NULL;
}

static bool same(const char *left, const char *right) {
  return left && right ? strcmp(left, right) == 0 : left == right;
}

bool smig_data_held_by(const bson_t *data, const char *holder) {
  return same(text_at(data, "lock", "holder"), holder);
}

void smig_data_set_lost(const bson_t *data, const char *place, smig_error_t *error) {
  smig_lock_lost(place, text_at(data, "lock", "holder"), error);
}

static bool same_value(const bson_t *left, const bson_t *right, const char *first, const char *second) {
  bson_iter_t left_iter, right_iter;
  bool has_left = smig_data_find(left, first, second, NULL, &left_iter);
  bool has_right = smig_data_find(right, first, second, NULL, &right_iter);
  if (!has_left || !has_right) return has_left == has_right;
  bson_t left_value = BSON_INITIALIZER, right_value = BSON_INITIALIZER;
  bson_append_iter(&left_value, "v", 1, &left_iter);
  bson_append_iter(&right_value, "v", 1, &right_iter);
  bool equal = bson_equal(&left_value, &right_value);
  bson_destroy(&left_value);
  bson_destroy(&right_value);
  return equal;
}

bool smig_data_may_take(const smig_ledger_state_t *now, const smig_lease_t *lease, const smig_acquire_t *acquire) {
  const smig_ledger_state_t *seen = acquire->seen;
  if (smig_fault("lock-condition")) return true;
  if (now->exists != seen->exists || !same(now->lock.holder, seen->lock.holder)) return false;
  /* Whoever judged the holder dead saw this expiry and, where every write has one, this nonce: a beat since then proves life. */
  if (acquire->dead)
    return same_value(&now->data, &seen->data, "lock", "expiresAt") &&
           same_value(&now->data, &seen->data, "nonce", NULL);
  return !now->lock.holder || same(now->lock.holder, lease->holder) || now->lock.expiry == SMIG_EXPIRY_PAST;
}

/* Sets a time of the lock, in the BSON type it had; as an ISO string where there was none. */
static void set_time(smig_edits_t *edits, const bson_t *data, const char *field, int64_t wall_ms) {
  bson_iter_t iter;
  if (smig_data_find(data, "lock", field, NULL, &iter) && BSON_ITER_HOLDS_DATE_TIME(&iter)) {
    bson_value_t value = {.value_type = BSON_TYPE_DATE_TIME};
    value.value.v_datetime = wall_ms;
    smig_edits_set(edits, &value, "lock", field, NULL);
  } else {
    char iso[SMIG_ISO_SIZE];
    smig_clock_iso(wall_ms, iso);
    smig_edits_set_utf8(edits, iso, "lock", field, NULL);
  }
}

/* Who did not release the lock. While an older mark is still set, the users of both count, and the longer time to live. */
static void mark_leftovers(smig_edits_t *edits, const smig_ledger_state_t *former, int64_t now_ms) {
  const char *user = former->lock.user, *older = text_at(&former->data, "leftovers", "user");
  char run[SMIG_RUN_ID_SIZE], iso[SMIG_ISO_SIZE];
  smig_holder_run_id(former->lock.holder, run);
  smig_clock_iso(now_ms, iso);
  smig_edits_set_utf8(edits, run, "leftovers", "run", NULL);
  smig_edits_set_utf8(edits, former->lock.holder, "leftovers", "holder", NULL);
  if (user && older && !same(user, older)) {
    char *both = bson_strdup_printf("%s,%s", older, user);
    smig_edits_set_utf8(edits, both, "leftovers", "user", NULL);
    bson_free(both);
  } else if (user) {
    smig_edits_set_utf8(edits, user, "leftovers", "user", NULL);
  } else {
    smig_edits_set_null(edits, "leftovers", "user", NULL);
  }
  int64_t ttl_ms = smig_ledger_state_leftovers_ttl_ms(former);
  if (ttl_ms > 0) smig_edits_set_number(edits, ttl_ms, "leftovers", "ttlMs", NULL);
  smig_edits_set_utf8(edits, iso, "leftovers", "at", NULL);
}

static void set_empty(smig_edits_t *edits, const char *name) {
  bson_t empty = BSON_INITIALIZER;
  bson_value_t value = {.value_type = BSON_TYPE_DOCUMENT};
  value.value.v_doc.data = (uint8_t *)bson_get_data(&empty);
  value.value.v_doc.data_len = empty.len;
  smig_edits_set(edits, &value, name, NULL, NULL);
  bson_destroy(&empty);
}

void smig_data_take(smig_edits_t *edits, const smig_ledger_state_t *former, const smig_lease_t *lease, int64_t now_ms,
                    int64_t expires_ms, const char *user) {
  bson_value_t fence = {.value_type = BSON_TYPE_INT64};
  fence.value.v_int64 = former->lock.fence + 1 > now_ms ? former->lock.fence + 1 : now_ms;
  if (!former->exists) {
    smig_edits_set_null(edits, "currentVersion", NULL, NULL);
    set_empty(edits, "steps");
  }
  smig_edits_set_utf8(edits, lease->holder, "lock", "holder", NULL);
  set_time(edits, &former->data, "acquiredAt", now_ms);
  set_time(edits, &former->data, "expiresAt", expires_ms);
  smig_edits_set(edits, &fence, "lock", "fence", NULL);
  smig_edits_set_number(edits, lease->ttl_ms, "lock", "ttlMs", NULL);
  smig_edits_set_utf8(edits, user, "lock", "user", NULL);
  if (!former->exists) set_empty(edits, "checkpoints");
  if (former->lock.holder && !same(former->lock.holder, lease->holder)) mark_leftovers(edits, former, now_ms);
}

/* When the lock expires; 0 when that cannot be read. */
static int64_t stored_expiry(const bson_t *data) {
  bson_iter_t iter;
  int64_t expiry = 0;
  if (!smig_data_find(data, "lock", "expiresAt", NULL, &iter)) return 0;
  if (BSON_ITER_HOLDS_DATE_TIME(&iter)) return bson_iter_date_time(&iter);
  return BSON_ITER_HOLDS_UTF8(&iter) && smig_clock_from_iso(bson_iter_utf8(&iter, NULL), &expiry) ? expiry : 0;
}

void smig_data_extend(smig_edits_t *edits, const bson_t *data, int64_t expires_ms) {
  int64_t former = stored_expiry(data);
  set_time(edits, data, "expiresAt", expires_ms > former ? expires_ms : former);
}

bool smig_data_checkpoint(smig_edits_t *edits, const bson_t *data, const char *step_id, const char *key,
                          const bson_t *value, smig_error_t *error) {
  bson_iter_t iter, old;
  if (!smig_checkpoint_fits(step_id, key, value, error)) return false;
  if (!bson_iter_init_find(&iter, value, "v")) {
    smig_error_set(error, SMIG_INVALID_OPTIONS, "checkpoint \"%s\" of step \"%s\" has no value", key, step_id);
    return false;
  }
  int64_t size = (data ? data->len : 0) + (int64_t)value->len;
  if (smig_data_find(data, "checkpoints", step_id, key, &old)) {
    bson_t former = BSON_INITIALIZER;
    bson_append_iter(&former, "v", 1, &old);
    size -= former.len;
    bson_destroy(&former);
  }
  if (size > SMIG_LEDGER_MAX) {
    smig_checkpoint_overfills(step_id, key, size, error);
    return false;
  }
  smig_edits_set(edits, bson_iter_value(&iter), "checkpoints", step_id, key);
  return true;
}

/* Whether the ledger shows this entry as this run would have written it. */
static bool shows(const smig_ledger_state_t *state, const smig_entry_write_t *entry, const smig_lease_t *lease) {
  const smig_entry_t *found = smig_ledger_state_find(state, entry->id);
  return found && same(found->run, lease->run_id) && same(found->status, smig_status_name(entry->status)) &&
         (!entry->started_at || same(found->started_at, entry->started_at));
}

static bool has_checkpoints(const smig_ledger_state_t *state) {
  bson_iter_t iter, steps;
  return bson_iter_init_find(&iter, &state->data, "checkpoints") && BSON_ITER_HOLDS_DOCUMENT(&iter) &&
         bson_iter_recurse(&iter, &steps) && bson_iter_next(&steps);
}

bool smig_change_landed(const smig_ledger_state_t *state, const smig_ledger_change_t *change,
                        const smig_lease_t *lease) {
  if (change->finished) return shows(state, change->finished, lease);
  if (change->started) return shows(state, change->started, lease);
  if (change->bootstrap_version) return same(state->bootstrap_version, change->bootstrap_version);
  if (change->accept_checksum_of) {
    const smig_entry_t *entry = smig_ledger_state_find(state, change->accept_checksum_of);
    return entry && same(entry->checksum, change->accepted_checksum);
  }
  if (change->current_version) return same(state->current_version, change->current_version);
  if (change->clear_checkpoints_of) return !smig_ledger_state_checkpoints(state, change->clear_checkpoints_of);
  if (change->clear_all_checkpoints) return !has_checkpoints(state);
  /* A release alone says that the lock is not ours: so it is. */
  return change->release;
}
