/*
 * What the files of the MongoDB binding share: handles, the options every operation takes, and a call, which is one operation
 * on its way to the server.
 * Users: mongo/ alone.
 */
#ifndef SMIG_BINDINGS_MONGO_INTERNAL_H
#define SMIG_BINDINGS_MONGO_INTERNAL_H

#include "lbson.h"
#include "lmongo.h"

#include <stddef.h>

#define LMONGO_CLIENT "smartmigration.client"
#define LMONGO_DATABASE "smartmigration.database"
#define LMONGO_COLLECTION "smartmigration.collection"
#define LMONGO_CURSOR "smartmigration.cursor"
#define LMONGO_SESSION "smartmigration.session"
#define LMONGO_CHANGE_STREAM "smartmigration.change_stream"
#define LMONGO_BULK_WRITER "smartmigration.bulk_writer"
#define LMONGO_GRIDFS "smartmigration.gridfs"
#define LMONGO_UPLOAD "smartmigration.gridfs_upload"
#define LMONGO_DOWNLOAD "smartmigration.gridfs_download"

/* Each makes the metatable of one kind of handle. */
void lmongo_new_scope_class(lua_State *L);
void lmongo_new_database_class(lua_State *L);
void lmongo_new_collection_class(lua_State *L);
void lmongo_new_cursor_class(lua_State *L);
void lmongo_new_session_class(lua_State *L);
void lmongo_new_change_stream_class(lua_State *L);
void lmongo_new_bulk_writer_class(lua_State *L);
void lmongo_new_gridfs_class(lua_State *L);
void lmongo_new_upload_class(lua_State *L);
void lmongo_new_download_class(lua_State *L);
/* Puts the functions of smartmigration_lua.h where other C modules find them. */
void lmongo_offer_raw(lua_State *L);
/* Makes all of them, once a Lua state. */
void lmongo_new_classes(lua_State *L);

/* ------------------------------------------------------------------- scope */

/*
 * A resource of the driver that must be gone before its client is: the beginning of the userdata of sessions, cursors, streams and
 * writers.
 */
typedef struct lmongo_child {
  struct lmongo_child *previous, *next;
  void (*close)(struct lmongo_child *child); /* destroys the resource; unlinks itself; no Lua call inside */
  const mongoc_client_session_t *session;    /* that it runs on; NULL: none */
  bool is_session;
} lmongo_child_t;

void lmongo_link(lmongo_scope_t *scope, lmongo_child_t *child);
void lmongo_unlink(lmongo_scope_t *scope, lmongo_child_t *child);
/* Closes the cursors and streams that run on the session. */
void lmongo_close_cursors_of(lmongo_scope_t *scope, const mongoc_client_session_t *session);

/*
 * Notes that something was given and never reached the server ("the bulk_writer of 'app.users' was not closed: …"); moved. The end of
 * the scope raises it, so that a step that forgets to close does not pass for done.
 */
void lmongo_note_unfinished(lmongo_scope_t *scope, char *what);
/* The scope at idx; the caller knows that it is one. */
lmongo_scope_t *lmongo_to_scope(lua_State *L, int idx);
/* Raises when the scope is over, or its run must end. Every call to a server begins with it. `kind` is the handle's. */
void lmongo_check_scope(lua_State *L, lmongo_scope_t *scope, const char *kind);
/*
 * Makes an error of the driver's or a server's failure, by smig_mongo_error. The phrase begins the message, and its first word
 * is the operation: "insert_one into".
 */
void lmongo_make_error(lmongo_scope_t *scope, smig_error_t *error, const char *phrase, const char *ns,
                       const bson_t *reply, const bson_error_t *cause);

/* The first thing that a validator found wrong ("property 'age': bsonType: …"), to free; NULL: the reply tells nothing. */
char *lmongo_validation_text(const bson_t *reply);

/* ----------------------------------------------------------------- handles */

/* What `with` changes. */
typedef struct lmongo_concerns {
  bson_t *read_concern;  /* {level}, or NULL */
  bson_t *write_concern; /* {w, j, wtimeout}, or NULL */
  mongoc_read_prefs_t *read_preference;
} lmongo_concerns_t;

/* A database or collection handle: user value 1 is the scope, 2 the box of the concerns. It holds nothing to close. */
typedef struct lmongo_target {
  lmongo_scope_t *scope;
  const lmongo_concerns_t *concerns; /* or NULL */
  const char *database;
  const char *collection; /* NULL: a database */
  const char *ns;         /* "app.users", or the database's name */
  char text[];
} lmongo_target_t;

/* The handle at 1; raises when it is another. */
const lmongo_target_t *lmongo_check_db(lua_State *L);
const lmongo_target_t *lmongo_check_collection(lua_State *L);
/* Pushes a handle in the scope at scope_idx, with the concerns of the handle at from_idx (0: none). */
void lmongo_push_target(lua_State *L, int scope_idx, int from_idx, const char *database, const char *collection);
/* with{…}: pushes a handle like the one at 1 with other concerns. */
int lmongo_with(lua_State *L);
/* The scope of a client, database or collection handle, which is not closed; raises. *target is NULL for a client. */
lmongo_scope_t *lmongo_check_handle(lua_State *L, int idx, const lmongo_target_t **target);
/* Pushes a client handle in the scope at idx. */
void lmongo_push_client(lua_State *L, int scope_idx);
/* A name a server can take; an argument error says what is wrong. */
const char *lmongo_check_database_name(lua_State *L, int arg);
const char *lmongo_check_collection_name(lua_State *L, int arg);

/* ----------------------------------------------------------------- options */

/* Options of every operation. The first member of each struct of options. */
typedef struct lmongo_common {
  int session, read_preference, read_concern, write_concern, extra; /* stack indexes, 0: not given */
  int64_t max_time_ms;                                              /* 0: none */
  const char *comment;
} lmongo_common_t;

/* An option of the struct `type`. */
#define LMONGO_OPTION(type, member, kind)                                                                              \
  { #member, kind, offsetof(type, member), 0, 0, 0 }
#define LMONGO_RANGE(type, member, least, most)                                                                        \
  { #member, KIT_INTEGER, offsetof(type, member), least, most, 0 }

#define LMONGO_BASE_OPTIONS                                                                                            \
  LMONGO_OPTION(lmongo_common_t, session, KIT_INDEX), LMONGO_OPTION(lmongo_common_t, comment, KIT_STRING)
#define LMONGO_COMMAND_OPTIONS                                                                                         \
  LMONGO_BASE_OPTIONS, LMONGO_OPTION(lmongo_common_t, extra, KIT_INDEX),                                               \
      LMONGO_RANGE(lmongo_common_t, max_time_ms, 1, INT32_MAX)
#define LMONGO_READ_OPTIONS                                                                                            \
  LMONGO_COMMAND_OPTIONS, LMONGO_OPTION(lmongo_common_t, read_preference, KIT_INDEX),                                  \
      LMONGO_OPTION(lmongo_common_t, read_concern, KIT_INDEX)
#define LMONGO_WRITE_OPTIONS LMONGO_COMMAND_OPTIONS, LMONGO_OPTION(lmongo_common_t, write_concern, KIT_INDEX)
#define LMONGO_END_OPTIONS                                                                                             \
  { NULL, KIT_BOOLEAN, 0, 0, 0, 0 }

/* Appends {level} of "majority" or {level = "majority"}; {w, j, wtimeout} of {w=, j=, wtimeout_ms=}. */
void lmongo_append_read_concern(lua_State *L, int idx, bson_t *to, const char *key);
void lmongo_append_write_concern(lua_State *L, int idx, bson_t *to, const char *key);
/* The driver's form of {w, j, wtimeout}. */
mongoc_write_concern_t *lmongo_new_write_concern(const bson_t *fields);
/* Of "secondary" or {mode=, tags=, max_staleness_seconds=}, into *prefs, which the caller has made owned by then. */
void lmongo_read_preference(lua_State *L, int idx, mongoc_read_prefs_t **prefs);
/* Append the value at idx when it was given (idx is not 0). */
void lmongo_append_document(lua_State *L, int idx, lbson_role_t role, bson_t *to, const char *key, const char *what);
void lmongo_append_hint(lua_State *L, int idx, bson_t *to);
/* Appends the raw fields of `extra`; one that is there already raises. */
void lmongo_append_extra(lua_State *L, int idx, bson_t *to);

/* --------------------------------------------------------------- arguments */

/* bson_destroy, for boxes. */
void lmongo_free_bson(void *document);
/* Frees what the box on top owns, now: the collector does not see the driver's memory. */
void lmongo_pop_box(lua_State *L);
/* mongoc_read_prefs_destroy, likewise. */
void lmongo_free_read_prefs(void *prefs);

/* The filter at arg, an objectid being {_id = it}; nil is {} unless it is required. Pushes a box that owns it. */
const bson_t *lmongo_check_filter(lua_State *L, int arg, bool required);
/* The update at idx: operators or a pipeline. The replacement at idx: no operators. Each pushes a box that owns it. */
const bson_t *lmongo_check_update(lua_State *L, int idx, const char *operation, bool *is_pipeline);
const bson_t *lmongo_check_replacement(lua_State *L, int idx, const char *operation);
/* What they check of a document that is encoded already. */
void lmongo_require_update(lua_State *L, const bson_t *update, bool is_pipeline, const char *operation);
void lmongo_require_replacement(lua_State *L, const bson_t *replacement, bool is_array, const char *operation);
/* The document at idx with an `_id`, made when it has none, first. Pushes a box that owns it. */
bson_t *lmongo_check_insert(lua_State *L, int idx);

/* -------------------------------------------------------------------- call */

typedef enum lmongo_call_kind {
  LMONGO_READ,  /* carries the read concern */
  LMONGO_WRITE, /* carries the write concern */
  LMONGO_BOTH,  /* an aggregation */
  LMONGO_PLAIN  /* neither */
} lmongo_call_kind_t;

/* One operation. It belongs to a box on the stack, so that an error on the way leaks nothing; on the heap, as bson_t is aligned. */
typedef struct lmongo_call {
  const lmongo_target_t *target;
  lmongo_scope_t *scope;
  mongoc_client_t *client;
  const char *phrase;               /* "insert_one into": the beginning of a message; its first word is the operation */
  char *phrase_owned;               /* or NULL */
  mongoc_client_session_t *session; /* or NULL */
  int session_idx;                  /* of its handle, or 0 */
  bson_t command;                   /* what the operation makes of it */
  bson_t opts;                      /* for the driver: session, concerns, comment, and fields of the command */
  bson_t reply;
  mongoc_read_prefs_t *prefs;      /* or NULL: the default */
  mongoc_collection_t *collection; /* see lmongo_call_collection */
  mongoc_database_t *database;
  mongoc_bulk_operation_t *bulk;
  kit_box_t *box;
} lmongo_call_t;

/* Checks the scope and pushes the call's box; its opts hold what the common options say. */
lmongo_call_t *lmongo_call(lua_State *L, const lmongo_target_t *target, const char *phrase, lmongo_call_kind_t kind,
                           const lmongo_common_t *common);
/* Sends the call's command to the database; false when it failed. The reply is set. */
bool lmongo_try(lmongo_call_t *call, lmongo_call_kind_t kind, const char *database, bson_error_t *cause);
/* The same; the reply, which lives as long as the call. Raises when it failed. */
const bson_t *lmongo_run(lua_State *L, lmongo_call_t *call, lmongo_call_kind_t kind, const char *database);
/* The driver's handles of the call's target. */
mongoc_collection_t *lmongo_call_collection(lmongo_call_t *call);
mongoc_database_t *lmongo_call_database(lmongo_call_t *call);
/* Ends the call early, for its memory; else the collector does it. */
void lmongo_call_end(lmongo_call_t *call);
/* Ends the call and raises what failed. */
int lmongo_call_failed(lua_State *L, lmongo_call_t *call, const bson_error_t *cause);
/* The same, of an operation that was done in part: `partial` is destroyed. */
int lmongo_call_failed_partly(lua_State *L, lmongo_call_t *call, const bson_error_t *cause, bson_t *partial);

/* ----------------------------------------------------------------- results */

/* The number at a dotted key of a reply; 0 when there is none. */
int64_t lmongo_reply_number(const bson_t *reply, const char *key);
/*
 * Tells the step's history of a command that was sent, and of the documents that its reply counts: of the driver's writes (both
 * spellings) and of findAndModify. NULL: a command that counts none.
 */
void lmongo_tell(const lmongo_scope_t *scope, const bson_t *reply);
/* Sets a field of the table on top. */
void lmongo_set_integer(lua_State *L, const char *field, int64_t value);
/* Sets a field of the table on top to the reply's value at a key, if there is one. */
void lmongo_set_value(lua_State *L, const char *field, const bson_t *reply, const char *key);
/* Pushes an array of the values of the array at a dotted key of the reply. */
void lmongo_push_values(lua_State *L, const bson_t *reply, const char *key);

/* ------------------------------------------------------------------ cursor */

typedef enum lmongo_cursor_state { LMONGO_CLOSED, LMONGO_OPEN, LMONGO_DONE } lmongo_cursor_state_t;

typedef struct lmongo_cursor {
  lmongo_child_t child;  /* user value 2 keeps the session's handle */
  lmongo_scope_t *scope; /* user value 1 */
  mongoc_cursor_t *cursor;
  lmongo_cursor_state_t state;
  bool as_table; /* user value 3 is bson.to_table */
  const char *phrase;
  char *ns;
  bson_t *explained; /* the command, for explain; user value 4 is then the handle it was sent through; or NULL */
} lmongo_cursor_t;

/* Pushes a closed cursor for the call; `as` is the option of that name, or NULL. */
lmongo_cursor_t *lmongo_push_cursor(lua_State *L, const lmongo_call_t *call, const char *as);
/* Makes it open; an error that the driver has found already raises. */
void lmongo_cursor_open(lua_State *L, lmongo_cursor_t *cursor, mongoc_cursor_t *opened);
/* Pushes the next document of the cursor at idx, or nothing and returns false. `wait` goes on over empty batches. */
bool lmongo_cursor_advance(lua_State *L, int idx, bool wait);
/* The cursor is at idx: pushes what a generic `for` wants, so that it closes the cursor. */
int lmongo_return_cursor(lua_State *L, int idx);
/* Reads the cursor at idx to its end and pushes an array of its documents' `name`. Returns 1. */
int lmongo_collect_names(lua_State *L, int idx);

/* ----------------------------------------------------------------- explain */

/*
 * Makes the cursor on top explainable: keeps a command of the name, for the call's target, with a field (filter or pipeline, as an
 * array) and those of opts that are not of the driver or the call.
 */
void lmongo_keep_explained(lua_State *L, const char *name, const lmongo_call_t *call, const char *field,
                           const bson_t *value, bool is_array);
/* The verbosity at arg; nil: "queryPlanner". */
const char *lmongo_check_verbosity(lua_State *L, int arg);
/* Sends the command to be explained; pushes the reply. Returns 1. */
int lmongo_push_explanation(lua_State *L, const lmongo_target_t *target, const lmongo_common_t *common,
                            const char *verbosity, const bson_t *command);

/* ------------------------------------------------------------------- bulks */

typedef enum lmongo_model_kind {
  LMONGO_INSERT_ONE,
  LMONGO_UPDATE_ONE,
  LMONGO_UPDATE_MANY,
  LMONGO_REPLACE_ONE,
  LMONGO_DELETE_ONE,
  LMONGO_DELETE_MANY,
  LMONGO_MODELS
} lmongo_model_kind_t;

/* One statement of a bulk. The integers are stack indexes, 0: not given. `change` is the document, update or replacement. */
typedef struct lmongo_model {
  int filter, change, array_filters, hint, collation;
  bool upsert;
} lmongo_model_t;

/* What statements are encoded into and added to. */
typedef struct lmongo_bulk {
  mongoc_bulk_operation_t *operation;
  lbson_buffer_t *filter, *change; /* kept on the stack, or by a handle */
  const char *name;                /* of the operation, for messages */
  lua_Integer place;               /* of the statement, for messages; 0: none */
} lmongo_bulk_t;

/* "insert_one", … */
const char *lmongo_model_name(lmongo_model_kind_t kind);
/* Reads the fields of a model (`whole`), or the options beside filter and change, at idx; their values stay on the stack. */
void lmongo_read_model(lua_State *L, int idx, lmongo_model_kind_t kind, bool whole, lmongo_model_t *model);
/* Adds the statement; returns its size in bytes. */
size_t lmongo_bulk_add(lua_State *L, const lmongo_bulk_t *bulk, lmongo_model_kind_t kind, const lmongo_model_t *model);

enum { LMONGO_COUNTS = 5 };
/* The counts of a bulk: their names, and those of the driver's reply. */
extern const struct lmongo_count { const char *field, *reply; } lmongo_counts[LMONGO_COUNTS];

/* ----------------------------------------------------------------- indexes */

/*
 * Ends the call of createIndexes and raises what failed; where an index stands in the way of one of those wanted, the message shows
 * both definitions.
 */
int lmongo_indexes_failed(lua_State *L, lmongo_call_t *call, const bson_t *wanted, const bson_error_t *cause);

/* ----------------------------------------------------------------- session */

typedef struct lmongo_session {
  lmongo_child_t child;
  lmongo_scope_t *scope;            /* user value 1 */
  mongoc_client_session_t *session; /* NULL: closed */
  bool warned;                      /* of a command outside of this transaction */
} lmongo_session_t;

lmongo_session_t *lmongo_check_session(lua_State *L, int idx, const lmongo_scope_t *scope);
/* Options of transactions, for sessions.c and transaction.c. */
typedef struct lmongo_transaction_options {
  int read_concern, write_concern, read_preference;
  int64_t max_commit_time_ms; /* 0: none */
  int64_t max_time_ms;        /* of the loop */
} lmongo_transaction_options_t;
#define LMONGO_TRANSACTION_OPTIONS                                                                                     \
  LMONGO_OPTION(lmongo_transaction_options_t, read_concern, KIT_INDEX),                                                \
      LMONGO_OPTION(lmongo_transaction_options_t, write_concern, KIT_INDEX),                                           \
      LMONGO_OPTION(lmongo_transaction_options_t, read_preference, KIT_INDEX),                                         \
      LMONGO_RANGE(lmongo_transaction_options_t, max_commit_time_ms, 1, INT32_MAX)
/* Pushes a box that owns the driver's form of them. */
mongoc_transaction_opt_t *lmongo_push_transaction_opts(lua_State *L, const lmongo_transaction_options_t *options);
lmongo_session_t *lmongo_push_session(lua_State *L, int scope_idx, int options_idx);
void lmongo_session_close(lmongo_session_t *session);
/* Begins a transaction; raises. `opts` may be NULL. */
void lmongo_session_begin(lua_State *L, lmongo_session_t *session, const mongoc_transaction_opt_t *opts);
/* Commits; false with *error set. */
bool lmongo_session_commit(lmongo_session_t *session, smig_error_t *error);
/* Aborts the transaction; false with *error set, which may be NULL. */
bool lmongo_session_abort(lmongo_session_t *session, smig_error_t *error);

/* --------------------------------------- methods of database and collection */

int lmongo_create_collection(lua_State *L);

int lmongo_find(lua_State *L);
int lmongo_find_one(lua_State *L);
int lmongo_count(lua_State *L);
int lmongo_estimated_count(lua_State *L);
int lmongo_distinct(lua_State *L);
int lmongo_aggregate(lua_State *L); /* of database, too */
int lmongo_insert_one(lua_State *L);
int lmongo_insert_many(lua_State *L);
int lmongo_update_one(lua_State *L);
int lmongo_update_many(lua_State *L);
int lmongo_replace_one(lua_State *L);
int lmongo_delete_one(lua_State *L);
int lmongo_delete_many(lua_State *L);
int lmongo_find_one_and_update(lua_State *L);
int lmongo_find_one_and_replace(lua_State *L);
int lmongo_find_one_and_delete(lua_State *L);
int lmongo_bulk_write(lua_State *L);
int lmongo_bulk_writer(lua_State *L);
int lmongo_explain(lua_State *L);
int lmongo_watch(lua_State *L);  /* of collection, database and client */
int lmongo_gridfs(lua_State *L); /* of database */
int lmongo_create_index(lua_State *L);
int lmongo_create_indexes(lua_State *L);
int lmongo_list_indexes(lua_State *L);
int lmongo_index_names(lua_State *L);
int lmongo_drop_index(lua_State *L);
int lmongo_drop_indexes(lua_State *L);

#endif
