/*
 * The engine's handle. Users: lua/smartmigration/init.lua.
 * While the engine runs, the state is entered through step handlers and the logger only; a handle that is busy refuses all
 * but cancel.
 */
#include "engine_internal.h"
#include "lbson.h"

#include <mongoc/mongoc.h>

lengine_t *engine_check(lua_State *L) {
  lengine_t *handle = luaL_checkudata(L, 1, ENGINE);
  if (!handle->engine) kit_raise_argument(L, "migration is closed");
  if (handle->thread) kit_raise_argument(L, "migration is running: it cannot be used by its own steps or logger");
  if (handle->scope && !handle->scope->connection)
    kit_raise_argument(L, "the client of the migration's database is closed: keep it open as long as the migration");
  if (handle->s3_scope && !handle->s3_scope->client)
    kit_raise_argument(L, "the s3 client of the migration is closed: keep it open as long as the migration");
  return handle;
}

smig_engine_t *lengine_test(lua_State *L, int idx) {
  if (lua_istable(L, idx)) {
    lua_pushliteral(L, "engine");
    lua_rawget(L, lua_absindex(L, idx));
  } else {
    lua_pushvalue(L, idx);
  }
  const lengine_t *handle = luaL_testudata(L, -1, ENGINE);
  lua_pop(L, 1);
  return handle ? handle->engine : NULL;
}

/* --------------------------------------------------------------------- log */

typedef struct log_line {
  const lengine_t *handle;
  const char *level, *message;
  const bson_t *fields;
} log_line_t;

/* (log_line_t *) */
static int call_logger(lua_State *L) {
  const log_line_t *line = lua_touserdata(L, 1);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, line->handle) != LUA_TFUNCTION) return 0;
  lua_pushstring(L, line->level);
  lua_pushstring(L, line->message);
  if (line->fields)
    lbson_push_table(L, line->fields);
  else
    lua_newtable(L);
  lua_call(L, 3, 0);
  return 0;
}

/* A logger's errors are swallowed: a run does not fail because a line could not be written. */
void engine_log(void *user, smig_log_level_t level, const char *message, const bson_t *fields) {
  static const char *const levels[] = {"debug", "info", "warn", "error"};
  const lengine_t *handle = user;
  lua_State *L = handle->thread;
  if (!L || !lua_checkstack(L, 4)) return;
  /* Not in the step's name: its print would come back here, and the hook would end the logger instead of the step. */
  lhost_state_t *state = lhost_state(L), former = *state;
  state->ctx = NULL;
  state->outer = NULL;
  log_line_t line = {handle, levels[level], message, fields};
  lua_pushcfunction(L, call_logger);
  lua_pushlightuserdata(L, &line);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1);
  *state = former;
}

/*
 * The logger stands in the registry while the engine works, and no longer: it would keep a migration that it mentions alive.
 */
static void begin_call(lua_State *L, lengine_t *handle, lhost_section_t *section) {
  lua_getiuservalue(L, 1, 1);
  lua_getfield(L, -1, "log");
  lua_rawsetp(L, LUA_REGISTRYINDEX, handle);
  lua_pop(L, 1);
  lhost_enter(L, false, section);
  handle->thread = L;
  if (handle->scope) handle->scope->users++;
  if (handle->s3_scope) handle->s3_scope->users++;
}

static void end_call(lua_State *L, lengine_t *handle, const lhost_section_t *section) {
  handle->thread = NULL;
  if (handle->scope) handle->scope->users--;
  if (handle->s3_scope) handle->s3_scope->users--;
  lhost_leave(L, section);
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, handle); /* the key exists: needs no memory */
}

/* ----------------------------------------------------------------- methods */

static int method_validate_chain(lua_State *L) {
  lengine_t *handle = engine_check(L);
  smig_error_t error = SMIG_ERROR_INIT;
  lhost_section_t section;
  begin_call(L, handle, &section);
  bool done = smig_engine_validate_chain(handle->engine, &error);
  end_call(L, handle, &section);
  if (!done) return kit_raise(L, &error);
  return 0;
}

static void free_document(void *document) {
  bson_destroy(document);
}

/* Pushes the document as a plain table, or raises when the call failed. */
static int finish_call(lua_State *L, kit_box_t *box, bool done, smig_error_t *error) {
  if (!done) return kit_raise(L, error);
  lbson_push_table(L, box->pointer);
  kit_box_free(box);
  return 1;
}

static int call_for_result(lua_State *L, bool (*call)(smig_engine_t *, smig_result_t **, smig_error_t *)) {
  lengine_t *handle = engine_check(L);
  kit_box_t *box = kit_box_push(L, NULL, free_document);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_result_t *result = NULL;
  lhost_section_t section;
  begin_call(L, handle, &section);
  bool done = call(handle->engine, &result, &error);
  end_call(L, handle, &section);
  box->pointer = bson_new();
  if (done) smig_result_append(result, box->pointer);
  smig_result_free(result);
  return finish_call(L, box, done, &error);
}

int engine_call_for_report(lua_State *L, engine_report_fn call, const void *arguments) {
  lengine_t *handle = engine_check(L);
  kit_box_t *box = kit_box_push(L, NULL, free_document);
  smig_error_t error = SMIG_ERROR_INIT;
  bson_t report;
  lhost_section_t section;
  begin_call(L, handle, &section);
  bool done = call(handle->engine, arguments, &report, &error);
  end_call(L, handle, &section);
  box->pointer = bson_copy(&report);
  bson_destroy(&report);
  return finish_call(L, box, done, &error);
}

static int method_plan(lua_State *L) {
  return call_for_result(L, smig_engine_plan);
}

static int method_run(lua_State *L) {
  return call_for_result(L, smig_engine_run);
}

static bool validate(smig_engine_t *engine, const void *arguments, bson_t *report, smig_error_t *error) {
  (void)arguments;
  return smig_engine_validate(engine, report, error);
}

static int method_validate(lua_State *L) {
  return engine_call_for_report(L, validate, NULL);
}

static bool status(smig_engine_t *engine, const void *arguments, bson_t *report, smig_error_t *error) {
  (void)arguments;
  return smig_engine_status(engine, report, error);
}

static int method_status(lua_State *L) {
  return engine_call_for_report(L, status, NULL);
}

static int method_cancel(lua_State *L) {
  const lengine_t *handle = luaL_checkudata(L, 1, ENGINE);
  if (handle->engine) smig_engine_cancel(handle->engine, (int)luaL_optinteger(L, 2, 0));
  return 0;
}

static void close_engine(lengine_t *handle) {
  if (!handle->engine) return;
  lhost_signals_forget(handle->engine);
  smig_engine_free(handle->engine);
  handle->engine = NULL;
  handle->scope = NULL;
  handle->s3_scope = NULL;
}

static int method_close(lua_State *L) {
  lengine_t *handle = luaL_checkudata(L, 1, ENGINE);
  if (handle->thread)
    return kit_raise_argument(L, "migration is running: it cannot be closed by its own steps or logger");
  close_engine(handle);
  lua_newtable(L); /* lets go of steps, logger and database */
  lua_setiuservalue(L, 1, 1);
  return 0;
}

static int engine_gc(lua_State *L) {
  close_engine(luaL_checkudata(L, 1, ENGINE));
  return 0;
}

static int engine_tostring(lua_State *L) {
  const lengine_t *handle = luaL_checkudata(L, 1, ENGINE);
  lua_pushfstring(L, "migration (%s)", !handle->engine ? "closed" : handle->thread ? "running" : "open");
  return 1;
}

/* ------------------------------------------------------------------ module */

static int core_raise(lua_State *L) {
  static const char *const no_code = "core.raise takes a code of the table, not '%s'";
  const char *name = luaL_checkstring(L, 1), *message = luaL_checkstring(L, 2);
  smig_code_t code;
  if (!smig_code_from_name(name, &code)) return luaL_error(L, no_code, name);
  const bson_t *details = lua_isnoneornil(L, 3) ? NULL : lbson_check(L, 3, LBSON_DOCUMENT, "details", NULL);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_error_set(&error, code, "%s", message);
  if (details) bson_concat(smig_error_details(&error), details);
  return kit_raise(L, &error);
}

static int core_raise_argument(lua_State *L) {
  return kit_raise_argument(L, "%s", luaL_checkstring(L, 1));
}

static int core_suggest(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_Integer count = luaL_len(L, 2);
  const char **names = lua_newuserdatauv(L, ((size_t)count + 1) * sizeof *names, 0);
  size_t used = 0;
  for (lua_Integer i = 1; i <= count; i++) {
    if (lua_rawgeti(L, 2, i) == LUA_TSTRING) names[used++] = lua_tostring(L, -1); /* the table keeps it */
    lua_pop(L, 1);
  }
  names[used] = NULL;
  lua_pushstring(L, kit_suggest(name, names));
  return 1;
}

static void push_codes(lua_State *L) {
  lua_newtable(L);
  for (smig_code_t code = SMIG_OK + 1; code < SMIG_FOREIGN; code++) {
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, smig_code_exit_status(code));
    lua_setfield(L, -2, "exit");
    lua_pushstring(L, smig_code_text(code));
    lua_setfield(L, -2, "text");
    lua_setfield(L, -2, smig_code_name(code));
  }
}

static void push_versions(lua_State *L) {
  lua_createtable(L, 0, 4);
  lua_pushliteral(L, SMIG_VERSION);
  lua_setfield(L, -2, "smartmigration");
  lua_pushstring(L, mongoc_get_version());
  lua_setfield(L, -2, "libmongoc");
  lua_pushstring(L, bson_get_version());
  lua_setfield(L, -2, "libbson");
  lua_pushliteral(L, LUA_RELEASE);
  lua_setfield(L, -2, "lua");
}

int luaopen_smartmigration_core(lua_State *L) {
  static const luaL_Reg methods[] = {{"add_step", engine_add_step},
                                     {"validate_chain", method_validate_chain},
                                     {"validate", method_validate},
                                     {"plan", method_plan},
                                     {"run", method_run},
                                     {"status", method_status},
                                     {"baseline", engine_baseline},
                                     {"repair", engine_repair},
                                     {"import", engine_import},
                                     {"unlock", engine_unlock},
                                     {"checkpoints", engine_checkpoints},
                                     {"clear_checkpoints", engine_clear_checkpoints},
                                     {"history", engine_history},
                                     {"prune_history", engine_prune_history},
                                     {"stores", engine_stores},
                                     {"probe", engine_probe},
                                     {"cancel", method_cancel},
                                     {"close", method_close},
                                     {NULL, NULL}};
  static const luaL_Reg meta[] = {
      {"__gc", engine_gc}, {"__close", method_close}, {"__tostring", engine_tostring}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"engine", engine_new},
                                       {"raise", core_raise},
                                       {"raise_argument", core_raise_argument},
                                       {"suggest", core_suggest},
                                       {NULL, NULL}};
  kit_new_class(L, ENGINE, "migration", methods, meta, NULL);
  luaL_newlib(L, functions);
  push_codes(L);
  lua_setfield(L, -2, "codes");
  push_versions(L);
  lua_setfield(L, -2, "version");
  return 1;
}
