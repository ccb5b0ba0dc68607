/*
 * The ledger in memory, see memory_ledger.h: the interface's rules without a server. Ledgers of one store may be used
 * by different threads; the store's mutex makes each operation atomic.
 */
#include "memory_ledger.h"

#include "data.h"
#include "memory_history.h"

#include <pthread.h>

struct smig_memory_store {
  pthread_mutex_t mutex;
  bson_t *data;    /* NULL: no ledger is stored */
  bson_t *history; /* {run id: document}, or NULL */
  int64_t ahead_ms;
};

typedef struct memory_ledger {
  smig_ledger_t base;
  smig_memory_store_t *store; /* borrowed */
} memory_ledger_t;

static const char place[] = "memory";

smig_memory_store_t *smig_memory_store_new(void) {
  smig_memory_store_t *store = bson_malloc0(sizeof *store);
  pthread_mutex_init(&store->mutex, NULL);
  return store;
}

void smig_memory_store_free(smig_memory_store_t *store) {
  if (!store) return;
  pthread_mutex_destroy(&store->mutex);
  bson_destroy(store->data);
  bson_destroy(store->history);
  bson_free(store);
}

void smig_memory_store_get(smig_memory_store_t *store, bson_t *data) {
  pthread_mutex_lock(&store->mutex);
  if (store->data)
    bson_copy_to(store->data, data);
  else
    bson_init(data);
  pthread_mutex_unlock(&store->mutex);
}

void smig_memory_store_set(smig_memory_store_t *store, const bson_t *data) {
  pthread_mutex_lock(&store->mutex);
  bson_destroy(store->data);
  store->data = data ? bson_copy(data) : NULL;
  if (!data) {
    bson_destroy(store->history);
    store->history = NULL;
  }
  pthread_mutex_unlock(&store->mutex);
}

void smig_memory_store_advance(smig_memory_store_t *store, int64_t ms) {
  pthread_mutex_lock(&store->mutex);
  store->ahead_ms += ms;
  pthread_mutex_unlock(&store->mutex);
}

static smig_memory_store_t *store_of(smig_ledger_t *self) {
  return ((memory_ledger_t *)self)->store;
}

static int64_t now_ms(const smig_memory_store_t *store) {
  return smig_clock_wall_ms() + store->ahead_ms;
}

/* The functions down to `apply`, and `take`, are called with the mutex held. */
static bool parse(const smig_memory_store_t *store, smig_ledger_state_t *state, smig_error_t *error) {
  return smig_ledger_state_parse(state, store->data, now_ms(store), place, error);
}

static void apply(smig_memory_store_t *store, const smig_edits_t *edits) {
  bson_t out, empty = BSON_INITIALIZER;
  smig_edits_apply(edits, store->data ? store->data : &empty, &out);
  bson_destroy(store->data);
  store->data = bson_copy(&out);
  bson_destroy(&out);
}

static bool load(smig_ledger_t *self, smig_ledger_state_t *state, smig_error_t *error) {
  smig_memory_store_t *store = store_of(self);
  pthread_mutex_lock(&store->mutex);
  bool ok = parse(store, state, error);
  pthread_mutex_unlock(&store->mutex);
  return ok;
}

static void take(smig_memory_store_t *store, const smig_lease_t *lease, const smig_ledger_state_t *former) {
  int64_t now = now_ms(store);
  smig_edits_t edits = SMIG_EDITS_INIT;
  smig_data_take(&edits, former, lease, now, now + lease->ttl_ms, "");
  apply(store, &edits);
  smig_edits_release(&edits);
}

static bool acquire(smig_ledger_t *self, smig_lease_t *lease, const smig_acquire_t *request, bool *won,
                    smig_ledger_state_t *state, int64_t *sent_boot_ms, smig_error_t *error) {
  smig_memory_store_t *store = store_of(self);
  smig_ledger_state_t former;
  *won = false;
  *sent_boot_ms = smig_clock_boot_ms();
  smig_ledger_state_init(state);
  pthread_mutex_lock(&store->mutex);
  bool ok = parse(store, &former, error);
  if (ok && smig_data_may_take(&former, lease, request)) {
    take(store, lease, &former);
    ok = parse(store, state, error);
    *won = ok;
    lease->fence = state->lock.fence;
  }
  smig_ledger_state_release(&former);
  pthread_mutex_unlock(&store->mutex);
  return ok;
}

static bool renew(smig_ledger_t *self, const smig_lease_t *lease, bool *ours, smig_error_t *error) {
  (void)error; /* memory answers clearly */
  smig_memory_store_t *store = store_of(self);
  pthread_mutex_lock(&store->mutex);
  *ours = smig_data_held_by(store->data, lease->holder);
  if (*ours) {
    smig_edits_t edits = SMIG_EDITS_INIT;
    smig_data_extend(&edits, store->data, now_ms(store) + lease->ttl_ms);
    apply(store, &edits);
    smig_edits_release(&edits);
  }
  pthread_mutex_unlock(&store->mutex);
  return true;
}

/* Applies edits if the lease still holds the lock; takes over the edits. */
static bool write_fenced(smig_memory_store_t *store, const smig_lease_t *lease, smig_edits_t *edits,
                         smig_error_t *error) {
  pthread_mutex_lock(&store->mutex);
  bool ours = smig_data_held_by(store->data, lease->holder);
  if (ours)
    apply(store, edits);
  else
    smig_data_set_lost(store->data, place, error);
  pthread_mutex_unlock(&store->mutex);
  smig_edits_release(edits);
  return ours;
}

static bool commit(smig_ledger_t *self, const smig_lease_t *lease, const smig_ledger_change_t *change,
                   smig_error_t *error) {
  smig_memory_store_t *store = store_of(self);
  char iso[SMIG_ISO_SIZE];
  smig_edits_t edits = SMIG_EDITS_INIT;
  pthread_mutex_lock(&store->mutex);
  smig_clock_iso(now_ms(store), iso);
  pthread_mutex_unlock(&store->mutex);
  smig_edits_of_change(&edits, change, lease, iso);
  return write_fenced(store, lease, &edits, error);
}

static bool checkpoint_read(smig_ledger_t *self, const smig_lease_t *lease, const char *step_id, const char *key,
                            bson_t *value, bool *found, smig_error_t *error) {
  (void)lease;
  (void)error;
  smig_memory_store_t *store = store_of(self);
  bson_iter_t iter;
  bson_init(value);
  pthread_mutex_lock(&store->mutex);
  *found = smig_data_find(store->data, "checkpoints", step_id, key, &iter);
  if (*found) bson_append_iter(value, "v", 1, &iter);
  pthread_mutex_unlock(&store->mutex);
  return true;
}

static bool checkpoint_write(smig_ledger_t *self, const smig_lease_t *lease, const char *step_id, const char *key,
                             const bson_t *value, smig_error_t *error) {
  smig_memory_store_t *store = store_of(self);
  smig_edits_t edits = SMIG_EDITS_INIT;
  pthread_mutex_lock(&store->mutex);
  bool fits = smig_data_checkpoint(&edits, store->data, step_id, key, value, error);
  pthread_mutex_unlock(&store->mutex);
  return fits && write_fenced(store, lease, &edits, error);
}

static bool checkpoint_clear(smig_ledger_t *self, const smig_lease_t *lease, const char *step_id, smig_error_t *error) {
  smig_edits_t edits = SMIG_EDITS_INIT;
  smig_edits_remove(&edits, "checkpoints", step_id, NULL);
  return write_fenced(store_of(self), lease, &edits, error);
}

/* Memory runs no commands. */
static bool end_commands(smig_ledger_t *self, const smig_lease_t *lease, smig_commands_t which,
                         smig_commands_left_t *left, smig_error_t *error) {
  (void)self;
  (void)lease;
  (void)which;
  (void)error;
  *left = SMIG_COMMANDS_NONE_LEFT;
  return true;
}

/* Each write of this backend is atomic by itself, and there is nothing a transaction could hold besides. */
static void join(smig_ledger_t *self, struct _mongoc_client_session_t *session) {
  (void)self;
  (void)session;
}

static bool history_write(smig_ledger_t *self, const smig_lease_t *lease, const bson_t *document, smig_error_t *error) {
  (void)error;
  smig_memory_store_t *store = store_of(self);
  pthread_mutex_lock(&store->mutex);
  smig_memory_history_put(&store->history, lease->run_id, document);
  pthread_mutex_unlock(&store->mutex);
  return true;
}

static bool history_list(smig_ledger_t *self, bson_t *list, smig_error_t *error) {
  (void)error;
  smig_memory_store_t *store = store_of(self);
  pthread_mutex_lock(&store->mutex);
  smig_memory_history_list(store->history, list);
  pthread_mutex_unlock(&store->mutex);
  return true;
}

static bool history_prune(smig_ledger_t *self, const char *before, int64_t *removed, smig_error_t *error) {
  (void)error;
  smig_memory_store_t *store = store_of(self);
  pthread_mutex_lock(&store->mutex);
  *removed = smig_memory_history_prune(&store->history, before);
  pthread_mutex_unlock(&store->mutex);
  return true;
}

static smig_ledger_t *reopen(smig_ledger_t *self, int64_t ttl_ms, smig_error_t *error) {
  (void)ttl_ms;
  (void)error;
  return smig_memory_ledger_new(store_of(self));
}

static void memory_free(smig_ledger_t *self) {
  bson_free(self->place);
  bson_free(self->comment_prefix);
  bson_free(self);
}

static const smig_ledger_ops_t ops = {
    .capabilities = SMIG_LEDGER_ATOMIC | SMIG_LEDGER_SERVER_CLOCK,
    .load = load,
    .acquire = acquire,
    .renew = renew,
    .commit = commit,
    .checkpoint_read = checkpoint_read,
    .checkpoint_write = checkpoint_write,
    .checkpoint_clear = checkpoint_clear,
    .join = join,
    .end_commands = end_commands,
    .history_begin = history_write,
    .history_finish = history_write,
    .history_list = history_list,
    .history_prune = history_prune,
    .reopen = reopen,
    .free = memory_free,
};

smig_ledger_t *smig_memory_ledger_new(smig_memory_store_t *store) {
  memory_ledger_t *ledger = bson_malloc0(sizeof *ledger);
  ledger->base.ops = &ops;
  ledger->base.place = bson_strdup(place);
  ledger->base.comment_prefix = bson_strdup("smartmigration:memory/smartmigration:");
  ledger->store = store;
  return &ledger->base;
}
