/*
 * Credentials: the sources in their order, what they give, what they refuse and how that is told, against a stand-in for AWS's services
 * (spec/support/aws_standin.py). Every case has its own environment and home.
 */
#include "aws_standin.h"
#include "check.h"
#include "clock.h"
#include "credentials_source.h"
#include "secrets.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define ARN "arn:aws:iam::123456789012:role/standin"

extern char **environ;

static char home[64] = "/tmp/smig_credentials_XXXXXX";
static smig_s3_config_t config;

/* ------------------------------------------------------------------- scene */

static bool is_cleared(const char *name) {
  static const char *const others[] = {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY",
                                       "all_proxy",  "ALL_PROXY",  "no_proxy",    "NO_PROXY"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    if (strcmp(name, others[i]) == 0) return true;
  }
  return strncmp(name, "AWS_", 4) == 0;
}

static void clear_environment(void) {
  for (size_t i = 0; environ[i];) {
    char *name = bson_strndup(environ[i], strcspn(environ[i], "="));
    if (is_cleared(name))
      unsetenv(name);
    else
      i++;
    bson_free(name);
  }
}

static void scene(void) {
  clear_environment();
  setenv("HOME", home, 1);
  setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
  char *sts = bson_strdup_printf("http://127.0.0.1:%d", standin.port);
  setenv("AWS_ENDPOINT_URL_STS", sts, 1);
  bson_free(sts);
  static const char *const names[] = {"lifetime_s", "role",     "token_life_s", "silent",
                                      "refuse",     "redirect", "answer",       "container_token"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) standin_set(names[i], NULL);
  config = (smig_s3_config_t){0};
  if (system("rm -rf \"$HOME\"/* \"$HOME\"/.aws && mkdir \"$HOME\"/.aws") != 0) exit(1);
}

/* A file below the home; returns its path until the next call. */
static const char *put(const char *name, const char *text, size_t length) {
  static char path[256];
  snprintf(path, sizeof path, "%s/%s", home, name);
  FILE *file = fopen(path, "w");
  if (!file || fwrite(text, 1, length, file) != length || fclose(file) != 0) exit(1);
  return path;
}

static const char *put_text(const char *name, const char *text) {
  return put(name, text, strlen(text));
}

static void put_program(const char *name, const char *text) {
  chmod(put_text(name, text), 0755);
}

static void use_instance(void) {
  char *endpoint = bson_strdup_printf("http://127.0.0.1:%d/", standin.port);
  setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint, 1);
  unsetenv("AWS_EC2_METADATA_DISABLED");
  bson_free(endpoint);
}

static void use_container(void) {
  char *url = bson_strdup_printf("http://localhost:%d/container/credentials", standin.port);
  setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
  setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "container-token", 1);
  bson_free(url);
}

static void use_web_identity(const char *token) {
  setenv("AWS_WEB_IDENTITY_TOKEN_FILE", put_text("token", token), 1);
  setenv("AWS_ROLE_ARN", ARN, 1);
}

/* What a new provider finds: "ID SECRET TOKEN", "-" for no token, or "Name: message". Until the next call. */
static const char *find(void) {
  static char *told;
  bson_free(told);
  smig_credentials_t *credentials = smig_credentials_new(&config);
  const smig_s3_credentials_t *found = NULL;
  smig_error_t error = SMIG_ERROR_INIT;
  if (smig_credentials_get(credentials, false, &found, &error)) {
    told = bson_strdup_printf("%s %s %s", found->access_key_id, found->secret_access_key,
                              found->session_token ? found->session_token : "-");
    CHECK(smig_secret_found(found->secret_access_key, strlen(found->secret_access_key)));
    CHECK(!found->session_token || smig_secret_found(found->session_token, strlen(found->session_token)));
  } else {
    CHECK(!found && error.message);
    told = bson_strdup_printf("%s: %s", error.name, error.message);
  }
  smig_error_release(&error);
  smig_credentials_free(credentials);
  return told;
}

#define CHECK_HAS(text, part)                                                                                          \
  do {                                                                                                                 \
    const char *check_text = (text), *check_part = (part);                                                             \
    CHECK(strstr(check_text, check_part), ": \"%s\" is not in \"%s\"", check_part, check_text);                        \
  } while (0)
#define CHECK_FAILS(text, part)                                                                                        \
  do {                                                                                                                 \
    const char *check_told = (text);                                                                                   \
    CHECK(strncmp(check_told, "CredentialsFailed: ", 19) == 0, ": %s", check_told);                                    \
    CHECK_HAS(check_told, part);                                                                                       \
  } while (0)
/* Temporary ones, as the stand-in gives them. */
#define CHECK_GIVEN(text) CHECK(strncmp((text), "ASIA", 4) == 0, ": %s", text)

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

static const char *run_process(const char *command, int64_t limit_ms) {
  static char *told;
  bson_free(told);
  smig_keys_t keys = {0};
  smig_error_t error = SMIG_ERROR_INIT;
  smig_search_t found = smig_credentials_process("the process", command, limit_ms, &keys, &error);
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

static void a_process_that_hangs_is_ended_with_its_children(void) {
  scene();
  char *command = bson_strdup_printf("sh -c 'sleep 1000 & echo $! > %s/child; wait'", home);
  int64_t began_mono_ms = smig_clock_mono_ms();
  CHECK_FAILS(run_process(command, 500), "the process did not end within 0.5 s");
  CHECK(smig_clock_mono_ms() - began_mono_ms < 5000);
  bson_free(command);
  char path[256];
  snprintf(path, sizeof path, "%s/child", home);
  FILE *file = fopen(path, "r");
  int child = 0;
  CHECK(file && fscanf(file, "%d", &child) == 1 && child > 0);
  if (file) fclose(file);
  /* a killed child that nobody has waited for yet is a zombie: its command line is empty */
  snprintf(path, sizeof path, "/proc/%d/cmdline", child);
  bool gone = false;
  for (int64_t end = smig_clock_mono_ms() + 5000; !gone && smig_clock_mono_ms() < end; sched_yield()) {
    file = fopen(path, "r");
    gone = !file || fgetc(file) == EOF;
    if (file) fclose(file);
  }
  CHECK(gone, ": %d lives", child);

  /* nor does a child that keeps the pipe keep the answer back */
  began_mono_ms = smig_clock_mono_ms();
  CHECK_STR(
      run_process("sh -c 'sleep 3 & echo \"{\\\"Version\\\":1,\\\"AccessKeyId\\\":\\\"A\\\",\\\"SecretAccessKey\\\":"
                  "\\\"sssss\\\"}\"'",
                  20000),
      "A sssss - 0");
  CHECK(smig_clock_mono_ms() - began_mono_ms < 2500);
}

/* -------------------------------------------------------------- the machine */

static void containers_give_credentials_to_who_has_the_token(void) {
  scene();
  use_container();
  CHECK_GIVEN(find());
  setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "wrong-token", 1);
  CHECK_FAILS(find(), "/container/credentials answered with status 401");
  unsetenv("AWS_CONTAINER_AUTHORIZATION_TOKEN");
  CHECK_FAILS(find(), "status 401");
  setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "wrong-token", 1);
  setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", put_text("token", "container-token\n"), 1);
  CHECK_GIVEN(find());
  put_text("token", "container-token\r\nX-Other: x");
  CHECK_FAILS(find(), "TOKEN_FILE holds no token of one line");
  setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nowhere", 1);
  CHECK_FAILS(find(), "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: '/nowhere' is not there");

  scene();
  use_container();
  standin_set("answer", "\"hidden-secret\"");
  CHECK_FAILS(find(), "gave no JSON object");
  standin_set("answer", "\"\"");
  CHECK_FAILS(find(), "gave no JSON object");
  standin_set("answer", NULL);
  char *elsewhere = bson_strdup_printf("\"http://127.0.0.1:%d/container/credentials\"", standin.port);
  standin_set("redirect", elsewhere);
  CHECK_FAILS(find(), "answered with status 302");
  bson_free(elsewhere);
}

static void container_addresses_beyond_the_machine_are_refused(void) {
  static const char *const refused[] = {"http://example.com/x",
                                        "http://10.0.0.1/x",
                                        "http://169.254.169.254/x",
                                        "http://127.0.0.1@example.com/x",
                                        "http://127.0.0.1.example/x",
                                        "ftp://127.0.0.1/x",
                                        "127.0.0.1/x",
                                        "http://[fd00:ec2::24]/x",
                                        "http://[::2]/x",
                                        "https://user@example.com/x",
                                        "http://localhost.example/",
                                        "http:///x"};
  /* told apart by what follows: these are asked, and nobody answers at port 1 */
  static const char *const allowed[] = {"http://127.0.0.1:1/x", "http://127.8.7.6:1/x", "http://[::1]:1/x",
                                        "http://LOCALHOST:1/x", "https://127.0.0.1:1/x"};
  scene();
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", refused[i], 1);
    CHECK_FAILS(find(), "is refused: it must be https");
  }
  for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", allowed[i], 1);
    CHECK_FAILS(find(), ":1 does not answer");
  }
  setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@example.com/x", 1);
  CHECK_FAILS(find(), "does not begin with a slash");
}

static void instances_give_credentials_by_the_second_version(void) {
  scene();
  use_instance();
  int token = standin_count("token"), instance = standin_count("instance");
  CHECK_GIVEN(find());
  CHECK(standin_count("token") == token + 1 && standin_count("instance") == instance + 2);
  standin_set("role", "\"a+b/c\"");
  CHECK_GIVEN(find());
  standin_set("role", "\"two words\"");
  CHECK_FAILS(find(), "gave neither a token nor a name");
  standin_set("role", "null");
  CHECK_HAS(find(), "CredentialsNotFound: ");
  CHECK_HAS(find(), "the instance's metadata: http://127.0.0.1:");
  CHECK_HAS(find(), "answered with status 404");
  standin_set("role", NULL);
  standin_set("token_life_s", "0");
  CHECK_FAILS(find(), "the instance's metadata: http://127.0.0.1:");
  CHECK_HAS(find(), "answered with status 401");
  standin_set("token_life_s", NULL);
  standin_set("answer", "\"{\\\"Code\\\": \\\"Failed\\\\nby us\\\"}\"");
  CHECK_FAILS(find(), "standin-role answered Failed\\x0aby us");
  standin_set("answer", NULL);
  char *elsewhere = bson_strdup_printf("\"http://127.0.0.1:%d/latest/meta-data/\"", standin.port);
  standin_set("redirect", elsewhere);
  CHECK_FAILS(find(), "answered with status 302");
  bson_free(elsewhere);
  setenv("AWS_EC2_METADATA_DISABLED", "TRUE", 1);
  token = standin_count("token");
  CHECK_HAS(find(), "AWS_EC2_METADATA_DISABLED is set");
  CHECK(standin_count("token") == token);
}

static void an_instance_is_asked_twice_for_a_second(void) {
  scene();
  use_instance();
  int token = standin_count("token");
  standin_set("silent", "true"); /* the answer's hops are used up: a container on an instance */
  int64_t began_mono_ms = smig_clock_mono_ms();
  CHECK_HAS(find(), "CredentialsNotFound: ");
  int64_t took_ms = smig_clock_mono_ms() - began_mono_ms;
  CHECK(took_ms >= 1900 && took_ms < 4000, ": %" PRId64 " ms", took_ms);
  CHECK(standin_count("token") == token + 2);
  standin_set("silent", NULL);
  standin_set("refuse", "1");
  CHECK_GIVEN(find());
}

static void the_machine_is_never_asked_through_a_proxy(void) {
  scene();
  char *proxy = bson_strdup_printf("http://127.0.0.1:%d", standin.proxy_port);
  static const char *const names[] = {"http_proxy",  "HTTP_PROXY", "https_proxy",
                                      "HTTPS_PROXY", "all_proxy",  "ALL_PROXY"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) setenv(names[i], proxy, 1);
  bson_free(proxy);
  int seen = standin_count("proxy");
  use_container();
  CHECK_GIVEN(find());
  unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  use_instance();
  CHECK_GIVEN(find());
  CHECK(standin_count("proxy") == seen, ": %d requests", standin_count("proxy") - seen);
  /* the recording works: an ordinary request goes through it, and is answered */
  use_web_identity("web-token-good");
  CHECK_GIVEN(find());
  CHECK(standin_count("proxy") == seen + 1);
}

/* A network of this process's own; root has it for the asking, others within a user namespace where they are root. */
static bool leave_network(void) {
  int user = (int)geteuid();
  if (unshare(CLONE_NEWNET) == 0) return true;
  if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return false;
  FILE *map = fopen("/proc/self/uid_map", "w");
  return map && fprintf(map, "0 %d 1", user) > 0 && fclose(map) == 0;
}

/* Within a network of our own, so that the addresses AWS gives these services are ours. */
static int in_own_network(void) {
  if (!leave_network()) return 77;
  static const char *const devices[] = {"lo:1", "lo:2"}, *const addresses[] = {"169.254.170.2", "169.254.169.254"};
  int s = socket(AF_INET, SOCK_DGRAM, 0);
  for (size_t i = 0; i < 2; i++) {
    struct ifreq request = {0};
    struct sockaddr_in address = {.sin_family = AF_INET};
    bson_strncpy(request.ifr_name, devices[i], sizeof request.ifr_name);
    inet_pton(AF_INET, addresses[i], &address.sin_addr);
    memcpy(&request.ifr_addr, &address, sizeof address);
    if (ioctl(s, SIOCSIFADDR, &request) != 0) return 77;
  }
  struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
  if (ioctl(s, SIOCSIFFLAGS, &up) != 0) return 77;
  close(s);

  check_case_ok = true;
  standin_start("0.0.0.0", "80");
  scene();
  setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/container/relative?x=y", 1);
  setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "container-token", 1);
  CHECK_GIVEN(find());
  CHECK(standin_count("container") == 1);
  unsetenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.2/container/full", 1);
  CHECK_GIVEN(find());
  CHECK(standin_count("container") == 2);
  unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  unsetenv("AWS_EC2_METADATA_DISABLED");
  CHECK_GIVEN(find());
  CHECK(standin_count("token") == 1);
  standin_stop();
  fflush(stdout);
  return check_case_ok ? 0 : 1;
}

static void the_addresses_of_the_machine_are_asked(void) {
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) _exit(in_own_network());
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
    printf("# not run: this machine lets nobody make a network of his own\n");
  else
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, ": status %d", status);
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
  CHECK(took_ms > 1000 && took_ms < 10000 && standin_count("container") == asked + 2, ": %" PRId64 " ms", took_ms);
  /* the service is away: the old ones do until they expire */
  standin_set("answer", "\"away\"");
  char *none = get_other(credentials, second, &took_ms);
  CHECK_FAILS(none, "gave no JSON object");
  CHECK(took_ms > 2500 && took_ms < 10000, ": %" PRId64 " ms", took_ms);
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
  if (!mkdtemp(home)) return 1;
  RUN(the_addresses_of_the_machine_are_asked);
  standin_start(NULL, NULL);
  RUN(sources_are_asked_in_their_order);
  RUN(nothing_found_says_where_and_what_to_do);
  RUN(half_a_pair_in_the_environment_is_refused);
  RUN(a_profile_of_the_configuration_counts_before_the_environment);
  RUN(files_are_read_as_aws_writes_them);
  RUN(the_region_is_found);
  RUN(malformed_files_are_refused_by_line);
  RUN(files_that_cannot_be_read_are_told);
  RUN(a_file_that_is_replaced_meanwhile_is_read_whole);
  RUN(roles_are_taken_on_with_other_keys);
  RUN(roles_that_cannot_be_taken_on_say_why);
  RUN(a_busy_service_is_asked_twice);
  RUN(web_identities_are_exchanged);
  RUN(a_process_gives_credentials);
  RUN(a_process_that_fails_is_told);
  RUN(a_process_that_hangs_is_ended_with_its_children);
  RUN(containers_give_credentials_to_who_has_the_token);
  RUN(container_addresses_beyond_the_machine_are_refused);
  RUN(instances_give_credentials_by_the_second_version);
  RUN(an_instance_is_asked_twice_for_a_second);
  RUN(the_machine_is_never_asked_through_a_proxy);
  RUN(temporary_credentials_are_fetched_anew_in_time);
  RUN(credentials_that_come_expired_are_refused);
  RUN(renewed_files_are_read_when_asked_for);
  RUN(no_secret_reaches_a_message);
  standin_stop();
  setenv("HOME", home, 1);
  return system("rm -rf \"$HOME\"") == 0 ? check_done() : 1;
}
