/*
 * The statements of bulks: read out of Lua, encoded into buffers that are used again, and handed to the driver, which copies them.
 * Users: bulk.c, bulk_writer.c. Errors: argument errors naming the statement. Rule: bindings design, section 3.
 *
 * A migration sends millions of these: there is no box, no memory and no table of options for each, only for the whole bulk.
 */
#include "internal.h"

#include <string.h>

#define MODEL(name, member, kind)                                                                                      \
  { name, kind, offsetof(lmongo_model_t, member), 0, 0, 0 }
#define UPSERT MODEL("upsert", upsert, KIT_BOOLEAN)
#define FILTER MODEL("filter", filter, KIT_INDEX)
#define ARRAY_FILTERS MODEL("array_filters", array_filters, KIT_INDEX)
#define COMMON MODEL("hint", hint, KIT_INDEX), MODEL("collation", collation, KIT_INDEX), LMONGO_END_OPTIONS

static const kit_option_t insert_model[] = {MODEL("document", change, KIT_INDEX), LMONGO_END_OPTIONS};
static const kit_option_t update_model[] = {FILTER, MODEL("update", change, KIT_INDEX), UPSERT, ARRAY_FILTERS, COMMON};
static const kit_option_t replace_model[] = {FILTER, MODEL("replacement", change, KIT_INDEX), UPSERT, COMMON};
static const kit_option_t delete_model[] = {FILTER, COMMON};
static const kit_option_t insert_options[] = {LMONGO_END_OPTIONS};
static const kit_option_t update_options[] = {UPSERT, ARRAY_FILTERS, COMMON};
static const kit_option_t replace_options[] = {UPSERT, COMMON};
static const kit_option_t delete_options[] = {COMMON};

typedef bool (*add_fn)(mongoc_bulk_operation_t *bulk, const bson_t *filter, const bson_t *change, const bson_t *opts,
                       bson_error_t *cause);

static bool add_insert(mongoc_bulk_operation_t *bulk, const bson_t *filter, const bson_t *change, const bson_t *opts,
                       bson_error_t *cause) {
  (void)filter;
  return mongoc_bulk_operation_insert_with_opts(bulk, change, opts, cause);
}

static bool add_delete_one(mongoc_bulk_operation_t *bulk, const bson_t *filter, const bson_t *change,
                           const bson_t *opts, bson_error_t *cause) {
  (void)change;
  return mongoc_bulk_operation_remove_one_with_opts(bulk, filter, opts, cause);
}

static bool add_delete_many(mongoc_bulk_operation_t *bulk, const bson_t *filter, const bson_t *change,
                            const bson_t *opts, bson_error_t *cause) {
  (void)change;
  return mongoc_bulk_operation_remove_many_with_opts(bulk, filter, opts, cause);
}

static const struct {
  const char *name, *change; /* change: the name of what it needs beside the filter; NULL: nothing */
  const kit_option_t *model, *options;
  add_fn add;
} models[LMONGO_MODELS] = {[LMONGO_INSERT_ONE] = {"insert_one", "document", insert_model, insert_options, add_insert},
                           [LMONGO_UPDATE_ONE] = {"update_one", "update", update_model, update_options,
                                                  mongoc_bulk_operation_update_one_with_opts},
                           [LMONGO_UPDATE_MANY] = {"update_many", "update", update_model, update_options,
                                                   mongoc_bulk_operation_update_many_with_opts},
                           [LMONGO_REPLACE_ONE] = {"replace_one", "replacement", replace_model, replace_options,
                                                   mongoc_bulk_operation_replace_one_with_opts},
                           [LMONGO_DELETE_ONE] = {"delete_one", NULL, delete_model, delete_options, add_delete_one},
                           [LMONGO_DELETE_MANY] = {"delete_many", NULL, delete_model, delete_options, add_delete_many}};

const struct lmongo_count lmongo_counts[LMONGO_COUNTS] = {{"inserted_count", "nInserted"},
                                                          {"matched_count", "nMatched"},
                                                          {"modified_count", "nModified"},
                                                          {"deleted_count", "nRemoved"},
                                                          {"upserted_count", "nUpserted"}};

const char *lmongo_model_name(lmongo_model_kind_t kind) {
  return models[kind].name;
}

/* ----------------------------------------------------------------- reading */

static const kit_option_t *find_option(const kit_option_t *options, const char *name) {
  for (; options->name; options++)
    if (strcmp(options->name, name) == 0) return options;
  return NULL;
}

/* kit_read_options, which walks through all options there are, walking through the few that are given. */
void lmongo_read_model(lua_State *L, int idx, lmongo_model_kind_t kind, bool whole, lmongo_model_t *model) {
  const kit_option_t *options = whole ? models[kind].model : models[kind].options;
  if (lua_isnoneornil(L, idx)) return;
  idx = lua_absindex(L, idx);
  bool known = lua_type(L, idx) == LUA_TTABLE;
  luaL_checkstack(L, 12, NULL);
  if (known) lua_pushnil(L);
  while (known && lua_next(L, idx)) {
    const kit_option_t *option = lua_type(L, -2) == LUA_TSTRING ? find_option(options, lua_tostring(L, -2)) : NULL;
    known = option && (option->type != KIT_BOOLEAN || lua_isboolean(L, -1));
    if (!known) break;
    void *member = (char *)model + option->offset;
    if (option->type == KIT_BOOLEAN) {
      *(bool *)member = lua_toboolean(L, -1);
      lua_pop(L, 1);
    } else {
      lua_insert(L, -2); /* the value stays, below the key */
      *(int *)member = lua_gettop(L) - 1;
    }
  }
  if (!known) kit_read_options(L, idx, models[kind].name, options, model); /* it says what is wrong */
}

/* ------------------------------------------------------------------ adding */

static void need(lua_State *L, const lmongo_bulk_t *bulk, lmongo_model_kind_t kind, int idx, const char *field) {
  if (idx && !lua_isnil(L, idx)) return;
  if (bulk->place)
    kit_raise_argument(L, "model %lld of %s: %s needs '%s'", (long long)bulk->place, bulk->name, models[kind].name,
                       field);
  kit_raise_argument(L, "%s of %s needs '%s'", models[kind].name, bulk->name, field);
}

static void append_options(lua_State *L, const lmongo_model_t *model, bson_t *opts) {
  lmongo_append_document(L, model->array_filters, LBSON_ARRAY, opts, "arrayFilters", "array_filters");
  lmongo_append_hint(L, model->hint, opts);
  lmongo_append_document(L, model->collation, LBSON_DOCUMENT, opts, "collation", "collation");
  if (model->upsert) BSON_APPEND_BOOL(opts, "upsert", true);
}

static void encode_filter(lua_State *L, const lmongo_bulk_t *bulk, int idx, bson_t *filter) {
  bson_oid_t oid;
  if (lua_type(L, idx) == LUA_TUSERDATA && lbson_test_oid(L, idx, &oid)) {
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, idx);
    lua_setfield(L, -2, "_id");
    lbson_encode(L, bulk->filter, -1, LBSON_DOCUMENT, "filter", filter);
    lua_pop(L, 1);
  } else {
    lbson_encode(L, bulk->filter, idx, LBSON_DOCUMENT, "filter", filter);
  }
}

static void encode_change(lua_State *L, const lmongo_bulk_t *bulk, lmongo_model_kind_t kind, int idx, bson_t *change) {
  const char *name = models[kind].name;
  bool is_update = kind == LMONGO_UPDATE_ONE || kind == LMONGO_UPDATE_MANY;
  lbson_role_t role = is_update ? LBSON_PIPELINE_OR_DOCUMENT : LBSON_DOCUMENT;
  bool is_array = lbson_encode(L, bulk->change, idx, role, models[kind].change, change);
  if (is_update)
    lmongo_require_update(L, change, is_array, name);
  else if (kind == LMONGO_REPLACE_ONE)
    lmongo_require_replacement(L, change, is_array, name);
}

size_t lmongo_bulk_add(lua_State *L, const lmongo_bulk_t *bulk, lmongo_model_kind_t kind, const lmongo_model_t *model) {
  /* {validate: false}: the driver would refuse empty keys, and its checks of UTF-8 are weaker than ours. */
  static const uint8_t plain_bytes[] = "\x10\0\0\0\x08validate\0\0";
  bson_t filter = BSON_INITIALIZER, change = BSON_INITIALIZER, plain;
  bson_init_static(&plain, plain_bytes, sizeof plain_bytes);
  const bson_t *opts = models[kind].change ? &plain : NULL;
  if (kind != LMONGO_INSERT_ONE) {
    need(L, bulk, kind, model->filter, "filter");
    encode_filter(L, bulk, model->filter, &filter);
  }
  if (models[kind].change) {
    need(L, bulk, kind, model->change, models[kind].change);
    encode_change(L, bulk, kind, model->change, &change);
  }
  kit_box_t *box = NULL;
  if (model->array_filters || model->hint || model->collation || model->upsert) {
    box = kit_box_push(L, NULL, lmongo_free_bson);
    bson_t *given = box->pointer = bson_new();
    if (models[kind].change) bson_concat(given, &plain);
    append_options(L, model, given);
    opts = given;
  }
  bson_error_t cause;
  bool done = models[kind].add(bulk->operation, &filter, &change, opts, &cause);
  if (box) lmongo_pop_box(L);
  if (!done && bulk->place)
    kit_raise_argument(L, "model %lld of %s: %s", (long long)bulk->place, bulk->name, cause.message);
  if (!done) kit_raise_argument(L, "%s of %s: %s", models[kind].name, bulk->name, cause.message);
  return (size_t)filter.len + change.len;
}
