/*
 * Writing a file of GridFS: chunks first, the file's own document last, so that nobody sees half a file.
 * Users: Lua. Units: bytes. Errors: DuplicateKey for an id that is taken; a server's. Rule: the GridFS layout that all drivers share.
 *
 * Aborting deletes the chunks that this stream has stored, by number: the id may be the caller's, and another file's chunks under the
 * same id are not ours to delete. An upload that ends neither closed nor aborted is noted, and the end of the step raises that.
 * After a write that failed only aborting is left: what came next would make a file with a hole.
 */
#include "gridfs.h"

#include <string.h>

enum { BATCH_BYTES = 4 * 1024 * 1024 }; /* of chunks sent together */

typedef enum upload_state { UPLOAD_CLOSED, UPLOAD_OPEN } upload_state_t;

/* User value 1 is the scope, 2 the session's handle, 3 the bucket. */
typedef struct upload {
  lmongo_child_t child;
  gridfs_t *bucket;
  bson_t *id;       /* {_id: …} */
  bson_t *metadata; /* or NULL */
  char *name, *comment;
  uint8_t *data; /* of the chunk that is filled */
  bson_t **chunks;
  size_t chunks_count, chunks_room;
  int64_t chunk_bytes, used, length;
  int32_t made, stored; /* numbers of chunks */
  upload_state_t state;
  bool failed; /* a part of what was written is lost */
} upload_t;

static void drop_chunks(upload_t *upload) {
  for (size_t i = 0; i < upload->chunks_count; i++) bson_destroy(upload->chunks[i]);
  upload->chunks_count = 0;
}

static void release(upload_t *upload) {
  if (upload->state == UPLOAD_OPEN) lmongo_unlink(upload->bucket->scope, &upload->child);
  upload->state = UPLOAD_CLOSED;
  upload->failed = false;
  drop_chunks(upload);
  bson_free(upload->chunks);
  bson_free(upload->data);
  bson_destroy(upload->id);
  bson_destroy(upload->metadata);
  bson_free(upload->comment);
  upload->chunks = NULL;
  upload->data = NULL;
  upload->id = upload->metadata = NULL;
  upload->comment = NULL;
}

static void abandon(upload_t *upload) {
  if (upload->state == UPLOAD_OPEN) {
    lmongo_note_unfinished(
        upload->bucket->scope,
        bson_strdup_printf("the upload of '%s' to '%s' was neither closed nor aborted: the file is not stored; "
                           "declare the stream <close>, or call close()",
                           upload->name, upload->bucket->files->ns));
  }
  release(upload);
}

static void close_child(lmongo_child_t *child) {
  abandon((upload_t *)(void *)child);
}

static upload_t *check_upload(lua_State *L) {
  upload_t *upload = luaL_testudata(L, 1, LMONGO_UPLOAD);
  if (!upload) kit_argerror(L, 1, "gridfs upload");
  return upload;
}

static const char has_failed[] = "upload has failed and takes nothing more: abort it, and upload the file anew";

static upload_t *check_open(lua_State *L) {
  upload_t *upload = check_upload(L);
  if (upload->failed) kit_raise_argument(L, "%s", has_failed);
  if (upload->state == UPLOAD_OPEN) return upload;
  lmongo_scope_t *scope = upload->bucket->scope;
  if (!scope->connection && scope->owner) kit_raise_argument(L, "upload of %s is no longer valid", scope->owner);
  kit_raise_argument(L, "upload is closed");
  return NULL;
}

/* The stream at idx: its session and comment for a call. Pushes the session's handle. */
static lmongo_common_t common_of(lua_State *L, int idx, const upload_t *upload) {
  lmongo_common_t common = {.comment = upload->comment};
  if (lua_getiuservalue(L, idx, 2) != LUA_TNIL) common.session = lua_gettop(L);
  return common;
}

/* ----------------------------------------------------------------- storing */

/* Raises what the call failed with. Chunks that were stored count, so that abort deletes them. */
static void store_chunks(lua_State *L, int idx, upload_t *upload) {
  if (!upload->chunks_count) return;
  int top = lua_gettop(L);
  lmongo_common_t common = common_of(L, idx, upload);
  lmongo_call_t *call = gridfs_call(L, upload->bucket->chunks, "upload to", LMONGO_WRITE, &common);
  BSON_APPEND_BOOL(&call->opts, "validate", false);
  bson_error_t cause;
  bson_destroy(&call->reply);
  bool done = mongoc_collection_insert_many(lmongo_call_collection(call), (const bson_t **)upload->chunks,
                                            upload->chunks_count, &call->opts, &call->reply, &cause);
  lmongo_tell(call->scope, &call->reply);
  upload->stored += (int32_t)lmongo_reply_number(&call->reply, "insertedCount");
  drop_chunks(upload);
  if (!done) lmongo_call_failed(L, call, &cause);
  lmongo_call_end(call);
  lua_settop(L, top);
}

/* Makes a chunk of the data that has come together. */
static void make_chunk(lua_State *L, int idx, upload_t *upload) {
  bson_oid_t id;
  bson_iter_t files_id;
  bson_t *chunk = bson_sized_new((size_t)upload->used + 128);
  bson_oid_init(&id, NULL);
  bson_iter_init_find(&files_id, upload->id, "_id");
  BSON_APPEND_OID(chunk, "_id", &id);
  bson_append_iter(chunk, "files_id", -1, &files_id);
  BSON_APPEND_INT32(chunk, "n", upload->made++);
  BSON_APPEND_BINARY(chunk, "data", BSON_SUBTYPE_BINARY, upload->data, (uint32_t)upload->used);
  upload->used = 0;
  upload->chunks[upload->chunks_count++] = chunk;
  if (upload->chunks_count == upload->chunks_room) store_chunks(L, idx, upload);
}

static void write_data(lua_State *L, int idx, upload_t *upload, const char *data, size_t length) {
  upload->failed = true; /* until all of it was taken */
  while (length > 0) {
    size_t room = (size_t)(upload->chunk_bytes - upload->used), part = length < room ? length : room;
    memcpy(upload->data + upload->used, data, part);
    upload->used += (int64_t)part;
    upload->length += (int64_t)part;
    data += part;
    length -= part;
    if (upload->used == upload->chunk_bytes) make_chunk(L, idx, upload);
  }
  upload->failed = false;
}

/* The rest, and the file's document. */
static void finish(lua_State *L, int idx, upload_t *upload) {
  upload->failed = true;
  if (upload->used) make_chunk(L, idx, upload);
  store_chunks(L, idx, upload);
  upload->failed = false;
  int top = lua_gettop(L);
  lmongo_common_t common = common_of(L, idx, upload);
  lmongo_call_t *call = gridfs_call(L, upload->bucket->files, "upload to", LMONGO_WRITE, &common);
  struct timeval now;
  bson_gettimeofday(&now);
  bson_t *file = &call->command;
  bson_concat(file, upload->id);
  BSON_APPEND_INT64(file, "length", upload->length);
  BSON_APPEND_INT32(file, "chunkSize", (int32_t)upload->chunk_bytes);
  BSON_APPEND_TIMEVAL(file, "uploadDate", &now);
  BSON_APPEND_UTF8(file, "filename", upload->name);
  if (upload->metadata) BSON_APPEND_DOCUMENT(file, "metadata", upload->metadata);
  BSON_APPEND_BOOL(&call->opts, "validate", false);
  bson_error_t cause;
  bool done = mongoc_collection_insert_one(lmongo_call_collection(call), file, &call->opts, &call->reply, &cause);
  lmongo_tell(call->scope, &call->reply);
  if (!done) lmongo_call_failed(L, call, &cause);
  lmongo_call_end(call);
  lua_settop(L, top);
  release(upload);
}

/* (stream): deletes what was stored */
static int remove_stored(lua_State *L) {
  upload_t *upload = check_upload(L);
  lmongo_common_t common = common_of(L, 1, upload);
  lmongo_call_t *call = gridfs_call(L, upload->bucket->chunks, "abort in", LMONGO_WRITE, &common);
  bson_iter_t id;
  bson_t below;
  bson_iter_init_find(&id, upload->id, "_id");
  bson_append_iter(&call->command, "files_id", -1, &id);
  BSON_APPEND_DOCUMENT_BEGIN(&call->command, "n", &below);
  BSON_APPEND_INT32(&below, "$lt", upload->stored);
  bson_append_document_end(&call->command, &below);
  bson_error_t cause;
  bool done =
      mongoc_collection_delete_many(lmongo_call_collection(call), &call->command, &call->opts, &call->reply, &cause);
  lmongo_tell(call->scope, &call->reply);
  if (!done) lmongo_call_failed(L, call, &cause);
  lmongo_call_end(call);
  return 0;
}

/* Aborts the stream at idx, saying nothing of a failure: another one is on its way. Chunks that stay are of no file. */
static void abort_quietly(lua_State *L, int idx, upload_t *upload) {
  idx = lua_absindex(L, idx);
  if (upload->state != UPLOAD_OPEN) return;
  if (upload->stored) {
    lua_pushcfunction(L, remove_stored);
    lua_pushvalue(L, idx);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  }
  release(upload);
}

/* ----------------------------------------------------------------- methods */

/* stream:write(string) */
static int upload_write(lua_State *L) {
  upload_t *upload = check_open(L);
  size_t length;
  if (lua_type(L, 2) != LUA_TSTRING) return kit_argerror(L, 2, "string");
  const char *data = lua_tolstring(L, 2, &length);
  write_data(L, 1, upload, data, length);
  return 0;
}

/* stream:close() -> id: the file is there now; again it does nothing */
static int upload_close(lua_State *L) {
  if (check_upload(L)->state != UPLOAD_OPEN) return 0;
  upload_t *upload = check_open(L);
  bson_iter_t id;
  bson_iter_init_find(&id, upload->id, "_id");
  lbson_push_value(L, &id);
  finish(L, 1, upload);
  return 1;
}

/* stream:abort(): there is no file, and no chunk of it stays */
static int upload_abort(lua_State *L) {
  upload_t *upload = check_upload(L);
  if (upload->state != UPLOAD_OPEN) return 0;
  lua_settop(L, 1);
  if (upload->stored) remove_stored(L);
  release(upload);
  return 0;
}

/* The end of the block: (stream, error or nil) */
static int upload_leave(lua_State *L) {
  upload_t *upload = check_upload(L);
  bool failed = upload->failed;
  if (!lua_isnoneornil(L, 2)) {
    abort_quietly(L, 1, upload);
  } else if (failed) { /* and the failure was caught in the block */
    abort_quietly(L, 1, upload);
    return kit_raise_argument(L, "%s", has_failed);
  } else if (upload->state == UPLOAD_OPEN) {
    lua_settop(L, 1);
    finish(L, 1, upload);
  }
  return 0;
}

static int upload_gc(lua_State *L) {
  upload_t *upload = lua_touserdata(L, 1);
  abandon(upload);
  bson_free(upload->name);
  upload->name = NULL;
  return 0;
}

static int upload_tostring(lua_State *L) {
  const upload_t *upload = check_upload(L);
  lua_pushfstring(L, "gridfs upload '%s' (%s)", upload->name ? upload->name : "",
                  upload->state == UPLOAD_OPEN ? "open" : "closed");
  return 1;
}

static int upload_field(lua_State *L, const char *field) {
  const upload_t *upload = check_upload(L);
  if (strcmp(field, "id") != 0 || !upload->id) return 0;
  bson_iter_t id;
  bson_iter_init_find(&id, upload->id, "_id");
  lbson_push_value(L, &id);
  return 1;
}

void lmongo_new_upload_class(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"write", upload_write}, {"close", upload_close}, {"abort", upload_abort}, {NULL, NULL}};
  static const luaL_Reg meta[] = {
      {"__close", upload_leave}, {"__gc", upload_gc}, {"__tostring", upload_tostring}, {NULL, NULL}};
  kit_new_class(L, LMONGO_UPLOAD, "gridfs upload", methods, meta, upload_field);
}

/* ----------------------------------------------------------------- opening */

static void make_index(lua_State *L, const lmongo_target_t *target, const lmongo_common_t *common, const char *first,
                       const char *second, bool unique) {
  lmongo_call_t *call = gridfs_call(L, target, "create_index in", LMONGO_WRITE, common);
  bson_t indexes, index, keys;
  BSON_APPEND_UTF8(&call->command, "createIndexes", target->collection);
  BSON_APPEND_ARRAY_BEGIN(&call->command, "indexes", &indexes);
  BSON_APPEND_DOCUMENT_BEGIN(&indexes, "0", &index);
  BSON_APPEND_DOCUMENT_BEGIN(&index, "key", &keys);
  BSON_APPEND_INT32(&keys, first, 1);
  BSON_APPEND_INT32(&keys, second, 1);
  bson_append_document_end(&index, &keys);
  char *name = bson_strdup_printf("%s_1_%s_1", first, second);
  BSON_APPEND_UTF8(&index, "name", name);
  bson_free(name);
  if (unique) BSON_APPEND_BOOL(&index, "unique", true);
  bson_append_document_end(&indexes, &index);
  bson_append_array_end(&call->command, &indexes);
  lmongo_run(L, call, LMONGO_WRITE, target->database);
  lmongo_pop_box(L);
}

/* Before the first file: as every driver does it, only while there is none, so that a bucket in use is left as it is. */
static void ensure_indexes(lua_State *L, gridfs_t *bucket, const lmongo_common_t *common) {
  if (bucket->indexed) return;
  lmongo_call_t *call = gridfs_call(L, bucket->files, "upload to", LMONGO_READ, common);
  bson_t projection;
  bson_iter_t iter, first;
  BSON_APPEND_UTF8(&call->command, "find", bucket->files->collection);
  BSON_APPEND_INT32(&call->command, "limit", 1);
  BSON_APPEND_BOOL(&call->command, "singleBatch", true);
  BSON_APPEND_DOCUMENT_BEGIN(&call->command, "projection", &projection);
  BSON_APPEND_INT32(&projection, "_id", 1);
  bson_append_document_end(&call->command, &projection);
  const bson_t *reply = lmongo_run(L, call, LMONGO_READ, bucket->files->database);
  bool is_used = bson_iter_init(&iter, reply) && bson_iter_find_descendant(&iter, "cursor.firstBatch.0", &first);
  lmongo_pop_box(L);
  if (!is_used) {
    make_index(L, bucket->files, common, "filename", "uploadDate", false);
    make_index(L, bucket->chunks, common, "files_id", "n", true);
  }
  bucket->indexed = true;
}

/* Pushes an open stream for the bucket at 1, the name at 2 and the options at `options_idx`. */
static upload_t *open_upload(lua_State *L, const char *operation, int options_idx) {
  typedef struct {
    lmongo_common_t common;
    int id, metadata;
    int64_t chunk_size;
  } upload_options_t;
  static const kit_option_t upload_options[] = {GRIDFS_OPTIONS, LMONGO_OPTION(upload_options_t, id, KIT_INDEX),
                                                LMONGO_OPTION(upload_options_t, metadata, KIT_INDEX),
                                                LMONGO_RANGE(upload_options_t, chunk_size, 1, GRIDFS_LARGEST_CHUNK),
                                                LMONGO_END_OPTIONS};
  gridfs_t *bucket = gridfs_check(L, 1);
  const char *name = kit_check_name(L, 2, NULL);
  upload_options_t options = {.chunk_size = bucket->chunk_bytes};
  kit_read_options(L, options_idx, operation, upload_options, &options);
  const bson_t *id = NULL, *metadata = NULL;
  if (options.id) id = gridfs_push_id(L, options.id, "_id");
  if (options.metadata) {
    bool is_array = false;
    metadata = lbson_check(L, options.metadata, LBSON_DOCUMENT, "metadata", &is_array);
  }
  ensure_indexes(L, bucket, &options.common);
  lmongo_call_t *call = gridfs_call(L, bucket->files, "upload to", LMONGO_WRITE, &options.common);
  upload_t *upload = lua_newuserdatauv(L, sizeof *upload, 3);
  *upload = (upload_t){.child = {.close = close_child, .session = call->session}, .bucket = bucket};
  luaL_setmetatable(L, LMONGO_UPLOAD);
  int handle = lua_gettop(L);
  lua_getiuservalue(L, 1, 1);
  lua_setiuservalue(L, handle, 1);
  if (options.common.session) {
    lua_pushvalue(L, options.common.session);
    lua_setiuservalue(L, handle, 2);
  }
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, handle, 3);
  upload->name = bson_strdup(name);
  upload->comment = bson_strdup(options.common.comment);
  upload->chunk_bytes = options.chunk_size;
  upload->data = bson_malloc((size_t)options.chunk_size);
  upload->chunks_room = options.chunk_size >= BATCH_BYTES ? 1 : (size_t)(BATCH_BYTES / options.chunk_size);
  if (upload->chunks_room > 1000) upload->chunks_room = 1000;
  upload->chunks = bson_malloc(upload->chunks_room * sizeof(bson_t *));
  upload->metadata = metadata ? bson_copy(metadata) : NULL;
  if (id) {
    upload->id = bson_copy(id);
  } else {
    bson_oid_t oid;
    bson_oid_init(&oid, NULL);
    upload->id = bson_new();
    BSON_APPEND_OID(upload->id, "_id", &oid);
  }
  upload->state = UPLOAD_OPEN;
  lmongo_link(bucket->scope, &upload->child);
  lmongo_call_end(call);
  return upload;
}

/* bucket:open_upload(name [, opts]) -> stream */
int gridfs_open_upload(lua_State *L) {
  lua_settop(L, 3);
  open_upload(L, "open_upload", 3);
  return 1;
}

/* Pushes the next part of the source at 3, or returns false at its end. */
static bool read_source(lua_State *L, const upload_t *upload) {
  if (lua_type(L, 3) == LUA_TFUNCTION) {
    lua_pushvalue(L, 3);
    lua_call(L, 0, 2);
  } else {
    lua_getfield(L, 3, "read");
    lua_pushvalue(L, 3);
    lua_pushinteger(L, upload->chunk_bytes);
    lua_call(L, 2, 2);
  }
  /* io's way of failing: nil and a text */
  if (lua_isnil(L, -2) && !lua_isnil(L, -1))
    kit_raise_argument(L, "the source of upload failed: %s", luaL_tolstring(L, -1, NULL));
  lua_pop(L, 1);
  if (lua_isnil(L, -1)) return false;
  if (lua_type(L, -1) != LUA_TSTRING)
    kit_raise_argument(L, "the source of upload must give strings, got %s", luaL_typename(L, -1));
  return true;
}

/* (stream, name, source): writes it all; returns the id */
static int copy_source(lua_State *L) {
  upload_t *upload = check_upload(L);
  size_t length;
  if (lua_type(L, 3) == LUA_TSTRING) {
    const char *data = lua_tolstring(L, 3, &length);
    write_data(L, 1, upload, data, length);
  } else {
    while (read_source(L, upload)) {
      const char *data = lua_tolstring(L, -1, &length);
      check_open(L); /* the source is the author's: it may have closed what the upload stands on */
      write_data(L, 1, upload, data, length);
      lua_settop(L, 3);
    }
  }
  lua_settop(L, 3);
  return upload_close(L);
}

/* bucket:upload(name, source [, opts]) -> id; the source is a string, a function or an object with read(n) */
int gridfs_upload(lua_State *L) {
  lua_settop(L, 4);
  int type = lua_type(L, 3);
  if (type != LUA_TSTRING && type != LUA_TFUNCTION && type != LUA_TTABLE && type != LUA_TUSERDATA)
    return kit_argerror(L, 3, "string, function or object with read");
  upload_t *upload = open_upload(L, "upload", 4);
  int stream = lua_gettop(L);
  lua_pushcfunction(L, copy_source);
  lua_pushvalue(L, stream);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 3);
  if (lua_pcall(L, 3, 1, 0) == LUA_OK) return 1;
  abort_quietly(L, stream, upload);
  return lua_error(L);
}
