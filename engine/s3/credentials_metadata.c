/*
 * Credentials of the machine: the container's endpoint (ECS, EKS) and the instance's metadata (EC2, version 2 alone), see
 * credentials_source.h. Neither is ever asked through a proxy, nor does a redirect lead elsewhere.
 */
#include "credentials_source.h"

#include "fetch.h"
#include "secrets.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

enum { CONTAINER_TIMEOUT_MS = 5000, INSTANCE_TIMEOUT_MS = 1000 };

#define CONTAINER_HOST "http://169.254.170.2"
#define INSTANCE_HOST "http://169.254.169.254"
#define ROLES "/latest/meta-data/iam/security-credentials/"

/* --------------------------------------------------------------- container */

/* The host of "scheme://host:port/path", without the brackets of IPv6. bson_free. */
static char *host_of(const char *authority) {
  if (*authority == '[') return bson_strndup(authority + 1, strcspn(authority + 1, "]/?#"));
  return bson_strndup(authority, strcspn(authority, ":/?#"));
}

static bool is_loopback(const char *host) {
  struct in_addr four;
  struct in6_addr six;
  if (inet_pton(AF_INET, host, &four) == 1) return ntohl(four.s_addr) >> 24 == 127;
  if (inet_pton(AF_INET6, host, &six) == 1) return IN6_IS_ADDR_LOOPBACK(&six);
  return strcasecmp(host, "localhost") == 0;
}

/* Where the token may be sent: over TLS, to this machine, or to the addresses that ECS and EKS keep for it. */
static bool is_allowed(const char *url) {
  if (strchr(url, '@')) return false; /* it may pass for another host, and holds a password at best */
  if (strncasecmp(url, "https://", 8) == 0) return true;
  if (strncasecmp(url, "http://", 7) != 0) return false;
  char *host = host_of(url + 7);
  struct in6_addr six, eks;
  inet_pton(AF_INET6, "fd00:ec2::23", &eks);
  bool allowed = is_loopback(host) || strcmp(host, "169.254.170.2") == 0 || strcmp(host, "169.254.170.23") == 0 ||
                 (inet_pton(AF_INET6, host, &six) == 1 && memcmp(&six, &eks, sizeof six) == 0);
  bson_free(host);
  return allowed;
}

/* The value of the Authorization header (bson_free); NULL: none is set, or *error is. */
static char *container_token(smig_error_t *error) {
  const char *path = smig_environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
  const char *given = smig_environment("AWS_CONTAINER_AUTHORIZATION_TOKEN");
  bool missing = false;
  char *token = path ? smig_read_text(path, &missing, error) : bson_strdup(given);
  if (missing) smig_search_failed(error, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: '%s' is not there", path);
  if (!token) return NULL;
  size_t length = strlen(token);
  while (length > 0 && strchr(" \t\r\n", token[length - 1])) token[--length] = '\0';
  smig_secret_learn(token, length);
  if (length > 0 && !strpbrk(token, "\r\n")) return token;
  smig_search_failed(error, "%s holds no token of one line",
                     path ? "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" : "AWS_CONTAINER_AUTHORIZATION_TOKEN");
  bson_free(token);
  return NULL;
}

static smig_search_t ask_container(const char *url, const smig_source_options_t *options, smig_keys_t *keys,
                                   smig_error_t *error) {
  smig_s3_fields_t headers = {0};
  smig_error_t why = SMIG_ERROR_INIT;
  smig_fetched_t fetched = {0};
  smig_search_t found = SMIG_SEARCH_FAILED;
  char *token = container_token(&why), *source = bson_strdup_printf("the container's endpoint %s", url);
  if (token) smig_s3_fields_add(&headers, "authorization", token);
  smig_fetch_t request = {.method = "GET",
                          .url = url,
                          .headers = &headers,
                          .ca_file = options->ca_file,
                          .timeout_ms = CONTAINER_TIMEOUT_MS,
                          .guard = options->guard,
                          .no_proxy = true};
  if (why.code != SMIG_OK || !smig_fetch(&request, &fetched, &why))
    smig_search_failed(error, "%s: %s", source, why.message);
  else if (fetched.status != 200)
    smig_search_failed(error, "%s answered with status %d", source, fetched.status);
  else if (smig_keys_from_json(keys, fetched.body, fetched.length, "Token", 0, source, error))
    found = SMIG_SEARCH_FOUND;
  smig_error_release(&why);
  smig_fetched_release(&fetched);
  smig_s3_fields_release(&headers);
  bson_free(source);
  bson_free(token);
  return found;
}

smig_search_t smig_credentials_container(const smig_source_options_t *options, smig_keys_t *keys, smig_error_t *error) {
  const char *relative = smig_environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  const char *full = smig_environment("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  if (!relative && !full) return SMIG_SEARCH_NOTHING;
  if (relative && *relative != '/') {
    return smig_search_failed(error, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI '%s' does not begin with a slash",
                              relative);
  }
  if (!relative && !is_allowed(full)) {
    return smig_search_failed(
        error,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI '%s' is refused: it must be https, or http to a loopback "
        "address, 169.254.170.2, 169.254.170.23 or [fd00:ec2::23]",
        full);
  }
  char *url = relative ? bson_strdup_printf("%s%s", CONTAINER_HOST, relative) : bson_strdup(full);
  smig_search_t found = ask_container(url, options, keys, error);
  bson_free(url);
  return found;
}

/* ---------------------------------------------------------------- instance */

typedef struct instance {
  const char *endpoint; /* without a slash at its end */
  const struct smig_guard *guard;
  char *token; /* NULL before it is given */
} instance_t;

/* Whether the answer is a good one; its status is 0 where nobody answered. */
static bool ask(const instance_t *instance, const char *method, const char *path, smig_fetched_t *fetched,
                smig_error_t *error) {
  char *url = bson_strdup_printf("%s%s", instance->endpoint, path);
  smig_s3_fields_t headers = {0};
  if (instance->token)
    smig_s3_fields_add(&headers, "x-aws-ec2-metadata-token", instance->token);
  else
    smig_s3_fields_add(&headers, "x-aws-ec2-metadata-token-ttl-seconds", "300");
  smig_fetch_t request = {.method = method,
                          .url = url,
                          .headers = &headers,
                          .timeout_ms = INSTANCE_TIMEOUT_MS,
                          .guard = instance->guard,
                          .no_proxy = true};
  bool good = smig_fetch(&request, fetched, error);
  if (good && fetched->status != 200) {
    smig_search_failed(error, "%s answered with status %d", url, fetched->status);
    good = false;
  }
  smig_s3_fields_release(&headers);
  bson_free(url);
  return good;
}

/* Asks for a token or a name (bson_free); NULL with *error. */
static char *ask_line(const instance_t *instance, const char *method, const char *path, int *status,
                      smig_error_t *error) {
  smig_fetched_t fetched;
  char *line = NULL;
  if (ask(instance, method, path, &fetched, error)) {
    size_t length = 0;
    while (fetched.body[length] > ' ' && fetched.body[length] < 0x7f) length++;
    if (length > 0 && strchr("\r\n", fetched.body[length]))
      line = bson_strndup(fetched.body, length);
    else
      smig_search_failed(error, "%s%s gave neither a token nor a name", instance->endpoint, path);
  }
  *status = fetched.status;
  smig_fetched_release(&fetched);
  return line;
}

static bool ask_keys(const instance_t *instance, const char *role, smig_keys_t *keys, smig_error_t *error) {
  char *encoded = smig_s3_encode(role, strlen(role), false), *path = bson_strdup_printf("%s%s", ROLES, encoded);
  char *source = bson_strdup_printf("%s%s", instance->endpoint, path);
  smig_fetched_t fetched;
  bool good = ask(instance, "GET", path, &fetched, error) &&
              smig_keys_from_json(keys, fetched.body, fetched.length, "Token", 0, source, error);
  smig_fetched_release(&fetched);
  bson_free(source);
  bson_free(path);
  bson_free(encoded);
  return good;
}

/* No token: this is no instance, or another cloud's. No role: the instance has none. Neither is a failure. */
static smig_search_t search(instance_t *instance, smig_keys_t *keys, smig_error_t *error) {
  int status;
  instance->token = ask_line(instance, "PUT", "/latest/api/token", &status, error);
  if (!instance->token) return SMIG_SEARCH_NOTHING;
  smig_secret_learn(instance->token, strlen(instance->token));
  char *role = ask_line(instance, "GET", ROLES, &status, error);
  if (!role) return status == 404 ? SMIG_SEARCH_NOTHING : SMIG_SEARCH_FAILED;
  bool good = ask_keys(instance, role, keys, error);
  bson_free(role);
  return good ? SMIG_SEARCH_FOUND : SMIG_SEARCH_FAILED;
}

smig_search_t smig_credentials_instance(const smig_source_options_t *options, smig_keys_t *keys, smig_error_t *error) {
  const char *disabled = smig_environment("AWS_EC2_METADATA_DISABLED");
  if (disabled && strcasecmp(disabled, "true") == 0) {
    smig_search_failed(error, "AWS_EC2_METADATA_DISABLED is set");
    return SMIG_SEARCH_NOTHING;
  }
  const char *given = smig_environment("AWS_EC2_METADATA_SERVICE_ENDPOINT");
  char *endpoint = bson_strdup(given ? given : INSTANCE_HOST);
  for (size_t length = strlen(endpoint); length > 0 && endpoint[length - 1] == '/'; length--)
    endpoint[length - 1] = '\0';
  instance_t instance = {.endpoint = endpoint, .guard = options->guard};
  smig_error_t why = SMIG_ERROR_INIT;
  smig_search_t found = search(&instance, keys, &why);
  if (found != SMIG_SEARCH_FOUND) smig_search_failed(error, "the instance's metadata: %s", why.message);
  smig_error_release(&why);
  bson_free(instance.token);
  bson_free(endpoint);
  return found;
}
