/*
 * The ledger in S3 as a backend of the C tests (see backends.h), on the server that SMARTMIGRATION_TEST_S3_ENDPOINT and AWS_* name
 * (scripts/with-s3): a bucket of the program's own. Planting and looking go by a client of the tests' own and libbson's JSON.
 */
#ifndef SMIG_SPEC_S3_BACKEND_H
#define SMIG_SPEC_S3_BACKEND_H

#include "backends.h"
#include "s3_cases.h"
#include "s3_ledger.h"

#define S3_KEY ".smartmigration/contract.json"

static char s3_bucket[64];
static smig_s3_t *s3_client; /* the tests' own view, beside the engine */

static void s3_do(const char *method, const char *key, const char *body) {
  smig_s3_request_t request = s3_request("test", method, s3_bucket, key);
  request.body = body;
  request.body_length = body ? strlen(body) : 0;
  CHECK(s3_status(s3_client, &request), ": %s %s", method, key ? key : s3_bucket);
}

static void s3_put_body(const char *body) {
  s3_do("PUT", S3_KEY, body);
}

/* Deletes every object whose key begins so. */
static void s3_delete_all(const char *prefix) {
  smig_s3_request_t request = s3_request("list", "GET", s3_bucket, NULL);
  smig_s3_fields_add(&request.query, "list-type", "2");
  smig_s3_fields_add(&request.query, "prefix", prefix);
  char *text = s3_body(s3_client, &request);
  for (char *at = text; at && (at = strstr(at, "<Key>"));) {
    char *end = strstr(at += 5, "</Key>");
    *end = '\0';
    s3_do("DELETE", at, NULL);
    at = end + 1;
  }
  bson_free(text);
  smig_s3_fields_release(&request.query);
}

static void s3_reset(void) {
  s3_delete_all(".smartmigration/contract"); /* the history, too */
}

/* Dates become the strings that they are in JSON. */
static void s3_plant(const bson_t *data) {
  static const char before[] = "{ \"$date\" : ";
  char *json = bson_as_relaxed_extended_json(data, NULL);
  for (char *date; (date = strstr(json, before));) {
    char *end = strchr(date, '}');
    memset(date, ' ', sizeof before - 1);
    *end = ' ';
  }
  s3_put_body(json);
  bson_free(json);
}

/* The stored object's text (bson_free); NULL: there is none. */
static char *s3_look_text(const char *key) {
  smig_s3_request_t request = s3_get(s3_bucket, key);
  smig_s3_response_t response;
  smig_error_t failure = SMIG_ERROR_INIT;
  bool found = smig_s3_perform(s3_client, &request, &response, &failure);
  CHECK(found || strcmp(failure.name, "NoSuchKey") == 0, ": %s", failure.message);
  char *text = found ? response.body : NULL;
  response.body = NULL;
  smig_s3_response_release(&response);
  smig_error_release(&failure);
  return text;
}

static void s3_look(bson_t *data) {
  char *text = s3_look_text(S3_KEY);
  bson_t *parsed = text ? bson_new_from_json((const uint8_t *)text, -1, NULL) : NULL;
  CHECK(!text || parsed, ": %s", text);
  if (parsed)
    bson_copy_to(parsed, data);
  else
    bson_init(data);
  bson_destroy(parsed);
  bson_free(text);
}

/* A ledger over a client of its own; `endpoint` NULL: the server itself. */
static instance_t s3_open_at(const char *endpoint, bool best_effort) {
  smig_error_t failure = SMIG_ERROR_INIT;
  smig_s3_config_t config = {.endpoint = endpoint ? endpoint : getenv("SMARTMIGRATION_TEST_S3_ENDPOINT"),
                             .bucket = s3_bucket,
                             .access_key_id = getenv("AWS_ACCESS_KEY_ID"),
                             .secret_access_key = getenv("AWS_SECRET_ACCESS_KEY"),
                             .ca_file = getenv("SMARTMIGRATION_TEST_S3_CA_FILE")};
  instance_t instance = {.client = smig_s3_open(&config, &failure)};
  CHECK(instance.client != NULL, ": %s", failure.message);
  if (instance.client)
    instance.ledger = smig_s3_ledger_new(instance.client, s3_bucket, S3_KEY, best_effort, NULL, NULL);
  smig_error_release(&failure);
  return instance;
}

static instance_t s3_open_real(void) {
  return s3_open_at(NULL, false);
}

static const backend_t s3_backend = {"s3", s3_reset, s3_plant, s3_look, s3_open_real};

static inline void s3_backend_start(const char *part) {
  s3_client = s3_real();
  snprintf(s3_bucket, sizeof s3_bucket, "%s-%ld", part, (long)getpid());
  s3_do("PUT", NULL, NULL);
}

/* Deletes every object, and the bucket. */
static inline void s3_backend_stop(void) {
  s3_delete_all("");
  s3_do("DELETE", NULL, NULL);
  smig_s3_free(s3_client);
}

#endif
