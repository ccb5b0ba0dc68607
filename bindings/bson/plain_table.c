/*
 * Documents into plain Lua tables, deep. Arrays are marked with bson.array_mt and empty documents with a mark of their own, so that
 * a table encodes back to what it was made of, but for the order of fields.
 * Users: bson.to_table; lbson_push_table for results of the engine.
 */
#include "lbson_internal.h"

static void push_value(lua_State *L, const lbson_element_t *element, const lbson_table_options_t *options,
                       bool in_array, unsigned depth);

static void push_table(lua_State *L, const uint8_t *bytes, uint32_t length, bool is_array,
                       const lbson_table_options_t *options, unsigned depth) {
  if (depth > LBSON_MAX_STORED_DEPTH) kit_raise_argument(L, "the document is nested too deeply");
  luaL_checkstack(L, 8, NULL);
  lua_newtable(L);
  lbson_element_t element;
  lua_Integer count = 0;
  for (uint32_t at = LBSON_FIRST_OFFSET; lbson_next(L, bytes, length, at, &element); at = element.end) {
    count++;
    if (is_array) {
      push_value(L, &element, options, true, depth);
      lua_rawseti(L, -2, count);
      continue;
    }
    lua_pushlstring(L, element.key, element.key_length);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) == LUA_TNIL) { /* of duplicates the first counts */
      lua_pop(L, 1);
      push_value(L, &element, options, false, depth);
      lua_rawset(L, -3);
    } else {
      lua_pop(L, 2);
    }
  }
  if (is_array)
    lbson_push_array_mark(L);
  else if (count == 0)
    lbson_push_document_mark(L);
  else
    return;
  lua_setmetatable(L, -2);
}

static void push_value(lua_State *L, const lbson_element_t *element, const lbson_table_options_t *options,
                       bool in_array, unsigned depth) {
  const uint8_t *value = element->value;
  uint32_t length = element->value_length;
  switch (element->type) {
  case BSON_TYPE_DOCUMENT:
  case BSON_TYPE_ARRAY:
    push_table(L, value, length, element->type == BSON_TYPE_ARRAY, options, depth + 1);
    return;
  case BSON_TYPE_NULL:
    if (options->keep_null || in_array)
      lbson_push_null(L); /* a nil would make a hole in an array */
    else
      lua_pushnil(L);
    return;
  case BSON_TYPE_INT32:
  case BSON_TYPE_INT64:
  case BSON_TYPE_DOUBLE:
    if (!options->wrap_numbers) break;
    lbson_new_scalar(L, element->type, value, length);
    return;
  case BSON_TYPE_DATE_TIME:
    if (!options->dates_as_text) break;
    char text[LBSON_ISO_SIZE];
    lbson_format_date(lbson_read_i64(value), true, text);
    lua_pushstring(L, text);
    return;
  default:
    break;
  }
  lbson_push_plain(L, element->type, value, length);
}

void lbson_push_plain_table(lua_State *L, const uint8_t *bytes, uint32_t length, bool is_array,
                            const lbson_table_options_t *options) {
  push_table(L, bytes, length, is_array, options, 1);
}
