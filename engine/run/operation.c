/* What the operator's commands have in common, see operation.h. */
#include "operation.h"
#include "clock.h"
#include "history.h"

#include <stdarg.h>

bool smig_refuse(smig_error_t *error, const char *reason, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *text = bson_strdupv_printf(format, arguments);
  va_end(arguments);
  smig_error_set(error, SMIG_INVALID_OPTIONS, "%s", text);
  bson_t *details = smig_error_details(error);
  if (details) BSON_APPEND_UTF8(details, "reason", reason);
  bson_free(text);
  return false;
}

bool smig_require_ledger(const smig_run_t *run, smig_error_t *error) {
  return run->survey.state.exists ||
         smig_refuse(error, "no-ledger",
                     "there is no ledger %s: check the database and the ledger's name; `smartmigration-lua baseline "
                     "VERSION` makes one",
                     run->engine->ledger->place);
}

void smig_append_text_or_null(bson_t *to, const char *key, const char *text) {
  if (text)
    BSON_APPEND_UTF8(to, key, text);
  else
    BSON_APPEND_NULL(to, key);
}

char *smig_did_you_mean(const char *name, const char *const *names) {
  const char *near = smig_suggest(name, names);
  return near ? bson_strdup_printf(" (did you mean '%s'?)", near) : bson_strdup("");
}

static bool under_lock(smig_run_t *run, smig_operation_t *operation, smig_error_t *error) {
  if (!operation->check(run, operation->arg, error)) return false;
  if (operation->kind) smig_history_begin(run, operation->kind, operation->command);
  return smig_run_end_leftovers(run, error) && operation->perform(run, operation->arg, error);
}

bool smig_operate(smig_engine_t *engine, smig_operation_t *operation, smig_error_t *error) {
  smig_run_t run = {.engine = engine,
                    .operation = true,
                    .forced_holder = operation->forced_holder,
                    .started_mono_ms = smig_clock_mono_ms()};
  smig_error_t failure = SMIG_ERROR_INIT;
  smig_survey_init(&run.survey);
  smig_engine_begin_call(engine);
  bool good = (!operation->of_chain || smig_engine_validate_chain(engine, &failure)) &&
              smig_survey_read(engine, &run.survey, &failure) && operation->check(&run, operation->arg, &failure);
  if (good && !operation->nothing_to_do) good = smig_run_lock(&run, &failure) && under_lock(&run, operation, &failure);
  smig_run_release(&run);
  smig_history_finish(&run, good, operation->version_after, &failure);
  smig_result_free(run.result);
  smig_survey_release(&run.survey);
  smig_engine_end_call(engine, true, &failure);
  smig_error_move(error, &failure);
  return good;
}
