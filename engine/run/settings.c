/*
 * Checks the options and copies them. Source of the rules and of their order: the contract, section 2.
 * Users: engine.c. Errors: as smig_engine_new says.
 */
#include "engine.h"
#include "semver.h"

#include <ctype.h>

enum { LEDGER_NAME_MAX = 128, LOCK_TTL_MIN_MS = 1000, LOCK_TTL_S3_MIN_MS = 5000 };

bool smig_settings_refuse(smig_error_t *error, const char *option, const char *value) {
  bson_t *details = smig_error_details(error);
  if (!details) return false;
  BSON_APPEND_UTF8(details, "option", option);
  if (value && bson_utf8_validate(value, strlen(value), false)) BSON_APPEND_UTF8(details, "value", value);
  return false;
}

static bool one_of(const char *value, const char *option, const char *first, const char *second, bool *is_second,
                   smig_code_t code, smig_error_t *error) {
  *is_second = value && strcmp(value, second) == 0;
  if (!value || *is_second || strcmp(value, first) == 0) return true;
  smig_error_set(error, code, "%s must be \"%s\" or \"%s\", not \"%s\"", option, first, second, value);
  return smig_settings_refuse(error, option, value);
}

static bool at_least(int64_t value, int64_t least, const char *option, smig_error_t *error) {
  if (value >= least) return true;
  smig_error_set(error, SMIG_INVALID_OPTIONS, "%s must be at least %" PRId64 " ms, not %" PRId64, option, least, value);
  bson_t *details = smig_error_details(error);
  if (details) BSON_APPEND_INT64(details, "value", value);
  return smig_settings_refuse(error, option, NULL);
}

static bool at_most(int64_t value, int64_t most, const char *option, smig_error_t *error) {
  if (value <= most) return true;
  smig_error_set(error, SMIG_INVALID_OPTIONS, "%s must be at most %" PRId64 " ms, not %" PRId64, option, most, value);
  bson_t *details = smig_error_details(error);
  if (details) BSON_APPEND_INT64(details, "value", value);
  return smig_settings_refuse(error, option, NULL);
}

static bool invalid_option(smig_error_t *error, const char *option, const char *value, const char *rule) {
  smig_error_set(error, SMIG_INVALID_OPTIONS, "%s \"%s\" is not acceptable: %s", option, value, rule);
  return smig_settings_refuse(error, option, value);
}

static bool check_ledger_name(const char *name, smig_error_t *error) {
  size_t length = strlen(name);
  bool good = length >= 1 && length <= LEDGER_NAME_MAX && name[0] != '.';
  for (const char *c = name; good && *c; c++) good = isalnum((unsigned char)*c) || strchr("._-", *c);
  return good || invalid_option(error, "ledger_name", name, "1 to 128 of A-Za-z0-9._-, not starting with a dot");
}

/* An id is a value in one store and a part of a comment on every command, where `:` ends it at the run id. */
static bool check_ledger_id(const char *id, smig_error_t *error) {
  bool good = *id && strlen(id) <= 1024 && bson_utf8_validate(id, strlen(id), false);
  for (const char *c = id; good && *c; c++) good = !iscntrl((unsigned char)*c);
  return good || invalid_option(error, "ledger_id", id, "1 to 1024 bytes of UTF-8 without control characters");
}

/* Where the ledger is kept, as the options say: by default in MongoDB where that is given. */
static bool is_ledger_in_s3(const smig_options_t *options) {
  if (options->ledger_backend) return strcmp(options->ledger_backend, "s3") == 0;
  return !smig_options_have_mongo(options) && smig_options_have_s3(options);
}

/* The options object itself: everything that can be judged without looking at another option. */
static bool check_values(smig_settings_t *settings, const smig_options_t *options, smig_error_t *error) {
  const char *name = options->ledger_name ? options->ledger_name : "smartmigration";
  if (!check_ledger_name(name, error)) return false;
  if (options->ledger_id && !check_ledger_id(options->ledger_id, error)) return false;
  if (options->mongo.uri && options->mongo.connection) {
    smig_error_set(error, SMIG_INVALID_OPTIONS, "give either mongo.uri or an open handle, not both");
    return false;
  }
  if (options->s3.endpoint && !smig_options_have_s3(options)) {
    smig_error_set(error, SMIG_INVALID_OPTIONS, "s3.endpoint is given without a bucket: give s3.bucket");
    return smig_settings_refuse(error, "s3.bucket", NULL);
  }
  const char *backend = options->ledger_backend;
  if (backend && strcmp(backend, "mongo") != 0 && strcmp(backend, "s3") != 0) {
    return invalid_option(error, "ledger_backend", backend, "\"mongo\" or \"s3\"");
  }
  if (!one_of(options->newer_ledger, "newer_ledger", "compatible", "refuse", &settings->refuse_newer,
              SMIG_INVALID_OPTIONS, error) ||
      !one_of(options->unversioned_data, "unversioned_data", "assume", "refuse", &settings->refuse_unversioned,
              SMIG_INVALID_OPTIONS, error) ||
      !one_of(options->s3_lock, "s3_lock", "exclusive", "best-effort", &settings->s3_best_effort, SMIG_INVALID_OPTIONS,
              error) ||
      !one_of(options->target_version_strategy, "target_version_strategy", "strict", "bridge", &settings->bridge,
              SMIG_INVALID_TARGET_VERSION_STRATEGY, error) ||
      !at_least(options->lock_wait_ms, 0, "lock_wait_ms", error) ||
      !at_least(options->lock_ttl_ms, LOCK_TTL_MIN_MS, "lock_ttl_ms", error) ||
      !at_most(options->lock_ttl_ms, SMIG_LOCK_TTL_MAX_MS, "lock_ttl_ms", error) ||
      !at_least(options->stop_timeout_ms, 0, "stop_timeout_ms", error)) {
    return false;
  }
  settings->ledger_in_s3 = is_ledger_in_s3(options);
  if (settings->ledger_in_s3 && smig_options_have_s3(options) && options->lock_ttl_ms < LOCK_TTL_S3_MIN_MS)
    return at_least(options->lock_ttl_ms, LOCK_TTL_S3_MIN_MS, "lock_ttl_ms with the ledger in S3", error);
  settings->ledger_name = bson_strdup(name);
  settings->ledger_id = options->ledger_id       ? bson_strdup(options->ledger_id)
                        : settings->ledger_in_s3 ? bson_strdup_printf(".smartmigration/%s.json", name)
                                                 : bson_strdup_printf("smartmigration:%s", name);
  settings->lock_wait_ms = options->lock_wait_ms;
  settings->lock_ttl_ms = options->lock_ttl_ms;
  settings->stop_timeout_ms = options->stop_timeout_ms;
  settings->offline = options->offline;
  settings->log = options->log;
  settings->log_user = options->log_user;
  if (options->fresh_scope) {
    size_t count = 0;
    while (options->fresh_scope[count]) count++;
    settings->fresh_scope = bson_malloc0((count + 1) * sizeof(char *));
    for (size_t i = 0; i < count; i++) settings->fresh_scope[i] = bson_strdup(options->fresh_scope[i]);
  }
  return true;
}

static bool check_versions(smig_settings_t *settings, const smig_options_t *options, smig_error_t *error) {
  bool given = options->target_version && *options->target_version;
  if (!given && !options->target_from_chain) {
    smig_error_set(error, SMIG_MISSING_TARGET_VERSION, "no target version: give target_version, e.g. \"1.2.0\"");
    return false;
  }
  if (given && !smig_semver_parse(options->target_version, strlen(options->target_version), "options.targetVersion",
                                  &settings->target_version, error)) {
    return false;
  }
  const char *fresh = options->fresh_install_version;
  return !fresh || smig_semver_parse(fresh, strlen(fresh), "options.freshInstallVersion",
                                     &settings->fresh_install_version, error);
}

bool smig_settings_init(smig_settings_t *settings, const smig_options_t *options, smig_error_t *error) {
  *settings = (smig_settings_t){0};
  if (check_values(settings, options, error) && check_versions(settings, options, error)) return true;
  smig_settings_release(settings);
  return false;
}

void smig_settings_release(smig_settings_t *settings) {
  bson_free(settings->target_version);
  bson_free(settings->fresh_install_version);
  bson_free(settings->database);
  bson_free(settings->bucket);
  bson_free(settings->ledger_name);
  bson_free(settings->ledger_id);
  bson_strfreev(settings->fresh_scope);
  *settings = (smig_settings_t){0};
}
