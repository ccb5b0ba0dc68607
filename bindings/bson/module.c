/*
 * `smartmigration.bson` itself, its builders, and what the other bindings call.
 * Users: scripts; lbson.h.
 */
#include "lbson_internal.h"

#include <string.h>

/* A view made of the argument, or of an empty table without one. */
static int new_view(lua_State *L, int role, const char *what) {
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) {
    lua_newtable(L);
    lua_replace(L, 1);
  }
  lbson_writer_t writer;
  lbson_writer_init(L, &writer);
  lbson_write_document(&writer, 1, role, what);
  lbson_new_view(L, role == LBSON_BUILT_ARRAY, writer.data, writer.length);
  return 1;
}

/* bson.doc { { "a", 1 }, … }, bson.doc { a = 1 } or bson.doc(): an ordered document. */
static int new_document(lua_State *L) {
  return new_view(L, LBSON_BUILT_DOCUMENT, "document");
}

/* bson.array { … } or bson.array() */
static int new_array(lua_State *L) {
  return new_view(L, LBSON_BUILT_ARRAY, "array");
}

/* The module has no such name: bson.ObjectId is taken for a mistake, not for nil. */
static int unknown_name(lua_State *L) {
  if (lua_type(L, 2) != LUA_TSTRING) return 0;
  size_t count = 0;
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) count++;
  const char **names = lua_newuserdatauv(L, (count + 1) * sizeof *names, 0);
  size_t used = 0;
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    if (lua_type(L, -2) == LUA_TSTRING) names[used++] = lua_tostring(L, -2); /* lives as long as the module */
  }
  names[used] = NULL;
  const char *name = lua_tostring(L, 2), *near = kit_suggest(name, names);
  if (near) return kit_raise_argument(L, "bson has no '%s'; did you mean '%s'?", name, near);
  return kit_raise_argument(L, "bson has no '%s'", name);
}

static void open_builders(lua_State *L) {
  static const luaL_Reg functions[] = {{"doc", new_document}, {"array", new_array}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  lbson_push_array_mark(L);
  lua_setfield(L, -2, "array_mt");
}

static const char module_key; /* its address is the registry key of the module */

int luaopen_smartmigration_bson(lua_State *L) {
  luaL_checkstack(L, 16, NULL);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &module_key) == LUA_TTABLE) return 1;
  lua_pop(L, 1);
  lua_newtable(L);
  lbson_open_null(L);
  lbson_open_numbers(L);
  lbson_open_objectid(L);
  lbson_open_date(L);
  lbson_open_binary(L);
  lbson_open_others(L);
  lbson_open_views(L);
  lbson_open_operations(L);
  lbson_open_json(L);
  open_builders(L);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, unknown_name);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &module_key);
  return 1;
}

/* The classes must exist before the first value is pushed, also in a script that never requires the module. */
static void ensure_open(lua_State *L) {
  luaL_checkstack(L, 16, NULL);
  luaopen_smartmigration_bson(L);
  lua_pop(L, 1);
}

void lbson_push_document(lua_State *L, const bson_t *document) {
  luaL_checkstack(L, 16, NULL);
  lbson_new_view(L, false, bson_get_data(document), document->len);
}

void lbson_push_frozen(lua_State *L, const bson_t *document) {
  lbson_push_document(L, document);
  lbson_test_view(L, -1)->is_frozen = true;
}

void lbson_push_value(lua_State *L, const bson_iter_t *iter) {
  ensure_open(L);
  lbson_element_t element;
  if (!lbson_next(L, iter->raw, iter->len, iter->off, &element)) {
    lua_pushnil(L);
  } else if (element.type == BSON_TYPE_DOCUMENT || element.type == BSON_TYPE_ARRAY) {
    lbson_new_view(L, element.type == BSON_TYPE_ARRAY, element.value, element.value_length);
  } else {
    lbson_push_plain(L, element.type, element.value, element.value_length);
  }
}

void lbson_push_table(lua_State *L, const bson_t *document) {
  static const lbson_table_options_t options = {.dates_as_text = true};
  ensure_open(L);
  lbson_push_plain_table(L, bson_get_data(document), document->len, false, &options);
}

bson_t *lbson_check(lua_State *L, int idx, lbson_role_t role, const char *what, bool *is_array) {
  ensure_open(L);
  idx = lua_absindex(L, idx);
  lbson_writer_t writer;
  lbson_writer_init(L, &writer);
  bool array = lbson_write_document(&writer, idx, role, what);
  if (is_array) *is_array = array;
  return lbson_writer_finish(&writer);
}

void lbson_append(lua_State *L, int idx, bson_t *to, const char *key, size_t key_length, const char *where) {
  ensure_open(L);
  idx = lua_absindex(L, idx);
  lbson_writer_t writer;
  lbson_writer_init(L, &writer);
  size_t start = lbson_write_begin(&writer);
  lbson_path_t path = {.key = where, .length = strlen(where)};
  lbson_write_value(&writer, idx, key, key_length, &path);
  lbson_write_end(&writer, start);
  bson_t element;
  if (!bson_init_static(&element, writer.data, writer.length) || !bson_concat(to, &element)) {
    lbson_fail(L, &path, "the document is larger than 16 MiB");
  }
  kit_box_free(writer.box);
  lua_pop(L, 1);
}
