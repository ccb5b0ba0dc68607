/*
 * Foreign bytes: whether they are a BSON document, down to the last nested one.
 * Users: bson.from_bytes. Documents of the server are not checked; reading them never looks beyond their bytes.
 * Errors: argument errors with the path of what is wrong. Source of the rules: the BSON specification, version 1.1, and what
 * MongoDB's BSON corpus calls decode errors.
 */
#include "lbson_internal.h"

#include <string.h>

static void check_document(lua_State *L, const uint8_t *bytes, uint32_t length, bool is_array, const lbson_path_t *path,
                           unsigned depth);

static int refuse(lua_State *L, const lbson_path_t *path, const char *why) {
  return lbson_fail(L, path, "not a BSON document: %s", why);
}

static void check_utf8(lua_State *L, const void *text, size_t length, const lbson_path_t *path) {
  if (!lbson_is_utf8(text, length)) refuse(L, path, "the text is not valid UTF-8");
}

static void check_code_with_scope(lua_State *L, const lbson_element_t *element, const lbson_path_t *path,
                                  unsigned depth) {
  uint32_t code_length, scope_length;
  const uint8_t *scope;
  if (!lbson_split_code(element, &code_length, &scope, &scope_length)) refuse(L, path, "malformed code with scope");
  check_utf8(L, element->value + 8, code_length, path);
  check_document(L, scope, scope_length, false, path, depth);
}

/* Subtype 2 has a second length inside, which must say the same. */
static bool is_binary_sound(const lbson_element_t *element) {
  enum { SUBTYPE_OLD = 2, PREFIX = 5 };
  if (element->value[4] != SUBTYPE_OLD) return true;
  uint32_t length = element->value_length - PREFIX;
  return length >= 4 && lbson_read_u32(element->value + PREFIX) == length - 4;
}

static void check_value(lua_State *L, const lbson_element_t *element, const lbson_path_t *path, unsigned depth) {
  const uint8_t *value = element->value;
  uint32_t length = element->value_length;
  switch (element->type) {
  case BSON_TYPE_DOCUMENT:
  case BSON_TYPE_ARRAY:
    check_document(L, value, length, element->type == BSON_TYPE_ARRAY, path, depth + 1);
    break;
  case BSON_TYPE_CODEWSCOPE:
    check_code_with_scope(L, element, path, depth + 1);
    break;
  case BSON_TYPE_UTF8:
  case BSON_TYPE_CODE:
  case BSON_TYPE_SYMBOL:
  case BSON_TYPE_DBPOINTER:
    check_utf8(L, value + 4, lbson_read_u32(value) - 1, path);
    break;
  case BSON_TYPE_REGEX:
    check_utf8(L, value, length, path);
    break;
  case BSON_TYPE_BINARY:
    if (!is_binary_sound(element)) refuse(L, path, "a binary of subtype 2 with two different lengths");
    break;
  case BSON_TYPE_BOOL:
    if (*value > 1) refuse(L, path, "a boolean that is neither 0 nor 1");
    break;
  default:
    break;
  }
}

static void check_document(lua_State *L, const uint8_t *bytes, uint32_t length, bool is_array, const lbson_path_t *path,
                           unsigned depth) {
  if (depth > LBSON_MAX_STORED_DEPTH) refuse(L, NULL, "nested too deeply");
  lbson_element_t element;
  lbson_found_t found;
  lua_Integer index = 0;
  for (uint32_t at = LBSON_FIRST_OFFSET; (found = lbson_element_at(bytes, length, at, &element)) == LBSON_FOUND;
       at = element.end) {
    lbson_path_t here = {
        .parent = path, .key = is_array ? NULL : element.key, .length = element.key_length, .index = ++index};
    if (!lbson_is_utf8(element.key, element.key_length)) refuse(L, &here, "the key is not valid UTF-8");
    check_value(L, &element, &here, depth);
  }
  if (found == LBSON_CORRUPT) refuse(L, path, "an element that does not fit, or of unknown type");
}

void lbson_check_structure(lua_State *L, const uint8_t *bytes, size_t length) {
  if (length < LBSON_MIN_DOCUMENT || length > INT32_MAX || lbson_read_u32(bytes) != length || bytes[length - 1] != 0) {
    refuse(L, NULL, "its length does not fit");
  }
  check_document(L, bytes, (uint32_t)length, false, NULL, 1);
}
