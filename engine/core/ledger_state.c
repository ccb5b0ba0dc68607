/*
 * Reads a ledger's `data` and checks its shape. See ledger_state.h.
 * Units: ms since 1970 for dates. Errors: LEDGER_CORRUPT. Pure. One pass over the document: a chain has thousands of
 * entries, and every run reads them.
 * Source of the rules: the contract's section on the ledger. A field that is null counts as missing; numbers are read by
 * value, because writers in other languages and JSON choose other widths.
 */
#include "ledger_state.h"

#include "semver.h"
#include "text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FOUND_LENGTH = 80 };

/* Where in the ledger reading is, for messages: up to three names, none of them copied. */
typedef struct path {
  const char *part[3];
} path_t;

typedef struct reader {
  smig_ledger_state_t *state;
  const char *place;
  int64_t now_wall_ms;
  smig_error_t *error;
} reader_t;

void smig_ledger_state_init(smig_ledger_state_t *state) {
  memset(state, 0, sizeof *state);
  bson_init(&state->data);
  state->lock.expiry = SMIG_EXPIRY_UNREADABLE;
}

void smig_ledger_state_release(smig_ledger_state_t *state) {
  for (size_t i = 0; i < state->text_count; i++) bson_free(state->texts[i]);
  bson_free(state->texts);
  bson_free(state->entries);
  smig_index_release(&state->by_id);
  bson_destroy(&state->data);
  bson_free(state->bytes);
  smig_ledger_state_init(state);
}

static const char *type_name(bson_type_t type) {
  switch (type) {
  case BSON_TYPE_DOUBLE:
    return "a double";
  case BSON_TYPE_UTF8:
    return "a string";
  case BSON_TYPE_DOCUMENT:
    return "a document";
  case BSON_TYPE_ARRAY:
    return "an array";
  case BSON_TYPE_BINARY:
    return "binary data";
  case BSON_TYPE_OID:
    return "an ObjectId";
  case BSON_TYPE_BOOL:
    return "a boolean";
  case BSON_TYPE_DATE_TIME:
    return "a date";
  case BSON_TYPE_NULL:
    return "null";
  case BSON_TYPE_INT32:
    return "a 32-bit integer";
  case BSON_TYPE_INT64:
    return "a 64-bit integer";
  case BSON_TYPE_DECIMAL128:
    return "a decimal";
  default:
    return "a value of another type";
  }
}

/* What stands at `iter`, shortly: `the string "abc"`. */
static char *describe(const bson_iter_t *iter) {
  bson_type_t type = bson_iter_type(iter);
  if (type != BSON_TYPE_UTF8) return bson_strdup(type_name(type));
  uint32_t length = 0;
  const char *text = bson_iter_utf8(iter, &length);
  char *escaped = smig_text_escape(text, length, FOUND_LENGTH);
  char *found = bson_strdup_printf("the string \"%s\"", escaped);
  bson_free(escaped);
  return found;
}

/* "steps.'move-uploads'.toVersion": a name that is not one of the ledger's own is quoted, for it may hold dots. */
static char *path_text(path_t path) {
  bson_string_t *out = bson_string_new(NULL);
  for (int i = 0; i < 3 && path.part[i]; i++) {
    char *name = smig_text_escape(path.part[i], strlen(path.part[i]), FOUND_LENGTH * 2);
    bool own = i != 1 || strcmp(path.part[0], "lock") == 0 || strcmp(path.part[0], "bootstrap") == 0;
    bson_string_append_printf(out, own ? "%s%s" : "%s'%s'", i ? "." : "", name);
    bson_free(name);
  }
  return bson_string_free(out, false);
}

static bool corrupt_text(const reader_t *reader, path_t path, const char *found, const char *expected) {
  char *where = path_text(path);
  smig_error_set(reader->error, SMIG_LEDGER_CORRUPT,
                 "the ledger %s is corrupt: its %s is %s, expected %s; nothing was written: correct that field or put "
                 "back a backup of the record, or give another ledger_name or ledger_id if it is not this program's",
                 reader->place, *where ? where : "data", found, expected);
  bson_t *details = smig_error_details(reader->error);
  if (details) {
    BSON_APPEND_UTF8(details, "place", reader->place);
    BSON_APPEND_UTF8(details, "path", where);
    BSON_APPEND_UTF8(details, "found", found);
    BSON_APPEND_UTF8(details, "expected", expected);
  }
  bson_free(where);
  return false;
}

static bool corrupt(const reader_t *reader, path_t path, const bson_iter_t *iter, const char *expected) {
  char *found = describe(iter);
  corrupt_text(reader, path, found, expected);
  bson_free(found);
  return false;
}

/* Names differ in their first letter mostly: worth it for the entries' fields. */
static inline bool is(const char *key, const char *name) {
  return *key == *name && strcmp(key, name) == 0;
}

/* A string that C can hold, or NULL. */
static const char *text_of(const bson_iter_t *iter, uint32_t *length) {
  *length = 0;
  if (!BSON_ITER_HOLDS_UTF8(iter)) return NULL;
  const char *text = bson_iter_utf8(iter, length);
  return memchr(text, '\0', *length) ? NULL : text;
}

static bool read_text(const reader_t *reader, path_t path, const bson_iter_t *iter, const char **text) {
  uint32_t length;
  *text = NULL;
  if (BSON_ITER_HOLDS_NULL(iter)) return true;
  *text = text_of(iter, &length);
  return *text || corrupt(reader, path, iter, "a string or null");
}

static bool read_version(const reader_t *reader, path_t path, const bson_iter_t *iter, const char **version) {
  uint32_t length;
  *version = NULL;
  if (BSON_ITER_HOLDS_NULL(iter)) return true;
  const char *text = text_of(iter, &length);
  if (!text || !smig_semver_valid(text, length)) return corrupt(reader, path, iter, "a semver string or null");
  *version = text;
  return true;
}

/* A whole number of any numeric type. */
static bool number_of(const bson_iter_t *iter, int64_t *number) {
  double value = 0;
  switch (bson_iter_type(iter)) {
  case BSON_TYPE_INT32:
  case BSON_TYPE_INT64:
    *number = bson_iter_as_int64(iter);
    return true;
  case BSON_TYPE_DOUBLE:
    value = bson_iter_double(iter);
    break;
  case BSON_TYPE_DECIMAL128: {
    bson_decimal128_t decimal;
    char text[BSON_DECIMAL128_STRING];
    bson_iter_decimal128(iter, &decimal);
    bson_decimal128_to_string(&decimal, text);
    value = strtod(text, NULL);
    break;
  }
  default:
    return false;
  }
  if (!(fabs(value) < 9.2e18)) return false;
  *number = (int64_t)value;
  return true;
}

static bool read_number(const reader_t *reader, path_t path, const bson_iter_t *iter, int64_t *number) {
  if (BSON_ITER_HOLDS_NULL(iter) || number_of(iter, number)) return true;
  return corrupt(reader, path, iter, "a number or null");
}

static bool date_of(const bson_iter_t *iter, int64_t *wall_ms) {
  uint32_t length;
  if (BSON_ITER_HOLDS_DATE_TIME(iter)) {
    *wall_ms = bson_iter_date_time(iter);
    return true;
  }
  const char *text = text_of(iter, &length);
  return text && smig_clock_from_iso(text, wall_ms);
}

/* A date that is only shown: a string as it is, a BSON date as ISO text of the state's own, else NULL. */
static const char *shown_date(smig_ledger_state_t *state, const bson_iter_t *iter) {
  uint32_t length;
  if (!BSON_ITER_HOLDS_DATE_TIME(iter)) return text_of(iter, &length);
  if ((state->text_count & (state->text_count - 1)) == 0) /* full at every power of two */
    state->texts = bson_realloc(state->texts, (state->text_count ? state->text_count * 2 : 1) * sizeof *state->texts);
  char *text = bson_malloc(SMIG_ISO_SIZE);
  smig_clock_iso(bson_iter_date_time(iter), text);
  state->texts[state->text_count++] = text;
  return text;
}

/* Enters a document; false when it is none. */
static bool enter(const bson_iter_t *iter, bson_iter_t *child) {
  return BSON_ITER_HOLDS_DOCUMENT(iter) && bson_iter_recurse(iter, child);
}

/* After the last field: whether the bytes could be read to their end. */
static bool ended_well(const reader_t *reader, path_t path, const bson_iter_t *iter) {
  return !iter->err_off || corrupt_text(reader, path, "damaged BSON", "well-formed BSON");
}

static bool read_entry_field(const reader_t *reader, path_t path, const bson_iter_t *iter, smig_entry_t *entry) {
  const char *key = path.part[2];
  uint32_t length;
  if (is(key, "fromVersion")) return read_version(reader, path, iter, &entry->from_version);
  if (is(key, "toVersion")) return read_version(reader, path, iter, &entry->to_version);
  if (is(key, "status")) return read_text(reader, path, iter, &entry->status);
  if (is(key, "stepId")) {
    const char *id;
    if (!read_text(reader, path, iter, &id)) return false;
    return !id || strcmp(id, entry->id) == 0 || corrupt(reader, path, iter, "the key of its entry");
  }
  if (is(key, "startedAt"))
    entry->started_at = shown_date(reader->state, iter);
  else if (is(key, "finishedAt"))
    entry->finished_at = shown_date(reader->state, iter);
  else if (is(key, "checksum"))
    entry->checksum = text_of(iter, &length);
  else if (is(key, "run"))
    entry->run = text_of(iter, &length);
  else if (is(key, "host"))
    entry->host = text_of(iter, &length);
  else if (is(key, "durationMs"))
    (void)number_of(iter, &entry->duration_ms);
  else if (is(key, "attempts"))
    (void)number_of(iter, &entry->attempts);
  else if (is(key, "error") && BSON_ITER_HOLDS_DOCUMENT(iter)) {
    const uint8_t *bytes;
    bson_iter_document(iter, &length, &bytes);
    if (!bson_init_static(&entry->error, bytes, length)) bson_init(&entry->error);
  }
  return true;
}

static bool read_entry(const reader_t *reader, const bson_iter_t *iter, smig_entry_t *entry) {
  bson_iter_t field;
  path_t path = {{"steps", bson_iter_key(iter), NULL}};
  memset(entry, 0, sizeof *entry);
  entry->id = bson_iter_key(iter);
  entry->duration_ms = -1;
  bson_init(&entry->error);
  if (!enter(iter, &field)) return corrupt(reader, path, iter, "a document");
  while (bson_iter_next(&field)) {
    path.part[2] = bson_iter_key(&field);
    if (!read_entry_field(reader, path, &field, entry)) return false;
  }
  path.part[2] = NULL;
  return ended_well(reader, path, &field);
}

static bool index_entries(const reader_t *reader) {
  smig_ledger_state_t *state = reader->state;
  smig_index_init(&state->by_id, state->entry_count);
  for (size_t i = 0; i < state->entry_count; i++) {
    if (smig_index_put(&state->by_id, state->entries[i].id, i) == SMIG_INDEX_NONE) continue;
    return corrupt_text(reader, (path_t){{"steps", state->entries[i].id, NULL}}, "there twice",
                        "one entry for each id");
  }
  return true;
}

/* Entries never move: a bson_t points into itself. It also wants more alignment than bson_malloc gives. */
static smig_entry_t *new_entries(const bson_iter_t *steps) {
  bson_iter_t child = *steps;
  size_t count = 1;
  while (bson_iter_next(&child)) count++;
  return bson_aligned_alloc(BSON_ALIGNOF(smig_entry_t), count * sizeof(smig_entry_t));
}

static bool read_steps(const reader_t *reader, const bson_iter_t *iter) {
  smig_ledger_state_t *state = reader->state;
  path_t path = {{"steps", NULL, NULL}};
  bson_iter_t child;
  if (state->entries) return corrupt_text(reader, path, "there twice", "one document");
  if (BSON_ITER_HOLDS_NULL(iter)) return true;
  if (!enter(iter, &child)) return corrupt(reader, path, iter, "a document");
  state->entries = new_entries(&child);
  while (bson_iter_next(&child)) {
    if (!read_entry(reader, &child, &state->entries[state->entry_count])) return false;
    state->entry_count++;
  }
  return ended_well(reader, path, &child) && index_entries(reader);
}

static void read_expiry(const reader_t *reader, const bson_iter_t *iter) {
  int64_t expires_ms;
  if (!date_of(iter, &expires_ms)) return;
  smig_clock_iso(expires_ms, reader->state->lock.expires_at);
  reader->state->lock.expiry = expires_ms < reader->now_wall_ms ? SMIG_EXPIRY_PAST : SMIG_EXPIRY_LIVE;
}

/* Times are reckoned with it. */
static int64_t plausible_ttl(int64_t ttl_ms) {
  return ttl_ms < 0 ? 0 : ttl_ms > SMIG_LOCK_TTL_MAX_MS ? SMIG_LOCK_TTL_MAX_MS : ttl_ms;
}

static bool read_lock(const reader_t *reader, const bson_iter_t *iter) {
  smig_ledger_state_t *state = reader->state;
  path_t path = {{"lock", NULL, NULL}};
  bson_iter_t field;
  int64_t acquired_ms;
  if (BSON_ITER_HOLDS_NULL(iter)) return true;
  if (!enter(iter, &field)) return corrupt(reader, path, iter, "a document or null");
  while (bson_iter_next(&field)) {
    const char *key = path.part[1] = bson_iter_key(&field);
    bool fine = true;
    if (is(key, "holder"))
      fine = read_text(reader, path, &field, &state->lock.holder);
    else if (is(key, "fence"))
      fine = read_number(reader, path, &field, &state->lock.fence);
    else if (is(key, "ttlMs"))
      fine = read_number(reader, path, &field, &state->lock.ttl_ms);
    else if (is(key, "user"))
      fine = read_text(reader, path, &field, &state->lock.user);
    else if (is(key, "expiresAt"))
      read_expiry(reader, &field);
    else if (is(key, "acquiredAt") && date_of(&field, &acquired_ms))
      smig_clock_iso(acquired_ms, state->lock.acquired_at);
    if (!fine) return false;
  }
  state->lock.ttl_ms = plausible_ttl(state->lock.ttl_ms);
  path.part[1] = NULL;
  return ended_well(reader, path, &field);
}

static bool read_checkpoints(const reader_t *reader, const bson_iter_t *iter) {
  path_t path = {{"checkpoints", NULL, NULL}};
  bson_iter_t child;
  if (BSON_ITER_HOLDS_NULL(iter)) return true;
  if (!enter(iter, &child)) return corrupt(reader, path, iter, "a document");
  while (bson_iter_next(&child)) {
    path.part[1] = bson_iter_key(&child);
    if (!BSON_ITER_HOLDS_NULL(&child) && !BSON_ITER_HOLDS_DOCUMENT(&child))
      return corrupt(reader, path, &child, "a document");
  }
  path.part[1] = NULL;
  return ended_well(reader, path, &child);
}

static bool read_bootstrap(const reader_t *reader, const bson_iter_t *iter) {
  path_t path = {{"bootstrap", NULL, NULL}};
  bson_iter_t field;
  const char *mode;
  if (BSON_ITER_HOLDS_NULL(iter)) return true;
  if (!enter(iter, &field)) return corrupt(reader, path, iter, "a document or null");
  while (bson_iter_next(&field)) {
    const char *key = path.part[1] = bson_iter_key(&field);
    if (is(key, "version")) {
      if (!read_version(reader, path, &field, &reader->state->bootstrap_version)) return false;
    } else if (is(key, "mode")) {
      if (!read_text(reader, path, &field, &mode)) return false;
    }
  }
  path.part[1] = NULL;
  return ended_well(reader, path, &field);
}

/* Ours alone, and only a hint how long to wait: whatever it holds, it is no reason to call a ledger corrupt. */
static void read_leftovers(smig_ledger_state_t *state, const bson_iter_t *iter) {
  bson_iter_t ttl;
  int64_t ttl_ms;
  state->has_leftovers = !BSON_ITER_HOLDS_NULL(iter) && (!BSON_ITER_HOLDS_BOOL(iter) || bson_iter_bool(iter));
  if (BSON_ITER_HOLDS_DOCUMENT(iter) && bson_iter_recurse(iter, &ttl) && bson_iter_find(&ttl, "ttlMs") &&
      number_of(&ttl, &ttl_ms))
    state->leftovers_ttl_ms = plausible_ttl(ttl_ms);
}

static bool read_data(const reader_t *reader) {
  smig_ledger_state_t *state = reader->state;
  bson_iter_t iter;
  if (!bson_iter_init(&iter, &state->data)) return corrupt_text(reader, (path_t){{0}}, "damaged BSON", "a document");
  while (bson_iter_next(&iter)) {
    const char *key = bson_iter_key(&iter);
    path_t path = {{key, NULL, NULL}};
    bool fine = true;
    if (is(key, "currentVersion"))
      fine = read_version(reader, path, &iter, &state->current_version);
    else if (is(key, "compatibleFrom"))
      fine = read_version(reader, path, &iter, &state->compatible_from);
    else if (is(key, "steps"))
      fine = read_steps(reader, &iter);
    else if (is(key, "lock"))
      fine = read_lock(reader, &iter);
    else if (is(key, "checkpoints"))
      fine = read_checkpoints(reader, &iter);
    else if (is(key, "bootstrap"))
      fine = read_bootstrap(reader, &iter);
    else if (is(key, "leftovers"))
      read_leftovers(state, &iter);
    if (!fine) return false;
  }
  return ended_well(reader, (path_t){{0}}, &iter);
}

void smig_ledger_state_move(smig_ledger_state_t *to, smig_ledger_state_t *from) {
  smig_ledger_state_release(to);
  *to = *from;
  bson_init(&to->data);
  if (to->bytes) bson_init_static(&to->data, to->bytes, from->data.len);
  smig_ledger_state_init(from);
}

bool smig_ledger_state_parse(smig_ledger_state_t *state, const bson_t *data, int64_t now_wall_ms, const char *place,
                             smig_error_t *error) {
  smig_ledger_state_init(state);
  if (!data) return true;
  reader_t reader = {state, place, now_wall_ms, error};
  state->exists = true;
  state->bytes = bson_malloc(data->len);
  memcpy(state->bytes, bson_get_data(data), data->len);
  if (!bson_init_static(&state->data, state->bytes, data->len)) {
    bson_init(&state->data);
    return corrupt_text(&reader, (path_t){{0}}, "damaged BSON", "a document");
  }
  return read_data(&reader);
}

int64_t smig_ledger_state_leftovers_ttl_ms(const smig_ledger_state_t *state) {
  return state->lock.ttl_ms > state->leftovers_ttl_ms ? state->lock.ttl_ms : state->leftovers_ttl_ms;
}

const smig_entry_t *smig_ledger_state_find(const smig_ledger_state_t *state, const char *id) {
  size_t position = smig_index_get(&state->by_id, id);
  return position == SMIG_INDEX_NONE ? NULL : &state->entries[position];
}

size_t smig_ledger_state_checkpoints(const smig_ledger_state_t *state, const char *step_id) {
  bson_iter_t iter, steps, keys;
  size_t count = 0;
  if (!bson_iter_init_find(&iter, &state->data, "checkpoints") || !enter(&iter, &steps) ||
      !bson_iter_find(&steps, step_id) || !enter(&steps, &keys))
    return 0;
  while (bson_iter_next(&keys)) count++;
  return count;
}
