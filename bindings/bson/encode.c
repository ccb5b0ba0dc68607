/*
 * Plain Lua tables into BSON: the same bytes for the same content in every process, and an error with its path for whatever
 * could mean two things.
 * Users: lbson_check, bson.doc and bson.array, assignments. Rules: bindings design, sections 2.2 and 2.3.
 */
#include "lbson_internal.h"

#include <string.h>

static const char array_mark_key, document_mark_key;

typedef struct sorted_key {
  const char *text;
  size_t length;
} sorted_key_t;

/* ------------------------------------------------------------------------ marks */

static void push_mark(lua_State *L, const char *key, const char *name) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, key) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_createtable(L, 0, 1);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

void lbson_push_array_mark(lua_State *L) {
  push_mark(L, &array_mark_key, "smartmigration.bson.array_mt");
}

void lbson_push_document_mark(lua_State *L) {
  push_mark(L, &document_mark_key, "smartmigration.bson.doc_mt");
}

static bool has_mark(lua_State *L, int idx, const char *key) {
  if (!lua_getmetatable(L, idx)) return false;
  lua_rawgetp(L, LUA_REGISTRYINDEX, key);
  bool marked = lua_rawequal(L, -1, -2) && !lua_isnil(L, -1);
  lua_pop(L, 2);
  return marked;
}

/* --------------------------------------------------------------- looking at tables */

typedef enum shape { SHAPE_EMPTY, SHAPE_SEQUENCE, SHAPE_MAP } shape_t;

/* Counts the keys; raises for what is neither a sequence nor a map. *count: of elements or fields. */
static shape_t look_at(lua_State *L, int idx, size_t *count, const lbson_path_t *path) {
  size_t strings = 0, integers = 0;
  lua_Integer greatest = 0;
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
    if (lua_type(L, -2) == LUA_TSTRING) {
      strings++;
    } else if (lua_isinteger(L, -2)) {
      lua_Integer key = lua_tointeger(L, -2);
      if (key < 1) lbson_fail(L, path, "an array begins at [1], the table has [%lld]", (long long)key);
      if (key > greatest) greatest = key;
      integers++;
    } else {
      lbson_fail(L, path, "a table with a %s as key cannot be encoded", luaL_typename(L, -2));
    }
  }
  if (strings && integers)
    lbson_fail(L, path, "the table has both names and indexes: it is neither document nor array");
  if ((size_t)greatest != integers) {
    lbson_fail(L, path, "the array has holes: %zu elements up to [%lld]; use bson.null for what is missing", integers,
               (long long)greatest);
  }
  *count = strings + integers;
  return strings ? SHAPE_MAP : integers ? SHAPE_SEQUENCE : SHAPE_EMPTY;
}

/* Whether the sequence at idx is a list of pairs { { "a", 1 }, { "b", -1 } }. */
static bool is_pairs_list(lua_State *L, int idx, size_t count) {
  for (size_t i = 1; i <= count; i++) {
    lua_rawgeti(L, idx, (lua_Integer)i);
    bool pair = lua_type(L, -1) == LUA_TTABLE && lua_rawlen(L, -1) == 2;
    if (pair) {
      pair = lua_rawgeti(L, -1, 1) == LUA_TSTRING;
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
    if (!pair) return false;
  }
  return count > 0;
}

/* --------------------------------------------------------------- what a key means */

static bool is_one_of(const char *key, size_t length, const char *const *names) {
  for (; *names; names++) {
    if (strlen(*names) == length && memcmp(*names, key, length) == 0) return true;
  }
  return false;
}

static bool takes_array(const char *key, size_t length) {
  static const char *const names[] = {"$in", "$nin", "$all", "$and", "$or", "$nor", "$each", "$pullAll", NULL};
  return is_one_of(key, length, names);
}

static bool order_matters_under(const char *key, size_t length) {
  static const char *const names[] = {"$sort", "_id", NULL};
  return key && is_one_of(key, length, names);
}

static int raise_order(lua_State *L, const char *what, size_t length, const lbson_path_t *path) {
  static const char text[] = "key order matters in '%.*s': write { { \"a\", 1 }, { \"b\", -1 } }";
  if (path && (path->parent || path->view_idx)) return lbson_fail(L, path, text, (int)length, what);
  return lbson_fail(L, NULL, text, (int)length, what);
}

/* ------------------------------------------------------------------------ writing */

static void write_string_value(lbson_writer_t *writer, int idx, const char *key, size_t key_length,
                               const lbson_path_t *path) {
  size_t length;
  const char *text = lua_tolstring(writer->L, idx, &length);
  lbson_check_text(writer->L, text, length, path);
  lbson_write_header(writer, BSON_TYPE_UTF8, key, key_length);
  lbson_write_string(writer, text, length);
}

static void write_number(lbson_writer_t *writer, int idx, const char *key, size_t key_length) {
  lua_State *L = writer->L;
  if (!lua_isinteger(L, idx)) {
    lbson_write_header(writer, BSON_TYPE_DOUBLE, key, key_length);
    lbson_write_double(writer, lua_tonumber(L, idx));
    return;
  }
  lua_Integer value = lua_tointeger(L, idx);
  bool small = value >= INT32_MIN && value <= INT32_MAX;
  lbson_write_header(writer, small ? BSON_TYPE_INT32 : BSON_TYPE_INT64, key, key_length);
  if (small)
    lbson_write_i32(writer, (int32_t)value);
  else
    lbson_write_i64(writer, value);
}

/* A document or array under `key`; `meaning` is the key that decides what an empty table is, NULL in an array. */
static void write_container(lbson_writer_t *writer, int idx, const char *key, size_t key_length, const char *meaning,
                            size_t meaning_length, const lbson_path_t *path, unsigned depth) {
  size_t header = writer->length;
  lbson_write_header(writer, BSON_TYPE_DOCUMENT, key, key_length);
  if (lbson_write_nested(writer, idx, meaning, meaning_length, path, depth)) writer->data[header] = BSON_TYPE_ARRAY;
}

static void write_value(lbson_writer_t *writer, int idx, const char *key, size_t key_length, bool in_array,
                        const lbson_path_t *path, unsigned depth) {
  lua_State *L = writer->L;
  writer->path = path;
  switch (lua_type(L, idx)) {
  case LUA_TBOOLEAN:
    lbson_write_header(writer, BSON_TYPE_BOOL, key, key_length);
    lbson_write_byte(writer, (uint8_t)lua_toboolean(L, idx));
    break;
  case LUA_TNUMBER:
    write_number(writer, idx, key, key_length);
    break;
  case LUA_TSTRING:
    write_string_value(writer, idx, key, key_length, path);
    break;
  case LUA_TTABLE:
    write_container(writer, idx, key, key_length, in_array ? NULL : key, in_array ? 0 : key_length, path, depth);
    break;
  default: {
    int kind = lbson_kind(L, idx);
    if (kind >= LBSON_KIND_DOCUMENT) {
      write_container(writer, idx, key, key_length, NULL, 0, path, depth);
    } else if (kind != LBSON_NO_KIND) {
      const lbson_scalar_t *scalar = lua_touserdata(L, idx);
      lbson_write_header(writer, (uint8_t)kind, key, key_length);
      lbson_write(writer, scalar->bytes, scalar->length);
    } else if (lbson_is_null(L, idx)) {
      lbson_write_header(writer, BSON_TYPE_NULL, key, key_length);
    } else {
      lbson_fail(L, path, "cannot encode a %s", luaL_typename(L, idx));
    }
  }
  }
  writer->path = path->parent;
}

void lbson_write_value(lbson_writer_t *writer, int idx, const char *key, size_t key_length, const lbson_path_t *path) {
  luaL_checkstack(writer->L, 12, NULL);
  write_value(writer, lua_absindex(writer->L, idx), key, key_length, false, path, 1);
}

static void write_sequence(lbson_writer_t *writer, int idx, size_t count, bool of_documents, const lbson_path_t *path,
                           unsigned depth) {
  lua_State *L = writer->L;
  size_t start = lbson_write_begin(writer);
  for (size_t i = 1; i <= count; i++) {
    char key[24];
    size_t key_length = (size_t)bson_snprintf(key, sizeof key, "%zu", i - 1);
    lbson_path_t here = {.parent = path, .index = (lua_Integer)i};
    lua_rawgeti(L, idx, (lua_Integer)i);
    if (of_documents && lua_type(L, -1) == LUA_TTABLE) {
      /* A stage of a pipeline: like what stands under an operator, empty it is a document. */
      write_container(writer, lua_gettop(L), key, key_length, "$", 1, &here, depth + 1);
    } else {
      write_value(writer, lua_gettop(L), key, key_length, true, &here, depth + 1);
    }
    lua_pop(L, 1);
  }
  lbson_write_end(writer, start);
}

/* A list of pairs as a document, in its order. */
static void write_pairs(lbson_writer_t *writer, int idx, size_t count, const lbson_path_t *path, unsigned depth) {
  lua_State *L = writer->L;
  size_t start = lbson_write_begin(writer);
  for (size_t i = 1; i <= count; i++) {
    lua_rawgeti(L, idx, (lua_Integer)i);
    lua_rawgeti(L, -1, 1);
    lua_rawgeti(L, -2, 2);
    size_t key_length;
    const char *key = lua_tolstring(L, -2, &key_length);
    lbson_path_t here = {.parent = path, .key = key, .length = key_length};
    lbson_check_key(L, key, key_length, &here);
    write_value(writer, lua_gettop(L), key, key_length, false, &here, depth + 1);
    lua_pop(L, 3);
  }
  lbson_write_end(writer, start);
}

static int compare_keys(const void *a, const void *b) {
  const sorted_key_t *left = a, *right = b;
  size_t common = left->length < right->length ? left->length : right->length;
  int order = memcmp(left->text, right->text, common);
  return order ? order : (left->length > right->length) - (left->length < right->length);
}

enum { FEW_KEYS = 16 }; /* as many are sorted on the C stack */

/* Collects the table's keys, sorted bytewise; they live as long as the table. */
static void sort_keys(lua_State *L, int idx, sorted_key_t *keys) {
  size_t used = 0;
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
    sorted_key_t key;
    key.text = lua_tolstring(L, -2, &key.length);
    keys[used++] = key;
    if (used > FEW_KEYS) continue;
    size_t place = used - 1;
    for (; place > 0 && compare_keys(&keys[place - 1], &key) > 0; place--) keys[place] = keys[place - 1];
    keys[place] = key;
  }
  if (used > FEW_KEYS) qsort(keys, used, sizeof *keys, compare_keys);
}

static void write_map(lbson_writer_t *writer, int idx, size_t count, const lbson_path_t *path, unsigned depth) {
  lua_State *L = writer->L;
  sorted_key_t few[FEW_KEYS], *keys = few;
  if (count > FEW_KEYS)
    keys = lua_newuserdatauv(L, count * sizeof *keys, 0);
  else
    lua_pushnil(L); /* in its place */
  sort_keys(L, idx, keys);
  size_t start = lbson_write_begin(writer);
  for (size_t i = 0; i < count; i++) {
    lbson_path_t here = {.parent = path, .key = keys[i].text, .length = keys[i].length};
    lbson_check_key(L, keys[i].text, keys[i].length, &here);
    lua_pushlstring(L, keys[i].text, keys[i].length);
    lua_rawget(L, idx);
    write_value(writer, lua_gettop(L), keys[i].text, keys[i].length, false, &here, depth + 1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  lbson_write_end(writer, start);
}

static void write_empty(lbson_writer_t *writer) {
  lbson_write_end(writer, lbson_write_begin(writer));
}

/* Operators may stand in any order, whatever they stand under. */
static bool only_operators(lua_State *L, int idx) {
  bool only = true;
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) only = only && *lua_tostring(L, -2) == '$';
  return only;
}

static bool write_table(lbson_writer_t *writer, int idx, const char *key, size_t key_length, const lbson_path_t *path,
                        unsigned depth) {
  lua_State *L = writer->L;
  size_t count;
  shape_t shape = look_at(L, idx, &count, path);
  bool marked_array = has_mark(L, idx, &array_mark_key);
  bool ordered = order_matters_under(key, key_length) && !marked_array;
  switch (shape) {
  case SHAPE_EMPTY: {
    bool is_array = marked_array || (key && takes_array(key, key_length));
    if (!is_array && !(key && key_length > 0 && key[0] == '$') && !has_mark(L, idx, &document_mark_key)) {
      lbson_fail(L, path, "empty table is ambiguous; use bson.array{} or bson.doc{}");
    }
    write_empty(writer);
    return is_array;
  }
  case SHAPE_SEQUENCE:
    if (ordered && is_pairs_list(L, idx, count)) {
      write_pairs(writer, idx, count, path, depth);
      return false;
    }
    write_sequence(writer, idx, count, false, path, depth);
    return true;
  case SHAPE_MAP:
    if (marked_array) lbson_fail(L, path, "a table with bson.array_mt has names as keys");
    if (ordered && count > 1 && !only_operators(L, idx)) raise_order(L, key, key_length, path);
    write_map(writer, idx, count, path, depth);
    return false;
  }
  return false;
}

bool lbson_write_nested(lbson_writer_t *writer, int idx, const char *key, size_t key_length, const lbson_path_t *path,
                        unsigned depth) {
  lua_State *L = writer->L;
  if (depth > LBSON_MAX_DEPTH) {
    lbson_fail(L, path, "nested deeper than %d levels; does the table contain itself?", LBSON_MAX_DEPTH);
  }
  luaL_checkstack(L, 12, NULL);
  idx = lua_absindex(L, idx);
  writer->path = path;
  const lbson_view_t *view = lbson_test_view(L, idx);
  if (view) {
    lbson_write_view(L, idx, writer);
    return view->is_array;
  }
  if (kit_thaw(L, idx)) {
    bool is_array = write_table(writer, lua_gettop(L), key, key_length, path, depth);
    lua_pop(L, 1);
    return is_array;
  }
  return write_table(writer, idx, key, key_length, path, depth);
}

/* -------------------------------------------------------------------------- roles */

static bool wants_array(int role) {
  return role == LBSON_ARRAY || role == LBSON_BUILT_ARRAY;
}

static bool fits(int role, bool is_array) {
  return is_array ? wants_array(role) || role == LBSON_PIPELINE_OR_DOCUMENT : !wants_array(role);
}

static int wrong_role(lua_State *L, const char *what, bool is_array) {
  if (!is_array) return kit_raise_argument(L, "%s must be an array, got a document", what);
  return kit_raise_argument(L, "%s must be a document, got an array (an ordered document is bson.doc { { \"a\", 1 } })",
                            what);
}

static bool write_root_table(lbson_writer_t *writer, int idx, int role, const char *what) {
  lua_State *L = writer->L;
  size_t count;
  shape_t shape = look_at(L, idx, &count, NULL);
  bool is_array =
      shape == SHAPE_SEQUENCE || has_mark(L, idx, &array_mark_key) || (shape == SHAPE_EMPTY && wants_array(role));
  bool takes_pairs = role == LBSON_ORDERED || role == LBSON_BUILT_DOCUMENT;
  if (takes_pairs && shape == SHAPE_SEQUENCE && is_pairs_list(L, idx, count)) {
    write_pairs(writer, idx, count, NULL, 1);
    return false;
  }
  if (!fits(role, is_array)) wrong_role(L, what, is_array);
  if (role == LBSON_ORDERED && count > 1) raise_order(L, what, strlen(what), NULL);
  if (shape == SHAPE_EMPTY)
    write_empty(writer);
  else if (is_array)
    write_sequence(writer, idx, count, role != LBSON_BUILT_ARRAY, NULL, 1);
  else
    write_map(writer, idx, count, NULL, 1);
  return is_array;
}

bool lbson_write_document(lbson_writer_t *writer, int idx, int role, const char *what) {
  lua_State *L = writer->L;
  luaL_checkstack(L, 12, NULL);
  idx = lua_absindex(L, idx);
  const lbson_view_t *view = lbson_test_view(L, idx);
  if (view) {
    if (!fits(role, view->is_array)) wrong_role(L, what, view->is_array);
    lbson_write_view(L, idx, writer);
    return view->is_array;
  }
  if (lua_type(L, idx) != LUA_TTABLE) {
    return kit_raise_argument(L, "%s must be a %s, got %s", what,
                              wants_array(role) ? "table or bson array" : "table or bson document",
                              lbson_is_null(L, idx) ? "bson.null" : luaL_typename(L, idx));
  }
  if (kit_thaw(L, idx)) {
    bool is_array = write_root_table(writer, lua_gettop(L), role, what);
    lua_pop(L, 1);
    return is_array;
  }
  return write_root_table(writer, idx, role, what);
}
