/*
 * The connection, see connection.h. Units: ms; CLOCK_MONOTONIC for limits, CLOCK_BOOTTIME for the guard's deadline.
 * Errors: INVALID_OPTIONS, CONNECTION_FAILED. One thread at a time; initialising the driver is safe from any.
 * Rule: a call in progress ends within 2 s of the guard's shutting (contract, section 7). Nothing ends the driver's own search
 * for a server and its own connecting, so each is short, and ours repeats them (docs/decisions.md).
 */
#include "connection.h"

#include "clock.h"
#include "stream.h"
#include "uri.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

enum {
  SELECT_SLICE_MS =
      600, /* the driver looks at most every 500 ms, and gives up at once when its time ends before the next look */
  SELECT_PAUSE_MS = 20,    /* between two slices */
  KNOWN_MS = 100,          /* for how long a primary that was found counts as known */
  STEP_DOWN_MS = 100,      /* a primary that steps down interrupts commands while it still calls itself one */
  CONNECT_SLICE_MS = 1100, /* under a guard; a lost packet is sent again after 1 s */
};

struct smig_mongo_connection {
  mongoc_uri_t *uri;           /* as given, with our settings */
  int64_t select_ms;           /* for how long a server is looked for; 0: once */
  int64_t known_until_mono_ms; /* a primary was found a moment ago, and no command has failed since */
  mongoc_uri_t *select_uri;    /* the client's: the same, with the slice of it that the driver gets */
  mongoc_uri_t *connect_uri;   /* the same, with the time that the connect under way may take */
  int32_t connect_ms;          /* what the URI allows a connect */
  mongoc_client_t *client;
  char *hosts, *overridden;
  smig_stream_gate_t gate;
};

/* Exported by libmongoc for initiators that build upon it, but not declared in its headers. */
mongoc_stream_t *mongoc_client_default_stream_initiator(const mongoc_uri_t *uri, const mongoc_host_list_t *host,
                                                        void *client, bson_error_t *error);

/* ----------------------------------------------------------- initialisation */

static void drop_log(mongoc_log_level_t level, const char *domain, const char *message, void *user) {
  (void)level, (void)domain, (void)message, (void)user;
}

/* libmongoc prints to the terminal unless it is told otherwise; what it has to say comes back in errors too. */
static void initialize(void) {
  mongoc_log_set_handler(drop_log, NULL);
  mongoc_init();
}

static void initialize_once(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, initialize);
}

/* --------------------------------------------------------------- connecting */

/* How long a connect may take: it cannot be cut short once it is under way. */
static int32_t time_to_connect(const smig_mongo_connection_t *connection) {
  int64_t time = connection->connect_ms;
  if (connection->gate.limit_mono_ms) {
    int64_t left = connection->gate.limit_mono_ms - smig_clock_mono_ms();
    if (left < time) time = left;
  }
  if (connection->gate.guard) {
    int64_t deadline = atomic_load(&connection->gate.guard->deadline_boot_ms);
    int64_t left = deadline == INT64_MAX ? INT64_MAX : deadline - smig_clock_boot_ms();
    if (left < time) time = left;
    if (time > CONNECT_SLICE_MS) time = CONNECT_SLICE_MS;
  }
  return time < 1 ? 1 : (int32_t)time;
}

/*
 * A stream on which everything fails. libmongoc retries a known server's check while it holds its topology's lock, and a
 * failing initiator would make it take that lock a second time and wait for ever; a stream that fails is reported later.
 */
static mongoc_stream_t *dead_stream(void) {
  return mongoc_stream_socket_new(mongoc_socket_new(AF_INET, SOCK_STREAM, 0));
}

static mongoc_stream_t *connect_to(smig_mongo_connection_t *connection, const mongoc_host_list_t *host,
                                   bson_error_t *error) {
  int refusal = smig_stream_refusal(&connection->gate);
  if (refusal) {
    if (refusal == ETIMEDOUT) connection->gate.timed_out = true;
    bson_set_error(error, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_CONNECT, "connecting to %s was refused: %s",
                   host->host_and_port, refusal == ETIMEDOUT ? "the time limit has passed" : "the run may not go on");
    return NULL;
  }
  mongoc_uri_set_option_as_int32(connection->connect_uri, MONGOC_URI_CONNECTTIMEOUTMS, time_to_connect(connection));
  return mongoc_client_default_stream_initiator(connection->connect_uri, host, connection->client, error);
}

static mongoc_stream_t *open_stream(const mongoc_uri_t *uri, const mongoc_host_list_t *host, void *user,
                                    bson_error_t *error) {
  (void)uri;
  smig_mongo_connection_t *connection = user;
  mongoc_stream_t *stream = connect_to(connection, host, error);
  if (!stream) stream = dead_stream();
  smig_stream_guard(stream, &connection->gate);
  return stream;
}

static void set_defaults(mongoc_client_t *client) {
  mongoc_read_prefs_t *primary = mongoc_read_prefs_new(MONGOC_READ_PRIMARY);
  mongoc_read_concern_t *majority = mongoc_read_concern_new();
  mongoc_write_concern_t *durable = mongoc_write_concern_new();
  mongoc_read_concern_set_level(majority, MONGOC_READ_CONCERN_LEVEL_MAJORITY);
  mongoc_write_concern_set_w(durable, MONGOC_WRITE_CONCERN_W_MAJORITY);
  mongoc_write_concern_set_journal(durable, true);
  mongoc_client_set_read_prefs(client, primary);
  mongoc_client_set_read_concern(client, majority);
  mongoc_client_set_write_concern(client, durable);
  mongoc_write_concern_destroy(durable);
  mongoc_read_concern_destroy(majority);
  mongoc_read_prefs_destroy(primary);
}

/* --------------------------------------------------------- looking for a server */

/* What the URI says of looking for a server; the driver gets a slice of it. */
static void divide_selection(smig_mongo_connection_t *connection) {
  int32_t whole = mongoc_uri_get_option_as_int32(connection->uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, 0);
  bool once = mongoc_uri_get_option_as_bool(connection->uri, MONGOC_URI_SERVERSELECTIONTRYONCE, false);
  connection->select_ms = once ? 0 : whole;
  connection->select_uri = mongoc_uri_copy(connection->uri);
  mongoc_uri_set_option_as_int32(connection->select_uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS,
                                 whole < SELECT_SLICE_MS ? whole : SELECT_SLICE_MS);
}

/* Has the client look for a server, slice by slice, until there is one, the time is over or the gate refuses. */
static bool await(const smig_mongo_connection_t *connection, mongoc_client_t *client, bool writes,
                  const mongoc_read_prefs_t *prefs, bson_error_t *cause) {
  int64_t end = smig_clock_mono_ms() + smig_mongo_connection_time_left(connection, connection->select_ms);
  for (;;) {
    mongoc_server_description_t *server = mongoc_client_select_server(client, writes, prefs, cause);
    if (server) {
      mongoc_server_description_destroy(server);
      return true;
    }
    bool later = cause->domain == MONGOC_ERROR_SERVER_SELECTION || cause->domain == MONGOC_ERROR_STREAM;
    if (!later || smig_clock_mono_ms() >= end || smig_stream_refusal(&connection->gate)) return false;
    smig_clock_sleep_ms(SELECT_PAUSE_MS);
  }
}

void smig_mongo_connection_await(smig_mongo_connection_t *connection, bool writes, const mongoc_read_prefs_t *prefs) {
  bson_error_t ignored;
  if (!writes && prefs) {
    await(connection, connection->client, false, prefs, &ignored);
    return;
  }
  /* A selection costs some 4 us, a noticeable part of a call. */
  int64_t now = smig_clock_mono_ms();
  if (now < connection->known_until_mono_ms) return;
  bool known = await(connection, connection->client, true, NULL, &ignored);
  connection->known_until_mono_ms = known ? now + KNOWN_MS : 0;
}

/* Whether a server's error means that it is no longer the primary. */
static bool is_state_change(int64_t code) {
  static const int64_t codes[] = {91,    /* ShutdownInProgress */
                                  189,   /* PrimarySteppedDown */
                                  10107, /* NotWritablePrimary */
                                  11600, /* InterruptedAtShutdown */
                                  11602, /* InterruptedDueToReplStateChange */
                                  13435, /* NotPrimaryNoSecondaryOk */
                                  13436 /* NotPrimaryOrSecondary */};
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
    if (code == codes[i]) return true;
  return false;
}

/*
 * A command has failed, and the driver may be about to send it again, with no more than a slice to find a server for that: an
 * election takes longer. A client of its own, which is no part of the call under way, waits for the new primary first.
 */
static void await_before_retry(smig_mongo_connection_t *connection) {
  connection->known_until_mono_ms = 0;
  if (smig_stream_refusal(&connection->gate)) return;
  mongoc_client_t *other = mongoc_client_new_from_uri_with_error(connection->select_uri, NULL);
  if (!other) return;
  smig_clock_sleep_ms(STEP_DOWN_MS);
  bool timed_out = connection->gate.timed_out; /* tells of the failed command */
  bson_error_t ignored;
  mongoc_client_set_stream_initiator(other, open_stream, connection);
  await(connection, other, true, NULL, &ignored);
  mongoc_client_destroy(other);
  connection->gate.timed_out = timed_out;
}

static void command_failed(const mongoc_apm_command_failed_t *event) {
  static const char *const never_retried[] = {"killCursors", "endSessions"};
  const char *name = mongoc_apm_command_failed_get_command_name(event);
  bson_error_t failure = {0};
  mongoc_apm_command_failed_get_error(event, &failure);
  bool lost =
      failure.domain == MONGOC_ERROR_STREAM || (failure.domain == MONGOC_ERROR_SERVER && is_state_change(failure.code));
  for (size_t i = 0; i < sizeof never_retried / sizeof *never_retried; i++)
    lost = lost && strcmp(name, never_retried[i]) != 0;
  if (lost) await_before_retry(mongoc_apm_command_failed_get_context(event));
}

/* A write that was done on a primary which then stepped down: the reply is "ok", and the driver sends it again. */
static void command_succeeded(const mongoc_apm_command_succeeded_t *event) {
  bson_iter_t error, code;
  if (bson_iter_init_find(&error, mongoc_apm_command_succeeded_get_reply(event), "writeConcernError") &&
      bson_iter_recurse(&error, &code) && bson_iter_find(&code, "code") && is_state_change(bson_iter_as_int64(&code)))
    await_before_retry(mongoc_apm_command_succeeded_get_context(event));
}

static void watch_commands(smig_mongo_connection_t *connection) {
  mongoc_apm_callbacks_t *callbacks = mongoc_apm_callbacks_new();
  mongoc_apm_set_command_failed_cb(callbacks, command_failed);
  mongoc_apm_set_command_succeeded_cb(callbacks, command_succeeded);
  mongoc_client_set_apm_callbacks(connection->client, callbacks, connection);
  mongoc_apm_callbacks_destroy(callbacks);
}

/* Takes over `uri`. */
static smig_mongo_connection_t *connection_new(mongoc_uri_t *uri, smig_error_t *error) {
  smig_mongo_connection_t *connection = bson_malloc0(sizeof *connection);
  connection->uri = uri;
  divide_selection(connection);
  connection->connect_uri = mongoc_uri_copy(uri);
  connection->connect_ms = mongoc_uri_get_option_as_int32(uri, MONGOC_URI_CONNECTTIMEOUTMS, 0);
  if (connection->connect_ms <= 0) connection->connect_ms = 10000; /* libmongoc's own */
  connection->hosts = smig_mongo_uri_hosts(uri);
  connection->overridden = smig_mongo_uri_overridden(uri);

  bson_error_t cause = {0};
  connection->client = mongoc_client_new_from_uri_with_error(connection->select_uri, &cause);
  if (!connection->client) {
    bool usable = cause.domain == MONGOC_ERROR_STREAM; /* an SRV record was not found */
    smig_error_set(error, usable ? SMIG_CONNECTION_FAILED : SMIG_INVALID_OPTIONS,
                   usable ? "cannot find the servers of %s: %s" : "the mongo uri for %s cannot be used: %s",
                   connection->hosts, cause.message);
    smig_mongo_connection_free(connection);
    return NULL;
  }
  mongoc_client_set_error_api(connection->client, MONGOC_ERROR_API_VERSION_2);
  mongoc_client_set_stream_initiator(connection->client, open_stream, connection);
  watch_commands(connection);
  set_defaults(connection->client);
  return connection;
}

smig_mongo_connection_t *smig_mongo_connection_open(const char *uri, smig_error_t *error) {
  initialize_once();
  mongoc_uri_t *parsed = smig_mongo_uri_parse(uri, error);
  return parsed ? connection_new(parsed, error) : NULL;
}

smig_mongo_connection_t *smig_mongo_connection_reopen(const smig_mongo_connection_t *connection, int64_t limit_ms,
                                                      smig_error_t *error) {
  int32_t limit = limit_ms < 1 ? 1 : limit_ms > INT32_MAX ? INT32_MAX : (int32_t)limit_ms;
  mongoc_uri_t *uri = mongoc_uri_copy(connection->uri);
  mongoc_uri_set_option_as_int32(uri, MONGOC_URI_CONNECTTIMEOUTMS, limit);
  mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, limit);
  mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, limit);
  return connection_new(uri, error);
}

void smig_mongo_connection_free(smig_mongo_connection_t *connection) {
  if (!connection) return;
  if (connection->client) mongoc_client_destroy(connection->client);
  mongoc_uri_destroy(connection->connect_uri);
  mongoc_uri_destroy(connection->select_uri);
  mongoc_uri_destroy(connection->uri);
  bson_free(connection->overridden);
  bson_free(connection->hosts);
  bson_free(connection);
}

/* --------------------------------------------------------------- properties */

mongoc_client_t *smig_mongo_connection_client(smig_mongo_connection_t *connection) {
  return connection->client;
}

const char *smig_mongo_connection_default_database(const smig_mongo_connection_t *connection) {
  return mongoc_uri_get_database(connection->uri);
}

const char *smig_mongo_connection_hosts(const smig_mongo_connection_t *connection) {
  return connection->hosts;
}

const char *smig_mongo_connection_overridden(const smig_mongo_connection_t *connection) {
  return connection->overridden;
}

void smig_mongo_connection_append_facts(const smig_mongo_connection_t *connection, bson_t *facts) {
  smig_mongo_uri_append_facts(connection->uri, facts);
}

const struct smig_guard *smig_mongo_connection_set_guard(smig_mongo_connection_t *connection,
                                                         const struct smig_guard *guard) {
  const struct smig_guard *former = connection->gate.guard;
  connection->gate.guard = guard;
  return former;
}

int64_t smig_mongo_connection_time_left(const smig_mongo_connection_t *connection, int64_t wanted_ms) {
  return connection->gate.guard ? smig_guard_time_left_ms(connection->gate.guard, wanted_ms) : wanted_ms;
}

void smig_mongo_connection_limit(smig_mongo_connection_t *connection, int64_t limit_ms) {
  int64_t left = smig_guard_call_limit_ms(connection->gate.guard, limit_ms);
  connection->gate.limit_mono_ms = limit_ms > 0 ? smig_clock_mono_ms() + left : 0;
  connection->gate.timed_out = false;
}

smig_stream_gate_t *smig_mongo_connection_gate(smig_mongo_connection_t *connection) {
  return &connection->gate;
}

/* ----------------------------------------------------------------- topology */

/* Whether the driver has found a server already, and of what kind. */
static bool known_topology(mongoc_client_t *client, smig_mongo_topology_t *topology) {
  size_t count = 0;
  mongoc_server_description_t **servers = mongoc_client_get_server_descriptions(client, &count);
  bool known = false;
  for (size_t i = 0; i < count && !known; i++) {
    const char *type = mongoc_server_description_type(servers[i]);
    known = true;
    if (strcmp(type, "Mongos") == 0 || strcmp(type, "LoadBalancer") == 0)
      *topology = SMIG_MONGO_SHARDED;
    else if (strcmp(type, "Standalone") == 0)
      *topology = SMIG_MONGO_STANDALONE;
    else if (strcmp(type, "RSPrimary") == 0 || strcmp(type, "RSSecondary") == 0)
      *topology = SMIG_MONGO_REPLICA_SET;
    else
      known = false;
  }
  mongoc_server_descriptions_destroy_all(servers, count);
  return known;
}

bool smig_mongo_connection_topology(smig_mongo_connection_t *connection, smig_mongo_topology_t *topology,
                                    smig_error_t *error) {
  *topology = SMIG_MONGO_STANDALONE;
  if (known_topology(connection->client, topology)) return true;
  bson_error_t cause = {0};
  if (await(connection, connection->client, true, NULL, &cause) && known_topology(connection->client, topology))
    return true;
  smig_mongo_error(connection, error, "connect", NULL, NULL, &cause);
  return false;
}
