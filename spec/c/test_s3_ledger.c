/*
 * The ledger in S3 beyond the contract of every ledger (test_ledger_contract.c): what an answer that is no plain yes or no means, whose
 * write won, what is not an empty ledger, what of others survives, and the store's clock. Against the real server, by way of the proxy.
 */
#include "s3_backend.h"
#include "s3_proxy.h"

#include "ledger_cases.h"

#include <pthread.h>

static s3_proxy_t proxy;

/* `first` looks through the proxy, `second` is another process on the server itself. */
static void set_up_proxied(void) {
  set_up();
  instance_close(first);
  first = s3_open_at(proxy.endpoint, false);
  one = first.ledger;
}

static void tear_down_proxied(void) {
  s3_proxy_clear_rules(&proxy);
  tear_down();
}

static smig_ledger_change_t version(const char *text) {
  return (smig_ledger_change_t){.current_version = text};
}

/* Puts a field of a stranger's into the stored object, and a new nonce unless the stranger knows none. */
static void write_as_stranger(const char *field, bool with_nonce) {
  plant_text("theirs", field, NULL);
  if (with_nonce) plant_text("0123456789abcdef0123456789abcdef", "nonce", NULL);
}

/* --------------------------------------------------------------------- form */

static void the_body_is_plain_json_that_keeps_what_others_wrote(void) {
  static const char body[] =
      "{\"zoo\":[1,-0,1.50,1e3,12345678901234567890,0.1,1E-400,123456789012345678901234567890123456789012345678901],"
      "\"text\":\"\\u00e4\\ud83d\\ude80\\n\\u0000\\/"
      "\",\"date\":{\"$date\":\"2020-01-01T00:00:00Z\"},\"oid\":{\"$oid\":\"x\"},"
      "\"currentVersion\":\"1.0.0\",\"checkpoints\":{\"s\":{\"broken\":{\"$date\":\"never\"},\"number\":1.0,"
      "\"date\":{\"$date\":\"2020-01-01T00:00:00Z\"}}}}";
  set_up();
  s3_put_body(body);
  CHECK(try_lock(one, &lease, false, NULL));
  smig_ledger_change_t change = version("1.1.0");
  CHECK_OK(commit(one, &lease, &change), error);
  char *text = s3_look_text(S3_KEY);
  CHECK(strstr(text, "[1,-0,1.50,1E+3,12345678901234567890,0.1,1E-400,"
                     "123456789012345678901234567890123456789012345678901]"),
        ": %s", text);
  CHECK(strstr(text, "\"text\":\"\xC3\xA4\xF0\x9F\x9A\x80\\n\\u0000/\""), ": %s", text);
  CHECK(strstr(text, "\"date\":{\"$date\":\"2020-01-01T00:00:00Z\"},\"oid\":{\"$oid\":\"x\"}"), ": %s", text);
  CHECK(strstr(text, "\"broken\":{ \"$date\" : \"never\" }"), ": %s", text);
  CHECK(strstr(text, "\"currentVersion\":\"1.1.0\""), ": %s", text);
  CHECK(strstr(text, "\"nonce\":\""), ": %s", text);
  CHECK(strstr(text, "\"conditionalWrites\":{\"verdict\":\"exclusive\",\"at\":\""), ": %s", text);
  bson_free(text);
  bson_t found;
  bson_iter_t iter;
  bool has;
  CHECK_OK(one->ops->checkpoint_read(one, &lease, "s", "date", &found, &has, &error), error);
  CHECK(has && bson_iter_init_find(&iter, &found, "v") && BSON_ITER_HOLDS_DATE_TIME(&iter));
  bson_destroy(&found);
  tear_down();
}

static void a_checkpoint_that_json_cannot_tell_is_refused(void) {
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  bson_t *value = BCON_NEW("v", "{", "$date", "{", "$numberLong", "5", "}", "}");
  CHECK_FAILS(one->ops->checkpoint_write(one, &lease, "a", "k", value, &error), error, SMIG_INVALID_OPTIONS);
  bson_destroy(value);
  tear_down();
}

static void what_is_no_ledger_is_corrupt_and_stays_as_it_is(void) {
  static const char *const bodies[] = {"",
                                       " ",
                                       "null",
                                       "[]",
                                       "{",
                                       "{}x",
                                       "{\"a\":1,}",
                                       "{\"a\" 1}",
                                       "{a:1}",
                                       "{\"a\":01}",
                                       "{\"a\":+1}",
                                       "{\"a\":.5}",
                                       "{\"a\":1.}",
                                       "{\"a\":nul}",
                                       "{\"a\":\"\\x\"}",
                                       "{\"a\":\"\\ud800\"}",
                                       "{\"a\":\"\n\"}",
                                       "{\"a\":\"",
                                       "{\"a\\u0000b\":1}",
                                       "{\"a\":\"\xFF\"}",
                                       "\xEF\xBB\xBF{}",
                                       "{\"currentVersion\":\"one\"}",
                                       "{\"lock\":{\"fence\":1e999}}"};
  set_up();
  for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
    smig_ledger_state_t state, empty, locked;
    int64_t sent;
    bool won;
    s3_put_body(bodies[i]);
    CHECK_FAILS(one->ops->load(one, &state, &error), error, SMIG_LEDGER_CORRUPT);
    if (error.code != SMIG_LEDGER_CORRUPT) printf("# %s\n", bodies[i]);
    smig_error_release(&error);
    smig_ledger_state_release(&state);
    smig_ledger_state_init(&empty);
    CHECK_FAILS(two->ops->acquire(two, &rival, &(smig_acquire_t){.seen = &empty}, &won, &locked, &sent, &error), error,
                SMIG_LEDGER_CORRUPT);
    smig_error_release(&error);
    smig_ledger_state_release(&locked);
    char *text = s3_look_text(S3_KEY);
    CHECK_STR(text, bodies[i]);
    bson_free(text);
  }
  /* Nested too deeply. */
  char *deep = bson_malloc0(1024);
  strcpy(deep, "{\"a\":");
  memset(deep + 5, '[', 500);
  s3_put_body(deep);
  smig_ledger_state_t state;
  CHECK_FAILS(one->ops->load(one, &state, &error), error, SMIG_LEDGER_CORRUPT);
  smig_ledger_state_release(&state);
  bson_free(deep);
  tear_down();
}

/* ------------------------------------------------------------------ answers */

static void a_forbidden_read_is_not_an_empty_ledger(void) {
  smig_ledger_state_t state;
  set_up_proxied();
  s3_proxy_add(&proxy, "'method': 'GET', 'answer': {'status': 403, 'error': 'AccessDenied'}");
  CHECK_FAILS(one->ops->load(one, &state, &error), error, SMIG_LEDGER_IO);
  CHECK(strstr(error.message, "a missing key answers 403") && strstr(error.message, "s3:ListBucket"), ": %s",
        error.message);
  CHECK_STR(at(error.details, "cause.code"), "AccessDenied");
  CHECK(strncmp(at(error.details, "place"), "s3 http://127.0.0.1:", 20) == 0);
  smig_ledger_state_release(&state);
  tear_down_proxied();
}

static void a_missing_bucket_is_not_an_empty_ledger(void) {
  smig_ledger_state_t state;
  set_up();
  smig_ledger_t *other = smig_s3_ledger_new(first.client, "no-such-bucket-here", S3_KEY, false, NULL, NULL);
  CHECK_FAILS(other->ops->load(other, &state, &error), error, SMIG_LEDGER_IO);
  CHECK_STR(at(error.details, "cause.code"), "NoSuchBucket");
  smig_ledger_state_release(&state);
  smig_ledger_free(other);
  tear_down();
}

static void refused_credentials_are_a_failed_connection(void) {
  smig_ledger_state_t state;
  set_up_proxied();
  s3_proxy_add(&proxy, "'method': 'GET', 'answer': {'status': 403, 'error': 'InvalidAccessKeyId'}");
  CHECK_FAILS(one->ops->load(one, &state, &error), error, SMIG_CONNECTION_FAILED);
  smig_ledger_state_release(&state);
  tear_down_proxied();
}

static void a_ledger_that_vanished_is_not_created_again(void) {
  smig_ledger_change_t change = version("1.1.0");
  bool ours;
  for (int stores = 0; stores < 2; stores++) { /* the second answers 412 where AWS answers 404 */
    set_up_proxied();
    CHECK(try_lock(one, &lease, false, NULL));
    s3_reset();
    if (stores) s3_proxy_add(&proxy, "'method': 'PUT', 'answer': {'status': 412, 'error': 'PreconditionFailed'}");
    CHECK_FAILS(commit(one, &lease, &change), error, SMIG_LEDGER_IO);
    CHECK(strstr(error.message, "vanished"), ": %s", error.message);
    smig_error_release(&error);
    CHECK(!one->ops->renew(one, &lease, &ours, &error) && !ours);
    char *text = s3_look_text(S3_KEY);
    CHECK(!text, ": %s", text);
    bson_free(text);
    tear_down_proxied();
  }
}

/* The store has done the work and the answer is lost, or says that a condition failed which the write itself made fail. */
static void the_nonce_tells_whose_write_won(void) {
  static const char *const rules[] = {
      "'method': 'PUT', 'path': 'contract.json$', 'times': 1, 'drop': 'after'",
      "'method': 'PUT', 'path': 'contract.json$', 'times': 1, 'forward': true, "
      "'answer': {'status': 412, 'error': 'PreconditionFailed'}",
      "'method': 'PUT', 'path': 'contract.json$', 'times': 1, 'forward': true, "
      "'answer': {'status': 409, 'error': 'ConditionalRequestConflict'}",
      "'method': 'PUT', 'path': 'contract.json$', 'times': 1, 'forward': true, "
      "'answer': {'status': 500, 'error': 'InternalError'}",
  };
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
    smig_ledger_state_t state;
    smig_ledger_change_t change = version("1.1.0");
    set_up_proxied();
    s3_proxy_add(&proxy, rules[i]);
    CHECK(try_lock(one, &lease, false, &state), ": %s", rules[i]);
    CHECK(lease.fence > 0 && lease.fence == state.lock.fence);
    smig_ledger_state_release(&state);
    s3_proxy_add(&proxy, rules[i]);
    s3_proxy_forget(&proxy);
    CHECK_OK(commit(one, &lease, &change), error);
    CHECK(s3_proxy_count(&proxy, "PUT", "contract.json") == 1, ": %s", rules[i]);
    CHECK(s3_proxy_count(&proxy, "GET", "contract.json") == 1, ": %s", rules[i]);
    check_stored("currentVersion", "1.1.0");
    CHECK(!try_lock(two, &rival, false, NULL));
    tear_down_proxied();
  }
}

static void a_write_that_did_not_land_is_sent_again(void) {
  static const char *const rules[] = {
      "'method': 'PUT', 'path': 'contract.json$', 'times': 2, 'drop': 'before'",
      "'method': 'PUT', 'path': 'contract.json$', 'times': 2, 'answer': {'status': 503, 'error': 'SlowDown'}",
      "'method': 'PUT', 'path': 'contract.json$', 'times': 2, "
      "'answer': {'status': 409, 'error': 'ConditionalRequestConflict'}",
  };
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
    smig_ledger_change_t change = version("1.1.0");
    set_up_proxied();
    s3_proxy_add(&proxy, rules[i]);
    CHECK(try_lock(one, &lease, false, NULL), ": %s", rules[i]);
    s3_proxy_add(&proxy, rules[i]);
    CHECK_OK(commit(one, &lease, &change), error);
    check_stored("currentVersion", "1.1.0");
    tear_down_proxied();
  }
}

static void what_was_written_between_survives(void) {
  set_up();
  CHECK(try_lock(one, &lease, false, NULL));
  bson_t *value = BCON_NEW("v", BCON_INT64(7));
  for (int round = 0; round < 2; round++) {
    char expected[8], field[16];
    snprintf(expected, sizeof expected, "1.%d.0", round);
    snprintf(field, sizeof field, "stranger%d", round);
    write_as_stranger(field, round == 0);
    smig_ledger_change_t change = version(expected);
    CHECK_OK(commit(one, &lease, &change), error);
    check_stored("currentVersion", expected);
    check_stored(field, "theirs");
    write_as_stranger("more", round == 0);
    CHECK_OK(one->ops->checkpoint_write(one, &lease, "a", "k", value, &error), error);
    check_stored("more", "theirs");
    check_stored("checkpoints.a.k", "{ \"v\" : { \"$numberLong\" : \"7\" } }");
    bool ours = false;
    write_as_stranger("most", round == 0);
    CHECK_OK(one->ops->renew(one, &lease, &ours, &error), error);
    CHECK(ours);
    check_stored("most", "theirs");
  }
  bson_destroy(value);
  tear_down();
}

/* The stamp landed, its answer was lost, and the lock was taken before anybody could look. */
static void rob(const char *holder) {
  plant_text(holder, "lock", "holder");
  plant_text("0123456789abcdef0123456789abcdef", "nonce", NULL);
}

typedef struct pending {
  smig_ledger_t *ledger;
  const smig_lease_t *lease;
  smig_ledger_change_t change;
  smig_error_t failure;
  bool done;
} pending_t;

static void *commit_pending(void *user) {
  pending_t *pending = user;
  pending->done = pending->ledger->ops->commit(pending->ledger, pending->lease, &pending->change, &pending->failure);
  return NULL;
}

static void a_change_that_landed_before_a_theft_is_told_as_landed(void) {
  smig_entry_write_t entry = entry_of("a", SMIG_STATUS_APPLIED);
  for (int landed = 0; landed < 2; landed++) {
    pthread_t thread;
    pending_t pending = {.change = {.finished = &entry, .current_version = "1.1.0"}};
    set_up_proxied();
    CHECK(try_lock(one, &lease, false, NULL));
    pending.ledger = one;
    pending.lease = &lease;
    s3_proxy_add(&proxy, landed ? "'method': 'PUT', 'times': 1, 'drop': 'after'"
                                : "'method': 'PUT', 'times': 1, 'drop': 'before'");
    int held = s3_proxy_add(&proxy, "'method': 'GET', 'hold': 'before'");
    s3_proxy_forget(&proxy);
    pthread_create(&thread, NULL, commit_pending, &pending);
    s3_proxy_wait(&proxy, "GET", "contract.json", 1);
    rob(rival.holder);
    char rest[32];
    snprintf(rest, sizeof rest, "'rule': %d", held);
    bson_destroy(s3_proxy_ask(&proxy, "remove", rest));
    pthread_join(thread, NULL);
    CHECK(!pending.done && pending.failure.code == SMIG_LOCK_LOST, ": %s", pending.failure.message);
    bson_iter_t iter;
    CHECK(bson_iter_init_find(&iter, pending.failure.details, "landed") && bson_iter_bool(&iter) == (landed == 1));
    smig_error_release(&pending.failure);
    tear_down_proxied();
  }
}

static void no_answer_at_all_leaves_the_outcome_open(void) {
  bool ours;
  set_up_proxied();
  CHECK(try_lock(one, &lease, false, NULL));
  smig_ledger_t *own = one->ops->reopen(one, 5000, &error);
  s3_proxy_add(&proxy, "'hold': 'before'");
  int64_t begun = smig_clock_boot_ms();
  CHECK_FAILS(own->ops->renew(own, &lease, &ours, &error), error, SMIG_LEDGER_IO);
  CHECK(smig_clock_boot_ms() - begun < 3750, ": a beat took %" PRId64 " ms", smig_clock_boot_ms() - begun);
  bson_iter_t iter;
  CHECK(bson_iter_init_find(&iter, error.details, "outcome_unknown") && bson_iter_bool(&iter));
  smig_ledger_free(own);
  tear_down_proxied();
}

/* ------------------------------------------------------------------- threads */

typedef struct beating {
  smig_ledger_t *ledger;
  atomic_bool stop;
  int beats, lost;
} beating_t;

static void *beat(void *user) {
  beating_t *beating = user;
  while (!atomic_load(&beating->stop)) {
    smig_error_t failure = SMIG_ERROR_INIT;
    bool ours = false;
    if (!beating->ledger->ops->renew(beating->ledger, &lease, &ours, &failure)) printf("# %s\n", failure.message);
    beating->beats++;
    if (!ours) beating->lost++;
    smig_error_release(&failure);
  }
  return NULL;
}

static void beats_and_stamps_go_through_one_writer(void) {
  enum { STAMPS = 40 };
  pthread_t thread;
  beating_t beating = {0};
  set_up_proxied();
  CHECK(try_lock(one, &lease, false, NULL));
  beating.ledger = one->ops->reopen(one, TTL_MS, &error);
  s3_proxy_forget(&proxy);
  pthread_create(&thread, NULL, beat, &beating);
  for (int i = 0; i < STAMPS; i++) {
    char text[16], id[16];
    snprintf(text, sizeof text, "1.%d.0", i);
    snprintf(id, sizeof id, "step%d", i);
    smig_entry_write_t entry = entry_of(id, SMIG_STATUS_APPLIED);
    CHECK_OK(commit(one, &lease, &(smig_ledger_change_t){.finished = &entry, .current_version = text}), error);
  }
  atomic_store(&beating.stop, true);
  pthread_join(thread, NULL);
  smig_ledger_free(beating.ledger);
  CHECK(beating.beats > 0 && beating.lost == 0, ": %d of %d", beating.lost, beating.beats);
  /* In turn: none of them met the other's ETag. */
  CHECK(s3_proxy_count(&proxy, "PUT", "contract.json") == STAMPS + beating.beats);
  CHECK(s3_proxy_count(&proxy, "GET", "contract.json") == 0);
  smig_ledger_state_t state;
  CHECK_OK(one->ops->load(one, &state, &error), error);
  CHECK(state.entry_count == STAMPS, ": %zu", state.entry_count);
  smig_ledger_state_release(&state);
  tear_down_proxied();
}

/* A stamp that hangs does not keep the beat, which goes by another connection. */
static void a_stamp_that_hangs_does_not_starve_the_beat(void) {
  smig_entry_write_t entry = entry_of("a", SMIG_STATUS_APPLIED);
  pthread_t thread;
  pending_t pending = {.change = {.finished = &entry, .current_version = "1.1.0"}};
  bool ours = false;
  set_up_proxied();
  CHECK(try_lock(one, &lease, false, NULL));
  smig_ledger_t *own = one->ops->reopen(one, 5000, &error);
  pending.ledger = one;
  pending.lease = &lease;
  int held = s3_proxy_add(&proxy, "'method': 'PUT', 'times': 1, 'hold': 'before'");
  s3_proxy_forget(&proxy);
  pthread_create(&thread, NULL, commit_pending, &pending);
  s3_proxy_wait(&proxy, "PUT", "contract.json", 1);
  int64_t begun = smig_clock_boot_ms();
  CHECK_OK(own->ops->renew(own, &lease, &ours, &error), error);
  CHECK(ours && smig_clock_boot_ms() - begun < 1250, ": %" PRId64 " ms", smig_clock_boot_ms() - begun);
  char rest[32];
  snprintf(rest, sizeof rest, "'rule': %d", held);
  bson_destroy(s3_proxy_ask(&proxy, "release", rest));
  pthread_join(thread, NULL);
  CHECK(pending.done, ": %s", pending.failure.message);
  smig_error_release(&pending.failure);
  check_stored("steps.a.status", "applied");
  smig_ledger_free(own);
  tear_down_proxied();
}

/* --------------------------------------------------------------------- clock */

static int64_t stored_ms(const char *path) {
  bson_t data;
  int64_t ms = 0;
  backend->look(&data);
  CHECK(smig_clock_from_iso(at(&data, path), &ms));
  bson_destroy(&data);
  return ms;
}

/* The store's clock counts, however wrong it is: ours says nothing. */
static void expiry_is_told_by_the_store(void) {
  for (int sign = -1; sign <= 1; sign += 2) {
    char rule[64];
    snprintf(rule, sizeof rule, "'clock_s': %d", sign * 86400);
    set_up_proxied();
    s3_proxy_add(&proxy, rule);
    CHECK(try_lock(one, &lease, false, NULL));
    int64_t expires = stored_ms("lock.expiresAt"), expected = smig_clock_wall_ms() + sign * INT64_C(86400000) + TTL_MS;
    CHECK(expires % 1000 == 0 && llabs(expires - expected) < 5000, ": %" PRId64, expires - expected);
    CHECK(llabs(lease.fence - (smig_clock_wall_ms() + sign * INT64_C(86400000))) < 5000);
    instance_t third = s3_open_at(proxy.endpoint, false);
    CHECK(!try_lock(third.ledger, &rival, false, NULL));
    instance_close(third);
    tear_down_proxied();
  }
}

static void past_is_what_the_date_of_the_read_says_by_two_seconds(void) {
  static const struct {
    int ago_ms;
    smig_expiry_t expiry;
  } rows[] = {{-5000, SMIG_EXPIRY_LIVE}, {0, SMIG_EXPIRY_LIVE}, {1000, SMIG_EXPIRY_LIVE}, {3500, SMIG_EXPIRY_PAST}};
  set_up_proxied();
  CHECK(try_lock(one, &lease, false, NULL));
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    smig_ledger_state_t state;
    char iso[SMIG_ISO_SIZE];
    smig_clock_iso(smig_clock_wall_ms() / 1000 * 1000 - rows[i].ago_ms, iso);
    plant_text(iso, "lock", "expiresAt");
    CHECK_OK(one->ops->load(one, &state, &error), error);
    CHECK(state.lock.expiry == rows[i].expiry, ": row %zu", i);
    smig_ledger_state_release(&state);
  }
  tear_down_proxied();
}

static void a_store_that_tells_no_time_is_refused(void) {
  smig_ledger_state_t seen, locked;
  bool won;
  int64_t sent;
  set_up_proxied();
  s3_proxy_add(&proxy, "'headers': {'Date': false}");
  CHECK_OK(one->ops->load(one, &seen, &error), error);
  CHECK_FAILS(one->ops->acquire(one, &lease, &(smig_acquire_t){.seen = &seen}, &won, &locked, &sent, &error), error,
              SMIG_LEDGER_IO);
  CHECK(error.message && strstr(error.message, "does not tell its time"), ": %s", error.message);
  smig_ledger_state_release(&seen);
  smig_ledger_state_release(&locked);
  tear_down_proxied();
}

/* ------------------------------------------------------------------- verdict */

static bool acquire(smig_ledger_t *ledger) {
  smig_ledger_state_t seen, locked;
  bool won = false;
  int64_t sent;
  CHECK_OK(ledger->ops->load(ledger, &seen, &error), error);
  bool good = ledger->ops->acquire(ledger, &lease, &(smig_acquire_t){.seen = &seen}, &won, &locked, &sent, &error);
  smig_ledger_state_release(&seen);
  smig_ledger_state_release(&locked);
  return good && won;
}

static void a_store_is_probed_once(void) {
  set_up_proxied();
  s3_proxy_forget(&proxy);
  CHECK(try_lock(one, &lease, false, NULL));
  CHECK(s3_proxy_count(&proxy, "PUT", ".probe-") > 48);
  CHECK(s3_proxy_count(&proxy, "PUT", "contract.json") == 1); /* the verdict goes with the lock */
  check_stored("conditionalWrites.verdict", "exclusive");
  CHECK_OK(release(one, &lease), error);
  s3_proxy_forget(&proxy);
  instance_t third = s3_open_at(proxy.endpoint, false);
  CHECK(try_lock(third.ledger, &rival, false, NULL));
  CHECK(s3_proxy_count(&proxy, NULL, ".probe-") == 0);
  CHECK_OK(release(third.ledger, &rival), error);
  instance_close(third);
  /* A ledger that was copied here from another store knows nothing of this one. */
  s3_proxy_forget(&proxy);
  CHECK(try_lock(two, &rival, false, NULL));
  bson_t data;
  backend->look(&data);
  CHECK(strstr(at(&data, "conditionalWrites.store"), getenv("SMARTMIGRATION_TEST_S3_ENDPOINT")));
  bson_destroy(&data);
  tear_down_proxied();
}

static void a_held_lock_is_not_probed_for(void) {
  set_up_proxied();
  plant_json("{\"lock\": {\"holder\": \"somebody\", \"expiresAt\": \"2999-01-01T00:00:00.000Z\"}}");
  s3_proxy_forget(&proxy);
  CHECK(!acquire(one) && error.code == SMIG_OK);
  CHECK(s3_proxy_count(&proxy, "PUT", "") == 0);
  tear_down_proxied();
}

static void a_store_that_is_not_exclusive_is_refused_or_accepted_with_a_doubt(void) {
  static const struct {
    const char *rule, *seen, *verdict;
  } rows[] = {
      {"'races': 2", "at the same time", "races"},
      {"'method': 'PUT', 'ignore': ['if-none-match', 'if-match']", "a second create", "ignores"},
      {"'method': 'PUT', 'header': {'if-none-match': '.'}, 'answer': {'status': 501, 'error': 'NotImplemented'}",
       "it refuses a first create", "refuses"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    smig_ledger_change_t change = version("1.1.0");
    bool ours = false;
    set_up_proxied();
    s3_proxy_add(&proxy, rows[i].rule);
    CHECK(!acquire(one) && error.code == SMIG_LEDGER_NOT_EXCLUSIVE, ": row %zu: %s", i, error.message);
    CHECK(strstr(error.message, rows[i].seen) && strstr(error.message, "best-effort"), ": %s", error.message);
    CHECK_STR(at(error.details, "verdict"), rows[i].verdict);
    smig_error_release(&error);
    char *text = s3_look_text(S3_KEY);
    CHECK(!text);
    bson_free(text);

    instance_t careless = s3_open_at(proxy.endpoint, true);
    smig_ledger_t *ledger = careless.ledger;
    CHECK(acquire(ledger), ": row %zu: %s", i, error.message);
    CHECK(ledger->doubt && strstr(ledger->doubt, rows[i].seen), ": %s", ledger->doubt);
    check_stored("conditionalWrites.verdict", rows[i].verdict);
    CHECK_OK(commit(ledger, &lease, &change), error);
    smig_ledger_t *own = ledger->ops->reopen(ledger, TTL_MS, &error);
    CHECK_OK(own->ops->renew(own, &lease, &ours, &error), error);
    CHECK(ours);
    smig_ledger_free(own);
    check_stored("currentVersion", "1.1.0");
    /* Even so a lock that was lost is noticed before a write. */
    rob(rival.holder);
    CHECK_FAILS(commit(ledger, &lease, &change), error, SMIG_LOCK_LOST);
    smig_error_release(&error);
    instance_close(careless);

    /* The bad verdict in the ledger does not bind: the store may have been repaired. */
    s3_proxy_clear_rules(&proxy);
    expire();
    CHECK(acquire(one), ": row %zu: %s", i, error.message);
    check_stored("conditionalWrites.verdict", "exclusive");
    check_stored("conditionalWrites.seen", NULL);
    tear_down_proxied();
  }
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  backend = &s3_backend;
  s3_backend_start("ledger");
  s3_proxy_start(&proxy);
  RUN(the_body_is_plain_json_that_keeps_what_others_wrote);
  RUN(a_checkpoint_that_json_cannot_tell_is_refused);
  RUN(what_is_no_ledger_is_corrupt_and_stays_as_it_is);
  RUN(a_forbidden_read_is_not_an_empty_ledger);
  RUN(a_missing_bucket_is_not_an_empty_ledger);
  RUN(refused_credentials_are_a_failed_connection);
  RUN(a_ledger_that_vanished_is_not_created_again);
  RUN(the_nonce_tells_whose_write_won);
  RUN(a_write_that_did_not_land_is_sent_again);
  RUN(what_was_written_between_survives);
  RUN(a_change_that_landed_before_a_theft_is_told_as_landed);
  RUN(no_answer_at_all_leaves_the_outcome_open);
  RUN(beats_and_stamps_go_through_one_writer);
  RUN(a_stamp_that_hangs_does_not_starve_the_beat);
  RUN(expiry_is_told_by_the_store);
  RUN(past_is_what_the_date_of_the_read_says_by_two_seconds);
  RUN(a_store_that_tells_no_time_is_refused);
  RUN(a_store_is_probed_once);
  RUN(a_held_lock_is_not_probed_for);
  RUN(a_store_that_is_not_exclusive_is_refused_or_accepted_with_a_doubt);
  s3_proxy_stop(&proxy);
  s3_backend_stop();
  return check_done();
}
