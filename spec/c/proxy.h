/*
 * A TCP proxy of a test's own that counts what a client does: connections made and bytes sent towards the server. A thread of
 * the test's process; one proxy at a time.
 */
#ifndef SMIG_SPEC_PROXY_H
#define SMIG_SPEC_PROXY_H

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PROXY_PAIRS = 64 };

typedef struct proxy {
  int port, listener, server_port, end[2];
  pthread_t thread;
  atomic_int connections;
  atomic_long bytes; /* from clients */
  int client[PROXY_PAIRS], server[PROXY_PAIRS], pairs;
} proxy_t;

static struct sockaddr_in proxy_address(int port) {
  return (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void proxy_accept(proxy_t *proxy) {
  struct sockaddr_in to = proxy_address(proxy->server_port);
  int client = accept(proxy->listener, NULL, NULL), server = socket(AF_INET, SOCK_STREAM, 0);
  if (proxy->pairs == PROXY_PAIRS || connect(server, (struct sockaddr *)&to, sizeof to)) {
    close(client);
    close(server);
    return;
  }
  atomic_fetch_add(&proxy->connections, 1);
  proxy->client[proxy->pairs] = client;
  proxy->server[proxy->pairs++] = server;
}

/* Moves what is there; false at the end of the connection. */
static bool proxy_move(proxy_t *proxy, int from, int to, bool count) {
  char buffer[65536];
  ssize_t got = read(from, buffer, sizeof buffer);
  if (got <= 0) return false;
  if (count) atomic_fetch_add(&proxy->bytes, got);
  for (ssize_t sent = 0, n; sent < got; sent += n)
    if ((n = send(to, buffer + sent, (size_t)(got - sent), MSG_NOSIGNAL)) <= 0) return false;
  return true;
}

static void proxy_drop(proxy_t *proxy, int pair) {
  close(proxy->client[pair]);
  close(proxy->server[pair]);
  proxy->pairs--;
  proxy->client[pair] = proxy->client[proxy->pairs];
  proxy->server[pair] = proxy->server[proxy->pairs];
}

static void *proxy_run(void *argument) {
  proxy_t *proxy = argument;
  for (;;) {
    struct pollfd polled[2 + 2 * PROXY_PAIRS] = {{.fd = proxy->end[0], .events = POLLIN},
                                                 {.fd = proxy->listener, .events = POLLIN}};
    int pairs = proxy->pairs;
    for (int i = 0; i < pairs; i++) {
      polled[2 + 2 * i] = (struct pollfd){.fd = proxy->client[i], .events = POLLIN};
      polled[3 + 2 * i] = (struct pollfd){.fd = proxy->server[i], .events = POLLIN};
    }
    poll(polled, (nfds_t)(2 + 2 * pairs), -1);
    if (polled[0].revents) break;
    for (int i = pairs - 1; i >= 0; i--) {
      bool good = true;
      if (polled[2 + 2 * i].revents) good = proxy_move(proxy, proxy->client[i], proxy->server[i], true);
      if (good && polled[3 + 2 * i].revents) good = proxy_move(proxy, proxy->server[i], proxy->client[i], false);
      if (!good) proxy_drop(proxy, i);
    }
    if (polled[1].revents) proxy_accept(proxy);
  }
  while (proxy->pairs) proxy_drop(proxy, 0);
  return NULL;
}

static void proxy_start(proxy_t *proxy, int server_port) {
  struct sockaddr_in address = proxy_address(0);
  socklen_t length = sizeof address;
  *proxy = (proxy_t){.server_port = server_port};
  proxy->listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(proxy->listener, (struct sockaddr *)&address, length) || listen(proxy->listener, 16) ||
      getsockname(proxy->listener, (struct sockaddr *)&address, &length) || pipe(proxy->end) ||
      pthread_create(&proxy->thread, NULL, proxy_run, proxy)) {
    printf("# the proxy did not start\n");
    exit(1);
  }
  proxy->port = ntohs(address.sin_port);
}

static void proxy_stop(proxy_t *proxy) {
  (void)!write(proxy->end[1], "x", 1);
  pthread_join(proxy->thread, NULL);
  close(proxy->listener);
  close(proxy->end[0]);
  close(proxy->end[1]);
}

#endif
