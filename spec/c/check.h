/*
 * The C unit tests' few words. A test program is a list of cases; each prints "ok - name" or "not ok - name: why", the last
 * line is "N passed, N failed", and the exit status is non-zero when one failed or none ran.
 */
#ifndef SMIG_SPEC_CHECK_H
#define SMIG_SPEC_CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_passed, check_failed;
static bool check_case_ok;

#define CHECK(condition, ...)                                                                                          \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      check_case_ok = false;                                                                                           \
      printf("# %s:%d: %s", __FILE__, __LINE__, #condition);                                                           \
      printf(" " __VA_ARGS__);                                                                                         \
      printf("\n");                                                                                                    \
    }                                                                                                                  \
  } while (0)

#define CHECK_STR(actual, expected)                                                                                    \
  do {                                                                                                                 \
    const char *check_actual = (actual), *check_expected = (expected);                                                 \
    CHECK(check_actual &&check_expected &&strcmp(check_actual, check_expected) == 0, ": \"%s\" is not \"%s\"",         \
          check_actual ? check_actual : "(null)", check_expected ? check_expected : "(null)");                         \
  } while (0)

#define RUN(function) check_run(#function, function)

static void check_run(const char *name, void (*function)(void)) {
  check_case_ok = true;
  function();
  printf("%s - %s\n", check_case_ok ? "ok" : "not ok", name);
  fflush(stdout);
  if (check_case_ok)
    check_passed++;
  else
    check_failed++;
}

static int check_done(void) {
  printf("%d passed, %d failed\n", check_passed, check_failed);
  return check_failed || !check_passed;
}

#endif
