/*
 * BSON values in Lua (design: bindings, section 2): documents are lazy views that look like tables; scalars without a Lua
 * twin are userdata; plain tables are encoded deterministically. For the other bindings.
 */
#ifndef SMIG_BINDINGS_LBSON_H
#define SMIG_BINDINGS_LBSON_H

#include "kit.h"

/* luaopen of `smartmigration.bson`. */
SMIG_API int luaopen_smartmigration_bson(lua_State *L);

/* Pushes a view of a copy of the document. */
void lbson_push_document(lua_State *L, const bson_t *document);
/* The same, read-only (replies, events). */
void lbson_push_frozen(lua_State *L, const bson_t *document);
/* Pushes the value at the iterator (documents as views of copies). */
void lbson_push_value(lua_State *L, const bson_iter_t *iter);
/* Pushes a plain Lua table made of the document, deep: for engine results. Numbers as Lua's, null as nil, dates ISO strings. */
void lbson_push_table(lua_State *L, const bson_t *document);

/* What a value is for: decides what an empty table means and whether order matters. */
typedef enum lbson_role {
  LBSON_DOCUMENT,             /* filter, update, document to insert, options: an empty table is {} */
  LBSON_ARRAY,                /* an array is expected: an empty table is [] */
  LBSON_PIPELINE_OR_DOCUMENT, /* update: a sequence is a pipeline */
  LBSON_ORDERED               /* sort, hint, index keys, commands: order matters, a plain table with two keys raises */
} lbson_role_t;

/*
 * Encodes the value at idx as a document; the bson_t is owned by a box pushed on the stack (so it survives errors), and stays
 * valid while the box is on the stack. `what` names the argument in errors ("sort", "document"). Raises argument errors with the dotted path.
 * *is_array (may be NULL) says that the value was an array.
 */
bson_t *lbson_check(lua_State *L, int idx, lbson_role_t role, const char *what, bool *is_array);
/*
 * Pushes a buffer, a userdata that lbson_encode writes into: what sends many documents needs no box and no memory for each.
 * lbson_encode is lbson_check into it: *document looks into the buffer until the next call. It says whether the value was an array.
 */
typedef struct lbson_buffer lbson_buffer_t;
lbson_buffer_t *lbson_push_buffer(lua_State *L);
bool lbson_encode(lua_State *L, lbson_buffer_t *buffer, int idx, lbson_role_t role, const char *what, bson_t *document);
/* Appends the value at idx under key; `where` is the path for errors. */
void lbson_append(lua_State *L, int idx, bson_t *to, const char *key, size_t key_length, const char *where);
/* If the value at idx is a bson.objectid, copies it. */
bool lbson_test_oid(lua_State *L, int idx, bson_oid_t *oid);
/* Pushes a bson.date. */
void lbson_push_date(lua_State *L, int64_t ms);
/* "2024-01-31T10:00:00.123Z", the fraction optional, the zone Z or ±hh:mm. The text ends with NUL. */
bool lbson_parse_date(const char *text, int64_t *ms);

#endif
