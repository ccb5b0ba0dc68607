/* See fetch.h. */
#include "fetch.h"

#include "curl_table.h"
#include "guard.h"

#include <string.h>

enum { TRIES = 2, MAX_BODY = 1 << 20 };

static size_t take(char *bytes, size_t size, size_t count, void *user) {
  smig_fetched_t *fetched = user;
  size_t length = size * count;
  if (length > MAX_BODY - fetched->length) return 0; /* ends the transfer */
  fetched->body = bson_realloc(fetched->body, fetched->length + length + 1);
  memcpy(fetched->body + fetched->length, bytes, length);
  fetched->length += length;
  fetched->body[fetched->length] = '\0';
  return length;
}

static bool permits(const struct smig_guard *guard) {
  return !guard || smig_guard_permits(guard);
}

/* Called at least once a second. */
static int on_progress(void *guard, curl_off_t whole, curl_off_t now, curl_off_t whole_up, curl_off_t now_up) {
  (void)whole, (void)now, (void)whole_up, (void)now_up;
  return !permits(guard);
}

static struct curl_slist *header_list(const smig_curl_t *curl, const smig_s3_fields_t *headers) {
  struct curl_slist *list = NULL;
  for (size_t i = 0; i < headers->count; i++) {
    char *line = bson_strdup_printf("%s: %s", headers->items[i].name, headers->items[i].value);
    list = curl->slist_append(list, line);
    bson_free(line);
  }
  return list;
}

/* "http://169.254.169.254" of an address: the rest may hold a secret. */
static char *host_of(const char *url) {
  const char *host = strstr(url, "://");
  host = host ? host + 3 : url;
  const char *at = host;
  for (const char *c = host; *c && *c != '/' && *c != '?' && *c != '#'; c++) {
    if (*c == '@') at = c + 1;
  }
  return bson_strdup_printf("%.*s%.*s", (int)(host - url), url, (int)strcspn(at, "/?#"), at);
}

static CURLcode fetch_once(const smig_curl_t *curl, CURL *handle, smig_fetched_t *fetched) {
  smig_fetched_release(fetched);
  fetched->body = bson_strdup("");
  CURLcode outcome = curl->easy_perform(handle);
  long status = 0;
  if (outcome == CURLE_OK) curl->easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
  fetched->status = (int)status;
  return outcome;
}

bool smig_fetch(const smig_fetch_t *request, smig_fetched_t *fetched, smig_error_t *error) {
  *fetched = (smig_fetched_t){0};
  const smig_curl_t *curl = smig_curl(error);
  if (!curl) return false;
  CURL *handle = curl->easy_init();
  if (!handle) {
    smig_error_set_foreign(error, "NetworkError", "libcurl gives no handle");
    return false;
  }
  char reason[CURL_ERROR_SIZE] = "";
  struct curl_slist *headers = header_list(curl, request->headers);
  curl->easy_setopt(handle, CURLOPT_URL, request->url);
  curl->easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request->method);
  curl->easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
  curl->easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl->easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl->easy_setopt(handle, CURLOPT_QUICK_EXIT, 1L); /* do not wait for a look-up of names that hangs */
  curl->easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
  curl->easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl->easy_setopt(handle, CURLOPT_XFERINFODATA, request->guard);
  curl->easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
  curl->easy_setopt(handle, CURLOPT_WRITEFUNCTION, take);
  curl->easy_setopt(handle, CURLOPT_WRITEDATA, fetched);
  curl->easy_setopt(handle, CURLOPT_ERRORBUFFER, reason);
  if (request->body) curl->easy_setopt(handle, CURLOPT_POSTFIELDS, request->body);
  if (request->ca_file) curl->easy_setopt(handle, CURLOPT_CAINFO, request->ca_file);
  if (request->no_proxy) curl->easy_setopt(handle, CURLOPT_NOPROXY, "*");

  CURLcode outcome = CURLE_ABORTED_BY_CALLBACK;
  for (int i = 0; i < TRIES && permits(request->guard) && (i == 0 || outcome != CURLE_OK || fetched->status >= 500);
       i++)
    outcome = fetch_once(curl, handle, fetched);
  if (outcome != CURLE_OK) {
    char *host = host_of(request->url);
    smig_error_set_foreign(error, "NetworkError", "%s does not answer: %s", host,
                           *reason ? reason : curl->easy_strerror(outcome));
    bson_free(host);
    smig_fetched_release(fetched);
  }
  curl->slist_free_all(headers);
  curl->easy_cleanup(handle);
  return outcome == CURLE_OK;
}

void smig_fetched_release(smig_fetched_t *fetched) {
  bson_free(fetched->body);
  *fetched = (smig_fetched_t){0};
}
