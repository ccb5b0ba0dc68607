/*
 * What the server may answer the MongoDB ledger, and answers that get lost. See mongo_cases.h for the server.
 */
#include "mongo_cases.h"

static void servers_that_lack_abilities_are_unsupported(void) {
  static const int codes[] = {40415, 168, 31325, 148};
  set_up_faulty();
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
    smig_ledger_state_t state;
    fail_next_with_code("find", 1, codes[i]);
    CHECK_FAILS(ledger->ops->load(ledger, &state, &error), error, SMIG_UNSUPPORTED_SERVER);
    smig_error_release(&error);
    smig_ledger_state_release(&state);
    heal();
  }
  tear_down();
}

static void refusals_are_ledger_errors(void) {
  smig_ledger_state_t state;
  set_up_faulty();
  fail_next_with_code("find", 1, 13);
  CHECK_FAILS(ledger->ops->load(ledger, &state, &error), error, SMIG_LEDGER_IO);
  CHECK_STR(error.details ? at(error.details, "cause.code") : NULL, "Unauthorized");
  smig_ledger_state_release(&state);
  heal();
  tear_down();
}

static void nobody_there_is_a_failed_connection(void) {
  const char *good = mongo_uri;
  smig_ledger_state_t state;
  mongo_uri = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200";
  instance = mongo_open();
  mongo_uri = good;
  ledger = instance.ledger;
  CHECK_FAILS(ledger->ops->load(ledger, &state, &error), error, SMIG_CONNECTION_FAILED);
  smig_ledger_state_release(&state);
  tear_down();
}

/* Three times: the driver itself sends twice. */
enum { LOSSES = 3 };

static void locking_survives_lost_answers(void) {
  for (int exists = 0; exists < 2; exists++) {
    for (int carried_out = 0; carried_out < 2; carried_out++) {
      bson_t empty = BSON_INITIALIZER;
      set_up_faulty();
      if (exists) mongo_plant(&empty);
      if (carried_out)
        lose_agreement("findAndModify", LOSSES);
      else
        lose_connection("findAndModify", LOSSES);
      CHECK(try_lock(), "exists %d, carried out %d", exists, carried_out);
      heal();
      check_stored("data.lock.holder", lease.holder);
      CHECK(lease.fence > 0);
      CHECK_OK(ledger->ops->commit(ledger, &lease, &(smig_ledger_change_t){.release = true}, &error), error);
      tear_down();
    }
  }
}

static void stamps_survive_lost_answers(void) {
  smig_entry_write_t done = applied("a"), dotted = applied("a.b");
  const char *const removed[] = {"a", NULL};
  const smig_ledger_change_t changes[] = {
      {.finished = &done, .current_version = "1.1.0"},
      {.finished = &done, .current_version = "1.1.0", .release = true},
      {.finished = &dotted, .current_version = "1.1.0", .release = true},
      {.bootstrap_mode = "chain-start", .bootstrap_version = "1.0.0", .release = true},
      {.remove_entries = removed, .current_version = "1.1.0", .release = true},
      {.clear_all_checkpoints = true, .release = true},
      {.release = true}};
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    for (int carried_out = 0; carried_out < 2; carried_out++) {
      set_up_faulty();
      CHECK(try_lock());
      if (carried_out)
        lose_agreement("update", LOSSES);
      else
        lose_connection("update", LOSSES);
      CHECK_OK(ledger->ops->commit(ledger, &lease, &changes[i], &error), error);
      heal();
      check_stored("data.lock.holder", changes[i].release ? "{ \"v\" : null }" : lease.holder);
      if (changes[i].current_version) check_stored("data.currentVersion", "1.1.0");
      tear_down();
    }
  }
}

static void an_unanswered_stamp_that_never_landed_is_lost(void) {
  smig_entry_write_t done = applied("a");
  set_up_faulty();
  CHECK(try_lock());
  bson_t *data = BCON_NEW("lock", "{", "holder", "thief", "}");
  mongo_plant(data);
  bson_destroy(data);
  lose_connection("update", LOSSES);
  CHECK_FAILS(ledger->ops->commit(ledger, &lease, &(smig_ledger_change_t){.finished = &done, .release = true}, &error),
              error, SMIG_LOCK_LOST);
  CHECK_STR(error.details ? at(error.details, "holder") : NULL, "thief");
  heal();
  tear_down();
}

/* A release does not make a change that is not in the ledger a success. */
static void an_unanswered_repair_that_never_landed_is_lost(void) {
  const char *const removed[] = {"a", NULL};
  const smig_ledger_change_t changes[] = {
      {.remove_entries = removed, .current_version = "1.0.0", .release = true},
      {.bootstrap_mode = "baseline", .bootstrap_version = "1.0.0", .current_version = "1.0.0", .release = true},
      {.accept_checksum_of = "a", .accepted_checksum = "sha256:11", .release = true},
      {.clear_checkpoints_of = "a", .release = true},
      {.clear_all_checkpoints = true, .release = true}};
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    for (int landed = 0; landed < 2; landed++) {
      set_up_faulty();
      CHECK(try_lock());
      bson_t *before = bson_new_from_json(
          (const uint8_t *)"{\"currentVersion\": \"1.1.0\", \"lock\": {\"holder\": \"thief\"},"
                           "\"steps\": {\"a\": {\"status\": \"applied\", \"checksum\": \"sha256:00\"}},"
                           "\"checkpoints\": {\"a\": {\"k\": 1}}}",
          -1, NULL);
      bson_t after = BSON_INITIALIZER;
      smig_edits_t edits = SMIG_EDITS_INIT;
      if (landed) smig_edits_of_change(&edits, &changes[i], &lease, "2026-01-01T00:00:00.000Z");
      smig_edits_set_utf8(&edits, "thief", "lock", "holder", NULL);
      bson_destroy(&after);
      smig_edits_apply(&edits, before, &after);
      mongo_plant(&after);
      smig_edits_release(&edits);
      bson_destroy(&after);
      bson_destroy(before);
      lose_connection("update", LOSSES);
      bool ok = ledger->ops->commit(ledger, &lease, &changes[i], &error);
      if (landed) {
        CHECK_OK(ok, error);
      } else {
        CHECK_FAILS(ok, error, SMIG_LOCK_LOST);
        CHECK(error.details && strstr(at(error.details, "landed"), "false"), ": change %zu", i);
      }
      heal();
      tear_down();
    }
  }
}

/* An earlier try landed, and then somebody took the lock: what the ledger shows decides. */
static void a_stamp_that_landed_before_the_lock_was_lost_is_told(void) {
  for (int release = 0; release < 2; release++) {
    smig_entry_write_t done = applied("a");
    set_up_faulty();
    CHECK(try_lock());
    bson_t *data =
        BCON_NEW("lock", "{", "holder", "thief", "}", "steps", "{", "a", "{", "stepId", "a", "status", "applied", "run",
                 BCON_UTF8(lease.run_id), "startedAt", BCON_UTF8(done.started_at), "}", "}");
    mongo_plant(data);
    bson_destroy(data);
    lose_connection("update", LOSSES);
    smig_ledger_change_t change = {.finished = &done, .release = release};
    bool ok = ledger->ops->commit(ledger, &lease, &change, &error);
    if (release) {
      CHECK_OK(ok, error);
    } else {
      CHECK_FAILS(ok, error, SMIG_LOCK_LOST);
      CHECK(error.details && strstr(at(error.details, "landed"), "true"));
    }
    heal();
    tear_down();
  }
}

static void a_refusal_after_a_lost_answer_leaves_the_outcome_unknown(void) {
  smig_entry_write_t done = applied("a");
  set_up_faulty();
  CHECK(try_lock());
  command_here(BCON_NEW("collMod", SMIG_MONGO_LEDGER_COLLECTION, "validator", "{", "never", BCON_INT32(1), "}"));
  lose_connection("update", LOSSES);
  CHECK_FAILS(ledger->ops->commit(ledger, &lease, &(smig_ledger_change_t){.finished = &done}, &error), error,
              SMIG_LEDGER_IO);
  CHECK_STR(at(error.details, "cause.code"), "DocumentValidationFailure");
  CHECK(strstr(at(error.details, "outcome_unknown"), "true"));
  heal();
  tear_down();
}

/* Somebody spoils the ledger between the look and the lock: the lock does not stay on it. */
static void a_lock_on_a_corrupt_ledger_is_given_back(void) {
  smig_ledger_state_t seen, locked;
  int64_t sent;
  bool won;
  bson_t *good = BCON_NEW("currentVersion", "1.0.0"), *spoilt = BCON_NEW("currentVersion", BCON_INT32(5));
  set_up();
  mongo_plant(good);
  CHECK_OK(ledger->ops->load(ledger, &seen, &error), error);
  mongo_plant(spoilt);
  CHECK_FAILS(ledger->ops->acquire(ledger, &lease, &(smig_acquire_t){.seen = &seen}, &won, &locked, &sent, &error),
              error, SMIG_LEDGER_CORRUPT);
  CHECK(!won);
  check_stored("data.lock.holder", "{ \"v\" : null }");
  smig_ledger_state_release(&seen);
  smig_ledger_state_release(&locked);
  bson_destroy(good);
  bson_destroy(spoilt);
  tear_down();
}

static void a_beat_without_an_answer_is_an_error(void) {
  bool ours = true;
  set_up_faulty();
  CHECK(try_lock());
  lose_connection("update", LOSSES);
  CHECK_FAILS(ledger->ops->renew(ledger, &lease, &ours, &error), error, SMIG_LEDGER_IO);
  CHECK(!ours);
  heal();
  tear_down();
}

int main(void) {
  mongo_cases_start("answers");
  RUN(servers_that_lack_abilities_are_unsupported);
  RUN(refusals_are_ledger_errors);
  RUN(nobody_there_is_a_failed_connection);
  RUN(locking_survives_lost_answers);
  RUN(stamps_survive_lost_answers);
  RUN(an_unanswered_stamp_that_never_landed_is_lost);
  RUN(an_unanswered_repair_that_never_landed_is_lost);
  RUN(a_stamp_that_landed_before_the_lock_was_lost_is_told);
  RUN(a_refusal_after_a_lost_answer_leaves_the_outcome_unknown);
  RUN(a_lock_on_a_corrupt_ledger_is_given_back);
  RUN(a_beat_without_an_answer_is_an_error);
  return backends_stop();
}
