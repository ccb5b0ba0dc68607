/* Looking around in a bucket before a bootstrap, see s3_survey.h. Source of the rules: the contract, section 4. */
#include "s3_survey.h"

#include "s3_ledger.h"
#include "s3_listing.h"
#include "s3_object.h"
#include "s3_probe.h"

#include <stdlib.h>
#include <string.h>

enum { LIMIT_MS = 10000 };

static const char home[] = ".smartmigration/";

typedef struct look {
  smig_s3_t *client;
  const char *bucket;
  const smig_surroundings_t *around;
  char *place; /* for messages: "s3 http://127.0.0.1:7070 uploads" */
  char *own, *history,
      *scratch; /* the key of the ledger that this program would have here; prefixes of what belongs to it */
} look_t;

static void begin(look_t *look, smig_s3_t *client, const char *bucket, const smig_surroundings_t *around) {
  *look = (look_t){.client = client, .bucket = bucket, .around = around};
  look->place = bson_strdup_printf("s3 %s %s", smig_s3_endpoint(client), bucket);
  look->own =
      around->ledger_id ? bson_strdup(around->ledger_id) : bson_strdup_printf("%s%s.json", home, around->ledger_name);
  look->history = smig_s3_history_prefix(look->own);
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

/* ----------------------------------------------------------------- freshness */

static bool begins(const char *key, const char *prefix) {
  return strncmp(key, prefix, strlen(prefix)) == 0;
}

static bool is_own(const look_t *look, const char *key) {
  return strcmp(key, look->own) == 0 || begins(key, look->history) || begins(key, look->scratch);
}

typedef struct freshness {
  const look_t *look;
  const char *pattern; /* an entry of the scope and `*` behind it; NULL: everything */
  char **why;
} freshness_t;

static bool look_at(const char *key, size_t length, void *user) {
  const freshness_t *freshness = user;
  const look_t *look = freshness->look;
  if (is_own(look, key) || (freshness->pattern && !smig_glob(freshness->pattern, key))) return true;
  char *valid = bson_utf8_validate(key, length, false) ? bson_strdup(key) : bson_strdup("whose key is not UTF-8");
  *freshness->why = bson_strdup_printf("bucket %s has the object %s", look->bucket, valid);
  bson_free(valid);
  return false;
}

static bool look_in_scope(const look_t *look, const char *entry, char **why, smig_error_t *lower) {
  char *pattern = bson_strdup_printf("%s*", entry), *prefix = bson_strndup(entry, strcspn(entry, "*"));
  bool good =
      smig_s3_list(look->client, look->bucket, prefix, NULL, look_at, &(freshness_t){look, pattern, why}, lower);
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
  if (!around->scope) good = smig_s3_list(client, bucket, "", NULL, look_at, &(freshness_t){&look, NULL, why}, &lower);
  for (const char *const *entry = around->scope; entry && *entry && good && !*why; entry++)
    good = look_in_scope(&look, *entry, why, &lower);
  if (!good) smig_s3_object_fail(look.place, "look whether the data is fresh in", &lower, error);
  end(&look);
  return good;
}

/* ----------------------------------------------------------------- elsewhere */

typedef struct others {
  const look_t *look;
  bson_string_t *names;
  size_t count;
} others_t;

static bool note_other(const char *key, size_t length, void *user) {
  others_t *others = user;
  bool is_ledger = length > 5 && strcmp(key + length - 5, ".json") == 0 && bson_utf8_validate(key, length, false);
  if (is_ledger && !is_own(others->look, key)) smig_add_name(others->names, &others->count, key);
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

bool smig_s3_look_elsewhere(smig_s3_t *client, const char *bucket, const smig_surroundings_t *around,
                            bson_string_t *others, smig_error_t *error) {
  look_t look;
  smig_error_t lower = SMIG_ERROR_INIT;
  others_t names = {&look, others, 0};
  bool found = false;
  begin(&look, client, bucket, around);
  bool good = smig_s3_list(client, bucket, home, "/", note_other, &names, &lower);
  if (!good) smig_s3_object_fail(look.place, "look for other ledgers in", &lower, error);
  if (good && !around->ledger_id) good = look_under(&look, look.own, &found, error);
  char *plain = bson_strdup_printf("%s.json", around->ledger_name);
  if (good && !found && strcmp(plain, look.own) != 0) good = look_under(&look, plain, &found, error);
  bson_free(plain);
  end(&look);
  return good && !found;
}
