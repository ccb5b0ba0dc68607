/*
 * Clocks and ISO 8601. See clock.h.
 * Units: milliseconds. No errors. Any thread. The calendar is the proleptic Gregorian one, computed here because
 * gmtime and timegm disagree with each other outside four-digit years.
 */
#include "clock.h"

#include <stdio.h>
#include <time.h>

static const int64_t ms_per_day = 86400000;
/* What four digits of year can say; a date beyond is written as the nearest of these. */
static const int64_t first_ms = INT64_C(-62167219200000), last_ms = INT64_C(253402300799999);

static int64_t read_ms(clockid_t clock) {
  struct timespec now = {0, 0};
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t smig_clock_wall_ms(void) {
  return read_ms(CLOCK_REALTIME);
}

int64_t smig_clock_mono_ms(void) {
  return read_ms(CLOCK_MONOTONIC);
}

int64_t smig_clock_boot_ms(void) {
  return read_ms(CLOCK_BOOTTIME);
}

/* Years are counted from March, so that the leap day is the last of its year. Eras are 400 years: 146097 days. */
static int64_t days_of(int64_t year, int month, int day) {
  if (month <= 2) year--;
  int64_t era = (year >= 0 ? year : year - 399) / 400;
  int64_t year_of_era = year - era * 400;
  int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static void date_of(int64_t days, int64_t *year, int *month, int *day) {
  days += 719468;
  int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  int64_t day_of_era = days - era * 146097;
  int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int month_from_march = (int)((5 * day_of_year + 2) / 153);
  *day = (int)(day_of_year - (153 * month_from_march + 2) / 5 + 1);
  *month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
  *year = year_of_era + era * 400 + (*month <= 2);
}

void smig_clock_iso(int64_t wall_ms, char out[SMIG_ISO_SIZE]) {
  if (wall_ms < first_ms) wall_ms = first_ms;
  if (wall_ms > last_ms) wall_ms = last_ms;
  int64_t days = wall_ms / ms_per_day, rest = wall_ms % ms_per_day;
  if (rest < 0) {
    rest += ms_per_day;
    days--;
  }
  int64_t year = 0;
  int month = 0, day = 0;
  date_of(days, &year, &month, &day);
  snprintf(out, SMIG_ISO_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)year % 10000u, (unsigned)month % 100u,
           (unsigned)day % 100u, (unsigned)(rest / 3600000) % 24u, (unsigned)(rest / 60000) % 60u,
           (unsigned)(rest / 1000) % 60u, (unsigned)(rest % 1000));
}

/* Reads exactly `digits` digits and moves *text behind them. */
static bool read_digits(const char **text, int digits, int *value) {
  *value = 0;
  for (; digits > 0; digits--, (*text)++) {
    if (**text < '0' || **text > '9') return false;
    *value = *value * 10 + (**text - '0');
  }
  return true;
}

static bool read_mark(const char **text, char mark) {
  if (**text != mark) return false;
  (*text)++;
  return true;
}

static bool read_fraction(const char **text, int *ms) {
  *ms = 0;
  if (!read_mark(text, '.')) return true;
  if (**text < '0' || **text > '9') return false;
  for (int scale = 100; **text >= '0' && **text <= '9'; (*text)++, scale /= 10) *ms += (**text - '0') * scale;
  return true;
}

static bool read_zone(const char **text, int *offset_minutes) {
  *offset_minutes = 0;
  if (read_mark(text, 'Z')) return true;
  int sign = **text == '-' ? -1 : 1, hours = 0, minutes = 0;
  if (**text != '-' && **text != '+') return false;
  (*text)++;
  if (!read_digits(text, 2, &hours) || !read_mark(text, ':') || !read_digits(text, 2, &minutes)) return false;
  *offset_minutes = sign * (hours * 60 + minutes);
  return hours <= 23 && minutes <= 59;
}

static int days_in(int year, int month) {
  static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return days[month - 1] + (month == 2 && leap);
}

bool smig_clock_from_iso(const char *text, int64_t *wall_ms) {
  int year, month, day, hour, minute, second, ms, offset;
  *wall_ms = 0;
  if (!text || !read_digits(&text, 4, &year) || !read_mark(&text, '-') || !read_digits(&text, 2, &month) ||
      !read_mark(&text, '-') || !read_digits(&text, 2, &day) || !read_mark(&text, 'T') ||
      !read_digits(&text, 2, &hour) || !read_mark(&text, ':') || !read_digits(&text, 2, &minute) ||
      !read_mark(&text, ':') || !read_digits(&text, 2, &second) || !read_fraction(&text, &ms) ||
      !read_zone(&text, &offset) || *text)
    return false;
  if (month < 1 || month > 12 || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 59)
    return false;
  *wall_ms =
      days_of(year, month, day) * ms_per_day + ((hour * 60 + minute - offset) * 60 + second) * INT64_C(1000) + ms;
  return true;
}

void smig_clock_sleep_ms(int64_t ms) {
  if (ms <= 0) return;
  struct timespec duration = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
  nanosleep(&duration, NULL);
}
