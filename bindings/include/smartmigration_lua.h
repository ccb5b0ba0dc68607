/*
 * What is behind the Lua handles of MongoDB, for other C modules: raw means raw.
 *
 *   #include <mongoc/mongoc.h>
 *   #include "smartmigration_lua.h"
 *
 *   static int my_function(lua_State *L) {                       -- my_function(collection, document)
 *     const smartmigration_lua_t *api = smartmigration_lua(L);
 *     bson_t opts = BSON_INITIALIZER;
 *     const bson_t *document = api->document(L, 2);
 *     mongoc_collection_t *collection = api->new_collection(L, 1);
 *     api->append_opts(L, 1, &opts);
 *     …mongoc_collection_insert_one(collection, document, &opts, NULL, &error)…
 *     mongoc_collection_destroy(collection);
 *   }
 *
 * Rules. The functions take the handle's stack index and raise a Lua error when it is another value, when the handle is closed, or when
 * its run must end: call them while you own nothing, as above, in that order. All that is borrowed is valid while the handle is (a step's
 * until the step ends). The client is used by one thread, the one of the lua_State; never destroy it, and never call Lua inside one of
 * the driver's callbacks. Link the same libmongoc-1.0 as this project (a shared library).
 *
 * What a command carries is up to you: append_opts appends the step's session (`sessionId`) and comment, without which the engine cannot
 * find and end what a dead run left behind.
 *
 * Only functions are looked up at run time, through the Lua registry: there is nothing to link. The struct only ever grows at its end;
 * `version` says which members are there.
 */
#ifndef SMARTMIGRATION_LUA_H
#define SMARTMIGRATION_LUA_H

#include <lauxlib.h>
#include <lua.h>
#include <mongoc/mongoc.h>

#define SMARTMIGRATION_LUA_KEY "smartmigration.c_api"
#define SMARTMIGRATION_LUA_VERSION 1

typedef struct smartmigration_lua {
  unsigned version;
  /* The client of a client, database or collection handle. Borrowed. */
  mongoc_client_t *(*client)(lua_State *L, int idx);
  /* The driver's handle for a database or collection handle, with the concerns and read preference that `with` gave it. Yours. */
  mongoc_database_t *(*new_database)(lua_State *L, int idx);
  mongoc_collection_t *(*new_collection)(lua_State *L, int idx);
  /* The session of a session handle; of a client, database or collection handle that of its step, or NULL. Borrowed. */
  mongoc_client_session_t *(*session)(lua_State *L, int idx);
  /* Appends what every command of the handle carries: the step's session and comment. Outside of a step it appends nothing. */
  void (*append_opts)(lua_State *L, int idx, bson_t *opts);
  /* A document (view or plain table) as bson_t. Pushes one value that owns it: it is valid while that is on the stack. */
  const bson_t *(*document)(lua_State *L, int idx);
  /* Pushes a document made of a copy of the bson_t. */
  void (*push_document)(lua_State *L, const bson_t *document);
  /*
   * Pushes an error object made of a driver's failure: "<phrase> '<namespace>' failed: …", as the methods of the handle at idx raise it.
   * The reply may be NULL. Then free what is yours, and lua_error.
   */
  void (*push_error)(lua_State *L, int idx, const char *phrase, const bson_t *reply, const bson_error_t *error);
} smartmigration_lua_t;

/* The functions; raises a Lua error when `smartmigration.mongo` has not been loaded in this state, or is older than this header. */
static inline const smartmigration_lua_t *smartmigration_lua(lua_State *L) {
  const smartmigration_lua_t *api = NULL;
  if (lua_getfield(L, LUA_REGISTRYINDEX, SMARTMIGRATION_LUA_KEY) == LUA_TLIGHTUSERDATA)
    api = (const smartmigration_lua_t *)lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (!api) luaL_error(L, "smartmigration is not loaded: require \"smartmigration.mongo\" first");
  if (api && api->version < SMARTMIGRATION_LUA_VERSION)
    luaL_error(L, "smartmigration offers version %d of its C functions, %d is wanted", (int)api->version,
               SMARTMIGRATION_LUA_VERSION);
  return api;
}

#endif
