/* Finding drift, see drift.h. */
#include "drift.h"
#include "semver.h"

/* Names of the agreement's violations, and of the same among drift. */
static const struct {
  const char *violation, *kind;
} kinds[] = {{"versions-differ", "moved"},
             {"not-in-chain", "missing"},
             {"not-recorded", "late-inserted"},
             {"already-applied", "ahead"}};

static const char CHANGED[] = "changed";

static void append_text(bson_t *to, const char *key, const char *text) {
  if (text) BSON_APPEND_UTF8(to, key, text);
}

/* A word for a shell, to be freed. */
static char *quoted(const char *word) {
  bson_string_t *text = bson_string_new("'");
  for (const char *c = word; *c; c++) {
    if (*c == '\'')
      bson_string_append(text, "'\\''");
    else
      bson_string_append_printf(text, "%c", *c);
  }
  bson_string_append(text, "'");
  return bson_string_free(text, false);
}

/* The command that makes the record agree. */
static void append_way_out(bson_t *item, const char *id, const smig_step_t *step, const smig_ledger_state_t *state,
                           const char *kind) {
  bool runs_again = strcmp(kind, "ahead") == 0 || (strcmp(kind, "moved") == 0 && state->current_version &&
                                                   smig_semver_compare(step->to, state->current_version) > 0);
  char *word = quoted(id);
  char *command = runs_again ? bson_strdup_printf("smartmigration-lua baseline %s --force", step->from)
                             : bson_strdup_printf("smartmigration-lua repair --accept-drift %s", word);
  BSON_APPEND_UTF8(item, "way_out", command);
  bson_free(command);
  bson_free(word);
}

static void append_item(smig_drift_t *drift, uint32_t index, const char *kind, const smig_step_t *step,
                        const smig_entry_t *entry, const smig_ledger_state_t *state) {
  const char *id = step ? step->id : entry->id, *key;
  char buffer[16];
  bson_t item;
  bson_uint32_to_string(index, &key, buffer, sizeof buffer);
  bson_append_document_begin(&drift->list, key, -1, &item);
  BSON_APPEND_UTF8(&item, "id", id);
  BSON_APPEND_UTF8(&item, "kind", kind);
  if (step) {
    append_text(&item, "file", step->file);
    BSON_APPEND_UTF8(&item, "chain_from", step->from);
    BSON_APPEND_UTF8(&item, "chain_to", step->to);
  }
  if (entry) {
    append_text(&item, "recorded_from", entry->from_version);
    append_text(&item, "recorded_to", entry->to_version);
  }
  if (kind == CHANGED) {
    BSON_APPEND_UTF8(&item, "recorded", entry->checksum);
    BSON_APPEND_UTF8(&item, "found", step->checksum);
  }
  append_way_out(&item, id, step, state, kind);
  bson_append_document_end(&drift->list, &item);
  smig_index_put(&drift->ids, id, index);
}

static const char *kind_of(const char *violation) {
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strcmp(kinds[i].violation, violation) == 0) return kinds[i].kind;
  return violation;
}

static const char *text_of(const bson_iter_t *violation, const char *name) {
  bson_iter_t child;
  return bson_iter_recurse(violation, &child) && bson_iter_find(&child, name) ? bson_iter_utf8(&child, NULL) : NULL;
}

void smig_drift_find(smig_drift_t *drift, const smig_engine_t *engine, const smig_survey_t *survey) {
  const smig_ledger_state_t *state = &survey->state;
  const smig_chain_t *chain = &engine->chain;
  smig_error_t mismatch = SMIG_ERROR_INIT;
  bson_iter_t iter, violation;
  uint32_t count = 0;
  bson_init(&drift->list);
  smig_index_init(&drift->ids, chain->count + state->entry_count);
  if (!smig_plan_check_agreement(chain, state, &survey->resolved, &mismatch) &&
      bson_iter_init_find(&iter, mismatch.details, "violations") && bson_iter_recurse(&iter, &violation)) {
    while (bson_iter_next(&violation)) {
      const char *id = text_of(&violation, "step_id");
      append_item(drift, count++, kind_of(text_of(&violation, "kind")), smig_chain_find(chain, id),
                  smig_ledger_state_find(state, id), state);
    }
  }
  for (size_t i = 0; i < chain->count; i++) {
    const smig_step_t *step = &chain->steps[i];
    const smig_entry_t *entry;
    /* A step that has moved has changed, and is told once. */
    if (smig_plan_drifted(step, state, &entry) && smig_plan_same_range(entry, step))
      append_item(drift, count++, CHANGED, step, entry, state);
  }
  smig_error_release(&mismatch);
}

void smig_drift_release(smig_drift_t *drift) {
  bson_destroy(&drift->list);
  smig_index_release(&drift->ids);
}

const char *smig_drift_kind(const smig_drift_t *drift, const char *step_id) {
  size_t position = smig_index_get(&drift->ids, step_id);
  char key[16];
  const char *text;
  bson_iter_t item;
  if (position == SMIG_INDEX_NONE) return NULL;
  bson_uint32_to_string((uint32_t)position, &text, key, sizeof key);
  return bson_iter_init_find(&item, &drift->list, text) ? text_of(&item, "kind") : NULL;
}
