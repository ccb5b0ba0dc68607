/*
 * The chain and its validation. See chain.h.
 * Errors: those of the contract's section on the chain. Not thread-safe: a chain belongs to its engine.
 */
#include "chain.h"

#include "semver.h"
#include "text.h"

#include <string.h>

enum { MAX_ID_LENGTH = 128, QUOTED_LENGTH = 160, FIRST_CAPACITY = 16 };

void smig_chain_init(smig_chain_t *chain) {
  *chain = (smig_chain_t){0};
}

void smig_chain_release(smig_chain_t *chain) {
  for (size_t i = 0; i < chain->count; i++) {
    smig_step_t *step = &chain->steps[i];
    if (step->user_free) step->user_free(step->user);
    bson_free((char *)step->id);
    bson_free((char *)step->from);
    bson_free((char *)step->to);
    bson_free((char *)step->description);
    bson_free((char *)step->compatible_from);
    bson_free((char *)step->checksum);
    bson_free((char *)step->file);
  }
  bson_free(chain->steps);
  smig_index_release(&chain->by_id);
  *chain = (smig_chain_t){0};
}

static char *copy_bytes(const char *bytes, size_t length) {
  char *copy = bson_malloc(length + 1);
  memcpy(copy, bytes, length);
  copy[length] = '\0';
  return copy;
}

void smig_chain_add(smig_chain_t *chain, const smig_step_t *step) {
  if (chain->count == chain->capacity) {
    chain->capacity = chain->capacity ? chain->capacity * 2 : FIRST_CAPACITY;
    chain->steps = bson_realloc(chain->steps, chain->capacity * sizeof *chain->steps);
  }
  smig_step_t *copy = &chain->steps[chain->count++];
  *copy = *step;
  copy->id_length = !step->id ? 0 : step->id_length ? step->id_length : strlen(step->id);
  copy->id = step->id ? copy_bytes(step->id, copy->id_length) : NULL;
  copy->from = bson_strdup(step->from);
  copy->to = bson_strdup(step->to);
  copy->description = bson_strdup(step->description);
  copy->compatible_from = bson_strdup(step->compatible_from);
  copy->checksum = bson_strdup(step->checksum);
  copy->file = bson_strdup(step->file);
  chain->valid = false;
}

bool smig_step_id_valid(const char *id, size_t length, const char **why) {
  *why = NULL;
  if (!id || !length)
    *why = "it is empty";
  else if (length > MAX_ID_LENGTH)
    *why = "it is longer than 128 bytes";
  else if (*id == '$')
    *why = "it begins with '$', which MongoDB reserves";
  else if (length >= 7 && memcmp(id, "bridge:", 7) == 0)
    *why = "it begins with 'bridge:', which the engine reserves";
  for (size_t at = 0; !*why && at < length;) {
    uint32_t character = 0;
    size_t size = smig_utf8_decode(id + at, length - at, &character);
    if (!size)
      *why = "it is not UTF-8";
    else if (smig_is_control(character))
      *why = "it holds a control character";
    at += size;
  }
  return !*why;
}

/* "migrations/0002-x.lua:3", or NULL when it is not known where the step stands. */
static char *place_of(const smig_step_t *step) {
  if (!step->file) return NULL;
  char *file = smig_text_escape(step->file, strlen(step->file), SIZE_MAX);
  char *place = step->line > 0 ? bson_strdup_printf("%s:%d", file, step->line) : bson_strdup(file);
  bson_free(file);
  return place;
}

/* Escaped: nothing has checked these bytes yet, and ill-formed ones would spoil the whole document. */
static void append_if(bson_t *to, const char *key, const char *text) {
  if (!text) return;
  char *escaped = smig_text_escape(text, strlen(text), SIZE_MAX);
  BSON_APPEND_UTF8(to, key, escaped);
  bson_free(escaped);
}

/* What every violation's details begin with. */
static void append_step(smig_error_t *error, const smig_chain_t *chain, size_t index) {
  const smig_step_t *step = &chain->steps[index];
  bson_t *details = smig_error_details(error);
  if (!details) return;
  char *id = smig_text_escape(step->id, step->id_length, QUOTED_LENGTH);
  if (step->id) BSON_APPEND_UTF8(details, "step_id", id);
  BSON_APPEND_INT32(details, "index", (int32_t)(index + 1));
  append_if(details, "file", step->file);
  if (step->file && step->line > 0) BSON_APPEND_INT32(details, "line", step->line);
  bson_free(id);
}

static void append_versions(smig_error_t *error, const smig_step_t *step) {
  bson_t *details = smig_error_details(error);
  if (!details) return;
  append_if(details, "from", step->from);
  append_if(details, "to", step->to);
}

static bool check_id(const smig_chain_t *chain, size_t index, smig_error_t *error) {
  const smig_step_t *step = &chain->steps[index];
  const char *why;
  if (smig_step_id_valid(step->id, step->id_length, &why)) return true;
  if (!step->id) {
    smig_error_set(error, SMIG_INVALID_STEP_ID, "step %zu has no id; give it one of 1 to 128 bytes", index + 1);
  } else {
    char *id = smig_text_escape(step->id, step->id_length, QUOTED_LENGTH);
    smig_error_set(error, SMIG_INVALID_STEP_ID,
                   "the id '%s' of step %zu is not acceptable: %s; give it 1 to 128 bytes of UTF-8 without control "
                   "characters, not beginning with '$' or 'bridge:'",
                   id, index + 1, why);
    bson_free(id);
  }
  append_step(error, chain, index);
  return false;
}

static bool check_unique(smig_chain_t *chain, size_t index, smig_error_t *error) {
  const smig_step_t *step = &chain->steps[index];
  size_t former = smig_index_put(&chain->by_id, step->id, index);
  if (former == SMIG_INDEX_NONE) return true;
  char *former_place = place_of(&chain->steps[former]);
  smig_error_set(error, SMIG_DUPLICATE_STEP_ID,
                 "step '%s': the id of step %zu is that of step %zu already%s%s%s; give one of them another id",
                 step->id, index + 1, former + 1, former_place ? " (" : "", former_place ? former_place : "",
                 former_place ? ")" : "");
  bson_free(former_place);
  append_step(error, chain, index);
  bson_t *details = smig_error_details(error);
  if (details) {
    BSON_APPEND_INT32(details, "previous_index", (int32_t)(former + 1));
    append_if(details, "previous_file", chain->steps[former].file);
    if (chain->steps[former].file && chain->steps[former].line > 0)
      BSON_APPEND_INT32(details, "previous_line", chain->steps[former].line);
  }
  return false;
}

static bool check_present(const smig_chain_t *chain, size_t index, smig_error_t *error) {
  const smig_step_t *step = &chain->steps[index];
  if (step->from && step->to) return true;
  smig_code_t code = step->from ? SMIG_STEP_MISSING_TO : SMIG_STEP_MISSING_FROM;
  const char *field = step->from ? "to" : "from";
  smig_error_set(error, code, "step '%s': it has no `%s` version; say %s with %s = \"1.2.3\"", step->id, field,
                 step->from ? "where it leads" : "where it begins", field);
  append_step(error, chain, index);
  append_versions(error, step);
  return false;
}

/* Normalizes one version of a step in place. */
static bool check_version(const smig_chain_t *chain, size_t index, const char *field, const char **version,
                          smig_error_t *error) {
  char *normalized = NULL;
  if (!*version) return true;
  if (smig_semver_parse(*version, strlen(*version), field, &normalized, NULL)) {
    bson_free((char *)*version);
    *version = normalized;
    return true;
  }
  char *label = bson_strdup_printf("step '%s' %s", chain->steps[index].id, field);
  smig_semver_parse(*version, strlen(*version), label, &normalized, error);
  append_step(error, chain, index);
  bson_free(label);
  return false;
}

/* Programs older than the step cannot need data newer than it leaves. */
static bool check_compatible(const smig_chain_t *chain, size_t index, smig_error_t *error) {
  const smig_step_t *step = &chain->steps[index];
  if (!step->compatible_from || smig_semver_compare(step->compatible_from, step->to) <= 0) return true;
  smig_error_set(
      error, SMIG_INVALID_VERSION,
      "step '%s': its compatible_from %s is above its to %s; it names the oldest version whose program still "
      "works on the data",
      step->id, step->compatible_from, step->to);
  append_step(error, chain, index);
  append_versions(error, step);
  return false;
}

static bool check_versions(smig_chain_t *chain, size_t index, smig_error_t *error) {
  smig_step_t *step = &chain->steps[index];
  return check_present(chain, index, error) && check_version(chain, index, "from", &step->from, error) &&
         check_version(chain, index, "to", &step->to, error) &&
         check_version(chain, index, "compatible_from", &step->compatible_from, error) &&
         check_compatible(chain, index, error);
}

static bool check_handler(const smig_chain_t *chain, size_t index, smig_error_t *error) {
  const smig_step_t *step = &chain->steps[index];
  if (step->up) return true;
  smig_error_set(error, SMIG_INVALID_STEP_HANDLER,
                 "step '%s': its `up` is not a function; give it one that does its work", step->id);
  append_step(error, chain, index);
  return false;
}

static bool check_increasing(const smig_chain_t *chain, size_t index, smig_error_t *error) {
  const smig_step_t *step = &chain->steps[index];
  int order = smig_semver_compare(step->from, step->to);
  if (order < 0) return true;
  smig_error_set(error, SMIG_NON_INCREASING_STEP,
                 "step '%s': its from %s is %s its to %s; a step must lead to a greater version", step->id, step->from,
                 order ? "above" : "equal to", step->to);
  append_step(error, chain, index);
  append_versions(error, step);
  return false;
}

static bool check_contiguous(const smig_chain_t *chain, size_t index, smig_error_t *error) {
  if (index == 0) return true;
  const smig_step_t *step = &chain->steps[index], *previous = &chain->steps[index - 1];
  int order = smig_semver_compare(step->from, previous->to);
  if (order == 0) return true;
  smig_error_set(error, SMIG_CHAIN_NOT_CONTIGUOUS,
                 "step '%s': its from %s is not the to %s of step '%s' before it, which leaves %s; steps run in the "
                 "order they are registered, each from where the one before it ends",
                 step->id, step->from, previous->to, previous->id, order > 0 ? "a gap" : "an overlap");
  append_step(error, chain, index);
  append_versions(error, step);
  bson_t *details = smig_error_details(error);
  if (details) {
    BSON_APPEND_UTF8(details, "previous_step_id", previous->id);
    BSON_APPEND_UTF8(details, "previous_to", previous->to);
    append_if(details, "previous_file", previous->file);
    if (previous->file && previous->line > 0) BSON_APPEND_INT32(details, "previous_line", previous->line);
  }
  return false;
}

/* Says first where the step stands. */
static void prefix_place(const smig_step_t *step, smig_error_t *error) {
  char *place = error ? place_of(step) : NULL;
  if (!place) return;
  char *message = bson_strdup_printf("%s: %s", place, error->message);
  bson_free(error->message);
  error->message = message;
  bson_free(place);
}

static bool check_step(smig_chain_t *chain, size_t index, smig_error_t *error) {
  if (check_id(chain, index, error) && check_unique(chain, index, error) && check_versions(chain, index, error) &&
      check_handler(chain, index, error) && check_increasing(chain, index, error) &&
      check_contiguous(chain, index, error))
    return true;
  prefix_place(&chain->steps[index], error);
  return false;
}

bool smig_chain_validate(smig_chain_t *chain, smig_error_t *error) {
  if (chain->valid) return true;
  smig_index_release(&chain->by_id);
  smig_index_init(&chain->by_id, chain->count);
  for (size_t i = 0; i < chain->count; i++) {
    if (!check_step(chain, i, error)) return false;
  }
  chain->valid = true;
  return true;
}

const smig_step_t *smig_chain_find(const smig_chain_t *chain, const char *id) {
  if (chain->valid) {
    size_t position = smig_index_get(&chain->by_id, id);
    return position == SMIG_INDEX_NONE ? NULL : &chain->steps[position];
  }
  for (size_t i = 0; i < chain->count; i++) {
    if (chain->steps[i].id && strcmp(chain->steps[i].id, id) == 0) return &chain->steps[i];
  }
  return NULL;
}
