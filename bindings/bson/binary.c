/*
 * bson.binary and bson.uuid.
 * Users: the BSON binding. A binary's value is int32 length, subtype, bytes; subtype 2 repeats the length inside.
 */
#include "lbson_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

enum { PREFIX = 5, SUBTYPE_OLD = 2, SUBTYPE_UUID = 4, UUID_LENGTH = 16 };

const uint8_t *lbson_binary_data(const uint8_t *value, uint32_t length, uint8_t *subtype, uint32_t *data_length) {
  *subtype = value[4];
  *data_length = length - PREFIX;
  const uint8_t *data = value + PREFIX;
  if (*subtype == SUBTYPE_OLD && *data_length >= 4 && lbson_read_u32(data) == *data_length - 4) {
    *data_length -= 4;
    data += 4;
  }
  return data;
}

static void push_binary(lua_State *L, const uint8_t *data, size_t length, uint8_t subtype) {
  if (length > LBSON_MAX_SIZE) kit_raise_argument(L, "a binary of %zu bytes is larger than a document may be", length);
  uint32_t inner = subtype == SUBTYPE_OLD ? 4 : 0;
  lbson_scalar_t *scalar = lbson_new_scalar(L, BSON_TYPE_BINARY, NULL, PREFIX + inner + length);
  uint32_t outer_length = BSON_UINT32_TO_LE((uint32_t)length + inner),
           inner_length = BSON_UINT32_TO_LE((uint32_t)length);
  memcpy(scalar->bytes, &outer_length, 4);
  scalar->bytes[4] = subtype;
  memcpy(scalar->bytes + PREFIX, &inner_length, inner);
  if (length) memcpy(scalar->bytes + PREFIX + inner, data, length);
}

/* bson.binary(data [, subtype]) */
static int new_binary(lua_State *L) {
  if (lua_type(L, 1) != LUA_TSTRING) return kit_argerror(L, 1, "string");
  size_t length;
  const char *data = lua_tolstring(L, 1, &length);
  int is_integer = 1;
  lua_Integer subtype = lua_isnoneornil(L, 2) ? 0 : lua_tointegerx(L, 2, &is_integer);
  if (!is_integer || subtype < 0 || subtype > 255) return kit_argerror(L, 2, "subtype of 0 to 255");
  push_binary(L, (const uint8_t *)data, length, (uint8_t)subtype);
  return 1;
}

void lbson_format_uuid(const uint8_t *bytes, char out[37]) {
  static const char digits[] = "0123456789abcdef";
  for (int i = 0; i < UUID_LENGTH; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *out++ = '-';
    *out++ = digits[bytes[i] >> 4];
    *out++ = digits[bytes[i] & 15];
  }
  *out = '\0';
}

int lbson_hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool lbson_parse_uuid(const char *text, uint8_t bytes[UUID_LENGTH]) {
  for (int i = 0; i < UUID_LENGTH; i++) {
    if ((i == 4 || i == 6 || i == 8 || i == 10) && *text == '-') text++;
    int high = lbson_hex_value(text[0]), low = high < 0 ? -1 : lbson_hex_value(text[1]);
    if (low < 0) return false;
    bytes[i] = (uint8_t)(high << 4 | low);
    text += 2;
  }
  return *text == '\0';
}

/* bson.uuid([text]): without text a random one (version 4). */
static int new_uuid(lua_State *L) {
  uint8_t bytes[UUID_LENGTH];
  if (lua_isnoneornil(L, 1)) {
    ssize_t got;
    do got = getrandom(bytes, sizeof bytes, 0);
    while (got < 0 && errno == EINTR);
    if (got != (ssize_t)sizeof bytes)
      return kit_raise_argument(L, "the system gave no random bytes: %s", strerror(errno));
    bytes[6] = (uint8_t)((bytes[6] & 0x0f) | 0x40);
    bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
  } else {
    if (lua_type(L, 1) != LUA_TSTRING) return kit_argerror(L, 1, "string");
    size_t length;
    const char *text = lua_tolstring(L, 1, &length);
    if (strlen(text) != length || !lbson_parse_uuid(text, bytes))
      return kit_raise_argument(L, "'%s' is not a UUID", text);
  }
  push_binary(L, bytes, sizeof bytes, SUBTYPE_UUID);
  return 1;
}

static int binary_index(lua_State *L) {
  const lbson_scalar_t *scalar = lbson_check_scalar(L, 1, BSON_TYPE_BINARY);
  uint8_t subtype;
  uint32_t length;
  const uint8_t *data = lbson_binary_data(scalar->bytes, scalar->length, &subtype, &length);
  if (lua_type(L, 2) != LUA_TSTRING) return 0;
  const char *field = lua_tostring(L, 2);
  if (strcmp(field, "data") == 0)
    lua_pushlstring(L, (const char *)data, length);
  else if (strcmp(field, "subtype") == 0)
    lua_pushinteger(L, subtype);
  else
    return 0;
  return 1;
}

void lbson_open_binary(lua_State *L) {
  static const luaL_Reg functions[] = {{"binary", new_binary}, {"uuid", new_uuid}, {NULL, NULL}};
  lbson_scalar_class(L, BSON_TYPE_BINARY, binary_index, NULL);
  luaL_setfuncs(L, functions, 0);
}
