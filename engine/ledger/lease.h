/*
 * The lease as a pure state machine: (state, event, now) -> (state, action). The heartbeat thread feeds it; tests feed
 * it a fake clock and events in random order. `now` is CLOCK_BOOTTIME in ms.
 * Rule: past `time the last good beat was sent + three quarters of the TTL` the lease counts as lost, whatever a server says.
 */
#ifndef SMIG_LEDGER_LEASE_H
#define SMIG_LEDGER_LEASE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum smig_lease_phase { SMIG_LEASE_HELD, SMIG_LEASE_LOST, SMIG_LEASE_STOPPED } smig_lease_phase_t;

typedef struct smig_lease_machine {
  smig_lease_phase_t phase;
  int64_t ttl_ms;
  int64_t good_sent_ms;     /* when the last beat that was answered well was sent */
  int64_t sent_ms;          /* when the beat under way was sent; -1: none is */
  int64_t next_beat_ms;     /* when the next is due; INT64_MAX: beats rest */
  int64_t rest_deadline_ms; /* of the longer grant that a rest began with; 0: none */
} smig_lease_machine_t;

typedef enum smig_lease_event {
  SMIG_LEASE_TICK,         /* time has passed */
  SMIG_LEASE_BEAT_OURS,    /* the beat under way: extended */
  SMIG_LEASE_BEAT_TAKEN,   /* the beat under way: somebody else holds the lock */
  SMIG_LEASE_BEAT_UNCLEAR, /* the beat under way: no clear answer */
  SMIG_LEASE_STOP          /* the run has ended */
} smig_lease_event_t;

typedef enum smig_lease_action {
  SMIG_LEASE_WAIT,
  SMIG_LEASE_SEND,
  SMIG_LEASE_FENCE,
  SMIG_LEASE_END
} smig_lease_action_t;

smig_lease_machine_t smig_lease_machine_start(int64_t ttl_ms, int64_t acquired_sent_ms);
/* One transition. SEND: a beat is to be sent now. FENCE: once, when the lease is lost. END: the thread may end. */
smig_lease_action_t smig_lease_machine_step(smig_lease_machine_t *machine, smig_lease_event_t event, int64_t now_ms);
/* Beats rest: one that was sent at `sent_ms` has carried the lease to `ttl_ms` after it. */
void smig_lease_machine_rest(smig_lease_machine_t *machine, int64_t ttl_ms, int64_t sent_ms);
/* The rest is over: a beat is due. */
void smig_lease_machine_resume(smig_lease_machine_t *machine, int64_t now_ms);
/* Past this moment the lease counts as lost. */
int64_t smig_lease_machine_deadline(const smig_lease_machine_t *machine);
/* When the machine wants its next tick. */
int64_t smig_lease_machine_wake(const smig_lease_machine_t *machine);

#endif
