/*
 * Where requests go: the endpoint's URL, and a request's host and path in path or virtual style. Pure. Users: s3/client, send, presign.
 * Errors: INVALID_OPTIONS of the endpoint, "InvalidArgument" of a bucket or key.
 */
#include "internal.h"

#include "text.h"

#include <arpa/inet.h>
#include <string.h>

/* -------------------------------------------------------------------- URLs */

static bool is_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z');
}

bool smig_s3_is_region(const char *region) {
  size_t length = strlen(region);
  for (size_t i = 0; i < length; i++)
    if (!is_alnum(region[i]) && region[i] != '-' && region[i] != '_') return false;
  return length > 0 && length < 64;
}

static bool starts_with(const char *text, const char *prefix) {
  for (; *prefix; text++, prefix++)
    if (smig_s3_lower(*text) != *prefix) return false;
  return true;
}

/* The port's digits: 1 to 65535. */
static bool is_port(const char *digits) {
  long port = 0;
  for (const char *c = digits; *c; c++) {
    if (*c < '0' || *c > '9' || c - digits >= 5) return false;
    port = port * 10 + (*c - '0');
  }
  return port >= 1 && port <= 65535;
}

static bool is_host_name(const char *host) {
  for (const char *c = host; *c; c++)
    if (!is_alnum(*c) && *c != '-' && *c != '.' && *c != '_') return false;
  return *host && *host != '.';
}

/* Splits "host:port" or "[::1]:port" in place; *port is NULL when there is none. */
static bool split(char *authority, char **port, bool *is_address, bool *is_loopback) {
  struct in_addr four;
  struct in6_addr six;
  *port = NULL;
  if (*authority == '[') {
    char *end = strchr(authority, ']');
    if (!end || (end[1] && end[1] != ':')) return false;
    *end = '\0';
    *is_address = inet_pton(AF_INET6, authority + 1, &six) == 1;
    *is_loopback = *is_address && IN6_IS_ADDR_LOOPBACK(&six);
    *end = ']';
    if (end[1]) {
      *port = end + 2;
      end[1] = '\0';
    }
    return *is_address;
  }
  char *colon = strchr(authority, ':');
  if (colon) {
    *colon = '\0';
    *port = colon + 1;
  }
  *is_address = inet_pton(AF_INET, authority, &four) == 1;
  *is_loopback = *is_address ? ntohl(four.s_addr) >> 24 == 127 : strcmp(authority, "localhost") == 0;
  return is_host_name(authority);
}

static bool is_path(const char *path) {
  for (const char *c = path; *c; c++)
    if (*c <= ' ' || *c > '~' || strchr("\"<>\\^`{|}", *c)) return false;
  return true;
}

bool smig_s3_endpoint_parse(const char *url, const char *option, bool insecure, smig_s3_endpoint_t *endpoint,
                            smig_error_t *error) {
  *endpoint = (smig_s3_endpoint_t){.tls = starts_with(url, "https://")};
  if (!endpoint->tls && !starts_with(url, "http://"))
    return smig_s3_refuse_option(error, option, "must begin with https:// or http://");
  const char *rest = url + (endpoint->tls ? 8 : 7);
  if (strpbrk(rest, "?#"))
    return smig_s3_refuse_option(error, option, "must be scheme, host, port and path alone, without ? and #");
  if (strchr(rest, '@'))
    return smig_s3_refuse_option(
        error, option,
        "holds a user or password; give them as access_key_id and secret_access_key or in the environment");
  size_t length = strcspn(rest, "/");
  char *authority = bson_strndup(rest, length), *port;
  for (char *c = authority; *c; c++) *c = smig_s3_lower(*c);
  bool is_loopback, good = split(authority, &port, &endpoint->is_address, &is_loopback);
  if (!good)
    smig_s3_refuse_option(error, option, "has no host that can be understood");
  else if (port && !(good = is_port(port)))
    smig_s3_refuse_option(error, option, "has a port that is not a number from 1 to 65535");
  else if (!(good = is_path(rest + length)))
    smig_s3_refuse_option(error, option, "has a path with characters that must be percent-encoded");
  else if (!(good = endpoint->tls || is_loopback || insecure))
    smig_s3_refuse_option(error, option, "is plain http to another machine; use https, or set insecure to allow it");
  if (good) {
    size_t path_length = strlen(rest + length);
    while (path_length && rest[length + path_length - 1] == '/') path_length--;
    bool shows_port = port && strcmp(port, endpoint->tls ? "443" : "80") != 0;
    endpoint->authority = bson_strdup_printf("%s%s%s", authority, shows_port ? ":" : "", shows_port ? port : "");
    endpoint->path = bson_strndup(rest + length, path_length);
  }
  bson_free(authority);
  return good;
}

void smig_s3_endpoint_release(smig_s3_endpoint_t *endpoint) {
  bson_free(endpoint->authority);
  bson_free(endpoint->path);
  *endpoint = (smig_s3_endpoint_t){0};
}

/* ----------------------------------------------------------------- targets */

/* A name that can stand in a host name. */
static bool is_dns_bucket(const char *bucket) {
  size_t length = strlen(bucket);
  if (length < 3 || length > 63) return false;
  for (size_t i = 0; i < length; i++) {
    char c = bucket[i];
    bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (!letter && !((c == '-' || c == '.') && i > 0 && i < length - 1)) return false;
    if (c == '.' && bucket[i - 1] == '.') return false;
  }
  return true;
}

static bool is_virtual(const smig_s3_t *client, const char *bucket) {
  if (client->config.style) return strcmp(client->config.style, "virtual") == 0;
  return !client->has_endpoint && is_dns_bucket(bucket) && !strchr(bucket, '.');
}

static bool refuse_name(smig_error_t *error, const char *what, const char *name, const char *why) {
  char *shown = smig_text_escape(name, strlen(name), 100);
  smig_error_set_foreign(error, "InvalidArgument", "%s '%s' %s", what, shown, why);
  bson_free(shown);
  return false;
}

static char *service_host(const smig_s3_t *client, const char *region) {
  if (client->has_endpoint) return bson_strdup(client->endpoint.authority);
  return bson_strdup_printf("s3.%s.amazonaws.com%s", region, strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
}

bool smig_s3_target(const smig_s3_t *client, const smig_s3_request_t *request, const char *region,
                    smig_s3_target_t *target, smig_error_t *error) {
  *target = (smig_s3_target_t){0};
  const char *bucket = request->bucket, *base = client->has_endpoint ? client->endpoint.path : "";
  if (bucket && (!*bucket || strchr(bucket, '/') || strcmp(bucket, ".") == 0 || strcmp(bucket, "..") == 0))
    return refuse_name(error, "bucket", bucket, "is no name of a bucket");
  if (request->key && !request->key_length) return refuse_name(error, "key", "", "is empty; an object has a name");
  if (request->key && !bucket) return refuse_name(error, "bucket", "", "is missing; a key needs one");
  bool virtual = bucket && is_virtual(client, bucket);
  if (virtual && !is_dns_bucket(bucket))
    return refuse_name(error, "bucket", bucket, "cannot stand in a host name; use style path");
  char *host = service_host(client, region);
  char *key = request->key ? smig_s3_encode(request->key, request->key_length, true) : NULL;
  if (virtual) {
    target->host = bson_strdup_printf("%s.%s", bucket, host);
    target->path = bson_strdup_printf("%s/%s", base, key ? key : "");
    bson_free(host);
  } else {
    char *name = bucket ? smig_s3_encode(bucket, strlen(bucket), false) : NULL;
    target->host = host;
    target->path = bson_strdup_printf("%s/%s%s%s", base, name ? name : "", key ? "/" : "", key ? key : "");
    bson_free(name);
  }
  bson_free(key);
  return true;
}

void smig_s3_target_release(smig_s3_target_t *target) {
  bson_free(target->host);
  bson_free(target->path);
}
