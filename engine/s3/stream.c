/*
 * Streams, and bodies that break off: what of a stream is held until it is read, and how the next try goes on where the last one
 * ended (Range, and If-Match of the ETag that the first answer had), whatever the body goes to. See s3.h and internal.h.
 */
#include "internal.h"

#include "guard.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------- taking up */

bool smig_s3_can_take_up(const smig_s3_exchange_t *exchange) {
  return exchange->received.etag && (exchange->received.bytes || exchange->handed);
}

void smig_s3_received_release(smig_s3_received_t *received) {
  bson_free(received->etag);
  smig_s3_fields_release(&received->headers);
  *received = (smig_s3_received_t){.last = -1};
}

void smig_s3_forget_answer(smig_s3_exchange_t *exchange) {
  smig_s3_received_t *received = &exchange->received;
  exchange->takes_up = smig_s3_can_take_up(exchange);
  if (!exchange->takes_up) {
    smig_s3_received_release(received);
    exchange->held_from = exchange->held_to = exchange->body.length = 0;
  } else if (!received->status) {
    received->status = exchange->status;
    received->headers = exchange->headers;
    exchange->headers = (smig_s3_fields_t){0};
  }
  exchange->received_before = received->bytes;
  exchange->refusal.length = 0;
  exchange->status = 0;
  exchange->headers_size = 0;
  exchange->headers_complete = exchange->good = exchange->too_large = false;
  exchange->refused = NULL;
  exchange->sink_errno = exchange->source_errno = 0;
  exchange->server_date_ms = 0;
}

/* Which bytes of the object an answer carries; last -1: it does not say, or nothing that can be. */
static void range_of(const smig_s3_fields_t *headers, int64_t *first, int64_t *last) {
  const char *range = smig_s3_fields_get(headers, "content-range"),
             *length = smig_s3_fields_get(headers, "content-length");
  *first = 0;
  *last = length ? strtoll(length, NULL, 10) - 1 : -1;
  bool good = !range || sscanf(range, "bytes %" SCNd64 "-%" SCNd64, first, last) == 2;
  if (good && *first >= 0 && *last >= *first - 1 && *last < SMIG_S3_LENGTH_MAX) return;
  *first = 0;
  *last = -1;
}

/* An ETag by which the rest can be asked for: a weak one never matches, and a part's number allows no range. */
static const char *usable_etag(const smig_s3_exchange_t *exchange) {
  const char *etag = smig_s3_fields_get(&exchange->headers, "etag");
  bool usable = etag && *etag == '"' && strcmp(exchange->request.method, "GET") == 0 &&
                !smig_s3_fields_get(&exchange->request.query, "partNumber");
  return usable ? etag : NULL;
}

const char *smig_s3_note_object(smig_s3_exchange_t *exchange) {
  smig_s3_received_t *received = &exchange->received;
  int64_t first, last;
  range_of(&exchange->headers, &first, &last);
  if (!exchange->takes_up) {
    received->first = first;
    received->last = last;
    received->etag = bson_strdup(usable_etag(exchange));
    return NULL;
  }
  const char *etag = smig_s3_fields_get(&exchange->headers, "etag");
  if (exchange->status != 206 || first != received->first + received->bytes)
    return "it broke off, and the server does not send the rest alone";
  if (!etag || strcmp(etag, received->etag) != 0) return "it broke off, and the object is another one now";
  return NULL;
}

/* ----------------------------------------------------------------- streams */

size_t smig_s3_hold(smig_s3_exchange_t *exchange, const char *bytes, size_t length) {
  if (!exchange->held) exchange->held = bson_malloc(SMIG_S3_STREAM_SIZE);
  if (exchange->held_to + length > SMIG_S3_STREAM_SIZE) {
    exchange->paused = true;
    return CURL_WRITEFUNC_PAUSE;
  }
  memcpy(exchange->held + exchange->held_to, bytes, length);
  exchange->held_to += length;
  exchange->client->events++;
  return length;
}

void smig_s3_resume(smig_s3_exchange_t *exchange) {
  if (!exchange->paused) return;
  exchange->paused = false;
  exchange->client->stirred = true;
  exchange->client->curl->easy_pause(exchange->easy, CURLPAUSE_CONT);
}

static bool holds(const smig_s3_exchange_t *exchange) {
  return exchange->held_to > exchange->held_from;
}

bool smig_s3_readable(const smig_s3_exchange_t *exchange) {
  return holds(exchange) || exchange->state == SMIG_S3_ENDED;
}

bool smig_s3_read(smig_s3_exchange_t *exchange, void *buffer, size_t size, size_t *got, smig_error_t *error) {
  const struct smig_guard *guard = exchange->client->guard;
  *got = 0;
  if (guard && !smig_guard_check(guard, false, error)) return false;
  while (!smig_s3_readable(exchange)) {
    smig_s3_resume(exchange);
    smig_s3_drive(exchange->client, 1000);
  }
  if (holds(exchange)) {
    size_t held = exchange->held_to - exchange->held_from;
    *got = held < size ? held : size;
    memcpy(buffer, exchange->held + exchange->held_from, *got);
    exchange->held_from += *got;
    if (!holds(exchange)) {
      exchange->held_from = exchange->held_to = 0;
      smig_s3_resume(exchange); /* now: who waits by smig_s3_readable only drives */
    }
    return true;
  }
  if (!exchange->failed) return true;
  if (exchange->error.code == SMIG_OK)
    smig_error_set_foreign(error, "InvalidArgument", "the stream has failed before; open it again");
  else
    smig_error_move(error, &exchange->error);
  return false;
}
