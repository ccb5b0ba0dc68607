/*
 * The history in MongoDB: one document a run in the ledger's collection, {nameId: "smartmigration-history:<ledger name>:<run id>",
 * data: <the document>}. Each write is tried once: nothing depends on it. See mongo_ledger_internal.h.
 */
#include "mongo_ledger_internal.h"

static const char prefix[] = "smartmigration-history:";

char *smig_mongo_history_pattern(const char *ledger_name) {
  bson_string_t *pattern = bson_string_new("^");
  bson_string_append(pattern, prefix);
  /* Of the letters that a ledger's name may have, the dot alone means something else. */
  for (const char *c = ledger_name; *c; c++) bson_string_append_printf(pattern, *c == '.' ? "\\." : "%c", *c);
  bson_string_append(pattern, ":");
  return bson_string_free(pattern, false);
}

static char *name_of(const smig_mongo_ledger_t *self, const smig_lease_t *lease) {
  return bson_strdup_printf("%s%s:%s", prefix, self->ledger_name, lease->run_id);
}

static bool write_history(smig_mongo_ledger_t *self, const smig_lease_t *lease, bson_t *command, smig_error_t *error) {
  smig_error_t lower = SMIG_ERROR_INIT;
  bson_t reply;
  bool ok = smig_mongo_channel_command(&self->channel, SMIG_MONGO_CHANNEL_WRITE, self->database, command, lease->run_id,
                                       &reply, &lower);
  if (!ok) smig_mongo_channel_fail(&self->channel, "write the history of", &lower, error);
  bson_destroy(&reply);
  bson_destroy(command);
  return ok;
}

bool smig_mongo_ledger_history_begin(smig_ledger_t *base, const smig_lease_t *lease, const bson_t *document,
                                     smig_error_t *error) {
  smig_mongo_ledger_t *self = smig_mongo_ledger_of(base);
  char now[SMIG_ISO_SIZE], *name = name_of(self, lease);
  bson_t command = BSON_INITIALIZER;
  smig_mongo_ledger_now(self, now);
  BCON_APPEND(&command, "insert", SMIG_MONGO_LEDGER_COLLECTION, "documents", "[", "{", "nameId", BCON_UTF8(name),
              "data", BCON_DOCUMENT(document), "_createdAt", BCON_UTF8(now), "_updatedAt", BCON_UTF8(now), "}", "]");
  bson_free(name);
  return write_history(self, lease, &command, error);
}

/* Also where the beginning could not be written. */
bool smig_mongo_ledger_history_finish(smig_ledger_t *base, const smig_lease_t *lease, const bson_t *document,
                                      smig_error_t *error) {
  smig_mongo_ledger_t *self = smig_mongo_ledger_of(base);
  char now[SMIG_ISO_SIZE], *name = name_of(self, lease);
  bson_t command = BSON_INITIALIZER;
  smig_mongo_ledger_now(self, now);
  BCON_APPEND(&command, "update", SMIG_MONGO_LEDGER_COLLECTION, "updates", "[", "{", "q", "{", "nameId",
              BCON_UTF8(name), "}", "u", "{", "$set", "{", "data", BCON_DOCUMENT(document), "_updatedAt",
              BCON_UTF8(now), "}", "$setOnInsert", "{", "_createdAt", BCON_UTF8(now), "}", "}", "upsert",
              BCON_BOOL(true), "}", "]");
  bson_free(name);
  return write_history(self, lease, &command, error);
}

static bson_t *filter_of(const smig_mongo_ledger_t *self) {
  char *pattern = smig_mongo_history_pattern(self->ledger_name);
  bson_t *filter = BCON_NEW("nameId", BCON_REGEX(pattern, ""));
  bson_free(pattern);
  return filter;
}

bool smig_mongo_ledger_history_list(smig_ledger_t *base, bson_t *list, smig_error_t *error) {
  smig_mongo_ledger_t *self = smig_mongo_ledger_of(base);
  mongoc_collection_t *collection = mongoc_client_get_collection(smig_mongo_connection_client(self->channel.connection),
                                                                 self->database, SMIG_MONGO_LEDGER_COLLECTION);
  mongoc_read_prefs_t *primary = mongoc_read_prefs_new(MONGOC_READ_PRIMARY);
  char *comment = bson_strdup_printf("%s:", self->base.comment_prefix);
  bson_t *filter = filter_of(self);
  bson_t *opts = BCON_NEW("projection", "{", "_id", BCON_INT32(0), "data", BCON_INT32(1), "}", "comment",
                          BCON_UTF8(comment), "readConcern", "{", "level", "majority", "}");
  const bson_t *entry, *reply = NULL;
  bson_error_t cause;
  bson_iter_t data;
  smig_mongo_connection_limit(self->channel.connection, self->channel.limit_ms);
  mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(collection, filter, opts, primary);
  for (uint32_t count = 0; mongoc_cursor_next(cursor, &entry);) {
    char buffer[16];
    const char *key;
    if (!bson_iter_init_find(&data, entry, "data") || !BSON_ITER_HOLDS_DOCUMENT(&data)) continue;
    bson_uint32_to_string(count++, &key, buffer, sizeof buffer);
    bson_append_iter(list, key, -1, &data);
  }
  bool ok = !mongoc_cursor_error_document(cursor, &cause, &reply);
  if (!ok) {
    smig_error_t lower = SMIG_ERROR_INIT;
    smig_mongo_error(self->channel.connection, &lower, "find", self->database, reply, &cause);
    smig_mongo_channel_fail(&self->channel, "read the history of", &lower, error);
  }
  mongoc_cursor_destroy(cursor);
  smig_mongo_connection_limit(self->channel.connection, 0);
  mongoc_read_prefs_destroy(primary);
  mongoc_collection_destroy(collection);
  bson_destroy(filter);
  bson_destroy(opts);
  bson_free(comment);
  return ok;
}

bool smig_mongo_ledger_history_prune(smig_ledger_t *base, const char *before, int64_t *removed, smig_error_t *error) {
  smig_mongo_ledger_t *self = smig_mongo_ledger_of(base);
  smig_error_t lower = SMIG_ERROR_INIT;
  bson_t *filter = filter_of(self), command = BSON_INITIALIZER, reply;
  bson_iter_t count;
  BCON_APPEND(filter, "data.startedAt", "{", "$lt", BCON_UTF8(before), "}");
  BCON_APPEND(&command, "delete", SMIG_MONGO_LEDGER_COLLECTION, "deletes", "[", "{", "q", BCON_DOCUMENT(filter),
              "limit", BCON_INT32(0), "}", "]");
  bool ok = smig_mongo_channel_command(&self->channel, SMIG_MONGO_CHANNEL_WRITE, self->database, &command, "", &reply,
                                       &lower);
  *removed = ok && bson_iter_init_find(&count, &reply, "n") ? bson_iter_as_int64(&count) : 0;
  if (!ok) smig_mongo_channel_fail(&self->channel, "prune the history of", &lower, error);
  bson_destroy(&reply);
  bson_destroy(&command);
  bson_destroy(filter);
  return ok;
}
