/*
 * Writing to views: the first assignment makes an overlay, the list of the fields in order, of which the untouched ones
 * keep their bytes.
 * Users: the classes of views, iteration, writing. Rules: bindings design, section 2.4 (order is kept, new keys are appended,
 * numbers keep their type where they fit, assigned documents are copied, replaced views become read-only).
 */
#include "lbson_internal.h"

#include <string.h>

enum { SPARE_ENTRIES = 4 };

/* ---------------------------------------------------------------- making one */

static uint32_t count_elements(lua_State *L, const lbson_view_t *view) {
  uint32_t count = 0;
  lbson_element_t element;
  for (uint32_t at = LBSON_FIRST_OFFSET; lbson_next(L, view->bytes, view->length, at, &element); at = element.end) {
    count++;
  }
  return count;
}

static lbson_overlay_t *push_overlay(lua_State *L, uint32_t capacity) {
  lbson_overlay_t *overlay = lua_newuserdatauv(L, sizeof *overlay + capacity * sizeof(lbson_entry_t), 0);
  *overlay = (lbson_overlay_t){.capacity = capacity};
  return overlay;
}

static void make_overlay(lua_State *L, int idx, lbson_view_t *view) {
  if (view->overlay) return;
  luaL_checkstack(L, 8, NULL);
  lbson_push_state(L, idx);
  lua_newtable(L);
  lua_rawseti(L, -2, LBSON_STATE_VALUES);
  lbson_overlay_t *overlay = push_overlay(L, count_elements(L, view) + SPARE_ENTRIES);
  lbson_element_t element;
  for (uint32_t at = LBSON_FIRST_OFFSET; lbson_next(L, view->bytes, view->length, at, &element); at = element.end) {
    overlay->entries[overlay->count++] = (lbson_entry_t){.key = element.key,
                                                         .key_length = element.key_length,
                                                         .offset = element.offset,
                                                         .length = element.end - element.offset,
                                                         .state = LBSON_ORIGINAL,
                                                         .type = element.type};
  }
  overlay->originals = overlay->count;
  lua_rawseti(L, -2, LBSON_STATE_OVERLAY);
  lua_pop(L, 1);
  view->overlay = overlay;
}

/* Room for one more entry. */
static void grow(lua_State *L, int idx, lbson_view_t *view) {
  if (view->overlay->count < view->overlay->capacity) return;
  const lbson_overlay_t *full = view->overlay;
  lbson_push_state(L, idx);
  lbson_overlay_t *overlay = push_overlay(L, full->capacity * 2);
  overlay->count = full->count;
  overlay->originals = full->originals;
  memcpy(overlay->entries, full->entries, full->count * sizeof(lbson_entry_t));
  lua_rawseti(L, -2, LBSON_STATE_OVERLAY);
  lua_pop(L, 1);
  view->overlay = overlay;
}

/* values[slot] = the value at value_idx, which may be nil */
static void set_value(lua_State *L, int idx, lua_Integer slot, int value_idx) {
  value_idx = lua_absindex(L, value_idx);
  lbson_push_state(L, idx);
  lua_rawgeti(L, -1, LBSON_STATE_VALUES);
  lua_pushvalue(L, value_idx);
  lua_rawseti(L, -2, slot);
  lua_pop(L, 2);
}

/* ------------------------------------------------------------- nested views */

/* The parent's entry that a nested view came from, or LBSON_NO_ENTRY. The parent has an overlay. */
static uint32_t entry_of_child(const lbson_overlay_t *overlay, const lbson_view_t *child) {
  if (child->is_assigned) return child->place < overlay->count ? child->place : LBSON_NO_ENTRY;
  uint32_t low = 0, high = overlay->originals < overlay->count ? overlay->originals : overlay->count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (overlay->entries[middle].offset < child->place)
      low = middle + 1;
    else
      high = middle;
  }
  return low < overlay->count && overlay->entries[low].offset == child->place ? low : LBSON_NO_ENTRY;
}

/* Whether the entry still holds the view at child_idx (the parent is at parent_idx). */
static bool holds_child(lua_State *L, int parent_idx, const lbson_view_t *parent, uint32_t number, int child_idx,
                        const lbson_view_t *child) {
  if (number == LBSON_NO_ENTRY) return false;
  const lbson_entry_t *entry = &parent->overlay->entries[number];
  if (entry->state == LBSON_ORIGINAL) return !child->is_assigned;
  if (entry->state == LBSON_DELETED) return false;
  child_idx = lua_absindex(L, child_idx);
  lbson_push_entry(L, parent_idx, parent, number);
  bool same = lua_rawequal(L, -1, child_idx);
  lua_pop(L, 1);
  return same;
}

static void raise_frozen(lua_State *L, const lbson_view_t *view) {
  kit_raise_argument(L, "this %s is read-only", view->is_array ? "array" : "document");
}

/*
 * Makes the view at idx writable: it is not frozen, still part of the documents around it, and they know that it is written to.
 */
static void make_writable(lua_State *L, int idx, lbson_view_t *view, unsigned depth) {
  if (view->is_frozen) raise_frozen(L, view);
  if (view->has_parent) {
    if (depth > LBSON_MAX_STORED_DEPTH) kit_raise_argument(L, "this document is nested too deeply to be written to");
    luaL_checkstack(L, 8, NULL);
    idx = lua_absindex(L, idx);
    lua_getiuservalue(L, idx, LBSON_UV_PARENT);
    lbson_view_t *parent = lua_touserdata(L, -1);
    make_writable(L, -1, parent, depth + 1);
    uint32_t number = entry_of_child(parent->overlay, view);
    if (!holds_child(L, -1, parent, number, idx, view)) {
      kit_raise_argument(L, "this %s was replaced or removed in the one it came from: it is read-only",
                         view->is_array ? "array" : "document");
    }
    lbson_entry_t *entry = &parent->overlay->entries[number];
    if (entry->state == LBSON_ORIGINAL) {
      set_value(L, lua_absindex(L, -1), (lua_Integer)number + 1, idx);
      entry->state = LBSON_CHANGED;
    }
    lua_pop(L, 1);
  }
  make_overlay(L, idx, view);
}

/* ------------------------------------------------------------------- values */

/* What a plain number becomes in place of a value of type `before` (0: nothing was there). The value is at idx. */
static uint8_t sticky_type(lua_State *L, int idx, uint8_t before, const lbson_path_t *path) {
  if (before == BSON_TYPE_DECIMAL128) {
    lbson_fail(L, path, "a Lua number cannot replace a decimal128: use bson.decimal128, or another bson type");
  }
  if (!lua_isinteger(L, idx)) return BSON_TYPE_DOUBLE;
  lua_Integer value = lua_tointeger(L, idx);
  if (before == BSON_TYPE_INT64) return BSON_TYPE_INT64;
  if (before == BSON_TYPE_DOUBLE) {
    lua_Number number = (lua_Number)value;
    if (!(number >= -0x1p63 && number < 0x1p63) || (lua_Integer)number != value) {
      lbson_fail(L, path, "the field is a double, which cannot hold %lld exactly: use bson.int64", (long long)value);
    }
    lua_pushnumber(L, number);
    lua_replace(L, idx);
    return BSON_TYPE_DOUBLE;
  }
  return value >= INT32_MIN && value <= INT32_MAX ? BSON_TYPE_INT32 : BSON_TYPE_INT64;
}

/* Replaces the table or view at idx by a view of a copy of it that belongs to the view at 1. */
static uint8_t copy_document(lua_State *L, int idx, const lbson_path_t *path) {
  lbson_writer_t writer;
  lbson_writer_init(L, &writer);
  bool is_array = lbson_write_nested(&writer, idx, path->key, path->length, path, 1);
  lbson_new_assigned(L, 1, is_array, writer.data, writer.length);
  lua_replace(L, idx);
  kit_box_free(writer.box);
  lua_pop(L, 1);
  return is_array ? BSON_TYPE_ARRAY : BSON_TYPE_DOCUMENT;
}

/* Turns the value at 3 into what the overlay keeps, and answers its BSON type. */
static uint8_t prepare_value(lua_State *L, uint8_t before, const lbson_path_t *path) {
  switch (lua_type(L, 3)) {
  case LUA_TBOOLEAN:
    return BSON_TYPE_BOOL;
  case LUA_TNUMBER:
    return sticky_type(L, 3, before, path);
  case LUA_TSTRING: {
    size_t length;
    const char *text = lua_tolstring(L, 3, &length);
    lbson_check_text(L, text, length, path);
    return BSON_TYPE_UTF8;
  }
  case LUA_TTABLE:
    return copy_document(L, 3, path);
  case LUA_TLIGHTUSERDATA:
    if (lbson_is_null(L, 3)) return BSON_TYPE_NULL;
    break;
  case LUA_TUSERDATA: {
    int kind = lbson_kind(L, 3);
    if (kind >= LBSON_KIND_DOCUMENT) return copy_document(L, 3, path);
    if (kind == LBSON_NO_KIND) break;
    if (kind == BSON_TYPE_INT32 || kind == BSON_TYPE_INT64 || kind == BSON_TYPE_DOUBLE) {
      const lbson_scalar_t *scalar = lua_touserdata(L, 3);
      lbson_push_plain(L, scalar->type, scalar->bytes, scalar->length);
      lua_replace(L, 3);
    }
    return (uint8_t)kind;
  }
  default:
    break;
  }
  lbson_fail(L, path, "cannot store a %s", luaL_typename(L, 3));
  return 0;
}

/* Stores the value at 3 in the entry. */
static void change_entry(lua_State *L, lbson_view_t *view, uint32_t number, const lbson_path_t *path) {
  lbson_entry_t *entry = &view->overlay->entries[number];
  uint8_t type = prepare_value(L, entry->type, path);
  lbson_view_t *nested = lbson_test_view(L, 3);
  if (nested) nested->place = number;
  set_value(L, 1, (lua_Integer)number + 1, 3);
  entry->state = LBSON_CHANGED;
  entry->type = type;
}

/* Whether the value at 3 is the very nested view that the entry holds: assigning it changes nothing. */
static bool is_same_child(lua_State *L, const lbson_view_t *view, uint32_t number) {
  if (lbson_kind(L, 3) < LBSON_KIND_DOCUMENT) return false;
  lbson_push_entry(L, 1, view, number);
  bool same = lua_rawequal(L, -1, 3);
  lua_pop(L, 1);
  return same;
}

/* Appends an entry of that name for the value at 3; its text is kept if key_idx is not 0. */
static void append_entry(lua_State *L, lbson_view_t *view, const char *key, size_t key_length, int key_idx,
                         const lbson_path_t *path) {
  uint8_t type = prepare_value(L, 0, path);
  grow(L, 1, view);
  uint32_t number = view->overlay->count;
  if (key_idx) set_value(L, 1, -((lua_Integer)number + 1), key_idx);
  set_value(L, 1, (lua_Integer)number + 1, 3);
  lbson_view_t *nested = lbson_test_view(L, 3);
  if (nested) nested->place = number;
  view->overlay->entries[number] = (lbson_entry_t){
      .key = key, .key_length = (uint32_t)key_length, .offset = LBSON_NO_OFFSET, .state = LBSON_CHANGED, .type = type};
  view->overlay->count++;
}

static void delete_entry(lua_State *L, lbson_view_t *view, uint32_t number) {
  lua_pushnil(L);
  set_value(L, 1, (lua_Integer)number + 1, -1);
  lua_pop(L, 1);
  view->overlay->entries[number].state = LBSON_DELETED;
}

/* ------------------------------------------------------------------ documents */

static lbson_view_t *check_self(lua_State *L) {
  lbson_view_t *view = lbson_test_view(L, 1);
  if (!view) kit_argerror(L, 1, "BSON document");
  return view;
}

int lbson_document_newindex(lua_State *L) {
  lbson_view_t *view = check_self(L);
  lua_settop(L, 3);
  if (lua_type(L, 2) != LUA_TSTRING) {
    return kit_raise_argument(L, "a document's fields have strings as names, got a %s", luaL_typename(L, 2));
  }
  size_t length;
  const char *key = lua_tolstring(L, 2, &length);
  lbson_path_t path = {.key = key, .length = length, .view_idx = 1};
  make_writable(L, 1, view, 0);
  uint32_t number = lbson_find_entry(view->overlay, key, length);
  if (lua_isnil(L, 3)) {
    /* All of that name: reading must not find a second one. */
    for (; number != LBSON_NO_ENTRY; number = lbson_find_entry(view->overlay, key, length))
      delete_entry(L, view, number);
  } else if (number == LBSON_NO_ENTRY) {
    lbson_check_key(L, key, length, &path);
    append_entry(L, view, key, length, 2, &path);
  } else if (!is_same_child(L, view, number)) {
    change_entry(L, view, number, &path);
  }
  return 0;
}

/* --------------------------------------------------------------------- arrays */

static void remove_last(lua_State *L, lbson_view_t *view) {
  uint32_t number = view->overlay->count - 1;
  delete_entry(L, view, number);
  /* The slot may be taken again, by a value that has nothing to do with what was here. */
  view->overlay->entries[number].offset = LBSON_NO_OFFSET;
  view->overlay->count--;
}

int lbson_array_newindex(lua_State *L) {
  lbson_view_t *view = check_self(L);
  lua_settop(L, 3);
  int is_integer = 0;
  lua_Integer index = lua_type(L, 2) == LUA_TNUMBER ? lua_tointegerx(L, 2, &is_integer) : 0;
  if (!is_integer) return kit_raise_argument(L, "an array's indexes are integers, got a %s", luaL_typename(L, 2));
  lua_Integer count = lbson_array_count(L, view);
  bool exists = index >= 1 && index <= count;
  if (lua_isnil(L, 3) && !exists) return 0;
  if (lua_isnil(L, 3) && index < count) {
    return kit_raise_argument(L, "setting [%lld] of an array of %lld to nil would leave a hole: use table.remove",
                              (long long)index, (long long)count);
  }
  if (!exists && index != count + 1) {
    return kit_raise_argument(L, "setting [%lld] of an array of %lld would leave a hole", (long long)index,
                              (long long)count);
  }
  lbson_path_t path = {.index = index, .view_idx = 1};
  make_writable(L, 1, view, 0);
  if (lua_isnil(L, 3))
    remove_last(L, view);
  else if (!exists)
    append_entry(L, view, "", 0, 0, &path);
  else if (!is_same_child(L, view, (uint32_t)index - 1))
    change_entry(L, view, (uint32_t)index - 1, &path);
  return 0;
}
