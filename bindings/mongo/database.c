/*
 * Database handles.
 * Users: Lua, the context. Errors: argument errors; a server's. Rule: bindings design, section 3. There is no magic `db.users`: it
 * would collide with methods.
 */
#include "internal.h"

#include <string.h>

/* ---------------------------------------------------------------- commands */

/* Appends the command's name and value: 1, or what is at idx. Order matters in a document. */
static void append_command(lua_State *L, bson_t *command, const char *name, size_t name_length, int idx) {
  if (lua_isnil(L, idx)) {
    bson_append_int32(command, name, (int)name_length, 1);
  } else if (lua_istable(L, idx)) {
    bool is_array = false;
    const bson_t *value = lbson_check(L, idx, LBSON_ORDERED, name, &is_array);
    if (is_array)
      bson_append_array(command, name, (int)name_length, value);
    else
      bson_append_document(command, name, (int)name_length, value);
    lua_pop(L, 1);
  } else {
    lbson_append(L, idx, command, name, name_length, name);
  }
}

static void append_fields(lua_State *L, bson_t *command, int idx) {
  if (lua_isnil(L, idx)) return;
  bool is_array = false;
  const bson_t *fields = lbson_check(L, idx, LBSON_DOCUMENT, "fields", &is_array);
  if (is_array) kit_argerror(L, idx, "fields of the command expected, got an array");
  if (bson_has_field(fields, "comment")) kit_argerror(L, idx, "no 'comment' expected: it is an option");
  bson_concat(command, fields);
  lua_pop(L, 1);
}

/* database:run_command(name [, value=1 [, fields [, opts]]]) -> reply */
static int run_command(lua_State *L) {
  typedef struct {
    lmongo_common_t common;
    bool read;
  } run_options_t;
  static const kit_option_t run_options[] = {LMONGO_READ_OPTIONS,
                                             LMONGO_OPTION(lmongo_common_t, write_concern, KIT_INDEX),
                                             LMONGO_OPTION(run_options_t, read, KIT_BOOLEAN), LMONGO_END_OPTIONS};
  const lmongo_target_t *target = lmongo_check_db(L);
  lua_settop(L, 5);
  size_t length;
  const char *name = kit_check_name(L, 2, &length);
  run_options_t options = {0};
  kit_read_options(L, 5, "run_command", run_options, &options);
  lmongo_call_kind_t kind = options.read ? LMONGO_READ : LMONGO_PLAIN;
  lmongo_call_t *call = lmongo_call(L, target, "run_command in", kind, &options.common);
  call->phrase_owned = bson_strdup_printf("run_command '%s' in", name);
  call->phrase = call->phrase_owned;
  append_command(L, &call->command, name, length, 3);
  append_fields(L, &call->command, 4);
  lbson_push_frozen(L, lmongo_run(L, call, kind, target->database));
  lmongo_call_end(call);
  return 1;
}

/* database:modify_collection(name, fields [, opts]) -> reply of collMod */
static int modify_collection(lua_State *L) {
  static const kit_option_t options[] = {LMONGO_WRITE_OPTIONS, LMONGO_END_OPTIONS};
  const lmongo_target_t *target = lmongo_check_db(L);
  lua_settop(L, 4);
  const char *name = lmongo_check_collection_name(L, 2);
  if (lua_isnil(L, 3)) return kit_argerror(L, 3, "fields of collMod");
  lmongo_common_t common = {0};
  kit_read_options(L, 4, "modify_collection", options, &common);
  lmongo_call_t *call = lmongo_call(L, target, "modify_collection in", LMONGO_WRITE, &common);
  call->phrase_owned = bson_strdup_printf("modify_collection '%s' in", name);
  call->phrase = call->phrase_owned;
  BSON_APPEND_UTF8(&call->command, "collMod", name);
  append_fields(L, &call->command, 3);
  lbson_push_frozen(L, lmongo_run(L, call, LMONGO_WRITE, target->database));
  lmongo_call_end(call);
  return 1;
}

/* database:drop([opts]) */
static int drop(lua_State *L) {
  static const kit_option_t options[] = {LMONGO_WRITE_OPTIONS, LMONGO_END_OPTIONS};
  const lmongo_target_t *target = lmongo_check_db(L);
  lua_settop(L, 2);
  lmongo_common_t common = {0};
  kit_read_options(L, 2, "drop", options, &common);
  lmongo_call_t *call = lmongo_call(L, target, "drop of", LMONGO_WRITE, &common);
  BSON_APPEND_INT32(&call->command, "dropDatabase", 1);
  lmongo_run(L, call, LMONGO_WRITE, target->database);
  lmongo_call_end(call);
  return 0;
}

/* ------------------------------------------------------------- collections */

/* database:collection(name) */
static int collection(lua_State *L) {
  const lmongo_target_t *target = lmongo_check_db(L);
  const char *name = lmongo_check_collection_name(L, 2);
  lmongo_check_scope(L, target->scope, "database");
  lua_getiuservalue(L, 1, 1);
  lmongo_push_target(L, -1, 1, target->database, name);
  return 1;
}

/* Pushes the cursor of listCollections, with the filter at filter_idx (0: none). */
static void push_collections(lua_State *L, int options_arg, int filter_idx, const char *operation, const char *phrase,
                             bool name_only) {
  typedef struct {
    lmongo_common_t common;
    bool name_only;
  } list_options_t;
  static const kit_option_t list_options[] = {
      LMONGO_COMMAND_OPTIONS, LMONGO_OPTION(list_options_t, name_only, KIT_BOOLEAN), LMONGO_END_OPTIONS};
  static const kit_option_t names_options[] = {LMONGO_COMMAND_OPTIONS, LMONGO_END_OPTIONS};
  const lmongo_target_t *target = lmongo_check_db(L);
  list_options_t options = {.name_only = name_only};
  kit_read_options(L, options_arg, operation, name_only ? names_options : list_options, &options);
  lmongo_call_t *call = lmongo_call(L, target, phrase, LMONGO_PLAIN, &options.common);
  lmongo_append_document(L, filter_idx, LBSON_DOCUMENT, &call->opts, "filter", "filter");
  if (options.name_only) BSON_APPEND_BOOL(&call->opts, "nameOnly", true);
  lmongo_cursor_t *cursor = lmongo_push_cursor(L, call, NULL);
  lmongo_cursor_open(L, cursor, mongoc_database_find_collections_with_opts(lmongo_call_database(call), &call->opts));
  lmongo_call_end(call);
}

/* database:list_collections([filter [, opts]]) -> cursor */
static int list_collections(lua_State *L) {
  lua_settop(L, 3);
  push_collections(L, 3, lua_isnil(L, 2) ? 0 : 2, "list_collections", "list_collections of", false);
  return lmongo_return_cursor(L, -1);
}

/* database:collection_names([opts]) -> array */
static int collection_names(lua_State *L) {
  lua_settop(L, 2);
  push_collections(L, 2, 0, "collection_names", "collection_names of", true);
  return lmongo_collect_names(L, -1);
}

/* database:has_collection(name [, opts]) -> boolean */
static int has_collection(lua_State *L) {
  lmongo_check_db(L);
  lua_settop(L, 3);
  lmongo_check_collection_name(L, 2);
  lua_createtable(L, 0, 1);
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "name");
  push_collections(L, 3, 4, "has_collection", "has_collection of", true);
  lmongo_cursor_t *cursor = lua_touserdata(L, -1);
  bool found = lmongo_cursor_advance(L, -1, true);
  if (cursor->state == LMONGO_OPEN) cursor->child.close(&cursor->child);
  lua_pushboolean(L, found);
  return 1;
}

/* ---------------------------------------------------------------- handle */

/* database:client() */
static int client(lua_State *L) {
  const lmongo_target_t *target = lmongo_check_db(L);
  lmongo_check_scope(L, target->scope, "database");
  lua_getiuservalue(L, 1, 1);
  lmongo_push_client(L, -1);
  return 1;
}

/* database:start_session([opts]) */
static int start_session(lua_State *L) {
  lmongo_check_db(L);
  lua_settop(L, 2);
  lua_getiuservalue(L, 1, 1);
  return lmongo_start_session(L, 3, 2);
}

/* database:transaction(fn [, opts]) -> what fn returns */
static int transaction(lua_State *L) {
  lmongo_check_db(L);
  lua_settop(L, 3);
  lua_getiuservalue(L, 1, 1);
  return lmongo_transaction(L, 4, 2, 3);
}

static int database_tostring(lua_State *L) {
  const lmongo_target_t *target = lmongo_check_db(L);
  lua_pushfstring(L, "database '%s' (%s)", target->database, target->scope->connection ? "open" : "closed");
  return 1;
}

static const luaL_Reg methods[] = {{"with", lmongo_with},
                                   {"client", client},
                                   {"collection", collection},
                                   {"run_command", run_command},
                                   {"aggregate", lmongo_aggregate},
                                   {"list_collections", list_collections},
                                   {"collection_names", collection_names},
                                   {"has_collection", has_collection},
                                   {"create_collection", lmongo_create_collection},
                                   {"modify_collection", modify_collection},
                                   {"drop", drop},
                                   {"start_session", start_session},
                                   {"transaction", transaction},
                                   {"watch", lmongo_watch},
                                   {"gridfs", lmongo_gridfs},
                                   {NULL, NULL}};

static int database_field(lua_State *L, const char *field) {
  const lmongo_target_t *target = lmongo_check_db(L);
  if (strcmp(field, "name") == 0) {
    lua_pushstring(L, target->database);
    return 1;
  }
  const char *names[sizeof methods / sizeof *methods];
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) names[i] = methods[i].name;
  if (kit_suggest(field, names)) return 0; /* the class says which */
  return kit_raise_argument(L, "database has no method '%s'; a collection is %s:collection \"%s\"", field,
                            target->scope->ctx ? "ctx.mongo" : "database", field);
}

void lmongo_new_database_class(lua_State *L) {
  static const luaL_Reg meta[] = {{"__tostring", database_tostring}, {NULL, NULL}};
  kit_new_class(L, LMONGO_DATABASE, "database", methods, meta, database_field);
}

void lmongo_push_database(lua_State *L, int scope_idx, const char *name) {
  lmongo_push_target(L, scope_idx, 0, name, NULL);
}

lmongo_scope_t *lmongo_check_database(lua_State *L, int idx, const char **name) {
  const lmongo_target_t *target = luaL_testudata(L, idx, LMONGO_DATABASE);
  if (!target) kit_argerror(L, idx, "database");
  lmongo_check_scope(L, target->scope, "database");
  *name = target->database;
  return target->scope;
}
