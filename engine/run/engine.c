/*
 * The engine's life: made from options, given steps, asked to stop, freed. Users: everybody, through smartmigration.h.
 */
#include "engine.h"
#include "secrets.h"

smig_engine_t *smig_engine_new(const smig_options_t *options, smig_error_t *error) {
  smig_engine_t *engine = bson_malloc0(sizeof *engine);
  smig_guard_init(&engine->guard);
  smig_chain_init(&engine->chain);
  if (!smig_settings_init(&engine->settings, options, error) || !smig_engine_open_resources(engine, options, error)) {
    smig_engine_free(engine);
    return NULL;
  }
  return engine;
}

smig_engine_t *smig_engine_new_with_ledger(const smig_options_t *options, smig_ledger_t *ledger, smig_error_t *error) {
  smig_options_t without_resources = *options;
  without_resources.offline = true;
  smig_engine_t *engine = smig_engine_new(&without_resources, error);
  if (!engine) {
    smig_ledger_free(ledger);
    return NULL;
  }
  engine->ledger = ledger;
  return engine;
}

void smig_engine_free(smig_engine_t *engine) {
  if (!engine) return;
  smig_ledger_free(engine->ledger);
  if (engine->owns_s3) smig_s3_free(engine->s3);
  if (engine->owns_connection) smig_mongo_connection_free(engine->connection);
  smig_chain_release(&engine->chain);
  smig_settings_release(&engine->settings);
  smig_guard_release(&engine->guard);
  bson_free(engine);
}

bool smig_engine_add_step(smig_engine_t *engine, const smig_step_t *step, smig_error_t *error) {
  (void)error; /* the chain is judged as a whole, in the contract's order */
  smig_chain_add(&engine->chain, step);
  return true;
}

/* A step whose work and record commit together needs them in one store. */
static bool check_transactions(const smig_engine_t *engine, smig_error_t *error) {
  if (!engine->ledger || engine->ledger->ops->join) return true;
  for (size_t i = 0; i < engine->chain.count; i++) {
    const smig_step_t *step = &engine->chain.steps[i];
    if (!step->transaction) continue;
    smig_error_set(
        error, SMIG_INVALID_OPTIONS,
        "step '%s' has transaction = true, which takes its record into a transaction of MongoDB, and the ledger is %s: "
        "keep the ledger in MongoDB (ledger_backend \"mongo\"), or make the step resumable in place of transactional",
        step->id, engine->ledger->place);
    bson_t *details = smig_error_details(error);
    if (details) BSON_APPEND_UTF8(details, "step_id", step->id);
    return false;
  }
  return true;
}

bool smig_engine_validate_chain(smig_engine_t *engine, smig_error_t *error) {
  if (!smig_chain_validate(&engine->chain, error) || !check_transactions(engine, error)) return false;
  if (engine->chain.count == 0 && !engine->settings.target_version) {
    smig_error_set(error, SMIG_MISSING_TARGET_VERSION, "no target version: there are no steps to take it from");
    return false;
  }
  return true;
}

void smig_engine_begin_call(smig_engine_t *engine) {
  if (engine->connection) engine->outer_guard = smig_mongo_connection_set_guard(engine->connection, &engine->guard);
  if (engine->s3) engine->outer_s3_guard = smig_s3_set_guard(engine->s3, &engine->guard);
}

void smig_engine_end_call(smig_engine_t *engine, bool obeyed, smig_error_t *error) {
  bson_t *details = smig_error_details(error);
  if (details && smig_secret_found((const char *)bson_get_data(details), details->len)) {
    bson_t *scrubbed = bson_new();
    smig_engine_scrub(details, scrubbed);
    bson_destroy(details);
    error->details = scrubbed;
  }
  if (engine->connection) smig_mongo_connection_set_guard(engine->connection, engine->outer_guard);
  if (engine->s3) smig_s3_set_guard(engine->s3, engine->outer_s3_guard);
  engine->run_id[0] = '\0';
  if (obeyed) smig_guard_reset(&engine->guard); /* the engine may be called again */
}

void smig_engine_cancel(smig_engine_t *engine, int reason) {
  smig_guard_ask_to_stop(&engine->guard, reason);
}

const char *smig_engine_target(const smig_engine_t *engine) {
  if (engine->settings.target_version) return engine->settings.target_version;
  return engine->chain.steps[engine->chain.count - 1].to;
}
