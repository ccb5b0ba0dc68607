/*
 * Commands that outlive their client: found by their comment in $currentOp, ended by their session. See
 * mongo_commands.h; source of the rule: the contract, section 7, "What a dead run left behind".
 *
 * Only commands of steps are ended: the comment of the ledger's own commands has no step, they name their holder
 * themselves, and a waiter's must not be disturbed. An idle transaction shows no comment, so a transactional step's session
 * is recorded by the beat before it. Other idle transactions cannot go on without their client, and the server ends them.
 */
#include "mongo_commands.h"

#include "fault.h"

enum { UNAUTHORIZED = 13, LOOKS = 5, LOOK_AGAIN_MS = 20, RUN_ID_LENGTH = SMIG_RUN_ID_SIZE - 1 };

/* Whose commands are meant by a comment, behind the ledger's prefix: "<run id>:<step id>". */
static bool is_meant(const char *comment, const char *run_id, smig_commands_t which) {
  if (strspn(comment, "0123456789abcdef") != RUN_ID_LENGTH || comment[RUN_ID_LENGTH] != ':' ||
      !comment[RUN_ID_LENGTH + 1])
    return false;
  bool ours = strncmp(comment, run_id, RUN_ID_LENGTH) == 0;
  return which == SMIG_COMMANDS_OF_OURS ? ours : !ours;
}

/* [$currentOp, those whose comment begins with the prefix, {comment, lsid, opid}] */
static void build_look(const smig_mongo_commands_t *self, bool all_users, bson_t *command) {
  bson_init(command);
  BCON_APPEND(command, "aggregate", BCON_INT32(1), "pipeline", "[",                                                 //
              "{", "$currentOp", "{", "allUsers", BCON_BOOL(all_users), "idleSessions", BCON_BOOL(false), "}", "}", //
              "{", "$project", "{", "lsid", BCON_INT32(1), "opid", BCON_INT32(1), "comment", "{", "$ifNull", "[",
              "$command.comment", "$cursor.originatingCommand.comment", "$originatingCommand.comment", "", "]", "}",
              "}", "}", //
              "{", "$match", "{", "comment", "{", "$type", "string", "}", "$expr", "{", "$eq", "[", "{",
              "$indexOfBytes", "[", "{", "$convert", "{", "input", "$comment", "to", "string", "onError", "", "onNull",
              "", "}", "}", "{", "$literal", BCON_UTF8(self->channel->comment_prefix), "}", "]", "}", BCON_INT32(0),
              "]", "}", "}", "}", "]", "cursor", "{", "batchSize", BCON_INT32(10000), "}");
}

/* *reply is initialised on every path. */
static bool look(smig_mongo_commands_t *self, const char *run_id, bool all_users, bson_t *reply, smig_error_t *lower) {
  bson_t command;
  build_look(self, all_users, &command);
  bool ok =
      smig_mongo_channel_command(self->channel, SMIG_MONGO_CHANNEL_PLAIN, "admin", &command, run_id, reply, lower);
  bson_destroy(&command);
  return ok;
}

static bool kill_with(smig_mongo_commands_t *self, const char *run_id, bson_t *command, smig_error_t *lower) {
  bson_t reply;
  bool ok =
      smig_mongo_channel_command(self->channel, SMIG_MONGO_CHANNEL_PLAIN, "admin", command, run_id, &reply, lower);
  bson_destroy(&reply);
  bson_destroy(command);
  return ok;
}

/* By session, whosever it is; if that is not allowed, by own session; without one, by number. */
static bool end_one(smig_mongo_commands_t *self, const char *run_id, const bson_t *operation, smig_error_t *lower) {
  bson_iter_t lsid, id, opid;
  bson_t command = BSON_INITIALIZER;
  if (bson_iter_init_find(&lsid, operation, "lsid") && bson_iter_recurse(&lsid, &id) && bson_iter_find(&id, "id")) {
    bson_t list, item, pattern;
    BSON_APPEND_ARRAY_BEGIN(&command, "killAllSessionsByPattern", &list);
    BSON_APPEND_DOCUMENT_BEGIN(&list, "0", &item);
    bson_append_iter(&item, "lsid", -1, &lsid);
    bson_append_document_end(&list, &item);
    bson_append_array_end(&command, &list);
    if (kill_with(self, run_id, &command, lower)) return true;
    if (smig_mongo_channel_native(lower) != UNAUTHORIZED) return false;
    smig_error_release(lower);
    bson_init(&command);
    BSON_APPEND_ARRAY_BEGIN(&command, "killSessions", &list);
    BSON_APPEND_DOCUMENT_BEGIN(&list, "0", &pattern);
    bson_append_iter(&pattern, "id", -1, &id);
    bson_append_document_end(&list, &pattern);
    bson_append_array_end(&command, &list);
  } else if (bson_iter_init_find(&opid, operation, "opid")) {
    BCON_APPEND(&command, "killOp", BCON_INT32(1));
    bson_append_iter(&command, "op", -1, &opid);
  }
  return kill_with(self, run_id, &command, lower);
}

/* Ends what is meant in one answer of $currentOp; *count is how many there were. */
static bool end_found(smig_mongo_commands_t *self, const smig_lease_t *lease, smig_commands_t which,
                      const bson_t *reply, size_t *count, smig_error_t *lower) {
  bson_iter_t iter, batch, items;
  size_t prefix = strlen(self->channel->comment_prefix);
  *count = 0;
  if (!bson_iter_init(&iter, reply) || !bson_iter_find_descendant(&iter, "cursor.firstBatch", &batch) ||
      !bson_iter_recurse(&batch, &items))
    return true;
  while (bson_iter_next(&items)) {
    const uint8_t *bytes;
    uint32_t length;
    bson_t operation;
    bson_iter_t comment;
    if (!BSON_ITER_HOLDS_DOCUMENT(&items)) continue;
    bson_iter_document(&items, &length, &bytes);
    bson_init_static(&operation, bytes, length);
    if (!bson_iter_init_find(&comment, &operation, "comment") || !BSON_ITER_HOLDS_UTF8(&comment) ||
        !is_meant(bson_iter_utf8(&comment, NULL) + prefix, lease->run_id, which))
      continue;
    (*count)++;
    if (!end_one(self, lease->run_id, &operation, lower)) return false;
  }
  return true;
}

/* Whether what a look shows is the whole truth about `which`; *all_users is how to look. */
static bool may_know(smig_mongo_commands_t *self, const smig_lease_t *lease, smig_commands_t which, bool *all_users,
                     bool *knows, smig_error_t *lower) {
  const char *user;
  *all_users = *knows = true;
  if (!smig_mongo_commands_user(self, lease->run_id, &user, lower)) return false;
  if (!*user) return true; /* no access control */
  if (!smig_mongo_commands_see_all(self, lease->run_id, all_users, lower)) return false;
  bool same_user = which == SMIG_COMMANDS_OF_OURS || (self->former_user && strcmp(self->former_user, user) == 0);
  *knows = *all_users || same_user;
  return true;
}

void smig_mongo_commands_end_transaction(smig_mongo_commands_t *self, const char *run_id,
                                         const smig_ledger_state_t *seen) {
  bson_iter_t iter, session;
  if (!seen->lock.holder || !bson_iter_init(&iter, &seen->data) ||
      !bson_iter_find_descendant(&iter, "lock.session", &session) || !BSON_ITER_HOLDS_BINARY(&session))
    return;
  bson_t command = BSON_INITIALIZER, list, item;
  BSON_APPEND_ARRAY_BEGIN(&command, "killSessions", &list);
  BSON_APPEND_DOCUMENT_BEGIN(&list, "0", &item);
  bson_append_iter(&item, "id", -1, &session);
  bson_append_document_end(&list, &item);
  bson_append_array_end(&command, &list);
  smig_error_t ignored = SMIG_ERROR_INIT;
  kill_with(self, run_id, &command, &ignored);
  smig_error_release(&ignored);
}

static bool end_all(smig_mongo_commands_t *self, const smig_lease_t *lease, smig_commands_t which,
                    smig_commands_left_t *left, smig_error_t *lower) {
  bool all_users, knows;
  *left = SMIG_COMMANDS_UNKNOWN;
  if (!may_know(self, lease, which, &all_users, &knows, lower)) return false;
  if (!knows) return true;
  for (int i = 0; i < LOOKS; i++) {
    bson_t reply;
    size_t count = 0;
    if (i) smig_clock_sleep_ms(LOOK_AGAIN_MS);
    bool ok =
        look(self, lease->run_id, all_users, &reply, lower) && end_found(self, lease, which, &reply, &count, lower);
    bson_destroy(&reply);
    if (!ok) return false;
    *left = count ? SMIG_COMMANDS_LEFT : SMIG_COMMANDS_NONE_LEFT;
    if (!count) break;
  }
  return true;
}

bool smig_mongo_commands_end(smig_mongo_commands_t *self, const smig_lease_t *lease, smig_commands_t which,
                             smig_commands_left_t *left, smig_error_t *error) {
  smig_error_t lower = SMIG_ERROR_INIT;
  *left = SMIG_COMMANDS_NONE_LEFT;
  if (smig_fault("leftovers")) return true;
  if (end_all(self, lease, which, left, &lower)) return true;
  if (smig_mongo_channel_native(&lower) && !smig_mongo_channel_unclear(&lower)) {
    /* The server refuses to tell or to end. */
    smig_error_release(&lower);
    *left = SMIG_COMMANDS_UNKNOWN;
    return true;
  }
  *left = SMIG_COMMANDS_UNKNOWN;
  smig_mongo_channel_fail(self->channel, "look for commands left behind in", &lower, error);
  return false;
}
