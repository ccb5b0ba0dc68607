/*
 * Where an encoding error is: dotted paths such as 'address.lines[3]', and the checks of keys and text.
 * Users: the encoder, assignments, checks of foreign bytes. libbson checks neither UTF-8 nor NUL in a way that could be told.
 */
#include "lbson_internal.h"

#include <stdarg.h>
#include <string.h>

/* A key as text for a message: what is no printable UTF-8 is escaped. */
static void add_key(luaL_Buffer *out, const char *key, size_t length) {
  bool valid = lbson_is_utf8(key, length);
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)key[i];
    if (c >= 0x20 && c != 0x7f && (c < 0x80 || valid)) {
      luaL_addchar(out, (char)c);
    } else {
      char escaped[8];
      bson_snprintf(escaped, sizeof escaped, "\\x%02x", c);
      luaL_addstring(out, escaped);
    }
  }
}

static void add_part(luaL_Buffer *out, bool *first, const char *key, size_t length, lua_Integer index) {
  if (key) {
    if (!*first) luaL_addchar(out, '.');
    add_key(out, key, length);
  } else {
    char digits[32];
    bson_snprintf(digits, sizeof digits, "[%lld]", (long long)index);
    luaL_addstring(out, digits);
  }
  *first = false;
}

/* The name of a nested view in its parent. */
static void add_view_part(luaL_Buffer *out, bool *first, const lbson_view_t *parent, const lbson_view_t *child) {
  const char *key = (const char *)parent->bytes + child->place + 1;
  lua_Integer index = 0;
  if (child->is_assigned) {
    key = parent->overlay->entries[child->place].key;
    index = (lua_Integer)child->place + 1;
  } else if (parent->is_array) {
    index = strtoll(key, NULL, 10) + 1; /* an array's keys count from 0 */
  }
  if (parent->is_array)
    add_part(out, first, NULL, 0, index);
  else
    add_part(out, first, key, strlen(key), 0);
}

/* The views around the one at idx, outermost first. */
static void add_views(lua_State *L, luaL_Buffer *out, bool *first, int idx) {
  const lbson_view_t *chain[LBSON_MAX_STORED_DEPTH + 1];
  int count = 0;
  luaL_checkstack(L, 4, NULL);
  lua_pushvalue(L, idx);
  while (count <= LBSON_MAX_STORED_DEPTH) {
    const lbson_view_t *view = lua_touserdata(L, -1);
    chain[count++] = view;
    if (!view->has_parent) break;
    lua_getiuservalue(L, -1, LBSON_UV_PARENT);
    lua_replace(L, -2);
  }
  lua_pop(L, 1); /* they are kept by the one at idx */
  for (int i = count - 1; i > 0; i--) add_view_part(out, first, chain[i], chain[i - 1]);
}

static void add_path(lua_State *L, luaL_Buffer *out, bool *first, const lbson_path_t *path) {
  if (path->parent)
    add_path(L, out, first, path->parent);
  else if (path->view_idx)
    add_views(L, out, first, path->view_idx);
  add_part(out, first, path->key, path->length, path->index);
}

int lbson_fail(lua_State *L, const lbson_path_t *path, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *text = bson_strdupv_printf(format, arguments);
  va_end(arguments);
  kit_box_push(L, text, bson_free);
  if (!path) return kit_raise_argument(L, "%s", text);
  luaL_Buffer out;
  bool first = true;
  luaL_buffinit(L, &out);
  add_path(L, &out, &first, path);
  luaL_pushresult(&out);
  return kit_raise_argument(L, "%s (at '%s')", text, lua_tostring(L, -1));
}

void lbson_check_key(lua_State *L, const char *key, size_t length, const lbson_path_t *path) {
  if (memchr(key, 0, length)) lbson_fail(L, path, "a key must not contain NUL");
  if (!lbson_is_utf8(key, length)) lbson_fail(L, path, "a key must be valid UTF-8");
}

void lbson_check_text(lua_State *L, const char *text, size_t length, const lbson_path_t *path) {
  if (!lbson_is_utf8(text, length)) {
    lbson_fail(L, path, "the string is not valid UTF-8; use bson.binary(s) for bytes");
  }
}
