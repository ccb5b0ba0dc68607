/* Run ids, holder strings, and the proof that a holder is dead, over real processes. */
#include "check.h"
#include "clock.h"
#include "holder.h"

#include <bson/bson.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static void run_ids_are_new_each_time(void) {
  char one[SMIG_RUN_ID_SIZE], two[SMIG_RUN_ID_SIZE];
  smig_run_id_new(one);
  smig_run_id_new(two);
  CHECK(strlen(one) == 32 && strspn(one, "0123456789abcdef") == 32, ": %s", one);
  CHECK(strcmp(one, two) != 0);
}

static void holders_say_run_and_host(void) {
  char run_id[SMIG_RUN_ID_SIZE], holder[SMIG_HOLDER_SIZE], found[SMIG_RUN_ID_SIZE], name[256] = "";
  smig_run_id_new(run_id);
  smig_holder_new(run_id, holder);
  smig_holder_run_id(holder, found);
  CHECK_STR(found, run_id);
  gethostname(name, sizeof name - 1);
  char *host = smig_holder_host(holder);
  CHECK_STR(host, name);
  bson_free(host);
  int slashes = 0;
  for (const char *c = holder; *c; c++) slashes += *c == '/';
  CHECK(slashes == 5 && !strstr(holder, "//") && !strstr(holder, "/-"), ": %s", holder);
  static const char *const foreign[] = {"", "somebody", "pid-7@host", "0123456789abcdef0123456789abcdeF@h/b/1/2/3/4",
                                        "0123456789abcdef0123456789abcdef0@h/b/1/2/3/4"};
  for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
    smig_holder_run_id(foreign[i], found);
    CHECK_STR(found, "");
    host = smig_holder_host(foreign[i]);
    CHECK_STR(host, foreign[i]);
    bson_free(host);
  }
  smig_holder_run_id(NULL, found);
  CHECK_STR(found, "");
}

/* The holder string of this process with one of its parts (1: host ... 6: start time) replaced. */
static char *with_part(const char *holder, int part, const char *value) {
  bson_string_t *out = bson_string_new(NULL);
  const char *at = strchr(holder, '@') + 1;
  bson_string_append_printf(out, "%.*s", (int)(at - holder), holder);
  for (int i = 1; i <= 6; i++) {
    size_t length = strcspn(at, "/");
    if (i == part)
      bson_string_append(out, value);
    else
      bson_string_append_printf(out, "%.*s", (int)length, at);
    if (i < 6) bson_string_append(out, "/");
    at += length + 1;
  }
  return bson_string_free(out, false);
}

static bool dead_with_part(const char *holder, int part, const char *value) {
  char *other = with_part(holder, part, value);
  bool dead = smig_holder_proven_dead(other);
  bson_free(other);
  return dead;
}

static void the_living_and_the_unknown_are_not_dead(void) {
  char holder[SMIG_HOLDER_SIZE];
  smig_holder_new("0123456789abcdef0123456789abcdef", holder);
  CHECK(!smig_holder_proven_dead(holder), ": %s", holder);
  CHECK(!smig_holder_proven_dead(NULL) && !smig_holder_proven_dead("") && !smig_holder_proven_dead("somebody"));
  static const char *const pids[] = {"0", "-1", "+5", " 5", "x", "5x", "99999999999999999999", "4294967297"};
  for (size_t i = 0; i < sizeof pids / sizeof *pids; i++) CHECK(!dead_with_part(holder, 5, pids[i]), ": %s", pids[i]);
  char *longer = bson_strdup_printf("%s/7", holder);
  CHECK(!smig_holder_proven_dead(longer));
  bson_free(longer);
  CHECK(!dead_with_part(holder, 6, "-")); /* an unknown start time is no other start time */
}

static void another_start_time_proves_death(void) {
  char holder[SMIG_HOLDER_SIZE];
  smig_holder_new("0123456789abcdef0123456789abcdef", holder);
  CHECK(dead_with_part(holder, 6, "1"));
}

/* A child's holder string; the child waits until its pipe is closed. */
static pid_t start_child(char holder[SMIG_HOLDER_SIZE], int *hold) {
  int ready[2], wait[2];
  if (pipe(ready) || pipe(wait)) abort();
  pid_t child = fork();
  if (child == 0) {
    char byte, own[SMIG_HOLDER_SIZE] = "";
    close(wait[1]);
    smig_holder_new("0123456789abcdef0123456789abcdef", own);
    if (write(ready[1], own, sizeof own) < 0) _exit(1);
    (void)!read(wait[0], &byte, 1);
    _exit(0);
  }
  close(ready[1]);
  close(wait[0]);
  CHECK(read(ready[0], holder, SMIG_HOLDER_SIZE) == SMIG_HOLDER_SIZE);
  close(ready[0]);
  *hold = wait[1];
  return child;
}

static void a_child_is_dead_as_a_zombie_and_after(void) {
  char holder[SMIG_HOLDER_SIZE];
  int hold;
  siginfo_t info;
  pid_t child = start_child(holder, &hold);
  CHECK(!smig_holder_proven_dead(holder), ": %s", holder);
  close(hold);
  waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT); /* it is a zombie now */
  CHECK(smig_holder_proven_dead(holder), ": the zombie %s", holder);
  waitpid(child, NULL, 0);
  CHECK(smig_holder_proven_dead(holder), ": the gone %s", holder);
  /* the same proof is worth nothing from another host, boot or namespace */
  for (int part = 1; part <= 4; part++) {
    CHECK(!dead_with_part(holder, part, "other"), ": part %d", part);
    CHECK(!dead_with_part(holder, part, "-"), ": part %d", part);
  }
  CHECK(dead_with_part(holder, 6, "1"));
}

static void *outlive(void *user) {
  char byte;
  (void)!read(*(int *)user, &byte, 1);
  _exit(0);
}

static void a_zombie_whose_threads_live_is_not_dead(void) {
  int ready[2], wait[2];
  if (pipe(ready) || pipe(wait)) abort();
  pid_t child = fork();
  if (child == 0) {
    char own[SMIG_HOLDER_SIZE] = "";
    pthread_t thread;
    close(wait[1]);
    pthread_create(&thread, NULL, outlive, &wait[0]);
    smig_holder_new("0123456789abcdef0123456789abcdef", own);
    if (write(ready[1], own, sizeof own) < 0) _exit(1);
    pthread_exit(NULL); /* the leader is gone, its thread goes on */
  }
  close(ready[1]);
  close(wait[0]);
  char holder[SMIG_HOLDER_SIZE] = "", path[64], stat[512] = "";
  CHECK(read(ready[0], holder, sizeof holder) == SMIG_HOLDER_SIZE);
  snprintf(path, sizeof path, "/proc/%ld/stat", (long)child);
  int64_t limit = smig_clock_mono_ms() + 10000;
  while (!strstr(stat, ") Z ") && smig_clock_mono_ms() < limit) {
    FILE *file = fopen(path, "r");
    if (!file || !fgets(stat, sizeof stat, file)) *stat = '\0';
    if (file) fclose(file);
  }
  CHECK(strstr(stat, ") Z "), ": %s", stat);
  CHECK(!smig_holder_proven_dead(holder), ": %s", stat);
  close(ready[0]);
  close(wait[1]);
  waitpid(child, NULL, 0);
  CHECK(smig_holder_proven_dead(holder));
}

static void the_start_time_is_found_behind_any_name(void) {
  char before[SMIG_HOLDER_SIZE], after[SMIG_HOLDER_SIZE], former[32] = "";
  FILE *file = fopen("/proc/self/comm", "r+");
  CHECK(file && fgets(former, sizeof former, file));
  smig_holder_new("0123456789abcdef0123456789abcdef", before);
  if (file) {
    rewind(file);
    fputs("a) Z (1 2", file);
    fflush(file);
  }
  smig_holder_new("0123456789abcdef0123456789abcdef", after);
  CHECK_STR(after, before);
  CHECK(!smig_holder_proven_dead(after));
  if (file) fclose(file);
}

int main(void) {
  RUN(run_ids_are_new_each_time);
  RUN(holders_say_run_and_host);
  RUN(the_living_and_the_unknown_are_not_dead);
  RUN(another_start_time_proves_death);
  RUN(a_child_is_dead_as_a_zombie_and_after);
  RUN(a_zombie_whose_threads_live_is_not_dead);
  RUN(the_start_time_is_found_behind_any_name);
  return check_done();
}
