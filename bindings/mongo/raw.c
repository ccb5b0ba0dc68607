/*
 * What is behind the handles, for other C modules: see smartmigration_lua.h, which is installed.
 * Users: C modules beside this one. Errors: argument errors; LOCK_LOST and INTERRUPTED. Threads: the thread of the Lua state.
 */
#include "internal.h"
#include "smartmigration_lua.h"

static mongoc_client_t *raw_client(lua_State *L, int idx) {
  const lmongo_target_t *target;
  return smig_mongo_connection_client(lmongo_check_handle(L, idx, &target)->connection);
}

static const lmongo_target_t *check_target(lua_State *L, int idx, bool wants_collection) {
  const lmongo_target_t *target;
  lmongo_check_handle(L, idx, &target);
  if (!target || (wants_collection && !target->collection))
    kit_argerror(L, idx, wants_collection ? "collection" : "database or collection");
  return target;
}

/* The driver's forms of what `with` gave a handle. */
static mongoc_read_concern_t *new_read_concern(const lmongo_target_t *target) {
  bson_iter_t iter;
  if (!target->concerns || !target->concerns->read_concern ||
      !bson_iter_init_find(&iter, target->concerns->read_concern, "level"))
    return NULL;
  mongoc_read_concern_t *concern = mongoc_read_concern_new();
  mongoc_read_concern_set_level(concern, bson_iter_utf8(&iter, NULL));
  return concern;
}

static mongoc_write_concern_t *new_write_concern(const lmongo_target_t *target) {
  if (!target->concerns || !target->concerns->write_concern || bson_empty(target->concerns->write_concern)) return NULL;
  return lmongo_new_write_concern(target->concerns->write_concern);
}

static mongoc_database_t *raw_new_database(lua_State *L, int idx) {
  const lmongo_target_t *target = check_target(L, idx, false);
  mongoc_client_t *client = smig_mongo_connection_client(target->scope->connection);
  mongoc_database_t *database = mongoc_client_get_database(client, target->database);
  mongoc_read_concern_t *read_concern = new_read_concern(target);
  mongoc_write_concern_t *write_concern = new_write_concern(target);
  if (read_concern) mongoc_database_set_read_concern(database, read_concern);
  if (write_concern) mongoc_database_set_write_concern(database, write_concern);
  if (target->concerns && target->concerns->read_preference)
    mongoc_database_set_read_prefs(database, target->concerns->read_preference);
  mongoc_read_concern_destroy(read_concern);
  mongoc_write_concern_destroy(write_concern);
  return database;
}

static mongoc_collection_t *raw_new_collection(lua_State *L, int idx) {
  const lmongo_target_t *target = check_target(L, idx, true);
  mongoc_client_t *client = smig_mongo_connection_client(target->scope->connection);
  mongoc_collection_t *collection = mongoc_client_get_collection(client, target->database, target->collection);
  mongoc_read_concern_t *read_concern = new_read_concern(target);
  mongoc_write_concern_t *write_concern = new_write_concern(target);
  if (read_concern) mongoc_collection_set_read_concern(collection, read_concern);
  if (write_concern) mongoc_collection_set_write_concern(collection, write_concern);
  if (target->concerns && target->concerns->read_preference)
    mongoc_collection_set_read_prefs(collection, target->concerns->read_preference);
  mongoc_read_concern_destroy(read_concern);
  mongoc_write_concern_destroy(write_concern);
  return collection;
}

static mongoc_client_session_t *raw_session(lua_State *L, int idx) {
  const lmongo_session_t *session = luaL_testudata(L, idx, LMONGO_SESSION);
  const lmongo_target_t *target;
  if (!session) return lmongo_check_handle(L, idx, &target)->session;
  lmongo_check_scope(L, session->scope, "session");
  return lmongo_check_session(L, idx, session->scope)->session;
}

static void raw_append_opts(lua_State *L, int idx, bson_t *opts) {
  const lmongo_target_t *target;
  const lmongo_scope_t *scope = lmongo_check_handle(L, idx, &target);
  smig_mongo_connection_await(scope->connection, false, NULL);
  if (scope->session) mongoc_client_session_append(scope->session, opts, NULL);
  if (scope->comment) BSON_APPEND_UTF8(opts, "comment", scope->comment);
}

static const bson_t *raw_document(lua_State *L, int idx) {
  bool is_array = false;
  return lbson_check(L, idx, LBSON_DOCUMENT, "document", &is_array);
}

static void raw_push_error(lua_State *L, int idx, const char *phrase, const bson_t *reply, const bson_error_t *cause) {
  const lmongo_target_t *target;
  lmongo_scope_t *scope = lmongo_check_handle(L, idx, &target);
  smig_error_t error = SMIG_ERROR_INIT;
  lmongo_make_error(scope, &error, phrase, target ? target->ns : smig_mongo_connection_hosts(scope->connection), reply,
                    cause);
  kit_push_error(L, &error);
}

void lmongo_offer_raw(lua_State *L) {
  static const smartmigration_lua_t functions = {SMARTMIGRATION_LUA_VERSION,
                                                 raw_client,
                                                 raw_new_database,
                                                 raw_new_collection,
                                                 raw_session,
                                                 raw_append_opts,
                                                 raw_document,
                                                 lbson_push_document,
                                                 raw_push_error};
  /* Pointers to const data: the readers' side has it const again. */
  lua_pushlightuserdata(L, (void *)(uintptr_t)&functions);
  lua_setfield(L, LUA_REGISTRYINDEX, SMARTMIGRATION_LUA_KEY);
}
