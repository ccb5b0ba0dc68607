/*
 * A mongod of a test's own, to be frozen and hurt: one-member replica set on a free port of loopback, TLS and plain on
 * the same port, fail points on. It is always stopped: by own_server_stop, and by the kernel when the test dies.
 * The mongod is the one that the environment variable SMARTMIGRATION_TEST_MONGOD names, else the one on the PATH.
 */
#ifndef SMIG_SPEC_OWN_SERVER_H
#define SMIG_SPEC_OWN_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <mongoc/mongoc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct own_server {
  pid_t pid;
  int port;
  char folder[64]; /* data, log, and the certificate: pem */
} own_server_t;

static void own_server_fail(const char *what) {
  printf("# the test's own mongod: %s (%s)\n", what, strerror(errno));
  exit(1);
}

static int own_server_free_port(void) {
  int s = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  if (s < 0 || bind(s, (struct sockaddr *)&address, length) || getsockname(s, (struct sockaddr *)&address, &length))
    own_server_fail("no free port");
  close(s);
  return ntohs(address.sin_port);
}

/* Runs a program, its output dropped, and waits; false when it fails. */
static bool own_server_run(const char *const *arguments) {
  pid_t pid = fork();
  if (pid == 0) {
    int null = open("/dev/null", O_RDWR);
    dup2(null, 1);
    dup2(null, 2);
    execvp(arguments[0], (char *const *)arguments);
    _exit(127);
  }
  int status;
  return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Certificate and key in one file, as mongod wants them. */
static void own_server_make_certificate(const own_server_t *server) {
  char command[512];
  snprintf(
      command, sizeof command,
      "cd %s && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
      "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key -out certificate && cat key certificate > pem",
      server->folder);
  const char *const shell[] = {"sh", "-c", command, NULL};
  if (!own_server_run(shell)) own_server_fail("openssl made no certificate");
}

static void own_server_spawn(own_server_t *server) {
  char port[16], log[96], pem[96];
  snprintf(port, sizeof port, "%d", server->port);
  snprintf(log, sizeof log, "%s/log", server->folder);
  snprintf(pem, sizeof pem, "%s/pem", server->folder);
  const char *program = getenv("SMARTMIGRATION_TEST_MONGOD") ? getenv("SMARTMIGRATION_TEST_MONGOD") : "mongod";
  server->pid = fork();
  if (server->pid < 0) own_server_fail("no process");
  if (server->pid > 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  int null = open("/dev/null", O_RDWR);
  dup2(null, 1);
  dup2(null, 2);
  execlp(program, program, "--port", port, "--bind_ip", "127.0.0.1", "--dbpath", server->folder, "--logpath", log,
         "--replSet", "own", "--setParameter", "enableTestCommands=1", "--tlsMode", "allowTLS",
         "--tlsCertificateKeyFile", pem, "--tlsCAFile", pem, "--tlsAllowConnectionsWithoutCertificates", (char *)NULL);
  _exit(127);
}

/* Initiates the set and waits for its primary, 30 s at most. */
static void own_server_wait(const own_server_t *server) {
  char uri[128], member[32];
  snprintf(member, sizeof member, "127.0.0.1:%d", server->port);
  snprintf(uri, sizeof uri, "mongodb://127.0.0.1:%d/?directConnection=true&serverSelectionTimeoutMS=500", server->port);
  bool primary = false;
  for (int i = 0; i < 300 && !primary; i++) {
    if (waitpid(server->pid, NULL, WNOHANG) == server->pid) own_server_fail("it did not start");
    mongoc_client_t *client = mongoc_client_new(uri);
    bson_t *initiate = BCON_NEW("replSetInitiate", "{", "_id", "own", "members", "[", "{", "_id", BCON_INT32(0), "host",
                                BCON_UTF8(member), "}", "]", "}");
    bson_t *hello = BCON_NEW("hello", BCON_INT32(1)), reply;
    mongoc_client_command_simple(client, "admin", initiate, NULL, NULL, NULL);
    if (mongoc_client_command_simple(client, "admin", hello, NULL, &reply, NULL)) {
      bson_iter_t iter;
      primary = bson_iter_init_find(&iter, &reply, "isWritablePrimary") && bson_iter_as_bool(&iter);
    }
    bson_destroy(&reply);
    bson_destroy(hello);
    bson_destroy(initiate);
    mongoc_client_destroy(client);
    if (!primary) nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
  }
  if (!primary) own_server_fail("it has no primary after 30 s");
}

static inline void own_server_kill(const own_server_t *server) {
  kill(server->pid, SIGKILL);
  waitpid(server->pid, NULL, 0);
}

static inline void own_server_restart(own_server_t *server) {
  own_server_spawn(server);
  own_server_wait(server);
}

static void own_server_start(own_server_t *server) {
  snprintf(server->folder, sizeof server->folder, "/tmp/smig-own-XXXXXX");
  if (!mkdtemp(server->folder)) own_server_fail("no folder");
  server->port = own_server_free_port();
  own_server_make_certificate(server);
  own_server_spawn(server);
  own_server_wait(server);
}

/* Returns when it has stopped: its threads go on for a moment after the signal. */
static inline void own_server_freeze(const own_server_t *server) {
  kill(server->pid, SIGSTOP);
  waitpid(server->pid, NULL, WUNTRACED);
}

static inline void own_server_thaw(const own_server_t *server) {
  kill(server->pid, SIGCONT);
}

static void own_server_stop(own_server_t *server) {
  own_server_thaw(server);
  kill(server->pid, SIGKILL);
  waitpid(server->pid, NULL, 0);
  const char *const arguments[] = {"rm", "-rf", server->folder, NULL};
  own_server_run(arguments);
}

#endif
