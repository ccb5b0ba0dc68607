/*
 * The heartbeat's thread over the ledger in memory, with a layer between them that fails or delays beats and notes what
 * was asked for and when. Times are short (the TTL is a second), waits poll a condition. Also run it under ThreadSanitizer.
 */
#include "check.h"
#include "heartbeat.h"
#include "memory_ledger.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

enum { TTL = 1000, LIMIT_MS = 5000, LONG = 600000 };

/* --------------------------------------------------------- the layer between */

typedef struct notes {
  atomic_int begun, beats, ends, ends_before_shut, frees;
  atomic_bool fail;          /* beats get no answer */
  atomic_int session;        /* the first byte of the one that the last beat recorded */
  atomic_bool commands_left; /* commands still run */
  atomic_llong delay_ms;     /* a beat takes this long */
  const smig_guard_t *guard;
} notes_t;

typedef struct layer {
  smig_ledger_t base;
  smig_ledger_t *below;
  notes_t *notes;
} layer_t;

static bool renew(smig_ledger_t *self, const smig_lease_t *lease, bool *ours, smig_error_t *error) {
  layer_t *layer = (layer_t *)self;
  atomic_fetch_add(&layer->notes->begun, 1);
  int64_t end = smig_clock_mono_ms() + atomic_load(&layer->notes->delay_ms);
  while (smig_clock_mono_ms() < end) smig_clock_sleep_ms(5);
  atomic_fetch_add(&layer->notes->beats, 1);
  if (atomic_load(&layer->notes->fail)) {
    smig_error_set(error, SMIG_LEDGER_IO, "no answer, says the test");
    return false;
  }
  if (lease->has_session) atomic_store(&layer->notes->session, lease->session[0]);
  return layer->below->ops->renew(layer->below, lease, ours, error);
}

static bool end_commands(smig_ledger_t *self, const smig_lease_t *lease, smig_commands_t which,
                         smig_commands_left_t *left, smig_error_t *error) {
  (void)lease, (void)error;
  notes_t *notes = ((layer_t *)self)->notes;
  bool shut = atomic_load(&notes->guard->state) != SMIG_GUARD_OPEN;
  if (!shut || which != SMIG_COMMANDS_OF_OURS) atomic_fetch_add(&notes->ends_before_shut, 1);
  atomic_fetch_add(&notes->ends, 1);
  *left = atomic_load(&notes->commands_left) ? SMIG_COMMANDS_LEFT : SMIG_COMMANDS_NONE_LEFT;
  return true;
}

static void layer_free(smig_ledger_t *self) {
  layer_t *layer = (layer_t *)self;
  atomic_fetch_add(&layer->notes->frees, 1);
  smig_ledger_free(layer->below);
  bson_free(layer);
}

static const smig_ledger_ops_t layer_ops = {.renew = renew, .end_commands = end_commands, .free = layer_free};

/* ---------------------------------------------------------------- a held lock */

typedef struct held {
  smig_memory_store_t *store;
  smig_ledger_t *ledger;
  smig_lease_t lease;
  smig_guard_t guard;
  notes_t notes;
  int64_t sent_ms;
} held_t;

static bool take(smig_ledger_t *ledger, smig_lease_t *lease, int64_t *sent_ms) {
  smig_ledger_state_t seen, locked;
  bool won = false;
  CHECK(ledger->ops->load(ledger, &seen, NULL));
  CHECK(ledger->ops->acquire(ledger, lease, &(smig_acquire_t){.seen = &seen}, &won, &locked, sent_ms, NULL));
  smig_ledger_state_release(&locked);
  smig_ledger_state_release(&seen);
  return won;
}

static void hold(held_t *held, int64_t ttl_ms) {
  *held = (held_t){.store = smig_memory_store_new()};
  held->ledger = smig_memory_ledger_new(held->store);
  smig_lease_new(&held->lease, ttl_ms);
  smig_guard_init(&held->guard);
  held->notes.guard = &held->guard;
  CHECK(take(held->ledger, &held->lease, &held->sent_ms));
}

static smig_heartbeat_t *start(held_t *held, int64_t stop_timeout_ms) {
  smig_error_t error = SMIG_ERROR_INIT;
  layer_t *layer = bson_malloc0(sizeof *layer);
  layer->base.ops = &layer_ops;
  layer->below = held->ledger->ops->reopen(held->ledger, held->lease.ttl_ms, &error);
  layer->notes = &held->notes;
  smig_heartbeat_t *heartbeat =
      smig_heartbeat_start(&layer->base, &held->lease, &held->guard, held->sent_ms, stop_timeout_ms, &error);
  CHECK(heartbeat, "%s", error.message);
  return heartbeat;
}

static void let_go(held_t *held) {
  CHECK(atomic_load(&held->notes.frees) == 1, "the heartbeat's ledger is freed once");
  smig_guard_release(&held->guard);
  smig_ledger_free(held->ledger);
  smig_memory_store_free(held->store);
}

/* Polls until `condition` holds, LIMIT_MS at most. */
#define WAIT_FOR(condition)                                                                                            \
  do {                                                                                                                 \
    int64_t wait_end = smig_clock_mono_ms() + LIMIT_MS;                                                                \
    while (!(condition) && smig_clock_mono_ms() < wait_end) smig_clock_sleep_ms(2);                                    \
    CHECK(condition, "within %d ms", LIMIT_MS);                                                                        \
  } while (0)

static int64_t deadline_of(const held_t *held) {
  return atomic_load(&held->guard.deadline_boot_ms);
}

static const char *lost_text(const held_t *held, const char *key) {
  const bson_t *details = held->guard.lost.details;
  bson_iter_t iter;
  return details && bson_iter_init_find(&iter, details, key) && BSON_ITER_HOLDS_UTF8(&iter)
             ? bson_iter_utf8(&iter, NULL)
             : "(none)";
}

/* --------------------------------------------------------------------- cases */

static void beats_keep_the_lease(void) {
  held_t held;
  hold(&held, TTL);
  smig_heartbeat_t *heartbeat = start(&held, LONG);
  CHECK(deadline_of(&held) == held.sent_ms + TTL - TTL / 4, "the deadline is there at once");
  WAIT_FOR(atomic_load(&held.notes.beats) >= 5);
  CHECK(smig_clock_boot_ms() - held.sent_ms >= 5 * (TTL / 3) - 50, "a beat every third of the TTL, no more");
  WAIT_FOR(deadline_of(&held) > held.sent_ms + 2 * TTL);
  CHECK(smig_guard_permits(&held.guard));
  CHECK(!smig_heartbeat_take_warning(heartbeat, NULL));
  smig_heartbeat_stop(heartbeat);
  int beats = atomic_load(&held.notes.beats);
  smig_clock_sleep_ms(TTL / 2);
  CHECK(atomic_load(&held.notes.beats) == beats, "none after the stop");
  let_go(&held);
}

static void a_stop_before_the_first_beat_is_at_once(void) {
  held_t held;
  hold(&held, LONG);
  int64_t begun = smig_clock_mono_ms();
  smig_heartbeat_stop(start(&held, LONG));
  CHECK(smig_clock_mono_ms() - begun < 150, "%" PRId64 " ms", smig_clock_mono_ms() - begun);
  CHECK(atomic_load(&held.notes.beats) == 0);
  smig_heartbeat_stop(NULL);
  let_go(&held);
}

static void another_holder_shuts_the_guard_and_then_ends_commands(void) {
  held_t held;
  hold(&held, TTL);
  atomic_store(&held.notes.commands_left, true);
  smig_heartbeat_t *heartbeat = start(&held, LONG);
  smig_memory_store_advance(held.store, 10 * TTL);
  smig_lease_t other;
  int64_t sent;
  smig_lease_new(&other, TTL);
  smig_ledger_t *others = smig_memory_ledger_new(held.store);
  CHECK(take(others, &other, &sent));
  WAIT_FOR(atomic_load(&held.guard.state) == SMIG_GUARD_LOST);
  CHECK(!smig_guard_permits(&held.guard));
  CHECK(held.guard.lost.code == SMIG_LOCK_LOST);
  CHECK_STR(lost_text(&held, "why"), "taken");
  CHECK_STR(lost_text(&held, "holder"), held.lease.holder);
  WAIT_FOR(atomic_load(&held.notes.ends) >= 4); /* repeated while something is left */
  atomic_store(&held.notes.commands_left, false);
  smig_clock_sleep_ms(700); /* what is asked here: that nothing more happens */
  int ends = atomic_load(&held.notes.ends), beats = atomic_load(&held.notes.beats);
  smig_clock_sleep_ms(700);
  CHECK(atomic_load(&held.notes.ends) == ends, "ending ends once none is left");
  CHECK(atomic_load(&held.notes.beats) == beats, "a lost lease is not beaten for");
  CHECK(atomic_load(&held.notes.ends_before_shut) == 0, "the guard first, then the commands, and only ours");
  int64_t begun = smig_clock_mono_ms();
  smig_heartbeat_stop(heartbeat);
  CHECK(smig_clock_mono_ms() - begun < 150);
  smig_ledger_free(others);
  let_go(&held);
}

static void no_answers_shut_the_guard_at_three_quarters(void) {
  held_t held;
  hold(&held, TTL);
  atomic_store(&held.notes.fail, true);
  smig_heartbeat_t *heartbeat = start(&held, LONG);
  WAIT_FOR(atomic_load(&held.guard.state) == SMIG_GUARD_LOST);
  int64_t after = smig_clock_boot_ms() - held.sent_ms;
  CHECK(after > TTL - TTL / 4 && after < TTL, "after %" PRId64 " ms", after);
  CHECK_STR(lost_text(&held, "why"), "deadline");
  CHECK(atomic_load(&held.notes.beats) >= 3, "tried again: %d", atomic_load(&held.notes.beats));
  smig_error_t warning = SMIG_ERROR_INIT;
  CHECK(smig_heartbeat_take_warning(heartbeat, &warning) && warning.code == SMIG_LEDGER_IO);
  smig_error_release(&warning);
  CHECK(!smig_heartbeat_take_warning(heartbeat, &warning), "once");
  smig_heartbeat_stop(heartbeat);
  let_go(&held);
}

/* The run notices the deadline as soon as its thread does: it does not go before its commands are ended. */
static void a_lost_run_that_ends_at_once_still_ends_its_commands(void) {
  held_t held;
  hold(&held, TTL);
  atomic_store(&held.notes.fail, true);
  atomic_store(&held.notes.commands_left, true);
  smig_heartbeat_t *heartbeat = start(&held, LONG);
  while (smig_guard_permits(&held.guard)) {}
  smig_heartbeat_stop(heartbeat);
  CHECK(held.guard.lost.code == SMIG_LOCK_LOST);
  int64_t after = smig_clock_boot_ms() - deadline_of(&held);
  CHECK(atomic_load(&held.notes.ends) >= 5, "%d tries", atomic_load(&held.notes.ends));
  CHECK(after >= TTL - 100 && after < 2 * TTL, "it gave up after %" PRId64 " ms", after);
  let_go(&held);
}

static void failures_that_pass_do_not_lose_the_lease(void) {
  held_t held;
  hold(&held, TTL);
  atomic_store(&held.notes.fail, true);
  smig_heartbeat_t *heartbeat = start(&held, LONG);
  WAIT_FOR(atomic_load(&held.notes.beats) == 2);
  atomic_store(&held.notes.fail, false);
  WAIT_FOR(deadline_of(&held) > held.sent_ms + TTL);
  CHECK(smig_guard_permits(&held.guard));
  smig_heartbeat_stop(heartbeat);
  let_go(&held);
}

static void a_beat_that_hangs_does_not_hold_up_the_deadline(void) {
  held_t held;
  hold(&held, TTL);
  atomic_store(&held.notes.delay_ms, 2 * TTL);
  smig_heartbeat_t *heartbeat = start(&held, LONG);
  WAIT_FOR(!smig_guard_permits(&held.guard));
  int64_t after = smig_clock_boot_ms() - held.sent_ms;
  CHECK(after > TTL - TTL / 4 && after < TTL, "refused after %" PRId64 " ms, before the thread can say so", after);
  WAIT_FOR(atomic_load(&held.guard.state) == SMIG_GUARD_LOST);
  CHECK_STR(lost_text(&held, "why"), "deadline");
  CHECK(!smig_guard_permits(&held.guard), "its late good answer changes nothing");
  smig_heartbeat_stop(heartbeat);
  let_go(&held);
}

static void a_step_that_does_not_stop_is_interrupted_and_beats_go_on(void) {
  held_t held;
  hold(&held, TTL);
  smig_heartbeat_t *heartbeat = start(&held, 500);
  atomic_store(&held.guard.step_running, true);
  int64_t asked = smig_clock_boot_ms();
  smig_guard_ask_to_stop(&held.guard, SIGTERM);
  CHECK(atomic_load(&held.guard.state) == SMIG_GUARD_OPEN, "it has its time");
  WAIT_FOR(atomic_load(&held.guard.state) == SMIG_GUARD_INTERRUPTED);
  int64_t after = smig_clock_boot_ms() - asked;
  CHECK(after >= 500 && after < 1000, "after %" PRId64 " ms", after);
  CHECK(held.guard.interrupted.code == SMIG_INTERRUPTED);
  /* What was sent just before may not have reached the server when nothing was found at first. */
  WAIT_FOR(atomic_load(&held.notes.ends) >= 3);
  CHECK(atomic_load(&held.notes.ends_before_shut) == 0);
  CHECK(!smig_guard_permits(&held.guard));
  atomic_store(&held.guard.step_running, false);
  int beats = atomic_load(&held.notes.beats);
  WAIT_FOR(atomic_load(&held.notes.beats) >= beats + 3);
  CHECK(smig_guard_permits(&held.guard), "the run may still write its ledger");
  smig_heartbeat_stop(heartbeat);
  let_go(&held);
}

static void a_stop_is_overdue_although_the_thread_waits_for_a_server(void) {
  held_t held;
  hold(&held, 3 * TTL);
  atomic_store(&held.notes.delay_ms, TTL);
  smig_heartbeat_t *heartbeat = start(&held, 300);
  atomic_store(&held.guard.step_running, true);
  WAIT_FOR(atomic_load(&held.notes.begun) > 0);
  int64_t asked = smig_clock_boot_ms();
  smig_guard_ask_to_stop(&held.guard, SIGTERM);
  CHECK(smig_guard_permits(&held.guard), "it has its time");
  WAIT_FOR(!smig_guard_permits(&held.guard));
  int64_t after = smig_clock_boot_ms() - asked;
  CHECK(after >= 300 && after < 600, "after %" PRId64 " ms", after);
  CHECK(atomic_load(&held.notes.beats) == 0 && atomic_load(&held.guard.state) == SMIG_GUARD_OPEN, "nobody has shut it");
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(!smig_guard_check(&held.guard, false, &error) && error.code == SMIG_INTERRUPTED, "%s", error.message);
  CHECK(strstr(error.message, "300 ms"), "%s", error.message);
  smig_error_release(&error);
  WAIT_FOR(atomic_load(&held.guard.state) == SMIG_GUARD_INTERRUPTED);
  WAIT_FOR(atomic_load(&held.notes.ends) > 0);
  smig_heartbeat_stop(heartbeat);
  let_go(&held);
}

static void without_a_running_step_a_stop_request_shuts_nothing(void) {
  held_t held;
  hold(&held, TTL);
  smig_heartbeat_t *heartbeat = start(&held, 0);
  smig_guard_ask_to_stop(&held.guard, 0);
  int beats = atomic_load(&held.notes.beats);
  WAIT_FOR(atomic_load(&held.notes.beats) >= beats + 2);
  CHECK(atomic_load(&held.guard.state) == SMIG_GUARD_OPEN);
  CHECK(atomic_load(&held.notes.ends) == 0);
  smig_heartbeat_stop(heartbeat);
  let_go(&held);
}

static atomic_int handled;

/* The next try of a transactional step: the thread may not have seen yet that the rest before it is over. */
static void each_rest_begins_with_a_beat_of_its_own(void) {
  held_t held;
  smig_error_t error = SMIG_ERROR_INIT;
  uint8_t session[16] = {0};
  hold(&held, LONG);
  smig_heartbeat_t *heartbeat = start(&held, LONG);
  for (int i = 1; i <= 50; i++) {
    session[0] = (uint8_t)i;
    CHECK(smig_heartbeat_rest(heartbeat, LONG, session, &error), "%s", error.message);
    CHECK(atomic_load(&held.notes.session) == i, "%d: %d", i, atomic_load(&held.notes.session));
    smig_heartbeat_resume(heartbeat);
  }
  smig_heartbeat_stop(heartbeat);
  let_go(&held);
}

static void a_rest_granted_too_late_does_not_bring_the_lease_back(void) {
  held_t held;
  smig_error_t error = SMIG_ERROR_INIT;
  const uint8_t session[16] = {1};
  hold(&held, TTL);
  smig_heartbeat_t *heartbeat = start(&held, LONG);
  atomic_store(&held.notes.delay_ms, TTL);
  CHECK(!smig_heartbeat_rest(heartbeat, LONG, session, &error));
  CHECK(error.code == SMIG_LOCK_LOST, "%s", error.name);
  smig_error_release(&error);
  WAIT_FOR(atomic_load(&held.notes.beats) == 1);
  WAIT_FOR(atomic_load(&held.guard.state) == SMIG_GUARD_LOST);
  CHECK(!smig_guard_permits(&held.guard));
  smig_heartbeat_stop(heartbeat);
  let_go(&held);
}

static void a_rest_without_an_answer_is_not_asked_for_without_a_pause(void) {
  held_t held;
  smig_error_t error = SMIG_ERROR_INIT;
  const uint8_t session[16] = {1};
  hold(&held, TTL);
  atomic_store(&held.notes.fail, true);
  smig_heartbeat_t *heartbeat = start(&held, LONG);
  CHECK(!smig_heartbeat_rest(heartbeat, LONG, session, &error));
  CHECK(error.code == SMIG_LOCK_LOST, "%s", error.name);
  CHECK(atomic_load(&held.notes.begun) < 20, "%d", atomic_load(&held.notes.begun));
  smig_error_release(&error);
  smig_heartbeat_stop(heartbeat);
  let_go(&held);
}

static void on_signal(int number) {
  (void)number;
  atomic_fetch_add(&handled, 1);
}

static void signals_never_reach_the_thread(void) {
  held_t held;
  hold(&held, TTL);
  struct sigaction action = {.sa_handler = on_signal}, former;
  sigaction(SIGUSR1, &action, &former);
  smig_heartbeat_t *heartbeat = start(&held, LONG);
  sigset_t blocked, before, pending;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &blocked, &before); /* the heartbeat alone could take it now */
  kill(getpid(), SIGUSR1);
  int beats = atomic_load(&held.notes.beats);
  WAIT_FOR(atomic_load(&held.notes.beats) >= beats + 2);
  sigpending(&pending);
  CHECK(atomic_load(&handled) == 0 && sigismember(&pending, SIGUSR1), "it waits for the main thread");
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  CHECK(atomic_load(&handled) == 1, "which takes it");
  smig_heartbeat_stop(heartbeat);
  sigaction(SIGUSR1, &former, NULL);
  let_go(&held);
}

static void starting_and_stopping_quickly_is_safe(void) {
  for (int i = 0; i < 300 && check_case_ok; i++) {
    held_t held;
    hold(&held, TTL);
    smig_heartbeat_t *heartbeat = start(&held, 0);
    if (i % 3 == 1) smig_guard_ask_to_stop(&held.guard, SIGINT);
    if (i % 3 == 2) smig_heartbeat_take_warning(heartbeat, NULL);
    smig_heartbeat_stop(heartbeat);
    let_go(&held);
  }
}

int main(void) {
  RUN(beats_keep_the_lease);
  RUN(a_stop_before_the_first_beat_is_at_once);
  RUN(another_holder_shuts_the_guard_and_then_ends_commands);
  RUN(no_answers_shut_the_guard_at_three_quarters);
  RUN(a_lost_run_that_ends_at_once_still_ends_its_commands);
  RUN(failures_that_pass_do_not_lose_the_lease);
  RUN(a_beat_that_hangs_does_not_hold_up_the_deadline);
  RUN(a_step_that_does_not_stop_is_interrupted_and_beats_go_on);
  RUN(a_stop_is_overdue_although_the_thread_waits_for_a_server);
  RUN(without_a_running_step_a_stop_request_shuts_nothing);
  RUN(each_rest_begins_with_a_beat_of_its_own);
  RUN(a_rest_granted_too_late_does_not_bring_the_lease_back);
  RUN(a_rest_without_an_answer_is_not_asked_for_without_a_pause);
  RUN(signals_never_reach_the_thread);
  RUN(starting_and_stopping_quickly_is_safe);
  return check_done();
}
