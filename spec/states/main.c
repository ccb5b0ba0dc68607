/*
 * A program with Lua states of its own, which load the module under test: for what cannot be seen from within one state.
 * Users: spec/states_spec.lua. Exit status 0 when all was as it must be, else the reason is printed.
 *
 *   states memory CPATH SCRIPT MORE   runs the script again and again, each time in a new state in which MORE allocations more
 *                                     succeed before memory is gone, until it gets through; after each failure the state must
 *                                     still serve
 *   states nested CPATH SCRIPT        two states: a function `other` of the first runs the script in the second
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *cpath, *script;
static long left; /* allocations that succeed; below 0: all do */
static bool refused;

static void *allocate(void *user, void *block, size_t former, size_t size) {
  (void)user;
  if (size == 0) {
    free(block);
    return NULL;
  }
  if (left >= 0 && (!block || size > former) && left-- == 0) {
    left = 0;
    refused = true;
    return NULL;
  }
  return realloc(block, size);
}

/* Every module is loaded before memory is short, as in a program that runs. */
static lua_State *open_state(void) {
  lua_State *L = lua_newstate(allocate, NULL);
  luaL_openlibs(L);
  lua_getglobal(L, "package");
  lua_pushstring(L, cpath);
  lua_setfield(L, -2, "cpath");
  lua_settop(L, 0);
  if (luaL_dostring(L, "for _, name in ipairs { '', '.bson', '.mongo' } do require('smartmigration' .. name) end")) {
    printf("%s\n", lua_tostring(L, -1));
    exit(EXIT_FAILURE);
  }
  return L;
}

static int run_script(lua_State *L) {
  if (luaL_dofile(L, script)) return lua_error(L);
  return 0;
}

static bool run(lua_State *L) {
  lua_pushcfunction(L, run_script);
  if (lua_pcall(L, 0, 0, 0) == LUA_OK) return true;
  printf("%s\n", luaL_tolstring(L, -1, NULL));
  return false;
}

/* true: the script got through with that many allocations. */
static bool run_short_of_memory(long allocations) {
  lua_State *L = open_state();
  refused = false;
  left = allocations;
  lua_pushcfunction(L, run_script);
  int status = lua_pcall(L, 0, 0, 0);
  bool ran_out = refused;
  left = -1;
  if (!ran_out && status != LUA_OK) printf("%s\n", luaL_tolstring(L, -1, NULL));
  lua_settop(L, 0);
  if ((!ran_out && status != LUA_OK) || (ran_out && !run(L))) {
    printf("with %ld allocations\n", allocations);
    exit(EXIT_FAILURE);
  }
  lua_close(L);
  return !ran_out;
}

static int run_other(lua_State *L) {
  lua_State *other = lua_touserdata(L, lua_upvalueindex(1));
  if (!run(other)) return luaL_error(L, "the other state failed");
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 4) return EXIT_FAILURE;
  cpath = argv[2];
  script = argv[3];
  left = -1;
  if (argc == 5 && strcmp(argv[1], "memory") == 0) {
    long allocations = 0, more = strtol(argv[4], NULL, 10);
    while (!run_short_of_memory(allocations)) allocations += more;
    printf("%ld\n", allocations);
    return EXIT_SUCCESS;
  }
  lua_State *first = open_state(), *second = open_state();
  lua_pushlightuserdata(first, second);
  lua_pushcclosure(first, run_other, 1);
  lua_setglobal(first, "other");
  bool good = run(first);
  lua_close(second);
  good = good && run(first); /* `other` is not called again */
  lua_close(first);
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
