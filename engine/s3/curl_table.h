/*
 * libcurl, opened at the first use: linking it would cost every start 6 to 9 ms and 4 MB, and most runs send nothing to S3. Everything
 * of the room calls it through this table. Users: s3/ alone. Any thread.
 * Errors: "libcurlMissing", naming the package.
 */
#ifndef SMIG_S3_CURL_TABLE_H
#define SMIG_S3_CURL_TABLE_H

#include "smartmigration.h"

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt

typedef struct smig_curl {
#define SMIG_CURL_FUNCTIONS(X)                                                                                         \
  X(global_init)                                                                                                       \
  X(easy_init)                                                                                                         \
  X(easy_setopt)                                                                                                       \
  X(easy_getinfo)                                                                                                      \
  X(easy_perform)                                                                                                      \
  X(easy_pause)                                                                                                        \
  X(easy_reset)                                                                                                        \
  X(easy_cleanup)                                                                                                      \
  X(easy_strerror)                                                                                                     \
  X(multi_init)                                                                                                        \
  X(multi_setopt)                                                                                                      \
  X(multi_add_handle)                                                                                                  \
  X(multi_remove_handle)                                                                                               \
  X(multi_perform)                                                                                                     \
  X(multi_poll)                                                                                                        \
  X(multi_wakeup)                                                                                                      \
  X(multi_info_read)                                                                                                   \
  X(multi_cleanup)                                                                                                     \
  X(slist_append)                                                                                                      \
  X(slist_free_all)                                                                                                    \
  X(getdate)                                                                                                           \
  X(version)
#define X(name) __typeof__(curl_##name) *name;
  SMIG_CURL_FUNCTIONS(X)
#undef X
} smig_curl_t;

/* The table, opened by the first call; NULL with *error. It stays for the life of the process. */
const smig_curl_t *smig_curl(smig_error_t *error);

#endif
