/* Looking around in a bucket before a bootstrap, see s3_survey.h. Source of the rules: the contract, section 4. */
#include "s3_survey.h"

#include "s3_object.h"
#include "s3_probe.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE = 100, LIMIT_MS = 10000 };

static const char home[] = ".smartmigration/";

typedef struct look {
  smig_s3_t *client;
  const char *bucket;
  const smig_surroundings_t *around;
  char *place;                   /* for messages: "s3 http://127.0.0.1:7070 uploads" */
  char *own, *history, *scratch; /* the key of the ledger that this program would have here; prefixes of what belongs to it */
} look_t;

static void begin(look_t *look, smig_s3_t *client, const char *bucket, const smig_surroundings_t *around) {
  *look = (look_t){.client = client, .bucket = bucket, .around = around};
  look->place = bson_strdup_printf("s3 %s %s", smig_s3_endpoint(client), bucket);
  look->own = around->ledger_id ? bson_strdup(around->ledger_id)
                                : bson_strdup_printf("%s%s.json", home, around->ledger_name);
  size_t stem = strlen(look->own);
  if (stem > 5 && strcmp(look->own + stem - 5, ".json") == 0) stem -= 5;
  look->history = bson_strdup_printf("%.*s/history/", (int)stem, look->own);
  look->scratch = smig_s3_probe_prefix(look->own);
  smig_s3_limit(client, LIMIT_MS);
}

static void end(look_t *look) {
  smig_s3_limit(look->client, 0);
  bson_free(look->place);
  bson_free(look->own);
  bson_free(look->history);
  bson_free(look->scratch);
}

/* ------------------------------------------------------------------ listings */

/* Called with each key; false ends the listing. */
typedef bool (*key_fn)(const look_t *look, const char *key, size_t length, void *user);

/* One page. *token (bson_free) is where the next one begins; NULL: this was the last, or the listing was ended. */
static bool read_page(const look_t *look, const char *text, size_t length, key_fn each, void *user, char **token,
                      smig_error_t *lower) {
  smig_xml_t *xml = smig_xml_parse(text, length, lower);
  if (!xml) return false;
  const smig_xml_node_t *root = smig_xml_root(xml);
  const char *encoding = smig_xml_text(root, "EncodingType"), *more = smig_xml_text(root, "IsTruncated");
  const char *next = smig_xml_text(root, "NextContinuationToken");
  bool encoded = encoding && strcmp(encoding, "url") == 0, goes_on = true;
  for (const smig_xml_node_t *node = root->first; node && goes_on; node = node->next) {
    const smig_xml_node_t *key = strcmp(node->name, "Contents") == 0 ? smig_xml_child(node, "Key") : NULL;
    if (!key) continue;
    char *name = bson_malloc(key->text_length + 1);
    memcpy(name, key->text, key->text_length + 1);
    size_t name_length = encoded ? smig_s3_decode(name, key->text_length, true) : key->text_length;
    name[name_length] = '\0';
    goes_on = each(look, name, name_length, user);
    bson_free(name);
  }
  *token = goes_on && more && strcmp(more, "true") == 0 ? bson_strdup(next) : NULL;
  smig_xml_free(xml);
  return true;
}

/* All keys that begin with the prefix, page by page, until `each` has seen enough; `delimiter` NULL: those of every depth. */
static bool list(const look_t *look, const char *prefix, const char *delimiter, key_fn each, void *user,
                 smig_error_t *lower) {
  char page[16], *token = NULL;
  bool good;
  bson_snprintf(page, sizeof page, "%d", PAGE);
  do {
    smig_s3_request_t request = {.operation = "list", .method = "GET", .bucket = look->bucket};
    smig_s3_response_t response;
    smig_s3_fields_add(&request.query, "list-type", "2");
    smig_s3_fields_add(&request.query, "encoding-type", "url");
    smig_s3_fields_add(&request.query, "max-keys", page);
    if (*prefix) smig_s3_fields_add(&request.query, "prefix", prefix);
    if (delimiter) smig_s3_fields_add(&request.query, "delimiter", delimiter);
    if (token) smig_s3_fields_add(&request.query, "continuation-token", token);
    bson_free(token);
    token = NULL;
    good = smig_s3_perform(look->client, &request, &response, lower) &&
           read_page(look, response.body ? response.body : "", response.body_length, each, user, &token, lower);
    smig_s3_fields_release(&request.query);
    smig_s3_response_release(&response);
  } while (good && token);
  bson_free(token);
  return good;
}

/* ----------------------------------------------------------------- freshness */

static bool begins(const char *key, const char *prefix) {
  return strncmp(key, prefix, strlen(prefix)) == 0;
}

static bool is_own(const look_t *look, const char *key) {
  return strcmp(key, look->own) == 0 || begins(key, look->history) || begins(key, look->scratch);
}

typedef struct freshness {
  const char *pattern; /* an entry of the scope and `*` behind it; NULL: everything */
  char **why;
} freshness_t;

static bool look_at(const look_t *look, const char *key, size_t length, void *user) {
  const freshness_t *freshness = user;
  if (is_own(look, key) || (freshness->pattern && !smig_glob(freshness->pattern, key))) return true;
  char *valid = bson_utf8_validate(key, length, false) ? bson_strdup(key) : bson_strdup("whose key is not UTF-8");
  *freshness->why = bson_strdup_printf("bucket %s has the object %s", look->bucket, valid);
  bson_free(valid);
  return false;
}

static bool look_in_scope(const look_t *look, const char *entry, char **why, smig_error_t *lower) {
  char *pattern = bson_strdup_printf("%s*", entry), *prefix = bson_strndup(entry, strcspn(entry, "*"));
  bool good = list(look, prefix, NULL, look_at, &(freshness_t){pattern, why}, lower);
  bson_free(pattern);
  bson_free(prefix);
  return good;
}

bool smig_s3_is_fresh(smig_s3_t *client, const char *bucket, const smig_surroundings_t *around, char **why,
                      smig_error_t *error) {
  look_t look;
  smig_error_t lower = SMIG_ERROR_INIT;
  bool good = true;
  *why = NULL;
  begin(&look, client, bucket, around);
  if (!around->scope) good = list(&look, "", NULL, look_at, &(freshness_t){NULL, why}, &lower);
  for (const char *const *entry = around->scope; entry && *entry && good && !*why; entry++)
    good = look_in_scope(&look, *entry, why, &lower);
  if (!good) smig_s3_object_fail(look.place, "look whether the data is fresh in", &lower, error);
  end(&look);
  return good;
}

/* ----------------------------------------------------------------- elsewhere */

typedef struct others {
  bson_string_t *names;
  size_t count;
} others_t;

static bool note_other(const look_t *look, const char *key, size_t length, void *user) {
  others_t *others = user;
  bool is_ledger = length > 5 && strcmp(key + length - 5, ".json") == 0 && bson_utf8_validate(key, length, false);
  if (is_ledger && !is_own(look, key)) smig_add_name(others->names, &others->count, key);
  return true;
}

/* A ledger with a version under this key is this program's; *found says so in *error. What is no ledger is somebody's data. */
static bool look_under(const look_t *look, const char *key, bool *found, smig_error_t *error) {
  char *place = bson_strdup_printf("%s/%s", look->place, key);
  smig_s3_object_t object = {
      .client = look->client, .bucket = look->bucket, .key = key, .place = place, .limit_ms = LIMIT_MS};
  smig_s3_snapshot_t snapshot = SMIG_S3_SNAPSHOT_INIT;
  smig_error_t lower = SMIG_ERROR_INIT;
  bson_iter_t version;
  *found = false;
  bool good = smig_s3_object_get(&object, &snapshot, &lower);
  if (!good && lower.code == SMIG_LEDGER_CORRUPT) {
    smig_error_release(&lower);
    good = true;
  } else if (!good) {
    smig_s3_object_fail(look->place, "look for other ledgers in", &lower, error);
  } else if (snapshot.data && bson_iter_init_find(&version, snapshot.data, "currentVersion") &&
             BSON_ITER_HOLDS_UTF8(&version)) {
    smig_set_elsewhere(look->around, place, bson_iter_utf8(&version, NULL), key, look->around->ledger_id ? NULL : "s3",
                       error);
    *found = true;
  }
  smig_s3_snapshot_release(&snapshot);
  bson_free(place);
  return good;
}

bool smig_s3_look_elsewhere(smig_s3_t *client, const char *bucket, const smig_surroundings_t *around, bson_string_t *others,
                            smig_error_t *error) {
  look_t look;
  smig_error_t lower = SMIG_ERROR_INIT;
  others_t names = {others, 0};
  bool found = false;
  begin(&look, client, bucket, around);
  bool good = list(&look, home, "/", note_other, &names, &lower);
  if (!good) smig_s3_object_fail(look.place, "look for other ledgers in", &lower, error);
  if (good && !around->ledger_id) good = look_under(&look, look.own, &found, error);
  char *plain = bson_strdup_printf("%s.json", around->ledger_name);
  if (good && !found && strcmp(plain, look.own) != 0) good = look_under(&look, plain, &found, error);
  bson_free(plain);
  end(&look);
  return good && !found;
}
