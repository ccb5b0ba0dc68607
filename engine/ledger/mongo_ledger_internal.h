/*
 * The parts of the MongoDB ledger among themselves; see mongo_ledger.h. One thread at a time per instance.
 * Source: the contract, sections 6 and 7.
 */
#ifndef SMIG_LEDGER_MONGO_LEDGER_INTERNAL_H
#define SMIG_LEDGER_MONGO_LEDGER_INTERNAL_H

#include "edits.h"
#include "mongo_commands.h"
#include "mongo_ledger.h"

typedef struct smig_mongo_ledger {
  smig_ledger_t base;
  smig_mongo_channel_t channel;
  smig_mongo_commands_t commands;
  bool owns_connection;
  char *database, *ledger_id, *ledger_name;
  bool clock_known; /* the server's time = CLOCK_BOOTTIME + clock_offset_ms */
  int64_t clock_offset_ms;
  int64_t size; /* bytes of `data`, never below the truth as far as this instance knows */
} smig_mongo_ledger_t;

static inline smig_mongo_ledger_t *smig_mongo_ledger_of(smig_ledger_t *self) {
  return (smig_mongo_ledger_t *)self;
}

/* --- mongo_ledger_load.c -------------------------------------------------------------------------------------- */

bool smig_mongo_ledger_load(smig_ledger_t *self, smig_ledger_state_t *state, smig_error_t *error);
/* Load as a part of another operation. */
bool smig_mongo_ledger_read_state(smig_mongo_ledger_t *self, const char *run_id, smig_ledger_state_t *state,
                                  smig_error_t *error);
/* Fills *state from a document {data, now}. */
bool smig_mongo_ledger_parse(smig_mongo_ledger_t *self, const bson_t *document, smig_ledger_state_t *state,
                             smig_error_t *error);
/* Remembers the server's clock; and its estimated time as ISO 8601. */
void smig_mongo_ledger_clock(smig_mongo_ledger_t *self, int64_t server_wall_ms);
void smig_mongo_ledger_now(const smig_mongo_ledger_t *self, char out[SMIG_ISO_SIZE]);
/* The current holder of the lock, for LOCK_LOST. */
void smig_mongo_ledger_set_lost(smig_mongo_ledger_t *self, const smig_lease_t *lease, smig_error_t *error);

/* --- mongo_ledger_index.c ------------------------------------------------------------------------------------- */

/* No index contradicts a unique nameId; `create`: and one makes it unique. LEDGER_CORRUPT, LEDGER_IO. */
bool smig_mongo_ledger_index(smig_mongo_ledger_t *self, const char *run_id, bool create, smig_error_t *error);

/* --- mongo_ledger_acquire.c, mongo_ledger_lock.c -------------------------------------------------------------- */

bool smig_mongo_ledger_acquire(smig_ledger_t *self, smig_lease_t *lease, const smig_acquire_t *acquire, bool *won,
                               smig_ledger_state_t *state, int64_t *sent_boot_ms, smig_error_t *error);
bool smig_mongo_ledger_renew(smig_ledger_t *self, const smig_lease_t *lease, bool *ours, smig_error_t *error);

/* The filter of an existing ledger that may be locked, and the pipelines of lock and renewal. Initialised by the call. */
void smig_mongo_ledger_lock_filter(const smig_mongo_ledger_t *self, const smig_lease_t *lease,
                                   const smig_acquire_t *acquire, bson_t *filter);
void smig_mongo_ledger_lock_pipeline(const smig_mongo_ledger_t *self, const smig_lease_t *lease,
                                     const smig_acquire_t *acquire, bson_t *pipeline);
void smig_mongo_ledger_renew_pipeline(const smig_lease_t *lease, bson_t *pipeline);

/* --- mongo_ledger_commit.c, mongo_ledger_update.c ------------------------------------------------------------- */

bool smig_mongo_ledger_commit(smig_ledger_t *self, const smig_lease_t *lease, const smig_ledger_change_t *change,
                              smig_error_t *error);
/*
 * Sends edits as one update that names the holder, until it is answered. *matched: the lock is ours. *resent: an
 * earlier try was not answered and may have happened.
 */
bool smig_mongo_ledger_update(smig_mongo_ledger_t *self, const smig_lease_t *lease, const smig_edits_t *edits,
                              bool *matched, bool *resent, smig_error_t *lower);
/* Says in details.outcome_unknown that an earlier try may have happened. NULL is fine. */
void smig_mongo_ledger_set_unknown(smig_error_t *error);

/* --- mongo_ledger_checkpoint.c -------------------------------------------------------------------------------- */

bool smig_mongo_ledger_checkpoint_read(smig_ledger_t *self, const smig_lease_t *lease, const char *step_id,
                                       const char *key, bson_t *value, bool *found, smig_error_t *error);
bool smig_mongo_ledger_checkpoint_write(smig_ledger_t *self, const smig_lease_t *lease, const char *step_id,
                                        const char *key, const bson_t *value, smig_error_t *error);
bool smig_mongo_ledger_checkpoint_clear(smig_ledger_t *self, const smig_lease_t *lease, const char *step_id,
                                        smig_error_t *error);

/* --- mongo_ledger_history.c ----------------------------------------------------------------------------------- */

bool smig_mongo_ledger_history_begin(smig_ledger_t *self, const smig_lease_t *lease, const bson_t *document,
                                     smig_error_t *error);
bool smig_mongo_ledger_history_finish(smig_ledger_t *self, const smig_lease_t *lease, const bson_t *document,
                                      smig_error_t *error);
bool smig_mongo_ledger_history_list(smig_ledger_t *self, bson_t *list, smig_error_t *error);
bool smig_mongo_ledger_history_prune(smig_ledger_t *self, const char *before, int64_t *removed, smig_error_t *error);

#endif
