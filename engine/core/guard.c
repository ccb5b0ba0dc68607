/*
 * The guard of a run. See guard.h for who writes and who reads.
 * Units: CLOCK_BOOTTIME in ms. Errors: LOCK_LOST, INTERRUPTED. `state` is stored with release after `reason` and
 * loaded with acquire before it, so whoever sees the guard shut sees its reason whole.
 */
#include "guard.h"

#include "clock.h"

#include <signal.h>
#include <string.h>

void smig_guard_init(smig_guard_t *guard) {
  *guard = (smig_guard_t){.lost = SMIG_ERROR_INIT, .interrupted = SMIG_ERROR_INIT};
  smig_guard_reset(guard);
}

void smig_guard_release(smig_guard_t *guard) {
  smig_error_release(&guard->lost);
  smig_error_release(&guard->interrupted);
}

void smig_guard_reset(smig_guard_t *guard) {
  smig_guard_release(guard);
  atomic_store(&guard->state, SMIG_GUARD_OPEN);
  atomic_store(&guard->stop_timeout_ms, INT64_MAX);
  atomic_store(&guard->deadline_boot_ms, INT64_MAX);
  atomic_store(&guard->step_running, false);
  atomic_store(&guard->looking, false);
  atomic_store(&guard->stop_reason, -1);
}

void smig_guard_ask_to_stop(smig_guard_t *guard, int reason) {
  if (smig_guard_asked_to_stop(guard)) return;
  /* The time goes before the flag that tells of it. */
  atomic_store_explicit(&guard->stop_asked_boot_ms, smig_clock_boot_ms(), memory_order_relaxed);
  int not_asked = -1;
  atomic_compare_exchange_strong_explicit(&guard->stop_reason, &not_asked, reason < 0 ? 0 : reason,
                                          memory_order_release, memory_order_relaxed);
}

bool smig_guard_asked_to_stop(const smig_guard_t *guard) {
  return atomic_load_explicit(&guard->stop_reason, memory_order_acquire) != -1;
}

void smig_guard_extend(smig_guard_t *guard, int64_t deadline_boot_ms) {
  int64_t former = atomic_load_explicit(&guard->deadline_boot_ms, memory_order_relaxed);
  if (former == INT64_MAX || deadline_boot_ms > former)
    atomic_store_explicit(&guard->deadline_boot_ms, deadline_boot_ms, memory_order_release);
}

void smig_guard_shut(smig_guard_t *guard, smig_guard_state_t state, smig_error_t *reason) {
  int former = atomic_load_explicit(&guard->state, memory_order_relaxed);
  if (former == SMIG_GUARD_LOST || former == (int)state) {
    smig_error_release(reason);
    return;
  }
  smig_error_move(state == SMIG_GUARD_LOST ? &guard->lost : &guard->interrupted, reason);
  atomic_store_explicit(&guard->state, state, memory_order_release);
}

static bool past_deadline(const smig_guard_t *guard) {
  int64_t deadline = atomic_load_explicit(&guard->deadline_boot_ms, memory_order_acquire);
  return deadline != INT64_MAX && smig_clock_boot_ms() > deadline;
}

/* A stop was asked for, and the step has not come to one in time. */
static bool stop_overdue(const smig_guard_t *guard) {
  if (!smig_guard_asked_to_stop(guard) || !atomic_load_explicit(&guard->step_running, memory_order_acquire))
    return false;
  int64_t timeout = atomic_load_explicit(&guard->stop_timeout_ms, memory_order_relaxed);
  return smig_clock_boot_ms() - atomic_load(&guard->stop_asked_boot_ms) >= timeout;
}

/* Why the flag, the deadline aside, refuses a call now; NULL: it does not. */
static const smig_error_t *shut_by(const smig_guard_t *guard) {
  switch (atomic_load_explicit(&guard->state, memory_order_acquire)) {
  case SMIG_GUARD_OPEN:
    return NULL;
  case SMIG_GUARD_INTERRUPTED:
    return atomic_load_explicit(&guard->step_running, memory_order_acquire) ? &guard->interrupted : NULL;
  default:
    return &guard->lost;
  }
}

/* While only reading goes on, any moment is a safe point. */
static bool stop_ends_looking(const smig_guard_t *guard) {
  return atomic_load_explicit(&guard->looking, memory_order_relaxed) && smig_guard_asked_to_stop(guard);
}

bool smig_guard_permits(const smig_guard_t *guard) {
  return !shut_by(guard) && !past_deadline(guard) && !stop_overdue(guard) && !stop_ends_looking(guard);
}

static void set_interrupted(smig_error_t *error, int signal_number) {
  const char *name = signal_number ? sigabbrev_np(signal_number) : NULL;
  if (name)
    smig_error_set(error, SMIG_INTERRUPTED, "the run was asked to stop by SIG%s; run again to go on", name);
  else if (signal_number)
    smig_error_set(error, SMIG_INTERRUPTED, "the run was asked to stop by signal %d; run again to go on",
                   signal_number);
  else
    smig_error_set(error, SMIG_INTERRUPTED, "the run was asked to stop; run again to go on");
  bson_t *details = smig_error_details(error);
  if (details && signal_number) BSON_APPEND_INT32(details, "signal", signal_number);
}

static void set_overdue(const smig_guard_t *guard, smig_error_t *error) {
  int64_t timeout = atomic_load(&guard->stop_timeout_ms);
  int signal_number = atomic_load_explicit(&guard->stop_reason, memory_order_acquire);
  smig_error_set(error, SMIG_INTERRUPTED,
                 "the run was asked to stop and its step reached no safe point within %" PRId64
                 " ms, so that its running command was ended; run again to go on",
                 timeout);
  bson_t *details = smig_error_details(error);
  if (!details) return;
  if (signal_number) BSON_APPEND_INT32(details, "signal", signal_number);
  BSON_APPEND_INT64(details, "stop_timeout_ms", timeout);
}

void smig_guard_limit_stop(smig_guard_t *guard, int64_t stop_timeout_ms) {
  atomic_store_explicit(&guard->stop_timeout_ms, stop_timeout_ms, memory_order_relaxed);
}

int64_t smig_guard_time_left_ms(const smig_guard_t *guard, int64_t wanted_ms) {
  int64_t timeout = atomic_load_explicit(&guard->stop_timeout_ms, memory_order_relaxed);
  if (timeout > INT64_MAX / 2 || !smig_guard_asked_to_stop(guard)) return wanted_ms;
  int64_t left = atomic_load(&guard->stop_asked_boot_ms) + timeout + SMIG_GUARD_END_MS - smig_clock_boot_ms();
  if (left < 0) left = 0;
  return left < wanted_ms ? left : wanted_ms;
}

int64_t smig_guard_call_limit_ms(const smig_guard_t *guard, int64_t limit_ms) {
  int64_t least = limit_ms < SMIG_GUARD_LAST_CALL_MS ? limit_ms : SMIG_GUARD_LAST_CALL_MS;
  int64_t left = guard ? smig_guard_time_left_ms(guard, limit_ms) : limit_ms;
  return left > least ? left : least;
}

bool smig_guard_shut_overdue(smig_guard_t *guard) {
  if (atomic_load(&guard->state) != SMIG_GUARD_OPEN || !stop_overdue(guard)) return false;
  smig_error_t reason = SMIG_ERROR_INIT;
  set_overdue(guard, &reason);
  smig_guard_shut(guard, SMIG_GUARD_INTERRUPTED, &reason);
  return true;
}

/* The reason stays the guard's: several calls of a step may have to fail with it. */
static void copy_reason(const smig_error_t *reason, smig_error_t *error) {
  smig_error_set(error, reason->code, "%s", reason->message);
  bson_t *details = smig_error_details(error);
  if (details) bson_concat(details, reason->details);
}

bool smig_guard_check(const smig_guard_t *guard, bool safe_point, smig_error_t *error) {
  const smig_error_t *why = shut_by(guard);
  if (why) {
    copy_reason(why, error);
    return false;
  }
  if (past_deadline(guard)) {
    smig_error_set(error, SMIG_LOCK_LOST,
                   "the lock is lost: no beat got through within three quarters of its time to live; nothing more is "
                   "sent, see that the ledger's server can be reached and run again");
    bson_t *details = smig_error_details(error);
    if (details) BSON_APPEND_UTF8(details, "why", "deadline");
    return false;
  }
  if (stop_overdue(guard)) {
    set_overdue(guard, error);
    return false;
  }
  if (smig_guard_asked_to_stop(guard) && (safe_point || stop_ends_looking(guard))) {
    set_interrupted(error, atomic_load_explicit(&guard->stop_reason, memory_order_acquire));
    return false;
  }
  return true;
}
