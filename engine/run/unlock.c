/*
 * unlock: frees the lock of a dead holder, or by force that of a live one. It is taken over as any lock is, so that the fence rises
 * and whoever held it is refused from then on; what it left on the server is ended; then the lock is released.
 *
 * A live holder learns of it with its next beat, or when its time has run out; until then its commands are ended as they come.
 * Users: smartmigration.h. Main thread. Units: ms.
 */
#include "clock.h"
#include "operation.h"

enum {
  LOOK_AGAIN_MS = 50,
  LONGEST_BELIEF_MS = 600000 /* the original's lease, and longer than our grants where lock_ttl_ms is not */
};

typedef struct unlock {
  smig_operation_t *operation;
  const char *force_holder; /* NULL: only a stale lock */
  char *holder;             /* who held it, copied; NULL: nobody */
  bool forced;              /* it was live */
  bson_t *command, *report;
} unlock_t;

static void append_lock(bson_t *details, const smig_ledger_state_t *state) {
  if (!details) return;
  BSON_APPEND_UTF8(details, "holder", state->lock.holder);
  BSON_APPEND_UTF8(details, "acquired_at", state->lock.acquired_at);
  BSON_APPEND_UTF8(details, "expires_at", state->lock.expires_at);
}

/* On a sharded cluster the expiry is judged by one mongos' clock, which is not the only one. */
static bool is_stale(const smig_ledger_state_t *state) {
  return smig_holder_proven_dead(state->lock.holder) ||
         (state->lock.expiry == SMIG_EXPIRY_PAST && !state->lock.clock_doubtful);
}

static bool refuse_live(const smig_run_t *run, smig_error_t *error) {
  const smig_ledger_state_t *state = &run->survey.state;
  smig_error_set(
      error, SMIG_LOCK_TIMEOUT,
      "the lock of %s is not stale: it is held until %s by %s; wait for that run or end it; to take its lock "
      "by force: smartmigration-lua unlock --force '%s'",
      run->engine->ledger->place, *state->lock.expires_at ? state->lock.expires_at : "an unreadable time",
      state->lock.holder, state->lock.holder);
  append_lock(smig_error_details(error), state);
  return false;
}

static void append_report(const unlock_t *unlock, int64_t fence) {
  BSON_APPEND_BOOL(unlock->report, "unlocked", unlock->holder != NULL);
  smig_append_text_or_null(unlock->report, "holder", unlock->holder);
  BSON_APPEND_BOOL(unlock->report, "forced", unlock->forced);
  BSON_APPEND_INT64(unlock->report, "fence", fence);
}

static bool check(smig_run_t *run, void *arg, smig_error_t *error) {
  unlock_t *unlock = arg;
  const smig_ledger_state_t *state = &run->survey.state;
  if (run->locked) return true; /* by us */
  if (!smig_require_ledger(run, error)) return false;
  if (!state->lock.holder) {
    unlock->operation->nothing_to_do = true;
    append_report(unlock, state->lock.fence);
    return true;
  }
  if (unlock->force_holder && strcmp(unlock->force_holder, state->lock.holder) != 0) {
    smig_refuse(error, "wrong-holder", "the lock of %s is not held by '%s' but by '%s'", run->engine->ledger->place,
                unlock->force_holder, state->lock.holder);
    append_lock(smig_error_details(error), state);
    return false;
  }
  bool stale = is_stale(state);
  if (!stale && !unlock->force_holder) return refuse_live(run, error);
  unlock->holder = bson_strdup(state->lock.holder);
  unlock->forced = !stale;
  BSON_APPEND_UTF8(unlock->command, "holder", unlock->holder);
  BSON_APPEND_BOOL(unlock->command, "forced", unlock->forced);
  return true;
}

/* How long the former holder may believe that it holds the lock. An expiry that no lease explains is a wrong clock's. */
static int64_t belief_ms(const smig_run_t *run) {
  int64_t until, now;
  if (smig_holder_proven_dead(run->forced_holder)) return 0;
  int64_t longest = run->former.ttl_ms > LONGEST_BELIEF_MS ? run->former.ttl_ms : LONGEST_BELIEF_MS;
  bool known = smig_clock_from_iso(run->former.expires_at, &until) &&
               smig_clock_from_iso(run->survey.state.lock.acquired_at, &now);
  if (!known) return run->former.ttl_ms > 0 ? run->former.ttl_ms : run->lease.ttl_ms;
  return until - now < longest ? until - now : longest;
}

/* Ends the commands of a live former holder until it can send none. *unknown: the server does not show them. */
static bool outlast(smig_run_t *run, bool *unknown, smig_error_t *error) {
  smig_ledger_t *ledger = run->engine->ledger;
  int64_t left_ms = belief_ms(run), end = smig_clock_mono_ms() + left_ms;
  *unknown = false;
  if (left_ms <= 0) return true;
  smig_engine_log(
      run->engine, SMIG_LOG_WARN, NULL,
      "the former holder may believe in its lock for %" PRId64 " ms more: its commands are ended until then", left_ms);
  while (smig_clock_mono_ms() < end) {
    smig_commands_left_t left;
    if (!ledger->ops->end_commands(ledger, &run->lease, SMIG_COMMANDS_OF_OTHERS, &left, error)) return false;
    *unknown = left == SMIG_COMMANDS_UNKNOWN;
    if (!smig_guard_check(&run->engine->guard, true, error)) return false;
    smig_clock_sleep_ms(LOOK_AGAIN_MS);
  }
  return *unknown || smig_run_end_leftovers(run, error);
}

static bool perform(smig_run_t *run, void *arg, smig_error_t *error) {
  unlock_t *unlock = arg;
  bool unknown = false;
  if (unlock->forced && !outlast(run, &unknown, error)) return false;
  /* What nobody could see is left to the next run, which waits for it. */
  smig_ledger_change_t change = {.clear_leftovers = run->survey.state.has_leftovers && !unknown, .release = true};
  unlock->operation->version_after = run->survey.state.current_version;
  if (!smig_run_commit(run, &change, error)) return false;
  append_report(unlock, run->lease.fence);
  return true;
}

bool smig_engine_unlock(smig_engine_t *engine, const char *force_holder, bson_t *report, smig_error_t *error) {
  bson_t command = BSON_INITIALIZER;
  smig_operation_t operation = {
      .kind = "unlock", .command = &command, .forced_holder = force_holder, .check = check, .perform = perform};
  unlock_t unlock = {.operation = &operation, .force_holder = force_holder, .command = &command, .report = report};
  operation.arg = &unlock;
  bson_init(report);
  bool good = smig_operate(engine, &operation, error);
  bson_free(unlock.holder);
  bson_destroy(&command);
  return good;
}
