/* Building of results: the public structs are in smartmigration.h. */
#ifndef SMIG_CORE_RESULT_H
#define SMIG_CORE_RESULT_H

#include "plan.h"

smig_result_t *smig_result_new(const char *current_version_before, const char *target_version);
/* Adds a step with copies of its strings; returns it to be filled. */
smig_step_result_t *smig_result_add(smig_step_result_t **list, size_t *count, const char *id, const char *from,
                                    const char *to);
/* Appends a step's fields to an open document. */
void smig_step_result_append(const smig_step_result_t *step, bson_t *document);
/* A plan's result: planned steps as skipped, the predicted version. */
smig_result_t *smig_result_from_plan(const smig_resolved_t *resolved, const char *target_version);

#endif
