/* Keys and the small things all sources share, see credentials_source.h. */
#include "credentials_source.h"

#include "clock.h"
#include "secrets.h"
#include "text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 1 << 20 };

static void forget(char **text) {
  if (*text) bson_zero_free(*text, strlen(*text));
  *text = NULL;
}

void smig_keys_release(smig_keys_t *keys) {
  bson_free(keys->access_key_id);
  forget(&keys->secret_access_key);
  forget(&keys->session_token);
  *keys = (smig_keys_t){0};
}

void smig_keys_set(smig_keys_t *keys, const char *access_key_id, const char *secret_access_key,
                   const char *session_token) {
  smig_keys_release(keys);
  keys->access_key_id = bson_strdup(access_key_id);
  keys->secret_access_key = bson_strdup(secret_access_key);
  if (session_token && *session_token) keys->session_token = bson_strdup(session_token);
  smig_secret_learn(secret_access_key, strlen(secret_access_key));
  if (keys->session_token) smig_secret_learn(session_token, strlen(session_token));
}

smig_search_t smig_search_failed(smig_error_t *error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *message = bson_strdupv_printf(format, arguments);
  va_end(arguments);
  smig_error_set_foreign(error, "CredentialsFailed", "%s", message);
  bson_free(message);
  return SMIG_SEARCH_FAILED;
}

const char *smig_environment(const char *name) {
  const char *value = getenv(name);
  return value && *value ? value : NULL;
}

smig_search_t smig_credentials_environment(smig_keys_t *keys, smig_error_t *error) {
  const char *id = smig_environment("AWS_ACCESS_KEY_ID"), *secret = smig_environment("AWS_SECRET_ACCESS_KEY");
  if (!id && !secret) return SMIG_SEARCH_NOTHING;
  if (!id || !secret) {
    return smig_search_failed(error, "%s is set and %s is not: set both or neither",
                              id ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
                              id ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
  }
  smig_keys_set(keys, id, secret, smig_environment("AWS_SESSION_TOKEN"));
  return SMIG_SEARCH_FOUND;
}

char *smig_read_text(const char *path, bool *missing, smig_error_t *error) {
  *missing = false;
  FILE *file = fopen(path, "re");
  if (!file) {
    *missing = errno == ENOENT || errno == ENOTDIR;
    if (!*missing) smig_search_failed(error, "'%s' cannot be read: %s", path, strerror(errno));
    return NULL;
  }
  char *text = bson_malloc(MAX_TEXT + 1);
  errno = 0;
  size_t length = fread(text, 1, MAX_TEXT + 1, file);
  int reason = ferror(file) ? errno : 0;
  fclose(file);
  if (reason) {
    smig_search_failed(error, "'%s' cannot be read: %s", path, strerror(reason));
  } else if (length > MAX_TEXT) {
    smig_search_failed(error, "'%s' is over 1 MiB", path);
  } else if (memchr(text, '\0', length)) {
    smig_search_failed(error, "'%s' is no text file: it holds a NUL byte", path);
  } else {
    text[length] = '\0';
    return bson_realloc(text, length + 1);
  }
  bson_free(text);
  return NULL;
}

/* -------------------------------------------------------------------- JSON */

/* The one JSON object in the text, or NULL: libbson's reader also takes an array, and one object behind another. */
static bson_t *read_object(const char *json, size_t length) {
  if (json[strspn(json, " \t\r\n")] != '{') return NULL;
  bson_json_reader_t *reader = bson_json_data_reader_new(false, 0);
  bson_json_data_reader_ingest(reader, (const uint8_t *)json, length);
  bson_t *object = bson_new(), rest = BSON_INITIALIZER;
  bson_error_t ignored; /* its message may hold a piece of a secret */
  bool good =
      bson_json_reader_read(reader, object, &ignored) == 1 && bson_json_reader_read(reader, &rest, &ignored) == 0;
  bson_json_reader_destroy(reader);
  bson_destroy(&rest);
  if (good) return object;
  bson_destroy(object);
  return NULL;
}

/* A member that is a text without NUL and not empty, or NULL. */
static const char *text_of(const bson_t *object, const char *name) {
  bson_iter_t at;
  uint32_t length = 0;
  if (!bson_iter_init_find(&at, object, name) || !BSON_ITER_HOLDS_UTF8(&at)) return NULL;
  const char *text = bson_iter_utf8(&at, &length);
  return length > 0 && strlen(text) == length ? text : NULL;
}

static bool has_version(const bson_t *object, int version) {
  bson_iter_t at;
  return version == 0 ||
         (bson_iter_init_find(&at, object, "Version") && BSON_ITER_HOLDS_INT32(&at) && bson_iter_int32(&at) == version);
}

static bool read_expiry(const bson_t *object, int64_t *wall_ms) {
  *wall_ms = 0;
  bson_iter_t at;
  if (!bson_iter_init_find(&at, object, "Expiration") || BSON_ITER_HOLDS_NULL(&at)) return true;
  return smig_clock_from_iso(text_of(object, "Expiration"), wall_ms);
}

bool smig_keys_from_json(smig_keys_t *keys, const char *json, size_t length, const char *token_name, int version,
                         const char *source, smig_error_t *error) {
  bson_t *object = read_object(json, length);
  if (!object) {
    smig_search_failed(error, "%s gave no JSON object", source);
    return false;
  }
  const char *id = text_of(object, "AccessKeyId"), *secret = text_of(object, "SecretAccessKey");
  const char *code = text_of(object, "Code");
  int64_t expires_wall_ms;
  bool good = false;
  if (code && strcmp(code, "Success") != 0) {
    char *shown = smig_text_escape(code, strlen(code), 100);
    smig_search_failed(error, "%s answered %s", source, shown);
    bson_free(shown);
  } else if (!has_version(object, version)) {
    smig_search_failed(error, "%s gave JSON without \"Version\": %d", source, version);
  } else if (!id || !secret) {
    smig_search_failed(error, "%s gave no %s", source, id ? "SecretAccessKey" : "AccessKeyId");
  } else if (!read_expiry(object, &expires_wall_ms)) {
    smig_search_failed(error, "%s gave an Expiration that is no date with time and zone", source);
  } else {
    smig_keys_set(keys, id, secret, text_of(object, token_name));
    keys->expires_wall_ms = expires_wall_ms;
    good = true;
  }
  bson_destroy(object);
  return good;
}
