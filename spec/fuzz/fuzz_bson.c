/*
 * libFuzzer's entry: any input is given to the BSON binding as a document and as Extended JSON (spec/fuzz/run).
 */
#include "target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static lua_State *L;
  if (!L) L = fuzz_open();
  if (!fuzz_check(L, data, size).held) abort();
  return 0;
}
