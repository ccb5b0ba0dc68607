/*
 * What the cases of the ledger's contract share: two processes over one backend, locking, planting, looking. Included by one
 * test program each.
 */
#ifndef SMIG_SPEC_LEDGER_CASES_H
#define SMIG_SPEC_LEDGER_CASES_H

#include "backends.h"

enum { TTL_MS = 60000 };

static const backend_t *backend;
static instance_t first, second; /* two processes */
static smig_ledger_t *one, *two;
static smig_lease_t lease, rival;
static smig_error_t error = SMIG_ERROR_INIT;

static inline void set_up(void) {
  backend->reset();
  first = backend->open();
  second = backend->open();
  one = first.ledger;
  two = second.ledger;
  smig_lease_new(&lease, TTL_MS);
  smig_lease_new(&rival, TTL_MS);
}

static inline void tear_down(void) {
  instance_close(first);
  instance_close(second);
  smig_error_release(&error);
}

/* Reads and tries to lock; *state, if it is wanted, is the ledger as locked and to be released. */
static inline bool try_lock(smig_ledger_t *ledger, smig_lease_t *as, bool dead, smig_ledger_state_t *state) {
  smig_ledger_state_t seen, unwanted, *locked = state ? state : &unwanted;
  int64_t sent = 0, before = smig_clock_boot_ms();
  bool won = false;
  CHECK_OK(ledger->ops->load(ledger, &seen, &error), error);
  smig_acquire_t acquire = {.seen = &seen, .dead = dead};
  CHECK_OK(ledger->ops->acquire(ledger, as, &acquire, &won, locked, &sent, &error), error);
  CHECK(sent >= before && sent <= smig_clock_boot_ms());
  smig_ledger_state_release(&seen);
  if (!state) smig_ledger_state_release(&unwanted);
  return won;
}

static inline bool commit(smig_ledger_t *ledger, const smig_lease_t *as, const smig_ledger_change_t *change) {
  return ledger->ops->commit(ledger, as, change, &error);
}

static inline bool release(smig_ledger_t *ledger, const smig_lease_t *as) {
  return commit(ledger, as, &(smig_ledger_change_t){.release = true});
}

/* Plants the stored data with one field changed. */
static inline void plant_field(const bson_value_t *value, const char *outer, const char *inner) {
  bson_t data, changed;
  smig_edits_t edits = SMIG_EDITS_INIT;
  backend->look(&data);
  smig_edits_set(&edits, value, outer, inner, NULL);
  smig_edits_apply(&edits, &data, &changed);
  backend->plant(&changed);
  smig_edits_release(&edits);
  bson_destroy(&changed);
  bson_destroy(&data);
}

static inline void plant_text(const char *text, const char *outer, const char *inner) {
  bson_value_t value = {.value_type = BSON_TYPE_UTF8};
  value.value.v_utf8.str = (char *)text;
  value.value.v_utf8.len = (uint32_t)strlen(text);
  plant_field(&value, outer, inner);
}

static inline void plant_date(int64_t ms, const char *outer, const char *inner) {
  bson_value_t value = {.value_type = BSON_TYPE_DATE_TIME};
  value.value.v_datetime = ms;
  plant_field(&value, outer, inner);
}

static inline void plant_json(const char *json) {
  bson_t *data = bson_new_from_json((const uint8_t *)json, -1, NULL);
  backend->plant(data);
  bson_destroy(data);
}

static inline void expire(void) {
  plant_text("2020-01-01T00:00:00.000Z", "lock", "expiresAt");
}

static inline void check_stored(const char *path, const char *expected) {
  bson_t data;
  backend->look(&data);
  const char *found = at(&data, path);
  if (expected)
    CHECK(found && strcmp(found, expected) == 0, ": %s is %s, not %s", path, found ? found : "(missing)", expected);
  else
    CHECK(!found, ": %s is %s", path, found);
  bson_destroy(&data);
}

static inline smig_entry_write_t entry_of(const char *id, smig_status_t status) {
  return (smig_entry_write_t){.id = id,
                              .from_version = "1.0.0",
                              .to_version = "1.1.0",
                              .status = status,
                              .started_at = "2026-04-14T12:31:34.123Z",
                              .finished_at = status == SMIG_STATUS_RUNNING ? NULL : "2026-04-14T12:31:34.456Z",
                              .duration_ms = status == SMIG_STATUS_RUNNING ? -1 : 333,
                              .attempts = 1,
                              .checksum = "sha256:00ff"};
}

#endif
