/*
 * The history in S3: one object a run, "<ledger id without .json>/history/<run id>.json". Each write is tried once: nothing depends on it.
 * See s3_ledger_internal.h.
 */
#include "s3_ledger_internal.h"

#include "s3_listing.h"

enum { TOGETHER = 16 }; /* objects that are read or removed at the same time */

char *smig_s3_history_prefix(const char *ledger_id) {
  size_t length = strlen(ledger_id);
  if (length > 5 && strcmp(ledger_id + length - 5, ".json") == 0) length -= 5;
  return bson_strdup_printf("%.*s/history/", (int)length, ledger_id);
}

static bool fail(const smig_s3_ledger_t *self, const char *what, smig_error_t *lower, smig_error_t *error) {
  smig_s3_object_fail(self->base.place, what, lower, error);
  return false;
}

bool smig_s3_ledger_history_write(smig_ledger_t *base, const smig_lease_t *lease, const bson_t *document,
                                  smig_error_t *error) {
  smig_s3_ledger_t *self = smig_s3_ledger_of(base);
  char *prefix = smig_s3_history_prefix(self->key), *key = bson_strdup_printf("%s%s.json", prefix, lease->run_id);
  char *text = bson_as_relaxed_extended_json(document, NULL);
  smig_s3_request_t request = {.operation = "put",
                               .method = "PUT",
                               .bucket = self->bucket,
                               .key = key,
                               .key_length = strlen(key),
                               .creates_object = true,
                               .body = text,
                               .body_length = strlen(text)};
  smig_s3_response_t response;
  smig_error_t lower = SMIG_ERROR_INIT;
  smig_s3_fields_add(&request.headers, "content-type", "application/json");
  smig_s3_limit(self->object.client, self->object.limit_ms);
  bool good = smig_s3_perform(self->object.client, &request, &response, &lower);
  smig_s3_limit(self->object.client, 0);
  smig_s3_response_release(&response);
  smig_s3_fields_release(&request.headers);
  bson_free(text);
  bson_free(key);
  bson_free(prefix);
  return good || fail(self, "write the history of", &lower, error);
}

/* ------------------------------------------------------------------ all of it */

typedef struct keys {
  char **list;
  size_t count;
} keys_t;

static bool note_key(const char *key, size_t length, void *user) {
  keys_t *keys = user;
  if ((keys->count & (keys->count - 1)) == 0) /* full at every power of two */
    keys->list = bson_realloc(keys->list, (keys->count ? keys->count * 2 : 1) * sizeof *keys->list);
  keys->list[keys->count++] = bson_strndup(key, length);
  return true;
}

static void release_keys(keys_t *keys) {
  for (size_t i = 0; i < keys->count; i++) bson_free(keys->list[i]);
  bson_free(keys->list);
}

/* Called with each answer; what is gone meanwhile is left out. */
typedef void (*answer_fn)(const char *key, const smig_s3_response_t *response, void *user);

/* Asks for some keys at the same time. */
static bool ask_some(smig_s3_ledger_t *self, const char *method, char *const *keys, size_t count, answer_fn each,
                     void *user, smig_error_t *lower) {
  smig_s3_exchange_t *exchanges[TOGETHER];
  bool good = true;
  for (size_t i = 0; i < count; i++) {
    smig_s3_request_t request = {.operation = strcmp(method, "GET") == 0 ? "get" : "delete",
                                 .method = method,
                                 .bucket = self->bucket,
                                 .key = keys[i],
                                 .key_length = strlen(keys[i])};
    exchanges[i] = smig_s3_start(self->object.client, &request);
  }
  for (size_t i = 0; i < count; i++) {
    smig_s3_response_t response;
    smig_error_t failure = SMIG_ERROR_INIT;
    bool answered = smig_s3_finish(exchanges[i], &response, &failure);
    if (answered)
      each(keys[i], &response, user);
    else if (good && smig_s3_status(&failure) != 404) {
      smig_error_move(lower, &failure);
      good = false;
    }
    smig_error_release(&failure);
    smig_s3_response_release(&response);
  }
  return good;
}

static bool ask_all(smig_s3_ledger_t *self, const char *method, const keys_t *keys, answer_fn each, void *user,
                    smig_error_t *lower) {
  bool good = true;
  for (size_t from = 0; good && from < keys->count; from += TOGETHER) {
    size_t left = keys->count - from;
    smig_s3_limit(self->object.client, self->object.limit_ms);
    good = ask_some(self, method, keys->list + from, left < TOGETHER ? left : TOGETHER, each, user, lower);
  }
  smig_s3_limit(self->object.client, 0);
  return good;
}

static bool list_keys(smig_s3_ledger_t *self, keys_t *keys, smig_error_t *lower) {
  char *prefix = smig_s3_history_prefix(self->key);
  smig_s3_limit(self->object.client, self->object.limit_ms);
  bool good = smig_s3_list(self->object.client, self->bucket, prefix, "/", note_key, keys, lower);
  smig_s3_limit(self->object.client, 0);
  bson_free(prefix);
  return good;
}

/* What is no document is nobody's history. NULL; else bson_destroy. */
static bson_t *document_of(const smig_s3_response_t *response) {
  return response->body_length
             ? bson_new_from_json((const uint8_t *)response->body, (ssize_t)response->body_length, NULL)
             : NULL;
}

typedef struct listing {
  bson_t *list;
  uint32_t count;
} listing_t;

static void add_document(const char *key, const smig_s3_response_t *response, void *user) {
  (void)key;
  listing_t *listing = user;
  char buffer[16];
  const char *index;
  bson_t *document = document_of(response);
  if (!document) return;
  bson_uint32_to_string(listing->count++, &index, buffer, sizeof buffer);
  BSON_APPEND_DOCUMENT(listing->list, index, document);
  bson_destroy(document);
}

bool smig_s3_ledger_history_list(smig_ledger_t *base, bson_t *list, smig_error_t *error) {
  smig_s3_ledger_t *self = smig_s3_ledger_of(base);
  smig_error_t lower = SMIG_ERROR_INIT;
  keys_t keys = {0};
  listing_t listing = {.list = list};
  bool good = list_keys(self, &keys, &lower) && ask_all(self, "GET", &keys, add_document, &listing, &lower);
  release_keys(&keys);
  return good || fail(self, "read the history of", &lower, error);
}

typedef struct pruning {
  const char *before;
  keys_t keys;
} pruning_t;

static void note_older(const char *key, const smig_s3_response_t *response, void *user) {
  pruning_t *pruning = user;
  bson_iter_t iter;
  bson_t *document = document_of(response);
  if (document && bson_iter_init_find(&iter, document, "startedAt") && BSON_ITER_HOLDS_UTF8(&iter) &&
      strcmp(bson_iter_utf8(&iter, NULL), pruning->before) < 0)
    note_key(key, strlen(key), &pruning->keys);
  bson_destroy(document);
}

static void count_removed(const char *key, const smig_s3_response_t *response, void *user) {
  (void)key;
  (void)response;
  (*(int64_t *)user)++;
}

bool smig_s3_ledger_history_prune(smig_ledger_t *base, const char *before, int64_t *removed, smig_error_t *error) {
  smig_s3_ledger_t *self = smig_s3_ledger_of(base);
  smig_error_t lower = SMIG_ERROR_INIT;
  keys_t keys = {0};
  pruning_t pruning = {.before = before};
  *removed = 0;
  bool good = list_keys(self, &keys, &lower) && ask_all(self, "GET", &keys, note_older, &pruning, &lower) &&
              ask_all(self, "DELETE", &pruning.keys, count_removed, removed, &lower);
  release_keys(&keys);
  release_keys(&pruning.keys);
  return good || fail(self, "prune the history of", &lower, error);
}
