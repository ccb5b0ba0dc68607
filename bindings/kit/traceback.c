/*
 * Tracebacks that show the author's code: frames of the bindings, of the embedded Lua sources and of the functions that
 * only pass errors on are left out.
 * Users: error objects and the message handler. May raise memory errors.
 */
#include "kit_internal.h"

#include <string.h>

/* Chunk names of the embedded sources begin so (cmake/embed.lua). */
static const char own_chunks[] = "[smartmigration/";

static bool begins(const char *text, size_t length, const char *prefix) {
  size_t prefix_length = strlen(prefix);
  return length >= prefix_length && memcmp(text, prefix, prefix_length) == 0;
}

/*
 * Whether a line of luaL_traceback is worth reading. Of C frames only functions of the standard library have a name
 * there that begins with "function '"; ours show as methods, fields, or as functions of smartmigration.*.
 */
static bool keep_line(const char *line, size_t length) {
  static const char *const dropped[] = {"error'", "assert'", "pcall'", "xpcall'", "smartmigration"};
  if (length > 0 && line[0] == '\t') line++, length--;
  if (begins(line, length, own_chunks)) return false;
  if (!begins(line, length, "[C]:")) return true;
  static const char function[] = "[C]: in function '";
  if (!begins(line, length, function)) return false;
  line += sizeof function - 1;
  length -= sizeof function - 1;
  for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++) {
    if (begins(line, length, dropped[i])) return false;
  }
  return true;
}

/* Pushes the traceback of L from `level` on, without frames that are ours or the standard library's raising functions. */
static void push_traceback(lua_State *L, int level) {
  luaL_traceback(L, L, NULL, level);
  size_t length;
  const char *line = lua_tolstring(L, -1, &length);
  const char *end = line + length;
  luaL_Buffer kept;
  luaL_buffinit(L, &kept);
  for (bool first = true; line < end;) {
    const char *newline = memchr(line, '\n', (size_t)(end - line));
    size_t line_length = (size_t)((newline ? newline : end) - line);
    if (keep_line(line, line_length)) {
      if (!first) luaL_addchar(&kept, '\n');
      luaL_addlstring(&kept, line, line_length);
      first = false;
    }
    line += line_length + (newline ? 1 : 0);
  }
  luaL_pushresult(&kept);
  lua_remove(L, -2);
}

/* Pushes "file:line" of the first frame from `level` on that is a script's; nil when there is none. */
static void push_where(lua_State *L, int level) {
  lua_Debug frame;
  for (; lua_getstack(L, level, &frame); level++) {
    lua_getinfo(L, "Sl", &frame);
    if (frame.currentline <= 0 || begins(frame.short_src, strlen(frame.short_src), own_chunks)) continue;
    /* The whole path: short_src is cut. */
    const char *file = frame.source[0] == '@' ? frame.source + 1 : frame.short_src;
    lua_pushfstring(L, "%s:%d", file, frame.currentline);
    return;
  }
  lua_pushnil(L);
}

void kit_attach_traceback(lua_State *L, int idx, int level) {
  idx = lua_absindex(L, idx);
  lua_getiuservalue(L, idx, 1);
  if (lua_getfield(L, -1, "traceback") == LUA_TNIL) {
    push_traceback(L, level);
    lua_setfield(L, -3, "traceback");
    push_where(L, level);
    lua_setfield(L, -3, "where");
  }
  lua_pop(L, 2);
}
