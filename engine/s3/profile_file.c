/* See profile_file.h. */
#include "profile_file.h"

#include <string.h>

static bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

/* Cuts blanks off both ends, in place. */
static char *trim(char *text) {
  while (is_blank(*text)) text++;
  size_t length = strlen(text);
  while (length > 0 && is_blank(text[length - 1])) length--;
  text[length] = '\0';
  return text;
}

/* Cuts a comment off: "#" or ";" at the beginning or behind a blank. */
static void cut_comment(char *text) {
  for (char *at = text; *at; at++) {
    if ((*at == '#' || *at == ';') && (at == text || is_blank(at[-1]))) {
      *at = '\0';
      return;
    }
  }
}

const smig_profile_t *smig_profile_file_get(const smig_profile_file_t *file, const char *name) {
  for (size_t i = 0; i < file->count; i++) {
    if (strcmp(file->items[i].name, name) == 0) return &file->items[i];
  }
  return NULL;
}

/* The profile of a section's title, added where it is new; NULL: the section is no profile's. */
static smig_profile_t *open_profile(smig_profile_file_t *file, char *title, bool is_config) {
  if (is_config && strcmp(title, "default") != 0) {
    if (strncmp(title, "profile", 7) != 0 || !is_blank(title[7])) return NULL;
    title = trim(title + 7);
    size_t length = strlen(title);
    if (length > 1 && (*title == '"' || *title == '\'') && title[length - 1] == *title) {
      title[length - 1] = '\0';
      title++;
    }
  }
  const smig_profile_t *known = smig_profile_file_get(file, title);
  if (known) return &file->items[known - file->items];
  file->items = bson_realloc(file->items, (file->count + 1) * sizeof *file->items);
  file->items[file->count] = (smig_profile_t){.name = bson_strdup(title)};
  return &file->items[file->count++];
}

/* The field that now has the value: an equal one is replaced. */
static size_t set(smig_s3_fields_t *settings, const char *name, const char *value) {
  for (size_t i = 0; i < settings->count; i++) {
    if (strcmp(settings->items[i].name, name) != 0) continue;
    bson_free(settings->items[i].value);
    settings->items[i].value = bson_strdup(value);
    return i;
  }
  smig_s3_fields_add(settings, name, value);
  return settings->count - 1;
}

static void go_on(smig_s3_field_t *field, const char *more) {
  char *joined = bson_strdup_printf("%s\n%s", field->value, more);
  bson_free(field->value);
  field->value = joined;
}

typedef struct place {
  bool in_section, in_setting;
  size_t profile, setting; /* where the last line belonged */
  bool ignored;            /* its section is no profile's */
} place_t;

/* NULL: good; else what is wrong with the line. */
static const char *read_line(smig_profile_file_t *file, char *line, bool is_config, place_t *place) {
  bool goes_on = is_blank(*line);
  cut_comment(line);
  char *text = trim(line);
  if (!*text) return NULL;
  if (goes_on && place->in_setting) {
    if (!place->ignored) go_on(&file->items[place->profile].settings.items[place->setting], text);
    return NULL;
  }
  if (*text == '[') {
    char *end = strchr(text, ']');
    if (!end || end[1]) return "a section's name that is not closed";
    *end = '\0';
    smig_profile_t *profile = open_profile(file, trim(text + 1), is_config);
    *place = (place_t){.in_section = true, .ignored = !profile};
    if (profile) place->profile = (size_t)(profile - file->items);
    return NULL;
  }
  char *value = strchr(text, '=');
  if (!value || value == text) return "neither a section nor a setting";
  if (!place->in_section) return "a setting before the first section";
  *value++ = '\0';
  char *name = trim(text);
  for (char *at = name; *at; at++) *at = smig_s3_lower(*at);
  if (!place->ignored) place->setting = set(&file->items[place->profile].settings, name, trim(value));
  place->in_setting = true;
  return NULL;
}

bool smig_profile_file_read(smig_profile_file_t *file, char *path, bool is_config, smig_error_t *error) {
  *file = (smig_profile_file_t){.path = path};
  bool missing;
  char *text = smig_read_text(path, &missing, error);
  if (!text) return missing;
  place_t place = {0};
  const char *wrong = NULL;
  int number = 0;
  for (char *line = text; line && !wrong; number++) {
    char *end = strchr(line, '\n');
    if (end) *end = '\0';
    wrong = read_line(file, line, is_config, &place);
    line = end ? end + 1 : NULL;
  }
  if (wrong) smig_search_failed(error, "'%s' line %d is %s", path, number, wrong);
  bson_zero_free(text, strlen(text));
  return !wrong;
}

void smig_profile_file_release(smig_profile_file_t *file) {
  for (size_t i = 0; i < file->count; i++) {
    bson_free(file->items[i].name);
    smig_s3_fields_release(&file->items[i].settings);
  }
  bson_free(file->items);
  bson_free(file->path);
  *file = (smig_profile_file_t){0};
}
