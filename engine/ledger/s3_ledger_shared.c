/* What the instances of one S3 ledger share, see s3_ledger_internal.h. Any thread. */
#include "s3_ledger_internal.h"

#include <pthread.h>

struct smig_s3_shared {
  pthread_mutex_t mutex;
  pthread_cond_t free;
  int users;
  bool writing; /* somebody has the turn */
  bool known;
  smig_s3_snapshot_t latest;
  bool clock_known; /* the server's time = CLOCK_BOOTTIME + clock_offset_ms */
  int64_t clock_offset_ms;
};

smig_s3_shared_t *smig_s3_shared_new(void) {
  smig_s3_shared_t *shared = bson_malloc0(sizeof *shared);
  shared->users = 1;
  pthread_mutex_init(&shared->mutex, NULL);
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&shared->free, &attributes);
  pthread_condattr_destroy(&attributes);
  return shared;
}

smig_s3_shared_t *smig_s3_shared_use(smig_s3_shared_t *shared) {
  pthread_mutex_lock(&shared->mutex);
  shared->users++;
  pthread_mutex_unlock(&shared->mutex);
  return shared;
}

void smig_s3_shared_release(smig_s3_shared_t *shared) {
  pthread_mutex_lock(&shared->mutex);
  bool last = --shared->users == 0;
  pthread_mutex_unlock(&shared->mutex);
  if (!last) return;
  smig_s3_snapshot_release(&shared->latest);
  pthread_cond_destroy(&shared->free);
  pthread_mutex_destroy(&shared->mutex);
  bson_free(shared);
}

bool smig_s3_shared_begin_turn(smig_s3_shared_t *shared, int64_t limit_ms) {
  struct timespec end;
  clock_gettime(CLOCK_MONOTONIC, &end);
  end.tv_sec += limit_ms / 1000;
  end.tv_nsec += limit_ms % 1000 * 1000000;
  if (end.tv_nsec >= 1000000000) {
    end.tv_sec++;
    end.tv_nsec -= 1000000000;
  }
  pthread_mutex_lock(&shared->mutex);
  int failed = 0;
  while (shared->writing && !failed) failed = pthread_cond_timedwait(&shared->free, &shared->mutex, &end);
  bool ours = !shared->writing;
  shared->writing = true;
  pthread_mutex_unlock(&shared->mutex);
  return ours;
}

void smig_s3_shared_end_turn(smig_s3_shared_t *shared) {
  pthread_mutex_lock(&shared->mutex);
  shared->writing = false;
  pthread_cond_signal(&shared->free);
  pthread_mutex_unlock(&shared->mutex);
}

void smig_s3_shared_remember(smig_s3_shared_t *shared, const smig_s3_snapshot_t *latest) {
  pthread_mutex_lock(&shared->mutex);
  smig_s3_snapshot_copy(&shared->latest, latest);
  shared->known = true;
  if (latest->date_ms) {
    shared->clock_known = true;
    shared->clock_offset_ms = latest->date_ms - latest->answered_boot_ms;
  }
  pthread_mutex_unlock(&shared->mutex);
}

bool smig_s3_shared_recall(smig_s3_shared_t *shared, smig_s3_snapshot_t *latest) {
  pthread_mutex_lock(&shared->mutex);
  bool known = shared->known;
  if (known) smig_s3_snapshot_copy(latest, &shared->latest);
  pthread_mutex_unlock(&shared->mutex);
  return known;
}

bool smig_s3_shared_now(smig_s3_shared_t *shared, int64_t *wall_ms) {
  pthread_mutex_lock(&shared->mutex);
  bool known = shared->clock_known;
  *wall_ms = smig_clock_boot_ms() + shared->clock_offset_ms;
  pthread_mutex_unlock(&shared->mutex);
  return known;
}
