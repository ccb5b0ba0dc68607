/*
 * Exchanges: begun, driven, tried again, ended. See s3.h for the model, internal.h for who does the rest.
 *
 *     start -> HASHING -> SENDING <-> WAITING -> ENDED
 *
 * An exchange that has ended keeps its result until finish takes it. Nothing is freed while the client is driven.
 */
#include "internal.h"

#include "clock.h"
#include "guard.h"

#include <string.h>
#include <sys/random.h>

enum { GUARD_SLICE_MS = 100, LONGEST_WAIT_MS = 60000, INLINE_HASH_MAX = 1 << 20 };

/* ---------------------------------------------------------------- requests */

static void copy_fields(smig_s3_fields_t *to, const smig_s3_fields_t *from) {
  *to = (smig_s3_fields_t){0};
  for (size_t i = 0; i < from->count; i++) smig_s3_fields_add(to, from->items[i].name, from->items[i].value);
}

static void copy_request(smig_s3_request_t *to, const smig_s3_request_t *from) {
  *to = *from;
  to->operation = bson_strdup(from->operation);
  to->method = bson_strdup(from->method);
  to->bucket = bson_strdup(from->bucket);
  if (from->key) {
    char *key = bson_malloc(from->key_length + 1);
    memcpy(key, from->key, from->key_length);
    key[from->key_length] = '\0';
    to->key = key;
  }
  copy_fields(&to->query, &from->query);
  copy_fields(&to->headers, &from->headers);
}

static void release_request(smig_s3_request_t *request) {
  bson_free((char *)request->operation);
  bson_free((char *)request->method);
  bson_free((char *)request->bucket);
  bson_free((char *)request->key);
  smig_s3_fields_release(&request->query);
  smig_s3_fields_release(&request->headers);
}

/* -------------------------------------------------------------------- ends */

static void release_job(smig_s3_exchange_t *exchange) {
  if (exchange->job) smig_s3_hasher_cancel(exchange->client->hasher, exchange->job);
  bson_free(exchange->job);
  exchange->job = NULL;
}

static void end(smig_s3_exchange_t *exchange) {
  smig_s3_detach(exchange);
  release_job(exchange);
  exchange->state = SMIG_S3_ENDED;
  exchange->client->events++;
}

/* Takes the failure over. */
static void fail(smig_s3_exchange_t *exchange, smig_s3_failure_t *failure) {
  if (exchange->maybe_done) failure->outcome_unknown = true;
  smig_s3_failure_error(exchange, failure, &exchange->error);
  smig_s3_failure_release(failure);
  exchange->failed = true;
  end(exchange);
}

static void fail_from(smig_s3_exchange_t *exchange, const char *category, smig_error_t *error) {
  smig_s3_failure_t failure;
  smig_s3_failure_from(&failure, category, error);
  fail(exchange, &failure);
}

/* Cut off by us, whatever its state. */
static void cut_off(smig_s3_exchange_t *exchange, const char *category, const char *code, char *text) {
  smig_s3_failure_t failure;
  smig_s3_failure_set(&failure, category, code, text);
  failure.timeout = failure.retryable = strcmp(category, "timeout") == 0;
  failure.outcome_unknown = smig_s3_is_unknown(exchange);
  fail(exchange, &failure);
}

/* ------------------------------------------------------------------- tries */

static void try_now(smig_s3_exchange_t *exchange) {
  smig_error_t error = SMIG_ERROR_INIT;
  smig_s3_forget_answer(exchange);
  exchange->tries++;
  exchange->state = SMIG_S3_SENDING;
  exchange->client->stirred = true;
  if (!smig_s3_send(exchange, &error))
    fail_from(exchange, strcmp(error.name, "InvalidArgument") == 0 ? "argument" : "s3", &error);
}

/* Whether the same may be sent again after that failure. */
static bool may_repeat(const smig_s3_exchange_t *exchange, const smig_s3_failure_t *failure) {
  if (exchange->request.once && failure->outcome_unknown) return false;
  if (exchange->handed && !smig_s3_can_take_up(exchange)) return false;
  switch (failure->remedy) {
  case SMIG_S3_WAIT:
    return exchange->tries < SMIG_S3_TRIES;
  case SMIG_S3_SET_CLOCK:
    return !exchange->clock_set && exchange->server_date_ms;
  case SMIG_S3_NEW_CREDENTIALS:
    return !exchange->credentials_renewed;
  case SMIG_S3_OTHER_REGION:
    return !exchange->region_changed;
  default:
    return false;
  }
}

/* Does what the failure calls for; returns how long to wait then. */
static int64_t apply_remedy(smig_s3_exchange_t *exchange, const smig_s3_failure_t *failure) {
  smig_s3_t *client = exchange->client;
  uint32_t random = 0;
  switch (failure->remedy) {
  case SMIG_S3_SET_CLOCK:
    exchange->clock_set = true;
    client->clock_offset_ms = exchange->server_date_ms - smig_clock_wall_ms();
    return 0;
  case SMIG_S3_NEW_CREDENTIALS:
    exchange->credentials_renewed = exchange->wants_new_credentials = true;
    return 0;
  case SMIG_S3_OTHER_REGION:
    exchange->region_changed = true;
    smig_s3_remember_region(client, exchange->request.bucket, failure->region);
    return 0;
  default:
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random) random = (uint32_t)smig_clock_boot_ms();
    return smig_s3_retry_delay_ms(exchange->tries, random, failure->retry_after_ms);
  }
}

static void settle(smig_s3_exchange_t *exchange, CURLcode result) {
  smig_s3_failure_t failure;
  if (smig_s3_judge(exchange, result, &failure)) {
    end(exchange);
    return;
  }
  /* It got on, and goes on from there: the count begins anew. */
  if (exchange->received.bytes > exchange->received_before && smig_s3_can_take_up(exchange)) exchange->tries = 1;
  if (failure.outcome_unknown) exchange->maybe_done = true;
  smig_s3_detach(exchange);
  int64_t now = smig_clock_mono_ms();
  int64_t due = may_repeat(exchange, &failure) ? now + apply_remedy(exchange, &failure) : INT64_MAX;
  if (due >= exchange->deadline_mono_ms) {
    fail(exchange, &failure);
    return;
  }
  smig_s3_failure_release(&failure);
  exchange->due_mono_ms = due;
  exchange->state = SMIG_S3_WAITING;
}

/* ---------------------------------------------------------------- the body */

static void take_digest(smig_s3_exchange_t *exchange, const uint8_t *digest) {
  smig_s3_hex(digest, exchange->payload_hash);
}

static void hash_by_worker(smig_s3_exchange_t *exchange, int64_t length) {
  const smig_s3_request_t *request = &exchange->request;
  smig_s3_hash_job_t *job = exchange->job = bson_malloc0(sizeof *job);
  job->memory = request->has_file ? NULL : request->body;
  job->file = request->file;
  job->offset = request->file_offset;
  job->length = length;
  exchange->state = SMIG_S3_HASHING;
  smig_s3_hasher_submit(exchange->client->hasher, job);
}

/* The first try, once the body's hash is known. */
static void begin(smig_s3_exchange_t *exchange) {
  smig_s3_request_t *request = &exchange->request;
  if (!request->has_file && !request->body) request->body_length = 0;
  int64_t length = request->has_file ? request->file_length : (int64_t)request->body_length;
  if (request->sha256) {
    take_digest(exchange, request->sha256);
  } else if (request->has_file && length && exchange->client->endpoint.tls) {
    strcpy(exchange->payload_hash, SMIG_S3_UNSIGNED);
  } else if (length > INLINE_HASH_MAX || (request->has_file && length)) {
    hash_by_worker(exchange, length);
    return;
  } else {
    smig_s3_sha256_hex(request->body ? request->body : "", (size_t)length, exchange->payload_hash);
  }
  try_now(exchange);
}

static void take_job(smig_s3_exchange_t *exchange) {
  exchange->source_errno = exchange->job->failure;
  take_digest(exchange, exchange->job->digest);
  release_job(exchange);
  smig_s3_failure_t failure;
  if (!exchange->source_errno)
    try_now(exchange);
  else if (!smig_s3_judge(exchange, CURLE_OK, &failure))
    fail(exchange, &failure);
}

/* ------------------------------------------------------------------- start */

smig_s3_exchange_t *smig_s3_start(smig_s3_t *client, const smig_s3_request_t *request) {
  smig_s3_exchange_t *exchange = bson_malloc0(sizeof *exchange);
  smig_error_t error = SMIG_ERROR_INIT;
  exchange->client = client;
  exchange->received.last = -1;
  exchange->deadline_mono_ms = client->limit_ms > 0 ? smig_clock_mono_ms() + client->limit_ms : INT64_MAX;
  copy_request(&exchange->request, request);
  exchange->next = client->exchanges;
  if (exchange->next) exchange->next->previous = exchange;
  client->exchanges = exchange;
  if (client->guard && !smig_guard_check(client->guard, false, &exchange->error)) {
    exchange->failed = true;
    end(exchange);
  } else if (!smig_s3_client_prepare(client, &error)) {
    fail_from(exchange, "s3", &error);
  } else {
    begin(exchange);
  }
  return exchange;
}

/* ------------------------------------------------------------------- drive */

/* What is due, and what must end; returns how long nothing else will be: 0 too when nothing is under way. */
static int64_t move_on(smig_s3_t *client, int64_t timeout_ms) {
  bool under_way = false, shut = client->guard && !smig_guard_permits(client->guard);
  int64_t now = smig_clock_mono_ms(), next = now + timeout_ms;
  for (smig_s3_exchange_t *exchange = client->exchanges; exchange; exchange = exchange->next) {
    if (exchange->state == SMIG_S3_ENDED) continue;
    if (shut)
      cut_off(exchange, "s3", "Interrupted", bson_strdup("it was under way"));
    else if (now >= exchange->deadline_mono_ms)
      cut_off(exchange, "timeout", "Timeout", bson_strdup_printf("%s: no answer in time", client->endpoint_text));
    else if (exchange->state == SMIG_S3_HASHING && smig_s3_hasher_is_done(client->hasher, exchange->job))
      take_job(exchange);
    else if (exchange->state == SMIG_S3_WAITING && now >= exchange->due_mono_ms)
      try_now(exchange);
    if (exchange->state == SMIG_S3_ENDED) continue;
    under_way = true;
    if (exchange->deadline_mono_ms < next) next = exchange->deadline_mono_ms;
    if (exchange->state == SMIG_S3_WAITING && exchange->due_mono_ms < next) next = exchange->due_mono_ms;
  }
  return under_way && next > now ? next - now : 0;
}

static void perform(smig_s3_t *client) {
  int running, left;
  client->stirred = false;
  client->curl->multi_perform(client->multi, &running);
  for (CURLMsg *message; (message = client->curl->multi_info_read(client->multi, &left));) {
    smig_s3_exchange_t *exchange = NULL;
    CURLcode result = message->data.result; /* the message does not outlive its handle's removal */
    client->curl->easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&exchange);
    settle(exchange, result);
  }
}

void smig_s3_drive(smig_s3_t *client, int64_t timeout_ms) {
  if (!client->multi) return; /* nothing can be under way */
  uint64_t events = client->events;
  int64_t longest_ms = client->guard ? GUARD_SLICE_MS : LONGEST_WAIT_MS;
  if (timeout_ms > longest_ms) timeout_ms = longest_ms;
  int64_t wait_ms = move_on(client, timeout_ms);
  if (client->stirred) perform(client);
  if (client->events != events) return;
  client->curl->multi_poll(client->multi, NULL, 0, (int)wait_ms, NULL);
  perform(client);
}

/* ------------------------------------------------------------------ finish */

static bool headers_are_there(const smig_s3_exchange_t *exchange) {
  return exchange->request.stream && exchange->headers_complete && exchange->good && !exchange->refused;
}

bool smig_s3_done(const smig_s3_exchange_t *exchange) {
  return exchange->state == SMIG_S3_ENDED || headers_are_there(exchange);
}

static void take_response(smig_s3_exchange_t *exchange, smig_s3_response_t *response) {
  smig_s3_received_t *received = &exchange->received;
  bool taken_up = received->status;
  response->status = taken_up ? received->status : exchange->status;
  response->headers = taken_up ? received->headers : exchange->headers;
  *(taken_up ? &received->headers : &exchange->headers) = (smig_s3_fields_t){0};
  response->body_received = received->bytes;
  response->server_date_ms = exchange->server_date_ms;
  response->sent_boot_ms = exchange->sent_boot_ms;
  response->answered_boot_ms = exchange->answered_boot_ms;
  if (exchange->request.stream || exchange->request.has_sink) return;
  smig_s3_text_t *body = &exchange->body;
  response->body = body->capacity > body->length ? body->bytes : bson_realloc(body->bytes, body->length + 1);
  response->body[body->length] = '\0';
  response->body_length = body->length;
  *body = (smig_s3_text_t){0};
}

bool smig_s3_finish(smig_s3_exchange_t *exchange, smig_s3_response_t *response, smig_error_t *error) {
  *response = (smig_s3_response_t){0};
  while (!smig_s3_done(exchange)) smig_s3_drive(exchange->client, 1000);
  bool good = !exchange->failed;
  if (good)
    take_response(exchange, response);
  else
    smig_error_move(error, &exchange->error);
  if (good && exchange->request.stream)
    exchange->handed = true;
  else
    smig_s3_abandon(exchange);
  return good;
}

void smig_s3_response_release(smig_s3_response_t *response) {
  smig_s3_fields_release(&response->headers);
  bson_free(response->body);
  *response = (smig_s3_response_t){0};
}

void smig_s3_abandon(smig_s3_exchange_t *exchange) {
  if (!exchange) return;
  smig_s3_t *client = exchange->client;
  end(exchange);
  if (exchange->next) exchange->next->previous = exchange->previous;
  *(exchange->previous ? &exchange->previous->next : &client->exchanges) = exchange->next;
  release_request(&exchange->request);
  bson_free(exchange->region);
  smig_s3_fields_release(&exchange->headers);
  smig_s3_received_release(&exchange->received);
  bson_free(exchange->body.bytes);
  bson_free(exchange->refusal.bytes);
  bson_free(exchange->held);
  smig_error_release(&exchange->error);
  bson_free(exchange);
}

bool smig_s3_perform(smig_s3_t *client, const smig_s3_request_t *request, smig_s3_response_t *response,
                     smig_error_t *error) {
  return smig_s3_finish(smig_s3_start(client, request), response, error);
}
