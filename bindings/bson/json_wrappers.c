/*
 * What objects with `$` names stand for in Extended JSON v2: {"$oid": …}, {"$date": …} and their like, in any order of their names,
 * with nothing beside them.
 * Users: json_read.c. Legacy forms that are read too: $binary with $type, $regex with $options. As query operators, $type and $regex
 * stay what they are. Source: the MongoDB specification of Extended JSON, version 2.
 */
#include "json_read.h"

#include <math.h>
#include <string.h>

enum { MAX_FIELDS = 2, UUID_TEXT = 36, SUBTYPE_OLD = 2, SUBTYPE_UUID = 4 };

/* A wrapper that is being read: its fields, in a copy of its document. */
typedef struct wrapper {
  lbson_writer_t *writer; /* takes the value */
  lbson_element_t fields[MAX_FIELDS];
  unsigned count;
  bool is_plain;
} wrapper_t;

/* Writes the value and answers its type; 0: malformed. */
typedef uint8_t (*unwrap_fn)(wrapper_t *wrapper, const lbson_element_t *value);

/* ---------------------------------------------------------------------- fields */

static const lbson_element_t *find_field(const wrapper_t *wrapper, const char *name) {
  for (unsigned i = 0; i < wrapper->count; i++) {
    const lbson_element_t *field = &wrapper->fields[i];
    if (field->key_length == strlen(name) && memcmp(field->key, name, field->key_length) == 0) return field;
  }
  return NULL;
}

/* The text of a string field of that length (0: any), or NULL. */
static const char *text_of(const lbson_element_t *field, size_t length) {
  if (!field || field->type != BSON_TYPE_UTF8) return NULL;
  return length && field->value_length - 5 != length ? NULL : (const char *)field->value + 4;
}

static size_t text_length(const lbson_element_t *field) {
  return field->value_length - 5;
}

/* Reads up to MAX_FIELDS fields; more make a count of more. */
static void read_fields(wrapper_t *wrapper, const uint8_t *bytes, uint32_t length) {
  lbson_element_t field;
  wrapper->count = 0;
  for (uint32_t at = LBSON_FIRST_OFFSET; lbson_element_at(bytes, length, at, &field) == LBSON_FOUND; at = field.end) {
    if (wrapper->count++ == MAX_FIELDS) return;
    wrapper->fields[wrapper->count - 1] = field;
  }
}

/* The inner document of a wrapper such as {"$binary": {…}}, of two fields, in place of the outer one. */
static bool enter(wrapper_t *wrapper, const lbson_element_t *value) {
  if (value->type != BSON_TYPE_DOCUMENT || wrapper->count != 1) return false;
  read_fields(wrapper, value->value, value->value_length);
  return wrapper->count == 2;
}

/* ----------------------------------------------------------------------- values */

static uint8_t unwrap_oid(wrapper_t *wrapper, const lbson_element_t *value) {
  const char *hex = text_of(value, 24);
  bson_oid_t oid;
  if (!hex || wrapper->count != 1 || !bson_oid_is_valid(hex, 24)) return 0;
  bson_oid_init_from_string(&oid, hex);
  lbson_write(wrapper->writer, oid.bytes, sizeof oid.bytes);
  return BSON_TYPE_OID;
}

static uint8_t unwrap_symbol(wrapper_t *wrapper, const lbson_element_t *value) {
  if (!text_of(value, 0) || wrapper->count != 1) return 0;
  lbson_write(wrapper->writer, value->value, value->value_length);
  return BSON_TYPE_SYMBOL;
}

static uint8_t unwrap_code(wrapper_t *wrapper, const lbson_element_t *value) {
  if (!text_of(value, 0) || wrapper->count > 2) return 0;
  const lbson_element_t *scope = find_field(wrapper, "$scope");
  if (wrapper->count == 2) {
    if (!scope || scope->type != BSON_TYPE_DOCUMENT) return 0;
    lbson_write_i32(wrapper->writer, (int32_t)(4 + value->value_length + scope->value_length));
  }
  lbson_write(wrapper->writer, value->value, value->value_length);
  if (scope) lbson_write(wrapper->writer, scope->value, scope->value_length);
  return scope ? BSON_TYPE_CODEWSCOPE : BSON_TYPE_CODE;
}

static bool read_integer_text(const lbson_element_t *value, int64_t min, int64_t max, int64_t *integer) {
  const char *text = text_of(value, 0), *end;
  bool is_integer;
  return text && lbson_scan_number(text, text + text_length(value), &end, &is_integer) && is_integer &&
         end == text + text_length(value) && lbson_read_integer(text, end, integer) && *integer >= min &&
         *integer <= max;
}

static uint8_t unwrap_int32(wrapper_t *wrapper, const lbson_element_t *value) {
  int64_t integer;
  if (wrapper->count != 1 || !read_integer_text(value, INT32_MIN, INT32_MAX, &integer)) return 0;
  lbson_write_i32(wrapper->writer, (int32_t)integer);
  return BSON_TYPE_INT32;
}

static uint8_t unwrap_int64(wrapper_t *wrapper, const lbson_element_t *value) {
  int64_t integer;
  if (wrapper->count != 1 || !read_integer_text(value, INT64_MIN, INT64_MAX, &integer)) return 0;
  lbson_write_i64(wrapper->writer, integer);
  return BSON_TYPE_INT64;
}

static bool is_text(const lbson_element_t *value, const char *text) {
  return text_length(value) == strlen(text) && memcmp(value->value + 4, text, strlen(text)) == 0;
}

static uint8_t unwrap_double(wrapper_t *wrapper, const lbson_element_t *value) {
  const char *text = text_of(value, 0), *end;
  bool is_integer;
  double number;
  if (!text || wrapper->count != 1) return 0;
  if (is_text(value, "NaN"))
    number = NAN;
  else if (is_text(value, "Infinity"))
    number = INFINITY;
  else if (is_text(value, "-Infinity"))
    number = -INFINITY;
  else if (!lbson_scan_number(text, text + text_length(value), &end, &is_integer) || end != text + text_length(value) ||
           !lbson_read_number(text, end, &number))
    return 0;
  lbson_write_double(wrapper->writer, number);
  return BSON_TYPE_DOUBLE;
}

static uint8_t unwrap_decimal(wrapper_t *wrapper, const lbson_element_t *value) {
  const char *text = text_of(value, 0);
  bson_decimal128_t decimal;
  if (!text || wrapper->count != 1 || strlen(text) != text_length(value) ||
      !bson_decimal128_from_string(text, &decimal)) {
    return 0;
  }
  lbson_write_i64(wrapper->writer, (int64_t)decimal.low);
  lbson_write_i64(wrapper->writer, (int64_t)decimal.high);
  return BSON_TYPE_DECIMAL128;
}

/* ----------------------------------------------------------------------- binary */

static int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four characters, of which the last `padding` are '='. */
static bool write_group(lbson_writer_t *writer, const char *text, int padding) {
  uint32_t group = 0;
  for (int i = 0; i < 4 - padding; i++) {
    int digit = base64_value(text[i]);
    if (digit < 0) return false;
    group |= (uint32_t)digit << (18 - 6 * i);
  }
  const uint8_t bytes[3] = {(uint8_t)(group >> 16), (uint8_t)(group >> 8), (uint8_t)group};
  for (int i = 3 - padding; i < 3; i++) {
    if (bytes[i] != 0) return false; /* bits that no byte takes */
  }
  lbson_write(writer, bytes, (size_t)(3 - padding));
  return true;
}

static bool write_base64(lbson_writer_t *writer, const char *text, size_t length) {
  if (length % 4 != 0) return false;
  for (size_t i = 0; i < length; i += 4) {
    int padding = i + 4 < length || text[i + 3] != '=' ? 0 : text[i + 2] != '=' ? 1 : 2;
    if (!write_group(writer, text + i, padding)) return false;
  }
  return true;
}

/* One or two hexadecimal digits, or -1. */
static int read_subtype(const lbson_element_t *field) {
  const char *text = text_of(field, 0);
  if (!text || text_length(field) < 1 || text_length(field) > 2) return -1;
  int high = lbson_hex_value(text[0]);
  if (text_length(field) == 1 || high < 0) return high;
  int low = lbson_hex_value(text[1]);
  return low < 0 ? -1 : high << 4 | low;
}

/* Lengths, subtype and the data of its base64 text. */
static bool write_binary(lbson_writer_t *writer, const lbson_element_t *base64, int subtype) {
  const char *text = text_of(base64, 0);
  if (!text || subtype < 0) return false;
  size_t start = writer->length;
  lbson_write_i32(writer, 0);
  lbson_write_byte(writer, (uint8_t)subtype);
  if (subtype == SUBTYPE_OLD) lbson_write_i32(writer, 0);
  if (!write_base64(writer, text, text_length(base64))) return false;
  uint32_t length = (uint32_t)(writer->length - start) - 5;
  uint32_t outer = BSON_UINT32_TO_LE(length), inner = BSON_UINT32_TO_LE(length - 4);
  memcpy(writer->data + start, &outer, sizeof outer);
  if (subtype == SUBTYPE_OLD) memcpy(writer->data + start + 5, &inner, sizeof inner);
  return true;
}

/* {"$binary": {"base64": …, "subType": …}}, or the older {"$binary": …, "$type": …} */
static uint8_t unwrap_binary(wrapper_t *wrapper, const lbson_element_t *value) {
  const lbson_element_t *base64 = value, *subtype;
  if (value->type == BSON_TYPE_UTF8) {
    subtype = find_field(wrapper, "$type");
    if (wrapper->count != 2) return 0;
  } else {
    if (!enter(wrapper, value)) return 0;
    base64 = find_field(wrapper, "base64");
    subtype = find_field(wrapper, "subType");
  }
  return write_binary(wrapper->writer, base64, read_subtype(subtype)) ? BSON_TYPE_BINARY : 0;
}

static uint8_t unwrap_uuid(wrapper_t *wrapper, const lbson_element_t *value) {
  const char *text = text_of(value, UUID_TEXT);
  uint8_t bytes[16];
  if (!text || wrapper->count != 1 || !lbson_parse_uuid(text, bytes)) return 0;
  lbson_write_i32(wrapper->writer, sizeof bytes);
  lbson_write_byte(wrapper->writer, SUBTYPE_UUID);
  lbson_write(wrapper->writer, bytes, sizeof bytes);
  return BSON_TYPE_BINARY;
}

/* ------------------------------------------------------------------ other scalars */

static bool read_u32(const lbson_element_t *field, uint32_t *value) {
  if (!field || (field->type != BSON_TYPE_INT32 && field->type != BSON_TYPE_INT64)) return false;
  int64_t integer = field->type == BSON_TYPE_INT32 ? lbson_read_i32(field->value) : lbson_read_i64(field->value);
  *value = (uint32_t)integer;
  return integer >= 0 && integer <= UINT32_MAX;
}

static uint8_t unwrap_timestamp(wrapper_t *wrapper, const lbson_element_t *value) {
  uint32_t t, i;
  if (!wrapper->is_plain || !enter(wrapper, value) || !read_u32(find_field(wrapper, "t"), &t) ||
      !read_u32(find_field(wrapper, "i"), &i)) {
    return 0;
  }
  lbson_write_i32(wrapper->writer, (int32_t)i);
  lbson_write_i32(wrapper->writer, (int32_t)t);
  return BSON_TYPE_TIMESTAMP;
}

static uint8_t write_regex(lbson_writer_t *writer, const lbson_element_t *pattern, const lbson_element_t *options) {
  const char *pattern_text = text_of(pattern, 0), *options_text = text_of(options, 0);
  if (!pattern_text || !options_text || strlen(pattern_text) != text_length(pattern) ||
      strlen(options_text) != text_length(options)) {
    return 0;
  }
  lbson_write(writer, pattern_text, text_length(pattern) + 1);
  size_t start = writer->length;
  lbson_write(writer, options_text, text_length(options) + 1);
  lbson_sort_options((char *)writer->data + start, text_length(options));
  return BSON_TYPE_REGEX;
}

static uint8_t unwrap_regex(wrapper_t *wrapper, const lbson_element_t *value) {
  if (!enter(wrapper, value)) return 0;
  return write_regex(wrapper->writer, find_field(wrapper, "pattern"), find_field(wrapper, "options"));
}

static uint8_t unwrap_dbpointer(wrapper_t *wrapper, const lbson_element_t *value) {
  if (!enter(wrapper, value)) return 0;
  const lbson_element_t *reference = find_field(wrapper, "$ref"), *id = find_field(wrapper, "$id");
  if (!text_of(reference, 0) || !id || id->type != BSON_TYPE_OID) return 0;
  lbson_write(wrapper->writer, reference->value, reference->value_length);
  lbson_write(wrapper->writer, id->value, id->value_length);
  return BSON_TYPE_DBPOINTER;
}

/* {"$date": {"$numberLong": …}} or {"$date": <ISO 8601>}, but no plain number. */
static uint8_t unwrap_date(wrapper_t *wrapper, const lbson_element_t *value) {
  const char *text = text_of(value, 0);
  int64_t ms;
  if (wrapper->count != 1) return 0;
  if (text) {
    if (strlen(text) != text_length(value) || !lbson_parse_date(text, &ms)) return 0;
  } else {
    if (value->type != BSON_TYPE_INT64 || wrapper->is_plain) return 0;
    ms = lbson_read_i64(value->value);
  }
  lbson_write_i64(wrapper->writer, ms);
  return BSON_TYPE_DATE_TIME;
}

static bool is_one(const wrapper_t *wrapper, const lbson_element_t *value) {
  return wrapper->count == 1 && wrapper->is_plain && value->type == BSON_TYPE_INT32 &&
         lbson_read_i32(value->value) == 1;
}

static uint8_t unwrap_minkey(wrapper_t *wrapper, const lbson_element_t *value) {
  return is_one(wrapper, value) ? LBSON_TYPE_MINKEY : 0;
}

static uint8_t unwrap_maxkey(wrapper_t *wrapper, const lbson_element_t *value) {
  return is_one(wrapper, value) ? LBSON_TYPE_MAXKEY : 0;
}

static uint8_t unwrap_undefined(wrapper_t *wrapper, const lbson_element_t *value) {
  return wrapper->count == 1 && value->type == BSON_TYPE_BOOL && *value->value == 1 ? BSON_TYPE_UNDEFINED : 0;
}

/* ------------------------------------------------------------------------ names */

static const struct {
  const char *name;
  unwrap_fn unwrap;
  const char *form;
} wrappers[] = {
    {"$oid", unwrap_oid, "{\"$oid\": \"<24 hexadecimal digits>\"}"},
    {"$numberInt", unwrap_int32, "{\"$numberInt\": \"<32 bit integer>\"}"},
    {"$numberLong", unwrap_int64, "{\"$numberLong\": \"<64 bit integer>\"}"},
    {"$numberDouble", unwrap_double, "{\"$numberDouble\": \"<number, Infinity, -Infinity or NaN>\"}"},
    {"$numberDecimal", unwrap_decimal, "{\"$numberDecimal\": \"<decimal of at most 34 digits>\"}"},
    {"$date", unwrap_date, "{\"$date\": \"2024-01-31T10:00:00.123Z\"} or {\"$date\": {\"$numberLong\": \"<ms>\"}}"},
    {"$binary", unwrap_binary, "{\"$binary\": {\"base64\": \"<base64>\", \"subType\": \"<hexadecimal>\"}}"},
    {"$uuid", unwrap_uuid, "{\"$uuid\": \"<8-4-4-4-12 hexadecimal digits>\"}"},
    {"$regularExpression", unwrap_regex,
     "{\"$regularExpression\": {\"pattern\": \"…\", \"options\": \"…\"}} without NUL"},
    {"$timestamp", unwrap_timestamp, "{\"$timestamp\": {\"t\": <seconds>, \"i\": <increment>}}"},
    {"$code", unwrap_code, "{\"$code\": \"…\"}, with a document as \"$scope\" if it has one"},
    {"$symbol", unwrap_symbol, "{\"$symbol\": \"…\"}"},
    {"$dbPointer", unwrap_dbpointer, "{\"$dbPointer\": {\"$ref\": \"…\", \"$id\": {\"$oid\": \"…\"}}}"},
    {"$minKey", unwrap_minkey, "{\"$minKey\": 1}"},
    {"$maxKey", unwrap_maxkey, "{\"$maxKey\": 1}"},
    {"$undefined", unwrap_undefined, "{\"$undefined\": true}"},
};

enum {
  WRAPPERS = sizeof wrappers / sizeof wrappers[0],
  /* Names that are part of a wrapper, and anything else when they stand without the rest of it. */
  REGEX = 1u << WRAPPERS,
  SCOPE = REGEX << 1,
  CERTAIN = REGEX - 1,
};

unsigned lbson_wrapper_name(const char *key, size_t length) {
  if (length < 4 || *key != '$') return 0;
  for (unsigned i = 0; i < WRAPPERS; i++) {
    if (strlen(wrappers[i].name) == length && memcmp(wrappers[i].name, key, length) == 0) return 1u << i;
  }
  if (length != 6) return 0;
  return memcmp(key, "$regex", 6) == 0 ? REGEX : memcmp(key, "$scope", 6) == 0 ? SCOPE : 0;
}

uint8_t lbson_unwrap(lbson_reader_t *reader, const lbson_object_t *object) {
  lua_State *L = reader->L;
  lbson_writer_t *writer = &reader->writer;
  luaL_checkstack(L, 8, NULL);
  const uint8_t *bytes =
      (const uint8_t *)lua_pushlstring(L, (const char *)writer->data + object->start, writer->length - object->start);
  size_t whole = writer->length;
  wrapper_t wrapper = {.writer = writer, .is_plain = object->is_plain};
  read_fields(&wrapper, bytes, (uint32_t)(whole - object->start));
  writer->length = object->start;
  uint8_t type = 0;
  if (object->names & CERTAIN) {
    int which = __builtin_ctz(object->names);
    const lbson_element_t *value = wrapper.count <= MAX_FIELDS ? find_field(&wrapper, wrappers[which].name) : NULL;
    if (value) type = wrappers[which].unwrap(&wrapper, value);
    if (type == 0) {
      lbson_reader_fail(reader, object->at, "malformed %s: write %s", wrappers[which].name, wrappers[which].form);
    }
  } else {
    if (object->names == REGEX && wrapper.count == 2) {
      type = write_regex(writer, find_field(&wrapper, "$regex"), find_field(&wrapper, "$options"));
    }
    if (type == 0) { /* a document, which still stands there */
      writer->length = whole;
      type = BSON_TYPE_DOCUMENT;
    }
  }
  lua_pop(L, 1);
  return type;
}
