/*
 * Results, and the names of statuses and bootstrap modes. See result.h and smartmigration.h.
 * Units: milliseconds. No errors. One thread at a time.
 */
#include "result.h"

const char *smig_status_name(smig_status_t status) {
  static const char *const names[] = {"pending", "running", "applied", "failed", "interrupted", "skipped"};
  return (size_t)status < sizeof names / sizeof *names ? names[status] : "unknown";
}

const char *smig_bootstrap_mode_name(smig_bootstrap_mode_t mode) {
  static const char *const names[] = {"none", "fresh-install-version", "chain-start", "target-without-steps"};
  return (size_t)mode < sizeof names / sizeof *names ? names[mode] : "unknown";
}

smig_result_t *smig_result_new(const char *current_version_before, const char *target_version) {
  smig_result_t *result = bson_malloc0(sizeof *result);
  result->current_version_before = bson_strdup(current_version_before);
  result->current_version_after = bson_strdup(current_version_before);
  result->target_version = bson_strdup(target_version);
  return result;
}

smig_step_result_t *smig_result_add(smig_step_result_t **list, size_t *count, const char *id, const char *from,
                                    const char *to) {
  if ((*count & (*count - 1)) == 0) { /* full at every power of two */
    *list = bson_realloc(*list, (*count ? *count * 2 : 1) * sizeof **list);
  }
  smig_step_result_t *step = &(*list)[(*count)++];
  *step = (smig_step_result_t){.id = bson_strdup(id), .from_version = bson_strdup(from), .to_version = bson_strdup(to)};
  return step;
}

smig_result_t *smig_result_from_plan(const smig_resolved_t *resolved, const char *target_version) {
  smig_result_t *result = smig_result_new(resolved->current_version_before, target_version);
  bson_free(result->current_version_after);
  result->current_version_after = bson_strdup(resolved->predicted_current_version_after);
  result->was_fresh_install = resolved->was_fresh_install;
  result->bootstrap_mode = resolved->bootstrap_mode;
  for (size_t i = 0; i < resolved->planned_count; i++) {
    const smig_planned_step_t *planned = &resolved->planned[i];
    smig_step_result_t *step =
        smig_result_add(&result->steps_skipped, &result->steps_skipped_count, planned->id, planned->from, planned->to);
    step->status = SMIG_STATUS_SKIPPED;
    step->skip_forward = planned->skip_forward;
  }
  return result;
}

static void free_steps(smig_step_result_t *steps, size_t count) {
  for (size_t i = 0; i < count; i++) {
    bson_free(steps[i].id);
    bson_free(steps[i].from_version);
    bson_free(steps[i].to_version);
    bson_free(steps[i].started_at);
    bson_free(steps[i].finished_at);
  }
  bson_free(steps);
}

void smig_result_free(smig_result_t *result) {
  if (!result) return;
  free_steps(result->steps_applied, result->steps_applied_count);
  free_steps(result->steps_skipped, result->steps_skipped_count);
  bson_free(result->current_version_before);
  bson_free(result->current_version_after);
  bson_free(result->target_version);
  bson_free(result);
}

static void append_version(bson_t *document, const char *key, const char *version) {
  if (version)
    BSON_APPEND_UTF8(document, key, version);
  else
    BSON_APPEND_NULL(document, key);
}

void smig_step_result_append(const smig_step_result_t *step, bson_t *document) {
  BSON_APPEND_UTF8(document, "id", step->id);
  BSON_APPEND_UTF8(document, "from_version", step->from_version);
  BSON_APPEND_UTF8(document, "to_version", step->to_version);
  BSON_APPEND_UTF8(document, "status", smig_status_name(step->status));
  BSON_APPEND_BOOL(document, "skip_forward", step->skip_forward);
  if (step->started_at) BSON_APPEND_UTF8(document, "started_at", step->started_at);
  if (step->finished_at) {
    BSON_APPEND_UTF8(document, "finished_at", step->finished_at);
    BSON_APPEND_INT64(document, "duration_ms", step->duration_ms);
  }
}

static void append_steps(bson_t *document, const char *key, const smig_step_result_t *steps, size_t count) {
  bson_t list, item;
  bson_append_array_begin(document, key, -1, &list);
  for (size_t i = 0; i < count; i++) {
    char buffer[16];
    const char *index = NULL;
    size_t length = bson_uint32_to_string((uint32_t)i, &index, buffer, sizeof buffer);
    bson_append_document_begin(&list, index, (int)length, &item);
    smig_step_result_append(&steps[i], &item);
    bson_append_document_end(&list, &item);
  }
  bson_append_array_end(document, &list);
}

void smig_result_append(const smig_result_t *result, bson_t *document) {
  append_version(document, "current_version_before", result->current_version_before);
  append_version(document, "current_version_after", result->current_version_after);
  append_version(document, "target_version", result->target_version);
  BSON_APPEND_BOOL(document, "was_fresh_install", result->was_fresh_install);
  BSON_APPEND_UTF8(document, "bootstrap_mode", smig_bootstrap_mode_name(result->bootstrap_mode));
  append_steps(document, "steps_applied", result->steps_applied, result->steps_applied_count);
  append_steps(document, "steps_skipped", result->steps_skipped, result->steps_skipped_count);
  BSON_APPEND_INT64(document, "total_duration_ms", result->total_duration_ms);
}
