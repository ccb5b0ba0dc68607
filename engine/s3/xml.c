/*
 * A document as a tree, on expat. See s3.h for the bounds. Users: s3/failure.c, whoever reads an answer of the service.
 * One arena owns the nodes, names and texts; what an element gathers while it is open lies in a buffer of its level, which its
 * siblings use again. Errors: "InvalidResponse" with the line. Any thread.
 */
#include "s3.h"

#include <expat.h>
#include <string.h>

enum { LEVELS = 64, CHUNK = 64 << 10 };
static const size_t LENGTH_MAX = 64 << 20;
static const size_t TREE_MAX = 256 << 20; /* "<a/>" is 4 bytes of a document and far more of a tree */

typedef struct chunk {
  struct chunk *next;
  size_t used, size;
  _Alignas(max_align_t) char bytes[];
} chunk_t;

typedef struct level {
  smig_xml_node_t *node, *last; /* the last child */
  char *text;
  size_t length, capacity;
} level_t;

struct smig_xml {
  chunk_t *chunks;
  size_t size;
  smig_xml_node_t *root;
};

typedef struct reading {
  XML_Parser parser;
  smig_xml_t *xml;
  level_t levels[LEVELS];
  int depth;       /* of open elements */
  const char *why; /* NULL: no bound was broken */
} reading_t;

static void stop(reading_t *reading, const char *why) {
  if (!reading->why) reading->why = why;
  XML_StopParser(reading->parser, XML_FALSE);
}

/* NULL when the tree has become too large. */
static void *take(reading_t *reading, size_t size) {
  smig_xml_t *xml = reading->xml;
  size = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
  chunk_t *chunk = xml->chunks;
  if (!chunk || chunk->size - chunk->used < size) {
    size_t room = size > CHUNK ? size : CHUNK;
    if (xml->size + room > TREE_MAX) {
      stop(reading, "it has too many elements");
      return NULL;
    }
    chunk = bson_malloc(sizeof *chunk + room);
    *chunk = (chunk_t){.next = xml->chunks, .size = room};
    xml->chunks = chunk;
    xml->size += room;
  }
  chunk->used += size;
  return chunk->bytes + chunk->used - size;
}

static const char *take_text(reading_t *reading, const char *text, size_t length) {
  char *copy = take(reading, length + 1);
  if (!copy) return NULL;
  memcpy(copy, text, length);
  copy[length] = '\0';
  return copy;
}

static void on_start(void *user, const char *name, const char **attributes) {
  (void)attributes;
  reading_t *reading = user;
  if (reading->why) return;
  if (reading->depth == LEVELS) {
    stop(reading, "it is nested too deeply");
    return;
  }
  const char *colon = strrchr(name, ':');
  if (colon) name = colon + 1;
  smig_xml_node_t *node = take(reading, sizeof *node);
  const char *copy = node ? take_text(reading, name, strlen(name)) : NULL;
  if (!copy) return;
  *node = (smig_xml_node_t){.name = copy, .text = ""};
  if (reading->depth) {
    level_t *parent = &reading->levels[reading->depth - 1];
    if (parent->last)
      parent->last->next = node;
    else
      parent->node->first = node;
    parent->last = node;
  } else {
    reading->xml->root = node;
  }
  level_t *level = &reading->levels[reading->depth++];
  level->node = node;
  level->last = NULL;
  level->length = 0;
}

static void on_text(void *user, const char *text, int count) {
  reading_t *reading = user;
  if (reading->why || !reading->depth) return;
  level_t *level = &reading->levels[reading->depth - 1];
  size_t length = level->length + (size_t)count;
  if (length > level->capacity) {
    level->capacity = length * 2 > 256 ? length * 2 : 256;
    level->text = bson_realloc(level->text, level->capacity);
  }
  memcpy(level->text + level->length, text, (size_t)count);
  level->length = length;
}

/* Indentation between children is no text. */
static bool is_indentation(const level_t *level) {
  if (!level->last) return false;
  for (size_t i = 0; i < level->length; i++)
    if (!strchr(" \t\r\n", level->text[i])) return false;
  return true;
}

static void on_end(void *user, const char *name) {
  (void)name;
  reading_t *reading = user;
  if (reading->why) return;
  level_t *level = &reading->levels[--reading->depth];
  if (!level->length || is_indentation(level)) return;
  const char *text = take_text(reading, level->text, level->length);
  if (!text) return;
  level->node->text = text;
  level->node->text_length = level->length;
}

static void on_doctype(void *user, const char *name, const char *system, const char *public, int internal) {
  (void)name, (void)system, (void)public, (void)internal;
  stop(user, "it has a document type");
}

static bool parse(reading_t *reading, const char *bytes, size_t length, smig_error_t *error) {
  XML_SetUserData(reading->parser, reading);
  XML_SetElementHandler(reading->parser, on_start, on_end);
  XML_SetCharacterDataHandler(reading->parser, on_text);
  XML_SetStartDoctypeDeclHandler(reading->parser, on_doctype);
  bool good = XML_Parse(reading->parser, bytes, (int)length, XML_TRUE) == XML_STATUS_OK && !reading->why;
  if (!good)
    smig_error_set_foreign(error, "InvalidResponse", "the XML of the answer cannot be used: %s, in line %lu",
                           reading->why ? reading->why : XML_ErrorString(XML_GetErrorCode(reading->parser)),
                           (unsigned long)XML_GetCurrentLineNumber(reading->parser));
  return good;
}

smig_xml_t *smig_xml_parse(const char *bytes, size_t length, smig_error_t *error) {
  if (length > LENGTH_MAX) {
    smig_error_set_foreign(error, "InvalidResponse", "the XML of the answer cannot be used: it has more than 64 MiB");
    return NULL;
  }
  while (length && strchr(" \t\r\n", *bytes) && *bytes) bytes++, length--;
  reading_t reading = {.parser = XML_ParserCreate(NULL), .xml = bson_malloc0(sizeof *reading.xml)};
  bool good = parse(&reading, bytes, length, error);
  for (int i = 0; i < LEVELS; i++) bson_free(reading.levels[i].text);
  XML_ParserFree(reading.parser);
  if (good) return reading.xml;
  smig_xml_free(reading.xml);
  return NULL;
}

void smig_xml_free(smig_xml_t *xml) {
  if (!xml) return;
  for (chunk_t *chunk = xml->chunks, *next; chunk; chunk = next) {
    next = chunk->next;
    bson_free(chunk);
  }
  bson_free(xml);
}

const smig_xml_node_t *smig_xml_root(const smig_xml_t *xml) {
  return xml->root;
}

const smig_xml_node_t *smig_xml_child(const smig_xml_node_t *node, const char *name) {
  for (const smig_xml_node_t *child = node ? node->first : NULL; child; child = child->next)
    if (strcmp(child->name, name) == 0) return child;
  return NULL;
}

const char *smig_xml_text(const smig_xml_node_t *node, const char *child) {
  const smig_xml_node_t *found = smig_xml_child(node, child);
  return found ? found->text : NULL;
}
