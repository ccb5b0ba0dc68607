/*
 * The ledger backends that the C tests run over, behind one small face: reset, plant, look, open. The Mongo server is the one
 * that SMARTMIGRATION_TEST_MONGO_URI names; without it the tests fail. Included by one test program each.
 */
#ifndef SMIG_SPEC_BACKENDS_H
#define SMIG_SPEC_BACKENDS_H

#include "check.h"
#include "edits.h"
#include "memory_ledger.h"
#include "mongo_ledger.h"
#include "s3.h"

#include <unistd.h>

#define LEDGER_NAME "contract"
#define LEDGER_ID "smartmigration:contract"

/* One instance of a ledger, as one process has it. */
typedef struct instance {
  smig_ledger_t *ledger;
  smig_mongo_connection_t *connection; /* NULL: not in MongoDB */
  smig_s3_t *client;                   /* NULL: not in S3 */
} instance_t;

static inline void instance_close(instance_t instance) {
  smig_ledger_free(instance.ledger);
  smig_mongo_connection_free(instance.connection);
  smig_s3_free(instance.client);
}

typedef struct backend {
  const char *name;
  void (*reset)(void);               /* nothing is stored */
  void (*plant)(const bson_t *data); /* `data` is stored, whatever was */
  void (*look)(bson_t *data);        /* the stored data, or an empty document; to be destroyed */
  instance_t (*open)(void);          /* with a connection of its own */
} backend_t;

/* ------------------------------------------------------------------ memory */

static smig_memory_store_t *memory_store;

static void memory_reset(void) {
  smig_memory_store_set(memory_store, NULL);
}

static void memory_plant(const bson_t *data) {
  smig_memory_store_set(memory_store, data);
}

static void memory_look(bson_t *data) {
  smig_memory_store_get(memory_store, data);
}

static instance_t memory_open(void) {
  return (instance_t){.ledger = smig_memory_ledger_new(memory_store)};
}

static const backend_t memory_backend = {"memory", memory_reset, memory_plant, memory_look, memory_open};

/* ------------------------------------------------------------------- mongo */

static const char *mongo_uri;
static char mongo_database[64];
static mongoc_client_t *mongo_client; /* the tests' own view, beside the engine */

static mongoc_collection_t *mongo_collection(void) {
  return mongoc_client_get_collection(mongo_client, mongo_database, SMIG_MONGO_LEDGER_COLLECTION);
}

static void mongo_drop(void) {
  bson_error_t cause;
  mongoc_database_t *database = mongoc_client_get_database(mongo_client, mongo_database);
  if (!mongoc_database_drop(database, &cause)) CHECK(false, "dropping: %s", cause.message);
  mongoc_database_destroy(database);
}

/* Stores one document of the collection as it is. */
static void mongo_insert(const bson_t *document) {
  bson_error_t cause;
  mongoc_collection_t *collection = mongo_collection();
  bool ok = mongoc_collection_insert_one(collection, document, NULL, NULL, &cause);
  CHECK(ok, "inserting: %s", cause.message);
  mongoc_collection_destroy(collection);
}

static void mongo_plant(const bson_t *data) {
  bson_error_t cause;
  mongoc_collection_t *collection = mongo_collection();
  bson_t *filter = BCON_NEW("nameId", LEDGER_ID);
  bool ok = mongoc_collection_delete_many(collection, filter, NULL, NULL, &cause);
  CHECK(ok, "deleting: %s", cause.message);
  bson_t *document = BCON_NEW("nameId", LEDGER_ID, "data", BCON_DOCUMENT(data));
  mongo_insert(document);
  bson_destroy(document);
  bson_destroy(filter);
  mongoc_collection_destroy(collection);
}

/* The whole document of the ledger, or an empty one. */
static void mongo_look_whole(bson_t *whole) {
  const bson_t *found;
  mongoc_collection_t *collection = mongo_collection();
  bson_t *filter = BCON_NEW("nameId", LEDGER_ID);
  mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(collection, filter, NULL, NULL);
  if (mongoc_cursor_next(cursor, &found))
    bson_copy_to(found, whole);
  else
    bson_init(whole);
  mongoc_cursor_destroy(cursor);
  bson_destroy(filter);
  mongoc_collection_destroy(collection);
}

static void mongo_look(bson_t *data) {
  bson_t whole, view;
  bson_iter_t iter;
  mongo_look_whole(&whole);
  if (bson_iter_init_find(&iter, &whole, "data") && BSON_ITER_HOLDS_DOCUMENT(&iter)) {
    const uint8_t *bytes;
    uint32_t length;
    bson_iter_document(&iter, &length, &bytes);
    bson_init_static(&view, bytes, length);
    bson_copy_to(&view, data);
  } else {
    bson_init(data);
  }
  bson_destroy(&whole);
}

static instance_t mongo_open(void) {
  smig_error_t error = SMIG_ERROR_INIT;
  instance_t instance = {.connection = smig_mongo_connection_open(mongo_uri, &error)};
  CHECK(instance.connection != NULL, "%s", error.message ? error.message : "");
  if (instance.connection)
    instance.ledger = smig_mongo_ledger_new(instance.connection, mongo_database, LEDGER_ID, LEDGER_NAME);
  smig_error_release(&error);
  return instance;
}

static const backend_t mongo_backend = {"mongo", mongo_drop, mongo_plant, mongo_look, mongo_open};

/* ------------------------------------------------------------------- both */

static inline void backends_start(const char *part) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  mongo_uri = getenv("SMARTMIGRATION_TEST_MONGO_URI");
  if (!mongo_uri || !*mongo_uri) {
    printf("not ok - SMARTMIGRATION_TEST_MONGO_URI is not set: it names the MongoDB server to test against\n");
    exit(1);
  }
  snprintf(mongo_database, sizeof mongo_database, "ledgers_%s_%ld", part, (long)getpid());
  smig_error_t error = SMIG_ERROR_INIT;
  smig_mongo_connection_t *connection = smig_mongo_connection_open(mongo_uri, &error); /* initialises the driver */
  if (!connection) {
    printf("not ok - %s\n", error.message);
    exit(1);
  }
  smig_mongo_connection_free(connection);
  mongo_client = mongoc_client_new(mongo_uri);
  mongoc_client_set_error_api(mongo_client, MONGOC_ERROR_API_VERSION_2);
  memory_store = smig_memory_store_new();
}

static inline int backends_stop(void) {
  mongo_drop();
  mongoc_client_destroy(mongo_client);
  smig_memory_store_free(memory_store);
  return check_done();
}

/* Fails the case with the error's text, and forgets the error. */
#define CHECK_OK(call, error)                                                                                          \
  do {                                                                                                                 \
    bool check_done_well = (call);                                                                                     \
    CHECK(check_done_well, ": %s: %s", (error).name ? (error).name : "?", (error).message ? (error).message : "");     \
    smig_error_release(&(error));                                                                                      \
  } while (0)

/* Fails the case unless the call fails with that code; the error stays, to be released. */
#define CHECK_FAILS(call, error, expected)                                                                             \
  do {                                                                                                                 \
    bool check_done_well = (call);                                                                                     \
    CHECK(!check_done_well && (error).code == (expected), ": %s: %s is not %s", (error).name ? (error).name : "ok",    \
          (error).message ? (error).message : "", smig_code_name(expected));                                           \
  } while (0)

/* The value at a dotted path of a document, as text: strings as they are, the rest as its JSON; NULL: missing. */
static inline const char *at(const bson_t *document, const char *path) {
  static char texts[8][4096];
  static int next;
  char *text = texts[next++ % 8];
  bson_iter_t iter, found;
  if (!bson_iter_init(&iter, document) || !bson_iter_find_descendant(&iter, path, &found)) return NULL;
  if (BSON_ITER_HOLDS_UTF8(&found)) {
    snprintf(text, sizeof texts[0], "%s", bson_iter_utf8(&found, NULL));
    return text;
  }
  bson_t one = BSON_INITIALIZER;
  bson_append_iter(&one, "v", 1, &found);
  char *json = bson_as_canonical_extended_json(&one, NULL);
  snprintf(text, sizeof texts[0], "%s", json);
  bson_free(json);
  bson_destroy(&one);
  return text;
}

#endif
