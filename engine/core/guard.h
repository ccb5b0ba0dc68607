/*
 * The guard of a run: one flag and one deadline that everything a step does checks first. It is open while the
 * run may work; asked to stop when a signal or a cancel came; shut when the lock is lost or the stop took too long.
 *
 * Writers: the heartbeat thread (shut, extend), the main thread (look, reset), any thread or signal handler (ask).
 * Readers: the main thread, the stream below the driver. A reason is written before the flag that tells of it, and each
 * flag has a reason of its own, so whoever sees a flag may read its reason.
 */
#ifndef SMIG_CORE_GUARD_H
#define SMIG_CORE_GUARD_H

#include "smartmigration.h"

#include <stdatomic.h>

enum {
  SMIG_GUARD_END_MS = 3000,
  SMIG_GUARD_LAST_CALL_MS = 1000 /* a server that answers must get to hear of the end although the time is over */
};

typedef enum smig_guard_state {
  SMIG_GUARD_OPEN,        /* work */
  SMIG_GUARD_LOST,        /* the lock is lost: nothing more may be sent, nothing is stamped */
  SMIG_GUARD_INTERRUPTED, /* the stop took too long: the step's calls are refused, the ledger's are not */
} smig_guard_state_t;

typedef struct smig_guard {
  atomic_int state;       /* smig_guard_state_t */
  atomic_int stop_reason; /* -1: not asked to stop; 0 or a signal's number */
  atomic_int_least64_t
      stop_asked_boot_ms; /* when the request came; means nothing without one, and stays: the next may be on its way */
  atomic_int_least64_t stop_timeout_ms;  /* how long a step may go on after it; INT64_MAX: for ever */
  atomic_int_least64_t deadline_boot_ms; /* past it the lock counts as lost; INT64_MAX: no lease is held */
  atomic_bool step_running;              /* INTERRUPTED refuses only while a step runs */
  atomic_bool looking;                   /* only reading goes on: a stop request refuses it at once */
  smig_error_t lost, interrupted;        /* why it is shut; each written once, before the state it belongs to */
} smig_guard_t;

void smig_guard_init(smig_guard_t *guard);
void smig_guard_release(smig_guard_t *guard);
/* Makes it as new, forgetting a stop request. Others may ask meanwhile; the heartbeat has ended. Main thread. */
void smig_guard_reset(smig_guard_t *guard);

/* Async-signal-safe. The first request counts. */
void smig_guard_ask_to_stop(smig_guard_t *guard, int reason);
bool smig_guard_asked_to_stop(const smig_guard_t *guard);

/* Heartbeat: the lease was extended; a deadline never moves back. */
void smig_guard_extend(smig_guard_t *guard, int64_t deadline_boot_ms);
/* Before steps run: a step that is still running this long after a request to stop is refused every call. */
void smig_guard_limit_stop(smig_guard_t *guard, int64_t stop_timeout_ms);
/* Heartbeat: shuts the guard, INTERRUPTED, when that time is over; true: now. */
bool smig_guard_shut_overdue(smig_guard_t *guard);
/*
 * What is left of `wanted_ms` for writing down how a run ended: all of it, unless it was asked to stop; then no more than until
 * SMIG_GUARD_END_MS after the time it had to stop in, 0 when that is over.
 */
int64_t smig_guard_time_left_ms(const smig_guard_t *guard, int64_t wanted_ms);
/* The same of one call's limit, but not less than SMIG_GUARD_LAST_CALL_MS where it is longer. `guard` may be NULL. */
int64_t smig_guard_call_limit_ms(const smig_guard_t *guard, int64_t limit_ms);
/*
 * Heartbeat: shuts the guard; `reason` is moved into it. An interrupted run may still lose its lock; any other call on a
 * guard that is shut only releases `reason`.
 */
void smig_guard_shut(smig_guard_t *guard, smig_guard_state_t state, smig_error_t *reason);

/*
 * Whether a call may go out now: the guard is open, the deadline not passed, and no stop overdue (no side effects, no error:
 * cheap, for the stream and the hook). The times count although nobody has shut the guard: the heartbeat may wait for a server.
 */
bool smig_guard_permits(const smig_guard_t *guard);

/*
 * Fails with LOCK_LOST (flag or deadline) or INTERRUPTED (shut, overdue, or asked to stop at a `safe_point` or while looking).
 * Every database call of a step checks before it is sent.
 */
bool smig_guard_check(const smig_guard_t *guard, bool safe_point, smig_error_t *error);

#endif
