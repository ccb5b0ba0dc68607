/*
 * A C module of somebody else's, made with smartmigration_lua.h and libmongoc alone: `raw`, which spec/mongo_raw_spec.lua loads.
 * count(collection) counts by the driver; insert(collection, document) inserts, carrying what the step's commands carry.
 */
#include "smartmigration_lua.h"

static int count(lua_State *L) {
  const smartmigration_lua_t *api = smartmigration_lua(L);
  mongoc_collection_t *collection = api->new_collection(L, 1);
  bson_t filter = BSON_INITIALIZER;
  bson_error_t error;
  int64_t number = mongoc_collection_count_documents(collection, &filter, NULL, NULL, NULL, &error);
  mongoc_collection_destroy(collection);
  lua_pushinteger(L, number);
  return 1;
}

static int insert(lua_State *L) {
  const smartmigration_lua_t *api = smartmigration_lua(L);
  const bson_t *document = api->document(L, 2);
  mongoc_collection_t *collection = api->new_collection(L, 1);
  bson_t opts = BSON_INITIALIZER, reply;
  bson_error_t error;
  api->append_opts(L, 1, &opts);
  int done = mongoc_collection_insert_one(collection, document, &opts, &reply, &error);
  if (done)
    api->push_document(L, &reply);
  else
    api->push_error(L, 1, "insert by hand into", &reply, &error);
  bson_destroy(&reply);
  bson_destroy(&opts);
  mongoc_collection_destroy(collection);
  return done ? 1 : lua_error(L);
}

/* same(client, database): whether both stand on one driver's client; then whether the database's name is as given */
static int same(lua_State *L) {
  const smartmigration_lua_t *api = smartmigration_lua(L);
  int one = api->client(L, 1) == api->client(L, 2);
  mongoc_database_t *database = api->new_database(L, 2);
  lua_pushboolean(L, one);
  lua_pushstring(L, mongoc_database_get_name(database));
  mongoc_database_destroy(database);
  return 2;
}

/* has_session(handle) */
static int has_session(lua_State *L) {
  lua_pushboolean(L, smartmigration_lua(L)->session(L, 1) != NULL);
  return 1;
}

extern int luaopen_raw(lua_State *L);

int luaopen_raw(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"count", count}, {"insert", insert}, {"same", same}, {"has_session", has_session}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
