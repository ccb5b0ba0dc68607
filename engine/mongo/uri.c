/*
 * Connection strings, see uri.h. Units: ms, as libmongoc's URI options. Errors: INVALID_OPTIONS. No threads.
 */
#include "uri.h"

#include "secrets.h"

#include <string.h>
#include <strings.h>

enum { SERVER_SELECTION_MS = 10000 };

/* ------------------------------------------------------------------ secrets */

static void learn(const char *start, size_t length) {
  smig_secret_learn(start, length);
  char *encoded = bson_strndup(start, length);
  char *decoded = mongoc_uri_unescape(encoded); /* NULL when it is no proper encoding */
  if (decoded) smig_secret_learn(decoded, strlen(decoded));
  bson_free(decoded);
  bson_free(encoded);
}

/* Learns the password of a URI that may be malformed: whatever stands between the first ':' and the last '@'. */
static void learn_password(const char *text, bool malformed) {
  const char *start = strstr(text, "://");
  if (!start) return;
  start += 3;
  size_t authority = malformed ? strlen(start) : strcspn(start, "/?");
  const char *at = memrchr(start, '@', authority);
  const char *colon = at ? memchr(start, ':', (size_t)(at - start)) : NULL;
  if (!colon) return;
  learn(colon + 1, (size_t)(at - colon - 1));
  if (!malformed) return;
  /* A driver's message may quote a piece of what was cut at the wrong place. */
  for (const char *piece = colon + 1; piece < at;) {
    size_t length = strcspn(piece, ":/?@,");
    if (piece + length > at) length = (size_t)(at - piece);
    learn(piece, length);
    piece += length + 1;
  }
}

/* Learns the values of options that are secret: a key file's password, the properties of an authentication mechanism. */
static void learn_options(const char *text) {
  const char *option = strchr(text, '?');
  while (option) {
    option++;
    size_t length = strcspn(option, "&");
    const char *equals = memchr(option, '=', length);
    if (equals) {
      size_t name = (size_t)(equals - option);
      bool secret = (name >= 8 && strncasecmp(equals - 8, "password", 8) == 0) ||
                    (name == 23 && strncasecmp(option, "authMechanismProperties", 23) == 0);
      if (secret) learn(equals + 1, length - name - 1);
    }
    option = option[length] ? option + length : NULL;
  }
}

static void learn_properties(const mongoc_uri_t *uri) {
  const char *password = mongoc_uri_get_password(uri);
  if (password) smig_secret_learn(password, strlen(password));
  bson_t properties;
  bson_iter_t iter;
  if (!mongoc_uri_get_mechanism_properties(uri, &properties) ||
      !bson_iter_init_find_case(&iter, &properties, "AWS_SESSION_TOKEN") || !BSON_ITER_HOLDS_UTF8(&iter))
    return;
  uint32_t length;
  const char *token = bson_iter_utf8(&iter, &length);
  smig_secret_learn(token, length);
}

/* ------------------------------------------------------------------ parsing */

static void set_defaults(mongoc_uri_t *uri) {
  if (!mongoc_uri_get_appname(uri)) mongoc_uri_set_appname(uri, "smartmigration");
  /* A server command may take hours. To libmongoc 0 means five minutes. */
  if (mongoc_uri_get_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, 0) <= 0)
    mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, INT32_MAX);
  if (mongoc_uri_get_option_as_int32(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, 0) <= 0)
    mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, SERVER_SELECTION_MS);
  /* A single-threaded client looks once and gives up: an election would fail every step. */
  if (!mongoc_uri_has_option(uri, MONGOC_URI_SERVERSELECTIONTRYONCE))
    mongoc_uri_set_option_as_bool(uri, MONGOC_URI_SERVERSELECTIONTRYONCE, false);
}

static void set_encoding_error(const char *text, smig_error_t *error) {
  learn_password(text, true);
  smig_error_set(error, SMIG_INVALID_OPTIONS,
                 "the mongo uri's user name or password holds characters that must be percent-encoded (: / ? # [ ] @ "
                 "%%)");
}

static void set_parse_error(const char *text, const bson_error_t *cause, smig_error_t *error) {
  learn_password(text, true);
  /* Short passwords cannot be learnt, so that the driver's text on them is not repeated. */
  if (strncmp(cause->message, "Username", 8) == 0 || strncmp(cause->message, "Password", 8) == 0)
    set_encoding_error(text, error);
  else
    smig_error_set(error, SMIG_INVALID_OPTIONS, "the mongo uri cannot be used: %s",
                   cause->message[0] ? cause->message : "it is no connection string of the form mongodb://host:port/");
}

/* An '@' within a password leaves its rest in the host's name, and libmongoc takes that. */
static bool names_a_host_with_at(const mongoc_uri_t *uri) {
  for (const mongoc_host_list_t *host = mongoc_uri_get_hosts(uri); host; host = host->next)
    if (strchr(host->host, '@')) return true;
  return false;
}

mongoc_uri_t *smig_mongo_uri_parse(const char *text, smig_error_t *error) {
  if (!text || !*text) {
    smig_error_set(error, SMIG_INVALID_OPTIONS, "the mongo uri is empty; give one of the form mongodb://host:port/");
    return NULL;
  }
  learn_password(text, false);
  learn_options(text);
  bson_error_t cause = {0};
  mongoc_uri_t *uri = mongoc_uri_new_with_error(text, &cause);
  if (!uri) {
    set_parse_error(text, &cause, error);
    return NULL;
  }
  learn_properties(uri);
  if (names_a_host_with_at(uri)) {
    set_encoding_error(text, error);
    mongoc_uri_destroy(uri);
    return NULL;
  }
  if (!mongoc_write_concern_is_acknowledged(mongoc_uri_get_write_concern(uri))) {
    smig_error_set(error, SMIG_INVALID_OPTIONS,
                   "the mongo uri asks for w=0: writes that nobody confirms cannot be recorded as done; remove it");
    mongoc_uri_destroy(uri);
    return NULL;
  }
  set_defaults(uri);
  return uri;
}

/* ------------------------------------------------------------- what it says */

char *smig_mongo_uri_hosts(const mongoc_uri_t *uri) {
  const char *srv = mongoc_uri_get_srv_hostname(uri);
  if (srv) return bson_strdup(srv);
  bson_string_t *hosts = bson_string_new(NULL);
  for (const mongoc_host_list_t *host = mongoc_uri_get_hosts(uri); host; host = host->next)
    bson_string_append_printf(hosts, "%s%s", hosts->len ? "," : "", host->host_and_port);
  return bson_string_free(hosts, false);
}

static void add(bson_string_t *list, const char *name, const char *value) {
  bson_string_append_printf(list, "%s%s=%s", list->len ? ", " : "", name, value);
}

static void add_write_concern(bson_string_t *list, const mongoc_uri_t *uri) {
  const mongoc_write_concern_t *concern = mongoc_uri_get_write_concern(uri);
  int32_t w = mongoc_write_concern_get_w(concern);
  if (mongoc_write_concern_get_wtag(concern)) {
    add(list, "w", mongoc_write_concern_get_wtag(concern));
  } else if (w >= 0) {
    char number[16];
    bson_snprintf(number, sizeof number, "%" PRId32, w);
    add(list, "w", number);
  }
  if (mongoc_write_concern_journal_is_set(concern) && !mongoc_write_concern_get_journal(concern))
    add(list, "journal", "false");
  if (mongoc_write_concern_get_wtimeout_int64(concern) > 0) {
    char number[32];
    bson_snprintf(number, sizeof number, "%" PRId64, mongoc_write_concern_get_wtimeout_int64(concern));
    add(list, "wTimeoutMS", number);
  }
}

static const char *mode_name(mongoc_read_mode_t mode) {
  switch (mode) {
  case MONGOC_READ_SECONDARY:
    return "secondary";
  case MONGOC_READ_PRIMARY_PREFERRED:
    return "primaryPreferred";
  case MONGOC_READ_SECONDARY_PREFERRED:
    return "secondaryPreferred";
  case MONGOC_READ_NEAREST:
    return "nearest";
  default:
    return NULL;
  }
}

char *smig_mongo_uri_overridden(const mongoc_uri_t *uri) {
  bson_string_t *list = bson_string_new(NULL);
  add_write_concern(list, uri);
  const char *level = mongoc_read_concern_get_level(mongoc_uri_get_read_concern(uri));
  if (level && strcmp(level, MONGOC_READ_CONCERN_LEVEL_MAJORITY) != 0) add(list, "readConcernLevel", level);
  const char *mode = mode_name(mongoc_read_prefs_get_mode(mongoc_uri_get_read_prefs_t(uri)));
  if (mode) add(list, "readPreference", mode);
  return bson_string_free(list, list->len == 0);
}

static void append_text(bson_t *list, uint32_t *index, const char *text) {
  char buffer[16];
  const char *key;
  bson_uint32_to_string((*index)++, &key, buffer, sizeof buffer);
  BSON_APPEND_UTF8(list, key, text);
}

void smig_mongo_uri_append_facts(const mongoc_uri_t *uri, bson_t *facts) {
  static const char *const unchecked[] = {MONGOC_URI_TLSINSECURE, MONGOC_URI_TLSALLOWINVALIDCERTIFICATES,
                                          MONGOC_URI_TLSALLOWINVALIDHOSTNAMES};
  const char *srv = mongoc_uri_get_srv_hostname(uri), *mechanism = mongoc_uri_get_auth_mechanism(uri);
  bson_t list;
  uint32_t index = 0;
  BSON_APPEND_ARRAY_BEGIN(facts, "hosts", &list);
  if (srv) append_text(&list, &index, srv);
  for (const mongoc_host_list_t *host = mongoc_uri_get_hosts(uri); host && !srv; host = host->next)
    append_text(&list, &index, host->host);
  bson_append_array_end(facts, &list);
  BSON_APPEND_BOOL(facts, "tls", mongoc_uri_get_tls(uri));
  index = 0;
  BSON_APPEND_ARRAY_BEGIN(facts, "unchecked", &list);
  for (size_t i = 0; i < sizeof unchecked / sizeof *unchecked; i++)
    if (mongoc_uri_get_option_as_bool(uri, unchecked[i], false)) append_text(&list, &index, unchecked[i]);
  bson_append_array_end(facts, &list);
  BSON_APPEND_BOOL(facts, "login", mongoc_uri_get_username(uri) || mechanism);
}
