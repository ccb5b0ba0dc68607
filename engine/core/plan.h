/*
 * Resolving and planning (contract, section 4), and the agreement of ledger and chain (section 3). Pure.
 */
#ifndef SMIG_CORE_PLAN_H
#define SMIG_CORE_PLAN_H

#include "chain.h"
#include "ledger_state.h"

typedef struct smig_plan_options {
  const char *target_version;        /* normalized */
  const char *fresh_install_version; /* normalized, or NULL */
  bool bridge;                       /* target_version_strategy */
  bool refuse_newer;                 /* newer_ledger = refuse */
  bool refuse_unversioned;           /* unversioned_data = refuse */
} smig_plan_options_t;

typedef struct smig_planned_step {
  const smig_step_t *step; /* NULL: the bridge */
  char *id, *from, *to;
  bool skip_forward; /* from < current < to */
} smig_planned_step_t;

typedef struct smig_resolved {
  char *current_version_before; /* NULL: nothing recorded */
  char *effective_current_version;
  char *bootstrap_version_to_persist; /* NULL: none */
  smig_bootstrap_mode_t bootstrap_mode;
  bool was_fresh_install;
  bool assumed_unversioned;  /* chain-start over data that is not fresh: warn */
  bool newer_but_compatible; /* nothing to do: warn */
  smig_planned_step_t *planned;
  size_t planned_count;
  char *predicted_current_version_after;
} smig_resolved_t;

/* Whether resolving `state` depends on freshness, so that looking can be saved otherwise. */
bool smig_plan_needs_fresh(const smig_ledger_state_t *state);

/*
 * Resolves and plans over a validated chain. *resolved is initialised by the call, to be released on every path.
 * Errors: DOWNGRADE_NOT_SUPPORTED, CHAIN_NOT_AT_CURRENT, TARGET_NOT_REACHABLE, UNVERSIONED_DATA.
 */
bool smig_plan_resolve(const smig_chain_t *chain, const smig_ledger_state_t *state, const smig_plan_options_t *options,
                       bool fresh, smig_resolved_t *resolved, smig_error_t *error);
void smig_resolved_release(smig_resolved_t *resolved);

/*
 * Ledger and chain must agree: LEDGER_CHAIN_MISMATCH names each step, both versions and the ways out;
 * details {violations: [{step_id, kind, recorded_from?, recorded_to?, chain_from?, chain_to?}]}.
 */
bool smig_plan_check_agreement(const smig_chain_t *chain, const smig_ledger_state_t *state,
                               const smig_resolved_t *resolved, smig_error_t *error);

/* The version from which on steps are recorded: the bootstrap's or baseline's, else the lowest `from` of a record; NULL: no telling. */
const char *smig_plan_recording_began(const smig_ledger_state_t *state);

/* Whether a step's recorded checksum differs from the chain's. *entry is set to the recorded one then. */
bool smig_plan_drifted(const smig_step_t *step, const smig_ledger_state_t *state, const smig_entry_t **entry);

#endif
