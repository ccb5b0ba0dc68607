/*
 * One try of an exchange: its headers, its signature, and an easy handle that carries it. See internal.h.
 *
 * A body in memory goes as libcurl's POST fields, so that head and a small body leave in one write; a file's range is read by a
 * callback. libcurl sends a request again by itself when a connection that it used before turns out to be closed; before it sends it
 * asks us, and what is to be sent `once` we allow once.
 * Errors: "InvalidArgument", and those of the credentials.
 */
#include "internal.h"

#include "clock.h"
#include "guard.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ------------------------------------------------------------------ bodies */

static size_t on_read(char *to, size_t one, size_t room, void *user) {
  smig_s3_exchange_t *exchange = user;
  const smig_s3_request_t *request = &exchange->request;
  size_t left = (size_t)(request->file_length - exchange->uploaded), length = left < one * room ? left : one * room;
  if (!length) return 0;
  ssize_t got;
  do got = pread(request->file, to, length, (off_t)(request->file_offset + exchange->uploaded));
  while (got < 0 && errno == EINTR);
  if (got <= 0) {
    exchange->source_errno = got < 0 ? errno : ENODATA;
    return CURL_READFUNC_ABORT;
  }
  exchange->uploaded += got;
  return (size_t)got;
}

static int on_seek(void *user, curl_off_t offset, int origin) {
  smig_s3_exchange_t *exchange = user;
  if (origin != SEEK_SET) return CURL_SEEKFUNC_FAIL;
  exchange->uploaded = offset;
  return CURL_SEEKFUNC_OK;
}

/* libcurl has a connection and is about to send. */
static int on_connected(void *user, char *address, char *own_address, int port, int own_port) {
  smig_s3_exchange_t *exchange = user;
  (void)address, (void)own_address, (void)port, (void)own_port;
  bool again = exchange->sent;
  exchange->sent = true;
  return again && exchange->request.once ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

/* ----------------------------------------------------------------- headers */

enum { OWN_HEADERS = 12 };

/* Borrows both. */
static void put(smig_s3_fields_t *headers, const char *name, const char *value) {
  if (value) headers->items[headers->count++] = (smig_s3_field_t){.name = (char *)name, .value = (char *)value};
}

static bool is_token(const char *name) {
  for (const char *c = name; *c; c++)
    if (*c <= ' ' || *c > '~' || strchr("()<>@,;:\\\"/[]?={}", *c)) return false;
  return *name;
}

static bool is_header_value(const char *value) {
  for (; value && *value; value++)
    if (((unsigned char)*value < ' ' && *value != '\t') || *value == 0x7f) return false;
  return true;
}

static bool check_headers(const smig_s3_fields_t *headers, smig_error_t *error) {
  for (size_t i = 0; i < headers->count; i++) {
    if (!is_token(headers->items[i].name)) {
      smig_error_set_foreign(error, "InvalidArgument", "the name of a header is no word");
      return false;
    }
    if (!is_header_value(headers->items[i].value)) {
      smig_error_set_foreign(error, "InvalidArgument", "header '%s' holds a control character", headers->items[i].name);
      return false;
    }
  }
  return true;
}

static void put_own(const smig_s3_exchange_t *exchange, smig_s3_fields_t *headers, const char *range) {
  const smig_s3_request_t *request = &exchange->request;
  const smig_s3_config_t *config = &exchange->client->config;
  if (request->bucket) put(headers, "x-amz-expected-bucket-owner", config->expected_bucket_owner);
  if (smig_s3_fields_get(&request->headers, "x-amz-copy-source"))
    put(headers, "x-amz-source-expected-bucket-owner", config->expected_bucket_owner);
  if (request->creates_object && !smig_s3_fields_get(&request->headers, "x-amz-server-side-encryption")) {
    put(headers, "x-amz-server-side-encryption", config->sse);
    put(headers, "x-amz-server-side-encryption-aws-kms-key-id", config->sse_kms_key_id);
  }
  if (!exchange->takes_up) return;
  put(headers, "range", range);
  if (!smig_s3_fields_get(&request->headers, "if-match")) put(headers, "if-match", exchange->received.etag);
}

/* Headers as libcurl wants them, in one allocation: the list's nodes, then their texts. */
static struct curl_slist *lines_of(const smig_s3_fields_t *headers, const char *const *removed) {
  size_t count = headers->count, size = 0;
  for (size_t i = 0; i < headers->count; i++)
    size += strlen(headers->items[i].name) + strlen(headers->items[i].value ? headers->items[i].value : "") + 3;
  for (size_t i = 0; removed[i]; i++) count++;
  struct curl_slist *nodes = bson_malloc(count * sizeof *nodes + size);
  char *text = (char *)(nodes + count), *end = text + size;
  for (size_t i = 0; i < count; i++) {
    nodes[i].next = i + 1 < count ? &nodes[i + 1] : NULL;
    if (i >= headers->count) {
      nodes[i].data = (char *)removed[i - headers->count];
      continue;
    }
    const smig_s3_field_t *header = &headers->items[i];
    nodes[i].data = text;
    bool empty = !header->value || !*header->value; /* "name;" is libcurl's word for an empty header */
    text += snprintf(text, (size_t)(end - text), empty ? "%s;" : "%s: %s", header->name, header->value) + 1;
  }
  return nodes;
}

/* ------------------------------------------------------------- easy handles */

#define SET(option, value) curl->easy_setopt(easy, CURLOPT_##option, value)

static CURL *new_handle(const smig_s3_t *client) {
  const smig_curl_t *curl = client->curl;
  CURL *easy = curl->easy_init();
  if (!easy) return NULL;
  SET(NOSIGNAL, 1L);
  SET(QUICK_EXIT, 1L); /* do not wait for a look-up of names that hangs */
  SET(NOPROGRESS, 1L);
  SET(PATH_AS_IS, 1L);
  SET(PROTOCOLS_STR, "http,https");
  SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  SET(FOLLOWLOCATION, 0L);
  SET(SUPPRESS_CONNECT_HEADERS, 1L);
  SET(CONNECTTIMEOUT_MS, (long)SMIG_S3_CONNECT_MS);
  SET(LOW_SPEED_LIMIT, 1L);
  SET(TCP_KEEPALIVE, 1L);
  SET(BUFFERSIZE, (long)SMIG_S3_BUFFER_SIZE);
  SET(UPLOAD_BUFFERSIZE, (long)SMIG_S3_BUFFER_SIZE);
  SET(USERAGENT, "smartmigration/" SMIG_VERSION);
  if (client->ca_file) SET(CAINFO, client->ca_file);
  SET(HEADERFUNCTION, smig_s3_on_header);
  SET(WRITEFUNCTION, smig_s3_on_body);
  SET(READFUNCTION, on_read);
  SET(SEEKFUNCTION, on_seek);
  SET(PREREQFUNCTION, on_connected);
  return easy;
}

static void set_method(const smig_s3_exchange_t *exchange, CURL *easy, int64_t length) {
  const smig_curl_t *curl = exchange->client->curl;
  const smig_s3_request_t *request = &exchange->request;
  bool puts = strcmp(request->method, "PUT") == 0 || strcmp(request->method, "POST") == 0;
  SET(POSTFIELDS, NULL);
  SET(HTTPGET, 1L); /* takes back what another method left */
  SET(CUSTOMREQUEST, strcmp(request->method, "GET") == 0 ? NULL : request->method);
  if (strcmp(request->method, "HEAD") == 0) {
    SET(NOBODY, 1L);
  } else if (request->has_file) {
    SET(UPLOAD, 1L);
    SET(INFILESIZE_LARGE, (curl_off_t)length);
  } else if (puts || length) {
    SET(POSTFIELDSIZE_LARGE, (curl_off_t)length);
    SET(POSTFIELDS, length ? request->body : "");
  }
}

static bool put_on_handle(smig_s3_exchange_t *exchange, const char *url, int64_t length, smig_error_t *error) {
  smig_s3_t *client = exchange->client;
  const smig_curl_t *curl = client->curl;
  CURL *easy = client->idle_count ? client->idle[--client->idle_count] : new_handle(client);
  bool good = easy;
  if (good) {
    set_method(exchange, easy, length);
    exchange->curl_text[0] = '\0';
    SET(HTTPHEADER, exchange->lines);
    SET(LOW_SPEED_TIME, (long)(exchange->request.error_in_200 ? SMIG_S3_WORK_S : client->stall_s));
    SET(ERRORBUFFER, exchange->curl_text);
    SET(HEADERDATA, exchange);
    SET(WRITEDATA, exchange);
    SET(READDATA, exchange);
    SET(SEEKDATA, exchange);
    SET(PREREQDATA, exchange);
    SET(PRIVATE, exchange);
    exchange->easy = easy;
    exchange->sent_boot_ms = smig_clock_boot_ms();
    good = SET(URL, url) == CURLE_OK && curl->multi_add_handle(client->multi, easy) == CURLM_OK;
  }
  if (!good) smig_error_set_foreign(error, "NetworkError", "libcurl takes no more requests; is memory left?");
  return good;
}

/* ------------------------------------------------------------------- a try */

static char *sign(smig_s3_exchange_t *exchange, const smig_s3_target_t *target, const smig_s3_fields_t *headers,
                  const smig_s3_credentials_t *credentials) {
  smig_s3_signing_t signing = {.method = exchange->request.method,
                               .path = target->path,
                               .query = &exchange->request.query,
                               .headers = headers,
                               .payload_hash = exchange->payload_hash,
                               .region = exchange->region,
                               .service = "s3",
                               .now_wall_ms = exchange->signed_wall_ms,
                               .credentials = credentials,
                               .key = &exchange->client->signing_key};
  return smig_s3_authorization(&signing);
}

static void make_lines(smig_s3_exchange_t *exchange, const smig_s3_target_t *target,
                       const smig_s3_credentials_t *credentials) {
  static const char *const removed[] = {"expect:", "content-type:", NULL};
  const smig_s3_fields_t *own = &exchange->request.headers;
  const smig_s3_received_t *received = &exchange->received;
  smig_s3_fields_t headers = {.items = bson_malloc((own->count + OWN_HEADERS) * sizeof *headers.items)};
  char date[SMIG_S3_DATE_SIZE], range[64];
  smig_s3_amz_date(exchange->signed_wall_ms, date);
  int written = snprintf(range, sizeof range, "bytes=%" PRId64 "-", received->first + received->bytes);
  if (received->last >= 0) snprintf(range + written, sizeof range - (size_t)written, "%" PRId64, received->last);
  for (size_t i = 0; i < own->count; i++) {
    bool replaced = exchange->takes_up && strcmp(own->items[i].name, "range") == 0;
    if (!replaced) put(&headers, own->items[i].name, own->items[i].value ? own->items[i].value : "");
  }
  put(&headers, "host", target->host);
  put(&headers, "x-amz-date", date);
  put(&headers, "x-amz-content-sha256", exchange->payload_hash);
  put(&headers, "x-amz-security-token", credentials->session_token);
  put_own(exchange, &headers, range);
  char *authorization = sign(exchange, target, &headers, credentials);
  put(&headers, "authorization", authorization);
  exchange->lines =
      lines_of(&headers, smig_s3_fields_get(own, "content-type") ? (const char *const[]){removed[0], NULL} : removed);
  bson_free(authorization);
  bson_free(headers.items);
}

bool smig_s3_send(smig_s3_exchange_t *exchange, smig_error_t *error) {
  smig_s3_t *client = exchange->client;
  const smig_s3_request_t *request = &exchange->request;
  const smig_s3_credentials_t *credentials;
  smig_s3_target_t target;
  bson_free(exchange->region); /* a copy: another exchange may find out a better one meanwhile */
  exchange->region = bson_strdup(smig_s3_region_of(client, request->bucket));
  if (!check_headers(&request->headers, error)) return false;
  if (!smig_s3_target(client, request, exchange->region, &target, error)) return false;
  bool anew =
      exchange->wants_new_credentials && exchange->credentials_fetch == smig_credentials_fetches(client->credentials);
  bool good = smig_credentials_get(client->credentials, anew, &credentials, error);
  exchange->credentials_fetch = smig_credentials_fetches(client->credentials);
  if (good && client->guard && !smig_guard_permits(client->guard)) { /* fetching took its time */
    smig_error_set_foreign(error, "Interrupted", "it was not sent yet");
    good = false;
  }
  if (good) {
    exchange->wants_new_credentials = false;
    exchange->signed_wall_ms = smig_clock_wall_ms() + client->clock_offset_ms;
    exchange->uploaded = 0;
    exchange->sent = false;
    make_lines(exchange, &target, credentials);
    char *query = smig_s3_canonical_query(&request->query);
    char *url = bson_strdup_printf("%s://%s%s%s%s", client->endpoint.tls ? "https" : "http", target.host, target.path,
                                   *query ? "?" : "", query);
    good =
        put_on_handle(exchange, url, request->has_file ? request->file_length : (int64_t)request->body_length, error);
    bson_free(url);
    bson_free(query);
  }
  smig_s3_target_release(&target);
  return good;
}

void smig_s3_detach(smig_s3_exchange_t *exchange) {
  smig_s3_t *client = exchange->client;
  if (exchange->easy) {
    client->curl->multi_remove_handle(client->multi, exchange->easy);
    if (client->idle_count < SMIG_S3_IDLE_HANDLES)
      client->idle[client->idle_count++] = exchange->easy;
    else
      client->curl->easy_cleanup(exchange->easy);
  }
  exchange->easy = NULL;
  exchange->paused = false;
  bson_free(exchange->lines);
  exchange->lines = NULL;
}
