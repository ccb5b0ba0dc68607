/*
 * The floor that the benchmarks compare with: what the same work costs on bare libmongoc. Same URI, write concern, flags.
 *   floor plant URI DB ENTRIES VERSION   stores a ledger document with ENTRIES entries below VERSION, at VERSION
 *   floor read  URI DB                   connects and reads the ledger document
 *   floor steps URI DB COUNT             COUNT inserts, and after each an update of one sub-path of the ledger document
 *   floor drop  URI DB                   drops the database
 */
#include "floor.h"

#define LEDGER "SmartdataEasyStore"
#define NAME_ID "smartmigration:smartmigration"

static mongoc_write_concern_t *durable(void) {
  mongoc_write_concern_t *concern = mongoc_write_concern_new();
  mongoc_write_concern_set_w(concern, MONGOC_WRITE_CONCERN_W_MAJORITY);
  mongoc_write_concern_set_journal(concern, true);
  return concern;
}

static void append_entry(bson_t *entry, const char *id, const char *from, const char *to) {
  BSON_APPEND_UTF8(entry, "stepId", id);
  BSON_APPEND_UTF8(entry, "fromVersion", from);
  BSON_APPEND_UTF8(entry, "toVersion", to);
  BSON_APPEND_UTF8(entry, "status", "applied");
  BSON_APPEND_UTF8(entry, "startedAt", "2026-04-14T12:31:34.123Z");
  BSON_APPEND_UTF8(entry, "finishedAt", "2026-04-14T12:31:34.456Z");
  BSON_APPEND_INT32(entry, "durationMs", 333);
  BSON_APPEND_UTF8(entry, "checksum", "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
  BSON_APPEND_UTF8(entry, "run", "0123456789abcdef0123456789abcdef");
  BSON_APPEND_UTF8(entry, "engine", "smartmigration-lua/0.1.0");
  BSON_APPEND_UTF8(entry, "host", "localhost");
  BSON_APPEND_INT32(entry, "attempts", 1);
}

static void plant(mongoc_collection_t *ledger, int entries, const char *version) {
  bson_t document = BSON_INITIALIZER, data, steps, entry, lock;
  bson_error_t error;
  bson_t *index = BCON_NEW("createIndexes", LEDGER, "indexes", "[", "{", "key", "{", "nameId", BCON_INT32(1), "}",
                           "name", "nameId_1", "unique", BCON_BOOL(true), "}", "]");
  BSON_APPEND_UTF8(&document, "nameId", NAME_ID);
  BSON_APPEND_DOCUMENT_BEGIN(&document, "data", &data);
  BSON_APPEND_UTF8(&data, "currentVersion", version);
  BSON_APPEND_DOCUMENT_BEGIN(&data, "steps", &steps);
  for (int i = 0; i < entries; i++) {
    char id[32], from[32], to[32];
    snprintf(id, sizeof id, "old-%05d", i);
    snprintf(from, sizeof from, "0.0.%d", i);
    snprintf(to, sizeof to, "0.0.%d", i + 1);
    bson_append_document_begin(&steps, id, -1, &entry);
    append_entry(&entry, id, from, to);
    bson_append_document_end(&steps, &entry);
  }
  bson_append_document_end(&data, &steps);
  BSON_APPEND_DOCUMENT_BEGIN(&data, "lock", &lock);
  BSON_APPEND_NULL(&lock, "holder");
  bson_append_document_end(&data, &lock);
  bson_append_document_end(&document, &data);
  require(mongoc_collection_command_simple(ledger, index, NULL, NULL, &error), &error);
  require(mongoc_collection_insert_one(ledger, &document, NULL, NULL, &error), &error);
  bson_destroy(index);
  bson_destroy(&document);
}

static void read_ledger(mongoc_collection_t *ledger) {
  bson_t *filter = BCON_NEW("nameId", NAME_ID), *options = BCON_NEW("limit", BCON_INT64(1));
  mongoc_read_concern_t *concern = mongoc_read_concern_new();
  mongoc_read_concern_set_level(concern, MONGOC_READ_CONCERN_LEVEL_MAJORITY);
  mongoc_read_concern_append(concern, options);
  mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(ledger, filter, options, NULL);
  const bson_t *document;
  bson_error_t error = {0};
  bool found = mongoc_cursor_next(cursor, &document);
  require(!mongoc_cursor_error(cursor, &error), &error);
  printf("%s\n", found ? "found" : "nothing");
  mongoc_cursor_destroy(cursor);
  mongoc_read_concern_destroy(concern);
  bson_destroy(filter);
  bson_destroy(options);
}

static void steps(mongoc_client_t *client, mongoc_collection_t *ledger, const char *database, int count) {
  mongoc_collection_t *target = mongoc_client_get_collection(client, database, "things");
  mongoc_write_concern_t *concern = durable();
  bson_t options = BSON_INITIALIZER;
  mongoc_write_concern_append(concern, &options);
  bson_t *filter = BCON_NEW("nameId", NAME_ID);
  bson_error_t error;
  for (int i = 1; i <= count; i++) {
    bson_t document = BSON_INITIALIZER, update = BSON_INITIALIZER, set, entry;
    char id[32], path[64], from[32], to[32];
    BSON_APPEND_INT32(&document, "n", i);
    require(mongoc_collection_insert_one(target, &document, &options, NULL, &error), &error);
    snprintf(id, sizeof id, "step-%05d", i);
    snprintf(path, sizeof path, "data.steps.%s", id);
    snprintf(from, sizeof from, "1.0.%d", i - 1);
    snprintf(to, sizeof to, "1.0.%d", i);
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$set", &set);
    BSON_APPEND_DOCUMENT_BEGIN(&set, path, &entry);
    append_entry(&entry, id, from, to);
    bson_append_document_end(&set, &entry);
    bson_append_document_end(&update, &set);
    require(mongoc_collection_update_one(ledger, filter, &update, &options, NULL, &error), &error);
    bson_destroy(&document);
    bson_destroy(&update);
  }
  bson_destroy(filter);
  bson_destroy(&options);
  mongoc_write_concern_destroy(concern);
  mongoc_collection_destroy(target);
}

int main(int argc, char **argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: floor plant|read|steps|drop URI DB [COUNT [VERSION]]\n");
    return 2;
  }
  mongoc_client_t *client = open_client(argv[2]);
  mongoc_collection_t *ledger = mongoc_client_get_collection(client, argv[3], LEDGER);
  if (strcmp(argv[1], "plant") == 0) {
    plant(ledger, atoi(argv[4]), argv[5]);
  } else if (strcmp(argv[1], "read") == 0) {
    read_ledger(ledger);
  } else if (strcmp(argv[1], "steps") == 0) {
    steps(client, ledger, argv[3], atoi(argv[4]));
  } else {
    drop_database(client, argv[3]);
  }
  mongoc_collection_destroy(ledger);
  close_client(client);
  return 0;
}
