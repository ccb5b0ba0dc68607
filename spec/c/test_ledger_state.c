/* Reading of a ledger: what the original writes, what this engine adds, every wrong shape. */
#include "check.h"
#include "details.h"
#include "ledger_state.h"

static const int64_t now_ms = INT64_C(1776169894123); /* 2026-04-14T12:31:34.123Z */
static const char place[] = "mongodb app.SmartdataEasyStore smartmigration:x";

static bool parse(smig_ledger_state_t *state, const char *json, smig_error_t *error) {
  bson_t *data = document(json);
  bool parsed = smig_ledger_state_parse(state, data, now_ms, place, error);
  bson_destroy(data); /* the state has a copy */
  return parsed;
}

static void nothing_stored(void) {
  smig_ledger_state_t state;
  CHECK(smig_ledger_state_parse(&state, NULL, now_ms, place, NULL));
  CHECK(!state.exists && !state.current_version && !state.entry_count && !state.lock.holder && !state.has_leftovers);
  CHECK(bson_empty(&state.data) && !smig_ledger_state_find(&state, "x") && !smig_ledger_state_checkpoints(&state, "x"));
  smig_ledger_state_release(&state);
  CHECK(parse(&state, "{}", NULL) && state.exists && !state.current_version);
  smig_ledger_state_release(&state);
  smig_ledger_state_release(&state); /* as good as initialised */
}

static void a_ledger_of_the_original(void) {
  smig_ledger_state_t state;
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(parse(&state,
              "{'currentVersion': '1.1.0', 'steps': {'lowercase-emails': {'stepId': 'lowercase-emails', 'fromVersion': "
              "'1.0.0', 'toVersion': '1.1.0', 'status': 'applied', 'startedAt': '2026-04-14T12:31:34.123Z', "
              "'finishedAt': '2026-04-14T12:31:34.456Z', 'durationMs': 333}}, 'lock': {'holder': null, 'acquiredAt': "
              "null, 'expiresAt': null}, 'checkpoints': {'a.b': {'k': 1, 'l': {'m': 2}}, 'none': null}}",
              &error),
        ": %s", error.message);
  CHECK(state.exists && state.entry_count == 1 && !state.bootstrap_version && !state.compatible_from);
  CHECK_STR(state.current_version, "1.1.0");
  const smig_entry_t *entry = smig_ledger_state_find(&state, "lowercase-emails");
  CHECK(entry == &state.entries[0]);
  CHECK_STR(entry->id, "lowercase-emails");
  CHECK_STR(entry->from_version, "1.0.0");
  CHECK_STR(entry->to_version, "1.1.0");
  CHECK_STR(entry->status, "applied");
  CHECK_STR(entry->started_at, "2026-04-14T12:31:34.123Z");
  CHECK_STR(entry->finished_at, "2026-04-14T12:31:34.456Z");
  CHECK(entry->duration_ms == 333 && entry->attempts == 0 && !entry->checksum && !entry->run && !entry->host);
  CHECK(entry->error.len == 5);
  CHECK(!state.lock.holder && !state.lock.fence && state.lock.expiry == SMIG_EXPIRY_UNREADABLE);
  CHECK_STR(state.lock.expires_at, "");
  CHECK(smig_ledger_state_checkpoints(&state, "a.b") == 2 && smig_ledger_state_checkpoints(&state, "a") == 0);
  CHECK(smig_ledger_state_checkpoints(&state, "none") == 0);
  smig_ledger_state_t moved;
  smig_ledger_state_init(&moved);
  smig_ledger_state_move(&moved, &state);
  CHECK(!state.exists && bson_empty(&state.data) && bson_has_field(&moved.data, "lock.holder"));
  CHECK_STR(moved.current_version, "1.1.0");
  CHECK(smig_ledger_state_find(&moved, "lowercase-emails") != NULL);
  CHECK(smig_ledger_state_checkpoints(&moved, "a.b") == 2);
  smig_ledger_state_move(&moved, &state);
  CHECK(!moved.exists && bson_empty(&moved.data));
  smig_ledger_state_release(&moved);
  smig_ledger_state_release(&state);
}

static void a_ledger_with_all_our_fields(void) {
  smig_ledger_state_t state;
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(parse(&state,
              "{'unknown': [1], 'currentVersion': 'v1.2.0', 'compatibleFrom': '1.1.0', 'bootstrap': {'mode': "
              "'chain-start', 'version': '1.0.0', 'at': 7}, 'leftovers': {'run': 'x'}, 'steps': {'a': {'stepId': 'a', "
              "'fromVersion': '1.0.0', 'toVersion': '1.1.0', 'status': 'failed', 'startedAt': {'$date': "
              "'2026-04-14T12:31:34.123Z'}, 'finishedAt': {'$date': '2026-04-14T12:31:35Z'}, 'durationMs': "
              "{'$numberDouble': '877.5'}, 'attempts': {'$numberLong': '3'}, 'checksum': 'sha256:ab', 'run': 'r1', "
              "'host': 'h', 'engine': 'e', 'error': {'code': 'X'}}}, 'lock': {'holder': 'me', 'acquiredAt': {'$date': "
              "'2026-04-14T12:31:00Z'}, 'expiresAt': '2026-04-14T14:31:34.123+02:00', 'fence': {'$numberDouble': "
              "'1776169894123'}, 'ttlMs': {'$numberDecimal': '60000'}, 'user': 'app@admin', 'other': {}}}",
              &error),
        ": %s", error.message);
  CHECK_STR(state.current_version, "v1.2.0");
  CHECK_STR(state.compatible_from, "1.1.0");
  CHECK_STR(state.bootstrap_version, "1.0.0");
  CHECK(state.has_leftovers);
  const smig_entry_t *entry = smig_ledger_state_find(&state, "a");
  CHECK_STR(entry->started_at, "2026-04-14T12:31:34.123Z");
  CHECK_STR(entry->finished_at, "2026-04-14T12:31:35.000Z");
  CHECK(entry->duration_ms == 877 && entry->attempts == 3 && bson_has_field(&entry->error, "code"));
  CHECK_STR(entry->checksum, "sha256:ab");
  CHECK_STR(entry->run, "r1");
  CHECK_STR(entry->host, "h");
  CHECK_STR(state.lock.holder, "me");
  CHECK_STR(state.lock.user, "app@admin");
  CHECK_STR(state.lock.acquired_at, "2026-04-14T12:31:00.000Z");
  CHECK_STR(state.lock.expires_at, "2026-04-14T12:31:34.123Z");
  CHECK(state.lock.fence == now_ms && state.lock.ttl_ms == 60000);
  smig_ledger_state_release(&state);
}

static void times_to_live_that_nobody_gives_are_cut(void) {
  static const struct {
    const char *json;
    int64_t ttl_ms;
  } cases[] = {{"{'lock': {'ttlMs': {'$numberLong': '9223372036854775807'}}}", 86400000},
               {"{'lock': {'ttlMs': {'$numberLong': '-1'}}}", 0},
               {"{'leftovers': {'ttlMs': {'$numberLong': '9223372036854775807'}}}", 86400000},
               {"{'leftovers': {'ttlMs': {'$numberDouble': '1e300'}}}", 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    smig_ledger_state_t state;
    smig_error_t error = SMIG_ERROR_INIT;
    CHECK(parse(&state, cases[i].json, &error), ": %s", error.message);
    int64_t ttl_ms = smig_ledger_state_leftovers_ttl_ms(&state);
    CHECK(ttl_ms == cases[i].ttl_ms, "%s: %lld", cases[i].json, (long long)ttl_ms);
    smig_ledger_state_release(&state);
  }
}

static void expires(const char *value, smig_expiry_t expected, const char *shown) {
  smig_ledger_state_t state;
  smig_error_t error = SMIG_ERROR_INIT;
  char *json = bson_strdup_printf("{'lock': {'holder': 'x', 'expiresAt': %s}}", value);
  CHECK(parse(&state, json, &error), ": %s: %s", value, error.message);
  CHECK(state.lock.expiry == expected, ": %s", value);
  CHECK_STR(state.lock.expires_at, shown);
  smig_ledger_state_release(&state);
  bson_free(json);
}

static void expiry_is_judged_by_the_given_clock(void) {
  expires("'2026-04-14T12:31:34.122Z'", SMIG_EXPIRY_PAST, "2026-04-14T12:31:34.122Z");
  expires("'2026-04-14T12:31:34.123Z'", SMIG_EXPIRY_LIVE, "2026-04-14T12:31:34.123Z");
  expires("{'$date': '2026-04-14T12:31:34.122Z'}", SMIG_EXPIRY_PAST, "2026-04-14T12:31:34.122Z");
  expires("{'$date': '2027-01-01T00:00:00Z'}", SMIG_EXPIRY_LIVE, "2027-01-01T00:00:00.000Z");
  expires("null", SMIG_EXPIRY_UNREADABLE, "");
  expires("'tomorrow'", SMIG_EXPIRY_UNREADABLE, "");
  expires("12", SMIG_EXPIRY_UNREADABLE, "");
  expires("{'a': 1}", SMIG_EXPIRY_UNREADABLE, "");
}

static void what_others_may_write_is_no_fault(void) {
  static const char *const fine[] = {
      "{'currentVersion': null, 'steps': null, 'lock': null, 'checkpoints': null, 'bootstrap': null, 'compatibleFrom': "
      "null, 'leftovers': null}",
      "{'steps': {}, 'lock': {}, 'checkpoints': {}, 'bootstrap': {}}",
      "{'steps': {'a': {}}}",
      "{'steps': {'a': {'status': 'rolled-back', 'extra': 1, 'stepId': null, 'fromVersion': null, 'toVersion': null}}}",
      "{'steps': {'a': {'startedAt': 5, 'finishedAt': [], 'durationMs': 'x', 'attempts': {}, 'checksum': 1, 'run': [], "
      "'host': false, 'error': 'text'}}}",
      "{'lock': {'holder': '', 'fence': null, 'ttlMs': null, 'user': null, 'acquiredAt': {}}}",
      "{'bootstrap': {'mode': 'baseline', 'version': null, 'more': 1}}",
      "{'leftovers': false}",
      "{'steps': {'$a.b': {'status': 'applied'}}}",
  };
  for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
    smig_ledger_state_t state;
    smig_error_t error = SMIG_ERROR_INIT;
    CHECK(parse(&state, fine[i], &error), ": %s: %s", fine[i], error.message);
    CHECK(!state.has_leftovers && !state.current_version && !state.bootstrap_version);
    for (size_t j = 0; j < state.entry_count; j++)
      CHECK(state.entries[j].duration_ms == -1 && state.entries[j].error.len == 5);
    smig_ledger_state_release(&state);
    smig_error_release(&error);
  }
}

static void every_wrong_shape_is_named(void) {
  static const struct {
    const char *json, *path, *found, *expected;
  } cases[] = {
      {"{'currentVersion': 5}", "currentVersion", "a 32-bit integer", "a semver string or null"},
      {"{'currentVersion': '1.0'}", "currentVersion", "the string \"1.0\"", "a semver string or null"},
      {"{'currentVersion': ''}", "currentVersion", "the string \"\"", "a semver string or null"},
      {"{'currentVersion': '1.0.0\\u0000'}", "currentVersion", "the string \"1.0.0\\x00\"", "a semver string or null"},
      {"{'currentVersion': {}}", "currentVersion", "a document", "a semver string or null"},
      {"{'compatibleFrom': 'x'}", "compatibleFrom", "the string \"x\"", "a semver string or null"},
      {"{'compatibleFrom': true}", "compatibleFrom", "a boolean", "a semver string or null"},
      {"{'steps': []}", "steps", "an array", "a document"},
      {"{'steps': 'x'}", "steps", "the string \"x\"", "a document"},
      {"{'steps': {'a': 1}}", "steps.'a'", "a 32-bit integer", "a document"},
      {"{'steps': {'a': null}}", "steps.'a'", "null", "a document"},
      {"{'steps': {'a': []}}", "steps.'a'", "an array", "a document"},
      {"{'steps': {'a.b': {'fromVersion': 'x'}}}", "steps.'a.b'.fromVersion", "the string \"x\"",
       "a semver string or null"},
      {"{'steps': {'a': {'toVersion': {'$numberLong': '1'}}}}", "steps.'a'.toVersion", "a 64-bit integer",
       "a semver string or null"},
      {"{'steps': {'a': {'status': 1.5}}}", "steps.'a'.status", "a double", "a string or null"},
      {"{'steps': {'a': {'stepId': 'b'}}}", "steps.'a'.stepId", "the string \"b\"", "the key of its entry"},
      {"{'steps': {'a': {'stepId': 1}}}", "steps.'a'.stepId", "a 32-bit integer", "a string or null"},
      {"{'steps': {'a': {}, 'a': {}}}", "steps.'a'", "there twice", "one entry for each id"},
      {"{'steps': {'a': {}}, 'steps': {'a': {}}}", "steps", "there twice", "one document"},
      {"{'lock': 'x'}", "lock", "the string \"x\"", "a document or null"},
      {"{'lock': []}", "lock", "an array", "a document or null"},
      {"{'lock': {'holder': 7}}", "lock.holder", "a 32-bit integer", "a string or null"},
      {"{'lock': {'holder': 'a\\u0000b'}}", "lock.holder", "the string \"a\\x00b\"", "a string or null"},
      {"{'lock': {'fence': 'x'}}", "lock.fence", "the string \"x\"", "a number or null"},
      {"{'lock': {'fence': {'$numberDouble': 'NaN'}}}", "lock.fence", "a double", "a number or null"},
      {"{'lock': {'ttlMs': {}}}", "lock.ttlMs", "a document", "a number or null"},
      {"{'lock': {'user': {'$oid': '0123456789abcdef01234567'}}}", "lock.user", "an ObjectId", "a string or null"},
      {"{'checkpoints': []}", "checkpoints", "an array", "a document"},
      {"{'checkpoints': 1}", "checkpoints", "a 32-bit integer", "a document"},
      {"{'checkpoints': {'a': 1}}", "checkpoints.'a'", "a 32-bit integer", "a document"},
      {"{'checkpoints': {'a': []}}", "checkpoints.'a'", "an array", "a document"},
      {"{'bootstrap': 'x'}", "bootstrap", "the string \"x\"", "a document or null"},
      {"{'bootstrap': {'version': '1'}}", "bootstrap.version", "the string \"1\"", "a semver string or null"},
      {"{'bootstrap': {'mode': {'$date': '2026-01-01T00:00:00Z'}}}", "bootstrap.mode", "a date", "a string or null"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    smig_ledger_state_t state;
    smig_error_t error = SMIG_ERROR_INIT;
    CHECK(!parse(&state, cases[i].json, &error), ": %s", cases[i].json);
    CHECK(error.code == SMIG_LEDGER_CORRUPT, ": %s", cases[i].json);
    CHECK_STR(detail(&error, "place"), place);
    CHECK_STR(detail(&error, "path"), cases[i].path);
    CHECK_STR(detail(&error, "found"), cases[i].found);
    CHECK_STR(detail(&error, "expected"), cases[i].expected);
    smig_ledger_state_release(&state);
    smig_error_release(&error);
  }
}

static void the_message_says_the_way_out(void) {
  smig_ledger_state_t state;
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(!parse(&state, "{'steps': {'a\\nb': {'toVersion': '1'}}}", &error));
  smig_ledger_state_release(&state);
  check_error(&error, SMIG_LEDGER_CORRUPT,
              "the ledger mongodb app.SmartdataEasyStore smartmigration:x is corrupt: its steps.'a\\x0ab'.toVersion is "
              "the string \"1\", expected a semver string or null; nothing was written: correct that field or put back "
              "a backup of the record, or give another ledger_name or ledger_id if it is not this program's");
  CHECK(!parse(&state, "{'steps': 1}", NULL));
  smig_ledger_state_release(&state);
}

static void damaged_bytes_are_corrupt(void) {
  bson_t *data = document("{'steps': {'a': {'status': 'applied'}}, 'lock': {'holder': 'x'}}");
  size_t refused = 0;
  for (uint32_t at = 4; at < data->len - 1; at++) { /* no byte that is wrong may lead out of the document */
    uint8_t *bytes = bson_malloc(data->len);
    memcpy(bytes, bson_get_data(data), data->len);
    bytes[at] = 0xEE;
    bson_t view;
    smig_ledger_state_t state;
    smig_error_t error = SMIG_ERROR_INIT;
    if (bson_init_static(&view, bytes, data->len)) {
      if (!smig_ledger_state_parse(&state, &view, now_ms, place, &error)) {
        CHECK(error.code == SMIG_LEDGER_CORRUPT);
        refused++;
      }
      smig_ledger_state_release(&state);
    }
    smig_error_release(&error);
    bson_free(bytes);
  }
  CHECK(refused > 10, ": only %zu", refused);
  bson_destroy(data);
}

static void thousands_of_entries_are_found(void) {
  enum { COUNT = 10000 };
  bson_t *data = bson_new(), steps, entry;
  BSON_APPEND_DOCUMENT_BEGIN(data, "steps", &steps);
  for (int i = 0; i < COUNT; i++) {
    char id[32];
    snprintf(id, sizeof id, "step-%d", i);
    BSON_APPEND_DOCUMENT_BEGIN(&steps, id, &entry);
    BSON_APPEND_UTF8(&entry, "status", "applied");
    BSON_APPEND_INT32(&entry, "durationMs", i);
    BSON_APPEND_DATE_TIME(&entry, "startedAt", i);
    bson_t failure;
    BSON_APPEND_DOCUMENT_BEGIN(&entry, "error", &failure);
    BSON_APPEND_INT32(&failure, "code", i);
    bson_append_document_end(&entry, &failure);
    bson_append_document_end(&steps, &entry);
  }
  bson_append_document_end(data, &steps);
  smig_ledger_state_t state;
  CHECK(smig_ledger_state_parse(&state, data, now_ms, place, NULL) && state.entry_count == COUNT);
  bson_destroy(data);
  bool found = true;
  for (int i = 0; i < COUNT; i++) {
    char id[32];
    snprintf(id, sizeof id, "step-%d", i);
    const smig_entry_t *one = smig_ledger_state_find(&state, id);
    bson_iter_t code;
    found = found && one && one->duration_ms == i && strcmp(one->id, id) == 0 &&
            bson_iter_init_find(&code, &one->error, "code") && bson_iter_int32(&code) == i;
  }
  CHECK(found && !smig_ledger_state_find(&state, "step-10000"));
  CHECK_STR(state.entries[9999].started_at, "1970-01-01T00:00:09.999Z");
  smig_ledger_state_release(&state);
}

int main(void) {
  RUN(nothing_stored);
  RUN(a_ledger_of_the_original);
  RUN(a_ledger_with_all_our_fields);
  RUN(times_to_live_that_nobody_gives_are_cut);
  RUN(expiry_is_judged_by_the_given_clock);
  RUN(what_others_may_write_is_no_fault);
  RUN(every_wrong_shape_is_named);
  RUN(the_message_says_the_way_out);
  RUN(damaged_bytes_are_corrupt);
  RUN(thousands_of_entries_are_found);
  return check_done();
}
