/*
 * The ledger in MongoDB: making, reopening and freeing; the operations stand in mongo_ledger_*.c.
 * Users: run/, heartbeat. Units: ms.
 */
#include "mongo_ledger.h"

#include "mongo_ledger_internal.h"

enum {
  BEAT_LIMIT_MAX_MS = 5000 /* of one command on the heartbeat's connection */
};

static smig_ledger_t *reopen(smig_ledger_t *self, int64_t ttl_ms, smig_error_t *error) {
  smig_mongo_ledger_t *ledger = smig_mongo_ledger_of(self);
  int64_t limit_ms = ttl_ms / 4 < BEAT_LIMIT_MAX_MS ? ttl_ms / 4 : BEAT_LIMIT_MAX_MS;
  smig_mongo_connection_t *connection = smig_mongo_connection_reopen(ledger->channel.connection, limit_ms, error);
  if (!connection) return NULL;
  smig_mongo_ledger_t *second =
      smig_mongo_ledger_of(smig_mongo_ledger_new(connection, ledger->database, ledger->ledger_id, ledger->ledger_name));
  second->owns_connection = true;
  second->channel.limit_ms = limit_ms;
  second->channel.patience_ms = 0; /* the heartbeat decides */
  second->commands.user = ledger->commands.user ? bson_strdup(ledger->commands.user) : NULL;
  return &second->base;
}

static void join(smig_ledger_t *self, mongoc_client_session_t *session) {
  smig_mongo_ledger_of(self)->channel.transaction = session;
}

static bool end_commands(smig_ledger_t *self, const smig_lease_t *lease, smig_commands_t which,
                         smig_commands_left_t *left, smig_error_t *error) {
  return smig_mongo_commands_end(&smig_mongo_ledger_of(self)->commands, lease, which, left, error);
}

static void mongo_free(smig_ledger_t *self) {
  smig_mongo_ledger_t *ledger = smig_mongo_ledger_of(self);
  if (ledger->owns_connection) smig_mongo_connection_free(ledger->channel.connection);
  smig_mongo_commands_release(&ledger->commands);
  bson_free(ledger->database);
  bson_free(ledger->ledger_id);
  bson_free(ledger->ledger_name);
  bson_free(ledger->base.place);
  bson_free(ledger->base.comment_prefix);
  bson_free(ledger);
}

static const smig_ledger_ops_t ops = {
    .capabilities = SMIG_LEDGER_ATOMIC | SMIG_LEDGER_SERVER_CLOCK,
    .load = smig_mongo_ledger_load,
    .acquire = smig_mongo_ledger_acquire,
    .renew = smig_mongo_ledger_renew,
    .commit = smig_mongo_ledger_commit,
    .checkpoint_read = smig_mongo_ledger_checkpoint_read,
    .checkpoint_write = smig_mongo_ledger_checkpoint_write,
    .checkpoint_clear = smig_mongo_ledger_checkpoint_clear,
    .join = join,
    .end_commands = end_commands,
    .history_begin = smig_mongo_ledger_history_begin,
    .history_finish = smig_mongo_ledger_history_finish,
    .history_list = smig_mongo_ledger_history_list,
    .history_prune = smig_mongo_ledger_history_prune,
    .reopen = reopen,
    .free = mongo_free,
};

smig_ledger_t *smig_mongo_ledger_new(smig_mongo_connection_t *connection, const char *database, const char *ledger_id,
                                     const char *ledger_name) {
  smig_mongo_ledger_t *ledger = bson_malloc0(sizeof *ledger);
  ledger->base.ops = &ops;
  ledger->base.place = bson_strdup_printf("mongodb %s." SMIG_MONGO_LEDGER_COLLECTION " %s", database, ledger_id);
  ledger->base.comment_prefix =
      bson_strdup_printf("smartmigration:%s." SMIG_MONGO_LEDGER_COLLECTION "/%s:", database, ledger_id);
  ledger->channel = (smig_mongo_channel_t){.connection = connection,
                                           .place = ledger->base.place,
                                           .comment_prefix = ledger->base.comment_prefix,
                                           .limit_ms = SMIG_MONGO_CHANNEL_LIMIT_MS,
                                           .patience_ms = SMIG_MONGO_CHANNEL_PATIENCE_MS};
  ledger->commands.channel = &ledger->channel;
  ledger->database = bson_strdup(database);
  ledger->ledger_id = bson_strdup(ledger_id);
  ledger->ledger_name = bson_strdup(ledger_name);
  return &ledger->base;
}
