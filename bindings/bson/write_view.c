/*
 * Views back into bytes: what was not changed is copied byte for byte, in runs.
 * Users: encoding, JSON, comparison.
 */
#include "lbson_internal.h"

/* The value of an entry that holds no document, on top of the stack, as `type`. */
static void write_scalar(lbson_writer_t *writer, uint8_t type) {
  lua_State *L = writer->L;
  switch (type) {
  case BSON_TYPE_DOUBLE:
    lbson_write_double(writer, lua_tonumber(L, -1));
    break;
  case BSON_TYPE_INT32:
    lbson_write_i32(writer, (int32_t)lua_tointeger(L, -1));
    break;
  case BSON_TYPE_INT64:
    lbson_write_i64(writer, lua_tointeger(L, -1));
    break;
  case BSON_TYPE_BOOL:
    lbson_write_byte(writer, (uint8_t)lua_toboolean(L, -1));
    break;
  case BSON_TYPE_NULL:
    break;
  case BSON_TYPE_UTF8: {
    size_t length;
    const char *text = lua_tolstring(L, -1, &length);
    lbson_write_string(writer, text, length);
    break;
  }
  default: {
    const lbson_scalar_t *scalar = lua_touserdata(L, -1);
    lbson_write(writer, scalar->bytes, scalar->length);
    break;
  }
  }
}

static void write_changed(lbson_writer_t *writer, int idx, const lbson_view_t *view, uint32_t number) {
  const lbson_entry_t *entry = &view->overlay->entries[number];
  char digits[16];
  const char *key = entry->key;
  size_t key_length = entry->key_length;
  if (view->is_array) {
    key = digits;
    key_length = (size_t)bson_snprintf(digits, sizeof digits, "%u", number);
  }
  lbson_write_header(writer, entry->type, key, key_length);
  lbson_push_entry(writer->L, idx, view, number);
  if (lbson_test_view(writer->L, -1))
    lbson_write_view(writer->L, -1, writer);
  else
    write_scalar(writer, entry->type);
  lua_pop(writer->L, 1);
}

void lbson_write_view(lua_State *L, int idx, lbson_writer_t *writer) {
  const lbson_view_t *view = lua_touserdata(L, idx);
  const lbson_overlay_t *overlay = view->overlay;
  if (!overlay) {
    lbson_write(writer, view->bytes, view->length);
    return;
  }
  luaL_checkstack(L, 8, NULL);
  idx = lua_absindex(L, idx);
  size_t start = lbson_write_begin(writer);
  for (uint32_t i = 0; i < overlay->count;) {
    const lbson_entry_t *entry = &overlay->entries[i];
    if (entry->state != LBSON_ORIGINAL) {
      if (entry->state == LBSON_CHANGED) write_changed(writer, idx, view, i);
      i++;
      continue;
    }
    uint32_t from = entry->offset, to = from;
    for (; i < overlay->count && overlay->entries[i].state == LBSON_ORIGINAL && overlay->entries[i].offset == to; i++) {
      to += overlay->entries[i].length;
    }
    lbson_write(writer, view->bytes + from, to - from);
  }
  lbson_write_end(writer, start);
}
