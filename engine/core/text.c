/*
 * UTF-8 as the Unicode standard's table 3-7 defines it (no overlong forms, no surrogates), and escaping for messages.
 * Units: bytes. No errors. Any thread.
 */
#include "text.h"

#include <bson/bson.h>
#include <stdio.h>

static bool is_tail(unsigned char byte) {
  return (byte & 0xC0) == 0x80;
}

size_t smig_utf8_decode(const char *text, size_t length, uint32_t *character) {
  const unsigned char *bytes = (const unsigned char *)text;
  if (!length) return 0;
  unsigned char lead = bytes[0];
  if (lead < 0x80) {
    *character = lead;
    return 1;
  }
  if (lead >= 0xC2 && lead <= 0xDF && length >= 2 && is_tail(bytes[1])) {
    *character = (lead & 0x1Fu) << 6 | (bytes[1] & 0x3Fu);
    return 2;
  }
  if (lead >= 0xE0 && lead <= 0xEF && length >= 3 && is_tail(bytes[1]) && is_tail(bytes[2])) {
    *character = (lead & 0x0Fu) << 12 | (bytes[1] & 0x3Fu) << 6 | (bytes[2] & 0x3Fu);
    return *character >= 0x800 && (*character < 0xD800 || *character > 0xDFFF) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4 && length >= 4 && is_tail(bytes[1]) && is_tail(bytes[2]) && is_tail(bytes[3])) {
    *character = (lead & 0x07u) << 18 | (bytes[1] & 0x3Fu) << 12 | (bytes[2] & 0x3Fu) << 6 | (bytes[3] & 0x3Fu);
    return *character >= 0x10000 && *character <= 0x10FFFF ? 4 : 0;
  }
  return 0;
}

bool smig_is_control(uint32_t character) {
  return character < 0x20 || (character >= 0x7F && character <= 0x9F);
}

char *smig_text_escape(const char *text, size_t length, size_t limit) {
  bson_string_t *out = bson_string_new(NULL);
  size_t at = 0;
  while (text && at < length) {
    uint32_t character = 0;
    size_t size = smig_utf8_decode(text + at, length - at, &character);
    if (at + (size ? size : 1) > limit) {
      bson_string_append(out, "...");
      break;
    }
    if (!size || (smig_is_control(character) && character < 0x80)) {
      bson_string_append_printf(out, "\\x%02x", (unsigned)(unsigned char)text[at]);
    } else if (smig_is_control(character) || character == 0x2028 || character == 0x2029) {
      bson_string_append_printf(out, "\\u%04x", (unsigned)character);
    } else {
      bson_string_append_unichar(out, character);
    }
    at += size ? size : 1;
  }
  return bson_string_free(out, false);
}
