/*
 * The guard of a run. See guard.h for who writes and who reads.
 * Units: CLOCK_BOOTTIME in ms. Errors: LOCK_LOST, INTERRUPTED. `state` is stored with release after `reason` and
 * loaded with acquire before it, so whoever sees the guard shut sees the reason whole.
 */
#include "guard.h"

#include "clock.h"

#include <signal.h>
#include <string.h>

void smig_guard_init(smig_guard_t *guard) {
  atomic_init(&guard->state, SMIG_GUARD_OPEN);
  atomic_init(&guard->stop_reason, -1);
  atomic_init(&guard->stop_asked_boot_ms, 0);
  atomic_init(&guard->deadline_boot_ms, INT64_MAX);
  atomic_init(&guard->step_running, false);
  guard->reason = (smig_error_t)SMIG_ERROR_INIT;
}

void smig_guard_release(smig_guard_t *guard) {
  smig_error_release(&guard->reason);
}

void smig_guard_ask_to_stop(smig_guard_t *guard, int reason) {
  int not_asked = -1; /* the first request is the one that counts */
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
  if (atomic_load_explicit(&guard->state, memory_order_relaxed) == SMIG_GUARD_OPEN) {
    smig_error_move(&guard->reason, reason);
    atomic_store_explicit(&guard->state, state, memory_order_release);
  } else {
    smig_error_release(reason);
  }
}

static bool past_deadline(const smig_guard_t *guard) {
  int64_t deadline = atomic_load_explicit(&guard->deadline_boot_ms, memory_order_acquire);
  return deadline != INT64_MAX && smig_clock_boot_ms() > deadline;
}

/* Whether the flag, the deadline aside, refuses a call now. */
static bool is_shut(const smig_guard_t *guard) {
  switch (atomic_load_explicit(&guard->state, memory_order_acquire)) {
  case SMIG_GUARD_OPEN:
    return false;
  case SMIG_GUARD_INTERRUPTED:
    return atomic_load_explicit(&guard->step_running, memory_order_acquire);
  default:
    return true;
  }
}

bool smig_guard_permits(const smig_guard_t *guard) {
  return !is_shut(guard) && !past_deadline(guard);
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

/* The reason stays the guard's: several calls of a step may have to fail with it. */
static void copy_reason(const smig_guard_t *guard, smig_error_t *error) {
  smig_error_set(error, guard->reason.code, "%s", guard->reason.message);
  bson_t *details = smig_error_details(error);
  if (details) bson_concat(details, guard->reason.details);
}

bool smig_guard_check(const smig_guard_t *guard, bool safe_point, smig_error_t *error) {
  if (is_shut(guard)) {
    copy_reason(guard, error);
    return false;
  }
  if (past_deadline(guard)) {
    smig_error_set(error, SMIG_LOCK_LOST,
                   "the lock is lost: no beat got through within three quarters of its time to live; nothing more is "
                   "sent, see that the ledger's server can be reached and run again");
    return false;
  }
  int reason = atomic_load_explicit(&guard->stop_reason, memory_order_acquire);
  if (safe_point && reason != -1) {
    set_interrupted(error, reason);
    return false;
  }
  return true;
}
