/* What looking around shares, see surroundings.h. */
#include "surroundings.h"

bool smig_glob(const char *pattern, const char *name) {
  const char *star = NULL, *resume = NULL;
  while (*name) {
    if (*pattern == '*') {
      star = ++pattern;
      resume = name;
    } else if (*pattern == *name) {
      pattern++;
      name++;
    } else if (star) {
      pattern = star;
      name = ++resume;
    } else {
      return false;
    }
  }
  while (*pattern == '*') pattern++;
  return !*pattern;
}

void smig_set_elsewhere(const smig_surroundings_t *around, const char *place, const char *version,
                        const char *ledger_id, const char *backend, smig_error_t *error) {
  char *other = backend ? bson_strdup_printf("ledger_backend \"%s\" and ", backend) : bson_strdup("");
  smig_error_set(error, SMIG_LEDGER_ELSEWHERE,
                 "%s holds a ledger at version %s, while %s is empty: give %sledger_id \"%s\" to go on with it", place,
                 version, around->place, other, ledger_id);
  bson_free(other);
  bson_t *details = smig_error_details(error);
  if (!details) return;
  BSON_APPEND_UTF8(details, "place", place);
  BSON_APPEND_UTF8(details, "version", version);
  BSON_APPEND_UTF8(details, "ledger_id", ledger_id);
  if (backend) BSON_APPEND_UTF8(details, "ledger_backend", backend);
}

void smig_add_name(bson_string_t *names, size_t *count, const char *name) {
  enum { NAMED = 5 };
  if (*count <= NAMED) bson_string_append_printf(names, "%s%s", names->len ? ", " : "", *count < NAMED ? name : "...");
  (*count)++;
}
