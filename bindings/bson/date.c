/*
 * bson.date: milliseconds since 1970, UTC, signed 64 bit.
 * Users: the BSON binding. Dates are proleptic Gregorian; text is ISO 8601.
 */
#include "lbson_internal.h"

#include <string.h>
#include <time.h>

enum { MS_PER_DAY = 86400000 };

/* ------------------------------------------------------------------ calendar */

/* Days since 1970-01-01 of a date, and back, by eras of 400 years that begin in March. */
static int64_t days_from_date(int64_t year, int month, int day) {
  year -= month <= 2;
  int64_t era = (year >= 0 ? year : year - 399) / 400;
  int64_t year_of_era = year - era * 400;
  int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146097 + day_of_era - 719468;
}

static void date_from_days(int64_t days, int64_t *year, int *month, int *day) {
  days += 719468;
  int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  int64_t day_of_era = days - era * 146097;
  int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t march_month = (5 * day_of_year + 2) / 153;
  *day = (int)(day_of_year - (153 * march_month + 2) / 5 + 1);
  *month = (int)(march_month < 10 ? march_month + 3 : march_month - 9);
  *year = year_of_era + era * 400 + (*month <= 2);
}

static int days_in_month(int64_t year, int month) {
  static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return month == 2 && leap ? 29 : days[month - 1];
}

void lbson_format_date(int64_t ms, bool always_ms, char out[LBSON_ISO_SIZE]) {
  int64_t days = ms / MS_PER_DAY, rest = ms % MS_PER_DAY, year;
  if (rest < 0) days--, rest += MS_PER_DAY;
  int month, day, millis = (int)(rest % 1000), seconds = (int)(rest / 1000);
  date_from_days(days, &year, &month, &day);
  char fraction[8] = "";
  if (millis || always_ms) bson_snprintf(fraction, sizeof fraction, ".%03d", millis);
  const char *format =
      year >= 0 && year <= 9999 ? "%04lld-%02d-%02dT%02d:%02d:%02d%sZ" : "%+07lld-%02d-%02dT%02d:%02d:%02d%sZ";
  bson_snprintf(out, LBSON_ISO_SIZE, format, (long long)year, month, day, seconds / 3600, seconds / 60 % 60,
                seconds % 60, fraction);
}

/* -------------------------------------------------------------------- parsing */

/* Reads exactly `count` digits. */
static bool read_digits(const char **text, int count, int *value) {
  *value = 0;
  for (int i = 0; i < count; i++, (*text)++) {
    if (**text < '0' || **text > '9') return false;
    *value = *value * 10 + (**text - '0');
  }
  return true;
}

static bool read_char(const char **text, char expected) {
  if (**text != expected) return false;
  (*text)++;
  return true;
}

/* Up to nine digits, cut to milliseconds. */
static bool read_fraction(const char **text, int *millis) {
  *millis = 0;
  if (**text != '.') return true;
  (*text)++;
  int digits = 0;
  for (; **text >= '0' && **text <= '9'; (*text)++, digits++) {
    if (digits < 3) *millis = *millis * 10 + (**text - '0');
  }
  for (int i = digits; i < 3; i++) *millis *= 10;
  return digits >= 1 && digits <= 9;
}

static bool read_zone(const char **text, int *minutes) {
  *minutes = 0;
  if (**text == 'Z') return read_char(text, 'Z');
  int sign = **text == '-' ? -1 : 1, hours, rest;
  if (**text != '+' && **text != '-') return false;
  (*text)++;
  if (!read_digits(text, 2, &hours)) return false;
  if (**text == ':') (*text)++;
  if (!read_digits(text, 2, &rest) || hours > 23 || rest > 59) return false;
  *minutes = sign * (hours * 60 + rest);
  return true;
}

bool lbson_parse_date(const char *text, int64_t *ms) {
  int year, month, day, hour, minute, second, millis, zone;
  bool good = read_digits(&text, 4, &year) && read_char(&text, '-') && read_digits(&text, 2, &month) &&
              read_char(&text, '-') && read_digits(&text, 2, &day) && read_char(&text, 'T') &&
              read_digits(&text, 2, &hour) && read_char(&text, ':') && read_digits(&text, 2, &minute) &&
              read_char(&text, ':') && read_digits(&text, 2, &second) && read_fraction(&text, &millis) &&
              read_zone(&text, &zone) && *text == '\0';
  if (!good || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || hour > 23 || minute > 59 ||
      second > 59) {
    return false;
  }
  *ms = days_from_date(year, month, day) * MS_PER_DAY + (((int64_t)hour * 60 + minute - zone) * 60 + second) * 1000 +
        millis;
  return true;
}

/* ----------------------------------------------------------------------- Lua */

static int push_date(lua_State *L, int64_t ms) {
  uint64_t little = BSON_UINT64_TO_LE((uint64_t)ms);
  lbson_new_scalar(L, BSON_TYPE_DATE_TIME, &little, sizeof little);
  return 1;
}

void lbson_push_date(lua_State *L, int64_t ms) {
  push_date(L, ms);
}

static int64_t check_ms(lua_State *L, int arg) {
  return lbson_read_i64(lbson_check_scalar(L, arg, BSON_TYPE_DATE_TIME)->bytes);
}

static int64_t check_integer(lua_State *L, int arg, const char *what) {
  int is_integer = 0;
  lua_Integer value = lua_type(L, arg) == LUA_TNUMBER ? lua_tointegerx(L, arg, &is_integer) : 0;
  if (!is_integer) kit_argerror(L, arg, what);
  return value;
}

/* bson.date(ms) or bson.date(text) */
static int new_date(lua_State *L) {
  if (lua_type(L, 1) != LUA_TSTRING)
    return push_date(L, check_integer(L, 1, "integer (milliseconds) or ISO 8601 text"));
  size_t length;
  const char *text = lua_tolstring(L, 1, &length);
  int64_t ms;
  if (strlen(text) != length || !lbson_parse_date(text, &ms)) {
    return kit_raise_argument(L, "'%s' is not a date: write it as 2024-01-31T10:00:00.123Z", text);
  }
  return push_date(L, ms);
}

/* bson.date_from_s(seconds): what os.time() gives; a fraction is kept to the millisecond. */
static int date_from_s(lua_State *L) {
  if (lua_isinteger(L, 1)) {
    int64_t ms;
    if (__builtin_mul_overflow((int64_t)lua_tointeger(L, 1), 1000, &ms)) {
      return kit_raise_argument(L, "the date is out of range");
    }
    return push_date(L, ms);
  }
  if (lua_type(L, 1) != LUA_TNUMBER) return kit_argerror(L, 1, "number of seconds");
  double ms = lua_tonumber(L, 1) * 1000 + 0.5;
  if (!(ms >= -9.2e18 && ms <= 9.2e18)) return kit_raise_argument(L, "the date is out of range");
  int64_t rounded = (int64_t)ms;
  return push_date(L, (double)rounded > ms ? rounded - 1 : rounded);
}

static int now(lua_State *L) {
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  return push_date(L, (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000);
}

static int date_index(lua_State *L) {
  int64_t ms = check_ms(L, 1);
  if (lua_type(L, 2) != LUA_TSTRING || strcmp(lua_tostring(L, 2), "ms") != 0) return 0;
  lua_pushinteger(L, ms);
  return 1;
}

/* date + ms, ms + date */
static int date_add(lua_State *L) {
  int date = lbson_kind(L, 1) == BSON_TYPE_DATE_TIME ? 1 : 2;
  int64_t sum;
  if (__builtin_add_overflow(check_ms(L, date), check_integer(L, 3 - date, "integer (milliseconds)"), &sum)) {
    return kit_raise_argument(L, "the date is out of range");
  }
  return push_date(L, sum);
}

/* date - date is milliseconds; date - ms a date. */
static int date_sub(lua_State *L) {
  int64_t from = check_ms(L, 1), difference;
  bool two_dates = lbson_kind(L, 2) == BSON_TYPE_DATE_TIME;
  int64_t other = two_dates ? check_ms(L, 2) : check_integer(L, 2, "date or integer (milliseconds)");
  if (__builtin_sub_overflow(from, other, &difference)) return kit_raise_argument(L, "the date is out of range");
  if (!two_dates) return push_date(L, difference);
  lua_pushinteger(L, difference);
  return 1;
}

static int compare(const lbson_scalar_t *a, const lbson_scalar_t *b) {
  int64_t left = lbson_read_i64(a->bytes), right = lbson_read_i64(b->bytes);
  return (left > right) - (left < right);
}

void lbson_open_date(lua_State *L) {
  static const luaL_Reg functions[] = {{"date", new_date}, {"date_from_s", date_from_s}, {"now", now}, {NULL, NULL}};
  static const luaL_Reg meta[] = {{"__add", date_add}, {"__sub", date_sub}, {NULL, NULL}};
  lbson_scalar_class(L, BSON_TYPE_DATE_TIME, date_index, meta);
  lbson_scalar_order(L, BSON_TYPE_DATE_TIME, compare);
  luaL_setfuncs(L, functions, 0);
}
