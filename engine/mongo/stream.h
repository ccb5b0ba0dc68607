/*
 * The guarded stream: what makes a call through the driver end when the run may not go on. It works at the socket, below
 * TLS and buffering, so that waiting can be cut short without losing bytes of an answer, and nothing is sent that the
 * gate refuses.
 *
 * User: connection. Units: CLOCK_MONOTONIC in ms. Errors: errno, as libmongoc's streams report them. Threads: a gate and
 * its streams belong to the one thread that uses the client; the guard is written by others.
 */
#ifndef SMIG_MONGO_STREAM_H
#define SMIG_MONGO_STREAM_H

#include "guard.h"

#include <mongoc/mongoc.h>

/* What decides whether a client may connect, send and wait. It outlives the client's streams. */
typedef struct smig_stream_gate {
  const smig_guard_t *guard; /* NULL: none */
  int64_t limit_mono_ms;     /* past it everything is refused; 0: no limit */
  bool timed_out; /* a wait has run out, by this limit or by the caller's own; set here, reset by the reader */
} smig_stream_gate_t;

/* 0 when the gate is open, ECANCELED when the guard refuses, ETIMEDOUT past the limit. */
int smig_stream_refusal(const smig_stream_gate_t *gate);

/* Puts the gate before the socket of a stream that the driver's own initiator has opened. `gate` is borrowed. */
void smig_stream_guard(mongoc_stream_t *stream, smig_stream_gate_t *gate);

/* A connection's gate, for whoever explains why a call failed. */
struct smig_mongo_connection;
smig_stream_gate_t *smig_mongo_connection_gate(struct smig_mongo_connection *connection);

#endif
