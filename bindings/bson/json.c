/*
 * Extended JSON v2 out of BSON bytes, relaxed and canonical. Our own, since libbson's writer gives nothing for a document with
 * invalid UTF-8; here such bytes become U+FFFD.
 * Users: bson.json, tostring of views. Source: the MongoDB specification of Extended JSON, version 2.
 */
#include "lbson_internal.h"

#include <math.h>
#include <string.h>

typedef struct json {
  lua_State *L;
  luaL_Buffer *out;
  bool canonical;
  size_t limit; /* 0: none; else writing may stop there */
} json_t;

static void add_document(json_t *json, const uint8_t *bytes, uint32_t length, bool is_array, unsigned depth);

static void add(json_t *json, const char *text) {
  luaL_addstring(json->out, text);
}

/* -------------------------------------------------------------------- strings */

static void add_control(json_t *json, unsigned char c) {
  char escaped[8];
  switch (c) {
  case '\b':
    add(json, "\\b");
    return;
  case '\f':
    add(json, "\\f");
    return;
  case '\n':
    add(json, "\\n");
    return;
  case '\r':
    add(json, "\\r");
    return;
  case '\t':
    add(json, "\\t");
    return;
  default:
    break;
  }
  bson_snprintf(escaped, sizeof escaped, "\\u%04x", c);
  add(json, escaped);
}

/* The inside of a string. */
static void add_text(json_t *json, const char *text, size_t length) {
  for (size_t i = 0; i < length;) {
    unsigned char c = (unsigned char)text[i];
    size_t sequence = lbson_utf8_sequence(text + i, length - i);
    if (json->limit && luaL_bufflen(json->out) > json->limit) break;
    if (sequence == 0) {
      add(json, "\xef\xbf\xbd");
      i++;
      continue;
    }
    if (c == '"' || c == '\\') {
      luaL_addchar(json->out, '\\');
      luaL_addchar(json->out, (char)c);
    } else if (c < 0x20 || c == 0x7f) {
      add_control(json, c);
    } else {
      luaL_addlstring(json->out, text + i, sequence);
    }
    i += sequence;
  }
}

static void add_string(json_t *json, const char *text, size_t length) {
  luaL_addchar(json->out, '"');
  add_text(json, text, length);
  luaL_addchar(json->out, '"');
}

static void add_cstring(json_t *json, const char *text) {
  add_string(json, text, strlen(text));
}

static void add_base64(json_t *json, const uint8_t *data, uint32_t length) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (uint32_t i = 0; i < length && !(json->limit && luaL_bufflen(json->out) > json->limit); i += 3) {
    uint32_t left = length - i;
    uint32_t group =
        (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) | (left > 2 ? data[i + 2] : 0);
    luaL_addchar(json->out, digits[group >> 18]);
    luaL_addchar(json->out, digits[group >> 12 & 63]);
    luaL_addchar(json->out, left > 1 ? digits[group >> 6 & 63] : '=');
    luaL_addchar(json->out, left > 2 ? digits[group & 63] : '=');
  }
}

/* -------------------------------------------------------------------- numbers */

/* {"<name>":"<text>"} */
static void add_wrapped(json_t *json, const char *name, const char *text) {
  add(json, "{\"");
  add(json, name);
  add(json, "\":\"");
  add(json, text);
  add(json, "\"}");
}

/* The shortest text that reads back as the same number, with a sign that it is no integer. */
static void format_double(double value, char out[40]) {
  for (int digits = 15; digits <= 17; digits++) {
    bson_snprintf(out, 40, "%.*g", digits, value);
    if (strtod(out, NULL) == value) break;
  }
  char *comma = strchr(out, ','); /* of a locale */
  if (comma) *comma = '.';
  if (!strpbrk(out, ".e")) strcat(out, ".0");
}

static void add_double(json_t *json, double value) {
  char text[40];
  if (isnan(value) || isinf(value)) {
    add_wrapped(json, "$numberDouble", isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
    return;
  }
  format_double(value, text);
  if (json->canonical)
    add_wrapped(json, "$numberDouble", text);
  else
    add(json, text);
}

static void add_integer(json_t *json, const char *name, int64_t value) {
  char text[24];
  bson_snprintf(text, sizeof text, "%lld", (long long)value);
  if (json->canonical)
    add_wrapped(json, name, text);
  else
    add(json, text);
}

static void add_date(json_t *json, int64_t ms) {
  static const int64_t year_10000 = 253402300800000;
  char text[LBSON_ISO_SIZE];
  if (!json->canonical && ms >= 0 && ms < year_10000) {
    lbson_format_date(ms, false, text);
    add_wrapped(json, "$date", text);
    return;
  }
  bson_snprintf(text, sizeof text, "%lld", (long long)ms);
  add(json, "{\"$date\":");
  add_wrapped(json, "$numberLong", text);
  add(json, "}");
}

static void add_decimal(json_t *json, const uint8_t *value) {
  bson_decimal128_t decimal = {.low = (uint64_t)lbson_read_i64(value), .high = (uint64_t)lbson_read_i64(value + 8)};
  char text[BSON_DECIMAL128_STRING];
  bson_decimal128_to_string(&decimal, text);
  add_wrapped(json, "$numberDecimal", text);
}

/* --------------------------------------------------------------- other scalars */

static void add_oid(json_t *json, const uint8_t *value) {
  bson_oid_t oid;
  memcpy(oid.bytes, value, sizeof oid.bytes);
  char text[25];
  bson_oid_to_string(&oid, text);
  add_wrapped(json, "$oid", text);
}

static void add_binary(json_t *json, const lbson_element_t *element) {
  uint8_t subtype;
  uint32_t length;
  const uint8_t *data = lbson_binary_data(element->value, element->value_length, &subtype, &length);
  char text[40];
  add(json, "{\"$binary\":{\"base64\":\"");
  add_base64(json, data, length);
  bson_snprintf(text, sizeof text, "\",\"subType\":\"%02x\"}}", subtype);
  add(json, text);
}

/* Options in alphabetical order, as the specification wants them, whatever order they are stored in; unless they are no ASCII. */
static void add_regex_options(json_t *json, const char *options) {
  unsigned counts[0x80] = {0};
  size_t length = strlen(options), i = 0;
  for (; i < length && !(options[i] & 0x80); i++) counts[(unsigned char)options[i]]++;
  if (i < length) {
    add_string(json, options, length);
    return;
  }
  luaL_addchar(json->out, '"');
  for (int c = 1; length > 0 && c < 0x80; c++) {
    const char letter = (char)c;
    for (; counts[c] > 0; counts[c]--) add_text(json, &letter, 1);
  }
  luaL_addchar(json->out, '"');
}

static void add_regex(json_t *json, const char *pattern) {
  add(json, "{\"$regularExpression\":{\"pattern\":");
  add_cstring(json, pattern);
  add(json, ",\"options\":");
  add_regex_options(json, pattern + strlen(pattern) + 1);
  add(json, "}}");
}

static void add_timestamp(json_t *json, const uint8_t *value) {
  char text[64];
  bson_snprintf(text, sizeof text, "{\"$timestamp\":{\"t\":%u,\"i\":%u}}", lbson_read_u32(value + 4),
                lbson_read_u32(value));
  add(json, text);
}

/* {"<name>":<the string at value>} without the closing brace */
static void add_named_string(json_t *json, const char *name, const uint8_t *value) {
  add(json, "{\"");
  add(json, name);
  add(json, "\":");
  add_string(json, (const char *)value + 4, lbson_read_u32(value) - 1);
}

static void add_dbpointer(json_t *json, const lbson_element_t *element) {
  add(json, "{\"$dbPointer\":");
  add_named_string(json, "$ref", element->value);
  add(json, ",\"$id\":");
  add_oid(json, element->value + element->value_length - 12);
  add(json, "}}");
}

static void add_code_with_scope(json_t *json, const lbson_element_t *element, unsigned depth) {
  uint32_t code_length, scope_length;
  const uint8_t *scope;
  if (!lbson_split_code(element, &code_length, &scope, &scope_length)) {
    kit_raise_argument(json->L, "corrupt BSON document: malformed code with scope");
  }
  add_named_string(json, "$code", element->value + 4);
  add(json, ",\"$scope\":");
  add_document(json, scope, scope_length, false, depth + 1);
  add(json, "}");
}

static void add_value(json_t *json, const lbson_element_t *element, unsigned depth) {
  const uint8_t *value = element->value;
  switch (element->type) {
  case BSON_TYPE_DOUBLE:
    add_double(json, lbson_read_double(value));
    break;
  case BSON_TYPE_UTF8:
    add_string(json, (const char *)value + 4, element->value_length - 5);
    break;
  case BSON_TYPE_DOCUMENT:
    add_document(json, value, element->value_length, false, depth + 1);
    break;
  case BSON_TYPE_ARRAY:
    add_document(json, value, element->value_length, true, depth + 1);
    break;
  case BSON_TYPE_BINARY:
    add_binary(json, element);
    break;
  case BSON_TYPE_UNDEFINED:
    add(json, "{\"$undefined\":true}");
    break;
  case BSON_TYPE_OID:
    add_oid(json, value);
    break;
  case BSON_TYPE_BOOL:
    add(json, *value ? "true" : "false");
    break;
  case BSON_TYPE_DATE_TIME:
    add_date(json, lbson_read_i64(value));
    break;
  case BSON_TYPE_NULL:
    add(json, "null");
    break;
  case BSON_TYPE_REGEX:
    add_regex(json, (const char *)value);
    break;
  case BSON_TYPE_DBPOINTER:
    add_dbpointer(json, element);
    break;
  case BSON_TYPE_CODE:
    add_named_string(json, "$code", value);
    add(json, "}");
    break;
  case BSON_TYPE_SYMBOL:
    add_named_string(json, "$symbol", value);
    add(json, "}");
    break;
  case BSON_TYPE_CODEWSCOPE:
    add_code_with_scope(json, element, depth);
    break;
  case BSON_TYPE_INT32:
    add_integer(json, "$numberInt", lbson_read_i32(value));
    break;
  case BSON_TYPE_TIMESTAMP:
    add_timestamp(json, value);
    break;
  case BSON_TYPE_INT64:
    add_integer(json, "$numberLong", lbson_read_i64(value));
    break;
  case BSON_TYPE_DECIMAL128:
    add_decimal(json, value);
    break;
  case LBSON_TYPE_MINKEY:
    add(json, "{\"$minKey\":1}");
    break;
  case LBSON_TYPE_MAXKEY:
    add(json, "{\"$maxKey\":1}");
    break;
  default:
    break;
  }
}

static void add_document(json_t *json, const uint8_t *bytes, uint32_t length, bool is_array, unsigned depth) {
  if (depth > LBSON_MAX_STORED_DEPTH) kit_raise_argument(json->L, "the document is nested too deeply");
  luaL_addchar(json->out, is_array ? '[' : '{');
  lbson_element_t element;
  for (uint32_t at = LBSON_FIRST_OFFSET; lbson_next(json->L, bytes, length, at, &element); at = element.end) {
    if (json->limit && luaL_bufflen(json->out) > json->limit) return;
    if (at != LBSON_FIRST_OFFSET) luaL_addchar(json->out, ',');
    if (!is_array) {
      add_string(json, element.key, element.key_length);
      luaL_addchar(json->out, ':');
    }
    add_value(json, &element, depth);
  }
  luaL_addchar(json->out, is_array ? ']' : '}');
}

void lbson_json_document(lua_State *L, luaL_Buffer *out, const uint8_t *bytes, uint32_t length, bool is_array,
                         bool canonical, size_t limit) {
  json_t json = {L, out, canonical, limit};
  luaL_checkstack(L, 8, NULL);
  add_document(&json, bytes, length, is_array, 1);
}

void lbson_json_element(lua_State *L, luaL_Buffer *out, const lbson_element_t *element, bool canonical) {
  json_t json = {L, out, canonical, 0};
  luaL_checkstack(L, 8, NULL);
  add_value(&json, element, 0);
}
