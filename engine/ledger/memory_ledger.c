/*
 * The ledger in memory, see memory_ledger.h: the interface's rules without a server. Ledgers of one store may be used
 * by different threads; the store's mutex makes each operation atomic.
 */
#include "memory_ledger.h"

#include "edits.h"
#include "fault.h"
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

/* The functions down to `holder_is` are called with the mutex held. */
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

static bool find(const bson_t *data, const char *first, const char *second, const char *third, bson_iter_t *iter) {
  const char *path[] = {first, second, third};
  if (!data || !bson_iter_init_find(iter, data, first)) return false;
  for (size_t i = 1; i < 3 && path[i]; i++) {
    bson_iter_t child;
    if (!BSON_ITER_HOLDS_DOCUMENT(iter) || !bson_iter_recurse(iter, &child) || !bson_iter_find(&child, path[i]))
      return false;
    *iter = child;
  }
  return true;
}

static bool holder_is(const smig_memory_store_t *store, const char *holder) {
  bson_iter_t iter;
  return find(store->data, "lock", "holder", NULL, &iter) && BSON_ITER_HOLDS_UTF8(&iter) &&
         strcmp(bson_iter_utf8(&iter, NULL), holder) == 0;
}

static void set_lost(const smig_memory_store_t *store, smig_error_t *error) {
  bson_iter_t iter;
  bool held = find(store->data, "lock", "holder", NULL, &iter) && BSON_ITER_HOLDS_UTF8(&iter);
  smig_lock_lost(place, held ? bson_iter_utf8(&iter, NULL) : NULL, error);
}

static bool load(smig_ledger_t *self, smig_ledger_state_t *state, smig_error_t *error) {
  smig_memory_store_t *store = store_of(self);
  pthread_mutex_lock(&store->mutex);
  bool ok = parse(store, state, error);
  pthread_mutex_unlock(&store->mutex);
  return ok;
}

static bool same(const char *left, const char *right) {
  return left && right ? strcmp(left, right) == 0 : left == right;
}

static bool same_expiry(const bson_t *left, const bson_t *right) {
  bson_iter_t left_iter, right_iter;
  bool has_left = find(left, "lock", "expiresAt", NULL, &left_iter);
  bool has_right = find(right, "lock", "expiresAt", NULL, &right_iter);
  if (!has_left || !has_right) return has_left == has_right;
  bson_t left_value = BSON_INITIALIZER, right_value = BSON_INITIALIZER;
  bson_append_iter(&left_value, "v", 1, &left_iter);
  bson_append_iter(&right_value, "v", 1, &right_iter);
  bool equal = bson_equal(&left_value, &right_value);
  bson_destroy(&left_value);
  bson_destroy(&right_value);
  return equal;
}

static bool may_take(const smig_ledger_state_t *now, const smig_lease_t *lease, const smig_acquire_t *acquire) {
  if (smig_fault("lock-condition")) return true;
  if (now->exists != acquire->seen->exists || !same(now->lock.holder, acquire->seen->lock.holder)) return false;
  if (acquire->dead) return same_expiry(&now->data, &acquire->seen->data);
  return !now->lock.holder || same(now->lock.holder, lease->holder) || now->lock.expiry == SMIG_EXPIRY_PAST;
}

/* Sets a time of the lock, in the BSON type it had; as an ISO string where there was none. */
static void set_time(smig_edits_t *edits, const bson_t *data, const char *field, int64_t wall_ms) {
  bson_iter_t iter;
  if (find(data, "lock", field, NULL, &iter) && BSON_ITER_HOLDS_DATE_TIME(&iter)) {
    bson_value_t value = {.value_type = BSON_TYPE_DATE_TIME};
    value.value.v_datetime = wall_ms;
    smig_edits_set(edits, &value, "lock", field, NULL);
  } else {
    char iso[SMIG_ISO_SIZE];
    smig_clock_iso(wall_ms, iso);
    smig_edits_set_utf8(edits, iso, "lock", field, NULL);
  }
}

static void take(smig_memory_store_t *store, const smig_lease_t *lease, const smig_ledger_state_t *former) {
  int64_t now = now_ms(store), fence = former->lock.fence + 1;
  char iso[SMIG_ISO_SIZE];
  smig_edits_t edits = SMIG_EDITS_INIT;
  smig_clock_iso(now, iso);
  if (former->lock.holder && strcmp(former->lock.holder, lease->holder) != 0) {
    char run[SMIG_RUN_ID_SIZE];
    smig_holder_run_id(former->lock.holder, run);
    smig_edits_set_utf8(&edits, run, "leftovers", "run", NULL);
    smig_edits_set_utf8(&edits, former->lock.holder, "leftovers", "holder", NULL);
    if (former->lock.user) smig_edits_set_utf8(&edits, former->lock.user, "leftovers", "user", NULL);
    int64_t ttl = smig_ledger_state_leftovers_ttl_ms(former);
    if (ttl > 0) smig_edits_set_number(&edits, ttl, "leftovers", "ttlMs", NULL);
    smig_edits_set_utf8(&edits, iso, "leftovers", "at", NULL);
  }
  bson_value_t number = {.value_type = BSON_TYPE_INT64};
  number.value.v_int64 = fence > now ? fence : now;
  smig_edits_set_utf8(&edits, lease->holder, "lock", "holder", NULL);
  set_time(&edits, &former->data, "acquiredAt", now);
  set_time(&edits, &former->data, "expiresAt", now + lease->ttl_ms);
  smig_edits_set(&edits, &number, "lock", "fence", NULL);
  smig_edits_set_number(&edits, lease->ttl_ms, "lock", "ttlMs", NULL);
  smig_edits_set_utf8(&edits, "", "lock", "user", NULL);
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
  if (ok && may_take(&former, lease, request)) {
    take(store, lease, &former);
    ok = parse(store, state, error);
    *won = ok;
    lease->fence = state->lock.fence;
  }
  smig_ledger_state_release(&former);
  pthread_mutex_unlock(&store->mutex);
  return ok;
}

/* When the lock expires, in ms; 0 when that cannot be read. */
static int64_t stored_expiry(const smig_memory_store_t *store) {
  smig_ledger_state_t state;
  smig_error_t ignored = SMIG_ERROR_INIT;
  int64_t expiry = 0;
  bool known = smig_ledger_state_parse(&state, store->data, now_ms(store), place, &ignored);
  if (!known || !smig_clock_from_iso(state.lock.expires_at, &expiry)) expiry = 0;
  smig_error_release(&ignored);
  smig_ledger_state_release(&state);
  return expiry;
}

static bool renew(smig_ledger_t *self, const smig_lease_t *lease, bool *ours, smig_error_t *error) {
  (void)error; /* memory answers clearly */
  smig_memory_store_t *store = store_of(self);
  pthread_mutex_lock(&store->mutex);
  *ours = holder_is(store, lease->holder);
  if (*ours) {
    smig_edits_t edits = SMIG_EDITS_INIT;
    int64_t expiry = now_ms(store) + lease->ttl_ms, former = stored_expiry(store);
    set_time(&edits, store->data, "expiresAt", expiry > former ? expiry : former);
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
  bool ours = holder_is(store, lease->holder);
  if (ours)
    apply(store, edits);
  else
    set_lost(store, error);
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
  *found = find(store->data, "checkpoints", step_id, key, &iter);
  if (*found) bson_append_iter(value, "v", 1, &iter);
  pthread_mutex_unlock(&store->mutex);
  return true;
}

static bool checkpoint_write(smig_ledger_t *self, const smig_lease_t *lease, const char *step_id, const char *key,
                             const bson_t *value, smig_error_t *error) {
  smig_memory_store_t *store = store_of(self);
  bson_iter_t iter, old;
  smig_edits_t edits = SMIG_EDITS_INIT;
  if (!smig_checkpoint_fits(step_id, key, value, error)) return false;
  if (!bson_iter_init_find(&iter, value, "v")) {
    smig_error_set(error, SMIG_INVALID_OPTIONS, "checkpoint \"%s\" of step \"%s\" has no value", key, step_id);
    return false;
  }
  pthread_mutex_lock(&store->mutex);
  int64_t size = (store->data ? store->data->len : 0) + (int64_t)value->len;
  if (find(store->data, "checkpoints", step_id, key, &old)) {
    bson_t former = BSON_INITIALIZER;
    bson_append_iter(&former, "v", 1, &old);
    size -= former.len;
    bson_destroy(&former);
  }
  pthread_mutex_unlock(&store->mutex);
  if (size > SMIG_LEDGER_MAX) {
    smig_checkpoint_overfills(step_id, key, size, error);
    return false;
  }
  smig_edits_set(&edits, bson_iter_value(&iter), "checkpoints", step_id, key);
  return write_fenced(store, lease, &edits, error);
}

static bool checkpoint_clear(smig_ledger_t *self, const smig_lease_t *lease, const char *step_id, smig_error_t *error) {
  smig_edits_t edits = SMIG_EDITS_INIT;
  smig_edits_remove(&edits, "checkpoints", step_id, NULL);
  return write_fenced(store_of(self), lease, &edits, error);
}

/* Memory runs no commands, holds nothing else and has no other names. */
static bool end_commands(smig_ledger_t *self, const smig_lease_t *lease, smig_commands_t which,
                         smig_commands_left_t *left, smig_error_t *error) {
  (void)self;
  (void)lease;
  (void)which;
  (void)error;
  *left = SMIG_COMMANDS_NONE_LEFT;
  return true;
}

static bool is_fresh(smig_ledger_t *self, const char *const *scope, bool *fresh, char **why, smig_error_t *error) {
  (void)self;
  (void)scope;
  (void)error;
  *fresh = true;
  *why = NULL;
  return true;
}

static bool check_elsewhere(smig_ledger_t *self, char **others, smig_error_t *error) {
  (void)self;
  *others = NULL;
  (void)error;
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
    .is_fresh = is_fresh,
    .check_elsewhere = check_elsewhere,
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
