/*
 * Semantic versions against what npm's semver 7.8.6 says (spec/data/semver.tsv), and the error's form.
 * `test_semver FILE` reads another table of the same form.
 */
#include "check.h"
#include "semver.h"

static const char *table;

static int hex(char c) {
  return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* Undoes the table's \xNN in place; returns the length. */
static size_t unescape(char *text) {
  size_t length = 0;
  for (const char *at = text; *at;) {
    if (*at == '\\') {
      text[length++] = (char)(hex(at[2]) << 4 | hex(at[3]));
      at += 4;
    } else {
      text[length++] = *at++;
    }
  }
  text[length] = '\0';
  return length;
}

static void check_parse(const char *shown, const char *text, size_t length, const char *expected) {
  char *normalized = NULL;
  smig_error_t error = SMIG_ERROR_INIT;
  bool valid = smig_semver_parse(text, length, "table", &normalized, &error);
  CHECK(valid == smig_semver_valid(text, length), ": %s", shown);
  if (strcmp(expected, "!") == 0) {
    CHECK(!valid && !normalized, ": %s is taken for %s", shown, normalized);
    CHECK(error.code == SMIG_INVALID_VERSION);
  } else {
    CHECK(valid, ": %s is refused: %s", shown, error.message);
    CHECK(normalized && strcmp(normalized, expected) == 0, ": %s is %s, not %s", shown, normalized, expected);
  }
  bson_free(normalized);
  smig_error_release(&error);
}

static void npm_table(void) {
  static char line[1 << 16];
  size_t parsed = 0, compared = 0;
  FILE *file = fopen(table, "r");
  CHECK(file, ": %s cannot be opened", table);
  while (file && fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = '\0';
    if (*line == '#') continue;
    char *left = strchr(line, '\t');
    char *right = left ? strchr(left + 1, '\t') : NULL;
    char *last = right ? strchr(right + 1, '\t') : NULL;
    if (!right) {
      CHECK(false, ": the table's line is broken: %s", line);
      break;
    }
    *left++ = *right++ = '\0';
    if (last) *last++ = '\0';
    char *shown = bson_strdup(left);
    size_t length = unescape(left);
    if (strcmp(line, "parse") == 0) {
      check_parse(shown, left, length, right);
      parsed++;
    } else {
      unescape(right);
      int order = smig_semver_compare(left, right), back = smig_semver_compare(right, left);
      CHECK((order > 0) - (order < 0) == atoi(last), ": %s and %s", shown, right);
      CHECK((back > 0) - (back < 0) == -atoi(last), ": %s and %s the other way", shown, right);
      compared++;
    }
    bson_free(shown);
  }
  if (file) fclose(file);
  CHECK(parsed > 200 && compared > 200, ": only %zu and %zu lines", parsed, compared);
}

static const char *detail(const smig_error_t *error, const char *key) {
  bson_iter_t iter;
  if (!bson_iter_init_find(&iter, error->details, key) || !BSON_ITER_HOLDS_UTF8(&iter)) return NULL;
  return bson_iter_utf8(&iter, NULL);
}

static void the_error_names_label_and_version(void) {
  char *normalized = (char *)1;
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(!smig_semver_parse("latest", 6, "options.targetVersion", &normalized, &error));
  CHECK(!normalized);
  CHECK(error.code == SMIG_INVALID_VERSION);
  CHECK_STR(error.name, "INVALID_VERSION");
  CHECK_STR(error.message, "options.targetVersion is not a valid semver string: \"latest\"");
  CHECK_STR(detail(&error, "version"), "latest");
  CHECK_STR(detail(&error, "label"), "options.targetVersion");
  CHECK_STR(detail(&error, "cause"), "it is not of the form MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]");
  smig_error_release(&error);
}

static void any_bytes_are_shown_on_one_line(void) {
  char *normalized;
  smig_error_t error = SMIG_ERROR_INIT;
  CHECK(!smig_semver_parse("1.0\n\0\xff\xc3\xa9", 8, "v", &normalized, &error));
  CHECK_STR(error.message, "v is not a valid semver string: \"1.0\\x0a\\x00\\xff\xc3\xa9\"");
  CHECK(!smig_semver_parse(NULL, 0, "v", &normalized, &error));
  CHECK_STR(error.message, "v is not a valid semver string: \"\"");
  CHECK_STR(detail(&error, "cause"), "it is missing");
  CHECK(!smig_semver_parse("x", 1, "v", &normalized, NULL));
  smig_error_release(&error);
}

static void causes_are_told_apart(void) {
  static const struct {
    const char *version, *cause;
  } cases[] = {
      {"01.0.0", "a number of it begins with a zero"},
      {"1.0.0-01", "a number of it begins with a zero"},
      {"9007199254740992.0.0", "a number of it is above 9007199254740991"},
      {"1.0.0-", "a part after - or + is empty, too long or holds a character beside 0-9, A-Z, a-z and -"},
      {"1.0.0-a_b", "a part after - or + is empty, too long or holds a character beside 0-9, A-Z, a-z and -"},
      {"1.0.0.0", "it is not of the form MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *normalized;
    smig_error_t error = SMIG_ERROR_INIT;
    CHECK(!smig_semver_parse(cases[i].version, strlen(cases[i].version), "v", &normalized, &error));
    CHECK_STR(detail(&error, "cause"), cases[i].cause);
    smig_error_release(&error);
  }
}

int main(int argc, char **argv) {
  char *beside = bson_strdup_printf("%.*s../data/semver.tsv", (int)(strrchr(__FILE__, '/') - __FILE__ + 1), __FILE__);
  table = argc > 1 ? argv[1] : beside;
  RUN(npm_table);
  RUN(the_error_names_label_and_version);
  RUN(any_bytes_are_shown_on_one_line);
  RUN(causes_are_told_apart);
  bson_free(beside);
  return check_done();
}
