/*
 * Credentials: the order of the sources, the shared files, and when temporary ones are fetched anew, against a stand-in for AWS's services
 * (spec/support/aws_standin.py).
 */
#include "clock.h"
#include "credentials_scene.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---------------------------------------------------------------- the order */

static void sources_are_asked_in_their_order(void) {
  scene();
  config.access_key_id = "AKIDEXPLICIT";
  config.secret_access_key = "explicit-secret";
  setenv("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT", 1);
  setenv("AWS_SECRET_ACCESS_KEY", "environment-secret", 1);
  use_web_identity("web-token-good");
  put_text(".aws/credentials", "[default]\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = profile-secret\n");
  use_container();
  use_instance();
  int sts = standin_count("sts"), container = standin_count("container"), token = standin_count("token");

  CHECK_STR(find(), "AKIDEXPLICIT explicit-secret -");
  config.session_token = "explicit-token";
  CHECK_STR(find(), "AKIDEXPLICIT explicit-secret explicit-token");
  config = (smig_s3_config_t){0};
  CHECK_STR(find(), "AKIDENVIRONMENT environment-secret -");
  setenv("AWS_SESSION_TOKEN", "environment-token", 1);
  CHECK_STR(find(), "AKIDENVIRONMENT environment-secret environment-token");
  CHECK(standin_count("sts") == sts);
  unsetenv("AWS_ACCESS_KEY_ID");
  setenv("AWS_SECRET_ACCESS_KEY", "", 1);
  CHECK_GIVEN(find());
  CHECK(standin_count("sts") == sts + 1);
  unsetenv("AWS_WEB_IDENTITY_TOKEN_FILE");
  CHECK_STR(find(), "AKIDPROFILE profile-secret -");
  CHECK(standin_count("container") == container);
  put_text(".aws/credentials", "[default]\nregion = eu-west-3\n");
  CHECK_GIVEN(find());
  CHECK(standin_count("container") == container + 1 && standin_count("token") == token);
  unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  CHECK_GIVEN(find());
  CHECK(standin_count("container") == container + 1 && standin_count("token") == token + 1);
}

static void nothing_found_says_where_and_what_to_do(void) {
  scene();
  const char *told = find();
  CHECK(strncmp(told, "CredentialsNotFound: ", 21) == 0, ": %s", told);
  CHECK_HAS(told, home);
  CHECK_HAS(told, "profile 'default'");
  CHECK_HAS(told, "AWS_EC2_METADATA_DISABLED");
  CHECK_HAS(told, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
}

static void half_a_pair_in_the_environment_is_refused(void) {
  scene();
  setenv("AWS_ACCESS_KEY_ID", "AKIDHALF", 1);
  CHECK_FAILS(find(), "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not");
}

static void a_profile_of_the_configuration_counts_before_the_environment(void) {
  scene();
  setenv("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT", 1);
  setenv("AWS_SECRET_ACCESS_KEY", "environment-secret", 1);
  put_text(".aws/credentials", "[other]\naws_access_key_id=AKIDOTHER\naws_secret_access_key=other-secret\n"
                               "[empty]\nregion=x\n");
  config.profile = "other";
  CHECK_STR(find(), "AKIDOTHER other-secret -");
  config.profile = "empty";
  CHECK_FAILS(find(), "profile 'empty' holds no credentials");
  config.profile = "absent";
  CHECK_FAILS(find(), "profile 'absent' is in neither");
}

/* ----------------------------------------------------------- shared files */

static void files_are_read_as_aws_writes_them(void) {
  scene();
  put_text(".aws/credentials", "# comment\r\n; another\r\n\r\n[ default ]\r\nAWS_Access_Key_ID = AKIDOLD\r\n"
                               "aws_access_key_id=AKIDFILE\t# comment\r\n"
                               "  \t\r\naws_secret_access_key =  se#cr;et=x/+ ; comment\r\n");
  put_text(".aws/config",
           "[sso-session x]\naws_access_key_id = AKIDWRONG\n[default]\nregion=eu-north-1\ns3 =\n"
           "  max_concurrent_requests = 10\n  aws_secret_access_key = wrong-secret\n"
           "aws_access_key_id = AKIDCONFIG\naws_secret_access_key = config-secret\n"
           "aws_session_token = config-token\n"
           "[profile \"with blanks\"]\naws_access_key_id = AKIDBLANKS\naws_secret_access_key = blanks-secret\n"
           "[profile two]\naws_access_key_id = AKIDTWO\n[profile  two]\naws_secret_access_key = two-secret");
  CHECK_STR(find(), "AKIDFILE se#cr;et=x/+ -");
  setenv("AWS_PROFILE", "with blanks", 1);
  CHECK_STR(find(), "AKIDBLANKS blanks-secret -");
  setenv("AWS_PROFILE", "two", 1);
  CHECK_STR(find(), "AKIDTWO two-secret -");
  setenv("AWS_PROFILE", "x", 1);
  CHECK_FAILS(find(), "profile 'x' is in neither");
  setenv("AWS_CONFIG_FILE",
         put_text("elsewhere", "[profile x]\naws_access_key_id=AKIDX\naws_secret_access_key=x-secret"), 1);
  CHECK_STR(find(), "AKIDX x-secret -");
  setenv("AWS_CONFIG_FILE", "~/elsewhere", 1);
  CHECK_STR(find(), "AKIDX x-secret -");
}

static void the_region_is_found(void) {
  scene();
  put_text(".aws/config", "[default]\nregion=eu-north-1\n[profile two]\nregion = us-gov-west-1\n");
  static const char *const names[] = {NULL, "AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION"};
  static const char *const values[] = {NULL, "two", "eu-west-1", "eu-west-2"};
  static const char *const expected[] = {"eu-north-1", "us-gov-west-1", "eu-west-1", "eu-west-2"};
  for (size_t i = 0; i < 4; i++) {
    if (names[i]) setenv(names[i], values[i], 1);
    smig_credentials_t *credentials = smig_credentials_new(&config);
    CHECK_STR(smig_credentials_region(credentials), expected[i]);
    CHECK_STR(smig_credentials_region(credentials), expected[i]);
    smig_credentials_free(credentials);
  }
  scene();
  smig_credentials_t *credentials = smig_credentials_new(&config);
  CHECK(!smig_credentials_region(credentials));
  smig_credentials_free(credentials);
}

static void malformed_files_are_refused_by_line(void) {
  static const struct {
    const char *text, *line;
  } cases[] = {
      {"aws_access_key_id = X\n", "/.aws/credentials' line 1 is a setting before the first section"},
      {"[default]\n\nnonsense\n", "/.aws/credentials' line 3 is neither a section nor a setting"},
      {"[default]\n= x\n", "/.aws/credentials' line 2 is neither a section nor a setting"},
      {"#\n[default\n", "/.aws/credentials' line 2 is a section's name that is not closed"},
      {"[default] x\n", "/.aws/credentials' line 1 is a section's name that is not closed"},
      {"[default]\n  continued = x\nbad", "/.aws/credentials' line 3 is neither"},
      {"[default]\naws_access_key_id = X\n", "profile 'default' in '"},
      {"[default]\naws_secret_access_key = hidden-secret\n", "has no aws_access_key_id"},
  };
  scene();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    put_text(".aws/credentials", cases[i].text);
    CHECK_FAILS(find(), cases[i].line);
    CHECK(!strstr(find(), "hidden-secret"));
  }
  put(".aws/credentials", "[default]\n\0", 11);
  CHECK_FAILS(find(), "it holds a NUL byte");
  char *large = bson_malloc((2 << 20) + 1);
  memset(large, '#', 2 << 20);
  put(".aws/credentials", large, 2 << 20);
  CHECK_FAILS(find(), "is over 1 MiB");
  bson_free(large);
}

static void files_that_cannot_be_read_are_told(void) {
  scene();
  setenv("AWS_SHARED_CREDENTIALS_FILE", home, 1);
  CHECK_FAILS(find(), "cannot be read: Is a directory");
  const char *path = put_text("closed", "[default]\n");
  setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
  chmod(path, 0);
  chmod(home, 0755);
  bool is_root = geteuid() == 0;
  if (is_root && seteuid(65534) != 0) exit(1);
  CHECK_FAILS(find(), "closed' cannot be read: Permission denied");
  if (is_root && seteuid(0) != 0) exit(1);
  setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/at/all", 1);
  CHECK_HAS(find(), "'/nowhere/at/all'");
}

static atomic_bool rewriting;

/* A tool that renews the credentials file: a new one takes the old one's place, whole. */
static void *rewrite(void *ignored) {
  (void)ignored;
  char from[256], to[256];
  snprintf(from, sizeof from, "%s/new", home);
  snprintf(to, sizeof to, "%s/.aws/credentials", home);
  for (int i = 0; atomic_load(&rewriting); i++) {
    FILE *file = fopen(from, "w");
    fprintf(file, "[default]\naws_access_key_id = AKID%d\naws_secret_access_key = secret-%d\n", i % 2, i % 2);
    fclose(file);
    rename(from, to);
  }
  return NULL;
}

static void a_file_that_is_replaced_meanwhile_is_read_whole(void) {
  scene();
  put_text(".aws/credentials", "[default]\naws_access_key_id = AKID0\naws_secret_access_key = secret-0\n");
  atomic_store(&rewriting, true);
  pthread_t thread;
  pthread_create(&thread, NULL, rewrite, NULL);
  int seen[2] = {0, 0};
  for (int i = 0; i < 100000 && (i < 500 || !seen[0] || !seen[1]); i++) {
    const char *told = find();
    bool first = strcmp(told, "AKID0 secret-0 -") == 0;
    CHECK(first || strcmp(told, "AKID1 secret-1 -") == 0, ": %s", told);
    seen[!first]++;
  }
  atomic_store(&rewriting, false);
  pthread_join(thread, NULL);
  CHECK(seen[0] && seen[1], ": %d and %d", seen[0], seen[1]);
}

/* ------------------------------------------------------------------ refresh */

static char *get(smig_credentials_t *credentials, bool anew) {
  const smig_s3_credentials_t *found;
  smig_error_t error = SMIG_ERROR_INIT;
  char *told = smig_credentials_get(credentials, anew, &found, &error)
                   ? bson_strdup(found->access_key_id)
                   : bson_strdup_printf("%s: %s", error.name, error.message);
  smig_error_release(&error);
  return told;
}

/* Asks until the answer is another one, at most 10 s; *took_ms says how long. */
static char *get_other(smig_credentials_t *credentials, const char *than, int64_t *took_ms) {
  int64_t began_mono_ms = smig_clock_mono_ms();
  for (;;) {
    char *told = get(credentials, false);
    *took_ms = smig_clock_mono_ms() - began_mono_ms;
    if (strcmp(told, than) != 0 || *took_ms > 10000) return told;
    bson_free(told);
    smig_clock_sleep_ms(10);
  }
}

static void temporary_credentials_are_fetched_anew_in_time(void) {
  scene();
  use_container();
  smig_credentials_t *credentials = smig_credentials_new(&config);
  int asked = standin_count("container");
  standin_set("lifetime_s", "301.5"); /* 1.5 s until five minutes before */
  char *first = get(credentials, false), *same = get(credentials, false);
  CHECK_GIVEN(first);
  CHECK_STR(same, first);
  CHECK(standin_count("container") == asked + 1);
  standin_set("lifetime_s", "3");
  int64_t took_ms;
  char *second = get_other(credentials, first, &took_ms);
  CHECK_GIVEN(second);
  CHECK(took_ms < 10000 && standin_count("container") == asked + 2, ": %" PRId64 " ms", took_ms);
  /* the service is away: the old ones do until they expire */
  standin_set("answer", "\"away\"");
  char *none = get_other(credentials, second, &took_ms);
  CHECK_FAILS(none, "gave no JSON object");
  CHECK(took_ms > 1600 && took_ms < 10000, ": %" PRId64 " ms", took_ms);
  int tries = standin_count("container") - asked - 2;
  CHECK(tries > 1 && tries < 20, ": %d tries", tries);
  standin_set("answer", NULL);
  standin_set("lifetime_s", "3600");
  char *third = get(credentials, false), *asked_for = get(credentials, true);
  CHECK_GIVEN(third);
  CHECK_GIVEN(asked_for);
  CHECK(strcmp(third, asked_for) != 0);
  standin_set("answer", "\"away\"");
  char *refused = get(credentials, true), *kept = get(credentials, false);
  CHECK_FAILS(refused, "gave no JSON object");
  CHECK_STR(kept, asked_for);
  char *all[] = {first, same, second, none, third, asked_for, refused, kept};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) bson_free(all[i]);
  smig_credentials_free(credentials);
}

static void credentials_that_come_expired_are_refused(void) {
  scene();
  use_container();
  standin_set("lifetime_s", "-5");
  CHECK_FAILS(find(), "the credentials that were found expired at 2");
}

static void renewed_files_are_read_when_asked_for(void) {
  scene();
  put_text(".aws/credentials", "[default]\naws_access_key_id=AKIDA\naws_secret_access_key=aaaaa\n");
  smig_credentials_t *credentials = smig_credentials_new(&config);
  char *first = get(credentials, false);
  put_text(".aws/credentials", "[default]\naws_access_key_id=AKIDB\naws_secret_access_key=bbbbb\n");
  char *same = get(credentials, false), *renewed = get(credentials, true);
  CHECK_STR(first, "AKIDA");
  CHECK_STR(same, "AKIDA");
  CHECK_STR(renewed, "AKIDB");
  bson_free(first);
  bson_free(same);
  bson_free(renewed);
  smig_credentials_free(credentials);
}

static void no_secret_reaches_a_message(void) {
  scene();
  use_instance();
  char *given = bson_strdup(find()), *secret = strchr(given, ' ') + 1;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_error_set_foreign(&error, "X", "got %s", secret);
  CHECK_STR(error.message, "got *** ***");
  smig_error_release(&error);
  bson_free(given);
}

int main(void) {
  scene_begin();
  RUN(sources_are_asked_in_their_order);
  RUN(nothing_found_says_where_and_what_to_do);
  RUN(half_a_pair_in_the_environment_is_refused);
  RUN(a_profile_of_the_configuration_counts_before_the_environment);
  RUN(files_are_read_as_aws_writes_them);
  RUN(the_region_is_found);
  RUN(malformed_files_are_refused_by_line);
  RUN(files_that_cannot_be_read_are_told);
  RUN(a_file_that_is_replaced_meanwhile_is_read_whole);
  RUN(temporary_credentials_are_fetched_anew_in_time);
  RUN(credentials_that_come_expired_are_refused);
  RUN(renewed_files_are_read_when_asked_for);
  RUN(no_secret_reaches_a_message);
  return scene_end();
}
