/* Percent-decoding of what a service sent encoded. See s3.h. Pure. */
#include "s3.h"

static int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

size_t smig_s3_decode(char *text, size_t length, bool plus_is_blank) {
  size_t to = 0;
  for (size_t from = 0; from < length; from++) {
    int high = text[from] == '%' && length - from > 2 ? digit(text[from + 1]) : -1;
    int low = high >= 0 ? digit(text[from + 2]) : -1;
    if (low >= 0) {
      text[to++] = (char)(high << 4 | low);
      from += 2;
    } else {
      text[to++] = plus_is_blank && text[from] == '+' ? ' ' : text[from];
    }
  }
  if (to < length) text[to] = '\0';
  return to;
}
