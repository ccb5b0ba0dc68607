/*
 * Looking around before a bootstrap, whatever the resource: is there data, and is this program's ledger stored under another name?
 * Each resource has its looks (mongo_survey.h, s3_survey.h); here stands what they share.
 * Users: run/survey. Creates nothing. Source of the rules: the contract, section 4.
 */
#ifndef SMIG_LEDGER_SURROUNDINGS_H
#define SMIG_LEDGER_SURROUNDINGS_H

#include "smartmigration.h"

typedef struct smig_surroundings {
  const char *ledger_name;
  const char *ledger_id;    /* the ledger's name in the resource looked at; NULL: it is kept in the other one */
  const char *place;        /* the ledger's, for messages */
  const char *const *scope; /* names of collections and prefixes of keys, NULL at the end; NULL: everything */
} smig_surroundings_t;

/* Whether `name` matches the pattern, where `*` stands for any text. */
bool smig_glob(const char *pattern, const char *name);
/* Sets LEDGER_ELSEWHERE {place, version, ledger_id, ledger_backend?}; `backend` NULL: the ledger's own. */
void smig_set_elsewhere(const smig_surroundings_t *around, const char *place, const char *version,
                        const char *ledger_id, const char *backend, smig_error_t *error);
/* Adds a name to a list for people ("a, b, c"); after a handful "..." ends it. */
void smig_add_name(bson_string_t *names, size_t *count, const char *name);

#endif
