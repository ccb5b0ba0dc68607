/* One run, from the survey to the release of the lock (contract, section 5). Users: run/ alone. Main thread. */
#ifndef SMIG_RUN_RUN_H
#define SMIG_RUN_RUN_H

#include "heartbeat.h"
#include "result.h"
#include "survey.h"

typedef struct smig_history smig_history_t;

/* How one step ended. */
typedef struct smig_outcome {
  smig_status_t status; /* applied, failed, interrupted; running: the lock is lost, nothing may be written */
  char started_at[SMIG_ISO_SIZE], finished_at[SMIG_ISO_SIZE];
  int64_t duration_ms;
  bool outcome_unknown; /* a command of the step may still run on the server */
  smig_counts_t counts; /* what the step says it did */
  smig_error_t error;   /* what the handler raised, or why it was stopped */
} smig_outcome_t;

typedef struct smig_run {
  smig_engine_t *engine;
  smig_survey_t survey;
  smig_lease_t lease;
  bool locked;          /* the lock is ours to release */
  bool held;            /* it was, at some time of this run */
  size_t begun;         /* planned steps that were begun: those after them have not run */
  smig_outcome_t ended; /* the last of them, when it was not applied; without its error */
  smig_heartbeat_t *heartbeat;
  bool operation;            /* an operator's command: it reads the ledger, and does not resolve it for the chain */
  const char *forced_holder; /* whose lock is taken although it is live; NULL: nobody's */
  struct {
    char expires_at[SMIG_ISO_SIZE];
    int64_t ttl_ms;
  } former;                             /* of the lock that was taken */
  bool rerun;                           /* an applied step runs once more: record and version stay until it succeeds */
  smig_history_t *history;              /* of this run (history.h); NULL: none is written */
  mongoc_client_session_t *transaction; /* open: the step's work and its stamp are parts of it; NULL: none */
  smig_result_t *result;
  int64_t started_mono_ms;
} smig_run_t;

/*
 * Waits for the lock and takes it (contract, sections 5.3 and 7), resolving anew whenever it reads. Afterwards run->locked
 * says whether the lock is held; without it there is nothing left to do. Starts the heartbeat.
 */
bool smig_run_lock(smig_run_t *run, smig_error_t *error);

/* Ends what a dead holder left on the server. */
bool smig_run_end_leftovers(smig_run_t *run, smig_error_t *error);
/* Ends what this run may have left on the server; false: something may still run there. */
bool smig_run_end_own_commands(smig_run_t *run);

/* Writes to the ledger under the lock; a change that releases it ends the heartbeat first. */
bool smig_run_commit(smig_run_t *run, smig_ledger_change_t *change, smig_error_t *error);
/* Gives the lock back when no other write has: never somebody else's, and a failure only leaves it to its TTL. */
void smig_run_release(smig_run_t *run);

/* Stops the heartbeat and delivers its last warning. */
void smig_run_stop_heartbeat(smig_run_t *run);
/* Logs what the heartbeat had to say since the last call. */
void smig_run_heartbeat_warnings(smig_run_t *run);

/*
 * Transactional steps (transaction.c). `begin` carries the lease past the transaction's life, lets beats rest, and opens it.
 * `commit` makes it last, or fails with the server's error. `abort` ends one that is still open; without one it does nothing.
 * `again`: whether that failure may go away when the whole step runs once more; pauses before it says so.
 */
typedef struct smig_transaction_tries {
  int64_t since_mono_ms, began_mono_ms; /* of the first try, of this one */
  int count;
} smig_transaction_tries_t;
bool smig_transaction_begin(smig_run_t *run, const char *step_id, smig_transaction_tries_t *tries, smig_error_t *error);
bool smig_transaction_commit(smig_run_t *run, const char *step_id, smig_error_t *error);
void smig_transaction_abort(smig_run_t *run);
bool smig_transaction_again(smig_run_t *run, const char *step_id, smig_transaction_tries_t *tries,
                            smig_error_t *failure);

/* A session for a step; NULL with *error. */
mongoc_client_session_t *smig_run_start_session(smig_run_t *run, const char *step_id, smig_error_t *error);

/* Whether the error's details have that field, and it is true. */
bool smig_run_says(const smig_error_t *error, const char *field);

/* Runs one planned step's handler with its ctx. The outcome is to be released by smig_error_release(&outcome->error). */
void smig_run_step(smig_run_t *run, const smig_planned_step_t *planned, smig_outcome_t *outcome);
/*
 * Runs the planned steps in their order and records each; *first holds when the first of them began. A failure is recorded, and is
 * the error.
 */
bool smig_run_steps(smig_run_t *run, smig_outcome_t *first, smig_error_t *error);

/*
 * The errors of a run that stopped (stopped.c). `set_step_failed` moves the handler's error into STEP_FAILED, as its cause and with
 * its value; `append_step` names a step in an error's details; `append_result` adds what had been done when the error came: the
 * result, with steps_failed and steps_not_run.
 */
void smig_run_set_step_failed(const smig_planned_step_t *planned, smig_outcome_t *outcome, smig_error_t *error);
void smig_run_append_step(bson_t *details, const smig_planned_step_t *planned);
void smig_run_append_result(const smig_run_t *run, smig_error_t *error);

#endif
