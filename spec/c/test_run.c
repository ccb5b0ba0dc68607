/* The run over the ledger in memory, through the public API: results, records, failures, stops, bootstraps, writes. */
#include "check.h"
#include "details.h"
#include "engine.h"
#include "memory_ledger.h"

static smig_memory_store_t *store;
static char calls[512];          /* the ids of the steps that ran, each followed by a blank */
static const char *failing;      /* the step that fails */
static smig_engine_t *cancelled; /* asked to stop by the first step */
static char logged[4096];

static void keep_log(void *user, smig_log_level_t level, const char *message, const bson_t *fields) {
  (void)user, (void)level, (void)fields;
  size_t used = strlen(logged);
  snprintf(logged + used, sizeof logged - used, "%s\n", message);
}

static bool up(smig_ctx_t *ctx, void *user, smig_error_t *error) {
  (void)user;
  const smig_step_t *step = smig_ctx_step(ctx);
  strncat(calls, step->id, sizeof calls - strlen(calls) - 1);
  strncat(calls, " ", sizeof calls - strlen(calls) - 1);
  if (cancelled) smig_engine_cancel(cancelled, 15);
  if (failing && strcmp(failing, step->id) == 0) {
    smig_error_set_foreign(error, "DuplicateKey", "insert_one into 'app.users' failed: E11000");
    BSON_APPEND_UTF8(smig_error_details(error), "operation", "insert_one");
    return false;
  }
  return true;
}

static void add(smig_engine_t *engine, const char *id, const char *from, const char *to, smig_up_fn handler) {
  smig_step_t step = SMIG_STEP_INIT;
  step.id = id, step.from = from, step.to = to, step.up = handler;
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(smig_engine_add_step(engine, &step, &error));
}

static smig_engine_t *engine_for(const char *target, int steps, smig_up_fn handler) {
  smig_options_t options = SMIG_OPTIONS_INIT;
  options.target_version = target;
  options.lock_wait_ms = 0;
  options.log = keep_log;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_engine_t *engine = smig_engine_new_with_ledger(&options, smig_memory_ledger_new(store), &error);
  CHECK(engine, "%s", error.message);
  static const char *const ids[] = {"a", "b", "c"}, *const versions[] = {"1.0.0", "1.1.0", "1.2.0", "2.0.0"};
  for (int i = 0; i < steps; i++) add(engine, ids[i], versions[i], versions[i + 1], handler);
  calls[0] = logged[0] = 0;
  return engine;
}

static void begin(void) {
  store = smig_memory_store_new();
  failing = NULL;
  cancelled = NULL;
}

static void plant(const char *json) {
  bson_error_t why;
  bson_t *data = bson_new_from_json((const uint8_t *)json, -1, &why);
  CHECK(data, "%s", why.message);
  smig_memory_store_set(store, data);
  bson_destroy(data);
}

/* The stored value at a dotted path as relaxed JSON, or "(missing)". */
static const char *stored(const char *path) {
  static char text[512];
  bson_t data, one = BSON_INITIALIZER;
  smig_memory_store_get(store, &data);
  bson_iter_t iter, found;
  snprintf(text, sizeof text, "(missing)");
  if (bson_iter_init(&iter, &data) && bson_iter_find_descendant(&iter, path, &found)) {
    bson_append_iter(&one, "v", -1, &found);
    char *json = bson_as_relaxed_extended_json(&one, NULL);
    snprintf(text, sizeof text, "%.*s", (int)strlen(json) - 10, json + 8);
    bson_free(json);
  }
  bson_destroy(&one);
  bson_destroy(&data);
  return text;
}

static smig_result_t *run_well(smig_engine_t *engine) {
  smig_error_t error = SMIG_ERROR_INIT;
  smig_result_t *result = NULL;
  CHECK(smig_engine_run(engine, &result, &error), "%s: %s", error.name, error.message);
  smig_error_release(&error);
  return result;
}

static void run_badly(smig_engine_t *engine, smig_error_t *error) {
  smig_result_t *result = NULL;
  *error = (smig_error_t)SMIG_ERROR_INIT;
  CHECK(!smig_engine_run(engine, &result, error));
  CHECK(!result);
}

static void migrates_and_is_a_no_op_afterwards(void) {
  begin();
  smig_engine_t *engine = engine_for("2.0.0", 3, up);
  smig_result_t *result = run_well(engine);
  CHECK_STR(calls, "a b c ");
  CHECK(!result->current_version_before);
  CHECK_STR(result->current_version_after, "2.0.0");
  CHECK(result->steps_applied_count == 3 && result->steps_skipped_count == 0 && !result->was_fresh_install);
  CHECK(result->bootstrap_mode == SMIG_BOOTSTRAP_CHAIN_START);
  smig_result_free(result);
  CHECK_STR(stored("currentVersion"), "\"2.0.0\"");
  CHECK_STR(stored("compatibleFrom"), "\"2.0.0\"");
  CHECK_STR(stored("steps.b.status"), "\"applied\"");
  CHECK_STR(stored("lock.holder"), "null");
  CHECK_STR(stored("bootstrap.version"), "\"1.0.0\"");
  calls[0] = 0;
  result = run_well(engine);
  CHECK_STR(calls, "");
  CHECK(result->steps_applied_count == 0);
  smig_result_free(result);
  smig_engine_free(engine);
  smig_memory_store_free(store);
}

static void a_failure_is_recorded_and_says_what_was_done(void) {
  begin();
  failing = "b";
  smig_engine_t *engine = engine_for("2.0.0", 3, up);
  smig_error_t error;
  run_badly(engine, &error);
  CHECK(error.code == SMIG_STEP_FAILED);
  CHECK_STR(calls, "a b ");
  CHECK_STR(stored("currentVersion"), "\"1.1.0\"");
  CHECK_STR(stored("steps.b.status"), "\"failed\"");
  CHECK_STR(stored("steps.b.error.code"), "\"DuplicateKey\"");
  CHECK_STR(stored("steps.b.error.operation"), "\"insert_one\"");
  CHECK_STR(stored("steps.c"), "(missing)");
  CHECK_STR(stored("lock.holder"), "null");
  bson_iter_t iter, found;
  CHECK(bson_iter_init(&iter, error.details) && bson_iter_find_descendant(&iter, "result.steps_applied.0.id", &found));
  CHECK_STR(bson_iter_utf8(&found, NULL), "a");
  CHECK(bson_iter_init(&iter, error.details) && bson_iter_find_descendant(&iter, "result.steps_not_run.0.id", &found));
  CHECK_STR(bson_iter_utf8(&found, NULL), "c");
  CHECK_STR(detail(&error, "result.steps_failed.0.id"), "b");
  CHECK_STR(detail(&error, "result.steps_failed.0.from_version"), "1.1.0");
  CHECK_STR(detail(&error, "result.steps_failed.0.to_version"), "1.2.0");
  CHECK_STR(detail(&error, "result.steps_failed.0.status"), "failed");
  CHECK(detail(&error, "result.steps_failed.0.started_at")[0] == '2');
  CHECK(detail(&error, "result.steps_failed.0.finished_at")[0] == '2');
  CHECK_STR(detail(&error, "result.steps_failed.0.error.code"), "DuplicateKey");
  CHECK(!bson_iter_init(&iter, error.details) || !bson_iter_find_descendant(&iter, "result.steps_failed.1", &found));
  CHECK(bson_iter_init(&iter, error.details) && bson_iter_find_descendant(&iter, "cause.code", &found));
  CHECK_STR(bson_iter_utf8(&found, NULL), "DuplicateKey");
  smig_error_release(&error);
  failing = NULL;
  calls[0] = 0;
  smig_result_free(run_well(engine));
  CHECK_STR(calls, "b c ");
  CHECK_STR(stored("steps.b.attempts"), "2");
  CHECK_STR(stored("steps.b.error"), "(missing)");
  smig_engine_free(engine);
  smig_memory_store_free(store);
}

static void a_stop_between_steps_leaves_the_rest(void) {
  begin();
  smig_engine_t *engine = engine_for("2.0.0", 3, up);
  cancelled = engine;
  smig_error_t error;
  run_badly(engine, &error);
  CHECK(error.code == SMIG_INTERRUPTED, "%s", error.message);
  CHECK_STR(calls, "a ");
  CHECK_STR(stored("currentVersion"), "\"1.1.0\"");
  CHECK_STR(stored("steps.a.status"), "\"applied\"");
  CHECK_STR(stored("steps.b"), "(missing)");
  CHECK_STR(stored("lock.holder"), "null");
  smig_error_release(&error);
  cancelled = NULL;
  smig_result_free(run_well(engine));
  CHECK_STR(calls, "a b c ");
  smig_engine_free(engine);
  smig_memory_store_free(store);
}

static bool swallows(smig_ctx_t *ctx, void *user, smig_error_t *error) {
  (void)user, (void)error;
  smig_engine_cancel(cancelled, 2);
  CHECK(!smig_ctx_check(ctx, NULL));
  return true; /* as if nothing had happened */
}

static void a_step_cannot_swallow_a_stop(void) {
  begin();
  smig_engine_t *engine = engine_for("1.1.0", 1, swallows);
  cancelled = engine;
  smig_error_t error;
  run_badly(engine, &error);
  CHECK(error.code == SMIG_INTERRUPTED, "%s", error.message);
  CHECK_STR(stored("steps.a.status"), "\"interrupted\"");
  CHECK_STR(stored("currentVersion"), "\"1.0.0\"");
  CHECK_STR(stored("lock.holder"), "null");
  smig_error_release(&error);
  smig_engine_free(engine);
  smig_memory_store_free(store);
}

/* Somebody else takes the lock while the step runs. */
static bool robbed(smig_ctx_t *ctx, void *user, smig_error_t *error) {
  (void)user;
  plant("{\"currentVersion\": \"1.0.0\", \"lock\": {\"holder\": \"thief\", \"expiresAt\": "
        "\"2999-01-01T00:00:00.000Z\"}}");
  while (smig_ctx_check(ctx, error)) {}
  return false;
}

static void a_stolen_lock_stops_the_step_and_stamps_nothing(void) {
  begin();
  smig_options_t options = SMIG_OPTIONS_INIT;
  options.target_version = "1.1.0";
  options.lock_ttl_ms = 1000;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_engine_t *engine = smig_engine_new_with_ledger(&options, smig_memory_ledger_new(store), &error);
  add(engine, "a", "1.0.0", "1.1.0", robbed);
  run_badly(engine, &error);
  CHECK(error.code == SMIG_LOCK_LOST, "%s", error.message);
  CHECK_STR(stored("lock.holder"), "\"thief\"");
  CHECK_STR(stored("steps.a"), "(missing)");
  smig_error_release(&error);
  smig_engine_free(engine);
  smig_memory_store_free(store);
}

static void a_held_lock_times_out_naming_its_holder(void) {
  begin();
  plant("{\"currentVersion\": \"1.0.0\", \"lock\": {\"holder\": \"somebody@else\", \"expiresAt\": "
        "\"2999-01-01T00:00:00.000Z\"}}");
  smig_engine_t *engine = engine_for("1.1.0", 1, up);
  smig_error_t error;
  run_badly(engine, &error);
  CHECK(error.code == SMIG_LOCK_TIMEOUT);
  CHECK(strstr(error.message, "somebody@else") && strstr(error.message, "2999-01-01"), "%s", error.message);
  CHECK_STR(calls, "");
  smig_error_release(&error);
  smig_engine_free(engine);
  smig_memory_store_free(store);
}

static void an_expired_lock_is_taken_over(void) {
  begin();
  plant("{\"currentVersion\": \"1.0.0\", \"lock\": {\"holder\": \"somebody@else\", \"expiresAt\": "
        "\"2001-01-01T00:00:00.000Z\"}}");
  smig_engine_t *engine = engine_for("1.1.0", 1, up);
  smig_result_free(run_well(engine));
  CHECK_STR(calls, "a ");
  CHECK(strstr(logged, "took over the lock that somebody@else had not released"), "%s", logged);
  CHECK_STR(stored("leftovers"), "(missing)");
  smig_engine_free(engine);
  smig_memory_store_free(store);
}

static void two_engines_in_one_process_exclude_each_other(void) {
  begin();
  smig_engine_t *first = engine_for("1.1.0", 1, up);
  smig_ledger_t *other = smig_memory_ledger_new(store);
  smig_lease_t lease;
  smig_lease_new(&lease, 60000);
  smig_ledger_state_t seen, locked;
  smig_error_t error = SMIG_ERROR_INIT;
  bool won = false;
  int64_t sent;
  CHECK(other->ops->load(other, &seen, &error));
  smig_acquire_t acquire = {.seen = &seen};
  CHECK(other->ops->acquire(other, &lease, &acquire, &won, &locked, &sent, &error) && won);
  smig_ledger_state_release(&seen);
  smig_ledger_state_release(&locked);
  run_badly(first, &error);
  CHECK(error.code == SMIG_LOCK_TIMEOUT, "%s", error.message);
  smig_error_release(&error);
  smig_ledger_free(other);
  smig_engine_free(first);
  smig_memory_store_free(store);
}

static void plan_predicts_and_writes_nothing(void) {
  begin();
  smig_engine_t *engine = engine_for("2.0.0", 3, up);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_result_t *plan = NULL;
  CHECK(smig_engine_plan(engine, &plan, &error), "%s", error.message);
  CHECK(plan->steps_skipped_count == 3 && plan->steps_skipped[0].status == SMIG_STATUS_SKIPPED);
  CHECK_STR(plan->current_version_after, "2.0.0");
  CHECK_STR(calls, "");
  bson_t data;
  smig_memory_store_get(store, &data);
  CHECK(bson_empty(&data));
  bson_destroy(&data);
  smig_result_free(plan);
  smig_engine_free(engine);
  smig_memory_store_free(store);
}

static void status_shows_a_run_without_its_lock_as_interrupted(void) {
  begin();
  plant("{\"currentVersion\": \"1.1.0\", \"steps\": {\"a\": {\"stepId\": \"a\", \"fromVersion\": \"1.0.0\", "
        "\"toVersion\": "
        "\"1.1.0\", \"status\": \"applied\"}, \"b\": {\"stepId\": \"b\", \"fromVersion\": \"1.1.0\", \"toVersion\": "
        "\"1.2.0\", \"status\": \"running\", \"run\": \"r\"}}, \"checkpoints\": {\"b\": {\"k\": 1}}}");
  smig_engine_t *engine = engine_for("2.0.0", 3, up);
  smig_error_t error = SMIG_ERROR_INIT;
  bson_t report;
  CHECK(smig_engine_status(engine, &report, &error), "%s", error.message);
  char *json = bson_as_relaxed_extended_json(&report, NULL);
  CHECK(strstr(json, "\"check\" : \"pending\"") && strstr(json, "\"pending\" : 2"), "%s", json);
  CHECK(strstr(json, "\"status\" : \"interrupted\"") && strstr(json, "\"checkpoints\" : 1"), "%s", json);
  bson_free(json);
  bson_destroy(&report);
  smig_engine_free(engine);
  smig_memory_store_free(store);
}

static void offline_checks_only_the_chain(void) {
  smig_options_t options = SMIG_OPTIONS_INIT;
  options.target_version = "1.1.0";
  options.offline = true;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_engine_t *engine = smig_engine_new(&options, &error);
  add(engine, "a", "1.0.0", "1.1.0", up);
  CHECK(smig_engine_validate_chain(engine, &error));
  smig_result_t *result;
  CHECK(!smig_engine_run(engine, &result, &error) && error.code == SMIG_NO_RESOURCES);
  smig_error_release(&error);
  smig_engine_free(engine);
}

static bool wants_a_session(smig_ctx_t *ctx, void *user, smig_error_t *error) {
  (void)user;
  bson_t opts = BSON_INITIALIZER;
  bool appended = smig_ctx_append_opts(ctx, &opts, error);
  bson_destroy(&opts);
  return appended;
}

static void a_session_needs_mongodb(void) {
  begin();
  smig_engine_t *engine = engine_for("1.1.0", 1, wants_a_session);
  smig_error_t error;
  run_badly(engine, &error);
  bson_iter_t iter, found;
  CHECK(bson_iter_init(&iter, error.details) && bson_iter_find_descendant(&iter, "cause.code", &found));
  CHECK_STR(bson_iter_utf8(&found, NULL), smig_code_name(SMIG_NO_DB_CONFIGURED));
  smig_error_release(&error);
  smig_engine_free(engine);
  smig_memory_store_free(store);
}

static void options_are_checked_in_order(void) {
  static const struct {
    smig_options_t options;
    smig_code_t code;
    const char *message;
  } rows[] = {
      {{.ledger_name = "a/b", .lock_ttl_ms = 1000}, SMIG_INVALID_OPTIONS, "ledger_name"},
      {{.ledger_name = ".a", .lock_ttl_ms = 1000}, SMIG_INVALID_OPTIONS, "ledger_name"},
      {{.lock_ttl_ms = 999}, SMIG_INVALID_OPTIONS, "lock_ttl_ms must be at least 1000"},
      {{.lock_ttl_ms = INT64_MAX}, SMIG_INVALID_OPTIONS, "lock_ttl_ms must be at most 86400000"},
      {{.lock_ttl_ms = 1000, .lock_wait_ms = -1}, SMIG_INVALID_OPTIONS, "lock_wait_ms"},
      {{.lock_ttl_ms = 1000, .newer_ledger = "x"}, SMIG_INVALID_OPTIONS, "newer_ledger"},
      {{.lock_ttl_ms = 1000, .unversioned_data = "x"}, SMIG_INVALID_OPTIONS, "unversioned_data"},
      {{.lock_ttl_ms = 1000, .ledger_backend = "x"}, SMIG_INVALID_OPTIONS, "ledger_backend"},
      {{.lock_ttl_ms = 1000, .target_version_strategy = "x"}, SMIG_INVALID_TARGET_VERSION_STRATEGY, "bridge"},
      {{.lock_ttl_ms = 1000}, SMIG_MISSING_TARGET_VERSION, "target"},
      {{.lock_ttl_ms = 1000, .target_version = ""}, SMIG_MISSING_TARGET_VERSION, "target"},
      {{.lock_ttl_ms = 1000, .target_version = "latest", .fresh_install_version = "x"},
       SMIG_INVALID_VERSION,
       "options.targetVersion is not a valid semver string: \"latest\""},
      {{.lock_ttl_ms = 1000, .target_version = "1.0.0", .fresh_install_version = "x"},
       SMIG_INVALID_VERSION,
       "options.freshInstallVersion is not a valid semver string: \"x\""},
      {{.lock_ttl_ms = 1000, .target_version = "1.0.0"}, SMIG_NO_RESOURCES, "mongo.uri"},
      {{.lock_ttl_ms = 1000, .target_version = "1.0.0", .mongo.uri = "mongodb://localhost"},
       SMIG_INVALID_OPTIONS,
       "no database"},
      {{.lock_ttl_ms = 1000, .target_version = "1.0.0", .mongo.uri = "mongodb://localhost/a", .mongo.database = "a b"},
       SMIG_INVALID_OPTIONS,
       "mongo.database"},
      {{.lock_ttl_ms = 1000, .target_version = "1.0.0", .mongo.uri = "mongodb://localhost/a?w=0"},
       SMIG_INVALID_OPTIONS,
       "w=0"},
      {{.lock_ttl_ms = 1000, .target_version = "1.0.0", .mongo.uri = "mongodb://localhost/a", .ledger_backend = "s3"},
       SMIG_LEDGER_BACKEND_MISMATCH,
       "s3"},
      {{.lock_ttl_ms = 1000, .s3_lock = "x"}, SMIG_INVALID_OPTIONS, "s3_lock must be \"exclusive\" or \"best-effort\""},
      {{.lock_ttl_ms = 1000, .s3.endpoint = "http://127.0.0.1:1"}, SMIG_INVALID_OPTIONS, "s3.bucket"},
      {{.lock_ttl_ms = 1000, .s3.bucket = "uploads"}, SMIG_INVALID_OPTIONS, "at least 5000"},
      {{.lock_ttl_ms = 1000, .mongo.uri = "mongodb://localhost/a", .s3.bucket = "uploads", .ledger_backend = "s3"},
       SMIG_INVALID_OPTIONS,
       "at least 5000"},
      {{.lock_ttl_ms = 5000, .s3.bucket = "uploads"}, SMIG_MISSING_TARGET_VERSION, "target"},
      {{.lock_ttl_ms = 1000, .target_version = "1.0.0", .s3.bucket = "uploads", .ledger_backend = "mongo"},
       SMIG_LEDGER_BACKEND_MISMATCH,
       "\"mongo\" needs a MongoDB URI"},
      {{.lock_ttl_ms = 5000, .target_version = "1.0.0", .s3.bucket = "uploads", .s3.endpoint = "http://10.0.0.1"},
       SMIG_INVALID_OPTIONS,
       "insecure"},
      {{.lock_ttl_ms = 5000, .target_version = "1.0.0", .s3.bucket = ""}, SMIG_INVALID_OPTIONS, "s3.bucket"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    smig_error_t error = SMIG_ERROR_INIT;
    CHECK(!smig_engine_new(&rows[i].options, &error), "row %zu", i);
    CHECK(error.code == rows[i].code, "row %zu: %s", i, error.name);
    CHECK(error.message && strstr(error.message, rows[i].message), "row %zu: %s", i, error.message);
    smig_error_release(&error);
  }
}

int main(void) {
  RUN(migrates_and_is_a_no_op_afterwards);
  RUN(a_failure_is_recorded_and_says_what_was_done);
  RUN(a_stop_between_steps_leaves_the_rest);
  RUN(a_step_cannot_swallow_a_stop);
  RUN(a_stolen_lock_stops_the_step_and_stamps_nothing);
  RUN(a_held_lock_times_out_naming_its_holder);
  RUN(an_expired_lock_is_taken_over);
  RUN(two_engines_in_one_process_exclude_each_other);
  RUN(plan_predicts_and_writes_nothing);
  RUN(status_shows_a_run_without_its_lock_as_interrupted);
  RUN(offline_checks_only_the_chain);
  RUN(a_session_needs_mongodb);
  RUN(options_are_checked_in_order);
  return check_done();
}
