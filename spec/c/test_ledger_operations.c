/*
 * The contract of every ledger backend for what an operator does, and for the history: one suite of cases over smig_ledger_t, run
 * over the ledgers in memory, in MongoDB (the server that SMARTMIGRATION_TEST_MONGO_URI names) and in S3 (SMARTMIGRATION_TEST_S3_ENDPOINT, AWS_*).
 */
#include "s3_backend.h"

#include "ledger_cases.h"

/* Two applied steps with checkpoints, and fields that are somebody else's. */
static void plant_two(void) {
  plant_json(
      "{\"currentVersion\": \"1.2.0\", \"compatibleFrom\": \"1.2.0\", \"mine\": {\"x\": \"kept\"},"
      "\"bootstrap\": {\"mode\": \"chain-start\", \"version\": \"1.0.0\", \"note\": \"kept\"},"
      "\"steps\": {\"a\": {\"stepId\": \"a\", \"status\": \"applied\", \"checksum\": \"sha256:00\", \"note\": "
      "\"kept\"},"
      "\"a.b\": {\"stepId\": \"a.b\", \"status\": \"applied\", \"checksum\": \"sha256:00\", \"note\": \"kept\"}},"
      "\"checkpoints\": {\"a\": {\"k\": 1}, \"a.b\": {\"k\": 2}, \"c\": {\"k\": 3}}}");
  CHECK(try_lock(one, &lease, false, NULL));
}

/* Whether the ledger has that step's entry and its checkpoint. */
static void check_step(const char *id, bool entry, bool checkpoint) {
  smig_ledger_state_t state;
  CHECK_OK(one->ops->load(one, &state, &error), error);
  CHECK((smig_ledger_state_find(&state, id) != NULL) == entry, ": the entry of %s", id);
  CHECK((smig_ledger_state_checkpoints(&state, id) > 0) == checkpoint, ": the checkpoints of %s", id);
  smig_ledger_state_release(&state);
}

static void check_checksum(const char *id, const char *expected) {
  smig_ledger_state_t state;
  CHECK_OK(one->ops->load(one, &state, &error), error);
  const smig_entry_t *entry = smig_ledger_state_find(&state, id);
  CHECK_STR(entry ? entry->checksum : NULL, expected);
  CHECK_STR(entry ? entry->status : NULL, "applied");
  smig_ledger_state_release(&state);
}

/* An id that is a path, and one that is none, take different ways to MongoDB. */
static const char *const ids[] = {"a", "a.b"};

static void entries_are_removed_with_their_checkpoints(void) {
  for (size_t i = 0; i < 2; i++) {
    const char *removed[] = {ids[i], "never-there", NULL};
    set_up();
    plant_two();
    CHECK_OK(
        commit(one, &lease,
               &(smig_ledger_change_t){
                   .remove_entries = removed, .current_version = "1.1.0", .compatible_from = "1.1.0", .release = true}),
        error);
    check_step(ids[i], false, false);
    check_step(ids[1 - i], true, true);
    check_step("c", false, true);
    check_stored("currentVersion", "1.1.0");
    check_stored("compatibleFrom", "1.1.0");
    check_stored("lock.holder", "{ \"v\" : null }");
    check_stored("mine.x", "kept");
    tear_down();
  }
}

static void a_baseline_takes_the_place_of_a_bootstrap(void) {
  const char *removed[] = {"a", "a.b", NULL}, *none[] = {NULL};
  set_up();
  plant_two();
  CHECK_OK(commit(one, &lease,
                  &(smig_ledger_change_t){.bootstrap_mode = "baseline",
                                          .bootstrap_version = "1.0.0",
                                          .bootstrap_replaced = "1.2.0",
                                          .current_version = "1.0.0",
                                          .remove_entries = removed}),
           error);
  check_stored("bootstrap.mode", "baseline");
  check_stored("bootstrap.version", "1.0.0");
  check_stored("bootstrap.replaced", "1.2.0");
  check_stored("bootstrap.note", "kept");
  check_step("a", false, false);
  check_step("a.b", false, false);
  CHECK_OK(commit(one, &lease,
                  &(smig_ledger_change_t){
                      .bootstrap_mode = "baseline", .bootstrap_version = "1.1.0", .remove_entries = none}),
           error);
  check_stored("bootstrap.version", "1.1.0");
  check_stored("bootstrap.replaced", NULL);
  tear_down();
}

/* The stored data but for what every write of some backends changes. */
static void look_without_nonce(bson_t *data) {
  bson_t whole;
  backend->look(&whole);
  bson_init(data);
  bson_copy_to_excluding_noinit(&whole, data, "nonce", NULL);
  bson_destroy(&whole);
}

static void an_accepted_checksum_changes_nothing_else(void) {
  for (size_t i = 0; i < 2; i++) {
    set_up();
    plant_two();
    bson_t before, after;
    look_without_nonce(&before);
    CHECK_OK(
        commit(one, &lease, &(smig_ledger_change_t){.accept_checksum_of = ids[i], .accepted_checksum = "sha256:11"}),
        error);
    check_checksum(ids[i], "sha256:11");
    check_checksum(ids[1 - i], "sha256:00");
    CHECK_OK(
        commit(one, &lease, &(smig_ledger_change_t){.accept_checksum_of = ids[i], .accepted_checksum = "sha256:00"}),
        error);
    look_without_nonce(&after);
    CHECK(bson_equal(&before, &after));
    bson_destroy(&before);
    bson_destroy(&after);
    tear_down();
  }
}

static void all_checkpoints_are_cleared_at_once(void) {
  set_up();
  plant_two();
  CHECK_OK(commit(one, &lease, &(smig_ledger_change_t){.clear_all_checkpoints = true}), error);
  for (size_t i = 0; i < 2; i++) check_step(ids[i], true, false);
  check_step("c", false, false);
  bson_t *value = BCON_NEW("v", BCON_INT32(1));
  CHECK_OK(one->ops->checkpoint_write(one, &lease, "c", "k", value, &error), error);
  bson_destroy(value);
  check_step("c", false, true);
  tear_down();
}

static void a_lost_lock_changes_nothing(void) {
  const char *removed[] = {"a", NULL}, *dotted[] = {"a.b", NULL};
  const smig_ledger_change_t changes[] = {{.remove_entries = removed, .current_version = "1.1.0", .release = true},
                                          {.remove_entries = dotted, .release = true},
                                          {.bootstrap_version = "1.0.0", .bootstrap_replaced = "1.2.0"},
                                          {.accept_checksum_of = "a", .accepted_checksum = "sha256:11"},
                                          {.clear_all_checkpoints = true, .release = true}};
  bson_t before, after;
  set_up();
  plant_two();
  expire();
  CHECK(try_lock(two, &rival, false, NULL));
  backend->look(&before);
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    CHECK_FAILS(commit(one, &lease, &changes[i]), error, SMIG_LOCK_LOST);
    smig_error_release(&error);
  }
  backend->look(&after);
  CHECK(bson_equal(&before, &after));
  bson_destroy(&before);
  bson_destroy(&after);
  tear_down();
}

/* -------------------------------------------------------------------- history */

/* How many documents the history holds; *text is that one's field `status` whose `run` is this, NULL: it is not there. */
static uint32_t look_at_history(const char *run, char text[32]) {
  bson_t list = BSON_INITIALIZER;
  bson_iter_t iter, field;
  CHECK_OK(two->ops->history_list(two, &list, &error), error);
  text[0] = '\0';
  for (bool more = bson_iter_init(&iter, &list); more && bson_iter_next(&iter);) {
    bool is_it = bson_iter_recurse(&iter, &field) && bson_iter_find(&field, "run") &&
                 strcmp(bson_iter_utf8(&field, NULL), run) == 0;
    if (is_it && bson_iter_recurse(&iter, &field) && bson_iter_find(&field, "status"))
      snprintf(text, 32, "%s", bson_iter_utf8(&field, NULL));
  }
  uint32_t count = bson_count_keys(&list);
  bson_destroy(&list);
  return count;
}

static bool write_history(const smig_lease_t *of, const char *started, const char *status, bool finish) {
  bson_t *document =
      BCON_NEW("run", BCON_UTF8(of->run_id), "startedAt", BCON_UTF8(started), "status", BCON_UTF8(status));
  bool ok = (finish ? one->ops->history_finish : one->ops->history_begin)(one, of, document, &error);
  bson_destroy(document);
  return ok;
}

static void history_is_begun_and_finished(void) {
  char status[32];
  set_up();
  CHECK(look_at_history(lease.run_id, status) == 0);
  CHECK_OK(write_history(&lease, "2026-01-01T00:00:00.000Z", "running", false), error);
  CHECK(look_at_history(lease.run_id, status) == 1);
  CHECK_STR(status, "running");
  CHECK_OK(write_history(&lease, "2026-01-01T00:00:00.000Z", "succeeded", true), error);
  CHECK(look_at_history(lease.run_id, status) == 1);
  CHECK_STR(status, "succeeded");
  /* Also where the beginning could not be written; and without the lock. */
  CHECK_OK(write_history(&rival, "2026-01-02T00:00:00.000Z", "failed", true), error);
  CHECK(look_at_history(rival.run_id, status) == 2);
  CHECK_STR(status, "failed");
  /* It is no part of the ledger. */
  bson_t data;
  backend->look(&data);
  CHECK(bson_empty(&data));
  bson_destroy(&data);
  tear_down();
}

static void history_is_pruned_by_age(void) {
  char status[32];
  int64_t removed = -1;
  set_up();
  CHECK_OK(one->ops->history_prune(one, "2999-01-01T00:00:00.000Z", &removed, &error), error);
  CHECK(removed == 0);
  CHECK_OK(write_history(&lease, "2026-01-01T00:00:00.000Z", "succeeded", true), error);
  CHECK_OK(write_history(&rival, "2026-01-02T00:00:00.000Z", "succeeded", true), error);
  CHECK_OK(one->ops->history_prune(one, "2026-01-01T00:00:00.000Z", &removed, &error), error);
  CHECK(removed == 0);
  CHECK_OK(one->ops->history_prune(one, "2026-01-01T12:00:00.000Z", &removed, &error), error);
  CHECK(removed == 1);
  CHECK(look_at_history(rival.run_id, status) == 1 && *status);
  tear_down();
}

int main(void) {
  const backend_t *backends[] = {&memory_backend, &mongo_backend, &s3_backend};
  backends_start("operations");
  s3_backend_start("operations");
  for (size_t i = 0; i < 3; i++) {
    backend = backends[i];
    printf("# %s\n", backend->name);
    RUN(entries_are_removed_with_their_checkpoints);
    RUN(a_baseline_takes_the_place_of_a_bootstrap);
    RUN(an_accepted_checksum_changes_nothing_else);
    RUN(all_checkpoints_are_cleared_at_once);
    RUN(a_lost_lock_changes_nothing);
    RUN(history_is_begun_and_finished);
    RUN(history_is_pruned_by_age);
  }
  s3_backend_stop();
  return backends_stop();
}
