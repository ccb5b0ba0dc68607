/*
 * The binary: a Lua state with everything preloaded, which runs `smartmigration.cli`: its `main(arg)` returns the exit status.
 * LUA_PATH and LUA_CPATH count as for lua, but the current directory is not searched.
 */
#include "lhost.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* A core would hold passwords. */
static void forbid_core_dumps(void) {
  const struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/*
 * libmongoc keeps counters in /dev/shm/mongoc-<pid>. A killed process leaves them behind, and the next one of that number (in a
 * container that may be every one) warns of them on stderr, even before main. Nobody reads ours: only their name goes.
 */
static void unlink_counters(void) {
  char name[32];
  snprintf(name, sizeof name, "/mongoc-%u", (unsigned)getpid());
  shm_unlink(name);
}

/*
 * The driver takes new memory for each batch of a cursor. By malloc's standard settings such memory goes back to the kernel every
 * time, and taking it again, page by page, costs more than reading the documents. Larger pieces still go back at once.
 */
static void keep_freed_memory(void) {
  enum { BATCH_BYTES = 4 * 1024 * 1024 };
  mallopt(M_MMAP_THRESHOLD, BATCH_BYTES);
  mallopt(M_TRIM_THRESHOLD, 2 * BATCH_BYTES);
}

/* Drops the templates that begin with "./" from package[field]. */
static void drop_current_directory(lua_State *L, const char *field) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, field);
  const char *path = lua_tostring(L, -1);
  luaL_Buffer kept;
  luaL_buffinit(L, &kept);
  for (bool first = true; path && *path;) {
    size_t length = strcspn(path, ";");
    if (length > 0 && strncmp(path, "./", 2) != 0) {
      if (!first) luaL_addchar(&kept, ';');
      luaL_addlstring(&kept, path, length);
      first = false;
    }
    path += length + (path[length] == ';');
  }
  luaL_pushresult(&kept);
  lua_setfield(L, -3, field);
  lua_pop(L, 2);
}

/* (argc, argv) -> exit status */
static int run(lua_State *L) {
  int argc = (int)lua_tointeger(L, 1);
  char **argv = lua_touserdata(L, 2);
  lua_gc(L, LUA_GCGEN, 0, 0); /* as lua does; a loop over documents is a tenth faster */
  luaL_openlibs(L);
  lhost_preload(L, true);
  drop_current_directory(L, "path");
  drop_current_directory(L, "cpath");
  lua_createtable(L, argc, 1);
  for (int i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i);
  }
  lua_pushvalue(L, -1);
  lua_setglobal(L, "arg");
  lua_getglobal(L, "require");
  lua_pushliteral(L, "smartmigration.cli");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "main");
  lua_pushvalue(L, -3);
  lua_call(L, 1, 1);
  return 1;
}

int main(int argc, char **argv) {
  forbid_core_dumps();
  unlink_counters();
  keep_freed_memory();
  lhost_set_arguments(argc, argv);
  lua_State *L = luaL_newstate();
  if (!L) {
    fputs("smartmigration-lua: not enough memory\n", stderr);
    return EXIT_FAILURE;
  }
  int status = EXIT_FAILURE;
  lua_pushcfunction(L, kit_message_handler);
  lua_pushcfunction(L, run);
  lua_pushinteger(L, argc);
  lua_pushlightuserdata(L, argv);
  if (lua_pcall(L, 2, 1, 1) == LUA_OK)
    status = (int)lua_tointeger(L, -1);
  else
    fprintf(stderr, "smartmigration-lua: %s\n", luaL_tolstring(L, -1, NULL));
  lua_close(L);
  return status;
}
