/*
 * Semantic versions as npm's semver package parses them in strict mode (7.8.6 is the reference): surrounding
 * blanks and one leading `v` are accepted and dropped, build metadata is ignored and dropped.
 * Users: chain, plan, ledger state, options. Pure; no threads.
 */
#ifndef SMIG_CORE_SEMVER_H
#define SMIG_CORE_SEMVER_H

#include "smartmigration.h"

/*
 * Parses `text` (`length` bytes; it may hold any byte). On success *normalized is a new string ("1.2.3-alpha.1"),
 * to be freed with bson_free. On failure *normalized is NULL and error is INVALID_VERSION:
 * `<label> is not a valid semver string: "<version>"`, details {version, label, cause}.
 * `text` NULL is not a version.
 */
bool smig_semver_parse(const char *text, size_t length, const char *label, char **normalized, smig_error_t *error);

/* The same without an error: for texts that others wrote. */
bool smig_semver_valid(const char *text, size_t length);

/* Orders two versions that are valid (in any accepted spelling): below 0, 0, above 0. */
int smig_semver_compare(const char *left, const char *right);

#endif
