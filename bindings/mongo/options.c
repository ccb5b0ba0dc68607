/*
 * Options that several operations take: concerns, read preference, hint, raw fields; and the arguments filter, update,
 * replacement and document.
 * Users: the operations in mongo/. Errors: argument errors that name the option. Rule: bindings design, section 3.
 */
#include "internal.h"

#include <string.h>

/* ---------------------------------------------------------------- concerns */

void lmongo_append_read_concern(lua_State *L, int idx, bson_t *to, const char *key) {
  typedef struct {
    const char *level;
  } read_concern_t;
  static const kit_option_t options[] = {LMONGO_OPTION(read_concern_t, level, KIT_STRING), LMONGO_END_OPTIONS};
  static const char *const levels[] = {"local", "available", "majority", "linearizable", "snapshot", NULL};
  read_concern_t concern = {NULL};
  if (lua_type(L, idx) == LUA_TSTRING)
    concern.level = lua_tostring(L, idx);
  else
    kit_read_options(L, idx, "read_concern", options, &concern);
  bool known = false;
  for (const char *const *level = levels; concern.level && *level; level++) known |= strcmp(*level, concern.level) == 0;
  if (!known) {
    kit_raise_argument(
        L, "option 'read_concern' must be one of local, available, majority, linearizable, snapshot, got '%s'",
        concern.level ? concern.level : "nothing");
  }
  bson_t child;
  BSON_APPEND_DOCUMENT_BEGIN(to, key, &child);
  BSON_APPEND_UTF8(&child, "level", concern.level);
  bson_append_document_end(to, &child);
}

void lmongo_append_write_concern(lua_State *L, int idx, bson_t *to, const char *key) {
  typedef struct {
    int w;
    bool j, has_j;
    int64_t wtimeout_ms;
  } write_concern_t;
  static const kit_option_t options[] = {
      LMONGO_OPTION(write_concern_t, w, KIT_INDEX),
      {"j", KIT_BOOLEAN, offsetof(write_concern_t, j), 0, 0, offsetof(write_concern_t, has_j)},
      LMONGO_RANGE(write_concern_t, wtimeout_ms, 0, INT32_MAX),
      LMONGO_END_OPTIONS};
  write_concern_t concern = {0};
  kit_read_options(L, idx, "write_concern", options, &concern);
  const char *tag = NULL;
  int is_integer = 1;
  lua_Integer w = 0;
  if (concern.w && lua_type(L, concern.w) == LUA_TSTRING) {
    tag = kit_check_name(L, concern.w, NULL);
  } else if (concern.w) {
    w = lua_tointegerx(L, concern.w, &is_integer);
    if (!is_integer || w < 1 || w > 50) {
      kit_raise_argument(L,
                         "option 'w' of write_concern must be \"majority\", a tag or a number from 1: a write nobody "
                         "acknowledges can fail unseen");
    }
  }
  bson_t child;
  BSON_APPEND_DOCUMENT_BEGIN(to, key, &child);
  if (tag)
    BSON_APPEND_UTF8(&child, "w", tag);
  else if (concern.w)
    BSON_APPEND_INT32(&child, "w", (int32_t)w);
  if (concern.has_j) BSON_APPEND_BOOL(&child, "j", concern.j);
  if (concern.wtimeout_ms) BSON_APPEND_INT32(&child, "wtimeout", (int32_t)concern.wtimeout_ms);
  bson_append_document_end(to, &child);
  if (concern.w) lua_pop(L, 1);
}

typedef struct read_preference_options {
  const char *mode;
  int tags;
  int64_t max_staleness_seconds;
} read_preference_options_t;

static mongoc_read_mode_t read_mode(lua_State *L, const char *name) {
  static const struct {
    const char *name;
    mongoc_read_mode_t mode;
  } modes[] = {{"primary", MONGOC_READ_PRIMARY},
               {"primaryPreferred", MONGOC_READ_PRIMARY_PREFERRED},
               {"secondary", MONGOC_READ_SECONDARY},
               {"secondaryPreferred", MONGOC_READ_SECONDARY_PREFERRED},
               {"nearest", MONGOC_READ_NEAREST}};
  for (size_t i = 0; name && i < sizeof modes / sizeof *modes; i++) {
    if (strcmp(modes[i].name, name) == 0) return modes[i].mode;
  }
  kit_raise_argument(
      L,
      "option 'read_preference' must be one of primary, primaryPreferred, secondary, secondaryPreferred, "
      "nearest, got '%s'",
      name ? name : "nothing");
  return MONGOC_READ_PRIMARY;
}

void lmongo_read_preference(lua_State *L, int idx, mongoc_read_prefs_t **prefs) {
  static const kit_option_t options[] = {LMONGO_OPTION(read_preference_options_t, mode, KIT_STRING),
                                         LMONGO_OPTION(read_preference_options_t, tags, KIT_INDEX),
                                         LMONGO_RANGE(read_preference_options_t, max_staleness_seconds, 90, INT32_MAX),
                                         LMONGO_END_OPTIONS};
  read_preference_options_t given = {0};
  if (lua_type(L, idx) == LUA_TSTRING)
    given.mode = lua_tostring(L, idx);
  else
    kit_read_options(L, idx, "read_preference", options, &given);
  *prefs = mongoc_read_prefs_new(read_mode(L, given.mode));
  if (given.tags) {
    bool is_array = false;
    const bson_t *tags = lbson_check(L, given.tags, LBSON_ARRAY, "tags", &is_array);
    mongoc_read_prefs_set_tags(*prefs, tags);
    lua_pop(L, 2);
  }
  if (given.max_staleness_seconds) mongoc_read_prefs_set_max_staleness_seconds(*prefs, given.max_staleness_seconds);
  if (!mongoc_read_prefs_is_valid(*prefs)) {
    kit_raise_argument(
        L, "option 'read_preference' is not valid: mode primary takes neither tags nor max_staleness_seconds");
  }
}

/* ------------------------------------------------------------------ fields */

void lmongo_pop_box(lua_State *L) {
  kit_box_free(lua_touserdata(L, -1));
  lua_pop(L, 1);
}

void lmongo_append_document(lua_State *L, int idx, lbson_role_t role, bson_t *to, const char *key, const char *what) {
  if (!idx) return;
  bool is_array = false;
  const bson_t *document = lbson_check(L, idx, role, what, &is_array);
  if (is_array != (role == LBSON_ARRAY) && role != LBSON_PIPELINE_OR_DOCUMENT) {
    kit_raise_argument(L, "option '%s' must be %s", what, is_array ? "a document, not an array" : "an array");
  }
  if (is_array)
    BSON_APPEND_ARRAY(to, key, document);
  else
    BSON_APPEND_DOCUMENT(to, key, document);
  lmongo_pop_box(L);
}

void lmongo_append_hint(lua_State *L, int idx, bson_t *to) {
  if (idx && lua_type(L, idx) == LUA_TSTRING)
    BSON_APPEND_UTF8(to, "hint", kit_check_name(L, idx, NULL));
  else
    lmongo_append_document(L, idx, LBSON_ORDERED, to, "hint", "hint");
}

void lmongo_append_extra(lua_State *L, int idx, bson_t *to) {
  if (!idx) return;
  const bson_t *extra = lbson_check(L, idx, LBSON_DOCUMENT, "extra", NULL);
  bson_iter_t iter;
  for (bool more = bson_iter_init(&iter, extra) && bson_iter_next(&iter); more; more = bson_iter_next(&iter)) {
    const char *key = bson_iter_key(&iter);
    if (bson_has_field(to, key) || strcmp(key, "lsid") == 0 || strcmp(key, "txnNumber") == 0 ||
        strcmp(key, "comment") == 0 || strcmp(key, "sessionId") == 0 || strcmp(key, "serverId") == 0) {
      kit_raise_argument(L, "option 'extra' must not hold '%s': it has an option of its own", key);
    }
  }
  bson_concat(to, extra);
  lmongo_pop_box(L);
}

/* --------------------------------------------------------------- arguments */

void lmongo_free_bson(void *document) {
  bson_destroy(document);
}

void lmongo_free_read_prefs(void *prefs) {
  mongoc_read_prefs_destroy(prefs);
}

const bson_t *lmongo_check_filter(lua_State *L, int arg, bool required) {
  bson_oid_t oid;
  bool is_oid = lbson_test_oid(L, arg, &oid);
  if (is_oid || lua_isnoneornil(L, arg)) {
    if (!is_oid && required) kit_argerror(L, arg, "filter expected, {} for every document");
    kit_box_t *box = kit_box_push(L, NULL, lmongo_free_bson);
    bson_t *filter = bson_new();
    box->pointer = filter;
    if (is_oid) BSON_APPEND_OID(filter, "_id", &oid);
    return filter;
  }
  bool is_array = false;
  const bson_t *filter = lbson_check(L, arg, LBSON_DOCUMENT, "filter", &is_array);
  if (is_array) kit_argerror(L, arg, "filter document expected, got an array");
  return filter;
}

/* Whether all fields are operators; an empty document is not. *none says that none of them is one. */
static bool operators(const bson_t *document, bool *none) {
  bson_iter_t iter;
  bool all = !bson_empty(document);
  *none = true;
  for (bool more = bson_iter_init(&iter, document) && bson_iter_next(&iter); more; more = bson_iter_next(&iter)) {
    bool is_operator = bson_iter_key(&iter)[0] == '$';
    all &= is_operator;
    *none &= !is_operator;
  }
  return all;
}

void lmongo_require_update(lua_State *L, const bson_t *update, bool is_pipeline, const char *operation) {
  bool none;
  if (is_pipeline) {
    if (bson_empty(update)) kit_raise_argument(L, "the pipeline of %s must not be empty", operation);
  } else if (!operators(update, &none)) {
    kit_raise_argument(L, "%s wants operators ($set, $unset, …) or a pipeline; to replace the document use replace_one",
                       operation);
  }
}

void lmongo_require_replacement(lua_State *L, const bson_t *replacement, bool is_array, const char *operation) {
  bool none = true;
  operators(replacement, &none);
  if (is_array || !none) {
    kit_raise_argument(L, "%s wants a whole document without operators; to change fields use update_one", operation);
  }
}

const bson_t *lmongo_check_update(lua_State *L, int idx, const char *operation, bool *is_pipeline) {
  *is_pipeline = false;
  const bson_t *update = lbson_check(L, idx, LBSON_PIPELINE_OR_DOCUMENT, "update", is_pipeline);
  lmongo_require_update(L, update, *is_pipeline, operation);
  return update;
}

const bson_t *lmongo_check_replacement(lua_State *L, int idx, const char *operation) {
  bool is_array = false;
  const bson_t *replacement = lbson_check(L, idx, LBSON_DOCUMENT, "replacement", &is_array);
  lmongo_require_replacement(L, replacement, is_array, operation);
  return replacement;
}

bson_t *lmongo_check_insert(lua_State *L, int idx) {
  bool is_array = false;
  bson_t *document = lbson_check(L, idx, LBSON_DOCUMENT, "document", &is_array);
  if (is_array) kit_raise_argument(L, "cannot insert an array: a document is expected");
  if (bson_has_field(document, "_id")) return document;
  bson_oid_t id;
  bson_oid_init(&id, NULL);
  kit_box_t *box = kit_box_push(L, NULL, lmongo_free_bson);
  bson_t *whole = bson_sized_new(document->len + 32);
  box->pointer = whole;
  BSON_APPEND_OID(whole, "_id", &id);
  bson_concat(whole, document);
  kit_box_free(lua_touserdata(L, -2));
  lua_remove(L, -2);
  return whole;
}
