/*
 * "did you mean": the nearest of some names.
 * Users: run/ (ids of steps), the bindings (methods, options). Pure.
 */
#include "smartmigration.h"

#include <ctype.h>
#include <string.h>

enum { NAME_MAX_LENGTH = 64 };

/* snake_case of camelCase; false when it does not fit. */
static bool to_snake(const char *name, char out[NAME_MAX_LENGTH]) {
  size_t used = 0;
  for (const char *c = name; *c; c++) {
    if (used + 3 > NAME_MAX_LENGTH) return false;
    if (isupper((unsigned char)*c) && c > name && c[-1] != '_') out[used++] = '_';
    out[used++] = (char)tolower((unsigned char)*c);
  }
  out[used] = '\0';
  return true;
}

static unsigned min3(unsigned a, unsigned b, unsigned c) {
  unsigned least = a < b ? a : b;
  return least < c ? least : c;
}

/* Edit distance with neighbours swapped counted as one edit; both names are shorter than NAME_MAX_LENGTH. */
static unsigned distance(const char *a, const char *b) {
  size_t length_a = strlen(a), length_b = strlen(b);
  unsigned rows[3][NAME_MAX_LENGTH + 1];
  unsigned *before = rows[0], *last = rows[1], *row = rows[2];
  for (size_t j = 0; j <= length_b; j++) last[j] = (unsigned)j;
  for (size_t i = 1; i <= length_a; i++) {
    row[0] = (unsigned)i;
    for (size_t j = 1; j <= length_b; j++) {
      row[j] = min3(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < row[j]) {
        row[j] = before[j - 2] + 1;
      }
    }
    unsigned *oldest = before;
    before = last, last = row, row = oldest;
  }
  return last[length_b];
}

const char *smig_suggest(const char *name, const char *const *names) {
  char snake[NAME_MAX_LENGTH];
  if (!to_snake(name, snake)) return NULL;
  const char *best = NULL;
  unsigned best_distance = strlen(snake) < 4 ? 2 : strlen(snake) < 8 ? 3 : 4; /* what is as far as this is not near */
  for (; *names; names++) {
    if (strlen(*names) >= NAME_MAX_LENGTH) continue;
    unsigned here = distance(snake, *names);
    if (here < best_distance) best = *names, best_distance = here;
  }
  return best;
}
