/*
 * Why a try failed: from the service's XML, from the status where there is none, or from libcurl; and the error that is made of it.
 * See internal.h. Texts of others become one line; what may be a signature (64 hexadecimal digits) is cut out of them, and learnt
 * secrets by the error itself. Services send back what was to be signed with "SignatureDoesNotMatch": nothing but the code and the
 * message of a refusal is kept.
 */
#include "internal.h"

#include "guard.h"
#include "text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 300, LINE_MAX_SHOWN = 200, KEY_MAX = 300 };

/* ------------------------------------------------------------ others' texts */

static void cut_signatures(char *text) {
  for (char *c = text; *c;) {
    size_t digits = strspn(c, "0123456789abcdefABCDEF");
    if (digits >= 64) memset(c, '*', digits);
    c += digits ? digits : 1;
  }
}

static char *one_line(const char *text, size_t length, size_t limit) {
  char *copy = bson_strndup(text, length);
  for (char *c = copy; *c; c++)
    if (isspace((unsigned char)*c)) *c = ' ';
  cut_signatures(copy);
  char *line = smig_text_escape(copy, strlen(copy), limit);
  bson_free(copy);
  return line;
}

/* The first line with something on it: of a proxy's page. */
static char *first_line(const char *text, size_t length) {
  while (length && isspace((unsigned char)*text)) text++, length--;
  size_t end = 0;
  while (end < length && text[end] != '\n' && text[end] != '\r') end++;
  return one_line(text, end, LINE_MAX_SHOWN);
}

static char *short_text(const char *text) {
  return text && *text ? one_line(text, strlen(text), LINE_MAX_SHOWN) : NULL;
}

/* ----------------------------------------------------------------- refusals */

/* What an answer without a body means. */
static char *code_of_status(int status, bool has_key) {
  static const struct {
    int status;
    const char *code;
  } codes[] = {{301, "PermanentRedirect"}, {304, "NotModified"},        {307, "TemporaryRedirect"},
               {400, "BadRequest"},        {403, "AccessDenied"},       {405, "MethodNotAllowed"},
               {409, "Conflict"},          {412, "PreconditionFailed"}, {416, "InvalidRange"},
               {429, "TooManyRequests"},   {500, "InternalError"},      {501, "NotImplemented"},
               {503, "ServiceUnavailable"}};
  if (status == 404) return bson_strdup(has_key ? "NoSuchKey" : "NoSuchBucket");
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
    if (codes[i].status == status) return bson_strdup(codes[i].code);
  return bson_strdup_printf("HTTP%d", status);
}

static bool is_code(const char *code) {
  size_t length = strspn(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
  return length > 0 && length <= 100 && !code[length];
}

/* The <Error> of the answer; those in a DeleteResult are its keys', not its own. */
static const smig_xml_node_t *error_element(const smig_xml_t *xml) {
  const smig_xml_node_t *root = smig_xml_root(xml);
  if (strcmp(root->name, "Error") == 0) return root;
  return strcmp(root->name, "DeleteResult") == 0 ? NULL : smig_xml_child(root, "Error");
}

/* From an <Error>; false: the body is none. */
static bool read_error(const smig_s3_text_t *body, smig_s3_failure_t *failure) {
  smig_xml_t *xml = body->length ? smig_xml_parse(body->bytes, body->length, NULL) : NULL;
  const smig_xml_node_t *found = xml ? error_element(xml) : NULL;
  const char *code = smig_xml_text(found, "Code"), *region = smig_xml_text(found, "Region");
  bool good = code && is_code(code);
  if (good) {
    const char *text = smig_xml_text(found, "Message");
    failure->code = bson_strdup(code);
    failure->text = one_line(text ? text : "", text ? strlen(text) : 0, TEXT_MAX);
    failure->request_id = short_text(smig_xml_text(found, "RequestId"));
    failure->host_id = short_text(smig_xml_text(found, "HostId"));
    if (region && smig_s3_is_region(region)) failure->region = bson_strdup(region);
  }
  smig_xml_free(xml);
  return good;
}

/* How long the server asks to wait, in seconds or until a date; 0: it does not. */
static int64_t retry_after_ms(const smig_s3_exchange_t *exchange) {
  const char *value = smig_s3_fields_get(&exchange->headers, "retry-after");
  if (!value) return 0;
  if (isdigit((unsigned char)*value))
    return strtoll(value, NULL, 10) > 3600 ? 3600000 : strtoll(value, NULL, 10) * 1000;
  time_t until = exchange->client->curl->getdate(value, NULL);
  int64_t left = (int64_t)until * 1000 - exchange->server_date_ms;
  return until > 0 && exchange->server_date_ms && left > 0 ? left : 0;
}

/* S3 allows 15 minutes; a HEAD's answer cannot say that it is about the clock. */
static bool is_about_clock(const smig_s3_exchange_t *exchange) {
  int64_t skew = exchange->server_date_ms - exchange->signed_wall_ms;
  return exchange->status == 403 && exchange->server_date_ms && strcmp(exchange->request.method, "HEAD") == 0 &&
         (skew > 14 * 60000 || skew < -14 * 60000);
}

static bool only_reads(const smig_s3_exchange_t *exchange) {
  return strcmp(exchange->request.method, "GET") == 0 || strcmp(exchange->request.method, "HEAD") == 0;
}

/* The rest of a failure that the service told of: its code is known. */
static void complete_refusal(const smig_s3_exchange_t *exchange, smig_s3_failure_t *failure) {
  const smig_s3_fields_t *headers = &exchange->headers;
  const char *region = smig_s3_fields_get(headers, "x-amz-bucket-region");
  failure->status = exchange->status;
  failure->category = exchange->status == 409 || exchange->status == 412 ? "conflict" : "s3";
  if (!failure->request_id) failure->request_id = short_text(smig_s3_fields_get(headers, "x-amz-request-id"));
  if (!failure->host_id) failure->host_id = short_text(smig_s3_fields_get(headers, "x-amz-id-2"));
  if (!failure->region && region && smig_s3_is_region(region)) failure->region = bson_strdup(region);
  failure->remedy =
      smig_s3_remedy(failure->status, failure->code, failure->region && strcmp(failure->region, exchange->region) != 0);
  failure->retryable = failure->remedy != SMIG_S3_NO_REMEDY ||
                       strcmp(failure->code, "ConditionalRequestConflict") == 0 ||
                       strcmp(failure->code, "OperationAborted") == 0;
  failure->timeout = strcmp(failure->code, "RequestTimeout") == 0;
  failure->outcome_unknown = !only_reads(exchange) && smig_s3_leaves_unknown(failure->status, failure->code);
  failure->retry_after_ms = retry_after_ms(exchange);
}

static void judge_refusal(const smig_s3_exchange_t *exchange, smig_s3_failure_t *failure) {
  const smig_s3_text_t *body = &exchange->refusal;
  if (!read_error(body, failure)) {
    failure->code = body->length               ? bson_strdup_printf("HTTP%d", exchange->status)
                    : is_about_clock(exchange) ? bson_strdup("RequestTimeTooSkewed")
                                               : code_of_status(exchange->status, exchange->request.key);
    failure->text = first_line(body->length ? body->bytes : "", body->length);
  }
  complete_refusal(exchange, failure);
}

/* ---------------------------------------------------------------- transport */

static bool is_worth_repeating(CURLcode result) {
  switch (result) {
  case CURLE_UNSUPPORTED_PROTOCOL:
  case CURLE_URL_MALFORMAT:
  case CURLE_OUT_OF_MEMORY:
  case CURLE_SSL_CERTPROBLEM:
  case CURLE_SSL_CIPHER:
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_ENGINE_NOTFOUND:
  case CURLE_WEIRD_SERVER_REPLY:
  case CURLE_LOGIN_DENIED:
    return false;
  default:
    return true;
  }
}

static bool has_reached(const smig_s3_exchange_t *exchange) {
  long sent = 0;
  if (exchange->easy) exchange->client->curl->easy_getinfo(exchange->easy, CURLINFO_REQUEST_SIZE, &sent);
  return sent > 0;
}

bool smig_s3_is_unknown(const smig_s3_exchange_t *exchange) {
  return !only_reads(exchange) && (exchange->maybe_done || has_reached(exchange));
}

static void judge_transport(const smig_s3_exchange_t *exchange, CURLcode result, smig_s3_failure_t *failure) {
  const smig_s3_t *client = exchange->client;
  bool timeout = result == CURLE_OPERATION_TIMEDOUT, strange = result == CURLE_UNSUPPORTED_PROTOCOL;
  const char *given = exchange->curl_text[0] ? exchange->curl_text : client->curl->easy_strerror(result);
  char *why = one_line(result == CURLE_OK ? "the body ended early" : given, strlen(given), TEXT_MAX);
  smig_s3_failure_set(failure, timeout ? "timeout" : "network",
                      timeout   ? "Timeout"
                      : strange ? "InvalidResponse" /* its first bytes are not HTTP's */
                                : "NetworkError",
                      bson_strdup_printf("%s: %s", client->endpoint_text, why));
  bson_free(why);
  failure->timeout = timeout;
  failure->retryable = is_worth_repeating(result);
  failure->remedy = failure->retryable ? SMIG_S3_WAIT : SMIG_S3_NO_REMEDY;
  failure->outcome_unknown = !only_reads(exchange) && has_reached(exchange);
}

/* ------------------------------------------------------------------ judging */

/* What stopped a try on our side; false: nothing. */
static bool judge_ourselves(const smig_s3_exchange_t *exchange, smig_s3_failure_t *failure) {
  const smig_s3_request_t *request = &exchange->request;
  if (exchange->source_errno == ENODATA)
    smig_s3_failure_set(failure, "argument", "FileTooShort",
                        bson_strdup_printf("the file ended before its %" PRId64 " bytes were read; is it written to?",
                                           request->file_length));
  else if (exchange->source_errno)
    smig_s3_failure_set(failure, "argument", "FileError",
                        bson_strdup_printf("the file cannot be read: %s", strerror(exchange->source_errno)));
  else if (exchange->sink_errno)
    smig_s3_failure_set(failure, "argument", "FileError",
                        bson_strdup_printf("the file cannot be written: %s", strerror(exchange->sink_errno)));
  else if (exchange->too_large)
    smig_s3_failure_set(failure, "argument", "BodyTooLarge",
                        bson_strdup_printf("its body has more than %" PRId64
                                           " bytes; raise max_body, stream it, or get it to a file",
                                           request->max_body > 0 ? request->max_body : INT64_C(64) << 20));
  else if (exchange->refused)
    smig_s3_failure_set(failure, "s3", "InvalidResponse",
                        bson_strdup_printf("the answer cannot be used: %s", exchange->refused));
  else
    return false;
  return true;
}

bool smig_s3_judge(const smig_s3_exchange_t *exchange, CURLcode result, smig_s3_failure_t *failure) {
  const smig_s3_received_t *received = &exchange->received;
  *failure = (smig_s3_failure_t){0};
  if (judge_ourselves(exchange, failure)) return false;
  if (exchange->headers_complete && !exchange->good) {
    judge_refusal(exchange, failure);
    return false;
  }
  bool whole = received->last < 0 || strcmp(exchange->request.method, "GET") != 0 ||
               received->first + received->bytes == received->last + 1;
  if (!exchange->headers_complete || result != CURLE_OK || !whole) {
    judge_transport(exchange, result, failure);
    return false;
  }
  if (exchange->request.error_in_200 && read_error(&exchange->body, failure)) {
    complete_refusal(exchange, failure);
    return false;
  }
  return true;
}

void smig_s3_failure_set(smig_s3_failure_t *failure, const char *category, const char *code, char *text) {
  *failure = (smig_s3_failure_t){.category = category, .code = bson_strdup(code), .text = text};
}

void smig_s3_failure_from(smig_s3_failure_t *failure, const char *category, smig_error_t *error) {
  smig_s3_failure_set(failure, category, error->name, bson_strdup(error->message));
  smig_error_release(error);
}

void smig_s3_failure_release(smig_s3_failure_t *failure) {
  bson_free(failure->code);
  bson_free(failure->text);
  bson_free(failure->request_id);
  bson_free(failure->host_id);
  bson_free(failure->region);
}

/* ---------------------------------------------------------------- the error */

/* "uploads/a b.txt", "uploads", or the endpoint. */
static char *subject_of(const smig_s3_exchange_t *exchange) {
  const smig_s3_request_t *request = &exchange->request;
  if (!request->bucket) return bson_strdup(exchange->client->endpoint_text);
  char *bucket = smig_text_escape(request->bucket, strlen(request->bucket), KEY_MAX);
  if (!request->key) return bucket;
  char *key = smig_text_escape(request->key, request->key_length, KEY_MAX);
  char *subject = bson_strdup_printf("%s/%s", bucket, key);
  bson_free(bucket);
  bson_free(key);
  return subject;
}

/* "SlowDown: Please reduce your request rate (HTTP 503, request 4442587FB7D0A2F9)" */
static char *explanation_of(const smig_s3_failure_t *failure) {
  if (!failure->status) return bson_strdup(failure->text);
  return bson_strdup_printf("%s%s%s (HTTP %d%s%s)", failure->code, *failure->text ? ": " : "", failure->text,
                            failure->status, failure->request_id ? ", request " : "",
                            failure->request_id ? failure->request_id : "");
}

static void append_text(bson_t *details, const char *name, const char *text) {
  if (text) BSON_APPEND_UTF8(details, name, text);
}

/* A key as it is where a string can hold it. */
static void append_place(bson_t *details, const smig_s3_request_t *request) {
  append_text(details, "operation", request->operation);
  if (request->bucket && bson_utf8_validate(request->bucket, strlen(request->bucket), false))
    BSON_APPEND_UTF8(details, "bucket", request->bucket);
  if (!request->key) return;
  if (bson_utf8_validate(request->key, request->key_length, false)) {
    bson_append_utf8(details, "key", -1, request->key, (int)request->key_length);
  } else {
    char *key = smig_text_escape(request->key, request->key_length, SIZE_MAX);
    BSON_APPEND_UTF8(details, "key", key);
    bson_free(key);
  }
}

static void append_details(bson_t *details, const smig_s3_exchange_t *exchange, const smig_s3_failure_t *failure) {
  BSON_APPEND_UTF8(details, "category", failure->category);
  if (failure->status) {
    BSON_APPEND_INT32(details, "native", failure->status);
    BSON_APPEND_INT32(details, "status", failure->status);
  }
  append_place(details, &exchange->request);
  append_text(details, "request_id", failure->request_id);
  append_text(details, "host_id", failure->host_id);
  append_text(details, "region", failure->region);
  BSON_APPEND_BOOL(details, "retryable", failure->retryable);
  BSON_APPEND_BOOL(details, "outcome_unknown", failure->outcome_unknown);
  BSON_APPEND_BOOL(details, "timeout", failure->timeout);
  BSON_APPEND_INT32(details, "tries", exchange->tries);
  if (exchange->server_date_ms) BSON_APPEND_DATE_TIME(details, "server_date", exchange->server_date_ms);
  if (exchange->sent_boot_ms) BSON_APPEND_INT64(details, "sent_boot_ms", exchange->sent_boot_ms);
}

/* What was under way when the guard shut. */
static void append_cause(bson_t *details, const smig_s3_exchange_t *exchange, const smig_s3_failure_t *failure) {
  bson_t cause;
  BSON_APPEND_DOCUMENT_BEGIN(details, "cause", &cause);
  BSON_APPEND_UTF8(&cause, "code", failure->code);
  BSON_APPEND_UTF8(&cause, "message", failure->text);
  append_place(&cause, &exchange->request);
  BSON_APPEND_BOOL(&cause, "outcome_unknown", failure->outcome_unknown);
  bson_append_document_end(details, &cause);
}

void smig_s3_failure_error(const smig_s3_exchange_t *exchange, const smig_s3_failure_t *failure, smig_error_t *error) {
  const struct smig_guard *guard = exchange->client->guard;
  if (guard && !smig_guard_check(guard, false, error)) {
    append_cause(smig_error_details(error), exchange, failure);
    return;
  }
  char *subject = subject_of(exchange), *explanation = explanation_of(failure);
  smig_error_set_foreign(error, failure->code, "%s '%s' failed: %s", exchange->request.operation, subject, explanation);
  append_details(smig_error_details(error), exchange, failure);
  bson_free(subject);
  bson_free(explanation);
}
