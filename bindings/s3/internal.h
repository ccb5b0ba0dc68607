/*
 * What the files of the S3 binding share.
 * Users: s3/ alone.
 */
#ifndef SMIG_BINDINGS_S3_INTERNAL_H
#define SMIG_BINDINGS_S3_INTERNAL_H

#include "ls3.h"

#define LS3_CLIENT "smartmigration.s3_client"
#define LS3_BUCKET "smartmigration.bucket"
#define LS3_EXCHANGE "smartmigration.s3_exchange"
#define LS3_BUFFER "smartmigration.s3_buffer"
#define LS3_SOURCE "smartmigration.s3_source"
#define LS3_SINK "smartmigration.s3_sink"

/* Each makes the metatable of one kind of handle. */
void ls3_new_handle_classes(lua_State *L);
void ls3_new_exchange_class(lua_State *L);
void ls3_new_buffer_class(lua_State *L);
void ls3_new_file_classes(lua_State *L);

/* ------------------------------------------------------------------ handles */

/* A client or bucket handle: user value 1 is the scope. It holds nothing to close. */
typedef struct ls3_handle {
  ls3_scope_t *scope;
  const char *bucket; /* of a bucket handle; NULL: a client */
  char text[];
} ls3_handle_t;

/* The handle at idx, whose scope is not over and may go on; raises else. */
const ls3_handle_t *ls3_check_handle(lua_State *L, int idx);

/* core.connect(settings), core.target(handle), core.client(handle), core.bucket(handle, name), core.upload(handle, by, name) */
int ls3_connect(lua_State *L);
int ls3_target(lua_State *L);
int ls3_client_of(lua_State *L);
int ls3_bucket_of(lua_State *L);
int ls3_count_upload(lua_State *L);
/* core.add_methods(kind, methods) */
int ls3_add_methods(lua_State *L);

/* ---------------------------------------------------------------- requests */

/*
 * Reads the table at idx into a request, which a box owns that is pushed; the strings are the table's, so keep the table. `bucket`:
 * the one meant when the table names none; false in the table: the service itself.
 */
smig_s3_request_t *ls3_read_request(lua_State *L, int idx, const char *bucket);
/* core.presign(handle, request, expires_s) */
int ls3_presign(lua_State *L);

/* ---------------------------------------------------------------- exchanges */

typedef struct ls3_exchange {
  struct ls3_exchange *previous, *next; /* of its scope's */
  ls3_scope_t *scope;                   /* user value 1 */
  smig_s3_exchange_t *exchange;         /* NULL: over. User value 2: the request, which holds what it borrows */
  bool stream, answered;                /* answered: of a stream, the headers were taken */
} ls3_exchange_t;

/* core.start(handle, request) -> exchange */
int ls3_start(lua_State *L);
/* Ends it at once and unlinks it. */
void ls3_abandon(ls3_exchange_t *exchange);

/* ------------------------------------------------------------------- memory */

/* Memory for one part of an upload, that the collector does not count: else two parts would lie about for each one in use. */
typedef struct ls3_buffer {
  char *bytes; /* NULL: freed */
  size_t size, capacity;
} ls3_buffer_t;

/* core.buffer(capacity) */
int ls3_new_buffer(lua_State *L);

/* -------------------------------------------------------------------- files */

/* A file to read (source) or a temporary file to write that takes its name when it is whole (sink). */
typedef struct ls3_file {
  int descriptor; /* -1: closed */
  char *path, *temporary;
} ls3_file_t;

/* core.source(path, operation), core.sink(path, operation) */
int ls3_open_source(lua_State *L);
int ls3_open_sink(lua_State *L);

/* ------------------------------------------------------------------ answers */

/* core.listing(body), core.xml(body), core.http_date(text) */
int ls3_listing(lua_State *L);
int ls3_xml(lua_State *L);
int ls3_http_date(lua_State *L);
/* core.digest(name, bytes), core.base64(digest) */
int ls3_digest(lua_State *L);
int ls3_base64(lua_State *L);

#endif
