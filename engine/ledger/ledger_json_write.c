/* Writes a ledger's JSON, see ledger_json.h. */
#include "ledger_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How far below `checkpoints` an object's members are: what a step's checkpoints hold is Extended JSON. */
typedef enum zone { ZONE_TOP, ZONE_PLAIN, ZONE_CHECKPOINTS, ZONE_STEP } zone_t;

static void write_string(FILE *out, const char *text, size_t length) {
  putc('"', out);
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)text[i];
    if (c == '"' || c == '\\')
      fprintf(out, "\\%c", c);
    else if (c == '\n')
      fputs("\\n", out);
    else if (c < 0x20 || c == 0x7F)
      fprintf(out, "\\u%04x", c);
    else
      putc(c, out);
  }
  putc('"', out);
}

static void write_double(FILE *out, double number) {
  char text[64];
  for (int precision = 1; precision <= 17; precision++) {
    snprintf(text, sizeof text, "%.*g", precision, number);
    if (strtod(text, NULL) == number) break;
  }
  fputs(text, out);
}

/* Libbson's text of one value: what stands behind the name in `{ "v" : … }`. */
static char *extended(const bson_iter_t *iter, bool canonical) {
  static const char before[] = "{ \"v\" : ", after[] = " }";
  bson_t one = BSON_INITIALIZER;
  bson_append_iter(&one, "v", 1, iter);
  char *json = canonical ? bson_as_canonical_extended_json(&one, NULL) : bson_as_relaxed_extended_json(&one, NULL);
  bson_destroy(&one);
  if (!json) return NULL;
  char *value = bson_strndup(json + sizeof before - 1, strlen(json) - (sizeof before - 1) - (sizeof after - 1));
  bson_free(json);
  return value;
}

static bool write_members(FILE *out, const bson_iter_t *document, zone_t zone, bool array);

/* What plain JSON has no type for is left to Extended JSON. */
static bool write_plain(FILE *out, const bson_iter_t *iter, zone_t zone) {
  char decimal_text[BSON_DECIMAL128_STRING];
  bson_decimal128_t decimal;
  uint32_t length = 0;
  const char *text;
  switch (bson_iter_type(iter)) {
  case BSON_TYPE_UTF8:
    text = bson_iter_utf8(iter, &length);
    write_string(out, text, length);
    return true;
  case BSON_TYPE_DOCUMENT:
    return write_members(out, iter, zone, false);
  case BSON_TYPE_ARRAY:
    return write_members(out, iter, ZONE_PLAIN, true);
  case BSON_TYPE_BOOL:
    fputs(bson_iter_bool(iter) ? "true" : "false", out);
    return true;
  case BSON_TYPE_NULL:
    fputs("null", out);
    return true;
  case BSON_TYPE_INT32:
  case BSON_TYPE_INT64:
    fprintf(out, "%" PRId64, bson_iter_as_int64(iter));
    return true;
  case BSON_TYPE_DOUBLE:
    if (!isfinite(bson_iter_double(iter))) break;
    write_double(out, bson_iter_double(iter));
    return true;
  case BSON_TYPE_DECIMAL128:
    bson_iter_decimal128(iter, &decimal);
    bson_decimal128_to_string(&decimal, decimal_text);
    if (!smig_ledger_json_is_number(decimal_text, strlen(decimal_text))) break;
    fputs(decimal_text, out);
    return true;
  case BSON_TYPE_SYMBOL:
    text = bson_iter_symbol(iter, &length);
    if (!smig_ledger_json_is_number(text, length)) break;
    fwrite(text, 1, length, out);
    return true;
  default:
    break;
  }
  char *json = extended(iter, false);
  if (json) fputs(json, out);
  bson_free(json);
  return json != NULL;
}

/* Whether this text is read as exactly the value at `iter`. */
static bool reads_as(const char *text, size_t length, const bson_iter_t *iter) {
  bson_t meant = BSON_INITIALIZER, read = BSON_INITIALIZER;
  bson_append_iter(&meant, "v", 1, iter);
  bool same = smig_ledger_json_value(text, length, &read, "v", 1) && bson_equal(&meant, &read);
  bson_destroy(&meant);
  bson_destroy(&read);
  return same;
}

static bool write_extended(FILE *out, const bson_iter_t *iter, bool canonical) {
  char *text = extended(iter, canonical);
  bool good = text && reads_as(text, strlen(text), iter);
  if (good) fputs(text, out);
  bson_free(text);
  return good;
}

/* What is no Extended JSON is read as plain JSON, and so it is written. */
static bool write_as_found(FILE *out, const bson_iter_t *iter) {
  char *text = NULL;
  size_t length = 0;
  FILE *memory = open_memstream(&text, &length);
  bool good = write_plain(memory, iter, ZONE_PLAIN);
  fclose(memory);
  good = good && reads_as(text, length, iter);
  if (good) fwrite(text, 1, length, out);
  free(text);
  return good;
}

static bool write_checkpoint(FILE *out, const bson_iter_t *iter) {
  switch (bson_iter_type(iter)) {
  case BSON_TYPE_UTF8: /* the usual ones, whose plain text has no second reading */
  case BSON_TYPE_BOOL:
  case BSON_TYPE_NULL:
  case BSON_TYPE_INT32:
    return write_plain(out, iter, ZONE_PLAIN);
  default:
    return write_extended(out, iter, false) || write_extended(out, iter, true) || write_as_found(out, iter);
  }
}

static bool write_members(FILE *out, const bson_iter_t *document, zone_t zone, bool array) {
  bson_iter_t iter;
  if (!bson_iter_recurse(document, &iter)) return false;
  putc(array ? '[' : '{', out);
  for (bool first = true; bson_iter_next(&iter); first = false) {
    if (!first) putc(',', out);
    if (!array) {
      write_string(out, bson_iter_key(&iter), strlen(bson_iter_key(&iter)));
      putc(':', out);
    }
    zone_t below = ZONE_PLAIN;
    if (zone == ZONE_TOP && strcmp(bson_iter_key(&iter), "checkpoints") == 0) below = ZONE_CHECKPOINTS;
    if (zone == ZONE_CHECKPOINTS) below = ZONE_STEP;
    if (zone == ZONE_STEP ? !write_checkpoint(out, &iter) : !write_plain(out, &iter, below)) return false;
  }
  putc(array ? ']' : '}', out);
  return true;
}

char *smig_ledger_json_write(const bson_t *data, size_t *length, smig_error_t *error) {
  bson_t whole = BSON_INITIALIZER;
  bson_iter_t iter;
  char *text = NULL;
  BSON_APPEND_DOCUMENT(&whole, "data", data);
  FILE *out = open_memstream(&text, length);
  bool good = bson_iter_init_find(&iter, &whole, "data") && write_members(out, &iter, ZONE_TOP, false);
  putc('\n', out);
  fclose(out);
  bson_destroy(&whole);
  if (good) return text;
  free(text);
  smig_error_set(
      error, SMIG_INVALID_OPTIONS,
      "a checkpoint's value cannot be kept in S3: Extended JSON would read it as another one (a document with a "
      "name like \"$date\"): use other names");
  return NULL;
}
