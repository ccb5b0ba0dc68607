/*
 * One small HTTP request, waited for: what credentials are fetched by (STS, the container's and the instance's endpoint). Redirects are
 * not followed; an answer holds at most 1 MiB. Users: s3/credentials_*. Any thread.
 * Errors: "NetworkError", saying why nobody answered and never more of the address than its host; "libcurlMissing".
 */
#ifndef SMIG_S3_FETCH_H
#define SMIG_S3_FETCH_H

#include "s3.h"

typedef struct smig_fetch {
  const char *method, *url;
  const smig_s3_fields_t *headers;
  const char *body;               /* NULL: none */
  const char *ca_file;            /* NULL: libcurl's */
  int64_t timeout_ms;             /* of each of two tries: another one follows where nobody or a 5xx answered */
  const struct smig_guard *guard; /* it ends within a second or so when that is shut; NULL: none */
  bool no_proxy;                  /* whatever the environment says */
} smig_fetch_t;

typedef struct smig_fetched {
  int status;
  char *body; /* NUL added */
  size_t length;
} smig_fetched_t;

/* Whether somebody answered, whatever the status. *fetched is defined on every path. */
bool smig_fetch(const smig_fetch_t *request, smig_fetched_t *fetched, smig_error_t *error);
void smig_fetched_release(smig_fetched_t *fetched);

#endif
