/* The agreement of ledger and chain, and drift. */
#include "scene.h"

static bool agree(scene_t *scene) {
  return smig_plan_check_agreement(&scene->chain, &scene->state, &scene->resolved, &scene->error);
}

#define ENTRY(id, from, to) "'" id "': {'fromVersion': '" from "', 'toVersion': '" to "', 'status': 'applied'}"

static void agrees(const char *steps, const char *ledger, const char *target) {
  scene_t scene;
  open_scene(&scene, steps, ledger, target);
  scene.options.bridge = true;
  CHECK(resolve(&scene, true), ": %s: %s", ledger, scene.error.message);
  CHECK(agree(&scene), ": %s: %s", ledger, scene.error.message);
  close_scene(&scene);
}

static void what_agrees(void) {
  agrees(three, NULL, "2.0.0");
  agrees("", NULL, "2.0.0");
  agrees(three, "{'currentVersion': '1.2.0'}", "2.0.0"); /* nothing tells where recording began */
  agrees(
      three,
      "{'currentVersion': '1.2.0', 'steps': {" ENTRY("a", "v1.0.0", "1.1.0+x") ", " ENTRY("b", "1.1.0", "1.2.0") "}}",
      "2.0.0");
  /* recording began at the lowest from; at a bootstrap; at a baseline */
  agrees(three, "{'currentVersion': '1.2.0', 'steps': {" ENTRY("b", "1.1.0", "1.2.0") "}}", "2.0.0");
  agrees(three, "{'currentVersion': '1.2.0', 'bootstrap': {'version': '1.2.0'}}", "2.0.0");
  agrees(three,
         "{'currentVersion': '1.1.0', 'bootstrap': {'version': '1.0.0'}, 'steps': {" ENTRY("a", "1.0.0", "1.1.0") "}}",
         "2.0.0");
  /* pruned, newer, reaching over the end, bridges, versions missing, not applied */
  agrees(three,
         "{'currentVersion': '1.0.0', 'bootstrap': {'version': '0.8.0'}, 'steps': {" ENTRY(
             "x", "0.8.0", "0.9.0") ", " ENTRY("y", "0.9.0", "1.0.0") "}}",
         "2.0.0");
  agrees(three,
         "{'currentVersion': '3.0.0', 'bootstrap': {'version': '3.0.0'}, 'steps': {" ENTRY("z", "2.0.0", "3.0.0") "}}",
         "3.0.0");
  agrees(three,
         "{'currentVersion': '1.0.0', 'bootstrap': {'version': '1.0.0'}, 'steps': {" ENTRY("z", "1.2.0", "2.5.0") "}}",
         "2.0.0");
  agrees(three,
         "{'currentVersion': '1.2.0', 'bootstrap': {'version': '1.2.0'}, 'steps': {" ENTRY("bridge:1.2.0", "1.1.0",
                                                                                           "1.2.0") "}}",
         "2.0.0");
  agrees(three,
         "{'currentVersion': '2.0.0', 'bootstrap': {'version': '2.0.0'}, 'steps': {" ENTRY("bridge:2.5.0", "2.0.0",
                                                                                           "2.5.0") "}}",
         "2.5.0"); /* planned once more: exempt */
  agrees(three,
         "{'currentVersion': '1.1.0', 'bootstrap': {'version': '1.0.0'}, 'steps': {'a': {'status': 'applied'}, 'x': "
         "{'status': 'applied', 'fromVersion': '1.0.0'}, 'y': {'status': 'applied', 'toVersion': '1.1.0'}}}",
         "2.0.0");
  agrees(three,
         "{'currentVersion': '1.0.0', 'steps': {'a': {'status': 'failed', 'fromVersion': '1.0.0', 'toVersion': "
         "'1.0.5'}, 'x': {'status': 'interrupted', 'fromVersion': '1.0.0', 'toVersion': '1.1.0'}, 'b': {}}}",
         "2.0.0");
}

/* `restart` and `again` are the versions of the commands that put it right. `violations` is "step_id kind recorded_from recorded_to chain_from chain_to; …" with - for what is missing. */
static void disagrees(const char *steps, const char *ledger, const char *target, const char *violations,
                      const char *what, const char *restart, const char *again) {
  scene_t scene;
  open_scene(&scene, steps, ledger, target);
  CHECK(resolve(&scene, true), ": %s: %s", ledger, scene.error.message);
  CHECK(!agree(&scene), ": %s", ledger);
  bson_string_t *text = bson_string_new(NULL);
  static const char *const keys[] = {"step_id", "kind", "recorded_from", "recorded_to", "chain_from", "chain_to"};
  for (int i = 0; i < 9; i++) {
    for (size_t j = 0; j < 6; j++) {
      char path[64];
      snprintf(path, sizeof path, "violations.%d.%s", i, keys[j]);
      const char *value = detail(&scene.error, path);
      if (!j && !value) break;
      bson_string_append_printf(text, "%s%s", j ? " " : i ? "; " : "", value ? value : "-");
    }
  }
  CHECK_STR(text->str, violations);
  bson_string_free(text, true);
  char *after = again
                    ? bson_strdup_printf(", and `smartmigration-lua baseline %s --force` after it says that nothing is "
                                         "to run again",
                                         again)
                    : bson_strdup("");
  char *message =
      bson_strdup_printf("the ledger and the chain disagree: %s; put the chain right, or the record: "
                         "`smartmigration-lua baseline %s --force` makes the next run begin there%s; or give "
                         "another ledger_name if this ledger is another program's",
                         what, restart, after);
  bson_free(after);
  check_error(&scene.error, SMIG_LEDGER_CHAIN_MISMATCH, message);
  bson_free(message);
  close_scene(&scene);
}

static void what_disagrees(void) {
  /* an applied step with other versions; a version that is missing is not compared */
  disagrees(
      three,
      "{'currentVersion': '1.1.0', 'bootstrap': {'version': '1.0.0'}, 'steps': {" ENTRY("a", "1.0.0", "1.0.5") "}}",
      "2.0.0", "a versions-differ 1.0.0 1.0.5 1.0.0 1.1.0",
      "step 'a' was applied as 1.0.0 -> 1.0.5 but the chain has it as 1.0.0 -> 1.1.0", "1.0.0", "1.1.0");
  disagrees(three, "{'currentVersion': '1.1.0', 'steps': {'a': {'fromVersion': '0.9.0', 'status': 'applied'}}}",
            "2.0.0", "a versions-differ 0.9.0 - 1.0.0 1.1.0",
            "step 'a' was applied as 0.9.0 -> ? but the chain has it as 1.0.0 -> 1.1.0", "1.0.0", "1.1.0");
  /* a renamed step: one is unknown, the other not recorded */
  disagrees(
      three,
      "{'currentVersion': '1.1.0', 'bootstrap': {'version': '1.0.0'}, 'steps': {" ENTRY("old", "1.0.0", "1.1.0") "}}",
      "2.0.0", "old not-in-chain 1.0.0 1.1.0 - -; a not-recorded - - 1.0.0 1.1.0",
      "step 'old' was applied as 1.0.0 -> 1.1.0 but is not in the chain; step 'a' (1.0.0 -> 1.1.0) has no applied "
      "record although the data is at 1.1.0",
      "1.0.0", "1.1.0");
  /* a step that another branch put below the current version */
  disagrees(
      "a 1.0.0 1.1.0, new 1.1.0 1.1.5, b 1.1.5 1.2.0, c 1.2.0 2.0.0",
      "{'currentVersion': '1.2.0', 'bootstrap': {'version': '1.0.0'}, 'steps': {" ENTRY(
          "a", "1.0.0", "1.1.0") ", " ENTRY("b", "1.1.0", "1.2.0") "}}",
      "2.0.0", "b versions-differ 1.1.0 1.2.0 1.1.5 1.2.0; new not-recorded - - 1.1.0 1.1.5",
      "step 'b' was applied as 1.1.0 -> 1.2.0 but the chain has it as 1.1.5 -> 1.2.0; step 'new' (1.1.0 -> 1.1.5) "
      "has no applied record although the data is at 1.2.0",
      "1.1.0", "1.2.0");
  /* recorded, but only as failed */
  disagrees(three, "{'currentVersion': '1.1.0', 'steps': {'a': {'fromVersion': '1.0.0', 'status': 'failed'}}}", "2.0.0",
            "a not-recorded - - 1.0.0 1.1.0",
            "step 'a' (1.0.0 -> 1.1.0) has no applied record although the data is at 1.1.0", "1.0.0", "1.1.0");
  /* recording began inside a step that must then have been run */
  disagrees(three, "{'currentVersion': '1.1.0', 'bootstrap': {'version': '1.0.5'}}", "2.0.0",
            "a not-recorded - - 1.0.0 1.1.0",
            "step 'a' (1.0.0 -> 1.1.0) has no applied record although the data is at 1.1.0", "1.0.0", "1.1.0");
  /* a bridge went over a step that came later */
  disagrees(three,
            "{'currentVersion': '1.2.0', 'bootstrap': {'version': '1.0.0'}, 'steps': {" ENTRY(
                "a", "1.0.0", "1.1.0") ", " ENTRY("bridge:1.2.0", "1.1.0", "1.2.0") "}}",
            "2.0.0", "b not-recorded - - 1.1.0 1.2.0",
            "step 'b' (1.1.0 -> 1.2.0) has no applied record although the data is at 1.2.0", "1.1.0", "1.2.0");
  /* about to run again, also over a ledger whose version was lost */
  disagrees(
      three,
      "{'currentVersion': '1.0.0', 'bootstrap': {'version': '1.0.0'}, 'steps': {" ENTRY("b", "1.1.0", "1.2.0") "}}",
      "2.0.0", "b already-applied 1.1.0 1.2.0 1.1.0 1.2.0",
      "step 'b' (1.1.0 -> 1.2.0) is about to run but was applied as 1.1.0 -> 1.2.0 already", "1.0.0", NULL);
  disagrees(three, "{'currentVersion': null, 'steps': {" ENTRY("a", "1.0.0", "1.1.0") "}}", "1.1.0",
            "a already-applied 1.0.0 1.1.0 1.0.0 1.1.0",
            "step 'a' (1.0.0 -> 1.1.0) is about to run but was applied as 1.0.0 -> 1.1.0 already", "1.0.0", NULL);
  /* a foreign ledger's id, kept on one line */
  disagrees(three, "{'currentVersion': '1.0.0', 'steps': {" ENTRY("x\\ny", "1.0.0", "1.1.0") "}}", "2.0.0",
            "x\ny not-in-chain 1.0.0 1.1.0 - -", "step 'x\\x0ay' was applied as 1.0.0 -> 1.1.0 but is not in the chain",
            "1.0.0", NULL);
}

static void many_violations_are_counted(void) {
  scene_t scene;
  bson_string_t *ledger = bson_string_new("{'currentVersion': '1.0.0', 'steps': {");
  for (int i = 0; i < 25; i++)
    bson_string_append_printf(ledger, "%s'x%d': {'fromVersion': '1.0.0', 'toVersion': '1.1.0', 'status': 'applied'}",
                              i ? ", " : "", i);
  bson_string_append(ledger, "}}");
  open_scene(&scene, three, ledger->str, "2.0.0");
  CHECK(resolve(&scene, true) && !agree(&scene));
  CHECK(strstr(scene.error.message, "step 'x19'") && !strstr(scene.error.message, "step 'x20'") &&
            strstr(scene.error.message, "; and 5 more; put"),
        ": %s", scene.error.message);
  CHECK_STR(detail(&scene.error, "violations.24.step_id"), "x24");
  CHECK(!smig_plan_check_agreement(&scene.chain, &scene.state, &scene.resolved, NULL));
  bson_string_free(ledger, true);
  close_scene(&scene);
}

static void checksums_of_applied_steps_are_compared(void) {
  static const struct {
    const char *checksum, *entry;
    bool drifted;
  } cases[] = {
      {"sha256:aa", "{'status': 'applied', 'checksum': 'sha256:bb'}", true},
      {"sha256:aa", "{'status': 'applied', 'checksum': 'sha256:aa'}", false},
      {"sha256:aa", "{'status': 'applied'}", false},
      {"sha256:aa", "{'status': 'failed', 'checksum': 'sha256:bb'}", false},
      {NULL, "{'status': 'applied', 'checksum': 'sha256:bb'}", false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    scene_t scene;
    char *ledger = bson_strdup_printf("{'steps': {'a': %s}}", cases[i].entry);
    open_scene(&scene, three, ledger, "2.0.0");
    const smig_entry_t *entry = (const smig_entry_t *)&scene;
    smig_step_t step = scene.chain.steps[0];
    step.checksum = cases[i].checksum;
    CHECK(smig_plan_drifted(&step, &scene.state, &entry) == cases[i].drifted, ": case %zu", i);
    CHECK(entry == (cases[i].drifted ? &scene.state.entries[0] : NULL), ": case %zu", i);
    step.id = "unknown";
    CHECK(!smig_plan_drifted(&step, &scene.state, &entry) && !entry);
    bson_free(ledger);
    close_scene(&scene);
  }
}

int main(void) {
  RUN(what_agrees);
  RUN(what_disagrees);
  RUN(many_violations_are_counted);
  RUN(checksums_of_applied_steps_are_compared);
  return check_done();
}
