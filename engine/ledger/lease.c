/*
 * The lease's state machine, see lease.h. Users: heartbeat, tests. Pure: no clock, no errors, no threads of its own.
 * Units: CLOCK_BOOTTIME in ms.
 * Rule: the contract's section on the lock: a beat every third of the TTL at the latest, lost at three quarters.
 */
#include "lease.h"

enum { RETRY_FLOOR_MS = 100 };

static int64_t at_least(int64_t value, int64_t floor) {
  return value < floor ? floor : value;
}

/* The pause before a beat is tried again whose answer was unclear. */
static int64_t retry_ms(int64_t ttl_ms) {
  return at_least(ttl_ms / 12, RETRY_FLOOR_MS);
}

smig_lease_machine_t smig_lease_machine_start(int64_t ttl_ms, int64_t acquired_sent_ms) {
  return (smig_lease_machine_t){
      .phase = SMIG_LEASE_HELD,
      .ttl_ms = ttl_ms,
      .good_sent_ms = acquired_sent_ms,
      .sent_ms = -1,
      .next_beat_ms = acquired_sent_ms + ttl_ms / 3,
  };
}

static int64_t deadline_of(int64_t sent_ms, int64_t ttl_ms) {
  return sent_ms + ttl_ms - ttl_ms / 4;
}

int64_t smig_lease_machine_deadline(const smig_lease_machine_t *machine) {
  int64_t deadline = deadline_of(machine->good_sent_ms, machine->ttl_ms);
  return deadline > machine->rest_deadline_ms ? deadline : machine->rest_deadline_ms;
}

void smig_lease_machine_rest(smig_lease_machine_t *machine, int64_t ttl_ms, int64_t sent_ms) {
  machine->rest_deadline_ms = deadline_of(sent_ms, ttl_ms);
  machine->next_beat_ms = INT64_MAX;
}

void smig_lease_machine_resume(smig_lease_machine_t *machine, int64_t now_ms) {
  machine->next_beat_ms = now_ms;
}

int64_t smig_lease_machine_wake(const smig_lease_machine_t *machine) {
  if (machine->phase != SMIG_LEASE_HELD) return INT64_MAX;
  int64_t deadline = smig_lease_machine_deadline(machine) + 1; /* the deadline itself is still good */
  bool waits = machine->sent_ms >= 0;
  return waits || machine->next_beat_ms > deadline ? deadline : machine->next_beat_ms;
}

static smig_lease_action_t fence(smig_lease_machine_t *machine) {
  machine->phase = SMIG_LEASE_LOST;
  machine->sent_ms = -1;
  return SMIG_LEASE_FENCE;
}

/* The beat under way was answered: the lease counts from when it was sent, since its answer may have taken long. */
static void extend(smig_lease_machine_t *machine) {
  machine->good_sent_ms = machine->sent_ms;
  machine->next_beat_ms = machine->sent_ms + machine->ttl_ms / 3;
}

smig_lease_action_t smig_lease_machine_step(smig_lease_machine_t *machine, smig_lease_event_t event, int64_t now_ms) {
  if (event == SMIG_LEASE_STOP) {
    machine->phase = SMIG_LEASE_STOPPED;
    machine->sent_ms = -1;
  }
  if (machine->phase == SMIG_LEASE_STOPPED) return SMIG_LEASE_END;
  if (machine->phase == SMIG_LEASE_LOST) return SMIG_LEASE_WAIT;

  /* An answer that comes when the lease is lost already does not bring it back: the run has been refused meanwhile. */
  if (now_ms > smig_lease_machine_deadline(machine)) return fence(machine);
  bool answers = machine->sent_ms >= 0 && event != SMIG_LEASE_TICK;
  if (answers) {
    if (event == SMIG_LEASE_BEAT_TAKEN) return fence(machine);
    if (event == SMIG_LEASE_BEAT_OURS)
      extend(machine);
    else
      machine->next_beat_ms = now_ms + retry_ms(machine->ttl_ms);
    machine->sent_ms = -1;
  }
  if (machine->sent_ms < 0 && now_ms >= machine->next_beat_ms) {
    machine->sent_ms = now_ms;
    return SMIG_LEASE_SEND;
  }
  return SMIG_LEASE_WAIT;
}
