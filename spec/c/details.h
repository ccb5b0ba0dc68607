/* Reading of errors' details and of JSON documents, for the C unit tests. */
#ifndef SMIG_SPEC_DETAILS_H
#define SMIG_SPEC_DETAILS_H

#include "check.h"
#include "smartmigration.h"

/* A string of the error's details by dotted path; NULL: it is not there. */
static inline const char *detail(const smig_error_t *error, const char *path) {
  bson_iter_t iter, found;
  if (!error->details || !bson_iter_init(&iter, error->details) || !bson_iter_find_descendant(&iter, path, &found) ||
      !BSON_ITER_HOLDS_UTF8(&found))
    return NULL;
  return bson_iter_utf8(&found, NULL);
}

/* A number of the error's details; -1: it is not there. */
static inline int64_t detail_number(const smig_error_t *error, const char *path) {
  bson_iter_t iter, found;
  if (!error->details || !bson_iter_init(&iter, error->details) || !bson_iter_find_descendant(&iter, path, &found))
    return -1;
  return bson_iter_as_int64(&found);
}

/* The error is this code with this message; it is released. */
static inline void check_error(smig_error_t *error, smig_code_t code, const char *message) {
  CHECK(error->code == code, ": %s is not %s", smig_code_name(error->code), smig_code_name(code));
  CHECK_STR(error->message, message);
  smig_error_release(error);
}

/* A document (bson_destroy) from Extended JSON with ' for ", which JSON in C wants. */
static inline bson_t *document(const char *json) {
  char *text = bson_strdup(json);
  bson_error_t cause;
  for (char *c = text; *c; c++) {
    if (*c == '\'') *c = '"';
  }
  bson_t *parsed = bson_new_from_json((const uint8_t *)text, -1, &cause);
  if (!parsed) {
    printf("# a test's JSON is broken: %s: %s\n", cause.message, json);
    exit(1);
  }
  bson_free(text);
  return parsed;
}

#endif
