/*
 * Files that objects are made of, and files that objects become: a sink is a temporary file beside its target, which takes its name when
 * it is whole and on the disk. Users: put_file, get_to_file. Errors: "FileError", naming the file. Threads: the thread of the Lua state.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024 };

/* "put_file cannot read 'a/b': no such file or directory" */
static int fail(lua_State *L, const char *operation, const char *what, const char *path, int number) {
  smig_error_t error = SMIG_ERROR_INIT;
  smig_error_set_foreign(&error, "FileError", "%s cannot %s '%s': %s", operation, what, path,
                         number ? strerror(number) : "it is no regular file");
  bson_t *details = smig_error_details(&error);
  BSON_APPEND_UTF8(details, "category", "s3");
  BSON_APPEND_UTF8(details, "operation", operation);
  BSON_APPEND_INT32(details, "native", number);
  return kit_raise(L, &error);
}

static ls3_file_t *push_file(lua_State *L, const char *class_name, const char *path) {
  ls3_file_t *file = lua_newuserdatauv(L, sizeof *file, 0);
  *file = (ls3_file_t){.descriptor = -1};
  luaL_setmetatable(L, class_name);
  file->path = bson_strdup(path);
  return file;
}

static void close_file(ls3_file_t *file) {
  if (file->descriptor >= 0) close(file->descriptor);
  file->descriptor = -1;
  if (file->temporary) unlink(file->temporary);
  bson_free(file->temporary);
  file->temporary = NULL;
}

static int file_gc(lua_State *L) {
  ls3_file_t *file = lua_touserdata(L, 1);
  close_file(file);
  bson_free(file->path);
  file->path = NULL;
  return 0;
}

/* file:close(): of a sink that was not committed, as if it had never been */
static int file_close(lua_State *L) {
  close_file(lua_touserdata(L, 1));
  return 0;
}

/* ------------------------------------------------------------------- source */

int ls3_open_source(lua_State *L) {
  const char *path = luaL_checkstring(L, 1), *operation = luaL_checkstring(L, 2);
  ls3_file_t *file = push_file(L, LS3_SOURCE, path);
  file->descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file->descriptor < 0) return fail(L, operation, "read", path, errno);
  struct stat about;
  if (fstat(file->descriptor, &about) != 0) return fail(L, operation, "read", path, errno);
  if (!S_ISREG(about.st_mode)) return fail(L, operation, "read", path, 0);
  return 1;
}

static ls3_file_t *check_source(lua_State *L) {
  return luaL_checkudata(L, 1, LS3_SOURCE);
}

/* source:state() -> size, what changes when the file is written to */
static int source_state(lua_State *L) {
  const ls3_file_t *file = check_source(L);
  struct stat about;
  if (fstat(file->descriptor, &about) != 0) return fail(L, "put_file", "read", file->path, errno);
  lua_pushinteger(L, (lua_Integer)about.st_size);
  lua_pushfstring(L, "%I.%I", (lua_Integer)about.st_mtim.tv_sec, (lua_Integer)about.st_mtim.tv_nsec);
  return 2;
}

static void free_digest(void *context) {
  EVP_MD_CTX_free(context);
}

/* source:sha256(offset, length) -> 32 bytes */
static int source_sha256(lua_State *L) {
  const ls3_file_t *file = check_source(L);
  lua_Integer offset = luaL_checkinteger(L, 2), left = luaL_checkinteger(L, 3);
  kit_box_t *box = kit_box_push(L, NULL, free_digest);
  EVP_MD_CTX *context = box->pointer = EVP_MD_CTX_new();
  unsigned char *chunk = lua_newuserdatauv(L, CHUNK, 0), digest[EVP_MAX_MD_SIZE];
  if (!context || !EVP_DigestInit_ex(context, EVP_sha256(), NULL)) return luaL_error(L, "OpenSSL has no SHA-256");
  while (left > 0) {
    ssize_t got = pread(file->descriptor, chunk, left < CHUNK ? (size_t)left : CHUNK, (off_t)offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail(L, "put_file", "read", file->path, got < 0 ? errno : EIO);
    EVP_DigestUpdate(context, chunk, (size_t)got);
    offset += got;
    left -= got;
  }
  EVP_DigestFinal_ex(context, digest, NULL);
  kit_box_free(box);
  lua_pushlstring(L, (const char *)digest, 32);
  return 1;
}

/* --------------------------------------------------------------------- sink */

int ls3_open_sink(lua_State *L) {
  const char *path = luaL_checkstring(L, 1), *operation = luaL_checkstring(L, 2);
  ls3_file_t *file = push_file(L, LS3_SINK, path);
  uint32_t random = 0;
  if (getrandom(&random, sizeof random, 0) != sizeof random) return fail(L, operation, "write", path, errno);
  char *temporary = bson_strdup_printf("%s.part-%08x", path, random);
  file->descriptor = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file->descriptor >= 0) {
    file->temporary = temporary;
    return 1;
  }
  int number = errno;
  bson_free(temporary);
  return fail(L, operation, "write", path, number);
}

/* The name of a new file is on the disk when its folder is. */
static bool sync_folder(const char *path) {
  char *folder = bson_strdup(path), *slash = strrchr(folder, '/');
  if (slash) slash[slash == folder ? 1 : 0] = '\0';
  int descriptor = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  bson_free(folder);
  if (descriptor < 0) return false;
  bool synced = fsync(descriptor) == 0 || errno == EINVAL; /* a file system that cannot, need not */
  int number = errno;
  close(descriptor);
  errno = number;
  return synced;
}

/* sink:commit(operation, size): checks its size, puts it on the disk and gives it its name */
static int sink_commit(lua_State *L) {
  ls3_file_t *file = luaL_checkudata(L, 1, LS3_SINK);
  const char *operation = luaL_checkstring(L, 2);
  struct stat about;
  if (fstat(file->descriptor, &about) != 0) return fail(L, operation, "write", file->path, errno);
  if (about.st_size != luaL_checkinteger(L, 3)) return fail(L, operation, "write all of", file->path, EIO);
  if (fsync(file->descriptor) != 0) return fail(L, operation, "write", file->path, errno);
  int descriptor = file->descriptor;
  file->descriptor = -1;
  if (close(descriptor) != 0) return fail(L, operation, "write", file->path, errno);
  if (rename(file->temporary, file->path) != 0) return fail(L, operation, "write", file->path, errno);
  bson_free(file->temporary);
  file->temporary = NULL;
  if (!sync_folder(file->path)) return fail(L, operation, "write", file->path, errno);
  return 0;
}

void ls3_new_file_classes(lua_State *L) {
  static const luaL_Reg source[] = {
      {"state", source_state}, {"sha256", source_sha256}, {"close", file_close}, {NULL, NULL}};
  static const luaL_Reg sink[] = {{"commit", sink_commit}, {"close", file_close}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", file_gc}, {"__close", file_close}, {NULL, NULL}};
  kit_new_class(L, LS3_SOURCE, "source file", source, meta, NULL);
  kit_new_class(L, LS3_SINK, "file", sink, meta, NULL);
}
