/*
 * What the S3 client makes of answers, and of none: refusals, tries seen from the server, clock, region, limit and guard. The server
 * answers by a script.
 */
#include "clock.h"
#include "guard.h"
#include "internal.h"
#include "s3_cases.h"
#include "s3_script.h"

#define EMPTY(status, headers) "HTTP/1.1 " status "\r\n" headers "Content-Length: 0\r\n\r\n"
#define GOOD EMPTY("200 OK", "")

static script_t server;
static smig_s3_t *client;

static void begin(const script_answer_t *answers, int count) {
  script_start(&server, answers, count);
  char *endpoint = bson_strdup_printf("http://127.0.0.1:%d", server.port);
  client = s3_open(&(smig_s3_config_t){
      .endpoint = endpoint, .access_key_id = "AKIDEXAMPLE", .secret_access_key = "the-very-secret-key"});
  bson_free(endpoint);
}

static void end(void) {
  smig_s3_free(client);
  script_stop(&server);
}

/* An answer with a body of its length (bson_free). */
static char *answer(const char *status, const char *headers, const char *body) {
  return bson_strdup_printf("HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers, strlen(body), body);
}

#define REFUSAL(code, message, more)                                                                                   \
  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>" code "</Code><Message>" message "</Message>" more        \
  "<RequestId>4442587FB7D0A2F9</RequestId><HostId>h+/=</HostId></Error>"

static bool truth(const smig_error_t *error, const char *name) {
  bson_iter_t iter;
  return bson_iter_init_find(&iter, error->details, name) && bson_iter_as_bool(&iter);
}

static const char *head(int request, const char *name) {
  static char value[1024];
  return script_header(server.heads[request], name, value, sizeof value);
}

/* ---------------------------------------------------------------- refusals */

static void a_refusal_tells_all(void) {
  char *refusal = answer("404 Not Found", "Date: Thu, 16 Apr 2026 12:00:00 GMT\r\n",
                         REFUSAL("NoSuchKey", "The key\n is  not there", "<Key>k</Key>"));
  begin(&(script_answer_t){.text = refusal}, 1);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t get = s3_get("bucket", "a\nb");
  int64_t before = smig_clock_boot_ms();
  s3_fails(client, &get, "NoSuchKey", &error);
  CHECK(error.code == SMIG_FOREIGN);
  CHECK_STR(error.message, "get 'bucket/a\\x0ab' failed: NoSuchKey: The key  is  not there (HTTP 404, request "
                           "4442587FB7D0A2F9)");
  CHECK_STR(detail(&error, "category"), "s3");
  CHECK(detail_number(&error, "native") == 404 && detail_number(&error, "status") == 404);
  CHECK_STR(detail(&error, "operation"), "get");
  CHECK_STR(detail(&error, "bucket"), "bucket");
  CHECK_STR(detail(&error, "key"), "a\nb");
  CHECK_STR(detail(&error, "request_id"), "4442587FB7D0A2F9");
  CHECK_STR(detail(&error, "host_id"), "h+/=");
  CHECK(!truth(&error, "retryable") && !truth(&error, "outcome_unknown") && !truth(&error, "timeout"));
  CHECK(detail_number(&error, "sent_boot_ms") >= before);
  bson_iter_t date;
  CHECK(bson_iter_init_find(&date, error.details, "server_date") && BSON_ITER_HOLDS_DATE_TIME(&date) &&
        bson_iter_date_time(&date) == 1776340800000);
  CHECK(script_requests(&server) == 1);
  smig_error_release(&error);
  end();
  bson_free(refusal);
}

static void a_status_without_a_body_has_a_code(void) {
  static const struct {
    const char *text, *method, *key, *code, *category;
  } cases[] = {
      {EMPTY("404 Not Found", ""), "HEAD", "k", "NoSuchKey", "s3"},
      {EMPTY("404 Not Found", ""), "HEAD", NULL, "NoSuchBucket", "s3"},
      {EMPTY("403 Forbidden", ""), "HEAD", "k", "AccessDenied", "s3"},
      {EMPTY("412 Precondition Failed", ""), "PUT", "k", "PreconditionFailed", "conflict"},
      {EMPTY("304 Not Modified", ""), "GET", "k", "NotModified", "s3"},
      {EMPTY("301 Moved", ""), "HEAD", "k", "PermanentRedirect", "s3"},
      {EMPTY("400 Bad", ""), "HEAD", "k", "BadRequest", "s3"},
      {EMPTY("409 Conflict", ""), "PUT", "k", "Conflict", "conflict"},
      {EMPTY("418 Teapot", ""), "HEAD", "k", "HTTP418", "s3"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    begin(&(script_answer_t){.text = cases[i].text}, 1);
    smig_error_t error = SMIG_ERROR_INIT;
    smig_s3_request_t request = s3_request("ask", cases[i].method, "bucket", cases[i].key);
    s3_fails(client, &request, cases[i].code, &error);
    CHECK_STR(detail(&error, "category"), cases[i].category);
    CHECK(script_requests(&server) == 1, ": %s", cases[i].code);
    smig_error_release(&error);
    end();
  }
}

static void a_proxys_page_is_no_missing_key(void) {
  char *page = answer("404 Not Found", "Content-Type: text/html\r\n", "\r\n  <html>\x01 \xff gone</html>\nsecond line");
  begin(&(script_answer_t){.text = page}, 1);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t get = s3_get("bucket", "k");
  s3_fails(client, &get, "HTTP404", &error);
  CHECK_STR(error.message, "get 'bucket/k' failed: HTTP404: <html>\\x01 \\xff gone</html> (HTTP 404)");
  smig_error_release(&error);
  end();
  bson_free(page);
}

/* S3 sends back what it would have signed, and a hostile server anything: no signature gets into an error. */
static void signatures_are_not_kept(void) {
  static const char signature[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
  char *body = bson_strdup_printf(
      REFUSAL("SignatureDoesNotMatch", "not %s", "<StringToSign>AWS4-HMAC-SHA256 x %s</StringToSign>"), signature,
      signature);
  char *refusal = answer("403 Forbidden", "", body);
  begin(&(script_answer_t){.text = refusal}, 1);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t get = s3_get("bucket", "k");
  s3_fails(client, &get, "SignatureDoesNotMatch", &error);
  char *details = bson_as_relaxed_extended_json(error.details, NULL);
  CHECK(!strstr(error.message, signature) && !strstr(details, signature) && !strstr(details, "StringToSign"), ": %s",
        error.message);
  CHECK(strstr(error.message, "not ****"));
  bson_free(details);
  smig_error_release(&error);
  end();
  bson_free(refusal);
  bson_free(body);
}

static void a_refusal_without_end_is_cut_off(void) {
  begin(&(script_answer_t){.text = "HTTP/1.1 403 Forbidden\r\n\r\n<html>", .filler = 8 << 20, .close = true}, 1);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t get = s3_get("bucket", "k");
  s3_fails(client, &get, "HTTP403", &error);
  CHECK(strlen(error.message) < 400);
  smig_error_release(&error);
  end();
}

static void an_error_may_come_with_200(void) {
  char *first =
      bson_strdup_printf("HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n \n \n%s",
                         strlen(REFUSAL("InternalError", "Again", "")) + 4, REFUSAL("InternalError", "Again", ""));
  char *second = answer("200 OK", "", REFUSAL("AccessDenied", "No", ""));
  begin((script_answer_t[]){{.text = first}, {.text = second}}, 2);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t copy = s3_request("copy", "PUT", "bucket", "k");
  copy.error_in_200 = true;
  s3_fails(client, &copy, "AccessDenied", &error);
  CHECK(detail_number(&error, "status") == 200);
  CHECK(truth(&error, "outcome_unknown")); /* the first try may have copied */
  CHECK(script_requests(&server) == 2);
  smig_error_release(&error);
  end();

  begin(&(script_answer_t){.text = second}, 1); /* of a GET it is the object */
  smig_s3_request_t get = s3_get("bucket", "k");
  check_body(client, &get, REFUSAL("AccessDenied", "No", ""));
  end();
  bson_free(first);
  bson_free(second);
}

static void what_is_not_http_is_an_invalid_response(void) {
  begin(&(script_answer_t){.text = "SSH-2.0-OpenSSH_9.2\r\n", .close = true}, 1);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t get = s3_get("bucket", "k");
  s3_fails(client, &get, "InvalidResponse", &error);
  CHECK(script_requests(&server) == 1);
  smig_error_release(&error);
  end();
}

static void headers_have_a_bound(void) {
  bson_string_t *text = bson_string_new("HTTP/1.1 200 OK\r\n");
  for (int i = 0; i < 9000; i++) bson_string_append_printf(text, "x-amz-meta-%d: some value of it\r\n", i);
  bson_string_append(text, "Content-Length: 0\r\n\r\n");
  begin(&(script_answer_t){.text = text->str}, 1);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t get = s3_get("bucket", "k");
  s3_fails(client, &get, "InvalidResponse", &error);
  smig_error_release(&error);
  end();
  bson_string_free(text, true);
}

static void interim_answers_and_trailers_are_passed_over(void) {
  begin(&(script_answer_t){.text = "HTTP/1.1 100 Continue\r\nx-interim: 1\r\n\r\n"
                                   "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nx-EMPTY:\r\nTransfer-Encoding: chunked\r\n\r\n"
                                   "4\r\nbody\r\n0\r\nx-trailer: 1\r\n\r\n"},
        1);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_response_t response;
  smig_s3_request_t get = s3_get("bucket", "k");
  CHECK(smig_s3_perform(client, &get, &response, &error));
  CHECK_STR(response.body, "body");
  CHECK(response.body_length == 4 && response.body_received == 4);
  CHECK(response.headers.count == 3);
  CHECK_STR(smig_s3_fields_get(&response.headers, "etag"), "\"e\"");
  CHECK_STR(smig_s3_fields_get(&response.headers, "x-empty"), "");
  smig_s3_response_release(&response);
  end();
}

/* ------------------------------------------------------------------- tries */

static void a_busy_server_is_asked_again_on_the_same_connection(void) {
  char *slow = answer("503 Slow Down", "", REFUSAL("SlowDown", "Reduce", ""));
  char *page = answer("502 Bad Gateway", "", "<html>");
  begin((script_answer_t[]){{.text = slow}, {.text = page}, {.text = GOOD}}, 3);
  smig_s3_request_t put = s3_put("bucket", "k", "body");
  CHECK(s3_status(client, &put) == 200);
  CHECK(script_requests(&server) == 3 && script_connections(&server) == 1);
  CHECK(server.bodies[0] == 4 && server.bodies[1] == 4 && server.bodies[2] == 4);
  end();
  bson_free(slow);
  bson_free(page);
}

static void five_tries_are_enough(void) {
  char *slow = answer("503 Slow Down", "", REFUSAL("SlowDown", "Reduce", ""));
  script_answer_t answers[8];
  for (int i = 0; i < 8; i++) answers[i] = (script_answer_t){.text = slow};
  begin(answers, 8);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t get = s3_get("bucket", "k");
  s3_fails(client, &get, "SlowDown", &error);
  CHECK(script_requests(&server) == 5 && detail_number(&error, "tries") == 5);
  CHECK(truth(&error, "retryable") && !truth(&error, "outcome_unknown"));
  smig_error_release(&error);
  end();
  bson_free(slow);
}

static void a_server_may_ask_to_wait(void) {
  begin((script_answer_t[]){{.text = EMPTY("503 Busy", "Retry-After: 1\r\n")}, {.text = GOOD}}, 2);
  int64_t before = smig_clock_mono_ms();
  smig_s3_request_t get = s3_get("bucket", "k");
  CHECK(s3_status(client, &get) == 200);
  int64_t took = smig_clock_mono_ms() - before;
  CHECK(took >= 1000 && took < 5000, ": %d", (int)took);
  end();
}

/* A put whose answer is lost: again when that is safe, never when it is sent once. */
static void a_lost_answer(void) {
  const script_answer_t answers[] = {{.close = true}, {.text = GOOD}};
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t put = s3_put("bucket", "k", "body");
  begin(answers, 2);
  CHECK(s3_status(client, &put) == 200);
  CHECK(script_requests(&server) == 2);
  end();

  begin(answers, 2);
  put.once = true;
  s3_fails(client, &put, "NetworkError", &error);
  CHECK(truth(&error, "outcome_unknown") && truth(&error, "retryable"));
  CHECK_STR(detail(&error, "category"), "network");
  CHECK(script_requests(&server) == 1);
  CHECK(strstr(error.message, "put 'bucket/k' failed: http://127.0.0.1:"), ": %s", error.message);
  smig_error_release(&error);
  end();
}

/* libcurl repeats a request by itself when a connection it used before was closed: not one that is sent once. */
static void a_lost_answer_on_a_used_connection(void) {
  const script_answer_t answers[] = {{.text = GOOD}, {.close = true}, {.text = GOOD}};
  smig_error_t error = SMIG_ERROR_INIT;
  for (int with_body = 0; with_body < 2; with_body++) {
    smig_s3_request_t get = s3_get("bucket", "k");
    smig_s3_request_t request =
        with_body ? s3_put("bucket", "k", "body") : s3_request("delete", "DELETE", "bucket", "k");
    begin(answers, 3);
    CHECK(s3_status(client, &get) == 200);
    CHECK(s3_status(client, &request) == 200);
    CHECK(script_requests(&server) == 3);
    end();

    begin(answers, 3);
    request.once = true;
    CHECK(s3_status(client, &get) == 200);
    s3_fails(client, &request, "NetworkError", &error);
    CHECK(truth(&error, "outcome_unknown"), ": %s", error.message);
    CHECK(script_requests(&server) == 2, ": %d", script_requests(&server));
    smig_error_release(&error);
    end();
  }
}

static void a_connection_that_is_cut_while_sending(void) {
  char *body = malloc(8 << 20);
  memset(body, 'x', 8 << 20);
  begin((script_answer_t[]){{.close_early = true}, {.text = GOOD}}, 2);
  smig_s3_request_t put = s3_put("bucket", "k", "");
  put.body = body;
  put.body_length = 8 << 20;
  CHECK(s3_status(client, &put) == 200);
  CHECK(script_requests(&server) == 2 && server.bodies[1] == 8 << 20);
  end();
  free(body);
}

static void nobody_listens(void) {
  begin(NULL, 0);
  script_stop(&server);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t put = s3_put("bucket", "k", "body");
  put.once = true;
  s3_fails(client, &put, "NetworkError", &error);
  CHECK(!truth(&error, "outcome_unknown") && truth(&error, "retryable"));
  CHECK(detail_number(&error, "tries") == 5); /* it never reached the server */
  smig_error_release(&error);
  smig_s3_free(client);
}

static void a_refusal_of_what_is_sent_once_leaves_it_open_or_not(void) {
  char *slow = answer("503 Slow Down", "", REFUSAL("SlowDown", "Reduce", ""));
  char *broken = answer("500 Internal Error", "", REFUSAL("InternalError", "Oops", ""));
  begin((script_answer_t[]){{.text = slow}, {.text = broken}, {.text = GOOD}}, 3);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t put = s3_put("bucket", "k", "body");
  put.once = true;
  s3_fails(client, &put, "InternalError", &error);
  CHECK(truth(&error, "outcome_unknown") && script_requests(&server) == 2);
  smig_error_release(&error);
  end();
  bson_free(slow);
  bson_free(broken);
}

/* Credentials that were given cannot be renewed into other ones: one more try, no more. */
static void an_expired_token_is_renewed_once(void) {
  char *expired = answer("400 Bad Request", "", REFUSAL("ExpiredToken", "Expired", ""));
  begin((script_answer_t[]){{.text = expired}, {.text = expired}, {.text = GOOD}}, 3);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t get = s3_get("bucket", "k");
  s3_fails(client, &get, "ExpiredToken", &error);
  CHECK(script_requests(&server) == 2);
  smig_error_release(&error);
  end();
  bson_free(expired);
}

/* ---------------------------------------------------------- clock and region */

/* The hour of the signature's date, of a server whose clock says 2031. */
static void the_clock_is_set_by_the_server(void) {
  char *skewed =
      answer("403 Forbidden", "Date: Sat, 05 Apr 2031 10:00:00 GMT\r\n", REFUSAL("RequestTimeTooSkewed", "Off", ""));
  for (int with_head = 0; with_head < 2; with_head++) {
    begin((script_answer_t[]){{.text = with_head ? EMPTY("403 Forbidden", "Date: Sat, 05 Apr 2031 10:00:00 GMT\r\n")
                                                 : skewed},
                              {.text = GOOD},
                              {.text = GOOD}},
          3);
    smig_s3_request_t request = s3_request("ask", with_head ? "HEAD" : "GET", "bucket", "k");
    CHECK(s3_status(client, &request) == 200);
    CHECK(s3_status(client, &request) == 200);
    CHECK(script_requests(&server) == 3);
    CHECK(strncmp(head(0, "x-amz-date"), "2031", 4) != 0);
    CHECK(strncmp(head(1, "x-amz-date"), "20310405T1000", 13) == 0, ": %s", head(1, "x-amz-date"));
    CHECK(strncmp(head(2, "x-amz-date"), "20310405T1000", 13) == 0);
    end();
  }
  bson_free(skewed);
}

static void a_clock_that_stays_wrong_is_an_error(void) {
  char *skewed =
      answer("403 Forbidden", "Date: Sat, 05 Apr 2031 10:00:00 GMT\r\n", REFUSAL("RequestTimeTooSkewed", "Off", ""));
  begin((script_answer_t[]){{.text = skewed}, {.text = skewed}, {.text = GOOD}}, 3);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t get = s3_get("bucket", "k");
  s3_fails(client, &get, "RequestTimeTooSkewed", &error);
  CHECK(script_requests(&server) == 2);
  smig_error_release(&error);
  end();
  bson_free(skewed);
}

static void check_region(int request, const char *region) {
  char *scope = bson_strdup_printf("/%s/s3/aws4_request", region);
  CHECK(strstr(head(request, "authorization"), scope), ": %s", head(request, "authorization"));
  bson_free(scope);
}

static void a_bucket_may_be_in_another_region(void) {
  char *malformed =
      answer("400 Bad Request", "", REFUSAL("AuthorizationHeaderMalformed", "Wrong", "<Region>eu-west-3</Region>"));
  const char *moved = EMPTY("301 Moved", "x-amz-bucket-region: eu-central-1\r\n");
  const char *const firsts[] = {malformed, moved}, *const regions[] = {"eu-west-3", "eu-central-1"};
  for (int i = 0; i < 2; i++) {
    begin((script_answer_t[]){{.text = firsts[i]}, {.text = GOOD}, {.text = GOOD}, {.text = GOOD}}, 4);
    smig_s3_request_t request = s3_request("head", "HEAD", "bucket", "k"),
                      other = s3_request("head", "HEAD", "other", "k");
    if (i == 0) request.method = "PUT";
    request.once = true; /* a redirection has done nothing */
    CHECK(s3_status(client, &request) == 200);
    CHECK(s3_status(client, &request) == 200);
    CHECK(s3_status(client, &other) == 200);
    CHECK(script_requests(&server) == 4);
    check_region(0, "us-east-1");
    check_region(1, regions[i]);
    check_region(2, regions[i]);
    check_region(3, "us-east-1");
    end();
  }
  bson_free(malformed);
}

static void a_redirection_is_not_followed_in_circles(void) {
  begin((script_answer_t[]){{.text = EMPTY("301 Moved", "x-amz-bucket-region: eu-central-1\r\n")},
                            {.text = EMPTY("301 Moved",
                                           "x-amz-bucket-region: eu-west-1\r\nLocation: http://127.0.0.1:1/\r\n")},
                            {.text = GOOD}},
        3);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t get = s3_get("bucket", "k");
  s3_fails(client, &get, "PermanentRedirect", &error);
  CHECK_STR(detail(&error, "region"), "eu-west-1");
  CHECK(script_requests(&server) == 2);
  smig_error_release(&error);
  end();
}

/* ------------------------------------------------------- what is sent at all */

static void requests_carry_what_they_should(void) {
  script_start(&server, (script_answer_t[]){{.text = GOOD}, {.text = GOOD}, {.text = GOOD}}, 3);
  char *endpoint = bson_strdup_printf("http://127.0.0.1:%d/base/", server.port);
  client = s3_open(&(smig_s3_config_t){.endpoint = endpoint,
                                       .access_key_id = "AKIDEXAMPLE",
                                       .secret_access_key = "the-very-secret-key",
                                       .session_token = "the-session-token",
                                       .sse = "aws:kms",
                                       .sse_kms_key_id = "key-1",
                                       .expected_bucket_owner = "111122223333"});
  smig_s3_request_t put = s3_put("bucket", "a b/../c", "body"), get = s3_get("bucket", "k");
  smig_s3_fields_add(&put.headers, "x-amz-meta-colour", "");
  CHECK(s3_status(client, &put) == 200 && s3_status(client, &get) == 200);
  CHECK(strncmp(server.heads[0], "PUT /base/bucket/a%20b/../c HTTP/1.1\r\n", 38) == 0, ": %s", server.heads[0]);
  CHECK_STR(head(0, "x-amz-server-side-encryption"), "aws:kms");
  CHECK_STR(head(0, "x-amz-server-side-encryption-aws-kms-key-id"), "key-1");
  CHECK_STR(head(0, "x-amz-expected-bucket-owner"), "111122223333");
  CHECK_STR(head(0, "x-amz-security-token"), "the-session-token");
  CHECK_STR(head(0, "x-amz-meta-colour"), "");
  CHECK_STR(head(0, "content-length"), "4");
  CHECK_STR(head(0, "x-amz-content-sha256"), "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5");
  CHECK(!head(0, "content-type") && !head(0, "expect") && !head(0, "transfer-encoding"));
  CHECK(!head(1, "x-amz-server-side-encryption") && !head(1, "content-length"));
  smig_s3_fields_add(&put.headers, "x-amz-server-side-encryption", "AES256");
  smig_s3_fields_add(&put.headers, "content-type", "text/plain");
  CHECK(s3_status(client, &put) == 200);
  CHECK_STR(head(2, "x-amz-server-side-encryption"), "AES256");
  CHECK(!head(2, "x-amz-server-side-encryption-aws-kms-key-id"));
  CHECK_STR(head(2, "content-type"), "text/plain");
  smig_s3_fields_release(&put.headers);
  bson_free(endpoint);
  end();
}

static void what_cannot_be_sent_is_refused(void) {
  begin(NULL, 0);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t requests[] = {s3_get("", "k"),   s3_get("a/b", "k"),    s3_get("..", "k"),    s3_get("bucket", ""),
                                  s3_get(NULL, "k"), s3_get("bucket", "k"), s3_get("bucket", "k")};
  smig_s3_fields_add(&requests[5].headers, "x-amz-meta-a", "v\r\nx-injected: 1");
  smig_s3_fields_add(&requests[6].headers, "x-amz-meta-a: b\r\nx", "v");
  for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
    s3_fails(client, &requests[i], "InvalidArgument", &error);
    CHECK_STR(detail(&error, "category"), "argument");
    smig_error_release(&error);
    smig_s3_fields_release(&requests[i].headers);
  }
  CHECK(script_requests(&server) == 0);
  end();
}

/* --------------------------------------------------------- limit and guard */

static void a_limit_ends_all_tries(void) {
  begin((script_answer_t[]){{.text = EMPTY("503 Busy", "")}, {.text = GOOD, .hold = true}}, 2);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_limit(client, 700);
  int64_t before = smig_clock_mono_ms();
  smig_s3_request_t put = s3_put("bucket", "k", "body");
  s3_fails(client, &put, "Timeout", &error);
  int64_t took = smig_clock_mono_ms() - before;
  CHECK(took >= 600 && took < 2000, ": %d", (int)took);
  CHECK(truth(&error, "timeout") && truth(&error, "outcome_unknown"));
  CHECK_STR(detail(&error, "category"), "timeout");
  smig_error_release(&error);
  end();
}

/* Neither is a wait begun that would outlast the limit. */
static void a_wait_beyond_the_limit_is_not_begun(void) {
  begin((script_answer_t[]){{.text = EMPTY("503 Busy", "Retry-After: 10\r\n")}, {.text = GOOD}}, 2);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_limit(client, 2000);
  int64_t before = smig_clock_mono_ms();
  smig_s3_request_t get = s3_get("bucket", "k");
  s3_fails(client, &get, "ServiceUnavailable", &error);
  CHECK(smig_clock_mono_ms() - before < 1000);
  smig_error_release(&error);
  end();
}

static void a_stalled_body_is_a_timeout(void) {
  const script_answer_t stalled = {.text = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", .stall = true};
  begin((script_answer_t[]){stalled, stalled, stalled}, 3);
  client->stall_s = 2;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_limit(client, 4500);
  smig_s3_request_t get = s3_get("bucket", "k");
  s3_fails(client, &get, "Timeout", &error);
  CHECK(script_requests(&server) > 1); /* it was given up, and asked again */
  smig_error_release(&error);
  end();
}

static void *release_later(void *nothing) {
  smig_clock_sleep_ms(3000);
  script_release(&server);
  return nothing;
}

/* A server that copies gigabytes says nothing meanwhile: longer than a stall is allowed to be elsewhere. */
static void silence_may_be_work(void) {
  begin(&(script_answer_t){.text = GOOD, .hold = true}, 1);
  client->stall_s = 1;
  pthread_t thread;
  pthread_create(&thread, NULL, release_later, NULL);
  smig_s3_request_t copy = s3_request("copy", "PUT", "bucket", "k");
  copy.error_in_200 = true;
  CHECK(s3_status(client, &copy) == 200);
  CHECK(script_requests(&server) == 1);
  pthread_join(thread, NULL);
  end();
}

static void shut(smig_guard_t *guard) {
  smig_error_t reason = SMIG_ERROR_INIT;
  smig_error_set(&reason, SMIG_LOCK_LOST, "shut by the test");
  smig_guard_shut(guard, SMIG_GUARD_LOST, &reason);
}

static void *shut_when_held(void *guard) {
  script_await(&server, 1);
  shut(guard);
  return NULL;
}

static void the_guard_ends_what_is_under_way(void) {
  smig_guard_t guard;
  smig_guard_init(&guard);
  begin(&(script_answer_t){.text = GOOD, .hold = true}, 1);
  smig_s3_set_guard(client, &guard);
  pthread_t thread;
  pthread_create(&thread, NULL, shut_when_held, &guard);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_response_t response;
  smig_s3_request_t put = s3_put("bucket", "k", "body");
  int64_t before = smig_clock_mono_ms();
  CHECK(!smig_s3_perform(client, &put, &response, &error));
  CHECK(smig_clock_mono_ms() - before < 1000);
  pthread_join(thread, NULL);
  CHECK(error.code == SMIG_LOCK_LOST);
  CHECK_STR(error.message, "shut by the test");
  CHECK_STR(detail(&error, "cause.operation"), "put");
  CHECK_STR(detail(&error, "cause.key"), "k");
  bson_iter_t iter, unknown;
  CHECK(bson_iter_init(&iter, error.details) && bson_iter_find_descendant(&iter, "cause.outcome_unknown", &unknown) &&
        bson_iter_as_bool(&unknown));
  smig_error_release(&error);

  CHECK(!smig_s3_perform(client, &put, &response, &error) && error.code == SMIG_LOCK_LOST); /* nothing is begun */
  CHECK(!detail(&error, "cause.code"));
  CHECK(script_requests(&server) == 1);
  smig_error_release(&error);
  end();
  smig_guard_release(&guard);
}

/* ------------------------------------------------------------ configuration */

static void endpoints_are_checked(void) {
  static const struct {
    const char *endpoint, *message;
  } cases[] = {
      {"127.0.0.1:7070", "s3.endpoint must begin with https:// or http://"},
      {"ftp://127.0.0.1", "s3.endpoint must begin with https:// or http://"},
      {"http://example.com", "s3.endpoint is plain http to another machine; use https, or set insecure to allow it"},
      {"http://127.0.0.1.example.com",
       "s3.endpoint is plain http to another machine; use https, or set insecure to allow it"},
      {"http://localhost.example.com",
       "s3.endpoint is plain http to another machine; use https, or set insecure to allow it"},
      {"http://[::2]", "s3.endpoint is plain http to another machine; use https, or set insecure to allow it"},
      {"https://user:hunter2@example.com",
       "s3.endpoint holds a user or password; give them as access_key_id and secret_access_key or in the environment"},
      {"https://example.com/?x=1", "s3.endpoint must be scheme, host, port and path alone, without ? and #"},
      {"https://", "s3.endpoint has no host that can be understood"},
      {"https://a b", "s3.endpoint has no host that can be understood"},
      {"https://[::1", "s3.endpoint has no host that can be understood"},
      {"https://example.com:0", "s3.endpoint has a port that is not a number from 1 to 65535"},
      {"https://example.com:65536", "s3.endpoint has a port that is not a number from 1 to 65535"},
      {"https://example.com:", "s3.endpoint has a port that is not a number from 1 to 65535"},
      {"https://example.com/a b", "s3.endpoint has a path with characters that must be percent-encoded"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    smig_error_t error = SMIG_ERROR_INIT;
    smig_s3_t *none = smig_s3_open(&(smig_s3_config_t){.endpoint = cases[i].endpoint}, &error);
    CHECK(!none, ": %s", cases[i].endpoint);
    check_error(&error, SMIG_INVALID_OPTIONS, cases[i].message);
    smig_s3_free(none);
  }
  static const char *const good[][2] = {{"http://127.8.9.1:7070/", "http://127.8.9.1:7070"},
                                        {"http://[::1]:80", "http://[::1]"},
                                        {"HTTP://LocalHost", "http://localhost"},
                                        {"https://Example.com:443/base//", "https://example.com/base"},
                                        {"https://example.com:8443", "https://example.com:8443"}};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    smig_s3_t *opened = s3_open(&(smig_s3_config_t){.endpoint = good[i][0]});
    CHECK_STR(smig_s3_endpoint(opened), good[i][1]);
    CHECK(smig_s3_is_tls(opened) == (good[i][1][4] == 's'));
    smig_s3_free(opened);
  }
  smig_s3_t *insecure = s3_open(&(smig_s3_config_t){.endpoint = "http://example.com", .insecure = true});
  CHECK(!smig_s3_is_tls(insecure));
  smig_s3_free(insecure);
}

static void options_are_checked(void) {
  static const struct {
    smig_s3_config_t config;
    const char *message;
  } cases[] = {
      {{.style = "virtually"}, "s3.style must be path or virtual"},
      {{.style = "virtual", .endpoint = "http://127.0.0.1"},
       "s3.style cannot be virtual where the endpoint is an address; name the host, or use path"},
      {{.region = "eu west"}, "s3.region must be a name of letters, digits and hyphens, for example eu-central-1"},
      {{.region = "evil.com/"}, "s3.region must be a name of letters, digits and hyphens, for example eu-central-1"},
      {{.access_key_id = "a"}, "s3.secret_access_key is missing; the two are given together"},
      {{.secret_access_key = "a"}, "s3.access_key_id is missing; the two are given together"},
      {{.session_token = "t"}, "s3.session_token needs access_key_id and secret_access_key"},
      {{.sse = "rot13"}, "s3.sse must be AES256, aws:kms or aws:kms:dsse"},
      {{.sse = "AES256", .sse_kms_key_id = "k"}, "s3.sse_kms_key_id needs s3.sse to be aws:kms or aws:kms:dsse"},
      {{.expected_bucket_owner = "1\r\n"}, "s3.expected_bucket_owner is no account's id"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    smig_error_t error = SMIG_ERROR_INIT;
    smig_s3_t *none = smig_s3_open(&cases[i].config, &error);
    CHECK(!none);
    check_error(&error, SMIG_INVALID_OPTIONS, cases[i].message);
    smig_s3_free(none);
  }
}

static void check_target(const smig_s3_config_t *config, const char *bucket, const char *region, const char *host,
                         const char *path) {
  smig_s3_t *opened = s3_open(config);
  smig_s3_request_t request = s3_get(bucket, "a/b c");
  smig_s3_target_t target;
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(smig_s3_target(opened, &request, region, &target, &error));
  CHECK_STR(target.host, host);
  CHECK_STR(target.path, path);
  smig_s3_target_release(&target);
  smig_s3_free(opened);
}

static void requests_go_to_the_buckets_host_or_path(void) {
  check_target(&(smig_s3_config_t){0}, "photos", "eu-west-1", "photos.s3.eu-west-1.amazonaws.com", "/a/b%20c");
  check_target(&(smig_s3_config_t){0}, "my.photos", "eu-west-1", "s3.eu-west-1.amazonaws.com", "/my.photos/a/b%20c");
  check_target(&(smig_s3_config_t){0}, "Photos", "eu-west-1", "s3.eu-west-1.amazonaws.com", "/Photos/a/b%20c");
  check_target(&(smig_s3_config_t){0}, "photos", "cn-north-1", "photos.s3.cn-north-1.amazonaws.com.cn", "/a/b%20c");
  check_target(&(smig_s3_config_t){.style = "path"}, "photos", "eu-west-1", "s3.eu-west-1.amazonaws.com",
               "/photos/a/b%20c");
  check_target(&(smig_s3_config_t){.endpoint = "https://s3.example.com/x"}, "photos", "r", "s3.example.com",
               "/x/photos/a/b%20c");
  check_target(&(smig_s3_config_t){.endpoint = "https://s3.example.com:8443", .style = "virtual"}, "photos", "r",
               "photos.s3.example.com:8443", "/a/b%20c");
  smig_s3_t *opened = s3_open(&(smig_s3_config_t){.style = "virtual"});
  smig_s3_request_t request = s3_get("Upper", "k");
  smig_s3_target_t target;
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(!smig_s3_target(opened, &request, "r", &target, &error));
  CHECK_STR(error.message, "bucket 'Upper' cannot stand in a host name; use style path");
  smig_error_release(&error);
  smig_s3_free(opened);
}

static void the_environment_names_an_endpoint(void) {
  setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1", 1);
  smig_s3_t *opened = s3_open(&(smig_s3_config_t){0});
  CHECK_STR(smig_s3_endpoint(opened), "http://127.0.0.1:1");
  smig_s3_free(opened);
  setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:2", 1);
  opened = s3_open(&(smig_s3_config_t){0});
  CHECK_STR(smig_s3_endpoint(opened), "http://127.0.0.1:2");
  smig_s3_free(opened);
  smig_error_t error = SMIG_ERROR_INIT;
  setenv("AWS_ENDPOINT_URL_S3", "http://example.com", 1);
  CHECK(!smig_s3_open(&(smig_s3_config_t){0}, &error));
  check_error(&error, SMIG_INVALID_OPTIONS,
              "AWS_ENDPOINT_URL_S3 is plain http to another machine; use https, or set insecure to allow it");
  unsetenv("AWS_ENDPOINT_URL_S3");
  unsetenv("AWS_ENDPOINT_URL");
}

int main(void) {
  s3_forget_environment();
  RUN(a_refusal_tells_all);
  RUN(a_status_without_a_body_has_a_code);
  RUN(a_proxys_page_is_no_missing_key);
  RUN(signatures_are_not_kept);
  RUN(a_refusal_without_end_is_cut_off);
  RUN(an_error_may_come_with_200);
  RUN(what_is_not_http_is_an_invalid_response);
  RUN(headers_have_a_bound);
  RUN(interim_answers_and_trailers_are_passed_over);
  RUN(a_busy_server_is_asked_again_on_the_same_connection);
  RUN(five_tries_are_enough);
  RUN(a_server_may_ask_to_wait);
  RUN(a_lost_answer);
  RUN(a_lost_answer_on_a_used_connection);
  RUN(a_connection_that_is_cut_while_sending);
  RUN(nobody_listens);
  RUN(a_refusal_of_what_is_sent_once_leaves_it_open_or_not);
  RUN(an_expired_token_is_renewed_once);
  RUN(the_clock_is_set_by_the_server);
  RUN(a_clock_that_stays_wrong_is_an_error);
  RUN(a_bucket_may_be_in_another_region);
  RUN(a_redirection_is_not_followed_in_circles);
  RUN(requests_carry_what_they_should);
  RUN(what_cannot_be_sent_is_refused);
  RUN(a_limit_ends_all_tries);
  RUN(a_wait_beyond_the_limit_is_not_begun);
  RUN(a_stalled_body_is_a_timeout);
  RUN(silence_may_be_work);
  RUN(the_guard_ends_what_is_under_way);
  RUN(endpoints_are_checked);
  RUN(options_are_checked);
  RUN(requests_go_to_the_buckets_host_or_path);
  RUN(the_environment_names_an_endpoint);
  return check_done();
}
