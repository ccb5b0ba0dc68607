/*
 * Bodies of the S3 client: streams, what is held of them, and bodies that break off, whatever they go to. The server answers by a
 * script; its bodies count, so that a byte at the wrong place is seen.
 */
#include "clock.h"
#include "guard.h"
#include "internal.h"
#include "s3_cases.h"
#include "s3_script.h"

#include <fcntl.h>

#define ETAG "ETag: \"e\"\r\n"

static script_t server;
static smig_s3_t *client;

static void begin(const script_answer_t *answers, int count) {
  script_start(&server, answers, count);
  char *endpoint = bson_strdup_printf("http://127.0.0.1:%d", server.port);
  client = s3_open(&(smig_s3_config_t){.endpoint = endpoint, .access_key_id = "AK", .secret_access_key = "secret-key"});
  bson_free(endpoint);
}

static void end(void) {
  smig_s3_free(client);
  script_stop(&server);
}

static void check_filler(const char *bytes, size_t length, long from) {
  for (size_t i = 0; i < length; i++)
    if (bytes[i] != script_filler(from + (long)i)) {
      CHECK(false, ": byte %zu", i);
      return;
    }
}

static void check_head(int request, const char *name, const char *expected) {
  char value[256];
  const char *found = script_header(server.heads[request], name, value, sizeof value);
  if (expected)
    CHECK_STR(found, expected);
  else
    CHECK(!found, ": %s", found);
}

/* ------------------------------------------------------------- taking up */

static const script_answer_t broken[] = {
    {.text = "HTTP/1.1 200 OK\r\n" ETAG "Content-Length: 100000\r\n\r\n", .filler = 60000, .close = true},
    {.text = "HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\n<htm>"},
    {.text = "HTTP/1.1 206 Partial\r\n" ETAG "Content-Range: bytes 60000-99999/100000\r\nContent-Length: 40000\r\n\r\n",
     .filler = 40000,
     .filler_from = 60000}};

static void check_taken_up(void) {
  CHECK(script_requests(&server) == 3);
  check_head(0, "range", NULL);
  check_head(0, "if-match", NULL);
  for (int i = 1; i < 3; i++) {
    check_head(i, "range", "bytes=60000-99999");
    check_head(i, "if-match", "\"e\"");
  }
}

static void a_body_in_memory_is_taken_up(void) {
  begin(broken, 3);
  smig_s3_request_t get = s3_get("bucket", "k");
  smig_s3_response_t response;
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(smig_s3_perform(client, &get, &response, &error), ": %s", error.message);
  CHECK(response.body_length == 100000 && response.body_received == 100000);
  check_filler(response.body, response.body_length, 0);
  CHECK(response.status == 200); /* as if it had come at once */
  CHECK_STR(smig_s3_fields_get(&response.headers, "content-length"), "100000");
  check_taken_up();
  smig_s3_response_release(&response);
  end();
}

static int temporary_file(void) {
  char path[] = "/tmp/smig-s3-XXXXXX";
  int file = mkstemp(path);
  unlink(path);
  return file;
}

static void a_body_to_a_file_is_taken_up(void) {
  begin(broken, 3);
  smig_s3_request_t get = s3_get("bucket", "k");
  get.has_sink = true;
  get.sink = temporary_file();
  get.sink_offset = 7;
  CHECK(s3_status(client, &get) == 200);
  char *bytes = malloc(100000);
  CHECK(pread(get.sink, bytes, 100000, 7) == 100000);
  check_filler(bytes, 100000, 0);
  CHECK(lseek(get.sink, 0, SEEK_END) == 100007);
  check_taken_up();
  free(bytes);
  close(get.sink);
  end();
}

/* Reads to the end in pieces of `size`; how much there was, -1 with *error. */
static long read_all(smig_s3_exchange_t *exchange, size_t size, smig_error_t *error) {
  char *piece = malloc(size);
  long total = 0;
  size_t got;
  do {
    if (!smig_s3_read(exchange, piece, size, &got, error)) {
      free(piece);
      return -1;
    }
    check_filler(piece, got, total);
    total += (long)got;
  } while (got);
  free(piece);
  return total;
}

static smig_s3_exchange_t *open_stream(const smig_s3_request_t *request) {
  smig_s3_request_t streamed = *request;
  smig_s3_response_t response;
  smig_error_t error = SMIG_ERROR_INIT;
  streamed.stream = true;
  smig_s3_exchange_t *exchange = smig_s3_start(client, &streamed);
  bool good = smig_s3_finish(exchange, &response, &error);
  CHECK(good, ": %s", error.message);
  CHECK(!response.body);
  smig_s3_response_release(&response);
  if (!good) exit(1);
  return exchange;
}

static void a_stream_is_taken_up(void) {
  begin(broken, 3);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t get = s3_get("bucket", "k");
  smig_s3_exchange_t *stream = open_stream(&get);
  CHECK(read_all(stream, 1000, &error) == 100000);
  check_taken_up();
  smig_s3_abandon(stream);
  end();
}

static void a_range_is_taken_up_within_itself(void) {
  begin(
      (script_answer_t[]){
          {.text = "HTTP/1.1 206 Partial\r\n" ETAG "Content-Range: bytes 100-199/1000\r\nContent-Length: 100\r\n\r\n",
           .filler = 50,
           .close = true},
          {.text = "HTTP/1.1 206 Partial\r\n" ETAG "Content-Range: bytes 150-199/1000\r\nContent-Length: 50\r\n\r\n",
           .filler = 50,
           .filler_from = 50}},
      2);
  smig_s3_request_t get = s3_get("bucket", "k");
  smig_s3_fields_add(&get.headers, "range", "bytes=100-199");
  char *body = s3_body(client, &get);
  CHECK(body && strlen(body) == 100);
  if (body) check_filler(body, 100, 0);
  check_head(1, "range", "bytes=150-199");
  bson_free(body);
  smig_s3_fields_release(&get.headers);
  end();
}

static void what_has_no_etag_begins_anew(void) {
  static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
  begin((script_answer_t[]){{.text = text, .filler = 600, .close = true}, {.text = text, .filler = 1000}}, 2);
  smig_s3_request_t get = s3_get("bucket", "k");
  char *body = s3_body(client, &get);
  CHECK(body && strlen(body) == 1000);
  if (body) check_filler(body, 1000, 0);
  check_head(1, "range", NULL);
  bson_free(body);
  end();
}

/* But not without end: nothing is gained by a body that always breaks off. */
static void what_begins_anew_is_given_up(void) {
  script_answer_t answers[8];
  for (int i = 0; i < 8; i++)
    answers[i] =
        (script_answer_t){.text = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", .filler = 600, .close = true};
  begin(answers, 8);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t get = s3_get("bucket", "k");
  s3_fails(client, &get, "NetworkError", &error);
  CHECK(script_requests(&server) == 5 && detail_number(&error, "tries") == 5);
  smig_error_release(&error);
  end();
}

static void lengths_that_cannot_be(void) {
  static const char *const texts[] = {
      "HTTP/1.1 206 Partial\r\n" ETAG "Content-Range: bytes 9223372036854775807-9223372036854775807/1\r\n"
      "Content-Length: 9\r\n\r\nbody",
      "HTTP/1.1 206 Partial\r\n" ETAG "Content-Range: bytes -5--9/1\r\nContent-Length: 9\r\n\r\nbody",
      "HTTP/1.1 200 OK\r\n" ETAG "Content-Length: 9223372036854775807\r\n\r\nbody"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    script_answer_t answers[8];
    for (int n = 0; n < 8; n++) answers[n] = (script_answer_t){.text = texts[i], .close = true};
    begin(answers, 8);
    smig_error_t error = SMIG_ERROR_INIT;
    smig_s3_response_t response;
    smig_s3_request_t get = s3_get("bucket", "k");
    get.has_sink = true;
    get.sink = open("/dev/null", O_WRONLY);
    CHECK(!smig_s3_perform(client, &get, &response, &error));
    close(get.sink);
    smig_error_release(&error);
    end();
  }
}

static void a_stream_without_etag_cannot_be_taken_up(void) {
  begin(
      &(script_answer_t){
          .text = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", .filler = 600, .stall = true, .close = true},
      1);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t get = s3_get("bucket", "k");
  smig_s3_exchange_t *stream = open_stream(&get);
  script_release(&server);
  CHECK(read_all(stream, 100, &error) == -1); /* what came is given out, then the failure */
  CHECK_STR(error.name, "NetworkError");
  CHECK(script_requests(&server) == 1);
  smig_error_release(&error);
  CHECK(read_all(stream, 100, &error) == -1);
  CHECK_STR(error.name, "InvalidArgument");
  smig_error_release(&error);
  smig_s3_abandon(stream);
  end();
}

static void the_rest_must_be_of_the_same_object(void) {
  static const struct {
    const char *text, *code;
  } cases[] = {
      {"HTTP/1.1 206 Partial\r\nETag: \"other\"\r\nContent-Range: bytes 600-999/1000\r\nContent-Length: 400\r\n\r\n",
       "InvalidResponse"},
      {"HTTP/1.1 206 Partial\r\n" ETAG "Content-Range: bytes 500-899/1000\r\nContent-Length: 400\r\n\r\n",
       "InvalidResponse"},
      {"HTTP/1.1 200 OK\r\n" ETAG "Content-Length: 1000\r\n\r\n", "InvalidResponse"},
      {"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n", "PreconditionFailed"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    begin(
        (script_answer_t[]){
            {.text = "HTTP/1.1 200 OK\r\n" ETAG "Content-Length: 1000\r\n\r\n", .filler = 600, .close = true},
            {.text = cases[i].text, .close = true}},
        2);
    smig_error_t error = SMIG_ERROR_INIT;
    smig_s3_request_t get = s3_get("bucket", "k");
    s3_fails(client, &get, cases[i].code, &error);
    CHECK(script_requests(&server) == 2);
    smig_error_release(&error);
    end();
  }
}

/* A connection that breaks again and again, but gets on each time: the tries are counted anew. */
static void progress_counts_the_tries_anew(void) {
  enum { PIECES = 8 };
  script_answer_t answers[PIECES];
  char *texts[PIECES];
  for (int i = 0; i < PIECES; i++) {
    texts[i] = i == 0 ? bson_strdup("HTTP/1.1 200 OK\r\n" ETAG "Content-Length: 8000\r\n\r\n")
                      : bson_strdup_printf("HTTP/1.1 206 Partial\r\n" ETAG
                                           "Content-Range: bytes %d-7999/8000\r\nContent-Length: %d\r\n\r\n",
                                           i * 1000, 8000 - i * 1000);
    answers[i] = (script_answer_t){.text = texts[i], .filler = 1000, .filler_from = i * 1000, .close = true};
  }
  begin(answers, PIECES);
  smig_s3_request_t get = s3_get("bucket", "k");
  char *body = s3_body(client, &get);
  CHECK(body && strlen(body) == 8000);
  if (body) check_filler(body, 8000, 0);
  CHECK(script_requests(&server) == PIECES);
  bson_free(body);
  end();
  for (int i = 0; i < PIECES; i++) bson_free(texts[i]);
}

/* ------------------------------------------------------------------ bounds */

static void a_body_to_memory_has_a_bound(void) {
  static const struct {
    const char *text;
    long filler;
  } cases[] = {{"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", 101},
               {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n", 10},
               {"HTTP/1.1 200 OK\r\n\r\n", 70000}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    begin(&(script_answer_t){.text = cases[i].text, .filler = cases[i].filler, .close = true}, 1);
    smig_error_t error = SMIG_ERROR_INIT;
    smig_s3_request_t get = s3_get("bucket", "k");
    get.max_body = 100;
    s3_fails(client, &get, "BodyTooLarge", &error);
    CHECK_STR(error.message,
              "get 'bucket/k' failed: its body has more than 100 bytes; raise max_body, stream it, or get "
              "it to a file");
    CHECK(script_requests(&server) == 1);
    smig_error_release(&error);
    end();
  }
  begin(&(script_answer_t){.text = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", .filler = 100}, 1);
  smig_s3_request_t get = s3_get("bucket", "k");
  get.max_body = 100;
  CHECK(s3_status(client, &get) == 200);
  end();
}

/* A body longer or shorter than was said. */
static void lengths_are_what_was_said(void) {
  begin((script_answer_t[]){{.text = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbodyEXCESS"},
                            {.text = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"}},
        2);
  smig_s3_request_t get = s3_get("bucket", "k");
  check_body(client, &get, "body");
  check_body(client, &get, "good");
  end();
}

static void a_stream_rests_until_it_is_read(void) {
  enum { TOTAL = 32 << 20 };
  static const char text[] = "HTTP/1.1 200 OK\r\n" ETAG "Content-Length: 33554432\r\n\r\n";
  begin((script_answer_t[]){{.text = text, .filler = TOTAL},
                            {.text = text, .filler = TOTAL},
                            {.text = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"}},
        3);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t get = s3_get("bucket", "k");
  smig_s3_exchange_t *one = open_stream(&get), *other = open_stream(&get);
  while (!one->paused || !other->paused) smig_s3_drive(client, 1000);
  CHECK(smig_s3_readable(one) && smig_s3_readable(other));
  CHECK(one->held_to <= SMIG_S3_STREAM_SIZE && other->held_to <= SMIG_S3_STREAM_SIZE);
  char piece[100000];
  size_t got;
  CHECK(smig_s3_read(one, piece, sizeof piece, &got, &error) && got == sizeof piece);
  check_filler(piece, got, 0);
  CHECK(read_all(other, 300000, &error) == TOTAL); /* one does not wait for the other */
  smig_s3_abandon(one);                            /* while it rests */
  smig_s3_abandon(other);
  check_body(client, &get, "body");
  end();
}

/* A scheduler waits by readable and drives; it reads only what is there. */
static void a_stream_goes_on_by_driving_alone(void) {
  enum { TOTAL = 4 << 20 };
  begin(&(script_answer_t){.text = "HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n", .filler = TOTAL}, 1);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t get = s3_get("bucket", "k");
  smig_s3_exchange_t *stream = open_stream(&get);
  int64_t until = smig_clock_mono_ms() + 20000;
  char piece[70000];
  long total = 0;
  for (size_t got = 1; got && smig_clock_mono_ms() < until;) {
    while (!smig_s3_readable(stream) && smig_clock_mono_ms() < until) smig_s3_drive(client, 100);
    if (!smig_s3_readable(stream) || !smig_s3_read(stream, piece, sizeof piece, &got, &error)) break;
    check_filler(piece, got, total);
    total += (long)got;
  }
  CHECK(total == TOTAL, ": %ld", total);
  smig_s3_abandon(stream);
  end();
}

static void a_sink_that_cannot_be_written_is_an_error(void) {
  begin(broken, 3);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t get = s3_get("bucket", "k");
  get.has_sink = true;
  get.sink = open("/dev/full", O_RDWR);
  s3_fails(client, &get, "FileError", &error);
  CHECK_STR(error.message, "get 'bucket/k' failed: the file cannot be written: No space left on device");
  CHECK(script_requests(&server) == 1);
  smig_error_release(&error);
  close(get.sink);
  end();
}

/* -------------------------------------------------------------------- ends */

static const script_answer_t unfinished = {
    .text = "HTTP/1.1 200 OK\r\n" ETAG "Content-Length: 1000\r\n\r\n", .filler = 10, .stall = true};

static void the_guard_ends_a_stream(void) {
  smig_guard_t guard;
  smig_guard_init(&guard);
  begin(&unfinished, 1);
  smig_s3_set_guard(client, &guard);
  smig_error_t error = SMIG_ERROR_INIT, reason = SMIG_ERROR_INIT;
  smig_s3_request_t get = s3_get("bucket", "k");
  smig_s3_exchange_t *stream = open_stream(&get);
  smig_error_set(&reason, SMIG_LOCK_LOST, "shut by the test");
  smig_guard_shut(&guard, SMIG_GUARD_LOST, &reason);
  CHECK(read_all(stream, 100, &error) == -1);
  check_error(&error, SMIG_LOCK_LOST, "shut by the test");
  smig_s3_abandon(stream);
  end();
  smig_guard_release(&guard);
}

static void the_limit_ends_a_stream(void) {
  begin(&unfinished, 1);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_limit(client, 300);
  smig_s3_request_t get = s3_get("bucket", "k");
  smig_s3_exchange_t *stream = open_stream(&get);
  CHECK(read_all(stream, 100, &error) == -1);
  CHECK_STR(error.name, "Timeout");
  smig_error_release(&error);
  smig_s3_abandon(stream);
  end();
}

static void what_is_abandoned_is_gone(void) {
  begin(
      (script_answer_t[]){
          unfinished, {.text = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"}, unfinished, unfinished},
      4);
  smig_s3_request_t get = s3_get("bucket", "k");
  smig_s3_abandon(open_stream(&get));
  check_body(client, &get, "good");
  open_stream(&get);
  smig_s3_start(client, &get);
  smig_s3_abandon(NULL);
  smig_s3_free(client); /* with a stream and an exchange under way */
  smig_s3_free(NULL);
  script_stop(&server);
}

static void a_refusal_of_a_stream_is_told_by_finish(void) {
  begin(&(script_answer_t){.text = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"}, 1);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_request_t get = s3_get("bucket", "k");
  get.stream = true;
  s3_fails(client, &get, "NoSuchKey", &error);
  smig_error_release(&error);
  end();
}

int main(void) {
  s3_forget_environment();
  RUN(a_body_in_memory_is_taken_up);
  RUN(a_body_to_a_file_is_taken_up);
  RUN(a_stream_is_taken_up);
  RUN(a_range_is_taken_up_within_itself);
  RUN(what_has_no_etag_begins_anew);
  RUN(what_begins_anew_is_given_up);
  RUN(lengths_that_cannot_be);
  RUN(a_stream_without_etag_cannot_be_taken_up);
  RUN(the_rest_must_be_of_the_same_object);
  RUN(progress_counts_the_tries_anew);
  RUN(a_body_to_memory_has_a_bound);
  RUN(lengths_are_what_was_said);
  RUN(a_stream_rests_until_it_is_read);
  RUN(a_stream_goes_on_by_driving_alone);
  RUN(a_sink_that_cannot_be_written_is_an_error);
  RUN(the_guard_ends_a_stream);
  RUN(the_limit_ends_a_stream);
  RUN(what_is_abandoned_is_gone);
  RUN(a_refusal_of_a_stream_is_told_by_finish);
  return check_done();
}
