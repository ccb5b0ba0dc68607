/*
 * The hashing worker: SHA-256 of big bodies, so that a client's other exchanges go on meanwhile. See internal.h.
 * Threads: the worker reads the bytes of the job it has and writes the job's result; everything else is the client's. `lock` guards
 * the queue and the flags of jobs; a job that is cancelled while it is worked on is let go at the next piece.
 */
#include "internal.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

struct smig_s3_hasher {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  pthread_t thread;
  bool running, ending;
  smig_s3_hash_job_t *first, *current;
  void (*wake)(void *);
  void *user;
};

smig_s3_hasher_t *smig_s3_hasher_new(void (*wake)(void *), void *user) {
  smig_s3_hasher_t *hasher = bson_malloc0(sizeof *hasher);
  pthread_mutex_init(&hasher->lock, NULL);
  pthread_cond_init(&hasher->changed, NULL);
  hasher->wake = wake;
  hasher->user = user;
  return hasher;
}

static bool is_unwanted(smig_s3_hasher_t *hasher, const smig_s3_hash_job_t *job) {
  pthread_mutex_lock(&hasher->lock);
  bool unwanted = job->cancelled || hasher->ending;
  pthread_mutex_unlock(&hasher->lock);
  return unwanted;
}

/* The next piece: of memory in place, of a file in `buffer`; NULL with job->failure. */
static const void *piece_of(smig_s3_hash_job_t *job, int64_t at, char *buffer, size_t *length) {
  if (*length > (size_t)(job->length - at)) *length = (size_t)(job->length - at);
  if (job->memory) return (const char *)job->memory + at;
  ssize_t got;
  do got = pread(job->file, buffer, *length, (off_t)(job->offset + at));
  while (got < 0 && errno == EINTR);
  if (got <= 0) {
    job->failure = got < 0 ? errno : ENODATA;
    return NULL;
  }
  *length = (size_t)got;
  return buffer;
}

static void work(smig_s3_hasher_t *hasher, smig_s3_hash_job_t *job, char *buffer) {
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  if (!context || !EVP_DigestInit_ex(context, EVP_sha256(), NULL)) abort();
  for (int64_t at = 0; at < job->length && !is_unwanted(hasher, job);) {
    size_t length = PIECE;
    const void *piece = piece_of(job, at, buffer, &length);
    if (!piece) break;
    if (!EVP_DigestUpdate(context, piece, length)) abort();
    at += (int64_t)length;
  }
  if (!EVP_DigestFinal_ex(context, job->digest, NULL)) abort();
  EVP_MD_CTX_free(context);
}

static void *run(void *argument) {
  smig_s3_hasher_t *hasher = argument;
  char *buffer = bson_malloc(PIECE);
  pthread_mutex_lock(&hasher->lock);
  while (!hasher->ending) {
    smig_s3_hash_job_t *job = hasher->current = hasher->first;
    if (!job) {
      pthread_cond_wait(&hasher->changed, &hasher->lock);
      continue;
    }
    hasher->first = job->next;
    pthread_mutex_unlock(&hasher->lock);
    work(hasher, job, buffer);
    pthread_mutex_lock(&hasher->lock);
    job->done = true;
    hasher->current = NULL;
    pthread_cond_broadcast(&hasher->changed);
    pthread_mutex_unlock(&hasher->lock);
    hasher->wake(hasher->user);
    pthread_mutex_lock(&hasher->lock);
  }
  pthread_mutex_unlock(&hasher->lock);
  bson_free(buffer);
  return NULL;
}

void smig_s3_hasher_free(smig_s3_hasher_t *hasher) {
  if (!hasher) return;
  pthread_mutex_lock(&hasher->lock);
  hasher->ending = true;
  pthread_cond_broadcast(&hasher->changed);
  pthread_mutex_unlock(&hasher->lock);
  if (hasher->running) pthread_join(hasher->thread, NULL);
  pthread_cond_destroy(&hasher->changed);
  pthread_mutex_destroy(&hasher->lock);
  bson_free(hasher);
}

/* Without a thread to be had the job is done here and now. */
static bool start_thread(smig_s3_hasher_t *hasher) {
  if (!hasher->running) hasher->running = pthread_create(&hasher->thread, NULL, run, hasher) == 0;
  return hasher->running;
}

void smig_s3_hasher_submit(smig_s3_hasher_t *hasher, smig_s3_hash_job_t *job) {
  if (!start_thread(hasher)) {
    char *buffer = bson_malloc(PIECE);
    work(hasher, job, buffer);
    job->done = true;
    bson_free(buffer);
    return;
  }
  pthread_mutex_lock(&hasher->lock);
  smig_s3_hash_job_t **end = &hasher->first;
  while (*end) end = &(*end)->next;
  job->next = NULL;
  *end = job;
  pthread_cond_broadcast(&hasher->changed);
  pthread_mutex_unlock(&hasher->lock);
}

bool smig_s3_hasher_is_done(smig_s3_hasher_t *hasher, const smig_s3_hash_job_t *job) {
  pthread_mutex_lock(&hasher->lock);
  bool done = job->done;
  pthread_mutex_unlock(&hasher->lock);
  return done;
}

void smig_s3_hasher_cancel(smig_s3_hasher_t *hasher, smig_s3_hash_job_t *job) {
  pthread_mutex_lock(&hasher->lock);
  job->cancelled = true;
  for (smig_s3_hash_job_t **at = &hasher->first; *at; at = &(*at)->next)
    if (*at == job) {
      *at = job->next;
      break;
    }
  while (hasher->current == job) pthread_cond_wait(&hasher->changed, &hasher->lock);
  pthread_mutex_unlock(&hasher->lock);
}
