/*
 * The guarded stream against a real server that is frozen (SIGSTOP) or killed, plain and over TLS, and behind a proxy that
 * counts: a shut guard ends calls in progress within 2 s and lets no byte out.
 */
#include "check.h"
#include "clock.h"
#include "connection.h"
#include "guard.h"
#include "own_server.h"
#include "proxy.h"

#include <sys/resource.h>

enum { END_MS = 2000, BEFORE_SHUT_MS = 300, SHORT_MS = 1500, BIG = 12 * 1024 * 1024 };

static own_server_t server;

/* --------------------------------------------------------------------- tools */

static smig_mongo_connection_t *open_at(int port, bool tls, const char *more) {
  smig_error_t error = SMIG_ERROR_INIT;
  char *uri = bson_strdup_printf("mongodb://localhost:%d/?directConnection=true%s%s/pem%s", port,
                                 tls ? "&tls=true&tlsCAFile=" : "&appName=", tls ? server.folder : "", more);
  smig_mongo_connection_t *connection = smig_mongo_connection_open(uri, &error);
  if (!connection) {
    printf("# %s\n", error.message);
    exit(1);
  }
  bson_free(uri);
  smig_error_release(&error);
  return connection;
}

typedef enum call { INSERT, FIND, UPDATE, BIG_INSERT } call_t;
static const char *const call_names[] = {"insert_one", "find_one", "update_many", "insert_many"};

static bool big_insert(mongoc_collection_t *collection, bson_t *reply, bson_error_t *error) {
  char *text = bson_malloc(BIG);
  memset(text, 'x', BIG);
  bson_t document;
  bson_init(&document);
  bson_append_utf8(&document, "text", -1, text, BIG);
  const bson_t *documents[] = {&document, &document, &document};
  bool done = mongoc_collection_insert_many(collection, documents, 3, NULL, reply, error);
  bson_destroy(&document);
  bson_free(text);
  return done;
}

static bool find(mongoc_collection_t *collection, const bson_t *filter, bson_t *reply, bson_error_t *error) {
  const bson_t *document, *of_error;
  mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(collection, filter, NULL, NULL);
  while (mongoc_cursor_next(cursor, &document)) continue;
  bool failed = mongoc_cursor_error_document(cursor, error, &of_error);
  if (failed && of_error)
    bson_copy_to(of_error, reply);
  else
    bson_init(reply);
  mongoc_cursor_destroy(cursor);
  return !failed;
}

/* Makes a call; its failure comes back translated. */
static bool make(smig_mongo_connection_t *connection, call_t call, smig_error_t *error) {
  mongoc_client_t *client = smig_mongo_connection_client(connection);
  mongoc_collection_t *collection = mongoc_client_get_collection(client, "mongo_stream", "things");
  bson_t *document = BCON_NEW("a", BCON_INT32(1)), *update = BCON_NEW("$set", "{", "b", BCON_INT32(1), "}");
  bson_t reply;
  bson_error_t cause = {0};
  bool done;
  smig_mongo_connection_await(connection, call != FIND, NULL);
  if (call == INSERT)
    done = mongoc_collection_insert_one(collection, document, NULL, &reply, &cause);
  else if (call == FIND)
    done = find(collection, document, &reply, &cause);
  else if (call == UPDATE)
    done = mongoc_collection_update_many(collection, document, update, NULL, &reply, &cause);
  else
    done = big_insert(collection, &reply, &cause);
  if (!done) smig_mongo_error(connection, error, call_names[call], "mongo_stream.things", &reply, &cause);
  bson_destroy(&reply);
  bson_destroy(update);
  bson_destroy(document);
  mongoc_collection_destroy(collection);
  return done;
}

static void shut(smig_guard_t *guard, smig_guard_state_t state) {
  smig_error_t reason = SMIG_ERROR_INIT;
  smig_error_set(&reason, state == SMIG_GUARD_LOST ? SMIG_LOCK_LOST : SMIG_INTERRUPTED, "shut by the test");
  smig_guard_shut(guard, state, &reason);
}

static bool detail_flag(const smig_error_t *error, const char *path) {
  bson_iter_t iter, value;
  return error->details && bson_iter_init(&iter, error->details) && bson_iter_find_descendant(&iter, path, &value) &&
         bson_iter_as_bool(&value);
}

static int64_t cpu_ms(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
         (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
}

/* Shuts a guard from another thread, as the heartbeat does. */
typedef struct shutter {
  smig_guard_t *guard;
  int64_t after_ms;
  atomic_llong shut_at_ms;
} shutter_t;

static void *shut_later(void *argument) {
  shutter_t *shutter = argument;
  int64_t end = smig_clock_mono_ms() + shutter->after_ms;
  while (smig_clock_mono_ms() < end) smig_clock_sleep_ms(10);
  atomic_store(&shutter->shut_at_ms, smig_clock_mono_ms());
  shut(shutter->guard, SMIG_GUARD_LOST);
  return NULL;
}

/* ------------------------------------------------------------- a frozen server */

/* A call on a frozen server, the guard shut meanwhile: it fails with LOCK_LOST within 2 s of the shutting. */
static void freeze_and_shut(bool tls, call_t call) {
  smig_guard_t guard;
  smig_guard_init(&guard);
  smig_mongo_connection_t *connection = open_at(server.port, tls, "");
  smig_mongo_connection_set_guard(connection, &guard);
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(make(connection, INSERT, &error), "%s", error.message);
  int64_t cpu = cpu_ms();
  CHECK(make(connection, call, &error), "%s", error.message);
  int64_t work = cpu_ms() - cpu;

  own_server_freeze(&server);
  shutter_t shutter = {.guard = &guard, .after_ms = BEFORE_SHUT_MS};
  pthread_t thread;
  pthread_create(&thread, NULL, shut_later, &shutter);
  cpu = cpu_ms();
  bool done = make(connection, call, &error);
  int64_t late = smig_clock_mono_ms() - atomic_load(&shutter.shut_at_ms);
  pthread_join(thread, NULL);
  own_server_thaw(&server);
  CHECK(!done, "the call got through");
  CHECK(atomic_load(&shutter.shut_at_ms) && late < END_MS, "it ended %" PRId64 " ms after the shutting", late);
  CHECK(cpu_ms() - cpu < work + 500, "it span for %" PRId64 " ms, its work is %" PRId64 " ms", cpu_ms() - cpu, work);
  CHECK_STR(error.name, "LOCK_LOST");
  CHECK(detail_flag(&error, "cause.message"), "the driver's text is kept");
  CHECK(detail_flag(&error, "cause.outcome_unknown") == (call != FIND), "only a write may have landed");
  printf("# %s%s: ended %" PRId64 " ms after the shutting\n", call_names[call], tls ? " over TLS" : "", late);

  smig_error_release(&error);
  int64_t begun = smig_clock_mono_ms();
  smig_mongo_connection_free(connection);
  CHECK(smig_clock_mono_ms() - begun < END_MS, "closing took %" PRId64 " ms", smig_clock_mono_ms() - begun);
  smig_guard_release(&guard);
}

static void a_write_in_progress_ends(void) {
  freeze_and_shut(false, INSERT);
}
static void a_write_that_the_driver_does_not_resend_ends(void) {
  freeze_and_shut(false, UPDATE);
}
static void a_read_in_progress_ends(void) {
  freeze_and_shut(false, FIND);
}
static void sending_more_than_the_socket_takes_ends(void) {
  freeze_and_shut(false, BIG_INSERT);
}
static void a_write_in_progress_ends_over_tls(void) {
  freeze_and_shut(true, INSERT);
}
static void a_read_in_progress_ends_over_tls(void) {
  freeze_and_shut(true, FIND);
}
static void sending_more_than_the_socket_takes_ends_over_tls(void) {
  freeze_and_shut(true, BIG_INSERT);
}

static void the_deadline_alone_ends_a_call(void) {
  smig_guard_t guard;
  smig_guard_init(&guard);
  smig_mongo_connection_t *connection = open_at(server.port, false, "");
  smig_mongo_connection_set_guard(connection, &guard);
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(make(connection, INSERT, &error));
  own_server_freeze(&server);
  int64_t deadline = smig_clock_boot_ms() + BEFORE_SHUT_MS;
  smig_guard_extend(&guard, deadline);
  CHECK(!make(connection, INSERT, &error));
  int64_t late = smig_clock_boot_ms() - deadline;
  own_server_thaw(&server);
  CHECK(late >= 0 && late < END_MS, "%" PRId64, late);
  CHECK_STR(error.name, "LOCK_LOST");
  smig_error_release(&error);
  smig_mongo_connection_free(connection);
  smig_guard_release(&guard);
}

static void looking_for_a_server_ends(void) {
  smig_guard_t guard;
  smig_guard_init(&guard);
  smig_mongo_connection_t *connection = open_at(server.port, false, "&serverSelectionTimeoutMS=1500");
  smig_mongo_connection_set_guard(connection, &guard);
  own_server_freeze(&server);
  shutter_t shutter = {.guard = &guard, .after_ms = BEFORE_SHUT_MS};
  pthread_t thread;
  pthread_create(&thread, NULL, shut_later, &shutter);
  smig_error_t error = SMIG_ERROR_INIT;
  int64_t cpu = cpu_ms();
  CHECK(!make(connection, FIND, &error));
  int64_t late = smig_clock_mono_ms() - atomic_load(&shutter.shut_at_ms);
  pthread_join(thread, NULL);
  own_server_thaw(&server);
  CHECK(late < END_MS, "the scan of a frozen server ended %" PRId64 " ms after the shutting", late);
  CHECK(cpu_ms() - cpu < 300, "it span for %" PRId64 " ms", cpu_ms() - cpu);
  CHECK_STR(error.name, "LOCK_LOST");
  smig_error_release(&error);
  smig_mongo_connection_free(connection);
  smig_guard_release(&guard);
}

static void a_limit_ends_a_call(void) {
  smig_mongo_connection_t *connection = open_at(server.port, false, "");
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(make(connection, INSERT, &error));
  own_server_freeze(&server);
  int64_t begun = smig_clock_mono_ms();
  smig_mongo_connection_limit(connection, 500);
  CHECK(!make(connection, INSERT, &error));
  int64_t took = smig_clock_mono_ms() - begun;
  own_server_thaw(&server);
  CHECK(took >= 500 && took < END_MS, "it took %" PRId64 " ms", took);
  CHECK_STR(error.name, "Timeout");
  CHECK(detail_flag(&error, "timeout") && detail_flag(&error, "outcome_unknown"));
  smig_error_release(&error);
  smig_mongo_connection_limit(connection, 0);
  CHECK(make(connection, INSERT, &error), "the connection goes on without the limit: %s", error.message);
  smig_error_release(&error);
  smig_mongo_connection_free(connection);
}

static void a_second_connection_has_its_time_limits(void) {
  smig_mongo_connection_t *first = open_at(server.port, false, "");
  smig_error_t error = SMIG_ERROR_INIT;
  smig_mongo_connection_t *second = smig_mongo_connection_reopen(first, 600, &error);
  CHECK(second && make(second, INSERT, &error), "%s", error.message);
  own_server_freeze(&server);
  int64_t begun = smig_clock_mono_ms();
  CHECK(!make(second, UPDATE, &error));
  int64_t took = smig_clock_mono_ms() - begun;
  own_server_thaw(&server);
  CHECK(took >= 600 && took < END_MS, "it took %" PRId64 " ms", took);
  CHECK_STR(error.name, "Timeout");
  smig_error_release(&error);
  CHECK(make(second, INSERT, &error), "it works again: %s", error.message);
  smig_error_release(&error);
  smig_mongo_connection_free(second);
  smig_mongo_connection_free(first);
}

/* --------------------------------------------------------------- a dead server */

/* Kills the server during a call, and shuts the guard a little later, while the call looks for a server to be sent again to. */
static void *kill_and_shut_later(void *argument) {
  smig_clock_sleep_ms(BEFORE_SHUT_MS);
  own_server_kill(&server);
  return shut_later(argument);
}

static void a_call_whose_server_dies_ends(call_t call) {
  smig_guard_t guard;
  smig_guard_init(&guard);
  smig_guard_extend(&guard, smig_clock_boot_ms() + 60000); /* a lease is held */
  smig_mongo_connection_t *connection = open_at(server.port, false, "");
  smig_mongo_connection_set_guard(connection, &guard);
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(make(connection, INSERT, &error), "%s", error.message);
  own_server_freeze(&server);
  shutter_t shutter = {.guard = &guard, .after_ms = BEFORE_SHUT_MS};
  pthread_t thread;
  pthread_create(&thread, NULL, kill_and_shut_later, &shutter);
  bool done = make(connection, call, &error);
  int64_t ended = smig_clock_mono_ms();
  pthread_join(thread, NULL);
  int64_t late = ended - atomic_load(&shutter.shut_at_ms);
  CHECK(!done && late >= 0 && late < END_MS, "it ended %" PRId64 " ms after the shutting", late);
  CHECK_STR(error.name, "LOCK_LOST");
  printf("# %s: ended %" PRId64 " ms after the shutting\n", call_names[call], late);
  smig_error_release(&error);
  smig_mongo_connection_free(connection);
  smig_guard_release(&guard);
  own_server_restart(&server);
}

static void a_write_whose_server_dies_ends(void) {
  a_call_whose_server_dies_ends(INSERT);
}
static void a_write_that_the_driver_does_not_resend_and_whose_server_dies_ends(void) {
  a_call_whose_server_dies_ends(UPDATE);
}
static void a_read_whose_server_dies_ends(void) {
  a_call_whose_server_dies_ends(FIND);
}

/* The server is gone before the call, and known or not. */
static void looking_for_a_dead_server_ends(bool known, smig_guard_state_t state) {
  smig_guard_t guard;
  smig_guard_init(&guard);
  atomic_store(&guard.step_running, true);
  smig_mongo_connection_t *connection = open_at(server.port, false, "&heartbeatFrequencyMS=500");
  smig_mongo_connection_set_guard(connection, &guard);
  smig_error_t error = SMIG_ERROR_INIT;
  if (known) CHECK(make(connection, INSERT, &error), "%s", error.message);
  own_server_kill(&server);
  int64_t stop_at = smig_clock_boot_ms() + 3 * BEFORE_SHUT_MS;
  if (state == SMIG_GUARD_INTERRUPTED) {
    smig_guard_limit_stop(&guard, 3 * BEFORE_SHUT_MS);
    smig_guard_ask_to_stop(&guard, SIGTERM);
  } else {
    smig_guard_extend(&guard, stop_at);
  }
  CHECK(!make(connection, INSERT, &error));
  int64_t late = smig_clock_boot_ms() - stop_at;
  CHECK(late >= 0 && late < END_MS, "it ended %" PRId64 " ms after it had to", late);
  CHECK_STR(error.name, state == SMIG_GUARD_INTERRUPTED ? "INTERRUPTED" : "LOCK_LOST");
  printf("# ended %" PRId64 " ms after it had to\n", late);
  smig_error_release(&error);
  smig_mongo_connection_free(connection);
  smig_guard_release(&guard);
  own_server_restart(&server);
}

static void looking_for_a_server_that_died_ends_when_the_lock_is_lost(void) {
  looking_for_a_dead_server_ends(true, SMIG_GUARD_LOST);
}
static void looking_for_a_server_that_died_ends_when_the_run_is_stopped(void) {
  looking_for_a_dead_server_ends(true, SMIG_GUARD_INTERRUPTED);
}
static void looking_for_a_server_that_never_was_there_ends(void) {
  looking_for_a_dead_server_ends(false, SMIG_GUARD_LOST);
}

/* A host that answers nothing at all: its backlog is full. The driver's connect cannot be ended. */
static void connecting_to_a_silent_host_ends(void) {
  int listener = socket(AF_INET, SOCK_STREAM, 0), waiting[8];
  struct sockaddr_in address = proxy_address(0);
  socklen_t length = sizeof address;
  if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 0) ||
      getsockname(listener, (struct sockaddr *)&address, &length))
    own_server_fail("no silent host");
  for (int i = 0; i < 8; i++) {
    waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    (void)!connect(waiting[i], (struct sockaddr *)&address, length);
  }
  smig_guard_t guard;
  smig_guard_init(&guard);
  smig_mongo_connection_t *connection = open_at(ntohs(address.sin_port), false, "");
  smig_mongo_connection_set_guard(connection, &guard);
  shutter_t shutter = {.guard = &guard, .after_ms = BEFORE_SHUT_MS};
  pthread_t thread;
  pthread_create(&thread, NULL, shut_later, &shutter);
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(!make(connection, FIND, &error));
  int64_t ended = smig_clock_mono_ms();
  pthread_join(thread, NULL);
  int64_t late = ended - atomic_load(&shutter.shut_at_ms);
  CHECK(late >= 0 && late < END_MS, "it ended %" PRId64 " ms after the shutting", late);
  CHECK_STR(error.name, "LOCK_LOST");
  printf("# ended %" PRId64 " ms after the shutting\n", late);
  smig_error_release(&error);
  smig_mongo_connection_free(connection);
  smig_guard_release(&guard);
  for (int i = 0; i < 8; i++) close(waiting[i]);
  close(listener);
}

/* A call in a thread of its own: the kernel ends a server with the thread that started it. */
typedef struct caller {
  smig_mongo_connection_t *connection;
  smig_error_t error;
  bool done;
} caller_t;

static void *call_insert(void *argument) {
  caller_t *caller = argument;
  caller->done = make(caller->connection, INSERT, &caller->error);
  return NULL;
}

/* With an open guard a server is waited for as long as the URI allows, although the driver's own wait is short. */
static void a_call_outlasts_an_absence(bool in_progress) {
  caller_t caller = {.connection = open_at(server.port, false, "&serverSelectionTimeoutMS=30000")};
  pthread_t thread;
  call_insert(&caller);
  CHECK(caller.done, "%s", caller.error.message);
  if (in_progress)
    own_server_freeze(&server);
  else
    own_server_kill(&server);
  pthread_create(&thread, NULL, call_insert, &caller);
  smig_clock_sleep_ms(BEFORE_SHUT_MS);
  if (in_progress) own_server_kill(&server);
  smig_clock_sleep_ms(END_MS); /* several of the driver's waits */
  own_server_restart(&server);
  pthread_join(thread, NULL);
  CHECK(caller.done, "%s", caller.error.message);
  smig_error_release(&caller.error);
  smig_mongo_connection_free(caller.connection);
}

static void a_call_waits_for_a_server_that_comes_back(void) {
  a_call_outlasts_an_absence(false);
}
static void a_call_in_progress_is_sent_again_to_a_server_that_comes_back(void) {
  a_call_outlasts_an_absence(true);
}

/* ----------------------------------------------------------- not a single byte */

/* Through the counting proxy: what a call sends when the guard refuses, on an open connection and on none. */
static void refused(bool connected, bool tls) {
  proxy_t proxy;
  proxy_start(&proxy, server.port);
  smig_guard_t guard;
  smig_guard_init(&guard);
  smig_mongo_connection_t *connection = open_at(proxy.port, tls, "&serverSelectionTimeoutMS=1200");
  smig_mongo_connection_set_guard(connection, &guard);
  smig_error_t error = SMIG_ERROR_INIT;
  if (connected) CHECK(make(connection, INSERT, &error), "%s", error.message);
  long bytes = atomic_load(&proxy.bytes);
  int connections = atomic_load(&proxy.connections);
  CHECK((bytes > 0) == connected && (connections > 0) == connected, "the proxy counts");

  shut(&guard, SMIG_GUARD_LOST);
  int64_t begun = smig_clock_mono_ms(), cpu = cpu_ms();
  CHECK(!make(connection, INSERT, &error));
  CHECK_STR(error.name, "LOCK_LOST");
  smig_error_release(&error);
  CHECK(!make(connection, FIND, &error));
  CHECK_STR(error.name, "LOCK_LOST");
  smig_error_release(&error);
  smig_mongo_connection_free(connection);
  CHECK(smig_clock_mono_ms() - begun < 3 * END_MS, "three calls took %" PRId64 " ms", smig_clock_mono_ms() - begun);
  CHECK(cpu_ms() - cpu < 300, "they span for %" PRId64 " ms", cpu_ms() - cpu);
  proxy_stop(&proxy);
  CHECK(atomic_load(&proxy.bytes) == bytes, "%ld bytes got out", atomic_load(&proxy.bytes) - bytes);
  CHECK(atomic_load(&proxy.connections) == connections, "a connection was made");
  smig_guard_release(&guard);
}

static void a_shut_guard_lets_no_byte_out(void) {
  refused(true, false);
}
static void a_shut_guard_lets_no_byte_out_over_tls(void) {
  refused(true, true);
}
static void a_shut_guard_lets_nobody_connect(void) {
  refused(false, false);
}

static void an_interrupted_run_may_still_write_its_ledger(void) {
  smig_guard_t guard;
  smig_guard_init(&guard);
  smig_mongo_connection_t *connection = open_at(server.port, false, "");
  smig_mongo_connection_set_guard(connection, &guard);
  smig_error_t error = SMIG_ERROR_INIT;
  atomic_store(&guard.step_running, true);
  shut(&guard, SMIG_GUARD_INTERRUPTED);
  smig_mongo_connection_limit(connection, SHORT_MS);
  CHECK(!make(connection, INSERT, &error), "a step's call");
  CHECK_STR(error.name, "INTERRUPTED");
  smig_error_release(&error);
  atomic_store(&guard.step_running, false);
  smig_mongo_connection_limit(connection, 0);
  CHECK(make(connection, INSERT, &error), "the run's own: %s", error.message);
  smig_error_release(&error);
  smig_mongo_connection_set_guard(connection, NULL);
  smig_mongo_connection_free(connection);
  smig_guard_release(&guard);
}

/* --------------------------------------------------------------- nothing is lost */

/* Large answers arrive whole, in pieces as the socket gives them. */
static void large_answers(bool tls) {
  smig_mongo_connection_t *connection = open_at(server.port, tls, "");
  smig_error_t error = SMIG_ERROR_INIT;
  mongoc_collection_t *collection = mongoc_client_get_collection(smig_mongo_connection_client(connection),
                                                                 "mongo_stream", tls ? "large_tls" : "large");
  mongoc_collection_drop(collection, NULL);
  bson_error_t cause = {0};
  uint8_t *bytes = bson_malloc(BIG);
  uint32_t random = 1;
  for (size_t i = 0; i < BIG; i++) bytes[i] = (uint8_t)((random = random * 1664525 + 1013904223) >> 24);
  bson_t empty = BSON_INITIALIZER;
  for (int i = 0; i < 3; i++) {
    bson_t document = BSON_INITIALIZER;
    BSON_APPEND_INT32(&document, "_id", i);
    bson_append_binary(&document, "bytes", -1, BSON_SUBTYPE_BINARY, bytes, BIG);
    CHECK(mongoc_collection_insert_one(collection, &document, NULL, NULL, &cause), "%s", cause.message);
    bson_destroy(&document);
  }
  mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(collection, &empty, NULL, NULL);
  const bson_t *document;
  int same = 0;
  while (mongoc_cursor_next(cursor, &document)) {
    bson_iter_t iter;
    bson_subtype_t subtype;
    uint32_t length = 0;
    const uint8_t *got = NULL;
    if (bson_iter_init_find(&iter, document, "bytes")) bson_iter_binary(&iter, &subtype, &length, &got);
    same += length == BIG && memcmp(got, bytes, BIG) == 0;
  }
  CHECK(!mongoc_cursor_error(cursor, &cause), "%s", cause.message);
  CHECK(same == 3, "%d of 3", same);
  mongoc_cursor_destroy(cursor);
  mongoc_collection_drop(collection, NULL);
  mongoc_collection_destroy(collection);
  bson_free(bytes);
  smig_error_release(&error);
  smig_mongo_connection_free(connection);
}

static void large_answers_arrive_whole(void) {
  large_answers(false);
}
static void large_answers_arrive_whole_over_tls(void) {
  large_answers(true);
}

static void a_slow_answer_is_waited_for(void) {
  smig_guard_t guard;
  smig_guard_init(&guard);
  smig_mongo_connection_t *connection = open_at(server.port, false, "");
  smig_mongo_connection_set_guard(connection, &guard);
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(make(connection, INSERT, &error));
  bson_t *filter = BCON_NEW("$where", BCON_UTF8("sleep(1200) || true")), reply;
  bson_t *count = BCON_NEW("count", "slow", "query", BCON_DOCUMENT(filter));
  mongoc_client_t *client = smig_mongo_connection_client(connection);
  mongoc_collection_t *slow = mongoc_client_get_collection(client, "mongo_stream", "slow");
  mongoc_collection_drop(slow, NULL);
  bson_t one = BSON_INITIALIZER;
  bson_error_t cause = {0};
  CHECK(mongoc_collection_insert_one(slow, &one, NULL, NULL, &cause), "%s", cause.message);
  int64_t begun = smig_clock_mono_ms();
  CHECK(mongoc_client_command_simple(client, "mongo_stream", count, NULL, &reply, &cause), "%s", cause.message);
  CHECK(smig_clock_mono_ms() - begun >= 1200, "the server was slow");
  bson_destroy(&reply);
  bson_destroy(count);
  bson_destroy(filter);
  mongoc_collection_destroy(slow);
  smig_error_release(&error);
  smig_mongo_connection_free(connection);
  smig_guard_release(&guard);
}

int main(void) {
  mongoc_log_set_handler(NULL, NULL);
  mongoc_init();
  own_server_start(&server);
  RUN(large_answers_arrive_whole);
  RUN(large_answers_arrive_whole_over_tls);
  RUN(a_slow_answer_is_waited_for);
  RUN(a_write_in_progress_ends);
  RUN(a_write_that_the_driver_does_not_resend_ends);
  RUN(a_read_in_progress_ends);
  RUN(sending_more_than_the_socket_takes_ends);
  RUN(a_write_in_progress_ends_over_tls);
  RUN(a_read_in_progress_ends_over_tls);
  RUN(sending_more_than_the_socket_takes_ends_over_tls);
  RUN(the_deadline_alone_ends_a_call);
  RUN(looking_for_a_server_ends);
  RUN(a_write_whose_server_dies_ends);
  RUN(a_write_that_the_driver_does_not_resend_and_whose_server_dies_ends);
  RUN(a_read_whose_server_dies_ends);
  RUN(looking_for_a_server_that_died_ends_when_the_lock_is_lost);
  RUN(looking_for_a_server_that_died_ends_when_the_run_is_stopped);
  RUN(looking_for_a_server_that_never_was_there_ends);
  RUN(connecting_to_a_silent_host_ends);
  RUN(a_call_waits_for_a_server_that_comes_back);
  RUN(a_call_in_progress_is_sent_again_to_a_server_that_comes_back);
  RUN(a_limit_ends_a_call);
  RUN(a_second_connection_has_its_time_limits);
  RUN(a_shut_guard_lets_no_byte_out);
  RUN(a_shut_guard_lets_no_byte_out_over_tls);
  RUN(a_shut_guard_lets_nobody_connect);
  RUN(an_interrupted_run_may_still_write_its_ledger);
  own_server_stop(&server);
  return check_done();
}
