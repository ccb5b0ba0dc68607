/*
 * Signatures against two references: the signing cases AWS published (.cache/aws4_testsuite) and botocore's S3 signers on random
 * requests (spec/support/s3_reference.py). scripts/setup signers fetches both; without them the cases fail.
 * `test_s3_sign SEED` repeats a run.
 */
#include "check.h"
#include "secrets.h"
#include "sign.h"

#include <ftw.h>
#include <time.h>

#define CASES ".cache/aws4_testsuite"

static unsigned seed;

/* ---------------------------------------------------------- published cases */

static int cases_run, cases_normalized, files_seen;

/* The file beside a case's request that ends so; a carriage return at a line's end is no part of it. NULL: there is none. */
static char *read_file(const char *request_path, const char *ending) {
  char *path = bson_strdup_printf("%.*s%s", (int)(strlen(request_path) - strlen(".req")), request_path, ending);
  FILE *file = fopen(path, "rb");
  bson_free(path);
  if (!file) return NULL;
  char *out = bson_malloc0(65536);
  size_t length = fread(out, 1, 65535, file), kept = 0;
  fclose(file);
  for (size_t i = 0; i < length; i++) {
    if (out[i] != '\r') out[kept++] = out[i];
  }
  out[kept] = '\0';
  return out;
}

static void decode(char *text) {
  char *end = text;
  for (char *at = text; *at; end++) {
    if (*at == '%' && sscanf(at + 1, "%2hhx", (unsigned char *)end) == 1)
      at += 3;
    else
      *end = *at++;
  }
  *end = '\0';
}

/* "name=value&name" of a request line: encoded or not, as the case has it. */
static void read_query(char *text, smig_s3_fields_t *query) {
  char *rest = NULL;
  for (char *part = strtok_r(text, "&", &rest); part; part = strtok_r(NULL, "&", &rest)) {
    char *value = strchr(part, '=');
    if (value) *value++ = '\0';
    decode(part);
    smig_s3_fields_add(query, part, value);
  }
}

/* Lines of headers up to an empty one; a line that begins with a blank goes on with the one before. Returns the body. */
static const char *read_headers(char *at, smig_s3_fields_t *headers) {
  while (at && *at && *at != '\n') {
    char *end = strchr(at, '\n');
    while (end && (end[1] == ' ' || end[1] == '\t')) {
      *end = ' ';
      end = strchr(end, '\n');
    }
    if (end) *end = '\0';
    char *colon = strchr(at, ':');
    *colon = '\0';
    smig_s3_fields_add(headers, at, colon + 1);
    at = end ? end + 1 : NULL;
  }
  return at && *at ? at + 1 : "";
}

static void check_published(const char *path) {
  char *request = read_file(path, ".req"), *canonical = read_file(path, ".creq");
  char *to_sign = read_file(path, ".sts"), *authorization = read_file(path, ".authz");
  CHECK(canonical && to_sign && authorization, ": %s lacks a file", path);
  if (!canonical || !to_sign || !authorization) return;

  /* "GET /a b?x=y HTTP/1.1": the path may hold blanks */
  char *line_end = strchr(request, '\n');
  *line_end = '\0';
  *strrchr(request, ' ') = '\0';
  char *target = strchr(request, ' ');
  *target++ = '\0';
  smig_s3_fields_t query = {0}, headers = {0};
  char *mark = strchr(target, '?');
  if (mark) {
    *mark = '\0';
    read_query(mark + 1, &query);
  }
  const char *body = read_headers(line_end + 1, &headers);
  char hash[SMIG_S3_HEX_SIZE];
  smig_s3_sha256_hex(body, strlen(body), hash);

  /* S3 takes a path as it is: where the case normalizes it, the normalized one is given. */
  char *own_path = smig_s3_encode(target, strlen(target), true);
  char *their_path = bson_strdup(strchr(canonical, '\n') + 1);
  *strchr(their_path, '\n') = '\0';
  if (strcmp(own_path, their_path) != 0) cases_normalized++;

  const char *token = strstr(canonical, "\nx-amz-security-token:");
  if (token && !smig_s3_fields_get(&headers, "x-amz-security-token")) {
    char *value = bson_strndup(strchr(token, ':') + 1, strcspn(strchr(token, ':') + 1, "\n"));
    smig_s3_fields_add(&headers, "X-Amz-Security-Token", value);
    bson_free(value);
  }

  smig_s3_credentials_t credentials = {"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", NULL, 0};
  smig_s3_signing_t signing = {.method = request,
                               .path = their_path,
                               .query = &query,
                               .headers = &headers,
                               .payload_hash = hash,
                               .region = "us-east-1",
                               .service = "service",
                               .now_wall_ms = 1440938160000,
                               .credentials = &credentials};
  char *got[] = {smig_s3_canonical_request(&signing), smig_s3_string_to_sign(&signing),
                 smig_s3_authorization(&signing)};
  const char *wanted[] = {canonical, to_sign, authorization};
  for (size_t i = 0; i < 3; i++) {
    CHECK(strcmp(got[i], wanted[i]) == 0, ": %s:\n%s\nis not\n%s", path, got[i], wanted[i]);
    bson_free(got[i]);
  }
  cases_run++;

  smig_s3_fields_release(&query);
  smig_s3_fields_release(&headers);
  bson_free(their_path);
  bson_free(own_path);
  bson_free(authorization);
  bson_free(to_sign);
  bson_free(canonical);
  bson_free(request);
}

static int visit(const char *path, const struct stat *about, int type, struct FTW *position) {
  (void)about, (void)position;
  size_t length = strlen(path);
  if (type == FTW_F && length > 5 && strcmp(path + length - 5, ".creq") == 0) files_seen++;
  if (type == FTW_F && length > 4 && strcmp(path + length - 4, ".req") == 0) check_published(path);
  return 0;
}

static void published_cases_are_signed_alike(void) {
  CHECK(nftw(CASES, visit, 16, FTW_PHYS) == 0, ": %s cannot be read: scripts/setup signers", CASES);
  CHECK(cases_run > 0 && cases_run == files_seen, ": %d of %d", cases_run, files_seen);
  printf("# %d published cases of %d, %d of them with the normalized path given, since S3 normalizes none\n", cases_run,
         files_seen, cases_normalized);
}

/* ----------------------------------------------------------------- botocore */

static const char *text_of(const bson_t *record, const char *name) {
  bson_iter_t at;
  return bson_iter_init_find(&at, record, name) && BSON_ITER_HOLDS_UTF8(&at) ? bson_iter_utf8(&at, NULL) : NULL;
}

static int64_t number_of(const bson_t *record, const char *name) {
  bson_iter_t at;
  return bson_iter_init_find(&at, record, name) ? bson_iter_as_int64(&at) : -1;
}

/* [[name, value], …] */
static void read_pairs(const bson_t *record, const char *name, smig_s3_fields_t *fields) {
  bson_iter_t list, pair;
  if (!bson_iter_init_find(&list, record, name) || !bson_iter_recurse(&list, &pair)) return;
  while (bson_iter_next(&pair)) {
    bson_iter_t at;
    const char *parts[2] = {NULL, NULL};
    if (!bson_iter_recurse(&pair, &at)) return;
    for (size_t i = 0; i < 2 && bson_iter_next(&at); i++) parts[i] = bson_iter_utf8(&at, NULL);
    smig_s3_fields_add(fields, parts[0], parts[1]);
  }
}

static uint8_t *from_hex(const char *text, size_t *length) {
  *length = strlen(text) / 2;
  uint8_t *out = bson_malloc0(*length + 1);
  for (size_t i = 0; i < *length; i++) sscanf(text + 2 * i, "%2hhx", &out[i]);
  return out;
}

static bool check_record(const bson_t *record) {
  size_t key_length, body_length;
  uint8_t *key = from_hex(text_of(record, "key"), &key_length);
  char *encoded = smig_s3_encode((const char *)key, key_length, true), *path = bson_strdup_printf("/%s", encoded);
  char hash[SMIG_S3_HEX_SIZE];
  const char *payload = SMIG_S3_UNSIGNED;
  if (text_of(record, "body")) {
    uint8_t *body = from_hex(text_of(record, "body"), &body_length);
    smig_s3_sha256_hex(body, body_length, hash);
    bson_free(body);
    payload = hash;
  }
  smig_s3_fields_t query = {0}, headers = {0};
  read_pairs(record, "query", &query);
  read_pairs(record, "headers", &headers);
  smig_s3_credentials_t credentials = {text_of(record, "access_key_id"), text_of(record, "secret_access_key"),
                                       text_of(record, "session_token"), 0};
  smig_s3_signing_t signing = {.method = text_of(record, "method"),
                               .path = path,
                               .query = &query,
                               .headers = &headers,
                               .payload_hash = payload,
                               .region = text_of(record, "region"),
                               .service = "s3",
                               .now_wall_ms = number_of(record, "now_ms"),
                               .credentials = &credentials};
  int64_t expires_s = number_of(record, "expires_s");
  char *canonical = expires_s ? NULL : smig_s3_canonical_request(&signing);
  char *got = expires_s ? smig_s3_presigned_query(&signing, expires_s) : smig_s3_authorization(&signing);
  bool good = strcmp(got, text_of(record, "expected")) == 0 &&
              (!canonical || strcmp(canonical, text_of(record, "canonical")) == 0);
  CHECK(good, ":\n%s\nis not\n%s\ncanonical:\n%s\nis not\n%s", got, text_of(record, "expected"),
        canonical ? canonical : "(presigned)", text_of(record, "canonical"));

  bson_free(got);
  bson_free(canonical);
  smig_s3_fields_release(&query);
  smig_s3_fields_release(&headers);
  bson_free(path);
  bson_free(encoded);
  bson_free(key);
  return good;
}

static void botocore_signs_random_requests_alike(void) {
  enum { SIGNED = 4000, PRESIGNED = 2000 };
  char *command = bson_strdup_printf("python3 spec/support/s3_reference.py %u %d %d", seed, SIGNED, PRESIGNED);
  FILE *reference = popen(command, "r");
  char *line = NULL;
  size_t size = 0;
  int compared = 0;
  bool good = true;
  while (good && getline(&line, &size, reference) > 0) { /* the first difference says enough */
    bson_error_t error;
    bson_t *record = bson_new_from_json((const uint8_t *)line, -1, &error);
    CHECK(record, ": %s", error.message);
    good = record && check_record(record);
    bson_destroy(record);
    compared += good;
  }
  while (getline(&line, &size, reference) > 0) {}
  free(line);
  CHECK(pclose(reference) == 0, ": the reference failed: scripts/setup signers");
  CHECK(compared == SIGNED + PRESIGNED, ": %d compared", compared);
  printf("# %d requests compared with botocore, %d of them presigned; seed %u\n", compared, PRESIGNED, seed);
  bson_free(command);
}

/* ---------------------------------------------------------------- the rest */

static void a_presigned_signature_is_a_secret(void) {
  smig_s3_fields_t query = {0}, headers = {0};
  smig_s3_fields_add(&headers, "host", "example.com");
  smig_s3_credentials_t credentials = {"AKIDEXAMPLE", "secret", "token", 0};
  smig_s3_signing_t signing = {.method = "GET",
                               .path = "/",
                               .query = &query,
                               .headers = &headers,
                               .payload_hash = SMIG_S3_UNSIGNED,
                               .region = "us-east-1",
                               .service = "s3",
                               .credentials = &credentials};
  char *presigned = smig_s3_presigned_query(&signing, 60);
  char *scrubbed = smig_secret_scrub(presigned, strlen(presigned));
  CHECK(strstr(presigned, "X-Amz-Date=19700101T000000Z&X-Amz-Expires=60&X-Amz-Security-Token=token"), ": %s",
        presigned);
  CHECK(strstr(scrubbed, "X-Amz-Signature=***") && strlen(scrubbed) == strlen(presigned) - 61, ": %s", scrubbed);
  bson_free(scrubbed);
  bson_free(presigned);
  smig_s3_fields_release(&headers);
}

static void dates_beyond_four_digits_are_empty(void) {
  char date[SMIG_S3_DATE_SIZE];
  smig_s3_amz_date(1776169894123, date);
  CHECK_STR(date, "20260414T123134Z");
  smig_s3_amz_date(INT64_C(253402300800000), date);
  CHECK_STR(date, "");
}

static void fields_are_found_whatever_their_case(void) {
  smig_s3_fields_t fields = {0};
  CHECK(!smig_s3_fields_get(&fields, "etag"));
  for (int i = 0; i < 20; i++) {
    char name[16];
    snprintf(name, sizeof name, "X-Name-%d", i);
    smig_s3_fields_add(&fields, name, i == 19 ? NULL : name);
  }
  CHECK_STR(smig_s3_fields_get(&fields, "x-nAME-17"), "X-Name-17");
  CHECK(!smig_s3_fields_get(&fields, "x-name-19") && !smig_s3_fields_get(&fields, "x-name-") && fields.count == 20);
  char *query = smig_s3_canonical_query(&fields);
  CHECK(strncmp(query, "X-Name-0=X-Name-0&X-Name-1=X-Name-1&X-Name-10=", 46) == 0 && strstr(query, "X-Name-19=&"),
        ": %s", query);
  bson_free(query);
  smig_s3_fields_release(&fields);
  CHECK(!fields.items && fields.count == 0);
}

int main(int count, char **arguments) {
  seed = count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : (unsigned)time(NULL);
  RUN(published_cases_are_signed_alike);
  RUN(botocore_signs_random_requests_alike);
  RUN(a_presigned_signature_is_a_secret);
  RUN(dates_beyond_four_digits_are_empty);
  RUN(fields_are_found_whatever_their_case);
  return check_done();
}
