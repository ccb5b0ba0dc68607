/*
 * A profile of the shared files: its keys, the role it takes on with the keys of another profile or source, its web identity, or its
 * process, see credentials_source.h. A setting of the credentials file counts before the config file's.
 */
#include "profile_file.h"

#include <pwd.h>
#include <string.h>
#include <unistd.h>

enum { PROCESS_LIMIT_MS = 60000 };

typedef struct shared {
  smig_profile_file_t credentials, config;
  const smig_source_options_t *options;
} shared_t;

/* The profiles whose keys are being looked for, from the inner one out. */
typedef struct chain {
  const char *name;
  const struct chain *outer;
} chain_t;

static smig_search_t find(const shared_t *shared, const chain_t *chain, smig_keys_t *keys, smig_error_t *error);

/* HOME, else what the system says. bson_free. */
static char *home_folder(void) {
  if (smig_environment("HOME")) return bson_strdup(smig_environment("HOME"));
  struct passwd user, *found = NULL;
  char room[4096];
  return bson_strdup(getpwuid_r(geteuid(), &user, room, sizeof room, &found) == 0 && found ? user.pw_dir : "");
}

char *smig_credentials_path(bool is_config) {
  const char *path = smig_environment(is_config ? "AWS_CONFIG_FILE" : "AWS_SHARED_CREDENTIALS_FILE");
  if (!path) path = is_config ? "~/.aws/config" : "~/.aws/credentials";
  if (strncmp(path, "~/", 2) != 0) return bson_strdup(path);
  char *home = home_folder(), *out = bson_strdup_printf("%s%s", home, path + 1);
  bson_free(home);
  return out;
}

static bool open_shared(shared_t *shared, smig_error_t *error) {
  *shared = (shared_t){0};
  return smig_profile_file_read(&shared->credentials, smig_credentials_path(false), false, error) &&
         smig_profile_file_read(&shared->config, smig_credentials_path(true), true, error);
}

static void close_shared(shared_t *shared) {
  smig_profile_file_release(&shared->credentials);
  smig_profile_file_release(&shared->config);
}

static bool exists(const shared_t *shared, const char *name) {
  return smig_profile_file_get(&shared->credentials, name) || smig_profile_file_get(&shared->config, name);
}

/* A setting that is not empty, or NULL. */
static const char *setting_in(const smig_profile_t *profile, const char *setting) {
  const char *value = profile ? smig_s3_fields_get(&profile->settings, setting) : NULL;
  return value && *value ? value : NULL;
}

static const char *setting_of(const shared_t *shared, const char *name, const char *setting) {
  const char *value = setting_in(smig_profile_file_get(&shared->credentials, name), setting);
  return value ? value : setting_in(smig_profile_file_get(&shared->config, name), setting);
}

/* Keys that stand in one file together: those of two files are never mixed. */
static smig_search_t find_keys(const smig_profile_file_t *file, const char *name, smig_keys_t *keys,
                               smig_error_t *error) {
  const smig_profile_t *profile = smig_profile_file_get(file, name);
  const char *id = setting_in(profile, "aws_access_key_id"), *secret = setting_in(profile, "aws_secret_access_key");
  if (!id && !secret) return SMIG_SEARCH_NOTHING;
  if (!id || !secret) {
    return smig_search_failed(error, "profile '%s' in '%s' has no %s", name, file->path,
                              id ? "aws_secret_access_key" : "aws_access_key_id");
  }
  smig_keys_set(keys, id, secret, setting_in(profile, "aws_session_token"));
  return SMIG_SEARCH_FOUND;
}

static smig_search_t find_own_keys(const shared_t *shared, const char *name, smig_keys_t *keys, smig_error_t *error) {
  smig_search_t found = find_keys(&shared->credentials, name, keys, error);
  return found == SMIG_SEARCH_NOTHING ? find_keys(&shared->config, name, keys, error) : found;
}

static bool is_in(const chain_t *chain, const char *name) {
  for (; chain; chain = chain->outer) {
    if (strcmp(chain->name, name) == 0) return true;
  }
  return false;
}

/* The keys a role is taken on with. */
static smig_search_t find_source_profile(const shared_t *shared, const chain_t *chain, const char *source,
                                         smig_keys_t *keys, smig_error_t *error) {
  if (!exists(shared, source)) {
    return smig_search_failed(error, "profile '%s' has source_profile '%s', which is in neither '%s' nor '%s'",
                              chain->name, source, shared->credentials.path, shared->config.path);
  }
  smig_search_t found;
  if (strcmp(source, chain->name) == 0) { /* its own keys, for its own role */
    found = find_own_keys(shared, source, keys, error);
  } else if (is_in(chain, source)) {
    return smig_search_failed(error, "profile '%s' has source_profile '%s', which leads back to itself", chain->name,
                              source);
  } else {
    chain_t inner = {source, chain};
    found = find(shared, &inner, keys, error);
  }
  if (found == SMIG_SEARCH_NOTHING) {
    return smig_search_failed(error, "profile '%s' has source_profile '%s', which has no credentials", chain->name,
                              source);
  }
  return found;
}

static smig_search_t find_credential_source(const shared_t *shared, const chain_t *chain, const char *source,
                                            smig_keys_t *keys, smig_error_t *error) {
  smig_error_t why = SMIG_ERROR_INIT;
  smig_search_t found;
  if (strcmp(source, "Environment") == 0) {
    found = smig_credentials_environment(keys, &why);
  } else if (strcmp(source, "EcsContainer") == 0) {
    found = smig_credentials_container(shared->options, keys, &why);
  } else if (strcmp(source, "Ec2InstanceMetadata") == 0) {
    found = smig_credentials_instance(shared->options, keys, &why);
  } else {
    return smig_search_failed(
        error, "profile '%s' has credential_source '%s': Environment, EcsContainer and Ec2InstanceMetadata are known",
        chain->name, source);
  }
  if (found != SMIG_SEARCH_FOUND) {
    found = smig_search_failed(error, "profile '%s' has credential_source %s: %s", chain->name, source,
                               why.message ? why.message : "there are none");
  }
  smig_error_release(&why);
  return found;
}

static smig_search_t find_role(const shared_t *shared, const chain_t *chain, const char *arn, smig_keys_t *keys,
                               smig_error_t *error) {
  const char *name = chain->name, *source_profile = setting_of(shared, name, "source_profile");
  const char *credential_source = setting_of(shared, name, "credential_source");
  const char *token_file = setting_of(shared, name, "web_identity_token_file");
  if (!!source_profile + !!credential_source + !!token_file != 1) {
    return smig_search_failed(
        error, "profile '%s' has a role_arn and %s source_profile, credential_source and web_identity_token_file", name,
        source_profile || credential_source || token_file ? "more than one of" : "none of");
  }
  if (setting_of(shared, name, "mfa_serial")) {
    return smig_search_failed(error,
                              "profile '%s' has an mfa_serial, and nobody is there to type a code: put temporary "
                              "credentials into the environment",
                              name);
  }
  smig_keys_t base = {0};
  smig_search_t found = SMIG_SEARCH_FOUND;
  if (source_profile) found = find_source_profile(shared, chain, source_profile, &base, error);
  if (credential_source) found = find_credential_source(shared, chain, credential_source, &base, error);
  if (found == SMIG_SEARCH_FOUND) {
    char *source = bson_strdup_printf("profile '%s'", name);
    smig_role_t role = {.source = source,
                        .arn = arn,
                        .session_name = setting_of(shared, name, "role_session_name"),
                        .external_id = setting_of(shared, name, "external_id"),
                        .duration_s = setting_of(shared, name, "duration_seconds"),
                        .token_file = token_file,
                        .signed_with = token_file ? NULL : &base};
    found = smig_credentials_assume_role(&role, shared->options, keys, error);
    bson_free(source);
  }
  smig_keys_release(&base);
  return found;
}

static smig_search_t find(const shared_t *shared, const chain_t *chain, smig_keys_t *keys, smig_error_t *error) {
  const char *arn = setting_of(shared, chain->name, "role_arn");
  if (arn) return find_role(shared, chain, arn, keys, error);
  smig_search_t found = find_own_keys(shared, chain->name, keys, error);
  const char *command = setting_of(shared, chain->name, "credential_process");
  if (found == SMIG_SEARCH_NOTHING && command) {
    char *source = bson_strdup_printf("profile '%s': its credential_process", chain->name);
    found = smig_credentials_process(source, command, PROCESS_LIMIT_MS, shared->options->guard, keys, error);
    bson_free(source);
  }
  if (found == SMIG_SEARCH_NOTHING &&
      (setting_of(shared, chain->name, "sso_session") || setting_of(shared, chain->name, "sso_start_url"))) {
    return smig_search_failed(error,
                              "profile '%s' signs in by sso, which is not supported: give it the credential_process "
                              "\"aws configure export-credentials --profile NAME\"",
                              chain->name);
  }
  return found;
}

smig_search_t smig_credentials_profile(const char *name, bool must_exist, const smig_source_options_t *options,
                                       smig_keys_t *keys, smig_error_t *error) {
  shared_t shared;
  smig_search_t found = SMIG_SEARCH_FAILED;
  if (open_shared(&shared, error)) {
    shared.options = options;
    chain_t chain = {name, NULL};
    if (must_exist && !exists(&shared, name))
      smig_search_failed(error, "profile '%s' is in neither '%s' nor '%s'", name, shared.credentials.path,
                         shared.config.path);
    else
      found = find(&shared, &chain, keys, error);
  }
  close_shared(&shared);
  return found;
}

char *smig_credentials_profile_setting(const char *name, const char *setting) {
  shared_t shared;
  char *value = open_shared(&shared, NULL) ? bson_strdup(setting_of(&shared, name, setting)) : NULL;
  close_shared(&shared);
  return value;
}
