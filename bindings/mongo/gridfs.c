/*
 * GridFS buckets: files as chunks in two collections, in the layout that all drivers share.
 * Users: Lua. Units: bytes. Errors: FileNotFound and those of the streams; a server's. Rule: bindings design, section 3.
 *
 * The driver's own GridFS is not used: it sends neither comment nor session, without which a dead run's commands could not be found.
 */
#include "gridfs.h"

#include <stdarg.h>
#include <string.h>

gridfs_t *gridfs_check(lua_State *L, int idx) {
  gridfs_t *bucket = luaL_testudata(L, idx, LMONGO_GRIDFS);
  if (!bucket) kit_argerror(L, idx, "gridfs bucket");
  return bucket;
}

lmongo_call_t *gridfs_call(lua_State *L, const lmongo_target_t *target, const char *phrase, lmongo_call_kind_t kind,
                           const lmongo_common_t *common) {
  lmongo_call_t *call = lmongo_call(L, target, phrase, kind, common);
  if (call->session && mongoc_client_session_in_transaction(call->session))
    kit_raise_argument(L, "gridfs cannot be used in a transaction: it sends several commands, and files may be large");
  return call;
}

bson_t *gridfs_push_id(lua_State *L, int idx, const char *key) {
  if (lua_isnoneornil(L, idx)) kit_argerror(L, idx, "id of a file");
  idx = lua_absindex(L, idx);
  kit_box_t *box = kit_box_push(L, NULL, lmongo_free_bson);
  bson_t *document = box->pointer = bson_new();
  lbson_append(L, idx, document, key, strlen(key), "id");
  return document;
}

int gridfs_raise(lua_State *L, const char *code, const char *operation, const char *ns, const char *format, ...) {
  smig_error_t error = SMIG_ERROR_INIT;
  va_list arguments;
  va_start(arguments, format);
  char *text = bson_strdupv_printf(format, arguments);
  va_end(arguments);
  smig_error_set_foreign(&error, code, "%s in '%s' failed: %s", operation, ns, text);
  bson_free(text);
  bson_t *details = smig_error_details(&error);
  BSON_APPEND_UTF8(details, "category", "server");
  BSON_APPEND_UTF8(details, "operation", operation);
  BSON_APPEND_UTF8(details, "namespace", ns);
  return kit_raise(L, &error);
}

/* ---------------------------------------------------------------- metadata */

/* bucket:find([filter [, opts]]), find_one: those of the collection of files */
static int find_files(lua_State *L, lua_CFunction find) {
  gridfs_check(L, 1);
  lua_settop(L, 3);
  lua_getiuservalue(L, 1, 2);
  lua_replace(L, 1);
  return find(L);
}

static int gridfs_find(lua_State *L) {
  return find_files(L, lmongo_find);
}

static int gridfs_find_one(lua_State *L) {
  return find_files(L, lmongo_find_one);
}

static void read_common(lua_State *L, int idx, const char *operation, lmongo_common_t *common) {
  static const kit_option_t options[] = {GRIDFS_OPTIONS, LMONGO_END_OPTIONS};
  kit_read_options(L, idx, operation, options, common);
}

/* Deletes what the filter says, of one collection; the number. */
static int64_t delete_from(lua_State *L, const lmongo_target_t *target, const lmongo_common_t *common,
                           const bson_t *filter) {
  lmongo_call_t *call = gridfs_call(L, target, "delete in", LMONGO_WRITE, common);
  bson_error_t cause;
  bool done = mongoc_collection_delete_many(lmongo_call_collection(call), filter, &call->opts, &call->reply, &cause);
  lmongo_tell(call->scope, &call->reply);
  if (!done) lmongo_call_failed(L, call, &cause);
  int64_t deleted = lmongo_reply_number(&call->reply, "deletedCount");
  lmongo_pop_box(L);
  return deleted;
}

/* bucket:delete(id [, opts]) -> whether there was such a file; its chunks go in any case, also those of an upload that was cut off */
static int gridfs_delete(lua_State *L) {
  gridfs_t *bucket = gridfs_check(L, 1);
  lua_settop(L, 3);
  lmongo_common_t common = {0};
  read_common(L, 3, "delete", &common);
  bool found = delete_from(L, bucket->files, &common, gridfs_push_id(L, 2, "_id")) > 0;
  delete_from(L, bucket->chunks, &common, gridfs_push_id(L, 2, "files_id"));
  lua_pushboolean(L, found);
  return 1;
}

/* bucket:rename(id, name [, opts]) */
static int gridfs_rename(lua_State *L) {
  gridfs_t *bucket = gridfs_check(L, 1);
  lua_settop(L, 4);
  const char *name = kit_check_name(L, 3, NULL);
  lmongo_common_t common = {0};
  read_common(L, 4, "rename", &common);
  const bson_t *filter = gridfs_push_id(L, 2, "_id");
  lmongo_call_t *call = gridfs_call(L, bucket->files, "rename in", LMONGO_WRITE, &common);
  bson_t set;
  BSON_APPEND_DOCUMENT_BEGIN(&call->command, "$set", &set);
  BSON_APPEND_UTF8(&set, "filename", name);
  bson_append_document_end(&call->command, &set);
  bson_error_t cause;
  bool done = mongoc_collection_update_one(lmongo_call_collection(call), filter, &call->command, &call->opts,
                                           &call->reply, &cause);
  lmongo_tell(call->scope, &call->reply);
  if (!done) return lmongo_call_failed(L, call, &cause);
  bool found = lmongo_reply_number(&call->reply, "matchedCount") > 0;
  lmongo_call_end(call);
  if (!found) return gridfs_raise(L, "FileNotFound", "rename", bucket->files->ns, "there is no file with this id");
  return 0;
}

/* bucket:drop([opts]): all files */
static int gridfs_drop(lua_State *L) {
  gridfs_check(L, 1);
  lua_settop(L, 2);
  for (int part = 2; part <= 3; part++) {
    lua_getiuservalue(L, 1, part);
    lua_getfield(L, -1, "drop");
    lua_insert(L, -2);
    lua_pushvalue(L, 2);
    lua_call(L, 2, 0);
  }
  gridfs_check(L, 1)->indexed = false;
  return 0;
}

/* ------------------------------------------------------------------ handle */

static int gridfs_tostring(lua_State *L) {
  const gridfs_t *bucket = gridfs_check(L, 1);
  lua_pushfstring(L, "gridfs '%s' (%s)", bucket->files->ns, bucket->scope->connection ? "open" : "closed");
  return 1;
}

static int gridfs_field(lua_State *L, const char *field) {
  const gridfs_t *bucket = gridfs_check(L, 1);
  if (strcmp(field, "name") == 0)
    lua_pushlstring(L, bucket->files->collection, strlen(bucket->files->collection) - strlen(".files"));
  else if (strcmp(field, "chunk_size") == 0)
    lua_pushinteger(L, bucket->chunk_bytes);
  else
    return 0;
  return 1;
}

/* Pushes the handle of the bucket's collection; it becomes the bucket's user value. */
static const lmongo_target_t *add_collection(lua_State *L, int bucket_idx, int part, const char *bucket,
                                             const char *kind) {
  const lmongo_target_t *database = lmongo_check_db(L);
  const char *name = lua_pushfstring(L, "%s.%s", bucket, kind);
  lua_getiuservalue(L, 1, 1);
  lmongo_push_target(L, -1, 1, database->database, name);
  const lmongo_target_t *target = lua_touserdata(L, -1);
  lua_setiuservalue(L, bucket_idx, part);
  lua_pop(L, 2);
  return target;
}

/* database:gridfs([opts]) -> bucket; nothing is sent */
int lmongo_gridfs(lua_State *L) {
  typedef struct {
    const char *name;
    int64_t chunk_size;
  } bucket_options_t;
  static const kit_option_t bucket_options[] = {LMONGO_OPTION(bucket_options_t, name, KIT_STRING),
                                                LMONGO_RANGE(bucket_options_t, chunk_size, 1, GRIDFS_LARGEST_CHUNK),
                                                LMONGO_END_OPTIONS};
  const lmongo_target_t *database = lmongo_check_db(L);
  lua_settop(L, 2);
  bucket_options_t options = {.name = "fs", .chunk_size = GRIDFS_CHUNK_BYTES};
  kit_read_options(L, 2, "gridfs", bucket_options, &options);
  lmongo_check_scope(L, database->scope, "database");
  lua_pushstring(L, options.name);
  lmongo_check_collection_name(L, 3);
  gridfs_t *bucket = lua_newuserdatauv(L, sizeof *bucket, 3);
  *bucket = (gridfs_t){.scope = database->scope, .chunk_bytes = options.chunk_size};
  int handle = lua_gettop(L);
  lua_getiuservalue(L, 1, 1);
  lua_setiuservalue(L, handle, 1);
  bucket->files = add_collection(L, handle, 2, options.name, "files");
  bucket->chunks = add_collection(L, handle, 3, options.name, "chunks");
  luaL_setmetatable(L, LMONGO_GRIDFS);
  return 1;
}

void lmongo_new_gridfs_class(lua_State *L) {
  static const luaL_Reg methods[] = {{"upload", gridfs_upload},
                                     {"download", gridfs_download},
                                     {"open_upload", gridfs_open_upload},
                                     {"open_download", gridfs_open_download},
                                     {"find", gridfs_find},
                                     {"find_one", gridfs_find_one},
                                     {"delete", gridfs_delete},
                                     {"rename", gridfs_rename},
                                     {"drop", gridfs_drop},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__tostring", gridfs_tostring}, {NULL, NULL}};
  kit_new_class(L, LMONGO_GRIDFS, "gridfs", methods, meta, gridfs_field);
}
