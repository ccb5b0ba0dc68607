/*
 * What the cases of the MongoDB ledger share: one process over the server, locking, looking, and fail points that hit only
 * connections with this program's appName, so other users of the server are not disturbed. Needs
 * SMARTMIGRATION_TEST_MONGO_URI to name a replica set with enableTestCommands. Included by one test program each.
 */
#ifndef SMIG_SPEC_MONGO_CASES_H
#define SMIG_SPEC_MONGO_CASES_H

#include "backends.h"

enum { TTL_MS = 60000 };

static char fault_uri[512], app_name[64];
static instance_t instance;
static smig_ledger_t *ledger;
static smig_lease_t lease;
static smig_error_t error = SMIG_ERROR_INIT;

static inline void set_up(void) {
  mongo_drop();
  instance = mongo_open();
  ledger = instance.ledger;
  smig_lease_new(&lease, TTL_MS);
}

/* Like set_up, over a connection that fail points hit. */
static inline void set_up_faulty(void) {
  const char *good = mongo_uri;
  mongo_drop();
  mongo_uri = fault_uri;
  instance = mongo_open();
  mongo_uri = good;
  ledger = instance.ledger;
  smig_lease_new(&lease, TTL_MS);
}

static inline void tear_down(void) {
  instance_close(instance);
  smig_error_release(&error);
}

static inline void admin(bson_t *command) {
  bson_error_t cause;
  bool ok = mongoc_client_command_simple(mongo_client, "admin", command, NULL, NULL, &cause);
  CHECK(ok, "%s", cause.message);
  bson_destroy(command);
}

/* The next `times` commands of that name fail as `how` says. */
static inline void fail_next(const char *command, int times, const bson_t *how) {
  bson_t data = BSON_INITIALIZER;
  BCON_APPEND(&data, "failCommands", "[", BCON_UTF8(command), "]", "appName", BCON_UTF8(app_name));
  bson_concat(&data, how);
  admin(BCON_NEW("configureFailPoint", "failCommand", "mode", "{", "times", BCON_INT32(times), "}", "data",
                 BCON_DOCUMENT(&data)));
  bson_destroy(&data);
}

static inline void fail_next_with_code(const char *command, int times, int code) {
  bson_t *how = BCON_NEW("errorCode", BCON_INT32(code));
  fail_next(command, times, how);
  bson_destroy(how);
}

static inline void lose_connection(const char *command, int times) {
  bson_t *how = BCON_NEW("closeConnection", BCON_BOOL(true));
  fail_next(command, times, how);
  bson_destroy(how);
}

/* The command is carried out, but its answer says that the servers did not agree in time. */
static inline void lose_agreement(const char *command, int times) {
  bson_t *how = BCON_NEW("writeConcernError", "{", "code", BCON_INT32(64), "errmsg", "waiting timed out", "}");
  fail_next(command, times, how);
  bson_destroy(how);
}

static inline void heal(void) {
  admin(BCON_NEW("configureFailPoint", "failCommand", "mode", "off"));
}

static inline bool try_lock(void) {
  smig_ledger_state_t seen, locked;
  int64_t sent;
  bool won = false;
  CHECK_OK(ledger->ops->load(ledger, &seen, &error), error);
  CHECK_OK(ledger->ops->acquire(ledger, &lease, &(smig_acquire_t){.seen = &seen}, &won, &locked, &sent, &error), error);
  smig_ledger_state_release(&seen);
  smig_ledger_state_release(&locked);
  return won;
}

static inline void check_stored(const char *path, const char *expected) {
  bson_t whole;
  mongo_look_whole(&whole);
  const char *found = at(&whole, path);
  if (expected)
    CHECK(found && strcmp(found, expected) == 0, ": %s is %s", path, found ? found : "(missing)");
  else
    CHECK(!found, ": %s is %s", path, found);
  bson_destroy(&whole);
}

static inline void command_here(bson_t *command) {
  bson_error_t cause;
  bool ok = mongoc_client_command_simple(mongo_client, mongo_database, command, NULL, NULL, &cause);
  CHECK(ok, "%s", cause.message);
  bson_destroy(command);
}

static inline smig_entry_write_t applied(const char *id) {
  return (smig_entry_write_t){.id = id,
                              .from_version = "1.0.0",
                              .to_version = "1.1.0",
                              .status = SMIG_STATUS_APPLIED,
                              .started_at = "2026-04-14T12:31:34.123Z",
                              .finished_at = "2026-04-14T12:31:34.456Z",
                              .duration_ms = 333,
                              .attempts = 1};
}

/* Names the test's databases by `part`, and the connections that fail points hit by the program. */
static inline void mongo_cases_start(const char *part) {
  backends_start(part);
  snprintf(app_name, sizeof app_name, "ledgers-%ld", (long)getpid());
  const char *separator = strchr(mongo_uri, '?') ? "&" : mongo_uri[strlen(mongo_uri) - 1] == '/' ? "?" : "/?";
  snprintf(fault_uri, sizeof fault_uri, "%s%sappName=%s", mongo_uri, separator, app_name);
}

#endif
