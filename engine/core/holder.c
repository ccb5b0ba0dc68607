/*
 * The holder string and the proof of a dead holder. See holder.h.
 * No units (start times are in the kernel's ticks since boot, compared as text). No errors: what cannot be read is "-"
 * in our own string and proves nothing in a foreign one. Any thread.
 */
#include "holder.h"

#include <bson/bson.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { HOST_SIZE = 128, FIELD_SIZE = 64, RUN_ID_LENGTH = SMIG_RUN_ID_SIZE - 1 };

static const char unknown[] = "-";

/* The parts of a holder string behind the run id, in its order. */
typedef struct identity {
  char host[HOST_SIZE], boot_id[FIELD_SIZE], pid_namespace[FIELD_SIZE], time_namespace[FIELD_SIZE], pid[FIELD_SIZE],
      start_time[FIELD_SIZE];
} identity_t;

/* What the proof needs of /proc/<pid>/stat. */
typedef struct process_stat {
  char state;
  long threads;
  char start_time[FIELD_SIZE];
} process_stat_t;

void smig_run_id_new(char out[SMIG_RUN_ID_SIZE]) {
  unsigned char bytes[RUN_ID_LENGTH / 2];
  size_t have = 0;
  while (have < sizeof bytes) {
    ssize_t got = getrandom(bytes + have, sizeof bytes - have, 0);
    if (got < 0 && errno != EINTR) abort(); /* a run id that is not unique would let two runs be one holder */
    if (got > 0) have += (size_t)got;
  }
  for (size_t i = 0; i < sizeof bytes; i++) snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static bool read_file(const char *path, char *out, size_t size) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  ssize_t got = read(file, out, size - 1);
  close(file);
  if (got <= 0) return false;
  out[got] = '\0';
  return true;
}

/* "pid:[4026531836]" -> "4026531836" */
static void read_namespace(const char *path, char out[FIELD_SIZE]) {
  char link[FIELD_SIZE];
  ssize_t length = readlink(path, link, sizeof link - 1);
  link[length > 0 ? length : 0] = '\0';
  const char *digits = strchr(link, '[');
  size_t count = digits ? strspn(digits + 1, "0123456789") : 0;
  if (count)
    snprintf(out, FIELD_SIZE, "%.*s", (int)count, digits + 1);
  else
    strcpy(out, unknown);
}

/* The command's name, in parentheses, may hold anything: the fields begin behind the last one. */
static bool read_stat(const char *path, process_stat_t *stat) {
  char text[1024];
  if (!read_file(path, text, sizeof text)) return false;
  const char *fields = strrchr(text, ')');
  return fields &&
         sscanf(fields + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %ld %*s %63s",
                &stat->state, &stat->threads, stat->start_time) == 3;
}

static void identify_self(identity_t *self) {
  if (gethostname(self->host, sizeof self->host) != 0 || !self->host[0]) strcpy(self->host, unknown);
  self->host[HOST_SIZE - 1] = '\0';
  for (char *c = self->host; *c; c++) {
    if (!isalnum((unsigned char)*c) && !strchr("-_.:", *c)) *c = '_'; /* '/' and '@' separate */
  }
  if (!read_file("/proc/sys/kernel/random/boot_id", self->boot_id, sizeof self->boot_id)) self->boot_id[0] = '\0';
  self->boot_id[strcspn(self->boot_id, "\n")] = '\0';
  if (!self->boot_id[0]) strcpy(self->boot_id, unknown);
  read_namespace("/proc/self/ns/pid", self->pid_namespace);
  read_namespace("/proc/self/ns/time", self->time_namespace);
  snprintf(self->pid, sizeof self->pid, "%ld", (long)getpid());
  process_stat_t stat;
  strcpy(self->start_time, read_stat("/proc/self/stat", &stat) ? stat.start_time : unknown);
}

void smig_holder_new(const char *run_id, char out[SMIG_HOLDER_SIZE]) {
  identity_t self;
  identify_self(&self);
  snprintf(out, SMIG_HOLDER_SIZE, "%s@%s/%s/%s/%s/%s/%s", run_id, self.host, self.boot_id, self.pid_namespace,
           self.time_namespace, self.pid, self.start_time);
}

static bool has_run_id(const char *holder) {
  size_t length = strspn(holder, "0123456789abcdef");
  return length == RUN_ID_LENGTH && holder[length] == '@';
}

/* Copies one part up to `end`; false when it is empty or too long. */
static bool copy_part(const char **at, char end, char *out, size_t size) {
  size_t length = strcspn(*at, "/");
  if (!length || length >= size || (*at)[length] != end) return false;
  memcpy(out, *at, length);
  out[length] = '\0';
  *at += length + (end != '\0');
  return true;
}

static bool parse_holder(const char *holder, identity_t *identity) {
  if (!holder || !has_run_id(holder)) return false;
  const char *at = holder + RUN_ID_LENGTH + 1;
  return copy_part(&at, '/', identity->host, sizeof identity->host) &&
         copy_part(&at, '/', identity->boot_id, sizeof identity->boot_id) &&
         copy_part(&at, '/', identity->pid_namespace, sizeof identity->pid_namespace) &&
         copy_part(&at, '/', identity->time_namespace, sizeof identity->time_namespace) &&
         copy_part(&at, '/', identity->pid, sizeof identity->pid) &&
         copy_part(&at, '\0', identity->start_time, sizeof identity->start_time);
}

void smig_holder_run_id(const char *holder, char out[SMIG_RUN_ID_SIZE]) {
  out[0] = '\0';
  if (!holder || !has_run_id(holder)) return;
  memcpy(out, holder, RUN_ID_LENGTH);
  out[RUN_ID_LENGTH] = '\0';
}

char *smig_holder_host(const char *holder) {
  identity_t identity;
  return bson_strdup(parse_holder(holder, &identity) ? identity.host : holder ? holder : "");
}

static bool same_known(const char *left, const char *right) {
  return strcmp(left, right) == 0 && strcmp(left, unknown) != 0;
}

/* A /proc that was mounted in another pid namespace shows other processes under our numbers. */
static bool proc_is_ours(void) {
  char link[FIELD_SIZE], own[FIELD_SIZE];
  ssize_t length = readlink("/proc/self", link, sizeof link - 1);
  if (length <= 0) return false;
  link[length] = '\0';
  snprintf(own, sizeof own, "%ld", (long)getpid());
  return strcmp(link, own) == 0;
}

bool smig_holder_proven_dead(const char *holder) {
  identity_t self, other;
  if (!parse_holder(holder, &other)) return false;
  identify_self(&self);
  if (!same_known(self.host, other.host) || !same_known(self.boot_id, other.boot_id) ||
      !same_known(self.pid_namespace, other.pid_namespace) || !same_known(self.time_namespace, other.time_namespace))
    return false;
  char *end = NULL;
  errno = 0;
  long pid = strtol(other.pid, &end, 10);
  if (!isdigit((unsigned char)other.pid[0]) || *end || errno || pid <= 0 || pid > INT32_MAX) return false;
  if (kill((pid_t)pid, 0) != 0) return errno == ESRCH;
  char path[FIELD_SIZE];
  process_stat_t stat;
  snprintf(path, sizeof path, "/proc/%ld/stat", pid);
  if (!proc_is_ours() || !read_stat(path, &stat)) return false;
  if (strcmp(other.start_time, unknown) != 0 && strcmp(stat.start_time, other.start_time) != 0) return true;
  return stat.state == 'Z' && stat.threads <= 1;
}
