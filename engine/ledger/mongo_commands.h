/*
 * Commands of a run that outlive their client: found by their comment, ended by their session; and the database users they run as.
 * Users: every ledger of a run with MongoDB, wherever the ledger itself is stored. One thread at a time.
 * Source of the rule: the contract, section 7, "What a dead run left behind".
 */
#ifndef SMIG_LEDGER_MONGO_COMMANDS_H
#define SMIG_LEDGER_MONGO_COMMANDS_H

#include "ledger.h"
#include "mongo_channel.h"

typedef struct smig_mongo_commands {
  smig_mongo_channel_t *channel; /* borrowed; its comment prefix says which commands are meant */
  char *user;                    /* the connection's database users; NULL: not asked yet; "": none */
  char *former_user;             /* of the dead holder whose commands may still run; NULL: not recorded */
} smig_mongo_commands_t;

void smig_mongo_commands_release(smig_mongo_commands_t *self);
/* Ends what is meant and says whether anything is left; see `end_commands` in ledger.h. */
bool smig_mongo_commands_end(smig_mongo_commands_t *self, const smig_lease_t *lease, smig_commands_t which,
                             smig_commands_left_t *left, smig_error_t *error);
/*
 * Ends the open transaction of a holder that is dead or whose time has run out, if `seen` names one: what it wrote, perhaps to the
 * ledger itself, is held against everybody until then. What cannot be ended is left to the server's limit.
 */
void smig_mongo_commands_end_transaction(smig_mongo_commands_t *self, const char *run_id,
                                         const smig_ledger_state_t *seen);
/* What whoever locked this ledger has to know of the former holder. */
void smig_mongo_commands_remember(smig_mongo_commands_t *self, const smig_ledger_state_t *locked);
/* The connection's users, "user@db" separated by commas; asked once. The error is the driver's own. */
bool smig_mongo_commands_user(smig_mongo_commands_t *self, const char *run_id, const char **user, smig_error_t *lower);
/* Whether those users may see and end everybody's commands. */
bool smig_mongo_commands_see_all(smig_mongo_commands_t *self, const char *run_id, bool *see_all, smig_error_t *lower);

#endif
