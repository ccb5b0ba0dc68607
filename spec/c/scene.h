/* What the planning tests plan over: a chain, a ledger and options, from short texts. */
#ifndef SMIG_SPEC_SCENE_H
#define SMIG_SPEC_SCENE_H

#include "check.h"
#include "details.h"
#include "plan.h"

static inline bool up(smig_ctx_t *ctx, void *user, smig_error_t *error) {
  (void)ctx, (void)user, (void)error;
  return true;
}

/* What a case plans over. `steps` is "a 1.0.0 1.1.0, b 1.1.0 2.0.0". */
typedef struct scene {
  smig_chain_t chain;
  smig_ledger_state_t state;
  smig_plan_options_t options;
  smig_resolved_t resolved;
  smig_error_t error;
} scene_t;

static inline void open_scene(scene_t *scene, const char *steps, const char *ledger, const char *target) {
  memset(scene, 0, sizeof *scene);
  smig_chain_init(&scene->chain);
  for (const char *at = steps; *at;) {
    char id[64], from[64], to[64];
    int length = 0;
    if (sscanf(at, " %63s %63s %63[^, ]%n", id, from, to, &length) != 3) abort();
    smig_step_t step = {.id = id, .from = from, .to = to, .up = up};
    smig_chain_add(&scene->chain, &step);
    at += length + (at[length] == ',');
  }
  CHECK(smig_chain_validate(&scene->chain, &scene->error), ": %s", scene->error.message);
  bson_t *data = ledger ? document(ledger) : NULL;
  CHECK(smig_ledger_state_parse(&scene->state, data, 0, "memory", &scene->error), ": %s", scene->error.message);
  if (data) bson_destroy(data);
  scene->options.target_version = target;
}

static inline bool resolve(scene_t *scene, bool fresh) {
  smig_resolved_release(&scene->resolved);
  return smig_plan_resolve(&scene->chain, &scene->state, &scene->options, fresh, &scene->resolved, &scene->error);
}

static inline void close_scene(scene_t *scene) {
  smig_resolved_release(&scene->resolved);
  smig_ledger_state_release(&scene->state);
  smig_chain_release(&scene->chain);
  smig_error_release(&scene->error);
}

static const char three[] = "a 1.0.0 1.1.0, b 1.1.0 1.2.0, c 1.2.0 2.0.0";

#endif
