/*
 * Views: documents and arrays that look like tables and are read out of their BSON bytes only where they are touched.
 * Users: everything that hands out documents. Rule: bindings design, section 2.4. Views have no methods: every name is a field.
 */
#include "lbson_internal.h"

#include <string.h>

enum {
  LOOKUPS_BEFORE_INDEX = 4, /* then a large document gets an index */
  FIELDS_WORTH_INDEX = 16,
};

lbson_view_t *lbson_test_view(lua_State *L, int idx) {
  return lbson_kind(L, idx) >= LBSON_KIND_DOCUMENT ? lua_touserdata(L, idx) : NULL;
}

static lbson_view_t *init_view(lua_State *L, lbson_view_t *view, bool is_array) {
  memset(view, 0, sizeof *view);
  view->is_array = is_array;
  view->count = -1;
  lbson_push_class(L, is_array ? LBSON_KIND_ARRAY : LBSON_KIND_DOCUMENT);
  lua_setmetatable(L, -2);
  return view;
}

/* A root that may become an assigned value has room for its parent. */
static lbson_view_t *new_root(lua_State *L, bool is_array, const uint8_t *bytes, size_t length, int user_values) {
  lbson_view_t *view = lua_newuserdatauv(L, sizeof *view + length, user_values);
  init_view(L, view, is_array);
  memcpy(view + 1, bytes, length);
  view->bytes = (const uint8_t *)(view + 1);
  view->length = (uint32_t)length;
  return view;
}

lbson_view_t *lbson_new_view(lua_State *L, bool is_array, const uint8_t *bytes, size_t length) {
  return new_root(L, is_array, bytes, length, LBSON_UV_STATE);
}

lbson_view_t *lbson_new_assigned(lua_State *L, int parent_idx, bool is_array, const uint8_t *bytes, size_t length) {
  parent_idx = lua_absindex(L, parent_idx);
  lbson_view_t *view = new_root(L, is_array, bytes, length, LBSON_UV_PARENT);
  lua_pushvalue(L, parent_idx);
  lua_setiuservalue(L, -2, LBSON_UV_PARENT);
  view->has_parent = true;
  view->is_assigned = true;
  return view;
}

/* Pushes the view's weak table of nested views. */
static void push_children(lua_State *L, int idx) {
  static const char mode_key;
  if (lua_getiuservalue(L, idx, LBSON_UV_CHILDREN) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_createtable(L, 0, 1);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &mode_key) != LUA_TTABLE) {
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &mode_key);
  }
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, idx, LBSON_UV_CHILDREN);
}

static void push_nested(lua_State *L, int idx, const lbson_view_t *parent, const lbson_element_t *element) {
  idx = lua_absindex(L, idx);
  push_children(L, idx);
  if (lua_rawgeti(L, -1, element->offset) == LUA_TUSERDATA) {
    lua_remove(L, -2);
    return;
  }
  lua_pop(L, 1);
  lbson_view_t *view = lua_newuserdatauv(L, sizeof *view, LBSON_UV_PARENT);
  init_view(L, view, element->type == BSON_TYPE_ARRAY);
  lua_pushvalue(L, idx);
  lua_setiuservalue(L, -2, LBSON_UV_PARENT); /* keeps the bytes alive */
  view->bytes = element->value;
  view->length = element->value_length;
  view->place = element->offset;
  view->has_parent = true;
  view->is_frozen = parent->is_frozen;
  lua_pushvalue(L, -1);
  lua_rawseti(L, -3, element->offset);
  lua_remove(L, -2);
}

void lbson_push_element(lua_State *L, int idx, const lbson_view_t *view, const lbson_element_t *element) {
  if (element->type == BSON_TYPE_DOCUMENT || element->type == BSON_TYPE_ARRAY)
    push_nested(L, idx, view, element);
  else
    lbson_push_plain(L, element->type, element->value, element->value_length);
}

void lbson_push_entry(lua_State *L, int idx, const lbson_view_t *view, uint32_t number) {
  const lbson_entry_t *entry = &view->overlay->entries[number];
  if (entry->state == LBSON_ORIGINAL) {
    lbson_element_t element;
    lbson_next(L, view->bytes, view->length, entry->offset, &element);
    lbson_push_element(L, idx, view, &element);
    return;
  }
  idx = lua_absindex(L, idx);
  lbson_push_state(L, idx);
  lua_rawgeti(L, -1, LBSON_STATE_VALUES);
  lua_rawgeti(L, -1, (lua_Integer)number + 1);
  lua_replace(L, -3);
  lua_pop(L, 1);
}

void lbson_push_state(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  if (lua_getiuservalue(L, idx, LBSON_UV_STATE) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_createtable(L, 3, 0);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, idx, LBSON_UV_STATE);
}

/* ------------------------------------------------------------------ documents */

/* Builds the index of a large document: key -> offset of its first element. Leaves it on the stack. */
static void build_index(lua_State *L, int idx, const lbson_view_t *view) {
  lua_newtable(L);
  lbson_element_t element;
  for (uint32_t at = LBSON_FIRST_OFFSET; lbson_next(L, view->bytes, view->length, at, &element); at = element.end) {
    lua_pushlstring(L, element.key, element.key_length);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) == LUA_TNIL) {
      lua_pop(L, 1);
      lua_pushinteger(L, element.offset);
      lua_rawset(L, -3);
    } else {
      lua_pop(L, 2);
    }
  }
  lbson_push_state(L, idx);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, LBSON_STATE_INDEX);
  lua_pop(L, 1);
}

/* Finds through the index, if there is one or it is worth making one. The key is at index 2. */
static bool find_indexed(lua_State *L, lbson_view_t *view, lbson_element_t *element, bool *found) {
  if (view->lookups < LOOKUPS_BEFORE_INDEX) return false;
  if (view->lookups == LOOKUPS_BEFORE_INDEX) {
    build_index(L, 1, view);
    view->lookups++;
  } else {
    lbson_push_state(L, 1);
    lua_rawgeti(L, -1, LBSON_STATE_INDEX);
    lua_remove(L, -2);
  }
  lua_pushvalue(L, 2);
  lua_rawget(L, -2);
  *found = lua_isinteger(L, -1) && lbson_next(L, view->bytes, view->length, (uint32_t)lua_tointeger(L, -1), element);
  lua_pop(L, 2);
  return true;
}

static bool find_element(lua_State *L, lbson_view_t *view, const char *key, size_t key_length,
                         lbson_element_t *element) {
  bool found;
  if (find_indexed(L, view, element, &found)) return found;
  uint32_t passed;
  found = lbson_find(L, view->bytes, view->length, key, key_length, element, &passed);
  if (passed > FIELDS_WORTH_INDEX) view->lookups++;
  return found;
}

uint32_t lbson_find_entry(const lbson_overlay_t *overlay, const char *key, size_t key_length) {
  for (uint32_t i = 0; i < overlay->count; i++) {
    const lbson_entry_t *entry = &overlay->entries[i];
    if (entry->state != LBSON_DELETED && entry->key_length == key_length && memcmp(entry->key, key, key_length) == 0) {
      return i;
    }
  }
  return LBSON_NO_ENTRY;
}

/* The view at 1, checked against the class in upvalue 1: other userdata may reach a metamethod through debug. */
static lbson_view_t *check_self(lua_State *L) {
  lbson_view_t *view = lua_touserdata(L, 1);
  bool ours = view && lua_getmetatable(L, 1);
  if (ours) {
    ours = lua_rawequal(L, -1, lua_upvalueindex(1));
    lua_pop(L, 1);
  }
  if (!ours) kit_argerror(L, 1, "BSON document");
  return view;
}

static int document_index(lua_State *L) {
  lbson_view_t *view = check_self(L);
  if (lua_type(L, 2) != LUA_TSTRING) return 0;
  size_t length;
  const char *key = lua_tolstring(L, 2, &length);
  if (view->overlay) {
    uint32_t number = lbson_find_entry(view->overlay, key, length);
    if (number == LBSON_NO_ENTRY) return 0;
    lbson_push_entry(L, 1, view, number);
    return 1;
  }
  lbson_element_t element;
  if (!find_element(L, view, key, length, &element)) return 0;
  lbson_push_element(L, 1, view, &element);
  return 1;
}

static int document_len(lua_State *L) {
  return kit_raise_argument(L, "a document has no length: count its fields with pairs, or use bson.to_table");
}

/* --------------------------------------------------------------------- arrays */

uint32_t lbson_array_count(lua_State *L, lbson_view_t *view) {
  if (view->overlay) return view->overlay->count;
  if (view->count < 0) {
    uint32_t count = 0;
    lbson_element_t element;
    for (uint32_t at = LBSON_FIRST_OFFSET; lbson_next(L, view->bytes, view->length, at, &element); at = element.end) {
      count++;
    }
    view->count = (int32_t)count;
  }
  return (uint32_t)view->count;
}

/* Pushes a userdata with the offset of every element, made once. */
static const uint32_t *push_offsets(lua_State *L, int idx, lbson_view_t *view) {
  lbson_push_state(L, idx);
  if (lua_rawgeti(L, -1, LBSON_STATE_INDEX) == LUA_TNIL) {
    lua_pop(L, 1);
    uint32_t *offsets = lua_newuserdatauv(L, lbson_array_count(L, view) * sizeof *offsets, 0), i = 0;
    lbson_element_t element;
    for (uint32_t at = LBSON_FIRST_OFFSET; lbson_next(L, view->bytes, view->length, at, &element); at = element.end) {
      offsets[i++] = element.offset;
    }
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, LBSON_STATE_INDEX);
  }
  lua_remove(L, -2);
  return lua_touserdata(L, -1);
}

/* Reads element `index` (1-based, within the count). Loops forward are linear; other reads get a table of offsets. */
static void find_at(lua_State *L, lbson_view_t *view, uint32_t index, lbson_element_t *element) {
  uint32_t at = LBSON_FIRST_OFFSET, here = 1;
  if (view->cursor_index && index >= view->cursor_index) {
    here = view->cursor_index;
    at = view->cursor_offset;
  }
  if (index - here > FIELDS_WORTH_INDEX && ++view->lookups > LOOKUPS_BEFORE_INDEX) {
    view->lookups = LOOKUPS_BEFORE_INDEX;
    at = push_offsets(L, 1, view)[index - 1];
    here = index;
    lua_pop(L, 1);
  }
  while (lbson_next(L, view->bytes, view->length, at, element) && here < index) {
    at = element->end;
    here++;
  }
  view->cursor_index = index;
  view->cursor_offset = element->offset;
}

static int array_index(lua_State *L) {
  lbson_view_t *view = check_self(L);
  int is_integer = 0;
  lua_Integer index = lua_type(L, 2) == LUA_TNUMBER ? lua_tointegerx(L, 2, &is_integer) : 0;
  if (!is_integer || index < 1 || index > (lua_Integer)lbson_array_count(L, view)) return 0;
  if (view->overlay) {
    lbson_push_entry(L, 1, view, (uint32_t)index - 1);
    return 1;
  }
  lbson_element_t element;
  find_at(L, view, (uint32_t)index, &element);
  lbson_push_element(L, 1, view, &element);
  return 1;
}

static int array_len(lua_State *L) {
  lua_pushinteger(L, lbson_array_count(L, check_self(L)));
  return 1;
}

/* --------------------------------------------------------------------- classes */

enum { TEXT_LIMIT = 1000 };

static int view_tostring(lua_State *L) {
  const lbson_view_t *view = check_self(L);
  lua_settop(L, 1);
  const uint8_t *bytes = view->bytes;
  uint32_t bytes_length = view->length;
  if (view->overlay) {
    lbson_writer_t writer;
    lbson_writer_init(L, &writer);
    lbson_write_view(L, 1, &writer);
    bytes = writer.data;
    bytes_length = (uint32_t)writer.length;
  }
  luaL_Buffer out;
  luaL_buffinit(L, &out);
  lbson_json_document(L, &out, bytes, bytes_length, view->is_array, false, TEXT_LIMIT + 1);
  luaL_pushresult(&out);
  size_t length;
  const char *text = lua_tolstring(L, -1, &length);
  if (length > TEXT_LIMIT) {
    size_t cut = TEXT_LIMIT;
    while (cut > 0 && ((unsigned char)text[cut] & 0xc0) == 0x80) cut--; /* not within a character */
    lua_pushlstring(L, text, cut);
    lua_pushliteral(L, "...");
    lua_concat(L, 2);
  }
  return 1;
}

static void open_class(lua_State *L, int kind, const char *name, lua_CFunction index, lua_CFunction newindex,
                       lua_CFunction len) {
  const luaL_Reg meta[] = {{"__index", index},
                           {"__newindex", newindex},
                           {"__len", len},
                           {"__tostring", view_tostring},
                           {"__pairs", lbson_view_pairs},
                           {NULL, NULL}};
  lua_createtable(L, 0, 8);
  lua_pushvalue(L, -1);
  luaL_setfuncs(L, meta, 1);
  lbson_set_class(L, kind, name);
  lua_pop(L, 1);
}

void lbson_open_views(lua_State *L) {
  open_class(L, LBSON_KIND_DOCUMENT, "smartmigration.bson.document", document_index, lbson_document_newindex,
             document_len);
  open_class(L, LBSON_KIND_ARRAY, "smartmigration.bson.array", array_index, lbson_array_newindex, array_len);
}
