/*
 * The run's ways between taking the lock and giving it back: what fails there, and a stop that comes there. Over the ledger in
 * memory, with a layer above it that a case lets do something first or answer in its place.
 */
#include "check.h"
#include "details.h"
#include "edits.h"
#include "engine.h"
#include "memory_ledger.h"
#include "secrets.h"

#include <pthread.h>

/* --------------------------------------------------------------- the layer */

typedef struct layer {
  smig_ledger_t base;
  smig_ledger_t *below;
} layer_t;

/* What a case hangs in; each answers whether the operation goes on. */
static struct {
  bool (*load)(void);
  bool (*acquire)(const smig_acquire_t *acquire);
  bool (*commit)(const smig_ledger_change_t *change, smig_error_t *error);
  bool (*reopen)(smig_error_t *error);
  void (*after_acquire)(void);
  void (*after_commit)(const smig_ledger_change_t *change);
  void (*end_commands)(smig_commands_left_t *left);
  bool (*history)(smig_error_t *error);
} on;
static int acquires, commits, releases, begun, finished;

static smig_ledger_t *below(smig_ledger_t *self) {
  return ((layer_t *)self)->below;
}

static bool load(smig_ledger_t *self, smig_ledger_state_t *state, smig_error_t *error) {
  if (on.load) on.load();
  return below(self)->ops->load(below(self), state, error);
}

static bool acquire(smig_ledger_t *self, smig_lease_t *lease, const smig_acquire_t *request, bool *won,
                    smig_ledger_state_t *state, int64_t *sent_boot_ms, smig_error_t *error) {
  acquires++;
  if (on.acquire && !on.acquire(request)) {
    smig_ledger_state_init(state);
    *won = false;
    return true;
  }
  bool ok = below(self)->ops->acquire(below(self), lease, request, won, state, sent_boot_ms, error);
  if (on.after_acquire) on.after_acquire();
  return ok;
}

static bool commit(smig_ledger_t *self, const smig_lease_t *lease, const smig_ledger_change_t *change,
                   smig_error_t *error) {
  commits++;
  if (on.commit && !on.commit(change, error)) return false;
  bool ok = below(self)->ops->commit(below(self), lease, change, error);
  if (ok && change->release) releases++;
  if (on.after_commit) on.after_commit(change);
  return ok;
}

static bool end_commands(smig_ledger_t *self, const smig_lease_t *lease, smig_commands_t which,
                         smig_commands_left_t *left, smig_error_t *error) {
  bool ok = below(self)->ops->end_commands(below(self), lease, which, left, error);
  if (on.end_commands) on.end_commands(left);
  return ok;
}

static bool history_begin(smig_ledger_t *self, const smig_lease_t *lease, const bson_t *document, smig_error_t *error) {
  begun++;
  return (!on.history || on.history(error)) && below(self)->ops->history_begin(below(self), lease, document, error);
}

static bool history_finish(smig_ledger_t *self, const smig_lease_t *lease, const bson_t *document,
                           smig_error_t *error) {
  finished++;
  return (!on.history || on.history(error)) && below(self)->ops->history_finish(below(self), lease, document, error);
}

static smig_ledger_t *reopen(smig_ledger_t *self, int64_t ttl_ms, smig_error_t *error) {
  if (on.reopen && !on.reopen(error)) return NULL;
  return below(self)->ops->reopen(below(self), ttl_ms, error);
}

static void layer_free(smig_ledger_t *self) {
  smig_ledger_free(below(self));
  bson_free(self);
}

static const smig_ledger_ops_t layer_ops = {.load = load,
                                            .acquire = acquire,
                                            .commit = commit,
                                            .end_commands = end_commands,
                                            .history_begin = history_begin,
                                            .history_finish = history_finish,
                                            .reopen = reopen,
                                            .free = layer_free};

/* --------------------------------------------------------------- the scene */

static smig_memory_store_t *store;
static smig_engine_t *engine;
static smig_error_t error;
static char calls[64], logged[8192];
static atomic_bool waits; /* "waiting for the lock" was logged */

static void keep_log(void *user, smig_log_level_t level, const char *message, const bson_t *fields) {
  (void)user, (void)level, (void)fields;
  size_t used = strlen(logged);
  snprintf(logged + used, sizeof logged - used, "%s\n", message);
  if (strstr(message, "waiting for the lock")) atomic_store(&waits, true);
}

static bool up(smig_ctx_t *ctx, void *user, smig_error_t *unused) {
  (void)user, (void)unused;
  strncat(calls, smig_ctx_step(ctx)->id, sizeof calls - strlen(calls) - 1);
  return true;
}

/* An engine of the steps a, b and c from 1.0.0 to 1.3.0. */
static void open_scene(int64_t wait_ms, smig_up_fn handler) {
  static const char *const ids[] = {"a", "b", "c"}, *const versions[] = {"1.0.0", "1.1.0", "1.2.0", "1.3.0"};
  memset(&on, 0, sizeof on);
  acquires = commits = releases = begun = finished = 0;
  calls[0] = logged[0] = 0;
  atomic_store(&waits, false);
  error = (smig_error_t)SMIG_ERROR_INIT;
  store = smig_memory_store_new();
  layer_t *layer = bson_malloc0(sizeof *layer);
  layer->below = smig_memory_ledger_new(store);
  layer->base =
      (smig_ledger_t){.ops = &layer_ops, .place = layer->below->place, .comment_prefix = layer->below->comment_prefix};
  smig_options_t options = SMIG_OPTIONS_INIT;
  options.target_version = "1.3.0";
  options.lock_wait_ms = wait_ms;
  options.lock_ttl_ms = 1000;
  options.log = keep_log;
  engine = smig_engine_new_with_ledger(&options, &layer->base, &error);
  for (int i = 0; i < 3; i++) {
    smig_step_t step = {.id = ids[i], .from = versions[i], .to = versions[i + 1], .up = handler};
    CHECK(smig_engine_add_step(engine, &step, &error));
  }
}

static void close_scene(void) {
  smig_error_release(&error);
  smig_engine_free(engine);
  smig_memory_store_free(store);
}

static void plant(const char *json) {
  bson_t *data = document(json);
  smig_memory_store_set(store, data);
  bson_destroy(data);
}

/* The stored value at a dotted path as text, "null" or "(missing)". */
static const char *stored(const char *path) {
  static char text[256];
  bson_t data;
  bson_iter_t iter, found;
  smig_memory_store_get(store, &data);
  snprintf(text, sizeof text, "(missing)");
  if (bson_iter_init(&iter, &data) && bson_iter_find_descendant(&iter, path, &found))
    snprintf(text, sizeof text, "%s", BSON_ITER_HOLDS_UTF8(&found) ? bson_iter_utf8(&found, NULL) : "null");
  bson_destroy(&data);
  return text;
}

static size_t count_of(const char *path) {
  bson_iter_t iter, found, items;
  size_t count = 0;
  if (!error.details || !bson_iter_init(&iter, error.details) || !bson_iter_find_descendant(&iter, path, &found) ||
      !bson_iter_recurse(&found, &items))
    return SIZE_MAX;
  while (bson_iter_next(&items)) count++;
  return count;
}

static void run_well(void) {
  smig_result_t *result = NULL;
  CHECK(smig_engine_run(engine, &result, &error), "%s: %s", error.name, error.message);
  smig_result_free(result);
}

static void run_badly(smig_code_t code, size_t applied, size_t not_run) {
  smig_result_t *result = (smig_result_t *)1;
  CHECK(!smig_engine_run(engine, &result, &error) && !result);
  CHECK(error.code == code, "%s: %s", error.name, error.message);
  CHECK(count_of("result.steps_applied") == applied, "%zu", count_of("result.steps_applied"));
  CHECK(count_of("result.steps_not_run") == not_run, "%zu", count_of("result.steps_not_run"));
  /* Every planned step stands in one list; where there is no plan in none. */
  size_t ended = applied + not_run ? 3 - applied - not_run : 0;
  CHECK(count_of("result.steps_failed") == ended, "%zu", count_of("result.steps_failed"));
  if (!ended) return;
  CHECK_STR(detail(&error, "result.steps_failed.0.status"), code == SMIG_STEP_FAILED ? "failed" : "interrupted");
  CHECK(detail(&error, "result.steps_failed.0.started_at") && detail(&error, "result.steps_failed.0.finished_at"));
  CHECK_STR(detail(&error, "result.steps_failed.0.error.code"),
            code == SMIG_STEP_FAILED ? detail(&error, "cause.code") : error.name);
}

static void check_given_back(void) {
  CHECK_STR(stored("lock.holder"), "null");
  CHECK(releases == 1, "%d", releases);
}

/* --------------------------------------------------------------- a stop comes */

static void stop(void) {
  smig_engine_cancel(engine, 15);
}

static void before_the_run(void) {
  open_scene(0, up);
  stop();
  run_badly(SMIG_INTERRUPTED, 0, 3);
  CHECK(acquires == 0 && commits == 0);
  CHECK_STR(calls, "");
  run_well(); /* it was for that run */
  close_scene();
}

static void while_the_lock_is_taken(void) {
  open_scene(0, up);
  on.after_acquire = stop;
  run_badly(SMIG_INTERRUPTED, 0, 3);
  check_given_back();
  CHECK(commits == 1);
  CHECK_STR(calls, "");
  CHECK_STR(stored("currentVersion"), "null");
  close_scene();
}

static void stop_at_the_first_entry(const smig_ledger_change_t *change) {
  if (change->started && !change->finished) stop();
}

static void while_the_first_entry_is_written(void) {
  open_scene(0, up);
  on.after_commit = stop_at_the_first_entry;
  run_badly(SMIG_INTERRUPTED, 0, 2);
  check_given_back();
  CHECK_STR(calls, "");
  CHECK_STR(stored("steps.a.status"), "interrupted");
  close_scene();
}

static void stop_at_the_first_stamp(const smig_ledger_change_t *change) {
  if (change->finished && change->started) stop();
}

static void while_a_step_is_stamped(void) {
  open_scene(0, up);
  on.after_commit = stop_at_the_first_stamp;
  run_badly(SMIG_INTERRUPTED, 1, 1);
  check_given_back();
  CHECK_STR(calls, "a");
  CHECK_STR(stored("currentVersion"), "1.1.0");
  CHECK_STR(stored("steps.b.status"), "interrupted");
  close_scene();
}

static void stop_at_the_release(const smig_ledger_change_t *change) {
  if (change->release) stop();
}

static void after_the_last_stamp(void) {
  open_scene(0, up);
  on.after_commit = stop_at_the_release;
  run_well();
  CHECK_STR(calls, "abc");
  on.after_commit = NULL;
  plant("{\"currentVersion\": \"1.0.0\"}");
  calls[0] = 0;
  run_well();
  CHECK_STR(calls, "abc");
  close_scene();
}

static void something_is_left_and_stop(smig_commands_left_t *left) {
  *left = SMIG_COMMANDS_LEFT;
  stop();
}

static void while_leftovers_are_ended(void) {
  open_scene(0, up);
  plant("{\"currentVersion\": \"1.0.0\", \"lock\": {\"holder\": \"x\", \"expiresAt\": \"2001-01-01T00:00:00.000Z\"}}");
  on.end_commands = something_is_left_and_stop;
  run_badly(SMIG_INTERRUPTED, 0, 3);
  check_given_back();
  CHECK_STR(calls, "");
  CHECK_STR(stored("leftovers.holder"), "x"); /* for the next one */
  close_scene();
}

static bool held_by_another(void) {
  plant("{\"currentVersion\": \"1.0.0\", \"lock\": {\"holder\": \"x\", \"expiresAt\": \"2999-01-01T00:00:00.000Z\"}}");
  return true;
}

static void *stop_soon(void *unused) {
  while (!atomic_load(&waits)) smig_clock_sleep_ms(5);
  stop();
  return unused;
}

static void while_waiting_for_the_lock(void) {
  pthread_t thread;
  open_scene(SMIG_WAIT_FOREVER, up);
  on.load = held_by_another;
  pthread_create(&thread, NULL, stop_soon, NULL);
  run_badly(SMIG_INTERRUPTED, 0, 3);
  pthread_join(thread, NULL);
  CHECK(acquires == 0 && releases == 0);
  CHECK_STR(stored("lock.holder"), "x");
  close_scene();
}

static atomic_bool enough;

static void *stop_all_the_time(void *unused) {
  while (!atomic_load(&enough)) stop();
  return unused;
}

/* For ThreadSanitizer: requests meet every moment of a run, its end too. */
static void at_any_moment(void) {
  pthread_t thread;
  open_scene(0, up);
  atomic_store(&enough, false);
  pthread_create(&thread, NULL, stop_all_the_time, NULL);
  for (int i = 0; i < 50; i++) {
    smig_result_t *result = NULL;
    bool done = smig_engine_run(engine, &result, &error);
    CHECK(done || error.code == SMIG_INTERRUPTED, "%s: %s", error.name, error.message);
    smig_result_free(result);
    smig_error_release(&error);
  }
  atomic_store(&enough, true);
  pthread_join(thread, NULL);
  close_scene();
}

/* ------------------------------------------------------------- something fails */

static bool no_second_connection(smig_error_t *why) {
  smig_error_set(why, SMIG_LEDGER_IO, "no second connection, says the test");
  return false;
}

static void without_a_heartbeat_the_lock_is_given_back(void) {
  open_scene(0, up);
  on.reopen = no_second_connection;
  run_badly(SMIG_LEDGER_IO, 0, 3);
  check_given_back();
  CHECK_STR(calls, "");
  close_scene();
}

static bool spoil(const smig_acquire_t *request) {
  (void)request;
  plant("{\"currentVersion\": \"9.0.0\"}");
  return true;
}

static void what_cannot_be_resolved_under_the_lock_gives_it_back(void) {
  open_scene(0, up);
  plant("{\"currentVersion\": \"1.0.0\"}");
  on.acquire = spoil;
  run_badly(SMIG_DOWNGRADE_NOT_SUPPORTED, 0, 0);
  check_given_back();
  CHECK_STR(stored("currentVersion"), "9.0.0");
  close_scene();
}

static bool refuse(smig_error_t *why) {
  smig_error_set(why, SMIG_LEDGER_IO, "refused, says the test");
  return false;
}

static bool refuse_the_first_entry(const smig_ledger_change_t *change, smig_error_t *why) {
  return !(change->started && !change->finished) || refuse(why);
}

static void a_first_entry_that_fails_gives_the_lock_back(void) {
  open_scene(0, up);
  on.commit = refuse_the_first_entry;
  run_badly(SMIG_LEDGER_IO, 0, 3);
  check_given_back();
  CHECK_STR(calls, "");
  close_scene();
}

static bool refuse_stamps(const smig_ledger_change_t *change, smig_error_t *why) {
  return !change->finished || refuse(why);
}

static void a_stamp_that_fails_gives_the_lock_back(void) {
  open_scene(0, up);
  on.commit = refuse_stamps;
  run_badly(SMIG_LEDGER_IO, 0, 2);
  check_given_back();
  CHECK_STR(calls, "a");
  CHECK_STR(stored("currentVersion"), "1.0.0");
  close_scene();
}

static bool lose_after_the_stamp(const smig_ledger_change_t *change, smig_error_t *why) {
  if (!change->finished) return true;
  smig_error_set(why, SMIG_LOCK_LOST, "lost after it, says the test");
  BSON_APPEND_BOOL(smig_error_details(why), "landed", true);
  return false;
}

static void a_stamp_that_landed_counts_although_the_lock_is_lost(void) {
  open_scene(0, up);
  on.commit = lose_after_the_stamp;
  run_badly(SMIG_LOCK_LOST, 1, 2);
  CHECK(commits == 2 && releases == 0, "%d %d", commits, releases); /* what is not ours is not given back */
  close_scene();
}

static bool refuse_releases(const smig_ledger_change_t *change, smig_error_t *why) {
  return !change->release || change->finished || refuse(why);
}

static void a_release_that_fails_is_a_warning(void) {
  open_scene(0, up);
  on.after_acquire = stop;
  on.commit = refuse_releases;
  run_badly(SMIG_INTERRUPTED, 0, 3);
  CHECK(strstr(logged, "the lock could not be released, it ends by itself: refused"), "%s", logged);
  close_scene();
}

/* ----------------------------------------------------------- taking the lock */

static bool refuse_the_living(const smig_acquire_t *request) {
  return request->dead;
}

static void a_server_that_always_refuses_is_not_hammered(void) {
  open_scene(600, up);
  plant("{\"currentVersion\": \"1.0.0\"}");
  on.acquire = refuse_the_living;
  smig_result_t *result;
  CHECK(!smig_engine_run(engine, &result, &error) && error.code == SMIG_LOCK_TIMEOUT, "%s", error.name);
  CHECK(acquires <= 5, "%d tries", acquires);
  CHECK(!bson_has_field(error.details, "result"));
  close_scene();
}

static void an_expiry_that_the_server_cannot_read_ends_after_a_ttl(void) {
  open_scene(60000, up);
  plant("{\"currentVersion\": \"1.0.0\", \"lock\": {\"holder\": \"x\", \"expiresAt\": \"2001-01-01T00:00:00.000Z\"}}");
  on.acquire = refuse_the_living;
  run_well();
  CHECK(strstr(logged, "had not released (it showed no life for a full time to live)"), "%s", logged);
  close_scene();
}

static bool beat_with_a_number(void) {
  static int beats;
  char json[128];
  snprintf(json, sizeof json, "{\"currentVersion\": \"1.0.0\", \"lock\": {\"holder\": \"x\", \"expiresAt\": %d}}",
           ++beats);
  plant(json);
  return true;
}

static void an_unreadable_expiry_that_moves_is_life(void) {
  open_scene(2500, up);
  on.load = beat_with_a_number;
  smig_result_t *result;
  CHECK(!smig_engine_run(engine, &result, &error) && error.code == SMIG_LOCK_TIMEOUT, "%s", error.name);
  CHECK(acquires == 0);
  close_scene();
}

/* ------------------------------------------------------------------ the rest */

static bool gets_over_it(smig_ctx_t *ctx, void *user, smig_error_t *why) {
  (void)ctx, (void)user;
  smig_error_set(why, SMIG_LEDGER_IO, "what the handler got over");
  return true;
}

/* For AddressSanitizer. */
static void an_error_that_a_handler_got_over_is_freed(void) {
  open_scene(0, gets_over_it);
  run_well();
  close_scene();
}

static bool asks_without_error(smig_ctx_t *ctx, void *user, smig_error_t *why) {
  (void)user, (void)why;
  bson_t value;
  bool found;
  CHECK(!smig_ctx_checkpoint_read(ctx, "key", &value, &found, NULL) && !found);
  CHECK(!smig_ctx_append_opts(ctx, &value, NULL));
  bson_destroy(&value);
  return true;
}

static void whoever_wants_no_error_gets_none(void) {
  static const smig_options_t wrong[] = {
      {.lock_ttl_ms = 1},
      {.lock_ttl_ms = 1000, .newer_ledger = "x"},
      {.lock_ttl_ms = 1000, .target_version = "1.0.0", .mongo.uri = "mongodb://a"},
      {.lock_ttl_ms = 1000, .target_version = "1.0.0", .mongo.uri = "mongodb://a/b", .ledger_backend = "s3"}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) CHECK(!smig_engine_new(&wrong[i], NULL));
  open_scene(0, asks_without_error);
  run_well();
  plant("{\"currentVersion\": \"1.0.0\"}");
  stop();
  smig_result_t *result;
  CHECK(!smig_engine_run(engine, &result, NULL));
  close_scene();
}

static bool tells_a_secret(smig_ctx_t *ctx, void *user, smig_error_t *why) {
  (void)ctx, (void)user;
  smig_error_set_foreign(why, "Told-hunter2222", "told hunter2222");
  BSON_APPEND_UTF8(smig_error_details(why), "operation", "with hunter2222");
  BSON_APPEND_UTF8(smig_error_details(why), "traceback", "at hunter2222");
  return false;
}

static void secrets_reach_neither_the_error_nor_the_ledger(void) {
  smig_secret_learn("hunter2222", 10);
  open_scene(0, tells_a_secret);
  run_badly(SMIG_STEP_FAILED, 0, 2);
  char *json = bson_as_relaxed_extended_json(error.details, NULL);
  CHECK(strstr(json, "at ***") && !strstr(json, "hunter2222"), "%s", json);
  bson_free(json);
  bson_t data;
  smig_memory_store_get(store, &data);
  json = bson_as_relaxed_extended_json(&data, NULL);
  CHECK(strstr(json, "with ***") && !strstr(json, "hunter2222"), "%s", json);
  bson_free(json);
  bson_destroy(&data);
  close_scene();
}

static bool history_fails(smig_error_t *to) {
  smig_error_set(to, SMIG_LEDGER_IO, "no room for history");
  return false;
}

static void a_history_that_cannot_be_written_is_a_warning(void) {
  smig_result_t *result = NULL;
  open_scene(0, up);
  on.history = history_fails;
  CHECK(smig_engine_run(engine, &result, &error), ": %s", error.message);
  CHECK_STR(calls, "abc");
  CHECK(begun == 1 && finished == 1);
  const char *said = strstr(logged, "the history of this run could not be written: no room for history\n");
  CHECK(said && !strstr(strchr(said, '\n'), "could not be written"), ": %s", logged);
  smig_result_free(result);
  /* Nothing to do: nothing to write. */
  CHECK(smig_engine_run(engine, &result, &error));
  CHECK(begun == 1 && finished == 1);
  smig_result_free(result);
  close_scene();
}

static bool loses_the_lock(smig_ctx_t *ctx, void *user, smig_error_t *to) {
  (void)user;
  bson_t data, stolen;
  smig_edits_t edits = SMIG_EDITS_INIT;
  smig_memory_store_get(store, &data);
  smig_edits_set_utf8(&edits, "thief", "lock", "holder", NULL);
  smig_edits_apply(&edits, &data, &stolen);
  smig_memory_store_set(store, &stolen);
  smig_edits_release(&edits);
  bson_destroy(&stolen);
  bson_destroy(&data);
  while (smig_ctx_check(ctx, to)) smig_clock_sleep_ms(10);
  return false;
}

static void a_run_that_lost_its_lock_sends_no_history(void) {
  smig_result_t *result = NULL;
  bson_t list = BSON_INITIALIZER, report;
  open_scene(0, loses_the_lock);
  CHECK(!smig_engine_run(engine, &result, &error) && error.code == SMIG_LOCK_LOST, ": %s", error.message);
  CHECK(begun == 1 && finished == 0);
  smig_ledger_t *ledger = smig_memory_ledger_new(store);
  CHECK(ledger->ops->history_list(ledger, &list, NULL) && bson_has_field(&list, "0.run"));
  CHECK(!bson_has_field(&list, "0.finishedAt"));
  bson_destroy(&list);
  smig_options_t options = SMIG_OPTIONS_INIT;
  options.target_version = "1.3.0";
  smig_engine_t *reader = smig_engine_new_with_ledger(&options, ledger, NULL);
  bson_iter_t iter, status;
  CHECK(smig_engine_history(reader, &report, NULL));
  CHECK(bson_iter_init(&iter, &report) && bson_iter_find_descendant(&iter, "runs.0.status", &status));
  CHECK_STR(bson_iter_utf8(&status, NULL), "interrupted");
  bson_destroy(&report);
  smig_engine_free(reader);
  close_scene();
}

static void a_command_without_a_ledger_says_so(void) {
  smig_options_t options = SMIG_OPTIONS_INIT;
  options.target_version = "1.3.0";
  options.offline = true;
  smig_engine_t *offline = smig_engine_new(&options, &error);
  bson_t report;
  CHECK(!smig_engine_history(offline, &report, &error));
  check_error(&error, SMIG_NO_RESOURCES, "the engine was made offline: it can only check the chain");
  bson_destroy(&report);
  CHECK(!smig_engine_prune_history(offline, 0, &report, &error) && error.code == SMIG_NO_RESOURCES);
  smig_error_release(&error);
  bson_destroy(&report);
  CHECK(!smig_engine_unlock(offline, NULL, &report, &error) && error.code == SMIG_NO_RESOURCES);
  smig_error_release(&error);
  bson_destroy(&report);
  CHECK(!smig_engine_checkpoints(offline, NULL, true, &report, NULL));
  bson_destroy(&report);
  CHECK(!smig_engine_baseline(offline, NULL, false, &report, &error) && error.code == SMIG_INVALID_VERSION);
  smig_error_release(&error);
  bson_destroy(&report);
  smig_engine_free(offline);
}

int main(void) {
  RUN(before_the_run);
  RUN(while_the_lock_is_taken);
  RUN(while_the_first_entry_is_written);
  RUN(while_a_step_is_stamped);
  RUN(after_the_last_stamp);
  RUN(while_leftovers_are_ended);
  RUN(while_waiting_for_the_lock);
  RUN(at_any_moment);
  RUN(without_a_heartbeat_the_lock_is_given_back);
  RUN(what_cannot_be_resolved_under_the_lock_gives_it_back);
  RUN(a_first_entry_that_fails_gives_the_lock_back);
  RUN(a_stamp_that_fails_gives_the_lock_back);
  RUN(a_stamp_that_landed_counts_although_the_lock_is_lost);
  RUN(a_release_that_fails_is_a_warning);
  RUN(a_server_that_always_refuses_is_not_hammered);
  RUN(an_expiry_that_the_server_cannot_read_ends_after_a_ttl);
  RUN(an_unreadable_expiry_that_moves_is_life);
  RUN(an_error_that_a_handler_got_over_is_freed);
  RUN(whoever_wants_no_error_gets_none);
  RUN(a_history_that_cannot_be_written_is_a_warning);
  RUN(a_run_that_lost_its_lock_sends_no_history);
  RUN(a_command_without_a_ledger_says_so);
  RUN(secrets_reach_neither_the_error_nor_the_ledger);
  return check_done();
}
