/*
 * Buffers for the parts of streams, and digests of what is sent. Users: lua/smartmigration/s3. Threads: the thread of the Lua state.
 */
#include "internal.h"

#include <openssl/evp.h>
#include <string.h>

/* ------------------------------------------------------------------ buffers */

int ls3_new_buffer(lua_State *L) {
  lua_Integer capacity = luaL_checkinteger(L, 1);
  ls3_buffer_t *buffer = lua_newuserdatauv(L, sizeof *buffer, 0);
  *buffer = (ls3_buffer_t){NULL, 0, (size_t)capacity};
  luaL_setmetatable(L, LS3_BUFFER);
  buffer->bytes = bson_malloc(buffer->capacity);
  return 1;
}

static ls3_buffer_t *check_buffer(lua_State *L) {
  return luaL_checkudata(L, 1, LS3_BUFFER);
}

/* buffer:append(bytes, from) -> the position of the first byte that found no room; nil: all did */
static int buffer_append(lua_State *L) {
  ls3_buffer_t *buffer = check_buffer(L);
  size_t length;
  const char *bytes = luaL_checklstring(L, 2, &length);
  size_t from = (size_t)luaL_checkinteger(L, 3) - 1, room = buffer->capacity - buffer->size;
  size_t taken = length - from < room ? length - from : room;
  if (!buffer->bytes) return kit_raise_argument(L, "buffer is freed");
  memcpy(buffer->bytes + buffer->size, bytes + from, taken);
  buffer->size += taken;
  if (from + taken == length) return 0;
  lua_pushinteger(L, (lua_Integer)(from + taken + 1));
  return 1;
}

static int buffer_size(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check_buffer(L)->size);
  return 1;
}

/* buffer:reset(): empties it. Nothing that is under way may be sending it. */
static int buffer_reset(lua_State *L) {
  check_buffer(L)->size = 0;
  return 0;
}

static int buffer_free(lua_State *L) {
  ls3_buffer_t *buffer = check_buffer(L);
  bson_free(buffer->bytes);
  *buffer = (ls3_buffer_t){NULL, 0, 0};
  return 0;
}

void ls3_new_buffer_class(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"append", buffer_append}, {"size", buffer_size}, {"reset", buffer_reset}, {"free", buffer_free}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", buffer_free}, {NULL, NULL}};
  kit_new_class(L, LS3_BUFFER, "buffer", methods, meta, NULL);
}

/* ------------------------------------------------------------------ digests */

/* core.digest("md5" or "sha256", string or buffer) -> bytes */
int ls3_digest(lua_State *L) {
  static const char *const names[] = {"md5", "sha256", NULL};
  const EVP_MD *algorithm = luaL_checkoption(L, 1, NULL, names) == 0 ? EVP_md5() : EVP_sha256();
  const ls3_buffer_t *buffer = luaL_testudata(L, 2, LS3_BUFFER);
  size_t length = buffer ? buffer->size : 0;
  const char *bytes = buffer ? buffer->bytes : luaL_checklstring(L, 2, &length);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (!EVP_Digest(bytes, length, digest, &size, algorithm, NULL)) {
    return luaL_error(L, "%s is not to be had of this OpenSSL", lua_tostring(L, 1));
  }
  lua_pushlstring(L, (const char *)digest, size);
  return 1;
}

/* core.base64(digest) */
int ls3_base64(lua_State *L) {
  size_t length;
  const char *bytes = luaL_checklstring(L, 1, &length);
  unsigned char text[2 * EVP_MAX_MD_SIZE];
  if (length > EVP_MAX_MD_SIZE) return luaL_error(L, "more than a digest");
  int size = EVP_EncodeBlock(text, (const unsigned char *)bytes, (int)length);
  lua_pushlstring(L, (const char *)text, (size_t)size);
  return 1;
}
