/*
 * What the process has learnt as secret, so that no sink prints it: raw, percent-encoded, base64-encoded and
 * hexadecimal occurrences are replaced by "***", and so are the signatures of S3 requests and presigned URLs ("Signature=<hex>"),
 * which need not be learnt. Any thread.
 * Users: error (every message), run/log (every line), whoever learns a password or key.
 */
#ifndef SMIG_CORE_SECRETS_H
#define SMIG_CORE_SECRETS_H

#include <stddef.h>

/* Remembers a secret (kept for the life of the process). Shorter than 4 bytes: ignored, it would shred messages. */
void smig_secret_learn(const char *secret, size_t length);
/* A copy of `text` without secrets, to be freed with bson_free; `length` bytes, NUL added. */
char *smig_secret_scrub(const char *text, size_t length);
/* Whether any secret occurs. Cheap when none is known. */
int smig_secret_found(const char *text, size_t length);

#endif
