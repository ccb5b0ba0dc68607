/*
 * Writes BSON bytes into a buffer that a box on the Lua stack owns.
 * Users: the encoder and views. Units: bytes. Errors: a document above the limit raises.
 */
#include "lbson_internal.h"

#include <string.h>

enum { FIRST_CAPACITY = 512 };

void lbson_writer_init(lua_State *L, lbson_writer_t *writer) {
  writer->L = L;
  writer->box = kit_box_push(L, NULL, bson_free);
  writer->data = bson_malloc(FIRST_CAPACITY);
  writer->box->pointer = writer->data;
  writer->length = 0;
  writer->capacity = FIRST_CAPACITY;
  writer->limit = LBSON_MAX_SIZE;
  writer->path = NULL;
}

static void reserve(lbson_writer_t *writer, size_t more) {
  size_t need = writer->length + more;
  if (need <= writer->capacity) return;
  if (need > writer->limit) lbson_fail(writer->L, writer->path, "the document is larger than 16 MiB");
  size_t capacity = writer->capacity * 2;
  if (capacity < need) capacity = need;
  writer->data = bson_realloc(writer->data, capacity);
  writer->box->pointer = writer->data;
  writer->capacity = capacity;
}

void lbson_write(lbson_writer_t *writer, const void *bytes, size_t length) {
  if (length == 0) return;
  reserve(writer, length);
  memcpy(writer->data + writer->length, bytes, length);
  writer->length += length;
}

void lbson_write_byte(lbson_writer_t *writer, uint8_t byte) {
  reserve(writer, 1);
  writer->data[writer->length++] = byte;
}

void lbson_write_i32(lbson_writer_t *writer, int32_t value) {
  uint32_t little = BSON_UINT32_TO_LE((uint32_t)value);
  lbson_write(writer, &little, sizeof little);
}

void lbson_write_i64(lbson_writer_t *writer, int64_t value) {
  uint64_t little = BSON_UINT64_TO_LE((uint64_t)value);
  lbson_write(writer, &little, sizeof little);
}

void lbson_write_double(lbson_writer_t *writer, double value) {
  double little = BSON_DOUBLE_TO_LE(value);
  lbson_write(writer, &little, sizeof little);
}

void lbson_write_header(lbson_writer_t *writer, uint8_t type, const char *key, size_t key_length) {
  lbson_write_byte(writer, type);
  lbson_write(writer, key, key_length);
  lbson_write_byte(writer, 0);
}

void lbson_write_string(lbson_writer_t *writer, const char *text, size_t length) {
  if (length >= writer->limit) lbson_fail(writer->L, writer->path, "the document is larger than 16 MiB");
  lbson_write_i32(writer, (int32_t)length + 1);
  lbson_write(writer, text, length);
  lbson_write_byte(writer, 0);
}

size_t lbson_write_begin(lbson_writer_t *writer) {
  size_t start = writer->length;
  lbson_write_i32(writer, 0);
  return start;
}

void lbson_write_end(lbson_writer_t *writer, size_t start) {
  lbson_write_byte(writer, 0);
  if (writer->length > writer->limit) lbson_fail(writer->L, writer->path, "the document is larger than 16 MiB");
  uint32_t little = BSON_UINT32_TO_LE((uint32_t)(writer->length - start));
  memcpy(writer->data + start, &little, sizeof little);
}

static void free_document(void *document) {
  bson_destroy(document);
}

bson_t *lbson_writer_finish(lbson_writer_t *writer) {
  bson_t *document = bson_new_from_data(writer->data, writer->length);
  kit_box_free(writer->box);
  writer->box->pointer = document;
  writer->box->free_fn = free_document;
  writer->data = NULL;
  return document;
}
