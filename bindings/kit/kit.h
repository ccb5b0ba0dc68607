/*
 * What every binding needs: handles that are born closed, one error object, options read through descriptors, and C
 * memory that survives a Lua error. Include this in place of lua.h.
 *
 * Rules: C memory that must survive a possible lua_error belongs to a userdata (a handle or a kit_box). No Lua call
 * inside a callback of libmongoc. Strings are pushed with their length. One lua_State is used by one thread.
 */
#ifndef SMIG_BINDINGS_KIT_H
#define SMIG_BINDINGS_KIT_H

#include "smartmigration.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

/* ------------------------------------------------------------------ errors */

/* The error object's metatable. */
#define KIT_ERROR "smartmigration.error"

/*
 * Pushes an error object made of `error`, which is moved into it (SMIG_ERROR_INIT afterwards). Its fields: see
 * error_fields.c and the design's section on error objects: category, code, native, message, labels, write_errors,
 * write_concern_error, partial_result, retryable, outcome_unknown, timeout, operation, namespace, bucket, key, request_id, host_id,
 * status, details, value, cause, traceback, where, reply. They are read out of the C error's details, where each has the name it has
 * here (labels: an array of strings; cause: {code, message, ...}); `code` is error->name, `details` has them all, and where
 * the details hold no `category` it follows from the code. `cause` of an error that carries an error object is that object.
 */
void kit_push_error(lua_State *L, smig_error_t *error);
/* Pushes the error object, attaches a traceback, raises. Call it as `return kit_raise(L, &error);`. */
int kit_raise(lua_State *L, smig_error_t *error);
/* Raises an argument error: category "argument", code "INVALID_ARGUMENT", pointing at the caller's line. */
int kit_raise_argument(lua_State *L, const char *format, ...) __attribute__((format(printf, 2, 3)));
/*
 * Like luaL_argerror, as an error object: "bad argument #2 to 'find' (table expected, got string)". `what` is what was expected
 * ("table"); one that has the word "expected" in it is the whole text in the brackets.
 */
int kit_argerror(lua_State *L, int arg, const char *what);
/*
 * Turns the value at idx (what pcall caught) into a C error; the very value is kept (registry reference) as error->value, so
 * that kit_push_error on that error, or on a STEP_FAILED that carries it, gives it back in `value` or as the object itself.
 * An error object: its code, message, details. Anything else: SMIG_FOREIGN "SCRIPT_ERROR" with the text.
 */
void kit_to_error(lua_State *L, int idx, smig_error_t *error);
/* Message handler for lua_pcall: makes an error object with traceback of whatever was raised; values that are tables or
 * objects are kept as `value`. */
int kit_message_handler(lua_State *L);
/* Pushes the text of a raised value; never raises but for memory. */
void kit_push_text(lua_State *L, int idx);
/* The C error inside the error object at idx, or NULL when it is no error object. */
const smig_error_t *kit_test_error(lua_State *L, int idx);
/* Gives the error object at idx a field, the value on top, which is popped. Its details do not change. */
void kit_set_error_field(lua_State *L, int idx, const char *field);
/* Replaces the plain table at idx, and those in it, by read-only ones: indexing, #, pairs and ipairs work, next does not. */
void kit_freeze(lua_State *L, int idx);
/* If the value at idx is a table made read-only by kit_freeze, pushes the plain table behind it. */
bool kit_thaw(lua_State *L, int idx);

/* ------------------------------------------------------------------- boxes */

/*
 * Pushes a userdata that owns `free_fn(pointer)`: run when it is collected, or at once by kit_box_free. The pointer may be set
 * later, so that memory is owned from its first moment.
 */
typedef struct kit_box {
  void *pointer;
  void (*free_fn)(void *);
} kit_box_t;
kit_box_t *kit_box_push(lua_State *L, void *pointer, void (*free_fn)(void *));
void kit_box_free(kit_box_t *box);

/* ------------------------------------------------------------------ methods */

/*
 * Makes a metatable and registers it under `name` for luaL_setmetatable and luaL_checkudata (nothing stays on the stack; a second
 * call does nothing): methods in a table, `__index` that raises for unknown names with a suggestion ("collection has no method
 * 'findOne'; did you mean 'find_one'?"), `__metatable` = name, `__name`. `kind` is what messages call the handle.
 * `fields` may be NULL; else it is tried for names that are no method (the handle is at index 1) and returns 1 when it pushed a value.
 * `meta` holds __gc, __close, __tostring, __call, …
 */
void kit_new_class(lua_State *L, const char *name, const char *kind, const luaL_Reg *methods, const luaL_Reg *meta,
                   int (*fields)(lua_State *L, const char *field));
/* Adds the functions of the table at idx to the methods of the class registered under `name`. */
void kit_add_methods(lua_State *L, const char *name, int idx);
/* Whether the function at idx is a method of the class registered under `name`. */
bool kit_is_method(lua_State *L, const char *name, int function_idx);
/* The nearest of `names` (NULL-terminated) to `name`, or NULL when none is near; knows camelCase for snake_case. */
static inline const char *kit_suggest(const char *name, const char *const *names) {
  return smig_suggest(name, names);
}

/* ------------------------------------------------------------------ options */

typedef enum kit_option_type {
  KIT_BOOLEAN, /* bool */
  KIT_INTEGER, /* int64_t; a float with an integral value is accepted */
  KIT_STRING,  /* const char *, valid while the options table is */
  KIT_INDEX,   /* int: absolute stack index of the value, pushed; for documents, functions and handles */
} kit_option_type_t;

typedef struct kit_option {
  const char *name;
  kit_option_type_t type;
  size_t offset; /* of the member in the caller's struct */
  int64_t min;   /* of an integer, when max > min */
  int64_t max;
  size_t set; /* 0, or the offset of a bool member: set when the option was given */
} kit_option_t;

/*
 * Reads the options table at `idx` (nil or none: nothing is given) into `out` by the descriptors (ended by a NULL name). Unknown
 * names, wrong types and ranges raise: "unknown option 'upsret' for update_one (did you mean 'upsert'?)". Values of KIT_INDEX
 * stay on the stack (0 = not given).
 */
void kit_read_options(lua_State *L, int idx, const char *operation, const kit_option_t *options, void *out);

/* Checks that the argument is a string that is valid UTF-8 without NUL; else an argument error. */
const char *kit_check_name(lua_State *L, int arg, size_t *length);

#endif
