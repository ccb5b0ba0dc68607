/*
 * The S3 client against a real server (scripts/with-s3, plain or --tls): objects with awkward keys, bodies from and to memory and
 * files, refusals, presigned URLs, many exchanges at once on few connections.
 */
#include "internal.h"
#include "proxy.h"
#include "s3_cases.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <sys/wait.h>

static smig_s3_t *client;
static const char *const bucket = "client-test";

static void make_bucket(void) {
  smig_s3_request_t request = s3_request("create_bucket", "PUT", bucket, NULL);
  if (s3_status(client, &request) != 200) exit(1);
}

static int temporary_file(void) {
  char path[] = "/tmp/smig-s3-XXXXXX";
  int file = mkstemp(path);
  unlink(path);
  return file;
}

/* A file of `size` bytes that nothing compresses or repeats. */
static int random_file(int64_t size) {
  int file = temporary_file(), source = open("/dev/urandom", O_RDONLY);
  char *buffer = malloc(1 << 20);
  for (int64_t at = 0; at < size; at += 1 << 20)
    if (read(source, buffer, 1 << 20) != 1 << 20 || write(file, buffer, 1 << 20) != 1 << 20) exit(1);
  free(buffer);
  close(source);
  if (ftruncate(file, size)) exit(1);
  return file;
}

static bool same_bytes(int one, int64_t one_at, int other, int64_t other_at, int64_t length) {
  char *a = malloc(1 << 20), *b = malloc(1 << 20);
  bool same = true;
  for (int64_t at = 0; same && at < length; at += 1 << 20) {
    size_t piece = length - at < 1 << 20 ? (size_t)(length - at) : 1 << 20;
    same = pread(one, a, piece, one_at + at) == (ssize_t)piece &&
           pread(other, b, piece, other_at + at) == (ssize_t)piece && memcmp(a, b, piece) == 0;
  }
  free(a);
  free(b);
  return same;
}

/* -------------------------------------------------------------------- keys */

static void keys_are_any_bytes(void) {
  static const char *const keys[] = {
      "plain",       "with blank",   "a+b=c&d",     "per%41cent",   "\xc3\xa4\xe2\x82\xac\xf0\x9f\x8e\x89",
      "dots/x..",    "quote'\"",     "?query#frag", "star*()!~",    "semi;colon",
      "back\\slash", "bell\x07\x1f", "a/b/c",       "@$,:[]|{}^`<>"};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    smig_s3_request_t put = s3_put(bucket, keys[i], keys[i]), get = s3_get(bucket, keys[i]);
    smig_s3_request_t head = s3_request("head", "HEAD", bucket, keys[i]),
                      delete = s3_request("delete", "DELETE", bucket, keys[i]);
    smig_error_t error = SMIG_ERROR_INIT;
    CHECK(s3_status(client, &put) == 200, ": put %s", keys[i]);
    check_body(client, &get, keys[i]);
    CHECK(s3_status(client, &head) == 200);
    CHECK(s3_status(client, &delete) == 204);
    s3_fails(client, &head, "NoSuchKey", &error);
    smig_error_release(&error);
  }
}

static void a_listing_is_read(void) {
  smig_s3_request_t put = s3_put(bucket, "listed/a b&c", "x");
  CHECK(s3_status(client, &put) == 200);
  smig_s3_request_t list = s3_request("list", "GET", bucket, NULL);
  smig_s3_fields_add(&list.query, "list-type", "2");
  smig_s3_fields_add(&list.query, "prefix", "listed/a b");
  smig_s3_fields_add(&list.query, "encoding-type", "url");
  char *body = s3_body(client, &list);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_xml_t *xml = smig_xml_parse(body, strlen(body), &error);
  CHECK(xml, ": %s", error.message);
  const char *found = xml ? smig_xml_text(smig_xml_child(smig_xml_root(xml), "Contents"), "Key") : NULL;
  char *key = bson_strdup(found ? found : "");
  smig_s3_decode(key, strlen(key), true);
  CHECK_STR(key, "listed/a b&c");
  bson_free(key);
  smig_xml_free(xml);
  bson_free(body);
  smig_s3_fields_release(&list.query);
}

/* ------------------------------------------------------------------ bodies */

static void empty_bodies(void) {
  smig_s3_request_t put = s3_put(bucket, "empty", ""), get = s3_get(bucket, "empty");
  CHECK(s3_status(client, &put) == 200);
  check_body(client, &get, "");
  put.has_file = true;
  put.file = temporary_file();
  CHECK(s3_status(client, &put) == 200);
  check_body(client, &get, "");
  close(put.file);
}

/* Large enough for the worker to hash it. */
static void a_large_body_in_memory(void) {
  size_t length = (5 << 20) + 12345;
  char *body = malloc(length + 1);
  for (size_t i = 0; i < length; i++) body[i] = (char)('a' + i % 23);
  body[length] = '\0';
  smig_s3_request_t put = s3_put(bucket, "large", body), get = s3_get(bucket, "large");
  CHECK(s3_status(client, &put) == 200);
  char *got = s3_body(client, &get);
  CHECK(got && strcmp(got, body) == 0);
  bson_free(got);
  put.once = true; /* read by the callback */
  CHECK(s3_status(client, &put) == 200);
  got = s3_body(client, &get);
  CHECK(got && strcmp(got, body) == 0);
  bson_free(got);
  free(body);
}

static void a_range_of_a_file(void) {
  int64_t size = 20 << 20, from = 1234567, length = (17 << 20) + 89;
  smig_s3_request_t put = s3_put(bucket, "file", ""), get = s3_get(bucket, "file");
  put.has_file = true;
  put.file = random_file(size);
  put.file_offset = from;
  put.file_length = length;
  CHECK(s3_status(client, &put) == 200);
  get.has_sink = true;
  get.sink = temporary_file();
  get.sink_offset = 5;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_response_t response;
  CHECK(smig_s3_perform(client, &get, &response, &error));
  CHECK(response.body_received == length && !response.body);
  CHECK(same_bytes(put.file, from, get.sink, 5, length));
  smig_s3_response_release(&response);

  put.file_length = size; /* beyond its end */
  s3_fails(client, &put, "FileTooShort", &error);
  smig_error_release(&error);
  close(put.file);
  close(get.sink);
}

static void a_hash_that_is_known_is_believed(void) {
  uint8_t digest[32];
  EVP_Digest("body", 4, digest, NULL, EVP_sha256(), NULL);
  smig_s3_request_t put = s3_put(bucket, "hashed", "body");
  put.sha256 = digest;
  CHECK(s3_status(client, &put) == 200);
  digest[0] ^= 1;
  smig_error_t error = SMIG_ERROR_INIT;
  s3_fails(client, &put, "XAmzContentSHA256Mismatch", &error);
  smig_error_release(&error);
}

/* A body is hashed by the worker, and sent, while small requests go on. */
static void a_large_put_does_not_hold_up_others(void) {
  smig_s3_request_t small = s3_put(bucket, "small", "x"), put = s3_put(bucket, "huge", "");
  put.has_file = true;
  put.file = random_file(200 << 20);
  put.file_length = 200 << 20;
  smig_s3_exchange_t *large = smig_s3_start(client, &put);
  int during = 0;
  while (!smig_s3_done(large) && during < 20) {
    CHECK(s3_status(client, &small) == 200);
    if (!smig_s3_done(large)) during++;
  }
  CHECK(during == 20, ": %d", during);
  smig_s3_response_t response;
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(smig_s3_finish(large, &response, &error), ": %s", error.message);
  smig_s3_response_release(&response);

  large = smig_s3_start(client, &put); /* abandoned while it is hashed, or sent */
  smig_s3_abandon(large);
  CHECK(s3_status(client, &small) == 200);
  close(put.file);
}

static void a_stream_is_the_object(void) {
  int file = random_file(8 << 20), copy = temporary_file();
  smig_s3_request_t put = s3_put(bucket, "streamed", ""), get = s3_get(bucket, "streamed");
  put.has_file = true;
  put.file = file;
  put.file_length = 8 << 20;
  CHECK(s3_status(client, &put) == 200);
  get.stream = true;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_response_t response;
  smig_s3_exchange_t *stream = smig_s3_start(client, &get);
  CHECK(smig_s3_finish(stream, &response, &error));
  CHECK_STR(smig_s3_fields_get(&response.headers, "content-length"), "8388608");
  smig_s3_response_release(&response);
  char buffer[77777];
  for (size_t got = 1; got;) {
    CHECK(smig_s3_read(stream, buffer, sizeof buffer, &got, &error));
    if (write(copy, buffer, got) != (ssize_t)got) exit(1);
  }
  smig_s3_abandon(stream);
  CHECK(lseek(copy, 0, SEEK_END) == 8 << 20 && same_bytes(file, 0, copy, 0, 8 << 20));
  close(file);
  close(copy);
}

/* --------------------------------------------------------------- conditions */

static void conditions_are_the_servers(void) {
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t put = s3_put(bucket, "created-once", "x"), get = s3_get(bucket, "created-once");
  smig_s3_fields_add(&put.headers, "if-none-match", "*");
  put.once = true;
  CHECK(s3_status(client, &put) == 200);
  s3_fails(client, &put, "PreconditionFailed", &error);
  CHECK_STR(detail(&error, "category"), "conflict");
  CHECK(detail_number(&error, "native") == 412);
  smig_error_release(&error);
  smig_s3_response_t response;
  CHECK(smig_s3_perform(client, &get, &response, &error));
  CHECK(response.sent_boot_ms > 0 && response.answered_boot_ms >= response.sent_boot_ms && response.server_date_ms > 0);
  smig_s3_fields_add(&get.headers, "if-none-match", smig_s3_fields_get(&response.headers, "etag"));
  s3_fails(client, &get, "NotModified", &error);
  smig_error_release(&error);
  smig_s3_response_release(&response);
  smig_s3_fields_release(&get.headers);
  smig_s3_fields_release(&put.headers);
}

static void keys_that_are_wrong(void) {
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_t *other = s3_open(&(smig_s3_config_t){.endpoint = smig_s3_endpoint(client),
                                                 .access_key_id = getenv("AWS_ACCESS_KEY_ID"),
                                                 .secret_access_key = "this-is-not-the-secret",
                                                 .ca_file = getenv("SMARTMIGRATION_TEST_S3_CA_FILE")});
  smig_s3_request_t get = s3_get(bucket, "k"), nowhere = s3_get("no-such-bucket", "k");
  s3_fails(other, &get, "SignatureDoesNotMatch", &error);
  CHECK(!strstr(error.message, "this-is-not-the-secret"));
  smig_error_release(&error);
  s3_fails(client, &nowhere, "NoSuchBucket", &error);
  smig_error_release(&error);
  smig_s3_free(other);
}

static void a_second_client_is_as_the_first(void) {
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_t *other = smig_s3_reopen(client, 30000, &error);
  smig_s3_request_t put = s3_put(bucket, "second", "x"), get = s3_get(bucket, "second");
  CHECK(s3_status(other, &put) == 200);
  check_body(client, &get, "x");
  smig_s3_free(other);
}

/* --------------------------------------------------------------- presigned */

/* Runs curl, which knows nothing but the URL; its output (bson_free). */
static char *plain_curl(const char *url, const char *data) {
  const char *ca_file = getenv("SMARTMIGRATION_TEST_S3_CA_FILE");
  int out[2];
  if (pipe(out)) exit(1);
  pid_t pid = fork();
  if (pid == 0) {
    dup2(out[1], 1);
    const char *arguments[16] = {"curl", "-sS", "-g", "--path-as-is", "-w", "%{http_code}", url};
    int count = 7;
    if (ca_file) arguments[count++] = "--cacert", arguments[count++] = ca_file;
    if (data) arguments[count++] = "-T-", arguments[count++] = "-H", arguments[count++] = "Transfer-Encoding:";
    if (data) {
      int in[2];
      if (pipe(in) || write(in[1], data, strlen(data)) < 0) _exit(1);
      close(in[1]);
      dup2(in[0], 0);
      static char length[64];
      snprintf(length, sizeof length, "Content-Length: %zu", strlen(data));
      arguments[count++] = "-H", arguments[count++] = length;
    }
    execvp("curl", (char *const *)arguments);
    _exit(127);
  }
  close(out[1]);
  bson_string_t *text = bson_string_new(NULL);
  char buffer[4096];
  for (ssize_t got; (got = read(out[0], buffer, sizeof buffer - 1)) > 0;) {
    buffer[got] = '\0';
    bson_string_append(text, buffer);
  }
  close(out[0]);
  waitpid(pid, NULL, 0);
  return bson_string_free(text, false);
}

static void a_presigned_url_needs_no_key(void) {
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t put = s3_request("presign", "PUT", bucket, "pre signed/+%\xc3\xa4"), get = put;
  get.method = "GET";
  char *put_url = smig_s3_presign(client, &put, 60, &error), *get_url = smig_s3_presign(client, &get, 60, &error);
  CHECK(put_url && get_url, ": %s", error.message);
  char *said = plain_curl(put_url, "by curl");
  CHECK_STR(said, "200");
  bson_free(said);
  said = plain_curl(get_url, NULL);
  CHECK_STR(said, "by curl200");
  bson_free(said);
  said = plain_curl(put_url, NULL); /* good for a PUT alone */
  CHECK(strstr(said, "403"), ": %s", said);
  bson_free(said);
  bson_free(put_url);
  bson_free(get_url);
  static const int64_t bad[] = {0, -1, 604801};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    CHECK(!smig_s3_presign(client, &get, bad[i], &error));
    CHECK_STR(error.name, "InvalidArgument");
    smig_error_release(&error);
  }
}

/* ------------------------------------------------------------- connections */

/* The same server behind a proxy that counts; of TLS the name is the same, too. */
static smig_s3_t *client_by(const proxy_t *proxy) {
  char *endpoint = bson_strdup_printf("%s://127.0.0.1:%d", smig_s3_is_tls(client) ? "https" : "http", proxy->port);
  smig_s3_t *by = s3_open(&(smig_s3_config_t){.endpoint = endpoint,
                                              .access_key_id = getenv("AWS_ACCESS_KEY_ID"),
                                              .secret_access_key = getenv("AWS_SECRET_ACCESS_KEY"),
                                              .ca_file = getenv("SMARTMIGRATION_TEST_S3_CA_FILE")});
  bson_free(endpoint);
  return by;
}

static void connections_are_used_again(void) {
  proxy_t proxy;
  proxy_start(&proxy, atoi(strrchr(smig_s3_endpoint(client), ':') + 1));
  smig_s3_t *by = client_by(&proxy);
  smig_s3_request_t put = s3_put(bucket, "again", "x"), get = s3_get(bucket, "again"), gone = s3_get(bucket, "gone");
  smig_error_t error = SMIG_ERROR_INIT;
  for (int i = 0; i < 50; i++) {
    CHECK(s3_status(by, &put) == 200 && s3_status(by, &get) == 200);
    s3_fails(by, &gone, "NoSuchKey", &error);
    smig_error_release(&error);
  }
  CHECK(atomic_load(&proxy.connections) == 1, ": %d", atomic_load(&proxy.connections));
  smig_s3_free(by);
  proxy_stop(&proxy);
}

static void many_at_once_share_few_connections(void) {
  enum { AT_ONCE = 16, TOTAL = 400 };
  proxy_t proxy;
  proxy_start(&proxy, atoi(strrchr(smig_s3_endpoint(client), ':') + 1));
  smig_s3_t *by = client_by(&proxy);
  smig_s3_exchange_t *under_way[AT_ONCE] = {0};
  char keys[TOTAL][32];
  int begun = 0, good = 0;
  for (int ended = 0; ended < TOTAL;) {
    for (int i = 0; i < AT_ONCE; i++) {
      if (under_way[i] && smig_s3_done(under_way[i])) {
        smig_s3_response_t response;
        smig_error_t error = SMIG_ERROR_INIT;
        good += smig_s3_finish(under_way[i], &response, &error);
        if (error.code) printf("# %s\n", error.message);
        smig_s3_response_release(&response);
        smig_error_release(&error);
        under_way[i] = NULL;
        ended++;
      }
      if (!under_way[i] && begun < TOTAL) {
        snprintf(keys[begun], sizeof keys[begun], "many/%d", begun);
        smig_s3_request_t put = s3_put(bucket, keys[begun], keys[begun]);
        under_way[i] = smig_s3_start(by, &put);
        begun++;
      }
    }
    smig_s3_drive(by, 1000);
  }
  CHECK(good == TOTAL, ": %d", good);
  CHECK(atomic_load(&proxy.connections) <= AT_ONCE, ": %d", atomic_load(&proxy.connections));
  for (int i = 0; i < TOTAL; i += 37) {
    smig_s3_request_t get = s3_get(bucket, keys[i]);
    check_body(by, &get, keys[i]);
  }
  smig_s3_free(by);
  proxy_stop(&proxy);
}

/* A certificate that nobody vouches for is a reason to stop at once, before anything is told. */
static void certificates_are_checked(void) {
  if (!smig_s3_is_tls(client)) return;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_t *other = s3_open(&(smig_s3_config_t){
      .endpoint = smig_s3_endpoint(client), .access_key_id = "AK", .secret_access_key = "secret-key"});
  smig_s3_request_t put = s3_put(bucket, "k", "x");
  s3_fails(other, &put, "NetworkError", &error);
  CHECK(strstr(error.message, "certificate"), ": %s", error.message);
  CHECK(detail_number(&error, "tries") == 1);
  smig_error_release(&error);
  smig_s3_free(other);
}

int main(void) {
  client = s3_real();
  make_bucket();
  RUN(keys_are_any_bytes);
  RUN(a_listing_is_read);
  RUN(empty_bodies);
  RUN(a_large_body_in_memory);
  RUN(a_range_of_a_file);
  RUN(a_hash_that_is_known_is_believed);
  RUN(a_large_put_does_not_hold_up_others);
  RUN(a_stream_is_the_object);
  RUN(conditions_are_the_servers);
  RUN(keys_that_are_wrong);
  RUN(a_second_client_is_as_the_first);
  RUN(a_presigned_url_needs_no_key);
  RUN(connections_are_used_again);
  RUN(many_at_once_share_few_connections);
  RUN(certificates_are_checked);
  smig_s3_free(client);
  return check_done();
}
