/*
 * The heartbeat's thread, see heartbeat.h. Users: run/. Units: CLOCK_BOOTTIME in ms, because it counts sleep.
 * Errors: INVALID_OPTIONS at the start; what it finds goes into the guard (LOCK_LOST, INTERRUPTED) and the warning.
 *
 * Threads: everything but `stop`, `warning`, `rest_ttl_ms` and `resting` belongs to the thread once it runs; those are under `lock`. The thread
 * takes no signals, so that handlers run on the thread that expects them.
 *
 * Rule: the guard is shut first and the run's commands are ended on the server second, so that nothing new is sent
 * while the old is being ended (contract, sections 5 and 7).
 */
#include "heartbeat.h"

#include "lease.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

enum {
  LOOK_MS = 200,        /* how often a stop request is looked for, and how soon a rest that failed is tried again */
  END_AGAIN_MS = 200,   /* between two tries to end commands */
  END_SETTLED_MS = 500, /* a command sent just before the guard shut has reached the server by then */
  END_LAST_MS = 2000    /* for how long a run that is ending looks for what it left */
};

struct smig_heartbeat {
  smig_ledger_t *ledger;
  const smig_lease_t *lease;
  smig_guard_t *guard;
  smig_lease_machine_t machine;
  bool ending;                          /* commands of the run are being ended on the server */
  int64_t shut_ms, end_next_ms, end_ms; /* since when, when to try again, when to give up */
  int64_t rest_next_ms;                 /* a rest is not tried before */

  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t wake;   /* for the thread: there is something to do */
  pthread_cond_t rested; /* for the main thread: `resting` has changed, or the guard is shut */
  bool stop;
  int64_t rest_ttl_ms;      /* beats are to rest, after one that grants this; 0: they are not */
  uint8_t rest_session[16]; /* which that beat records */
  bool resting;
  smig_error_t warning;
};

/* ------------------------------------------------------------------ shutting */

static void begin_ending(smig_heartbeat_t *heartbeat) {
  int64_t now = smig_clock_boot_ms();
  heartbeat->ending = true;
  heartbeat->shut_ms = heartbeat->end_next_ms = now;
  heartbeat->end_ms = now + heartbeat->lease->ttl_ms;
}

static void fence(smig_heartbeat_t *heartbeat, bool taken) {
  const char *why =
      taken ? "another run holds the lock" : "no beat got through within three quarters of its time to live";
  smig_error_t reason = SMIG_ERROR_INIT;
  smig_error_set(&reason, SMIG_LOCK_LOST, "the lock is lost: %s; nothing more is sent, %s", why,
                 taken ? "see who took it and run again" : "see that the ledger's server can be reached and run again");
  bson_t *details = smig_error_details(&reason);
  BSON_APPEND_UTF8(details, "holder", heartbeat->lease->holder);
  BSON_APPEND_UTF8(details, "why", taken ? "taken" : "deadline");
  smig_guard_shut(heartbeat->guard, SMIG_GUARD_LOST, &reason);
  begin_ending(heartbeat);
}

static void end_commands(smig_heartbeat_t *heartbeat) {
  int64_t now = smig_clock_boot_ms();
  if (!heartbeat->ending || now < heartbeat->end_next_ms) return;
  smig_commands_left_t left = SMIG_COMMANDS_LEFT;
  bool told =
      heartbeat->ledger->ops->end_commands(heartbeat->ledger, heartbeat->lease, SMIG_COMMANDS_OF_OURS, &left, NULL);
  bool none = told && left == SMIG_COMMANDS_NONE_LEFT && now >= heartbeat->shut_ms + END_SETTLED_MS;
  bool unknown = told && left == SMIG_COMMANDS_UNKNOWN;
  now = smig_clock_boot_ms();
  heartbeat->end_next_ms = now + END_AGAIN_MS;
  if (none || unknown || now >= heartbeat->end_ms) heartbeat->ending = false;
}

/* -------------------------------------------------------------------- beats */

static void warn(smig_heartbeat_t *heartbeat, smig_error_t *error) {
  pthread_mutex_lock(&heartbeat->lock);
  smig_error_move(&heartbeat->warning, error);
  pthread_mutex_unlock(&heartbeat->lock);
}

static smig_lease_event_t send_beat(smig_heartbeat_t *heartbeat) {
  smig_error_t error = SMIG_ERROR_INIT;
  bool ours = false;
  if (heartbeat->ledger->ops->renew(heartbeat->ledger, heartbeat->lease, &ours, &error))
    return ours ? SMIG_LEASE_BEAT_OURS : SMIG_LEASE_BEAT_TAKEN;
  bool taken = error.code == SMIG_LOCK_LOST;
  warn(heartbeat, &error);
  return taken ? SMIG_LEASE_BEAT_TAKEN : SMIG_LEASE_BEAT_UNCLEAR;
}

static void beat(smig_heartbeat_t *heartbeat) {
  smig_lease_event_t event = send_beat(heartbeat);
  smig_lease_action_t action = smig_lease_machine_step(&heartbeat->machine, event, smig_clock_boot_ms());
  if (action == SMIG_LEASE_FENCE)
    fence(heartbeat, event == SMIG_LEASE_BEAT_TAKEN);
  else if (event == SMIG_LEASE_BEAT_OURS)
    smig_guard_extend(heartbeat->guard, smig_lease_machine_deadline(&heartbeat->machine));
}

/* ---------------------------------------------------------------------- rest */

/* The beat that carries the lease through a rest; false: not yet. */
static bool begin_rest(smig_heartbeat_t *heartbeat, int64_t ttl_ms, const uint8_t session[16]) {
  smig_lease_t longer = *heartbeat->lease;
  longer.ttl_ms = ttl_ms;
  longer.has_session = true;
  memcpy(longer.session, session, sizeof longer.session);
  smig_error_t error = SMIG_ERROR_INIT;
  bool ours = false;
  int64_t sent = smig_clock_boot_ms();
  if (!heartbeat->ledger->ops->renew(heartbeat->ledger, &longer, &ours, &error)) {
    warn(heartbeat, &error);
    return false;
  }
  /* An answer that comes when the lease is lost already does not bring it back. */
  bool too_late = smig_clock_boot_ms() > smig_lease_machine_deadline(&heartbeat->machine);
  if (!ours || too_late) {
    fence(heartbeat, !ours);
    heartbeat->machine.phase = SMIG_LEASE_LOST;
    return false;
  }
  smig_lease_machine_rest(&heartbeat->machine, ttl_ms, sent);
  smig_guard_extend(heartbeat->guard, smig_lease_machine_deadline(&heartbeat->machine));
  return true;
}

/* Does what the main thread has asked for: to rest, or to go on. */
static void look_for_rest(smig_heartbeat_t *heartbeat) {
  pthread_mutex_lock(&heartbeat->lock);
  int64_t wanted = heartbeat->rest_ttl_ms;
  bool was_resting = heartbeat->resting, resting = was_resting;
  uint8_t session[16];
  memcpy(session, heartbeat->rest_session, sizeof session);
  pthread_mutex_unlock(&heartbeat->lock);
  if (heartbeat->machine.phase == SMIG_LEASE_HELD) {
    if (wanted && !resting && smig_clock_boot_ms() >= heartbeat->rest_next_ms) {
      resting = begin_rest(heartbeat, wanted, session);
      if (!resting) heartbeat->rest_next_ms = smig_clock_boot_ms() + LOOK_MS;
    } else if (!wanted && resting) {
      resting = false;
      smig_lease_machine_resume(&heartbeat->machine, smig_clock_boot_ms());
    }
  }
  pthread_mutex_lock(&heartbeat->lock);
  if (resting != was_resting) heartbeat->resting = resting; /* the main thread may have asked anew meanwhile */
  pthread_cond_broadcast(&heartbeat->rested);
  pthread_mutex_unlock(&heartbeat->lock);
}

/* Waits until something is due; true when the run has ended. */
static bool wait_for_stop(smig_heartbeat_t *heartbeat) {
  int64_t now = smig_clock_boot_ms(), due = smig_lease_machine_wake(&heartbeat->machine);
  if (heartbeat->ending && heartbeat->end_next_ms < due) due = heartbeat->end_next_ms;
  int64_t left = due - now < LOOK_MS ? due - now : LOOK_MS;
  struct timespec end;
  clock_gettime(CLOCK_MONOTONIC, &end);
  if (left > 0) end.tv_nsec += left * 1000000;
  if (end.tv_nsec >= 1000000000) {
    end.tv_sec++;
    end.tv_nsec -= 1000000000;
  }
  pthread_mutex_lock(&heartbeat->lock);
  bool asked = (heartbeat->rest_ttl_ms != 0) != heartbeat->resting && heartbeat->machine.phase == SMIG_LEASE_HELD &&
               now >= heartbeat->rest_next_ms;
  if (!heartbeat->stop && !asked && left > 0) pthread_cond_timedwait(&heartbeat->wake, &heartbeat->lock, &end);
  bool stop = heartbeat->stop;
  pthread_mutex_unlock(&heartbeat->lock);
  return stop;
}

/* A run that lost its lock ends what it left on the server before it goes; one that was interrupted does so itself. */
static void end_the_rest(smig_heartbeat_t *heartbeat) {
  if (smig_lease_machine_step(&heartbeat->machine, SMIG_LEASE_TICK, smig_clock_boot_ms()) == SMIG_LEASE_FENCE)
    fence(heartbeat, false);
  if (atomic_load(&heartbeat->guard->state) != SMIG_GUARD_LOST) return;
  while (heartbeat->ending && smig_clock_boot_ms() < heartbeat->shut_ms + END_LAST_MS) {
    end_commands(heartbeat);
    smig_clock_sleep_ms(heartbeat->end_next_ms - smig_clock_boot_ms());
  }
}

static void *run(void *argument) {
  smig_heartbeat_t *heartbeat = argument;
  while (!wait_for_stop(heartbeat)) {
    look_for_rest(heartbeat);
    switch (smig_lease_machine_step(&heartbeat->machine, SMIG_LEASE_TICK, smig_clock_boot_ms())) {
    case SMIG_LEASE_SEND:
      beat(heartbeat);
      break;
    case SMIG_LEASE_FENCE:
      fence(heartbeat, false);
      break;
    case SMIG_LEASE_WAIT:
    case SMIG_LEASE_END:
      break;
    }
    if (smig_guard_shut_overdue(heartbeat->guard)) begin_ending(heartbeat);
    end_commands(heartbeat);
  }
  end_the_rest(heartbeat);
  smig_lease_machine_step(&heartbeat->machine, SMIG_LEASE_STOP, smig_clock_boot_ms());
  return NULL;
}

/* ------------------------------------------------------------ start and stop */

static void release(smig_heartbeat_t *heartbeat) {
  pthread_cond_destroy(&heartbeat->wake);
  pthread_cond_destroy(&heartbeat->rested);
  pthread_mutex_destroy(&heartbeat->lock);
  smig_ledger_free(heartbeat->ledger);
  smig_error_release(&heartbeat->warning);
  bson_free(heartbeat);
}

/* Starts the thread with every signal blocked from its first instruction on. */
static int start_thread(smig_heartbeat_t *heartbeat) {
  sigset_t all, former;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &former);
  int failed = pthread_create(&heartbeat->thread, NULL, run, heartbeat);
  pthread_sigmask(SIG_SETMASK, &former, NULL);
  return failed;
}

smig_heartbeat_t *smig_heartbeat_start(smig_ledger_t *ledger, const smig_lease_t *lease, smig_guard_t *guard,
                                       int64_t acquired_sent_boot_ms, int64_t stop_timeout_ms, smig_error_t *error) {
  smig_heartbeat_t *heartbeat = bson_malloc0(sizeof *heartbeat);
  heartbeat->ledger = ledger;
  heartbeat->lease = lease;
  heartbeat->guard = guard;
  smig_guard_limit_stop(guard, stop_timeout_ms);
  heartbeat->machine = smig_lease_machine_start(lease->ttl_ms, acquired_sent_boot_ms);
  pthread_mutex_init(&heartbeat->lock, NULL);
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&heartbeat->wake, &attributes);
  pthread_cond_init(&heartbeat->rested, &attributes);
  pthread_condattr_destroy(&attributes);
  smig_guard_extend(guard, smig_lease_machine_deadline(&heartbeat->machine));

  int failed = start_thread(heartbeat);
  if (!failed) return heartbeat;
  smig_error_set(error, SMIG_INVALID_OPTIONS,
                 "the heartbeat's thread cannot be started: %s; raise the limit on processes and threads",
                 strerror(failed));
  release(heartbeat);
  return NULL;
}

void smig_heartbeat_stop(smig_heartbeat_t *heartbeat) {
  if (!heartbeat) return;
  pthread_mutex_lock(&heartbeat->lock);
  heartbeat->stop = true;
  pthread_cond_signal(&heartbeat->wake);
  pthread_mutex_unlock(&heartbeat->lock);
  pthread_join(heartbeat->thread, NULL);
  release(heartbeat);
}

bool smig_heartbeat_rest(smig_heartbeat_t *heartbeat, int64_t ttl_ms, const uint8_t session[16], smig_error_t *error) {
  pthread_mutex_lock(&heartbeat->lock);
  heartbeat->rest_ttl_ms = ttl_ms;
  memcpy(heartbeat->rest_session, session, sizeof heartbeat->rest_session);
  heartbeat->resting = false; /* a rest before it, which the thread need not have ended yet, had another session */
  pthread_cond_signal(&heartbeat->wake);
  bool allowed = true;
  while (!heartbeat->resting && (allowed = smig_guard_check(heartbeat->guard, false, error))) {
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec++; /* the deadline may pass without a word from the thread */
    pthread_cond_timedwait(&heartbeat->rested, &heartbeat->lock, &end);
  }
  pthread_mutex_unlock(&heartbeat->lock);
  return allowed && smig_guard_check(heartbeat->guard, false, error);
}

void smig_heartbeat_resume(smig_heartbeat_t *heartbeat) {
  pthread_mutex_lock(&heartbeat->lock);
  heartbeat->rest_ttl_ms = 0;
  pthread_cond_signal(&heartbeat->wake);
  pthread_mutex_unlock(&heartbeat->lock);
}

bool smig_heartbeat_take_warning(smig_heartbeat_t *heartbeat, smig_error_t *warning) {
  pthread_mutex_lock(&heartbeat->lock);
  bool any = heartbeat->warning.code != SMIG_OK;
  if (any) smig_error_move(warning, &heartbeat->warning);
  pthread_mutex_unlock(&heartbeat->lock);
  return any;
}
