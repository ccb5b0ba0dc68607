/*
 * Answers of the service as Lua values: listings, other XML, dates of HTTP. Listings are read here because a thousand keys a page
 * are what a migration spends its time on.
 * Users: lua/smartmigration/s3. Errors: "InvalidResponse". Threads: the thread of the Lua state.
 */
#include "internal.h"
#include "lbson.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void free_xml(void *xml) {
  smig_xml_free(xml);
}

/* Pushes the box that owns the tree; its root. */
static const smig_xml_node_t *parse(lua_State *L, kit_box_t **box) {
  size_t length;
  const char *body = luaL_checklstring(L, 1, &length);
  *box = kit_box_push(L, NULL, free_xml);
  smig_error_t error = SMIG_ERROR_INIT;
  (*box)->pointer = smig_xml_parse(body, length, &error);
  if (!(*box)->pointer) kit_raise(L, &error);
  return smig_xml_root((*box)->pointer);
}

/* ----------------------------------------------------------------- listings */

typedef enum column_kind { TEXT, KEY, INTEGER, DATE, ETAG, BOOLEAN } column_kind_t;

static const struct {
  const char *element, *field;
  column_kind_t kind;
} columns[] = {{"Key", "key", KEY},
               {"LastModified", "last_modified", DATE},
               {"ETag", "etag", ETAG},
               {"Size", "size", INTEGER},
               {"StorageClass", "storage_class", TEXT},
               {"VersionId", "version_id", TEXT},
               {"IsLatest", "is_latest", BOOLEAN},
               {"UploadId", "upload_id", TEXT},
               {"Initiated", "initiated", DATE},
               {"Prefix", "prefix", KEY}};

enum { COLUMNS = sizeof columns / sizeof *columns };

static void push_key(lua_State *L, const smig_xml_node_t *node, bool encoded) {
  if (!encoded) {
    lua_pushlstring(L, node->text, node->text_length);
    return;
  }
  luaL_Buffer buffer;
  char *bytes = luaL_buffinitsize(L, &buffer, node->text_length + 1);
  memcpy(bytes, node->text, node->text_length + 1);
  luaL_pushresultsize(&buffer, smig_s3_decode(bytes, node->text_length, true));
}

static void push_etag(lua_State *L, const char *text, size_t length) {
  bool quoted = length >= 2 && text[0] == '"' && text[length - 1] == '"';
  lua_pushlstring(L, text + quoted, length - 2 * (size_t)quoted);
}

static void push_iso_date(lua_State *L, const char *text) {
  int64_t ms;
  if (lbson_parse_date(text, &ms))
    lbson_push_date(L, ms);
  else
    lua_pushstring(L, text);
}

static void push_column(lua_State *L, column_kind_t kind, const smig_xml_node_t *node, bool encoded) {
  switch (kind) {
  case KEY:
    push_key(L, node, encoded);
    break;
  case INTEGER:
    lua_pushinteger(L, strtoll(node->text, NULL, 10));
    break;
  case DATE:
    push_iso_date(L, node->text);
    break;
  case ETAG:
    push_etag(L, node->text, node->text_length);
    break;
  case BOOLEAN:
    lua_pushboolean(L, strcmp(node->text, "true") == 0);
    break;
  case TEXT:
    lua_pushlstring(L, node->text, node->text_length);
    break;
  }
}

static void push_row(lua_State *L, const smig_xml_node_t *row, bool encoded) {
  lua_createtable(L, 0, 5);
  for (const smig_xml_node_t *node = row->first; node; node = node->next) {
    for (int i = 0; i < COLUMNS; i++) {
      if (strcmp(columns[i].element, node->name) != 0) continue;
      push_column(L, columns[i].kind, node, encoded);
      lua_setfield(L, -2, columns[i].field);
      break;
    }
  }
}

/* Sets a field of the table on top to the text of the root's child; an empty one counts as none. */
static void set_marker(lua_State *L, const smig_xml_node_t *root, const char *element, const char *field,
                       bool encoded) {
  const smig_xml_node_t *node = smig_xml_child(root, element);
  if (!node || node->text_length == 0) return;
  push_key(L, node, encoded);
  lua_setfield(L, -2, field);
}

/*
 * core.listing(body) -> { rows, prefixes, truncated, token, key_marker, version_id_marker, upload_id_marker }: of objects, versions
 * (delete_marker = true in rows that are one) or uploads.
 */
int ls3_listing(lua_State *L) {
  kit_box_t *box;
  luaL_checkstack(L, 12, NULL);
  const smig_xml_node_t *root = parse(L, &box);
  const char *encoding = smig_xml_text(root, "EncodingType"), *truncated = smig_xml_text(root, "IsTruncated");
  bool encoded = encoding && strcmp(encoding, "url") == 0;
  lua_createtable(L, 0, 4);
  int page = lua_gettop(L);
  lua_createtable(L, 1000, 0);
  lua_newtable(L);
  int rows = page + 1, prefixes = page + 2;
  lua_Integer row_count = 0, prefix_count = 0;
  for (const smig_xml_node_t *node = root->first; node; node = node->next) {
    bool is_marker = strcmp(node->name, "DeleteMarker") == 0;
    if (strcmp(node->name, "CommonPrefixes") == 0) {
      const smig_xml_node_t *prefix = smig_xml_child(node, "Prefix");
      if (!prefix) continue;
      push_key(L, prefix, encoded);
      lua_rawseti(L, prefixes, ++prefix_count);
    } else if (is_marker || strcmp(node->name, "Contents") == 0 || strcmp(node->name, "Version") == 0 ||
               strcmp(node->name, "Upload") == 0) {
      push_row(L, node, encoded);
      if (is_marker) {
        lua_pushboolean(L, true);
        lua_setfield(L, -2, "delete_marker");
      }
      lua_rawseti(L, rows, ++row_count);
    }
  }
  lua_setfield(L, page, "prefixes");
  lua_setfield(L, page, "rows");
  lua_pushboolean(L, truncated && strcmp(truncated, "true") == 0);
  lua_setfield(L, page, "truncated");
  set_marker(L, root, "NextContinuationToken", "token", false);
  set_marker(L, root, "NextKeyMarker", "key_marker", encoded);
  set_marker(L, root, "NextVersionIdMarker", "version_id_marker", false);
  set_marker(L, root, "NextUploadIdMarker", "upload_id_marker", false);
  lua_pushstring(L, root->name);
  lua_setfield(L, page, "name");
  kit_box_free(box);
  return 1;
}

/* ---------------------------------------------------------------- other XML */

/* An element: its text when it has no children; else { name = child, …, [1…] = { name, child } }, the first of each name. */
static void push_element(lua_State *L, const smig_xml_node_t *node) {
  luaL_checkstack(L, 8, NULL);
  if (!node->first) {
    lua_pushlstring(L, node->text, node->text_length);
    return;
  }
  lua_newtable(L);
  lua_Integer count = 0;
  for (const smig_xml_node_t *child = node->first; child; child = child->next) {
    lua_createtable(L, 0, 2);
    lua_pushstring(L, child->name);
    lua_setfield(L, -2, "name");
    push_element(L, child); /* at most 64 deep */
    if (lua_getfield(L, -3, child->name) == LUA_TNIL) {
      lua_pushvalue(L, -2);
      lua_setfield(L, -5, child->name);
    }
    lua_pop(L, 1);
    lua_setfield(L, -2, "value");
    lua_rawseti(L, -2, ++count);
  }
}

/* core.xml(body) -> name of the root, its value */
int ls3_xml(lua_State *L) {
  kit_box_t *box;
  luaL_checkstack(L, 8, NULL);
  const smig_xml_node_t *root = parse(L, &box);
  lua_pushstring(L, root->name);
  push_element(L, root);
  kit_box_free(box);
  return 2;
}

/* -------------------------------------------------------------------- dates */

/* core.http_date("Wed, 21 Oct 2015 07:28:00 GMT") -> bson.date; core.http_date("2015-10-21T07:28:00Z") likewise; else the text */
int ls3_http_date(lua_State *L) {
  static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  const char *text = luaL_checkstring(L, 1), *comma = strchr(text, ',');
  char name[4] = "", iso[64];
  int day, year, hour, minute, second;
  if (comma && sscanf(comma + 1, " %2d %3s %4d %2d:%2d:%2d", &day, name, &year, &hour, &minute, &second) == 6) {
    const char *month = strstr(months, name);
    if (month && strlen(name) == 3 && (month - months) % 3 == 0 && day > 0 && year > 0 && hour >= 0 && minute >= 0 &&
        second >= 0) {
      snprintf(iso, sizeof iso, "%04d-%02d-%02dT%02d:%02d:%02dZ", year % 10000, (int)(month - months) / 3 + 1,
               day % 100, hour % 100, minute % 100, second % 100);
      text = iso;
    }
  }
  push_iso_date(L, text);
  return 1;
}
