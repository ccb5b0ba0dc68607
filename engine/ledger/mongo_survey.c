/* Looking around in MongoDB before a bootstrap, see mongo_survey.h. Source of the rules: the contract, section 4. */
#include "mongo_survey.h"

#include "mongo_ledger.h"

#include <string.h>

typedef struct look {
  smig_mongo_channel_t *channel;
  const char *database;
  const smig_surroundings_t *around;
  char *own; /* the name of the ledger that this program would have here */
} look_t;

static look_t begin(smig_mongo_channel_t *channel, const char *database, const smig_surroundings_t *around) {
  char *own =
      around->ledger_id ? bson_strdup(around->ledger_id) : bson_strdup_printf("smartmigration:%s", around->ledger_name);
  return (look_t){channel, database, around, own};
}

static bool in_scope(const char *const *scope, const char *name) {
  if (!scope) return true;
  for (; *scope; scope++)
    if (smig_glob(*scope, name)) return true;
  return false;
}

/* The first collection (or view) in scope that is neither the server's nor the EasyStore. */
static bool look_for_collection(const look_t *look, char **why, smig_error_t *lower) {
  smig_mongo_channel_t *channel = look->channel;
  mongoc_client_t *client = smig_mongo_connection_client(channel->connection);
  mongoc_database_t *database = mongoc_client_get_database(client, look->database);
  const bson_t *entry, *reply = NULL;
  bson_error_t cause;
  bson_iter_t iter;
  char *comment = bson_strdup_printf("%s:", channel->comment_prefix);
  bson_t *opts = BCON_NEW("nameOnly", BCON_BOOL(true), "comment", BCON_UTF8(comment));
  smig_mongo_connection_limit(channel->connection, channel->limit_ms);
  smig_mongo_connection_await(channel->connection, true, NULL);
  mongoc_cursor_t *cursor = mongoc_database_find_collections_with_opts(database, opts);
  while (!*why && mongoc_cursor_next(cursor, &entry)) {
    if (!bson_iter_init_find(&iter, entry, "name") || !BSON_ITER_HOLDS_UTF8(&iter)) continue;
    const char *name = bson_iter_utf8(&iter, NULL);
    if (strncmp(name, "system.", 7) == 0 || strcmp(name, SMIG_MONGO_LEDGER_COLLECTION) == 0 ||
        !in_scope(look->around->scope, name))
      continue;
    *why = bson_strdup_printf("database %s has the collection %s", look->database, name);
  }
  bool ok = !mongoc_cursor_error_document(cursor, &cause, &reply);
  if (!ok) smig_mongo_error(channel->connection, lower, "listCollections", look->database, reply, &cause);
  mongoc_cursor_destroy(cursor);
  smig_mongo_connection_limit(channel->connection, 0);
  bson_destroy(opts);
  bson_free(comment);
  mongoc_database_destroy(database);
  return ok;
}

/* A document of the EasyStore that is not this engine's: neither this ledger nor its history. */
static bool look_for_document(const look_t *look, char **why, smig_error_t *lower) {
  char *history = smig_mongo_history_pattern(look->around->ledger_name);
  bson_t *filter = BCON_NEW("nameId", "{", "$nin", "[", BCON_UTF8(look->own), BCON_REGEX(history, ""), "]", "}");
  bson_t *projection = BCON_NEW("nameId", BCON_INT32(1)), document = BSON_INITIALIZER;
  bson_iter_t iter;
  bool ok = smig_mongo_channel_find_one(look->channel, look->database, "", filter, projection, &document, lower);
  if (ok && !bson_empty(&document)) {
    bool named = bson_iter_init_find(&iter, &document, "nameId") && BSON_ITER_HOLDS_UTF8(&iter);
    *why = bson_strdup_printf("collection %s of database %s has the document %s", SMIG_MONGO_LEDGER_COLLECTION,
                              look->database, named ? bson_iter_utf8(&iter, NULL) : "without a name");
  }
  bson_free(history);
  bson_destroy(filter);
  bson_destroy(projection);
  bson_destroy(&document);
  return ok;
}

bool smig_mongo_is_fresh(smig_mongo_channel_t *channel, const char *database, const smig_surroundings_t *around,
                         char **why, smig_error_t *error) {
  look_t look = begin(channel, database, around);
  smig_error_t lower = SMIG_ERROR_INIT;
  *why = NULL;
  bool ok = look_for_collection(&look, why, &lower);
  if (ok && !*why && in_scope(around->scope, SMIG_MONGO_LEDGER_COLLECTION)) ok = look_for_document(&look, why, &lower);
  if (!ok) smig_mongo_channel_fail(channel, "look whether the data is fresh around", &lower, error);
  bson_free(look.own);
  return ok;
}

/* What has the shape of a ledger and another name, the first few of them. */
static bool look_for_others(const look_t *look, bson_string_t *others, smig_error_t *lower) {
  enum { ASKED = 6 };
  bson_t reply, command = BSON_INITIALIZER;
  bson_iter_t iter, batch, items;
  BCON_APPEND(&command, "find", SMIG_MONGO_LEDGER_COLLECTION, "filter", "{", "nameId", "{", "$type", "string", "$ne",
              BCON_UTF8(look->own), "}", "data.steps", "{", "$type", "object", "}", "data.lock", "{", "$type", "object",
              "}", "}", "projection", "{", "_id", BCON_INT32(0), "nameId", BCON_INT32(1), "}", "limit",
              BCON_INT64(ASKED), "singleBatch", BCON_BOOL(true));
  bool ok =
      smig_mongo_channel_command(look->channel, SMIG_MONGO_CHANNEL_READ, look->database, &command, "", &reply, lower);
  if (ok && bson_iter_init(&iter, &reply) && bson_iter_find_descendant(&iter, "cursor.firstBatch", &batch) &&
      bson_iter_recurse(&batch, &items)) {
    size_t count = 0;
    while (bson_iter_next(&items)) {
      bson_iter_t name;
      if (bson_iter_recurse(&items, &name) && bson_iter_find(&name, "nameId"))
        smig_add_name(others, &count, bson_iter_utf8(&name, NULL));
    }
  }
  bson_destroy(&command);
  bson_destroy(&reply);
  return ok;
}

/* A ledger with a version under this name is this program's; *found says so in *error. */
static bool look_under(const look_t *look, const char *name, bool *found, smig_error_t *error) {
  smig_error_t lower = SMIG_ERROR_INIT;
  bson_iter_t iter, version;
  bson_t *filter = BCON_NEW("nameId", BCON_UTF8(name), "data.currentVersion", "{", "$type", "string", "}");
  bson_t *projection = BCON_NEW("_id", BCON_INT32(0), "data.currentVersion", BCON_INT32(1)),
         document = BSON_INITIALIZER;
  *found = false;
  bool ok = smig_mongo_channel_find_one(look->channel, look->database, "", filter, projection, &document, &lower);
  if (!ok) {
    smig_mongo_channel_fail(look->channel, "look for other names of", &lower, error);
  } else if (bson_iter_init(&iter, &document) && bson_iter_find_descendant(&iter, "data.currentVersion", &version) &&
             BSON_ITER_HOLDS_UTF8(&version)) {
    char *place = bson_strdup_printf("mongodb %s." SMIG_MONGO_LEDGER_COLLECTION " %s", look->database, name);
    smig_set_elsewhere(look->around, place, bson_iter_utf8(&version, NULL), name,
                       look->around->ledger_id ? NULL : "mongo", error);
    bson_free(place);
    *found = true;
  }
  bson_destroy(filter);
  bson_destroy(projection);
  bson_destroy(&document);
  return ok;
}

bool smig_mongo_look_elsewhere(smig_mongo_channel_t *channel, const char *database, const smig_surroundings_t *around,
                               bson_string_t *others, smig_error_t *error) {
  look_t look = begin(channel, database, around);
  smig_error_t lower = SMIG_ERROR_INIT;
  bool found = false, ok = look_for_others(&look, others, &lower);
  if (!ok) smig_mongo_channel_fail(channel, "look for other ledgers beside", &lower, error);
  if (ok && !around->ledger_id) ok = look_under(&look, look.own, &found, error);
  if (ok && !found && strcmp(look.own, around->ledger_name) != 0)
    ok = look_under(&look, around->ledger_name, &found, error);
  bson_free(look.own);
  return ok && !found;
}
