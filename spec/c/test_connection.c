/*
 * Connections: what a URI may say, what is kept secret, the defaults, and the translation of failures, against a real
 * server of the test's own.
 */
#include "check.h"
#include "clock.h"
#include "connection.h"
#include "guard.h"
#include "own_server.h"

static own_server_t server;

/* --------------------------------------------------------------------- tools */

static smig_mongo_connection_t *open_or_die(const char *more) {
  smig_error_t error = SMIG_ERROR_INIT;
  char *uri = bson_strdup_printf("mongodb://127.0.0.1:%d/app?replicaSet=own%s", server.port, more);
  smig_mongo_connection_t *connection = smig_mongo_connection_open(uri, &error);
  if (!connection) {
    printf("# %s\n", error.message);
    exit(1);
  }
  bson_free(uri);
  return connection;
}

/* The field at a dotted path of an error's details. */
static bool detail(const smig_error_t *error, const char *path, bson_iter_t *value) {
  bson_iter_t iter;
  return error->details && bson_iter_init(&iter, error->details) && bson_iter_find_descendant(&iter, path, value);
}

static const char *text_of(const smig_error_t *error, const char *path) {
  bson_iter_t value;
  return detail(error, path, &value) && BSON_ITER_HOLDS_UTF8(&value) ? bson_iter_utf8(&value, NULL) : "(none)";
}

static int64_t number_of(const smig_error_t *error, const char *path) {
  bson_iter_t value;
  return detail(error, path, &value) ? bson_iter_as_int64(&value) : -1;
}

/* Runs a command on database app and translates its failure. */
static bool command(smig_mongo_connection_t *connection, const char *operation, bson_t *request, smig_error_t *error) {
  bson_t reply;
  bson_error_t cause = {0};
  mongoc_client_t *client = smig_mongo_connection_client(connection);
  bool done = mongoc_client_write_command_with_opts(client, "app", request, NULL, &reply, &cause);
  if (!done) smig_mongo_error(connection, error, operation, "app.people", &reply, &cause);
  bson_destroy(&reply);
  bson_destroy(request);
  return done;
}

/* The next command of that name fails as `data` (JSON, without its closing brace) says. */
static void fail_next(smig_mongo_connection_t *connection, const char *name, const char *data) {
  char *json = bson_strdup_printf("{\"configureFailPoint\":\"failCommand\",\"mode\":{\"times\":1},\"data\":{"
                                  "\"failCommands\":[\"%s\"],%s}}",
                                  name, data);
  bson_error_t cause = {0};
  bson_t *request = bson_new_from_json((const uint8_t *)json, -1, &cause);
  CHECK(request && mongoc_client_command_simple(smig_mongo_connection_client(connection), "admin", request, NULL, NULL,
                                                &cause),
        "%s", cause.message);
  bson_destroy(request);
  bson_free(json);
}

static void shut(smig_guard_t *guard) {
  smig_error_t reason = SMIG_ERROR_INIT;
  smig_error_set(&reason, SMIG_LOCK_LOST, "shut by the test");
  smig_guard_shut(guard, SMIG_GUARD_LOST, &reason);
}

/* ----------------------------------------------------------------- the uri */

/* A URI that is refused: with INVALID_OPTIONS, naming `what`, and without `secret`. */
static void refuses(const char *uri, const char *what, const char *secret) {
  smig_error_t error = SMIG_ERROR_INIT;
  smig_mongo_connection_t *connection = smig_mongo_connection_open(uri, &error);
  CHECK(!connection && error.code == SMIG_INVALID_OPTIONS, "%s was taken", uri);
  CHECK(error.message && strstr(error.message, what), "\"%s\" does not name \"%s\"", error.message, what);
  CHECK(!secret || !error.message || !strstr(error.message, secret), "\"%s\" tells a secret", error.message);
  CHECK(error.message && !strchr(error.message, '\n'));
  smig_mongo_connection_free(connection);
  smig_error_release(&error);
}

static void wrong_uris_are_refused(void) {
  refuses(NULL, "empty", NULL);
  refuses("", "empty", NULL);
  refuses("localhost:27017", "mongodb://", NULL);
  refuses("http://localhost/", "mongodb://", NULL);
  refuses("mongodb://localhost:99999/", "", NULL);
  refuses("mongodb://localhost/?w=0", "w=0", NULL);
  refuses("mongodb://localhost/app?w=0&appName=x", "w=0", NULL);
}

static void no_refusal_tells_the_password(void) {
  refuses("mongodb://ann:pass@word77@localhost/", "percent-encoded", "word77");
  refuses("mongodb://ann:secret/slash88@localhost/", "", "slash88");
  refuses("mongodb://ann:secret:colon99@localhost/", "percent-encoded", "colon99");
  refuses("mongodb://ann:a:b@localhost/", "percent-encoded", "a:b");
  refuses("mongodb://ann:hidden%ZZ55@localhost/", "", "hidden");
  refuses("mongodb://ann:letmein44@localhost/?w=0", "w=0", "letmein44");
  refuses("mongodb://localhost/?tls=true&tlsCertificateKeyFilePassword=keypass33&w=0", "w=0", "keypass33");
}

static void hosts_are_told_without_credentials(void) {
  smig_error_t error = SMIG_ERROR_INIT;
  smig_mongo_connection_t *connection =
      smig_mongo_connection_open("mongodb://ann:letmein44@db1:27017,db2:27018/shop?replicaSet=rs", &error);
  CHECK(connection, "%s", error.message);
  CHECK_STR(smig_mongo_connection_hosts(connection), "db1:27017,db2:27018");
  CHECK_STR(smig_mongo_connection_default_database(connection), "shop");
  smig_mongo_connection_free(connection);
  connection = smig_mongo_connection_open("mongodb://localhost", &error);
  CHECK(connection && !smig_mongo_connection_default_database(connection));
  smig_mongo_connection_free(connection);
}

static void what_a_password_was_is_cut_out_of_every_message(void) {
  smig_error_t error = SMIG_ERROR_INIT;
  smig_mongo_connection_t *connection = smig_mongo_connection_open("mongodb://ann:p%40ssword22@localhost/", &error);
  smig_error_set_foreign(&error, "Test", "raw p@ssword22, encoded p%%40ssword22");
  CHECK(!strstr(error.message, "ssword22"), "%s", error.message);
  smig_error_release(&error);
  smig_mongo_connection_free(connection);
  connection = smig_mongo_connection_open("mongodb://ann:question?66@localhost/", &error);
  CHECK(connection, "libmongoc takes a question mark: %s", error.message);
  smig_error_set_foreign(&error, "Test", "raw question?66");
  CHECK(!strstr(error.message, "question"), "%s", error.message);
  smig_error_release(&error);
  smig_mongo_connection_free(connection);
}

static void overridden_settings_are_named(void) {
  static const char *const cases[][2] = {
      {"mongodb://localhost/", NULL},
      {"mongodb://localhost/?w=majority&journal=true&readConcernLevel=majority&readPreference=primary", NULL},
      {"mongodb://localhost/?w=1&readPreference=secondary", "w=1, readPreference=secondary"},
      {"mongodb://localhost/?journal=false&readConcernLevel=local", "journal=false, readConcernLevel=local"},
      {"mongodb://localhost/?w=backup&wTimeoutMS=500&readPreference=nearest",
       "w=backup, wTimeoutMS=500, readPreference=nearest"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    smig_error_t error = SMIG_ERROR_INIT;
    smig_mongo_connection_t *connection = smig_mongo_connection_open(cases[i][0], &error);
    CHECK(connection, "%s: %s", cases[i][0], error.message);
    const char *overridden = smig_mongo_connection_overridden(connection);
    if (cases[i][1])
      CHECK_STR(overridden, cases[i][1]);
    else
      CHECK(!overridden, "%s: %s", cases[i][0], overridden);
    smig_mongo_connection_free(connection);
  }
}

static void the_defaults_are_the_safe_ones(void) {
  smig_mongo_connection_t *connection = open_or_die("&w=1&readPreference=secondary&socketTimeoutMS=0");
  mongoc_client_t *client = smig_mongo_connection_client(connection);
  CHECK(mongoc_read_prefs_get_mode(mongoc_client_get_read_prefs(client)) == MONGOC_READ_PRIMARY);
  CHECK_STR(mongoc_read_concern_get_level(mongoc_client_get_read_concern(client)), "majority");
  const mongoc_write_concern_t *concern = mongoc_client_get_write_concern(client);
  CHECK(mongoc_write_concern_get_wmajority(concern) && mongoc_write_concern_get_journal(concern));
  const mongoc_uri_t *uri = mongoc_client_get_uri(client);
  CHECK(mongoc_uri_get_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, 1) == INT32_MAX);
  CHECK_STR(mongoc_uri_get_appname(uri), "smartmigration");
  smig_mongo_connection_free(connection);
  connection = open_or_die("&socketTimeoutMS=7000&appName=mine");
  uri = mongoc_client_get_uri(smig_mongo_connection_client(connection));
  CHECK(mongoc_uri_get_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, 1) == 7000);
  CHECK_STR(mongoc_uri_get_appname(uri), "mine");
  smig_mongo_connection_free(connection);
}

/* -------------------------------------------------------------- connecting */

static void the_topology_is_found(void) {
  smig_mongo_connection_t *connection = open_or_die("");
  smig_mongo_topology_t topology = SMIG_MONGO_SHARDED;
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(smig_mongo_connection_topology(connection, &topology, &error), "%s", error.message);
  CHECK(topology == SMIG_MONGO_REPLICA_SET);
  smig_mongo_connection_free(connection);
}

static void a_server_that_is_not_there_is_named(void) {
  smig_error_t error = SMIG_ERROR_INIT;
  char *uri =
      bson_strdup_printf("mongodb://ann:letmein44@127.0.0.1:%d/?serverSelectionTimeoutMS=700", own_server_free_port());
  smig_mongo_connection_t *connection = smig_mongo_connection_open(uri, &error);
  smig_mongo_topology_t topology;
  int64_t begun = smig_clock_mono_ms();
  CHECK(!smig_mongo_connection_topology(connection, &topology, &error));
  int64_t took = smig_clock_mono_ms() - begun;
  CHECK(took >= 700 && took < 2000, "the wait that the uri allows: %" PRId64 " ms", took);
  CHECK_STR(error.name, "CONNECTION_FAILED");
  CHECK(strstr(error.message, smig_mongo_connection_hosts(connection)), "%s", error.message);
  CHECK(!strstr(error.message, "letmein44") && !strstr(error.message, "ann:"), "%s", error.message);
  CHECK_STR(text_of(&error, "hosts"), smig_mongo_connection_hosts(connection));
  CHECK(number_of(&error, "outcome_unknown") == 0);
  smig_error_release(&error);
  smig_mongo_connection_free(connection);
  bson_free(uri);
}

static void wrong_credentials_are_a_failed_connection(void) {
  smig_error_t error = SMIG_ERROR_INIT;
  char *uri = bson_strdup_printf("mongodb://ann:wrongpw44@127.0.0.1:%d/?replicaSet=own", server.port);
  smig_mongo_connection_t *connection = smig_mongo_connection_open(uri, &error);
  CHECK(!command(connection, "insert_one", BCON_NEW("ping", BCON_INT32(1)), &error));
  CHECK_STR(error.name, "CONNECTION_FAILED");
  CHECK(strstr(error.message, "credentials") && !strstr(error.message, "wrongpw44"), "%s", error.message);
  CHECK(number_of(&error, "outcome_unknown") == 0);
  smig_error_release(&error);
  smig_mongo_connection_free(connection);
  bson_free(uri);
}

static void the_driver_prints_nothing(void) {
  FILE *caught = tmpfile();
  fflush(stdout);
  int out = dup(1), err = dup(2);
  dup2(fileno(caught), 1);
  dup2(fileno(caught), 2);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_mongo_connection_t *connection = smig_mongo_connection_open("mongodb://127.0.0.1:bad", &error);
  smig_mongo_connection_free(connection);
  char *uri =
      bson_strdup_printf("mongodb://127.0.0.1:%d/?serverSelectionTimeoutMS=300&nonsense=1", own_server_free_port());
  connection = smig_mongo_connection_open(uri, NULL);
  smig_mongo_topology_t topology;
  smig_mongo_connection_topology(connection, &topology, NULL);
  smig_mongo_connection_free(connection);
  fflush(stdout);
  dup2(out, 1);
  dup2(err, 2);
  close(out);
  close(err);
  fseek(caught, 0, SEEK_END);
  CHECK(ftell(caught) == 0, "%ld bytes", ftell(caught));
  fclose(caught);
  bson_free(uri);
  smig_error_release(&error);
}

/* -------------------------------------------------------------- translation */

static void duplicates_are_listed_with_their_index(void) {
  smig_mongo_connection_t *connection = open_or_die("");
  mongoc_collection_t *people = mongoc_client_get_collection(smig_mongo_connection_client(connection), "app", "people");
  mongoc_collection_drop(people, NULL);
  bson_t *one = BCON_NEW("_id", BCON_INT32(1)), *two = BCON_NEW("_id", BCON_INT32(2));
  const bson_t *documents[] = {one, one, two, two};
  bson_t *opts = BCON_NEW("ordered", BCON_BOOL(false)), reply;
  bson_error_t cause = {0};
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(!mongoc_collection_insert_many(people, documents, 4, opts, &reply, &cause));
  smig_mongo_error(connection, &error, "insert_many", "app.people", &reply, &cause);
  CHECK(error.code == SMIG_FOREIGN);
  CHECK_STR(error.name, "DuplicateKey");
  CHECK(strncmp(error.message, "insert_many app.people failed: ", 31) == 0, "%s", error.message);
  CHECK_STR(text_of(&error, "category"), "conflict");
  CHECK(number_of(&error, "native") == 11000);
  CHECK(number_of(&error, "write_errors.0.index") == 2 && number_of(&error, "write_errors.1.index") == 4);
  CHECK(number_of(&error, "write_errors.1.code") == 11000);
  CHECK(strstr(text_of(&error, "write_errors.0.message"), "E11000"));
  CHECK(number_of(&error, "reply.insertedCount") == 2 || number_of(&error, "reply.nInserted") == 2);
  CHECK(number_of(&error, "outcome_unknown") == 0 && number_of(&error, "retryable") == 0);
  smig_error_release(&error);
  bson_destroy(&reply);
  bson_destroy(opts);
  bson_destroy(two);
  bson_destroy(one);
  mongoc_collection_destroy(people);
  smig_mongo_connection_free(connection);
}

static void server_errors_have_the_servers_names(void) {
  smig_mongo_connection_t *connection = open_or_die("");
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(!command(connection, "drop_index", BCON_NEW("dropIndexes", "nothing_there", "index", "a_1"), &error));
  CHECK_STR(error.name, "NamespaceNotFound");
  CHECK_STR(text_of(&error, "category"), "server");
  CHECK_STR(text_of(&error, "operation"), "drop_index");
  CHECK_STR(text_of(&error, "namespace"), "app.people");
  smig_error_release(&error);
  CHECK(!command(connection, "run_command", BCON_NEW("noSuchCommand", BCON_INT32(1)), &error));
  CHECK_STR(error.name, "CommandNotFound");
  smig_error_release(&error);

  fail_next(connection, "insert", "\"errorCode\":50");
  bson_t *insert = BCON_NEW("insert", "people", "documents", "[", "{", "_id", BCON_INT32(7), "}", "]");
  CHECK(!command(connection, "insert_one", insert, &error));
  CHECK_STR(error.name, "MaxTimeMSExpired");
  CHECK_STR(text_of(&error, "category"), "timeout");
  CHECK(number_of(&error, "timeout") == 1);
  smig_error_release(&error);
  smig_mongo_connection_free(connection);
}

static void labels_and_write_concern_errors_are_kept(void) {
  smig_mongo_connection_t *connection = open_or_die("&retryWrites=false");
  smig_error_t error = SMIG_ERROR_INIT;
  fail_next(connection, "insert", "\"errorCode\":112,\"errorLabels\":[\"TransientTransactionError\"]");
  bson_t *insert = BCON_NEW("insert", "people", "documents", "[", "{", "_id", BCON_INT32(8), "}", "]");
  CHECK(!command(connection, "insert_one", bson_copy(insert), &error));
  CHECK_STR(error.name, "WriteConflict");
  CHECK_STR(text_of(&error, "category"), "conflict");
  CHECK(smig_error_has_label(&error, "TransientTransactionError") && !smig_error_has_label(&error, "Other"));
  CHECK(number_of(&error, "retryable") == 1);
  smig_error_release(&error);

  fail_next(connection, "insert",
            "\"writeConcernError\":{\"code\":64,\"errmsg\":\"waiting for replication timed out\"}");
  CHECK(!command(connection, "insert_one", insert, &error));
  CHECK_STR(error.name, "WriteConcernFailed");
  CHECK(number_of(&error, "write_concern_error.code") == 64);
  CHECK(number_of(&error, "outcome_unknown") == 1);
  smig_error_release(&error);
  smig_mongo_connection_free(connection);
}

static void a_cut_connection_leaves_a_write_unknown_and_a_read_not(void) {
  smig_mongo_connection_t *connection = open_or_die("&retryWrites=false&retryReads=false");
  smig_error_t error = SMIG_ERROR_INIT;
  bson_t *insert = BCON_NEW("insert", "people", "documents", "[", "{", "_id", BCON_INT32(9), "}", "]");
  fail_next(connection, "insert", "\"closeConnection\":true");
  CHECK(!command(connection, "insert_one", insert, &error));
  CHECK_STR(error.name, "NetworkError");
  CHECK_STR(text_of(&error, "category"), "network");
  CHECK(number_of(&error, "outcome_unknown") == 1 && number_of(&error, "timeout") == 0);
  smig_error_release(&error);
  fail_next(connection, "count", "\"closeConnection\":true");
  CHECK(!command(connection, "count_documents", BCON_NEW("count", "people"), &error));
  CHECK_STR(error.name, "NetworkError");
  CHECK(number_of(&error, "outcome_unknown") == 0);
  smig_error_release(&error);
  smig_mongo_connection_free(connection);
}

static void a_shut_guard_is_the_reason(void) {
  smig_mongo_connection_t *connection = open_or_die("");
  smig_guard_t guard;
  smig_guard_init(&guard);
  smig_error_t error = SMIG_ERROR_INIT;
  bson_t *insert = BCON_NEW("insert", "people", "documents", "[", "{", "a", BCON_INT32(1), "}", "]");
  CHECK(command(connection, "insert_one", bson_copy(insert), &error), "%s", error.message);
  smig_mongo_connection_set_guard(connection, &guard);
  shut(&guard);
  CHECK(!command(connection, "insert_one", insert, &error));
  CHECK(error.code == SMIG_LOCK_LOST);
  CHECK_STR(error.message, "shut by the test");
  CHECK_STR(text_of(&error, "cause.operation"), "insert_one");
  smig_error_release(&error);
  smig_mongo_connection_free(connection);
  smig_guard_release(&guard);
}

static void bare_texts_get_a_way_out(void) {
  smig_mongo_connection_t *connection = open_or_die("");
  smig_error_t error = SMIG_ERROR_INIT;
  bson_error_t cause;
  bson_set_error(&cause, MONGOC_ERROR_SERVER, 20,
                 "Transaction numbers are only allowed on a replica set member or mongos");
  smig_mongo_error(connection, &error, "transaction", NULL, NULL, &cause);
  CHECK_STR(error.name, "IllegalOperation");
  CHECK(strstr(error.message, "transaction failed: transactions need a replica set"), "%s", error.message);
  smig_error_release(&error);
  bson_set_error(&cause, MONGOC_ERROR_SERVER, 31249, "two\nlines");
  smig_mongo_error(connection, &error, "find", "app.people", NULL, &cause);
  CHECK_STR(error.name, "Location31249");
  CHECK_STR(error.message, "find app.people failed: two lines");
  smig_error_release(&error);
  bson_set_error(&cause, MONGOC_ERROR_COMMAND, MONGOC_ERROR_COMMAND_INVALID_ARG, "Invalid option");
  smig_mongo_error(connection, &error, "insert_one", "app.people", NULL, &cause);
  CHECK_STR(error.name, "InvalidArgument");
  CHECK_STR(text_of(&error, "category"), "argument");
  CHECK(number_of(&error, "outcome_unknown") == 0);
  smig_error_release(&error);
  smig_mongo_error(connection, NULL, "find", NULL, NULL, &cause);
  smig_mongo_connection_free(connection);
}

static void codes_have_names(void) {
  static const struct {
    int32_t code;
    const char *name;
  } cases[] = {{1, "InternalError"},          {13, "Unauthorized"},       {18, "AuthenticationFailed"},
               {26, "NamespaceNotFound"},     {48, "NamespaceExists"},    {85, "IndexOptionsConflict"},
               {86, "IndexKeySpecsConflict"}, {112, "WriteConflict"},     {121, "DocumentValidationFailure"},
               {189, "PrimarySteppedDown"},   {251, "NoSuchTransaction"}, {10107, "NotWritablePrimary"},
               {11000, "DuplicateKey"},       {11601, "Interrupted"},     {13436, "NotPrimaryOrSecondary"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    CHECK_STR(smig_mongo_code_name(cases[i].code), cases[i].name);
  CHECK(!smig_mongo_code_name(0) && !smig_mongo_code_name(-5) && !smig_mongo_code_name(31249));
}

int main(void) {
  RUN(wrong_uris_are_refused);
  RUN(no_refusal_tells_the_password);
  RUN(hosts_are_told_without_credentials);
  RUN(what_a_password_was_is_cut_out_of_every_message);
  RUN(overridden_settings_are_named);
  RUN(codes_have_names);
  own_server_start(&server);
  RUN(the_defaults_are_the_safe_ones);
  RUN(the_topology_is_found);
  RUN(a_server_that_is_not_there_is_named);
  RUN(wrong_credentials_are_a_failed_connection);
  RUN(the_driver_prints_nothing);
  RUN(duplicates_are_listed_with_their_index);
  RUN(server_errors_have_the_servers_names);
  RUN(labels_and_write_concern_errors_are_kept);
  RUN(a_cut_connection_leaves_a_write_unknown_and_a_read_not);
  RUN(a_shut_guard_is_the_reason);
  RUN(bare_texts_get_a_way_out);
  own_server_stop(&server);
  return check_done();
}
