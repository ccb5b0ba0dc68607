/*
 * Edits of a ledger's `data`: which paths a write sets and which it removes. The backends share them, so that what an
 * entry, a stamp or a release consists of stands in one place; each backend turns edits into its own one write.
 * Users: data, memory_ledger, mongo_ledger, s3_ledger. Pure; values are copied. Source: the contract's section on the ledger.
 */
#ifndef SMIG_LEDGER_EDITS_H
#define SMIG_LEDGER_EDITS_H

#include "ledger.h"

enum {
  SMIG_EDIT_DEPTH = 3,
  SMIG_CHECKPOINT_MAX = 1024 * 1024,  /* bytes of one checkpoint's value */
  SMIG_LEDGER_MAX = 12 * 1024 * 1024, /* bytes of `data` that a checkpoint may fill; a document ends at 16 MiB */
  SMIG_CHECKPOINT_WRAP = 8            /* bytes that a document {v: value} adds to its value */
};

typedef struct smig_edit {
  const char *path[SMIG_EDIT_DEPTH]; /* borrowed: below `data`, outermost first */
  size_t depth;
  bool remove;
  bson_value_t value; /* owned unless `remove` */
} smig_edit_t;

typedef struct smig_edits {
  smig_edit_t *list;
  size_t count, capacity;
} smig_edits_t;

#define SMIG_EDITS_INIT                                                                                                \
  { NULL, 0, 0 }

void smig_edits_release(smig_edits_t *edits);
/* Paths have one to three parts: `second` and `third` may be NULL. A later edit of the same path wins. */
void smig_edits_set(smig_edits_t *edits, const bson_value_t *value, const char *first, const char *second,
                    const char *third);
void smig_edits_set_utf8(smig_edits_t *edits, const char *text, const char *first, const char *second,
                         const char *third);
/* As int32 where it fits. */
void smig_edits_set_number(smig_edits_t *edits, int64_t number, const char *first, const char *second,
                           const char *third);
void smig_edits_set_null(smig_edits_t *edits, const char *first, const char *second, const char *third);
void smig_edits_remove(smig_edits_t *edits, const char *first, const char *second, const char *third);

/* The edits of one change; `now` is the backend's time. The change's strings and `now` are borrowed by the edits' paths only. */
void smig_edits_of_change(smig_edits_t *edits, const smig_ledger_change_t *change, const smig_lease_t *lease,
                          const char *now);

/* *out (initialised by the call) becomes `data` with the edits applied. */
void smig_edits_apply(const smig_edits_t *edits, const bson_t *data, bson_t *out);

/* Whether a field of this name can be one part of a dotted path. */
bool smig_edits_is_path(const char *name);
/* Whether all parts of all paths can. */
bool smig_edits_are_paths(const smig_edits_t *edits);

/* Sets CHECKPOINT_TOO_LARGE when the value alone (the document {v: value}) is; true: it fits. */
bool smig_checkpoint_fits(const char *step_id, const char *key, const bson_t *value, smig_error_t *error);
/* Sets CHECKPOINT_TOO_LARGE because the ledger would have `size` bytes. */
void smig_checkpoint_overfills(const char *step_id, const char *key, int64_t size, smig_error_t *error);
/* Sets LOCK_LOST naming who holds the lock now (NULL: nobody). */
void smig_lock_lost(const char *place, const char *holder, smig_error_t *error);

#endif
