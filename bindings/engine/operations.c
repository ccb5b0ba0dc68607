/*
 * The handle's methods for operators: baseline, repair, unlock, checkpoints, history, and what doctor asks for. Arguments stand on the stack while the engine
 * works. Users: lua/smartmigration/operations.lua and doctor, which have checked them for the author.
 */
#include "engine_internal.h"

typedef struct arguments {
  const char *text; /* a version, a step's id, a holder; NULL: none */
  smig_repair_t repair;
  bool flag;
  int64_t age_ms;
} arguments_t;

static bool baseline(smig_engine_t *engine, const void *given, bson_t *report, smig_error_t *error) {
  const arguments_t *arguments = given;
  return smig_engine_baseline(engine, arguments->text, arguments->flag, report, error);
}

int engine_baseline(lua_State *L) {
  arguments_t arguments = {.text = luaL_checkstring(L, 2), .flag = lua_toboolean(L, 3)};
  return engine_call_for_report(L, baseline, &arguments);
}

static bool repair(smig_engine_t *engine, const void *given, bson_t *report, smig_error_t *error) {
  const arguments_t *arguments = given;
  return smig_engine_repair(engine, arguments->repair, arguments->text, report, error);
}

int engine_repair(lua_State *L) {
  static const char *const kinds[] = {"mark-applied", "mark-pending", "accept-drift", "rerun", NULL};
  arguments_t arguments = {.repair = (smig_repair_t)luaL_checkoption(L, 2, NULL, kinds),
                           .text = luaL_checkstring(L, 3)};
  return engine_call_for_report(L, repair, &arguments);
}

static bool unlock(smig_engine_t *engine, const void *given, bson_t *report, smig_error_t *error) {
  const arguments_t *arguments = given;
  return smig_engine_unlock(engine, arguments->text, report, error);
}

int engine_unlock(lua_State *L) {
  arguments_t arguments = {.text = luaL_optstring(L, 2, NULL)};
  return engine_call_for_report(L, unlock, &arguments);
}

static bool checkpoints(smig_engine_t *engine, const void *given, bson_t *report, smig_error_t *error) {
  const arguments_t *arguments = given;
  return smig_engine_checkpoints(engine, arguments->text, arguments->flag, report, error);
}

int engine_checkpoints(lua_State *L) {
  arguments_t arguments = {.text = luaL_optstring(L, 2, NULL), .flag = lua_toboolean(L, 3)};
  return engine_call_for_report(L, checkpoints, &arguments);
}

static bool clear_checkpoints(smig_engine_t *engine, const void *given, bson_t *report, smig_error_t *error) {
  const arguments_t *arguments = given;
  return smig_engine_clear_checkpoints(engine, arguments->text, report, error);
}

int engine_clear_checkpoints(lua_State *L) {
  arguments_t arguments = {.text = luaL_optstring(L, 2, NULL)};
  return engine_call_for_report(L, clear_checkpoints, &arguments);
}

static bool history(smig_engine_t *engine, const void *given, bson_t *report, smig_error_t *error) {
  (void)given;
  return smig_engine_history(engine, report, error);
}

int engine_history(lua_State *L) {
  return engine_call_for_report(L, history, NULL);
}

static bool prune_history(smig_engine_t *engine, const void *given, bson_t *report, smig_error_t *error) {
  const arguments_t *arguments = given;
  return smig_engine_prune_history(engine, arguments->age_ms, report, error);
}

int engine_prune_history(lua_State *L) {
  arguments_t arguments = {.age_ms = luaL_checkinteger(L, 2)};
  return engine_call_for_report(L, prune_history, &arguments);
}

static bool stores(smig_engine_t *engine, const void *given, bson_t *report, smig_error_t *error) {
  (void)given;
  return smig_engine_stores(engine, report, error);
}

int engine_stores(lua_State *L) {
  return engine_call_for_report(L, stores, NULL);
}

static bool probe(smig_engine_t *engine, const void *given, bson_t *report, smig_error_t *error) {
  (void)given;
  return smig_engine_probe(engine, report, error);
}

int engine_probe(lua_State *L) {
  return engine_call_for_report(L, probe, NULL);
}
