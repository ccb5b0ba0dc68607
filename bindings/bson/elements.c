/*
 * Elements as they lie in BSON bytes: reading one without looking beyond the document.
 * Users: the BSON binding. Our own, because libbson's validation passes invalid documents and its iterator hides offsets.
 * Source of the rules: the BSON specification, version 1.1.
 */
#include "lbson_internal.h"

#include <string.h>

uint32_t lbson_read_u32(const uint8_t *p) {
  uint32_t value;
  memcpy(&value, p, sizeof value);
  return BSON_UINT32_FROM_LE(value);
}

int32_t lbson_read_i32(const uint8_t *p) {
  return (int32_t)lbson_read_u32(p);
}

int64_t lbson_read_i64(const uint8_t *p) {
  uint64_t value;
  memcpy(&value, p, sizeof value);
  return (int64_t)BSON_UINT64_FROM_LE(value);
}

double lbson_read_double(const uint8_t *p) {
  double value;
  memcpy(&value, p, sizeof value);
  return BSON_DOUBLE_FROM_LE(value);
}

/* The length of a string's value with its prefix, or -1. */
static int64_t string_length(const uint8_t *p, uint32_t room) {
  if (room < 5) return -1;
  uint32_t length = lbson_read_u32(p);
  if (length < 1 || length > room - 4 || p[4 + length - 1] != 0) return -1;
  return 4 + (int64_t)length;
}

static int64_t document_length(const uint8_t *p, uint32_t room) {
  if (room < LBSON_MIN_DOCUMENT) return -1;
  uint32_t length = lbson_read_u32(p);
  if (length < LBSON_MIN_DOCUMENT || length > room || p[length - 1] != 0) return -1;
  return length;
}

static int64_t binary_length(const uint8_t *p, uint32_t room) {
  if (room < 5) return -1;
  uint32_t length = lbson_read_u32(p);
  return length > room - 5 ? -1 : 5 + (int64_t)length;
}

static int64_t regex_length(const uint8_t *p, uint32_t room) {
  const uint8_t *pattern_end = memchr(p, 0, room);
  if (!pattern_end) return -1;
  uint32_t used = (uint32_t)(pattern_end - p) + 1;
  const uint8_t *options_end = memchr(p + used, 0, room - used);
  return options_end ? options_end - p + 1 : -1;
}

/* The length of values whose type says it, plus one; 0: another type. */
static const uint8_t fixed_lengths[256] = {
    [BSON_TYPE_DOUBLE] = 9,    [BSON_TYPE_DATE_TIME] = 9, [BSON_TYPE_TIMESTAMP] = 9, [BSON_TYPE_INT64] = 9,
    [BSON_TYPE_INT32] = 5,     [BSON_TYPE_OID] = 13,      [BSON_TYPE_BOOL] = 2,      [BSON_TYPE_DECIMAL128] = 17,
    [BSON_TYPE_UNDEFINED] = 1, [BSON_TYPE_NULL] = 1,      [LBSON_TYPE_MAXKEY] = 1,   [LBSON_TYPE_MINKEY] = 1};

/* The length of the value at p, or -1. */
static inline int64_t value_length(uint8_t type, const uint8_t *p, uint32_t room) {
  int64_t length = (int64_t)fixed_lengths[type] - 1;
  if (length < 0) {
    switch (type) {
    case BSON_TYPE_UTF8:
    case BSON_TYPE_CODE:
    case BSON_TYPE_SYMBOL:
      return string_length(p, room);
    case BSON_TYPE_DOCUMENT:
    case BSON_TYPE_ARRAY:
      return document_length(p, room);
    case BSON_TYPE_BINARY:
      return binary_length(p, room);
    case BSON_TYPE_REGEX:
      return regex_length(p, room);
    case BSON_TYPE_DBPOINTER:
      length = string_length(p, room);
      if (length >= 0) length += 12;
      break;
    case BSON_TYPE_CODEWSCOPE:
      length = room < 14 ? -1 : (int64_t)lbson_read_u32(p);
      if (length < 14) return -1;
      break;
    default:
      return -1;
    }
  }
  return length > room ? -1 : length;
}

/* memchr for a NUL; names are mostly shorter than the word that is looked at first. */
static inline const uint8_t *find_nul(const uint8_t *p, size_t room) {
  uint64_t word;
  if (room >= sizeof word) {
    memcpy(&word, p, sizeof word);
    word = BSON_UINT64_FROM_LE(word);
    uint64_t nuls = (word - UINT64_C(0x0101010101010101)) & ~word & UINT64_C(0x8080808080808080);
    if (nuls) return p + __builtin_ctzll(nuls) / 8;
  }
  return memchr(p, 0, room);
}

static inline lbson_found_t read_element(const uint8_t *bytes, uint32_t length, uint32_t offset,
                                         lbson_element_t *element) {
  if (offset >= length) return LBSON_CORRUPT;
  uint8_t type = bytes[offset];
  if (type == 0) return offset == length - 1 ? LBSON_END : LBSON_CORRUPT;
  const uint8_t *key = bytes + offset + 1;
  const uint8_t *last = bytes + length - 1; /* the terminator */
  const uint8_t *key_end = key < last ? find_nul(key, (size_t)(last - key)) : NULL;
  if (!key_end) return LBSON_CORRUPT;
  const uint8_t *value = key_end + 1;
  int64_t used = value_length(type, value, (uint32_t)(last - value));
  if (used < 0) return LBSON_CORRUPT;
  element->type = type;
  element->key = (const char *)key;
  element->key_length = (uint32_t)(key_end - key);
  element->value = value;
  element->value_length = (uint32_t)used;
  element->offset = offset;
  element->end = (uint32_t)(value - bytes) + (uint32_t)used;
  return LBSON_FOUND;
}

lbson_found_t lbson_element_at(const uint8_t *bytes, uint32_t length, uint32_t offset, lbson_element_t *element) {
  return read_element(bytes, length, offset, element);
}

static void raise_corrupt(lua_State *L, uint32_t offset) {
  kit_raise_argument(L, "corrupt BSON document: no valid element at byte %u", offset);
}

bool lbson_next(lua_State *L, const uint8_t *bytes, uint32_t length, uint32_t offset, lbson_element_t *element) {
  lbson_found_t found = read_element(bytes, length, offset, element);
  if (found == LBSON_CORRUPT) raise_corrupt(L, offset);
  return found == LBSON_FOUND;
}

bool lbson_find(lua_State *L, const uint8_t *bytes, uint32_t length, const char *key, size_t key_length,
                lbson_element_t *element, uint32_t *passed) {
  uint32_t at = LBSON_FIRST_OFFSET, count = 0;
  lbson_element_t here; /* not *element: it stays in registers */
  lbson_found_t found;
  for (; (found = read_element(bytes, length, at, &here)) == LBSON_FOUND; at = here.end, count++) {
    if (here.key_length == key_length && memcmp(here.key, key, key_length) == 0) break;
  }
  if (found == LBSON_CORRUPT) raise_corrupt(L, at);
  if (found == LBSON_FOUND) *element = here;
  *passed = count;
  return found == LBSON_FOUND;
}

bool lbson_split_code(const lbson_element_t *element, uint32_t *code_length, const uint8_t **scope,
                      uint32_t *scope_length) {
  uint32_t room = element->value_length - 4;
  int64_t code = string_length(element->value + 4, room);
  if (code < 0) return false;
  *code_length = (uint32_t)code - 5;
  *scope = element->value + 4 + code;
  *scope_length = room - (uint32_t)code;
  return document_length(*scope, *scope_length) == *scope_length;
}

const char *lbson_type_name(uint8_t type) {
  switch (type) {
  case BSON_TYPE_DOUBLE:
    return "double";
  case BSON_TYPE_UTF8:
    return "string";
  case BSON_TYPE_DOCUMENT:
    return "document";
  case BSON_TYPE_ARRAY:
    return "array";
  case BSON_TYPE_BINARY:
    return "binary";
  case BSON_TYPE_UNDEFINED:
    return "undefined";
  case BSON_TYPE_OID:
    return "objectid";
  case BSON_TYPE_BOOL:
    return "bool";
  case BSON_TYPE_DATE_TIME:
    return "date";
  case BSON_TYPE_NULL:
    return "null";
  case BSON_TYPE_REGEX:
    return "regex";
  case BSON_TYPE_DBPOINTER:
    return "dbpointer";
  case BSON_TYPE_CODE:
    return "code";
  case BSON_TYPE_SYMBOL:
    return "symbol";
  case BSON_TYPE_CODEWSCOPE:
    return "code_with_scope";
  case BSON_TYPE_INT32:
    return "int32";
  case BSON_TYPE_TIMESTAMP:
    return "timestamp";
  case BSON_TYPE_INT64:
    return "int64";
  case BSON_TYPE_DECIMAL128:
    return "decimal128";
  case LBSON_TYPE_MAXKEY:
    return "maxkey";
  case LBSON_TYPE_MINKEY:
    return "minkey";
  default:
    return "unknown";
  }
}
