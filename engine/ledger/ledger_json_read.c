/* Reads a ledger's JSON, see ledger_json.h. Grammar: RFC 8259, and nothing beside it. */
#include "ledger_json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 100, SHORT_NUMBER = 64 };

/* What a value is a part of: only below a step's checkpoints it is Extended JSON. */
typedef enum zone { ZONE_TOP, ZONE_PLAIN, ZONE_CHECKPOINTS, ZONE_STEP, ZONE_VALUE } zone_t;

typedef struct reader {
  const char *begin, *at, *end;
  int depth;
  const char *why; /* what is wrong at `at` */
} reader_t;

typedef struct text {
  char *bytes; /* NUL added */
  size_t length;
} text_t;

static bool read_value(reader_t *reader, bson_t *out, const char *key, int key_length, zone_t zone);

static bool wrong(reader_t *reader, const char *why) {
  if (!reader->why) reader->why = why;
  return false;
}

static void skip_blanks(reader_t *reader) {
  while (reader->at < reader->end && *reader->at && strchr(" \t\r\n", *reader->at)) reader->at++;
}

static bool next_is(reader_t *reader, char mark) {
  skip_blanks(reader);
  if (reader->at == reader->end || *reader->at != mark) return false;
  reader->at++;
  return true;
}

/* ------------------------------------------------------------------ strings */

static bool read_hex(reader_t *reader, uint32_t *unit) {
  *unit = 0;
  if (reader->end - reader->at < 4) return wrong(reader, "an escape ends early");
  for (int i = 0; i < 4; i++, reader->at++) {
    char c = *reader->at;
    int digit = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
    if (digit < 0) return wrong(reader, "an escape is not hexadecimal");
    *unit = *unit * 16 + (uint32_t)digit;
  }
  return true;
}

static size_t encode(uint32_t character, char *out) {
  if (character < 0x80) {
    out[0] = (char)character;
    return 1;
  }
  size_t more = character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
  static const uint8_t lead[] = {0, 0xC0, 0xE0, 0xF0};
  for (size_t i = more; i > 0; i--, character >>= 6) out[i] = (char)(0x80 | (character & 0x3F));
  out[0] = (char)(lead[more] | character);
  return more + 1;
}

/* What follows `\u`, surrogates as the pair they are. */
static bool read_unicode(reader_t *reader, text_t *text) {
  uint32_t unit, low;
  if (!read_hex(reader, &unit)) return false;
  if (unit >= 0xD800 && unit < 0xE000) {
    bool paired = unit < 0xDC00 && reader->end - reader->at >= 2 && reader->at[0] == '\\' && reader->at[1] == 'u';
    if (paired) reader->at += 2;
    if (!paired || !read_hex(reader, &low)) return wrong(reader, "half a surrogate pair is no character");
    if (low < 0xDC00 || low >= 0xE000) return wrong(reader, "half a surrogate pair is no character");
    unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
  }
  text->length += encode(unit, text->bytes + text->length);
  return true;
}

static bool read_escape(reader_t *reader, text_t *text) {
  static const char marks[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
  if (reader->at == reader->end) return wrong(reader, "a string has no end");
  char mark = *reader->at++;
  if (mark == 'u') return read_unicode(reader, text);
  const char *found = mark ? strchr(marks, mark) : NULL;
  if (!found) return wrong(reader, "this is no escape");
  text->bytes[text->length++] = meant[found - marks];
  return true;
}

/* A string, behind its opening quote; text->bytes is to be freed on every path. */
static bool read_string(reader_t *reader, text_t *text) {
  const char *end = reader->at;
  while (end < reader->end && *end != '"') end += *end == '\\' && end + 1 < reader->end ? 2 : 1;
  *text = (text_t){bson_malloc((size_t)(end - reader->at) + 1), 0}; /* an escape is never shorter than what it says */
  while (reader->at < reader->end && *reader->at != '"') {
    unsigned char c = (unsigned char)*reader->at++;
    if (c < 0x20) return wrong(reader, "a control character stands in a string");
    if (c != '\\') {
      text->bytes[text->length++] = (char)c;
    } else if (!read_escape(reader, text)) {
      return false;
    }
  }
  text->bytes[text->length] = '\0';
  return next_is(reader, '"') || wrong(reader, "a string has no end");
}

/* ------------------------------------------------------------------ numbers */

static const char *skip_digits(const char *at, const char *end) {
  while (at < end && *at >= '0' && *at <= '9') at++;
  return at;
}

/* The end of the number at `at`, or NULL; *whole: it has neither fraction nor exponent. */
static const char *number_end(const char *at, const char *end, bool *whole) {
  *whole = true;
  if (at < end && *at == '-') at++;
  const char *digits = at;
  at = skip_digits(at, end);
  if (at == digits || (*digits == '0' && at > digits + 1)) return NULL;
  if (at < end && *at == '.') {
    *whole = false;
    digits = ++at;
    at = skip_digits(at, end);
    if (at == digits) return NULL;
  }
  if (at < end && (*at == 'e' || *at == 'E')) {
    *whole = false;
    at++;
    if (at < end && (*at == '+' || *at == '-')) at++;
    digits = at;
    at = skip_digits(at, end);
    if (at == digits) return NULL;
  }
  return at;
}

bool smig_ledger_json_is_number(const char *text, size_t length) {
  bool whole;
  return number_end(text, text + length, &whole) == text + length;
}

/* Whether the shortest text of the double `token` means is `token` itself. */
static bool prints_as(double number, const char *token) {
  char text[SHORT_NUMBER];
  for (int precision = 1; precision <= 17; precision++) {
    snprintf(text, sizeof text, "%.*g", precision, number);
    if (strtod(text, NULL) == number) break;
  }
  return strcmp(text, token) == 0;
}

static bool read_number(reader_t *reader, bson_t *out, const char *key, int key_length) {
  bool whole, appended;
  const char *end = number_end(reader->at, reader->end, &whole);
  if (!end) return wrong(reader, "this is no value");
  char *token = bson_strndup(reader->at, (size_t)(end - reader->at));
  bson_decimal128_t decimal;
  errno = 0;
  long long integer = whole ? strtoll(token, NULL, 10) : 0;
  if (whole && errno == 0 && strcmp(token, "-0") != 0) {
    appended = integer >= INT32_MIN && integer <= INT32_MAX ? bson_append_int32(out, key, key_length, (int32_t)integer)
                                                            : bson_append_int64(out, key, key_length, integer);
  } else if (prints_as(strtod(token, NULL), token)) {
    appended = bson_append_double(out, key, key_length, strtod(token, NULL));
  } else if (bson_decimal128_from_string(token, &decimal)) {
    appended = bson_append_decimal128(out, key, key_length, &decimal);
  } else {
    appended = bson_append_symbol(out, key, key_length, token, -1);
  }
  bson_free(token);
  reader->at = end;
  return appended || wrong(reader, "this is too large");
}

/* ------------------------------------------------------------------- values */

static zone_t zone_below(zone_t zone, const text_t *name) {
  switch (zone) {
  case ZONE_TOP:
    return strcmp(name->bytes, "checkpoints") == 0 ? ZONE_CHECKPOINTS : ZONE_PLAIN;
  case ZONE_CHECKPOINTS:
    return ZONE_STEP;
  case ZONE_STEP:
    return ZONE_VALUE;
  case ZONE_PLAIN:
  case ZONE_VALUE:
    break;
  }
  return ZONE_PLAIN;
}

static bool read_member(reader_t *reader, bson_t *out, zone_t zone) {
  text_t name = {NULL, 0};
  bool good = false;
  if (!next_is(reader, '"')) return wrong(reader, "a name is expected");
  if (!read_string(reader, &name)) {
    /* told */
  } else if (memchr(name.bytes, '\0', name.length)) {
    wrong(reader, "a name holds the character NUL");
  } else if (!next_is(reader, ':')) {
    wrong(reader, "a colon is expected");
  } else {
    good = read_value(reader, out, name.bytes, (int)name.length, zone_below(zone, &name));
  }
  bson_free(name.bytes);
  return good;
}

/* The members of an object, behind its opening brace. */
static bool read_members(reader_t *reader, bson_t *out, zone_t zone) {
  if (next_is(reader, '}')) return true;
  do {
    if (!read_member(reader, out, zone)) return false;
  } while (next_is(reader, ','));
  return next_is(reader, '}') || wrong(reader, "a comma or the object's end is expected");
}

static bool read_items(reader_t *reader, bson_t *out) {
  if (next_is(reader, ']')) return true;
  for (uint32_t i = 0;; i++) {
    char buffer[16];
    const char *key;
    size_t length = bson_uint32_to_string(i, &key, buffer, sizeof buffer);
    if (!read_value(reader, out, key, (int)length, ZONE_PLAIN)) return false;
    if (!next_is(reader, ',')) break;
  }
  return next_is(reader, ']') || wrong(reader, "a comma or the array's end is expected");
}

static bool read_nested(reader_t *reader, bson_t *out, const char *key, int key_length, bool array, zone_t zone) {
  bson_t *child = bson_new();
  bool good;
  if (++reader->depth > DEPTH_MAX)
    good = wrong(reader, "it is nested too deeply");
  else if (array)
    good = read_items(reader, child) && bson_append_array(out, key, key_length, child);
  else
    good = read_members(reader, child, zone) && bson_append_document(out, key, key_length, child);
  reader->depth--;
  bson_destroy(child);
  return good || wrong(reader, "this is too large");
}

static bool read_word(reader_t *reader, const char *word) {
  size_t length = strlen(word);
  if ((size_t)(reader->end - reader->at) < length || memcmp(reader->at, word, length) != 0)
    return wrong(reader, "this is no value");
  reader->at += length;
  return true;
}

static bool read_plain(reader_t *reader, bson_t *out, const char *key, int key_length, zone_t zone) {
  skip_blanks(reader);
  if (reader->at == reader->end) return wrong(reader, "it ends early");
  if (next_is(reader, '{')) return read_nested(reader, out, key, key_length, false, zone);
  if (next_is(reader, '[')) return read_nested(reader, out, key, key_length, true, zone);
  if (next_is(reader, '"')) {
    text_t text;
    bool good = read_string(reader, &text) && bson_append_utf8(out, key, key_length, text.bytes, (int)text.length);
    bson_free(text.bytes);
    return good || wrong(reader, "this is too large");
  }
  switch (*reader->at) {
  case 't':
    return read_word(reader, "true") && bson_append_bool(out, key, key_length, true);
  case 'f':
    return read_word(reader, "false") && bson_append_bool(out, key, key_length, false);
  case 'n':
    return read_word(reader, "null") && bson_append_null(out, key, key_length);
  default:
    return read_number(reader, out, key, key_length);
  }
}

/* `{"v": <text>}` as Extended JSON; NULL: it is none. */
static bson_t *read_extended(const char *text, size_t length) {
  static const char before[] = "{\"v\":";
  size_t wrap = sizeof before - 1;
  char *whole = bson_malloc(wrap + length + 2);
  memcpy(whole, before, wrap);
  memcpy(whole + wrap, text, length);
  memcpy(whole + wrap + length, "}", 2);
  bson_t *value = bson_new_from_json((const uint8_t *)whole, (ssize_t)(wrap + length + 1), NULL);
  bson_free(whole);
  return value;
}

static void append_value(bson_t *out, const char *key, int key_length, const char *text, size_t length,
                         const bson_t *plain) {
  bson_iter_t iter;
  bson_t *extended = read_extended(text, length);
  if (bson_iter_init_find(&iter, extended ? extended : plain, "v")) bson_append_iter(out, key, key_length, &iter);
  bson_destroy(extended);
}

static bool read_value(reader_t *reader, bson_t *out, const char *key, int key_length, zone_t zone) {
  if (zone != ZONE_VALUE) return read_plain(reader, out, key, key_length, zone);
  skip_blanks(reader);
  const char *begin = reader->at;
  bson_t plain = BSON_INITIALIZER;
  bool good = read_plain(reader, &plain, "v", 1, zone);
  if (good) append_value(out, key, key_length, begin, (size_t)(reader->at - begin), &plain);
  bson_destroy(&plain);
  return good;
}

bool smig_ledger_json_value(const char *text, size_t length, bson_t *out, const char *key, int key_length) {
  reader_t reader = {.begin = text, .at = text, .end = text + length};
  if (!read_value(&reader, out, key, key_length, ZONE_VALUE)) return false;
  skip_blanks(&reader);
  return reader.at == reader.end;
}

bson_t *smig_ledger_json_read(const char *text, size_t length, const char *place, smig_error_t *error) {
  reader_t reader = {.begin = text, .at = text, .end = text + length};
  bson_t *data = bson_new();
  if (!bson_utf8_validate(text, length, true)) {
    wrong(&reader, "it is not UTF-8");
  } else if (!next_is(&reader, '{')) {
    wrong(&reader, "it is not an object");
  } else if (read_members(&reader, data, ZONE_TOP)) {
    skip_blanks(&reader);
    if (reader.at == reader.end) return data;
    wrong(&reader, "something follows the object");
  }
  bson_destroy(data);
  smig_error_set(error, SMIG_LEDGER_CORRUPT,
                 "the ledger %s is corrupt: its body is not the JSON of a ledger: %s (at byte %td of %zu); nothing was "
                 "written: put back a backup of the object, or give another ledger_name or ledger_id if it is not this "
                 "program's",
                 place, reader.why, reader.at - reader.begin, length);
  bson_t *details = smig_error_details(error);
  if (details) BSON_APPEND_UTF8(details, "place", place);
  return NULL;
}
