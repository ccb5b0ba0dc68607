/*
 * bulk_write: many statements of different kinds, sent in as few commands as the server takes.
 * Users: collection.c. Errors: argument errors naming the model; a server's, with `partial_result`. Rule: bindings design,
 * section 3: models are shaped as Node's, { update_one = { filter =, update =, upsert = } }.
 */
#include "internal.h"

#include <string.h>

/* The model at idx is a table with one key; pushes its value. */
static lmongo_model_kind_t check_model(lua_State *L, int idx, lua_Integer place) {
  if (!lua_istable(L, idx)) {
    kit_raise_argument(L, "model %lld of bulk_write must be a table, got %s", (long long)place, luaL_typename(L, idx));
  }
  lua_pushnil(L);
  if (!lua_next(L, idx)) kit_raise_argument(L, "model %lld of bulk_write is empty", (long long)place);
  const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
  for (int kind = 0; kind < LMONGO_MODELS; kind++) {
    if (strcmp(name, lmongo_model_name((lmongo_model_kind_t)kind)) != 0) continue;
    lua_insert(L, -2);
    if (lua_next(L, idx))
      kit_raise_argument(L, "model %lld of bulk_write has more than one operation", (long long)place);
    return (lmongo_model_kind_t)kind;
  }
  const char *names[LMONGO_MODELS + 1] = {NULL};
  for (int kind = 0; kind < LMONGO_MODELS; kind++) names[kind] = lmongo_model_name((lmongo_model_kind_t)kind);
  const char *near = kit_suggest(name, names);
  if (near) {
    kit_raise_argument(L, "model %lld of bulk_write: unknown operation '%s' (did you mean '%s'?)", (long long)place,
                       name, near);
  }
  kit_raise_argument(L, "model %lld of bulk_write: unknown operation '%s'", (long long)place, name);
  return LMONGO_INSERT_ONE;
}

/* The document itself in place of { document = … } is the usual mistake. */
static void check_insert(lua_State *L, int idx, lua_Integer place) {
  bool wraps = lua_istable(L, idx) && lua_getfield(L, idx, "document") != LUA_TNIL;
  lua_settop(L, idx);
  if (!wraps)
    kit_raise_argument(L, "model %lld of bulk_write: write insert_one = { document = ... }", (long long)place);
}

static void push_result(lua_State *L, const bson_t *reply) {
  lua_createtable(L, 0, LMONGO_COUNTS + 1);
  for (int i = 0; i < LMONGO_COUNTS; i++) {
    lmongo_set_integer(L, lmongo_counts[i].field, lmongo_reply_number(reply, lmongo_counts[i].reply));
  }
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
  lmongo_bulk_t bulk = {.operation = call->bulk, .name = "bulk_write"};
  bulk.filter = lbson_push_buffer(L);
  bulk.change = lbson_push_buffer(L);
  int top = lua_gettop(L);
  lua_Integer count = luaL_len(L, 2);
  for (bulk.place = 1; bulk.place <= count; bulk.place++) {
    lua_geti(L, 2, bulk.place);
    lmongo_model_kind_t kind = check_model(L, top + 1, bulk.place);
    lmongo_model_t model = {0};
    if (kind == LMONGO_INSERT_ONE) check_insert(L, top + 2, bulk.place);
    lmongo_read_model(L, top + 2, kind, true, &model);
    lmongo_bulk_add(L, &bulk, kind, &model);
    lua_settop(L, top);
  }
  if (!count) { /* nothing to do is no error; the driver would make it one */
    push_result(L, &call->reply);
    return 1;
  }
  /* Reading the models may have run code of the author's, which may have closed what the call was made with. */
  lmongo_check_scope(L, target->scope, "collection");
  if (call->session_idx) lmongo_check_session(L, call->session_idx, target->scope);
  bson_error_t cause;
  bson_destroy(&call->reply);
  bool done = mongoc_bulk_operation_execute(call->bulk, &call->reply, &cause);
  lmongo_tell(call->scope, &call->reply);
  if (!done) {
    bson_t partial = BSON_INITIALIZER;
    for (int i = 0; i < LMONGO_COUNTS; i++) {
      BSON_APPEND_INT64(&partial, lmongo_counts[i].field, lmongo_reply_number(&call->reply, lmongo_counts[i].reply));
    }
    return lmongo_call_failed_partly(L, call, &cause, &partial);
  }
  push_result(L, &call->reply);
  lmongo_call_end(call);
  return 1;
}
