/*
 * Exchanges: one request under way. A script never meets them; the Lua sources start them, wait for one or for many, and take what came.
 * Users: lua/smartmigration/s3. Errors: the service's and ours, as s3.h makes them. Threads: the thread of the Lua state.
 */
#include "internal.h"

enum { TURN_MS = 1000, CHUNK = 64 * 1024 };

static void unlink_exchange(ls3_exchange_t *exchange) {
  if (exchange->previous)
    exchange->previous->next = exchange->next;
  else
    exchange->scope->exchanges = exchange->next;
  if (exchange->next) exchange->next->previous = exchange->previous;
  exchange->previous = exchange->next = NULL;
  exchange->exchange = NULL;
}

void ls3_abandon(ls3_exchange_t *exchange) {
  if (!exchange->exchange) return;
  smig_s3_abandon(exchange->exchange);
  unlink_exchange(exchange);
}

static ls3_exchange_t *to_exchange(lua_State *L) {
  return luaL_checkudata(L, 1, LS3_EXCHANGE);
}

/* The exchange at 1 when it is under way; raises what ended it else. */
static ls3_exchange_t *check_exchange(lua_State *L) {
  ls3_exchange_t *exchange = to_exchange(L);
  const ls3_scope_t *scope = exchange->scope;
  smig_error_t error = SMIG_ERROR_INIT;
  if (scope->ctx && !smig_ctx_check(scope->ctx, &error)) kit_raise(L, &error);
  if (exchange->exchange) return exchange;
  if (!scope->client && scope->owner) kit_raise_argument(L, "request of %s is no longer valid", scope->owner);
  kit_raise_argument(L, scope->client ? "request is over" : "s3 client is closed");
  return NULL;
}

int ls3_start(lua_State *L) {
  lua_settop(L, 2);
  const ls3_handle_t *handle = ls3_check_handle(L, 1);
  const smig_s3_request_t *request = ls3_read_request(L, 2, handle->bucket);
  kit_box_t *box = lua_touserdata(L, 3);
  ls3_exchange_t *exchange = lua_newuserdatauv(L, sizeof *exchange, 2);
  *exchange = (ls3_exchange_t){.scope = handle->scope, .stream = request->stream};
  luaL_setmetatable(L, LS3_EXCHANGE);
  lua_getiuservalue(L, 1, 1);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, 2);
  exchange->exchange = smig_s3_start(handle->scope->client, request);
  exchange->next = handle->scope->exchanges;
  if (exchange->next) exchange->next->previous = exchange;
  handle->scope->exchanges = exchange;
  kit_box_free(box);
  return 1;
}

static bool is_ready(const ls3_exchange_t *exchange) {
  if (!exchange->exchange) return true; /* taking it raises */
  return exchange->answered ? smig_s3_readable(exchange->exchange) : smig_s3_done(exchange->exchange);
}

/* exchange:ready(): whether finish, or of an answered stream read, would not wait */
static int exchange_ready(lua_State *L) {
  lua_pushboolean(L, is_ready(to_exchange(L)));
  return 1;
}

/* exchange:wait(): until it is ready; all others of the client go on meanwhile */
static int exchange_wait(lua_State *L) {
  ls3_exchange_t *exchange = to_exchange(L);
  while (!is_ready(exchange)) smig_s3_drive(exchange->scope->client, TURN_MS);
  return 0;
}

/* exchange:drive(timeout_ms): one turn of its client */
static int exchange_drive(lua_State *L) {
  const ls3_exchange_t *exchange = to_exchange(L);
  if (exchange->scope->client) smig_s3_drive(exchange->scope->client, luaL_checkinteger(L, 2));
  return 0;
}

/* exchange:client(): what tells clients apart */
static int exchange_client(lua_State *L) {
  lua_pushlightuserdata(L, to_exchange(L)->scope->client);
  return 1;
}

static void free_response(void *pointer) {
  smig_s3_response_release(pointer);
  bson_free(pointer);
}

static void push_headers(lua_State *L, const smig_s3_fields_t *headers) {
  lua_createtable(L, 0, (int)headers->count);
  for (size_t i = 0; i < headers->count; i++) {
    lua_pushstring(L, headers->items[i].value ? headers->items[i].value : "");
    lua_setfield(L, -2, headers->items[i].name);
  }
}

/* exchange:finish() -> { status, headers, body, received }; raises the failure */
static int exchange_finish(lua_State *L) {
  ls3_exchange_t *exchange = check_exchange(L);
  luaL_checkstack(L, 8, NULL);
  kit_box_t *box = kit_box_push(L, NULL, free_response);
  smig_s3_response_t *response = box->pointer = bson_malloc0(sizeof *response);
  smig_error_t error = SMIG_ERROR_INIT;
  bool good = smig_s3_finish(exchange->exchange, response, &error);
  exchange->answered = good;
  if (!good || !exchange->stream) unlink_exchange(exchange); /* it is freed */
  if (!good) return kit_raise(L, &error);
  lua_pushnil(L);
  lua_setiuservalue(L, 1, 2); /* lets go of the body */
  lua_createtable(L, 0, 4);
  lua_pushinteger(L, response->status);
  lua_setfield(L, -2, "status");
  lua_pushinteger(L, response->body_received);
  lua_setfield(L, -2, "received");
  push_headers(L, &response->headers);
  lua_setfield(L, -2, "headers");
  lua_pushlstring(L, response->body ? response->body : "", response->body ? response->body_length : 0);
  lua_setfield(L, -2, "body");
  kit_box_free(box);
  return 1;
}

/* exchange:read(most) -> bytes that are there, at most so many; nil at the end */
static int exchange_read(lua_State *L) {
  ls3_exchange_t *exchange = check_exchange(L);
  lua_Integer most = luaL_checkinteger(L, 2);
  size_t size = most < CHUNK ? (size_t)most : CHUNK, got;
  luaL_Buffer buffer;
  char *bytes = luaL_buffinitsize(L, &buffer, size);
  smig_error_t error = SMIG_ERROR_INIT;
  if (!smig_s3_read(exchange->exchange, bytes, size, &got, &error)) {
    ls3_abandon(exchange);
    return kit_raise(L, &error);
  }
  if (got == 0) {
    ls3_abandon(exchange);
    return 0;
  }
  luaL_pushresultsize(&buffer, got);
  return 1;
}

/* exchange:abandon(): also the collector's */
static int exchange_abandon(lua_State *L) {
  ls3_abandon(to_exchange(L));
  return 0;
}

/* exchange:under_way(): whether it, or its stream, has not ended yet */
static int exchange_under_way(lua_State *L) {
  lua_pushboolean(L, to_exchange(L)->exchange != NULL);
  return 1;
}

void ls3_new_exchange_class(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"ready", exchange_ready},     {"wait", exchange_wait},           {"drive", exchange_drive},
      {"client", exchange_client},   {"finish", exchange_finish},       {"read", exchange_read},
      {"abandon", exchange_abandon}, {"under_way", exchange_under_way}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__gc", exchange_abandon}, {NULL, NULL}};
  kit_new_class(L, LS3_EXCHANGE, "request", methods, meta, NULL);
}
