/*
 * The functions over documents, which have no methods: bson.to_table, type_of, json, equal, from_bytes, to_bytes.
 * Users: scripts.
 */
#include "lbson_internal.h"

#include <string.h>

/*
 * Encodes any value as the one field "" of a document, and reads it as an element, so that all kinds are treated alike. Pushes the
 * writer's box, which keeps the bytes. A whole empty table is a document.
 */
static void encode_any(lua_State *L, int idx, lbson_writer_t *writer, lbson_element_t *element) {
  idx = lua_absindex(L, idx);
  lbson_writer_init(L, writer);
  size_t start = lbson_write_begin(writer);
  lbson_path_t path = {.key = "", .length = 0};
  if (lua_type(L, idx) == LUA_TTABLE) {
    size_t header = writer->length;
    lbson_write_header(writer, BSON_TYPE_DOCUMENT, "", 0);
    if (lbson_write_document(writer, idx, LBSON_PIPELINE_OR_DOCUMENT, "value")) writer->data[header] = BSON_TYPE_ARRAY;
  } else {
    lbson_write_value(writer, idx, "", 0, &path);
  }
  lbson_write_end(writer, start);
  lbson_next(L, writer->data, (uint32_t)writer->length, LBSON_FIRST_OFFSET, element);
}

/* The bytes of the document, array or table at idx. May push a box; the bytes are valid until it is popped. */
static const uint8_t *document_bytes(lua_State *L, int idx, const char *what, uint32_t *length, bool *is_array) {
  const lbson_view_t *view = lbson_test_view(L, idx);
  if (view && !view->overlay) {
    *length = view->length;
    *is_array = view->is_array;
    return view->bytes;
  }
  idx = lua_absindex(L, idx);
  lbson_writer_t writer;
  lbson_writer_init(L, &writer);
  *is_array = lbson_write_document(&writer, idx, LBSON_PIPELINE_OR_DOCUMENT, what);
  *length = (uint32_t)writer.length;
  return writer.data;
}

/* An option that is one of two words; whether it is the second. */
static bool read_choice(lua_State *L, const char *value, const char *option, const char *function, const char *first,
                        const char *second, bool standard) {
  if (!value) return standard;
  if (strcmp(value, second) == 0) return true;
  if (strcmp(value, first) != 0) {
    kit_raise_argument(L, "option '%s' of %s must be '%s' or '%s', got '%s'", option, function, first, second, value);
  }
  return false;
}

/* bson.to_table(doc [, { numbers = "plain"|"wrapped", null = "null"|"nil" }]) */
static int to_table(lua_State *L) {
  struct {
    const char *numbers;
    const char *null;
  } given = {NULL, NULL};
  static const kit_option_t descriptors[] = {{.name = "numbers", .type = KIT_STRING, .offset = 0},
                                             {.name = "null", .type = KIT_STRING, .offset = sizeof(const char *)},
                                             {.name = NULL}};
  lua_settop(L, 2);
  kit_read_options(L, 2, "to_table", descriptors, &given);
  lbson_table_options_t options = {
      .wrap_numbers = read_choice(L, given.numbers, "numbers", "to_table", "plain", "wrapped", false),
      .keep_null = read_choice(L, given.null, "null", "to_table", "nil", "null", true),
  };
  uint32_t length;
  bool is_array;
  const uint8_t *bytes = document_bytes(L, 1, "document", &length, &is_array);
  lbson_push_plain_table(L, bytes, length, is_array, &options);
  return 1;
}

/* bson.json(value [, { mode = "relaxed"|"canonical" }]) */
static int to_json(lua_State *L) {
  const char *mode = NULL;
  static const kit_option_t descriptors[] = {{.name = "mode", .type = KIT_STRING, .offset = 0}, {.name = NULL}};
  luaL_checkany(L, 1);
  lua_settop(L, 2);
  kit_read_options(L, 2, "json", descriptors, &mode);
  bool canonical = read_choice(L, mode, "mode", "json", "relaxed", "canonical", false);
  lbson_writer_t writer;
  lbson_element_t element;
  encode_any(L, 1, &writer, &element);
  luaL_Buffer out;
  luaL_buffinit(L, &out);
  lbson_json_element(L, &out, &element, canonical);
  luaL_pushresult(&out);
  return 1;
}

/* bson.equal(a, b): same types, same values, same order. */
static int equal(lua_State *L) {
  luaL_checkany(L, 2);
  lbson_writer_t writer_a, writer_b;
  lbson_element_t a, b;
  bool both = true;
  for (int i = 1; i <= 2; i++) {
    if (lua_isnil(L, i)) both = false;
  }
  if (!both) {
    lua_pushboolean(L, lua_rawequal(L, 1, 2));
    return 1;
  }
  encode_any(L, 1, &writer_a, &a);
  encode_any(L, 2, &writer_b, &b);
  lua_pushboolean(L, a.type == b.type && a.value_length == b.value_length &&
                         memcmp(a.value, b.value, a.value_length) == 0);
  return 1;
}

/* bson.from_bytes(bytes): a document of foreign bytes, whose structure is checked. */
static int from_bytes(lua_State *L) {
  if (lua_type(L, 1) != LUA_TSTRING) return kit_argerror(L, 1, "string");
  size_t length;
  const uint8_t *bytes = (const uint8_t *)lua_tolstring(L, 1, &length);
  lbson_check_structure(L, bytes, length);
  lbson_new_view(L, false, bytes, length);
  return 1;
}

/* bson.to_bytes(doc) */
static int to_bytes(lua_State *L) {
  uint32_t length;
  bool is_array;
  const uint8_t *bytes = document_bytes(L, 1, "document", &length, &is_array);
  lua_pushlstring(L, (const char *)bytes, length);
  return 1;
}

/* ------------------------------------------------------------------- type_of */

/* The element of that name, or of that place in an array (1-based). */
static bool find_part(lua_State *L, const lbson_element_t *in, const char *key, size_t key_length, lua_Integer index,
                      lbson_element_t *found) {
  if (in->type != (key ? BSON_TYPE_DOCUMENT : BSON_TYPE_ARRAY)) return false;
  lua_Integer here = 0;
  for (uint32_t at = LBSON_FIRST_OFFSET; lbson_next(L, in->value, in->value_length, at, found); at = found->end) {
    here++;
    if (key ? found->key_length == key_length && memcmp(found->key, key, key_length) == 0 : here == index) return true;
  }
  return false;
}

/* Follows "address.lines[3]" from `element` on. */
static bool follow(lua_State *L, const char *path, lbson_element_t *element) {
  for (bool first = true; *path; first = false) {
    lbson_element_t found;
    if (*path == '[') {
      char *end;
      long long index = strtoll(path + 1, &end, 10);
      if (end == path + 1 || *end != ']') kit_raise_argument(L, "malformed path at '%s'", path);
      if (!find_part(L, element, NULL, 0, index, &found)) return false;
      path = end + 1;
    } else {
      if (!first && *path == '.') path++;
      size_t length = strcspn(path, ".[");
      if (!find_part(L, element, path, length, 0, &found)) return false;
      path += length;
    }
    *element = found;
  }
  return true;
}

/* bson.type_of(value [, path]): the name of the BSON type, nil when there is nothing at the path. */
static int type_of(lua_State *L) {
  lua_settop(L, 2);
  if (lua_isnil(L, 1)) return 0;
  const char *path = lua_isnil(L, 2) ? "" : kit_check_name(L, 2, NULL);
  lbson_element_t element = {0};
  const lbson_view_t *view = lbson_test_view(L, 1);
  lbson_writer_t writer;
  if (view && !view->overlay) {
    element.type = view->is_array ? BSON_TYPE_ARRAY : BSON_TYPE_DOCUMENT;
    element.value = view->bytes;
    element.value_length = view->length;
  } else {
    encode_any(L, 1, &writer, &element);
  }
  if (!follow(L, path, &element)) return 0;
  lua_pushstring(L, lbson_type_name(element.type));
  return 1;
}

void lbson_open_operations(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"to_table", to_table}, {"json", to_json},    {"equal", equal}, {"from_bytes", from_bytes},
      {"to_bytes", to_bytes}, {"type_of", type_of}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
