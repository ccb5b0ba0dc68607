/*
 * The loop that runs a function in a transaction, again where MongoDB says that it may succeed then.
 * Users: database:transaction, ctx:transaction. Units: milliseconds, monotonic. Errors: the last attempt's; what the function raises
 * comes out as the very value. Rule: bindings design, section 3.1, after MongoDB's specification of the convenient transactions API:
 * TransientTransactionError runs the whole function again, UnknownTransactionCommitResult commits again (the driver then asks for a
 * majority). It is a loop of our own because the driver's would have Lua raise through its frames, and retries for a fixed 120 s.
 */
#include "internal.h"

#include <string.h>
#include <time.h>

enum { DEFAULT_TIME_MS = 120000, FIRST_PAUSE_MS = 5, LONGEST_PAUSE_MS = 500 };

static int64_t now_ms(void) {
  return bson_get_monotonic_time() / 1000;
}

/* Waits before attempt number `attempt`, longer each time, by chance a little less: runs that collide part. */
static void pause_before(int attempt, int64_t left_ms) {
  int64_t pause = FIRST_PAUSE_MS;
  for (int i = 1; i < attempt && pause < LONGEST_PAUSE_MS; i++) pause += pause / 2 + 1;
  if (pause > LONGEST_PAUSE_MS) pause = LONGEST_PAUSE_MS;
  pause = pause / 2 + bson_get_monotonic_time() % (pause / 2 + 1);
  if (pause > left_ms) pause = left_ms;
  struct timespec wait = {.tv_sec = pause / 1000, .tv_nsec = (long)(pause % 1000) * 1000000};
  nanosleep(&wait, NULL);
}

typedef struct loop {
  lmongo_scope_t *scope;
  lmongo_session_t *session;
  int64_t deadline_ms;
  int attempt;
} loop_t;

/* Whether there may be another attempt; if so, pauses. Raises when the run must end: the lease's deadline is the limit, too. */
static bool may_go_on(lua_State *L, loop_t *loop) {
  int64_t left = loop->deadline_ms - now_ms();
  if (left <= 0) return false;
  pause_before(++loop->attempt, left);
  lmongo_check_scope(L, loop->scope, "database");
  return now_ms() < loop->deadline_ms;
}

/* Raises the value on top, after what the loop holds has been closed. */
static int give_up(lua_State *L, loop_t *loop) {
  lmongo_session_close(loop->session);
  return lua_error(L);
}

static bool in_transaction(const loop_t *loop) {
  return loop->session->session && mongoc_client_session_in_transaction(loop->session->session);
}

/* A mistake of the function's gets its traceback here, where it is known; other values come out as they are. */
static int handle_message(lua_State *L) {
  return lua_type(L, 1) == LUA_TSTRING ? kit_message_handler(L) : 1;
}

/* (…results): raises what `return nil, "why"` hands over, as the function would have by error(). */
static int raise_returned(lua_State *L) {
  lua_settop(L, 2);
  if (kit_test_error(L, 2)) return lua_error(L);
  kit_push_text(L, 2);
  lua_pushfstring(L, "the function of transaction returned %s and '%s': raise what is to undo it with error()",
                  lua_isnil(L, 1) ? "nil" : "false", lua_tostring(L, -1));
  return lua_error(L);
}

/* Whether the results above `top` are nil or false and an error value. */
static bool returned_failure(lua_State *L, int top) {
  return lua_gettop(L) >= top + 2 && !lua_toboolean(L, top + 1) && !lua_isnil(L, top + 2);
}

/* Runs the function at function_idx; true: it returned, its results are on top. False: it is to be run again. */
static bool attempt(lua_State *L, loop_t *loop, int function_idx, int session_idx) {
  int top = lua_gettop(L);
  lua_pushcfunction(L, handle_message);
  lua_pushvalue(L, function_idx);
  lua_pushvalue(L, session_idx);
  bool returned = lua_pcall(L, 1, LUA_MULTRET, top + 1) == LUA_OK;
  if (returned && in_transaction(loop) && returned_failure(L, top + 1)) {
    lua_pushcfunction(L, raise_returned);
    lua_insert(L, top + 2);
    returned = lua_pcall(L, lua_gettop(L) - top - 2, 0, top + 1) == LUA_OK;
  }
  lua_remove(L, top + 1);
  if (returned) return true;
  const smig_error_t *error = kit_test_error(L, -1);
  bool again = error && smig_error_has_label(error, "TransientTransactionError");
  if (in_transaction(loop)) lmongo_session_abort(loop->session, NULL);
  if (!again || !loop->session->session || !may_go_on(L, loop)) give_up(L, loop);
  lua_settop(L, top);
  return false;
}

/* Commits; false: the function is to be run again. */
static bool commit(lua_State *L, loop_t *loop) {
  smig_error_t error = SMIG_ERROR_INIT;
  while (!lmongo_session_commit(loop->session, &error)) {
    bool expired = error.name && strcmp(error.name, "MaxTimeMSExpired") == 0;
    bool unknown = smig_error_has_label(&error, "UnknownTransactionCommitResult") && !expired;
    bool transient = smig_error_has_label(&error, "TransientTransactionError");
    lua_pushcfunction(L, kit_message_handler); /* gives the error its traceback */
    kit_push_error(L, &error);                 /* Lua owns it before anything can raise */
    lua_call(L, 1, 1);
    if ((!unknown && !transient) || !may_go_on(L, loop)) give_up(L, loop);
    lua_pop(L, 1);
    if (!unknown) return false;
  }
  return true;
}

int lmongo_transaction(lua_State *L, int scope_idx, int function_idx, int options_idx) {
  static const kit_option_t descriptors[] = {LMONGO_TRANSACTION_OPTIONS,
                                             LMONGO_RANGE(lmongo_transaction_options_t, max_time_ms, 1, INT32_MAX),
                                             LMONGO_END_OPTIONS};
  scope_idx = lua_absindex(L, scope_idx);
  function_idx = lua_absindex(L, function_idx);
  if (lua_type(L, function_idx) != LUA_TFUNCTION) kit_argerror(L, function_idx, "function");
  lmongo_transaction_options_t options = {.max_time_ms = DEFAULT_TIME_MS};
  if (options_idx) kit_read_options(L, options_idx, "transaction", descriptors, &options);
  loop_t loop = {.scope = lmongo_to_scope(L, scope_idx)};
  lmongo_check_scope(L, loop.scope, "database");
  loop.deadline_ms = now_ms() + options.max_time_ms;
  const mongoc_transaction_opt_t *opts = lmongo_push_transaction_opts(L, &options);
  loop.session = lmongo_push_session(L, scope_idx, 0);
  int session_idx = lua_gettop(L);
  for (;;) {
    lmongo_session_begin(L, loop.session, opts);
    if (!attempt(L, &loop, function_idx, session_idx)) continue;
    if (!loop.session->session) return kit_raise_argument(L, "the function of transaction must not close its session");
    if (!in_transaction(&loop)) break; /* the function has committed or aborted itself */
    if (commit(L, &loop)) break;
    lua_settop(L, session_idx);
  }
  lmongo_session_close(loop.session);
  return lua_gettop(L) - session_idx;
}
