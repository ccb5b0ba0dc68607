/*
 * The services that give AWS credentials, stood in for by spec/support/aws_standin.py: a process of the test's own, which ends when the
 * test does. One at a time.
 */
#ifndef SMIG_SPEC_AWS_STANDIN_H
#define SMIG_SPEC_AWS_STANDIN_H

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct standin {
  pid_t pid;
  FILE *to, *from;
  int port, proxy_port;
} standin_t;

static standin_t standin;

static void standin_fail(const char *what) {
  printf("# the stand-in for AWS: %s\n", what);
  exit(1);
}

static const char *standin_ask(const char *format, ...) {
  static char answer[200];
  va_list arguments;
  va_start(arguments, format);
  vfprintf(standin.to, format, arguments);
  va_end(arguments);
  fputc('\n', standin.to);
  fflush(standin.to);
  if (!fgets(answer, sizeof answer, standin.from)) standin_fail("does not answer");
  return answer;
}

/* Host and port NULL: a free port of loopback. */
static void standin_start(const char *host, const char *port) {
  int in[2], out[2];
  if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) standin_fail("no pipe");
  standin.pid = fork();
  if (standin.pid == 0) {
    dup2(in[0], STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    execlp("python3", "python3", "spec/support/aws_standin.py", host, port, (char *)NULL);
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  standin.to = fdopen(in[1], "w");
  standin.from = fdopen(out[0], "r");
  if (fscanf(standin.from, "ports %d %d", &standin.port, &standin.proxy_port) != 2 || fgetc(standin.from) != '\n')
    standin_fail("does not start");
}

static void standin_stop(void) {
  fclose(standin.to);
  fclose(standin.from);
  waitpid(standin.pid, NULL, 0);
}

/* As JSON; NULL: as it was in the beginning. */
static void standin_set(const char *name, const char *value) {
  standin_ask(value ? "set %s %s" : "set %s", name, value);
}

/* How many requests came so far. */
static int standin_count(const char *what) {
  return atoi(standin_ask("count %s", what) + strlen("count "));
}

#endif
