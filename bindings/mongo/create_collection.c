/*
 * create_collection, and `if_not_exists`: a collection that is there will do when the options asked for are the ones it has.
 * Users: database.c. Errors: argument errors; a server's (NamespaceExists). Rule: bindings design, section 3.
 */
#include "internal.h"

#include <string.h>

enum { NAMESPACE_EXISTS = 48 };

typedef struct create_options {
  lmongo_common_t common;
  bool if_not_exists, capped;
  int64_t size, max, expire_after_seconds;
  bool has_expiry;
  int validator, collation, timeseries, clustered_index, pipeline, storage_engine, change_stream_pre_and_post_images;
  const char *validation_level, *validation_action, *view_on;
} create_options_t;

static const kit_option_t create_options[] = {
    LMONGO_WRITE_OPTIONS,
    LMONGO_OPTION(create_options_t, if_not_exists, KIT_BOOLEAN),
    LMONGO_OPTION(create_options_t, capped, KIT_BOOLEAN),
    LMONGO_RANGE(create_options_t, size, 1, INT64_MAX),
    LMONGO_RANGE(create_options_t, max, 1, INT32_MAX),
    {"expire_after_seconds", KIT_INTEGER, offsetof(create_options_t, expire_after_seconds), 0, INT32_MAX,
     offsetof(create_options_t, has_expiry)},
    LMONGO_OPTION(create_options_t, validator, KIT_INDEX),
    LMONGO_OPTION(create_options_t, collation, KIT_INDEX),
    LMONGO_OPTION(create_options_t, timeseries, KIT_INDEX),
    LMONGO_OPTION(create_options_t, clustered_index, KIT_INDEX),
    LMONGO_OPTION(create_options_t, pipeline, KIT_INDEX),
    LMONGO_OPTION(create_options_t, storage_engine, KIT_INDEX),
    LMONGO_OPTION(create_options_t, change_stream_pre_and_post_images, KIT_INDEX),
    LMONGO_OPTION(create_options_t, validation_level, KIT_STRING),
    LMONGO_OPTION(create_options_t, validation_action, KIT_STRING),
    LMONGO_OPTION(create_options_t, view_on, KIT_STRING),
    LMONGO_END_OPTIONS};

static void append_options(lua_State *L, const create_options_t *options, bson_t *to) {
  if (options->capped) BSON_APPEND_BOOL(to, "capped", true);
  if (options->size) BSON_APPEND_INT64(to, "size", options->size);
  if (options->max) BSON_APPEND_INT64(to, "max", options->max);
  if (options->has_expiry) BSON_APPEND_INT64(to, "expireAfterSeconds", options->expire_after_seconds);
  lmongo_append_document(L, options->validator, LBSON_DOCUMENT, to, "validator", "validator");
  lmongo_append_document(L, options->collation, LBSON_DOCUMENT, to, "collation", "collation");
  lmongo_append_document(L, options->timeseries, LBSON_DOCUMENT, to, "timeseries", "timeseries");
  lmongo_append_document(L, options->clustered_index, LBSON_DOCUMENT, to, "clusteredIndex", "clustered_index");
  lmongo_append_document(L, options->pipeline, LBSON_ARRAY, to, "pipeline", "pipeline");
  lmongo_append_document(L, options->storage_engine, LBSON_DOCUMENT, to, "storageEngine", "storage_engine");
  lmongo_append_document(L, options->change_stream_pre_and_post_images, LBSON_DOCUMENT, to,
                         "changeStreamPreAndPostImages", "change_stream_pre_and_post_images");
  if (options->validation_level) BSON_APPEND_UTF8(to, "validationLevel", options->validation_level);
  if (options->validation_action) BSON_APPEND_UTF8(to, "validationAction", options->validation_action);
  if (options->view_on) BSON_APPEND_UTF8(to, "viewOn", options->view_on);
}

/* --------------------------------------------------------------- agreement */

static bool is_number(const bson_iter_t *iter) {
  return BSON_ITER_HOLDS_INT(iter) || BSON_ITER_HOLDS_DOUBLE(iter) || BSON_ITER_HOLDS_BOOL(iter);
}

static bool same_value(const bson_iter_t *a, const bson_iter_t *b) {
  if (is_number(a) && is_number(b)) return bson_iter_as_double(a) == bson_iter_as_double(b);
  bson_t left = BSON_INITIALIZER, right = BSON_INITIALIZER;
  bson_append_iter(&left, "v", 1, a);
  bson_append_iter(&right, "v", 1, b);
  bool same = bson_equal(&left, &right);
  bson_destroy(&left);
  bson_destroy(&right);
  return same;
}

/* Whether every field of `asked` is in `found`. The server adds its defaults to some options, so `found` may have more. */
static bool holds(const bson_iter_t *found, const bson_iter_t *asked) {
  bson_iter_t field, other;
  if (!BSON_ITER_HOLDS_DOCUMENT(found) || !BSON_ITER_HOLDS_DOCUMENT(asked)) return same_value(found, asked);
  if (!bson_iter_recurse(asked, &field)) return false;
  while (bson_iter_next(&field)) {
    if (!bson_iter_recurse(found, &other) || !bson_iter_find(&other, bson_iter_key(&field)) || !holds(&other, &field)) {
      return false;
    }
  }
  return true;
}

/* The server rounds sizes up to 256 bytes. */
static bool same_size(const bson_iter_t *found, const bson_iter_t *asked) {
  return (bson_iter_as_int64(asked) + 255) / 256 == (bson_iter_as_int64(found) + 255) / 256;
}

/* The first option of `asked` that the collection has otherwise, or NULL. */
static const char *disagreement(const bson_t *asked, const bson_t *found) {
  static const char *const defaulted[] = {"collation", "timeseries", "clusteredIndex", "storageEngine",
                                          "changeStreamPreAndPostImages"};
  static const struct {
    const char *option, *value;
  } defaults[] = {{"validationLevel", "strict"}, {"validationAction", "error"}};
  bson_iter_t want, have;
  bson_iter_init(&want, asked);
  while (bson_iter_next(&want)) {
    const char *key = bson_iter_key(&want);
    bool agrees = false;
    if (bson_iter_init_find(&have, found, key)) {
      bool part = false;
      for (size_t i = 0; i < sizeof defaulted / sizeof *defaulted; i++) part |= strcmp(defaulted[i], key) == 0;
      agrees = strcmp(key, "size") == 0 ? same_size(&have, &want)
               : part                   ? holds(&have, &want)
                                        : same_value(&have, &want);
    } else if (BSON_ITER_HOLDS_UTF8(&want)) {
      for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
        agrees |= strcmp(defaults[i].option, key) == 0 && strcmp(defaults[i].value, bson_iter_utf8(&want, NULL)) == 0;
      }
    }
    if (!agrees) return key;
  }
  if (bson_has_field(found, "viewOn") != bson_has_field(asked, "viewOn")) return "viewOn";
  if (bson_has_field(found, "timeseries") != bson_has_field(asked, "timeseries")) return "timeseries";
  return NULL;
}

/* The collection is there: raises when its options are not those asked for. */
static void check_agreement(lua_State *L, lmongo_call_t *call, const char *name, const bson_t *asked) {
  bson_t opts = BSON_INITIALIZER, filter;
  bson_iter_t session;
  if (bson_iter_init_find(&session, &call->opts, "sessionId")) bson_append_iter(&opts, NULL, -1, &session);
  if (bson_iter_init_find(&session, &call->opts, "comment")) bson_append_iter(&opts, NULL, -1, &session);
  BSON_APPEND_DOCUMENT_BEGIN(&opts, "filter", &filter);
  BSON_APPEND_UTF8(&filter, "name", name);
  bson_append_document_end(&opts, &filter);
  mongoc_cursor_t *cursor = mongoc_database_find_collections_with_opts(lmongo_call_database(call), &opts);
  bson_destroy(&opts);
  const bson_t *found;
  bson_error_t cause = {0};
  char *differs = NULL;
  if (mongoc_cursor_next(cursor, &found)) {
    bson_iter_t options;
    bson_t existing = BSON_INITIALIZER;
    uint32_t length;
    const uint8_t *bytes;
    if (bson_iter_init_find(&options, found, "options") && BSON_ITER_HOLDS_DOCUMENT(&options)) {
      bson_iter_document(&options, &length, &bytes);
      bson_init_static(&existing, bytes, length);
    }
    differs = bson_strdup(disagreement(asked, &existing));
  } else {
    mongoc_cursor_error(cursor, &cause);
  }
  mongoc_cursor_destroy(cursor);
  if (cause.code || cause.domain) lmongo_call_failed(L, call, &cause);
  if (!differs) return;
  bson_error_t conflict;
  bson_set_error(&conflict, MONGOC_ERROR_SERVER, NAMESPACE_EXISTS,
                 "it exists already, with another '%s' than asked for; use modify_collection, or drop it", differs);
  bson_free(differs);
  lmongo_call_failed(L, call, &conflict);
}

/* database:create_collection(name [, opts]) -> collection */
int lmongo_create_collection(lua_State *L) {
  const lmongo_target_t *target = lmongo_check_db(L);
  lua_settop(L, 3);
  const char *name = lmongo_check_collection_name(L, 2);
  create_options_t options = {0};
  kit_read_options(L, 3, "create_collection", create_options, &options);
  lmongo_call_t *call = lmongo_call(L, target, "create_collection in", LMONGO_WRITE, &options.common);
  call->phrase_owned = bson_strdup_printf("create_collection '%s' in", name);
  call->phrase = call->phrase_owned;
  kit_box_t *box = kit_box_push(L, NULL, lmongo_free_bson);
  bson_t *asked = bson_new();
  box->pointer = asked;
  append_options(L, &options, asked);
  BSON_APPEND_UTF8(&call->command, "create", name);
  bson_concat(&call->command, asked);
  bson_error_t cause;
  if (!lmongo_try(call, LMONGO_WRITE, target->database, &cause)) {
    if (!options.if_not_exists || cause.domain != MONGOC_ERROR_SERVER || cause.code != NAMESPACE_EXISTS) {
      return lmongo_call_failed(L, call, &cause);
    }
    check_agreement(L, call, name, asked);
  }
  lmongo_call_end(call);
  lua_getiuservalue(L, 1, 1);
  lmongo_push_target(L, -1, 1, target->database, name);
  return 1;
}
