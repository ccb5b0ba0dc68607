/*
 * An operator's command that changes the ledger: reads, checks, takes the lock as a run does, checks again what it locked, ends what
 * a dead run left, changes, releases, and records itself in the history. Users: baseline, repair, unlock, checkpoints. Main thread.
 */
#ifndef SMIG_RUN_OPERATION_H
#define SMIG_RUN_OPERATION_H

#include "run.h"

typedef struct smig_operation {
  const char *kind;          /* in the history; NULL: it is not recorded there */
  const bson_t *command;     /* what was asked for, for the history */
  const char *forced_holder; /* whose live lock is taken; NULL: nobody's */
  bool of_chain;             /* the chain must be valid */
  /* Whether the ledger as it was read permits it: asked before the lock is taken, and under it (run->locked). */
  bool (*check)(smig_run_t *run, void *arg, smig_error_t *error);
  /* Under the lock: the change, which may release it. */
  bool (*perform)(smig_run_t *run, void *arg, smig_error_t *error);
  void *arg;
  bool nothing_to_do;        /* set by check: the lock is not taken */
  const char *version_after; /* set by perform, for the history; owned by arg */
} smig_operation_t;

bool smig_operate(smig_engine_t *engine, smig_operation_t *operation, smig_error_t *error);

/* Sets INVALID_OPTIONS with details {reason, …}: an operator asked for what the ledger does not permit. Returns false. */
bool smig_refuse(smig_error_t *error, const char *reason, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "no-ledger": false when there is none. */
bool smig_require_ledger(const smig_run_t *run, smig_error_t *error);
/* Appends the text, or null. */
void smig_append_text_or_null(bson_t *to, const char *key, const char *text);
/* " (did you mean 'x'?)", or "", to be freed; the names end with NULL. */
char *smig_did_you_mean(const char *name, const char *const *names);

#endif
