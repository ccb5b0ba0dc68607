/*
 * Strict UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. Our own, since libbson's check either refuses NUL or
 * lets its overlong form C0 80 through, and goes character by character.
 * Users: checks of keys, text and foreign bytes; Extended JSON. Source: RFC 3629.
 */
#include "lbson_internal.h"

#include <string.h>

size_t lbson_utf8_sequence(const char *text, size_t room) {
  const unsigned char *p = (const unsigned char *)text;
  size_t length = *p < 0x80                 ? 1
                  : *p >= 0xc2 && *p < 0xe0 ? 2
                  : *p >= 0xe0 && *p < 0xf0 ? 3
                  : *p >= 0xf0 && *p < 0xf5 ? 4
                                            : 0;
  if (length == 0 || length > room) return 0;
  for (size_t i = 1; i < length; i++) {
    if ((p[i] & 0xc0) != 0x80) return 0;
  }
  if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
      (p[0] == 0xf4 && p[1] > 0x8f)) {
    return 0;
  }
  return length;
}

size_t lbson_utf8_prefix(const char *text, size_t length) {
  size_t at = 0;
  while (at < length) {
    uint64_t eight;
    if (length - at >= sizeof eight) {
      memcpy(&eight, text + at, sizeof eight);
      if (!(eight & UINT64_C(0x8080808080808080))) {
        at += sizeof eight;
        continue;
      }
    }
    size_t sequence = lbson_utf8_sequence(text + at, length - at);
    if (sequence == 0) return at;
    at += sequence;
  }
  return at;
}

bool lbson_is_utf8(const void *text, size_t length) {
  return lbson_utf8_prefix(text, length) == length;
}
