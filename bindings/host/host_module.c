/*
 * `smartmigration.host`: the loader's C half. Users: lua/smartmigration/loader.lua.
 * Files are read, hashed and compiled here in one go, since a folder may hold hundreds of them.
 */
#include "lhost.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------- guard */

static int guard(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lhost_state_t *state = lhost_state(L);
  lua_pushcfunction(L, kit_message_handler);
  lua_insert(L, 1);
  /* print finds the log function here; what an outer load has put there comes back. */
  lua_rawgetp(L, LUA_REGISTRYINDEX, state);
  lua_insert(L, 1);
  lua_pushvalue(L, 4);
  lua_rawsetp(L, LUA_REGISTRYINDEX, state);
  lua_remove(L, 4);
  lhost_section_t section;
  lhost_enter(L, true, &section);
  bool done = lua_pcall(L, lua_gettop(L) - 3, LUA_MULTRET, 2) == LUA_OK;
  lhost_leave(L, &section);
  lua_pushvalue(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, state);
  lua_pushboolean(L, done);
  lua_replace(L, 2);
  return lua_gettop(L) - 1;
}

/* --------------------------------------------------------------- load_file */

typedef struct text {
  char *bytes;
  size_t length;
} text_t;

static void text_free(void *pointer) {
  text_t *text = pointer;
  bson_free(text->bytes);
  bson_free(text);
}

/* Reads a regular file; false leaves errno. */
static bool read_file(const char *path, text_t *text) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  struct stat status;
  bool done = false;
  int reason = 0;
  if (fstat(fd, &status) != 0) goto end;
  if (!S_ISREG(status.st_mode)) {
    errno = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
    goto end;
  }
  /* One byte more than its size tells the end without another read; a file that grows meanwhile is read on. */
  size_t capacity = (size_t)status.st_size + 1;
  text->bytes = bson_malloc(capacity);
  for (;;) {
    ssize_t got = read(fd, text->bytes + text->length, capacity - text->length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) goto end;
    if (got == 0) break;
    text->length += (size_t)got;
    if (text->length == capacity)
      text->bytes = bson_realloc(text->bytes, capacity *= 2);
    else if (text->length == (size_t)status.st_size)
      break;
  }
  done = true;
end:
  reason = errno;
  close(fd);
  errno = reason;
  return done;
}

/* The checksum counts line ends as LF, so that a checkout on another system is the same file. */
static bool checksum(const char *bytes, size_t length, char out[LHOST_SHA256_SIZE]) {
  if (!memchr(bytes, '\r', length)) return lhost_sha256(bytes, length, out);
  char *unified = bson_malloc(length);
  size_t used = 0;
  for (size_t i = 0; i < length; i++) {
    if (bytes[i] != '\r') {
      unified[used++] = bytes[i];
    } else {
      unified[used++] = '\n';
      if (i + 1 < length && bytes[i + 1] == '\n') i++;
    }
  }
  bool done = lhost_sha256(unified, used, out);
  bson_free(unified);
  return done;
}

static int load_file(lua_State *L) {
  static const char bom[] = "\xEF\xBB\xBF";
  const char *path = luaL_checkstring(L, 1), *chunk = luaL_checkstring(L, 2);
  luaL_checktype(L, 3, LUA_TTABLE);
  kit_box_t *box = kit_box_push(L, NULL, text_free);
  text_t *text = box->pointer = bson_malloc0(sizeof *text);
  if (!read_file(path, text)) {
    lua_pushnil(L);
    lua_pushfstring(L, "cannot read %s: %s", path, strerror(errno));
    return 2;
  }
  const char *source = text->bytes;
  size_t length = text->length;
  if (length >= 3 && memcmp(source, bom, 3) == 0) source += 3, length -= 3;
  char digest[LHOST_SHA256_SIZE];
  if (!checksum(source, length, digest)) return luaL_error(L, "cannot compute a SHA-256 digest");
  if (length > 0 && source[0] == '#') { /* its line end stays, so that lines count right */
    const char *end = memchr(source, '\n', length);
    length = end ? length - (size_t)(end - source) : 0;
    source = end;
  }
  int status = luaL_loadbufferx(L, source ? source : "", length, chunk, "t");
  kit_box_free(box);
  if (status != LUA_OK) {
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
  }
  lua_pushvalue(L, 3);
  if (!lua_setupvalue(L, -2, 1)) lua_pop(L, 1);
  lua_pushfstring(L, "sha256:%s", digest);
  return 2;
}

int luaopen_smartmigration_host(lua_State *L) {
  static const luaL_Reg functions[] = {{"guard", guard}, {"load_file", load_file}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
