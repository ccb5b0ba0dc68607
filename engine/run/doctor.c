/*
 * What `doctor` cannot find out by the drivers alone: the stores as the engine was told of them, and the probe of an S3 ledger's store.
 * The checks themselves are Lua (lua/smartmigration/doctor). Users: smartmigration.h. Main thread.
 */
#include "engine.h"
#include "s3_ledger.h"
#include "s3_object.h"
#include "s3_probe.h"

enum { PROBE_LIMIT_MS = 10000 };

static void append_mongo(const smig_engine_t *engine, bson_t *report) {
  bson_t mongo;
  BSON_APPEND_DOCUMENT_BEGIN(report, "mongo", &mongo);
  BSON_APPEND_UTF8(&mongo, "place", smig_mongo_connection_hosts(engine->connection));
  BSON_APPEND_UTF8(&mongo, "database", engine->settings.database);
  smig_mongo_connection_append_facts(engine->connection, &mongo);
  bson_append_document_end(report, &mongo);
}

static void append_credentials(const smig_engine_t *engine, bson_t *s3) {
  smig_error_t lower = SMIG_ERROR_INIT;
  const char *origin, *access_key_id;
  bson_t credentials, error;
  BSON_APPEND_DOCUMENT_BEGIN(s3, "credentials", &credentials);
  if (smig_s3_credentials(engine->s3, &origin, &access_key_id, &lower)) {
    BSON_APPEND_UTF8(&credentials, "origin", origin);
    BSON_APPEND_UTF8(&credentials, "access_key_id", access_key_id);
  } else {
    BSON_APPEND_DOCUMENT_BEGIN(&credentials, "error", &error);
    BSON_APPEND_UTF8(&error, "code", lower.name);
    BSON_APPEND_UTF8(&error, "message", lower.message);
    bson_append_document_end(&credentials, &error);
  }
  bson_append_document_end(s3, &credentials);
  smig_error_release(&lower);
}

/* The keys under which a run looks for its ledger before a bootstrap, beside the ledger's own. */
static void append_looks(const smig_engine_t *engine, bson_t *s3) {
  const smig_settings_t *settings = &engine->settings;
  char *names[] = {bson_strdup_printf(".smartmigration/%s.json", settings->ledger_name),
                   bson_strdup_printf("%s.json", settings->ledger_name)};
  bson_t list;
  char index[] = "0";
  BSON_APPEND_ARRAY_BEGIN(s3, "looks", &list);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (!settings->ledger_in_s3 || strcmp(names[i], settings->ledger_id) != 0) {
      BSON_APPEND_UTF8(&list, index, names[i]);
      index[0]++;
    }
    bson_free(names[i]);
  }
  bson_append_array_end(s3, &list);
}

static void append_s3(const smig_engine_t *engine, bson_t *report) {
  bson_t s3;
  const char *bucket = engine->settings.bucket;
  BSON_APPEND_DOCUMENT_BEGIN(report, "s3", &s3);
  BSON_APPEND_UTF8(&s3, "place", smig_s3_endpoint(engine->s3));
  BSON_APPEND_UTF8(&s3, "bucket", bucket);
  BSON_APPEND_UTF8(&s3, "region", smig_s3_region_of(engine->s3, bucket));
  BSON_APPEND_BOOL(&s3, "tls", smig_s3_is_tls(engine->s3));
  BSON_APPEND_BOOL(&s3, "best_effort", engine->settings.s3_best_effort);
  append_looks(engine, &s3);
  append_credentials(engine, &s3);
  bson_append_document_end(report, &s3);
}

static void append_ledger(const smig_engine_t *engine, bson_t *report) {
  const smig_settings_t *settings = &engine->settings;
  bson_t ledger;
  BSON_APPEND_DOCUMENT_BEGIN(report, "ledger", &ledger);
  BSON_APPEND_UTF8(&ledger, "place", engine->ledger->place);
  BSON_APPEND_UTF8(&ledger, "backend", settings->ledger_in_s3 ? "s3" : "mongo");
  BSON_APPEND_UTF8(&ledger, "id", settings->ledger_id);
  BSON_APPEND_INT64(&ledger, "lock_ttl_ms", settings->lock_ttl_ms);
  if (settings->ledger_in_s3) {
    char *scratch = smig_s3_probe_prefix(settings->ledger_id), *history = smig_s3_history_prefix(settings->ledger_id);
    BSON_APPEND_UTF8(&ledger, "scratch", scratch);
    BSON_APPEND_UTF8(&ledger, "history", history);
    bson_free(scratch);
    bson_free(history);
  }
  bson_append_document_end(report, &ledger);
}

bool smig_engine_stores(smig_engine_t *engine, bson_t *report, smig_error_t *error) {
  bson_init(report);
  if (!engine->ledger || (!engine->connection && !engine->s3)) {
    smig_error_set(error, SMIG_NO_RESOURCES, "the engine was made offline: there are no stores to tell of");
    return false;
  }
  smig_engine_begin_call(engine);
  if (engine->connection)
    append_mongo(engine, report);
  else
    BSON_APPEND_NULL(report, "mongo");
  if (engine->s3)
    append_s3(engine, report);
  else
    BSON_APPEND_NULL(report, "s3");
  append_ledger(engine, report);
  smig_engine_end_call(engine, false, NULL);
  return true;
}

bool smig_engine_probe(smig_engine_t *engine, bson_t *report, smig_error_t *error) {
  const smig_settings_t *settings = &engine->settings;
  smig_error_t lower = SMIG_ERROR_INIT;
  smig_s3_verdict_t verdict;
  char *seen;
  bson_init(report);
  if (!engine->s3 || !settings->ledger_in_s3) {
    smig_error_set(error, SMIG_LEDGER_BACKEND_MISMATCH, "there is nothing to probe: the ledger is not in S3");
    return false;
  }
  smig_engine_begin_call(engine);
  bool good = smig_s3_probe(engine->s3, settings->bucket, settings->ledger_id, PROBE_LIMIT_MS, &verdict, &seen, &lower);
  if (good) {
    BSON_APPEND_UTF8(report, "verdict", smig_s3_verdict_name(verdict));
    if (seen)
      BSON_APPEND_UTF8(report, "seen", seen);
    else
      BSON_APPEND_NULL(report, "seen");
    bson_free(seen);
  } else {
    smig_s3_object_fail(engine->ledger->place, "probe the store of", &lower, error);
  }
  smig_engine_end_call(engine, !good, error);
  return good;
}
