/*
 * The client: its configuration, and what its exchanges share. See s3.h. Errors: INVALID_OPTIONS, "libcurlMissing".
 */
#include "internal.h"

#include "guard.h"

#include <stdlib.h>
#include <string.h>

#define STRINGS(X)                                                                                                     \
  X(endpoint)                                                                                                          \
  X(region)                                                                                                            \
  X(bucket)                                                                                                            \
  X(style)                                                                                                             \
  X(access_key_id)                                                                                                     \
  X(secret_access_key) X(session_token) X(profile) X(ca_file) X(sse) X(sse_kms_key_id) X(expected_bucket_owner)

static void copy_config(smig_s3_config_t *to, const smig_s3_config_t *from) {
  *to = *from;
#define X(name) to->name = from->name && *from->name ? bson_strdup(from->name) : NULL;
  STRINGS(X)
#undef X
}

static void release_config(smig_s3_config_t *config) {
#define X(name) bson_free((char *)config->name);
  STRINGS(X)
#undef X
}

/* ----------------------------------------------------------------- options */

bool smig_s3_refuse_option(smig_error_t *error, const char *option, const char *why) {
  smig_error_set(error, SMIG_INVALID_OPTIONS, "%s %s", option, why);
  bson_t *details = smig_error_details(error);
  if (details) BSON_APPEND_UTF8(details, "option", option);
  return false;
}

static bool is_one_of(const char *value, const char *const *values) {
  for (; *values; values++)
    if (strcmp(value, *values) == 0) return true;
  return false;
}

static bool is_printable(const char *value) {
  for (; value && *value; value++)
    if (*value < ' ' || *value > '~') return false;
  return true;
}

static bool check_config(const smig_s3_config_t *config, smig_error_t *error) {
  static const char *const styles[] = {"path", "virtual", NULL};
  static const char *const sses[] = {"AES256", "aws:kms", "aws:kms:dsse", NULL};
  if (config->style && !is_one_of(config->style, styles))
    return smig_s3_refuse_option(error, "s3.style", "must be path or virtual");
  if (config->region && !smig_s3_is_region(config->region))
    return smig_s3_refuse_option(error, "s3.region",
                                 "must be a name of letters, digits and hyphens, for example eu-central-1");
  if (!config->access_key_id != !config->secret_access_key)
    return smig_s3_refuse_option(error, config->access_key_id ? "s3.secret_access_key" : "s3.access_key_id",
                                 "is missing; the two are given together");
  if (config->session_token && !config->access_key_id)
    return smig_s3_refuse_option(error, "s3.session_token", "needs access_key_id and secret_access_key");
  if (!is_printable(config->access_key_id) || !is_printable(config->session_token))
    return smig_s3_refuse_option(error, "s3.access_key_id or s3.session_token", "holds characters that no key has");
  if (config->sse && !is_one_of(config->sse, sses))
    return smig_s3_refuse_option(error, "s3.sse", "must be AES256, aws:kms or aws:kms:dsse");
  if (config->sse_kms_key_id && (!config->sse || strcmp(config->sse, "AES256") == 0))
    return smig_s3_refuse_option(error, "s3.sse_kms_key_id", "needs s3.sse to be aws:kms or aws:kms:dsse");
  if (!is_printable(config->sse_kms_key_id))
    return smig_s3_refuse_option(error, "s3.sse_kms_key_id", "is no key's name");
  if (!is_printable(config->expected_bucket_owner))
    return smig_s3_refuse_option(error, "s3.expected_bucket_owner", "is no account's id");
  return true;
}

static const char *from_environment(const char *name) {
  const char *value = getenv(name);
  return value && *value ? value : NULL;
}

static bool set_endpoint(smig_s3_t *client, smig_error_t *error) {
  const char *option = "s3.endpoint", *url = client->config.endpoint;
  if (!url) url = from_environment(option = "AWS_ENDPOINT_URL_S3");
  if (!url) url = from_environment(option = "AWS_ENDPOINT_URL");
  if (!url) {
    bool china = strncmp(client->region, "cn-", 3) == 0;
    client->endpoint_text = bson_strdup_printf("https://s3.%s.amazonaws.com%s", client->region, china ? ".cn" : "");
    client->endpoint.tls = true;
    return true;
  }
  client->has_endpoint = true;
  if (!smig_s3_endpoint_parse(url, option, client->config.insecure, &client->endpoint, error)) return false;
  client->endpoint_text = bson_strdup_printf("%s://%s%s", client->endpoint.tls ? "https" : "http",
                                             client->endpoint.authority, client->endpoint.path);
  if (client->endpoint.is_address && client->config.style && strcmp(client->config.style, "virtual") == 0)
    return smig_s3_refuse_option(error, "s3.style",
                                 "cannot be virtual where the endpoint is an address; name the host, or use path");
  return true;
}

/* ------------------------------------------------------------ open and free */

smig_s3_t *smig_s3_open(const smig_s3_config_t *config, smig_error_t *error) {
  smig_s3_t *client = bson_malloc0(sizeof *client);
  copy_config(&client->config, config);
  client->stall_s = SMIG_S3_STALL_S;
  client->credentials = smig_credentials_new(&client->config);
  bool good = check_config(&client->config, error);
  if (good) {
    const char *region = client->config.region;
    if (!region) region = smig_credentials_region(client->credentials);
    client->region = bson_strdup(region ? region : "us-east-1");
    good = smig_s3_is_region(client->region) || smig_s3_refuse_option(error, "the region of the environment or profile",
                                                                      "must be a name of letters, digits and hyphens");
  }
  if (good && set_endpoint(client, error)) {
    const char *ca_file = client->config.ca_file;
    client->ca_file = bson_strdup(ca_file ? ca_file : from_environment("AWS_CA_BUNDLE"));
    return client;
  }
  smig_s3_free(client);
  return NULL;
}

smig_s3_t *smig_s3_reopen(const smig_s3_t *client, int64_t limit_ms, smig_error_t *error) {
  smig_s3_t *other = smig_s3_open(&client->config, error);
  if (other) smig_s3_limit(other, limit_ms);
  return other;
}

void smig_s3_free(smig_s3_t *client) {
  if (!client) return;
  while (client->exchanges) smig_s3_abandon(client->exchanges);
  smig_s3_hasher_free(client->hasher);
  while (client->idle_count) client->curl->easy_cleanup(client->idle[--client->idle_count]);
  if (client->multi) client->curl->multi_cleanup(client->multi);
  smig_credentials_free(client->credentials);
  smig_s3_signing_key_release(&client->signing_key);
  smig_s3_fields_release(&client->bucket_regions);
  smig_s3_endpoint_release(&client->endpoint);
  bson_free(client->endpoint_text);
  bson_free(client->region);
  bson_free(client->ca_file);
  release_config(&client->config);
  bson_free(client);
}

static void wake(void *user) {
  smig_s3_t *client = user;
  client->curl->multi_wakeup(client->multi);
}

bool smig_s3_client_prepare(smig_s3_t *client, smig_error_t *error) {
  if (client->multi) return true;
  client->curl = smig_curl(error);
  if (!client->curl) return false;
  client->multi = client->curl->multi_init();
  if (!client->multi) {
    smig_error_set_foreign(error, "libcurlMissing", "libcurl does not start; is memory left?");
    return false;
  }
  client->curl->multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)SMIG_S3_IDLE_HANDLES);
  client->hasher = smig_s3_hasher_new(wake, client);
  return true;
}

/* -------------------------------------------------------------- properties */

const char *smig_s3_bucket(const smig_s3_t *client) {
  return client->config.bucket;
}

const char *smig_s3_endpoint(const smig_s3_t *client) {
  return client->endpoint_text;
}

bool smig_s3_credentials(smig_s3_t *client, const char **origin, const char **access_key_id, smig_error_t *error) {
  const smig_s3_credentials_t *found;
  *origin = *access_key_id = NULL;
  if (!smig_credentials_get(client->credentials, false, &found, error)) return false;
  *origin = smig_credentials_origin(client->credentials);
  *access_key_id = found->access_key_id;
  return true;
}

bool smig_s3_is_tls(const smig_s3_t *client) {
  return client->endpoint.tls;
}

const struct smig_guard *smig_s3_set_guard(smig_s3_t *client, const struct smig_guard *guard) {
  const struct smig_guard *former = client->guard;
  client->guard = guard;
  smig_credentials_set_guard(client->credentials, guard);
  return former;
}

int64_t smig_s3_time_left_ms(const smig_s3_t *client, int64_t wanted_ms) {
  return client->guard ? smig_guard_time_left_ms(client->guard, wanted_ms) : wanted_ms;
}

void smig_s3_limit(smig_s3_t *client, int64_t limit_ms) {
  client->limit_ms = smig_guard_call_limit_ms(client->guard, limit_ms);
}

const char *smig_s3_region_of(const smig_s3_t *client, const char *bucket) {
  const char *region = smig_s3_fields_get(&client->bucket_regions, bucket ? bucket : "");
  return region ? region : client->region;
}

void smig_s3_remember_region(smig_s3_t *client, const char *bucket, const char *region) {
  smig_s3_fields_t *known = &client->bucket_regions;
  for (size_t i = 0; i < known->count; i++)
    if (strcmp(known->items[i].name, bucket ? bucket : "") == 0) {
      bson_free(known->items[i].value);
      known->items[i].value = bson_strdup(region);
      return;
    }
  smig_s3_fields_add(known, bucket ? bucket : "", region);
}
