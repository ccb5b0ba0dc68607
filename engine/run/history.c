/* Writing a run's history, see history.h. */
#include "history.h"
#include "clock.h"
#include "operation.h"

#include <pwd.h>
#include <unistd.h>

struct smig_history {
  const char *kind;
  char started_at[SMIG_ISO_SIZE];
  int64_t started_mono_ms;
  char *from_version; /* NULL: nothing was recorded */
  bson_t *command;    /* NULL: a run */
  bson_t *steps;      /* an array */
  uint32_t step_count;
  bool warned;
};

void smig_history_append_error(bson_t *to, const smig_error_t *error) {
  static const char *const kept[] = {"operation", "namespace", "index"};
  bson_t recorded = BSON_INITIALIZER;
  bson_iter_t iter;
  BSON_APPEND_UTF8(&recorded, "code", error->name ? error->name : smig_code_name(error->code));
  for (size_t i = 0; error->details && i < sizeof kept / sizeof *kept; i++) {
    if (bson_iter_init_find(&iter, error->details, kept[i])) bson_append_iter(&recorded, kept[i], -1, &iter);
  }
  smig_engine_scrub(&recorded, to);
  bson_destroy(&recorded);
}

/* The name of the user this process runs as; its number where it has no name. */
static void append_os_user(bson_t *to) {
  char buffer[4096], number[24];
  struct passwd entry, *found = NULL;
  uid_t user = geteuid();
  snprintf(number, sizeof number, "%lld", (long long)user);
  bool named = getpwuid_r(user, &entry, buffer, sizeof buffer, &found) == 0 && found &&
               bson_utf8_validate(found->pw_name, strlen(found->pw_name), false);
  BSON_APPEND_UTF8(to, "osUser", named ? found->pw_name : number);
}

/* What the beginning says already. */
static void describe(const smig_run_t *run, bson_t *document) {
  const smig_history_t *history = run->history;
  const char *user = run->survey.state.lock.user;
  char *host = smig_holder_host(run->lease.holder);
  BSON_APPEND_UTF8(document, "run", run->lease.run_id);
  BSON_APPEND_UTF8(document, "kind", history->kind);
  if (history->command) BSON_APPEND_DOCUMENT(document, "command", history->command);
  BSON_APPEND_UTF8(document, "engine", "smartmigration-lua/" SMIG_VERSION);
  BSON_APPEND_UTF8(document, "host", host);
  append_os_user(document);
  BSON_APPEND_UTF8(document, "dbUser", user ? user : "");
  BSON_APPEND_UTF8(document, "startedAt", history->started_at);
  smig_append_text_or_null(document, "fromVersion", history->from_version);
  if (run->result) BSON_APPEND_UTF8(document, "targetVersion", run->result->target_version);
  bson_free(host);
}

typedef bool (*write_fn)(smig_ledger_t *self, const smig_lease_t *lease, const bson_t *document, smig_error_t *error);

static void write_document(smig_run_t *run, write_fn write, const bson_t *document) {
  smig_error_t failure = SMIG_ERROR_INIT;
  if (!write(run->engine->ledger, &run->lease, document, &failure) && !run->history->warned) {
    run->history->warned = true;
    smig_engine_log(run->engine, SMIG_LOG_WARN, NULL, "the history of this run could not be written: %s",
                    failure.message);
  }
  smig_error_release(&failure);
}

void smig_history_begin(smig_run_t *run, const char *kind, const bson_t *command) {
  smig_history_t *history = run->history = bson_malloc0(sizeof *history);
  history->kind = kind;
  history->started_mono_ms = smig_clock_mono_ms();
  smig_clock_iso(smig_clock_wall_ms(), history->started_at);
  history->from_version = run->survey.state.current_version ? bson_strdup(run->survey.state.current_version) : NULL;
  history->command = command ? bson_copy(command) : NULL;
  history->steps = bson_new();
  bson_t document = BSON_INITIALIZER;
  describe(run, &document);
  BSON_APPEND_UTF8(&document, "status", "running");
  write_document(run, run->engine->ledger->ops->history_begin, &document);
  bson_destroy(&document);
}

void smig_history_step(smig_run_t *run, const smig_planned_step_t *planned, const smig_outcome_t *outcome) {
  smig_history_t *history = run->history;
  if (!history) return;
  const smig_counts_t *counts = &outcome->counts;
  char buffer[16];
  const char *key;
  bson_uint32_to_string(history->step_count++, &key, buffer, sizeof buffer);
  bson_t step, documents, error;
  bson_append_document_begin(history->steps, key, -1, &step);
  BSON_APPEND_UTF8(&step, "id", planned->id);
  BSON_APPEND_UTF8(&step, "fromVersion", planned->from);
  BSON_APPEND_UTF8(&step, "toVersion", planned->to);
  BSON_APPEND_UTF8(&step, "status", smig_status_name(outcome->status));
  BSON_APPEND_UTF8(&step, "startedAt", outcome->started_at);
  BSON_APPEND_UTF8(&step, "finishedAt", outcome->finished_at);
  BSON_APPEND_INT64(&step, "durationMs", outcome->duration_ms);
  BSON_APPEND_INT64(&step, "operations", counts->operations);
  BSON_APPEND_DOCUMENT_BEGIN(&step, "documents", &documents);
  BSON_APPEND_INT64(&documents, "inserted", counts->inserted);
  BSON_APPEND_INT64(&documents, "matched", counts->matched);
  BSON_APPEND_INT64(&documents, "modified", counts->modified);
  BSON_APPEND_INT64(&documents, "deleted", counts->deleted);
  bson_append_document_end(&step, &documents);
  if (outcome->error.code != SMIG_OK) {
    BSON_APPEND_DOCUMENT_BEGIN(&step, "error", &error);
    smig_history_append_error(&error, &outcome->error);
    bson_append_document_end(&step, &error);
  }
  bson_append_document_end(history->steps, &step);
}

static const char *status_of(bool good, const smig_error_t *error) {
  if (good) return "succeeded";
  return error && error->code == SMIG_INTERRUPTED ? "interrupted" : "failed";
}

void smig_history_finish(smig_run_t *run, bool good, const char *version_after, const smig_error_t *error) {
  smig_history_t *history = run->history;
  if (!history) return;
  if (smig_guard_permits(&run->engine->guard)) {
    char finished_at[SMIG_ISO_SIZE];
    bson_t document = BSON_INITIALIZER, recorded;
    smig_clock_iso(smig_clock_wall_ms(), finished_at);
    describe(run, &document);
    BSON_APPEND_UTF8(&document, "status", status_of(good, error));
    BSON_APPEND_UTF8(&document, "finishedAt", finished_at);
    BSON_APPEND_INT64(&document, "durationMs", smig_clock_mono_ms() - history->started_mono_ms);
    smig_append_text_or_null(&document, "toVersion", version_after);
    BSON_APPEND_ARRAY(&document, "steps", history->steps);
    if (!good && error && error->code != SMIG_OK) {
      BSON_APPEND_DOCUMENT_BEGIN(&document, "error", &recorded);
      smig_history_append_error(&recorded, error);
      bson_append_document_end(&document, &recorded);
    }
    write_document(run, run->engine->ledger->ops->history_finish, &document);
    bson_destroy(&document);
  }
  bson_destroy(history->command);
  bson_destroy(history->steps);
  bson_free(history->from_version);
  bson_free(history);
  run->history = NULL;
}
