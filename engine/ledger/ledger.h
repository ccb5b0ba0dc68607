/*
 * The ledger's backend interface: intentions, not documents. Each operation is one atomic operation of the backend;
 * every write carries the lease and is refused with LOCK_LOST once somebody else holds the lock.
 *
 * Users: run/ (the main thread) and the heartbeat (its own instance, from `reopen`). An instance is used by one thread.
 * Errors: LEDGER_IO, LEDGER_CORRUPT, LEDGER_NOT_EXCLUSIVE, CONNECTION_FAILED, UNSUPPORTED_SERVER, LOCK_LOST, CHECKPOINT_TOO_LARGE.
 * Unclear answers (a write whose answer got lost) are resolved inside: sent again or read back, by run id and holder.
 */
#ifndef SMIG_LEDGER_LEDGER_H
#define SMIG_LEDGER_LEDGER_H

#include "guard.h"
#include "holder.h"
#include "ledger_state.h"

typedef struct smig_ledger smig_ledger_t;

typedef enum smig_ledger_capability {
  SMIG_LEDGER_ATOMIC = 1,       /* two runs cannot both win the lock, unless `doubt` says otherwise */
  SMIG_LEDGER_SERVER_CLOCK = 2, /* expiry is judged by the server's clock */
  /* That clock is coarse: a lock that stayed unchanged for its TTL and SMIG_LEDGER_QUIET_MS is dead, whatever its expiry says. */
  SMIG_LEDGER_WATCHED = 4
} smig_ledger_capability_t;

enum { SMIG_LEDGER_QUIET_MS = 2000 };

/* What a run holds. Owned by the run; the same for its whole life but for `fence`, known once acquired. */
typedef struct smig_lease {
  char run_id[SMIG_RUN_ID_SIZE];
  char holder[SMIG_HOLDER_SIZE];
  int64_t ttl_ms;
  int64_t fence;
  bool
      has_session; /* a beat with one records it: the server session of an open transaction, which outlives its client */
  uint8_t session[16];
} smig_lease_t;

typedef struct smig_acquire {
  const smig_ledger_state_t *seen; /* what was read: the write is conditional on its holder (or its absence) */
  bool
      dead; /* the seen holder is proven dead, or its expiry stayed unchanged for a full TTL: take over although not expired */
} smig_acquire_t;

/* A step's entry as it is written. NULL strings are left out; at most 2 KiB of error. */
typedef struct smig_entry_write {
  const char *id, *from_version, *to_version;
  smig_status_t status;
  const char *started_at, *finished_at;
  int64_t duration_ms;  /* below 0: left out */
  int64_t attempts;     /* 0: left out */
  const char *checksum; /* engine, host and run are added by the backend from the lease */
  const bson_t *error;  /* {code, operation?, namespace?, index?} */
} smig_entry_write_t;

/* One write: whatever is set happens together. */
typedef struct smig_ledger_change {
  const smig_entry_write_t *finished; /* replaces our fields of that entry (unknown fields survive) */
  const smig_entry_write_t
      *started; /* a `running` entry; finishedAt, durationMs and error of a former try are removed */
  const char *current_version;
  const char *compatible_from;
  const char *bootstrap_mode; /* with bootstrap_version: sets bootstrap {mode, version, at} */
  const char *bootstrap_version;
  const char *bootstrap_replaced;    /* the version that the one of a forced baseline stands in place of */
  const char *const *remove_entries; /* ids, NULL at the end: their entries and checkpoints go */
  const char *accept_checksum_of;    /* with accepted_checksum: an entry's checksum, and nothing else of it */
  const char *accepted_checksum;
  const char *clear_checkpoints_of; /* a step's id */
  bool clear_all_checkpoints;
  bool clear_leftovers;
  bool release; /* holder, acquiredAt and expiresAt become null; the fence stays */
} smig_ledger_change_t;

typedef enum smig_commands {
  SMIG_COMMANDS_OF_OTHERS, /* of this ledger, of any run but ours */
  SMIG_COMMANDS_OF_OURS    /* of our run's steps */
} smig_commands_t;

typedef enum smig_commands_left {
  SMIG_COMMANDS_NONE_LEFT,
  SMIG_COMMANDS_LEFT,   /* some still run: ask again */
  SMIG_COMMANDS_UNKNOWN /* the server will not tell, or another user's cannot be seen: wait a full TTL instead */
} smig_commands_left_t;

typedef struct smig_ledger_ops {
  unsigned capabilities;
  /* One read; creates nothing, locks nothing. *state is initialised on every path. */
  bool (*load)(smig_ledger_t *self, smig_ledger_state_t *state, smig_error_t *error);
  /*
   * Tries to take the lock once. *won false without error: somebody was faster, read again. When won, *state is the
   * ledger as locked (initialised on every path), lease->fence is set and *sent_boot_ms is when the request was sent.
   * Creates the ledger (and its unique index first) when `seen` does not exist. A backend that must find out whether its store is
   * exclusive does so before. Sets `leftovers` in the same write
   * when the lock had not been released.
   */
  bool (*acquire)(smig_ledger_t *self, smig_lease_t *lease, const smig_acquire_t *acquire, bool *won,
                  smig_ledger_state_t *state, int64_t *sent_boot_ms, smig_error_t *error);
  /*
   * One beat, by lease->ttl_ms; an expiry is never moved back. *ours false without error: somebody else holds the lock. An error:
   * no clear answer.
   */
  bool (*renew)(smig_ledger_t *self, const smig_lease_t *lease, bool *ours, smig_error_t *error);
  /*
   * LOCK_LOST with details.landed: the change is in the ledger, by a try whose answer got lost, but the lock, which it did
   * not release, is not ours any more.
   */
  bool (*commit)(smig_ledger_t *self, const smig_lease_t *lease, const smig_ledger_change_t *change,
                 smig_error_t *error);
  /* Checkpoints: the value is the one field `v` of a document. read initialises *value on every path. */
  bool (*checkpoint_read)(smig_ledger_t *self, const smig_lease_t *lease, const char *step_id, const char *key,
                          bson_t *value, bool *found, smig_error_t *error);
  bool (*checkpoint_write)(smig_ledger_t *self, const smig_lease_t *lease, const char *step_id, const char *key,
                           const bson_t *value, smig_error_t *error);
  bool (*checkpoint_clear)(smig_ledger_t *self, const smig_lease_t *lease, const char *step_id, smig_error_t *error);
  /*
   * Until it is called with NULL: commit and checkpoints are parts of this session's open transaction, and fail with the server's own
   * error (SMIG_FOREIGN). NULL where the backend has no transactions.
   */
  void (*join)(smig_ledger_t *self, struct _mongoc_client_session_t *session);
  /* Ends what runs on the server under this ledger's comment and says whether anything is left. */
  bool (*end_commands)(smig_ledger_t *self, const smig_lease_t *lease, smig_commands_t which,
                       smig_commands_left_t *left, smig_error_t *error);
  /*
   * History: one document a run, beside the ledger and not a part of it: not fenced by the lock, and not counted among a run's writes.
   * `begin` creates it, `finish` puts the whole in its place. Both are tried once.
   */
  bool (*history_begin)(smig_ledger_t *self, const smig_lease_t *lease, const bson_t *document, smig_error_t *error);
  bool (*history_finish)(smig_ledger_t *self, const smig_lease_t *lease, const bson_t *document, smig_error_t *error);
  /* Appends every document to the array *list (initialised by the caller), in no order. */
  bool (*history_list)(smig_ledger_t *self, bson_t *list, smig_error_t *error);
  /* Removes the documents whose `startedAt` is before that time ("2026-04-14T12:31:34.123Z"). */
  bool (*history_prune)(smig_ledger_t *self, const char *before, int64_t *removed, smig_error_t *error);
  /* A second instance with a connection of its own and time limits that suit `ttl_ms`, for the heartbeat. */
  smig_ledger_t *(*reopen)(smig_ledger_t *self, int64_t ttl_ms, smig_error_t *error);
  void (*free)(smig_ledger_t *self);
} smig_ledger_ops_t;

/* Backends embed this as their first member. */
struct smig_ledger {
  const smig_ledger_ops_t *ops;
  char *place; /* for people: "mongodb app.SmartdataEasyStore smartmigration:smartmigration" */
  /* Prefix of every comment up to the run id: "smartmigration:<ledger namespace>/<ledger id>:" ("app.SmartdataEasyStore", "s3:uploads") */
  char *comment_prefix;
  char *
      doubt; /* known since `acquire`: why two runs could both win the lock, accepted by an option; NULL: they cannot */
};

/* NULL is fine. */
void smig_ledger_free(smig_ledger_t *ledger);
/* Sets the lease's run id and holder anew. */
void smig_lease_new(smig_lease_t *lease, int64_t ttl_ms);

#endif
