/*
 * Lists of names and values, see s3.h. Users: everything of the room. Any thread, one list by one thread at a time.
 */
#include "s3.h"

#include <string.h>

void smig_s3_fields_add(smig_s3_fields_t *fields, const char *name, const char *value) {
  size_t count = fields->count;
  if ((count & (count - 1)) == 0) { /* full: the room is the next power of two */
    fields->items = bson_realloc(fields->items, (count ? 2 * count : 1) * sizeof *fields->items);
  }
  fields->items[fields->count++] = (smig_s3_field_t){.name = bson_strdup(name), .value = bson_strdup(value)};
}

char smig_s3_lower(char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_same_name(const char *one, const char *other) {
  while (*one && smig_s3_lower(*one) == smig_s3_lower(*other)) {
    one++;
    other++;
  }
  return *one == *other;
}

const char *smig_s3_fields_get(const smig_s3_fields_t *fields, const char *name) {
  for (size_t i = 0; i < fields->count; i++) {
    if (is_same_name(fields->items[i].name, name)) return fields->items[i].value;
  }
  return NULL;
}

void smig_s3_fields_release(smig_s3_fields_t *fields) {
  for (size_t i = 0; i < fields->count; i++) {
    bson_free(fields->items[i].name);
    bson_free(fields->items[i].value);
  }
  bson_free(fields->items);
  *fields = (smig_s3_fields_t){0};
}
