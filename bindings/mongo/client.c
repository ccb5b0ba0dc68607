/*
 * The module `smartmigration.mongo`, and client handles.
 * Users: Lua. Errors: INVALID_OPTIONS for a URI, argument errors. Threads: the thread of the Lua state. Rule: bindings design,
 * section 3. `connect` sends nothing: the first operation does.
 */
#include "internal.h"

typedef struct client_handle {
  lmongo_scope_t *scope; /* user value 1 */
} client_handle_t;

void lmongo_push_client(lua_State *L, int scope_idx) {
  scope_idx = lua_absindex(L, scope_idx);
  client_handle_t *client = lua_newuserdatauv(L, sizeof *client, 1);
  client->scope = lmongo_to_scope(L, scope_idx);
  luaL_setmetatable(L, LMONGO_CLIENT);
  lua_pushvalue(L, scope_idx);
  lua_setiuservalue(L, -2, 1);
}

static client_handle_t *check_client(lua_State *L) {
  client_handle_t *client = luaL_testudata(L, 1, LMONGO_CLIENT);
  if (!client) kit_argerror(L, 1, "client");
  return client;
}

lmongo_scope_t *lmongo_check_handle(lua_State *L, int idx, const lmongo_target_t **target) {
  static const char *const kinds[] = {LMONGO_DATABASE, LMONGO_COLLECTION};
  *target = NULL;
  const client_handle_t *client = luaL_testudata(L, idx, LMONGO_CLIENT);
  for (int i = 0; !client && !*target && i < 2; i++) *target = luaL_testudata(L, idx, kinds[i]);
  if (!client && !*target) kit_argerror(L, idx, "client, database or collection");
  lmongo_scope_t *scope = client ? client->scope : (*target)->scope;
  lmongo_check_scope(L, scope, client ? "client" : (*target)->collection ? "collection" : "database");
  return scope;
}

/* client:database([name]): without a name, the one in the URI. */
static int client_database(lua_State *L) {
  client_handle_t *client = check_client(L);
  lua_settop(L, 2);
  lmongo_check_scope(L, client->scope, "client");
  if (lua_isnil(L, 2)) {
    const char *name = smig_mongo_connection_default_database(client->scope->connection);
    if (!name) return kit_raise_argument(L, "the URI names no database: give a name to database()");
    lua_pushstring(L, name);
    lua_replace(L, 2);
  }
  lua_getiuservalue(L, 1, 1);
  lmongo_push_target(L, 3, 0, lmongo_check_database_name(L, 2), NULL);
  return 1;
}

static int client_close(lua_State *L) {
  client_handle_t *client = check_client(L);
  if (!client->scope->connection) return 0;
  if (!client->scope->owns_connection) {
    return kit_raise_argument(L, "the client of %s is closed by the engine",
                              client->scope->owner ? client->scope->owner : "a run");
  }
  if (client->scope->users)
    return kit_raise_argument(L, "client is in use by a migration that runs: close it afterwards");
  lua_getiuservalue(L, 1, 1);
  lmongo_end_scope(L, -1);
  return 0;
}

static int client_tostring(lua_State *L) {
  client_handle_t *client = check_client(L);
  if (client->scope->connection)
    lua_pushfstring(L, "client '%s' (open)", smig_mongo_connection_hosts(client->scope->connection));
  else
    lua_pushliteral(L, "client (closed)");
  return 1;
}

static void new_client_class(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"database", client_database}, {"watch", lmongo_watch}, {"close", client_close}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__close", client_close}, {"__tostring", client_tostring}, {NULL, NULL}};
  kit_new_class(L, LMONGO_CLIENT, "client", methods, meta, NULL);
}

void lmongo_new_classes(lua_State *L) {
  lmongo_new_scope_class(L);
  new_client_class(L);
  lmongo_new_database_class(L);
  lmongo_new_collection_class(L);
  lmongo_new_cursor_class(L);
  lmongo_new_session_class(L);
  lmongo_new_change_stream_class(L);
  lmongo_new_bulk_writer_class(L);
  lmongo_new_gridfs_class(L);
  lmongo_new_upload_class(L);
  lmongo_new_download_class(L);
  lmongo_offer_raw(L);
}

/* mongo.connect(uri [, opts]): there are no options yet, so every name in opts raises. */
static int connect_client(lua_State *L) {
  static const kit_option_t options[] = {LMONGO_END_OPTIONS};
  lua_settop(L, 2);
  const char *uri = kit_check_name(L, 1, NULL);
  kit_read_options(L, 2, "connect", options, NULL);
  lmongo_scope_t *scope = lmongo_push_scope(L, NULL, NULL);
  smig_error_t error = SMIG_ERROR_INIT;
  scope->connection = smig_mongo_connection_open(uri, &error);
  if (!scope->connection) return kit_raise(L, &error);
  scope->owns_connection = true;
  lmongo_push_client(L, -1);
  return 1;
}

int luaopen_smartmigration_mongo(lua_State *L) {
  static const luaL_Reg functions[] = {{"connect", connect_client}, {NULL, NULL}};
  lmongo_new_classes(L);
  luaL_newlib(L, functions);
  return 1;
}
