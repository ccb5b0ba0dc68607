/* The inside of smig_ctx_t. Users: step.c makes one per step, context.c is its public face. Main thread. */
#ifndef SMIG_RUN_CONTEXT_H
#define SMIG_RUN_CONTEXT_H

#include "run.h"

struct smig_ctx {
  smig_run_t *run;
  smig_step_t step; /* borrowed strings: id, from, to, description as planned */
  bool skip_forward;
  mongoc_client_session_t *session; /* NULL without MongoDB */
  char *comment;
  bool refused; /* a call was refused: the handler cannot have finished its work */
  smig_counts_t counts;
  int64_t progress_said_mono_ms;
};

#endif
