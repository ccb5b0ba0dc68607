/* ctx.step (id, from, to, description) and ctx.lease (holder, fence, :remaining_ms()): read-only facts. Users: migrations. */
#include "context_internal.h"

#include <string.h>

static int step_field(lua_State *L, const char *name) {
  const smig_step_t *step = smig_ctx_step(context_of_part(L, CONTEXT_STEP));
  if (strcmp(name, "id") == 0) {
    if (step->id_length)
      lua_pushlstring(L, step->id, step->id_length);
    else
      lua_pushstring(L, step->id);
  } else if (strcmp(name, "from") == 0) {
    lua_pushstring(L, step->from);
  } else if (strcmp(name, "to") == 0) {
    lua_pushstring(L, step->to);
  } else if (strcmp(name, "description") == 0) {
    lua_pushstring(L, step->description); /* nil when there is none */
  } else {
    return kit_raise_argument(L, "ctx.step has no field '%s': it has id, from, to and description", name);
  }
  return 1;
}

static int lease_field(lua_State *L, const char *name) {
  const smig_ctx_t *ctx = context_of_part(L, CONTEXT_LEASE);
  if (strcmp(name, "holder") == 0) {
    lua_pushstring(L, smig_ctx_holder(ctx));
  } else if (strcmp(name, "fence") == 0) {
    lua_pushinteger(L, smig_ctx_fence(ctx));
  } else {
    return kit_raise_argument(L, "ctx.lease has no field '%s': it has holder, fence and remaining_ms()", name);
  }
  return 1;
}

static int lease_remaining_ms(lua_State *L) {
  lua_pushinteger(L, smig_ctx_remaining_ms(context_of_part(L, CONTEXT_LEASE)));
  return 1;
}

void context_register_step(lua_State *L) {
  kit_new_class(L, CONTEXT_STEP, "ctx.step", NULL, NULL, step_field);
}

void context_register_lease(lua_State *L) {
  static const luaL_Reg methods[] = {{"remaining_ms", lease_remaining_ms}, {NULL, NULL}};
  kit_new_class(L, CONTEXT_LEASE, "ctx.lease", methods, NULL, lease_field);
}
