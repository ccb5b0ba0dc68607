/*
 * ctx.checkpoint: `:read(key)`, `:write(key, value)`, `:clear()`. Users: resumable migrations. A value is any BSON value, kept
 * as the one field `v` of a document. Errors: CHECKPOINT_NOT_RESUMABLE, CHECKPOINT_TOO_LARGE, INVALID_STEP_ID, LEDGER_IO.
 */
#include "context_internal.h"
#include "lbson.h"

static void free_document(void *document) {
  bson_destroy(document);
}

static int checkpoint_read(lua_State *L) {
  smig_ctx_t *ctx = context_of_part(L, CONTEXT_CHECKPOINT);
  const char *key = kit_check_name(L, 2, NULL);
  kit_box_t *box = kit_box_push(L, NULL, free_document);
  smig_error_t error = SMIG_ERROR_INIT;
  bson_t value;
  bool found = false;
  bool done = smig_ctx_checkpoint_read(ctx, key, &value, &found, &error);
  box->pointer = bson_copy(&value);
  bson_destroy(&value);
  if (!done) return kit_raise(L, &error);
  bson_iter_t iter;
  if (!found || !bson_iter_init_find(&iter, box->pointer, "v")) return 0;
  lbson_push_value(L, &iter);
  return 1;
}

static int checkpoint_write(lua_State *L) {
  smig_ctx_t *ctx = context_of_part(L, CONTEXT_CHECKPOINT);
  const char *key = kit_check_name(L, 2, NULL);
  if (lua_isnoneornil(L, 3)) {
    return kit_raise_argument(L, "checkpoint value of '%s' is nil: write bson.null, or clear() them all", key);
  }
  kit_box_t *box = kit_box_push(L, NULL, free_document);
  box->pointer = bson_new();
  lbson_append(L, 3, box->pointer, "v", 1, "checkpoint value");
  smig_error_t error = SMIG_ERROR_INIT;
  if (!smig_ctx_checkpoint_write(ctx, key, box->pointer, &error)) return kit_raise(L, &error);
  return 0;
}

static int checkpoint_clear(lua_State *L) {
  smig_ctx_t *ctx = context_of_part(L, CONTEXT_CHECKPOINT);
  smig_error_t error = SMIG_ERROR_INIT;
  if (!smig_ctx_checkpoint_clear(ctx, &error)) return kit_raise(L, &error);
  return 0;
}

void context_register_checkpoint(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"read", checkpoint_read}, {"write", checkpoint_write}, {"clear", checkpoint_clear}, {NULL, NULL}};
  kit_new_class(L, CONTEXT_CHECKPOINT, "ctx.checkpoint", methods, NULL, NULL);
}
