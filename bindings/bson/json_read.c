/*
 * Extended JSON v2 into BSON: JSON's grammar, strictly (RFC 8259), with duplicate keys kept in their order. What an object with `$`
 * names stands for is json_wrappers.c's.
 * Users: bson.from_json. Errors: argument errors with line and column. Rule: the MongoDB specification of Extended JSON, version 2;
 * documents and arrays may be nested 100 levels, the braces of wrappers not counted.
 */
#include "json_read.h"

#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

enum { WRAPPER_LEVELS = 3 }; /* {"$dbPointer": {"$id": {"$oid": …}}} */

/* A value that was read. */
typedef struct value {
  uint8_t type;
  bool is_plain; /* neither it nor a value in it was given by a wrapper */
} value_t;

static value_t read_value(lbson_reader_t *reader, unsigned depth, bool in_wrapper);

/* --------------------------------------------------------------------- errors */

int lbson_reader_fail(const lbson_reader_t *reader, const char *at, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *why = bson_strdupv_printf(format, arguments);
  va_end(arguments);
  kit_box_push(reader->L, why, bson_free);
  size_t line = 1, column = 1;
  for (const char *p = reader->text; p < at; p++) {
    if (*p == '\n') {
      line++;
      column = 1;
    } else if (((unsigned char)*p & 0xc0) != 0x80) { /* of a character only the first byte counts */
      column++;
    }
  }
  return kit_raise_argument(reader->L, "not Extended JSON: %s (line %zu, column %zu)", why, line, column);
}

static int unexpected(const lbson_reader_t *reader, const char *expected) {
  const char *at = reader->at;
  if (at == reader->end) return lbson_reader_fail(reader, at, "it ends where %s is expected", expected);
  size_t length = lbson_utf8_sequence(at, (size_t)(reader->end - at));
  if ((unsigned char)*at < 0x20) return lbson_reader_fail(reader, at, "%s expected", expected);
  return lbson_reader_fail(reader, at, "%s expected, got '%.*s'", expected, (int)length, at);
}

/* ------------------------------------------------------------------ characters */

static void skip_space(lbson_reader_t *reader) {
  while (*reader->at == ' ' || *reader->at == '\n' || *reader->at == '\r' || *reader->at == '\t') reader->at++;
}

/* The next character that is no white space; NUL at the end. */
static char peek(lbson_reader_t *reader) {
  skip_space(reader);
  return *reader->at;
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/* --------------------------------------------------------------------- strings */

/* Four hexadecimal digits at reader->at. */
static unsigned read_hex(lbson_reader_t *reader, const char *escape) {
  unsigned value = 0;
  for (int i = 0; i < 4; i++, reader->at++) {
    int digit = lbson_hex_value(*reader->at);
    if (digit < 0) lbson_reader_fail(reader, escape, "\\u takes four hexadecimal digits");
    value = value << 4 | (unsigned)digit;
  }
  return value;
}

static void write_code_point(lbson_writer_t *writer, unsigned c) {
  char bytes[4];
  size_t length;
  if (c < 0x80) {
    bytes[0] = (char)c;
    length = 1;
  } else if (c < 0x800) {
    bytes[0] = (char)(0xc0 | c >> 6);
    length = 2;
  } else if (c < 0x10000) {
    bytes[0] = (char)(0xe0 | c >> 12);
    length = 3;
  } else {
    bytes[0] = (char)(0xf0 | c >> 18);
    length = 4;
  }
  for (size_t i = 1; i < length; i++) bytes[i] = (char)(0x80 | (c >> 6 * (length - 1 - i) & 0x3f));
  lbson_write(writer, bytes, length);
}

/* What follows \u: one code point, of which half may stand in a second escape. */
static void read_unicode(lbson_reader_t *reader, const char *escape, bool is_key) {
  unsigned c = read_hex(reader, escape);
  if (c >= 0xdc00 && c <= 0xdfff)
    lbson_reader_fail(reader, escape, "the second half of a surrogate pair without a first");
  if (c >= 0xd800 && c <= 0xdbff) {
    const char *second = reader->at;
    unsigned low = 0;
    if (second[0] == '\\' && second[1] == 'u') {
      reader->at += 2;
      low = read_hex(reader, second);
    }
    if (low < 0xdc00 || low > 0xdfff)
      lbson_reader_fail(reader, escape, "the first half of a surrogate pair without a second");
    c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
  }
  if (c == 0 && is_key) lbson_reader_fail(reader, escape, "a key must not contain NUL");
  write_code_point(&reader->writer, c);
}

static void read_escape(lbson_reader_t *reader, bool is_key) {
  static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
  const char *escape = reader->at++;
  char letter = *reader->at;
  const char *found = letter ? strchr(letters, letter) : NULL;
  if (found) {
    reader->at++;
    lbson_write_byte(&reader->writer, (uint8_t)meanings[found - letters]);
  } else if (letter == 'u') {
    reader->at++;
    read_unicode(reader, escape, is_key);
  } else {
    lbson_reader_fail(reader, escape, "unknown escape");
  }
}

/* Writes the bytes of the string that begins at reader->at; the text is known to be UTF-8. */
static void read_string(lbson_reader_t *reader, bool is_key) {
  const char *start = reader->at++;
  for (;;) {
    const char *run = reader->at;
    while (*reader->at != '"' && *reader->at != '\\' && (unsigned char)*reader->at >= 0x20) reader->at++;
    lbson_write(&reader->writer, run, (size_t)(reader->at - run));
    if (*reader->at == '\\') {
      read_escape(reader, is_key);
    } else if (*reader->at == '"') {
      reader->at++;
      return;
    } else if (reader->at == reader->end) {
      lbson_reader_fail(reader, start, "the string does not end");
    } else {
      lbson_reader_fail(reader, reader->at, "a control character in a string must be escaped");
    }
  }
}

static void read_string_value(lbson_reader_t *reader) {
  lbson_writer_t *writer = &reader->writer;
  size_t start = writer->length;
  lbson_write_i32(writer, 0);
  read_string(reader, false);
  lbson_write_byte(writer, 0);
  uint32_t little = BSON_UINT32_TO_LE((uint32_t)(writer->length - start - 4));
  memcpy(writer->data + start, &little, sizeof little);
}

/* --------------------------------------------------------------------- numbers */

bool lbson_scan_number(const char *text, const char *end, const char **number_end, bool *is_integer) {
  const char *p = text;
  *is_integer = true;
  if (p < end && *p == '-') p++;
  if (p == end || !is_digit(*p)) return false;
  if (*p == '0' && p + 1 < end && is_digit(p[1])) return false;
  while (p < end && is_digit(*p)) p++;
  if (p < end && *p == '.') {
    *is_integer = false;
    if (++p == end || !is_digit(*p)) return false;
    while (p < end && is_digit(*p)) p++;
  }
  if (p < end && (*p == 'e' || *p == 'E')) {
    *is_integer = false;
    p++;
    if (p < end && (*p == '+' || *p == '-')) p++;
    if (p == end || !is_digit(*p)) return false;
    while (p < end && is_digit(*p)) p++;
  }
  *number_end = p;
  return true;
}

bool lbson_read_integer(const char *text, const char *end, int64_t *value) {
  bool negative = *text == '-';
  *value = 0;
  for (const char *p = text + negative; p < end; p++) {
    int64_t digit = negative ? -(*p - '0') : *p - '0';
    if (__builtin_mul_overflow(*value, (int64_t)10, value) || __builtin_add_overflow(*value, digit, value))
      return false;
  }
  return true;
}

bool lbson_read_number(const char *text, const char *end, double *value) {
  const char *point = localeconv()->decimal_point;
  if (strcmp(point, ".") == 0) {
    *value = strtod(text, NULL);
  } else {
    /* The host program chose a locale in which strtod reads another decimal point. */
    char *copy = bson_strndup(text, (size_t)(end - text)), *dot = strchr(copy, '.');
    char *local = dot ? bson_strdup_printf("%.*s%s%s", (int)(dot - copy), copy, point, dot + 1) : bson_strdup(copy);
    *value = strtod(local, NULL);
    bson_free(local);
    bson_free(copy);
  }
  return isfinite(*value);
}

static uint8_t read_number_value(lbson_reader_t *reader) {
  const char *start = reader->at;
  bool is_integer;
  if (!lbson_scan_number(start, reader->end, &reader->at, &is_integer))
    lbson_reader_fail(reader, start, "malformed number");
  int64_t integer;
  if (is_integer && lbson_read_integer(start, reader->at, &integer)) {
    bool small = integer >= INT32_MIN && integer <= INT32_MAX;
    if (small)
      lbson_write_i32(&reader->writer, (int32_t)integer);
    else
      lbson_write_i64(&reader->writer, integer);
    return small ? BSON_TYPE_INT32 : BSON_TYPE_INT64;
  }
  double number;
  if (!lbson_read_number(start, reader->at, &number)) {
    lbson_reader_fail(reader, start, "a number beyond the range of doubles");
  }
  lbson_write_double(&reader->writer, number);
  return BSON_TYPE_DOUBLE;
}

/* ------------------------------------------------------------------- containers */

static void raise_too_deep(const lbson_reader_t *reader, const char *at) {
  lbson_reader_fail(reader, at, "nested deeper than %d levels", LBSON_MAX_DEPTH);
}

/* After a value: whether another one follows. */
static bool read_comma(lbson_reader_t *reader, char closing) {
  char c = peek(reader);
  if (c != ',' && c != closing) unexpected(reader, closing == '}' ? "',' or '}'" : "',' or ']'");
  reader->at++;
  return c == ',';
}

/* The value under a key or index whose header was written at `header`. */
static bool read_member(lbson_reader_t *reader, size_t header, unsigned depth, bool in_wrapper) {
  value_t value = read_value(reader, depth, in_wrapper);
  reader->writer.data[header] = value.type;
  return value.is_plain;
}

/* Writes the header of the field that begins at reader->at; answers the bit of its name. */
static unsigned read_key(lbson_reader_t *reader) {
  lbson_writer_t *writer = &reader->writer;
  if (peek(reader) != '"') unexpected(reader, "a key in quotes");
  lbson_write_byte(writer, 0);
  size_t start = writer->length;
  read_string(reader, true);
  unsigned name = lbson_wrapper_name((const char *)writer->data + start, writer->length - start);
  lbson_write_byte(writer, 0);
  if (peek(reader) != ':') unexpected(reader, "':'");
  reader->at++;
  return name;
}

static value_t read_object(lbson_reader_t *reader, unsigned depth, bool in_wrapper) {
  if (depth > LBSON_MAX_DEPTH + WRAPPER_LEVELS) raise_too_deep(reader, reader->at);
  lbson_object_t object = {.at = reader->at++, .is_plain = true};
  object.start = lbson_write_begin(&reader->writer);
  if (peek(reader) == '}') {
    reader->at++;
  } else {
    do {
      size_t header = reader->writer.length;
      unsigned name = read_key(reader);
      object.names |= name;
      if (!read_member(reader, header, depth + 1, name != 0)) object.is_plain = false;
    } while (read_comma(reader, '}'));
  }
  lbson_write_end(&reader->writer, object.start);
  uint8_t type = object.names ? lbson_unwrap(reader, &object) : BSON_TYPE_DOCUMENT;
  if (type == BSON_TYPE_DOCUMENT && depth > LBSON_MAX_DEPTH && !in_wrapper) raise_too_deep(reader, object.at);
  return (value_t){type, type == BSON_TYPE_DOCUMENT && object.is_plain};
}

static value_t read_array(lbson_reader_t *reader, unsigned depth) {
  if (depth > LBSON_MAX_DEPTH) raise_too_deep(reader, reader->at);
  reader->at++;
  bool is_plain = true;
  size_t start = lbson_write_begin(&reader->writer);
  if (peek(reader) == ']') {
    reader->at++;
  } else {
    unsigned index = 0;
    do {
      char key[16];
      size_t header = reader->writer.length;
      lbson_write_header(&reader->writer, 0, key, (size_t)bson_snprintf(key, sizeof key, "%u", index++));
      if (!read_member(reader, header, depth + 1, false)) is_plain = false;
    } while (read_comma(reader, ']'));
  }
  lbson_write_end(&reader->writer, start);
  return (value_t){BSON_TYPE_ARRAY, is_plain};
}

/* ----------------------------------------------------------------------- values */

static uint8_t read_word(lbson_reader_t *reader, const char *word, uint8_t type) {
  if (strncmp(reader->at, word, strlen(word)) != 0) unexpected(reader, "a value");
  reader->at += strlen(word);
  return type;
}

/* Writes the value that begins at reader->at or after white space. */
static value_t read_value(lbson_reader_t *reader, unsigned depth, bool in_wrapper) {
  value_t value = {.is_plain = true};
  switch (peek(reader)) {
  case '{':
    return read_object(reader, depth, in_wrapper);
  case '[':
    return read_array(reader, depth);
  case '"':
    read_string_value(reader);
    value.type = BSON_TYPE_UTF8;
    break;
  case 't':
    value.type = read_word(reader, "true", BSON_TYPE_BOOL);
    lbson_write_byte(&reader->writer, 1);
    break;
  case 'f':
    value.type = read_word(reader, "false", BSON_TYPE_BOOL);
    lbson_write_byte(&reader->writer, 0);
    break;
  case 'n':
    value.type = read_word(reader, "null", BSON_TYPE_NULL);
    break;
  default:
    if (*reader->at != '-' && !is_digit(*reader->at)) unexpected(reader, "a value");
    value.type = read_number_value(reader);
    break;
  }
  return value;
}

/* bson.from_json(text): a document, an array, or another value. */
static int from_json(lua_State *L) {
  if (lua_type(L, 1) != LUA_TSTRING) return kit_argerror(L, 1, "string");
  lua_settop(L, 1);
  size_t length;
  const char *text = lua_tolstring(L, 1, &length);
  lbson_reader_t reader = {.L = L, .text = text, .end = text + length, .at = text};
  size_t valid = lbson_utf8_prefix(text, length);
  if (valid != length) return lbson_reader_fail(&reader, text + valid, "the text is not valid UTF-8");
  lbson_writer_t *writer = &reader.writer;
  lbson_writer_init(L, writer);
  writer->limit = LBSON_MAX_SIZE / 2 * 3; /* a binary is longer in base64 */
  size_t start = lbson_write_begin(writer);
  lbson_write_header(writer, 0, "", 0);
  read_member(&reader, start + 4, 1, false);
  peek(&reader);
  if (reader.at != reader.end) return lbson_reader_fail(&reader, reader.at, "there is more text after the value");
  lbson_write_end(writer, start);
  lbson_element_t element;
  lbson_next(L, writer->data, (uint32_t)writer->length, LBSON_FIRST_OFFSET, &element);
  if (element.value_length > LBSON_MAX_SIZE) return kit_raise_argument(L, "the document is larger than 16 MiB");
  if (element.type == BSON_TYPE_DOCUMENT || element.type == BSON_TYPE_ARRAY)
    lbson_new_view(L, element.type == BSON_TYPE_ARRAY, element.value, element.value_length);
  else
    lbson_push_plain(L, element.type, element.value, element.value_length);
  kit_box_free(writer->box);
  return 1;
}

void lbson_open_json(lua_State *L) {
  lua_pushcfunction(L, from_json);
  lua_setfield(L, -2, "from_json");
}
