/*
 * The parts of the MongoDB ledger among themselves; see mongo_ledger.h. One thread at a time per instance.
 * Every command carries the comment "<comment_prefix><run id>:" and a time limit; reads go to the primary with read
 * concern majority, writes carry w: majority, j: true. Source: the contract, sections 6 and 7.
 */
#ifndef SMIG_LEDGER_MONGO_LEDGER_INTERNAL_H
#define SMIG_LEDGER_MONGO_LEDGER_INTERNAL_H

#include "edits.h"
#include "mongo_ledger.h"

typedef struct smig_mongo_ledger {
  smig_ledger_t base;
  smig_mongo_connection_t *connection;
  bool owns_connection;
  char *database, *ledger_id, *ledger_name;
  int64_t limit_ms;                     /* of one command */
  int64_t patience_ms;                  /* for how long an unanswered write is sent again; 0: never */
  mongoc_client_session_t *transaction; /* open: commands are a part of it; NULL: none */
  bool clock_known;                     /* the server's time = CLOCK_BOOTTIME + clock_offset_ms */
  int64_t clock_offset_ms;
  int64_t size;      /* bytes of `data`, never below the truth as far as this instance knows */
  char *user;        /* the connection's database users; NULL: not asked yet; "": none */
  char *former_user; /* of the dead holder whose commands may still run; NULL: not recorded */
} smig_mongo_ledger_t;

static inline smig_mongo_ledger_t *smig_mongo_ledger_of(smig_ledger_t *self) {
  return (smig_mongo_ledger_t *)self;
}

/* --- mongo_ledger_io.c: sending ------------------------------------------------------------------------------- */

typedef enum smig_mongo_ledger_kind {
  SMIG_MONGO_LEDGER_READ,  /* primary, majority */
  SMIG_MONGO_LEDGER_WRITE, /* majority, journaled; a reply's write errors are failures */
  SMIG_MONGO_LEDGER_PLAIN  /* without read or write concern: what runs on the server itself */
} smig_mongo_ledger_kind_t;

/*
 * Sends one command to `database`, with the run's comment ("" outside of a run) and the time limit appended. *reply is
 * initialised on every path. The error is the driver's or server's own; see mongo_ledger_fail.
 */
bool smig_mongo_ledger_command(smig_mongo_ledger_t *self, smig_mongo_ledger_kind_t kind, const char *database,
                               bson_t *command, const char *run_id, bson_t *reply, smig_error_t *error);
/* One document of the collection that `filter` finds; *document (initialised, empty) stays empty when there is none. */
bool smig_mongo_ledger_find_one(smig_mongo_ledger_t *self, const char *run_id, const bson_t *filter,
                                const bson_t *projection, bson_t *document, smig_error_t *lower);
/* Makes a command's error the ledger's: LEDGER_IO or CONNECTION_FAILED "cannot <what> <place>: …", with the lower one as cause. */
void smig_mongo_ledger_fail(smig_mongo_ledger_t *self, const char *what, smig_error_t *lower, smig_error_t *error);
/* The server's error number; 0: not a server's error. */
int64_t smig_mongo_ledger_native(const smig_error_t *lower);
/* Whether a write with this error may have happened, or may happen on another try. */
bool smig_mongo_ledger_unclear(const smig_error_t *lower);

/* Sending again. */
typedef struct smig_mongo_ledger_patience {
  int64_t until_boot_ms, pause_ms;
} smig_mongo_ledger_patience_t;
smig_mongo_ledger_patience_t smig_mongo_ledger_patience(const smig_mongo_ledger_t *self);
/* After an unclear answer: waits a little and says whether to try again. */
bool smig_mongo_ledger_again(smig_mongo_ledger_patience_t *patience);

/* Remembers the server's clock; and its estimated time as ISO 8601. */
void smig_mongo_ledger_clock(smig_mongo_ledger_t *self, int64_t server_wall_ms);
void smig_mongo_ledger_now(const smig_mongo_ledger_t *self, char out[SMIG_ISO_SIZE]);

/* --- mongo_ledger_load.c -------------------------------------------------------------------------------------- */

bool smig_mongo_ledger_load(smig_ledger_t *self, smig_ledger_state_t *state, smig_error_t *error);
/* Load as a part of another operation. */
bool smig_mongo_ledger_read_state(smig_mongo_ledger_t *self, const char *run_id, smig_ledger_state_t *state,
                                  smig_error_t *error);
/* Fills *state from a document {data, now}. */
bool smig_mongo_ledger_parse(smig_mongo_ledger_t *self, const bson_t *document, smig_ledger_state_t *state,
                             smig_error_t *error);
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

/* --- mongo_ledger_commands.c, mongo_ledger_users.c ------------------------------------------------------------ */

bool smig_mongo_ledger_end_commands(smig_ledger_t *self, const smig_lease_t *lease, smig_commands_t which,
                                    smig_commands_left_t *left, smig_error_t *error);
/*
 * Ends the open transaction of a holder that is dead or whose time has run out, if `seen` names one: what it wrote, perhaps to the
 * ledger itself, is held against everybody until then. What cannot be ended is left to the server's limit.
 */
void smig_mongo_ledger_end_transaction(smig_mongo_ledger_t *self, const char *run_id, const smig_ledger_state_t *seen);
/* The connection's users, "user@db" separated by commas; asked once. The error is the driver's own. */
bool smig_mongo_ledger_user(smig_mongo_ledger_t *self, const char *run_id, const char **user, smig_error_t *lower);
/* Whether those users may see and end everybody's commands. */
bool smig_mongo_ledger_sees_all(smig_mongo_ledger_t *self, const char *run_id, bool *sees_all, smig_error_t *lower);

/* --- mongo_ledger_history.c ----------------------------------------------------------------------------------- */

bool smig_mongo_ledger_history_begin(smig_ledger_t *self, const smig_lease_t *lease, const bson_t *document,
                                     smig_error_t *error);
bool smig_mongo_ledger_history_finish(smig_ledger_t *self, const smig_lease_t *lease, const bson_t *document,
                                      smig_error_t *error);
bool smig_mongo_ledger_history_list(smig_ledger_t *self, bson_t *list, smig_error_t *error);
bool smig_mongo_ledger_history_prune(smig_ledger_t *self, const char *before, int64_t *removed, smig_error_t *error);
/* The regular expression of the nameIds of this ledger's history, to be freed. */
char *smig_mongo_ledger_history_pattern(const smig_mongo_ledger_t *self);

/* --- mongo_ledger_survey.c ------------------------------------------------------------------------------------ */

bool smig_mongo_ledger_is_fresh(smig_ledger_t *self, const char *const *scope, bool *fresh, char **why,
                                smig_error_t *error);
bool smig_mongo_ledger_check_elsewhere(smig_ledger_t *self, char **others, smig_error_t *error);

#endif
