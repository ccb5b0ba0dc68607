/*
 * `smartmigration.process`: what the command line and the loader need of the system. Signals are in signals.c.
 * Linux. One thread, but for the digest, which any may use.
 */
#include "files.h"
#include "lengine.h"
#include "lhost.h"
#include "signals.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ------------------------------------------------------------------ digest */

bool lhost_sha256(const void *data, size_t length, char out[LHOST_SHA256_SIZE]) {
  static const char digits[] = "0123456789abcdef";
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (!EVP_Digest(data, length, digest, &size, EVP_sha256(), NULL)) return false;
  for (unsigned int i = 0; i < size; i++) {
    out[2 * i] = digits[digest[i] >> 4];
    out[2 * i + 1] = digits[digest[i] & 15];
  }
  out[2 * size] = '\0';
  return true;
}

static int process_sha256(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  char hex[LHOST_SHA256_SIZE];
  if (!lhost_sha256(text, length, hex)) return luaL_error(L, "cannot compute a SHA-256 digest");
  lua_pushstring(L, hex);
  return 1;
}

/* ----------------------------------------------------------------- folders */

typedef struct folder_entry {
  char *name;
  const char *type;
} folder_entry_t;

typedef struct folder {
  DIR *stream;
  folder_entry_t *entries;
  size_t count, capacity;
} folder_t;

static void folder_free(void *pointer) {
  folder_t *folder = pointer;
  if (folder->stream) closedir(folder->stream);
  for (size_t i = 0; i < folder->count; i++) bson_free(folder->entries[i].name);
  bson_free(folder->entries);
  bson_free(folder);
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/* Runs of digits compare as numbers of any length, the rest bytewise; names that differ in leading zeros only, bytewise. */
static int compare_natural(const void *left, const void *right) {
  const char *left_name = ((const folder_entry_t *)left)->name, *right_name = ((const folder_entry_t *)right)->name;
  const unsigned char *a = (const unsigned char *)left_name, *b = (const unsigned char *)right_name;
  while (*a && *b) {
    if (is_digit((char)*a) && is_digit((char)*b)) {
      while (*a == '0') a++;
      while (*b == '0') b++;
      size_t a_length = strspn((const char *)a, "0123456789"), b_length = strspn((const char *)b, "0123456789");
      if (a_length != b_length) return a_length < b_length ? -1 : 1;
      int order = memcmp(a, b, a_length);
      if (order != 0) return order;
      a += a_length;
      b += b_length;
    } else {
      if (*a != *b) return *a < *b ? -1 : 1;
      a++;
      b++;
    }
  }
  if (*a || *b) return *a ? 1 : -1;
  return strcmp(left_name, right_name);
}

static const char *entry_type(int folder, const struct dirent *entry) {
  if (entry->d_type == DT_REG) return "file";
  if (entry->d_type == DT_DIR) return "directory";
  struct stat status; /* a link counts as what it leads to */
  if (fstatat(folder, entry->d_name, &status, 0) != 0) return "other";
  return S_ISREG(status.st_mode) ? "file" : S_ISDIR(status.st_mode) ? "directory" : "other";
}

/* false leaves errno */
static bool read_folder(const char *path, folder_t *folder) {
  folder->stream = opendir(path);
  if (!folder->stream) return false;
  for (;;) {
    errno = 0;
    const struct dirent *entry = readdir(folder->stream);
    if (!entry) break;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (folder->count == folder->capacity) {
      folder->capacity = folder->capacity ? 2 * folder->capacity : 64;
      folder->entries = bson_realloc(folder->entries, folder->capacity * sizeof *folder->entries);
    }
    folder->entries[folder->count++] =
        (folder_entry_t){bson_strdup(entry->d_name), entry_type(dirfd(folder->stream), entry)};
  }
  if (errno != 0) return false;
  if (folder->count > 0) qsort(folder->entries, folder->count, sizeof *folder->entries, compare_natural);
  return true;
}

static int list_directory(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  kit_box_t *box = kit_box_push(L, NULL, folder_free);
  folder_t *folder = box->pointer = bson_malloc0(sizeof *folder);
  if (!read_folder(path, folder)) {
    lua_pushnil(L);
    lua_pushfstring(L, "cannot read folder %s: %s", path, strerror(errno));
    return 2;
  }
  lua_createtable(L, (int)folder->count, 0);
  lua_createtable(L, (int)folder->count, 0);
  for (size_t i = 0; i < folder->count; i++) {
    lua_pushstring(L, folder->entries[i].name);
    lua_rawseti(L, -3, (lua_Integer)i + 1);
    lua_pushstring(L, folder->entries[i].type);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  kit_box_free(box);
  return 2;
}

/* --------------------------------------------------------------- arguments */

static int argument_count;
static char **arguments;

void lhost_set_arguments(int argc, char **argv) {
  argument_count = argc;
  arguments = argv;
}

/* /proc/<pid>/cmdline shows the very bytes of argv. */
static int hide_argument(lua_State *L) {
  lua_Integer index = luaL_checkinteger(L, 1), from = luaL_optinteger(L, 2, 1);
  if (!arguments) return 0; /* the process is not ours */
  luaL_argcheck(L, index >= 1 && index < argument_count, 1, "no such argument");
  size_t length = strlen(arguments[index]);
  luaL_argcheck(L, from >= 1, 2, "positions begin at 1");
  if ((size_t)from <= length) memset(arguments[index] + from - 1, '*', length - (size_t)from + 1);
  return 0;
}

/* ---------------------------------------------------------------- terminal */

static int process_isatty(lua_State *L) {
  lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
  return 1;
}

static int terminal_width(lua_State *L) {
  struct winsize size;
  if (ioctl((int)luaL_checkinteger(L, 1), TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 0;
  lua_pushinteger(L, size.ws_col);
  return 1;
}

/* Returns early when a signal comes. */
static int sleep_ms(lua_State *L) {
  lua_Integer ms = luaL_checkinteger(L, 1);
  if (ms <= 0) return 0;
  struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
  return 0;
}

static int monotonic_ms(lua_State *L) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  lua_pushinteger(L, (lua_Integer)now.tv_sec * 1000 + now.tv_nsec / 1000000);
  return 1;
}

/* ----------------------------------------------------------------- signals */

static int handle_signals(lua_State *L) {
  smig_engine_t *engine = NULL;
  if (!lua_isnoneornil(L, 1)) {
    engine = lengine_test(L, 1);
    luaL_argcheck(L, engine, 1, "open engine or migration expected");
  }
  signals_handle(engine, lua_toboolean(L, 2));
  return 0;
}

static int received_signal(lua_State *L) {
  int signal = signals_received();
  if (signal == 0) return 0;
  lua_pushinteger(L, signal);
  return 1;
}

int luaopen_smartmigration_process(lua_State *L) {
  static const luaL_Reg functions[] = {{"handle_signals", handle_signals},
                                       {"received_signal", received_signal},
                                       {"isatty", process_isatty},
                                       {"terminal_width", terminal_width},
                                       {"monotonic_ms", monotonic_ms},
                                       {"sleep_ms", sleep_ms},
                                       {"sha256", process_sha256},
                                       {"list_directory", list_directory},
                                       {"hide_argument", hide_argument},
                                       {"create_file", files_create},
                                       {"make_directory", files_make_directory},
                                       {"file_mode", files_mode},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
