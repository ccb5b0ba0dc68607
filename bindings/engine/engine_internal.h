/* What the files of engine/ share: the handle. */
#ifndef SMIG_BINDINGS_ENGINE_INTERNAL_H
#define SMIG_BINDINGS_ENGINE_INTERNAL_H

#include "lengine.h"
#include "lhost.h"
#include "lmongo.h"
#include "ls3.h"

#define ENGINE "smartmigration.engine"

/* User value 1: a table: [1…] the functions of the steps, log, mongo (the database handle given instead of a URI), s3_client (likewise). */
typedef struct lengine {
  smig_engine_t *engine; /* NULL: closed */
  lua_State *thread;     /* that called the engine; NULL: nobody is calling */
  lmongo_scope_t *scope; /* of the database handle given; NULL: none was */
  ls3_scope_t *s3_scope; /* likewise, of the S3 client */
} lengine_t;

/* The open handle at 1 that nobody is calling; raises else. */
lengine_t *engine_check(lua_State *L);
/* core.engine(options) */
int engine_new(lua_State *L);
/* handle:add_step(step [, file, checksum]) */
int engine_add_step(lua_State *L);
/* Calls for a report and pushes it as a plain table, or raises. */
typedef bool (*engine_report_fn)(smig_engine_t *engine, const void *arguments, bson_t *report, smig_error_t *error);
int engine_call_for_report(lua_State *L, engine_report_fn call, const void *arguments);
/* What an operator does: the handle's methods in operations.c. */
int engine_baseline(lua_State *L);
int engine_repair(lua_State *L);
int engine_import(lua_State *L);
int engine_unlock(lua_State *L);
int engine_checkpoints(lua_State *L);
int engine_clear_checkpoints(lua_State *L);
int engine_history(lua_State *L);
int engine_prune_history(lua_State *L);
int engine_stores(lua_State *L);
int engine_probe(lua_State *L);
/* The smig_log_fn of every engine made by Lua; `user` is its lengine_t. */
void engine_log(void *user, smig_log_level_t level, const char *message, const bson_t *fields);

#endif
