/*
 * Cursors: callable, so that a generic `for` reads them, and closed by it.
 * Users: Lua; reads.c, indexes.c, database.c make them. Errors: "cursor is closed"; a server's. Rule: bindings design, D7 and D8.
 * A document is copied once, out of the driver's buffer, which lives until the next step.
 */
#include "internal.h"

#include <string.h>

enum { ALL_AT_MOST = 10000 };

/* libmongoc 1.23 sends killCursors with the read concern of a snapshot session, which the server refuses: without a session then. */
static void kill_snapshot_cursor(const lmongo_cursor_t *cursor) {
  int64_t id = mongoc_cursor_get_id(cursor->cursor);
  const mongoc_session_opt_t *opts =
      cursor->child.session ? mongoc_client_session_get_opts(cursor->child.session) : NULL;
  const char *dot = strchr(cursor->ns, '.');
  if (!id || !opts || !mongoc_session_opts_get_snapshot(opts) || !dot) return;
  bson_t command = BSON_INITIALIZER, ids;
  BSON_APPEND_UTF8(&command, "killCursors", dot + 1);
  BSON_APPEND_ARRAY_BEGIN(&command, "cursors", &ids);
  BSON_APPEND_INT64(&ids, "0", id);
  bson_append_array_end(&command, &ids);
  char *database = bson_strndup(cursor->ns, (size_t)(dot - cursor->ns));
  mongoc_client_t *client = smig_mongo_connection_client(cursor->scope->connection);
  uint32_t server = mongoc_cursor_get_hint(cursor->cursor);
  bson_t where = BSON_INITIALIZER;
  if (server) BSON_APPEND_INT32(&where, "serverId", (int32_t)server);
  mongoc_client_command_with_opts(client, database, &command, NULL, &where, NULL, NULL);
  bson_destroy(&where);
  bson_free(database);
  bson_destroy(&command);
}

static void release(lmongo_cursor_t *cursor, lmongo_cursor_state_t state) {
  if (cursor->state == LMONGO_OPEN) {
    lmongo_unlink(cursor->scope, &cursor->child);
    kill_snapshot_cursor(cursor);
    mongoc_cursor_destroy(cursor->cursor); /* ends the server's, too */
    cursor->cursor = NULL;
  }
  cursor->state = state;
}

static void close_child(lmongo_child_t *child) {
  release((lmongo_cursor_t *)(void *)child, LMONGO_CLOSED);
}

lmongo_cursor_t *lmongo_push_cursor(lua_State *L, const lmongo_call_t *call, const char *as) {
  bool as_table = as && strcmp(as, "table") == 0;
  if (as && !as_table && strcmp(as, "document") != 0) {
    kit_raise_argument(L, "option 'as' must be \"document\" or \"table\", got '%s'", as);
  }
  lmongo_cursor_t *cursor = lua_newuserdatauv(L, sizeof *cursor, 4);
  *cursor = (lmongo_cursor_t){.child = {.close = close_child, .session = call->session}, .scope = call->scope};
  luaL_setmetatable(L, LMONGO_CURSOR);
  cursor->phrase = call->phrase;
  cursor->ns = bson_strdup(call->target->ns);
  cursor->as_table = as_table;
  lua_getiuservalue(L, 1, 1); /* the handle's scope */
  lua_setiuservalue(L, -2, 1);
  if (call->session_idx) {
    lua_pushvalue(L, call->session_idx);
    lua_setiuservalue(L, -2, 2);
  }
  if (as_table) {
    luaL_requiref(L, "smartmigration.bson", luaopen_smartmigration_bson, false);
    lua_getfield(L, -1, "to_table");
    lua_setiuservalue(L, -3, 3);
    lua_pop(L, 1);
  }
  return cursor;
}

static void raise_if_failed(lua_State *L, lmongo_cursor_t *cursor) {
  bson_error_t cause;
  const bson_t *reply;
  if (!mongoc_cursor_error_document(cursor->cursor, &cause, &reply)) return;
  smig_error_t error = SMIG_ERROR_INIT;
  lmongo_make_error(cursor->scope, &error, cursor->phrase, cursor->ns, reply, &cause);
  release(cursor, LMONGO_CLOSED);
  kit_raise(L, &error);
}

void lmongo_cursor_open(lua_State *L, lmongo_cursor_t *cursor, mongoc_cursor_t *opened) {
  lmongo_tell(cursor->scope, NULL);
  cursor->cursor = opened;
  cursor->state = LMONGO_OPEN;
  lmongo_link(cursor->scope, &cursor->child);
  raise_if_failed(L, cursor);
}

bool lmongo_cursor_advance(lua_State *L, int idx, bool wait) {
  idx = lua_absindex(L, idx);
  lmongo_cursor_t *cursor = lua_touserdata(L, idx);
  if (cursor->state == LMONGO_DONE) return false;
  if (cursor->state == LMONGO_CLOSED) {
    const char *owner = cursor->scope->connection ? NULL : cursor->scope->owner;
    if (owner) kit_raise_argument(L, "cursor of %s is no longer valid", owner);
    kit_raise_argument(L, "cursor is closed");
  }
  do {
    lmongo_check_scope(L, cursor->scope, "cursor");
    const bson_t *document;
    if (mongoc_cursor_next(cursor->cursor, &document)) {
      if (!cursor->as_table) {
        lbson_push_document(L, document);
      } else {
        lua_getiuservalue(L, idx, 3);
        lbson_push_document(L, document);
        lua_call(L, 1, 1);
      }
      return true;
    }
    raise_if_failed(L, cursor);
    if (!mongoc_cursor_more(cursor->cursor)) {
      release(cursor, LMONGO_DONE);
      return false;
    }
  } while (wait); /* an empty batch of a cursor that goes on */
  return false;
}

int lmongo_return_cursor(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  lua_pushvalue(L, idx);
  lua_pushnil(L);
  lua_pushnil(L);
  lua_pushvalue(L, idx);
  return 4;
}

int lmongo_collect_names(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  lua_newtable(L);
  for (lua_Integer i = 1; lmongo_cursor_advance(L, idx, true); i++) {
    lua_getfield(L, -1, "name");
    lua_rawseti(L, -3, i);
    lua_pop(L, 1);
  }
  return 1;
}

/* ----------------------------------------------------------------- methods */

static lmongo_cursor_t *check_cursor(lua_State *L) {
  lmongo_cursor_t *cursor = luaL_testudata(L, 1, LMONGO_CURSOR);
  if (!cursor) kit_argerror(L, 1, "cursor");
  return cursor;
}

static int step(lua_State *L, bool wait) {
  check_cursor(L);
  if (!lmongo_cursor_advance(L, 1, wait)) lua_pushnil(L);
  return 1;
}

/* cursor:next() -> document, or nil at the end */
static int cursor_next(lua_State *L) {
  return step(L, true);
}

/* cursor(), what loops call: upvalue 1 is the class, so that nothing needs to be looked up by name. */
static int cursor_call(lua_State *L) {
  if (!lua_getmetatable(L, 1) || !lua_rawequal(L, -1, lua_upvalueindex(1))) check_cursor(L);
  if (!lmongo_cursor_advance(L, 1, true)) lua_pushnil(L);
  return 1;
}

/* cursor:try_next() -> document, or nil: asks the server once at most */
static int cursor_try_next(lua_State *L) {
  return step(L, false);
}

/* cursor:all([max]) -> array; closes the cursor */
static int cursor_all(lua_State *L) {
  lmongo_cursor_t *cursor = check_cursor(L);
  lua_settop(L, 2);
  int is_integer = 1;
  lua_Integer most = lua_isnil(L, 2) ? ALL_AT_MOST : lua_tointegerx(L, 2, &is_integer);
  if (!is_integer || most < 0) return kit_argerror(L, 2, "integer from 0 expected");
  lua_newtable(L);
  for (lua_Integer i = 1; lmongo_cursor_advance(L, 1, true); i++) {
    if (i > most) {
      release(cursor, LMONGO_CLOSED);
      return kit_raise_argument(
          L, "the cursor has more than %lld documents: give a greater maximum to all(), or loop over it",
          (long long)most);
    }
    lua_rawseti(L, 3, i);
  }
  release(cursor, LMONGO_CLOSED);
  return 1;
}

/* The iterator of batches: upvalues are the cursor and the size. */
static int next_batch(lua_State *L) {
  lua_settop(L, 0);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_Integer size = lua_tointeger(L, lua_upvalueindex(2));
  lua_newtable(L);
  lua_Integer count = 0;
  while (count < size && lmongo_cursor_advance(L, 1, true)) {
    lua_rawseti(L, 2, ++count);
  }
  if (!count) lua_pushnil(L);
  return 1;
}

/* for documents in cursor:batches(n) do … end: arrays of up to n documents */
static int cursor_batches(lua_State *L) {
  check_cursor(L);
  int is_integer;
  lua_Integer size = lua_tointegerx(L, 2, &is_integer);
  if (!is_integer || size < 1) return kit_argerror(L, 2, "integer from 1 expected");
  lua_pushvalue(L, 1);
  lua_pushinteger(L, size);
  lua_pushcclosure(L, next_batch, 2);
  lua_pushnil(L);
  lua_pushnil(L);
  lua_pushvalue(L, 1);
  return 4;
}

static int cursor_close(lua_State *L) {
  release(check_cursor(L), LMONGO_CLOSED);
  return 0;
}

static int cursor_gc(lua_State *L) {
  lmongo_cursor_t *cursor = lua_touserdata(L, 1);
  release(cursor, LMONGO_CLOSED);
  bson_free(cursor->ns);
  cursor->ns = NULL;
  bson_destroy(cursor->explained);
  cursor->explained = NULL;
  return 0;
}

/* cursor:explain([verbosity]) -> how the server does what the cursor asked for; the cursor is left alone */
static int cursor_explain(lua_State *L) {
  lmongo_cursor_t *cursor = check_cursor(L);
  lua_settop(L, 2);
  lua_getiuservalue(L, 1, 4);
  lua_getiuservalue(L, 1, 2);
  if (!cursor->explained) return kit_raise_argument(L, "only a cursor of find or aggregate can be explained");
  lmongo_common_t common = {.session = lua_isnil(L, 4) ? 0 : 4};
  return lmongo_push_explanation(L, lua_touserdata(L, 3), &common, lmongo_check_verbosity(L, 2), cursor->explained);
}

static int cursor_tostring(lua_State *L) {
  static const char *const states[] = {"closed", "open", "at its end"};
  lmongo_cursor_t *cursor = check_cursor(L);
  lua_pushfstring(L, "cursor '%s' (%s)", cursor->ns ? cursor->ns : "", states[cursor->state]);
  return 1;
}

/* #cursor, pairs(cursor), and ipairs(cursor), which indexes it */
static int refuse_as_table(lua_State *L) {
  return kit_raise_argument(L, "a cursor is no table: for doc in cursor do ... end, or cursor:all()");
}

static int cursor_field(lua_State *L, const char *field) {
  if (strcmp(field, "alive") != 0) return 0;
  lmongo_cursor_t *cursor = check_cursor(L);
  lua_pushboolean(L, cursor->state == LMONGO_OPEN && mongoc_cursor_more(cursor->cursor));
  return 1;
}

void lmongo_new_cursor_class(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"next", cursor_next},       {"try_next", cursor_try_next}, {"all", cursor_all}, {"batches", cursor_batches},
      {"explain", cursor_explain}, {"close", cursor_close},       {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__close", cursor_close},       {"__gc", cursor_gc},
                                  {"__len", refuse_as_table},      {"__pairs", refuse_as_table},
                                  {"__tostring", cursor_tostring}, {NULL, NULL}};
  kit_new_class(L, LMONGO_CURSOR, "cursor", methods, meta, cursor_field);
  luaL_getmetatable(L, LMONGO_CURSOR);
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, cursor_call, 1);
  lua_setfield(L, -2, "__call");
  lua_pop(L, 1);
}
