/*
 * What the tests of credentials share: an environment and a home of a case's own, the stand-in's services put into it, and what a
 * provider finds there. One thread; scene_begin before the first case, scene_end after the last.
 */
#ifndef SMIG_SPEC_CREDENTIALS_SCENE_H
#define SMIG_SPEC_CREDENTIALS_SCENE_H

#include "aws_standin.h"
#include "check.h"
#include "credentials_source.h"
#include "secrets.h"

#include <inttypes.h>
#include <sys/stat.h>

extern char **environ;

#define ARN "arn:aws:iam::123456789012:role/standin"

static char home[64] = "/tmp/smig_credentials_XXXXXX";
static smig_s3_config_t config;

static inline bool is_cleared(const char *name) {
  static const char *const others[] = {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY",
                                       "all_proxy",  "ALL_PROXY",  "no_proxy",    "NO_PROXY"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    if (strcmp(name, others[i]) == 0) return true;
  }
  return strncmp(name, "AWS_", 4) == 0;
}

static inline void clear_environment(void) {
  for (size_t i = 0; environ[i];) {
    char *name = bson_strndup(environ[i], strcspn(environ[i], "="));
    if (is_cleared(name))
      unsetenv(name);
    else
      i++;
    bson_free(name);
  }
}

static inline void scene(void) {
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
static inline const char *put(const char *name, const char *text, size_t length) {
  static char path[256];
  snprintf(path, sizeof path, "%s/%s", home, name);
  FILE *file = fopen(path, "w");
  if (!file || fwrite(text, 1, length, file) != length || fclose(file) != 0) exit(1);
  return path;
}

static inline const char *put_text(const char *name, const char *text) {
  return put(name, text, strlen(text));
}

static inline void put_program(const char *name, const char *text) {
  chmod(put_text(name, text), 0755);
}

static inline void use_instance(void) {
  char *endpoint = bson_strdup_printf("http://127.0.0.1:%d/", standin.port);
  setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint, 1);
  unsetenv("AWS_EC2_METADATA_DISABLED");
  bson_free(endpoint);
}

static inline void use_container(void) {
  char *url = bson_strdup_printf("http://localhost:%d/container/credentials", standin.port);
  setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
  setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "container-token", 1);
  bson_free(url);
}

static inline void use_web_identity(const char *token) {
  setenv("AWS_WEB_IDENTITY_TOKEN_FILE", put_text("token", token), 1);
  setenv("AWS_ROLE_ARN", ARN, 1);
}

/* What a new provider finds: "ID SECRET TOKEN", "-" for no token, or "Name: message". Until the next call. */
static inline const char *find(void) {
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

static inline void scene_begin(void) {
  if (!mkdtemp(home)) exit(1);
  standin_start(NULL, NULL);
}

/* The exit status. */
static inline int scene_end(void) {
  standin_stop();
  setenv("HOME", home, 1);
  return system("rm -rf \"$HOME\"") == 0 ? check_done() : 1;
}

#endif
