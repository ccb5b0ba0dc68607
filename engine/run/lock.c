/*
 * Waiting for the lock and taking it. Source of the rules: the contract, sections 5.3 and 7. Users: run.c. Main thread.
 */
#include "clock.h"
#include "fault.h"
#include "run.h"

enum { POLL_FIRST_MS = 500, POLL_LAST_MS = 5000, SAY_EVERY_MS = 60000, SLICE_MS = 100, LOOK_AGAIN_MS = 100 };

/* What makes one holding of the lock the same as it was when last read. */
typedef struct sighting {
  char *mark;
  int64_t since_boot_ms;
} sighting_t;

typedef struct waiting {
  int64_t since_mono_ms, said_mono_ms, poll_ms;
  int refused; /* tries in a row that found the lock not free although it had read as free */
  sighting_t sighting;
  uint64_t random;
} waiting_t;

static uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* A waiter's own clock: how long the lock has looked exactly as it does now. As stored: expiresAt may be unreadable. */
static int64_t unchanged_ms(sighting_t *sighting, const smig_ledger_state_t *state) {
  bson_iter_t iter;
  bson_t lock = BSON_INITIALIZER;
  if (bson_iter_init_find(&iter, &state->data, "lock")) bson_append_iter(&lock, NULL, -1, &iter);
  /* Where every write has one: a beat within the same second moves no expiry. */
  if (bson_iter_init_find(&iter, &state->data, "nonce")) bson_append_iter(&lock, NULL, -1, &iter);
  char *mark = bson_as_canonical_extended_json(&lock, NULL);
  bson_destroy(&lock);
  int64_t now = smig_clock_boot_ms();
  if (!sighting->mark || strcmp(mark, sighting->mark) != 0) {
    bson_free(sighting->mark);
    sighting->mark = mark;
    sighting->since_boot_ms = now;
    return 0;
  }
  bson_free(mark);
  return now - sighting->since_boot_ms;
}

/*
 * DEAD: proven; LIFELESS: a lock whose expiry cannot be judged, or whose every beat is seen, stayed as it is for a full TTL; FORCED: an
 * operator says so.
 */
typedef enum verdict { BUSY, FREE, DEAD, LIFELESS, FORCED } verdict_t;

static verdict_t judge(const smig_run_t *run, waiting_t *waiting) {
  const smig_ledger_state_t *state = &run->survey.state;
  if (smig_fault("lock-condition")) return FREE;
  if (!state->exists || !state->lock.holder) return FREE;
  if (smig_holder_proven_dead(state->lock.holder) || smig_fault("early-take-over")) return DEAD;
  if (run->forced_holder && strcmp(run->forced_holder, state->lock.holder) == 0) return FORCED;
  bool past = state->lock.expiry == SMIG_EXPIRY_PAST;
  /* A server that refuses what reads as past cannot read this expiry. */
  bool refused = waiting->refused > 1;
  if (past && !state->lock.clock_doubtful && !refused) return FREE;
  int64_t unchanged = unchanged_ms(&waiting->sighting, state);
  int64_t ttl = state->lock.ttl_ms > run->lease.ttl_ms ? state->lock.ttl_ms : run->lease.ttl_ms;
  bool watched = run->engine->ledger->ops->capabilities & SMIG_LEDGER_WATCHED;
  if (watched && unchanged >= ttl + SMIG_LEDGER_QUIET_MS) return LIFELESS;
  if (!watched && state->lock.expiry != SMIG_EXPIRY_LIVE && unchanged >= ttl) return LIFELESS;
  return BUSY;
}

static bool interrupted(const smig_run_t *run, smig_error_t *error) {
  return !smig_guard_check(&run->engine->guard, true, error);
}

/* Sleeps until the next look, a stop request or the deadline. */
static void sleep_until_next_look(smig_run_t *run, waiting_t *waiting, int64_t left_ms) {
  int64_t jitter = (int64_t)(next_random(&waiting->random) % (uint64_t)(waiting->poll_ms / 4 + 1));
  int64_t wait = waiting->poll_ms - jitter;
  if (wait > left_ms) wait = left_ms;
  int64_t end = smig_clock_mono_ms() + wait;
  while (!smig_guard_asked_to_stop(&run->engine->guard)) {
    int64_t rest = end - smig_clock_mono_ms();
    if (rest <= 0) break;
    smig_clock_sleep_ms(rest < SLICE_MS ? rest : SLICE_MS);
  }
  waiting->poll_ms += waiting->poll_ms / 2;
  if (waiting->poll_ms > POLL_LAST_MS) waiting->poll_ms = POLL_LAST_MS;
}

static void append_lock(bson_t *to, const smig_ledger_state_t *state) {
  BSON_APPEND_UTF8(to, "holder", state->lock.holder ? state->lock.holder : "");
  BSON_APPEND_UTF8(to, "acquired_at", state->lock.acquired_at);
  BSON_APPEND_UTF8(to, "expires_at", state->lock.expires_at);
}

static void say_whom(const smig_run_t *run) {
  const smig_ledger_state_t *state = &run->survey.state;
  bson_t fields = BSON_INITIALIZER;
  append_lock(&fields, state);
  smig_engine_log(run->engine, SMIG_LOG_INFO, &fields, "waiting for the lock held by %s since %s until %s",
                  state->lock.holder ? state->lock.holder : "somebody", state->lock.acquired_at,
                  *state->lock.expires_at ? state->lock.expires_at : "an unreadable time");
  bson_destroy(&fields);
}

static void timed_out(const smig_run_t *run, int64_t waited_ms, smig_error_t *error) {
  const smig_ledger_state_t *state = &run->survey.state;
  smig_error_set(
      error, SMIG_LOCK_TIMEOUT,
      "the lock of %s is held by %s until %s; waited %" PRId64
      " ms: wait longer (lock_wait_ms); the lock of a dead run is taken over at once on its host, elsewhere when it "
      "expires",
      run->engine->ledger->place, state->lock.holder ? state->lock.holder : "somebody",
      *state->lock.expires_at ? state->lock.expires_at : "an unreadable time", waited_ms);
  bson_t *details = smig_error_details(error);
  if (!details) return;
  append_lock(details, state);
  BSON_APPEND_INT64(details, "waited_ms", waited_ms);
}

/* One try. *won false without error: somebody was faster. */
static bool try_acquire(smig_run_t *run, verdict_t verdict, bool *won, int64_t *sent_boot_ms, smig_error_t *error) {
  smig_engine_t *engine = run->engine;
  smig_ledger_state_t locked;
  smig_acquire_t acquire = {.seen = &run->survey.state, .dead = verdict != FREE};
  memcpy(run->former_expires_at, run->survey.state.lock.expires_at, sizeof run->former_expires_at);
  char *former = run->survey.state.lock.holder ? bson_strdup(run->survey.state.lock.holder) : NULL;
  bool answered =
      engine->ledger->ops->acquire(engine->ledger, &run->lease, &acquire, won, &locked, sent_boot_ms, error);
  if (answered && *won) {
    smig_ledger_state_move(&run->survey.state, &locked);
    run->locked = run->held = true;
    if (engine->ledger->doubt) {
      smig_engine_log(engine, SMIG_LOG_WARN, NULL,
                      "the lock of %s is best effort, two runs at once could both win it: %s (accepted by s3_lock = "
                      "\"best-effort\")",
                      engine->ledger->place, engine->ledger->doubt);
    }
    if (former) {
      smig_engine_log(engine, SMIG_LOG_WARN, NULL, "took over the lock that %s had not released%s", former,
                      verdict == DEAD       ? " (its process is gone)"
                      : verdict == LIFELESS ? " (it showed no life for a full time to live)"
                      : verdict == FORCED   ? ", by force"
                                            : " (its time had run out)");
    }
  } else {
    smig_ledger_state_release(&locked);
  }
  bson_free(former);
  return answered;
}

static bool start_heartbeat(smig_run_t *run, int64_t sent_boot_ms, smig_error_t *error) {
  smig_engine_t *engine = run->engine;
  smig_ledger_t *own = engine->ledger->ops->reopen(engine->ledger, run->lease.ttl_ms, error);
  if (!own) return false;
  run->heartbeat =
      smig_heartbeat_start(own, &run->lease, &engine->guard, sent_boot_ms, engine->settings.stop_timeout_ms, error);
  return run->heartbeat != NULL;
}

/* Reads the ledger again, and unless the lock alone is wanted resolves it. */
static bool look_again(smig_run_t *run, smig_error_t *error) {
  if (run->operation) return smig_survey_read(run->engine, &run->survey, error);
  return smig_survey_load(run->engine, &run->survey, error) && smig_survey_resolve(run->engine, &run->survey, error);
}

static bool acquire_when_free(smig_run_t *run, waiting_t *waiting, smig_error_t *error) {
  int64_t limit = run->engine->settings.lock_wait_ms;
  for (;;) {
    if (interrupted(run, error)) return false;
    verdict_t verdict = judge(run, waiting);
    if (run->survey.state.lock.expiry == SMIG_EXPIRY_LIVE) waiting->refused = 0;
    if (verdict != BUSY) {
      bool won = false;
      int64_t sent_boot_ms = 0;
      if (!try_acquire(run, verdict, &won, &sent_boot_ms, error)) return false;
      if (won) return start_heartbeat(run, sent_boot_ms, error);
      waiting->refused++;
    }
    /* Who is refused for the first time looks again at once: somebody was faster. */
    if (verdict == BUSY || waiting->refused > 1) {
      int64_t now = smig_clock_mono_ms(), waited = now - waiting->since_mono_ms;
      if (waited >= limit) {
        timed_out(run, waited, error);
        return false;
      }
      if (now - waiting->said_mono_ms >= SAY_EVERY_MS || waiting->said_mono_ms == 0) {
        say_whom(run);
        waiting->said_mono_ms = now;
      }
      sleep_until_next_look(run, waiting, limit - waited);
      if (interrupted(run, error)) return false;
    }
    if (!look_again(run, error)) return false;
    if (!run->operation && smig_survey_nothing_to_do(&run->survey)) return true;
  }
}

bool smig_run_lock(smig_run_t *run, smig_error_t *error) {
  smig_lease_new(&run->lease, run->engine->settings.lock_ttl_ms);
  waiting_t waiting = {.since_mono_ms = smig_clock_mono_ms(), .poll_ms = POLL_FIRST_MS};
  /* Waiters that start together must not look together: the run id is random. */
  memcpy(&waiting.random, run->lease.run_id, sizeof waiting.random);
  bool good = acquire_when_free(run, &waiting, error);
  bson_free(waiting.sighting.mark);
  return good;
}

void smig_run_heartbeat_warnings(smig_run_t *run) {
  smig_error_t warning = SMIG_ERROR_INIT;
  if (!run->heartbeat || !smig_heartbeat_take_warning(run->heartbeat, &warning)) return;
  smig_engine_log(run->engine, SMIG_LOG_WARN, NULL, "a heartbeat got no answer: %s", warning.message);
  smig_error_release(&warning);
}

void smig_run_stop_heartbeat(smig_run_t *run) {
  smig_run_heartbeat_warnings(run);
  smig_heartbeat_stop(run->heartbeat);
  run->heartbeat = NULL;
}

/*
 * The server would not tell what still runs there: whatever the dead holder sent has a full TTL to end, its own or ours, whichever
 * is longer.
 */
static bool wait_a_ttl(smig_run_t *run, smig_error_t *error) {
  int64_t theirs = run->survey.state.leftovers_ttl_ms, ttl = theirs > run->lease.ttl_ms ? theirs : run->lease.ttl_ms;
  smig_engine_log(run->engine, SMIG_LOG_WARN, NULL,
                  "the server does not tell whether commands of the former holder still run (the rights inprog and "
                  "killAnySession are missing): waiting %" PRId64 " ms before the first step",
                  ttl);
  int64_t end = smig_clock_mono_ms() + ttl;
  while (smig_clock_mono_ms() < end) {
    if (!smig_guard_check(&run->engine->guard, true, error)) return false;
    smig_clock_sleep_ms(SLICE_MS);
  }
  return true;
}

bool smig_run_end_leftovers(smig_run_t *run, smig_error_t *error) {
  if (!run->survey.state.has_leftovers) return true;
  smig_ledger_t *ledger = run->engine->ledger;
  /* Two looks in a row must find nothing: what a killed process had sent may be on its way into the server. */
  for (int clean_looks = 0; clean_looks < 2;) {
    smig_commands_left_t left;
    if (!ledger->ops->end_commands(ledger, &run->lease, SMIG_COMMANDS_OF_OTHERS, &left, error)) return false;
    if (left == SMIG_COMMANDS_UNKNOWN) return wait_a_ttl(run, error);
    clean_looks = left == SMIG_COMMANDS_NONE_LEFT ? clean_looks + 1 : 0;
    if (!smig_guard_check(&run->engine->guard, true, error)) return false;
    if (clean_looks < 2) smig_clock_sleep_ms(LOOK_AGAIN_MS);
  }
  return true;
}

bool smig_run_end_own_commands(smig_run_t *run) {
  enum { TRIES = 100 };
  smig_ledger_t *ledger = run->engine->ledger;
  for (int i = 0; i < TRIES; i++) {
    smig_commands_left_t left;
    smig_error_t failure = SMIG_ERROR_INIT;
    if (!ledger->ops->end_commands(ledger, &run->lease, SMIG_COMMANDS_OF_OURS, &left, &failure)) {
      smig_engine_log(run->engine, SMIG_LOG_WARN, NULL, "cannot tell whether commands of this run still run: %s",
                      failure.message);
      smig_error_release(&failure);
      return false;
    }
    if (left != SMIG_COMMANDS_LEFT) return left == SMIG_COMMANDS_NONE_LEFT;
    smig_clock_sleep_ms(LOOK_AGAIN_MS);
  }
  return false;
}
