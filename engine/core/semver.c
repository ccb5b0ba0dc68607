/*
 * Semantic versions. See semver.h.
 * Source of the rules: npm's semver 7.8.6, strict mode; spec/data/semver*.tsv holds what that package itself says.
 * Units: the limit of 256 is in UTF-16 units, before trimming. Errors: INVALID_VERSION. Pure.
 */
#include "semver.h"

#include "text.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_LENGTH = 256, MAX_IDENTIFIER = 250, QUOTED_LENGTH = 1024 };
static const uint64_t max_component = 9007199254740991u; /* 2^53 - 1 */

static const char cause_form[] = "it is not of the form MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]";
static const char cause_length[] = "it is longer than 256 characters";
static const char cause_component[] = "a number of it is above 9007199254740991";
static const char cause_zero[] = "a number of it begins with a zero";
static const char cause_identifier[] =
    "a part after - or + is empty, too long or holds a character beside 0-9, A-Z, a-z and -";
static const char cause_missing[] = "it is missing";

typedef struct version {
  uint64_t component[3];
  const char *start,
      *end; /* into the text parsed: the version without blanks, `v` and build, which is its normal form */
  const char *prerelease; /* into the text parsed; NULL: none */
  size_t prerelease_length;
} version_t;

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static bool is_identifier_character(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
}

/* What String.prototype.trim drops: white space and line terminators of ECMAScript. */
static bool is_blank(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000 || c == 0xFEFF;
}

/* Ill-formed bytes count one each: such a text is no version whatever its length. */
static bool too_long(const char *text, size_t length) {
  size_t units = 0;
  if (length <= MAX_LENGTH) return false; /* a unit has at least one byte */
  for (size_t at = 0; at < length && units <= MAX_LENGTH;) {
    uint32_t character = 0;
    size_t size = smig_utf8_decode(text + at, length - at, &character);
    units += size == 4 ? 2 : 1;
    at += size ? size : 1;
  }
  return units > MAX_LENGTH;
}

static void trim(const char **text, size_t *length) {
  uint32_t character = 0;
  size_t size;
  while ((size = smig_utf8_decode(*text, *length, &character)) && is_blank(character)) {
    *text += size;
    *length -= size;
  }
  while (*length) {
    size_t start = *length - 1;
    while (start > 0 && *length - start < 4 && ((unsigned char)(*text)[start] & 0xC0) == 0x80) start--;
    size = smig_utf8_decode(*text + start, *length - start, &character);
    if (start + size != *length || !is_blank(character)) break;
    *length = start;
  }
}

/* Reads a number without leading zeros and moves *at behind it. */
static const char *read_component(const char **at, const char *end, uint64_t *value) {
  const char *start = *at;
  *value = 0;
  for (; *at < end && is_digit(**at); (*at)++) {
    if (*value <= max_component) *value = *value * 10 + (uint64_t)(**at - '0');
  }
  if (*at == start) return cause_form;
  if (*start == '0' && *at - start > 1) return cause_zero;
  return *value > max_component ? cause_component : NULL;
}

/* Reads identifiers separated by dots and moves *at behind them. */
static const char *read_identifiers(const char **at, const char *end, bool numbers_are_numbers) {
  for (;;) {
    const char *start = *at;
    bool numeric = true;
    for (; *at < end && is_identifier_character(**at); (*at)++) numeric = numeric && is_digit(**at);
    size_t length = (size_t)(*at - start);
    if (!length || length > MAX_IDENTIFIER) return cause_identifier;
    if (numbers_are_numbers && numeric && *start == '0' && length > 1) return cause_zero;
    if (*at == end || **at != '.') return NULL;
    (*at)++;
  }
}

/* NULL when `text` is a version, else why it is not. */
static const char *parse(const char *text, size_t length, version_t *version) {
  *version = (version_t){{0, 0, 0}, NULL, NULL, NULL, 0};
  if (!text) return cause_missing;
  if (too_long(text, length)) return cause_length;
  trim(&text, &length);
  const char *at = text, *end = text + length;
  if (at < end && *at == 'v') at++;
  version->start = at;
  const char *component_cause = NULL; /* as in npm, the form is judged before the size of the numbers */
  for (int i = 0; i < 3; i++) {
    if (i > 0 && (at == end || *at++ != '.')) return cause_form;
    const char *cause = read_component(&at, end, &version->component[i]);
    if (cause == cause_component)
      component_cause = cause;
    else if (cause)
      return cause;
  }
  const char *cause = NULL;
  if (at < end && *at == '-') {
    version->prerelease = ++at;
    if ((cause = read_identifiers(&at, end, true))) return cause;
    version->prerelease_length = (size_t)(at - version->prerelease);
  }
  version->end = at;
  if (at < end && *at == '+') {
    at++;
    if ((cause = read_identifiers(&at, end, false))) return cause;
  }
  if (at != end) return version->prerelease || end[-1] == '+' ? cause_identifier : cause_form;
  return component_cause;
}

bool smig_semver_parse(const char *text, size_t length, const char *label, char **normalized, smig_error_t *error) {
  version_t version;
  const char *cause = parse(text, length, &version);
  if (!cause) {
    *normalized = bson_strndup(version.start, (size_t)(version.end - version.start));
    return true;
  }
  *normalized = NULL;
  char *quoted = smig_text_escape(text, length, QUOTED_LENGTH);
  smig_error_set(error, SMIG_INVALID_VERSION, "%s is not a valid semver string: \"%s\"", label, quoted);
  bson_t *details = smig_error_details(error);
  if (details) {
    BSON_APPEND_UTF8(details, "version", quoted);
    BSON_APPEND_UTF8(details, "label", label);
    BSON_APPEND_UTF8(details, "cause", cause);
  }
  bson_free(quoted);
  return false;
}

bool smig_semver_valid(const char *text, size_t length) {
  version_t version;
  return !parse(text, length, &version);
}

static double number_of(const char *digits, size_t length) {
  char copy[MAX_IDENTIFIER + 1];
  memcpy(copy, digits, length);
  copy[length] = '\0';
  return strtod(copy, NULL);
}

/* The first identifier of *rest, which moves behind it and its dot; false: none is left. */
static bool next_identifier(const char **rest, const char *end, const char **identifier, size_t *length,
                            bool *numeric) {
  if (*rest >= end) return false;
  *identifier = *rest;
  *numeric = true;
  const char *at = *rest;
  for (; at < end && *at != '.'; at++) *numeric = *numeric && is_digit(*at);
  *length = (size_t)(at - *identifier);
  *rest = at + 1;
  return true;
}

static int compare_text(const char *left, size_t left_length, const char *right, size_t right_length) {
  size_t shorter = left_length < right_length ? left_length : right_length;
  int order = memcmp(left, right, shorter);
  return order ? order : (left_length > right_length) - (left_length < right_length);
}

/*
 * As npm: the first identifiers that differ as texts decide, also when they are numbers too great for a double to tell
 * apart, which makes the versions equal whatever follows.
 */
static int compare_prerelease(const version_t *left, const version_t *right) {
  if (!left->prerelease || !right->prerelease) return (right->prerelease != NULL) - (left->prerelease != NULL);
  const char *left_rest = left->prerelease, *left_end = left_rest + left->prerelease_length;
  const char *right_rest = right->prerelease, *right_end = right_rest + right->prerelease_length;
  for (;;) {
    const char *a = NULL, *b = NULL;
    size_t a_length = 0, b_length = 0;
    bool a_numeric = false, b_numeric = false;
    bool has_a = next_identifier(&left_rest, left_end, &a, &a_length, &a_numeric);
    bool has_b = next_identifier(&right_rest, right_end, &b, &b_length, &b_numeric);
    if (!has_a || !has_b) return (int)has_a - (int)has_b;
    int order = compare_text(a, a_length, b, b_length);
    if (order == 0) continue;
    if (a_numeric != b_numeric) return a_numeric ? -1 : 1;
    if (!a_numeric) return order;
    double a_number = number_of(a, a_length), b_number = number_of(b, b_length);
    return (a_number > b_number) - (a_number < b_number);
  }
}

int smig_semver_compare(const char *left, const char *right) {
  version_t a, b;
  if (strcmp(left, right) == 0) return 0;
  parse(left, strlen(left), &a);
  parse(right, strlen(right), &b);
  for (int i = 0; i < 3; i++) {
    if (a.component[i] != b.component[i]) return a.component[i] < b.component[i] ? -1 : 1;
  }
  return compare_prerelease(&a, &b);
}
