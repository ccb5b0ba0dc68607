/*
 * find_one_and_update, find_one_and_replace, find_one_and_delete: the findAndModify command, which the driver retries.
 * Users: collection.c. Errors: argument errors; a server's. Rule: bindings design, section 3. The document as it was before is
 * returned unless `return_document` is "after", as in all drivers.
 */
#include "internal.h"

#include <string.h>

typedef struct modify_options {
  lmongo_common_t common;
  int sort, projection, array_filters, hint, collation, let;
  bool upsert, bypass_document_validation;
  const char *return_document;
} modify_options_t;

#define EVERY_MODIFY_OPTION                                                                                            \
  LMONGO_WRITE_OPTIONS, LMONGO_OPTION(modify_options_t, sort, KIT_INDEX),                                              \
      LMONGO_OPTION(modify_options_t, projection, KIT_INDEX), LMONGO_OPTION(modify_options_t, hint, KIT_INDEX),        \
      LMONGO_OPTION(modify_options_t, collation, KIT_INDEX), LMONGO_OPTION(modify_options_t, let, KIT_INDEX)

#define WRITING_MODIFY_OPTIONS                                                                                         \
  LMONGO_OPTION(modify_options_t, upsert, KIT_BOOLEAN),                                                                \
      LMONGO_OPTION(modify_options_t, bypass_document_validation, KIT_BOOLEAN),                                        \
      LMONGO_OPTION(modify_options_t, return_document, KIT_STRING)

static const kit_option_t update_options[] = {EVERY_MODIFY_OPTION, WRITING_MODIFY_OPTIONS,
                                              LMONGO_OPTION(modify_options_t, array_filters, KIT_INDEX),
                                              LMONGO_END_OPTIONS};
static const kit_option_t replace_options[] = {EVERY_MODIFY_OPTION, WRITING_MODIFY_OPTIONS, LMONGO_END_OPTIONS};
static const kit_option_t delete_options[] = {EVERY_MODIFY_OPTION, LMONGO_END_OPTIONS};

static bool wants_after(lua_State *L, const char *return_document) {
  if (!return_document || strcmp(return_document, "before") == 0) return false;
  if (strcmp(return_document, "after") == 0) return true;
  kit_raise_argument(L, "option 'return_document' must be \"before\" or \"after\", got '%s'", return_document);
  return false;
}

typedef enum modify_kind { UPDATE, REPLACE, DELETE } modify_kind_t;

static int modify(lua_State *L, const char *operation, const char *phrase, const kit_option_t *descriptors,
                  modify_kind_t kind) {
  const lmongo_target_t *target = lmongo_check_collection(L);
  int options_arg = kind == DELETE ? 3 : 4;
  lua_settop(L, options_arg);
  modify_options_t options = {0};
  kit_read_options(L, options_arg, operation, descriptors, &options);
  bool after = wants_after(L, options.return_document), is_pipeline = false;
  lmongo_call_t *call = lmongo_call(L, target, phrase, LMONGO_WRITE, &options.common);
  bson_t *command = &call->command;
  BSON_APPEND_UTF8(command, "findAndModify", target->collection);
  BSON_APPEND_DOCUMENT(command, "query", lmongo_check_filter(L, 2, true));
  lmongo_append_document(L, options.sort, LBSON_ORDERED, command, "sort", "sort");
  if (kind == DELETE) {
    BSON_APPEND_BOOL(command, "remove", true);
  } else {
    const bson_t *change = kind == REPLACE ? lmongo_check_replacement(L, 3, operation)
                                           : lmongo_check_update(L, 3, operation, &is_pipeline);
    if (is_pipeline)
      BSON_APPEND_ARRAY(command, "update", change);
    else
      BSON_APPEND_DOCUMENT(command, "update", change);
    if (after) BSON_APPEND_BOOL(command, "new", true);
    if (options.upsert) BSON_APPEND_BOOL(command, "upsert", true);
    if (options.bypass_document_validation) BSON_APPEND_BOOL(command, "bypassDocumentValidation", true);
    lmongo_append_document(L, options.array_filters, LBSON_ARRAY, command, "arrayFilters", "array_filters");
  }
  lmongo_append_document(L, options.projection, LBSON_DOCUMENT, command, "fields", "projection");
  lmongo_append_hint(L, options.hint, command);
  lmongo_append_document(L, options.collation, LBSON_DOCUMENT, command, "collation", "collation");
  lmongo_append_document(L, options.let, LBSON_DOCUMENT, command, "let", "let");
  const bson_t *reply = lmongo_run(L, call, LMONGO_WRITE, target->database);
  bson_iter_t value;
  if (bson_iter_init_find(&value, reply, "value") && BSON_ITER_HOLDS_DOCUMENT(&value))
    lbson_push_value(L, &value);
  else
    lua_pushnil(L);
  lmongo_call_end(call);
  return 1;
}

/* collection:find_one_and_update(filter, update [, opts]) -> document or nil */
int lmongo_find_one_and_update(lua_State *L) {
  return modify(L, "find_one_and_update", "find_one_and_update in", update_options, UPDATE);
}

int lmongo_find_one_and_replace(lua_State *L) {
  return modify(L, "find_one_and_replace", "find_one_and_replace in", replace_options, REPLACE);
}

/* collection:find_one_and_delete(filter [, opts]) -> document or nil */
int lmongo_find_one_and_delete(lua_State *L) {
  return modify(L, "find_one_and_delete", "find_one_and_delete from", delete_options, DELETE);
}
