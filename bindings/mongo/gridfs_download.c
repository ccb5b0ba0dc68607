/*
 * Reading a file of GridFS, chunk by chunk, each checked for its number and size: a file that lost a part is an error, never short.
 * Users: Lua. Units: bytes. Errors: FileNotFound, ChunkIsMissing, ChunkIsWrongSize, FileTooLarge; a server's.
 * Rule: the GridFS layout that all drivers share, and bindings design, section 3.
 */
#include "gridfs.h"

#include <string.h>

enum {
  BATCH_BYTES = 4 * 1024 * 1024,   /* of chunks fetched together */
  STRING_BYTES = 64 * 1024 * 1024, /* what download returns as a string, unless told */
};

typedef enum download_state { DOWNLOAD_CLOSED, DOWNLOAD_OPEN } download_state_t;

/* User value 1 is the scope, 2 the session's handle, 3 the bucket, 4 the file's document. */
typedef struct download {
  lmongo_child_t child;
  gridfs_t *bucket;
  mongoc_cursor_t *cursor; /* of the chunks; NULL for an empty file */
  int64_t length, chunk_bytes, position;
  const uint8_t *data; /* what is left of the chunk, in the cursor's buffer */
  int64_t left;
  download_state_t state;
} download_t;

static void release(download_t *download) {
  if (download->state == DOWNLOAD_OPEN) lmongo_unlink(download->bucket->scope, &download->child);
  download->state = DOWNLOAD_CLOSED;
  if (download->cursor) mongoc_cursor_destroy(download->cursor);
  download->cursor = NULL;
  download->data = NULL;
  download->left = 0;
}

static void close_child(lmongo_child_t *child) {
  release((download_t *)(void *)child);
}

static download_t *check_download(lua_State *L) {
  download_t *download = luaL_testudata(L, 1, LMONGO_DOWNLOAD);
  if (!download) kit_argerror(L, 1, "gridfs download");
  return download;
}

static download_t *check_open(lua_State *L) {
  download_t *download = check_download(L);
  if (download->state == DOWNLOAD_OPEN) return download;
  lmongo_scope_t *scope = download->bucket->scope;
  if (!scope->connection && scope->owner) kit_raise_argument(L, "download of %s is no longer valid", scope->owner);
  kit_raise_argument(L, "download is closed");
  return NULL;
}

/* ----------------------------------------------------------------- reading */

static int fail(lua_State *L, download_t *download) {
  smig_error_t error = SMIG_ERROR_INIT;
  bson_error_t cause;
  const bson_t *reply;
  if (mongoc_cursor_error_document(download->cursor, &cause, &reply)) {
    lmongo_make_error(download->bucket->scope, &error, "download from", download->bucket->chunks->ns, reply, &cause);
    release(download);
    return kit_raise(L, &error);
  }
  return 0;
}

/* Takes the next chunk, which must be the one that comes now, of the size it must have. */
static void next_chunk(lua_State *L, download_t *download) {
  const lmongo_target_t *chunks = download->bucket->chunks;
  long long number = (long long)(download->position / download->chunk_bytes);
  int64_t rest = download->length - download->position;
  int64_t expected = rest < download->chunk_bytes ? rest : download->chunk_bytes;
  const bson_t *chunk;
  bson_iter_t iter;
  lmongo_check_scope(L, download->bucket->scope, "download");
  /* A sink is the author's: it may have closed the session that the download runs on. */
  if (!download->cursor) kit_raise_argument(L, "download is closed");
  bool found = mongoc_cursor_next(download->cursor, &chunk);
  if (!found) fail(L, download);
  if (!found || !bson_iter_init_find(&iter, chunk, "n") || bson_iter_as_int64(&iter) != number) {
    release(download);
    gridfs_raise(L, "ChunkIsMissing", "download", chunks->ns, "the file has no chunk %lld", number);
  }
  bson_subtype_t subtype;
  uint32_t size = 0;
  const uint8_t *data = NULL;
  if (bson_iter_init_find(&iter, chunk, "data") && BSON_ITER_HOLDS_BINARY(&iter))
    bson_iter_binary(&iter, &subtype, &size, &data);
  if (size != expected) {
    release(download);
    gridfs_raise(L, "ChunkIsWrongSize", "download", chunks->ns, "chunk %lld of the file has %u bytes in place of %lld",
                 number, size, (long long)expected);
  }
  download->data = data;
  download->left = size;
}

/* Pushes at most `most` bytes of the chunk; nil at the end of the file. */
static void push_part(lua_State *L, download_t *download, int64_t most) {
  if (!download->left && download->position < download->length) next_chunk(L, download);
  if (!download->left) {
    lua_pushnil(L);
    return;
  }
  int64_t size = download->left < most ? download->left : most;
  lua_pushlstring(L, (const char *)download->data, (size_t)size);
  download->data += size;
  download->left -= size;
  download->position += size;
}

/* stream:read([n]) -> n bytes, fewer only at the end of the file, nil there; without n what is left of the chunk */
static int download_read(lua_State *L) {
  download_t *download = check_open(L);
  lua_settop(L, 2);
  if (lua_isnil(L, 2)) {
    push_part(L, download, INT64_MAX);
    return 1;
  }
  int is_integer;
  lua_Integer wanted = lua_tointegerx(L, 2, &is_integer);
  if (!is_integer || wanted < 1) return kit_argerror(L, 2, "integer from 1 expected");
  if (download->left >= wanted || download->position + download->left == download->length) {
    push_part(L, download, wanted);
    return 1;
  }
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  for (lua_Integer have = 0; have < wanted && download->position < download->length;) {
    push_part(L, download, wanted - have);
    have += (lua_Integer)lua_rawlen(L, -1);
    luaL_addvalue(&buffer);
  }
  luaL_pushresult(&buffer);
  return 1;
}

/* stream(): for part in stream do … end */
static int download_call(lua_State *L) {
  push_part(L, check_open(L), INT64_MAX);
  return 1;
}

static int download_close(lua_State *L) {
  release(check_download(L));
  return 0;
}

static int download_tostring(lua_State *L) {
  const download_t *download = check_download(L);
  lua_pushfstring(L, "gridfs download (%s)", download->state == DOWNLOAD_OPEN ? "open" : "closed");
  return 1;
}

/* stream.file: the file's document; stream.length */
static int download_field(lua_State *L, const char *field) {
  const download_t *download = check_download(L);
  if (strcmp(field, "file") == 0)
    lua_getiuservalue(L, 1, 4);
  else if (strcmp(field, "length") == 0)
    lua_pushinteger(L, download->length);
  else
    return 0;
  return 1;
}

void lmongo_new_download_class(lua_State *L) {
  static const luaL_Reg methods[] = {{"read", download_read}, {"close", download_close}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__call", download_call},
                                  {"__close", download_close},
                                  {"__gc", download_close},
                                  {"__tostring", download_tostring},
                                  {NULL, NULL}};
  kit_new_class(L, LMONGO_DOWNLOAD, "gridfs download", methods, meta, download_field);
}

/* ----------------------------------------------------------------- opening */

/* Fetches the file's document, which is pushed: read-only, and the stream's length and size of chunks set. */
static void find_file(lua_State *L, download_t *download, const lmongo_common_t *common) {
  const lmongo_target_t *files = download->bucket->files;
  const bson_t *filter = gridfs_push_id(L, 2, "_id");
  lmongo_call_t *call = gridfs_call(L, files, "download from", LMONGO_READ, common);
  BSON_APPEND_UTF8(&call->command, "find", files->collection);
  BSON_APPEND_DOCUMENT(&call->command, "filter", filter);
  BSON_APPEND_INT32(&call->command, "limit", 1);
  BSON_APPEND_BOOL(&call->command, "singleBatch", true);
  const bson_t *reply = lmongo_run(L, call, LMONGO_READ, files->database);
  bson_iter_t iter, first;
  if (!bson_iter_init(&iter, reply) || !bson_iter_find_descendant(&iter, "cursor.firstBatch.0", &first))
    gridfs_raise(L, "FileNotFound", "download", files->ns, "there is no file with this id");
  uint32_t size;
  const uint8_t *bytes;
  bson_t file;
  bson_iter_document(&first, &size, &bytes);
  bson_init_static(&file, bytes, size);
  download->length = lmongo_reply_number(&file, "length");
  download->chunk_bytes = lmongo_reply_number(&file, "chunkSize");
  if (download->length < 0 || (download->length && download->chunk_bytes < 1))
    gridfs_raise(L, "ChunkIsWrongSize", "download", files->ns, "the file's length or chunkSize is no size");
  lbson_push_frozen(L, &file);
  lmongo_call_end(call);
}

/* Opens the cursor of the chunks. */
static void open_chunks(lua_State *L, download_t *download, const lmongo_common_t *common) {
  const bson_t *filter = gridfs_push_id(L, 2, "files_id");
  lmongo_call_t *call = gridfs_call(L, download->bucket->chunks, "download from", LMONGO_READ, common);
  bson_t sort;
  BSON_APPEND_DOCUMENT_BEGIN(&call->opts, "sort", &sort);
  BSON_APPEND_INT32(&sort, "n", 1);
  bson_append_document_end(&call->opts, &sort);
  int64_t batch = BATCH_BYTES / download->chunk_bytes;
  BSON_APPEND_INT64(&call->opts, "batchSize", batch < 2 ? 2 : batch); /* a batch of 1 would be the last */
  download->child.session = call->session;
  lmongo_tell(call->scope, NULL);
  download->cursor = mongoc_collection_find_with_opts(lmongo_call_collection(call), filter, &call->opts, call->prefs);
  download->state = DOWNLOAD_OPEN;
  lmongo_link(download->bucket->scope, &download->child);
  lmongo_call_end(call);
}

/* Pushes an open stream of the bucket at 1 and the id at 2. */
static download_t *open_download(lua_State *L, const lmongo_common_t *common) {
  gridfs_t *bucket = gridfs_check(L, 1);
  download_t *download = lua_newuserdatauv(L, sizeof *download, 4);
  *download = (download_t){.child = {.close = close_child}, .bucket = bucket};
  luaL_setmetatable(L, LMONGO_DOWNLOAD);
  int handle = lua_gettop(L);
  lua_getiuservalue(L, 1, 1);
  lua_setiuservalue(L, handle, 1);
  if (common->session) {
    lua_pushvalue(L, common->session);
    lua_setiuservalue(L, handle, 2);
  }
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, handle, 3);
  find_file(L, download, common);
  lua_setiuservalue(L, handle, 4);
  if (download->length) {
    open_chunks(L, download, common);
  } else {
    download->state = DOWNLOAD_OPEN;
    lmongo_link(bucket->scope, &download->child);
  }
  lua_settop(L, handle);
  return download;
}

/* bucket:open_download(id [, opts]) -> stream */
int gridfs_open_download(lua_State *L) {
  static const kit_option_t options[] = {GRIDFS_OPTIONS, LMONGO_END_OPTIONS};
  lua_settop(L, 3);
  lmongo_common_t common = {0};
  kit_read_options(L, 3, "open_download", options, &common);
  open_download(L, &common);
  return 1;
}

/* Gives the part on top to the sink at 3, and takes it off. */
static void give(lua_State *L) {
  if (lua_type(L, 3) == LUA_TFUNCTION) {
    lua_pushvalue(L, 3);
    lua_insert(L, -2);
    lua_call(L, 1, 0);
    return;
  }
  lua_getfield(L, 3, "write");
  lua_insert(L, -2);
  lua_pushvalue(L, 3);
  lua_insert(L, -2);
  lua_call(L, 2, 2);
  /* io's way of failing: nil and a text. Other objects may return nothing. */
  if (lua_isnil(L, -2) && !lua_isnil(L, -1))
    kit_raise_argument(L, "the sink of download failed: %s", luaL_tolstring(L, -1, NULL));
  lua_pop(L, 2);
}

/* Pushes the whole file as a string. */
static void push_string(lua_State *L, download_t *download, int64_t most) {
  if (download->length > most) {
    long long length = (long long)download->length;
    release(download);
    gridfs_raise(L, "FileTooLarge", "download", download->bucket->files->ns,
                 "the file has %lld bytes, more than %lld; give a sink, or a greater max_bytes", length,
                 (long long)most);
  }
  luaL_Buffer buffer;
  char *to = luaL_buffinitsize(L, &buffer, (size_t)download->length);
  while (download->position < download->length) {
    next_chunk(L, download);
    memcpy(to + download->position, download->data, (size_t)download->left);
    download->position += download->left;
    download->left = 0;
  }
  luaL_pushresultsize(&buffer, (size_t)download->length);
}

/* bucket:download(id [, sink [, opts]]) -> string, or with a sink (function or object with write) the number of bytes */
int gridfs_download(lua_State *L) {
  typedef struct {
    lmongo_common_t common;
    int64_t max_bytes;
  } download_options_t;
  static const kit_option_t download_options[] = {
      GRIDFS_OPTIONS, LMONGO_RANGE(download_options_t, max_bytes, 0, INT64_MAX), LMONGO_END_OPTIONS};
  lua_settop(L, 4);
  int type = lua_type(L, 3);
  if (type != LUA_TNIL && type != LUA_TFUNCTION && type != LUA_TTABLE && type != LUA_TUSERDATA)
    return kit_argerror(L, 3, "function, object with write, or nil");
  download_options_t options = {.max_bytes = STRING_BYTES};
  kit_read_options(L, 4, "download", download_options, &options);
  download_t *download = open_download(L, &options.common);
  if (type == LUA_TNIL) {
    push_string(L, download, options.max_bytes);
  } else {
    for (push_part(L, download, INT64_MAX); !lua_isnil(L, -1); push_part(L, download, INT64_MAX)) give(L);
    lua_pushinteger(L, download->length);
  }
  release(download);
  return 1;
}
