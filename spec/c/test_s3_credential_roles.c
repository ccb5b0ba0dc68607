/*
 * Credentials of a profile: roles taken on by STS, web identities, and credential_process: what they give, what is refused, and how that is
 * told, against a stand-in for AWS's services (spec/support/aws_standin.py).
 */
#include "clock.h"
#include "credentials_scene.h"
#include "guard.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

/* ------------------------------------------------------------------- roles */

#define LONG_TERM "aws_access_key_id = AKIDLONGTERM\naws_secret_access_key = long-term/secret+key\n"

static void roles_are_taken_on_with_other_keys(void) {
  scene();
  put_text(".aws/credentials", "[base]\n" LONG_TERM "[own]\n" LONG_TERM);
  put_text(".aws/config", "[default]\nrole_arn = " ARN "\nsource_profile = base\nregion = eu-west-3\n"
                          "[profile chained]\nrole_arn = " ARN "\nsource_profile = default\nduration_seconds = 900\n"
                          "[profile own]\nrole_arn = " ARN "\nsource_profile = own\nrole_session_name = mine@x\n"
                          "[profile external]\nrole_arn = " ARN
                          "/external\nsource_profile = base\nexternal_id = an id, with = & blanks\n"
                          "[profile environment]\nrole_arn = " ARN "\ncredential_source = Environment\n"
                          "[profile container]\nrole_arn = " ARN "\ncredential_source = EcsContainer\n"
                          "[profile instance]\nrole_arn = " ARN "\ncredential_source = Ec2InstanceMetadata\n");
  static const struct {
    const char *name;
    int requests;
  } cases[] = {{"default", 1}, {"chained", 2}, {"own", 1}, {"external", 1}, {"container", 1}, {"instance", 1}};
  use_container();
  use_instance();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int before = standin_count("sts");
    config.profile = cases[i].name;
    CHECK_GIVEN(find());
    CHECK(standin_count("sts") == before + cases[i].requests, ": %s", cases[i].name);
  }
  config.profile = "environment";
  CHECK_FAILS(find(), "profile 'environment' has credential_source Environment: there are none");
  setenv("AWS_ACCESS_KEY_ID", "AKIDLONGTERM", 1);
  setenv("AWS_SECRET_ACCESS_KEY", "long-term/secret+key", 1);
  CHECK_GIVEN(find());
}

static void roles_that_cannot_be_taken_on_say_why(void) {
  static const struct {
    const char *config, *why;
  } cases[] = {
      {"[profile a]\nrole_arn=" ARN "\nsource_profile=b\n[profile b]\nrole_arn=" ARN "\nsource_profile=c\n"
       "[profile c]\nrole_arn=" ARN "\nsource_profile=a\n",
       "profile 'c' has source_profile 'a', which leads back to itself"},
      {"[profile a]\nrole_arn=" ARN "\nsource_profile=a\n",
       "profile 'a' has source_profile 'a', which has no credentials"},
      {"[profile a]\nrole_arn=" ARN "\nsource_profile=gone\n", "'gone', which is in neither"},
      {"[profile a]\nrole_arn=" ARN "\nsource_profile=b\n[profile b]\nregion=x\n", "'b', which has no credentials"},
      {"[profile a]\nrole_arn=" ARN "\n", "none of source_profile, credential_source and web_identity_token_file"},
      {"[profile a]\nrole_arn=" ARN "\nsource_profile=a\ncredential_source=Environment\n", "more than one of"},
      {"[profile a]\nrole_arn=" ARN "\ncredential_source=Moon\n", "credential_source 'Moon'"},
      {"[profile a]\nrole_arn=" ARN "\nsource_profile=b\nmfa_serial=x\n", "has an mfa_serial"},
      {"[profile a]\nsso_session=x\n", "signs in by sso"},
      {"[profile a]\nrole_arn=" ARN "\nsource_profile=b\n[profile b]\n" LONG_TERM
       "aws_secret_access_key=another-secret\n",
       "refused the role '" ARN "' with status 403, SignatureDoesNotMatch: the request signature we calculated"},
      {"[profile a]\nrole_arn=" ARN "\nsource_profile=b\n[profile b]\n" LONG_TERM "aws_session_token=stray\n",
       "InvalidClientTokenId"},
      {"[profile a]\nrole_arn=" ARN "/external\nsource_profile=b\n[profile b]\n" LONG_TERM, "403, AccessDenied"},
      {"[profile a]\nrole_arn=arn:wrong\nsource_profile=b\n[profile b]\n" LONG_TERM, "status 400, ValidationError"},
      {"[profile a]\nrole_arn=" ARN "\nsource_profile=b\nduration_seconds=1\n[profile b]\n" LONG_TERM,
       "durationSeconds"},
      {"[profile a]\nrole_arn=" ARN "\nweb_identity_token_file=/nowhere\n", "profile 'a': '/nowhere'"},
  };
  scene();
  config.profile = "a";
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    put_text(".aws/config", cases[i].config);
    CHECK_FAILS(find(), cases[i].why);
    CHECK(!strstr(find(), "another-secret"));
  }
  put_text(".aws/config", cases[9].config);
  setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1", 1);
  CHECK_FAILS(find(), "profile 'a': http://127.0.0.1:1 does not answer");
}

static void a_busy_service_is_asked_twice(void) {
  scene();
  use_web_identity("web-token-good");
  standin_set("refuse", "1");
  CHECK_GIVEN(find());
  standin_set("refuse", "2");
  CHECK_FAILS(find(), "status 503, ServiceUnavailable");
  standin_set("answer", "\"<html>hello\"");
  CHECK_FAILS(find(), "is it a security token service?");
  standin_set("answer", "\"<a><b/></a>\"");
  CHECK_FAILS(find(), "is it a security token service?");
}

static void web_identities_are_exchanged(void) {
  scene();
  use_web_identity("web-token-good\n");
  setenv("AWS_ROLE_SESSION_NAME", "pod.1", 1);
  CHECK_GIVEN(find());
  CHECK(smig_secret_found("web-token-good", 14));
  put_text("token", "web-token-late");
  CHECK_FAILS(find(), "AWS_WEB_IDENTITY_TOKEN_FILE: http://127.0.0.1:");
  CHECK_HAS(find(), "ExpiredTokenException");
  put_text("token", "web-token-other");
  CHECK_FAILS(find(), "InvalidIdentityToken");
  put_text("token", "\n");
  CHECK_FAILS(find(), "holds no web identity token");
  setenv("AWS_ROLE_SESSION_NAME", "not a name", 1);
  put_text("token", "web-token-good");
  CHECK_FAILS(find(), "roleSessionName");
  unsetenv("AWS_ROLE_ARN");
  CHECK_FAILS(find(), "AWS_ROLE_ARN is not");

  scene();
  char *text = bson_strdup_printf("[default]\nrole_arn = %s\nweb_identity_token_file = %s/token\n", ARN, home);
  put_text(".aws/config", text);
  put_text("token", "web-token-good");
  CHECK_GIVEN(find());
  bson_free(text);
}

/* ----------------------------------------------------------------- process */

static const struct smig_guard *process_guard;

static const char *run_process(const char *command, int64_t limit_ms) {
  static char *told;
  bson_free(told);
  smig_keys_t keys = {0};
  smig_error_t error = SMIG_ERROR_INIT;
  smig_search_t found = smig_credentials_process("the process", command, limit_ms, process_guard, &keys, &error);
  if (found == SMIG_SEARCH_FOUND)
    told = bson_strdup_printf("%s %s %s %" PRId64, keys.access_key_id, keys.secret_access_key,
                              keys.session_token ? keys.session_token : "-", keys.expires_wall_ms);
  else
    told = bson_strdup_printf("%s: %s", error.name, error.message);
  smig_keys_release(&keys);
  smig_error_release(&error);
  return told;
}

#define JSON_KEYS "\"AccessKeyId\": \"AKIDPROCESS\", \"SecretAccessKey\": \"process-secret\""

static void a_process_gives_credentials(void) {
  scene();
  char folder[256];
  snprintf(folder, sizeof folder, "%s/a folder", home);
  mkdir(folder, 0755);
  put_program("a folder/tool", "#!/bin/sh\necho \"told on stderr\" >&2\nprintf '%s|' \"$@\" >~/arguments\n"
                               "echo '{\"Version\": 1, " JSON_KEYS ", \"SessionToken\": \"process-token\", "
                               "\"Expiration\": \"2100-01-01T00:00:00Z\"}'\n");
  char *text = bson_strdup_printf("[default]\ncredential_process = \"%s/a folder/tool\" $HOME;x\n"
                                  "  'it''s \"one\"' \"a \\\"b\\\" $c\"\n",
                                  home);
  put_text(".aws/config", text);
  bson_free(text);
  /* its standard error reaches nobody */
  fflush(stderr);
  FILE *caught = tmpfile();
  int own = dup(STDERR_FILENO);
  dup2(fileno(caught), STDERR_FILENO);
  CHECK_STR(find(), "AKIDPROCESS process-secret process-token");
  dup2(own, STDERR_FILENO);
  close(own);
  fseek(caught, 0, SEEK_END);
  CHECK(ftell(caught) == 0);
  fclose(caught);
  bool missing;
  snprintf(folder, sizeof folder, "%s/arguments", home);
  char *arguments = smig_read_text(folder, &missing, NULL);
  CHECK_STR(arguments, "$HOME;x|its \"one\"|a \"b\" $c|");
  bson_free(arguments);

  CHECK_STR(run_process("printf '{\"Version\":1," JSON_KEYS "}'", 5000), "AKIDPROCESS process-secret - 0");
  CHECK_STR(
      run_process("printf {\\\"Version\\\":1,\\ '" JSON_KEYS ", \"Expiration\": \"1970-01-01T00:00:01+00:00\"}'", 5000),
      "AKIDPROCESS process-secret - 1000");
}

static void a_process_that_fails_is_told(void) {
  static const struct {
    const char *command, *why;
  } cases[] = {
      {"sh -c 'exit 3'", "the process ended with status 3"},
      {"sh -c 'echo hidden-secret; echo hidden-secret >&2; exit 3'", "the process ended with status 3"},
      {"sh -c 'kill -9 $$'", "the process was ended by signal 9"},
      {"echo hidden-secret", "gave no JSON object"},
      {"true", "gave no JSON object"},
      {"echo '{\"Version\": 1, " JSON_KEYS "} hidden-secret'", "gave no JSON object"},
      {"echo '{\"Version\": 1, " JSON_KEYS "}{}'", "gave no JSON object"},
      {"echo '[{\"Version\": 1, " JSON_KEYS "}]'", "gave no JSON object"},
      {"echo '{\"Version\": 2, " JSON_KEYS "}'", "gave JSON without \"Version\": 1"},
      {"echo '{" JSON_KEYS "}'", "gave JSON without \"Version\": 1"},
      {"echo '{\"Version\": 1, \"AccessKeyId\": \"x\"}'", "gave no SecretAccessKey"},
      {"echo '{\"Version\": 1, \"AccessKeyId\": \"\", \"SecretAccessKey\": \"hidden-secret\"}'", "gave no AccessKeyId"},
      {"echo '{\"Version\": 1, \"AccessKeyId\": \"x\", \"SecretAccessKey\": 5}'", "gave no SecretAccessKey"},
      {"echo '{\"Version\": 1, " JSON_KEYS ", \"Expiration\": \"soon\"}'", "an Expiration that is no date"},
      {"echo '{\"Version\": 1, " JSON_KEYS ", \"Expiration\": 5}'", "an Expiration that is no date"},
      {"head -c 70000 /dev/zero", "printed over 64 KiB"},
      {"/nowhere/tool", "'/nowhere/tool' cannot be started: No such file or directory"},
      {"/etc", "'/etc' cannot be started: Permission denied"},
      {"'open", "has a quote that is not closed"},
      {" \t ", "names no program"},
  };
  scene();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    CHECK_FAILS(run_process(cases[i].command, 5000), cases[i].why);
    CHECK(!strstr(run_process(cases[i].command, 5000), "hidden-secret"));
  }
}

static void *shut_when_it_runs(void *guard) {
  char path[256];
  snprintf(path, sizeof path, "%s/runs", home);
  while (access(path, F_OK) != 0) sched_yield();
  smig_error_t reason = SMIG_ERROR_INIT;
  smig_error_set(&reason, SMIG_LOCK_LOST, "shut by the test");
  smig_guard_shut(guard, SMIG_GUARD_LOST, &reason);
  return NULL;
}

static void a_process_ends_with_the_guard(void) {
  scene();
  smig_guard_t guard;
  smig_guard_init(&guard);
  process_guard = &guard;
  pthread_t thread;
  pthread_create(&thread, NULL, shut_when_it_runs, &guard);
  int64_t began_mono_ms = smig_clock_mono_ms();
  CHECK_FAILS(run_process("sh -c 'touch ~/runs; sleep 1000'", 60000), "the process was ended, because the run is");
  CHECK(smig_clock_mono_ms() - began_mono_ms < 10000);
  pthread_join(thread, NULL);
  process_guard = NULL;
  smig_guard_release(&guard);
}

/* The number that a test's program wrote into the file "child". */
static int read_child(void) {
  char path[256];
  snprintf(path, sizeof path, "%s/child", home);
  FILE *file = fopen(path, "r");
  int child = 0;
  CHECK(file && fscanf(file, "%d", &child) == 1 && child > 0);
  if (file) fclose(file);
  return child;
}

static void a_process_that_hangs_is_ended_with_its_children(void) {
  scene();
  int64_t began_mono_ms = smig_clock_mono_ms();
  CHECK_FAILS(run_process("sh -c 'sleep 1000 & echo $! >~/child; wait'", 1000), "the process did not end within 1.0 s");
  CHECK(smig_clock_mono_ms() - began_mono_ms < 10000);
  /* a killed child that nobody has waited for yet is a zombie: its command line is empty */
  char path[64];
  int child = read_child();
  snprintf(path, sizeof path, "/proc/%d/cmdline", child);
  bool gone = false;
  for (int64_t end = smig_clock_mono_ms() + 5000; !gone && smig_clock_mono_ms() < end; sched_yield()) {
    FILE *file = fopen(path, "r");
    gone = !file || fgetc(file) == EOF;
    if (file) fclose(file);
  }
  CHECK(gone, ": %d lives", child);
}

static void a_child_that_keeps_the_pipe_does_not_keep_the_answer_back(void) {
  scene();
  put_text("answer", "{\"Version\": 1, " JSON_KEYS "}");
  int64_t began_mono_ms = smig_clock_mono_ms();
  CHECK_STR(run_process("sh -c 'sleep 1000 & echo $! >~/child; cat ~/answer'", 60000),
            "AKIDPROCESS process-secret - 0");
  CHECK(smig_clock_mono_ms() - began_mono_ms < 30000);
  int child = read_child();
  CHECK(child > 1 && kill(child, SIGKILL) == 0);
}

int main(void) {
  scene_begin();
  RUN(roles_are_taken_on_with_other_keys);
  RUN(roles_that_cannot_be_taken_on_say_why);
  RUN(a_busy_service_is_asked_twice);
  RUN(web_identities_are_exchanged);
  RUN(a_process_gives_credentials);
  RUN(a_process_that_fails_is_told);
  RUN(a_process_that_hangs_is_ended_with_its_children);
  RUN(a_process_ends_with_the_guard);
  RUN(a_child_that_keeps_the_pipe_does_not_keep_the_answer_back);
  return scene_end();
}
