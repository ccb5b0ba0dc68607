/*
 * Requests: a table of Lua to smig_s3_request_t. Users: exchanges, presign. The table is made by our own Lua sources, which have checked
 * what an author gave; what is wrong here is a mistake of ours.
 */
#include "internal.h"

#include <stddef.h>
#include <string.h>

typedef struct request_box {
  smig_s3_request_t request;
  int bucket, key, query, headers, body, file, sink, sha256; /* stack indexes; 0: not given */
} request_box_t;

#define AT(member) offsetof(request_box_t, member)

static const kit_option_t descriptors[] = {
    {.name = "operation", .type = KIT_STRING, .offset = AT(request.operation)},
    {.name = "method", .type = KIT_STRING, .offset = AT(request.method)},
    {.name = "bucket", .type = KIT_INDEX, .offset = AT(bucket)},
    {.name = "key", .type = KIT_INDEX, .offset = AT(key)},
    {.name = "query", .type = KIT_INDEX, .offset = AT(query)},
    {.name = "headers", .type = KIT_INDEX, .offset = AT(headers)},
    {.name = "creates_object", .type = KIT_BOOLEAN, .offset = AT(request.creates_object)},
    {.name = "error_in_200", .type = KIT_BOOLEAN, .offset = AT(request.error_in_200)},
    {.name = "once", .type = KIT_BOOLEAN, .offset = AT(request.once)},
    {.name = "body", .type = KIT_INDEX, .offset = AT(body)},
    {.name = "file", .type = KIT_INDEX, .offset = AT(file)},
    {.name = "file_offset", .type = KIT_INTEGER, .offset = AT(request.file_offset)},
    {.name = "file_length", .type = KIT_INTEGER, .offset = AT(request.file_length)},
    {.name = "sha256", .type = KIT_INDEX, .offset = AT(sha256)},
    {.name = "max_body", .type = KIT_INTEGER, .offset = AT(request.max_body)},
    {.name = "sink", .type = KIT_INDEX, .offset = AT(sink)},
    {.name = "sink_offset", .type = KIT_INTEGER, .offset = AT(request.sink_offset)},
    {.name = "stream", .type = KIT_BOOLEAN, .offset = AT(request.stream)},
    {.name = NULL}};

static void free_request(void *pointer) {
  request_box_t *box = pointer;
  smig_s3_fields_release(&box->request.query);
  smig_s3_fields_release(&box->request.headers);
  bson_free(box);
}

/* { name = text or number, name = true (without a value) } */
static void read_fields(lua_State *L, int idx, smig_s3_fields_t *fields) {
  if (!idx) return;
  luaL_checktype(L, idx, LUA_TTABLE);
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) kit_raise_argument(L, "a header or query parameter must have a name");
    const char *value = lua_isboolean(L, -1) ? NULL : lua_tostring(L, -1);
    if (!value && !lua_isboolean(L, -1)) {
      kit_raise_argument(L, "'%s' must be a string, not a %s", lua_tostring(L, -2), luaL_typename(L, -1));
    }
    smig_s3_fields_add(fields, lua_tostring(L, -2), value);
  }
}

static void read_body(lua_State *L, request_box_t *box) {
  smig_s3_request_t *request = &box->request;
  if (!box->body) return;
  const ls3_buffer_t *buffer = luaL_testudata(L, box->body, LS3_BUFFER);
  if (buffer) {
    request->body = buffer->bytes;
    request->body_length = buffer->size;
  } else {
    request->body = luaL_checklstring(L, box->body, &request->body_length);
  }
}

smig_s3_request_t *ls3_read_request(lua_State *L, int idx, const char *bucket) {
  luaL_checkstack(L, 30, NULL);
  luaL_checktype(L, idx, LUA_TTABLE);
  idx = lua_absindex(L, idx);
  kit_box_t *owner = kit_box_push(L, NULL, free_request);
  int owner_idx = lua_gettop(L);
  request_box_t *box = owner->pointer = bson_malloc0(sizeof *box);
  smig_s3_request_t *request = &box->request;
  kit_read_options(L, idx, "request", descriptors, box);
  request->bucket = bucket;
  if (box->bucket) request->bucket = lua_isboolean(L, box->bucket) ? NULL : luaL_checkstring(L, box->bucket);
  if (box->key) request->key = luaL_checklstring(L, box->key, &request->key_length);
  read_fields(L, box->query, &request->query);
  read_fields(L, box->headers, &request->headers);
  read_body(L, box);
  if (box->file) {
    request->has_file = true;
    request->file = ((ls3_file_t *)luaL_checkudata(L, box->file, LS3_SOURCE))->descriptor;
  }
  if (box->sha256) {
    size_t length;
    request->sha256 = (const uint8_t *)luaL_checklstring(L, box->sha256, &length);
    if (length != 32) kit_raise_argument(L, "sha256 must be 32 bytes");
  }
  if (box->sink) {
    request->has_sink = true;
    request->sink = ((ls3_file_t *)luaL_checkudata(L, box->sink, LS3_SINK))->descriptor;
  }
  lua_settop(L, owner_idx); /* what is pointed to is in the table */
  return request;
}

/* core.presign(handle, request, expires_s) -> url */
int ls3_presign(lua_State *L) {
  const ls3_handle_t *handle = ls3_check_handle(L, 1);
  int64_t expires_s = luaL_checkinteger(L, 3);
  const smig_s3_request_t *request = ls3_read_request(L, 2, handle->bucket);
  kit_box_t *box = kit_box_push(L, NULL, bson_free);
  smig_error_t error = SMIG_ERROR_INIT;
  box->pointer = smig_s3_presign(handle->scope->client, request, expires_s, &error);
  if (!box->pointer) return kit_raise(L, &error);
  lua_pushstring(L, box->pointer);
  kit_box_free(box);
  return 1;
}
