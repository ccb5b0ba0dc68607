/*
 * What is MongoDB's alone about the ledger: the document and its index, what an operation costs, commands left behind,
 * freshness. See mongo_cases.h for the server.
 */
#include "mongo_cases.h"
#include "mongo_survey.h"
#include "s3_ledger.h"

#include <pthread.h>
#include <stdatomic.h>

/* ------------------------------------------------------ document and index */

static void the_document_has_the_agreed_shape(void) {
  static const char *const order[] = {"currentVersion", "steps", "lock", "checkpoints"};
  bson_t whole;
  bson_iter_t iter, data;
  set_up();
  CHECK(try_lock());
  mongo_look_whole(&whole);
  CHECK_STR(at(&whole, "nameId"), LEDGER_ID);
  const char *created = at(&whole, "_createdAt"), *updated = at(&whole, "_updatedAt");
  CHECK(created && updated && strlen(created) == 24 && created[23] == 'Z' && strcmp(created, updated) == 0);
  CHECK_STR(at(&whole, "data.lock.acquiredAt"), created);
  CHECK(bson_iter_init_find(&iter, &whole, "data") && bson_iter_recurse(&iter, &data));
  for (size_t i = 0; i < 4 && bson_iter_next(&data); i++) CHECK_STR(bson_iter_key(&data), order[i]);
  CHECK_STR(at(&whole, "data.currentVersion"), "{ \"v\" : null }");
  bson_destroy(&whole);
  while (smig_clock_wall_ms() % 10) smig_clock_sleep_ms(1);
  CHECK_OK(ledger->ops->commit(ledger, &lease, &(smig_ledger_change_t){.current_version = "1.0.0"}, &error), error);
  mongo_look_whole(&whole);
  int64_t written = 0;
  CHECK(smig_clock_from_iso(at(&whole, "_updatedAt"), &written) && llabs(written - smig_clock_wall_ms()) < 2000);
  bson_destroy(&whole);
  tear_down();
}

static void wrong_documents_are_corrupt(void) {
  static const char *const documents[] = {
      "{\"nameId\": \"" LEDGER_ID "\"}", "{\"nameId\": \"" LEDGER_ID "\", \"data\": 5}",
      "{\"nameId\": \"" LEDGER_ID "\", \"data\": [{}]}", "{\"nameId\": \"" LEDGER_ID "\", \"data\": null}"};
  set_up();
  for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
    smig_ledger_state_t state, seen, locked;
    bool won = true;
    int64_t sent;
    bson_t before, after, empty = BSON_INITIALIZER;
    bson_t *document = bson_new_from_json((const uint8_t *)documents[i], -1, NULL);
    mongo_drop();
    mongo_insert(document);
    bson_destroy(document);
    CHECK_FAILS(ledger->ops->load(ledger, &state, &error), error, SMIG_LEDGER_CORRUPT);
    smig_error_release(&error);
    smig_ledger_state_release(&state);
    /* Somebody who read a good one before cannot lock it. */
    mongo_look_whole(&before);
    CHECK_OK(smig_ledger_state_parse(&seen, &empty, 0, "test", &error), error);
    CHECK_OK(ledger->ops->acquire(ledger, &lease, &(smig_acquire_t){.seen = &seen}, &won, &locked, &sent, &error),
             error);
    CHECK(!won, "%s", documents[i]);
    mongo_look_whole(&after);
    CHECK(bson_equal(&before, &after), "%s", documents[i]);
    smig_ledger_state_release(&seen);
    smig_ledger_state_release(&locked);
    bson_destroy(&before);
    bson_destroy(&after);
    bson_destroy(&empty);
  }
  tear_down();
}

static void two_documents_are_corrupt(void) {
  smig_ledger_state_t state;
  bson_t *document = BCON_NEW("nameId", LEDGER_ID, "data", "{", "}");
  set_up();
  mongo_insert(document);
  mongo_insert(document);
  bson_destroy(document);
  CHECK_FAILS(ledger->ops->load(ledger, &state, &error), error, SMIG_LEDGER_CORRUPT);
  smig_ledger_state_release(&state);
  tear_down();
}

static void create_index(const char *name, bool unique) {
  command_here(BCON_NEW("createIndexes", SMIG_MONGO_LEDGER_COLLECTION, "indexes", "[", "{", "key", "{", "nameId",
                        BCON_INT32(1), "}", "name", BCON_UTF8(name), "unique", BCON_BOOL(unique), "}", "]"));
}

/* How many indexes there are beside that of _id. */
static int64_t count_indexes(void) {
  bson_t reply;
  bson_iter_t iter, batch, items;
  int64_t count = -1;
  bson_t *command = BCON_NEW("listIndexes", SMIG_MONGO_LEDGER_COLLECTION);
  if (mongoc_client_command_simple(mongo_client, mongo_database, command, NULL, &reply, NULL) &&
      bson_iter_init(&iter, &reply) && bson_iter_find_descendant(&iter, "cursor.firstBatch", &batch) &&
      bson_iter_recurse(&batch, &items))
    while (bson_iter_next(&items)) count++;
  bson_destroy(command);
  bson_destroy(&reply);
  return count;
}

static void any_unique_index_will_do(void) {
  set_up();
  create_index("of_another_name", true);
  CHECK(try_lock());
  CHECK(count_indexes() == 1);
  tear_down();
}

static void the_first_lock_makes_the_index(void) {
  bson_t *twin = BCON_NEW("nameId", LEDGER_ID, "data", "{", "}");
  bson_error_t cause;
  set_up();
  CHECK(try_lock());
  mongoc_collection_t *collection = mongo_collection();
  CHECK(!mongoc_collection_insert_one(collection, twin, NULL, NULL, &cause) && cause.code == 11000);
  mongoc_collection_destroy(collection);
  bson_destroy(twin);
  tear_down();
}

static void an_index_that_is_not_unique_is_corrupt_before_any_write(void) {
  for (int exists = 0; exists < 2; exists++) {
    smig_ledger_state_t seen, locked;
    bson_t empty = BSON_INITIALIZER, before, after;
    bool won = true;
    int64_t sent;
    set_up();
    create_index("nameId_1", false);
    if (exists) mongo_plant(&empty);
    mongo_look_whole(&before);
    CHECK_OK(ledger->ops->load(ledger, &seen, &error), error);
    CHECK_FAILS(ledger->ops->acquire(ledger, &lease, &(smig_acquire_t){.seen = &seen}, &won, &locked, &sent, &error),
                error, SMIG_LEDGER_CORRUPT);
    CHECK(!won);
    mongo_look_whole(&after);
    CHECK(bson_equal(&before, &after));
    smig_ledger_state_release(&seen);
    smig_ledger_state_release(&locked);
    bson_destroy(&before);
    bson_destroy(&after);
    tear_down();
  }
}

static void twins_of_another_name_are_corrupt(void) {
  smig_ledger_state_t seen, locked;
  bool won = true;
  int64_t sent;
  bson_t *document = BCON_NEW("nameId", "else", "data", "{", "}");
  set_up();
  mongo_insert(document);
  mongo_insert(document);
  bson_destroy(document);
  CHECK_OK(ledger->ops->load(ledger, &seen, &error), error);
  CHECK_FAILS(ledger->ops->acquire(ledger, &lease, &(smig_acquire_t){.seen = &seen}, &won, &locked, &sent, &error),
              error, SMIG_LEDGER_CORRUPT);
  smig_ledger_state_release(&seen);
  smig_ledger_state_release(&locked);
  tear_down();
}

/* ---------------------------------------------------------- commands counted */

static int updates, others;

static void count_command(const mongoc_apm_command_started_t *event) {
  if (strcmp(mongoc_apm_command_started_get_command_name(event), "update") == 0)
    updates++;
  else
    others++;
}

static void each_operation_has_its_price(void) {
  smig_entry_write_t done = applied("a"), dotted = applied("a.b");
  smig_ledger_state_t state;
  mongoc_apm_callbacks_t *callbacks = mongoc_apm_callbacks_new();
  mongoc_apm_set_command_started_cb(callbacks, count_command);
  set_up();
  mongoc_client_set_apm_callbacks(smig_mongo_connection_client(instance.connection), callbacks, NULL);
  CHECK_OK(ledger->ops->load(ledger, &state, &error), error);
  smig_ledger_state_release(&state);
  CHECK(updates == 0 && others == 1, "%d updates, %d others", updates, others);
  CHECK(try_lock());
  updates = others = 0;
  CHECK_OK(ledger->ops->commit(
               ledger, &lease,
               &(smig_ledger_change_t){.finished = &done, .current_version = "1.1.0", .clear_checkpoints_of = "a"},
               &error),
           error);
  CHECK(updates == 1 && others == 0, "%d updates, %d others", updates, others);
  CHECK_OK(ledger->ops->commit(ledger, &lease, &(smig_ledger_change_t){.finished = &dotted, .release = true}, &error),
           error);
  CHECK(updates == 2 && others == 0, "%d updates, %d others", updates, others);
  tear_down();
  mongoc_apm_callbacks_destroy(callbacks);
}

/* -------------------------------------------------------- commands left behind */

typedef struct command_left {
  pthread_t thread;
  char *comment;
  size_t padding;          /* bytes of the update */
  atomic_bool done, ended; /* by the server */
} command_left_t;

static void *run_command(void *user) {
  command_left_t *left = user;
  bson_error_t cause;
  mongoc_client_t *client = mongoc_client_new(mongo_uri);
  mongoc_client_set_error_api(client, MONGOC_ERROR_API_VERSION_2);
  char *padding = bson_malloc(left->padding + 1);
  memset(padding, 'x', left->padding);
  padding[left->padding] = '\0';
  bson_t *command =
      BCON_NEW("update", "work", "updates", "[", "{", "q", "{", "$where", "sleep(60000); return true;", "}", "u", "{",
               "$set", "{", "padding", BCON_UTF8(padding), "}", "}", "}", "]", "comment", BCON_UTF8(left->comment));
  bool ok = mongoc_client_command_simple(client, mongo_database, command, NULL, NULL, &cause);
  atomic_store(&left->ended, !ok && (cause.code == 11601 || cause.code == 11600));
  if (!ok && !atomic_load(&left->ended)) printf("# %s\n", cause.message);
  atomic_store(&left->done, true);
  bson_destroy(command);
  bson_free(padding);
  mongoc_client_destroy(client);
  return NULL;
}

/* Whether the server runs a command with that comment. */
static bool runs(const char *comment) {
  bson_t reply;
  bson_iter_t iter, first;
  bson_t *command = BCON_NEW("aggregate", BCON_INT32(1), "pipeline", "[", "{", "$currentOp", "{", "}", "}", "{",
                             "$match", "{", "command.comment", BCON_UTF8(comment), "}", "}", "]", "cursor", "{", "}");
  bool ok = mongoc_client_command_simple(mongo_client, "admin", command, NULL, &reply, NULL);
  bool found = ok && bson_iter_init(&iter, &reply) && bson_iter_find_descendant(&iter, "cursor.firstBatch.0", &first);
  bson_destroy(&reply);
  bson_destroy(command);
  return found;
}

static void leave(command_left_t *left, const char *prefix, const char *run_id, const char *step, size_t padding) {
  *left = (command_left_t){.comment = bson_strdup_printf("%s%s:%s", prefix, run_id, step), .padding = padding};
  pthread_create(&left->thread, NULL, run_command, left);
  int64_t limit = smig_clock_mono_ms() + 10000;
  while (!runs(left->comment) && smig_clock_mono_ms() < limit) smig_clock_sleep_ms(5);
  CHECK(runs(left->comment));
}

/* The server has ended it, within a second. */
static bool is_ended(command_left_t *left) {
  int64_t limit = smig_clock_mono_ms() + 1000;
  while (!atomic_load(&left->done) && smig_clock_mono_ms() < limit) smig_clock_sleep_ms(5);
  return atomic_load(&left->done) && atomic_load(&left->ended);
}

static void forget(command_left_t *left) {
  if (!atomic_load(&left->done)) {
    bson_t reply;
    bson_iter_t iter, opid;
    bson_t *look =
        BCON_NEW("aggregate", BCON_INT32(1), "pipeline", "[", "{", "$currentOp", "{", "}", "}", "{", "$match", "{",
                 "command.comment", BCON_UTF8(left->comment), "}", "}", "]", "cursor", "{", "}");
    mongoc_client_command_simple(mongo_client, "admin", look, NULL, &reply, NULL);
    if (bson_iter_init(&iter, &reply) && bson_iter_find_descendant(&iter, "cursor.firstBatch.0.opid", &opid)) {
      bson_t *kill_it = BCON_NEW("killOp", BCON_INT32(1));
      bson_append_iter(kill_it, "op", -1, &opid);
      admin(kill_it);
    }
    bson_destroy(&reply);
    bson_destroy(look);
  }
  pthread_join(left->thread, NULL);
  bson_free(left->comment);
}

static void set_up_work(void) {
  set_up();
  command_here(BCON_NEW("insert", "work", "documents", "[", "{", "a", BCON_INT32(1), "}", "]"));
}

/* By the ledger of a run, wherever it is stored. */
static void check_commands_of_others_are_ended_and_nobody_elses(smig_ledger_t *by) {
  command_left_t dead, large, own, waiter, stranger;
  smig_lease_t other;
  smig_commands_left_t left;
  smig_lease_new(&other, TTL_MS);
  leave(&dead, by->comment_prefix, other.run_id, "a-step", 10);
  leave(&large, by->comment_prefix, other.run_id, "another: step", 4000000);
  leave(&own, by->comment_prefix, lease.run_id, "a-step", 10);
  leave(&waiter, by->comment_prefix, other.run_id, "", 10);
  leave(&stranger, "smartmigration:elsewhere.SmartdataEasyStore/x:", other.run_id, "a-step", 10);
#ifdef SMIG_FAULTS
  setenv("SMIG_FAULT", "leftovers", 1);
  CHECK_OK(by->ops->end_commands(by, &lease, SMIG_COMMANDS_OF_OTHERS, &left, &error), error);
  CHECK(left == SMIG_COMMANDS_NONE_LEFT && runs(dead.comment));
  unsetenv("SMIG_FAULT");
#endif
  CHECK_OK(by->ops->end_commands(by, &lease, SMIG_COMMANDS_OF_OTHERS, &left, &error), error);
  CHECK(left == SMIG_COMMANDS_NONE_LEFT, "%d", (int)left);
  CHECK(is_ended(&dead) && is_ended(&large));
  CHECK(runs(own.comment) && runs(waiter.comment) && runs(stranger.comment));
  CHECK_OK(by->ops->end_commands(by, &lease, SMIG_COMMANDS_OF_OURS, &left, &error), error);
  CHECK(left == SMIG_COMMANDS_NONE_LEFT && is_ended(&own));
  CHECK(runs(waiter.comment) && runs(stranger.comment));
  forget(&dead);
  forget(&large);
  forget(&own);
  forget(&waiter);
  forget(&stranger);
}

static void commands_of_others_are_ended_and_nobody_elses(void) {
  set_up_work();
  check_commands_of_others_are_ended_and_nobody_elses(ledger);
  tear_down();
}

/* Only MongoDB goes on with what a dead run sent, and it is asked whether the ledger is there or not, also by the heartbeat. */
static void a_ledger_in_s3_ends_commands_on_mongodb(void) {
  smig_s3_config_t nowhere = {
      .endpoint = "http://127.0.0.1:1", .region = "us-east-1", .access_key_id = "key", .secret_access_key = "secret"};
  set_up_work();
  smig_s3_t *client = smig_s3_open(&nowhere, &error);
  CHECK(client != NULL, ": %s", error.message);
  smig_ledger_t *in_s3 = smig_s3_ledger_new(client, "uploads", "a/b.json", false, instance.connection, mongo_database);
  CHECK_STR(in_s3->comment_prefix, "smartmigration:s3:uploads/a/b.json:");
  check_commands_of_others_are_ended_and_nobody_elses(in_s3);
  smig_ledger_t *own = in_s3->ops->reopen(in_s3, TTL_MS, &error);
  CHECK(own != NULL, ": %s", error.message);
  check_commands_of_others_are_ended_and_nobody_elses(own);
  smig_ledger_free(own);
  smig_ledger_free(in_s3);
  smig_s3_free(client);
  tear_down();
}

static void a_server_that_will_not_tell_is_unknown(void) {
  smig_commands_left_t left = SMIG_COMMANDS_NONE_LEFT;
  set_up_faulty();
  fail_next_with_code("aggregate", 1, 13);
  CHECK_OK(ledger->ops->end_commands(ledger, &lease, SMIG_COMMANDS_OF_OTHERS, &left, &error), error);
  CHECK(left == SMIG_COMMANDS_UNKNOWN);
  heal();
  tear_down();
}

/* ------------------------------------------------------------------ surveys */

/* As an engine looks whose ledger is here under `ledger_id` (NULL: it is kept elsewhere). */
static smig_surroundings_t around(const char *const *scope, const char *ledger_id) {
  return (smig_surroundings_t){
      .ledger_name = LEDGER_NAME, .ledger_id = ledger_id, .place = ledger->place, .scope = scope};
}

static smig_mongo_channel_t channel(void) {
  return (smig_mongo_channel_t){.connection = instance.connection,
                                .place = ledger->place,
                                .comment_prefix = ledger->comment_prefix,
                                .limit_ms = SMIG_MONGO_CHANNEL_LIMIT_MS};
}

static bool look_elsewhere(const char *ledger_id, char **named) {
  smig_mongo_channel_t sends = channel();
  smig_surroundings_t surroundings = around(NULL, ledger_id);
  bson_string_t *names = bson_string_new(NULL);
  bool alone = smig_mongo_look_elsewhere(&sends, mongo_database, &surroundings, names, &error);
  *named = bson_string_free(names, names->len == 0);
  return alone;
}

static void check_fresh(const char *const *scope, const char *because) {
  char *why;
  smig_mongo_channel_t sends = channel();
  smig_surroundings_t surroundings = around(scope, LEDGER_ID);
  CHECK_OK(smig_mongo_is_fresh(&sends, mongo_database, &surroundings, &why, &error), error);
  if (because)
    CHECK(why && strstr(why, because), ": %s not in %s", because, why ? why : "(null)");
  else
    CHECK(!why, ": %s", why ? why : "(null)");
  bson_free(why);
}

static void fresh_is_what_holds_nothing_of_others(void) {
  static const char *const scope[] = {"mine_*", "exact", NULL}, *const all[] = {"*", NULL},
                           *const store[] = {"Smartdata*", NULL}, *const inner[] = {"a*b*c", NULL};
  set_up();
  check_fresh(NULL, NULL);
  CHECK(count_indexes() == -1);
  CHECK(try_lock());
  check_fresh(NULL, NULL);
  bson_t *document = BCON_NEW("nameId", "smartmigration-history:" LEDGER_NAME ":1");
  mongo_insert(document);
  bson_destroy(document);
  check_fresh(NULL, NULL);
  document = BCON_NEW("nameId", "smartmigration-history:other:1");
  mongo_insert(document);
  bson_destroy(document);
  check_fresh(NULL, "smartmigration-history:other:1");
  check_fresh(scope, NULL);
  check_fresh(store, "smartmigration-history:other:1");
  command_here(BCON_NEW("create", "theirs"));
  check_fresh(NULL, "theirs");
  check_fresh(all, "theirs");
  check_fresh(scope, NULL);
  command_here(BCON_NEW("create", "aXbYc"));
  check_fresh(inner, "aXbYc");
  command_here(BCON_NEW("create", "exactly"));
  check_fresh(scope, NULL);
  command_here(BCON_NEW("create", "mine_view", "viewOn", "theirs", "pipeline", "[", "]"));
  check_fresh(scope, "mine_view");
  tear_down();
}

static void a_document_without_a_name_is_not_fresh(void) {
  bson_t *document = BCON_NEW("x", BCON_INT32(1));
  set_up();
  mongo_insert(document);
  bson_destroy(document);
  check_fresh(NULL, "without a name");
  tear_down();
}

static void a_ledger_elsewhere_is_found(void) {
  bson_t *other = BCON_NEW("nameId", LEDGER_NAME, "data", "{", "colour", "red", "}");
  bson_t *program = BCON_NEW("nameId", LEDGER_NAME, "data", "{", "currentVersion", "2.0.0", "}");
  char *named;
  set_up();
  CHECK_OK(look_elsewhere(LEDGER_ID, &named), error);
  mongo_insert(other);
  CHECK_OK(look_elsewhere(LEDGER_ID, &named), error);
  mongo_drop();
  mongo_insert(program);
  CHECK_FAILS(look_elsewhere(LEDGER_ID, &named), error, SMIG_LEDGER_ELSEWHERE);
  CHECK(!named);
  CHECK_STR(error.details ? at(error.details, "ledger_id") : NULL, LEDGER_NAME);
  CHECK_STR(error.details ? at(error.details, "version") : NULL, "2.0.0");
  smig_error_release(&error);
  CHECK_OK(look_elsewhere(LEDGER_NAME, &named), error); /* it was adopted */
  /* A program that has moved its ledger to another store is told of both places. */
  CHECK_FAILS(look_elsewhere(NULL, &named), error, SMIG_LEDGER_ELSEWHERE);
  CHECK_STR(error.details ? at(error.details, "ledger_backend") : NULL, "mongo");
  CHECK_STR(error.details ? at(error.details, "ledger_id") : NULL, LEDGER_NAME);
  smig_error_release(&error);
  mongo_drop();
  bson_t *usual = BCON_NEW("nameId", LEDGER_ID, "data", "{", "currentVersion", "2.0.0", "}");
  mongo_insert(usual);
  bson_destroy(usual);
  CHECK_FAILS(look_elsewhere(NULL, &named), error, SMIG_LEDGER_ELSEWHERE);
  CHECK_STR(error.details ? at(error.details, "ledger_id") : NULL, LEDGER_ID);
  smig_error_release(&error);
  bson_destroy(other);
  bson_destroy(program);
  tear_down();
}

static void ledgers_of_others_are_named(void) {
  char *named;
  set_up();
  CHECK(try_lock()); /* its own does not count */
  for (int i = 1; i <= 7; i++) {
    char name[32];
    snprintf(name, sizeof name, "ledger:%d", i);
    bson_t *another = BCON_NEW("nameId", BCON_UTF8(name), "data", "{", "steps", "{", "}", "lock", "{", "}", "}");
    mongo_insert(another);
    bson_destroy(another);
    CHECK_OK(look_elsewhere(LEDGER_ID, &named), error);
    CHECK(named && strstr(named, i > 5 ? ", ..." : name), "%s", named);
    CHECK(named && !strstr(named, LEDGER_ID), "%s", named);
    bson_free(named);
  }
  tear_down();
}

int main(void) {
  mongo_cases_start("mongo");
  RUN(the_document_has_the_agreed_shape);
  RUN(wrong_documents_are_corrupt);
  RUN(two_documents_are_corrupt);
  RUN(any_unique_index_will_do);
  RUN(the_first_lock_makes_the_index);
  RUN(an_index_that_is_not_unique_is_corrupt_before_any_write);
  RUN(twins_of_another_name_are_corrupt);
  RUN(each_operation_has_its_price);
  RUN(commands_of_others_are_ended_and_nobody_elses);
  RUN(a_ledger_in_s3_ends_commands_on_mongodb);
  RUN(a_server_that_will_not_tell_is_unknown);
  RUN(fresh_is_what_holds_nothing_of_others);
  RUN(a_document_without_a_name_is_not_fresh);
  RUN(a_ledger_elsewhere_is_found);
  RUN(ledgers_of_others_are_named);
  return backends_stop();
}
