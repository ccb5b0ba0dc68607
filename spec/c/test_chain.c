/* The chain's validation: every rule, in its order, with message and details. */
#include "chain.h"
#include "check.h"
#include "details.h"

static bool up(smig_ctx_t *ctx, void *user, smig_error_t *error) {
  (void)ctx, (void)user, (void)error;
  return true;
}

static void add(smig_chain_t *chain, const char *id, const char *from, const char *to) {
  smig_step_t step = SMIG_STEP_INIT;
  step.id = id;
  step.from = from;
  step.to = to;
  step.up = up;
  smig_chain_add(chain, &step);
}

static void add_at(smig_chain_t *chain, const char *id, const char *from, const char *to, const char *file, int line) {
  smig_step_t step = {.id = id, .from = from, .to = to, .up = up, .file = file, .line = line};
  smig_chain_add(chain, &step);
}

/* The chain is refused so; it is released. */
static void refused(smig_chain_t *chain, smig_error_t *error, smig_code_t code, const char *message) {
  CHECK(!smig_chain_validate(chain, NULL) && !chain->valid);
  CHECK(!smig_chain_validate(chain, error));
  CHECK(error->code == code, ": %s is not %s", smig_code_name(error->code), smig_code_name(code));
  CHECK_STR(error->message, message);
  smig_chain_release(chain);
}

static void a_good_chain_is_normalized(void) {
  smig_chain_t chain;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_chain_init(&chain);
  CHECK(smig_chain_validate(&chain, &error)); /* an empty one is fine */
  add(&chain, "a.b", " v1.0.0", "1.1.0-rc.1+x");
  smig_step_t step = {
      .id = "\xc3\xa9t\xc3\xa9", .from = "1.1.0-rc.1", .to = "v2.0.0", .compatible_from = "v1.5.0", .up = up};
  smig_chain_add(&chain, &step);
  CHECK(!chain.valid && smig_chain_find(&chain, "a.b") == &chain.steps[0]);
  CHECK(smig_chain_validate(&chain, &error) && chain.valid, ": %s", error.message);
  CHECK(smig_chain_validate(&chain, &error));
  CHECK_STR(chain.steps[0].from, "1.0.0");
  CHECK_STR(chain.steps[0].to, "1.1.0-rc.1");
  CHECK_STR(chain.steps[1].to, "2.0.0");
  CHECK_STR(chain.steps[1].compatible_from, "1.5.0");
  CHECK(smig_chain_find(&chain, "\xc3\xa9t\xc3\xa9") == &chain.steps[1] && !smig_chain_find(&chain, "x"));
  CHECK(chain.steps[0].id_length == 3);
  smig_chain_release(&chain);
}

static int freed;

static void count_free(void *user) {
  freed += *(int *)user;
}

static void steps_are_copied_and_their_user_is_taken_over(void) {
  smig_chain_t chain;
  char id[] = "a", from[] = "1.0.0";
  int user = 5;
  smig_chain_init(&chain);
  smig_step_t step = {.id = id,
                      .from = from,
                      .to = "1.1.0",
                      .up = up,
                      .user = &user,
                      .user_free = count_free,
                      .description = "d",
                      .checksum = "sha256:00",
                      .file = "f.lua",
                      .line = 7,
                      .resumable = true};
  smig_chain_add(&chain, &step);
  id[0] = from[0] = 'x';
  CHECK_STR(chain.steps[0].id, "a");
  CHECK_STR(chain.steps[0].from, "1.0.0");
  CHECK_STR(chain.steps[0].description, "d");
  CHECK_STR(chain.steps[0].checksum, "sha256:00");
  CHECK(chain.steps[0].resumable && chain.steps[0].line == 7 && chain.steps[0].user == &user);
  freed = 0;
  smig_chain_release(&chain);
  CHECK(freed == 5 && !chain.steps);
}

static void ids_and_keys_have_a_rule(void) {
  static const struct {
    const char *id;
    size_t length;
    const char *why;
  } cases[] = {
      {"a", 1, NULL},
      {"a.b c/d$e", 9, NULL},
      {"bridge", 6, NULL},
      {"Bridge:1.0.0", 12, NULL},
      {"\xf0\x9f\x98\x80", 4, NULL},
      {NULL, 0, "it is empty"},
      {"", 0, "it is empty"},
      {"$a", 2, "it begins with '$', which MongoDB reserves"},
      {"bridge:1.0.0", 12, "it begins with 'bridge:', which the engine reserves"},
      {"bridge:", 7, "it begins with 'bridge:', which the engine reserves"},
      {"a\0b", 3, "it holds a control character"},
      {"a\nb", 3, "it holds a control character"},
      {"a\x7f", 2, "it holds a control character"},
      {"a\xc2\x9b", 3, "it holds a control character"},
      {"a\xff", 2, "it is not UTF-8"},
      {"\xc0\x80", 2, "it is not UTF-8"},
      {"\xed\xa0\x80", 3, "it is not UTF-8"},
      {"\xe2\x82", 2, "it is not UTF-8"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *why = "unset";
    bool valid = smig_step_id_valid(cases[i].id, cases[i].length, &why);
    CHECK(valid == !cases[i].why, ": case %zu", i);
    CHECK((!why && !cases[i].why) || (why && cases[i].why && strcmp(why, cases[i].why) == 0), ": case %zu: %s", i, why);
  }
  char id[130];
  const char *why;
  memset(id, 'x', sizeof id);
  CHECK(smig_step_id_valid(id, 128, &why) && !smig_step_id_valid(id, 129, &why));
  CHECK_STR(why, "it is longer than 128 bytes");
}

static void a_bad_id_names_the_index(void) {
  smig_chain_t chain;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_chain_init(&chain);
  add(&chain, "a", "1.0.0", "1.1.0");
  add(&chain, NULL, "1.1.0", "1.2.0");
  refused(&chain, &error, SMIG_INVALID_STEP_ID, "step 2 has no id; give it one of 1 to 128 bytes");
  CHECK(detail_number(&error, "index") == 2 && !detail(&error, "step_id"));

  smig_step_t step = {.id = "a\0b", .id_length = 3, .up = up, .file = "migrations/0001-x.lua", .line = 3};
  smig_chain_add(&chain, &step);
  refused(
      &chain, &error, SMIG_INVALID_STEP_ID,
      "migrations/0001-x.lua:3: the id 'a\\x00b' of step 1 is not acceptable: it holds a control character; give it "
      "1 to 128 bytes of UTF-8 without control characters, not beginning with '$' or 'bridge:'");
  CHECK_STR(detail(&error, "step_id"), "a\\x00b");
  CHECK_STR(detail(&error, "file"), "migrations/0001-x.lua");
  CHECK(detail_number(&error, "line") == 3 && detail_number(&error, "index") == 1);

  add(&chain, "", NULL, NULL);
  refused(&chain, &error, SMIG_INVALID_STEP_ID,
          "the id '' of step 1 is not acceptable: it is empty; give it 1 to 128 bytes of UTF-8 without control "
          "characters, not beginning with '$' or 'bridge:'");
  smig_error_release(&error);
}

static void an_id_stands_once(void) {
  smig_chain_t chain;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_chain_init(&chain);
  add_at(&chain, "a", "1.0.0", "1.1.0", "a.lua", 2);
  add(&chain, "b", "1.1.0", "1.2.0");
  add_at(&chain, "a", NULL, NULL, "c.lua", 5); /* what follows is not looked at */
  refused(&chain, &error, SMIG_DUPLICATE_STEP_ID,
          "c.lua:5: step 'a': the id of step 3 is that of step 1 already (a.lua:2); give one of them another id");
  CHECK_STR(detail(&error, "step_id"), "a");
  CHECK(detail_number(&error, "index") == 3 && detail_number(&error, "previous_index") == 1);
  CHECK_STR(detail(&error, "file"), "c.lua");
  CHECK_STR(detail(&error, "previous_file"), "a.lua");
  CHECK(detail_number(&error, "line") == 5 && detail_number(&error, "previous_line") == 2);
  smig_error_release(&error);
}

static void versions_are_present(void) {
  smig_chain_t chain;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_chain_init(&chain);
  add_at(&chain, "a", NULL, "x", "a.lua", 0);
  refused(&chain, &error, SMIG_STEP_MISSING_FROM,
          "a.lua: step 'a': it has no `from` version; say where it begins with from = \"1.2.3\"");
  CHECK_STR(detail(&error, "to"), "x");
  CHECK(detail_number(&error, "line") == -1);
  add(&chain, "a", "bad\xff", NULL); /* presence comes first */
  refused(&chain, &error, SMIG_STEP_MISSING_TO,
          "step 'a': it has no `to` version; say where it leads with to = \"1.2.3\"");
  CHECK_STR(detail(&error, "from"), "bad\\xff");
  add(&chain, "a", NULL, NULL);
  refused(&chain, &error, SMIG_STEP_MISSING_FROM,
          "step 'a': it has no `from` version; say where it begins with from = \"1.2.3\"");
  smig_error_release(&error);
}

static void versions_are_semver(void) {
  smig_chain_t chain;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_chain_init(&chain);
  add_at(&chain, "x", "1.0", "also bad", "migrations/0002-x.lua", 3);
  refused(&chain, &error, SMIG_INVALID_VERSION,
          "migrations/0002-x.lua:3: step 'x' from is not a valid semver string: \"1.0\"");
  CHECK_STR(detail(&error, "label"), "step 'x' from");
  CHECK_STR(detail(&error, "version"), "1.0");
  CHECK(detail(&error, "cause") != NULL);
  CHECK_STR(detail(&error, "step_id"), "x");
  CHECK_STR(detail(&error, "file"), "migrations/0002-x.lua");
  CHECK(detail_number(&error, "line") == 3 && detail_number(&error, "index") == 1);
  add(&chain, "x", "1.0.0", "");
  refused(&chain, &error, SMIG_INVALID_VERSION, "step 'x' to is not a valid semver string: \"\"");
  smig_step_t step = {.id = "x", .from = "1.0.0", .to = "1.1.0", .compatible_from = "1"}; /* before its `up` */
  smig_chain_add(&chain, &step);
  refused(&chain, &error, SMIG_INVALID_VERSION, "step 'x' compatible_from is not a valid semver string: \"1\"");
  smig_error_release(&error);
}

static void up_is_there(void) {
  smig_chain_t chain;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_chain_init(&chain);
  smig_step_t step = {.id = "x", .from = "2.0.0", .to = "1.0.0"}; /* before the order of its versions */
  smig_chain_add(&chain, &step);
  refused(&chain, &error, SMIG_INVALID_STEP_HANDLER,
          "step 'x': its `up` is not a function; give it one that does its work");
  CHECK_STR(detail(&error, "step_id"), "x");
  smig_error_release(&error);
}

static void steps_lead_upwards(void) {
  smig_chain_t chain;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_chain_init(&chain);
  add(&chain, "a", "1.0.0", "1.1.0");
  add(&chain, "x", "2.0.0", "1.10.0"); /* before contiguity */
  refused(&chain, &error, SMIG_NON_INCREASING_STEP,
          "step 'x': its from 2.0.0 is above its to 1.10.0; a step must lead to a greater version");
  CHECK_STR(detail(&error, "from"), "2.0.0");
  CHECK_STR(detail(&error, "to"), "1.10.0");
  add(&chain, "x", "1.0.0+a", "1.0.0+b");
  refused(&chain, &error, SMIG_NON_INCREASING_STEP,
          "step 'x': its from 1.0.0 is equal to its to 1.0.0; a step must lead to a greater version");
  smig_error_release(&error);
}

static void steps_are_contiguous(void) {
  smig_chain_t chain;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_chain_init(&chain);
  add_at(&chain, "a", "1.0.0", "1.1.0", "a.lua", 1);
  add_at(&chain, "b", "1.2.0", "1.3.0", "b.lua", 4);
  refused(&chain, &error, SMIG_CHAIN_NOT_CONTIGUOUS,
          "b.lua:4: step 'b': its from 1.2.0 is not the to 1.1.0 of step 'a' before it, which leaves a gap; steps run "
          "in the order they are registered, each from where the one before it ends");
  CHECK_STR(detail(&error, "step_id"), "b");
  CHECK_STR(detail(&error, "from"), "1.2.0");
  CHECK_STR(detail(&error, "previous_step_id"), "a");
  CHECK_STR(detail(&error, "previous_to"), "1.1.0");
  CHECK_STR(detail(&error, "previous_file"), "a.lua");
  CHECK(detail_number(&error, "previous_line") == 1);
  add(&chain, "a", "1.0.0", "1.1.0");
  add(&chain, "b", "1.0.0", "1.2.0");
  refused(&chain, &error, SMIG_CHAIN_NOT_CONTIGUOUS,
          "step 'b': its from 1.0.0 is not the to 1.1.0 of step 'a' before it, which leaves an overlap; steps run in "
          "the order they are registered, each from where the one before it ends");
  smig_error_release(&error);
}

static void the_first_violation_in_order_is_told(void) {
  smig_chain_t chain;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_chain_init(&chain);
  add(&chain, "a", "1.0.0", "1.0.0"); /* the first step's last but one rule before the second step's first */
  add(&chain, NULL, NULL, NULL);
  refused(&chain, &error, SMIG_NON_INCREASING_STEP,
          "step 'a': its from 1.0.0 is equal to its to 1.0.0; a step must lead to a greater version");
  smig_error_release(&error);
}

static void thousands_of_steps_are_found(void) {
  enum { COUNT = 10000 };
  smig_chain_t chain;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_chain_init(&chain);
  for (int i = 0; i < COUNT; i++) {
    char id[32], from[32], to[32];
    snprintf(id, sizeof id, "step-%d", i);
    snprintf(from, sizeof from, "1.%d.0", i);
    snprintf(to, sizeof to, "1.%d.0", i + 1);
    add(&chain, id, from, to);
  }
  CHECK(smig_chain_validate(&chain, &error), ": %s", error.message);
  CHECK(smig_chain_find(&chain, "step-9999") == &chain.steps[9999] && smig_chain_find(&chain, "step-0") == chain.steps);
  CHECK(!smig_chain_find(&chain, "step-10000"));
  add(&chain, "step-5000", "1.10000.0", "1.10001.0");
  CHECK(!smig_chain_validate(&chain, &error) && error.code == SMIG_DUPLICATE_STEP_ID);
  smig_error_release(&error);
  smig_chain_release(&chain);
}

int main(void) {
  RUN(a_good_chain_is_normalized);
  RUN(steps_are_copied_and_their_user_is_taken_over);
  RUN(ids_and_keys_have_a_rule);
  RUN(a_bad_id_names_the_index);
  RUN(an_id_stands_once);
  RUN(versions_are_present);
  RUN(versions_are_semver);
  RUN(up_is_there);
  RUN(steps_lead_upwards);
  RUN(steps_are_contiguous);
  RUN(the_first_violation_in_order_is_told);
  RUN(thousands_of_steps_are_found);
  return check_done();
}
