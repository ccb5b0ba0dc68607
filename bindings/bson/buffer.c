/*
 * Buffers: documents encoded one after another into the same memory, for whoever sends thousands of them.
 * Users: the driver's bulk operations. Errors: as lbson_check raises them; the buffer can be used again after one.
 */
#include "lbson_internal.h"

enum { KEPT_CAPACITY = 1024 * 1024 }; /* a larger one is given back when the next document comes */

struct lbson_buffer {
  lbson_writer_t writer; /* user value 1 is its box */
};

lbson_buffer_t *lbson_push_buffer(lua_State *L) {
  luaL_checkstack(L, 6, NULL);
  lbson_buffer_t *buffer = lua_newuserdatauv(L, sizeof *buffer, 1);
  lbson_writer_init(L, &buffer->writer);
  lua_setiuservalue(L, -2, 1);
  return buffer;
}

bool lbson_encode(lua_State *L, lbson_buffer_t *buffer, int idx, lbson_role_t role, const char *what,
                  bson_t *document) {
  lbson_writer_t *writer = &buffer->writer;
  writer->L = L;
  writer->length = 0;
  writer->path = NULL;
  if (writer->capacity > KEPT_CAPACITY) {
    writer->data = bson_realloc(writer->data, KEPT_CAPACITY);
    writer->box->pointer = writer->data;
    writer->capacity = KEPT_CAPACITY;
  }
  bool is_array = lbson_write_document(writer, idx, role, what);
  bson_init_static(document, writer->data, writer->length);
  return is_array;
}
