/*
 * mongo-json: MongoDB in lines of JSON, for scripts. It stands on libmongoc alone and shares nothing with the project's
 * engine and bindings, so that what it says about a database is an independent word.
 *
 *   mongo-json command DATABASE             runs each line of stdin as a command; prints each reply
 *   mongo-json import DATABASE COLLECTION   inserts each line of stdin as a document
 *   mongo-json export DATABASE COLLECTION   prints every document, by _id, in relaxed Extended JSON
 *
 * The URI is taken from SMARTMIGRATION_TEST_MONGO_URI, since arguments can be read by other users. Used by scripts/with-mongod,
 * the specs and the example. Ends with status 1 at the first failure, saying on stderr what failed.
 */
#include <mongoc/mongoc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 2000, READ_BUFFER = 1 << 20 };

static bool fail(const char *what, const char *why) {
  fprintf(stderr, "mongo-json: %s: %s\n", what, why);
  return false;
}

/* The next line of stdin as a document; NULL at the end, and with *ok false when a line is none. */
static bson_t *next_document(char **line, size_t *size, bool *ok) {
  ssize_t length = getline(line, size, stdin);
  if (length <= 0) return NULL;
  bson_error_t error;
  bson_t *document = bson_new_from_json((const uint8_t *)*line, length, &error);
  if (!document) *ok = fail("a line of the input is no JSON document", error.message);
  return document;
}

static void print_document(const bson_t *document) {
  char *json = bson_as_relaxed_extended_json(document, NULL);
  if (json) puts(json);
  bson_free(json);
}

static bool run_commands(mongoc_client_t *client, const char *database) {
  bool ok = true;
  char *line = NULL;
  size_t size = 0;
  bson_t *command;
  while (ok && (command = next_document(&line, &size, &ok))) {
    bson_t reply;
    bson_error_t error;
    if (mongoc_client_command_simple(client, database, command, NULL, &reply, &error))
      print_document(&reply);
    else
      ok = fail("a command failed", error.message);
    fflush(stdout);
    bson_destroy(&reply);
    bson_destroy(command);
  }
  free(line);
  return ok;
}

static bool insert_batch(mongoc_collection_t *collection, bson_t **batch, size_t *count) {
  bson_error_t error;
  bool ok = !*count || mongoc_collection_insert_many(collection, (const bson_t **)batch, *count, NULL, NULL, &error);
  if (!ok) fail("an insert failed", error.message);
  for (size_t i = 0; i < *count; i++) bson_destroy(batch[i]);
  *count = 0;
  return ok;
}

static bool import(mongoc_collection_t *collection) {
  bool ok = true;
  char *line = NULL;
  size_t size = 0, count = 0, total = 0;
  bson_t *batch[BATCH];
  bson_t *document;
  while (ok && (document = next_document(&line, &size, &ok))) {
    batch[count++] = document;
    total++;
    if (count == BATCH) ok = insert_batch(collection, batch, &count);
  }
  ok = insert_batch(collection, batch, &count) && ok;
  free(line);
  if (ok) printf("%zu\n", total);
  return ok;
}

static bool export(mongoc_collection_t *collection) {
  bson_t *filter = bson_new(), *options = BCON_NEW("sort", "{", "_id", BCON_INT32(1), "}");
  mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(collection, filter, options, NULL);
  const bson_t *document;
  while (mongoc_cursor_next(cursor, &document)) print_document(document);
  bson_error_t error;
  bool ok = !mongoc_cursor_error(cursor, &error) || fail("reading failed", error.message);
  mongoc_cursor_destroy(cursor);
  bson_destroy(options);
  bson_destroy(filter);
  return ok;
}

static void no_log(mongoc_log_level_t level, const char *domain, const char *message, void *user) {
  (void)level, (void)domain, (void)message, (void)user;
}

int main(int argc, char **argv) {
  const char *text = getenv("SMARTMIGRATION_TEST_MONGO_URI"), *action = argc > 1 ? argv[1] : "";
  bool commands = strcmp(action, "command") == 0 && argc == 3;
  bool imports = strcmp(action, "import") == 0 && argc == 4, exports = strcmp(action, "export") == 0 && argc == 4;
  if (!text || !(commands || imports || exports)) {
    fail("usage",
         "SMARTMIGRATION_TEST_MONGO_URI=URI mongo-json command DB | import DB COLLECTION | export DB COLLECTION");
    return 2;
  }
  setvbuf(stdin, NULL, _IOFBF, READ_BUFFER);
  mongoc_log_set_handler(no_log, NULL);
  mongoc_init();
  mongoc_collection_t *collection = NULL;
  bson_error_t error;
  bool ok = false;
  mongoc_uri_t *uri = mongoc_uri_new_with_error(text, &error);
  mongoc_client_t *client = uri ? mongoc_client_new_from_uri(uri) : NULL;
  if (!client) {
    fail("the URI is not usable", uri ? "TLS or another part is not supported" : error.message);
    goto done;
  }
  mongoc_client_set_error_api(client, 2);
  if (!commands) collection = mongoc_client_get_collection(client, argv[2], argv[3]);
  ok = commands ? run_commands(client, argv[2]) : imports ? import(collection) : export(collection);
  if (fflush(stdout) != 0) ok = fail("output", "could not be written");

done:
  if (collection) mongoc_collection_destroy(collection);
  if (client) mongoc_client_destroy(client);
  if (uri) mongoc_uri_destroy(uri);
  mongoc_cleanup();
  return ok ? 0 : 1;
}
