/*
 * The probe of a store's conditional writes, against the honest server and, by the proxy, against those that are not: it passes the one
 * and catches the others every time, and leaves nothing behind.
 */
#include "s3_backend.h"
#include "s3_probe.h"
#include "s3_proxy.h"

enum { LIMIT_MS = 10000, TIMES = 100 };

static s3_proxy_t proxy;

static smig_s3_t *client_at(const char *endpoint) {
  return s3_open(&(smig_s3_config_t){.endpoint = endpoint,
                                     .access_key_id = getenv("AWS_ACCESS_KEY_ID"),
                                     .secret_access_key = getenv("AWS_SECRET_ACCESS_KEY")});
}

/* How many objects the bucket has. */
static int count_objects(void) {
  int count = 0;
  smig_s3_request_t request = s3_request("list", "GET", s3_bucket, NULL);
  smig_s3_fields_add(&request.query, "list-type", "2");
  char *text = s3_body(s3_client, &request);
  for (const char *at = text; at && (at = strstr(at, "<Key>")); at += 5) count++;
  bson_free(text);
  smig_s3_fields_release(&request.query);
  return count;
}

/* One probe's verdict; what was seen (bson_free) in *seen. */
static smig_s3_verdict_t probe(smig_s3_t *client, char **seen) {
  smig_error_t failure = SMIG_ERROR_INIT;
  smig_s3_verdict_t verdict;
  CHECK_OK(smig_s3_probe(client, s3_bucket, S3_KEY, LIMIT_MS, &verdict, seen, &failure), failure);
  return verdict;
}

static void check_verdict(const char *rule, smig_s3_verdict_t expected, const char *because) {
  smig_s3_t *client = client_at(proxy.endpoint);
  char *seen;
  s3_proxy_add(&proxy, rule);
  smig_s3_verdict_t verdict = probe(client, &seen);
  CHECK(verdict == expected, ": %s: %s (%s)", rule, smig_s3_verdict_name(verdict), seen ? seen : "");
  CHECK(because ? seen && strstr(seen, because) : !seen, ": %s: %s", rule, seen ? seen : "(nothing)");
  bson_free(seen);
  s3_proxy_clear_rules(&proxy);
  smig_s3_free(client);
  CHECK(count_objects() == 0, ": %d are left of: %s", count_objects(), rule);
}

static void an_honest_store_passes_every_time(void) {
  smig_s3_t *client = client_at(getenv("SMARTMIGRATION_TEST_S3_ENDPOINT"));
  int passed = 0;
  for (int i = 0; i < TIMES; i++) {
    char *seen;
    smig_s3_verdict_t verdict = probe(client, &seen);
    if (verdict == SMIG_S3_EXCLUSIVE && !seen)
      passed++;
    else
      printf("# %s\n", seen ? seen : smig_s3_verdict_name(verdict));
    bson_free(seen);
  }
  CHECK(passed == TIMES, ": %d of %d", passed, TIMES);
  CHECK(count_objects() == 0);
  smig_s3_free(client);
}

/* It honours conditions one by one, and judges races by what it read before. */
static void a_store_that_loses_races_is_caught_every_time(void) {
  smig_s3_t *client = client_at(proxy.endpoint);
  int caught = 0;
  s3_proxy_add(&proxy, "'races': 2");
  for (int i = 0; i < TIMES; i++) {
    char *seen;
    if (probe(client, &seen) == SMIG_S3_RACES && strstr(seen, "at the same time")) caught++;
    bson_free(seen);
  }
  CHECK(caught == TIMES, ": %d of %d", caught, TIMES);
  CHECK(count_objects() == 0);
  s3_proxy_clear_rules(&proxy);
  smig_s3_free(client);
}

static void a_store_that_ignores_a_condition_is_caught(void) {
  check_verdict("'method': 'PUT', 'ignore': ['if-none-match']", SMIG_S3_IGNORES, "a second create");
  check_verdict("'method': 'PUT', 'ignore': ['if-match']", SMIG_S3_IGNORES, "a wrong ETag");
  check_verdict("'method': 'PUT', 'ignore': ['if-none-match', 'if-match']", SMIG_S3_IGNORES, "a second create");
  /* A missing key is not another version: some stores make it. */
  check_verdict("'method': 'PUT', 'path': '-1$', 'ignore': ['if-match']", SMIG_S3_IGNORES, "a missing key");
}

static void a_store_that_refuses_conditions_is_told_apart(void) {
  check_verdict(
      "'method': 'PUT', 'header': {'if-none-match': '.'}, 'answer': {'status': 501, 'error': 'NotImplemented'}",
      SMIG_S3_REFUSES, "a first create");
  check_verdict("'method': 'PUT', 'header': {'if-match': '.'}, 'answer': {'status': 501, 'error': 'NotImplemented'}",
                SMIG_S3_REFUSES, "it refuses a write over another version");
  check_verdict(
      "'method': 'PUT', 'header': {'if-match': '.'}, 'answer': {'status': 412, 'error': 'PreconditionFailed'}",
      SMIG_S3_REFUSES, "it declines a write over the version that is there");
}

static void other_words_for_the_same_refusal_are_known(void) {
  check_verdict("'method': 'PUT', 'path': '-1$', 'answer': {'status': 412, 'error': 'PreconditionFailed'}",
                SMIG_S3_EXCLUSIVE, NULL);
  check_verdict("'method': 'PUT', 'path': '-[2-9]$', 'skip': 1, 'times': 8, "
                "'answer': {'status': 409, 'error': 'ConditionalRequestConflict'}",
                SMIG_S3_EXCLUSIVE, NULL);
  /* A race that nobody was told to have won is run again. */
  check_verdict("'method': 'PUT', 'path': '-2$', 'forward': true, "
                "'answer': {'status': 409, 'error': 'ConditionalRequestConflict'}",
                SMIG_S3_EXCLUSIVE, NULL);
}

static void what_cannot_be_found_out_is_an_error_and_leaves_nothing(void) {
  static const struct {
    const char *rule, *name;
  } rows[] = {
      {"'method': 'PUT', 'skip': 1, 'answer': {'status': 403, 'error': 'AccessDenied'}", "AccessDenied"},
      {"'method': 'PUT', 'path': '-([2-9]|1[0-9])$', 'answer': {'status': 403, 'error': 'AccessDenied'}",
       "AccessDenied"},
      {"'method': 'PUT', 'path': '-([2-9]|1[0-9])$', 'forward': true, 'answer': {'status': 409, 'error': 'Conflict'}",
       "ProbeUnanswered"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    smig_s3_t *client = client_at(proxy.endpoint);
    smig_error_t failure = SMIG_ERROR_INIT;
    smig_s3_verdict_t verdict = SMIG_S3_EXCLUSIVE;
    char *seen;
    s3_proxy_add(&proxy, rows[i].rule);
    CHECK(!smig_s3_probe(client, s3_bucket, S3_KEY, LIMIT_MS, &verdict, &seen, &failure), "row %zu", i);
    CHECK(verdict == SMIG_S3_UNKNOWN && !seen);
    CHECK_STR(failure.name, rows[i].name);
    smig_error_release(&failure);
    s3_proxy_clear_rules(&proxy);
    smig_s3_free(client);
    CHECK(count_objects() == 0, ": row %zu", i);
  }
}

/* The proxy lets no racer go on before all sixteen are there, and refuses them when they do not come. */
static void racers_are_in_work_together(void) {
  check_verdict("'method': 'PUT', 'path': '-[2-9]$', 'gather': 16", SMIG_S3_EXCLUSIVE, NULL);
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  s3_backend_start("probe");
  s3_proxy_start(&proxy);
  RUN(an_honest_store_passes_every_time);
  RUN(a_store_that_loses_races_is_caught_every_time);
  RUN(a_store_that_ignores_a_condition_is_caught);
  RUN(a_store_that_refuses_conditions_is_told_apart);
  RUN(other_words_for_the_same_refusal_are_known);
  RUN(what_cannot_be_found_out_is_an_error_and_leaves_nothing);
  RUN(racers_are_in_work_together);
  s3_proxy_stop(&proxy);
  s3_backend_stop();
  return check_done();
}
