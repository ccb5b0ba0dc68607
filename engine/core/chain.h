/*
 * The chain: steps in registration order, and its validation (contract, section 3).
 */
#ifndef SMIG_CORE_CHAIN_H
#define SMIG_CORE_CHAIN_H

#include "index.h"
#include "smartmigration.h"

typedef struct smig_chain {
  smig_step_t *steps; /* strings are owned copies; id may hold a NUL (id_length is always set) */
  size_t count, capacity;
  bool valid;         /* a validated chain's versions are normalized */
  smig_index_t by_id; /* of a validated chain */
} smig_chain_t;

void smig_chain_init(smig_chain_t *chain);
void smig_chain_release(smig_chain_t *chain);
/* Copies a step to the end. Takes over step->user. */
void smig_chain_add(smig_chain_t *chain, const smig_step_t *step);
/*
 * Checks the chain step by step in registration order; the first violation is the error, with the step's file and
 * line in the message and details {step_id, index (1-based), file?, line?, …}. Normalizes the versions.
 * O(n): ids are compared through a hash.
 */
bool smig_chain_validate(smig_chain_t *chain, smig_error_t *error);
/* The step with that id, or NULL. */
const smig_step_t *smig_chain_find(const smig_chain_t *chain, const char *id);
/* The rule for ids and checkpoint keys; false sets *why to a static text. */
bool smig_step_id_valid(const char *id, size_t length, const char **why);

#endif
