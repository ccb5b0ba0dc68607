/* The core's foundations: errors, secrets, clocks, texts, guard, fault points. */
#include "check.h"
#include "clock.h"
#include "fault.h"
#include "guard.h"
#include "secrets.h"
#include "text.h"

#include <pthread.h>
#include <signal.h>

/* ------------------------------------------------------------------ errors */

static void every_code_has_name_status_and_text(void) {
  static const struct {
    smig_code_t code;
    const char *name;
    int exit_status;
  } all[] = {
#define X(name, exit_status, text) {SMIG_##name, #name, exit_status},
      SMIG_CODES(X)
#undef X
  };
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    smig_code_t code = SMIG_OK;
    CHECK_STR(smig_code_name(all[i].code), all[i].name);
    CHECK(smig_code_exit_status(all[i].code) == all[i].exit_status, ": %s", all[i].name);
    CHECK(strlen(smig_code_text(all[i].code)) > 10, ": %s", all[i].name);
    CHECK(smig_code_from_name(all[i].name, &code) && code == all[i].code, ": %s", all[i].name);
  }
  smig_code_t code = SMIG_FOREIGN;
  CHECK(!smig_code_from_name("DuplicateKey", &code) && code == SMIG_FOREIGN);
  CHECK(!smig_code_from_name("OK", &code) && !smig_code_from_name("FOREIGN", &code) &&
        !smig_code_from_name(NULL, &code));
  CHECK_STR(smig_code_name(SMIG_FOREIGN), "FOREIGN");
  CHECK_STR(smig_code_name((smig_code_t)9999), "FOREIGN");
  CHECK(smig_code_exit_status(SMIG_OK) == 0 && smig_code_exit_status(SMIG_FOREIGN) == 1);
}

static int freed;

static void count_free(void *value) {
  (void)value;
  freed++;
}

static void errors_are_set_replaced_moved_and_released(void) {
  smig_error_t error = SMIG_ERROR_INIT, other = SMIG_ERROR_INIT;
  CHECK(!smig_error_details(&error) && !smig_error_details(NULL));
  smig_error_set(&error, SMIG_LEDGER_IO, "read of %s failed", "x");
  CHECK_STR(error.name, "LEDGER_IO");
  CHECK_STR(error.message, "read of x failed");
  BSON_APPEND_INT32(smig_error_details(&error), "a", 1);
  freed = 0;
  smig_error_set_value(&error, &error, count_free);
  smig_error_set(&error, SMIG_STEP_FAILED, "step failed: %s", error.message); /* its own text as argument */
  CHECK(freed == 1 && !error.value);
  CHECK_STR(error.message, "step failed: read of x failed");
  CHECK(!bson_has_field(error.details, "a"));
  smig_error_set_value(&error, &error, count_free);
  smig_error_move(&other, &error);
  CHECK(error.code == SMIG_OK && !error.message && !error.details && freed == 1);
  CHECK(other.code == SMIG_STEP_FAILED && other.value == &error);
  smig_error_set_foreign(&error, "DuplicateKey", "insert into '%s' failed", "app.users");
  CHECK(error.code == SMIG_FOREIGN);
  CHECK_STR(error.name, "DuplicateKey");
  smig_error_move(&other, &error);
  CHECK(freed == 2);
  CHECK_STR(other.name, "DuplicateKey");
  smig_error_move(NULL, &other);
  CHECK(other.code == SMIG_OK && !other.name);
  smig_error_set(NULL, SMIG_LEDGER_IO, "nobody listens");
  smig_error_set_foreign(NULL, "X", "nobody listens");
  smig_error_set_value(NULL, NULL, count_free);
  CHECK(freed == 3);
  smig_error_release(&error);
  smig_error_release(&other);
  smig_error_release(NULL);
}

/* ----------------------------------------------------------------- secrets */

static void scrubs_to(const char *text, const char *expected) {
  char *scrubbed = smig_secret_scrub(text, strlen(text));
  CHECK_STR(scrubbed, expected);
  CHECK(smig_secret_found(text, strlen(text)) == (strcmp(text, expected) != 0), ": %s", text);
  bson_free(scrubbed);
}

static void nothing_is_scrubbed_before_a_secret_is_known(void) {
  scrubs_to("mongodb://app:p@ss w\"rd/1@db", "mongodb://app:p@ss w\"rd/1@db");
  smig_secret_learn("abc", 3);
  smig_secret_learn(NULL, 0);
  scrubs_to("abc abc", "abc abc"); /* too short */
}

static void secrets_are_cut_out_in_every_spelling(void) {
  static const char secret[] = "p@ss w\"rd/1";
  smig_secret_learn(secret, strlen(secret));
  scrubs_to("password p@ss w\"rd/1 refused", "password *** refused");
  scrubs_to("p@ss w\"rd/1p@ss w\"rd/1", "***");
  scrubs_to("mongodb://app:p%40ss%20w%22rd%2f1@db", "mongodb://app:***@db");
  scrubs_to("mongodb://app:p%40ss%20w%22rd%2F1@db", "mongodb://app:***@db");
  scrubs_to("x=%70%40%73%73%20%77%22%72%64%2F%31&y", "x=***&y");
  scrubs_to("form=p%40ss+w%22rd%2F1", "form=***");
  scrubs_to("{\"password\": \"p@ss w\\\"rd/1\"}", "{\"password\": \"***\"}");
  scrubs_to("cut off: p@ss w\"rd/", "cut off: p@ss w\"rd/");
  scrubs_to("basic cEBzcyB3InJkLzE=.", "basic ***.");                /* the secret alone */
  scrubs_to("basic dTpwQHNzIHcicmQvMQ== end", "basic dT*** end");    /* u:secret */
  scrubs_to("basic dXM6cEBzcyB3InJkLzE= end", "basic dXM*** end");   /* us:secret */
  scrubs_to("basic dXNlOnBAc3MgdyJyZC8x end", "basic dXNlO*** end"); /* use:secret */
  scrubs_to("hex 7040737320772272642f31 end", "hex *** end");
  scrubs_to("hex ff7040737320772272642F31ff", "hex ff***ff");
  scrubs_to("cut off: 7040737320772272642f3", "cut off: 7040737320772272642f3");
}

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF"

static void signatures_are_cut_out_without_being_learnt(void) {
  scrubs_to("https://x/?a=b&X-Amz-Signature=" HEX64 "&c=d", "https://x/?a=b&X-Amz-Signature=***&c=d");
  scrubs_to("next=x%3Fa%26X-Amz-Signature%3d" HEX64 "%26c", "next=x%3Fa%26X-Amz-Signature%3d***%26c");
  scrubs_to("SignedHeaders=host, Signature=" HEX64 "; Signature=" HEX64,
            "SignedHeaders=host, Signature=***; Signature=***");
  scrubs_to("Signature=abc Signature " HEX64 " Signature", "Signature=abc Signature " HEX64 " Signature");
  scrubs_to("Signature=", "Signature=");
}

static void overlapping_and_encoded_base64_secrets(void) {
  smig_secret_learn("sess?>~~tok", 11); /* its base64 has characters of either alphabet */
  scrubs_to("a c2Vzcz8+fn50b2s= b", "a *** b");
  scrubs_to("a c2Vzcz8-fn50b2s b", "a *** b");
  scrubs_to("a=c2Vzcz8%2Bfn50b2s%3D&b", "a=***%3D&b");
  smig_secret_learn("hunter", 6);
  smig_secret_learn("hunter22", 8);
  smig_secret_learn("er22aaaa", 8);
  scrubs_to("is hunter22aaaa!", "is ***!");
  scrubs_to("is hunter2!", "is ***2!");
}

static void secrets_keep_out_of_error_messages(void) {
  smig_error_t error = SMIG_ERROR_INIT;
  smig_error_set(&error, SMIG_CONNECTION_FAILED, "auth with %s failed", "hunter22");
  CHECK_STR(error.message, "auth with *** failed");
  smig_error_set_foreign(&error, "X", "auth with %s failed", "hunter22");
  CHECK_STR(error.message, "auth with *** failed");
  smig_error_release(&error);
}

static void binary_text_keeps_its_length(void) {
  static const char text[] = "a\0hunter22\0b";
  char *scrubbed = smig_secret_scrub(text, sizeof text - 1);
  CHECK(memcmp(scrubbed, "a\0***\0b", 8) == 0);
  bson_free(scrubbed);
}

static void *learn_many(void *user) {
  for (int i = 0; i < 200; i++) {
    char secret[32];
    snprintf(secret, sizeof secret, "thread-%s-%04d", (const char *)user, i);
    smig_secret_learn(secret, strlen(secret));
    CHECK(smig_secret_found(secret, strlen(secret)), ": %s", secret);
  }
  return NULL;
}

static void secrets_are_learnt_by_any_thread(void) {
  static char names[4][2] = {"a", "b", "c", "d"};
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, learn_many, names[i]);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  scrubs_to("thread-a-0000 thread-b-0199 thread-d-0100", "*** *** ***");
}

/* ------------------------------------------------------------------ clocks */

static void iso_of(int64_t wall_ms, const char *expected) {
  char iso[SMIG_ISO_SIZE];
  smig_clock_iso(wall_ms, iso);
  CHECK_STR(iso, expected);
}

static void dates_are_written(void) {
  iso_of(0, "1970-01-01T00:00:00.000Z");
  iso_of(INT64_C(1776169894123), "2026-04-14T12:31:34.123Z");
  iso_of(-1, "1969-12-31T23:59:59.999Z");
  iso_of(INT64_C(951782400000), "2000-02-29T00:00:00.000Z");
  iso_of(INT64_C(4107542399999), "2100-02-28T23:59:59.999Z");
  iso_of(INT64_C(4107542400000), "2100-03-01T00:00:00.000Z");
  iso_of(INT64_C(253402300799999), "9999-12-31T23:59:59.999Z");
  iso_of(INT64_MAX, "9999-12-31T23:59:59.999Z");
  iso_of(INT64_MIN, "0000-01-01T00:00:00.000Z");
}

static void reads(const char *text, int64_t expected) {
  int64_t wall_ms = -1;
  CHECK(smig_clock_from_iso(text, &wall_ms), ": %s", text);
  CHECK(wall_ms == expected, ": %s is %lld", text, (long long)wall_ms);
}

static void dates_are_read(void) {
  reads("2026-04-14T12:31:34.123Z", INT64_C(1776169894123));
  reads("2026-04-14T12:31:34Z", INT64_C(1776169894000));
  reads("2026-04-14T14:31:34.1+02:00", INT64_C(1776169894100));
  reads("2026-04-14T07:01:34.123999999-05:30", INT64_C(1776169894123));
  reads("1969-12-31T23:59:59.999Z", -1);
  reads("0000-01-01T00:00:00.000Z", INT64_C(-62167219200000));
  reads("2024-02-29T00:00:00Z", INT64_C(1709164800000));
  static const char *const wrong[] = {"",
                                      "now",
                                      "2026-04-14",
                                      "2026-04-14T12:31:34",
                                      "2026-04-14 12:31:34Z",
                                      "2026-13-14T12:31:34Z",
                                      "2026-02-29T12:31:34Z",
                                      "2100-02-29T00:00:00Z",
                                      "2026-04-31T00:00:00Z",
                                      "2026-00-10T00:00:00Z",
                                      "2026-04-00T00:00:00Z",
                                      "2026-04-14T24:00:00Z",
                                      "2026-04-14T12:60:00Z",
                                      "2026-04-14T12:31:60Z",
                                      "2026-04-14T12:31:34.Z",
                                      "2026-04-14T12:31:34Zx",
                                      "2026-04-14T12:31:34+0200",
                                      "2026-04-14T12:31:34+24:00",
                                      "2026-04-14T12:31:34+02:60",
                                      "2026-4-14T12:31:34Z",
                                      "12026-04-14T12:31:34Z",
                                      "2026-04-14T12:31Z"};
  int64_t wall_ms;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    CHECK(!smig_clock_from_iso(wrong[i], &wall_ms), ": %s", wrong[i]);
  CHECK(!smig_clock_from_iso(NULL, &wall_ms));
}

static void every_day_survives_a_round_trip(void) {
  for (int64_t day = -719528; day < 2932896; day += 13) {
    char iso[SMIG_ISO_SIZE];
    int64_t back = 1, wall_ms = day * 86400000 + 12345;
    smig_clock_iso(wall_ms, iso);
    CHECK(smig_clock_from_iso(iso, &back) && back == wall_ms, ": %s", iso);
  }
}

static void clocks_go_on(void) {
  int64_t mono = smig_clock_mono_ms(), boot = smig_clock_boot_ms(), wall = smig_clock_wall_ms();
  smig_clock_sleep_ms(20);
  smig_clock_sleep_ms(0);
  smig_clock_sleep_ms(-5);
  CHECK(smig_clock_mono_ms() - mono >= 20 && smig_clock_boot_ms() - boot >= 20);
  CHECK(wall > INT64_C(1700000000000) && boot >= mono);
}

/* ------------------------------------------------------------------- texts */

static void texts_are_escaped_to_one_line(void) {
  static const struct {
    const char *text;
    size_t length, limit;
    const char *expected;
  } cases[] = {
      {"plain", 5, 99, "plain"},
      {"a\nb\tc\x7f", 6, 99, "a\\x0ab\\x09c\\x7f"},
      {"\xc3\xa9\xf0\x9f\x98\x80", 6, 99, "\xc3\xa9\xf0\x9f\x98\x80"},
      {"\xc2\x85\xe2\x80\xa8", 5, 99, "\\u0085\\u2028"},
      {"\xff\xc0\x80", 3, 99, "\\xff\\xc0\\x80"},
      {"\xed\xa0\x80", 3, 99, "\\xed\\xa0\\x80"},
      {"\xf4\x90\x80\x80", 4, 99, "\\xf4\\x90\\x80\\x80"},
      {"\xe0\x80\xaf", 3, 99, "\\xe0\\x80\\xaf"},
      {"\xe2\x82", 2, 99, "\\xe2\\x82"},
      {"abcdef", 6, 3, "abc..."},
      {"ab\xc3\xa9", 4, 3, "ab..."},
      {"abc", 3, 3, "abc"},
      {NULL, 0, 9, ""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *escaped = smig_text_escape(cases[i].text, cases[i].length, cases[i].limit);
    CHECK_STR(escaped, cases[i].expected);
    bson_free(escaped);
  }
}

/* ------------------------------------------------------------------- guard */

static void an_open_guard_permits(void) {
  smig_guard_t guard;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_guard_init(&guard);
  CHECK(smig_guard_permits(&guard) && smig_guard_check(&guard, true, &error));
  smig_guard_extend(&guard, smig_clock_boot_ms() + 60000);
  CHECK(smig_guard_permits(&guard) && smig_guard_check(&guard, true, &error));
  CHECK(error.code == SMIG_OK && !smig_guard_asked_to_stop(&guard));
  smig_guard_release(&guard);
}

static void a_deadline_passed_is_a_lock_lost(void) {
  smig_guard_t guard;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_guard_init(&guard);
  smig_guard_extend(&guard, smig_clock_boot_ms() - 1);
  CHECK(!smig_guard_permits(&guard) && !smig_guard_check(&guard, false, NULL));
  CHECK(!smig_guard_check(&guard, false, &error));
  CHECK(error.code == SMIG_LOCK_LOST);
  CHECK(strstr(error.message, "no beat got through within three quarters"), ": %s", error.message);
  smig_error_release(&error);
  smig_guard_release(&guard);
}

static void a_deadline_never_moves_back(void) {
  smig_guard_t guard;
  int64_t later = smig_clock_boot_ms() + 60000;
  smig_guard_init(&guard);
  smig_guard_extend(&guard, later);
  smig_guard_extend(&guard, 1);
  CHECK(smig_guard_permits(&guard) && atomic_load(&guard.deadline_boot_ms) == later);
  smig_guard_release(&guard);
}

static void a_lost_guard_refuses_with_its_reason_again_and_again(void) {
  smig_guard_t guard;
  smig_error_t reason = SMIG_ERROR_INIT, error = SMIG_ERROR_INIT;
  smig_guard_init(&guard);
  smig_error_set(&reason, SMIG_LOCK_LOST, "the lock is held by 'x'");
  BSON_APPEND_UTF8(smig_error_details(&reason), "holder", "x");
  smig_guard_shut(&guard, SMIG_GUARD_LOST, &reason);
  CHECK(reason.code == SMIG_OK); /* moved */
  smig_error_set(&reason, SMIG_INTERRUPTED, "later");
  smig_guard_shut(&guard, SMIG_GUARD_INTERRUPTED, &reason); /* only released */
  CHECK(reason.code == SMIG_OK);
  smig_guard_ask_to_stop(&guard, SIGTERM); /* the loss outranks the request */
  for (int i = 0; i < 2; i++) {
    CHECK(!smig_guard_permits(&guard) && !smig_guard_check(&guard, i, &error));
    CHECK(error.code == SMIG_LOCK_LOST);
    CHECK_STR(error.message, "the lock is held by 'x'");
    CHECK(bson_has_field(error.details, "holder"));
  }
  smig_error_release(&error);
  smig_guard_release(&guard);
}

static void an_interrupted_guard_refuses_the_step_alone(void) {
  smig_guard_t guard;
  smig_error_t reason = SMIG_ERROR_INIT, error = SMIG_ERROR_INIT;
  smig_guard_init(&guard);
  smig_error_set(&reason, SMIG_INTERRUPTED, "the stop took too long");
  atomic_store(&guard.step_running, true);
  smig_guard_shut(&guard, SMIG_GUARD_INTERRUPTED, &reason);
  CHECK(!smig_guard_permits(&guard) && !smig_guard_check(&guard, false, &error));
  CHECK(error.code == SMIG_INTERRUPTED);
  CHECK_STR(error.message, "the stop took too long");
  atomic_store(&guard.step_running, false); /* the ledger's calls go on */
  CHECK(smig_guard_permits(&guard) && smig_guard_check(&guard, false, NULL));
  smig_guard_extend(&guard, 1);
  CHECK(!smig_guard_permits(&guard)); /* unless the lock is lost */
  smig_error_release(&error);
  smig_guard_release(&guard);
}

static void a_request_to_stop_bounds_what_comes_after_it(void) {
  smig_guard_t guard;
  smig_guard_init(&guard);
  smig_guard_limit_stop(&guard, 20000);
  CHECK(smig_guard_time_left_ms(&guard, 30000) == 30000);
  smig_guard_ask_to_stop(&guard, 0);
  CHECK(smig_guard_time_left_ms(&guard, 10000) == 10000);
  int64_t left = smig_guard_time_left_ms(&guard, 30000);
  CHECK(left > 20000 && left <= 20000 + SMIG_GUARD_END_MS);
  atomic_store(&guard.stop_asked_boot_ms, smig_clock_boot_ms() - 20000 - SMIG_GUARD_END_MS);
  CHECK(smig_guard_time_left_ms(&guard, 10000) == 0);
  CHECK(smig_guard_call_limit_ms(&guard, 10000) == SMIG_GUARD_LAST_CALL_MS);
  CHECK(smig_guard_call_limit_ms(&guard, 300) == 300 && smig_guard_call_limit_ms(&guard, 0) == 0);
  CHECK(smig_guard_call_limit_ms(NULL, 10000) == 10000);
  smig_guard_limit_stop(&guard, INT64_MAX); /* no run has begun */
  CHECK(smig_guard_time_left_ms(&guard, 10000) == 10000);
  smig_guard_release(&guard);
}

static void an_interrupted_guard_may_still_lose_the_lock(void) {
  smig_guard_t guard;
  smig_error_t reason = SMIG_ERROR_INIT, error = SMIG_ERROR_INIT;
  smig_guard_init(&guard);
  smig_error_set(&reason, SMIG_INTERRUPTED, "the stop took too long");
  smig_guard_shut(&guard, SMIG_GUARD_INTERRUPTED, &reason);
  CHECK(smig_guard_permits(&guard));
  smig_error_set(&reason, SMIG_LOCK_LOST, "the lock is held by 'x'");
  smig_guard_shut(&guard, SMIG_GUARD_LOST, &reason);
  CHECK(!smig_guard_permits(&guard) && !smig_guard_check(&guard, false, &error));
  CHECK(error.code == SMIG_LOCK_LOST);
  CHECK_STR(error.message, "the lock is held by 'x'");
  smig_error_release(&error);
  smig_guard_reset(&guard);
  CHECK(smig_guard_permits(&guard) && guard.lost.code == SMIG_OK && guard.interrupted.code == SMIG_OK);
  smig_guard_release(&guard);
}

static void a_stop_request_ends_looking_at_once(void) {
  smig_guard_t guard;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_guard_init(&guard);
  smig_guard_ask_to_stop(&guard, SIGINT);
  CHECK(smig_guard_permits(&guard) && smig_guard_check(&guard, false, &error));
  atomic_store(&guard.looking, true);
  CHECK(!smig_guard_permits(&guard) && !smig_guard_check(&guard, false, &error));
  CHECK(error.code == SMIG_INTERRUPTED);
  smig_error_release(&error);
  smig_guard_release(&guard);
}

static int32_t signal_of(const smig_error_t *error) {
  bson_iter_t iter;
  return bson_iter_init_find(&iter, error->details, "signal") ? bson_iter_int32(&iter) : 0;
}

static void a_request_to_stop_counts_at_safe_points(void) {
  smig_guard_t guard;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_guard_init(&guard);
  smig_guard_ask_to_stop(&guard, SIGTERM);
  smig_guard_ask_to_stop(&guard, SIGINT); /* the first counts */
  CHECK(smig_guard_asked_to_stop(&guard) && smig_guard_permits(&guard));
  CHECK(smig_guard_check(&guard, false, NULL) && !smig_guard_check(&guard, true, &error));
  CHECK(error.code == SMIG_INTERRUPTED && signal_of(&error) == SIGTERM);
  CHECK_STR(error.message, "the run was asked to stop by SIGTERM; run again to go on");
  smig_guard_release(&guard);
  smig_guard_init(&guard);
  smig_guard_ask_to_stop(&guard, 0);
  CHECK(smig_guard_asked_to_stop(&guard) && !smig_guard_check(&guard, true, &error));
  CHECK_STR(error.message, "the run was asked to stop; run again to go on");
  CHECK(signal_of(&error) == 0);
  smig_error_release(&error);
  smig_guard_release(&guard);
}

static void *shut_later(void *user) {
  smig_error_t reason = SMIG_ERROR_INIT;
  smig_error_set(&reason, SMIG_LOCK_LOST, "lost by %s", "the other thread");
  smig_guard_shut(user, SMIG_GUARD_LOST, &reason);
  return NULL;
}

static void whoever_sees_the_flag_sees_the_reason(void) {
  for (int i = 0; i < 200; i++) {
    smig_guard_t guard;
    smig_error_t error = SMIG_ERROR_INIT;
    pthread_t thread;
    smig_guard_init(&guard);
    pthread_create(&thread, NULL, shut_later, &guard);
    while (smig_guard_check(&guard, false, &error)) {}
    CHECK_STR(error.message, "lost by the other thread");
    pthread_join(thread, NULL);
    smig_error_release(&error);
    smig_guard_release(&guard);
  }
}

/* ------------------------------------------------------------------ faults */

#ifdef SMIG_FAULTS
static void faults_are_named_by_the_environment(void) {
  unsetenv("SMIG_FAULT");
  CHECK(!smig_fault("leftovers"));
  setenv("SMIG_FAULT", "lock-condition,leftovers", 1);
  CHECK(smig_fault("leftovers") && smig_fault("lock-condition"));
  CHECK(!smig_fault("left") && !smig_fault("early-take-over") && !smig_fault("lock-condition,leftovers"));
  setenv("SMIG_FAULT", "leftovers,", 1);
  CHECK(smig_fault("leftovers"));
  unsetenv("SMIG_FAULT");
}
#endif

int main(void) {
  RUN(every_code_has_name_status_and_text);
  RUN(errors_are_set_replaced_moved_and_released);
  RUN(nothing_is_scrubbed_before_a_secret_is_known);
  RUN(signatures_are_cut_out_without_being_learnt);
  RUN(secrets_are_cut_out_in_every_spelling);
  RUN(overlapping_and_encoded_base64_secrets);
  RUN(secrets_keep_out_of_error_messages);
  RUN(binary_text_keeps_its_length);
  RUN(secrets_are_learnt_by_any_thread);
  RUN(dates_are_written);
  RUN(dates_are_read);
  RUN(every_day_survives_a_round_trip);
  RUN(clocks_go_on);
  RUN(texts_are_escaped_to_one_line);
  RUN(an_open_guard_permits);
  RUN(a_deadline_passed_is_a_lock_lost);
  RUN(a_deadline_never_moves_back);
  RUN(a_lost_guard_refuses_with_its_reason_again_and_again);
  RUN(an_interrupted_guard_refuses_the_step_alone);
  RUN(a_request_to_stop_bounds_what_comes_after_it);
  RUN(an_interrupted_guard_may_still_lose_the_lock);
  RUN(a_stop_request_ends_looking_at_once);
  RUN(a_request_to_stop_counts_at_safe_points);
  RUN(whoever_sees_the_flag_sees_the_reason);
#ifdef SMIG_FAULTS
  RUN(faults_are_named_by_the_environment);
#endif
  return check_done();
}
