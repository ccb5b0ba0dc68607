/*
 * Secrets of the process. See secrets.h.
 * Units: bytes. No errors. Any thread: what is learnt hangs in a list that only grows, whose head is the one shared word.
 *
 * A secret is kept as needles: itself, itself as a JSON string shows it, its hexadecimal digits (of either case), and the
 * part of its base64 that does not depend on what stands around it, for each of the three places where it can begin in a
 * group of three bytes (so "user:secret" is found too). Needles match percent-encoded text as well, byte by byte, whatever
 * the encoder chose to encode.
 *
 * Signatures of S3 requests and presigned URLs are not learnt, a program may make millions: they are known by their name.
 */
#include "secrets.h"

#include <bson/bson.h>
#include <stdatomic.h>
#include <string.h>

enum { SHORTEST = 4 };

/* BASE64: also in its URL form, and a character each side holds bits of the secret. HEX: kept in small letters. */
typedef enum form { PLAIN, BASE64, HEX } form_t;

typedef struct needle {
  struct needle *next; /* set before the needle is published, never changed */
  size_t length;
  form_t form;
  char bytes[];
} needle_t;

static _Atomic(needle_t *) needles;

static bool is_known(const char *bytes, size_t length, form_t form) {
  for (needle_t *needle = atomic_load(&needles); needle; needle = needle->next) {
    if (needle->length == length && needle->form == form && memcmp(needle->bytes, bytes, length) == 0) return true;
  }
  return false;
}

static void add_needle(const char *bytes, size_t length, form_t form) {
  if (length < SHORTEST || is_known(bytes, length, form)) return;
  needle_t *needle = bson_malloc(sizeof *needle + length);
  needle->length = length;
  needle->form = form;
  memcpy(needle->bytes, bytes, length);
  needle->next = atomic_load(&needles);
  while (!atomic_compare_exchange_weak(&needles, &needle->next, needle)) {}
}

static void add_json(const char *secret, size_t length) {
  bson_string_t *out = bson_string_new(NULL);
  for (size_t i = 0; i < length; i++) {
    if (secret[i] == '"' || secret[i] == '\\')
      bson_string_append_printf(out, "\\%c", secret[i]);
    else
      bson_string_append_c(out, secret[i]);
  }
  if (out->len > length) add_needle(out->str, out->len, PLAIN);
  bson_string_free(out, true);
}

/* The base64 of `lead` unknown bytes and the secret, without the characters that unknown bytes have a part in. */
static void add_base64(const char *secret, size_t length, size_t lead) {
  static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  size_t first = (lead * 8 + 5) / 6, end = (lead + length) * 8 / 6;
  char *out = bson_malloc(end - first + 1);
  for (size_t i = first; i < end; i++) {
    unsigned value = 0;
    for (size_t bit = i * 6; bit < i * 6 + 6; bit++) {
      unsigned char byte = (unsigned char)secret[bit / 8 - lead];
      value = value << 1 | (byte >> (7 - bit % 8) & 1);
    }
    out[i - first] = alphabet[value];
  }
  add_needle(out, end - first, BASE64);
  bson_free(out);
}

static void add_hex(const char *secret, size_t length) {
  static const char digits[] = "0123456789abcdef";
  char *out = bson_malloc(2 * length);
  for (size_t i = 0; i < length; i++) {
    unsigned char byte = (unsigned char)secret[i];
    out[2 * i] = digits[byte >> 4];
    out[2 * i + 1] = digits[byte & 15];
  }
  add_needle(out, 2 * length, HEX);
  bson_free(out);
}

void smig_secret_learn(const char *secret, size_t length) {
  if (!secret || length < SHORTEST) return;
  add_needle(secret, length, PLAIN);
  if (!memchr(secret, '\0', length)) add_json(secret, length);
  for (size_t lead = 0; lead < 3; lead++) add_base64(secret, length, lead);
  add_hex(secret, length);
}

static int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* The percent-encoded byte at `text`, or -1. */
static int decode_percent(const char *text, size_t length) {
  if (length < 3 || text[0] != '%') return -1;
  int high = hex_value(text[1]), low = hex_value(text[2]);
  return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static char fold(char c, form_t form) {
  if (form == BASE64) return c == '-' ? '+' : c == '_' ? '/' : c;
  return form == HEX && c >= 'A' && c <= 'F' ? (char)(c - 'A' + 'a') : c;
}

/* How many bytes of `text` are the needle, some of them percent-encoded if `encoded`; 0: it is not there. */
static size_t match(const needle_t *needle, const char *text, size_t length, bool encoded) {
  size_t at = 0;
  for (size_t i = 0; i < needle->length; i++) {
    char wanted = needle->bytes[i];
    int decoded = encoded ? decode_percent(text + at, length - at) : -1;
    if (decoded >= 0 && fold((char)decoded, needle->form) == wanted)
      at += 3;
    else if (at < length && fold(text[at], needle->form) == wanted)
      at++;
    else if (encoded && wanted == ' ' && at < length && text[at] == '+')
      at++;
    else
      return 0;
  }
  return at;
}

/* The length of the longest secret that begins at `text`, and its form. */
static size_t match_any(const char *text, size_t length, form_t *form) {
  size_t longest = 0;
  for (const needle_t *needle = atomic_load(&needles); needle; needle = needle->next) {
    if (fold(*text, needle->form) != needle->bytes[0] && *text != '%' && *text != '+') continue;
    size_t plain = match(needle, text, length, false);
    size_t encoded = match(needle, text, length, true);
    size_t found = plain > encoded ? plain : encoded;
    if (found > longest) {
      longest = found;
      *form = needle->form;
    }
  }
  return longest;
}

/* Where the signature of the first "Signature=<hex>" of the text begins, and its length; 0: there is none. */
static size_t find_signature(const char *text, size_t length, size_t *start) {
  static const char name[] = "Signature";
  enum { NAME_LENGTH = sizeof name - 1, FEWEST_DIGITS = 32 };
  for (const char *end = text + length, *at = text; (at = memmem(at, (size_t)(end - at), name, NAME_LENGTH));) {
    at += NAME_LENGTH;
    size_t left = (size_t)(end - at);
    size_t sign = left > 0 && *at == '=' ? 1 : decode_percent(at, left) == '=' ? 3 : 0, digits = 0;
    while (sign && sign + digits < left && hex_value(at[sign + digits]) >= 0) digits++;
    if (digits < FEWEST_DIGITS) continue;
    *start = (size_t)(at + sign - text);
    return digits;
  }
  return 0;
}

static bool is_base64(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/' ||
         c == '-' || c == '_' || c == '=';
}

char *smig_secret_scrub(const char *text, size_t length) {
  if (!smig_secret_found(text, length)) return bson_strndup(text, length);
  bool *covered = bson_malloc0(length + 1);
  for (size_t at = 0; at < length; at++) {
    form_t form = PLAIN;
    size_t found = match_any(text + at, length - at, &form);
    if (!found) continue;
    size_t start = at, end = at + found;
    if (form == BASE64) { /* the neighbours hold the rest of the first and last byte's bits */
      if (start > 0 && text[start - 1] != '=' && is_base64(text[start - 1])) start--;
      for (int i = 0; i < 3 && end < length && is_base64(text[end]); i++) {
        if (i > 0 && text[end] != '=') break;
        end++;
      }
    }
    memset(covered + start, true, end - start);
  }
  for (size_t from = 0, start, found; (found = find_signature(text + from, length - from, &start));) {
    memset(covered + from + start, true, found);
    from += start + found;
  }
  char *out = bson_malloc(length + 1); /* a covered part is never shorter than what replaces it */
  size_t used = 0;
  for (size_t at = 0; at < length; at++) {
    if (!covered[at]) {
      out[used++] = text[at];
    } else if (at == 0 || !covered[at - 1]) {
      memcpy(out + used, "***", 3);
      used += 3;
    }
  }
  out[used] = '\0';
  bson_free(covered);
  return out;
}

int smig_secret_found(const char *text, size_t length) {
  size_t start;
  if (find_signature(text, length, &start)) return 1;
  if (!atomic_load(&needles)) return 0;
  for (size_t at = 0; at < length; at++) {
    form_t form;
    if (match_any(text + at, length - at, &form)) return 1;
  }
  return 0;
}
