/*
 * The resources of an engine, MongoDB and S3: what the options say of them, opening them, and the ledger that is kept in one of them.
 * Source of the rules and of their order: the contract, section 2. Users: engine.c. Errors: as smig_engine_new says.
 */
#include "engine.h"
#include "mongo_ledger.h"
#include "s3_ledger.h"

enum { DATABASE_NAME_MAX = 63 };

bool smig_options_have_mongo(const smig_options_t *options) {
  return options->mongo.uri || options->mongo.connection;
}

bool smig_options_have_s3(const smig_options_t *options) {
  return options->s3.bucket || options->s3.client;
}

static bool check_database(const char *name, smig_error_t *error) {
  if (*name && strlen(name) <= DATABASE_NAME_MAX && !strpbrk(name, "/\\. \"$*<>:|?")) return true;
  smig_error_set(
      error, SMIG_INVALID_OPTIONS,
      "mongo.database \"%s\" is not acceptable: 1 to 63 bytes without any of / \\ . \" $ * < > : | ? and blanks", name);
  return smig_settings_refuse(error, "mongo.database", name);
}

static bool open_mongo(smig_engine_t *engine, const smig_options_t *options, smig_error_t *error) {
  engine->owns_connection = !options->mongo.connection;
  engine->connection =
      engine->owns_connection ? smig_mongo_connection_open(options->mongo.uri, error) : options->mongo.connection;
  if (!engine->connection) return false;
  const char *database =
      options->mongo.database ? options->mongo.database : smig_mongo_connection_default_database(engine->connection);
  if (!database) {
    smig_error_set(error, SMIG_INVALID_OPTIONS, "no database: name one in the URI or give mongo.database");
    return smig_settings_refuse(error, "mongo.database", NULL);
  }
  if (!check_database(database, error)) return false;
  engine->settings.database = bson_strdup(database);
  return true;
}

static bool open_s3(smig_engine_t *engine, const smig_options_t *options, smig_error_t *error) {
  smig_s3_config_t config = {.endpoint = options->s3.endpoint,
                             .region = options->s3.region,
                             .bucket = options->s3.bucket,
                             .style = options->s3.style,
                             .access_key_id = options->s3.access_key_id,
                             .secret_access_key = options->s3.secret_access_key,
                             .session_token = options->s3.session_token,
                             .profile = options->s3.profile,
                             .ca_file = options->s3.ca_file,
                             .sse = options->s3.sse,
                             .sse_kms_key_id = options->s3.sse_kms_key_id,
                             .expected_bucket_owner = options->s3.expected_bucket_owner,
                             .insecure = options->s3.insecure};
  engine->owns_s3 = !options->s3.client;
  engine->s3 = engine->owns_s3 ? smig_s3_open(&config, error) : options->s3.client;
  if (!engine->s3) return false;
  const char *bucket = options->s3.bucket ? options->s3.bucket : smig_s3_bucket(engine->s3);
  if (!bucket || !*bucket) {
    smig_error_set(error, SMIG_INVALID_OPTIONS, "no bucket: give s3.bucket");
    return smig_settings_refuse(error, "s3.bucket", NULL);
  }
  engine->settings.bucket = bson_strdup(bucket);
  return true;
}

/* The ledger's backend must be one of the resources. */
static bool check_backend(const smig_engine_t *engine, smig_error_t *error) {
  bool in_s3 = engine->settings.ledger_in_s3;
  if (in_s3 ? engine->s3 != NULL : engine->connection != NULL) return true;
  const char *backend = in_s3 ? "s3" : "mongo";
  smig_error_set(error, SMIG_LEDGER_BACKEND_MISMATCH, "ledger backend \"%s\" needs %s, and none is given", backend,
                 in_s3 ? "an S3 bucket (s3.bucket)" : "a MongoDB URI (mongo.uri)");
  bson_t *details = smig_error_details(error);
  if (details) BSON_APPEND_UTF8(details, "ledger_backend", backend);
  return smig_settings_refuse(error, "ledger_backend", backend);
}

bool smig_engine_open_resources(smig_engine_t *engine, const smig_options_t *options, smig_error_t *error) {
  const smig_settings_t *settings = &engine->settings;
  if (options->offline) return true;
  if (!smig_options_have_mongo(options) && !smig_options_have_s3(options)) {
    smig_error_set(error, SMIG_NO_RESOURCES,
                   "nothing to migrate: give a MongoDB URI (mongo.uri) or a bucket (s3.bucket)");
    return false;
  }
  if (smig_options_have_mongo(options) && !open_mongo(engine, options, error)) return false;
  if (smig_options_have_s3(options) && !open_s3(engine, options, error)) return false;
  if (!check_backend(engine, error)) return false;
  engine->ledger =
      settings->ledger_in_s3
          ? smig_s3_ledger_new(engine->s3, settings->bucket, settings->ledger_id, settings->s3_best_effort,
                               engine->connection, settings->database)
          : smig_mongo_ledger_new(engine->connection, settings->database, settings->ledger_id, settings->ledger_name);
  return true;
}
