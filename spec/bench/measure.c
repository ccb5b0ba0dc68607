/*
 * measure FILE COMMAND [ARGUMENT]…: runs COMMAND and writes into FILE what the kernel counted for it: wall seconds, seconds of
 * CPU (user and system), peak of resident memory in KiB. The status is COMMAND's.
 * Users: the benches. It exists because the kernel counts into a process's peak what its parent's image was before the
 * program was loaded: this one is small.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double seconds(struct timeval time) {
  return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fputs("usage: measure FILE COMMAND [ARGUMENT]...\n", stderr);
    return 2;
  }
  double started = now_s();
  pid_t child = fork();
  if (child == 0) {
    execvp(argv[2], argv + 2);
    fprintf(stderr, "measure: %s: %s\n", argv[2], strerror(errno));
    _exit(127);
  }
  int status;
  struct rusage usage;
  if (child < 0 || wait4(child, &status, 0, &usage) != child) {
    perror("measure");
    return 1;
  }
  double wall = now_s() - started;
  FILE *file = fopen(argv[1], "w");
  bool written = file && fprintf(file, "%.6f %.6f %ld\n", wall, seconds(usage.ru_utime) + seconds(usage.ru_stime),
                                 usage.ru_maxrss) > 0;
  if (!file || fclose(file) != 0 || !written) {
    perror(argv[1]);
    return 1;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
