/* Resolving, planning, and the results of plans. */
#include "result.h"
#include "scene.h"

/* The plan as text: "a 1.0.0 1.1.0, b 1.1.0 2.0.0!" with ! at a skip forward. */
static void check_planned(const smig_resolved_t *resolved, const char *expected) {
  bson_string_t *text = bson_string_new(NULL);
  for (size_t i = 0; i < resolved->planned_count; i++) {
    const smig_planned_step_t *planned = &resolved->planned[i];
    bson_string_append_printf(text, "%s%s %s %s%s", i ? ", " : "", planned->id, planned->from, planned->to,
                              planned->skip_forward ? "!" : "");
  }
  CHECK_STR(text->str, expected);
  bson_string_free(text, true);
}

/* ----------------------------------------------------------- resolving */

static void freshness_matters_without_a_version_alone(void) {
  scene_t scene;
  open_scene(&scene, three, NULL, "2.0.0");
  CHECK(smig_plan_needs_fresh(&scene.state));
  close_scene(&scene);
  open_scene(&scene, three, "{'currentVersion': null}", "2.0.0");
  CHECK(smig_plan_needs_fresh(&scene.state));
  close_scene(&scene);
  open_scene(&scene, three, "{'currentVersion': '1.0.0'}", "2.0.0");
  CHECK(!smig_plan_needs_fresh(&scene.state));
  close_scene(&scene);
}

static void a_recorded_version_is_the_version(void) {
  scene_t scene;
  open_scene(&scene, three, "{'currentVersion': 'v1.1.0+x'}", "2.0.0");
  scene.options.fresh_install_version = "2.0.0";
  scene.options.refuse_unversioned = true;
  CHECK(resolve(&scene, true), ": %s", scene.error.message);
  CHECK(scene.resolved.bootstrap_mode == SMIG_BOOTSTRAP_NONE && !scene.resolved.was_fresh_install);
  CHECK_STR(scene.resolved.current_version_before, "1.1.0");
  CHECK_STR(scene.resolved.effective_current_version, "1.1.0");
  CHECK(!scene.resolved.bootstrap_version_to_persist && !scene.resolved.assumed_unversioned);
  check_planned(&scene.resolved, "b 1.1.0 1.2.0, c 1.2.0 2.0.0");
  CHECK(scene.resolved.planned[0].step == &scene.chain.steps[1]);
  CHECK_STR(scene.resolved.predicted_current_version_after, "2.0.0");
  close_scene(&scene);
}

static void a_fresh_install_begins_at_its_version(void) {
  scene_t scene;
  open_scene(&scene, three, NULL, "2.0.0");
  scene.options.fresh_install_version = "1.2.0";
  scene.options.refuse_unversioned = true; /* fresh: nothing to refuse */
  CHECK(resolve(&scene, true), ": %s", scene.error.message);
  CHECK(scene.resolved.bootstrap_mode == SMIG_BOOTSTRAP_FRESH_INSTALL_VERSION && scene.resolved.was_fresh_install);
  CHECK(!scene.resolved.current_version_before);
  CHECK_STR(scene.resolved.effective_current_version, "1.2.0");
  CHECK_STR(scene.resolved.bootstrap_version_to_persist, "1.2.0");
  check_planned(&scene.resolved, "c 1.2.0 2.0.0");
  scene.options.fresh_install_version = "2.0.0";
  CHECK(resolve(&scene, true) && !scene.resolved.planned_count);
  CHECK_STR(scene.resolved.predicted_current_version_after, "2.0.0");
  CHECK_STR(scene.resolved.bootstrap_version_to_persist, "2.0.0");
  scene.options.fresh_install_version = "1.1.5"; /* inside a step */
  CHECK(resolve(&scene, true));
  check_planned(&scene.resolved, "b 1.1.0 1.2.0!, c 1.2.0 2.0.0");
  close_scene(&scene);
}

static void fresh_install_versions_beyond_the_chain(void) {
  scene_t scene;
  open_scene(&scene, three, NULL, "2.0.0");
  scene.options.fresh_install_version = "3.0.0";
  CHECK(!resolve(&scene, true));
  check_error(&scene.error, SMIG_DOWNGRADE_NOT_SUPPORTED,
              "a fresh install begins at fresh_install_version 3.0.0, above the target 2.0.0, and nothing says that "
              "older programs can work with it; give a target version of at least 3.0.0");
  scene.options.fresh_install_version = "0.9.0";
  CHECK(!resolve(&scene, true));
  check_error(&scene.error, SMIG_CHAIN_NOT_AT_CURRENT,
              "a fresh install begins at fresh_install_version 0.9.0, below 1.0.0 where the chain begins (step 'a'); "
              "set it to a version of the chain");
  close_scene(&scene);
}

static void other_data_begins_at_the_chains_start(void) {
  scene_t scene;
  open_scene(&scene, three, "{'currentVersion': null}", "1.1.0");
  scene.options.fresh_install_version = "1.1.0";
  CHECK(resolve(&scene, false));
  CHECK(scene.resolved.bootstrap_mode == SMIG_BOOTSTRAP_CHAIN_START && !scene.resolved.was_fresh_install);
  CHECK(scene.resolved.assumed_unversioned);
  CHECK_STR(scene.resolved.effective_current_version, "1.0.0");
  CHECK_STR(scene.resolved.bootstrap_version_to_persist, "1.0.0");
  check_planned(&scene.resolved, "a 1.0.0 1.1.0");
  scene.options.fresh_install_version = NULL;
  CHECK(resolve(&scene, true)); /* fresh, but nothing says where to begin */
  CHECK(scene.resolved.bootstrap_mode == SMIG_BOOTSTRAP_CHAIN_START && !scene.resolved.assumed_unversioned);
  CHECK(!scene.resolved.was_fresh_install);
  scene.options.target_version = "1.0.0";
  CHECK(resolve(&scene, true) && !scene.resolved.planned_count);
  CHECK_STR(scene.resolved.bootstrap_version_to_persist, "1.0.0");
  scene.options.target_version = "0.9.0";
  CHECK(!resolve(&scene, true));
  check_error(
      &scene.error, SMIG_DOWNGRADE_NOT_SUPPORTED,
      "data without a recorded version counts as being at the chain's start, 1.0.0, above the target 0.9.0, and "
      "nothing says that older programs can work with it; give a target version of at least 1.0.0");
  close_scene(&scene);
}

static void without_steps_the_target_is_the_version(void) {
  scene_t scene;
  open_scene(&scene, "", NULL, "2.0.0");
  CHECK(resolve(&scene, true));
  CHECK(scene.resolved.bootstrap_mode == SMIG_BOOTSTRAP_TARGET_WITHOUT_STEPS && !scene.resolved.planned_count);
  CHECK_STR(scene.resolved.effective_current_version, "2.0.0");
  CHECK_STR(scene.resolved.bootstrap_version_to_persist, "2.0.0");
  CHECK_STR(scene.resolved.predicted_current_version_after, "2.0.0");
  close_scene(&scene);
}

static void unversioned_data_can_be_refused(void) {
  scene_t scene;
  open_scene(&scene, three, NULL, "2.0.0");
  scene.options.refuse_unversioned = true;
  CHECK(resolve(&scene, true));
  CHECK(!resolve(&scene, false));
  CHECK_STR(detail(&scene.error, "assumed_version"), "1.0.0");
  check_error(&scene.error, SMIG_UNVERSIONED_DATA,
              "there is data but the ledger records no version, and unversioned_data = \"refuse\" forbids to assume "
              "1.0.0; say what version the data has with `smartmigration-lua baseline VERSION`, or set "
              "unversioned_data = \"assume\"");
  close_scene(&scene);
  open_scene(&scene, "", NULL, "2.0.0");
  scene.options.refuse_unversioned = true;
  CHECK(!resolve(&scene, false) && scene.error.code == SMIG_UNVERSIONED_DATA);
  close_scene(&scene);
}

/* ------------------------------------------------------------- planning */

static void plans(const char *steps, const char *current, const char *target, bool bridge, const char *expected) {
  scene_t scene;
  char *ledger = bson_strdup_printf("{'currentVersion': '%s'}", current);
  open_scene(&scene, steps, ledger, target);
  scene.options.bridge = bridge;
  CHECK(resolve(&scene, false), ": %s to %s: %s", current, target, scene.error.message);
  check_planned(&scene.resolved, expected);
  const char *after = *expected ? target : current;
  CHECK(scene.resolved.predicted_current_version_after &&
            strcmp(scene.resolved.predicted_current_version_after, after) == 0,
        ": %s", scene.resolved.predicted_current_version_after);
  close_scene(&scene);
  bson_free(ledger);
}

static void plans_lead_to_the_target(void) {
  plans(three, "1.0.0", "2.0.0", false, "a 1.0.0 1.1.0, b 1.1.0 1.2.0, c 1.2.0 2.0.0");
  plans(three, "1.0.0", "1.2.0", false, "a 1.0.0 1.1.0, b 1.1.0 1.2.0");
  plans(three, "1.2.0", "2.0.0", false, "c 1.2.0 2.0.0");
  plans(three, "2.0.0", "2.0.0", false, "");
  plans(three, "0.1.0", "0.1.0", false, ""); /* at the target comes before below the chain */
  plans(three, "3.0.0", "3.0.0", false, "");
  plans("", "3.0.0", "3.0.0", false, "");
}

static void plans_skip_forward(void) {
  plans(three, "1.0.5", "2.0.0", false, "a 1.0.0 1.1.0!, b 1.1.0 1.2.0, c 1.2.0 2.0.0");
  plans(three, "1.5.0", "2.0.0", false, "c 1.2.0 2.0.0!");
  plans(three, "1.2.1-rc.1", "2.0.0", false, "c 1.2.0 2.0.0!");
}

static void plans_bridge_the_end(void) {
  plans(three, "1.2.0", "2.5.0", true, "c 1.2.0 2.0.0, bridge:2.5.0 2.0.0 2.5.0");
  plans(three, "2.0.0", "2.5.0", true, "bridge:2.5.0 2.0.0 2.5.0");
  plans(three, "2.1.0", "2.5.0", true, "bridge:2.5.0 2.1.0 2.5.0"); /* an earlier bridge led here */
  plans(three, "1.2.0", "2.0.0", true, "c 1.2.0 2.0.0");
  plans("", "1.2.0", "2.0.0", true, "bridge:2.0.0 1.2.0 2.0.0");
}

static void bridges_have_no_step(void) {
  scene_t scene;
  open_scene(&scene, "", "{'currentVersion': '1.0.0'}", "2.0.0");
  scene.options.bridge = true;
  CHECK(resolve(&scene, false) && scene.resolved.planned_count == 1 && !scene.resolved.planned[0].step);
  CHECK(!scene.resolved.planned[0].skip_forward);
  close_scene(&scene);
}

static void refuses(const char *steps, const char *current, const char *target, bool bridge, smig_code_t code,
                    const char *reason, const char *message) {
  scene_t scene;
  char *ledger = bson_strdup_printf("{'currentVersion': '%s'}", current);
  open_scene(&scene, steps, ledger, target);
  scene.options.bridge = bridge;
  CHECK(!resolve(&scene, false), ": %s to %s", current, target);
  CHECK_STR(detail(&scene.error, "current_version"), current);
  CHECK_STR(detail(&scene.error, "target_version"), target);
  if (reason) CHECK_STR(detail(&scene.error, "reason"), reason);
  check_error(&scene.error, code, message);
  close_scene(&scene);
  bson_free(ledger);
}

static void targets_that_cannot_be_reached(void) {
  refuses(
      three, "1.0.0", "1.5.0", false, SMIG_TARGET_NOT_REACHABLE, "overshoot",
      "the target 1.5.0 cannot be reached from 1.0.0: step 'c' (1.2.0 -> 2.0.0) goes past it; set the target to the "
      "version a step ends at");
  refuses(
      three, "1.0.0", "1.5.0", true, SMIG_TARGET_NOT_REACHABLE, "overshoot",
      "the target 1.5.0 cannot be reached from 1.0.0: step 'c' (1.2.0 -> 2.0.0) goes past it; set the target to the "
      "version a step ends at");
  refuses(three, "1.0.0", "2.5.0", false, SMIG_TARGET_NOT_REACHABLE, "chain-ends-below",
          "the target 2.5.0 cannot be reached from 1.0.0: the chain ends below it (step 'c' ends at 2.0.0); add the "
          "missing steps, lower the target, or set target_version_strategy = \"bridge\"");
  refuses(three, "2.0.0", "2.5.0", false, SMIG_TARGET_NOT_REACHABLE, "chain-ends-below",
          "the target 2.5.0 cannot be reached from 2.0.0: the chain ends below it (step 'c' ends at 2.0.0); add the "
          "missing steps, lower the target, or set target_version_strategy = \"bridge\"");
  refuses(
      three, "2.1.0", "2.5.0", false, SMIG_TARGET_NOT_REACHABLE, "ledger-past-end",
      "the target 2.5.0 cannot be reached: the data is at 2.1.0, past the end of the chain (step 'c' ends at 2.0.0); "
      "add the missing steps, lower the target, or set target_version_strategy = \"bridge\"");
  refuses("", "1.0.0", "2.0.0", false, SMIG_TARGET_NOT_REACHABLE, "no-steps",
          "the target 2.0.0 cannot be reached from 1.0.0: the chain has no steps; add the missing steps, lower the "
          "target, or set target_version_strategy = \"bridge\"");
}

static void data_below_the_chain(void) {
  static const char message[] =
      "the data is at 0.9.0, below 1.0.0 where the chain begins (step 'a'); add the steps that lead there, or migrate "
      "with an older program that has them first";
  refuses(three, "0.9.0", "2.0.0", false, SMIG_CHAIN_NOT_AT_CURRENT, NULL, message);
  refuses(three, "0.9.0", "0.9.5", true, SMIG_CHAIN_NOT_AT_CURRENT, NULL, message); /* before reachability */
}

/* -------------------------------------------------------- newer ledgers */

static const char newer[] =
    "{'currentVersion': '3.0.0', 'compatibleFrom': '2.0.0', 'steps': {'c': {'toVersion': '2.0.0', 'fromVersion': "
    "'1.2.0', 'status': 'applied', 'run': 'r'}, 'd': {'fromVersion': '2.0.0', 'toVersion': '3.0.0', 'status': "
    "'applied', 'run': 'r'}}}";

static void a_newer_ledger_may_be_compatible(void) {
  scene_t scene;
  open_scene(&scene, three, newer, "2.0.0");
  CHECK(resolve(&scene, false), ": %s", scene.error.message);
  CHECK(scene.resolved.newer_but_compatible && !scene.resolved.planned_count);
  CHECK_STR(scene.resolved.predicted_current_version_after, "3.0.0");
  scene.options.target_version = "2.5.0"; /* the order: above the target, before reachability */
  CHECK(resolve(&scene, false) && scene.resolved.newer_but_compatible);
  scene.options.refuse_newer = true;
  CHECK(!resolve(&scene, false));
  check_error(&scene.error, SMIG_DOWNGRADE_NOT_SUPPORTED,
              "the data is at 3.0.0, above the target 2.5.0, and newer_ledger = \"refuse\" forbids to leave it so; "
              "deploy a program whose target is at least 3.0.0, or put back a backup of the data");
  close_scene(&scene);
}

static void downgraded(const char *ledger, const char *target, const char *step_id, const char *message) {
  scene_t scene;
  open_scene(&scene, three, ledger, target);
  CHECK(!resolve(&scene, false), ": %s", ledger);
  const char *named = detail(&scene.error, "step_id");
  CHECK((!named && !step_id) || (named && step_id && strcmp(named, step_id) == 0), ": %s", named);
  check_error(&scene.error, SMIG_DOWNGRADE_NOT_SUPPORTED, message);
  close_scene(&scene);
}

static void a_newer_ledger_names_the_step_that_broke_older_programs(void) {
  downgraded(newer, "1.2.0", "c",
             "the data is at 3.0.0, above the target 1.2.0, and step 'c' (1.2.0 -> 2.0.0) changed it so that older "
             "programs cannot work with it; deploy a program whose target is at least 2.0.0, or put back a backup of "
             "the data");
  /* a step that named an older version than its own: the next one above it */
  downgraded(
      "{'currentVersion': '3.0.0', 'compatibleFrom': '2.5.0', 'steps': {'c': {'toVersion': '2.0.0', 'status': "
      "'applied', 'run': 'r'}, 'd': {'toVersion': '3.0.0', 'status': 'applied', 'run': 'r'}}}",
      "2.0.0", "d",
      "the data is at 3.0.0, above the target 2.0.0, and step 'd' (? -> 3.0.0) changed it so that older programs "
      "cannot work with it; deploy a program whose target is at least 2.5.0, or put back a backup of the data");
  /* the original records no compatibleFrom: nothing older works */
  downgraded("{'currentVersion': '3.0.0', 'steps': {'c': {'toVersion': '2.0.0', 'status': 'applied'}, 'd': "
             "{'fromVersion': '2.0.0', 'toVersion': '3.0.0', 'status': 'applied'}, 'e': {'toVersion': '2.5.0', "
             "'status': 'failed'}}}",
             "2.0.0", "d",
             "the data is at 3.0.0, above the target 2.0.0, and step 'd' (2.0.0 -> 3.0.0) changed it so that older "
             "programs cannot work with it; deploy a program whose target is at least 3.0.0, or put back a backup of "
             "the data");
  /* the original applied a step after ours and left our compatibleFrom behind */
  downgraded("{'currentVersion': '3.0.0', 'compatibleFrom': '1.0.0', 'steps': {'c': {'toVersion': '2.0.0', 'status': "
             "'applied', 'run': 'r'}, 'd': {'fromVersion': '2.0.0', 'toVersion': '3.0.0', 'status': 'applied'}}}",
             "2.0.0", "d",
             "the data is at 3.0.0, above the target 2.0.0, and step 'd' (2.0.0 -> 3.0.0) changed it so that older "
             "programs cannot work with it; deploy a program whose target is at least 3.0.0, or put back a backup of "
             "the data");
  downgraded("{'currentVersion': '3.0.0'}", "2.0.0", NULL,
             "the data is at 3.0.0, above the target 2.0.0, and nothing says that older programs can work with it; "
             "deploy a program whose target is at least 3.0.0, or put back a backup of the data");
}

/* -------------------------------------------------------------- results */

static void shows(const smig_result_t *result, const char *expected) {
  bson_t shown = BSON_INITIALIZER;
  smig_result_append(result, &shown);
  bson_t *wanted = document(expected);
  char *shown_text = bson_as_relaxed_extended_json(&shown, NULL),
       *wanted_text = bson_as_relaxed_extended_json(wanted, NULL);
  CHECK_STR(shown_text, wanted_text);
  bson_free(shown_text);
  bson_free(wanted_text);
  bson_destroy(wanted);
  bson_destroy(&shown);
}

static void a_plan_shows_what_would_run(void) {
  scene_t scene;
  open_scene(&scene, three, NULL, "2.0.0");
  scene.options.fresh_install_version = "1.1.5";
  CHECK(resolve(&scene, true));
  smig_result_t *result = smig_result_from_plan(&scene.resolved, "2.0.0");
  CHECK(result->steps_skipped[1].status == SMIG_STATUS_SKIPPED && !result->steps_skipped[1].started_at);
  shows(result,
        "{'current_version_before': null, 'current_version_after': '2.0.0', 'target_version': '2.0.0', "
        "'was_fresh_install': true, 'bootstrap_mode': 'fresh-install-version', 'steps_applied': [], 'steps_skipped': "
        "[{'id': 'b', 'from_version': '1.1.0', 'to_version': '1.2.0', 'status': 'skipped', 'skip_forward': true}, "
        "{'id': 'c', 'from_version': '1.2.0', 'to_version': '2.0.0', 'status': 'skipped', 'skip_forward': false}], "
        "'total_duration_ms': 0}");
  smig_result_free(result);
  smig_result_free(NULL);
  close_scene(&scene);
}

static void a_run_shows_what_it_did(void) {
  smig_result_t *result = smig_result_new("1.0.0", "1.5.0");
  CHECK_STR(result->current_version_after, "1.0.0");
  for (int i = 0; i < 5; i++) {
    char id[8];
    snprintf(id, sizeof id, "s%d", i);
    smig_step_result_t *step =
        smig_result_add(&result->steps_applied, &result->steps_applied_count, id, "1.0.0", "1.1.0");
    CHECK(!step->started_at && step->status == SMIG_STATUS_PENDING);
    step->status = SMIG_STATUS_APPLIED;
    step->duration_ms = i;
    step->started_at = bson_strdup("t1");
    step->finished_at = bson_strdup("t2");
  }
  CHECK_STR(result->steps_applied[4].id, "s4");
  bson_t shown = BSON_INITIALIZER;
  smig_result_append(result, &shown);
  bson_iter_t iter, found;
  CHECK(bson_iter_init(&iter, &shown) && bson_iter_find_descendant(&iter, "steps_applied.4.duration_ms", &found) &&
        bson_iter_as_int64(&found) == 4);
  CHECK(bson_iter_init(&iter, &shown) && bson_iter_find_descendant(&iter, "steps_applied.4.status", &found) &&
        strcmp(bson_iter_utf8(&found, NULL), "applied") == 0);
  CHECK(bson_iter_init(&iter, &shown) && bson_iter_find_descendant(&iter, "steps_applied.0.started_at", &found) &&
        strcmp(bson_iter_utf8(&found, NULL), "t1") == 0);
  bson_destroy(&shown);
  smig_result_free(result);
}

static void names_of_statuses_and_modes(void) {
  CHECK_STR(smig_status_name(SMIG_STATUS_PENDING), "pending");
  CHECK_STR(smig_status_name(SMIG_STATUS_RUNNING), "running");
  CHECK_STR(smig_status_name(SMIG_STATUS_APPLIED), "applied");
  CHECK_STR(smig_status_name(SMIG_STATUS_FAILED), "failed");
  CHECK_STR(smig_status_name(SMIG_STATUS_INTERRUPTED), "interrupted");
  CHECK_STR(smig_status_name(SMIG_STATUS_SKIPPED), "skipped");
  CHECK_STR(smig_status_name((smig_status_t)77), "unknown");
  CHECK_STR(smig_bootstrap_mode_name(SMIG_BOOTSTRAP_NONE), "none");
  CHECK_STR(smig_bootstrap_mode_name(SMIG_BOOTSTRAP_FRESH_INSTALL_VERSION), "fresh-install-version");
  CHECK_STR(smig_bootstrap_mode_name(SMIG_BOOTSTRAP_CHAIN_START), "chain-start");
  CHECK_STR(smig_bootstrap_mode_name(SMIG_BOOTSTRAP_TARGET_WITHOUT_STEPS), "target-without-steps");
  CHECK_STR(smig_bootstrap_mode_name((smig_bootstrap_mode_t)77), "unknown");
}

int main(void) {
  RUN(freshness_matters_without_a_version_alone);
  RUN(a_recorded_version_is_the_version);
  RUN(a_fresh_install_begins_at_its_version);
  RUN(fresh_install_versions_beyond_the_chain);
  RUN(other_data_begins_at_the_chains_start);
  RUN(without_steps_the_target_is_the_version);
  RUN(unversioned_data_can_be_refused);
  RUN(plans_lead_to_the_target);
  RUN(plans_skip_forward);
  RUN(plans_bridge_the_end);
  RUN(bridges_have_no_step);
  RUN(targets_that_cannot_be_reached);
  RUN(data_below_the_chain);
  RUN(a_newer_ledger_may_be_compatible);
  RUN(a_newer_ledger_names_the_step_that_broke_older_programs);
  RUN(a_plan_shows_what_would_run);
  RUN(a_run_shows_what_it_did);
  RUN(names_of_statuses_and_modes);
  return check_done();
}
