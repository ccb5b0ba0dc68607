/*
 * Asks a store whether it keeps the promise of conditional writes, see s3_probe.h.
 *
 * A store that honours conditions when it is asked one by one may still lose races, and only in races that overlap. So each race is 16
 * creates of one key on 16 connections that were made before, begun together and sent by the first turn of the client. Of one store's
 * races on a busy machine a third went well: hence eight of them.
 */
#include "s3_probe.h"

#include "holder.h"
#include "s3_object.h"

#include <openssl/sha.h>
#include <string.h>

enum { RACES = 8, RACERS = 16, RACE_TRIES = 5, TURN_MS = 1000 };

typedef struct probe {
  smig_s3_t *client;
  const char *bucket;
  char *stem;  /* "<prefix><random>-" */
  int objects; /* numbered from 0: how many keys may have been made */
  char *seen;  /* what breaks the promise; NULL: nothing so far */
  smig_s3_verdict_t verdict;
} probe_t;

/* One write, or a look: a request that has its own key and body. */
typedef struct shot {
  char *key, *body;
  uint8_t sha256[32];
  smig_s3_request_t request;
  smig_s3_exchange_t *exchange;
} shot_t;

static const char *const names[] = {"unknown", "exclusive", "refuses", "ignores", "races"};

const char *smig_s3_verdict_name(smig_s3_verdict_t verdict) {
  return names[verdict];
}

smig_s3_verdict_t smig_s3_verdict_from(const char *name) {
  for (smig_s3_verdict_t i = SMIG_S3_EXCLUSIVE; i <= SMIG_S3_RACES; i++)
    if (strcmp(names[i], name) == 0) return i;
  return SMIG_S3_UNKNOWN;
}

char *smig_s3_probe_prefix(const char *ledger_id) {
  size_t length = strlen(ledger_id);
  if (length > 5 && strcmp(ledger_id + length - 5, ".json") == 0) length -= 5;
  return bson_strdup_printf("%.*s.probe-", (int)length, ledger_id);
}

/* ----------------------------------------------------------------- requests */

static void shot_init(shot_t *shot, const probe_t *probe, const char *method, int object) {
  char id[SMIG_RUN_ID_SIZE];
  smig_run_id_new(id);
  bool put = strcmp(method, "PUT") == 0;
  shot->key = bson_strdup_printf("%s%d", probe->stem, object);
  shot->body = put ? bson_strdup_printf("{\"probe\":\"%s\"}\n", id) : NULL;
  shot->exchange = NULL;
  shot->request = (smig_s3_request_t){.operation = "probe",
                                      .method = method,
                                      .bucket = probe->bucket,
                                      .key = shot->key,
                                      .key_length = strlen(shot->key),
                                      .creates_object = put,
                                      .once = put};
  if (!put) return;
  /* Known beforehand: a worker that hashes would send the racers off one by one. */
  SHA256((const uint8_t *)shot->body, strlen(shot->body), shot->sha256);
  shot->request.body = shot->body;
  shot->request.body_length = strlen(shot->body);
  shot->request.sha256 = shot->sha256;
  smig_s3_fields_add(&shot->request.headers, "content-type", "application/json");
}

static void shot_release(shot_t *shot) {
  smig_s3_fields_release(&shot->request.headers);
  bson_free(shot->key);
  bson_free(shot->body);
}

/* What the answer to a conditional write says. */
typedef enum answer { TAKEN, DECLINED, REFUSED, FAILED } answer_t;

static answer_t answer_of(bool good, const smig_error_t *lower) {
  if (good) return TAKEN;
  int64_t status = smig_s3_status(lower);
  if (status == 412 || status == 409 || (status == 404 && strcmp(lower->name, "NoSuchKey") == 0)) return DECLINED;
  /* Not the condition of this request, but conditions at all. */
  if (status == 501 || status == 400 || status == 405) return REFUSED;
  return FAILED;
}

/* One write under a condition. *etag (bson_free) of a good answer. FAILED: *lower says why; else it is empty but for REFUSED. */
static answer_t write_one(probe_t *probe, int object, const char *condition, const char *value, char **etag,
                          smig_error_t *lower) {
  shot_t shot;
  smig_s3_response_t response;
  shot_init(&shot, probe, "PUT", object);
  smig_s3_fields_add(&shot.request.headers, condition, value);
  bool good = smig_s3_perform(probe->client, &shot.request, &response, lower);
  if (etag) *etag = good ? bson_strdup(smig_s3_fields_get(&response.headers, "etag")) : NULL;
  answer_t answer = answer_of(good, lower);
  if (answer == TAKEN || answer == DECLINED) smig_error_release(lower);
  smig_s3_response_release(&response);
  shot_release(&shot);
  return answer;
}

static void found(probe_t *probe, smig_s3_verdict_t verdict, char *seen) {
  probe->verdict = verdict;
  probe->seen = seen;
}

/* ----------------------------------------------------------------- one by one */

/* Asks for one write; `taken`: it must succeed, else it must be declined. Notes what breaks the promise; false: it failed. */
static bool expect(probe_t *probe, int object, const char *condition, const char *value, bool taken, const char *what,
                   char **etag, smig_error_t *lower) {
  answer_t answer = write_one(probe, object, condition, value, etag, lower);
  if (answer == FAILED) return false;
  if (answer == REFUSED) {
    found(probe, SMIG_S3_REFUSES, bson_strdup_printf("it refuses %s: %s", what, lower->name));
    smig_error_release(lower);
  } else if (taken && answer == DECLINED) {
    found(probe, SMIG_S3_REFUSES, bson_strdup_printf("it declines %s", what));
  } else if (!taken && answer == TAKEN) {
    found(probe, SMIG_S3_IGNORES, bson_strdup_printf("it accepts %s", what));
  }
  return true;
}

static bool ask_one_by_one(probe_t *probe, smig_error_t *lower) {
  static const char wrong[] = "\"00000000000000000000000000000000\"";
  char *etag = NULL;
  probe->objects = 2;
  bool good = expect(probe, 0, "if-none-match", "*", true, "a first create (If-None-Match: *)", &etag, lower);
  if (good && !probe->seen && !etag) found(probe, SMIG_S3_REFUSES, bson_strdup("it tells no ETag of what was written"));
  if (good && !probe->seen)
    good = expect(probe, 0, "if-none-match", "*", false, "a second create of one key (If-None-Match: *)", NULL, lower);
  if (good && !probe->seen)
    good = expect(probe, 0, "if-match", wrong, false, "a write over another version (If-Match with a wrong ETag)", NULL,
                  lower);
  if (good && !probe->seen)
    good = expect(probe, 1, "if-match", etag, false, "a write over what is not there (If-Match on a missing key)", NULL,
                  lower);
  if (good && !probe->seen)
    good = expect(probe, 0, "if-match", etag, true, "a write over the version that is there (If-Match with its ETag)",
                  NULL, lower);
  bson_free(etag);
  return good;
}

/* --------------------------------------------------------------------- races */

/* Drives the shots to their end. *answers: one each; *lower (NULL: not wanted) is the first failure. */
static void fire(probe_t *probe, shot_t *shots, int count, answer_t *answers, smig_error_t *lower) {
  for (int i = 0; i < count; i++) shots[i].exchange = smig_s3_start(probe->client, &shots[i].request);
  for (int i = 0; i < count; i++) {
    while (!smig_s3_done(shots[i].exchange)) smig_s3_drive(probe->client, TURN_MS);
  }
  for (int i = 0; i < count; i++) {
    smig_s3_response_t response;
    smig_error_t failure = SMIG_ERROR_INIT;
    bool good = smig_s3_finish(shots[i].exchange, &response, &failure);
    answers[i] = answer_of(good, &failure);
    if (answers[i] == FAILED && lower && lower->code == SMIG_OK) smig_error_move(lower, &failure);
    smig_error_release(&failure);
    smig_s3_response_release(&response);
  }
}

/* As many connections as there are racers, by reads that overlap. */
static void warm_up(probe_t *probe) {
  shot_t shots[RACERS];
  answer_t answers[RACERS];
  for (int i = 0; i < RACERS; i++) shot_init(&shots[i], probe, "GET", 0);
  fire(probe, shots, RACERS, answers, NULL);
  for (int i = 0; i < RACERS; i++) shot_release(&shots[i]);
}

/* How many of 16 creates of one key were told that they made it. */
static int race(probe_t *probe, smig_error_t *lower) {
  shot_t shots[RACERS];
  answer_t answers[RACERS];
  int winners = 0, object = probe->objects++;
  for (int i = 0; i < RACERS; i++) {
    shot_init(&shots[i], probe, "PUT", object);
    smig_s3_fields_add(&shots[i].request.headers, "if-none-match", "*");
  }
  fire(probe, shots, RACERS, answers, lower);
  for (int i = 0; i < RACERS; i++) {
    if (answers[i] == TAKEN) winners++;
    shot_release(&shots[i]);
  }
  return winners;
}

static bool ask_in_races(probe_t *probe, smig_error_t *lower) {
  warm_up(probe);
  for (int done = 0, tries = 0; done < RACES; tries++) {
    smig_error_release(lower);
    int winners = race(probe, lower);
    if (winners > 1) {
      found(probe, SMIG_S3_RACES,
            bson_strdup_printf("of %d creates of one key at the same time %d succeeded", RACERS, winners));
      break;
    }
    if (winners == 1) {
      done++;
    } else if (tries == RACES + RACE_TRIES || (lower->code && lower->code != SMIG_FOREIGN)) {
      if (!lower->code)
        smig_error_set_foreign(lower, "ProbeUnanswered", "of %d creates of one key none succeeded, again and again",
                               RACERS);
      return false;
    }
  }
  smig_error_release(lower); /* a racer without an answer does not matter where another one won */
  return true;
}

/* ------------------------------------------------------------------- clean up */

/* What cannot be removed stays: it bears the engine's name and is nobody's data. */
static void clean_up(probe_t *probe) {
  for (int from = 0; from < probe->objects; from += RACERS) {
    shot_t shots[RACERS];
    answer_t answers[RACERS];
    int count = probe->objects - from < RACERS ? probe->objects - from : RACERS;
    for (int i = 0; i < count; i++) shot_init(&shots[i], probe, "DELETE", from + i);
    fire(probe, shots, count, answers, NULL);
    for (int i = 0; i < count; i++) shot_release(&shots[i]);
  }
}

bool smig_s3_probe(smig_s3_t *client, const char *bucket, const char *ledger_id, int64_t limit_ms,
                   smig_s3_verdict_t *verdict, char **seen, smig_error_t *lower) {
  char random[SMIG_RUN_ID_SIZE], *prefix = smig_s3_probe_prefix(ledger_id);
  smig_run_id_new(random);
  probe_t probe = {.client = client, .bucket = bucket, .stem = bson_strdup_printf("%s%s-", prefix, random)};
  smig_s3_limit(client, limit_ms);
  bool good = ask_one_by_one(&probe, lower);
  if (good && !probe.seen) good = ask_in_races(&probe, lower);
  clean_up(&probe);
  smig_s3_limit(client, 0);
  bson_free(prefix);
  bson_free(probe.stem);
  if (!good) {
    bson_free(probe.seen);
    probe.seen = NULL;
  }
  *verdict = !good ? SMIG_S3_UNKNOWN : probe.seen ? probe.verdict : SMIG_S3_EXCLUSIVE;
  *seen = probe.seen;
  return good;
}
