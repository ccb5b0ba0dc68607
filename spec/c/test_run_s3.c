/*
 * Runs with a bucket, through the public API: what they cost, what counts as fresh, where else a ledger may be, what a step gets, and how
 * a run ends that lost its lock. Against the real servers, S3 by way of the proxy, whose log counts.
 */
#include "s3_backend.h"
#include "s3_proxy.h"

#include "engine.h"
#include "stream.h"

enum { TTL_MS = 5000 };

static s3_proxy_t proxy;
static smig_error_t error = SMIG_ERROR_INIT;
static char logged[16384];
static int calls;

static void keep_log(void *user, smig_log_level_t level, const char *message, const bson_t *fields) {
  (void)user, (void)fields;
  size_t used = strlen(logged);
  snprintf(logged + used, sizeof logged - used, "%s%s\n", level == SMIG_LOG_WARN ? "warning: " : "", message);
}

static smig_options_t options_of(void) {
  smig_options_t options = SMIG_OPTIONS_INIT;
  options.target_version = "2.0.0";
  options.s3.bucket = s3_bucket;
  options.s3.endpoint = proxy.endpoint;
  options.s3.access_key_id = getenv("AWS_ACCESS_KEY_ID");
  options.s3.secret_access_key = getenv("AWS_SECRET_ACCESS_KEY");
  options.ledger_name = LEDGER_NAME;
  options.lock_wait_ms = 0;
  options.lock_ttl_ms = TTL_MS;
  options.log = keep_log;
  return options;
}

/* 1.0.0 -> 1.1.0 -> 1.2.0 -> 2.0.0 */
static smig_engine_t *engine_with(const smig_options_t *options, smig_up_fn up, bool transaction) {
  static const char *const ids[] = {"a", "b", "c"}, *const versions[] = {"1.0.0", "1.1.0", "1.2.0", "2.0.0"};
  smig_engine_t *engine = smig_engine_new(options, &error);
  CHECK(engine != NULL, ": %s", error.message);
  for (int i = 0; engine && i < 3; i++) {
    smig_step_t step = SMIG_STEP_INIT;
    step.id = ids[i], step.from = versions[i], step.to = versions[i + 1], step.up = up;
    step.transaction = transaction && i == 1;
    CHECK(smig_engine_add_step(engine, &step, &error));
  }
  calls = 0;
  logged[0] = '\0';
  return engine;
}

/* Puts an object through the step's own client. */
static bool put_object(smig_ctx_t *ctx, void *user, smig_error_t *failure) {
  (void)user;
  char key[32];
  bson_t opts = BSON_INITIALIZER;
  smig_error_t ignored = SMIG_ERROR_INIT;
  calls++;
  CHECK(!smig_ctx_mongo_client(ctx) && !smig_ctx_mongo_database(ctx) && !smig_ctx_session(ctx));
  CHECK(!smig_ctx_append_opts(ctx, &opts, &ignored) && ignored.code == SMIG_NO_DB_CONFIGURED);
  CHECK_STR(smig_ctx_s3_bucket(ctx), s3_bucket);
  smig_error_release(&ignored);
  bson_destroy(&opts);
  snprintf(key, sizeof key, "data/%s", smig_ctx_step(ctx)->id);
  smig_s3_request_t request = s3_put(smig_ctx_s3_bucket(ctx), key, "x");
  smig_s3_response_t response;
  bool good = smig_s3_perform(smig_ctx_s3(ctx), &request, &response, failure);
  smig_s3_response_release(&response);
  return good;
}

static bool nothing(smig_ctx_t *ctx, void *user, smig_error_t *failure) {
  (void)ctx, (void)user, (void)failure;
  calls++;
  return true;
}

static void empty_the_bucket(void) {
  static const char *const keys[] = {S3_KEY,
                                     "data/a",
                                     "data/b",
                                     "data/c",
                                     "theirs",
                                     LEDGER_NAME ".json",
                                     ".smartmigration/other.json",
                                     ".smartmigration/contract/history/1.json",
                                     ".smartmigration/contract.probe-1",
                                     "adopted/ledger"};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) s3_do("DELETE", keys[i], NULL);
  s3_proxy_clear_rules(&proxy);
  s3_proxy_forget(&proxy);
}

static smig_result_t *run_well(smig_engine_t *engine) {
  smig_result_t *result = NULL;
  CHECK_OK(smig_engine_run(engine, &result, &error), error);
  return result;
}

/* --------------------------------------------------------------------- costs */

static void a_run_of_n_steps_writes_the_ledger_n_plus_2_times(void) {
  empty_the_bucket();
  smig_options_t options = options_of();
  smig_engine_t *engine = engine_with(&options, put_object, false);
  smig_result_t *result = run_well(engine);
  CHECK(calls == 3);
  CHECK_STR(result->current_version_after, "2.0.0");
  CHECK(s3_proxy_count(&proxy, "PUT", "contract.json") == 5, ": %d", s3_proxy_count(&proxy, "PUT", "contract.json"));
  smig_result_free(result);
  smig_s3_request_t written = s3_get(s3_bucket, "data/c");
  check_body(s3_client, &written, "x");

  /* With nothing to do it is one GET. */
  s3_proxy_forget(&proxy);
  result = run_well(engine);
  CHECK(s3_proxy_count(&proxy, NULL, "") == 1 && s3_proxy_count(&proxy, "GET", "contract.json") == 1);
  smig_result_free(result);
  smig_engine_free(engine);
}

static void looking_writes_nothing(void) {
  for (int exists = 0; exists < 2; exists++) {
    empty_the_bucket();
    if (exists) s3_put_body("{\"currentVersion\":\"1.0.0\"}");
    smig_options_t options = options_of();
    smig_engine_t *engine = engine_with(&options, nothing, false);
    smig_result_t *result = NULL;
    bson_t report;
    CHECK_OK(smig_engine_plan(engine, &result, &error), error);
    smig_result_free(result);
    CHECK_OK(smig_engine_status(engine, &report, &error), error);
    CHECK(strstr(at(&report, "ledger"), "s3 http://127.0.0.1:") && strstr(at(&report, "ledger"), S3_KEY));
    bson_destroy(&report);
    CHECK_OK(smig_engine_validate(engine, &report, &error), error);
    bson_destroy(&report);
    CHECK(calls == 0 && s3_proxy_count(&proxy, "GET", "") == s3_proxy_count(&proxy, NULL, ""));
    smig_engine_free(engine);
  }
}

/* --------------------------------------------------------------- surroundings */

/* Plans on an empty ledger: the mode of bootstrap, and what is logged. */
static void check_bootstrap(const smig_options_t *options, const char *mode, const char *said) {
  smig_options_t fresh = *options;
  fresh.fresh_install_version = "2.0.0";
  smig_engine_t *engine = engine_with(&fresh, nothing, false);
  smig_result_t *result = NULL;
  CHECK_OK(smig_engine_plan(engine, &result, &error), error);
  if (result) CHECK_STR(smig_bootstrap_mode_name(result->bootstrap_mode), mode);
  CHECK(!said || strstr(logged, said), ": %s", logged);
  smig_result_free(result);
  smig_engine_free(engine);
}

static void fresh_is_a_bucket_with_nothing_of_others(void) {
  static const char *const scope[] = {"users", "the*s", NULL}, *const outside[] = {"users", "data/", NULL};
  smig_options_t options = options_of();
  empty_the_bucket();
  check_bootstrap(&options, "fresh-install-version", NULL);
  s3_put_body("{}");
  s3_do("PUT", ".smartmigration/contract/history/1.json", "{}");
  s3_do("PUT", ".smartmigration/contract.probe-1", "{}");
  check_bootstrap(&options, "fresh-install-version", NULL);
  s3_do("PUT", "theirs", "x");
  check_bootstrap(&options, "chain-start", "has the object theirs");
  options.fresh_scope = scope;
  check_bootstrap(&options, "chain-start", "has the object theirs");
  options.fresh_scope = outside;
  check_bootstrap(&options, "fresh-install-version", NULL);
}

/* More of the engine's own than a page of a listing, and one of somebody else's behind them. */
static void a_listing_goes_on_past_a_page(void) {
  smig_options_t options = options_of();
  char key[64];
  empty_the_bucket();
  for (int i = 0; i < 120; i++) {
    snprintf(key, sizeof key, ".smartmigration/contract/history/%d.json", i);
    s3_do("PUT", key, "{}");
  }
  check_bootstrap(&options, "fresh-install-version", NULL);
  s3_do("PUT", "theirs", "x");
  check_bootstrap(&options, "chain-start", "has the object theirs");
  for (int i = 0; i < 120; i++) {
    snprintf(key, sizeof key, ".smartmigration/contract/history/%d.json", i);
    s3_do("DELETE", key, NULL);
  }
}

static void with_both_resources_both_must_be_fresh(void) {
  smig_options_t options = options_of();
  bson_error_t cause;
  options.mongo.uri = mongo_uri;
  options.mongo.database = mongo_database;
  for (int in_s3 = 0; in_s3 < 2; in_s3++) {
    options.ledger_backend = in_s3 ? "s3" : "mongo";
    empty_the_bucket();
    mongo_drop();
    check_bootstrap(&options, "fresh-install-version", NULL);
    s3_do("PUT", "theirs", "x");
    check_bootstrap(&options, "chain-start", "has the object theirs");
    empty_the_bucket();
    bson_t *create = BCON_NEW("create", "theirs");
    CHECK(mongoc_client_command_simple(mongo_client, mongo_database, create, NULL, NULL, &cause), ": %s",
          cause.message);
    bson_destroy(create);
    check_bootstrap(&options, "chain-start", "has the collection theirs");
  }
  mongo_drop();
}

static void check_elsewhere(const smig_options_t *options, const char *backend, const char *ledger_id) {
  smig_engine_t *engine = engine_with(options, nothing, false);
  smig_result_t *result = NULL;
  CHECK_FAILS(smig_engine_run(engine, &result, &error), error, SMIG_LEDGER_ELSEWHERE);
  CHECK_STR(at(error.details, "ledger_id"), ledger_id);
  CHECK_STR(at(error.details, "version"), "1.1.0");
  const char *found = at(error.details, "ledger_backend");
  CHECK(backend ? found && strcmp(found, backend) == 0 : !found, ": %s", found);
  CHECK(strstr(error.message, ledger_id) && (!backend || strstr(error.message, backend)), ": %s", error.message);
  CHECK(calls == 0);
  smig_error_release(&error);
  smig_engine_free(engine);
}

static void a_ledger_elsewhere_is_found_in_either_store(void) {
  static const char body[] = "{\"currentVersion\":\"1.1.0\",\"steps\":{},\"lock\":{}}";
  smig_options_t options = options_of();
  empty_the_bucket();
  mongo_drop();
  s3_do("PUT", LEDGER_NAME ".json", body);
  s3_do("PUT", ".smartmigration/other.json", body);
  check_elsewhere(&options, NULL, LEDGER_NAME ".json");
  /* Given by its key it is used. */
  options.ledger_id = LEDGER_NAME ".json";
  smig_engine_t *engine = engine_with(&options, nothing, false);
  smig_result_free(run_well(engine));
  CHECK(calls == 2);
  smig_engine_free(engine);
  options.ledger_id = NULL;
  /* A program that has changed its ledger_backend. */
  empty_the_bucket();
  s3_put_body(body);
  options.mongo.uri = mongo_uri;
  options.mongo.database = mongo_database;
  check_elsewhere(&options, "s3", S3_KEY);
  empty_the_bucket();
  bson_t *data = bson_new_from_json((const uint8_t *)body, -1, NULL);
  mongo_plant(data);
  bson_destroy(data);
  options.ledger_backend = "s3";
  check_elsewhere(&options, "mongo", LEDGER_ID);
  mongo_drop();
  /* What is no ledger is somebody's data; ledgers of other programs are one line. */
  options = options_of();
  s3_do("PUT", LEDGER_NAME ".json", "no json");
  s3_do("PUT", ".smartmigration/other.json", body);
  check_bootstrap(&options, "chain-start", "there are other ledgers too: .smartmigration/other.json");
}

/* ---------------------------------------------------------------------- runs */

static void a_transactional_step_needs_the_ledger_in_mongodb(void) {
  smig_options_t options = options_of();
  empty_the_bucket();
  options.mongo.uri = mongo_uri;
  options.mongo.database = mongo_database;
  options.ledger_backend = "s3";
  smig_engine_t *engine = engine_with(&options, nothing, true);
  smig_result_t *result = NULL;
  CHECK_FAILS(smig_engine_run(engine, &result, &error), error, SMIG_INVALID_OPTIONS);
  CHECK(strstr(error.message, "'b'") && strstr(error.message, "ledger_backend \"mongo\""), ": %s", error.message);
  CHECK(calls == 0 && s3_proxy_count(&proxy, NULL, "") == 0);
  smig_error_release(&error);
  smig_engine_free(engine);
}

/* Runs another migration over the step's own connection, which must obey the step's guard again afterwards. */
static bool run_another(smig_ctx_t *ctx, void *user, smig_error_t *failure) {
  (void)user;
  smig_mongo_connection_t *connection = smig_ctx_mongo_connection(ctx);
  const smig_guard_t *own = smig_mongo_connection_gate(connection)->guard;
  smig_options_t options = SMIG_OPTIONS_INIT;
  smig_result_t *result = NULL;
  calls++;
  options.target_version = "1.0.0";
  options.ledger_name = "inner";
  options.mongo.connection = connection;
  options.mongo.database = mongo_database;
  smig_engine_t *engine = smig_engine_new(&options, failure);
  bool good = engine && smig_engine_run(engine, &result, failure);
  CHECK(own && smig_mongo_connection_gate(connection)->guard == own);
  smig_result_free(result);
  smig_engine_free(engine);
  return good;
}

static void a_step_that_runs_another_migration_is_guarded_afterwards(void) {
  smig_options_t options = options_of();
  options.mongo.uri = mongo_uri;
  options.mongo.database = mongo_database;
  options.ledger_backend = "mongo";
  smig_engine_t *engine = engine_with(&options, run_another, false);
  smig_result_t *result = NULL;
  CHECK(smig_engine_run(engine, &result, &error), ": %s", error.message);
  CHECK(calls == 3);
  smig_result_free(result);
  smig_error_release(&error);
  smig_engine_free(engine);
  mongo_drop();
}

static bool fail_without_a_reason(smig_ctx_t *ctx, void *user, smig_error_t *failure) {
  (void)user, (void)failure;
  calls++;
  return strcmp(smig_ctx_step(ctx)->id, "b") != 0;
}

static void a_transactional_step_may_fail_without_a_reason(void) {
  smig_options_t options = options_of();
  bson_iter_t iter, code;
  options.mongo.uri = mongo_uri;
  options.mongo.database = mongo_database;
  options.ledger_backend = "mongo";
  smig_engine_t *engine = engine_with(&options, fail_without_a_reason, true);
  smig_result_t *result = NULL;
  CHECK_FAILS(smig_engine_run(engine, &result, &error), error, SMIG_STEP_FAILED);
  CHECK_STR(error.message, "step 'b' (1.1.0 -> 1.2.0) failed: it gave no reason");
  CHECK(bson_iter_init(&iter, error.details) && bson_iter_find_descendant(&iter, "cause.code", &code));
  CHECK_STR(bson_iter_utf8(&code, NULL), "FOREIGN");
  CHECK(calls == 2);
  smig_error_release(&error);
  smig_engine_free(engine);
  mongo_drop();
}

/* Takes the lock away, and works on until that is noticed. */
static bool be_robbed(smig_ctx_t *ctx, void *user, smig_error_t *failure) {
  (void)user;
  bson_t data, changed;
  smig_edits_t edits = SMIG_EDITS_INIT;
  calls++;
  s3_look(&data);
  smig_edits_set_utf8(&edits, "thief", "lock", "holder", NULL);
  smig_edits_apply(&edits, &data, &changed);
  s3_plant(&changed);
  bson_destroy(&changed);
  bson_destroy(&data);
  smig_edits_release(&edits);
  for (int i = 0; i < 1000; i++) {
    smig_s3_request_t request = s3_put(smig_ctx_s3_bucket(ctx), "data/a", "x");
    smig_s3_response_t response;
    bool good = smig_s3_perform(smig_ctx_s3(ctx), &request, &response, failure);
    smig_s3_response_release(&response);
    if (!good) return false;
    usleep(10000);
  }
  return true;
}

static void a_run_that_lost_its_lock_sends_nothing_more(void) {
  smig_options_t options = options_of();
  empty_the_bucket();
  smig_engine_t *engine = engine_with(&options, be_robbed, false);
  smig_result_t *result = NULL;
  CHECK_FAILS(smig_engine_run(engine, &result, &error), error, SMIG_LOCK_LOST);
  CHECK(calls == 1);
  smig_error_release(&error);
  smig_engine_free(engine);
  bson_t data;
  s3_look(&data);
  CHECK_STR(at(&data, "lock.holder"), "thief");
  CHECK_STR(at(&data, "steps.a.status"), "running");
  CHECK_STR(at(&data, "currentVersion"), "1.0.0");
  bson_destroy(&data);
}

/* An expiry in a far future, by a clock that was wrong: what shows no life for its TTL and 2 s is dead. */
static void a_lock_that_shows_no_life_is_taken_over_whatever_its_expiry(void) {
  smig_options_t options = options_of();
  empty_the_bucket();
  options.lock_wait_ms = 60000;
  s3_put_body(
      "{\"currentVersion\":\"1.2.0\",\"nonce\":\"1\",\"lock\":{\"holder\":\"gone\",\"expiresAt\":\"2999-01-01T00:00:00."
      "000Z\",\"ttlMs\":5000}}");
  smig_engine_t *engine = engine_with(&options, nothing, false);
  int64_t begun = smig_clock_boot_ms();
  smig_result_free(run_well(engine));
  CHECK(calls == 1 && smig_clock_boot_ms() - begun >= TTL_MS + 2000);
  CHECK(strstr(logged, "showed no life"), ": %s", logged);
  smig_engine_free(engine);
}

static void an_expired_lock_is_taken_over_at_once(void) {
  smig_options_t options = options_of();
  empty_the_bucket();
  s3_put_body(
      "{\"currentVersion\":\"1.2.0\",\"lock\":{\"holder\":\"gone\",\"expiresAt\":\"2020-01-01T00:00:00.000Z\"}}");
  smig_engine_t *engine = engine_with(&options, nothing, false);
  smig_result_free(run_well(engine));
  CHECK(calls == 1 && strstr(logged, "its time had run out"), ": %s", logged);
  smig_engine_free(engine);
}

static void a_store_that_is_not_exclusive_needs_consent(void) {
  smig_options_t options = options_of();
  empty_the_bucket();
  s3_proxy_add(&proxy, "'races': 2");
  smig_engine_t *engine = engine_with(&options, nothing, false);
  smig_result_t *result = NULL;
  CHECK_FAILS(smig_engine_run(engine, &result, &error), error, SMIG_LEDGER_NOT_EXCLUSIVE);
  CHECK(calls == 0);
  smig_error_release(&error);
  smig_engine_free(engine);
  options.s3_lock = "best-effort";
  engine = engine_with(&options, nothing, false);
  smig_result_free(run_well(engine));
  const char *warning = strstr(logged, "warning: the lock of s3");
  CHECK(calls == 3 && warning && strstr(warning, "at the same time"), ": %s", logged);
  CHECK(warning && !strstr(warning + 1, "warning: the lock of s3"), ": %s", logged);
  smig_engine_free(engine);
}

int main(void) {
  backends_start("run_s3");
  s3_backend_start("run-s3");
  s3_proxy_start(&proxy);
  RUN(a_run_of_n_steps_writes_the_ledger_n_plus_2_times);
  RUN(looking_writes_nothing);
  RUN(fresh_is_a_bucket_with_nothing_of_others);
  RUN(a_listing_goes_on_past_a_page);
  RUN(with_both_resources_both_must_be_fresh);
  RUN(a_ledger_elsewhere_is_found_in_either_store);
  RUN(a_transactional_step_needs_the_ledger_in_mongodb);
  RUN(a_transactional_step_may_fail_without_a_reason);
  RUN(a_step_that_runs_another_migration_is_guarded_afterwards);
  RUN(a_run_that_lost_its_lock_sends_nothing_more);
  RUN(a_lock_that_shows_no_life_is_taken_over_whatever_its_expiry);
  RUN(an_expired_lock_is_taken_over_at_once);
  RUN(a_store_that_is_not_exclusive_needs_consent);
  empty_the_bucket();
  s3_proxy_stop(&proxy);
  s3_backend_stop();
  return backends_stop();
}
