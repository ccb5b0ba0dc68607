/*
 * What the two halves of reading Extended JSON share: the text's grammar (json_read.c) and the meaning of `$` names
 * (json_wrappers.c).
 * Users: those two. Errors: argument errors with line and column.
 */
#ifndef SMIG_BINDINGS_BSON_JSON_READ_H
#define SMIG_BINDINGS_BSON_JSON_READ_H

#include "lbson_internal.h"

typedef struct lbson_reader {
  lua_State *L;
  const char *text; /* the whole, ending with NUL */
  const char *end;
  const char *at;        /* what is read next */
  lbson_writer_t writer; /* what was read, as BSON */
} lbson_reader_t;

/* An object that was read as the document at the writer's end. */
typedef struct lbson_object {
  const char *at; /* where it begins in the text */
  size_t start;   /* where its document begins in the writer */
  unsigned names; /* which wrapper names it has, by lbson_wrapper_name */
  bool is_plain;  /* no value in it was given by a wrapper */
} lbson_object_t;

/* Raises: "not Extended JSON: <text> (line 1, column 5)". */
int lbson_reader_fail(const lbson_reader_t *reader, const char *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Whether the text is a JSON number without more; *is_integer: without fraction and exponent. */
bool lbson_scan_number(const char *text, const char *end, const char **number_end, bool *is_integer);
/* The value of an integer so scanned, if it fits 64 bits. */
bool lbson_read_integer(const char *text, const char *end, int64_t *value);
/* The value of a number so scanned; false when it is beyond a double's range. The text goes on with no part of a number. */
bool lbson_read_number(const char *text, const char *end, double *value);

/* The bit of a wrapper's name in lbson_object_t.names, or 0. */
unsigned lbson_wrapper_name(const char *key, size_t length);
/*
 * Replaces the document of an object with wrapper names by the value it stands for. Answers the type: still a document, when the
 * names are those of query operators. Raises when it is a malformed wrapper.
 */
uint8_t lbson_unwrap(lbson_reader_t *reader, const lbson_object_t *object);

#endif
