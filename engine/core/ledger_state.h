/*
 * What a ledger says: a parsed view of its `data` (contract, section 6). Every backend's reads end here, so the
 * shape is checked in one place.
 *
 * Field names of ours beside the original's: data.compatibleFrom, data.bootstrap {mode, version, at}, data.leftovers (a
 * document; missing: none), data.lock.{fence, ttlMs, user}. What a decision hangs on is checked; what is only shown
 * (times, durations, checksums, hosts) counts as missing when it has a type that cannot be read.
 * A state is moved by smig_ledger_state_move, never by assignment: a bson_t points into itself.
 */
#ifndef SMIG_CORE_LEDGER_STATE_H
#define SMIG_CORE_LEDGER_STATE_H

#include "clock.h"
#include "index.h"
#include "smartmigration.h"

/* The longest time to live that a lock is given; a record of a longer one counts as this. */
enum { SMIG_LOCK_TTL_MAX_MS = 86400000 };

/* One recorded step. Strings point into the state's data; NULL where the field is missing. */
typedef struct smig_entry {
  const char *id; /* the key */
  const char *from_version, *to_version, *status, *started_at, *finished_at, *checksum, *run, *host;
  int64_t duration_ms; /* -1: missing */
  int64_t attempts;    /* 0: missing */
  bson_t error;        /* read-only; empty (length 5) when missing */
} smig_entry_t;

typedef enum smig_expiry {
  SMIG_EXPIRY_LIVE,      /* the backend's clock says not yet */
  SMIG_EXPIRY_PAST,      /* the backend's clock says past */
  SMIG_EXPIRY_UNREADABLE /* expiresAt is missing or no date: only watching it for a full TTL helps */
} smig_expiry_t;

typedef struct smig_ledger_state {
  bool exists;                 /* a ledger is stored (it may be empty) */
  bson_t data;                 /* a read-only view of `bytes`; empty when there is none */
  const char *current_version; /* into data; NULL: nothing recorded. As stored: a valid semver, maybe not normalized */
  const char *compatible_from; /* NULL: not recorded */
  smig_entry_t *entries;       /* in stored order */
  size_t entry_count;
  smig_index_t by_id;
  uint8_t *bytes; /* owned: what everything here points into */
  char **texts;   /* owned: dates of entries that were no strings, NULL at the end */
  size_t text_count;
  const char *bootstrap_version; /* NULL: not recorded */
  bool has_leftovers;            /* a dead holder's commands may still run */
  int64_t leftovers_ttl_ms;      /* the longest time to live of those who left them; 0: not recorded */
  struct {
    const char *holder;                                         /* NULL: nobody */
    char acquired_at[SMIG_ISO_SIZE], expires_at[SMIG_ISO_SIZE]; /* "" when missing or unreadable */
    int64_t fence;                                              /* 0: none yet */
    int64_t ttl_ms;                                             /* the holder's; 0: not recorded */
    const char *user;                                           /* the holder's database user; NULL: not recorded */
    smig_expiry_t expiry;                                       /* as the backend's clock says */
    bool clock_doubtful; /* that clock is not one clock (mongos): watch for a full TTL besides */
  } lock;
} smig_ledger_state_t;

void smig_ledger_state_init(smig_ledger_state_t *state);
void smig_ledger_state_release(smig_ledger_state_t *state);
/* Moves a state: *to (initialised) is replaced, *from becomes as good as initialised. */
void smig_ledger_state_move(smig_ledger_state_t *to, smig_ledger_state_t *from);

/*
 * Checks the shape and fills *state (initialised by the call, to be released on every path). `data` is copied;
 * NULL: no ledger is stored. Dates may be ISO strings or BSON dates. `now_wall_ms` is the backend's clock: lock
 * expiry is judged by it. Wrong shape: LEDGER_CORRUPT naming `place`, the path, what was found and what was expected.
 */
bool smig_ledger_state_parse(smig_ledger_state_t *state, const bson_t *data, int64_t now_wall_ms, const char *place,
                             smig_error_t *error);
/* leftovers_ttl_ms once whoever holds the lock now has left some, too. */
int64_t smig_ledger_state_leftovers_ttl_ms(const smig_ledger_state_t *state);
/* The entry with that id, or NULL. O(log n) after the first call is welcome, O(n) is not: chains have thousands. */
const smig_entry_t *smig_ledger_state_find(const smig_ledger_state_t *state, const char *id);
/* How many checkpoint keys a step has. */
size_t smig_ledger_state_checkpoints(const smig_ledger_state_t *state, const char *step_id);

#endif
