/* The way to the logger, and cutting secrets out of documents. Main thread. */
#include "engine.h"
#include "secrets.h"

#include <stdarg.h>

static void scrub_value(bson_t *to, const bson_iter_t *iter) {
  const char *key = bson_iter_key(iter);
  uint32_t length;
  const uint8_t *bytes;
  bson_t child, scrubbed;
  if (BSON_ITER_HOLDS_UTF8(iter)) {
    const char *text = bson_iter_utf8(iter, &length);
    char *clean = smig_secret_scrub(text, length);
    bson_append_utf8(to, key, -1, clean, -1);
    bson_free(clean);
  } else if (BSON_ITER_HOLDS_DOCUMENT(iter)) {
    bson_iter_document(iter, &length, &bytes);
    bson_append_document_begin(to, key, -1, &scrubbed);
    if (bson_init_static(&child, bytes, length)) smig_engine_scrub(&child, &scrubbed);
    bson_append_document_end(to, &scrubbed);
  } else if (BSON_ITER_HOLDS_ARRAY(iter)) {
    bson_iter_array(iter, &length, &bytes);
    bson_append_array_begin(to, key, -1, &scrubbed);
    if (bson_init_static(&child, bytes, length)) smig_engine_scrub(&child, &scrubbed);
    bson_append_array_end(to, &scrubbed);
  } else {
    bson_append_iter(to, key, -1, iter);
  }
}

void smig_engine_scrub(const bson_t *from, bson_t *to) {
  bson_iter_t iter;
  if (!bson_iter_init(&iter, from)) return;
  while (bson_iter_next(&iter)) scrub_value(to, &iter);
}

void smig_engine_log(const smig_engine_t *engine, smig_log_level_t level, const bson_t *fields, const char *format,
                     ...) {
  if (!engine->settings.log) return;
  va_list args;
  va_start(args, format);
  char *text = bson_strdupv_printf(format, args);
  va_end(args);
  char *clean = smig_secret_scrub(text, strlen(text));
  bson_t all = BSON_INITIALIZER;
  if (*engine->run_id) BSON_APPEND_UTF8(&all, "run_id", engine->run_id);
  if (fields && smig_secret_found((const char *)bson_get_data(fields), fields->len)) {
    smig_engine_scrub(fields, &all);
  } else if (fields) {
    bson_concat(&all, fields);
  }
  engine->settings.log(engine->settings.log_user, level, clean, bson_empty(&all) ? NULL : &all);
  bson_destroy(&all);
  bson_free(clean);
  bson_free(text);
}
