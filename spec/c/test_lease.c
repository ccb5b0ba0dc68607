/*
 * The lease's state machine: its rules one by one, and many thousand random orders of events on a fake clock against a
 * model that knows only the rules. The seed is printed; give it as the first argument to run the same again.
 */
#include "check.h"
#include "lease.h"

#include <inttypes.h>
#include <time.h>

enum { TTL = 60000, SEQUENCES = 30000, EVENTS = 80 };

static uint64_t seed, random_state;

static uint64_t next_random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

static int64_t up_to(int64_t limit) {
  return (int64_t)(next_random() % (uint64_t)(limit + 1));
}

/* --------------------------------------------------------------- rule by rule */

static void beats_at_a_third_of_the_ttl(void) {
  smig_lease_machine_t machine = smig_lease_machine_start(TTL, 1000);
  CHECK(smig_lease_machine_wake(&machine) == 1000 + TTL / 3);
  CHECK(smig_lease_machine_step(&machine, SMIG_LEASE_TICK, 1000 + TTL / 3 - 1) == SMIG_LEASE_WAIT);
  CHECK(smig_lease_machine_step(&machine, SMIG_LEASE_TICK, 1000 + TTL / 3) == SMIG_LEASE_SEND);
  CHECK(smig_lease_machine_step(&machine, SMIG_LEASE_TICK, 1000 + TTL / 3 + 1) == SMIG_LEASE_WAIT, "one at a time");
}

static void a_good_beat_counts_from_when_it_was_sent(void) {
  smig_lease_machine_t machine = smig_lease_machine_start(TTL, 0);
  CHECK(smig_lease_machine_step(&machine, SMIG_LEASE_TICK, 20000) == SMIG_LEASE_SEND);
  CHECK(smig_lease_machine_step(&machine, SMIG_LEASE_BEAT_OURS, 25000) == SMIG_LEASE_WAIT);
  CHECK(smig_lease_machine_deadline(&machine) == 20000 + 45000);
  CHECK(smig_lease_machine_wake(&machine) == 40000);
}

static void an_answer_slower_than_the_interval_is_followed_by_the_next_beat(void) {
  smig_lease_machine_t machine = smig_lease_machine_start(TTL, 0);
  CHECK(smig_lease_machine_step(&machine, SMIG_LEASE_TICK, 20000) == SMIG_LEASE_SEND);
  CHECK(smig_lease_machine_step(&machine, SMIG_LEASE_BEAT_OURS, 41000) == SMIG_LEASE_SEND);
}

static void an_unclear_beat_is_retried_soon(void) {
  smig_lease_machine_t machine = smig_lease_machine_start(TTL, 0);
  CHECK(smig_lease_machine_step(&machine, SMIG_LEASE_TICK, 20000) == SMIG_LEASE_SEND);
  CHECK(smig_lease_machine_step(&machine, SMIG_LEASE_BEAT_UNCLEAR, 22000) == SMIG_LEASE_WAIT);
  CHECK(smig_lease_machine_wake(&machine) == 22000 + TTL / 12);
  smig_lease_machine_t shortest = smig_lease_machine_start(1000, 0);
  CHECK(smig_lease_machine_step(&shortest, SMIG_LEASE_TICK, 333) == SMIG_LEASE_SEND);
  CHECK(smig_lease_machine_step(&shortest, SMIG_LEASE_BEAT_UNCLEAR, 340) == SMIG_LEASE_WAIT);
  CHECK(smig_lease_machine_wake(&shortest) == 440, "never sooner than 100 ms");
}

static void three_quarters_of_the_ttl_are_the_end(void) {
  smig_lease_machine_t machine = smig_lease_machine_start(TTL, 0);
  CHECK(smig_lease_machine_step(&machine, SMIG_LEASE_TICK, 20000) == SMIG_LEASE_SEND);
  CHECK(smig_lease_machine_wake(&machine) == 45001, "a beat without an answer is not waited for longer");
  CHECK(smig_lease_machine_step(&machine, SMIG_LEASE_TICK, 45000) == SMIG_LEASE_WAIT);
  CHECK(smig_lease_machine_step(&machine, SMIG_LEASE_TICK, 45001) == SMIG_LEASE_FENCE);
  CHECK(smig_lease_machine_step(&machine, SMIG_LEASE_BEAT_OURS, 45002) == SMIG_LEASE_WAIT, "lost stays lost");
  CHECK(machine.phase == SMIG_LEASE_LOST);
}

static void a_good_answer_after_the_end_is_too_late(void) {
  smig_lease_machine_t machine = smig_lease_machine_start(TTL, 0);
  CHECK(smig_lease_machine_step(&machine, SMIG_LEASE_TICK, 44000) == SMIG_LEASE_SEND);
  CHECK(smig_lease_machine_step(&machine, SMIG_LEASE_BEAT_OURS, 45001) == SMIG_LEASE_FENCE);
}

static void another_holder_is_the_end(void) {
  smig_lease_machine_t machine = smig_lease_machine_start(TTL, 0);
  CHECK(smig_lease_machine_step(&machine, SMIG_LEASE_TICK, 20000) == SMIG_LEASE_SEND);
  CHECK(smig_lease_machine_step(&machine, SMIG_LEASE_BEAT_TAKEN, 20010) == SMIG_LEASE_FENCE);
  CHECK(smig_lease_machine_step(&machine, SMIG_LEASE_TICK, 90000) == SMIG_LEASE_WAIT);
  CHECK(smig_lease_machine_wake(&machine) == INT64_MAX);
}

static void a_stop_ends_it_in_every_phase(void) {
  smig_lease_machine_t held = smig_lease_machine_start(TTL, 0), lost = held;
  CHECK(smig_lease_machine_step(&held, SMIG_LEASE_STOP, 1) == SMIG_LEASE_END);
  CHECK(smig_lease_machine_step(&held, SMIG_LEASE_TICK, 90000) == SMIG_LEASE_END, "no fence after the end");
  CHECK(smig_lease_machine_step(&lost, SMIG_LEASE_TICK, 90000) == SMIG_LEASE_FENCE);
  CHECK(smig_lease_machine_step(&lost, SMIG_LEASE_STOP, 90001) == SMIG_LEASE_END);
}

/* ------------------------------------------------------------- random orders */

/* What the rules say, without the machine. */
typedef struct model {
  int64_t ttl, good_sent, sent, not_before; /* sent -1: no beat is under way; no beat may be sent before not_before */
  bool lost, stopped;
} model_t;

static int64_t retry_of(int64_t ttl) {
  return ttl / 12 > 100 ? ttl / 12 : 100;
}

static smig_lease_action_t expected(model_t *model, smig_lease_event_t event, int64_t now) {
  if (event == SMIG_LEASE_STOP) model->stopped = true;
  if (model->stopped) return SMIG_LEASE_END;
  if (model->lost) return SMIG_LEASE_WAIT;
  bool answered = model->sent >= 0 && event != SMIG_LEASE_TICK;
  if (now - model->good_sent > model->ttl - model->ttl / 4 || (answered && event == SMIG_LEASE_BEAT_TAKEN)) {
    model->lost = true;
    return SMIG_LEASE_FENCE;
  }
  if (answered) {
    if (event == SMIG_LEASE_BEAT_OURS) model->good_sent = model->sent;
    model->not_before = event == SMIG_LEASE_BEAT_OURS ? model->sent + model->ttl / 3 : now + retry_of(model->ttl);
    model->sent = -1;
  }
  if (model->sent < 0 && now >= model->not_before) {
    model->sent = now;
    return SMIG_LEASE_SEND;
  }
  return SMIG_LEASE_WAIT;
}

static smig_lease_event_t some_event(void) {
  uint64_t dice = next_random() % 100;
  if (dice < 35) return SMIG_LEASE_TICK;
  if (dice < 82) return SMIG_LEASE_BEAT_OURS;
  if (dice < 98) return SMIG_LEASE_BEAT_UNCLEAR;
  return dice < 99 ? SMIG_LEASE_BEAT_TAKEN : SMIG_LEASE_STOP;
}

/* The next moment: mostly when the machine wants it or around its edges, sometimes anywhere. */
static int64_t some_moment(const smig_lease_machine_t *machine, int64_t now) {
  int64_t wake = smig_lease_machine_wake(machine), to = now;
  switch (next_random() % 20) {
  case 0:
  case 1:
  case 2:
  case 3:
    to = wake == INT64_MAX ? now + 1 : wake;
    break;
  case 4:
    to = smig_lease_machine_deadline(machine) + up_to(2) - 1;
    break;
  case 5:
  case 6:
    to = now;
    break;
  default:
    to = now + up_to(machine->ttl_ms / 8);
  }
  return to < now ? now : to;
}

typedef struct counts {
  uint64_t sends, fences, ends, extensions;
} counts_t;

static bool run_sequence(uint64_t number, counts_t *counts) {
  int64_t ttl = 1000 + 4 * up_to(20000), now = up_to(1000000);
  smig_lease_machine_t machine = smig_lease_machine_start(ttl, now);
  model_t model = {.ttl = ttl, .good_sent = now, .sent = -1, .not_before = now + ttl / 3};
  unsigned fences = 0;
  int64_t deadline = smig_lease_machine_deadline(&machine);
  for (int i = 0; i < EVENTS; i++) {
    smig_lease_event_t event = some_event();
    now = some_moment(&machine, now);
    bool had_to_act = machine.phase == SMIG_LEASE_HELD && now >= smig_lease_machine_wake(&machine);
    smig_lease_action_t want = expected(&model, event, now);
    smig_lease_action_t got = smig_lease_machine_step(&machine, event, now);
    int64_t deadline_now = smig_lease_machine_deadline(&machine);

    bool good = got == want && deadline_now == model.good_sent + ttl - ttl / 4 && deadline_now >= deadline;
    if (event == SMIG_LEASE_TICK && had_to_act) good = good && (got == SMIG_LEASE_SEND || got == SMIG_LEASE_FENCE);
    if (got == SMIG_LEASE_FENCE) good = good && ++fences == 1;
    if (got == SMIG_LEASE_SEND) good = good && now <= deadline_now && machine.phase == SMIG_LEASE_HELD;
    if (machine.phase == SMIG_LEASE_HELD) good = good && smig_lease_machine_wake(&machine) <= deadline_now + 1;
    if (!good) {
      CHECK(good, "sequence %" PRIu64 " event %d: %d at %" PRId64 " gave %d, not %d (ttl %" PRId64 ")", number, i,
            event, now, got, want, ttl);
      return false;
    }
    counts->sends += got == SMIG_LEASE_SEND;
    counts->fences += got == SMIG_LEASE_FENCE;
    counts->ends += got == SMIG_LEASE_END;
    counts->extensions += deadline_now > deadline;
    deadline = deadline_now;
  }
  return true;
}

static void random_orders_keep_the_rules(void) {
  counts_t counts = {0};
  for (uint64_t i = 0; i < SEQUENCES; i++)
    if (!run_sequence(i, &counts)) return;
  printf("# %d sequences: %" PRIu64 " beats sent, %" PRIu64 " good, %" PRIu64 " leases lost\n", SEQUENCES, counts.sends,
         counts.extensions, counts.fences);
  CHECK(counts.sends > SEQUENCES && counts.extensions > SEQUENCES / 2, "the sequences reach beats");
  CHECK(counts.fences > SEQUENCES / 10 && counts.ends > SEQUENCES / 10, "and losses and ends");
}

int main(int argc, char **argv) {
  seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)time(NULL);
  random_state = seed * UINT64_C(2685821657736338717) + 1;
  printf("# seed %" PRIu64 "\n", seed);
  RUN(beats_at_a_third_of_the_ttl);
  RUN(a_good_beat_counts_from_when_it_was_sent);
  RUN(an_answer_slower_than_the_interval_is_followed_by_the_next_beat);
  RUN(an_unclear_beat_is_retried_soon);
  RUN(three_quarters_of_the_ttl_are_the_end);
  RUN(a_good_answer_after_the_end_is_too_late);
  RUN(another_holder_is_the_end);
  RUN(a_stop_ends_it_in_every_phase);
  RUN(random_orders_keep_the_rules);
  return check_done();
}
