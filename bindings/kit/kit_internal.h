/*
 * What the kit's files share and nobody else needs.
 * Users: kit/ alone.
 */
#ifndef SMIG_BINDINGS_KIT_INTERNAL_H
#define SMIG_BINDINGS_KIT_INTERNAL_H

#include "kit.h"

/* An error object: the C error, and a user value: a table of what is Lua's (value, traceback, where, and made fields). */
typedef struct kit_error_object {
  smig_error_t error;
} kit_error_object_t;

/* The object at idx, or NULL. */
kit_error_object_t *kit_error_object(lua_State *L, int idx);
/* __index of error objects; its upvalue is the table of methods. */
int kit_error_index(lua_State *L);
/* The methods of error objects. */
extern const luaL_Reg kit_error_methods[];

/* If the function is a method of the handle at 1, pushes its name (above what it took to find it). */
bool kit_push_method_name(lua_State *L, int function_idx);
/* Gives the error object at idx its `traceback` and `where`, unless it has them. */
void kit_attach_traceback(lua_State *L, int idx, int level);

#endif
