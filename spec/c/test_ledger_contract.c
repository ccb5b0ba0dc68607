/*
 * The contract of every ledger backend: one suite of cases over smig_ledger_t, run over the ledgers in memory, in MongoDB
 * (the server that SMARTMIGRATION_TEST_MONGO_URI names) and in S3 (SMARTMIGRATION_TEST_S3_ENDPOINT, AWS_*). Its races stand in test_ledger_races.c.
 */
#include "s3_backend.h"

#include "ledger_cases.h"

/* ----------------------------------------------------------------- reading */

static void load_of_nothing_creates_nothing(void) {
  smig_ledger_state_t state;
  bson_t data;
  set_up();
  CHECK_OK(one->ops->load(one, &state, &error), error);
  CHECK(!state.exists && !state.current_version && !state.lock.holder && state.entry_count == 0);
  smig_ledger_state_release(&state);
  backend->look(&data);
  CHECK(bson_empty(&data));
  bson_destroy(&data);
  tear_down();
}

static void load_of_an_empty_object(void) {
  smig_ledger_state_t state;
  set_up();
  plant_json("{}");
  CHECK_OK(one->ops->load(one, &state, &error), error);
  CHECK(state.exists && !state.current_version);
  smig_ledger_state_release(&state);
  CHECK(try_lock(one, &lease, false, &state));
  CHECK_STR(state.lock.holder, lease.holder);
  CHECK(!state.has_leftovers);
  smig_ledger_state_release(&state);
  tear_down();
}

static void nulls_count_as_missing(void) {
  smig_entry_write_t entry = entry_of("a", SMIG_STATUS_APPLIED);
  set_up();
  plant_json("{\"currentVersion\": null, \"steps\": null, \"lock\": null, \"checkpoints\": null, \"bootstrap\": null}");
  CHECK(try_lock(one, &lease, false, NULL));
  CHECK_OK(commit(one, &lease,
                  &(smig_ledger_change_t){
                      .finished = &entry, .bootstrap_mode = "chain-start", .bootstrap_version = "1.0.0"}),
           error);
  bson_t *value = BCON_NEW("v", BCON_INT32(1));
  CHECK_OK(one->ops->checkpoint_write(one, &lease, "a", "k", value, &error), error);
  bson_destroy(value);
  check_stored("steps.a.status", "applied");
  check_stored("bootstrap.version", "1.0.0");
  tear_down();
}

static void wrong_shapes_are_corrupt_before_any_write(void) {
  static const char *const shapes[] = {"{\"currentVersion\": 3}",    "{\"currentVersion\": \"not a version\"}",
                                       "{\"steps\": [1]}",           "{\"steps\": \"x\"}",
                                       "{\"lock\": \"x\"}",          "{\"checkpoints\": 1}",
                                       "{\"lock\": {\"holder\": 5}}"};
  set_up();
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    smig_ledger_state_t state, locked, empty;
    bson_t before, after;
    bool won = true;
    int64_t sent;
    plant_json(shapes[i]);
    backend->look(&before);
    CHECK_FAILS(one->ops->load(one, &state, &error), error, SMIG_LEDGER_CORRUPT);
    smig_error_release(&error);
    smig_ledger_state_release(&state);
    /* Somebody who read before it was spoilt. */
    smig_ledger_state_init(&empty);
    one->ops->acquire(one, &lease, &(smig_acquire_t){.seen = &empty}, &won, &locked, &sent, &error);
    CHECK(!won, "%s", shapes[i]);
    smig_error_release(&error);
    smig_ledger_state_release(&locked);
    smig_ledger_state_release(&empty);
    backend->look(&after);
    CHECK(bson_equal(&before, &after), "%s", shapes[i]);
    bson_destroy(&before);
    bson_destroy(&after);
  }
  tear_down();
}

/* -------------------------------------------------------------------- lock */

static void first_lock_creates_the_ledger(void) {
  smig_ledger_state_t state;
  set_up();
  CHECK(try_lock(one, &lease, false, &state));
  CHECK(state.exists && state.lock.expiry == SMIG_EXPIRY_LIVE && !state.has_leftovers);
  CHECK_STR(state.lock.holder, lease.holder);
  CHECK(state.lock.ttl_ms == TTL_MS && lease.fence > 0 && lease.fence == state.lock.fence);
  CHECK(state.lock.user != NULL); /* "" where nobody signs in */
  CHECK(strlen(state.lock.acquired_at) == 24 && strlen(state.lock.expires_at) == 24);
  int64_t acquired = 0, expires = 0;
  CHECK(smig_clock_from_iso(state.lock.acquired_at, &acquired) && smig_clock_from_iso(state.lock.expires_at, &expires));
  /* A clock of whole seconds rounds up. */
  CHECK(expires - acquired >= TTL_MS && expires - acquired < TTL_MS + (backend == &s3_backend ? 1000 : 1));
  smig_ledger_state_release(&state);
  tear_down();
}

static void held_lock_is_lost_by_others(void) {
  bson_t before, after;
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  backend->look(&before);
  CHECK(!try_lock(two, &rival, false, NULL));
  backend->look(&after);
  CHECK(bson_equal(&before, &after));
  bson_destroy(&before);
  bson_destroy(&after);
  tear_down();
}

static void stale_reading_does_not_win(void) {
  smig_ledger_state_t stale, locked;
  bool won = true;
  int64_t sent;
  for (int exists = 0; exists < 2; exists++) {
    set_up();
    if (exists) plant_json("{}");
    CHECK_OK(two->ops->load(two, &stale, &error), error);
    CHECK(try_lock(one, &lease, false, NULL));
    CHECK_OK(two->ops->acquire(two, &rival, &(smig_acquire_t){.seen = &stale}, &won, &locked, &sent, &error), error);
    CHECK(!won);
    check_stored("lock.holder", lease.holder);
    smig_ledger_state_release(&stale);
    smig_ledger_state_release(&locked);
    tear_down();
  }
}

static void taking_again_is_allowed_to_the_holder(void) {
  smig_ledger_state_t state;
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  CHECK(try_lock(one, &lease, false, &state));
  CHECK(!state.has_leftovers);
  smig_ledger_state_release(&state);
  tear_down();
}

static void check_take_over(void) {
  smig_ledger_state_t state;
  CHECK(try_lock(two, &rival, false, &state));
  CHECK_STR(state.lock.holder, rival.holder);
  CHECK(state.has_leftovers);
  CHECK(rival.fence > lease.fence, "%" PRId64 " after %" PRId64, rival.fence, lease.fence);
  CHECK_STR(at(&state.data, "leftovers.run"), lease.run_id);
  CHECK_STR(at(&state.data, "leftovers.holder"), lease.holder);
  CHECK_STR(at(&state.data, "leftovers.user"), state.lock.user); /* both sign in alike */
  CHECK(at(&state.data, "leftovers.at") != NULL);
  smig_ledger_state_release(&state);
}

static void expired_lock_is_taken_over(void) {
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  expire();
  check_take_over();
  tear_down();
}

static void expired_date_is_taken_over_and_stays_a_date(void) {
  bson_t data;
  bson_iter_t iter, found;
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  plant_date(smig_clock_wall_ms() + 50000, "lock", "expiresAt");
  CHECK(!try_lock(two, &rival, false, NULL));
  plant_date(smig_clock_wall_ms() - 5000, "lock", "expiresAt");
  check_take_over();
  bool ours = false;
  CHECK_OK(two->ops->renew(two, &rival, &ours, &error), error);
  CHECK(ours);
  backend->look(&data);
  CHECK(bson_iter_init(&iter, &data) && bson_iter_find_descendant(&iter, "lock.expiresAt", &found));
  if (backend == &s3_backend) /* JSON has no dates */
    CHECK(BSON_ITER_HOLDS_UTF8(&found));
  else
    CHECK(BSON_ITER_HOLDS_DATE_TIME(&found) && bson_iter_date_time(&found) > smig_clock_wall_ms());
  CHECK(bson_iter_init(&iter, &data) && bson_iter_find_descendant(&iter, "lock.acquiredAt", &found) &&
        BSON_ITER_HOLDS_UTF8(&found));
  bson_destroy(&data);
  tear_down();
}

static void expiry_with_a_zone_is_read(void) {
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  plant_text("2020-01-01T02:00:00+02:00", "lock", "expiresAt");
  check_take_over();
  tear_down();
}

static void unreadable_expiry_is_taken_over_only_as_dead(void) {
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  plant_text("soon", "lock", "expiresAt");
  CHECK(!try_lock(two, &rival, false, NULL));
  CHECK(try_lock(two, &rival, true, NULL));
  tear_down();
}

static void dead_holder_is_taken_over_before_its_time(void) {
  smig_ledger_state_t seen, locked;
  bool won = true, ours;
  int64_t sent;
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  CHECK_OK(two->ops->load(two, &seen, &error), error);
  /* A beat after the reading proves life. */
  smig_clock_sleep_ms(2);
  CHECK_OK(one->ops->renew(one, &lease, &ours, &error), error);
  CHECK_OK(two->ops->acquire(two, &rival, &(smig_acquire_t){.seen = &seen, .dead = true}, &won, &locked, &sent, &error),
           error);
  CHECK(!won);
  smig_ledger_state_release(&seen);
  smig_ledger_state_release(&locked);
  CHECK(try_lock(two, &rival, true, NULL));
  check_stored("leftovers.holder", lease.holder);
  tear_down();
}

static void a_second_take_over_remembers_both_users(void) {
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  plant_text("ann@admin", "lock", "user");
  expire();
  CHECK(try_lock(two, &rival, false, NULL));
  check_stored("leftovers.user", "ann@admin");
  plant_text("bob@admin", "lock", "user");
  expire();
  smig_lease_new(&lease, TTL_MS);
  CHECK(try_lock(one, &lease, false, NULL));
  check_stored("leftovers.user", "ann@admin,bob@admin");
  check_stored("leftovers.holder", rival.holder);
  tear_down();
}

static void a_take_over_remembers_the_longest_time_to_live(void) {
  static const int64_t ttls[] = {3 * TTL_MS, TTL_MS};
  set_up();
  for (size_t i = 0; i < sizeof ttls / sizeof *ttls; i++) {
    smig_lease_new(&lease, ttls[i]);
    CHECK(try_lock(one, &lease, true, NULL));
  }
  smig_ledger_state_t locked;
  CHECK(try_lock(two, &rival, true, &locked));
  CHECK(locked.leftovers_ttl_ms == 3 * TTL_MS && locked.lock.ttl_ms == rival.ttl_ms, "%" PRId64,
        locked.leftovers_ttl_ms);
  smig_ledger_state_release(&locked);
  tear_down();
}

static void renewal_extends_and_tells_a_thief(void) {
  bson_t before, after;
  bool ours = false;
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  backend->look(&before);
  /* Until the backend's clock has moved on, by whole seconds perhaps. */
  bson_init(&after);
  for (int64_t end = smig_clock_boot_ms() + 10000; smig_clock_boot_ms() < end; smig_clock_sleep_ms(20)) {
    CHECK_OK(one->ops->renew(one, &lease, &ours, &error), error);
    CHECK(ours);
    bson_destroy(&after);
    backend->look(&after);
    if (strcmp(at(&before, "lock.expiresAt"), at(&after, "lock.expiresAt")) < 0) break;
  }
  CHECK(strcmp(at(&before, "lock.expiresAt"), at(&after, "lock.expiresAt")) < 0);
  CHECK_STR(at(&before, "lock.acquiredAt"), at(&after, "lock.acquiredAt"));
  bson_destroy(&before);
  bson_destroy(&after);
  CHECK_OK(two->ops->renew(two, &rival, &ours, &error), error);
  CHECK(!ours);
  check_stored("lock.holder", lease.holder);
  tear_down();
}

static void release_keeps_the_fence_and_leaves_no_mark(void) {
  smig_ledger_state_t state;
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  int64_t fence = lease.fence;
  CHECK_OK(release(one, &lease), error);
  CHECK_OK(one->ops->load(one, &state, &error), error);
  CHECK(!state.lock.holder && state.lock.fence == fence);
  smig_ledger_state_release(&state);
  check_stored("lock.expiresAt", "{ \"v\" : null }");
  CHECK(try_lock(two, &rival, false, &state));
  CHECK(!state.has_leftovers && rival.fence > fence);
  smig_ledger_state_release(&state);
  tear_down();
}

static void fence_rises_even_past_the_clock(void) {
  bson_value_t far = {.value_type = BSON_TYPE_DOUBLE};
  far.value.v_double = 4e15;
  set_up();
  int64_t last = 0;
  for (int i = 0; i < 20; i++) {
    smig_lease_new(&lease, TTL_MS);
    CHECK(try_lock(one, &lease, i % 2, NULL));
    CHECK(lease.fence > last, "%" PRId64 " after %" PRId64, lease.fence, last);
    last = lease.fence;
    if (i == 10) {
      plant_field(&far, "lock", "fence");
      last = (int64_t)4e15;
    }
    if (i % 2 == 1 || i == 10) CHECK_OK(release(one, &lease), error);
  }
  bson_t data;
  bson_iter_t iter, found;
  backend->look(&data);
  CHECK(bson_iter_init(&iter, &data) && bson_iter_find_descendant(&iter, "lock.fence", &found) &&
        BSON_ITER_HOLDS_INT64(&found));
  bson_destroy(&data);
  tear_down();
}

/* ------------------------------------------------------------------ commit */

static void a_run_of_commits(void) {
  smig_entry_write_t running = entry_of("a", SMIG_STATUS_RUNNING), done = entry_of("a", SMIG_STATUS_APPLIED),
                     next = entry_of("b", SMIG_STATUS_RUNNING), failed = entry_of("b", SMIG_STATUS_FAILED);
  smig_ledger_state_t state;
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  CHECK_OK(commit(one, &lease,
                  &(smig_ledger_change_t){.started = &running,
                                          .current_version = "1.0.0",
                                          .compatible_from = "1.0.0",
                                          .bootstrap_mode = "chain-start",
                                          .bootstrap_version = "1.0.0",
                                          .clear_leftovers = true}),
           error);
  CHECK_OK(one->ops->load(one, &state, &error), error);
  CHECK_STR(state.current_version, "1.0.0");
  CHECK_STR(state.bootstrap_version, "1.0.0");
  const smig_entry_t *entry = smig_ledger_state_find(&state, "a");
  CHECK(entry && !entry->finished_at && entry->duration_ms == -1 && entry->attempts == 1);
  if (entry) {
    CHECK_STR(entry->status, "running");
    CHECK_STR(entry->run, lease.run_id);
    CHECK_STR(entry->checksum, "sha256:00ff");
  }
  smig_ledger_state_release(&state);
  check_stored("bootstrap.mode", "chain-start");
  check_stored("steps.a.engine", "smartmigration-lua/" SMIG_VERSION);
  check_stored("steps.a.stepId", "a");

  CHECK_OK(
      commit(one, &lease, &(smig_ledger_change_t){.finished = &done, .started = &next, .current_version = "1.1.0"}),
      error);
  bson_t *why = BCON_NEW("code", "E", "operation", "update", "index", BCON_INT32(3));
  failed.error = why;
  failed.duration_ms = 5000000000;
  CHECK_OK(commit(one, &lease, &(smig_ledger_change_t){.finished = &failed, .release = true}), error);
  bson_destroy(why);
  check_stored("currentVersion", "1.1.0");
  check_stored("steps.a.status", "applied");
  check_stored("steps.a.durationMs", "{ \"v\" : { \"$numberInt\" : \"333\" } }");
  check_stored("steps.b.durationMs", "{ \"v\" : { \"$numberLong\" : \"5000000000\" } }");
  check_stored("steps.b.status", "failed");
  check_stored("steps.b.error.operation", "update");
  check_stored("lock.holder", "{ \"v\" : null }");

  /* Another try: what the former one ended with is gone, foreign fields are not. */
  plant_text("kept", "mine", "x");
  bson_t data, changed;
  smig_edits_t edits = SMIG_EDITS_INIT;
  backend->look(&data);
  smig_edits_set_utf8(&edits, "theirs", "steps", "b", "note");
  smig_edits_apply(&edits, &data, &changed);
  backend->plant(&changed);
  smig_edits_release(&edits);
  bson_destroy(&changed);
  bson_destroy(&data);
  smig_lease_new(&rival, TTL_MS);
  CHECK(try_lock(two, &rival, false, NULL));
  next.attempts = 2;
  CHECK_OK(commit(two, &rival, &(smig_ledger_change_t){.started = &next}), error);
  check_stored("steps.b.status", "running");
  check_stored("steps.b.error", NULL);
  check_stored("steps.b.finishedAt", NULL);
  check_stored("steps.b.durationMs", NULL);
  check_stored("steps.b.note", "theirs");
  check_stored("steps.b.run", rival.run_id);
  check_stored("mine.x", "kept");
  next = entry_of("b", SMIG_STATUS_APPLIED);
  CHECK_OK(commit(two, &rival, &(smig_ledger_change_t){.finished = &next}), error);
  check_stored("steps.b.note", "theirs");
  check_stored("steps.b.error", NULL);
  tear_down();
}

static void errors_are_kept_short(void) {
  char *text = bson_malloc(9001);
  memset(text, 'e', 9000);
  text[9000] = '\0';
  memcpy(text + 255, "\xC3\xA4", 2); /* a character across the cut */
  bson_t *why = BCON_NEW("code", "SOME_CODE", "operation", BCON_UTF8(text));
  smig_entry_write_t failed = entry_of("a", SMIG_STATUS_FAILED);
  smig_ledger_state_t state;
  failed.error = why;
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  CHECK_OK(commit(one, &lease, &(smig_ledger_change_t){.finished = &failed}), error);
  CHECK_OK(one->ops->load(one, &state, &error), error);
  const smig_entry_t *entry = smig_ledger_state_find(&state, "a");
  CHECK(entry && entry->error.len <= 2048 && bson_validate(&entry->error, BSON_VALIDATE_UTF8, NULL));
  check_stored("steps.a.error.code", "SOME_CODE");
  smig_ledger_state_release(&state);
  bson_destroy(why);
  bson_free(text);
  tear_down();
}

static void commit_after_a_theft_is_refused_and_changes_nothing(void) {
  smig_entry_write_t done = entry_of("a", SMIG_STATUS_APPLIED), dotted = entry_of("a.b", SMIG_STATUS_APPLIED);
  bson_t before, after;
  bson_t *value = BCON_NEW("v", BCON_INT32(1));
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  expire();
  CHECK(try_lock(two, &rival, false, NULL));
  backend->look(&before);
  const smig_ledger_change_t changes[] = {{.finished = &done, .current_version = "1.1.0", .release = true},
                                          {.finished = &dotted, .current_version = "1.1.0"},
                                          {.release = true},
                                          {.clear_leftovers = true},
                                          {.current_version = "9.0.0"}};
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    CHECK_FAILS(commit(one, &lease, &changes[i]), error, SMIG_LOCK_LOST);
    CHECK_STR(error.details ? at(error.details, "holder") : NULL, rival.holder);
    smig_error_release(&error);
  }
  CHECK_FAILS(one->ops->checkpoint_write(one, &lease, "a", "k", value, &error), error, SMIG_LOCK_LOST);
  smig_error_release(&error);
  CHECK_FAILS(one->ops->checkpoint_clear(one, &lease, "a", &error), error, SMIG_LOCK_LOST);
  smig_error_release(&error);
  backend->look(&after);
  CHECK(bson_equal(&before, &after));
  bson_destroy(&before);
  bson_destroy(&after);
  bson_destroy(value);
  tear_down();
}

/* Ids that are no path, ids that look like one, and long ones. */
static void ids_of_any_kind(void) {
  char wide[129] = "";
  for (int i = 0; i < 32; i++) strcat(wide, "\xF0\x9F\x9A\x80");
  const char *const ids[] = {"2024.01.02-add",
                             "a$b",
                             "0",
                             "007",
                             "-1",
                             ".",
                             "..",
                             "a.",
                             ".a",
                             "a b",
                             "bridge:1.2.0",
                             "stepId",
                             "$",
                             "$set",
                             "constructor",
                             "__proto__",
                             "steps.a.status",
                             "\xC3\xA4.\xE2\x82\xAC",
                             wide};
  size_t count = sizeof ids / sizeof *ids;
  smig_ledger_state_t state;
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  for (size_t i = 0; i < count; i++) {
    smig_entry_write_t running = entry_of(ids[i], SMIG_STATUS_RUNNING), done = entry_of(ids[i], SMIG_STATUS_APPLIED);
    smig_entry_write_t next = entry_of(i + 1 < count ? ids[i + 1] : "last", SMIG_STATUS_RUNNING);
    for (size_t k = 0; k < count; k++) {
      bson_t value = BSON_INITIALIZER, found;
      bool has = false;
      BSON_APPEND_INT32(&value, "v", (int32_t)(i * 100 + k));
      CHECK_OK(one->ops->checkpoint_write(one, &lease, ids[i], ids[k], &value, &error), error);
      CHECK_OK(one->ops->checkpoint_read(one, &lease, ids[i], ids[k], &found, &has, &error), error);
      CHECK(has && bson_equal(&value, &found), "%s %s", ids[i], ids[k]);
      bson_destroy(&found);
      bson_destroy(&value);
    }
    CHECK_OK(one->ops->load(one, &state, &error), error);
    CHECK(smig_ledger_state_checkpoints(&state, ids[i]) == count, "%s", ids[i]);
    smig_ledger_state_release(&state);
    CHECK_OK(commit(one, &lease, &(smig_ledger_change_t){.started = &running}), error);
    CHECK_OK(
        commit(one, &lease,
               &(smig_ledger_change_t){
                   .finished = &done, .started = &next, .current_version = "1.1.0", .clear_checkpoints_of = ids[i]}),
        error);
  }
  CHECK_OK(one->ops->load(one, &state, &error), error);
  CHECK(state.entry_count == count + 1, "%zu entries", state.entry_count);
  for (size_t i = 0; i < count; i++) {
    const smig_entry_t *entry = smig_ledger_state_find(&state, ids[i]);
    CHECK(entry != NULL, "%s", ids[i]);
    if (!entry) continue;
    CHECK_STR(entry->status, "applied");
    CHECK(entry->duration_ms == 333 && entry->finished_at && entry->attempts == 1);
    CHECK(smig_ledger_state_checkpoints(&state, ids[i]) == 0, "%s", ids[i]);
  }
  CHECK_STR(state.current_version, "1.1.0");
  CHECK_STR(state.lock.holder, lease.holder);
  smig_ledger_state_release(&state);
  tear_down();
}

/* ------------------------------------------------------------- checkpoints */

static void checkpoints_take_any_value(void) {
  static const char all[] =
      "{\"double\": {\"$numberDouble\": \"-0.0\"}, \"utf8\": \"a\\u0000\xC3\xA4\", \"doc\": {\"x\": {\"y.z\": 1, "
      "\"$odd\": 2}}, "
      "\"empty\": {}, \"array\": [1, [2], {}], \"binary\": {\"$binary\": {\"base64\": \"AAEC\", \"subType\": \"04\"}}, "
      "\"oid\": {\"$oid\": \"507f1f77bcf86cd799439011\"}, \"bool\": false, "
      "\"date\": {\"$date\": {\"$numberLong\": \"-5\"}}, \"null\": null, "
      "\"regex\": {\"$regularExpression\": {\"pattern\": \"^a\", \"options\": \"i\"}}, \"code\": {\"$code\": \"x()\"}, "
      "\"int\": {\"$numberInt\": \"7\"}, \"time\": {\"$timestamp\": {\"t\": 5, \"i\": 6}}, "
      "\"long\": {\"$numberLong\": \"7\"}, \"decimal\": {\"$numberDecimal\": \"1.20\"}, \"min\": {\"$minKey\": 1}, "
      "\"max\": {\"$maxKey\": 1}, \"variable\": \"$$NOW\", \"field\": \"$data.lock\"}";
  bson_error_t cause;
  bson_t *values = bson_new_from_json((const uint8_t *)all, -1, &cause);
  bson_iter_t iter;
  CHECK(values != NULL, "%s", cause.message);
  if (!values) return;
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  for (int dotted = 0; dotted < 2; dotted++) {
    const char *step = dotted ? "a.b" : "a";
    for (bool more = bson_iter_init(&iter, values); more && bson_iter_next(&iter);) {
      bson_t value = BSON_INITIALIZER, found;
      bool has = false;
      bson_append_iter(&value, "v", 1, &iter);
      CHECK_OK(one->ops->checkpoint_write(one, &lease, step, bson_iter_key(&iter), &value, &error), error);
      CHECK_OK(one->ops->checkpoint_read(one, &lease, step, bson_iter_key(&iter), &found, &has, &error), error);
      CHECK(has && bson_equal(&value, &found), "%s of %s", bson_iter_key(&iter), step);
      bson_destroy(&found);
      bson_destroy(&value);
    }
  }
  bson_destroy(values);
  tear_down();
}

static void checkpoints_are_replaced_and_cleared(void) {
  bson_t *small = BCON_NEW("v", "small"), found;
  bool has = true;
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  CHECK_OK(one->ops->checkpoint_read(one, &lease, "a", "k", &found, &has, &error), error);
  CHECK(!has && bson_empty(&found));
  bson_destroy(&found);
  bson_t *nested = BCON_NEW("v", "{", "x", BCON_INT32(1), "}");
  CHECK_OK(one->ops->checkpoint_write(one, &lease, "a", "k", nested, &error), error);
  bson_destroy(nested);
  nested = BCON_NEW("v", "{", "y", BCON_INT32(1), "}");
  CHECK_OK(one->ops->checkpoint_write(one, &lease, "a", "k", nested, &error), error);
  CHECK_OK(one->ops->checkpoint_write(one, &lease, "b", "k", small, &error), error);
  CHECK_OK(one->ops->checkpoint_read(one, &lease, "a", "k", &found, &has, &error), error);
  CHECK(has && bson_equal(&found, nested));
  bson_destroy(&found);
  CHECK_OK(one->ops->checkpoint_clear(one, &lease, "a", &error), error);
  CHECK_OK(one->ops->checkpoint_read(one, &lease, "a", "k", &found, &has, &error), error);
  CHECK(!has);
  bson_destroy(&found);
  CHECK_OK(one->ops->checkpoint_read(one, &lease, "b", "k", &found, &has, &error), error);
  CHECK(has);
  bson_destroy(&found);
  bson_destroy(nested);
  bson_destroy(small);
  tear_down();
}

static bool write_large(const char *key, size_t size) {
  char *text = bson_malloc(size + 1);
  bson_t value = BSON_INITIALIZER;
  memset(text, 'x', size);
  bson_append_utf8(&value, "v", 1, text, (int)size);
  bool ok = one->ops->checkpoint_write(one, &lease, "a", key, &value, &error);
  bson_destroy(&value);
  bson_free(text);
  return ok;
}

static void large_checkpoints_are_refused(void) {
  enum { MIB = 1024 * 1024, STRING_WRAP = 5 };
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  CHECK_OK(write_large("k", MIB - STRING_WRAP), error);
  CHECK_FAILS(write_large("k", MIB - STRING_WRAP + 1), error, SMIG_CHECKPOINT_TOO_LARGE);
  smig_error_release(&error);
  /* Writing one key again and again does not fill the ledger. */
  for (int i = 0; i < 14; i++) CHECK_OK(write_large("k", MIB - STRING_WRAP), error);
  for (int i = 0; i < 10; i++) {
    char key[8];
    snprintf(key, sizeof key, "k%d", i);
    CHECK_OK(write_large(key, MIB - STRING_WRAP), error);
  }
  CHECK_OK(write_large("k", MIB - STRING_WRAP), error);
  CHECK_FAILS(write_large("one more", MIB - STRING_WRAP), error, SMIG_CHECKPOINT_TOO_LARGE);
  smig_error_release(&error);
  check_stored("checkpoints.a.one more", NULL);
  smig_entry_write_t done = entry_of("a", SMIG_STATUS_APPLIED);
  CHECK_OK(commit(one, &lease, &(smig_ledger_change_t){.finished = &done, .clear_checkpoints_of = "a"}), error);
  CHECK_OK(write_large("one more", MIB - STRING_WRAP), error);
  tear_down();
}

/* ---------------------------------------------------------------- instances */

static void a_reopened_instance_renews(void) {
  bool ours = false;
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  smig_ledger_t *own = one->ops->reopen(one, TTL_MS, &error);
  CHECK(own != NULL);
  if (own) CHECK_OK(own->ops->renew(own, &lease, &ours, &error), error);
  CHECK(ours);
  smig_ledger_free(own);
  CHECK_OK(one->ops->renew(one, &lease, &ours, &error), error);
  CHECK(ours);
  CHECK((one->ops->capabilities & SMIG_LEDGER_ATOMIC) && (one->ops->capabilities & SMIG_LEDGER_SERVER_CLOCK));
  tear_down();
}

int main(void) {
  const backend_t *backends[] = {&memory_backend, &mongo_backend, &s3_backend};
  backends_start("contract");
  s3_backend_start("contract");
  for (size_t i = 0; i < 3; i++) {
    backend = backends[i];
    printf("# %s\n", backend->name);
    RUN(load_of_nothing_creates_nothing);
    RUN(load_of_an_empty_object);
    RUN(nulls_count_as_missing);
    RUN(wrong_shapes_are_corrupt_before_any_write);
    RUN(first_lock_creates_the_ledger);
    RUN(held_lock_is_lost_by_others);
    RUN(stale_reading_does_not_win);
    RUN(taking_again_is_allowed_to_the_holder);
    RUN(expired_lock_is_taken_over);
    RUN(expired_date_is_taken_over_and_stays_a_date);
    RUN(expiry_with_a_zone_is_read);
    RUN(unreadable_expiry_is_taken_over_only_as_dead);
    RUN(dead_holder_is_taken_over_before_its_time);
    RUN(a_second_take_over_remembers_both_users);
    RUN(a_take_over_remembers_the_longest_time_to_live);
    RUN(renewal_extends_and_tells_a_thief);
    RUN(release_keeps_the_fence_and_leaves_no_mark);
    RUN(fence_rises_even_past_the_clock);
    RUN(a_run_of_commits);
    RUN(errors_are_kept_short);
    RUN(commit_after_a_theft_is_refused_and_changes_nothing);
    RUN(ids_of_any_kind);
    RUN(checkpoints_take_any_value);
    RUN(checkpoints_are_replaced_and_cleared);
    RUN(large_checkpoints_are_refused);
    RUN(a_reopened_instance_renews);
  }
  s3_backend_stop();
  return backends_stop();
}
