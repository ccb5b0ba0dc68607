/*
 * The guarded stream, see stream.h.
 *
 * libmongoc's socket stream stays what it is; its functions are replaced in its public table, and a table of ours leads
 * from a stream to its gate and to the functions that were there. A refusal is reported to the driver as a time-out:
 * after one the driver keeps what it knows of the servers, so that its own resending fails at once at the refused
 * connect, where a network error would first make it look for servers for the whole selection time.
 *
 * Calls with a time-out of 0 are the topology scanner's: they never wait. All others wait in slices, between which the
 * gate is asked. Units: ms. Rule: a call in progress ends within 2 s of the guard's shutting (contract, section 7).
 */
#include "stream.h"

#include "clock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>

enum { SLICE_MS = 200, NO_TIMEOUT_MS = INT32_MAX };

typedef struct guarded {
  struct guarded *next;
  mongoc_stream_t *stream;
  smig_stream_gate_t *gate;
  mongoc_stream_t original; /* the functions that were there */
  int refusal;              /* errno of our own last refusal or time-out; 0: the socket's own state counts */
} guarded_t;

/* Every guarded stream of the process: a handful. Clients live on several threads, therefore the lock. */
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static guarded_t *table;

static guarded_t *find(const mongoc_stream_t *stream) {
  pthread_mutex_lock(&table_lock);
  guarded_t *guarded = table;
  while (guarded && guarded->stream != stream) guarded = guarded->next;
  pthread_mutex_unlock(&table_lock);
  return guarded;
}

static guarded_t *take_out(const mongoc_stream_t *stream) {
  pthread_mutex_lock(&table_lock);
  guarded_t **link = &table;
  while ((*link)->stream != stream) link = &(*link)->next;
  guarded_t *guarded = *link;
  *link = guarded->next;
  pthread_mutex_unlock(&table_lock);
  return guarded;
}

int smig_stream_refusal(const smig_stream_gate_t *gate) {
  if (gate->guard && !smig_guard_permits(gate->guard)) return ECANCELED;
  if (gate->limit_mono_ms && smig_clock_mono_ms() >= gate->limit_mono_ms) return ETIMEDOUT;
  return 0;
}

/* Fails a call with an errno of ours. */
static ssize_t refuse(guarded_t *guarded, int why) {
  guarded->refusal = why;
  if (why == ETIMEDOUT) guarded->gate->timed_out = true;
  errno = why;
  return -1;
}

/* ------------------------------------------------------------------ waiting */

/* When a wait that begins now ends; INT64_MAX: never. */
static int64_t end_of_wait(int32_t timeout_ms) {
  return timeout_ms < 0 || timeout_ms == NO_TIMEOUT_MS ? INT64_MAX : smig_clock_mono_ms() + timeout_ms;
}

/* The length of the next slice of a wait; 0: it is over. */
static int32_t next_slice(const smig_stream_gate_t *gate, int64_t end_mono_ms) {
  int64_t now = smig_clock_mono_ms();
  if (gate->limit_mono_ms && gate->limit_mono_ms < end_mono_ms) end_mono_ms = gate->limit_mono_ms;
  int64_t left = end_mono_ms == INT64_MAX ? SLICE_MS : end_mono_ms - now;
  return left <= 0 ? 0 : left < SLICE_MS ? (int32_t)left : SLICE_MS;
}

/* Polls streams of one gate: > 0 something is ready, 0 the time is over or a signal came at the end, -1 errno. */
static ssize_t poll_in_slices(guarded_t *guarded, mongoc_stream_poll_t *streams, size_t count, int64_t end_mono_ms) {
  for (;;) {
    int refusal = smig_stream_refusal(guarded->gate);
    if (refusal) return refuse(guarded, refusal);
    int32_t slice = next_slice(guarded->gate, end_mono_ms);
    ssize_t ready = guarded->original.poll(streams, count, slice);
    if (ready > 0 || (ready < 0 && errno != EINTR)) return ready;
    if (!slice) return ready < 0 ? 0 : ready;
  }
}

/* Waits until the socket is ready for `events`: 1 ready, 0 the time is over, -1 refused or failed. */
static ssize_t wait_for(guarded_t *guarded, int events, int64_t end_mono_ms) {
  mongoc_stream_poll_t one = {.stream = guarded->stream, .events = events};
  return poll_in_slices(guarded, &one, 1, end_mono_ms);
}

/* ------------------------------------------------- the functions put in place */

static size_t total_length(const mongoc_iovec_t *iov, size_t count) {
  size_t total = 0;
  for (size_t i = 0; i < count; i++) total += iov[i].iov_len;
  return total;
}

/* Moves the beginning of a vector past `bytes`; *iov and *count are updated, and the first element may be shortened. */
static void advance(mongoc_iovec_t **iov, size_t *count, size_t bytes) {
  while (*count && bytes >= (*iov)->iov_len) {
    bytes -= (*iov)->iov_len;
    (*iov)++;
    (*count)--;
  }
  if (*count) {
    (*iov)->iov_base = (char *)(*iov)->iov_base + bytes;
    (*iov)->iov_len -= bytes;
  }
}

/* Sends what the socket did not take at once. Returns what went out in all, or -1. */
static ssize_t send_rest(guarded_t *guarded, const mongoc_iovec_t *iov, size_t count, size_t sent, size_t total,
                         int64_t end_mono_ms) {
  mongoc_iovec_t *copy = bson_malloc(count * sizeof *copy), *rest = copy;
  memcpy(copy, iov, count * sizeof *copy);
  advance(&rest, &count, sent);
  ssize_t result = (ssize_t)sent;
  while (sent < total) {
    ssize_t ready = wait_for(guarded, POLLOUT, end_mono_ms);
    if (ready < 0) {
      result = -1;
      break;
    }
    if (!ready) {
      refuse(guarded, ETIMEDOUT);
      break;
    }
    ssize_t more = guarded->original.writev(guarded->stream, rest, count, 0);
    if (more < 0) {
      result = -1;
      break;
    }
    advance(&rest, &count, (size_t)more);
    sent += (size_t)more;
    result = (ssize_t)sent;
  }
  int saved = errno;
  bson_free(copy);
  errno = saved;
  return result;
}

static ssize_t guarded_writev(mongoc_stream_t *stream, mongoc_iovec_t *iov, size_t count, int32_t timeout_ms) {
  guarded_t *guarded = find(stream);
  int refusal = smig_stream_refusal(guarded->gate);
  if (refusal) return refuse(guarded, refusal);
  guarded->refusal = 0;
  int64_t end = end_of_wait(timeout_ms);
  ssize_t sent = guarded->original.writev(stream, iov, count, 0);
  if (timeout_ms == 0 || sent < 0) return sent;
  size_t total = total_length(iov, count);
  return (size_t)sent == total ? sent : send_rest(guarded, iov, count, (size_t)sent, total, end);
}

/*
 * Reads into one element as soon as something is there. `minimum` 0 is TLS's: it takes what comes, and has to see the
 * socket's own answer when nothing does.
 */
static ssize_t read_some(guarded_t *guarded, mongoc_iovec_t *element, size_t minimum, int64_t end_mono_ms) {
  for (;;) {
    ssize_t ready = wait_for(guarded, POLLIN, end_mono_ms);
    if (ready < 0) return -1;
    if (!ready && minimum) return refuse(guarded, ETIMEDOUT);
    mongoc_iovec_t copy = *element; /* the original moves it */
    ssize_t got = guarded->original.readv(guarded->stream, &copy, 1, minimum ? 1 : 0, 0);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) continue;
    if (!ready && got <= 0) {
      guarded->gate->timed_out = true;
      guarded->refusal = ETIMEDOUT;
    }
    return got;
  }
}

static ssize_t guarded_readv(mongoc_stream_t *stream, mongoc_iovec_t *iov, size_t count, size_t minimum,
                             int32_t timeout_ms) {
  guarded_t *guarded = find(stream);
  int refusal = smig_stream_refusal(guarded->gate);
  if (refusal) return refuse(guarded, refusal);
  guarded->refusal = 0;
  if (timeout_ms == 0) return guarded->original.readv(stream, iov, count, minimum, 0);

  int64_t end = end_of_wait(timeout_ms);
  size_t read = 0, total = total_length(iov, count);
  for (;;) {
    ssize_t got = read_some(guarded, iov, minimum, end);
    if (got <= 0) return got; /* what came before is lost with the stream, as below */
    read += (size_t)got;
    if (read >= minimum || read == total) {
      guarded->gate->timed_out = false; /* what timed out before has been made good by the driver */
      return (ssize_t)read;
    }
    advance(&iov, &count, (size_t)got);
  }
}

/* The topology scanner's, over all its streams. A refused one reads as broken, so that the scan ends and does not spin. */
static ssize_t guarded_poll(mongoc_stream_poll_t *streams, size_t count, int32_t timeout_ms) {
  guarded_t *guarded = find(streams[0].stream);
  guarded->refusal = 0;
  ssize_t ready = poll_in_slices(guarded, streams, count, end_of_wait(timeout_ms));
  if (ready < 0 && guarded->refusal) {
    for (size_t i = 0; i < count; i++) streams[i].revents = POLLERR;
    return (ssize_t)count;
  }
  return ready;
}

static bool guarded_timed_out(mongoc_stream_t *stream) {
  guarded_t *guarded = find(stream);
  return guarded->refusal ? true : guarded->original.timed_out(stream);
}

static bool guarded_should_retry(mongoc_stream_t *stream) {
  guarded_t *guarded = find(stream);
  return guarded->refusal ? false : guarded->original.should_retry(stream);
}

static void guarded_destroy(mongoc_stream_t *stream) {
  guarded_t *guarded = take_out(stream);
  guarded->original.destroy(stream);
  bson_free(guarded);
}

static void guarded_failed(mongoc_stream_t *stream) {
  guarded_t *guarded = take_out(stream);
  guarded->original.failed(stream);
  bson_free(guarded);
}

void smig_stream_guard(mongoc_stream_t *stream, smig_stream_gate_t *gate) {
  mongoc_stream_t *base;
  while ((base = mongoc_stream_get_base_stream(stream)) != stream) stream = base;

  guarded_t *guarded = bson_malloc0(sizeof *guarded);
  guarded->stream = stream;
  guarded->gate = gate;
  guarded->original = *stream;
  pthread_mutex_lock(&table_lock);
  guarded->next = table;
  table = guarded;
  pthread_mutex_unlock(&table_lock);

  stream->readv = guarded_readv;
  stream->writev = guarded_writev;
  stream->poll = guarded_poll;
  stream->timed_out = guarded_timed_out;
  stream->should_retry = guarded_should_retry;
  stream->destroy = guarded_destroy;
  stream->failed = guarded_failed;
}
