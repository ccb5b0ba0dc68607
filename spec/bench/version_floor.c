/*
 * The floor of `version`: a program that links what smartmigration-lua links, and says one line. A use of each library, which is
 * never reached, keeps the linker from leaving it out.
 */
#include <expat.h>
#include <lauxlib.h>
#include <mongoc/mongoc.h>
#include <openssl/crypto.h>
#include <stdio.h>

int main(int argc, char **argv) {
  (void)argv;
  if (argc > 1) {
    printf("%s %s %s %s %p\n", XML_ExpatVersion(), mongoc_get_version(), bson_get_version(), OpenSSL_version(0),
           (void *)luaL_newstate());
  }
  puts("floor 0");
  return 0;
}
