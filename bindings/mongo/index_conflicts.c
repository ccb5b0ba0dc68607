/*
 * What to say when an index stands in the way of one that is wanted: both definitions, and the way out.
 * Users: indexes.c. Errors: IndexOptionsConflict (85) and IndexKeySpecsConflict (86) with the definitions in the message and, as
 * `existing_index` and `wanted_index`, in the details. Rule: bindings design, section 3.
 *
 * Which two collide is found by asking for the indexes there are; when that cannot be found out, the server's own text stays.
 */
#include "internal.h"

#include <string.h>

enum { INDEX_OPTIONS_CONFLICT = 85, INDEX_KEY_SPECS_CONFLICT = 86 };

static bool same_field(const bson_t *a, const bson_t *b, const char *field) {
  bson_iter_t left, right;
  if (!bson_iter_init_find(&left, a, field) || !bson_iter_init_find(&right, b, field)) return false;
  if (BSON_ITER_HOLDS_UTF8(&left) && BSON_ITER_HOLDS_UTF8(&right))
    return strcmp(bson_iter_utf8(&left, NULL), bson_iter_utf8(&right, NULL)) == 0;
  bson_iter_t in_left, in_right;
  if (!bson_iter_recurse(&left, &in_left) || !bson_iter_recurse(&right, &in_right)) return false;
  /* Keys: numbers of any type are the same direction, {a: 1} and {a: 1.0}. */
  while (bson_iter_next(&in_left)) {
    if (!bson_iter_next(&in_right) || strcmp(bson_iter_key(&in_left), bson_iter_key(&in_right)) != 0) return false;
    bool texts = BSON_ITER_HOLDS_UTF8(&in_left) && BSON_ITER_HOLDS_UTF8(&in_right);
    if (texts ? strcmp(bson_iter_utf8(&in_left, NULL), bson_iter_utf8(&in_right, NULL)) != 0
              : bson_iter_as_double(&in_left) != bson_iter_as_double(&in_right))
      return false;
  }
  return !bson_iter_next(&in_right);
}

/* Whether what is wanted is there as it is; the server adds fields of its own (`v`), and spells numbers in its own width. */
static bool is_identical(const bson_t *existing, const bson_t *wanted) {
  bson_iter_t iter, other;
  uint32_t fields = bson_count_keys(existing);
  if (bson_has_field(existing, "v")) fields--;
  if (bson_has_field(existing, "ns")) fields--;
  if (fields != bson_count_keys(wanted) || !same_field(existing, wanted, "key")) return false;
  for (bool more = bson_iter_init(&iter, wanted) && bson_iter_next(&iter); more; more = bson_iter_next(&iter)) {
    if (!bson_iter_init_find(&other, existing, bson_iter_key(&iter))) return false;
    if (BSON_ITER_HOLDS_DOCUMENT(&iter)) continue; /* a collation comes back with its defaults */
    if (BSON_ITER_HOLDS_UTF8(&iter) ? !same_field(existing, wanted, bson_iter_key(&iter))
                                    : bson_iter_as_int64(&iter) != bson_iter_as_int64(&other))
      return false;
  }
  return true;
}

/* The first of the wanted indexes that has the name, or else the keys, of `existing` without being the same. */
static bool find_wanted(const bson_t *wanted, const bson_t *existing, const char *field, bson_t *found) {
  bson_iter_t iter;
  for (bool more = bson_iter_init(&iter, wanted) && bson_iter_next(&iter); more; more = bson_iter_next(&iter)) {
    uint32_t length;
    const uint8_t *bytes;
    bson_iter_document(&iter, &length, &bytes);
    if (!bson_init_static(found, bytes, length) || is_identical(existing, found)) continue;
    if (same_field(found, existing, field)) return true;
  }
  return false;
}

/* Finds the two; copies them. */
static bool find_conflict(lmongo_call_t *call, const bson_t *wanted, const char *field, bson_t *existing,
                          bson_t *found) {
  bson_t opts = BSON_INITIALIZER, view;
  const bson_t *index;
  bool has = false;
  if (call->session) mongoc_client_session_append(call->session, &opts, NULL);
  if (call->scope->comment) BSON_APPEND_UTF8(&opts, "comment", call->scope->comment);
  mongoc_cursor_t *cursor = mongoc_collection_find_indexes_with_opts(lmongo_call_collection(call), &opts);
  while (!has && mongoc_cursor_next(cursor, &index)) {
    has = find_wanted(wanted, index, field, &view);
    if (!has) continue;
    bson_copy_to(index, existing);
    bson_copy_to(&view, found);
  }
  mongoc_cursor_destroy(cursor);
  bson_destroy(&opts);
  return has;
}

static char *to_text(const bson_t *index) {
  char *text = bson_as_relaxed_extended_json(index, NULL);
  return text ? text : bson_strdup("{ a definition that is not valid UTF-8 }");
}

int lmongo_indexes_failed(lua_State *L, lmongo_call_t *call, const bson_t *wanted, const bson_error_t *cause) {
  bool by_name = cause->code == INDEX_KEY_SPECS_CONFLICT;
  bool conflict = cause->domain == MONGOC_ERROR_SERVER && (by_name || cause->code == INDEX_OPTIONS_CONFLICT);
  bson_t existing, found;
  if (!conflict || !find_conflict(call, wanted, by_name ? "name" : "key", &existing, &found))
    return lmongo_call_failed(L, call, cause);
  smig_error_t error = SMIG_ERROR_INIT;
  lmongo_make_error(call->scope, &error, call->phrase, call->target->ns, &call->reply, cause);
  char *there = to_text(&existing), *want = to_text(&found);
  char *message = bson_strdup_printf(
      "%s '%s' failed: the index %s stands in the way of %s; drop it, or ask for the same definition", call->phrase,
      call->target->ns, there, want);
  if (error.code == SMIG_FOREIGN) {
    bson_free(error.message);
    error.message = message;
    BSON_APPEND_DOCUMENT(smig_error_details(&error), "existing_index", &existing);
    BSON_APPEND_DOCUMENT(smig_error_details(&error), "wanted_index", &found);
  } else {
    bson_free(message); /* the run must end, which comes first */
  }
  bson_free(there);
  bson_free(want);
  bson_destroy(&existing);
  bson_destroy(&found);
  lmongo_call_end(call);
  return kit_raise(L, &error);
}
