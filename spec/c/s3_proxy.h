/*
 * The proxy that gives the answers which an honest S3 server cannot be made to give (spec/support/s3_proxy.py tells every word of a
 * rule), as a child of a test program: one at a time, ended with it. Tests run from the project's folder.
 */
#ifndef SMIG_SPEC_S3_PROXY_H
#define SMIG_SPEC_S3_PROXY_H

#include "check.h"

#include <bson/bson.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct s3_proxy {
  pid_t child;
  FILE *to, *from;
  int commands;
  char endpoint[64];
} s3_proxy_t;

static void s3_proxy_give_up(const char *why) {
  printf("not ok - the proxy %s\n", why);
  exit(1);
}

/* Before the server of SMARTMIGRATION_TEST_S3_ENDPOINT. */
static inline void s3_proxy_start(s3_proxy_t *proxy) {
  int words[2], answers[2], port = 0;
  *proxy = (s3_proxy_t){0};
  if (pipe(words) || pipe(answers)) s3_proxy_give_up("has no pipes");
  signal(SIGPIPE, SIG_IGN);
  proxy->child = fork();
  if (proxy->child == 0) {
    dup2(words[0], STDIN_FILENO);
    dup2(answers[1], STDOUT_FILENO);
    for (int fd = 3; fd < 64; fd++) close(fd);
    unsetenv("LD_PRELOAD"); /* a sanitizer's, which is not python's */
    execlp("python3", "python3", "spec/support/s3_proxy.py", getenv("SMARTMIGRATION_TEST_S3_ENDPOINT"), (char *)NULL);
    _exit(127);
  }
  close(words[0]);
  close(answers[1]);
  proxy->to = fdopen(words[1], "w");
  proxy->from = fdopen(answers[0], "r");
  if (fscanf(proxy->from, "port %d", &port) != 1 || getc(proxy->from) != '\n') s3_proxy_give_up("does not start");
  snprintf(proxy->endpoint, sizeof proxy->endpoint, "http://127.0.0.1:%d", port);
}

static inline void s3_proxy_stop(s3_proxy_t *proxy) {
  fclose(proxy->to);
  fclose(proxy->from);
  waitpid(proxy->child, NULL, 0);
}

/* One command; its answer `{"answer": …}` is to be destroyed. `rest` is JSON with ' for ": "'rule': {…}". */
static inline bson_t *s3_proxy_ask(s3_proxy_t *proxy, const char *command, const char *rest) {
  char *line = NULL,
       *text = bson_strdup_printf("{'id': %d, 'do': '%s'%s%s}", ++proxy->commands, command, *rest ? ", " : "", rest);
  size_t size = 0;
  int id, at = 0;
  for (char *c = text; *c; c++)
    if (*c == '\'') *c = '"';
  fprintf(proxy->to, "%s\n", text);
  fflush(proxy->to);
  if (getline(&line, &size, proxy->from) < 0 || sscanf(line, "done %d %n", &id, &at) != 1 || id != proxy->commands)
    s3_proxy_give_up("does not obey");
  char *whole = bson_strdup_printf("{\"answer\": %s}", line + at);
  bson_t *answer = bson_new_from_json((const uint8_t *)whole, -1, NULL);
  if (!answer) s3_proxy_give_up("answers no JSON");
  bson_free(whole);
  bson_free(text);
  free(line);
  return answer;
}

/* Adds a rule, e.g. "'method': 'PUT', 'times': 1, 'drop': 'after'"; its number. */
static inline int s3_proxy_add(s3_proxy_t *proxy, const char *rule) {
  char *rest = bson_strdup_printf("'rule': {%s}", rule);
  bson_t *answer = s3_proxy_ask(proxy, "add", rest);
  bson_iter_t iter;
  int number = bson_iter_init_find(&iter, answer, "answer") ? (int)bson_iter_as_int64(&iter) : 0;
  bson_destroy(answer);
  bson_free(rest);
  return number;
}

/* Takes all rules away, and lets go what they hold. */
static inline void s3_proxy_clear_rules(s3_proxy_t *proxy) {
  bson_destroy(s3_proxy_ask(proxy, "remove", ""));
}

/* How many requests of that method came for a path that holds `part`; `method` NULL: of any. */
static inline int s3_proxy_count(s3_proxy_t *proxy, const char *method, const char *part) {
  bson_t *answer = s3_proxy_ask(proxy, "log", "");
  bson_iter_t iter, list, entry;
  int count = 0;
  if (bson_iter_init_find(&iter, answer, "answer") && bson_iter_recurse(&iter, &list)) {
    while (bson_iter_next(&list)) {
      const char *path = "", *asked = "";
      if (bson_iter_recurse(&list, &entry) && bson_iter_find(&entry, "path")) path = bson_iter_utf8(&entry, NULL);
      if (bson_iter_recurse(&list, &entry) && bson_iter_find(&entry, "method")) asked = bson_iter_utf8(&entry, NULL);
      if ((!method || strcmp(method, asked) == 0) && strstr(path, part)) count++;
    }
  }
  bson_destroy(answer);
  return count;
}

static inline void s3_proxy_forget(s3_proxy_t *proxy) {
  bson_destroy(s3_proxy_ask(proxy, "clear", ""));
}

/* Waits until a request that matches has come. */
static inline void s3_proxy_wait(s3_proxy_t *proxy, const char *method, const char *part, int count) {
  for (int i = 0; s3_proxy_count(proxy, method, part) < count; i++) {
    if (i == 1000) s3_proxy_give_up("saw no such request");
    usleep(10000);
  }
}

#endif
