/* See sign.h. A digest fails only for want of memory, where libbson aborts, too. */
#include "sign.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ALGORITHM "AWS4-HMAC-SHA256"

enum { DIGEST_SIZE = 32 };

/* ---------------------------------------------------------------- encoding */

static bool is_unreserved(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

char *smig_s3_encode(const char *bytes, size_t length, bool keep_slash) {
  static const char digits[] = "0123456789ABCDEF";
  char *out = bson_malloc(3 * length + 1), *end = out;
  for (size_t i = 0; i < length; i++) {
    unsigned char byte = (unsigned char)bytes[i];
    if (is_unreserved(bytes[i]) || (keep_slash && byte == '/')) {
      *end++ = bytes[i];
    } else {
      *end++ = '%';
      *end++ = digits[byte >> 4];
      *end++ = digits[byte & 15];
    }
  }
  *end = '\0';
  return out;
}

void smig_s3_amz_date(int64_t wall_ms, char out[SMIG_S3_DATE_SIZE]) {
  time_t seconds = wall_ms / 1000;
  struct tm utc = {0};
  gmtime_r(&seconds, &utc);
  if (strftime(out, SMIG_S3_DATE_SIZE, "%Y%m%dT%H%M%SZ", &utc) == 0) *out = '\0'; /* beyond the year 9999 */
}

void smig_s3_hex(const uint8_t digest[32], char out[SMIG_S3_HEX_SIZE]) {
  static const char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < DIGEST_SIZE; i++) {
    out[2 * i] = digits[digest[i] >> 4];
    out[2 * i + 1] = digits[digest[i] & 15];
  }
  out[SMIG_S3_HEX_SIZE - 1] = '\0';
}

void smig_s3_sha256_hex(const void *bytes, size_t length, char out[SMIG_S3_HEX_SIZE]) {
  uint8_t digest[DIGEST_SIZE];
  if (!EVP_Digest(bytes, length, digest, NULL, EVP_sha256(), NULL)) abort();
  smig_s3_hex(digest, out);
}

/* ----------------------------------------------------------- sorted fields */

/* Fields in their canonical order: as encoded they are compared byte by byte. */
typedef struct sorted_field {
  char *name, *value;
  size_t position; /* in the list they came from */
} sorted_field_t;

typedef struct sorted {
  sorted_field_t *items;
  size_t count;
} sorted_t;

static int compare_query(const void *a, const void *b) {
  const sorted_field_t *one = a, *other = b;
  int order = strcmp(one->name, other->name);
  return order ? order : strcmp(one->value, other->value);
}

/* Headers of one name keep their order: it is part of their meaning. */
static int compare_headers(const void *a, const void *b) {
  const sorted_field_t *one = a, *other = b;
  int order = strcmp(one->name, other->name);
  return order ? order : (one->position > other->position) - (one->position < other->position);
}

static char *encode_text(const char *text) {
  return smig_s3_encode(text ? text : "", text ? strlen(text) : 0, false);
}

static char *lower_name(const char *name) {
  char *out = bson_strdup(name);
  for (char *at = out; *at; at++) *at = smig_s3_lower(*at);
  return out;
}

static bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

/* Without blanks around it, and with one where several were. */
static char *fold_value(const char *value) {
  char *out = bson_malloc(strlen(value ? value : "") + 1), *end = out;
  for (const char *at = value ? value : ""; *at; at++) {
    if (!is_blank(*at))
      *end++ = *at;
    else if (end > out && end[-1] != ' ')
      *end++ = ' ';
  }
  if (end > out && end[-1] == ' ') end--;
  *end = '\0';
  return out;
}

static sorted_t sort_fields(const smig_s3_fields_t *fields, char *(*name)(const char *), char *(*value)(const char *),
                            int (*compare)(const void *, const void *)) {
  sorted_t sorted = {.items = bson_malloc0((fields->count + 1) * sizeof *sorted.items), .count = fields->count};
  for (size_t i = 0; i < fields->count; i++) {
    sorted.items[i] = (sorted_field_t){name(fields->items[i].name), value(fields->items[i].value), i};
  }
  qsort(sorted.items, sorted.count, sizeof *sorted.items, compare);
  return sorted;
}

static sorted_t sort_headers(const smig_s3_fields_t *headers) {
  return sort_fields(headers, lower_name, fold_value, compare_headers);
}

static void release_sorted(sorted_t *sorted) {
  for (size_t i = 0; i < sorted->count; i++) {
    bson_free(sorted->items[i].name);
    bson_free(sorted->items[i].value);
  }
  bson_free(sorted->items);
}

char *smig_s3_canonical_query(const smig_s3_fields_t *query) {
  sorted_t sorted = sort_fields(query, encode_text, encode_text, compare_query);
  bson_string_t *out = bson_string_new(NULL);
  for (size_t i = 0; i < sorted.count; i++) {
    if (i > 0) bson_string_append_c(out, '&');
    bson_string_append(out, sorted.items[i].name);
    bson_string_append_c(out, '=');
    bson_string_append(out, sorted.items[i].value);
  }
  release_sorted(&sorted);
  return bson_string_free(out, false);
}

static bool repeats_name(const sorted_t *sorted, size_t i) {
  return i > 0 && strcmp(sorted->items[i].name, sorted->items[i - 1].name) == 0;
}

/* "host:example.com\nx-amz-date:…\n"; values of one name stand behind one another. */
static void append_headers(bson_string_t *out, const sorted_t *sorted) {
  for (size_t i = 0; i < sorted->count; i++) {
    if (repeats_name(sorted, i)) {
      bson_string_append_c(out, ',');
    } else {
      if (i > 0) bson_string_append_c(out, '\n');
      bson_string_append(out, sorted->items[i].name);
      bson_string_append_c(out, ':');
    }
    bson_string_append(out, sorted->items[i].value);
  }
  bson_string_append_c(out, '\n');
}

/* "host;x-amz-date" */
static void append_names(bson_string_t *out, const sorted_t *sorted) {
  for (size_t i = 0; i < sorted->count; i++) {
    if (repeats_name(sorted, i)) continue;
    if (i > 0) bson_string_append_c(out, ';');
    bson_string_append(out, sorted->items[i].name);
  }
}

static char *signed_names(const smig_s3_fields_t *headers) {
  sorted_t sorted = sort_headers(headers);
  bson_string_t *out = bson_string_new(NULL);
  append_names(out, &sorted);
  release_sorted(&sorted);
  return bson_string_free(out, false);
}

/* ----------------------------------------------------------------- signing */

char *smig_s3_canonical_request(const smig_s3_signing_t *signing) {
  char *query = smig_s3_canonical_query(signing->query);
  sorted_t headers = sort_headers(signing->headers);
  bson_string_t *out = bson_string_new(signing->method);
  bson_string_append_c(out, '\n');
  bson_string_append(out, signing->path);
  bson_string_append_c(out, '\n');
  bson_string_append(out, query);
  bson_string_append_c(out, '\n');
  append_headers(out, &headers);
  bson_string_append_c(out, '\n');
  append_names(out, &headers);
  bson_string_append_c(out, '\n');
  bson_string_append(out, signing->payload_hash);
  release_sorted(&headers);
  bson_free(query);
  return bson_string_free(out, false);
}

/* What the signature is good for: "20260414/eu-central-1/s3/aws4_request". */
static char *scope_of(const smig_s3_signing_t *signing) {
  char date[SMIG_S3_DATE_SIZE];
  smig_s3_amz_date(signing->now_wall_ms, date);
  return bson_strdup_printf("%.8s/%s/%s/aws4_request", date, signing->region, signing->service);
}

char *smig_s3_string_to_sign(const smig_s3_signing_t *signing) {
  char date[SMIG_S3_DATE_SIZE], hash[SMIG_S3_HEX_SIZE];
  smig_s3_amz_date(signing->now_wall_ms, date);
  char *request = smig_s3_canonical_request(signing), *scope = scope_of(signing);
  smig_s3_sha256_hex(request, strlen(request), hash);
  char *out = bson_strdup_printf("%s\n%s\n%s\n%s", ALGORITHM, date, scope, hash);
  bson_free(scope);
  bson_free(request);
  return out;
}

static void hmac(const void *key, size_t key_length, const char *text, size_t length, uint8_t out[DIGEST_SIZE]) {
  uint8_t digest[DIGEST_SIZE]; /* `key` may be `out` */
  if (!HMAC(EVP_sha256(), key, (int)key_length, (const uint8_t *)text, length, digest, NULL)) abort();
  memcpy(out, digest, DIGEST_SIZE);
}

static void signature_of(const smig_s3_signing_t *signing, char out[SMIG_S3_HEX_SIZE]) {
  char date[SMIG_S3_DATE_SIZE];
  uint8_t key[DIGEST_SIZE];
  smig_s3_amz_date(signing->now_wall_ms, date);
  char *secret = bson_strdup_printf("AWS4%s", signing->credentials->secret_access_key);
  hmac(secret, strlen(secret), date, strlen("20260414"), key);
  bson_zero_free(secret, strlen(secret));
  hmac(key, sizeof key, signing->region, strlen(signing->region), key);
  hmac(key, sizeof key, signing->service, strlen(signing->service), key);
  hmac(key, sizeof key, "aws4_request", strlen("aws4_request"), key);
  char *text = smig_s3_string_to_sign(signing);
  hmac(key, sizeof key, text, strlen(text), key);
  smig_s3_hex(key, out);
  bson_free(text);
}

char *smig_s3_authorization(const smig_s3_signing_t *signing) {
  char signature[SMIG_S3_HEX_SIZE];
  signature_of(signing, signature);
  char *scope = scope_of(signing), *names = signed_names(signing->headers);
  char *out = bson_strdup_printf("%s Credential=%s/%s, SignedHeaders=%s, Signature=%s", ALGORITHM,
                                 signing->credentials->access_key_id, scope, names, signature);
  bson_free(names);
  bson_free(scope);
  return out;
}

char *smig_s3_presigned_query(const smig_s3_signing_t *signing, int64_t expires_s) {
  const smig_s3_credentials_t *credentials = signing->credentials;
  char date[SMIG_S3_DATE_SIZE], signature[SMIG_S3_HEX_SIZE];
  smig_s3_amz_date(signing->now_wall_ms, date);
  char *scope = scope_of(signing), *names = signed_names(signing->headers);
  char *credential = bson_strdup_printf("%s/%s", credentials->access_key_id, scope);
  char *expires = bson_strdup_printf("%" PRId64, expires_s);

  smig_s3_fields_t query = {0};
  for (size_t i = 0; i < signing->query->count; i++) {
    smig_s3_fields_add(&query, signing->query->items[i].name, signing->query->items[i].value);
  }
  smig_s3_fields_add(&query, "X-Amz-Algorithm", ALGORITHM);
  smig_s3_fields_add(&query, "X-Amz-Credential", credential);
  smig_s3_fields_add(&query, "X-Amz-Date", date);
  smig_s3_fields_add(&query, "X-Amz-Expires", expires);
  smig_s3_fields_add(&query, "X-Amz-SignedHeaders", names);
  if (credentials->session_token) smig_s3_fields_add(&query, "X-Amz-Security-Token", credentials->session_token);

  smig_s3_signing_t all = *signing;
  all.query = &query;
  signature_of(&all, signature);
  char *encoded = smig_s3_canonical_query(&query);
  char *out = bson_strdup_printf("%s&X-Amz-Signature=%s", encoded, signature);

  bson_free(encoded);
  smig_s3_fields_release(&query);
  bson_free(expires);
  bson_free(credential);
  bson_free(names);
  bson_free(scope);
  return out;
}
