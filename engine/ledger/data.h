/*
 * The lock's rules over a ledger's `data` held in memory: who may take it, what taking and beating write, what a write whose answer
 * got lost left behind. The backends that write the whole body (memory, S3) share them; MongoDB says the same in expressions of its
 * server, and shares `landed`.
 * Users: memory_ledger, s3_ledger, mongo_ledger_commit. Pure. Units: ms; times are the backend's. Source: the contract, sections 6 and 7.
 */
#ifndef SMIG_LEDGER_DATA_H
#define SMIG_LEDGER_DATA_H

#include "edits.h"

/* Goes down a path of one to three names (`second` and `third` may be NULL). `data` may be NULL. */
bool smig_data_find(const bson_t *data, const char *first, const char *second, const char *third, bson_iter_t *iter);
/* Whether this holder holds the lock. */
bool smig_data_held_by(const bson_t *data, const char *holder);
/* Sets LOCK_LOST naming who holds the lock now. */
void smig_data_set_lost(const bson_t *data, const char *place, smig_error_t *error);

/* Whether the lock of `now` may be taken: it is as it was seen, and free, past its time, or the seen holder is dead. */
bool smig_data_may_take(const smig_ledger_state_t *now, const smig_lease_t *lease, const smig_acquire_t *acquire);
/* Taking the lock of `former`; `user` is the run's database user, "" where there is none. */
void smig_data_take(smig_edits_t *edits, const smig_ledger_state_t *former, const smig_lease_t *lease, int64_t now_ms,
                    int64_t expires_ms, const char *user);
/* A beat; an expiry is never moved back. */
void smig_data_extend(smig_edits_t *edits, const bson_t *data, int64_t expires_ms);
/* A checkpoint's value {v: …}; CHECKPOINT_TOO_LARGE when it or the ledger would be. */
bool smig_data_checkpoint(smig_edits_t *edits, const bson_t *data, const char *step_id, const char *key,
                          const bson_t *value, smig_error_t *error);

/* The lock is not ours any more: did the change land before that, by a try that was not answered? */
bool smig_change_landed(const smig_ledger_state_t *state, const smig_ledger_change_t *change,
                        const smig_lease_t *lease);

#endif
