/*
 * import: begins a ledger with what another tool's record says was applied. Source of the rules: the command line's page.
 * Users: smartmigration.h. Main thread.
 */
#include "clock.h"
#include "operation.h"
#include "semver.h"

typedef struct import {
  smig_engine_t *engine;
  smig_operation_t *operation;
  const smig_import_t *applied;
  size_t count; /* of `applied`, and of the steps they stand for: the chain's first ones */
  bool dry_run;
  bson_t *report;
  const char *version;     /* that the ledger has afterwards; the chain's */
  smig_index_t by_id;      /* of `applied` */
  const char *named_twice; /* NULL: none is */
} import_t;

static const smig_import_t *find(const import_t *import, const char *id) {
  size_t position = smig_index_get(&import->by_id, id);
  return position == SMIG_INDEX_NONE ? NULL : &import->applied[position];
}

/* Each is a step of the chain, and named once. */
static bool check_known(const import_t *import, smig_error_t *error) {
  const smig_chain_t *chain = &import->engine->chain;
  if (!import->count) {
    return smig_refuse(error, "nothing-to-import",
                       "nothing is recorded as applied: there is nothing to import; the first run begins the ledger");
  }
  for (size_t i = 0; i < import->count; i++) {
    const char *id = import->applied[i].step_id;
    if (!smig_chain_find(chain, id)) {
      const char **names = bson_malloc0((chain->count + 1) * sizeof *names);
      for (size_t k = 0; k < chain->count; k++) names[k] = chain->steps[k].id;
      char *near = smig_did_you_mean(id, names);
      smig_refuse(error, "unknown-step", "there is no step '%s'%s", id, near);
      bson_free(near);
      bson_free(names);
      return false;
    }
  }
  return !import->named_twice ||
         smig_refuse(error, "named-twice", "step '%s' is to be recorded twice", import->named_twice);
}

/* What was applied is the chain's beginning, without a hole. */
static bool check_prefix(const import_t *import, smig_error_t *error) {
  const smig_chain_t *chain = &import->engine->chain;
  for (size_t i = 0; i < import->count; i++) {
    const smig_step_t *missing = &chain->steps[i];
    if (find(import, missing->id)) continue;
    size_t after = i + 1;
    while (!find(import, chain->steps[after].id)) after++; /* there is one: as many as `count` are of the chain */
    return smig_refuse(
        error, "not-a-prefix",
        "step '%s' is applied, but '%s' (%s -> %s), which stands before it in the chain, is not: apply it "
        "with the other tool first, or put the steps in the order in which they were applied",
        chain->steps[after].id, missing->id, missing->from, missing->to);
  }
  return true;
}

static void report_of(const import_t *import) {
  const smig_chain_t *chain = &import->engine->chain;
  bson_t list;
  BSON_APPEND_BOOL(import->report, "dry_run", import->dry_run);
  BSON_APPEND_UTF8(import->report, "version", import->version);
  BSON_APPEND_ARRAY_BEGIN(import->report, "imported", &list);
  for (size_t i = 0; i < import->count; i++) {
    const smig_step_t *step = &chain->steps[i];
    char buffer[16], iso[SMIG_ISO_SIZE];
    const char *key;
    bson_t item;
    bson_uint32_to_string((uint32_t)i, &key, buffer, sizeof buffer);
    smig_clock_iso(find(import, step->id)->applied_at_wall_ms, iso);
    bson_append_document_begin(&list, key, -1, &item);
    BSON_APPEND_UTF8(&item, "step_id", step->id);
    BSON_APPEND_UTF8(&item, "from_version", step->from);
    BSON_APPEND_UTF8(&item, "to_version", step->to);
    BSON_APPEND_UTF8(&item, "applied_at", iso);
    bson_append_document_end(&list, &item);
  }
  bson_append_array_end(import->report, &list);
  BSON_APPEND_INT64(import->report, "pending", (int64_t)(chain->count - import->count));
}

static bool check(smig_run_t *run, void *arg, smig_error_t *error) {
  import_t *import = arg;
  const smig_ledger_state_t *state = &run->survey.state;
  if (!check_known(import, error) || !check_prefix(import, error)) return false;
  if (state->current_version) {
    return smig_refuse(error, "already-versioned",
                       "the ledger %s says already that the data is at %s: an import begins a ledger, and changes none",
                       import->engine->ledger->place, state->current_version);
  }
  if (!smig_survey_check_elsewhere(import->engine, &run->survey, error)) return false;
  import->version = import->engine->chain.steps[import->count - 1].to;
  import->operation->nothing_to_do = import->dry_run;
  return true;
}

/* The oldest version whose program works on the data after those steps, as stamping each of them would have left it. */
static const char *compatible_from(const import_t *import) {
  const smig_chain_t *chain = &import->engine->chain;
  const char *greatest = chain->steps[0].from;
  for (size_t i = 0; i < import->count; i++) {
    const smig_step_t *step = &chain->steps[i];
    const char *own = step->compatible_from ? step->compatible_from : step->to;
    if (smig_semver_compare(own, greatest) > 0) greatest = own;
  }
  return greatest;
}

static bool perform(smig_run_t *run, void *arg, smig_error_t *error) {
  import_t *import = arg;
  const smig_chain_t *chain = &import->engine->chain;
  smig_entry_write_t *entries = bson_malloc0(import->count * sizeof *entries);
  char(*times)[SMIG_ISO_SIZE] = bson_malloc0(import->count * sizeof *times);
  for (size_t i = 0; i < import->count; i++) {
    const smig_step_t *step = &chain->steps[i];
    smig_clock_iso(find(import, step->id)->applied_at_wall_ms, times[i]);
    entries[i] = (smig_entry_write_t){.id = step->id,
                                      .from_version = step->from,
                                      .to_version = step->to,
                                      .status = SMIG_STATUS_APPLIED,
                                      .started_at = times[i],
                                      .finished_at = times[i],
                                      .duration_ms = -1,
                                      .checksum = step->checksum};
  }
  smig_ledger_change_t change = {.imported = entries,
                                 .imported_count = import->count,
                                 .bootstrap_mode = "import",
                                 .bootstrap_version = chain->steps[0].from,
                                 .current_version = import->version,
                                 .compatible_from = compatible_from(import),
                                 .clear_leftovers = run->survey.state.has_leftovers,
                                 .release = true};
  bool good = smig_run_commit(run, &change, error);
  if (good) import->operation->version_after = import->version;
  bson_free(entries);
  bson_free(times);
  return good;
}

bool smig_engine_import(smig_engine_t *engine, const smig_import_t *applied, size_t count, const char *source,
                        bool dry_run, bson_t *report, smig_error_t *error) {
  bson_t command = BSON_INITIALIZER;
  smig_operation_t operation = {
      .kind = "import", .command = &command, .of_chain = true, .check = check, .perform = perform};
  import_t import = {.engine = engine,
                     .operation = &operation,
                     .applied = applied,
                     .count = count,
                     .dry_run = dry_run,
                     .report = report};
  operation.arg = &import;
  bson_init(report);
  BSON_APPEND_UTF8(&command, "source", source);
  smig_index_init(&import.by_id, count);
  for (size_t i = 0; i < count; i++)
    if (smig_index_put(&import.by_id, applied[i].step_id, i) != SMIG_INDEX_NONE)
      import.named_twice = applied[i].step_id;
  bool good = smig_operate(engine, &operation, error);
  if (good) report_of(&import);
  smig_index_release(&import.by_id);
  bson_destroy(&command);
  return good;
}
