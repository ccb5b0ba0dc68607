/*
 * The BSON binding under arbitrary bytes: one Lua state with the oracle of oracle.lua.
 * Users: the libFuzzer target and the bounded run. Threads: one.
 */
#ifndef SMIG_SPEC_FUZZ_TARGET_H
#define SMIG_SPEC_FUZZ_TARGET_H

#include "lbson.h"

/* A Lua state with the oracle's table at index 1; ends the program when that fails. */
lua_State *fuzz_open(void);

typedef struct fuzz_verdict {
  bool held;        /* else the reason is printed */
  bool is_document; /* accepted by bson.from_bytes */
  bool is_json;     /* accepted by bson.from_json */
} fuzz_verdict_t;

fuzz_verdict_t fuzz_check(lua_State *L, const uint8_t *data, size_t size);

#endif
