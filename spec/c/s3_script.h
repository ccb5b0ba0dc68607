/*
 * A server of a test's own that answers HTTP requests as a script says, one answer a request in the order in which they come, and
 * remembers what it was asked. For answers, and for their absence, that an honest server cannot be made to give. Threads of the
 * test's process: one that accepts, one a connection.
 */
#ifndef SMIG_SPEC_S3_SCRIPT_H
#define SMIG_SPEC_S3_SCRIPT_H

#include <arpa/inet.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SCRIPT_MAX = 64, SCRIPT_HEAD = 8192 };

typedef struct script_answer {
  const char *text; /* head and body as they are sent; NULL: nothing */
  long filler;      /* so many more bytes, the n-th being script_filler(n) from filler_from on */
  long filler_from;
  bool close;       /* the connection, afterwards */
  bool hold;        /* until script_release, before the text */
  bool stall;       /* until script_release, after the text */
  bool close_early; /* the connection, before the request's body is read */
} script_answer_t;

typedef struct script {
  const script_answer_t *answers;
  int count, port, listener;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool released, ending;
  int requests, connections, holding;
  char heads[SCRIPT_MAX][SCRIPT_HEAD];
  long bodies[SCRIPT_MAX]; /* bytes received of each request's body */
  int sockets[SCRIPT_MAX];
  pthread_t accepting, threads[SCRIPT_MAX];
} script_t;

typedef struct script_connection {
  script_t *script;
  int socket, number;
} script_connection_t;

static inline char script_filler(long position) {
  return (char)('a' + position % 23);
}

/* Reads until the blank line; false at the end of the connection. What came of the body too is in *rest. */
static bool script_read_head(int socket, char *head, size_t *length, size_t *rest) {
  *length = 0;
  for (char *end; !(end = strstr(head, "\r\n\r\n"));) {
    ssize_t got = read(socket, head + *length, SCRIPT_HEAD - 1 - *length);
    if (got <= 0) return false;
    *length += (size_t)got;
    head[*length] = '\0';
  }
  *rest = *length - (size_t)(strstr(head, "\r\n\r\n") + 4 - head);
  strstr(head, "\r\n\r\n")[4] = '\0';
  return true;
}

/* The value of a header of the request's head, as it is, up to the line's end; NULL: not there. */
static inline const char *script_header(const char *head, const char *name, char *value, size_t size) {
  size_t length = strlen(name);
  for (const char *line = strstr(head, "\r\n"); line && line[2]; line = strstr(line + 2, "\r\n"))
    if (strncasecmp(line + 2, name, length) == 0 && line[2 + length] == ':') {
      const char *from = line + 3 + length;
      while (*from == ' ') from++;
      snprintf(value, size, "%.*s", (int)strcspn(from, "\r"), from);
      return value;
    }
  return NULL;
}

static bool script_send(int socket, const char *bytes, size_t length) {
  for (size_t sent = 0; sent < length;) {
    ssize_t got = send(socket, bytes + sent, length - sent, MSG_NOSIGNAL);
    if (got <= 0) return false;
    sent += (size_t)got;
  }
  return true;
}

static bool script_send_filler(int socket, long from, long count) {
  static const long piece = 65536;
  char *buffer = malloc((size_t)piece);
  bool good = true;
  for (long at = 0; good && at < count; at += piece) {
    long length = count - at < piece ? count - at : piece;
    for (long i = 0; i < length; i++) buffer[i] = script_filler(from + at + i);
    good = script_send(socket, buffer, (size_t)length);
  }
  free(buffer);
  return good;
}

static void script_wait(script_t *script) {
  pthread_mutex_lock(&script->lock);
  script->holding++;
  pthread_cond_broadcast(&script->changed);
  while (!script->released && !script->ending) pthread_cond_wait(&script->changed, &script->lock);
  script->holding--;
  pthread_mutex_unlock(&script->lock);
}

static bool script_answer(script_t *script, int socket, const script_answer_t *answer) {
  if (answer->hold) script_wait(script);
  if (answer->text && !script_send(socket, answer->text, strlen(answer->text))) return false;
  if (answer->filler && !script_send_filler(socket, answer->filler_from, answer->filler)) return false;
  if (answer->stall) script_wait(script);
  return !answer->close;
}

static bool script_serve(script_t *script, int socket) {
  static const script_answer_t beyond = {.text = "HTTP/1.1 500 Beyond\r\nContent-Length: 13\r\n\r\nscript is out",
                                         .close = true};
  char head[SCRIPT_HEAD] = "", value[32], buffer[65536];
  size_t length, rest;
  if (!script_read_head(socket, head, &length, &rest)) return false;
  pthread_mutex_lock(&script->lock);
  int number = script->requests < SCRIPT_MAX ? script->requests++ : SCRIPT_MAX - 1;
  memcpy(script->heads[number], head, sizeof head);
  script->bodies[number] = (long)rest;
  pthread_mutex_unlock(&script->lock);
  const script_answer_t *answer = number < script->count ? &script->answers[number] : &beyond;
  long left = (script_header(head, "content-length", value, sizeof value) ? atol(value) : 0) - (long)rest;
  if (answer->close_early) return false;
  for (ssize_t got; left > 0; left -= got) {
    if ((got = read(socket, buffer, left < (long)sizeof buffer ? (size_t)left : sizeof buffer)) <= 0) return false;
    pthread_mutex_lock(&script->lock);
    script->bodies[number] += got;
    pthread_mutex_unlock(&script->lock);
  }
  return script_answer(script, socket, answer);
}

static void *script_connection(void *argument) {
  script_connection_t connection = *(script_connection_t *)argument;
  free(argument);
  while (script_serve(connection.script, connection.socket)) continue;
  shutdown(connection.socket, SHUT_RDWR);
  return NULL;
}

static void *script_accept(void *argument) {
  script_t *script = argument;
  for (;;) {
    int socket = accept(script->listener, NULL, NULL);
    if (socket < 0) return NULL;
    script_connection_t *connection = malloc(sizeof *connection);
    pthread_mutex_lock(&script->lock);
    *connection = (script_connection_t){script, socket, script->connections};
    script->sockets[script->connections] = socket;
    bool good = script->connections < SCRIPT_MAX - 1 &&
                pthread_create(&script->threads[script->connections++], NULL, script_connection, connection) == 0;
    pthread_mutex_unlock(&script->lock);
    if (!good) {
      printf("# the script's server has too many connections\n");
      exit(1);
    }
  }
}

static void script_start(script_t *script, const script_answer_t *answers, int count) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  memset(script, 0, sizeof *script);
  script->answers = answers;
  script->count = count;
  pthread_mutex_init(&script->lock, NULL);
  pthread_cond_init(&script->changed, NULL);
  script->listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(script->listener, (struct sockaddr *)&address, length) || listen(script->listener, 16) ||
      getsockname(script->listener, (struct sockaddr *)&address, &length) ||
      pthread_create(&script->accepting, NULL, script_accept, script)) {
    printf("# the script's server did not start\n");
    exit(1);
  }
  script->port = ntohs(address.sin_port);
}

static inline void script_release(script_t *script) {
  pthread_mutex_lock(&script->lock);
  script->released = true;
  pthread_cond_broadcast(&script->changed);
  pthread_mutex_unlock(&script->lock);
}

/* Waits until so many answers are held or stalled. */
static inline void script_await(script_t *script, int holding) {
  pthread_mutex_lock(&script->lock);
  while (script->holding < holding) pthread_cond_wait(&script->changed, &script->lock);
  pthread_mutex_unlock(&script->lock);
}

static inline int script_requests(script_t *script) {
  pthread_mutex_lock(&script->lock);
  int requests = script->requests;
  pthread_mutex_unlock(&script->lock);
  return requests;
}

static inline int script_connections(script_t *script) {
  pthread_mutex_lock(&script->lock);
  int connections = script->connections;
  pthread_mutex_unlock(&script->lock);
  return connections;
}

static void script_stop(script_t *script) {
  shutdown(script->listener, SHUT_RDWR);
  pthread_join(script->accepting, NULL);
  close(script->listener);
  pthread_mutex_lock(&script->lock);
  script->ending = true;
  pthread_cond_broadcast(&script->changed);
  for (int i = 0; i < script->connections; i++) shutdown(script->sockets[i], SHUT_RDWR);
  pthread_mutex_unlock(&script->lock);
  for (int i = 0; i < script->connections; i++) {
    pthread_join(script->threads[i], NULL);
    close(script->sockets[i]);
  }
}

#endif
