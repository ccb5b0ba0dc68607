/*
 * GridFS: what its files share. A bucket is two collections, `<name>.files` and `<name>.chunks`; streams write and read one file.
 * Users: gridfs.c, gridfs_upload.c, gridfs_download.c. Rule: the GridFS layout that all drivers share, and bindings design, section 3.
 */
#ifndef SMIG_BINDINGS_MONGO_GRIDFS_H
#define SMIG_BINDINGS_MONGO_GRIDFS_H

#include "internal.h"

enum {
  GRIDFS_CHUNK_BYTES = 255 * 1024,                /* unless told */
  GRIDFS_LARGEST_CHUNK = 16 * 1024 * 1024 - 1024, /* with its other fields, a document's limit */
};

/* User value 1 is the scope, 2 and 3 the handles of the collections. */
typedef struct gridfs {
  lmongo_scope_t *scope;
  const lmongo_target_t *files, *chunks;
  int64_t chunk_bytes;
  bool indexed; /* the indexes are there: made once */
} gridfs_t;

/* The bucket at idx; raises when it is another. */
gridfs_t *gridfs_check(lua_State *L, int idx);
/* Options of every operation. Raises for a session in a transaction: GridFS takes several steps, and the server's limits are smaller. */
#define GRIDFS_OPTIONS LMONGO_BASE_OPTIONS
lmongo_call_t *gridfs_call(lua_State *L, const lmongo_target_t *target, const char *phrase, lmongo_call_kind_t kind,
                           const lmongo_common_t *common);
/* Pushes a box that owns {_id: the value at idx}; the key may be another. */
bson_t *gridfs_push_id(lua_State *L, int idx, const char *key);
/* Raises what is wrong with a file: code "FileNotFound", "ChunkIsMissing", "ChunkIsWrongSize", "FileTooLarge". */
int gridfs_raise(lua_State *L, const char *code, const char *operation, const char *ns, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

int gridfs_open_upload(lua_State *L);
int gridfs_upload(lua_State *L);
int gridfs_open_download(lua_State *L);
int gridfs_download(lua_State *L);

#endif
