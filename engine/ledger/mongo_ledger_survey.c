/*
 * Looking around before a bootstrap: is the database fresh, and is this program's ledger stored under another name?
 * Creates nothing. See mongo_ledger_internal.h; source of the rules: the contract, section 4.
 */
#include "mongo_ledger_internal.h"

/* `*` stands for any text. */
static bool matches(const char *pattern, const char *name) {
  const char *star = NULL, *resume = NULL;
  while (*name) {
    if (*pattern == '*') {
      star = ++pattern;
      resume = name;
    } else if (*pattern == *name) {
      pattern++;
      name++;
    } else if (star) {
      pattern = star;
      name = ++resume;
    } else {
      return false;
    }
  }
  while (*pattern == '*') pattern++;
  return !*pattern;
}

static bool in_scope(const char *const *scope, const char *name) {
  if (!scope) return true;
  for (; *scope; scope++)
    if (matches(*scope, name)) return true;
  return false;
}

/* The first collection (or view) in scope that is neither the server's nor the EasyStore. */
static bool look_for_collection(smig_mongo_ledger_t *self, const char *const *scope, char **why, smig_error_t *lower) {
  mongoc_client_t *client = smig_mongo_connection_client(self->connection);
  mongoc_database_t *database = mongoc_client_get_database(client, self->database);
  const bson_t *entry, *reply = NULL;
  bson_error_t cause;
  bson_iter_t iter;
  char *comment = bson_strdup_printf("%s:", self->base.comment_prefix);
  bson_t *opts = BCON_NEW("nameOnly", BCON_BOOL(true), "comment", BCON_UTF8(comment));
  smig_mongo_connection_limit(self->connection, self->limit_ms);
  smig_mongo_connection_await(self->connection, true, NULL);
  mongoc_cursor_t *cursor = mongoc_database_find_collections_with_opts(database, opts);
  while (!*why && mongoc_cursor_next(cursor, &entry)) {
    if (!bson_iter_init_find(&iter, entry, "name") || !BSON_ITER_HOLDS_UTF8(&iter)) continue;
    const char *name = bson_iter_utf8(&iter, NULL);
    if (strncmp(name, "system.", 7) == 0 || strcmp(name, SMIG_MONGO_LEDGER_COLLECTION) == 0 || !in_scope(scope, name))
      continue;
    *why = bson_strdup_printf("database %s has the collection %s", self->database, name);
  }
  bool ok = !mongoc_cursor_error_document(cursor, &cause, &reply);
  if (!ok) smig_mongo_error(self->connection, lower, "listCollections", self->database, reply, &cause);
  mongoc_cursor_destroy(cursor);
  smig_mongo_connection_limit(self->connection, 0);
  bson_destroy(opts);
  bson_free(comment);
  mongoc_database_destroy(database);
  return ok;
}

/* A document of the EasyStore that is not this engine's: neither this ledger nor its history. */
static bool look_for_document(smig_mongo_ledger_t *self, char **why, smig_error_t *lower) {
  char *history = smig_mongo_ledger_history_pattern(self);
  bson_t *filter = BCON_NEW("nameId", "{", "$nin", "[", BCON_UTF8(self->ledger_id), BCON_REGEX(history, ""), "]", "}");
  bson_t *projection = BCON_NEW("nameId", BCON_INT32(1)), document = BSON_INITIALIZER;
  bson_iter_t iter;
  bool ok = smig_mongo_ledger_find_one(self, "", filter, projection, &document, lower);
  if (ok && !bson_empty(&document)) {
    bool named = bson_iter_init_find(&iter, &document, "nameId") && BSON_ITER_HOLDS_UTF8(&iter);
    *why = bson_strdup_printf("collection %s of database %s has the document %s", SMIG_MONGO_LEDGER_COLLECTION,
                              self->database, named ? bson_iter_utf8(&iter, NULL) : "without a name");
  }
  bson_free(history);
  bson_destroy(filter);
  bson_destroy(projection);
  bson_destroy(&document);
  return ok;
}

bool smig_mongo_ledger_is_fresh(smig_ledger_t *base, const char *const *scope, bool *fresh, char **why,
                                smig_error_t *error) {
  smig_mongo_ledger_t *self = smig_mongo_ledger_of(base);
  smig_error_t lower = SMIG_ERROR_INIT;
  *fresh = false;
  *why = NULL;
  bool ok = look_for_collection(self, scope, why, &lower);
  if (ok && !*why && in_scope(scope, SMIG_MONGO_LEDGER_COLLECTION)) ok = look_for_document(self, why, &lower);
  if (!ok) smig_mongo_ledger_fail(self, "look whether the data is fresh around", &lower, error);
  *fresh = ok && !*why;
  return ok;
}

/* What has the shape of a ledger and another name, the first few of them. */
static bool look_for_others(smig_mongo_ledger_t *self, char **others, smig_error_t *lower) {
  enum { NAMED = 5 };
  bson_t reply, command = BSON_INITIALIZER;
  bson_iter_t iter, batch, items;
  BCON_APPEND(&command, "find", SMIG_MONGO_LEDGER_COLLECTION, "filter", "{", "nameId", "{", "$type", "string", "$ne",
              BCON_UTF8(self->ledger_id), "}", "data.steps", "{", "$type", "object", "}", "data.lock", "{", "$type",
              "object", "}", "}", "projection", "{", "_id", BCON_INT32(0), "nameId", BCON_INT32(1), "}", "limit",
              BCON_INT64(NAMED + 1), "singleBatch", BCON_BOOL(true));
  bool ok = smig_mongo_ledger_command(self, SMIG_MONGO_LEDGER_READ, self->database, &command, "", &reply, lower);
  bson_string_t *names = bson_string_new(NULL);
  if (ok && bson_iter_init(&iter, &reply) && bson_iter_find_descendant(&iter, "cursor.firstBatch", &batch) &&
      bson_iter_recurse(&batch, &items)) {
    for (int i = 0; bson_iter_next(&items); i++) {
      bson_iter_t name;
      if (!bson_iter_recurse(&items, &name) || !bson_iter_find(&name, "nameId")) continue;
      bson_string_append_printf(names, "%s%s", i ? ", " : "", i < NAMED ? bson_iter_utf8(&name, NULL) : "...");
    }
  }
  *others = bson_string_free(names, names->len == 0);
  bson_destroy(&command);
  bson_destroy(&reply);
  return ok;
}

bool smig_mongo_ledger_check_elsewhere(smig_ledger_t *base, char **others, smig_error_t *error) {
  smig_mongo_ledger_t *self = smig_mongo_ledger_of(base);
  smig_error_t lower = SMIG_ERROR_INIT;
  bson_iter_t iter, version;
  if (!look_for_others(self, others, &lower)) {
    smig_mongo_ledger_fail(self, "look for other ledgers beside", &lower, error);
    return false;
  }
  if (strcmp(self->ledger_id, self->ledger_name) == 0) return true;
  bson_t *filter = BCON_NEW("nameId", BCON_UTF8(self->ledger_name), "data.currentVersion", "{", "$type", "string", "}");
  bson_t *projection = BCON_NEW("_id", BCON_INT32(0), "data.currentVersion", BCON_INT32(1)),
         document = BSON_INITIALIZER;
  bool ok = smig_mongo_ledger_find_one(self, "", filter, projection, &document, &lower);
  if (!ok) {
    smig_mongo_ledger_fail(self, "look for other names of", &lower, error);
  } else if (bson_iter_init(&iter, &document) && bson_iter_find_descendant(&iter, "data.currentVersion", &version) &&
             BSON_ITER_HOLDS_UTF8(&version)) {
    char *place =
        bson_strdup_printf("mongodb %s." SMIG_MONGO_LEDGER_COLLECTION " %s", self->database, self->ledger_name);
    const char *found = bson_iter_utf8(&version, NULL);
    smig_error_set(error, SMIG_LEDGER_ELSEWHERE,
                   "%s holds a ledger at version %s, while %s is empty: give ledger_id \"%s\" to go on with it", place,
                   found, self->base.place, self->ledger_name);
    bson_t *details = smig_error_details(error);
    if (details)
      BCON_APPEND(details, "place", BCON_UTF8(place), "version", BCON_UTF8(found), "ledger_id",
                  BCON_UTF8(self->ledger_name));
    bson_free(place);
    ok = false;
  }
  bson_destroy(filter);
  bson_destroy(projection);
  bson_destroy(&document);
  return ok;
}
