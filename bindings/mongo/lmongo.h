/*
 * The MongoDB driver in Lua (design: bindings, section 3). For the context, which hands out the same handles bound to a step.
 */
#ifndef SMIG_BINDINGS_LMONGO_H
#define SMIG_BINDINGS_LMONGO_H

#include "connection.h"
#include "kit.h"

/* luaopen of `smartmigration.mongo`: { connect(uri [, opts]) -> client }. */
SMIG_API int luaopen_smartmigration_mongo(lua_State *L);

struct lmongo_child;
struct lmongo_session;

/*
 * What a family of handles belongs to: a connection, and for a step its session, its comment and its guard. A userdata; handles
 * keep it as a user value. Once ended, every call through a handle raises "<handle> of step 'x' is no longer valid".
 */
typedef struct lmongo_scope {
  smig_mongo_connection_t *connection; /* NULL: closed */
  bool owns_connection;
  mongoc_client_session_t *session; /* of the step: every command without another carries it; or NULL */
  const char *comment;              /* of the step: every command carries it; or NULL */
  smig_ctx_t *ctx;                  /* of the step, for smig_ctx_check before every call; or NULL */
  char *owner;                      /* "step 'x'", for messages; or NULL */
  struct lmongo_child *children;    /* open cursors and sessions: they end with the scope */
  struct lmongo_session
      *transaction; /* the session that is in a transaction, to warn of commands outside of it; or NULL */
  int users;        /* migrations that run over the connection: it is not closed under them */
  char *unfinished; /* what was given and never reached the server, for the end to raise; or NULL */
} lmongo_scope_t;

/* Pushes a scope (userdata) over a borrowed connection and a step's ctx (NULL: none). */
lmongo_scope_t *lmongo_push_scope(lua_State *L, smig_mongo_connection_t *connection, smig_ctx_t *ctx);
/*
 * Ends the scope at idx: closes its sessions and cursors; its handles raise from now on. When that is done it raises UNFINISHED_WRITES
 * if a writer or an upload was neither closed nor aborted.
 */
void lmongo_end_scope(lua_State *L, int idx);
/* Pushes a database handle within the scope at idx. */
void lmongo_push_database(lua_State *L, int scope_idx, const char *name);
/* ctx:start_session and ctx:transaction: the same as the methods of a database handle. They return the number of results pushed. */
int lmongo_start_session(lua_State *L, int scope_idx, int options_idx);
int lmongo_transaction(lua_State *L, int scope_idx, int function_idx, int options_idx);
/* Whether the function at idx is a method of collection or database handles. */
bool lmongo_is_method(lua_State *L, int function_idx);
/*
 * The scope and name of the database handle at idx (raises when it is none, or closed): for smartmigration.new{mongo={database=db}}.
 * Whoever keeps the connection keeps the handle, looks whether the scope is still open, and counts among its users meanwhile.
 */
lmongo_scope_t *lmongo_check_database(lua_State *L, int idx, const char **name);

#endif
