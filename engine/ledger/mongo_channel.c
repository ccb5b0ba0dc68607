/* Sending the engine's own commands to MongoDB, see mongo_channel.h. */
#include "mongo_channel.h"

#include "clock.h"

enum { PAUSE_FIRST_MS = 50, PAUSE_LAST_MS = 1000 };

static void append_tail(const smig_mongo_channel_t *channel, bson_t *command, const char *run_id) {
  char *comment = bson_strdup_printf("%s%s:", channel->comment_prefix, run_id);
  BSON_APPEND_UTF8(command, "comment", comment);
  /* Less than the connection's limit, so that the server's own word arrives. */
  BSON_APPEND_INT64(command, "maxTimeMS", channel->limit_ms - channel->limit_ms / 4);
  bson_free(comment);
}

static bool send_command(smig_mongo_channel_t *channel, smig_mongo_channel_kind_t kind, const char *database,
                         const bson_t *command, bson_t *reply, bson_error_t *cause) {
  mongoc_client_t *client = smig_mongo_connection_client(channel->connection);
  bson_t opts = BSON_INITIALIZER;
  bool ok = false;
  if (channel->transaction && kind != SMIG_MONGO_CHANNEL_PLAIN) {
    /* The transaction has its own concerns, and its commit decides what is durable. */
    ok = mongoc_client_session_append(channel->transaction, &opts, cause) &&
         mongoc_client_command_with_opts(client, database, command, NULL, &opts, reply, cause);
    bson_destroy(&opts);
    return ok;
  }
  mongoc_read_prefs_t *primary = mongoc_read_prefs_new(MONGOC_READ_PRIMARY);
  switch (kind) {
  case SMIG_MONGO_CHANNEL_READ: {
    mongoc_read_concern_t *concern = mongoc_read_concern_new();
    mongoc_read_concern_set_level(concern, MONGOC_READ_CONCERN_LEVEL_MAJORITY);
    mongoc_read_concern_append(concern, &opts);
    ok = mongoc_client_read_command_with_opts(client, database, command, primary, &opts, reply, cause);
    mongoc_read_concern_destroy(concern);
    break;
  }
  case SMIG_MONGO_CHANNEL_WRITE: {
    mongoc_write_concern_t *concern = mongoc_write_concern_new();
    mongoc_write_concern_set_wmajority(concern, (int32_t)(channel->limit_ms - channel->limit_ms / 4));
    mongoc_write_concern_set_journal(concern, true);
    mongoc_write_concern_append(concern, &opts);
    ok = mongoc_client_write_command_with_opts(client, database, command, &opts, reply, cause);
    mongoc_write_concern_destroy(concern);
    break;
  }
  case SMIG_MONGO_CHANNEL_PLAIN:
    ok = mongoc_client_command_simple(client, database, command, primary, reply, cause);
    break;
  }
  mongoc_read_prefs_destroy(primary);
  bson_destroy(&opts);
  return ok;
}

/* An update's reply is "ok" although its one statement failed. */
static bool has_write_error(const bson_t *reply, bson_error_t *cause) {
  bson_iter_t iter, code, text;
  if (!bson_iter_init(&iter, reply) || !bson_iter_find_descendant(&iter, "writeErrors.0.code", &code)) return false;
  bool has_text = bson_iter_init(&iter, reply) && bson_iter_find_descendant(&iter, "writeErrors.0.errmsg", &text) &&
                  BSON_ITER_HOLDS_UTF8(&text);
  bson_set_error(cause, MONGOC_ERROR_SERVER, (uint32_t)bson_iter_as_int64(&code), "%s",
                 has_text ? bson_iter_utf8(&text, NULL) : "the write was refused");
  return true;
}

bool smig_mongo_channel_command(smig_mongo_channel_t *channel, smig_mongo_channel_kind_t kind, const char *database,
                                bson_t *command, const char *run_id, bson_t *reply, smig_error_t *error) {
  bson_error_t cause = {0};
  bson_iter_t iter;
  append_tail(channel, command, run_id);
  smig_mongo_connection_limit(channel->connection, channel->limit_ms);
  smig_mongo_connection_await(channel->connection, true, NULL);
  bool ok = send_command(channel, kind, database, command, reply, &cause) && !has_write_error(reply, &cause);
  smig_mongo_connection_limit(channel->connection, 0);
  if (ok) return true;
  if (cause.domain == MONGOC_ERROR_PROTOCOL && cause.code == MONGOC_ERROR_PROTOCOL_BAD_WIRE_VERSION) {
    smig_error_set(error, SMIG_UNSUPPORTED_SERVER, "the server of %s is too old: %s", channel->place, cause.message);
    return false;
  }
  const char *operation = bson_iter_init(&iter, command) && bson_iter_next(&iter) ? bson_iter_key(&iter) : "command";
  char *namespace_ = bson_strdup_printf("%s." SMIG_MONGO_LEDGER_COLLECTION, database);
  smig_mongo_error(channel->connection, error, operation, kind == SMIG_MONGO_CHANNEL_PLAIN ? database : namespace_,
                   reply, &cause);
  bson_free(namespace_);
  return false;
}

bool smig_mongo_channel_find_one(smig_mongo_channel_t *channel, const char *database, const char *run_id,
                                 const bson_t *filter, const bson_t *projection, bson_t *document,
                                 smig_error_t *lower) {
  bson_t command = BSON_INITIALIZER, reply, found;
  bson_iter_t iter, item;
  BCON_APPEND(&command, "find", SMIG_MONGO_LEDGER_COLLECTION, "filter", BCON_DOCUMENT(filter), "projection",
              BCON_DOCUMENT(projection), "limit", BCON_INT64(1), "singleBatch", BCON_BOOL(true));
  bool ok = smig_mongo_channel_command(channel, SMIG_MONGO_CHANNEL_READ, database, &command, run_id, &reply, lower);
  if (ok && bson_iter_init(&iter, &reply) && bson_iter_find_descendant(&iter, "cursor.firstBatch.0", &item) &&
      BSON_ITER_HOLDS_DOCUMENT(&item)) {
    const uint8_t *bytes;
    uint32_t length;
    bson_iter_document(&item, &length, &bytes);
    bson_init_static(&found, bytes, length);
    bson_concat(document, &found);
  }
  bson_destroy(&command);
  bson_destroy(&reply);
  return ok;
}

static bool detail(const smig_error_t *error, const char *key, bson_iter_t *iter) {
  return error->details && bson_iter_init_find(iter, error->details, key);
}

static bool detail_is(const smig_error_t *error, const char *key, const char *text) {
  bson_iter_t iter;
  return detail(error, key, &iter) && BSON_ITER_HOLDS_UTF8(&iter) && strcmp(bson_iter_utf8(&iter, NULL), text) == 0;
}

static bool detail_true(const smig_error_t *error, const char *key) {
  bson_iter_t iter;
  return detail(error, key, &iter) && BSON_ITER_HOLDS_BOOL(&iter) && bson_iter_bool(&iter);
}

int64_t smig_mongo_channel_native(const smig_error_t *lower) {
  bson_iter_t iter;
  if (lower->code != SMIG_FOREIGN || detail_is(lower, "category", "network")) return 0;
  return detail(lower, "native", &iter) ? bson_iter_as_int64(&iter) : 0;
}

bool smig_mongo_channel_unclear(const smig_error_t *lower) {
  if (lower->code != SMIG_FOREIGN) return false; /* the guard is shut, or the server will never do */
  return detail_true(lower, "outcome_unknown") || detail_true(lower, "retryable") ||
         detail_is(lower, "category", "network") || detail_is(lower, "category", "timeout");
}

void smig_mongo_channel_fail(const smig_mongo_channel_t *channel, const char *what, smig_error_t *lower,
                             smig_error_t *error) {
  /* Within a transaction the server's own error says what is to be done. */
  if (lower->code != SMIG_FOREIGN || channel->transaction) {
    smig_error_move(error, lower);
    return;
  }
  bool unreached =
      strcmp(lower->name, "ServerSelectionTimeout") == 0 || strcmp(lower->name, "AuthenticationFailed") == 0;
  smig_error_set(error, unreached ? SMIG_CONNECTION_FAILED : SMIG_LEDGER_IO, "cannot %s %s at %s: %s", what,
                 channel->place, smig_mongo_connection_hosts(channel->connection), lower->message);
  bson_t *details = smig_error_details(error), cause;
  if (details) {
    BSON_APPEND_UTF8(details, "place", channel->place);
    BSON_APPEND_BOOL(details, "outcome_unknown", detail_true(lower, "outcome_unknown"));
    BSON_APPEND_DOCUMENT_BEGIN(details, "cause", &cause);
    BSON_APPEND_UTF8(&cause, "code", lower->name);
    BSON_APPEND_UTF8(&cause, "message", lower->message);
    /* Without the reply: it may hold the whole ledger. */
    if (lower->details) bson_copy_to_excluding_noinit(lower->details, &cause, "reply", NULL);
    bson_append_document_end(details, &cause);
  }
  smig_error_release(lower);
}

smig_mongo_patience_t smig_mongo_channel_patience(const smig_mongo_channel_t *channel) {
  int64_t time_ms = smig_mongo_connection_time_left(channel->connection, channel->patience_ms);
  return (smig_mongo_patience_t){.until_boot_ms = channel->transaction ? 0 : smig_clock_boot_ms() + time_ms,
                                 .pause_ms = PAUSE_FIRST_MS};
}

bool smig_mongo_channel_again(smig_mongo_patience_t *patience) {
  if (smig_clock_boot_ms() + patience->pause_ms >= patience->until_boot_ms) return false;
  smig_clock_sleep_ms(patience->pause_ms);
  patience->pause_ms = patience->pause_ms * 2 < PAUSE_LAST_MS ? patience->pause_ms * 2 : PAUSE_LAST_MS;
  return true;
}
