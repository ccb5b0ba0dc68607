/*
 * S3 in Lua (design: bindings, section 4): handles, exchanges and parsers in C; the methods stand in lua/smartmigration/s3. For the
 * context, which hands out the same handles bound to a step, and for the engine's options.
 */
#ifndef SMIG_BINDINGS_LS3_H
#define SMIG_BINDINGS_LS3_H

#include "kit.h"
#include "s3.h"

/* luaopen of `smartmigration.s3`: { connect(settings) -> client }. */
SMIG_API int luaopen_smartmigration_s3(lua_State *L);
/* luaopen of `smartmigration.s3.core`: what its Lua sources stand on. */
int luaopen_smartmigration_s3_core(lua_State *L);

struct ls3_exchange;

/*
 * What a family of handles belongs to: a client, and for a step its ctx. A userdata; handles keep it as a user value. Once ended, every
 * call through a handle raises "<handle> of step 'x' is no longer valid".
 */
typedef struct ls3_scope {
  smig_s3_t *client; /* NULL: closed */
  bool owns_client;
  int users;                      /* migrations that run over the client: it is not closed under them */
  smig_ctx_t *ctx;                /* of the step, for smig_ctx_check before every request; or NULL */
  char *owner;                    /* "step 'x'", for messages; or NULL */
  struct ls3_exchange *exchanges; /* under way: they end with the scope */
  int64_t uploads;                /* multipart uploads that are neither completed nor aborted */
  char *upload;                   /* one of them, "bucket/key"; or NULL */
} ls3_scope_t;

/* Pushes a scope over a borrowed client and a step's ctx. */
void ls3_push_scope(lua_State *L, smig_s3_t *client, smig_ctx_t *ctx);
/*
 * Ends the scope at idx: what is under way is abandoned, its handles raise from now on. When that is done it raises
 * UNFINISHED_WRITES if an upload was neither completed nor aborted.
 */
void ls3_end_scope(lua_State *L, int idx);
/* Pushes a client handle, or a handle of the bucket, within the scope at idx. */
void ls3_push_client(lua_State *L, int scope_idx);
void ls3_push_bucket(lua_State *L, int scope_idx, const char *name);
/* Whether the function at idx is a method of these handles. */
bool ls3_is_method(lua_State *L, int function_idx);
/*
 * The scope of the client handle at idx (raises when it is none, or closed): for smartmigration.new{s3={client=s3}}. Whoever keeps its
 * client keeps the handle, looks whether the scope is still open, and counts among its users meanwhile.
 */
ls3_scope_t *ls3_check_client(lua_State *L, int idx);

#endif
