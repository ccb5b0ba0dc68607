/*
 * What a collection's validator found wrong, out of the server's errInfo. Users: scope.c, for messages. Pure.
 * A property's name, the operator and the server's reason are told; its value (consideredValue) never is.
 */
#include "internal.h"

#include <string.h>

/* Enters the first element of the array or document at the dotted path below `from`. */
static bool first_of(const bson_iter_t *from, const char *path, bson_iter_t *found) {
  bson_iter_t start = *from, array;
  return bson_iter_find_descendant(&start, path, &array) && bson_iter_recurse(&array, found) && bson_iter_next(found);
}

static const char *text_of(const bson_iter_t *document, const char *key) {
  bson_iter_t field;
  if (!bson_iter_recurse(document, &field) || !bson_iter_find(&field, key) || !BSON_ITER_HOLDS_UTF8(&field))
    return NULL;
  return bson_iter_utf8(&field, NULL);
}

char *lmongo_validation_text(const bson_t *reply) {
  bson_iter_t iter, write_error, rule, inner, property, detail, missing;
  if (!reply || !bson_iter_init(&iter, reply) || !first_of(&iter, "writeErrors", &write_error)) return NULL;
  if (!bson_iter_recurse(&write_error, &inner) || !first_of(&inner, "errInfo.details.schemaRulesNotSatisfied", &rule) ||
      !bson_iter_recurse(&rule, &inner))
    return NULL;
  bson_iter_t fields = inner;
  if (first_of(&fields, "missingProperties", &missing) && BSON_ITER_HOLDS_UTF8(&missing)) {
    return bson_strdup_printf("property '%s' is missing", bson_iter_utf8(&missing, NULL));
  }
  fields = inner;
  if (!first_of(&fields, "propertiesNotSatisfied", &property)) return NULL;
  const char *name = text_of(&property, "propertyName");
  if (!name || !bson_iter_recurse(&property, &inner) || !first_of(&inner, "details", &detail)) return NULL;
  const char *operator_name = text_of(&detail, "operatorName"), *reason = text_of(&detail, "reason");
  return bson_strdup_printf("property '%s': %s%s%s", name, operator_name ? operator_name : "",
                            operator_name && reason ? ": " : "", reason ? reason : "");
}
