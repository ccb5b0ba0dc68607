/*
 * What the files of the BSON binding share: elements as they lie in the bytes, the writer, scalars, views, encoding.
 * Users: bson/ alone. Units: offsets and lengths in bytes. Errors: Lua errors (kit_raise_argument).
 */
#ifndef SMIG_BINDINGS_LBSON_INTERNAL_H
#define SMIG_BINDINGS_LBSON_INTERNAL_H

#include "lbson.h"

enum {
  LBSON_MAX_DEPTH = 100,        /* of plain tables: also catches cycles */
  LBSON_MAX_STORED_DEPTH = 200, /* of bytes from elsewhere: the server's own limit */
  LBSON_MAX_SIZE = 16 * 1024 * 1024,
  LBSON_MIN_DOCUMENT = 5, /* length and terminator */
};

/* ----------------------------------------------------------------- elements */

/* One element of a document. `offset` and `end` count from the document's first byte. */
typedef struct lbson_element {
  uint8_t type; /* bson_type_t, or 0xff for minkey */
  const char *key;
  uint32_t key_length;
  const uint8_t *value;
  uint32_t value_length;
  uint32_t offset;
  uint32_t end;
} lbson_element_t;

enum { LBSON_FIRST_OFFSET = 4, LBSON_TYPE_MINKEY = 0xff, LBSON_TYPE_MAXKEY = 0x7f };

typedef enum lbson_found { LBSON_END, LBSON_FOUND, LBSON_CORRUPT } lbson_found_t;

/* Reads the element at `offset`; never looks beyond `length`. */
lbson_found_t lbson_element_at(const uint8_t *bytes, uint32_t length, uint32_t offset, lbson_element_t *element);
/* The same, raising for corrupt bytes; false at the end. */
bool lbson_next(lua_State *L, const uint8_t *bytes, uint32_t length, uint32_t offset, lbson_element_t *element);
/* Finds the first element of that name, raising for corrupt bytes; *passed is how many came before it. */
bool lbson_find(lua_State *L, const uint8_t *bytes, uint32_t length, const char *key, size_t key_length,
                lbson_element_t *element, uint32_t *passed);
/* Checks foreign bytes, down to the last nested document; raises with the path. */
void lbson_check_structure(lua_State *L, const uint8_t *bytes, size_t length);
/*
 * The parts of code with scope, whose inside reading an element does not look at: the length of the code's text (at value + 8),
 * and the scope's document, whose elements are not looked at. False: malformed.
 */
bool lbson_split_code(const lbson_element_t *element, uint32_t *code_length, const uint8_t **scope,
                      uint32_t *scope_length);

uint32_t lbson_read_u32(const uint8_t *p);
int32_t lbson_read_i32(const uint8_t *p);
int64_t lbson_read_i64(const uint8_t *p);
double lbson_read_double(const uint8_t *p);
/* "int32", "document", … */
const char *lbson_type_name(uint8_t type);

/* --------------------------------------------------------------------- UTF-8 */

/* The length of the valid sequence that the text begins with, or 0. `room` is at least 1. */
size_t lbson_utf8_sequence(const char *text, size_t room);
/* How many bytes are valid from the beginning. */
size_t lbson_utf8_prefix(const char *text, size_t length);
bool lbson_is_utf8(const void *text, size_t length);

/* ------------------------------------------------------------------- writer */

/* Grows a byte buffer that a box on the Lua stack owns, so that errors leak nothing. Raises above its limit. */
typedef struct lbson_writer {
  lua_State *L;
  kit_box_t *box;
  uint8_t *data;
  size_t length;
  size_t capacity;
  size_t limit;                  /* LBSON_MAX_SIZE; more for who needs room on the way and checks the end himself */
  const struct lbson_path *path; /* of what is written, for messages; NULL: the whole */
} lbson_writer_t;

/* Pushes the box. The writer lives on the C stack, and as long as the box is on the Lua stack. */
void lbson_writer_init(lua_State *L, lbson_writer_t *writer);
void lbson_write(lbson_writer_t *writer, const void *bytes, size_t length);
void lbson_write_byte(lbson_writer_t *writer, uint8_t byte);
void lbson_write_i32(lbson_writer_t *writer, int32_t value);
void lbson_write_i64(lbson_writer_t *writer, int64_t value);
void lbson_write_double(lbson_writer_t *writer, double value);
/* Type and key of an element; its value comes next. */
void lbson_write_header(lbson_writer_t *writer, uint8_t type, const char *key, size_t key_length);
/* Length with NUL, bytes, NUL. */
void lbson_write_string(lbson_writer_t *writer, const char *text, size_t length);
/* A document is written between begin, which answers where it starts, and end. */
size_t lbson_write_begin(lbson_writer_t *writer);
void lbson_write_end(lbson_writer_t *writer, size_t start);
/* Turns the box into the owner of a bson_t made of the written document. */
bson_t *lbson_writer_finish(lbson_writer_t *writer);

/* ------------------------------------------------------------------ scalars */

/* A value without a Lua twin, as it lies in BSON: immutable, compared by type and bytes. */
typedef struct lbson_scalar {
  uint8_t type;
  uint32_t length;
  uint8_t bytes[];
} lbson_scalar_t;

enum { LBSON_NO_KIND = 0, LBSON_KIND_DOCUMENT = 0x100, LBSON_KIND_ARRAY = 0x101 };

/* What the value at idx is: the type of a scalar, LBSON_KIND_DOCUMENT, LBSON_KIND_ARRAY, or LBSON_NO_KIND if it is not ours. */
int lbson_kind(lua_State *L, int idx);
/* Marks the metatable on top as of that kind, names and locks it, and keeps it for lbson_push_class; it stays on top. */
void lbson_set_class(lua_State *L, int kind, const char *name);
/* Pushes the metatable of a kind; the first value of all opens the module. */
void lbson_push_class(lua_State *L, int kind);

/* Pushes a new scalar whose `length` bytes are to be filled in (from `bytes`, unless NULL). */
lbson_scalar_t *lbson_new_scalar(lua_State *L, uint8_t type, const void *bytes, size_t length);
/* The scalar of that type at arg, or an argument error. */
const lbson_scalar_t *lbson_check_scalar(lua_State *L, int arg, uint8_t type);
/* Registers a scalar class: `index` is its __index, `meta` (may be NULL) more metamethods. */
void lbson_scalar_class(lua_State *L, uint8_t type, lua_CFunction index, const luaL_Reg *meta);
/* __lt and __le over what `compare` says of two scalars of the same type. */
typedef int (*lbson_compare_fn)(const lbson_scalar_t *a, const lbson_scalar_t *b);
void lbson_scalar_order(lua_State *L, uint8_t type, lbson_compare_fn compare);

/* Each registers the classes of its types, and sets its constructors in the module on top of the stack. */
void lbson_open_null(lua_State *L);
void lbson_open_numbers(lua_State *L);
void lbson_open_objectid(lua_State *L);
void lbson_open_date(lua_State *L);
void lbson_open_binary(lua_State *L);
void lbson_open_others(lua_State *L);
void lbson_open_views(lua_State *L);
void lbson_open_operations(lua_State *L);
void lbson_open_json(lua_State *L);

void lbson_push_null(lua_State *L);
bool lbson_is_null(lua_State *L, int idx);
/* The scalar's text: what tostring gives. */
void lbson_push_scalar_text(lua_State *L, const lbson_scalar_t *scalar);

/* Sorts the options of a regular expression alphabetically, unless they are no ASCII. */
void lbson_sort_options(char *options, size_t length);

enum { LBSON_ISO_SIZE = 40 };
/* "2024-01-31T10:00:00.123Z"; years beyond four digits have a sign and at least six. Milliseconds only if asked or not 0. */
void lbson_format_date(int64_t ms, bool always_ms, char out[LBSON_ISO_SIZE]);
/* "00112233-4455-…" of 16 bytes. */
void lbson_format_uuid(const uint8_t *bytes, char out[37]);
/* Hyphens may stand where they belong, or be left out. The text ends with NUL. */
bool lbson_parse_uuid(const char *text, uint8_t bytes[16]);
/* The value of a hexadecimal digit, or -1. */
int lbson_hex_value(char c);
/* The data of a binary's value without lengths: subtype 2 has a second one. */
const uint8_t *lbson_binary_data(const uint8_t *value, uint32_t length, uint8_t *subtype, uint32_t *data_length);

/* Pushes what is no document: a Lua value, or a scalar. */
void lbson_push_plain(lua_State *L, uint8_t type, const uint8_t *value, uint32_t length);

/* -------------------------------------------------------------------- views */

typedef enum lbson_entry_state { LBSON_ORIGINAL, LBSON_CHANGED, LBSON_DELETED } lbson_entry_state_t;

/* A field of a document that was written to. */
typedef struct lbson_entry {
  const char *key; /* in the view's bytes, or a Lua string kept in the overlay's values */
  uint32_t key_length;
  uint32_t offset; /* of the original element; LBSON_NO_OFFSET when the field is new */
  uint32_t length; /* of the original element */
  uint8_t state;
  uint8_t type; /* as it is encoded */
} lbson_entry_t;

#define LBSON_NO_OFFSET UINT32_MAX
#define LBSON_NO_ENTRY UINT32_MAX

/* What assignments made of a view: its fields in order. Lives in a userdata; the values in a table beside it. */
typedef struct lbson_overlay {
  uint32_t count; /* of entries; of an array its length */
  uint32_t capacity;
  uint32_t originals; /* the first entries, sorted by offset */
  lbson_entry_t entries[];
} lbson_overlay_t;

/*
 * A document or an array. A root has its bytes behind this struct; a nested one looks into its parent's.
 * User values: LBSON_UV_CHILDREN a weak table offset -> nested view, LBSON_UV_STATE a table (below), LBSON_UV_PARENT of nested
 * and of assigned views.
 */
typedef struct lbson_view {
  const uint8_t *bytes;
  lbson_overlay_t *overlay; /* NULL: nothing was written */
  uint32_t length;
  uint32_t place;        /* in the parent: offset of the element, of an assigned view number of the entry */
  int32_t count;         /* of an array without overlay, -1 until counted */
  uint32_t cursor_index; /* of an array: where the last read was, so that loops are linear */
  uint32_t cursor_offset;
  uint16_t lookups;
  bool is_array;
  bool is_frozen;
  bool has_parent;
  bool is_assigned;
} lbson_view_t;

enum { LBSON_UV_CHILDREN = 1, LBSON_UV_STATE = 2, LBSON_UV_PARENT = 3 };
/* Slots of the state table: the overlay's userdata, its values (i + 1 -> value, -(i + 1) -> key), the index for reading. */
enum { LBSON_STATE_OVERLAY = 1, LBSON_STATE_VALUES = 2, LBSON_STATE_INDEX = 3 };

/* The view at idx, or NULL. */
lbson_view_t *lbson_test_view(lua_State *L, int idx);
/* Pushes a root view of a copy of the bytes. */
lbson_view_t *lbson_new_view(lua_State *L, bool is_array, const uint8_t *bytes, size_t length);
/* The same, as what is assigned to a field of the view at parent_idx; `place` is to be set. */
lbson_view_t *lbson_new_assigned(lua_State *L, int parent_idx, bool is_array, const uint8_t *bytes, size_t length);
/* The number of the first entry of that name that is not deleted, or LBSON_NO_ENTRY. */
uint32_t lbson_find_entry(const lbson_overlay_t *overlay, const char *key, size_t key_length);
/* Pushes the value of an element of the view at idx: nested documents as views into it, one object while held. */
void lbson_push_element(lua_State *L, int idx, const lbson_view_t *view, const lbson_element_t *element);
/* Pushes the value of an entry of the overlay of the view at idx. */
void lbson_push_entry(lua_State *L, int idx, const lbson_view_t *view, uint32_t number);
/* Pushes the state table of the view at idx, made if it is missing. */
void lbson_push_state(lua_State *L, int idx);
/* The number of an array's elements. */
uint32_t lbson_array_count(lua_State *L, lbson_view_t *view);
/* __newindex of documents and arrays. */
int lbson_document_newindex(lua_State *L);
int lbson_array_newindex(lua_State *L);
/* __pairs of both. */
int lbson_view_pairs(lua_State *L);
/* Writes the view at idx: what was not changed byte for byte. */
void lbson_write_view(lua_State *L, int idx, lbson_writer_t *writer);

/* ----------------------------------------------------------------- encoding */

/* Where in the value the encoder is, for messages. */
typedef struct lbson_path {
  const struct lbson_path *parent;
  const char *key; /* NULL: an index */
  size_t length;
  lua_Integer index;
  int view_idx; /* of the first part: stack index of the view that it is a field of; or 0 */
} lbson_path_t;

/* Raises an argument error: the text, and where. */
int lbson_fail(lua_State *L, const lbson_path_t *path, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Raises unless the key is valid UTF-8 without NUL. */
void lbson_check_key(lua_State *L, const char *key, size_t length, const lbson_path_t *path);
/* Raises unless the text is valid UTF-8 (NUL allowed). */
void lbson_check_text(lua_State *L, const char *text, size_t length, const lbson_path_t *path);
/* Writes the value at idx as an element. */
void lbson_write_value(lbson_writer_t *writer, int idx, const char *key, size_t key_length, const lbson_path_t *path);
/* Roles of our own, beside those of lbson.h: bson.doc (pairs lists; plain tables sorted) and bson.array (elements like any). */
enum { LBSON_BUILT_DOCUMENT = LBSON_ORDERED + 1, LBSON_BUILT_ARRAY };
/* Writes the table or view at idx as a whole document by its role; says whether it was an array. */
bool lbson_write_document(lbson_writer_t *writer, int idx, int role, const char *what);
/*
 * Writes the table or view at idx as the document or array that stands under `key` (NULL: in an array): what an empty table means
 * and whether order matters follow from the key. Says whether it was an array.
 */
bool lbson_write_nested(lbson_writer_t *writer, int idx, const char *key, size_t key_length, const lbson_path_t *path,
                        unsigned depth);
/* Pushes the marks of plain tables: bson.array_mt, and that of documents which would be empty tables. */
void lbson_push_array_mark(lua_State *L);
void lbson_push_document_mark(lua_State *L);

/* --------------------------------------------------------------- conversion */

typedef struct lbson_table_options {
  bool wrap_numbers;
  bool keep_null;
  bool dates_as_text;
} lbson_table_options_t;

/* Pushes a plain table made of the bytes, deep. */
void lbson_push_plain_table(lua_State *L, const uint8_t *bytes, uint32_t length, bool is_array,
                            const lbson_table_options_t *options);
/* Appends Extended JSON v2 of a document's bytes; `limit` 0: whole, else it may stop once that many bytes are written. */
void lbson_json_document(lua_State *L, luaL_Buffer *out, const uint8_t *bytes, uint32_t length, bool is_array,
                         bool canonical, size_t limit);
void lbson_json_element(lua_State *L, luaL_Buffer *out, const lbson_element_t *element, bool canonical);

#endif
