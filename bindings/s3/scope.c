/*
 * Scopes, and the handles in them: clients and buckets.
 * Users: Lua, the context. Errors: INVALID_OPTIONS for settings, argument errors. Threads: the thread of the Lua state. Rule: bindings
 * design, sections 4 and D7. `connect` sends nothing: the first request does.
 */
#include "internal.h"

#include <stddef.h>
#include <string.h>

#define SCOPE "smartmigration.s3_scope"

/* ------------------------------------------------------------------- scopes */

static void end_scope(ls3_scope_t *scope) {
  while (scope->exchanges) ls3_abandon(scope->exchanges);
  if (scope->owns_client) smig_s3_free(scope->client);
  scope->client = NULL;
  scope->ctx = NULL;
}

static int scope_gc(lua_State *L) {
  ls3_scope_t *scope = lua_touserdata(L, 1);
  end_scope(scope);
  bson_free(scope->owner);
  bson_free(scope->upload);
  scope->owner = scope->upload = NULL;
  return 0;
}

/* The methods stand in Lua, and are added to the classes when the module is loaded: as `require` does it. */
static void load_methods(lua_State *L) {
  static const char name[] = "smartmigration.s3";
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, name) == LUA_TNIL) {
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_getfield(L, -1, name);
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
    lua_setfield(L, -4, name);
    lua_pop(L, 1);
  }
  lua_pop(L, 2);
}

static ls3_scope_t *push_scope(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", scope_gc}, {NULL, NULL}};
  luaL_checkstack(L, 10, NULL);
  kit_new_class(L, SCOPE, "scope", NULL, meta, NULL);
  ls3_scope_t *scope = lua_newuserdatauv(L, sizeof *scope, 0);
  *scope = (ls3_scope_t){NULL};
  luaL_setmetatable(L, SCOPE);
  return scope;
}

void ls3_push_scope(lua_State *L, smig_s3_t *client, smig_ctx_t *ctx) {
  load_methods(L);
  ls3_scope_t *scope = push_scope(L);
  scope->client = client;
  scope->ctx = ctx;
  scope->owner = bson_strdup_printf("step '%s'", smig_ctx_step(ctx)->id);
}

void ls3_end_scope(lua_State *L, int idx) {
  ls3_scope_t *scope = luaL_checkudata(L, idx, SCOPE);
  end_scope(scope);
  if (!scope->uploads) return;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_error_set_foreign(&error, "UNFINISHED_WRITES",
                         "the upload of '%s' was neither completed nor aborted: declare it <close>, and complete() it",
                         scope->upload ? scope->upload : "");
  BSON_APPEND_UTF8(smig_error_details(&error), "category", "argument");
  scope->uploads = 0;
  kit_raise(L, &error);
}

/* ------------------------------------------------------------------ handles */

static const ls3_handle_t *test_handle(lua_State *L, int idx) {
  const ls3_handle_t *handle = luaL_testudata(L, idx, LS3_BUCKET);
  return handle ? handle : luaL_testudata(L, idx, LS3_CLIENT);
}

static const char *kind_of(const ls3_handle_t *handle) {
  return handle->bucket ? "bucket" : "s3 client";
}

const ls3_handle_t *ls3_check_handle(lua_State *L, int idx) {
  const ls3_handle_t *handle = test_handle(L, idx);
  if (!handle) {
    kit_raise_argument(
        L, "a bucket or s3 client is expected before the method, got %s: write bucket:get(...) with a colon",
        luaL_typename(L, idx));
  }
  const ls3_scope_t *scope = handle->scope;
  if (!scope->client) {
    if (scope->owner) kit_raise_argument(L, "%s of %s is no longer valid", kind_of(handle), scope->owner);
    kit_raise_argument(L, "%s is closed", kind_of(handle));
  }
  smig_error_t error = SMIG_ERROR_INIT;
  if (scope->ctx && !smig_ctx_check(scope->ctx, &error)) kit_raise(L, &error);
  return handle;
}

static void push_handle(lua_State *L, int scope_idx, const char *class_name, const char *bucket) {
  scope_idx = lua_absindex(L, scope_idx);
  size_t size = bucket ? strlen(bucket) + 1 : 0;
  ls3_handle_t *handle = lua_newuserdatauv(L, sizeof *handle + size, 1);
  *handle = (ls3_handle_t){.scope = luaL_checkudata(L, scope_idx, SCOPE)};
  if (bucket) handle->bucket = memcpy(handle->text, bucket, size);
  luaL_setmetatable(L, class_name);
  lua_pushvalue(L, scope_idx);
  lua_setiuservalue(L, -2, 1);
}

void ls3_push_client(lua_State *L, int scope_idx) {
  push_handle(L, scope_idx, LS3_CLIENT, NULL);
}

void ls3_push_bucket(lua_State *L, int scope_idx, const char *name) {
  push_handle(L, scope_idx, LS3_BUCKET, name);
}

bool ls3_is_method(lua_State *L, int function_idx) {
  return kit_is_method(L, LS3_BUCKET, function_idx) || kit_is_method(L, LS3_CLIENT, function_idx);
}

ls3_scope_t *ls3_check_client(lua_State *L, int idx) {
  const ls3_handle_t *handle = luaL_testudata(L, idx, LS3_CLIENT);
  if (!handle) kit_raise_argument(L, "s3.client must be an open s3 client, got %s", luaL_typename(L, idx));
  return ls3_check_handle(L, idx)->scope;
}

static int handle_close(lua_State *L) {
  const ls3_handle_t *handle = test_handle(L, 1);
  if (!handle) return kit_argerror(L, 1, "s3 client");
  if (!handle->scope->client) return 0;
  if (!handle->scope->owns_client) {
    return kit_raise_argument(L, "the s3 client of %s is closed by the engine", handle->scope->owner);
  }
  if (handle->scope->users)
    return kit_raise_argument(L, "s3 client is in use by a migration that runs: close it afterwards");
  end_scope(handle->scope);
  return 0;
}

static int handle_tostring(lua_State *L) {
  const ls3_handle_t *handle = test_handle(L, 1);
  if (!handle) return kit_argerror(L, 1, "bucket or s3 client");
  const smig_s3_t *client = handle->scope->client;
  if (handle->bucket)
    lua_pushfstring(L, "bucket '%s' (%s)", handle->bucket, client ? "open" : "closed");
  else if (client)
    lua_pushfstring(L, "s3 client '%s' (open)", smig_s3_endpoint(client));
  else
    lua_pushliteral(L, "s3 client (closed)");
  return 1;
}

/* bucket.name */
static int bucket_field(lua_State *L, const char *field) {
  const ls3_handle_t *handle = test_handle(L, 1);
  if (!handle || strcmp(field, "name") != 0) return 0;
  lua_pushstring(L, handle->bucket);
  return 1;
}

void ls3_new_handle_classes(lua_State *L) {
  static const luaL_Reg methods[] = {{"close", handle_close}, {NULL, NULL}};
  static const luaL_Reg client_meta[] = {{"__close", handle_close}, {"__tostring", handle_tostring}, {NULL, NULL}};
  static const luaL_Reg bucket_meta[] = {{"__tostring", handle_tostring}, {NULL, NULL}};
  kit_new_class(L, LS3_CLIENT, "s3 client", methods, client_meta, NULL);
  kit_new_class(L, LS3_BUCKET, "bucket", NULL, bucket_meta, bucket_field);
}

/* --------------------------------------------------------- functions of core */

int ls3_connect(lua_State *L) {
#define SETTING(member)                                                                                                \
  { #member, KIT_STRING, offsetof(smig_s3_config_t, member), 0, 0, 0 }
  static const kit_option_t settings[] = {SETTING(endpoint),
                                          SETTING(region),
                                          SETTING(bucket),
                                          SETTING(style),
                                          SETTING(access_key_id),
                                          SETTING(secret_access_key),
                                          SETTING(session_token),
                                          SETTING(profile),
                                          SETTING(ca_file),
                                          SETTING(sse),
                                          SETTING(sse_kms_key_id),
                                          SETTING(expected_bucket_owner),
                                          {"insecure", KIT_BOOLEAN, offsetof(smig_s3_config_t, insecure), 0, 0, 0},
                                          {NULL, KIT_BOOLEAN, 0, 0, 0, 0}};
#undef SETTING
  lua_settop(L, 1);
  smig_s3_config_t config = {0};
  kit_read_options(L, 1, "connect", settings, &config);
  ls3_scope_t *scope = push_scope(L);
  smig_error_t error = SMIG_ERROR_INIT;
  scope->owns_client = true;
  scope->client = smig_s3_open(&config, &error);
  if (!scope->client) return kit_raise(L, &error);
  ls3_push_client(L, 2);
  return 1;
}

/* core.target(handle) -> is_client, its bucket or the configured one */
int ls3_target(lua_State *L) {
  const ls3_handle_t *handle = ls3_check_handle(L, 1);
  lua_pushboolean(L, !handle->bucket);
  lua_pushstring(L, handle->bucket ? handle->bucket : smig_s3_bucket(handle->scope->client));
  return 2;
}

/* core.client(handle) -> a client handle of the same scope */
int ls3_client_of(lua_State *L) {
  ls3_check_handle(L, 1);
  lua_getiuservalue(L, 1, 1);
  ls3_push_client(L, -1);
  return 1;
}

/* core.bucket(handle, name) -> a bucket handle of the same scope */
int ls3_bucket_of(lua_State *L) {
  ls3_check_handle(L, 1);
  const char *name = kit_check_name(L, 2, NULL);
  lua_getiuservalue(L, 1, 1);
  ls3_push_bucket(L, -1, name);
  return 1;
}

/* core.upload(handle, by, name): an upload that a script holds was begun (1) or ended (-1) */
int ls3_count_upload(lua_State *L) {
  const ls3_handle_t *handle = test_handle(L, 1);
  if (!handle) return kit_argerror(L, 1, "bucket or s3 client");
  ls3_scope_t *scope = handle->scope;
  scope->uploads += luaL_checkinteger(L, 2);
  if (scope->uploads == 0 || lua_isnoneornil(L, 3)) return 0;
  bson_free(scope->upload);
  scope->upload = bson_strdup(lua_tostring(L, 3));
  return 0;
}

int ls3_add_methods(lua_State *L) {
  static const char *const kinds[] = {"client", "bucket", NULL};
  bool client = luaL_checkoption(L, 1, NULL, kinds) == 0;
  luaL_checktype(L, 2, LUA_TTABLE);
  kit_add_methods(L, client ? LS3_CLIENT : LS3_BUCKET, 2);
  return 0;
}
