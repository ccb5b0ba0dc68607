/*
 * The heartbeat: a thread that extends the lease while steps run, shuts the guard when it is lost, and ends the run's
 * commands on the server when it is lost or a stop took too long. What it shuts the guard with: LOCK_LOST {holder (ours),
 * why: "taken" or "deadline"}, INTERRUPTED {signal?, stop_timeout_ms}.
 */
#ifndef SMIG_LEDGER_HEARTBEAT_H
#define SMIG_LEDGER_HEARTBEAT_H

#include "ledger.h"

typedef struct smig_heartbeat smig_heartbeat_t;

/*
 * Starts the thread. `ledger` is taken over (an instance of its own, see `reopen`); `lease` and `guard` are borrowed until the
 * stop. The guard's deadline is set at once from `acquired_sent_boot_ms`. NULL with INVALID_OPTIONS when no thread can be made.
 */
smig_heartbeat_t *smig_heartbeat_start(smig_ledger_t *ledger, const smig_lease_t *lease, smig_guard_t *guard,
                                       int64_t acquired_sent_boot_ms, int64_t stop_timeout_ms, smig_error_t *error);
/*
 * Ends the thread and waits for it: for a beat under way within its time limit, and when the lock is lost until the run's
 * commands are ended on the server, 2 s after the loss at most (a try under way within its time limit). NULL is fine.
 */
void smig_heartbeat_stop(smig_heartbeat_t *heartbeat);
/*
 * Beats rest, so that a transaction may write the ledger's document: one beat carries the lease to `ttl_ms` first, and records the
 * transaction's session, so that whoever takes over can end it. Waits until it is answered; fails with the guard's reason when the lease is lost instead. `resume` begins to beat again.
 */
bool smig_heartbeat_rest(smig_heartbeat_t *heartbeat, int64_t ttl_ms, const uint8_t session[16], smig_error_t *error);
void smig_heartbeat_resume(smig_heartbeat_t *heartbeat);
/* The last failure of a beat since the last call, for a warning; false: none. Main thread. */
bool smig_heartbeat_take_warning(smig_heartbeat_t *heartbeat, smig_error_t *warning);

#endif
