/*
 * The history of one run: a document beside the ledger that says who ran what, when, how long and with what error; created once,
 * finished once. It never fails a run: what cannot be written is a warning. Users: run/ alone. Main thread. Times are the local
 * clock's, durations monotonic, in ms. Names in the document are camelCase, as the ledger's; docs/ledger.md describes it.
 */
#ifndef SMIG_RUN_HISTORY_H
#define SMIG_RUN_HISTORY_H

#include "run.h"

/* Under the lock, when there is something to do. `command` says what an operator asked for; NULL: nothing but a run. */
void smig_history_begin(smig_run_t *run, const char *kind, const bson_t *command);
/* A step has ended. */
void smig_history_step(smig_run_t *run, const smig_planned_step_t *planned, const smig_outcome_t *outcome);
/*
 * The run has ended. `version_after` may be NULL: none is recorded. Once the lock is lost nothing is sent any more, and the document
 * stays unfinished.
 */
void smig_history_finish(smig_run_t *run, bool good, const char *version_after, const smig_error_t *error);

/* What ledger and history keep of an error: code, operation, namespace and index, no text, which can hold personal data. */
void smig_history_append_error(bson_t *to, const smig_error_t *error);

#endif
