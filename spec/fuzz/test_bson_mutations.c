/*
 * The bounded run: the same 50,000 mutated documents and 10,000 mutated JSON texts every time, held against the oracle; and what
 * only bytes of a server can show.
 */
#include "../c/check.h"
#include "target.h"

enum { DOCUMENTS = 50000, TEXTS = 10000, ROOM = 4096, MAX_SEEDS = 8 };

typedef struct input {
  uint8_t bytes[ROOM];
  size_t size;
} input_t;

static lua_State *L;
static input_t texts[MAX_SEEDS], documents[MAX_SEEDS];
static size_t seeds;

/* ----------------------------------------------------------------- randomness */

static uint64_t state;

static uint64_t next_random(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static size_t below(size_t limit) {
  return (size_t)(next_random() % limit);
}

/* ------------------------------------------------------------------- mutations */

static void flip(input_t *input) {
  input->bytes[below(input->size)] ^= (uint8_t)(1u << below(8));
}

static void replace(input_t *input) {
  static const uint8_t interesting[] = {0,   1,   2,    3,   4,   5,   8,    0x0d, 0x0f, 0x13,
                                        '"', '$', '\\', '{', '}', '[', 0x7f, 0x80, 0xc0, 0xff};
  input->bytes[below(input->size)] = interesting[below(sizeof interesting)];
}

static void cut(input_t *input) {
  size_t at = below(input->size), length = below(input->size - at < 16 ? input->size - at : 16);
  memmove(input->bytes + at, input->bytes + at + length, input->size - at - length);
  input->size -= length;
}

static void repeat(input_t *input) {
  size_t at = below(input->size), length = below(input->size - at < 64 ? input->size - at : 64);
  if (input->size + length > ROOM) return;
  memmove(input->bytes + at + length, input->bytes + at, input->size - at);
  input->size += length;
}

static void cross(input_t *input, const input_t *other) {
  size_t from = below(other->size), length = below(other->size - from < 64 ? other->size - from : 64);
  size_t to = below(input->size);
  if (length > input->size - to) length = input->size - to;
  memcpy(input->bytes + to, other->bytes + from, length);
}

static void mutate(input_t *input, const input_t *pool) {
  for (size_t i = below(3) + 1; i > 0; i--) {
    switch (below(5)) {
    case 0:
      flip(input);
      break;
    case 1:
      replace(input);
      break;
    case 2:
      cut(input);
      break;
    case 3:
      repeat(input);
      break;
    default:
      cross(input, &pool[below(seeds)]);
      break;
    }
  }
}

/* Makes the length fit, so that the mutation is looked at. */
static void mend_length(input_t *input) {
  if (input->size < 5) return;
  uint32_t little = BSON_UINT32_TO_LE((uint32_t)input->size);
  memcpy(input->bytes, &little, sizeof little);
  input->bytes[input->size - 1] = 0;
}

/* -------------------------------------------------------------------------- Lua */

static void set_input(input_t *input, int idx) {
  const char *bytes = lua_tolstring(L, idx, &input->size);
  if (input->size > ROOM) exit(2);
  memcpy(input->bytes, bytes, input->size);
}

static void call_bson(const char *function, int arguments) {
  luaopen_smartmigration_bson(L);
  lua_getfield(L, -1, function);
  lua_replace(L, -2);
  lua_insert(L, -1 - arguments);
  if (lua_pcall(L, arguments, 1, 0) != LUA_OK) {
    fprintf(stderr, "%s: %s\n", function, luaL_tolstring(L, -1, NULL));
    exit(2);
  }
}

static void load_seeds(void) {
  lua_getfield(L, 1, "seeds");
  seeds = lua_rawlen(L, -1);
  if (seeds == 0 || seeds > MAX_SEEDS) exit(2);
  for (size_t i = 0; i < seeds; i++) {
    lua_rawgeti(L, 2, (lua_Integer)i + 1);
    set_input(&texts[i], -1);
    call_bson("from_json", 1);
    call_bson("to_bytes", 1);
    set_input(&documents[i], -1);
    lua_pop(L, 1);
  }
  lua_settop(L, 1);
}

/* ------------------------------------------------------------------------- cases */

/* Runs mutations of the pool; both verdicts must come about, else nothing was shown. */
static void run(const input_t *pool, bool as_documents, int runs, uint64_t first) {
  int accepted = 0, failed = 0;
  state = first;
  for (int i = 0; i < runs && failed < 3; i++) {
    input_t input = pool[below(seeds)];
    mutate(&input, pool);
    if (as_documents && below(8) != 0) mend_length(&input);
    fuzz_verdict_t verdict = fuzz_check(L, input.bytes, input.size);
    if (!verdict.held) failed++;
    if (as_documents ? verdict.is_document : verdict.is_json) accepted++;
  }
  CHECK(failed == 0);
  CHECK(accepted > runs / 100 && accepted < runs, ": %d accepted of %d", accepted, runs);
  printf("# %d of %d mutated %s were accepted\n", accepted, runs, as_documents ? "documents" : "JSON texts");
}

static void seeds_hold(void) {
  for (size_t i = 0; i < seeds; i++) {
    fuzz_verdict_t document = fuzz_check(L, documents[i].bytes, documents[i].size);
    fuzz_verdict_t text = fuzz_check(L, texts[i].bytes, texts[i].size);
    CHECK(document.held && document.is_document && text.held && text.is_json, ": seed %zu", i);
  }
}

static void mutated_documents_hold(void) {
  run(documents, true, DOCUMENTS, UINT64_C(0x9e3779b97f4a7c15));
}

static void mutated_json_holds(void) {
  run(texts, false, TEXTS, UINT64_C(0xbf58476d1ce4e5b9));
}

/* The server may hold text that is no UTF-8: its bytes stay, JSON shows U+FFFD, and bson.from_bytes refuses it. */
static void text_of_a_server_keeps_its_bytes(void) {
  static const uint8_t bytes[] = "\x17\0\0\0\x02s\0\x04\0\0\0a\xff"
                                 "b\0\x10n\0\1\0\0\0";
  static const uint8_t changed[] = "\x17\0\0\0\x02s\0\x04\0\0\0a\xff"
                                   "b\0\x10n\0\2\0\0\0";
  bson_t document;
  CHECK(bson_init_static(&document, bytes, sizeof bytes));
  lbson_push_document(L, &document);
  lua_pushvalue(L, -1);
  call_bson("json", 1);
  CHECK_STR(lua_tostring(L, -1), "{\"s\":\"a\xef\xbf\xbd"
                                 "b\",\"n\":1}");
  lua_pop(L, 1);
  lua_pushinteger(L, 2);
  lua_setfield(L, -2, "n");
  call_bson("to_bytes", 1);
  CHECK(lua_rawlen(L, -1) == sizeof changed && memcmp(lua_tostring(L, -1), changed, sizeof changed) == 0);
  CHECK(!fuzz_check(L, bytes, sizeof bytes).is_document);
}

int main(void) {
  L = fuzz_open();
  load_seeds();
  RUN(seeds_hold);
  RUN(mutated_documents_hold);
  RUN(mutated_json_holds);
  RUN(text_of_a_server_keeps_its_bytes);
  lua_close(L);
  return check_done();
}
