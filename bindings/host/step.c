/*
 * A Lua function as a step. Users: engine (add_step).
 * The C engine calls lhost_step_up on the thread that called it; nothing of Lua's may pass through the engine, so every Lua
 * call here is protected.
 */
#include "lcontext.h"
#include "lhost.h"
#include "s3.h"

#include <string.h>

struct lhost_step {
  lhost_state_t *state;
};

static const char functions_key; /* its address is the registry key of the weak table step -> function */

static void push_functions(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &functions_key) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &functions_key);
}

lhost_step_t *lhost_step_new(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  lhost_state_t *state = lhost_state(L);
  push_functions(L);
  kit_box_t *box = kit_box_push(L, NULL, bson_free);
  lhost_step_t *step = box->pointer = bson_malloc(sizeof *step);
  step->state = state;
  lua_pushvalue(L, idx);
  lua_rawsetp(L, -3, step);
  box->pointer = NULL; /* the caller's now */
  lua_pop(L, 2);
  return step;
}

/* The weak entry may stay: a later step at the same address replaces it. */
void lhost_step_free(void *step) {
  bson_free(step);
}

/* "attempt to index a nil value (field 'mongo')" deserves the reason. */
static void explain_nil(lua_State *L) {
  static const struct {
    const char *field, *sentence;
  } missing[] = {{"(field 'mongo')", "ctx.mongo is nil: no MongoDB is configured (set mongo.uri)"},
                 {"(field 's3')", "ctx.s3 is nil: no S3 is configured (set s3.bucket)"},
                 {"(field 'bucket')", "ctx.bucket is nil: no S3 is configured (set s3.bucket)"}};
  const lhost_state_t *state = lhost_state(L);
  const char *message = lua_tostring(L, 1);
  if (!strstr(message, "attempt to index a nil value")) return;
  for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
    if (!strstr(message, missing[i].field)) continue;
    bool is_there =
        !state->ctx || (i == 0 ? smig_ctx_mongo_connection(state->ctx) != NULL : smig_ctx_s3(state->ctx) != NULL);
    if (is_there) continue;
    lua_pushfstring(L, "%s; %s", message, missing[i].sentence);
    lua_replace(L, 1);
    return;
  }
}

static int message_handler(lua_State *L) {
  if (lua_type(L, 1) == LUA_TSTRING) explain_nil(L);
  return kit_message_handler(L);
}

/* (smig_ctx_t *) -> ctx object */
static int make_context(lua_State *L) {
  smig_ctx_t *ctx = lua_touserdata(L, 1);
  lcontext_push(L, ctx, smig_ctx_mongo_connection(ctx), smig_ctx_mongo_database(ctx));
  return 1;
}

/* (ctx object) */
static int end_context(lua_State *L) {
  lcontext_end(L, 1);
  return 0;
}

/* (step) -> function */
static int find_function(lua_State *L) {
  push_functions(L);
  lua_rawgetp(L, -1, lua_touserdata(L, 1));
  return 1;
}

/* (first result, second result): `return nil, "why"` is how Lua's own functions fail, and a step fails by raising alone. */
static int check_returned(lua_State *L) {
  bool is_false = lua_isboolean(L, 1) && !lua_toboolean(L, 1);
  if (!is_false && (!lua_isnil(L, 1) || lua_isnil(L, 2))) return 0;
  const char *first = is_false ? "false" : "nil";
  if (lua_isnil(L, 2)) {
    lua_pushfstring(L, "the step returned %s, which does not make it fail: raise with error(), or return nothing",
                    first);
  } else {
    kit_push_text(L, 2);
    lua_pushfstring(L, "the step returned %s and '%s': raise what makes a step fail with error()", first,
                    lua_tostring(L, -1));
  }
  return lua_error(L);
}

bool lhost_step_up(smig_ctx_t *ctx, void *user, smig_error_t *error) {
  const lhost_step_t *step = user;
  lhost_state_t *state = step->state;
  lua_State *L = state->thread;
  int top = lua_gettop(L);
  bool made = false, done = false;
  if (!lua_checkstack(L, 12)) {
    smig_error_set_foreign(error, "SCRIPT_ERROR", "stack overflow");
    return false;
  }
  smig_ctx_t *former = state->ctx;
  state->ctx = ctx;
  int handler = top + 1, object = top + 2;
  lua_pushcfunction(L, message_handler);
  lua_pushcfunction(L, make_context);
  lua_pushlightuserdata(L, ctx);
  made = lua_pcall(L, 1, 1, handler) == LUA_OK;
  if (made) {
    lua_pushcfunction(L, find_function);
    lua_pushlightuserdata(L, user);
    if (lua_pcall(L, 1, 1, handler) == LUA_OK) {
      lua_pushvalue(L, object);
      done = lua_pcall(L, 1, 2, handler) == LUA_OK;
      if (done) {
        lua_pushcfunction(L, check_returned);
        lua_insert(L, -3);
        done = lua_pcall(L, 2, 0, handler) == LUA_OK;
      }
    }
  }
  /* From here on no hook may raise: the run has ended or goes on, and closing must be complete. */
  state->ctx = former;
  if (!done) kit_to_error(L, -1, error);
  if (made) {
    lua_pushcfunction(L, end_context);
    lua_pushvalue(L, object);
    /* What the step began and did not finish fails it; a failure of the step's own comes first. */
    bool ended = lua_pcall(L, 1, 0, handler) == LUA_OK;
    if (done && !ended) kit_to_error(L, -1, error);
    done = done && ended;
  }
  lua_settop(L, top);
  return done;
}
