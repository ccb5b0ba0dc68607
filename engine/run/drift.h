/*
 * Drift: how the chain's files and the ledger's record have come apart. Users: report.c, repair.c. Main thread.
 * Kinds: "changed" (an applied step's file), "missing" (applied, and no longer in the chain's range), "late-inserted" (in the chain
 * below the version, and never applied), "moved" (applied between other versions), "ahead" (applied, and about to run again).
 * Source of the rules: the contract's section on chain validation. What lies below the chain's beginning is pruned, and no drift.
 */
#ifndef SMIG_RUN_DRIFT_H
#define SMIG_RUN_DRIFT_H

#include "survey.h"

typedef struct smig_drift {
  bson_t list;      /* an array, as smig_engine_validate's report has it */
  smig_index_t ids; /* of the steps in it, borrowed of engine and survey */
} smig_drift_t;

/* Over a survey that was read, and planned as far as that is possible. To be released. */
void smig_drift_find(smig_drift_t *drift, const smig_engine_t *engine, const smig_survey_t *survey);
void smig_drift_release(smig_drift_t *drift);
/* The kind of a step's drift, a static text; NULL: there is none. */
const char *smig_drift_kind(const smig_drift_t *drift, const char *step_id);

#endif
