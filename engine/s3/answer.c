/*
 * An answer as it arrives: libcurl's callbacks for headers and body. See internal.h. A good answer's body goes where the request wants
 * it; a refusal's to memory, as much as is needed to tell why.
 */
#include "internal.h"

#include "clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ----------------------------------------------------------------- headers */

/* "HTTP/1.1 200 OK": of an interim answer (100) too, whose headers are forgotten by the next. */
static void begin(smig_s3_exchange_t *exchange, const char *line, size_t length) {
  const char *blank = memchr(line, ' ', length);
  exchange->status = blank ? atoi(blank) : 0;
  exchange->headers_complete = false;
  smig_s3_fields_release(&exchange->headers);
}

static void add(smig_s3_exchange_t *exchange, const char *line, size_t length) {
  const char *colon = memchr(line, ':', length);
  if (!colon) return;
  const char *value = colon + 1, *end = line + length;
  while (value < end && (*value == ' ' || *value == '\t')) value++;
  while (end > value && strchr(" \t\r\n", end[-1])) end--;
  char *text = bson_strndup(line, length), *name = text;
  for (char *c = text; c < text + (colon - line); c++) *c = smig_s3_lower(*c);
  text[colon - line] = text[end - line] = '\0';
  smig_s3_fields_add(&exchange->headers, name, text + (value - line));
  bson_free(text);
}

static int64_t limit_of(const smig_s3_exchange_t *exchange) {
  return exchange->request.max_body > 0 ? exchange->request.max_body : INT64_C(64) << 20;
}

static void reserve(smig_s3_text_t *text, size_t capacity) {
  if (capacity <= text->capacity) return;
  text->bytes = bson_realloc(text->bytes, capacity);
  text->capacity = capacity;
}

/* The headers are there: what is to become of the body. */
static bool decide(smig_s3_exchange_t *exchange) {
  const smig_s3_fields_t *headers = &exchange->headers;
  const char *date = smig_s3_fields_get(headers, "date"), *length = smig_s3_fields_get(headers, "content-length");
  exchange->headers_complete = true;
  exchange->answered_boot_ms = smig_clock_boot_ms();
  time_t seconds = date ? exchange->client->curl->getdate(date, NULL) : -1;
  exchange->server_date_ms = seconds > 0 ? (int64_t)seconds * 1000 : 0;
  exchange->good = exchange->status >= 200 && exchange->status < 300;
  if (!exchange->good) return true;
  exchange->refused = smig_s3_note_object(exchange);
  const smig_s3_request_t *request = &exchange->request;
  if (length && !request->has_sink && !request->stream && strcmp(request->method, "HEAD") != 0) {
    int64_t announced = strtoll(length, NULL, 10), room = limit_of(exchange) - exchange->received.bytes;
    exchange->too_large = announced > room;
    if (announced >= 0 && announced <= room) reserve(&exchange->body, exchange->body.length + (size_t)announced + 1);
  }
  if (request->stream) exchange->client->events++;
  return !exchange->refused && !exchange->too_large;
}

size_t smig_s3_on_header(char *bytes, size_t one, size_t length, void *user) {
  smig_s3_exchange_t *exchange = user;
  length *= one;
  if (length >= 5 && memcmp(bytes, "HTTP/", 5) == 0) {
    begin(exchange, bytes, length);
  } else if (!exchange->headers_complete) { /* what follows a body is not asked for */
    exchange->headers_size += length;
    if (exchange->headers_size > SMIG_S3_HEADERS_MAX) {
      exchange->refused = "its headers are too long";
      return 0;
    }
    if (*bytes != '\r' && *bytes != '\n')
      add(exchange, bytes, length);
    else if (exchange->status >= 200 && !decide(exchange))
      return 0;
  }
  return length;
}

/* -------------------------------------------------------------------- body */

static void append(smig_s3_text_t *text, const char *bytes, size_t length) {
  size_t needed = text->length + length + 1;
  if (needed > text->capacity) reserve(text, needed * 2);
  memcpy(text->bytes + text->length, bytes, length);
  text->length += length;
}

static size_t keep_in_memory(smig_s3_exchange_t *exchange, const char *bytes, size_t length) {
  exchange->too_large = (int64_t)(exchange->body.length + length) > limit_of(exchange);
  if (exchange->too_large) return 0;
  append(&exchange->body, bytes, length);
  return length;
}

static size_t write_to_file(smig_s3_exchange_t *exchange, const char *bytes, size_t length) {
  off_t at = (off_t)(exchange->request.sink_offset + exchange->received.bytes);
  for (size_t done = 0; done < length;) {
    ssize_t written = pwrite(exchange->request.sink, bytes + done, length - done, at + (off_t)done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      exchange->sink_errno = written < 0 ? errno : ENOSPC;
      return 0;
    }
    done += (size_t)written;
  }
  return length;
}

/* A refusal that is longer than any service's is cut off, and its connection with it. */
static size_t keep_refusal(smig_s3_exchange_t *exchange, const char *bytes, size_t length) {
  size_t room = SMIG_S3_ERROR_MAX - exchange->refusal.length;
  append(&exchange->refusal, bytes, length < room ? length : room);
  return length < room ? length : 0;
}

size_t smig_s3_on_body(char *bytes, size_t one, size_t length, void *user) {
  smig_s3_exchange_t *exchange = user;
  length *= one;
  if (!exchange->good) return keep_refusal(exchange, bytes, length);
  size_t taken = exchange->request.stream     ? smig_s3_hold(exchange, bytes, length)
                 : exchange->request.has_sink ? write_to_file(exchange, bytes, length)
                                              : keep_in_memory(exchange, bytes, length);
  if (taken == length) exchange->received.bytes += (int64_t)length;
  return taken;
}
