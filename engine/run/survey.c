/* Reads the ledger and resolves what it means for the chain. Users: run.c, lock.c, report.c. */
#include "survey.h"

#include "mongo_survey.h"
#include "s3_survey.h"

void smig_survey_init(smig_survey_t *survey) {
  *survey = (smig_survey_t){0};
  smig_ledger_state_init(&survey->state);
}

static void forget(smig_survey_t *survey) {
  smig_resolved_release(&survey->resolved);
  smig_error_release(&survey->mismatch);
  bson_free(survey->not_fresh);
  bson_free(survey->others);
  survey->not_fresh = survey->others = NULL;
}

void smig_survey_release(smig_survey_t *survey) {
  smig_ledger_state_release(&survey->state);
  forget(survey);
}

bool smig_survey_load(smig_engine_t *engine, smig_survey_t *survey, smig_error_t *error) {
  return smig_engine_validate_chain(engine, error) && smig_survey_read(engine, survey, error);
}

bool smig_survey_read(smig_engine_t *engine, smig_survey_t *survey, smig_error_t *error) {
  if (!engine->ledger) {
    smig_error_set(error, SMIG_NO_RESOURCES, "the engine was made offline: it can only check the chain");
    return false;
  }
  smig_ledger_state_release(&survey->state);
  atomic_store(&engine->guard.looking, true);
  bool loaded = engine->ledger->ops->load(engine->ledger, &survey->state, error);
  atomic_store(&engine->guard.looking, false);
  return loaded;
}

static smig_plan_options_t plan_options(const smig_engine_t *engine) {
  return (smig_plan_options_t){
      .target_version = smig_engine_target(engine),
      .fresh_install_version = engine->settings.fresh_install_version,
      .bridge = engine->settings.bridge,
      .refuse_newer = engine->settings.refuse_newer,
      .refuse_unversioned = engine->settings.refuse_unversioned,
  };
}

/* The surroundings in one of the resources, which keeps the ledger or not. */
static smig_surroundings_t around(const smig_engine_t *engine, bool has_ledger) {
  return (smig_surroundings_t){.ledger_name = engine->settings.ledger_name,
                               .ledger_id = has_ledger ? engine->settings.ledger_id : NULL,
                               .place = engine->ledger->place,
                               .scope = (const char *const *)engine->settings.fresh_scope};
}

static bool look_in_mongo(smig_engine_t *engine, smig_survey_t *survey, bool elsewhere_only, bson_string_t *others,
                          smig_error_t *error) {
  const smig_settings_t *settings = &engine->settings;
  smig_surroundings_t surroundings = around(engine, !settings->ledger_in_s3);
  char *place = bson_strdup_printf("mongodb %s", settings->database);
  smig_mongo_channel_t channel = {.connection = engine->connection,
                                  .place = settings->ledger_in_s3 ? place : engine->ledger->place,
                                  .comment_prefix = engine->ledger->comment_prefix,
                                  .limit_ms = SMIG_MONGO_CHANNEL_LIMIT_MS};
  bool looked =
      smig_mongo_look_elsewhere(&channel, settings->database, &surroundings, others, error) &&
      (elsewhere_only || smig_mongo_is_fresh(&channel, settings->database, &surroundings, &survey->not_fresh, error));
  bson_free(place);
  return looked;
}

static bool look_in_s3(smig_engine_t *engine, smig_survey_t *survey, bool elsewhere_only, bson_string_t *others,
                       smig_error_t *error) {
  smig_surroundings_t surroundings = around(engine, engine->settings.ledger_in_s3);
  const char *bucket = engine->settings.bucket;
  if (!smig_s3_look_elsewhere(engine->s3, bucket, &surroundings, others, error)) return false;
  /* What the other resource holds has decided already. */
  return elsewhere_only || survey->not_fresh ||
         smig_s3_is_fresh(engine->s3, bucket, &surroundings, &survey->not_fresh, error);
}

/* In every resource that is given. */
static bool look_around(smig_engine_t *engine, smig_survey_t *survey, bool elsewhere_only, smig_error_t *error) {
  bson_string_t *others = bson_string_new(NULL);
  atomic_store(&engine->guard.looking, true);
  bool looked = (!engine->connection || look_in_mongo(engine, survey, elsewhere_only, others, error)) &&
                (!engine->s3 || look_in_s3(engine, survey, elsewhere_only, others, error));
  atomic_store(&engine->guard.looking, false);
  survey->others = bson_string_free(others, others->len == 0);
  return looked;
}

bool smig_survey_check_elsewhere(smig_engine_t *engine, smig_survey_t *survey, smig_error_t *error) {
  forget(survey);
  return look_around(engine, survey, true, error);
}

void smig_survey_say(const smig_engine_t *engine, const smig_survey_t *survey) {
  const smig_resolved_t *resolved = &survey->resolved;
  if (survey->not_fresh) smig_engine_log(engine, SMIG_LOG_INFO, NULL, "not a fresh install: %s", survey->not_fresh);
  if (survey->others) smig_engine_log(engine, SMIG_LOG_INFO, NULL, "there are other ledgers too: %s", survey->others);
  if (survey->mismatch.code) {
    smig_engine_log(engine, SMIG_LOG_WARN, survey->mismatch.details, "%s", survey->mismatch.message);
  }
  if (resolved->assumed_unversioned) {
    smig_engine_log(engine, SMIG_LOG_WARN, NULL,
                    "the data has no recorded version: assuming it is at %s, the chain's start (unversioned_data = "
                    "\"refuse\" forbids this)",
                    resolved->effective_current_version);
  }
  if (resolved->newer_but_compatible) {
    smig_engine_log(engine, SMIG_LOG_WARN, NULL,
                    "the data is at %s, newer than the target %s and compatible with it: nothing to do",
                    resolved->current_version_before, smig_engine_target(engine));
  }
  for (size_t i = 0; i < resolved->planned_count; i++) {
    const smig_planned_step_t *planned = &resolved->planned[i];
    if (planned->skip_forward) {
      smig_engine_log(engine, SMIG_LOG_INFO, NULL, "skipping forward: %s lies inside step '%s' (%s -> %s), which runs",
                      resolved->effective_current_version, planned->id, planned->from, planned->to);
    }
  }
  for (size_t i = 0; i < engine->chain.count; i++) {
    const smig_step_t *step = &engine->chain.steps[i];
    const smig_entry_t *entry;
    if (!smig_plan_drifted(step, &survey->state, &entry)) continue;
    smig_engine_log(engine, SMIG_LOG_WARN, NULL,
                    "the file of step '%s' has changed since it was applied%s%s; put it back as it was, or accept it: "
                    "smartmigration-lua repair --accept-drift %s",
                    step->id, step->file ? ": " : "", step->file ? step->file : "", step->id);
  }
}

bool smig_survey_plan(smig_engine_t *engine, smig_survey_t *survey, smig_error_t *error) {
  forget(survey);
  bool fresh = false;
  if (smig_plan_needs_fresh(&survey->state)) {
    if (!look_around(engine, survey, false, error)) return false;
    fresh = !survey->not_fresh;
  }
  smig_plan_options_t options = plan_options(engine);
  return smig_plan_resolve(&engine->chain, &survey->state, &options, fresh, &survey->resolved, error);
}

bool smig_survey_resolve(smig_engine_t *engine, smig_survey_t *survey, smig_error_t *error) {
  if (!smig_survey_plan(engine, survey, error)) return false;
  if (smig_plan_check_agreement(&engine->chain, &survey->state, &survey->resolved, &survey->mismatch)) return true;
  if (smig_survey_nothing_to_do(survey)) return true;
  smig_error_move(error, &survey->mismatch);
  return false;
}

bool smig_survey_lock_is_stale(const smig_ledger_state_t *state) {
  return state->lock.expiry == SMIG_EXPIRY_PAST || smig_holder_proven_dead(state->lock.holder);
}

bool smig_survey_nothing_to_do(const smig_survey_t *survey) {
  return survey->resolved.planned_count == 0 && !survey->resolved.bootstrap_version_to_persist;
}
