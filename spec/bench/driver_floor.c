/*
 * What the driver benches compare with: the same loops on bare libmongoc, and the data they run over. Same flags as the binding.
 *   driver_floor plant     URI DB COUNT        stores COUNT documents and prints their mean size in bytes
 *   driver_floor read      URI DB COUNT        reads two fields of each and prints the checksum over them
 *   driver_floor project   URI DB COUNT        the same, with a projection of the two
 *   driver_floor transform URI DB COUNT TAG    sets `label` of each, made of both fields, by unordered bulks; prints the checksum
 *   driver_floor pipeline  URI DB COUNT TAG    has the server set the same label
 *   driver_floor verify    URI DB COUNT TAG    prints how many documents have that label
 *   driver_floor drop      URI DB              drops the database
 */
#include "floor.h"

#include <ctype.h>

enum { BATCH = 1000, NAME_SIZE = 64 };

/* ----------------------------------------------------------------- the data */

/* Like the record of a user; the fields that are read are the second and the last. */
static void make_document(bson_t *document, int i) {
  static const char *const cities[] = {"Aachen", "Berlin", "Chemnitz", "Dortmund", "Erfurt", "Frankfurt", "Gera"};
  bson_t address, tags;
  bson_oid_t id;
  char text[128];
  snprintf(text, sizeof text, "65a0c0de00000000%08x", (unsigned)i);
  bson_oid_init_from_string(&id, text);
  BSON_APPEND_OID(document, "_id", &id);
  BSON_APPEND_INT32(document, "n", i);
  snprintf(text, sizeof text, "user%d@example.com", i);
  BSON_APPEND_UTF8(document, "email", text);
  snprintf(text, sizeof text, "+49 %07d", i);
  BSON_APPEND_UTF8(document, "phone", text);
  BSON_APPEND_UTF8(document, "locale", "de-DE");
  BSON_APPEND_UTF8(document, "role", i % 10 ? "member" : "editor");
  BSON_APPEND_BOOL(document, "active", i % 3 != 0);
  BSON_APPEND_INT64(document, "visits", (int64_t)i * 1000003);
  BSON_APPEND_DOUBLE(document, "score", i / 8.0);
  BSON_APPEND_NULL(document, "referrer");
  BSON_APPEND_DATE_TIME(document, "createdAt", INT64_C(1600000000000) + i * INT64_C(60000));
  BSON_APPEND_DATE_TIME(document, "updatedAt", INT64_C(1700000000000) + i);
  BSON_APPEND_DATE_TIME(document, "lastSeenAt", INT64_C(1710000000000) + i);
  BSON_APPEND_DOCUMENT_BEGIN(document, "address", &address);
  snprintf(text, sizeof text, "%d Long Street", i % 1000);
  BSON_APPEND_UTF8(&address, "street", text);
  BSON_APPEND_UTF8(&address, "city", cities[i % 7]);
  snprintf(text, sizeof text, "%05d", i % 100000);
  BSON_APPEND_UTF8(&address, "zip", text);
  BSON_APPEND_UTF8(&address, "country", "DE");
  bson_append_document_end(document, &address);
  BSON_APPEND_ARRAY_BEGIN(document, "tags", &tags);
  BSON_APPEND_UTF8(&tags, "0", "migration");
  BSON_APPEND_UTF8(&tags, "1", "benchmark");
  bson_append_array_end(document, &tags);
  snprintf(text, sizeof text, "User Number %d of %s", i, cities[i % 5]);
  BSON_APPEND_UTF8(document, "name", text);
}

static void plant(mongoc_collection_t *items, int count) {
  bson_t opts = BSON_INITIALIZER, documents[BATCH];
  const bson_t *pointers[BATCH];
  bson_error_t error;
  size_t bytes = 0;
  BSON_APPEND_BOOL(&opts, "ordered", false);
  for (int i = 0; i < count;) {
    size_t used = 0;
    for (; used < BATCH && i < count; used++, i++) {
      bson_init(&documents[used]);
      make_document(&documents[used], i);
      bytes += documents[used].len;
      pointers[used] = &documents[used];
    }
    require(mongoc_collection_insert_many(items, pointers, used, &opts, NULL, &error), &error);
    while (used > 0) bson_destroy(&documents[--used]);
  }
  bson_destroy(&opts);
  printf("%zu\n", bytes / (size_t)count);
}

/* ---------------------------------------------------------------- the loops */

/* The first `count` documents: the same command that the other programs send. */
static mongoc_cursor_t *find(mongoc_collection_t *items, int count, bool whole) {
  bson_t *filter = BCON_NEW("n", "{", "$lt", BCON_INT32(count), "}");
  bson_t *opts = BCON_NEW("batchSize", BCON_INT32(BATCH)), projection;
  if (!whole) {
    BSON_APPEND_DOCUMENT_BEGIN(opts, "projection", &projection);
    BSON_APPEND_INT32(&projection, "_id", 1);
    BSON_APPEND_INT32(&projection, "n", 1);
    BSON_APPEND_INT32(&projection, "name", 1);
    bson_append_document_end(opts, &projection);
  }
  mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(items, filter, opts, NULL);
  bson_destroy(filter);
  bson_destroy(opts);
  return cursor;
}

typedef struct fields {
  int32_t n;
  const char *name;
  uint32_t length;
} fields_t;

static fields_t read_fields(const bson_t *document) {
  bson_iter_t iter;
  fields_t fields = {.n = bson_iter_init_find(&iter, document, "n") ? bson_iter_int32(&iter) : 0};
  if (bson_iter_init_find(&iter, document, "name")) fields.name = bson_iter_utf8(&iter, &fields.length);
  return fields;
}

/* n times one byte of the name, which depends on n. */
static int64_t digest(const fields_t *fields) {
  return (int64_t)fields->n * fields->name[(uint32_t)fields->n % fields->length];
}

static void read_all(mongoc_collection_t *items, int count, bool whole) {
  mongoc_cursor_t *cursor = find(items, count, whole);
  const bson_t *document;
  bson_error_t error;
  int64_t sum = 0;
  while (mongoc_cursor_next(cursor, &document)) {
    fields_t fields = read_fields(document);
    sum += digest(&fields);
  }
  require(!mongoc_cursor_error(cursor, &error), &error);
  printf("%lld\n", (long long)sum);
  mongoc_cursor_destroy(cursor);
}

static mongoc_bulk_operation_t *new_bulk(mongoc_collection_t *items) {
  bson_t *opts = BCON_NEW("ordered", BCON_BOOL(false));
  mongoc_bulk_operation_t *bulk = mongoc_collection_create_bulk_operation_with_opts(items, opts);
  bson_destroy(opts);
  return bulk;
}

static void send_bulk(mongoc_bulk_operation_t *bulk) {
  bson_error_t error;
  bson_t reply;
  require(mongoc_bulk_operation_execute(bulk, &reply, &error), &error);
  bson_destroy(&reply);
  mongoc_bulk_operation_destroy(bulk);
}

static void add_update(mongoc_bulk_operation_t *bulk, const bson_t *document, const fields_t *fields, const char *tag) {
  bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER, set;
  char lower[NAME_SIZE], label[2 * NAME_SIZE];
  bson_iter_t id;
  bson_error_t error;
  for (uint32_t i = 0; i <= fields->length; i++) lower[i] = (char)tolower((unsigned char)fields->name[i]);
  snprintf(label, sizeof label, "%s:%d:%s", tag, fields->n, lower);
  if (bson_iter_init_find(&id, document, "_id")) bson_append_iter(&filter, NULL, 0, &id);
  BSON_APPEND_DOCUMENT_BEGIN(&update, "$set", &set);
  BSON_APPEND_UTF8(&set, "label", label);
  bson_append_document_end(&update, &set);
  require(mongoc_bulk_operation_update_one_with_opts(bulk, &filter, &update, NULL, &error), &error);
  bson_destroy(&filter);
  bson_destroy(&update);
}

static void transform(mongoc_collection_t *items, int count, const char *tag) {
  mongoc_cursor_t *cursor = find(items, count, false);
  mongoc_bulk_operation_t *bulk = new_bulk(items);
  const bson_t *document;
  bson_error_t error;
  int64_t sum = 0;
  int pending = 0;
  while (mongoc_cursor_next(cursor, &document)) {
    fields_t fields = read_fields(document);
    sum += digest(&fields);
    add_update(bulk, document, &fields, tag);
    if (++pending < BATCH) continue;
    send_bulk(bulk);
    bulk = new_bulk(items);
    pending = 0;
  }
  require(!mongoc_cursor_error(cursor, &error), &error);
  if (pending)
    send_bulk(bulk);
  else
    mongoc_bulk_operation_destroy(bulk);
  printf("%lld\n", (long long)sum);
  mongoc_cursor_destroy(cursor);
}

/* --------------------------------------------------------------- the server */

/* The label as an expression of the server's. */
#define LABEL                                                                                                          \
  "{", "$concat", "[", BCON_UTF8(tag), ":", "{", "$toString", "$n", "}", ":", "{", "$toLower", "$name", "}", "]", "}"

static void pipeline(mongoc_collection_t *items, int count, const char *tag) {
  bson_t *filter = BCON_NEW("n", "{", "$lt", BCON_INT32(count), "}"), reply;
  bson_t *update = BCON_NEW("0", "{", "$set", "{", "label", LABEL, "}", "}");
  bson_error_t error;
  require(mongoc_collection_update_many(items, filter, update, NULL, &reply, &error), &error);
  bson_destroy(&reply);
  bson_destroy(filter);
  bson_destroy(update);
}

static void verify(mongoc_collection_t *items, int count, const char *tag) {
  bson_t *filter =
      BCON_NEW("n", "{", "$lt", BCON_INT32(count), "}", "$expr", "{", "$eq", "[", "$label", LABEL, "]", "}");
  bson_error_t error;
  int64_t found = mongoc_collection_count_documents(items, filter, NULL, NULL, NULL, &error);
  require(found >= 0, &error);
  printf("%lld\n", (long long)found);
  bson_destroy(filter);
}

int main(int argc, char **argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: driver_floor plant|read|project|transform|pipeline|verify|drop URI DB [COUNT [TAG]]\n");
    return 2;
  }
  mongoc_client_t *client = open_client(argv[2]);
  mongoc_collection_t *items = mongoc_client_get_collection(client, argv[3], "items");
  int count = argc > 4 ? atoi(argv[4]) : 0;
  const char *mode = argv[1], *tag = argc > 5 ? argv[5] : "";
  if (strcmp(mode, "plant") == 0)
    plant(items, count);
  else if (strcmp(mode, "read") == 0 || strcmp(mode, "project") == 0)
    read_all(items, count, *mode == 'r');
  else if (strcmp(mode, "transform") == 0)
    transform(items, count, tag);
  else if (strcmp(mode, "pipeline") == 0)
    pipeline(items, count, tag);
  else if (strcmp(mode, "verify") == 0)
    verify(items, count, tag);
  else
    drop_database(client, argv[3]);
  mongoc_collection_destroy(items);
  close_client(client);
  return 0;
}
