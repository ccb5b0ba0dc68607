/*
 * A program that embeds the C library: the installed header, the shared library, libmongoc, and no Lua. It registers two C
 * steps, runs them on the server of SMARTMIGRATION_TEST_MONGO_URI, runs again, and says what it saw; exit status 0 when all
 * was as it must be.
 */
#include <smartmigration.h>

#include <mongoc/mongoc.h>
#include <stdio.h>
#include <stdlib.h>

static int ran;
static char name[] = "Ada";

/* A step in C: the client, the step's session and comment come from ctx. */
static bool insert(smig_ctx_t *ctx, void *user, smig_error_t *error) {
  ran++;
  bson_t opts = BSON_INITIALIZER, document = BSON_INITIALIZER;
  if (!smig_ctx_append_opts(ctx, &opts, error)) return false;
  BSON_APPEND_UTF8(&document, "name", user);
  mongoc_collection_t *things =
      mongoc_client_get_collection(smig_ctx_mongo_client(ctx), smig_ctx_mongo_database(ctx), "things");
  bson_error_t why;
  bool done = mongoc_collection_insert_one(things, &document, &opts, NULL, &why);
  if (!done) smig_error_set_foreign(error, "InsertFailed", "insert into 'things' failed: %s", why.message);
  mongoc_collection_destroy(things);
  bson_destroy(&document);
  bson_destroy(&opts);
  return done;
}

static bool resume(smig_ctx_t *ctx, void *user, smig_error_t *error) {
  (void)user;
  ran++;
  bson_t value;
  bool found;
  bool good = smig_ctx_checkpoint_read(ctx, "seen", &value, &found, error);
  bson_destroy(&value);
  if (!good || found) return good;
  bson_init(&value);
  BSON_APPEND_INT32(&value, "v", 1);
  good = smig_ctx_checkpoint_write(ctx, "seen", &value, error);
  bson_destroy(&value);
  if (good) smig_error_set_foreign(error, "FirstTry", "the first try fails on purpose");
  return false;
}

static bool run(const char *database, int expected_runs, smig_code_t expected) {
  smig_options_t options = SMIG_OPTIONS_INIT;
  options.target_version = "1.2.0";
  options.mongo.uri = getenv("SMARTMIGRATION_TEST_MONGO_URI");
  options.mongo.database = database;
  smig_error_t error = SMIG_ERROR_INIT;
  smig_step_t first = SMIG_STEP_INIT, second = SMIG_STEP_INIT;
  first.id = "insert", first.from = "1.0.0", first.to = "1.1.0", first.up = insert, first.user = name;
  second.id = "resume", second.from = "1.1.0", second.to = "1.2.0", second.up = resume, second.resumable = true;
  smig_result_t *result = NULL;
  ran = 0;
  smig_engine_t *engine = smig_engine_new(&options, &error);
  bool done = engine && smig_engine_add_step(engine, &first, &error) && smig_engine_add_step(engine, &second, &error) &&
              smig_engine_run(engine, &result, &error);
  printf("%s: %s, %d steps ran\n", done ? "done" : error.name, done ? result->current_version_after : error.message,
         ran);
  bool good = ran == expected_runs && error.code == expected;
  smig_result_free(result);
  smig_engine_free(engine);
  smig_error_release(&error);
  return good;
}

int main(int argc, char **argv) {
  if (argc != 2 || !getenv("SMARTMIGRATION_TEST_MONGO_URI")) return 2;
  return !(run(argv[1], 2, SMIG_STEP_FAILED) && run(argv[1], 1, SMIG_OK) && run(argv[1], 0, SMIG_OK));
}
