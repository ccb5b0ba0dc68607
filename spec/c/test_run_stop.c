/*
 * The engine over a real server that is slow to answer: a stop ends what only looks, and what a person
 * should know of the URI and of other ledgers is said once. The fail points hit only this program's appName. Needs SMARTMIGRATION_TEST_MONGO_URI.
 */
#include "check.h"
#include "clock.h"
#include "smartmigration.h"

#include <mongoc/mongoc.h>
#include <pthread.h>
#include <unistd.h>

static char uri[512], app_name[64], database[64], logged[4096];
static mongoc_client_t *client; /* the test's own */
static smig_engine_t *engine;
static smig_error_t error = SMIG_ERROR_INIT;

static void keep_log(void *user, smig_log_level_t level, const char *message, const bson_t *fields) {
  (void)user, (void)level, (void)fields;
  size_t used = strlen(logged);
  snprintf(logged + used, sizeof logged - used, "%s\n", message);
}

static bool up(smig_ctx_t *ctx, void *user, smig_error_t *unused) {
  (void)ctx, (void)user, (void)unused;
  return true;
}

static void open_engine(const char *more) {
  char *full = bson_strdup_printf("%s%s", uri, more);
  smig_options_t options = SMIG_OPTIONS_INIT;
  options.target_version = "1.1.0";
  options.mongo.uri = full;
  options.mongo.database = database;
  options.log = keep_log;
  engine = smig_engine_new(&options, &error);
  smig_step_t step = {.id = "a", .from = "1.0.0", .to = "1.1.0", .up = up};
  CHECK(engine && smig_engine_add_step(engine, &step, &error), "%s", error.message);
  bson_free(full);
  logged[0] = 0;
}

static void close_engine(void) {
  smig_engine_free(engine);
  smig_error_release(&error);
  mongoc_database_t *dropped = mongoc_client_get_database(client, database);
  mongoc_database_drop(dropped, NULL);
  mongoc_database_destroy(dropped);
}

static void admin(bson_t *command) {
  bson_error_t cause;
  CHECK(mongoc_client_command_simple(client, "admin", command, NULL, NULL, &cause), "%s", cause.message);
  bson_destroy(command);
}

/* Until it is healed, which waits for those under way, every find is answered 4 s late. */
static void slow_down(void) {
  admin(BCON_NEW("configureFailPoint", "failCommand", "mode", "alwaysOn", "data", "{", "failCommands", "[", "find", "]",
                 "appName", BCON_UTF8(app_name), "blockConnection", BCON_BOOL(true), "blockTimeMS", BCON_INT32(4000),
                 "}"));
}

static void heal(void) {
  admin(BCON_NEW("configureFailPoint", "failCommand", "mode", "off"));
}

static bool plan(void) {
  smig_result_t *result;
  bool done = smig_engine_plan(engine, &result, &error);
  smig_result_free(result);
  return done;
}

static bool run(void) {
  smig_result_t *result;
  bool done = smig_engine_run(engine, &result, &error);
  smig_result_free(result);
  return done;
}

static bool status(void) {
  bson_t report;
  bool done = smig_engine_status(engine, &report, &error);
  bson_destroy(&report);
  return done;
}

static bool validate(void) {
  bson_t report;
  bool done = smig_engine_validate(engine, &report, &error);
  bson_destroy(&report);
  return done;
}

static void *stop_soon(void *unused) {
  smig_clock_sleep_ms(300); /* the call is waiting for its answer by then, and if not, the same must happen */
  smig_engine_cancel(engine, 15);
  return unused;
}

static void a_stop_ends_whatever_only_looks(void) {
  static bool (*const calls[])(void) = {status, plan, validate, run};
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
    pthread_t thread;
    open_engine("");
    slow_down();
    int64_t begun = smig_clock_mono_ms();
    pthread_create(&thread, NULL, stop_soon, NULL);
    CHECK(!calls[i]() && error.code == SMIG_INTERRUPTED, "%zu: %s", i, error.message);
    CHECK(smig_clock_mono_ms() - begun < 2300, "%zu: %" PRId64 " ms", i, smig_clock_mono_ms() - begun);
    pthread_join(thread, NULL);
    heal();
    smig_error_release(&error);
    CHECK(calls[i](), "%zu: the next call goes on: %s", i, error.message);
    close_engine();
  }
}

/*
 * On a busy machine the stop comes before the connection is made. Then the driver, which looks for a server for 10 s, finds none
 * that it may connect to.
 */
static void a_stop_ends_whatever_looks_for_its_server(void) {
  static bool (*const calls[])(void) = {status, plan, validate, run};
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
    open_engine("");
    smig_engine_cancel(engine, 15);
    int64_t begun = smig_clock_mono_ms();
    CHECK(!calls[i]() && error.code == SMIG_INTERRUPTED, "%zu: %s", i, error.message);
    CHECK(smig_clock_mono_ms() - begun < 2000, "%zu: %" PRId64 " ms", i, smig_clock_mono_ms() - begun);
    smig_error_release(&error);
    close_engine();
  }
}

static void a_stop_before_a_look_waits_for_what_can_be_stopped(void) {
  open_engine("");
  CHECK(plan(), "%s", error.message);
  smig_engine_cancel(engine, 2);
  CHECK(!run() && error.code == SMIG_INTERRUPTED, "%s", error.message);
  close_engine();
}

static void what_the_uri_does_not_get_is_said_once(void) {
  open_engine("&w=1&readPreference=secondary");
  CHECK(run() && run(), "%s", error.message);
  const char *said = strstr(logged, "w=1, readPreference=secondary");
  CHECK(said && !strstr(said + 1, "w=1"), "%s", logged);
  close_engine();
  open_engine("");
  CHECK(run(), "%s", error.message);
  CHECK(!strstr(logged, "uri"), "%s", logged);
  close_engine();
}

static void other_ledgers_are_one_line_before_a_bootstrap(void) {
  open_engine("");
  mongoc_collection_t *store = mongoc_client_get_collection(client, database, "SmartdataEasyStore");
  bson_t *other = BCON_NEW("nameId", "smartmigration:shop", "data", "{", "steps", "{", "}", "lock", "{", "}", "}");
  CHECK(mongoc_collection_insert_one(store, other, NULL, NULL, NULL));
  CHECK(run(), "%s", error.message);
  CHECK(strstr(logged, "there are other ledgers too: smartmigration:shop\n"), "%s", logged);
  logged[0] = 0;
  CHECK(run(), "%s", error.message);
  CHECK(!strstr(logged, "other ledgers"), "%s", logged);
  bson_destroy(other);
  mongoc_collection_destroy(store);
  close_engine();
}

int main(void) {
  const char *given = getenv("SMARTMIGRATION_TEST_MONGO_URI");
  if (!given) {
    printf("# SMARTMIGRATION_TEST_MONGO_URI is not set\n0 passed, 1 failed\n");
    return 1;
  }
  mongoc_init();
  snprintf(database, sizeof database, "run_stop_%d", (int)getpid());
  snprintf(app_name, sizeof app_name, "run-stop-%d", (int)getpid());
  const char *separator = strchr(given, '?') ? "&" : given[strlen(given) - 1] == '/' ? "?" : "/?";
  snprintf(uri, sizeof uri, "%s%sappName=%s", given, separator, app_name);
  client = mongoc_client_new(given);
  RUN(a_stop_ends_whatever_only_looks);
  RUN(a_stop_ends_whatever_looks_for_its_server);
  RUN(a_stop_before_a_look_waits_for_what_can_be_stopped);
  RUN(what_the_uri_does_not_get_is_said_once);
  RUN(other_ledgers_are_one_line_before_a_bootstrap);
  mongoc_client_destroy(client);
  return check_done();
}
