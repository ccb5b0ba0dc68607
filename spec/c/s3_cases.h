/*
 * What the C tests of the S3 client share: clients on the server that SMARTMIGRATION_TEST_S3_ENDPOINT and AWS_* name (scripts/with-s3),
 * and requests in few words.
 */
#ifndef SMIG_SPEC_S3_CASES_H
#define SMIG_SPEC_S3_CASES_H

#include "check.h"
#include "details.h"
#include "s3.h"

#include <unistd.h>

/* Nothing of the machine's own settings: for servers of a test's own. */
static inline void s3_forget_environment(void) {
  static const char *const names[] = {"AWS_REGION",          "AWS_DEFAULT_REGION", "AWS_PROFILE",
                                      "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL",   "AWS_CA_BUNDLE",
                                      "http_proxy",          "all_proxy",          "ALL_PROXY"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
  setenv("AWS_CONFIG_FILE", "/dev/null", 1);
  setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null", 1);
}

static inline smig_s3_t *s3_open(const smig_s3_config_t *config) {
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_t *client = smig_s3_open(config, &error);
  if (!client) {
    printf("# no client: %s\n", error.message);
    exit(1);
  }
  return client;
}

/* On the real server. */
static inline smig_s3_t *s3_real(void) {
  const char *endpoint = getenv("SMARTMIGRATION_TEST_S3_ENDPOINT");
  if (!endpoint) {
    printf("# SMARTMIGRATION_TEST_S3_ENDPOINT names no server; run this by scripts/with-s3\n");
    exit(1);
  }
  return s3_open(&(smig_s3_config_t){.endpoint = endpoint,
                                     .access_key_id = getenv("AWS_ACCESS_KEY_ID"),
                                     .secret_access_key = getenv("AWS_SECRET_ACCESS_KEY"),
                                     .ca_file = getenv("SMARTMIGRATION_TEST_S3_CA_FILE")});
}

static inline smig_s3_request_t s3_request(const char *operation, const char *method, const char *bucket,
                                           const char *key) {
  return (smig_s3_request_t){
      .operation = operation, .method = method, .bucket = bucket, .key = key, .key_length = key ? strlen(key) : 0};
}

static inline smig_s3_request_t s3_put(const char *bucket, const char *key, const char *body) {
  smig_s3_request_t request = s3_request("put", "PUT", bucket, key);
  request.body = body;
  request.body_length = strlen(body);
  request.creates_object = true;
  return request;
}

static inline smig_s3_request_t s3_get(const char *bucket, const char *key) {
  return s3_request("get", "GET", bucket, key);
}

/* Performs it; the status, 0 when it failed (and is printed unless the failure is wanted). */
static inline int s3_status(smig_s3_t *client, const smig_s3_request_t *request) {
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_response_t response;
  int status = smig_s3_perform(client, request, &response, &error) ? response.status : 0;
  if (!status) printf("# %s: %s\n", error.name, error.message);
  smig_s3_response_release(&response);
  smig_error_release(&error);
  return status;
}

/* Performs it, and wants it to fail with that code; the error is the caller's. */
static inline void s3_fails(smig_s3_t *client, const smig_s3_request_t *request, const char *code,
                            smig_error_t *error) {
  smig_s3_response_t response;
  bool good = smig_s3_perform(client, request, &response, error);
  CHECK(!good, ": %s succeeded", request->operation);
  if (!good) CHECK_STR(error->name, code);
  if (!good && strcmp(error->name, code) != 0) printf("# %s\n", error->message);
  CHECK(!response.body && !response.headers.count);
  smig_s3_response_release(&response);
}

/* The object's body as a string (bson_free), or NULL. */
static inline char *s3_body(smig_s3_t *client, const smig_s3_request_t *request) {
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_response_t response;
  char *body = NULL;
  if (smig_s3_perform(client, request, &response, &error)) {
    body = response.body;
    response.body = NULL;
  } else {
    printf("# %s: %s\n", error.name, error.message);
  }
  smig_s3_response_release(&response);
  smig_error_release(&error);
  return body;
}

static inline void check_body(smig_s3_t *client, const smig_s3_request_t *request, const char *expected) {
  char *body = s3_body(client, request);
  CHECK_STR(body, expected);
  bson_free(body);
}

#endif
