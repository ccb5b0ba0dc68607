/*
 * pairs over views: documents in stored order, arrays from 1 up. Fields may be assigned and removed while it runs.
 * Users: the classes of views.
 */
#include "lbson_internal.h"

enum { UPVALUE_VIEW = 1, UPVALUE_NUMBER, UPVALUE_OFFSET };

static void set_upvalue(lua_State *L, int upvalue, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_replace(L, lua_upvalueindex(upvalue));
}

static void push_key(lua_State *L, const lbson_view_t *view, lua_Integer number, const char *key, size_t length) {
  if (view->is_array)
    lua_pushinteger(L, number + 1);
  else
    lua_pushlstring(L, key, length);
}

/* The next element of a view that nobody wrote to; false at the end. Its number is that of the overlay's entry, should there be one. */
static int next_element(lua_State *L, const lbson_view_t *view, lua_Integer number) {
  lbson_element_t element;
  uint32_t at = (uint32_t)lua_tointeger(L, lua_upvalueindex(UPVALUE_OFFSET));
  if (!lbson_next(L, view->bytes, view->length, at, &element)) return 0;
  set_upvalue(L, UPVALUE_NUMBER, number + 1);
  set_upvalue(L, UPVALUE_OFFSET, element.end);
  push_key(L, view, number, element.key, element.key_length);
  lbson_push_element(L, lua_upvalueindex(UPVALUE_VIEW), view, &element);
  return 2;
}

static int next_entry(lua_State *L, const lbson_view_t *view, lua_Integer number) {
  const lbson_overlay_t *overlay = view->overlay;
  while (number < overlay->count && overlay->entries[number].state == LBSON_DELETED) number++;
  if (number >= overlay->count) return 0;
  set_upvalue(L, UPVALUE_NUMBER, number + 1);
  push_key(L, view, number, overlay->entries[number].key, overlay->entries[number].key_length);
  lbson_push_entry(L, lua_upvalueindex(UPVALUE_VIEW), view, (uint32_t)number);
  return 2;
}

static int view_next(lua_State *L) {
  const lbson_view_t *view = lua_touserdata(L, lua_upvalueindex(UPVALUE_VIEW));
  lua_Integer number = lua_tointeger(L, lua_upvalueindex(UPVALUE_NUMBER));
  return view->overlay ? next_entry(L, view, number) : next_element(L, view, number);
}

int lbson_view_pairs(lua_State *L) {
  if (!lbson_test_view(L, 1)) return kit_argerror(L, 1, "BSON document");
  lua_pushvalue(L, 1);
  lua_pushinteger(L, 0);
  lua_pushinteger(L, LBSON_FIRST_OFFSET);
  lua_pushcclosure(L, view_next, 3);
  lua_pushvalue(L, 1);
  return 2;
}
