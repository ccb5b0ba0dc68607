/*
 * Scopes: what a family of handles belongs to, and the order in which things end: cursors, sessions, connection.
 * Users: every file of mongo/, the context. Errors: a scope that is over raises at every use of its handles; a run that must end
 * raises LOCK_LOST or INTERRUPTED. Threads: the thread of the Lua state. Rule: bindings design, D7 and section 9.
 *
 * The children are a list in C, not a table in Lua: at lua_close finalizers run in any order, and the driver's cursors and
 * sessions must be gone before the client they came from.
 */
#include "internal.h"

#include <string.h>

#define SCOPE "smartmigration.mongo.scope"

enum { DOCUMENT_VALIDATION_FAILURE = 121 };

void lmongo_link(lmongo_scope_t *scope, lmongo_child_t *child) {
  child->previous = NULL;
  child->next = scope->children;
  if (scope->children) scope->children->previous = child;
  scope->children = child;
}

void lmongo_unlink(lmongo_scope_t *scope, lmongo_child_t *child) {
  if (child->previous)
    child->previous->next = child->next;
  else
    scope->children = child->next;
  if (child->next) child->next->previous = child->previous;
  child->previous = child->next = NULL;
}

void lmongo_close_cursors_of(lmongo_scope_t *scope, const mongoc_client_session_t *session) {
  for (lmongo_child_t *child = scope->children, *next; child; child = next) {
    next = child->next;
    if (!child->is_session && child->session == session) child->close(child);
  }
}

static void close_children(lmongo_scope_t *scope, bool sessions) {
  for (lmongo_child_t *child = scope->children, *next; child; child = next) {
    next = child->next;
    if (child->is_session == sessions) child->close(child);
  }
}

static void end_scope(lmongo_scope_t *scope) {
  close_children(scope, false);
  close_children(scope, true);
  if (scope->owns_connection) smig_mongo_connection_free(scope->connection);
  scope->connection = NULL;
  scope->session = NULL;
  scope->ctx = NULL;
  scope->comment = NULL;
}

static int scope_gc(lua_State *L) {
  lmongo_scope_t *scope = lua_touserdata(L, 1);
  end_scope(scope);
  bson_free(scope->unfinished);
  scope->unfinished = NULL;
  bson_free(scope->owner);
  scope->owner = NULL;
  return 0;
}

void lmongo_new_scope_class(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", scope_gc}, {NULL, NULL}};
  kit_new_class(L, SCOPE, "scope", NULL, meta, NULL);
}

lmongo_scope_t *lmongo_push_scope(lua_State *L, smig_mongo_connection_t *connection, smig_ctx_t *ctx) {
  lmongo_new_classes(L);
  lmongo_scope_t *scope = lua_newuserdatauv(L, sizeof *scope, 0);
  *scope = (lmongo_scope_t){NULL};
  luaL_setmetatable(L, SCOPE);
  scope->connection = connection;
  if (!ctx) return scope;
  scope->ctx = ctx;
  scope->session = smig_ctx_session(ctx);
  scope->comment = smig_ctx_comment(ctx);
  scope->owner = bson_strdup_printf("step '%s'", smig_ctx_step(ctx)->id);
  return scope;
}

lmongo_scope_t *lmongo_to_scope(lua_State *L, int idx) {
  return luaL_checkudata(L, idx, SCOPE);
}

void lmongo_note_unfinished(lmongo_scope_t *scope, char *what) {
  if (scope->unfinished)
    bson_free(what); /* the first one says enough */
  else
    scope->unfinished = what;
}

void lmongo_end_scope(lua_State *L, int idx) {
  lmongo_scope_t *scope = lmongo_to_scope(L, idx);
  end_scope(scope);
  if (!scope->unfinished) return;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_error_set_foreign(&error, "UNFINISHED_WRITES", "%s", scope->unfinished);
  BSON_APPEND_UTF8(smig_error_details(&error), "category", "argument");
  bson_free(scope->unfinished);
  scope->unfinished = NULL;
  kit_raise(L, &error);
}

void lmongo_check_scope(lua_State *L, lmongo_scope_t *scope, const char *kind) {
  if (!scope->connection) {
    if (scope->owner) kit_raise_argument(L, "%s of %s is no longer valid", kind, scope->owner);
    kit_raise_argument(L, "%s is closed", kind);
  }
  smig_error_t error = SMIG_ERROR_INIT;
  if (scope->ctx && !smig_ctx_check(scope->ctx, &error)) kit_raise(L, &error);
}

void lmongo_make_error(lmongo_scope_t *scope, smig_error_t *error, const char *phrase, const char *ns,
                       const bson_t *reply, const bson_error_t *cause) {
  char *operation = bson_strndup(phrase, strcspn(phrase, " "));
  smig_mongo_error(scope->connection, error, operation, ns, reply, cause);
  /* "insert_one app.users failed: …" as a sentence: "insert_one into 'app.users' failed: …" */
  char *begins = bson_strdup_printf("%s %s failed", operation, ns);
  size_t length = strlen(begins);
  if (error->message && strncmp(error->message, begins, length) == 0) {
    char *sentence = bson_strdup_printf("%s '%s' failed%s", phrase, ns, error->message + length);
    bson_free(error->message);
    error->message = sentence;
  }
  char *why = cause && cause->code == DOCUMENT_VALIDATION_FAILURE ? lmongo_validation_text(reply) : NULL;
  if (why && error->message) {
    char *with_why = bson_strdup_printf("%s (%s)", error->message, why);
    bson_free(error->message);
    error->message = with_why;
  }
  bson_free(why);
  bson_free(begins);
  bson_free(operation);
}
