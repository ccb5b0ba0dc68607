/* ctx.log: `:info(message [, fields])`, and debug, warn, error. Users: migrations. */
#include "context_internal.h"
#include "lbson.h"

static int write_line(lua_State *L, smig_log_level_t level) {
  lua_settop(L, 3);
  smig_ctx_t *ctx = context_of_part(L, CONTEXT_LOG);
  luaL_tolstring(L, 2, NULL);
  const char *message = lua_tostring(L, -1);
  const bson_t *fields = lua_isnil(L, 3) ? NULL : lbson_check(L, 3, LBSON_DOCUMENT, "fields", NULL);
  smig_ctx_log(ctx, level, message, fields);
  smig_error_t error = SMIG_ERROR_INIT;
  if (!smig_ctx_check(ctx, &error)) return kit_raise(L, &error);
  return 0;
}

static int log_debug(lua_State *L) {
  return write_line(L, SMIG_LOG_DEBUG);
}

static int log_info(lua_State *L) {
  return write_line(L, SMIG_LOG_INFO);
}

static int log_warn(lua_State *L) {
  return write_line(L, SMIG_LOG_WARN);
}

static int log_error(lua_State *L) {
  return write_line(L, SMIG_LOG_ERROR);
}

void context_register_log(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"debug", log_debug}, {"info", log_info}, {"warn", log_warn}, {"error", log_error}, {NULL, NULL}};
  kit_new_class(L, CONTEXT_LOG, "ctx.log", methods, NULL, NULL);
}
