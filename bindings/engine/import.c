/*
 * handle:import(applied, source, dry_run): begins a ledger with what another tool has applied; `applied` is a list of
 * { step_id =, applied_at_ms = }. Users: lua/smartmigration/import_ledger.lua, which has checked it.
 */
#include "engine_internal.h"

typedef struct arguments {
  const smig_import_t *applied;
  size_t count;
  const char *source;
  bool dry_run;
} arguments_t;

static bool import(smig_engine_t *engine, const void *given, bson_t *report, smig_error_t *error) {
  const arguments_t *arguments = given;
  return smig_engine_import(engine, arguments->applied, arguments->count, arguments->source, arguments->dry_run, report,
                            error);
}

int engine_import(lua_State *L) {
  luaL_checktype(L, 2, LUA_TTABLE);
  arguments_t arguments = {
      .count = (size_t)luaL_len(L, 2), .source = luaL_checkstring(L, 3), .dry_run = lua_toboolean(L, 4)};
  smig_import_t *applied = lua_newuserdatauv(L, (arguments.count + 1) * sizeof *applied, 0);
  for (size_t i = 0; i < arguments.count; i++) {
    luaL_argcheck(L, lua_rawgeti(L, 2, (lua_Integer)i + 1) == LUA_TTABLE, 2, "list of tables expected");
    luaL_argcheck(L, lua_getfield(L, -1, "step_id") == LUA_TSTRING, 2, "step_id expected"); /* the table keeps it */
    applied[i].step_id = lua_tostring(L, -1);
    lua_getfield(L, -2, "applied_at_ms");
    applied[i].applied_at_wall_ms = luaL_checkinteger(L, -1);
    lua_pop(L, 3);
  }
  arguments.applied = applied;
  return engine_call_for_report(L, import, &arguments);
}
