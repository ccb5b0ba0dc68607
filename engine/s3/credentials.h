/*
 * Credentials as the AWS tools find them, in this order: explicit ones of the configuration; AWS_ACCESS_KEY_ID,
 * AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; web identity by AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN; the profile of the shared
 * credentials and config files (keys, role_arn with source_profile or credential_source, web_identity_token_file,
 * credential_process); the container's endpoint; the instance's metadata (IMDSv2). Temporary ones are fetched anew before they expire.
 * Users: s3/client, s3/exchange. One thread per provider. Every secret that is found is learnt (core/secrets.h).
 * Errors: "CredentialsNotFound" (names what was looked at), "CredentialsFailed" (a source that was configured failed: says which and why).
 */
#ifndef SMIG_S3_CREDENTIALS_H
#define SMIG_S3_CREDENTIALS_H

#include "sign.h"

typedef struct smig_credentials smig_credentials_t;

/* Borrows the configuration. Reads nothing yet. Never NULL. */
smig_credentials_t *smig_credentials_new(const smig_s3_config_t *config);
void smig_credentials_free(smig_credentials_t *credentials);
/* While it is shut nothing is fetched, and a fetch that is under way ends within a second or so; NULL: none. Borrowed. */
void smig_credentials_set_guard(smig_credentials_t *credentials, const struct smig_guard *guard);
/*
 * The credentials, valid for now; fetched (this may take seconds) when there are none yet, they expire within five minutes, or `anew` is
 * asked because a service called them expired. *found points into the provider until the next call.
 */
bool smig_credentials_get(smig_credentials_t *credentials, bool anew, const smig_s3_credentials_t **found,
                          smig_error_t *error);
/* How often they were fetched, or looked for in vain: those of an older fetch need not be asked for anew. */
uint64_t smig_credentials_fetches(const smig_credentials_t *credentials);
/* Where the credentials come from, for people ("profile 'deploy'"); NULL: none were fetched yet. Into the provider. */
const char *smig_credentials_origin(const smig_credentials_t *credentials);
/* The region of environment or profile; NULL: none is set. Into the provider. */
const char *smig_credentials_region(smig_credentials_t *credentials);

#endif
