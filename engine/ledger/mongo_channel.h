/*
 * Sending the engine's own commands to MongoDB: concerns, comment, time limit, and what a failure means. Every command carries the
 * comment "<comment_prefix><run id>:" and a time limit; reads go to the primary with read concern majority, writes carry w: majority,
 * j: true.
 * Users: mongo_ledger, mongo_commands, mongo_survey. One thread at a time. Units: ms. Source: the contract, sections 6 and 7.
 * Errors: the driver's or server's own (SMIG_FOREIGN), until `fail` makes them LEDGER_IO or CONNECTION_FAILED.
 */
#ifndef SMIG_LEDGER_MONGO_CHANNEL_H
#define SMIG_LEDGER_MONGO_CHANNEL_H

#include "connection.h"

#include <mongoc/mongoc.h>

#define SMIG_MONGO_LEDGER_COLLECTION "SmartdataEasyStore"

enum {
  SMIG_MONGO_CHANNEL_LIMIT_MS = 10000,   /* of one command on the run's connection */
  SMIG_MONGO_CHANNEL_PATIENCE_MS = 20000 /* outlasts the election of a primary */
};

typedef struct smig_mongo_channel {
  smig_mongo_connection_t *connection;  /* borrowed */
  const char *place;                    /* borrowed: for messages, see smig_ledger */
  const char *comment_prefix;           /* borrowed: the ledger's */
  int64_t limit_ms;                     /* of one command */
  int64_t patience_ms;                  /* for how long an unanswered command is sent again; 0: never */
  mongoc_client_session_t *transaction; /* open: commands are a part of it; NULL: none */
} smig_mongo_channel_t;

typedef enum smig_mongo_channel_kind {
  SMIG_MONGO_CHANNEL_READ,  /* primary, majority */
  SMIG_MONGO_CHANNEL_WRITE, /* majority, journaled; a reply's write errors are failures */
  SMIG_MONGO_CHANNEL_PLAIN  /* without read or write concern: what runs on the server itself */
} smig_mongo_channel_kind_t;

/*
 * Sends one command to `database`, with the run's comment ("" outside of a run) and the time limit appended. *reply is
 * initialised on every path.
 */
bool smig_mongo_channel_command(smig_mongo_channel_t *channel, smig_mongo_channel_kind_t kind, const char *database,
                                bson_t *command, const char *run_id, bson_t *reply, smig_error_t *error);
/* One document of the ledgers' collection that `filter` finds; *document (initialised, empty) stays empty when there is none. */
bool smig_mongo_channel_find_one(smig_mongo_channel_t *channel, const char *database, const char *run_id,
                                 const bson_t *filter, const bson_t *projection, bson_t *document, smig_error_t *lower);
/* Makes a command's error LEDGER_IO or CONNECTION_FAILED "cannot <what> <place>: …", with the lower one as cause. */
void smig_mongo_channel_fail(const smig_mongo_channel_t *channel, const char *what, smig_error_t *lower,
                             smig_error_t *error);
/* The server's error number; 0: not a server's error. */
int64_t smig_mongo_channel_native(const smig_error_t *lower);
/* Whether a write with this error may have happened, or may happen on another try. */
bool smig_mongo_channel_unclear(const smig_error_t *lower);

/* Sending again. */
typedef struct smig_mongo_patience {
  int64_t until_boot_ms, pause_ms;
} smig_mongo_patience_t;
smig_mongo_patience_t smig_mongo_channel_patience(const smig_mongo_channel_t *channel);
/* After an unclear answer: waits a little and says whether to try again. */
bool smig_mongo_channel_again(smig_mongo_patience_t *patience);

#endif
