/*
 * The BSON binding under arbitrary bytes.
 * Users: the libFuzzer target and the bounded run. SMIG_FUZZ_ORACLE is the path of oracle.lua.
 */
#include "target.h"

#include <stdio.h>

/* A document as the server's replies give it: the bytes are not checked but for their length. */
static int stored(lua_State *L) {
  size_t size;
  const uint8_t *data = (const uint8_t *)lua_tolstring(L, 1, &size);
  bson_t document;
  if (!bson_init_static(&document, data, size)) return 0;
  lbson_push_document(L, &document);
  return 1;
}

lua_State *fuzz_open(void) {
  lua_State *L = luaL_newstate();
  /* No more than the oracle needs: tracebacks, of which every refusal makes one, look for names in all that is loaded. */
  luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
  luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
  lua_settop(L, 0);
  luaopen_smartmigration_bson(L);
  bool loaded = luaL_loadfile(L, SMIG_FUZZ_ORACLE) == LUA_OK;
  if (loaded) {
    lua_insert(L, 1);
    lua_pushcfunction(L, stored);
    loaded = lua_pcall(L, 2, 1, 0) == LUA_OK;
  }
  if (!loaded) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    exit(2);
  }
  return L;
}

fuzz_verdict_t fuzz_check(lua_State *L, const uint8_t *data, size_t size) {
  fuzz_verdict_t verdict = {0};
  lua_getfield(L, 1, "check");
  lua_pushlstring(L, (const char *)data, size);
  if (lua_pcall(L, 1, 2, 0) == LUA_OK) {
    verdict = (fuzz_verdict_t){true, lua_toboolean(L, -2), lua_toboolean(L, -1)};
  } else {
    printf("# %s\n# the input:", luaL_tolstring(L, -1, NULL));
    for (size_t i = 0; i < size; i++) printf(" %02x", data[i]);
    printf("\n");
  }
  lua_settop(L, 1);
  return verdict;
}
