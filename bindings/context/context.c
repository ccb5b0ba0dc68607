/*
 * The ctx object. Users: host/step.c, and every migration. It is strict (unknown names raise), read-only, and dies with its
 * step. Errors: LOCK_LOST and INTERRUPTED from every call that does work. Rule: contract, section 8.
 */
#include "context_internal.h"
#include "lbson.h"
#include "lmongo.h"
#include "ls3.h"

#include <string.h>

#define CONTEXT "smartmigration.ctx"

/* ------------------------------------------------------------------- parts */

lcontext_t *context_check(lua_State *L, int idx) {
  lcontext_t *context = luaL_checkudata(L, idx, CONTEXT);
  if (!context->ctx) kit_raise_argument(L, "ctx of step '%s' is no longer valid", context->step_id);
  return context;
}

void context_push_part(lua_State *L, int idx, const char *name) {
  idx = lua_absindex(L, idx);
  lua_newuserdatauv(L, 0, 1);
  lua_pushvalue(L, idx);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, name);
}

smig_ctx_t *context_of_part(lua_State *L, const char *name) {
  luaL_checkudata(L, 1, name);
  lua_getiuservalue(L, 1, 1);
  smig_ctx_t *ctx = context_check(L, -1)->ctx;
  lua_pop(L, 1);
  return ctx;
}

/* ------------------------------------------------------------------ fields */

static void push_mongo(lua_State *L, lcontext_t *context) {
  if (!context->database || lua_getiuservalue(L, 1, CONTEXT_SCOPE) != LUA_TUSERDATA) {
    lua_pushnil(L);
    return;
  }
  lmongo_push_database(L, lua_absindex(L, -1), context->database);
}

/* Both are nil without S3, and the message handler says so to who indexes them. */
static void push_s3(lua_State *L, lcontext_t *context) {
  (void)context;
  if (lua_getiuservalue(L, 1, CONTEXT_S3) == LUA_TUSERDATA) ls3_push_client(L, -1);
}

static void push_bucket(lua_State *L, lcontext_t *context) {
  const char *bucket = smig_ctx_s3_bucket(context->ctx);
  if (bucket && lua_getiuservalue(L, 1, CONTEXT_S3) == LUA_TUSERDATA)
    ls3_push_bucket(L, -1, bucket);
  else
    lua_pushnil(L);
}

static void push_bson(lua_State *L, lcontext_t *context) {
  (void)context;
  luaL_requiref(L, "smartmigration.bson", luaopen_smartmigration_bson, 0);
}

static void push_log(lua_State *L, lcontext_t *context) {
  (void)context;
  context_push_part(L, 1, CONTEXT_LOG);
}

static void push_checkpoint(lua_State *L, lcontext_t *context) {
  (void)context;
  context_push_part(L, 1, CONTEXT_CHECKPOINT);
}

static void push_step(lua_State *L, lcontext_t *context) {
  (void)context;
  context_push_part(L, 1, CONTEXT_STEP);
}

static void push_lease(lua_State *L, lcontext_t *context) {
  (void)context;
  context_push_part(L, 1, CONTEXT_LEASE);
}

static void push_run_id(lua_State *L, lcontext_t *context) {
  lua_pushstring(L, smig_ctx_run_id(context->ctx));
}

/* A dry run calls no step. */
static void push_dry_run(lua_State *L, lcontext_t *context) {
  (void)context;
  lua_pushboolean(L, false);
}

static void push_mode(lua_State *L, lcontext_t *context) {
  lua_pushstring(L, smig_ctx_skip_forward(context->ctx) ? "skip-forward" : "exact");
}

static const struct {
  const char *name;
  void (*push)(lua_State *L, lcontext_t *context);
} fields[] = {{"mongo", push_mongo},     {"s3", push_s3},       {"bucket", push_bucket},
              {"bson", push_bson},       {"log", push_log},     {"checkpoint", push_checkpoint},
              {"step", push_step},       {"lease", push_lease}, {"run_id", push_run_id},
              {"dry_run", push_dry_run}, {"mode", push_mode}};

enum { FIELDS = sizeof fields / sizeof *fields };

/* Every name of ctx, for suggestions: the fields and the methods. */
static const char *const names[] = {"mongo",         "s3",          "bucket",   "bson",    "log",  "checkpoint",
                                    "step",          "lease",       "run_id",   "dry_run", "mode", "try",
                                    "start_session", "transaction", "progress", "check",   NULL};

static int context_field(lua_State *L, const char *name) {
  lcontext_t *context = context_check(L, 1);
  lua_getiuservalue(L, 1, CONTEXT_PARTS);
  if (lua_getfield(L, -1, name) != LUA_TNIL) return 1;
  for (int i = 0; i < FIELDS; i++) {
    if (strcmp(fields[i].name, name) != 0) continue;
    lua_settop(L, 2);
    fields[i].push(L, context);
    lua_getiuservalue(L, 1, CONTEXT_PARTS);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
    return 1;
  }
  const char *near = kit_suggest(name, names);
  if (near) return kit_raise_argument(L, "ctx has no field '%s'; did you mean '%s'?", name, near);
  return kit_raise_argument(L, "ctx has no field '%s'", name);
}

/* ----------------------------------------------------------------- methods */

/* Pushes the scope; raises NO_DB_CONFIGURED without MongoDB. */
static int check_scope(lua_State *L) {
  context_check(L, 1);
  if (lua_getiuservalue(L, 1, CONTEXT_SCOPE) != LUA_TUSERDATA) {
    smig_error_t error = SMIG_ERROR_INIT;
    smig_error_set(&error, SMIG_NO_DB_CONFIGURED, "there are no sessions without MongoDB: set mongo.uri");
    kit_raise(L, &error);
  }
  return lua_gettop(L);
}

static int context_start_session(lua_State *L) {
  lua_settop(L, 2);
  return lmongo_start_session(L, check_scope(L), 2);
}

static int context_transaction(lua_State *L) {
  lua_settop(L, 3);
  return lmongo_transaction(L, check_scope(L), 2, 3);
}

static int context_check_run(lua_State *L) {
  smig_error_t error = SMIG_ERROR_INIT;
  if (!smig_ctx_check(context_check(L, 1)->ctx, &error)) return kit_raise(L, &error);
  return 0;
}

static int context_progress(lua_State *L) {
  lcontext_t *context = context_check(L, 1);
  lua_Integer done = luaL_checkinteger(L, 2), total = luaL_optinteger(L, 3, -1);
  smig_error_t error = SMIG_ERROR_INIT;
  if (!smig_ctx_progress(context->ctx, done, total, &error)) return kit_raise(L, &error);
  return 0;
}

/*
 * Whether ctx:try hands the error over. What a step cannot mean to handle passes through: wrong arguments, the run's end,
 * and what is no error object at all (a mistake in the script).
 */
static bool is_operational(lua_State *L, int idx) {
  static const char *const passing[] = {"argument", "lease_lost", "cancelled", "script"};
  const smig_error_t *error = kit_test_error(L, idx);
  if (!error) return false;
  lua_getfield(L, idx, "category");
  const char *category = lua_tostring(L, -1);
  bool operational = category != NULL;
  for (size_t i = 0; operational && i < sizeof passing / sizeof *passing; i++) {
    operational = strcmp(category, passing[i]) != 0;
  }
  lua_pop(L, 1);
  return operational;
}

/* After the call: (ctx, handler, results…) or (ctx, handler, error) */
static int finish_try(lua_State *L, int status, lua_KContext ignored) {
  (void)ignored;
  if (status == LUA_OK || status == LUA_YIELD) {
    context_check_run(L); /* what the function swallowed comes back */
    return lua_gettop(L) - 2;
  }
  if (!is_operational(L, lua_gettop(L))) return lua_error(L);
  lua_pushnil(L);
  lua_insert(L, -2);
  return 2;
}

static int context_try(lua_State *L) {
  context_check(L, 1);
  bool is_function = lua_isfunction(L, 2);
  bool calls = is_function || luaL_getmetafield(L, 2, "__call") != LUA_TNIL;
  if (!calls || (is_function && !lua_isuserdata(L, 3) && (lmongo_is_method(L, 2) || ls3_is_method(L, 2)))) {
    return kit_raise_argument(L, "ctx:try wants the method, then its handle: ctx:try(c.find_one, c, filter)");
  }
  if (!is_function) lua_pop(L, 1); /* __call */
  lua_pushcfunction(L, kit_message_handler);
  lua_insert(L, 2);
  return finish_try(L, lua_pcallk(L, lua_gettop(L) - 3, LUA_MULTRET, 2, 0, finish_try), 0);
}

/* --------------------------------------------------------------- lifecycle */

static int context_tostring(lua_State *L) {
  const lcontext_t *context = luaL_checkudata(L, 1, CONTEXT);
  lua_pushfstring(L, "ctx of step '%s'%s", context->step_id, context->ctx ? "" : " (over)");
  return 1;
}

static int context_gc(lua_State *L) {
  lcontext_t *context = luaL_checkudata(L, 1, CONTEXT);
  bson_free(context->step_id);
  context->step_id = NULL;
  context->ctx = NULL;
  return 0;
}

void lcontext_push(lua_State *L, smig_ctx_t *ctx, smig_mongo_connection_t *connection, const char *database) {
  static const luaL_Reg methods[] = {{"try", context_try},
                                     {"start_session", context_start_session},
                                     {"transaction", context_transaction},
                                     {"progress", context_progress},
                                     {"check", context_check_run},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", context_gc}, {"__tostring", context_tostring}, {NULL, NULL}};
  kit_new_class(L, CONTEXT, "ctx", methods, meta, context_field);
  context_register_log(L);
  context_register_checkpoint(L);
  context_register_step(L);
  context_register_lease(L);
  lcontext_t *context = lua_newuserdatauv(L, sizeof *context, CONTEXT_USER_VALUES);
  *context = (lcontext_t){.ctx = ctx, .database = connection ? database : NULL};
  luaL_setmetatable(L, CONTEXT);
  context->step_id = bson_strdup(smig_ctx_step(ctx)->id);
  lua_newtable(L);
  lua_setiuservalue(L, -2, CONTEXT_PARTS);
  if (smig_ctx_s3(ctx)) {
    ls3_push_scope(L, smig_ctx_s3(ctx), ctx);
    lua_setiuservalue(L, -2, CONTEXT_S3);
  }
  if (!connection) return;
  lmongo_push_scope(L, connection, ctx);
  lua_setiuservalue(L, -2, CONTEXT_SCOPE);
}

static int end_s3(lua_State *L) {
  ls3_end_scope(L, 1);
  return 1;
}

void lcontext_end(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  lcontext_t *context = luaL_checkudata(L, idx, CONTEXT);
  context->ctx = NULL;
  int top = lua_gettop(L);
  bool has_s3 = lua_getiuservalue(L, idx, CONTEXT_S3) == LUA_TUSERDATA;
  bool has_mongo = lua_getiuservalue(L, idx, CONTEXT_SCOPE) == LUA_TUSERDATA;
  if (has_s3 && has_mongo) { /* both must end, though each may raise */
    lua_pushcfunction(L, end_s3);
    lua_pushvalue(L, -3);
    bool ended = lua_pcall(L, 1, 1, 0) == LUA_OK;
    lmongo_end_scope(L, -2);
    if (!ended) lua_error(L);
  } else if (has_s3) {
    ls3_end_scope(L, -2);
  } else if (has_mongo) {
    lmongo_end_scope(L, -1);
  }
  lua_settop(L, top);
}
