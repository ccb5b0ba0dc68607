/*
 * AWS's shared files as text: sections of settings. Users: s3/credentials_profile alone. Pure but for reading the file; any thread.
 *
 *     [default]                 in the config file other profiles are [profile name]
 *     region = eu-west-3        # a comment, also behind a value
 *     credential_process =      a line that begins with a blank goes on with the setting before it
 *       /opt/tool --flag
 *
 * Names of settings are in lower case. Of two equal settings the later counts.
 */
#ifndef SMIG_S3_PROFILE_FILE_H
#define SMIG_S3_PROFILE_FILE_H

#include "credentials_source.h"

typedef struct smig_profile {
  char *name;
  smig_s3_fields_t settings;
} smig_profile_t;

typedef struct smig_profile_file {
  char *path;
  smig_profile_t *items;
  size_t count;
} smig_profile_file_t;

/* Reads the file at `path`, which is taken over; one that is not there is empty. *file is defined on every path. */
bool smig_profile_file_read(smig_profile_file_t *file, char *path, bool is_config, smig_error_t *error);
/* NULL: no such profile. */
const smig_profile_t *smig_profile_file_get(const smig_profile_file_t *file, const char *name);
void smig_profile_file_release(smig_profile_file_t *file);

#endif
