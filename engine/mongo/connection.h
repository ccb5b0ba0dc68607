/*
 * A MongoDB connection: one single-threaded libmongoc client, with a guarded stream below the driver (sending,
 * connecting and waiting end when the guard is shut, so that a lost run cannot write), errors translated once, and
 * secrets kept. Users: ledger/mongo_ledger, run/, bindings/mongo. One thread at a time.
 */
#ifndef SMIG_MONGO_CONNECTION_H
#define SMIG_MONGO_CONNECTION_H

#include "smartmigration.h"

#include <mongoc/mongoc.h>

struct smig_guard;

typedef struct smig_mongo_connection smig_mongo_connection_t;

/*
 * Parses the URI (INVALID_OPTIONS naming what is wrong, never the password; w=0 is refused) and makes a client; nothing is
 * sent yet. The client's defaults: primary, read concern majority, w: majority, j: true; a URI that differs is reported by
 * smig_mongo_connection_overridden. Socket time-out: none unless the URI sets one. Server selection: 10 s unless the URI says.
 */
smig_mongo_connection_t *smig_mongo_connection_open(const char *uri, smig_error_t *error);
/* A second one to the same servers, with connect, socket and server selection limits of `limit_ms`. */
smig_mongo_connection_t *smig_mongo_connection_reopen(const smig_mongo_connection_t *connection, int64_t limit_ms,
                                                      smig_error_t *error);
void smig_mongo_connection_free(smig_mongo_connection_t *connection);

mongoc_client_t *smig_mongo_connection_client(smig_mongo_connection_t *connection);
/* The database named in the URI, or NULL. */
const char *smig_mongo_connection_default_database(const smig_mongo_connection_t *connection);
/* Host names for messages: "localhost:27017,db2:27017". Never credentials. */
const char *smig_mongo_connection_hosts(const smig_mongo_connection_t *connection);
/* Which of the URI's read preference and concerns the defaults override ("w=1, readPreference=secondary"), or NULL. */
const char *smig_mongo_connection_overridden(const smig_mongo_connection_t *connection);

/*
 * What the URI asks for, where safety is concerned: {hosts: [string] (of an SRV record its name), tls: bool, unchecked: [string]
 * (options that switch off checks of certificates)}.
 */
void smig_mongo_connection_append_facts(const smig_mongo_connection_t *connection, bson_t *facts);

/*
 * The guard that connecting, sending, waiting and looking for a server obey; NULL: none. Borrowed until replaced. The one before it
 * is returned: a step may run another migration over its connection. A call in
 * progress ends within 2 s of the guard's shutting, wherever it is; only the resolver of host names keeps its own time.
 */
const struct smig_guard *smig_mongo_connection_set_guard(smig_mongo_connection_t *connection,
                                                         const struct smig_guard *guard);
/* What is left of `wanted_ms` to a run that was asked to stop (guard.h). */
int64_t smig_mongo_connection_time_left(const smig_mongo_connection_t *connection, int64_t wanted_ms);
/* Until reset by 0: connecting, sending and waiting fail as timed out this long after now (ledger I/O), or when that is over. */
void smig_mongo_connection_limit(smig_mongo_connection_t *connection, int64_t limit_ms);

/*
 * Looks for a server that a call can be sent to, for as long as the URI allows: the driver's own search, within the call, is
 * cut to a fraction of a second, so this precedes every call. `writes`: a primary; else what `prefs` allows (NULL: a primary).
 * When there is none, the call itself says so.
 */
void smig_mongo_connection_await(smig_mongo_connection_t *connection, bool writes, const mongoc_read_prefs_t *prefs);

typedef enum smig_mongo_topology {
  SMIG_MONGO_STANDALONE,
  SMIG_MONGO_REPLICA_SET,
  SMIG_MONGO_SHARDED
} smig_mongo_topology_t;
/* What the driver has found; selects a server first when it has found nothing yet. CONNECTION_FAILED names the hosts. */
bool smig_mongo_connection_topology(smig_mongo_connection_t *connection, smig_mongo_topology_t *topology,
                                    smig_error_t *error);

/* The connection that a step's ctx works on (defined in run/); NULL without MongoDB. */
smig_mongo_connection_t *smig_ctx_mongo_connection(const smig_ctx_t *ctx);

/*
 * Translates a driver's or server's failure. `reply` may be NULL. The result is SMIG_FOREIGN, named by the server's code name
 * ("DuplicateKey"; "NetworkError", "ServerSelectionTimeout", "Timeout" for the driver's own), message
 * "<operation> <namespace> failed: <text>", details {category, native, operation, namespace, labels: [], retryable,
 * outcome_unknown, timeout, write_errors?: [{index (1-based), code, message}], write_concern_error?, reply}.
 * category is one of server, network, timeout, argument, conflict, lease_lost, cancelled. When the guard is shut, the error is
 * the guard's reason instead (LOCK_LOST, INTERRUPTED), with the driver's as details.cause.
 */
void smig_mongo_error(smig_mongo_connection_t *connection, smig_error_t *error, const char *operation,
                      const char *namespace_, const bson_t *reply, const bson_error_t *cause);
/* The name of a server's error code; NULL: unknown. */
const char *smig_mongo_code_name(int32_t code);
bool smig_error_has_label(const smig_error_t *error, const char *label);

#endif
