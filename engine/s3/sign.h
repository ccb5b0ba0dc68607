/*
 * AWS Signature Version 4 for S3, pure: no clock, no environment, no network. Signatures are secrets that core/secrets.h knows by
 * their form. Users: s3/send.c (every request), presign, STS.
 * Source of the rules: AWS's "Signature Version 4 signing process"; S3 encodes a key once and normalizes no path. Any thread.
 */
#ifndef SMIG_S3_SIGN_H
#define SMIG_S3_SIGN_H

#include "s3.h"

#define SMIG_S3_UNSIGNED "UNSIGNED-PAYLOAD"

/* Strings are borrowed; session_token NULL: none; expires_wall_ms 0: never. */
typedef struct smig_s3_credentials {
  const char *access_key_id, *secret_access_key, *session_token;
  int64_t expires_wall_ms;
} smig_s3_credentials_t;

typedef struct smig_s3_signing {
  const char *method;
  const char *path;              /* as it is sent: encoded, beginning with "/" */
  const smig_s3_fields_t *query; /* not encoded */
  const smig_s3_fields_t
      *headers;             /* all are signed; `host` and `x-amz-date` among them (of a presigned URL: host, no date) */
  const char *payload_hash; /* hex SHA-256 of the body, or SMIG_S3_UNSIGNED */
  const char *region;
  const char *service; /* "s3", "sts" */
  int64_t now_wall_ms;
  const smig_s3_credentials_t *credentials;
} smig_s3_signing_t;

/* Percent-encodes every byte but A-Z a-z 0-9 - . _ ~ and, if told so, "/". bson_free. */
char *smig_s3_encode(const char *bytes, size_t length, bool keep_slash);
/* The query as it is sent and signed: encoded, sorted by encoded name, then value. "" when empty. bson_free. */
char *smig_s3_canonical_query(const smig_s3_fields_t *query);
/* "20260414T123134Z" */
enum { SMIG_S3_DATE_SIZE = 17 };
void smig_s3_amz_date(int64_t wall_ms, char out[SMIG_S3_DATE_SIZE]);
/* Lower-case hex SHA-256. */
enum { SMIG_S3_HEX_SIZE = 65 };
void smig_s3_hex(const uint8_t digest[32], char out[SMIG_S3_HEX_SIZE]);
void smig_s3_sha256_hex(const void *bytes, size_t length, char out[SMIG_S3_HEX_SIZE]);

/* The value of the Authorization header. bson_free. */
char *smig_s3_authorization(const smig_s3_signing_t *signing);
/* The whole canonical query of a presigned URL, X-Amz-Signature at its end. bson_free. */
char *smig_s3_presigned_query(const smig_s3_signing_t *signing, int64_t expires_s);
/* What is hashed and what is signed, for tests against published cases. bson_free. */
char *smig_s3_canonical_request(const smig_s3_signing_t *signing);
char *smig_s3_string_to_sign(const smig_s3_signing_t *signing);

#endif
