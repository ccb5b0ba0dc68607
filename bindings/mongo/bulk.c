/*
 * bulk_write: many statements of different kinds, sent in as few commands as the server takes.
 * Users: collection.c. Errors: argument errors naming the model; a server's, with `partial_result`. Rule: bindings design,
 * section 3: models are shaped as Node's, { update_one = { filter =, update =, upsert = } }.
 */
#include "internal.h"

#include <string.h>

typedef struct model_options {
  int document, filter, update, replacement, array_filters, hint, collation;
  bool upsert;
} model_options_t;

#define MODEL(member, kind) LMONGO_OPTION(model_options_t, member, kind)
static const kit_option_t insert_model[] = {MODEL(document, KIT_INDEX), LMONGO_END_OPTIONS};
static const kit_option_t update_model[] = {
    MODEL(filter, KIT_INDEX), MODEL(update, KIT_INDEX),    MODEL(upsert, KIT_BOOLEAN), MODEL(array_filters, KIT_INDEX),
    MODEL(hint, KIT_INDEX),   MODEL(collation, KIT_INDEX), LMONGO_END_OPTIONS};
static const kit_option_t replace_model[] = {MODEL(filter, KIT_INDEX),    MODEL(replacement, KIT_INDEX),
                                             MODEL(upsert, KIT_BOOLEAN),  MODEL(hint, KIT_INDEX),
                                             MODEL(collation, KIT_INDEX), LMONGO_END_OPTIONS};
static const kit_option_t delete_model[] = {MODEL(filter, KIT_INDEX), MODEL(hint, KIT_INDEX),
                                            MODEL(collation, KIT_INDEX), LMONGO_END_OPTIONS};

typedef enum model_kind { INSERT_ONE, UPDATE_ONE, UPDATE_MANY, REPLACE_ONE, DELETE_ONE, DELETE_MANY } model_kind_t;

static const struct {
  const char *name;
  const kit_option_t *options;
} models[] = {[INSERT_ONE] = {"insert_one", insert_model},   [UPDATE_ONE] = {"update_one", update_model},
              [UPDATE_MANY] = {"update_many", update_model}, [REPLACE_ONE] = {"replace_one", replace_model},
              [DELETE_ONE] = {"delete_one", delete_model},   [DELETE_MANY] = {"delete_many", delete_model}};
enum { MODELS = sizeof models / sizeof *models };

/* The model at idx is a table with one key; pushes its value. */
static model_kind_t check_model(lua_State *L, int idx, lua_Integer place) {
  if (!lua_istable(L, idx)) {
    kit_raise_argument(L, "model %lld of bulk_write must be a table, got %s", (long long)place, luaL_typename(L, idx));
  }
  lua_pushnil(L);
  if (!lua_next(L, idx)) kit_raise_argument(L, "model %lld of bulk_write is empty", (long long)place);
  const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
  const char *names[MODELS + 1] = {NULL};
  for (int kind = 0; kind < MODELS; kind++) {
    names[kind] = models[kind].name;
    if (strcmp(name, models[kind].name) != 0) continue;
    lua_pushvalue(L, -2);
    if (lua_next(L, idx))
      kit_raise_argument(L, "model %lld of bulk_write has more than one operation", (long long)place);
    return (model_kind_t)kind;
  }
  const char *near = kit_suggest(name, names);
  if (near) {
    kit_raise_argument(L, "model %lld of bulk_write: unknown operation '%s' (did you mean '%s'?)", (long long)place,
                       name, near);
  }
  kit_raise_argument(L, "model %lld of bulk_write: unknown operation '%s'", (long long)place, name);
  return INSERT_ONE;
}

static void need(lua_State *L, int idx, const char *field, model_kind_t kind, lua_Integer place) {
  if (!idx)
    kit_raise_argument(L, "model %lld of bulk_write: %s needs '%s'", (long long)place, models[kind].name, field);
}

/* Adds the model at idx. `opts` is empty, and emptied again. */
static void add_model(lua_State *L, lmongo_call_t *call, int idx, lua_Integer place, bson_t *opts) {
  model_kind_t kind = check_model(L, idx, place);
  model_options_t model = {0};
  kit_read_options(L, -1, models[kind].name, models[kind].options, &model);
  mongoc_bulk_operation_t *bulk = call->bulk;
  const bson_t *filter = NULL;
  bool is_pipeline, done = false;
  bson_error_t cause;
  int filter_box = 0;
  if (kind != INSERT_ONE) {
    need(L, model.filter, "filter", kind, place);
    filter = lmongo_check_filter(L, model.filter, true);
    filter_box = lua_gettop(L);
    lmongo_append_document(L, model.array_filters, LBSON_ARRAY, opts, "arrayFilters", "array_filters");
    lmongo_append_hint(L, model.hint, opts);
    lmongo_append_document(L, model.collation, LBSON_DOCUMENT, opts, "collation", "collation");
    if (model.upsert) BSON_APPEND_BOOL(opts, "upsert", true);
  }
  if (kind != DELETE_ONE && kind != DELETE_MANY) BSON_APPEND_BOOL(opts, "validate", false);
  switch (kind) {
  case INSERT_ONE:
    need(L, model.document, "document", kind, place);
    done = mongoc_bulk_operation_insert_with_opts(bulk, lmongo_check_insert(L, model.document), opts, &cause);
    break;
  case UPDATE_ONE:
    need(L, model.update, "update", kind, place);
    done = mongoc_bulk_operation_update_one_with_opts(
        bulk, filter, lmongo_check_update(L, model.update, "update_one", &is_pipeline), opts, &cause);
    break;
  case UPDATE_MANY:
    need(L, model.update, "update", kind, place);
    done = mongoc_bulk_operation_update_many_with_opts(
        bulk, filter, lmongo_check_update(L, model.update, "update_many", &is_pipeline), opts, &cause);
    break;
  case REPLACE_ONE:
    need(L, model.replacement, "replacement", kind, place);
    done = mongoc_bulk_operation_replace_one_with_opts(
        bulk, filter, lmongo_check_replacement(L, model.replacement, "replace_one"), opts, &cause);
    break;
  case DELETE_ONE:
    done = mongoc_bulk_operation_remove_one_with_opts(bulk, filter, opts, &cause);
    break;
  case DELETE_MANY:
    done = mongoc_bulk_operation_remove_many_with_opts(bulk, filter, opts, &cause);
    break;
  }
  if (!done) kit_raise_argument(L, "model %lld of bulk_write: %s", (long long)place, cause.message);
  if (lua_gettop(L) != filter_box) lmongo_pop_box(L); /* of the document */
  if (filter_box) lmongo_pop_box(L);
  bson_reinit(opts);
}

static const struct {
  const char *field, *reply;
} counts[] = {{"inserted_count", "nInserted"},
              {"matched_count", "nMatched"},
              {"modified_count", "nModified"},
              {"deleted_count", "nRemoved"},
              {"upserted_count", "nUpserted"}};
enum { COUNTS = sizeof counts / sizeof *counts };

static void push_result(lua_State *L, const bson_t *reply) {
  lua_createtable(L, 0, COUNTS + 1);
  for (int i = 0; i < COUNTS; i++) lmongo_set_integer(L, counts[i].field, lmongo_reply_number(reply, counts[i].reply));
  lua_newtable(L);
  bson_iter_t iter, element, field;
  if (bson_iter_init_find(&iter, reply, "upserted") && bson_iter_recurse(&iter, &element)) {
    while (bson_iter_next(&element)) {
      if (!bson_iter_recurse(&element, &field) || !bson_iter_find(&field, "index")) continue;
      lua_Integer index = bson_iter_as_int64(&field) + 1;
      if (!bson_iter_recurse(&element, &field) || !bson_iter_find(&field, "_id")) continue;
      lbson_push_value(L, &field);
      lua_rawseti(L, -2, index);
    }
  }
  lua_setfield(L, -2, "upserted_ids");
}

/* collection:bulk_write(models [, opts]) -> counts and upserted_ids, by the place of the model */
int lmongo_bulk_write(lua_State *L) {
  typedef struct {
    lmongo_common_t common;
    int let;
    bool ordered, bypass_document_validation;
  } bulk_options_t;
  static const kit_option_t bulk_options[] = {LMONGO_BASE_OPTIONS,
                                              LMONGO_OPTION(lmongo_common_t, write_concern, KIT_INDEX),
                                              LMONGO_OPTION(bulk_options_t, let, KIT_INDEX),
                                              LMONGO_OPTION(bulk_options_t, ordered, KIT_BOOLEAN),
                                              LMONGO_OPTION(bulk_options_t, bypass_document_validation, KIT_BOOLEAN),
                                              LMONGO_END_OPTIONS};
  const lmongo_target_t *target = lmongo_check_collection(L);
  lua_settop(L, 3);
  if (!lua_istable(L, 2)) return kit_argerror(L, 2, "array of models");
  bulk_options_t options = {.ordered = true};
  kit_read_options(L, 3, "bulk_write", bulk_options, &options);
  lmongo_call_t *call = lmongo_call(L, target, "bulk_write in", LMONGO_WRITE, &options.common);
  lmongo_append_document(L, options.let, LBSON_DOCUMENT, &call->opts, "let", "let");
  if (!options.ordered) BSON_APPEND_BOOL(&call->opts, "ordered", false);
  call->bulk = mongoc_collection_create_bulk_operation_with_opts(lmongo_call_collection(call), &call->opts);
  if (options.bypass_document_validation) mongoc_bulk_operation_set_bypass_document_validation(call->bulk, true);
  int top = lua_gettop(L);
  lua_Integer count = luaL_len(L, 2);
  for (lua_Integer i = 1; i <= count; i++) {
    lua_geti(L, 2, i);
    add_model(L, call, top + 1, i, &call->command);
    lua_settop(L, top);
  }
  if (!count) { /* nothing to do is no error; the driver would make it one */
    push_result(L, &call->reply);
    return 1;
  }
  bson_error_t cause;
  bson_destroy(&call->reply);
  if (!mongoc_bulk_operation_execute(call->bulk, &call->reply, &cause)) {
    bson_t partial = BSON_INITIALIZER;
    for (int i = 0; i < COUNTS; i++) {
      BSON_APPEND_INT64(&partial, counts[i].field, lmongo_reply_number(&call->reply, counts[i].reply));
    }
    return lmongo_call_failed_partly(L, call, &cause, &partial);
  }
  push_result(L, &call->reply);
  lmongo_call_end(call);
  return 1;
}
