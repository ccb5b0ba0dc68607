/*
 * Sections: the hook that stops pure Lua loops, and the three functions of the standard library that a step must not have
 * as they are. Users: engine (runs), host_module (loading).
 *
 * The hook looks once in EVERY instructions. Once the run must end it looks at every instruction and line, so that a loop
 * around pcall cannot swallow it. Not interrupted are coroutines older than the section, long C calls, and an endless loop in a
 * message handler of xpcall: Lua runs the handler of an error that a hook raised without hooks.
 */
#include "lhost.h"

#include <string.h>

enum { EVERY = 1000 /* VM instructions */ };

static const char state_key; /* its address is the registry key of the record */

lhost_state_t *lhost_state(lua_State *L) {
  luaL_checkstack(L, 2, NULL);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key) == LUA_TNIL) {
    lua_pop(L, 1);
    *(lhost_state_t *)lua_newuserdatauv(L, sizeof(lhost_state_t), 0) = (lhost_state_t){0};
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
  }
  lhost_state_t *state = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return state;
}

/* The steps around this one count, too: what they run must end when they must. */
static void hook(lua_State *L, lua_Debug *frame) {
  (void)frame;
  smig_error_t error = SMIG_ERROR_INIT;
  for (const lhost_state_t *state = lhost_state(L); state; state = state->outer) {
    if (!state->ctx || smig_ctx_check(state->ctx, &error)) continue;
    lua_sethook(L, hook, LUA_MASKLINE | LUA_MASKCOUNT, 1);
    kit_raise(L, &error);
  }
}

/* ------------------------------------------------------- the guarded functions */

/* Each has the host's function as its upvalue. */
static int call_original(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  return lua_gettop(L);
}

static bool guarded(lua_State *L) {
  const lhost_state_t *state = lhost_state(L);
  return state->ctx || state->loading;
}

static int guarded_exit(lua_State *L) {
  if (!guarded(L)) return call_original(L);
  return luaL_error(L, "os.exit is not for migration files: it would leave the lock behind; raise an error instead");
}

static int guarded_sethook(lua_State *L) {
  if (!guarded(L)) return call_original(L);
  return luaL_error(L, "debug.sethook is not for migration files: the hook is what ends a run that must stop");
}

/* In a step to its log; while files load to the migration's log function, which is in the registry then. */
static int guarded_print(lua_State *L) {
  lhost_state_t *state = lhost_state(L);
  if (!guarded(L)) return call_original(L);
  int count = lua_gettop(L);
  luaL_Buffer line;
  luaL_buffinit(L, &line);
  for (int i = 1; i <= count; i++) {
    if (i > 1) luaL_addchar(&line, ' '); /* a log line has no tab */
    luaL_tolstring(L, i, NULL);
    luaL_addvalue(&line);
  }
  luaL_pushresult(&line);
  if (state->ctx) {
    smig_ctx_log(state->ctx, SMIG_LOG_INFO, lua_tostring(L, -1), NULL);
    return 0;
  }
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, state) != LUA_TFUNCTION) return 0;
  lua_pushliteral(L, "info");
  lua_pushvalue(L, -3);
  lua_call(L, 2, 0);
  return 0;
}

static const struct {
  const char *module, *name;
  lua_CFunction function;
} replaced[] = {
    {"os", "exit", guarded_exit}, {"debug", "sethook", guarded_sethook}, {LUA_GNAME, "print", guarded_print}};

enum { REPLACED = sizeof replaced / sizeof *replaced };

/* Pushes package.loaded[module]; false pushes nothing. */
static bool push_library(lua_State *L, const char *module) {
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, module);
  lua_remove(L, -2);
  if (lua_istable(L, -1)) return true;
  lua_pop(L, 1);
  return false;
}

static void replace_functions(lua_State *L) {
  for (int i = 0; i < REPLACED; i++) {
    if (!push_library(L, replaced[i].module)) continue;
    lua_pushstring(L, replaced[i].name);
    if (lua_rawget(L, -2) == LUA_TFUNCTION) {
      lua_pushcclosure(L, replaced[i].function, 1);
      lua_pushstring(L, replaced[i].name);
      lua_insert(L, -2);
      lua_rawset(L, -3);
      lua_pop(L, 1);
    } else {
      lua_pop(L, 2);
    }
  }
}

/* The names are interned since replace_functions, and the keys exist: nothing here needs memory. */
static void restore_functions(lua_State *L) {
  for (int i = 0; i < REPLACED; i++) {
    if (!push_library(L, replaced[i].module)) continue;
    lua_pushstring(L, replaced[i].name);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    if (lua_tocfunction(L, -1) == replaced[i].function) {
      lua_getupvalue(L, -1, 1);
      lua_replace(L, -2);
      lua_rawset(L, -3);
      lua_pop(L, 1);
    } else {
      lua_pop(L, 3);
    }
  }
}

/* ---------------------------------------------------------------- sections */

void lhost_enter(lua_State *L, bool loading, lhost_section_t *section) {
  luaL_checkstack(L, 8, NULL);
  lhost_state_t *state = lhost_state(L);
  if (state->depth == 0) replace_functions(L);
  *section = (lhost_section_t){
      .former = *state, .hook = lua_gethook(L), .mask = lua_gethookmask(L), .count = lua_gethookcount(L)};
  *state =
      (lhost_state_t){.thread = L, .outer = &section->former, .depth = section->former.depth + 1, .loading = loading};
  lua_sethook(L, hook, LUA_MASKCOUNT, EVERY);
}

void lhost_leave(lua_State *L, const lhost_section_t *section) {
  lhost_state_t *state = lhost_state(L);
  *state = section->former;
  lua_sethook(L, section->hook, section->mask, section->count);
  if (state->depth == 0) restore_functions(L);
}
