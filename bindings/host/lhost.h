/*
 * The host: runs Lua functions as steps of the C engine, loads migration files, interrupts Lua.
 */
#ifndef SMIG_BINDINGS_LHOST_H
#define SMIG_BINDINGS_LHOST_H

#include "kit.h"

/* A Lua function as a step's `up`; freed through smig_step_t.user_free. The state must outlive the engine. */
typedef struct lhost_step lhost_step_t;
/* Takes the function at idx. */
lhost_step_t *lhost_step_new(lua_State *L, int idx);
void lhost_step_free(void *step);
/* The smig_up_fn of such a step. */
bool lhost_step_up(smig_ctx_t *ctx, void *step, smig_error_t *error);

/*
 * The interruption hook: set on the running thread before files are loaded or steps run (coroutines made later inherit it), so
 * that a pure Lua loop ends when the guard is shut or a stop is asked for. `ctx` NULL takes it off and restores the host's.
 */
void lhost_interrupt_begin(lua_State *L, smig_ctx_t *ctx);
void lhost_interrupt_end(lua_State *L);

#endif
