/*
 * The S3 client against a real server: objects with awkward keys, bodies from and to memory and files, refusals, presigned URLs.
 */
#include "s3_cases.h"

#include <fcntl.h>

static smig_s3_t *client;
static const char *const bucket = "client-test";

static void make_bucket(void) {
  smig_s3_request_t request = s3_request("create_bucket", "PUT", bucket, NULL);
  if (s3_status(client, &request) != 200) exit(1);
}

static void keys_are_any_bytes(void) {
  static const char *const keys[] = {
      "plain",      "with blank",  "a+b=c&d",     "per%41cent",  "\xc3\xa4\xe2\x82\xac\xf0\x9f\x8e\x89",
      "dots/./x",   "dots/x..",    "quote'\"",    "?query#frag", "star*()!~",
      "semi;colon", "back\\slash", "nul\x01\x1f", "a/b/c",       "@$,:[]|{}^`<>"};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    smig_s3_request_t put = s3_put(bucket, keys[i], keys[i]), get = s3_get(bucket, keys[i]);
    smig_s3_request_t head = s3_request("head", "HEAD", bucket, keys[i]),
                      delete = s3_request("delete", "DELETE", bucket, keys[i]);
    CHECK(s3_status(client, &put) == 200, ": put %s", keys[i]);
    check_body(client, &get, keys[i]);
    CHECK(s3_status(client, &head) == 200);
    CHECK(s3_status(client, &delete) == 204);
    smig_error_t error = SMIG_ERROR_INIT;
    s3_fails(client, &head, "NoSuchKey", &error);
    smig_error_release(&error);
  }
}

int main(void) {
  client = s3_real();
  make_bucket();
  RUN(keys_are_any_bytes);
  smig_s3_free(client);
  return check_done();
}
