/* The ledger in S3: making, reopening and freeing; the operations stand in s3_ledger_*.c. Users: run/, heartbeat. Units: ms. */
#include "s3_ledger.h"

#include "s3_ledger_internal.h"

enum {
  LIMIT_MS = 10000,        /* of one request of the run's client */
  PATIENCE_MS = 20000,     /* of one operation of the run */
  BEAT_LIMIT_MAX_MS = 5000 /* of one request, and one operation, of the heartbeat's client */
};

static smig_s3_ledger_t *make(smig_s3_t *client, const char *bucket, const char *key, bool best_effort,
                              smig_mongo_connection_t *connection, const char *database, smig_s3_shared_t *shared) {
  smig_s3_ledger_t *self = bson_malloc0(sizeof *self);
  const char *endpoint = smig_s3_endpoint(client);
  self->bucket = bson_strdup(bucket);
  self->key = bson_strdup(key);
  self->store = bson_strdup_printf("%s %s", endpoint, bucket);
  self->best_effort = best_effort;
  self->patience_ms = PATIENCE_MS;
  self->shared = shared;
  self->base.place = bson_strdup_printf("s3 %s %s/%s", endpoint, bucket, key);
  self->base.comment_prefix = bson_strdup_printf("smartmigration:s3:%s/%s:", bucket, key);
  self->object = (smig_s3_object_t){.client = client,
                                    .bucket = self->bucket,
                                    .key = self->key,
                                    .place = self->base.place,
                                    .limit_ms = LIMIT_MS,
                                    .conditional = true};
  if (connection) {
    self->mongo.database = bson_strdup(database);
    self->mongo.place = bson_strdup_printf("mongodb %s", database);
    self->mongo.channel = (smig_mongo_channel_t){.connection = connection,
                                                 .place = self->mongo.place,
                                                 .comment_prefix = self->base.comment_prefix,
                                                 .limit_ms = SMIG_MONGO_CHANNEL_LIMIT_MS,
                                                 .patience_ms = SMIG_MONGO_CHANNEL_PATIENCE_MS};
  }
  self->mongo.commands.channel = &self->mongo.channel;
  return self;
}

static void s3_free(smig_ledger_t *base) {
  smig_s3_ledger_t *self = smig_s3_ledger_of(base);
  smig_mongo_commands_release(&self->mongo.commands);
  if (self->mongo.owns_connection) smig_mongo_connection_free(self->mongo.channel.connection);
  if (self->owns_client) smig_s3_free(self->object.client);
  smig_s3_shared_release(self->shared);
  bson_free(self->bucket);
  bson_free(self->key);
  bson_free(self->store);
  bson_free(self->seen);
  bson_free(self->mongo.database);
  bson_free(self->mongo.place);
  bson_free(base->place);
  bson_free(base->comment_prefix);
  bson_free(base->doubt);
  bson_free(self);
}

/* The same trust in the store, so that beats are written as stamps are. */
static void inherit(smig_s3_ledger_t *second, const smig_s3_ledger_t *first) {
  second->verdict = first->verdict;
  second->seen = bson_strdup(first->seen);
  second->object.conditional = first->object.conditional;
  second->object.distrusted = first->object.distrusted;
  second->mongo.commands.user = bson_strdup(first->mongo.commands.user);
}

static smig_ledger_t *reopen(smig_ledger_t *base, int64_t ttl_ms, smig_error_t *error) {
  smig_s3_ledger_t *self = smig_s3_ledger_of(base);
  int64_t limit_ms = ttl_ms / 4 < BEAT_LIMIT_MAX_MS ? ttl_ms / 4 : BEAT_LIMIT_MAX_MS;
  smig_s3_t *client = smig_s3_reopen(self->object.client, limit_ms, error);
  if (!client) return NULL;
  smig_mongo_connection_t *connection = NULL;
  if (self->mongo.channel.connection) {
    connection = smig_mongo_connection_reopen(self->mongo.channel.connection, limit_ms, error);
    if (!connection) {
      smig_s3_free(client);
      return NULL;
    }
  }
  smig_s3_ledger_t *second = make(client, self->bucket, self->key, self->best_effort, connection, self->mongo.database,
                                  smig_s3_shared_use(self->shared));
  second->owns_client = true;
  second->mongo.owns_connection = connection != NULL;
  second->object.limit_ms = second->patience_ms = second->mongo.channel.limit_ms = limit_ms;
  second->mongo.channel.patience_ms = 0; /* the heartbeat decides */
  inherit(second, self);
  second->base.ops = base->ops;
  return &second->base;
}

/* An S3 request ends with its client, or lands at once: only MongoDB goes on with what a dead run sent. */
static bool end_commands(smig_ledger_t *base, const smig_lease_t *lease, smig_commands_t which,
                         smig_commands_left_t *left, smig_error_t *error) {
  smig_s3_ledger_t *self = smig_s3_ledger_of(base);
  *left = SMIG_COMMANDS_NONE_LEFT;
  if (!self->mongo.channel.connection) return true;
  return smig_mongo_commands_end(&self->mongo.commands, lease, which, left, error);
}

static const smig_ledger_ops_t ops = {
    .capabilities = SMIG_LEDGER_ATOMIC | SMIG_LEDGER_SERVER_CLOCK | SMIG_LEDGER_WATCHED,
    .load = smig_s3_ledger_load,
    .acquire = smig_s3_ledger_acquire,
    .renew = smig_s3_ledger_renew,
    .commit = smig_s3_ledger_commit,
    .checkpoint_read = smig_s3_ledger_checkpoint_read,
    .checkpoint_write = smig_s3_ledger_checkpoint_write,
    .checkpoint_clear = smig_s3_ledger_checkpoint_clear,
    .join = NULL, /* a transaction of MongoDB cannot hold a write to S3 */
    .end_commands = end_commands,
    .history_begin = smig_s3_ledger_history_write,
    .history_finish = smig_s3_ledger_history_write,
    .history_list = smig_s3_ledger_history_list,
    .history_prune = smig_s3_ledger_history_prune,
    .reopen = reopen,
    .free = s3_free,
};

smig_ledger_t *smig_s3_ledger_new(smig_s3_t *client, const char *bucket, const char *ledger_id, bool best_effort,
                                  smig_mongo_connection_t *connection, const char *database) {
  smig_s3_ledger_t *self = make(client, bucket, ledger_id, best_effort, connection, database, smig_s3_shared_new());
  self->base.ops = &ops;
  return &self->base;
}
