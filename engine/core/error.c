/*
 * Errors: the one table of codes as functions, and the life of an smig_error_t.
 * Users: everything. No units. Any thread, one error by one thread at a time.
 * Source of the rule: the contract's section on errors; secrets are cut out of a message when it is set, so that no
 * way of a message to a sink can forget it.
 */
#include "secrets.h"
#include "smartmigration.h"

#include <stdarg.h>
#include <string.h>

static const struct {
  const char *name, *text;
  int exit_status;
} codes[] = {
    {"OK", "no error", 0},
#define X(name, exit_status, text) {#name, text, exit_status},
    SMIG_CODES(X)
#undef X
        {"FOREIGN", "an error with a code of a server, a driver or a step", 1},
};

enum { CODE_COUNT = sizeof codes / sizeof *codes };

static size_t index_of(smig_code_t code) {
  return (size_t)code < CODE_COUNT ? (size_t)code : SMIG_FOREIGN;
}

const char *smig_code_name(smig_code_t code) {
  return codes[index_of(code)].name;
}

int smig_code_exit_status(smig_code_t code) {
  return codes[index_of(code)].exit_status;
}

const char *smig_code_text(smig_code_t code) {
  return codes[index_of(code)].text;
}

bool smig_code_from_name(const char *name, smig_code_t *code) {
  for (size_t i = SMIG_OK + 1; name && i < SMIG_FOREIGN; i++) {
    if (strcmp(codes[i].name, name) == 0) {
      *code = (smig_code_t)i;
      return true;
    }
  }
  return false;
}

void smig_error_release(smig_error_t *error) {
  if (!error) return;
  if (error->value_free) error->value_free(error->value);
  bson_free(error->name);
  bson_free(error->message);
  if (error->details) bson_destroy(error->details);
  *error = (smig_error_t)SMIG_ERROR_INIT;
}

/* Formats before it releases: the arguments may be parts of the error that is replaced. */
static void set(smig_error_t *error, smig_code_t code, const char *name, const char *format, va_list arguments) {
  char *message = bson_strdupv_printf(format, arguments);
  char *own_name = bson_strdup(name);
  size_t length = strlen(message);
  if (smig_secret_found(message, length)) {
    char *scrubbed = smig_secret_scrub(message, length);
    bson_free(message);
    message = scrubbed;
  }
  smig_error_release(error);
  error->code = code;
  error->name = own_name;
  error->message = message;
  error->details = bson_new();
}

void smig_error_set(smig_error_t *error, smig_code_t code, const char *format, ...) {
  if (!error) return;
  va_list arguments;
  va_start(arguments, format);
  set(error, code, smig_code_name(code), format, arguments);
  va_end(arguments);
}

void smig_error_set_foreign(smig_error_t *error, const char *name, const char *format, ...) {
  if (!error) return;
  va_list arguments;
  va_start(arguments, format);
  set(error, SMIG_FOREIGN, name, format, arguments);
  va_end(arguments);
}

bson_t *smig_error_details(smig_error_t *error) {
  return error && error->code != SMIG_OK ? error->details : NULL;
}

void smig_error_set_value(smig_error_t *error, void *value, void (*value_free)(void *)) {
  if (!error) {
    if (value_free) value_free(value);
    return;
  }
  if (error->value_free) error->value_free(error->value);
  error->value = value;
  error->value_free = value_free;
}

void smig_error_move(smig_error_t *to, smig_error_t *from) {
  if (to == from) return;
  if (!to) {
    smig_error_release(from);
    return;
  }
  smig_error_release(to);
  *to = *from;
  *from = (smig_error_t)SMIG_ERROR_INIT;
}
