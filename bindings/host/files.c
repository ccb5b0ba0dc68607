/*
 * Making files and folders without ever replacing what is there, and who may read one. Users: the commands `new`, `init` and
 * `doctor`, by smartmigration.process. Those that make return true when they made it, false when something of that name is there, or nil and a message.
 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int failed(lua_State *L, const char *what, const char *path, int number) {
  lua_pushnil(L);
  lua_pushfstring(L, "cannot make the %s %s: %s", what, path, strerror(number));
  return 2;
}

static bool write_whole(int file, const char *text, size_t length) {
  while (length > 0) {
    ssize_t written = write(file, text, length);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    text += written;
    length -= (size_t)written;
  }
  return true;
}

/* create_file(path, text): a file that could not be written whole is removed again */
int files_create(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file < 0 && errno == EEXIST) {
    lua_pushboolean(L, false);
    return 1;
  }
  if (file < 0) return failed(L, "file", path, errno);
  bool whole = write_whole(file, text, length);
  int number = errno;
  if (close(file) != 0 && whole) {
    whole = false;
    number = errno;
  }
  if (!whole) {
    unlink(path);
    return failed(L, "file", path, number);
  }
  lua_pushboolean(L, true);
  return 1;
}

/* make_directory(path) */
int files_make_directory(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  struct stat status;
  if (mkdir(path, 0777) == 0) {
    lua_pushboolean(L, true);
    return 1;
  }
  int number = errno;
  if (number == EEXIST && stat(path, &status) == 0 && !S_ISDIR(status.st_mode)) number = ENOTDIR;
  if (number != EEXIST) return failed(L, "folder", path, number);
  lua_pushboolean(L, false);
  return 1;
}

/* mode(path): the permission bits of a file; nil where it cannot be told */
int files_mode(lua_State *L) {
  struct stat status;
  if (stat(luaL_checkstring(L, 1), &status) != 0) return 0;
  lua_pushinteger(L, status.st_mode & 07777);
  return 1;
}
