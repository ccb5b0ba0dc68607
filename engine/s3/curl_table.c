/* See curl_table.h. */
#include "curl_table.h"

#include <dlfcn.h>
#include <pthread.h>

static smig_curl_t table;
static char *missing; /* why there is no table; NULL: there is one */
static pthread_once_t opened = PTHREAD_ONCE_INIT;

static void open_library(void) {
  void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    missing = bson_strdup_printf("%s", dlerror());
    return;
  }
#define X(name)                                                                                                        \
  if (!(table.name = (__typeof__(table.name))dlsym(library, "curl_" #name)) && !missing)                               \
    missing = bson_strdup_printf("it has no function curl_%s", #name);
  SMIG_CURL_FUNCTIONS(X)
#undef X
  if (!missing && table.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) missing = bson_strdup("it does not start");
}

const smig_curl_t *smig_curl(smig_error_t *error) {
  pthread_once(&opened, open_library);
  if (!missing) return &table;
  smig_error_set_foreign(error, "libcurlMissing",
                         "S3 needs libcurl (libcurl.so.4), which cannot be used: %s; install Debian's libcurl4",
                         missing);
  return NULL;
}
