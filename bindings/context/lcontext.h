/* `ctx`, what a step gets (contract, section 8; design: bindings, section 6). Users: host/step.c. */
#ifndef SMIG_BINDINGS_LCONTEXT_H
#define SMIG_BINDINGS_LCONTEXT_H

#include "connection.h"
#include "kit.h"

/* Pushes a ctx object over `ctx`. The connection may be NULL (no MongoDB). */
void lcontext_push(lua_State *L, smig_ctx_t *ctx, smig_mongo_connection_t *connection, const char *database);
/* Ends it when its step is over: every later use raises "ctx of step 'x' is no longer valid". */
void lcontext_end(lua_State *L, int idx);

#endif
