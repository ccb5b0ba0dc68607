/*
 * The host: runs Lua functions as steps of the C engine, interrupts Lua, registers what is compiled in.
 * Users: engine (core.engine), module.c, main.c, the Lua loader through `smartmigration.host`.
 * Threads: a lua_State's one thread. Rules: bindings design, section 7.
 */
#ifndef SMIG_BINDINGS_LHOST_H
#define SMIG_BINDINGS_LHOST_H

#include "kit.h"

/* ------------------------------------------------------------------- steps */

/* A Lua function as a step's `up`; freed through smig_step_t.user_free. The state must outlive the engine. */
typedef struct lhost_step lhost_step_t;
/* Takes the function at idx, which stays alive as long as the caller keeps it: a registry reference of ours would keep
 * an engine alive for ever when its step mentions it. */
lhost_step_t *lhost_step_new(lua_State *L, int idx);
void lhost_step_free(void *step);
/* The smig_up_fn of such a step. It runs on the thread of the innermost lhost_enter. */
bool lhost_step_up(smig_ctx_t *ctx, void *step, smig_error_t *error);

/* ---------------------------------------------------------------- sections */

/*
 * A section is a stretch of time in which migration files are loaded or an engine runs. In it the thread has our count hook
 * (coroutines made in it inherit it), so that a pure Lua loop of a step ends when the run must; and os.exit, debug.sethook
 * and print are ours: os.exit and debug.sethook raise, print goes to the log. The host's come back at its end.
 */
typedef struct lhost_state {
  lua_State *thread;               /* of the innermost section; NULL outside */
  smig_ctx_t *ctx;                 /* of the step that runs in it, or NULL */
  const struct lhost_state *outer; /* of the section around it: a step may run another migration; or NULL */
  int depth;                       /* of sections */
  bool loading;                    /* the innermost section loads files */
} lhost_state_t;

typedef struct lhost_section {
  lhost_state_t former;
  lua_Hook hook;
  int mask, count;
} lhost_section_t;

/* The state's record, made at first use; lives as long as the state. */
lhost_state_t *lhost_state(lua_State *L);
/* Between the two nothing may raise past the caller, and the section stays where it is. */
void lhost_enter(lua_State *L, bool loading, lhost_section_t *section);
void lhost_leave(lua_State *L, const lhost_section_t *section);

/* ----------------------------------------------------------------- modules */

/*
 * Registers the embedded Lua sources and the C modules in package.preload. `own_state`: the state belongs to the binary, so its
 * embedded argparse comes before an installed one; else after it.
 */
void lhost_preload(lua_State *L, bool own_state);
/* Runs the embedded module and pushes what it returns. */
int lhost_open_embedded(lua_State *L, const char *name);
/*
 * luaopen of `smartmigration.host`: what the loader does in C:
 *   guard(function, log, …) -> true, … or false, error   calls the function in a loading section
 *   load_file(path, chunk, environment) -> function, checksum; or nil, message
 */
int luaopen_smartmigration_host(lua_State *L);

/* ----------------------------------------------------------------- process */

/* The arguments of main, for process.hide_argument. Borrowed for the life of the process. */
void lhost_set_arguments(int argc, char **argv);
/* The engine is about to be freed: signals must not reach it any more. */
void lhost_signals_forget(smig_engine_t *engine);
/* "sha256:" is not part of it: 64 hexadecimal digits and NUL. */
enum { LHOST_SHA256_SIZE = 65 };
bool lhost_sha256(const void *data, size_t length, char out[LHOST_SHA256_SIZE]);

#endif
