/*
 * The rarer types: regex, timestamp, code, minkey and maxkey, and those that only come from stored documents (code with scope,
 * symbol, dbpointer, undefined); and the text of every scalar.
 * Users: the BSON binding.
 */
#include "lbson_internal.h"

#include <string.h>

/* --------------------------------------------------------------------- regex */

static int compare_chars(const void *a, const void *b) {
  return *(const char *)a - *(const char *)b;
}

void lbson_sort_options(char *options, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if ((unsigned char)options[i] >= 0x80) return;
  }
  qsort(options, length, 1, compare_chars);
}

/* bson.regex(pattern [, options]): the options are sorted, as the specification wants it. */
static int new_regex(lua_State *L) {
  size_t pattern_length, options_length = 0;
  const char *pattern = kit_check_name(L, 1, &pattern_length);
  const char *options = lua_isnoneornil(L, 2) ? "" : kit_check_name(L, 2, &options_length);
  char sorted[16];
  if (options_length >= sizeof sorted || strspn(options, "ilmsux") != options_length) {
    return kit_raise_argument(L, "regex options must be letters of 'ilmsux', got '%s'", options);
  }
  memcpy(sorted, options, options_length + 1);
  lbson_sort_options(sorted, options_length);
  lbson_scalar_t *scalar = lbson_new_scalar(L, BSON_TYPE_REGEX, NULL, pattern_length + options_length + 2);
  memcpy(scalar->bytes, pattern, pattern_length + 1);
  memcpy(scalar->bytes + pattern_length + 1, sorted, options_length + 1);
  return 1;
}

static int regex_index(lua_State *L) {
  const char *pattern = (const char *)lbson_check_scalar(L, 1, BSON_TYPE_REGEX)->bytes;
  if (lua_type(L, 2) != LUA_TSTRING) return 0;
  const char *field = lua_tostring(L, 2);
  if (strcmp(field, "pattern") == 0)
    lua_pushstring(L, pattern);
  else if (strcmp(field, "options") == 0)
    lua_pushstring(L, pattern + strlen(pattern) + 1);
  else
    return 0;
  return 1;
}

/* ----------------------------------------------------------------- timestamp */

static uint32_t check_u32(lua_State *L, int arg) {
  int is_integer = 0;
  lua_Integer value = lua_type(L, arg) == LUA_TNUMBER ? lua_tointegerx(L, arg, &is_integer) : 0;
  if (!is_integer || value < 0 || value > UINT32_MAX) kit_argerror(L, arg, "integer of 0 to 4294967295");
  return (uint32_t)value;
}

/* bson.timestamp(t, i) */
static int new_timestamp(lua_State *L) {
  uint64_t t = check_u32(L, 1), i = check_u32(L, 2);
  uint64_t little = BSON_UINT64_TO_LE(t << 32 | i);
  lbson_new_scalar(L, BSON_TYPE_TIMESTAMP, &little, sizeof little);
  return 1;
}

static int timestamp_index(lua_State *L) {
  const uint8_t *bytes = lbson_check_scalar(L, 1, BSON_TYPE_TIMESTAMP)->bytes;
  if (lua_type(L, 2) != LUA_TSTRING) return 0;
  const char *field = lua_tostring(L, 2);
  if (strcmp(field, "t") == 0)
    lua_pushinteger(L, lbson_read_u32(bytes + 4));
  else if (strcmp(field, "i") == 0)
    lua_pushinteger(L, lbson_read_u32(bytes));
  else
    return 0;
  return 1;
}

static int compare_timestamps(const lbson_scalar_t *a, const lbson_scalar_t *b) {
  uint64_t left = (uint64_t)lbson_read_i64(a->bytes), right = (uint64_t)lbson_read_i64(b->bytes);
  return (left > right) - (left < right);
}

/* ---------------------------------------------------------------------- code */

/* bson.code(text) */
static int new_code(lua_State *L) {
  if (lua_type(L, 1) != LUA_TSTRING) return kit_argerror(L, 1, "string");
  size_t length;
  const char *text = lua_tolstring(L, 1, &length);
  lbson_check_text(L, text, length, NULL);
  if (length >= LBSON_MAX_SIZE)
    return kit_raise_argument(L, "code of %zu bytes is larger than a document may be", length);
  lbson_scalar_t *scalar = lbson_new_scalar(L, BSON_TYPE_CODE, NULL, length + 5);
  uint32_t little = BSON_UINT32_TO_LE((uint32_t)length + 1);
  memcpy(scalar->bytes, &little, 4);
  memcpy(scalar->bytes + 4, text, length + 1);
  return 1;
}

static int opaque_index(lua_State *L) {
  (void)L;
  return 0;
}

/* ---------------------------------------------------------------------- text */

static void push_binary_text(lua_State *L, const lbson_scalar_t *scalar) {
  uint8_t subtype;
  uint32_t length;
  const uint8_t *data = lbson_binary_data(scalar->bytes, scalar->length, &subtype, &length);
  if (subtype == 4 && length == 16) {
    char text[37];
    lbson_format_uuid(data, text);
    lua_pushstring(L, text);
  } else {
    lua_pushfstring(L, "binary(subtype %d, %d bytes)", subtype, (int)length);
  }
}

static void push_decimal_text(lua_State *L, const lbson_scalar_t *scalar) {
  bson_decimal128_t decimal = {.low = (uint64_t)lbson_read_i64(scalar->bytes),
                               .high = (uint64_t)lbson_read_i64(scalar->bytes + 8)};
  char text[BSON_DECIMAL128_STRING];
  bson_decimal128_to_string(&decimal, text);
  lua_pushstring(L, text);
}

static void push_oid_text(lua_State *L, const lbson_scalar_t *scalar) {
  bson_oid_t oid;
  memcpy(oid.bytes, scalar->bytes, sizeof oid.bytes);
  char text[25];
  bson_oid_to_string(&oid, text);
  lua_pushstring(L, text);
}

static void push_date_text(lua_State *L, const lbson_scalar_t *scalar) {
  char text[LBSON_ISO_SIZE];
  lbson_format_date(lbson_read_i64(scalar->bytes), true, text);
  lua_pushstring(L, text);
}

static void push_number_text(lua_State *L, const lbson_scalar_t *scalar) {
  lbson_push_plain(L, scalar->type, scalar->bytes, scalar->length);
  luaL_tolstring(L, -1, NULL);
  lua_remove(L, -2);
}

void lbson_push_scalar_text(lua_State *L, const lbson_scalar_t *scalar) {
  const char *bytes = (const char *)scalar->bytes;
  switch (scalar->type) {
  case BSON_TYPE_OID:
    push_oid_text(L, scalar);
    break;
  case BSON_TYPE_DATE_TIME:
    push_date_text(L, scalar);
    break;
  case BSON_TYPE_BINARY:
    push_binary_text(L, scalar);
    break;
  case BSON_TYPE_DECIMAL128:
    push_decimal_text(L, scalar);
    break;
  case BSON_TYPE_DOUBLE:
  case BSON_TYPE_INT32:
  case BSON_TYPE_INT64:
    push_number_text(L, scalar);
    break;
  case BSON_TYPE_REGEX:
    lua_pushfstring(L, "/%s/%s", bytes, bytes + strlen(bytes) + 1);
    break;
  case BSON_TYPE_TIMESTAMP:
    lua_pushfstring(L, "timestamp(%I, %I)", (LUAI_UACINT)lbson_read_u32(scalar->bytes + 4),
                    (LUAI_UACINT)lbson_read_u32(scalar->bytes));
    break;
  case BSON_TYPE_CODE:
  case BSON_TYPE_SYMBOL:
    lua_pushlstring(L, bytes + 4, scalar->length - 5);
    break;
  default:
    lua_pushstring(L, lbson_type_name(scalar->type));
    break;
  }
}

void lbson_open_others(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"regex", new_regex}, {"timestamp", new_timestamp}, {"code", new_code}, {NULL, NULL}};
  lbson_scalar_class(L, BSON_TYPE_REGEX, regex_index, NULL);
  lbson_scalar_class(L, BSON_TYPE_TIMESTAMP, timestamp_index, NULL);
  lbson_scalar_order(L, BSON_TYPE_TIMESTAMP, compare_timestamps);
  static const uint8_t opaque[] = {BSON_TYPE_CODE,      BSON_TYPE_CODEWSCOPE, BSON_TYPE_SYMBOL, BSON_TYPE_DBPOINTER,
                                   BSON_TYPE_UNDEFINED, LBSON_TYPE_MINKEY,    LBSON_TYPE_MAXKEY};
  for (size_t i = 0; i < sizeof opaque; i++) lbson_scalar_class(L, opaque[i], opaque_index, NULL);
  lbson_new_scalar(L, LBSON_TYPE_MINKEY, NULL, 0);
  lua_setfield(L, -2, "minkey");
  lbson_new_scalar(L, LBSON_TYPE_MAXKEY, NULL, 0);
  lua_setfield(L, -2, "maxkey");
  luaL_setfuncs(L, functions, 0);
}
