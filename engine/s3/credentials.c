/* The order in which credentials are looked for, and when they are fetched anew, see credentials.h. */
#include "credentials_source.h"

#include "clock.h"
#include "secrets.h"

#include <string.h>

enum { REFRESH_BEFORE_MS = 5 * 60 * 1000 };

struct smig_credentials {
  const smig_s3_config_t *config;
  const struct smig_guard *guard;
  uint64_t fetches;
  bool has_keys;
  smig_keys_t keys;
  char *origin;               /* where the keys come from, for people; NULL: there are none yet */
  smig_s3_credentials_t view; /* of the keys */
  int64_t refresh_wall_ms;    /* when keys that expire are to be fetched anew */
  bool region_read;
  char *region;
};

/* What a step can reach is secret from the start, also where it is not asked for, or not yet. */
static void learn_what_is_at_hand(const smig_s3_config_t *config) {
  const char *const secrets[] = {config->secret_access_key, config->session_token,
                                 smig_environment("AWS_SECRET_ACCESS_KEY"), smig_environment("AWS_SESSION_TOKEN"),
                                 smig_environment("AWS_CONTAINER_AUTHORIZATION_TOKEN")};
  for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++)
    if (secrets[i]) smig_secret_learn(secrets[i], strlen(secrets[i]));
}

smig_credentials_t *smig_credentials_new(const smig_s3_config_t *config) {
  smig_credentials_t *self = bson_malloc0(sizeof *self);
  self->config = config;
  learn_what_is_at_hand(config);
  return self;
}

void smig_credentials_free(smig_credentials_t *self) {
  if (!self) return;
  smig_keys_release(&self->keys);
  bson_free(self->origin);
  bson_free(self->region);
  bson_free(self);
}

void smig_credentials_set_guard(smig_credentials_t *self, const struct smig_guard *guard) {
  self->guard = guard;
}

uint64_t smig_credentials_fetches(const smig_credentials_t *self) {
  return self->fetches;
}

static const char *profile_name(const smig_credentials_t *self) {
  if (self->config->profile) return self->config->profile;
  const char *named = smig_environment("AWS_PROFILE");
  return named ? named : "default";
}

const char *smig_credentials_region(smig_credentials_t *self) {
  if (self->region_read) return self->region;
  self->region_read = true;
  const char *region = smig_environment("AWS_REGION");
  if (!region) region = smig_environment("AWS_DEFAULT_REGION");
  self->region = region ? bson_strdup(region) : smig_credentials_profile_setting(profile_name(self), "region");
  return self->region;
}

/* ------------------------------------------------------------------ looking */

static smig_search_t web_identity(const smig_source_options_t *options, smig_keys_t *keys, smig_error_t *error) {
  const char *file = smig_environment("AWS_WEB_IDENTITY_TOKEN_FILE"), *arn = smig_environment("AWS_ROLE_ARN");
  if (!file) return SMIG_SEARCH_NOTHING;
  if (!arn) return smig_search_failed(error, "AWS_WEB_IDENTITY_TOKEN_FILE is set and AWS_ROLE_ARN is not: set both");
  smig_role_t role = {.source = "the web identity of AWS_WEB_IDENTITY_TOKEN_FILE",
                      .arn = arn,
                      .session_name = smig_environment("AWS_ROLE_SESSION_NAME"),
                      .token_file = file};
  return smig_credentials_assume_role(&role, options, keys, error);
}

/* What was looked at, and the way out. */
static void say_not_found(const char *profile, const char *instance_reason, smig_error_t *error) {
  char *credentials = smig_credentials_path(false), *config = smig_credentials_path(true);
  smig_error_set_foreign(error, "CredentialsNotFound",
                         "no credentials for S3 were found: AWS_ACCESS_KEY_ID, AWS_WEB_IDENTITY_TOKEN_FILE and "
                         "AWS_CONTAINER_CREDENTIALS_FULL_URI are not set, profile '%s' has none in '%s' and '%s', and "
                         "%s; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile by "
                         "AWS_PROFILE",
                         profile, credentials, config, instance_reason);
  bson_free(credentials);
  bson_free(config);
}

/* A profile that the configuration names is meant: the environment's keys and the machine's do not stand in for it. */
static smig_search_t search_named(const smig_credentials_t *self, const smig_source_options_t *options,
                                  smig_keys_t *keys, smig_error_t *error) {
  smig_search_t found = smig_credentials_profile(self->config->profile, true, options, keys, error);
  if (found != SMIG_SEARCH_NOTHING) return found;
  return smig_search_failed(error, "profile '%s' holds no credentials", self->config->profile);
}

/* *origin names the source that was asked last: the one that gave the keys, when they were found. */
static smig_search_t search(const smig_credentials_t *self, const smig_source_options_t *options, smig_keys_t *keys,
                            const char **origin, smig_error_t *error) {
  const smig_s3_config_t *config = self->config;
  *origin = "the options";
  if (config->access_key_id && config->secret_access_key) {
    smig_keys_set(keys, config->access_key_id, config->secret_access_key, config->session_token);
    return SMIG_SEARCH_FOUND;
  }
  *origin = "a profile";
  if (config->profile) return search_named(self, options, keys, error);
  *origin = "the environment (AWS_ACCESS_KEY_ID)";
  smig_search_t found = smig_credentials_environment(keys, error);
  if (found == SMIG_SEARCH_NOTHING) {
    *origin = "the web identity of AWS_WEB_IDENTITY_TOKEN_FILE";
    found = web_identity(options, keys, error);
  }
  if (found == SMIG_SEARCH_NOTHING) {
    *origin = "a profile";
    found = smig_credentials_profile(profile_name(self), smig_environment("AWS_PROFILE"), options, keys, error);
  }
  if (found == SMIG_SEARCH_NOTHING) {
    *origin = "the container's endpoint";
    found = smig_credentials_container(options, keys, error);
  }
  if (found == SMIG_SEARCH_NOTHING) {
    *origin = "the instance's metadata";
    smig_error_t why = SMIG_ERROR_INIT;
    found = smig_credentials_instance(options, keys, &why);
    if (found == SMIG_SEARCH_NOTHING)
      say_not_found(profile_name(self), why.message, error);
    else if (found == SMIG_SEARCH_FAILED)
      smig_error_move(error, &why);
    smig_error_release(&why);
  }
  return found;
}

/* Whether usable keys were found; else *error. */
static bool look(smig_credentials_t *self, int64_t now_wall_ms, smig_keys_t *keys, const char **origin,
                 smig_error_t *error) {
  const smig_s3_config_t *config = self->config;
  const char *region = config->region ? config->region : smig_credentials_region(self);
  smig_source_options_t options = {
      .region = region ? region : "us-east-1",
      .ca_file = config->ca_file ? config->ca_file : smig_environment("AWS_CA_BUNDLE"),
      .guard = self->guard,
  };
  if (search(self, &options, keys, origin, error) != SMIG_SEARCH_FOUND) return false;
  if (keys->expires_wall_ms == 0 || keys->expires_wall_ms > now_wall_ms) return true;
  char expired[SMIG_ISO_SIZE];
  smig_clock_iso(keys->expires_wall_ms, expired);
  smig_search_failed(
      error, "the credentials that were found expired at %s: renew them, and compare this machine's clock", expired);
  return false;
}

/* ---------------------------------------------------------------- providing */

/* Five minutes before they expire; with less left, when half of that has passed, so that a service is not asked at every call. */
static void plan_refresh(smig_credentials_t *self, int64_t now_wall_ms) {
  int64_t early = self->keys.expires_wall_ms - REFRESH_BEFORE_MS;
  int64_t half = now_wall_ms + (self->keys.expires_wall_ms - now_wall_ms) / 2;
  self->refresh_wall_ms = early > now_wall_ms ? early : half;
}

static void show(smig_credentials_t *self, const smig_s3_credentials_t **found) {
  self->view = (smig_s3_credentials_t){self->keys.access_key_id, self->keys.secret_access_key, self->keys.session_token,
                                       self->keys.expires_wall_ms};
  *found = &self->view;
}

bool smig_credentials_get(smig_credentials_t *self, bool anew, const smig_s3_credentials_t **found,
                          smig_error_t *error) {
  *found = NULL;
  int64_t now_wall_ms = smig_clock_wall_ms();
  bool expires = self->keys.expires_wall_ms != 0;
  bool valid = self->has_keys && !anew && (!expires || now_wall_ms < self->keys.expires_wall_ms);
  if (!valid || (expires && now_wall_ms >= self->refresh_wall_ms)) {
    smig_keys_t fresh = {0};
    smig_error_t why = SMIG_ERROR_INIT;
    const char *origin;
    self->fetches++;
    if (look(self, now_wall_ms, &fresh, &origin, &why)) {
      bool of_profile = strcmp(origin, "a profile") == 0;
      bson_free(self->origin);
      self->origin = of_profile ? bson_strdup_printf("profile '%s'", profile_name(self)) : bson_strdup(origin);
      smig_keys_release(&self->keys);
      self->keys = fresh;
      self->has_keys = true;
    } else {
      smig_keys_release(&fresh);
      if (!valid) {
        smig_error_move(error, &why);
        return false;
      }
      smig_error_release(&why); /* the old ones are good for a while yet */
    }
    plan_refresh(self, now_wall_ms);
  }
  show(self, found);
  return true;
}

const char *smig_credentials_origin(const smig_credentials_t *self) {
  return self->origin;
}
