/*
 * What database and collection handles have in common: names, the scope they live in, and the concerns that `with` gives them.
 * Users: client.c, database.c, collection.c, the context. Errors: argument errors. Rule: bindings design, section 3.
 */
#include "internal.h"

#include <string.h>

static const lmongo_target_t *check_target(lua_State *L, const char *name, const char *kind) {
  const lmongo_target_t *target = luaL_testudata(L, 1, name);
  if (!target) kit_argerror(L, 1, kind);
  return target;
}

const lmongo_target_t *lmongo_check_db(lua_State *L) {
  return check_target(L, LMONGO_DATABASE, "database");
}

const lmongo_target_t *lmongo_check_collection(lua_State *L) {
  return check_target(L, LMONGO_COLLECTION, "collection");
}

const char *lmongo_check_database_name(lua_State *L, int arg) {
  const char *name = kit_check_name(L, arg, NULL);
  if (!*name || strlen(name) > 63 || strpbrk(name, "/\\. \"$")) {
    kit_argerror(L, arg, "name of a database expected: 1 to 63 bytes, none of them / \\ . blank \" $");
  }
  return name;
}

const char *lmongo_check_collection_name(lua_State *L, int arg) {
  const char *name = kit_check_name(L, arg, NULL);
  if (!*name || *name == '.' || name[strlen(name) - 1] == '.') {
    kit_argerror(L, arg, "name of a collection expected: not empty, no dot at either end");
  }
  return name;
}

/* The handle's memory, with the text behind it; its scope is at scope_idx. */
static lmongo_target_t *push_handle(lua_State *L, int scope_idx, const char *database, const char *collection) {
  size_t database_length = strlen(database), collection_length = collection ? strlen(collection) : 0;
  size_t text_length =
      collection ? database_length + 1 + database_length + 1 + collection_length + 1 : database_length + 1;
  scope_idx = lua_absindex(L, scope_idx);
  lmongo_target_t *target = lua_newuserdatauv(L, sizeof *target + text_length, 2);
  target->scope = lmongo_to_scope(L, scope_idx);
  target->concerns = NULL;
  target->database = target->ns = target->text;
  target->collection = NULL;
  memcpy(target->text, database, database_length + 1);
  if (collection) {
    char *ns = target->text + database_length + 1;
    memcpy(ns, database, database_length);
    ns[database_length] = '.';
    memcpy(ns + database_length + 1, collection, collection_length + 1);
    target->ns = ns;
    target->collection = ns + database_length + 1;
  }
  luaL_setmetatable(L, collection ? LMONGO_COLLECTION : LMONGO_DATABASE);
  lua_pushvalue(L, scope_idx);
  lua_setiuservalue(L, -2, 1);
  return target;
}

void lmongo_push_target(lua_State *L, int scope_idx, int from_idx, const char *database, const char *collection) {
  if (from_idx) from_idx = lua_absindex(L, from_idx);
  lmongo_target_t *target = push_handle(L, scope_idx, database, collection);
  if (!from_idx) return;
  const lmongo_target_t *from = lua_touserdata(L, from_idx);
  target->concerns = from->concerns;
  lua_getiuservalue(L, from_idx, 2);
  lua_setiuservalue(L, -2, 2);
}

/* -------------------------------------------------------------------- with */

static void free_concerns(void *pointer) {
  lmongo_concerns_t *concerns = pointer;
  bson_destroy(concerns->read_concern);
  bson_destroy(concerns->write_concern);
  mongoc_read_prefs_destroy(concerns->read_preference);
  bson_free(concerns);
}

/* {level} out of {readConcern: {level}}, or what the former handle had. */
static bson_t *unwrap(const bson_t *wrapped, const bson_t *former) {
  bson_iter_t iter;
  uint32_t length;
  const uint8_t *bytes;
  if (!bson_iter_init(&iter, wrapped) || !bson_iter_next(&iter)) return former ? bson_copy(former) : NULL;
  bson_iter_document(&iter, &length, &bytes);
  return bson_new_from_data(bytes, length);
}

/* database:with(opts), collection:with(opts): opts are read_preference, read_concern and write_concern */
int lmongo_with(lua_State *L) {
  static const kit_option_t options[] = {LMONGO_OPTION(lmongo_common_t, read_preference, KIT_INDEX),
                                         LMONGO_OPTION(lmongo_common_t, read_concern, KIT_INDEX),
                                         LMONGO_OPTION(lmongo_common_t, write_concern, KIT_INDEX), LMONGO_END_OPTIONS};
  static const lmongo_concerns_t none;
  const lmongo_target_t *from = luaL_testudata(L, 1, LMONGO_DATABASE) ? lmongo_check_db(L) : lmongo_check_collection(L);
  lua_settop(L, 2);
  lmongo_common_t given = {0};
  kit_read_options(L, 2, "with", options, &given);
  lmongo_check_scope(L, from->scope, from->collection ? "collection" : "database");
  const lmongo_concerns_t *former = from->concerns ? from->concerns : &none;
  lua_getiuservalue(L, 1, 1);
  lmongo_target_t *target = push_handle(L, -1, from->database, from->collection);
  int handle = lua_gettop(L);
  kit_box_t *box = kit_box_push(L, NULL, free_concerns);
  lmongo_concerns_t *concerns = bson_malloc0(sizeof *concerns);
  box->pointer = concerns;
  kit_box_t *scratch = kit_box_push(L, NULL, lmongo_free_bson);
  bson_t *wrapped = bson_new();
  scratch->pointer = wrapped;
  if (given.read_concern) lmongo_append_read_concern(L, given.read_concern, wrapped, "c");
  concerns->read_concern = unwrap(wrapped, former->read_concern);
  bson_reinit(wrapped);
  if (given.write_concern) lmongo_append_write_concern(L, given.write_concern, wrapped, "c");
  concerns->write_concern = unwrap(wrapped, former->write_concern);
  if (given.read_preference)
    lmongo_read_preference(L, given.read_preference, &concerns->read_preference);
  else
    concerns->read_preference = mongoc_read_prefs_copy(former->read_preference);
  target->concerns = concerns;
  lua_settop(L, handle + 1);
  lua_setiuservalue(L, handle, 2);
  return 1;
}
