/*
 * Where credentials come from: a function for each kind of source, put in order by credentials.c and, for a profile's own sources,
 * credentials_profile.c. Users: s3/credentials* alone. One thread per provider.
 * Errors: "CredentialsFailed", naming source and reason; never with a secret in it.
 */
#ifndef SMIG_S3_CREDENTIALS_SOURCE_H
#define SMIG_S3_CREDENTIALS_SOURCE_H

#include "credentials.h"

/* NOTHING: the source is not configured, or there is no such machine; *error may be set then, to say why. FAILED: *error is set. */
typedef enum smig_search { SMIG_SEARCH_NOTHING, SMIG_SEARCH_FOUND, SMIG_SEARCH_FAILED } smig_search_t;

/* Keys that were found; {0} are none. */
typedef struct smig_keys {
  char *access_key_id, *secret_access_key, *session_token;
  int64_t expires_wall_ms; /* 0: never */
} smig_keys_t;
/* Replaces them by copies, which are learnt as secrets. */
void smig_keys_set(smig_keys_t *keys, const char *access_key_id, const char *secret_access_key,
                   const char *session_token);
/*
 * Reads the JSON object that processes and endpoints give: AccessKeyId, SecretAccessKey, Expiration, the token under `token_name`.
 * It must have the Version given; 0: none is asked for. False with *error: "<source> …".
 */
bool smig_keys_from_json(smig_keys_t *keys, const char *json, size_t length, const char *token_name, int version,
                         const char *source, smig_error_t *error);
void smig_keys_release(smig_keys_t *keys);

/* "CredentialsFailed" with a message; returns SMIG_SEARCH_FAILED. */
smig_search_t smig_search_failed(smig_error_t *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* An environment variable that is set and not empty, or NULL. */
const char *smig_environment(const char *name);
/* A small text file's content (bson_free) of at most 1 MiB, without NUL; NULL, with *missing or *error. */
char *smig_read_text(const char *path, bool *missing, smig_error_t *error);

/* What fetching needs of the configuration. */
typedef struct smig_source_options {
  const char *region;             /* for STS */
  const char *ca_file;            /* NULL: libcurl's */
  const struct smig_guard *guard; /* ends it when it is shut; NULL: none */
} smig_source_options_t;

/* AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN. */
smig_search_t smig_credentials_environment(smig_keys_t *keys, smig_error_t *error);

/* A role taken on by STS. */
typedef struct smig_role {
  const char *source; /* for messages: "profile 'x'" */
  const char *arn;
  const char *session_name;       /* NULL: one of our own */
  const char *external_id;        /* NULL: none */
  const char *duration_s;         /* NULL: the service's default */
  const char *token_file;         /* of a web identity */
  const smig_keys_t *signed_with; /* without token_file */
} smig_role_t;
smig_search_t smig_credentials_assume_role(const smig_role_t *role, const smig_source_options_t *options,
                                           smig_keys_t *keys, smig_error_t *error);

/* The profile of that name, in the shared files; one that is named must exist. */
smig_search_t smig_credentials_profile(const char *name, bool must_exist, const smig_source_options_t *options,
                                       smig_keys_t *keys, smig_error_t *error);
/* A setting of the profile (bson_free), or NULL. */
char *smig_credentials_profile_setting(const char *name, const char *setting);
/* Where the shared files are looked for. bson_free. */
char *smig_credentials_path(bool is_config);

/* Runs a command line, as the profile has it, without a shell; it must end within limit_ms, and is ended when the guard is shut. */
smig_search_t smig_credentials_process(const char *source, const char *command, int64_t limit_ms,
                                       const struct smig_guard *guard, smig_keys_t *keys, smig_error_t *error);

/* AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, AWS_CONTAINER_CREDENTIALS_FULL_URI. */
smig_search_t smig_credentials_container(const smig_source_options_t *options, smig_keys_t *keys, smig_error_t *error);
/* The instance's metadata, by IMDSv2 alone. */
smig_search_t smig_credentials_instance(const smig_source_options_t *options, smig_keys_t *keys, smig_error_t *error);

#endif
