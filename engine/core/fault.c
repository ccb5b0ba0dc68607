/*
 * Named fault points. See fault.h: this file is empty in a build without SMIG_FAULTS.
 * Users: the places that fault.h names. No units, no errors. Any thread (the environment is only read).
 */
#include "fault.h"

#ifdef SMIG_FAULTS
#include <stdlib.h>
#include <string.h>

int smig_fault(const char *name) {
  const char *at = getenv("SMIG_FAULT");
  size_t length = strlen(name);
  while (at && *at) {
    size_t found = strcspn(at, ",");
    if (found == length && memcmp(at, name, length) == 0) return 1;
    at += found + (at[found] == ',');
  }
  return 0;
}
#endif
