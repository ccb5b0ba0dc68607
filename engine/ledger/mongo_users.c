/*
 * Who is signed in, and what they may see: a server shows an empty list and says ok to a kill that does nothing when
 * rights are missing. See mongo_commands.h.
 */
#include "mongo_commands.h"

void smig_mongo_commands_release(smig_mongo_commands_t *self) {
  bson_free(self->user);
  bson_free(self->former_user);
  self->user = self->former_user = NULL;
}

void smig_mongo_commands_remember(smig_mongo_commands_t *self, const smig_ledger_state_t *locked) {
  bson_iter_t iter, user;
  bson_free(self->former_user);
  self->former_user = NULL;
  if (bson_iter_init(&iter, &locked->data) && bson_iter_find_descendant(&iter, "leftovers.user", &user) &&
      BSON_ITER_HOLDS_UTF8(&user))
    self->former_user = bson_strdup(bson_iter_utf8(&user, NULL));
}

static bool connection_status(smig_mongo_commands_t *self, const char *run_id, bool privileges, bson_t *reply,
                              smig_error_t *lower) {
  smig_mongo_patience_t patience = smig_mongo_channel_patience(self->channel);
  for (;;) {
    bson_t command = BSON_INITIALIZER;
    BCON_APPEND(&command, "connectionStatus", BCON_INT32(1), "showPrivileges", BCON_BOOL(privileges));
    bool ok =
        smig_mongo_channel_command(self->channel, SMIG_MONGO_CHANNEL_PLAIN, "admin", &command, run_id, reply, lower);
    bson_destroy(&command);
    /* The driver does not send it again by itself. */
    if (ok || !smig_mongo_channel_unclear(lower) || !smig_mongo_channel_again(&patience)) return ok;
    bson_destroy(reply);
    smig_error_release(lower);
  }
}

bool smig_mongo_commands_user(smig_mongo_commands_t *self, const char *run_id, const char **user, smig_error_t *lower) {
  bson_t reply;
  bson_iter_t iter, users, list, item;
  bool ok = true;
  if (!self->user) {
    ok = connection_status(self, run_id, false, &reply, lower);
    bson_string_t *names = bson_string_new("");
    if (ok && bson_iter_init(&iter, &reply) &&
        bson_iter_find_descendant(&iter, "authInfo.authenticatedUsers", &users) && bson_iter_recurse(&users, &list)) {
      while (bson_iter_next(&list)) {
        bson_iter_t database;
        if (!bson_iter_recurse(&list, &item) || !bson_iter_find(&item, "user") || !BSON_ITER_HOLDS_UTF8(&item))
          continue;
        bool has_database = bson_iter_recurse(&list, &database) && bson_iter_find(&database, "db");
        bson_string_append_printf(names, "%s%s@%s", names->len ? "," : "", bson_iter_utf8(&item, NULL),
                                  has_database ? bson_iter_utf8(&database, NULL) : "");
      }
    }
    self->user = bson_string_free(names, !ok);
    bson_destroy(&reply);
  }
  *user = self->user;
  return ok;
}

static bool holds(const bson_iter_t *privilege, const char *action) {
  bson_iter_t iter, list;
  if (!bson_iter_recurse(privilege, &iter) || !bson_iter_find(&iter, "actions") || !bson_iter_recurse(&iter, &list))
    return false;
  while (bson_iter_next(&list))
    if (BSON_ITER_HOLDS_UTF8(&list) && strcmp(bson_iter_utf8(&list, NULL), action) == 0) return true;
  return false;
}

bool smig_mongo_commands_see_all(smig_mongo_commands_t *self, const char *run_id, bool *see_all, smig_error_t *lower) {
  bson_t reply;
  bson_iter_t iter, privileges, list;
  bool sees = false, ends = false;
  bool ok = connection_status(self, run_id, true, &reply, lower);
  if (ok && bson_iter_init(&iter, &reply) &&
      bson_iter_find_descendant(&iter, "authInfo.authenticatedUserPrivileges", &privileges) &&
      bson_iter_recurse(&privileges, &list)) {
    while (bson_iter_next(&list)) {
      sees = sees || holds(&list, "inprog") || holds(&list, "anyAction");
      ends = ends || holds(&list, "killAnySession") || holds(&list, "anyAction");
    }
  }
  *see_all = sees && ends;
  bson_destroy(&reply);
  return ok;
}
