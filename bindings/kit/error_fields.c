/*
 * What an error object looks like from Lua: its fields, made of the C error's name, message and details when they are first read,
 * and its methods.
 * Users: errors.c. Rule: bindings design, section 5; unknown fields are nil, as of a table.
 */
#include "kit_internal.h"
#include "lbson.h"

#include <ctype.h>
#include <string.h>

/* --------------------------------------------------------------------- codes */

static const char *category_of(const smig_error_t *error) {
  switch (error->code) {
  case SMIG_STEP_FAILED:
    return "script";
  case SMIG_LOCK_LOST:
    return "lease_lost";
  case SMIG_INTERRUPTED:
    return "cancelled";
  case SMIG_LOCK_TIMEOUT:
    return "timeout";
  case SMIG_LEDGER_IO:
  case SMIG_CONNECTION_FAILED:
    return "network";
  case SMIG_UNSUPPORTED_SERVER:
    return "server";
  case SMIG_CHAIN_NOT_AT_CURRENT:
  case SMIG_TARGET_NOT_REACHABLE:
  case SMIG_DOWNGRADE_NOT_SUPPORTED:
  case SMIG_UNVERSIONED_DATA:
  case SMIG_LEDGER_ELSEWHERE:
  case SMIG_LEDGER_CHAIN_MISMATCH:
  case SMIG_LEDGER_CORRUPT:
    return "conflict";
  case SMIG_FOREIGN:
    return "script";
  default:
    return "argument";
  }
}

/* "DuplicateKey" and "DUPLICATE_KEY" are both "duplicate_key". */
static void push_alias(lua_State *L, const char *code) {
  bool has_lower = false;
  for (const char *c = code; *c; c++) has_lower |= islower((unsigned char)*c) != 0;
  luaL_Buffer alias;
  luaL_buffinit(L, &alias);
  for (const char *c = code; *c; c++) {
    unsigned char here = (unsigned char)*c;
    if (has_lower && isupper(here) && c > code && c[-1] != '_' &&
        (!isupper((unsigned char)c[-1]) || islower((unsigned char)c[1]))) {
      luaL_addchar(&alias, '_');
    }
    luaL_addchar(&alias, (char)tolower(here));
  }
  luaL_pushresult(&alias);
}

/* ------------------------------------------------------------------- methods */

static const kit_error_object_t *check_error(lua_State *L) {
  const kit_error_object_t *object = kit_error_object(L, 1);
  if (!object) kit_argerror(L, 1, "error object");
  return object;
}

/* err:is "duplicate_key" */
static int error_is(lua_State *L) {
  const kit_error_object_t *object = check_error(L);
  const char *asked = kit_check_name(L, 2, NULL);
  const char *code = object->error.name ? object->error.name : "";
  push_alias(L, code);
  lua_pushboolean(L, strcmp(asked, code) == 0 || strcmp(asked, lua_tostring(L, -1)) == 0);
  return 1;
}

/* err:has_label "TransientTransactionError" */
static int error_has_label(lua_State *L) {
  const kit_error_object_t *object = check_error(L);
  const char *asked = kit_check_name(L, 2, NULL);
  bson_iter_t labels, label;
  bool found = false;
  if (object->error.details && bson_iter_init_find(&labels, object->error.details, "labels") &&
      BSON_ITER_HOLDS_ARRAY(&labels) && bson_iter_recurse(&labels, &label)) {
    while (!found && bson_iter_next(&label)) {
      found = BSON_ITER_HOLDS_UTF8(&label) && strcmp(bson_iter_utf8(&label, NULL), asked) == 0;
    }
  }
  lua_pushboolean(L, found);
  return 1;
}

const luaL_Reg kit_error_methods[] = {{"is", error_is}, {"has_label", error_has_label}, {NULL, NULL}};

/* -------------------------------------------------------------------- fields */

/* Each pushes one value of the error object at 1; `iter` is the field in the details, or NULL when it is not there. */
typedef void (*push_field_fn)(lua_State *L, const smig_error_t *error, const bson_iter_t *iter);

static void push_code(lua_State *L, const smig_error_t *error, const bson_iter_t *iter) {
  (void)iter;
  lua_pushstring(L, error->name);
}

static void push_message(lua_State *L, const smig_error_t *error, const bson_iter_t *iter) {
  (void)iter;
  lua_pushstring(L, error->message);
}

static void push_as_is(lua_State *L, const smig_error_t *error, const bson_iter_t *iter) {
  (void)error;
  if (!iter) {
    lua_pushnil(L);
  } else if (BSON_ITER_HOLDS_DOCUMENT(iter) || BSON_ITER_HOLDS_ARRAY(iter)) {
    lua_getfield(L, 1, "details"); /* where it is a table already */
    lua_getfield(L, -1, bson_iter_key(iter));
    lua_remove(L, -2);
  } else {
    lbson_push_value(L, iter);
  }
}

static void push_category(lua_State *L, const smig_error_t *error, const bson_iter_t *iter) {
  if (iter && BSON_ITER_HOLDS_UTF8(iter))
    push_as_is(L, error, iter);
  else
    lua_pushstring(L, category_of(error));
}

static void push_flag(lua_State *L, const smig_error_t *error, const bson_iter_t *iter) {
  (void)error;
  lua_pushboolean(L, iter && bson_iter_as_bool(iter));
}

/* An array of names becomes a set, so that err.labels.X works. */
static void push_labels(lua_State *L, const smig_error_t *error, const bson_iter_t *iter) {
  (void)error;
  bson_iter_t label;
  lua_newtable(L);
  if (iter && BSON_ITER_HOLDS_ARRAY(iter) && bson_iter_recurse(iter, &label)) {
    while (bson_iter_next(&label)) {
      if (!BSON_ITER_HOLDS_UTF8(&label)) continue;
      lua_pushboolean(L, true);
      lua_setfield(L, -2, bson_iter_utf8(&label, NULL));
    }
  }
  kit_freeze(L, -1);
}

static void push_details(lua_State *L, const smig_error_t *error, const bson_iter_t *iter) {
  (void)iter;
  if (error->details)
    lbson_push_table(L, error->details);
  else
    lua_newtable(L);
  kit_freeze(L, -1);
}

static void push_reply(lua_State *L, const smig_error_t *error, const bson_iter_t *iter) {
  (void)error;
  bson_t document;
  const uint8_t *bytes;
  uint32_t length;
  if (iter && BSON_ITER_HOLDS_DOCUMENT(iter)) {
    bson_iter_document(iter, &length, &bytes);
    if (bson_init_static(&document, bytes, length)) {
      lbson_push_frozen(L, &document);
      return;
    }
  }
  lua_pushnil(L);
}

/* A lower error stands in the details as {code, message, …}; what else it holds are its own details. */
static void push_cause(lua_State *L, const smig_error_t *error, const bson_iter_t *iter) {
  (void)error;
  bson_iter_t fields;
  if (!iter || !BSON_ITER_HOLDS_DOCUMENT(iter) || !bson_iter_recurse(iter, &fields)) {
    lua_pushnil(L);
    return;
  }
  const char *name = NULL, *message = "";
  bson_iter_t field = fields;
  while (bson_iter_next(&field)) {
    if (!BSON_ITER_HOLDS_UTF8(&field)) continue;
    if (strcmp(bson_iter_key(&field), "code") == 0)
      name = bson_iter_utf8(&field, NULL);
    else if (strcmp(bson_iter_key(&field), "message") == 0)
      message = bson_iter_utf8(&field, NULL);
  }
  smig_error_t lower = SMIG_ERROR_INIT;
  smig_code_t code;
  if (name && smig_code_from_name(name, &code))
    smig_error_set(&lower, code, "%s", message);
  else
    smig_error_set_foreign(&lower, name ? name : "UNKNOWN", "%s", message);
  bson_t *details = smig_error_details(&lower);
  for (field = fields; bson_iter_next(&field);) {
    const char *key = bson_iter_key(&field);
    if (strcmp(key, "code") != 0 && strcmp(key, "message") != 0) bson_append_iter(details, NULL, -1, &field);
  }
  kit_push_error(L, &lower);
}

static const struct {
  const char *name;
  push_field_fn push;
} fields[] = {
    {"code", push_code},
    {"message", push_message},
    {"category", push_category},
    {"native", push_as_is},
    {"labels", push_labels},
    {"retryable", push_flag},
    {"outcome_unknown", push_flag},
    {"timeout", push_flag},
    {"operation", push_as_is},
    {"namespace", push_as_is},
    {"write_errors", push_as_is},
    {"write_concern_error", push_as_is},
    {"partial_result", push_as_is},
    {"bucket", push_as_is},
    {"key", push_as_is},
    {"request_id", push_as_is},
    {"host_id", push_as_is},
    {"status", push_as_is},
    {"reply", push_reply},
    {"cause", push_cause},
    {"details", push_details},
};

/* An error that wraps another (STEP_FAILED) has the place and the trace of what it wraps, unless it has its own. */
static int push_from_cause(lua_State *L, const char *key) {
  lua_getfield(L, 1, "cause");
  if (!kit_test_error(L, -1)) {
    lua_pushnil(L);
    return 1;
  }
  lua_getfield(L, -1, key);
  return 1;
}

int kit_error_index(lua_State *L) {
  const kit_error_object_t *object = check_error(L);
  if (lua_type(L, 2) != LUA_TSTRING) return 0;
  lua_settop(L, 2);
  lua_getiuservalue(L, 1, 1);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, 3) != LUA_TNIL) return 1;
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  const char *key = lua_tostring(L, 2);
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    if (strcmp(fields[i].name, key) != 0) continue;
    bson_iter_t iter;
    bool found = object->error.details && bson_iter_init_find(&iter, object->error.details, key);
    fields[i].push(L, &object->error, found ? &iter : NULL);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 3); /* made once: two reads give one object */
    return 1;
  }
  if (strcmp(key, "traceback") == 0 || strcmp(key, "where") == 0) return push_from_cause(L, key);
  return 0;
}
