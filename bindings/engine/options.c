/*
 * core.engine(options): the flat options table of Lua to smig_options_t. Users: init.lua, which has checked names and types for
 * the author; what is wrong here is a mistake of ours, but for values, which the engine checks.
 */
#include "engine_internal.h"

typedef struct flat_options {
  smig_options_t options;
  int mongo, s3_client, fresh_scope, log; /* stack indices; 0: not given */
} flat_options_t;

#define AT(member) offsetof(flat_options_t, member)

static const kit_option_t descriptors[] = {
    {.name = "target_version", .type = KIT_STRING, .offset = AT(options.target_version)},
    {.name = "target_from_chain", .type = KIT_BOOLEAN, .offset = AT(options.target_from_chain)},
    {.name = "offline", .type = KIT_BOOLEAN, .offset = AT(options.offline)},
    {.name = "mongo_uri", .type = KIT_STRING, .offset = AT(options.mongo.uri)},
    {.name = "mongo_database", .type = KIT_STRING, .offset = AT(options.mongo.database)},
    {.name = "mongo", .type = KIT_INDEX, .offset = AT(mongo)},
    {.name = "s3_client", .type = KIT_INDEX, .offset = AT(s3_client)},
    {.name = "s3_bucket", .type = KIT_STRING, .offset = AT(options.s3.bucket)},
    {.name = "s3_endpoint", .type = KIT_STRING, .offset = AT(options.s3.endpoint)},
    {.name = "s3_region", .type = KIT_STRING, .offset = AT(options.s3.region)},
    {.name = "s3_style", .type = KIT_STRING, .offset = AT(options.s3.style)},
    {.name = "s3_access_key_id", .type = KIT_STRING, .offset = AT(options.s3.access_key_id)},
    {.name = "s3_secret_access_key", .type = KIT_STRING, .offset = AT(options.s3.secret_access_key)},
    {.name = "s3_session_token", .type = KIT_STRING, .offset = AT(options.s3.session_token)},
    {.name = "s3_profile", .type = KIT_STRING, .offset = AT(options.s3.profile)},
    {.name = "s3_ca_file", .type = KIT_STRING, .offset = AT(options.s3.ca_file)},
    {.name = "s3_sse", .type = KIT_STRING, .offset = AT(options.s3.sse)},
    {.name = "s3_sse_kms_key_id", .type = KIT_STRING, .offset = AT(options.s3.sse_kms_key_id)},
    {.name = "s3_expected_bucket_owner", .type = KIT_STRING, .offset = AT(options.s3.expected_bucket_owner)},
    {.name = "s3_insecure", .type = KIT_BOOLEAN, .offset = AT(options.s3.insecure)},
    {.name = "s3_lock", .type = KIT_STRING, .offset = AT(options.s3_lock)},
    {.name = "ledger_backend", .type = KIT_STRING, .offset = AT(options.ledger_backend)},
    {.name = "ledger_name", .type = KIT_STRING, .offset = AT(options.ledger_name)},
    {.name = "ledger_id", .type = KIT_STRING, .offset = AT(options.ledger_id)},
    {.name = "fresh_install_version", .type = KIT_STRING, .offset = AT(options.fresh_install_version)},
    {.name = "fresh_scope", .type = KIT_INDEX, .offset = AT(fresh_scope)},
    {.name = "target_version_strategy", .type = KIT_STRING, .offset = AT(options.target_version_strategy)},
    {.name = "newer_ledger", .type = KIT_STRING, .offset = AT(options.newer_ledger)},
    {.name = "unversioned_data", .type = KIT_STRING, .offset = AT(options.unversioned_data)},
    {.name = "lock_wait_ms", .type = KIT_INTEGER, .offset = AT(options.lock_wait_ms)},
    {.name = "lock_ttl_ms", .type = KIT_INTEGER, .offset = AT(options.lock_ttl_ms)},
    {.name = "stop_timeout_ms", .type = KIT_INTEGER, .offset = AT(options.stop_timeout_ms)},
    {.name = "log", .type = KIT_INDEX, .offset = AT(log)},
    {.name = NULL}};

/* The array lives in a userdata that stays on the stack; its strings in the table. */
static const char *const *read_scope(lua_State *L, int idx) {
  luaL_checktype(L, idx, LUA_TTABLE);
  lua_Integer count = luaL_len(L, idx);
  const char **names = lua_newuserdatauv(L, ((size_t)count + 1) * sizeof *names, 0);
  for (lua_Integer i = 1; i <= count; i++) {
    if (lua_rawgeti(L, idx, i) != LUA_TSTRING) kit_raise_argument(L, "fresh_scope is a list of strings");
    names[i - 1] = lua_tostring(L, -1);
    lua_pop(L, 1);
  }
  names[count] = NULL;
  return names;
}

int engine_new(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  flat_options_t flat = {.options = SMIG_OPTIONS_INIT};
  kit_read_options(L, 1, "migration", descriptors, &flat);
  luaL_checkstack(L, 10, NULL);
  lengine_t *handle = lua_newuserdatauv(L, sizeof *handle, 1);
  *handle = (lengine_t){0};
  int handle_idx = lua_gettop(L);
  luaL_setmetatable(L, ENGINE);
  lua_newtable(L);
  if (flat.log) {
    luaL_checktype(L, flat.log, LUA_TFUNCTION);
    lua_pushvalue(L, flat.log);
    lua_setfield(L, -2, "log");
    flat.options.log = engine_log;
    flat.options.log_user = handle;
  }
  if (flat.mongo) {
    handle->scope = lmongo_check_database(L, flat.mongo, &flat.options.mongo.database);
    flat.options.mongo.connection = handle->scope->connection;
    lua_pushvalue(L, flat.mongo); /* it must not be collected before the engine */
    lua_setfield(L, -2, "mongo");
  }
  if (flat.s3_client) {
    handle->s3_scope = ls3_check_client(L, flat.s3_client);
    flat.options.s3.client = handle->s3_scope->client;
    if (!flat.options.s3.bucket) flat.options.s3.bucket = smig_s3_bucket(flat.options.s3.client);
    lua_pushvalue(L, flat.s3_client);
    lua_setfield(L, -2, "s3_client");
  }
  lua_setiuservalue(L, handle_idx, 1);
  if (flat.fresh_scope) flat.options.fresh_scope = read_scope(L, flat.fresh_scope);
  smig_error_t error = SMIG_ERROR_INIT;
  handle->engine = smig_engine_new(&flat.options, &error);
  if (!handle->engine) return kit_raise(L, &error);
  lua_settop(L, handle_idx);
  return 1;
}
