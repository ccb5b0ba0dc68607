/*
 * Credentials that are fetched while requests are under way: once for all that need them, and never past a guard that has been shut. S3 and
 * the container's endpoint answer by scripts.
 */
#include "clock.h"
#include "guard.h"
#include "internal.h"
#include "s3_cases.h"
#include "s3_script.h"

enum { MANY = 16, ENDS_WITHIN_MS = 2000 };

#define GOOD "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define EXPIRED "HTTP/1.1 400 Bad Request\r\nContent-Length: 40\r\n\r\n<Error><Code>ExpiredToken</Code></Error>"
#define KEYS(name)                                                                                                     \
  "HTTP/1.1 200 OK\r\nContent-Length: 54\r\n\r\n{\"AccessKeyId\":\"" name "\",\"SecretAccessKey\":\"the-secret\"}"
#define AWAY "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

static script_t server, container;
static smig_s3_t *client;
static smig_guard_t guard;

static void begin(const script_answer_t *answers, int count, const script_answer_t *keys, int key_count) {
  script_start(&server, answers, count);
  script_start(&container, keys, key_count);
  char *endpoint = bson_strdup_printf("http://127.0.0.1:%d", server.port);
  char *url = bson_strdup_printf("http://127.0.0.1:%d/keys", container.port);
  setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
  client = s3_open(&(smig_s3_config_t){.endpoint = endpoint});
  smig_guard_init(&guard);
  smig_s3_set_guard(client, &guard);
  bson_free(endpoint);
  bson_free(url);
}

static void end(void) {
  smig_s3_free(client);
  smig_guard_release(&guard);
  script_stop(&server);
  script_stop(&container);
}

/* How many of so many requests at a time came to a good end. */
static int good_of_many(void) {
  smig_s3_exchange_t *exchanges[MANY];
  smig_s3_request_t get = s3_get("bucket", "k");
  int good = 0;
  for (int i = 0; i < MANY; i++) exchanges[i] = smig_s3_start(client, &get);
  for (int i = 0; i < MANY; i++) {
    smig_s3_response_t response;
    smig_error_t error = SMIG_ERROR_INIT;
    good += smig_s3_finish(exchanges[i], &response, &error);
    smig_s3_response_release(&response);
    smig_error_release(&error);
  }
  return good;
}

static int signed_with(const char *key) {
  int count = 0;
  for (int i = 0; i < script_requests(&server); i++) count += strstr(server.heads[i], key) != NULL;
  return count;
}

static void *release_when_all_are_there(void *unused) {
  script_await(&server, MANY);
  script_release(&server);
  return unused;
}

/* The same, where the first ones are answered when all are there, so that each meets what was to come. */
static int good_of_many_held(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, release_when_all_are_there, NULL);
  int good = good_of_many();
  pthread_join(thread, NULL);
  return good;
}

static void many_that_meet_an_expired_token_fetch_once(void) {
  script_answer_t answers[2 * MANY] = {{NULL}}, keys[] = {{.text = KEYS("FIRST")}, {.text = KEYS("OTHER")}};
  for (int i = 0; i < 2 * MANY; i++)
    answers[i] = (script_answer_t){.text = i < MANY ? EXPIRED : GOOD, .hold = i < MANY};
  begin(answers, 2 * MANY, keys, 2);
  CHECK(good_of_many_held() == MANY);
  CHECK(script_requests(&container) == 2, ": %d", script_requests(&container));
  CHECK(signed_with("Credential=FIRST/") == MANY && signed_with("Credential=OTHER/") == MANY);
  end();
}

/* A service that is away is asked once for them all too; a later request asks it again. */
static void many_that_meet_an_expired_token_ask_in_vain_once(void) {
  script_answer_t answers[2 * MANY + 1] = {{NULL}};
  script_answer_t keys[] = {{.text = KEYS("FIRST")}, {.text = AWAY}, {.text = KEYS("OTHER")}};
  for (int i = 0; i < 2 * MANY; i++) answers[i] = (script_answer_t){.text = EXPIRED, .hold = i < MANY};
  answers[2 * MANY] = (script_answer_t){.text = GOOD};
  begin(answers, 2 * MANY + 1, keys, 3);
  CHECK(good_of_many_held() == 0);
  CHECK(script_requests(&container) == 2, ": %d", script_requests(&container));
  CHECK(script_requests(&server) == 2 * MANY - 1, ": %d", script_requests(&server));
  smig_s3_request_t get = s3_get("bucket", "k");
  CHECK(s3_status(client, &get) == 200); /* the script's last refusal, then the good answer */
  CHECK(script_requests(&container) == 3);
  end();
}

typedef struct shutting {
  pthread_t thread;
  bool releases;
  int64_t shut_mono_ms;
} shutting_t;

static void *shut_when_asked(void *user) {
  shutting_t *shutting = user;
  script_await(&container, 1);
  smig_error_t reason = SMIG_ERROR_INIT;
  smig_error_set(&reason, SMIG_LOCK_LOST, "shut by the test");
  smig_guard_shut(&guard, SMIG_GUARD_LOST, &reason);
  shutting->shut_mono_ms = smig_clock_mono_ms();
  if (shutting->releases) script_release(&container);
  return NULL;
}

/* The guard is shut while keys are fetched: nothing is sent, whether they come or not. */
static void check_shut(bool releases) {
  script_answer_t answers[] = {{.text = GOOD}}, keys[] = {{.text = KEYS("FIRST"), .hold = true}, {.text = AWAY}};
  shutting_t shutting = {.releases = releases};
  begin(answers, 1, keys, 2);
  pthread_create(&shutting.thread, NULL, shut_when_asked, &shutting);
  smig_s3_request_t put = s3_put("bucket", "k", "body");
  smig_s3_response_t response;
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(!smig_s3_perform(client, &put, &response, &error));
  pthread_join(shutting.thread, NULL);
  int64_t took_ms = smig_clock_mono_ms() - shutting.shut_mono_ms;
  CHECK(took_ms < ENDS_WITHIN_MS, ": %" PRId64 " ms", took_ms);
  CHECK(error.code == SMIG_LOCK_LOST, ": %s", error.message);
  CHECK(script_requests(&server) == 0 && script_requests(&container) == 1);
  smig_error_release(&error);
  end();
}

static void a_fetch_that_hangs_ends_with_the_guard(void) {
  check_shut(false);
}

static void keys_that_come_too_late_sign_nothing(void) {
  check_shut(true);
}

int main(void) {
  unsetenv("AWS_ACCESS_KEY_ID");
  unsetenv("AWS_SECRET_ACCESS_KEY");
  unsetenv("AWS_SESSION_TOKEN");
  unsetenv("AWS_PROFILE");
  setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere", 1);
  setenv("AWS_CONFIG_FILE", "/nowhere", 1);
  RUN(many_that_meet_an_expired_token_fetch_once);
  RUN(many_that_meet_an_expired_token_ask_in_vain_once);
  RUN(a_fetch_that_hangs_ends_with_the_guard);
  RUN(keys_that_come_too_late_sign_nothing);
  return check_done();
}
