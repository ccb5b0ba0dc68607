/*
 * A survey: what the ledger says and what follows from it for this chain. Everything that looks before it acts (plan, run,
 * status, validate) makes one.
 */
#ifndef SMIG_RUN_SURVEY_H
#define SMIG_RUN_SURVEY_H

#include "engine.h"

typedef struct smig_survey {
  smig_ledger_state_t state;
  smig_resolved_t resolved;
  char *not_fresh;       /* what made the resources not fresh; NULL: they are, or it does not matter */
  char *others;          /* ledgers of other programs, seen before a bootstrap; NULL: none */
  smig_error_t mismatch; /* how ledger and chain disagree, when there is nothing to do */
} smig_survey_t;

void smig_survey_init(smig_survey_t *survey);
void smig_survey_release(smig_survey_t *survey);

/* Reads the ledger once, into survey->state. */
bool smig_survey_read(smig_engine_t *engine, smig_survey_t *survey, smig_error_t *error);

/* Checks the chain, then reads. */
bool smig_survey_load(smig_engine_t *engine, smig_survey_t *survey, smig_error_t *error);

/*
 * Resolves survey->state: looks whether the resources are fresh when it matters, looks for the ledger elsewhere before a
 * bootstrap, plans, and checks that ledger and chain agree. May be called again after survey->state was replaced.
 */
bool smig_survey_resolve(smig_engine_t *engine, smig_survey_t *survey, smig_error_t *error);

/* The same without the check whether ledger and chain agree. */
bool smig_survey_plan(smig_engine_t *engine, smig_survey_t *survey, smig_error_t *error);

/* Before a bootstrap: LEDGER_ELSEWHERE when the ledger is stored under another name, in any resource that is given. */
bool smig_survey_check_elsewhere(smig_engine_t *engine, smig_survey_t *survey, smig_error_t *error);

/* Logs what a person should know of a resolved survey. */
void smig_survey_say(const smig_engine_t *engine, const smig_survey_t *survey);

/* Whether whoever holds the lock is gone, as far as the server's clock and this host can tell. */
bool smig_survey_lock_is_stale(const smig_ledger_state_t *state);

/* Whether a run would write nothing. */
bool smig_survey_nothing_to_do(const smig_survey_t *survey);

#endif
