/*
 * The modules `smartmigration.s3.core` (C) and `smartmigration.s3` (Lua over it). Users: Lua.
 */
#include "internal.h"
#include "lbson.h"
#include "lhost.h"

/* core.raise(code, category, message [, details]): raises an error object; of a failed request the details name its bucket and key */
static int core_raise(lua_State *L) {
  const char *code = luaL_checkstring(L, 1), *category = luaL_checkstring(L, 2), *message = luaL_checkstring(L, 3);
  const bson_t *details = lua_isnoneornil(L, 4) ? NULL : lbson_check(L, 4, LBSON_DOCUMENT, "details", NULL);
  smig_error_t error = SMIG_ERROR_INIT;
  smig_error_set_foreign(&error, code, "%s", message);
  BSON_APPEND_UTF8(smig_error_details(&error), "category", category);
  if (details) bson_concat(smig_error_details(&error), details);
  return kit_raise(L, &error);
}

static int core_raise_argument(lua_State *L) {
  return kit_raise_argument(L, "%s", luaL_checkstring(L, 1));
}

/* core.annotate(error object, field, value): gives it a field besides those of its details */
static int core_annotate(lua_State *L) {
  if (!kit_test_error(L, 1)) return kit_argerror(L, 1, "error object");
  lua_settop(L, 3);
  kit_set_error_field(L, 1, luaL_checkstring(L, 2));
  return 0;
}

int luaopen_smartmigration_s3_core(lua_State *L) {
  static const luaL_Reg functions[] = {{"connect", ls3_connect},
                                       {"target", ls3_target},
                                       {"client", ls3_client_of},
                                       {"bucket", ls3_bucket_of},
                                       {"upload", ls3_count_upload},
                                       {"add_methods", ls3_add_methods},
                                       {"start", ls3_start},
                                       {"presign", ls3_presign},
                                       {"buffer", ls3_new_buffer},
                                       {"digest", ls3_digest},
                                       {"base64", ls3_base64},
                                       {"source", ls3_open_source},
                                       {"sink", ls3_open_sink},
                                       {"listing", ls3_listing},
                                       {"xml", ls3_xml},
                                       {"http_date", ls3_http_date},
                                       {"raise", core_raise},
                                       {"raise_argument", core_raise_argument},
                                       {"annotate", core_annotate},
                                       {"handler", kit_message_handler},
                                       {NULL, NULL}};
  luaL_requiref(L, "smartmigration.bson", luaopen_smartmigration_bson, 0); /* dates are its values */
  lua_pop(L, 1);
  ls3_new_handle_classes(L);
  ls3_new_exchange_class(L);
  ls3_new_buffer_class(L);
  ls3_new_file_classes(L);
  luaL_newlib(L, functions);
  return 1;
}

int luaopen_smartmigration_s3(lua_State *L) {
  lhost_preload(L, false);
  return lhost_open_embedded(L, "smartmigration.s3");
}
