/*
 * Roles taken on by AWS's Security Token Service: AssumeRole (signed with other keys) and AssumeRoleWithWebIdentity (a token from a
 * file), see credentials_source.h. The endpoint is the region's, or AWS_ENDPOINT_URL_STS.
 */
#include "credentials_source.h"

#include "clock.h"
#include "fetch.h"
#include "secrets.h"
#include "text.h"

#include <inttypes.h>
#include <string.h>

enum { TIMEOUT_MS = 10000, MAX_SHOWN = 300 };

/* Without a slash at its end. bson_free. */
static char *endpoint_of(const char *region) {
  const char *given = smig_environment("AWS_ENDPOINT_URL_STS");
  if (!given)
    return bson_strdup_printf("https://sts.%s.amazonaws.com%s", region, strncmp(region, "cn-", 3) ? "" : ".cn");
  size_t length = strlen(given);
  while (length > 0 && given[length - 1] == '/') length--;
  return bson_strndup(given, length);
}

/* The token of a web identity, which Kubernetes writes anew now and then (bson_free), or NULL with *error. */
static char *read_token(const smig_role_t *role, smig_error_t *error) {
  bool missing;
  char *token = smig_read_text(role->token_file, &missing, error);
  if (missing)
    smig_search_failed(error, "%s: '%s', its web identity token, is not there", role->source, role->token_file);
  if (!token) return NULL;
  token[strcspn(token, " \t\r\n")] = '\0';
  if (*token) {
    smig_secret_learn(token, strlen(token));
    return token;
  }
  smig_search_failed(error, "%s: '%s' holds no web identity token", role->source, role->token_file);
  bson_free(token);
  return NULL;
}

/* The form that is posted (bson_free), or NULL with *error. */
static char *form_of(const smig_role_t *role, smig_error_t *error) {
  smig_s3_fields_t form = {0};
  char *own_name = bson_strdup_printf("smartmigration-%" PRId64, smig_clock_wall_ms()), *token = NULL, *out = NULL;
  smig_s3_fields_add(&form, "Action", role->token_file ? "AssumeRoleWithWebIdentity" : "AssumeRole");
  smig_s3_fields_add(&form, "Version", "2011-06-15");
  smig_s3_fields_add(&form, "RoleArn", role->arn);
  smig_s3_fields_add(&form, "RoleSessionName", role->session_name ? role->session_name : own_name);
  if (role->external_id) smig_s3_fields_add(&form, "ExternalId", role->external_id);
  if (role->duration_s) smig_s3_fields_add(&form, "DurationSeconds", role->duration_s);
  if (role->token_file) token = read_token(role, error);
  if (token) smig_s3_fields_add(&form, "WebIdentityToken", token);
  if (token || !role->token_file) out = smig_s3_canonical_query(&form);
  smig_s3_fields_release(&form);
  bson_free(token);
  bson_free(own_name);
  return out;
}

/* Host, date and, with keys to sign with, the signature. */
static void add_headers(const smig_role_t *role, const char *url, const char *region, const char *form,
                        smig_s3_fields_t *headers) {
  const char *scheme_end = strstr(url, "://"), *host_start = scheme_end ? scheme_end + 3 : url;
  const char *path = strchr(host_start, '/');
  char *host = bson_strndup(host_start, (size_t)(path - host_start));
  char date[SMIG_S3_DATE_SIZE], hash[SMIG_S3_HEX_SIZE];
  int64_t now_wall_ms = smig_clock_wall_ms();
  smig_s3_amz_date(now_wall_ms, date);
  smig_s3_sha256_hex(form, strlen(form), hash);
  smig_s3_fields_add(headers, "content-type", "application/x-www-form-urlencoded; charset=utf-8");
  smig_s3_fields_add(headers, "host", host);
  bson_free(host);
  smig_s3_fields_add(headers, "x-amz-date", date);
  if (!role->signed_with) return;
  const smig_keys_t *keys = role->signed_with;
  if (keys->session_token) smig_s3_fields_add(headers, "x-amz-security-token", keys->session_token);
  smig_s3_credentials_t credentials = {keys->access_key_id, keys->secret_access_key, keys->session_token, 0};
  smig_s3_fields_t none = {0};
  smig_s3_signing_t signing = {.method = "POST",
                               .path = path,
                               .query = &none,
                               .headers = headers,
                               .payload_hash = hash,
                               .region = region,
                               .service = "sts",
                               .now_wall_ms = now_wall_ms,
                               .credentials = &credentials};
  char *authorization = smig_s3_authorization(&signing);
  smig_s3_fields_add(headers, "authorization", authorization);
  bson_free(authorization);
}

/* What the service has against the request: "ExpiredTokenException: the token is expired". */
static void fail_by_answer(const smig_role_t *role, const char *endpoint, int status, const smig_xml_node_t *root,
                           smig_error_t *error) {
  const smig_xml_node_t *told = smig_xml_child(root, "Error");
  const char *code = smig_xml_text(told, "Code"), *message = smig_xml_text(told, "Message");
  char *shown_code = smig_text_escape(code, code ? strlen(code) : 0, MAX_SHOWN);
  char *shown = smig_text_escape(message, message ? strlen(message) : 0, MAX_SHOWN);
  smig_search_failed(error, "%s: %s refused the role '%s' with status %d%s%s%s%s", role->source, endpoint, role->arn,
                     status, *shown_code ? ", " : "", shown_code, *shown ? ": " : "", shown);
  bson_free(shown);
  bson_free(shown_code);
}

static smig_search_t read_answer(const smig_role_t *role, const char *endpoint, const smig_fetched_t *fetched,
                                 smig_keys_t *keys, smig_error_t *error) {
  smig_xml_t *xml = smig_xml_parse(fetched->body, fetched->length, NULL);
  const smig_xml_node_t *root = xml ? smig_xml_root(xml) : NULL;
  const char *result = role->token_file ? "AssumeRoleWithWebIdentityResult" : "AssumeRoleResult";
  const smig_xml_node_t *given = smig_xml_child(smig_xml_child(root, result), "Credentials");
  const char *id = smig_xml_text(given, "AccessKeyId"), *secret = smig_xml_text(given, "SecretAccessKey");
  const char *token = smig_xml_text(given, "SessionToken");
  int64_t expires_wall_ms;
  smig_search_t outcome = SMIG_SEARCH_FAILED;
  if (fetched->status != 200) {
    fail_by_answer(role, endpoint, fetched->status, root, error);
  } else if (!id || !secret || !token || !smig_clock_from_iso(smig_xml_text(given, "Expiration"), &expires_wall_ms)) {
    smig_search_failed(error, "%s: %s answered without credentials: is it a security token service?", role->source,
                       endpoint);
  } else {
    smig_keys_set(keys, id, secret, token);
    keys->expires_wall_ms = expires_wall_ms;
    outcome = SMIG_SEARCH_FOUND;
  }
  smig_xml_free(xml);
  return outcome;
}

smig_search_t smig_credentials_assume_role(const smig_role_t *role, const smig_source_options_t *options,
                                           smig_keys_t *keys, smig_error_t *error) {
  char *form = form_of(role, error);
  if (!form) return SMIG_SEARCH_FAILED;
  char *endpoint = endpoint_of(options->region), *url = bson_strdup_printf("%s/", endpoint);
  smig_s3_fields_t headers = {0};
  add_headers(role, url, options->region, form, &headers);
  smig_fetch_t request = {.method = "POST",
                          .url = url,
                          .headers = &headers,
                          .body = form,
                          .ca_file = options->ca_file,
                          .timeout_ms = TIMEOUT_MS,
                          .guard = options->guard};
  smig_fetched_t fetched;
  smig_error_t why = SMIG_ERROR_INIT;
  smig_search_t outcome = SMIG_SEARCH_FAILED;
  if (smig_fetch(&request, &fetched, &why))
    outcome = read_answer(role, endpoint, &fetched, keys, error);
  else
    smig_search_failed(error, "%s: %s", role->source, why.message);
  smig_error_release(&why);
  smig_fetched_release(&fetched);
  smig_s3_fields_release(&headers);
  bson_free(url);
  bson_free(endpoint);
  bson_free(form);
  return outcome;
}
