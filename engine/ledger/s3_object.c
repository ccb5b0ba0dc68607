/* One JSON object in S3, see s3_object.h. */
#include "s3_object.h"

#include "clock.h"
#include "holder.h"
#include "ledger_json.h"

#include <stdlib.h>
#include <string.h>

enum { PAUSE_FIRST_MS = 50, PAUSE_LAST_MS = 400 };

/* ---------------------------------------------------------------- snapshots */

void smig_s3_snapshot_release(smig_s3_snapshot_t *snapshot) {
  bson_destroy(snapshot->data);
  bson_free(snapshot->etag);
  *snapshot = (smig_s3_snapshot_t)SMIG_S3_SNAPSHOT_INIT;
}

void smig_s3_snapshot_move(smig_s3_snapshot_t *to, smig_s3_snapshot_t *from) {
  smig_s3_snapshot_release(to);
  *to = *from;
  *from = (smig_s3_snapshot_t)SMIG_S3_SNAPSHOT_INIT;
}

void smig_s3_snapshot_copy(smig_s3_snapshot_t *to, const smig_s3_snapshot_t *from) {
  smig_s3_snapshot_release(to);
  *to = *from;
  to->data = from->data ? bson_copy(from->data) : NULL;
  to->etag = bson_strdup(from->etag);
}

static const char *nonce_of(const bson_t *data) {
  bson_iter_t iter;
  bool has = data && bson_iter_init_find(&iter, data, "nonce") && BSON_ITER_HOLDS_UTF8(&iter);
  return has ? bson_iter_utf8(&iter, NULL) : NULL;
}

static bool same(const char *left, const char *right) {
  return left && right ? strcmp(left, right) == 0 : left == right;
}

/* ------------------------------------------------------------------- errors */

static bool detail(const smig_error_t *error, const char *key, bson_iter_t *iter) {
  return error->details && bson_iter_init_find(iter, error->details, key);
}

static bool is_true(const smig_error_t *error, const char *key) {
  bson_iter_t iter;
  return detail(error, key, &iter) && bson_iter_as_bool(&iter);
}

static bool is_named(const smig_error_t *error, const char *name) {
  return error->code == SMIG_FOREIGN && strcmp(error->name, name) == 0;
}

int64_t smig_s3_status(const smig_error_t *lower) {
  bson_iter_t iter;
  return lower->code == SMIG_FOREIGN && detail(lower, "status", &iter) ? bson_iter_as_int64(&iter) : 0;
}

bool smig_s3_is_unclear(const smig_error_t *lower) {
  return lower->code == SMIG_FOREIGN && (is_true(lower, "outcome_unknown") || is_true(lower, "retryable"));
}

/* What keeps every request from an answer of the bucket's: the way there, or the credentials. */
static bool is_unreached(const smig_error_t *lower) {
  static const char *const names[] = {"NetworkError",         "CredentialsNotFound",   "InvalidAccessKeyId",
                                      "ExpiredToken",         "SignatureDoesNotMatch", "InvalidToken",
                                      "RequestTimeTooSkewed", "TokenRefreshRequired"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (is_named(lower, names[i])) return true;
  return false;
}

void smig_s3_object_fail(const char *place, const char *what, smig_error_t *lower, smig_error_t *error) {
  if (lower->code != SMIG_FOREIGN) {
    smig_error_move(error, lower);
    return;
  }
  const char *hint = "";
  if (smig_s3_status(lower) == 403 && !is_unreached(lower))
    hint = " (to read and write the ledger takes s3:GetObject and s3:PutObject on it, and s3:ListBucket on the bucket, "
           "without which "
           "a missing key answers 403)";
  smig_error_set(error, is_unreached(lower) ? SMIG_CONNECTION_FAILED : SMIG_LEDGER_IO, "cannot %s %s: %s%s", what,
                 place, lower->message, hint);
  bson_t *details = smig_error_details(error), cause;
  if (details) {
    BSON_APPEND_UTF8(details, "place", place);
    BSON_APPEND_BOOL(details, "outcome_unknown", is_true(lower, "outcome_unknown"));
    BSON_APPEND_DOCUMENT_BEGIN(details, "cause", &cause);
    BSON_APPEND_UTF8(&cause, "code", lower->name);
    BSON_APPEND_UTF8(&cause, "message", lower->message);
    if (lower->details) bson_concat(&cause, lower->details);
    bson_append_document_end(details, &cause);
  }
  smig_error_release(lower);
}

static void vanished(const smig_s3_object_t *object, smig_error_t *error) {
  smig_error_set(
      error, SMIG_LEDGER_IO,
      "the ledger %s has vanished since it was read: nothing was written in its place; put back a backup of the "
      "object, and see who deletes it (a lifecycle rule?)",
      object->place);
  bson_t *details = smig_error_details(error);
  if (details) BSON_APPEND_UTF8(details, "place", object->place);
}

/* ------------------------------------------------------------------ reading */

static smig_s3_request_t request_of(const smig_s3_object_t *object, const char *operation, const char *method) {
  return (smig_s3_request_t){.operation = operation,
                             .method = method,
                             .bucket = object->bucket,
                             .key = object->key,
                             .key_length = strlen(object->key)};
}

/* The time that an error's answer told; 0: none. */
static int64_t date_of(const smig_error_t *lower) {
  bson_iter_t iter;
  if (!detail(lower, "server_date", &iter)) return 0;
  if (BSON_ITER_HOLDS_DATE_TIME(&iter)) return bson_iter_date_time(&iter);
  return bson_iter_as_int64(&iter);
}

bool smig_s3_object_get(const smig_s3_object_t *object, smig_s3_snapshot_t *snapshot, smig_error_t *lower) {
  smig_s3_request_t request = request_of(object, "get", "GET");
  smig_s3_response_t response;
  smig_s3_snapshot_t found = SMIG_S3_SNAPSHOT_INIT;
  smig_s3_limit(object->client, object->limit_ms);
  bool good = smig_s3_perform(object->client, &request, &response, lower);
  smig_s3_limit(object->client, 0);
  if (good) {
    found.data = smig_ledger_json_read(response.body ? response.body : "", response.body_length, object->place, lower);
    found.etag = bson_strdup(smig_s3_fields_get(&response.headers, "etag"));
    found.date_ms = response.server_date_ms;
    found.answered_boot_ms = response.answered_boot_ms;
    good = found.data != NULL;
    if (good && !found.etag && object->conditional) {
      smig_error_set(lower, SMIG_LEDGER_IO, "the store of %s told no ETag, which writing under a condition needs",
                     object->place);
      good = false;
    }
  } else if (smig_s3_status(lower) == 404 && is_named(lower, "NoSuchKey")) {
    found.date_ms = date_of(lower);
    found.answered_boot_ms = smig_clock_boot_ms();
    smig_error_release(lower);
    good = true;
  }
  smig_s3_response_release(&response);
  smig_s3_snapshot_move(snapshot, &found);
  return good;
}

/* ------------------------------------------------------------------ writing */

bool smig_s3_object_pause(int64_t until_boot_ms) {
  char random[SMIG_RUN_ID_SIZE];
  smig_run_id_new(random);
  random[4] = '\0';
  int64_t pause = PAUSE_FIRST_MS + strtol(random, NULL, 16) % (PAUSE_LAST_MS - PAUSE_FIRST_MS + 1);
  if (smig_clock_boot_ms() + pause >= until_boot_ms) return false;
  smig_clock_sleep_ms(pause);
  return true;
}

/* One PUT. A good answer makes *now. */
static bool put_once(const smig_s3_object_t *object, const smig_s3_snapshot_t *before, const char *text, size_t length,
                     smig_s3_snapshot_t *now, smig_error_t *lower) {
  smig_s3_request_t request = request_of(object, "put", "PUT");
  smig_s3_response_t response;
  request.creates_object = request.once = true;
  request.body = text;
  request.body_length = length;
  smig_s3_fields_add(&request.headers, "content-type", "application/json");
  if (object->conditional && before->data)
    smig_s3_fields_add(&request.headers, "if-match", before->etag);
  else if (object->conditional)
    smig_s3_fields_add(&request.headers, "if-none-match", "*");
  smig_s3_limit(object->client, object->limit_ms);
  bool good = smig_s3_perform(object->client, &request, &response, lower);
  smig_s3_limit(object->client, 0);
  if (good) {
    now->etag = bson_strdup(smig_s3_fields_get(&response.headers, "etag"));
    now->date_ms = response.server_date_ms;
    now->answered_boot_ms = response.answered_boot_ms;
  }
  smig_s3_fields_release(&request.headers);
  smig_s3_response_release(&response);
  return good;
}

/* What one try means. AGAIN: it has not landed and may be sent again as it is. */
typedef enum meaning { WON, LOST, AGAIN, FAILED } meaning_t;

/* The answer does not tell who won: the nonce does. *now becomes what is there. */
static meaning_t read_back(const smig_s3_object_t *object, const smig_s3_snapshot_t *before, const char *nonce,
                           bool unanswered, smig_s3_snapshot_t *now, smig_error_t *lower) {
  smig_error_t unread = SMIG_ERROR_INIT;
  if (!smig_s3_object_get(object, now, &unread)) {
    bool corrupt = unread.code == SMIG_LEDGER_CORRUPT;
    if (!lower->code || corrupt) smig_error_move(lower, &unread);
    smig_error_release(&unread);
    return FAILED;
  }
  if (same(nonce_of(now->data), nonce)) {
    smig_error_release(lower);
    return WON;
  }
  if (before->data && !now->data) {
    vanished(object, lower);
    return FAILED;
  }
  bool unchanged = same(now->etag, before->etag);
  return unchanged && unanswered ? AGAIN : LOST;
}

static meaning_t judge(const smig_s3_object_t *object, const smig_s3_snapshot_t *before, const char *nonce, bool good,
                       smig_s3_attempt_t *attempt, smig_s3_snapshot_t *now, smig_error_t *lower) {
  if (good && now->etag && !object->distrusted) return WON;
  if (good) return read_back(object, before, nonce, false, now, lower);
  int64_t status = smig_s3_status(lower);
  /* A write in work at the same time: the store wants it to end first. */
  if (status == 409) smig_s3_object_pause(attempt->until_boot_ms);
  if (status == 412 || status == 409) return read_back(object, before, nonce, false, now, lower);
  if (status == 404 && before->data && is_named(lower, "NoSuchKey")) {
    vanished(object, lower);
    return FAILED;
  }
  if (!smig_s3_is_unclear(lower)) return FAILED;
  attempt->unanswered = attempt->unanswered || is_true(lower, "outcome_unknown");
  if (smig_clock_boot_ms() >= attempt->until_boot_ms) return FAILED;
  return read_back(object, before, nonce, true, now, lower);
}

smig_s3_put_t smig_s3_object_put(const smig_s3_object_t *object, const smig_s3_snapshot_t *before, const bson_t *data,
                                 smig_s3_attempt_t *attempt, smig_s3_snapshot_t *now, smig_error_t *lower) {
  size_t length;
  char *text = smig_ledger_json_write(data, &length, lower);
  if (!text) return SMIG_S3_PUT_FAILED;
  smig_s3_snapshot_t found = SMIG_S3_SNAPSHOT_INIT;
  meaning_t meaning;
  attempt->sent_boot_ms = smig_clock_boot_ms();
  for (;;) {
    smig_s3_snapshot_release(&found);
    bool good = put_once(object, before, text, length, &found, lower);
    meaning = judge(object, before, nonce_of(data), good, attempt, &found, lower);
    if (meaning != AGAIN) break;
    if (!smig_s3_object_pause(attempt->until_boot_ms)) {
      meaning = FAILED;
      break;
    }
    smig_error_release(lower);
  }
  free(text);
  if (meaning == WON && !found.data) found.data = bson_copy(data);
  if (meaning == FAILED) {
    smig_s3_snapshot_release(&found);
    return SMIG_S3_PUT_FAILED;
  }
  smig_error_release(lower);
  smig_s3_snapshot_move(now, &found);
  return meaning == WON ? SMIG_S3_PUT_DONE : SMIG_S3_PUT_RACED;
}
