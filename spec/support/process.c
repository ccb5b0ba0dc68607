/*
 * Child processes for specs: `require "smig_process"`, the few system calls that spec/support/process.lua is made of. Debian
 * has no POSIX binding for Lua 5.4, and io.popen knows neither pids nor two pipes.
 *
 * Used by spec/support/process.lua only. Time is in milliseconds. Failures raise a string that names the call. One thread.
 * A child gets SIGKILL when the suite dies (prctl), so none outlives it.
 */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int luaopen_smig_process(lua_State *L);

enum { MAX_WORDS = 1024, MAX_FDS = 512, READ_SIZE = 65536 };

static int raise_errno(lua_State *L, const char *what) {
  return luaL_error(L, "%s: %s", what, strerror(errno));
}

/* The strings of the array at `idx` as a NULL-terminated vector, which lives as long as the userdata it pushes. */
static char **check_words(lua_State *L, int idx) {
  luaL_checktype(L, idx, LUA_TTABLE);
  lua_Integer count = luaL_len(L, idx);
  luaL_argcheck(L, count <= MAX_WORDS, idx, "too many words");
  char **words = lua_newuserdatauv(L, ((size_t)count + 1) * sizeof *words, 1);
  lua_newtable(L); /* keeps the strings */
  for (lua_Integer i = 1; i <= count; i++) {
    lua_geti(L, idx, i);
    words[i - 1] = (char *)luaL_checkstring(L, -1);
    lua_seti(L, -2, i);
  }
  lua_setiuservalue(L, -2, 1);
  words[count] = NULL;
  return words;
}

/* What the child does between fork and exec; every failure goes to `report` as an errno. */
static _Noreturn void child(char **argv, char **env, const char *directory, const int fds[3], const int gate[2],
                            int report) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  for (int sig = 1; sig < NSIG; sig++) signal(sig, SIG_DFL);
  bool ready = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
  for (int i = 0; ready && i < 3; i++) ready = dup2(fds[i], i) == i;
  ready = ready && (!directory || chdir(directory) == 0);
  if (ready && gate[0] >= 0) {
    /* Every child's copy of the writing end must go, else closing it in the parent opens nothing. */
    char byte;
    close(gate[1]);
    while (read(gate[0], &byte, 1) < 0 && errno == EINTR) {}
  }
  if (ready) {
    environ = env;
    execvp(argv[0], argv);
  }
  int error = errno;
  ssize_t written = write(report, &error, sizeof error);
  _exit(written == sizeof error ? 127 : 126);
}

static void close_all(int *fds, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (fds[i] >= 0) close(fds[i]);
}

/* spawn(argv, env, directory|nil, gate_read|nil, gate_write|nil) -> pid, stdin, stdout, stderr (our ends of the pipes) */
static int l_spawn(lua_State *L) {
  const char *directory = luaL_optstring(L, 3, NULL);
  int gate[2] = {(int)luaL_optinteger(L, 4, -1), (int)luaL_optinteger(L, 5, -1)};
  char **argv = check_words(L, 1), **env = check_words(L, 2);
  luaL_argcheck(L, argv[0], 1, "no program given");

  /* stdin, stdout, stderr, report: [2i] is read from, [2i + 1] written to */
  int pipes[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
  for (int i = 0; i < 4; i++) {
    if (pipe2(pipes + 2 * i, O_CLOEXEC) != 0) {
      int error = errno;
      close_all(pipes, 8);
      errno = error;
      return raise_errno(L, "pipe");
    }
  }
  pid_t pid = fork();
  if (pid == 0) child(argv, env, directory, (int[]){pipes[0], pipes[3], pipes[5]}, gate, pipes[7]);
  int fork_error = errno;
  close_all((int[]){pipes[0], pipes[3], pipes[5], pipes[7]}, 4);

  /* A child behind a gate reports only after the gate has opened: its exit status 127 must do there. */
  int error = 0;
  if (pid > 0 && gate[0] < 0) {
    while (read(pipes[6], &error, sizeof error) < 0 && errno == EINTR) {}
  }
  close(pipes[6]);
  if (pid < 0 || error) {
    close_all((int[]){pipes[1], pipes[2], pipes[4]}, 3);
    if (pid > 0) waitpid(pid, NULL, 0);
    errno = pid < 0 ? fork_error : error;
    return raise_errno(L, pid < 0 ? "fork" : argv[0]);
  }
  fcntl(pipes[1], F_SETFL, O_NONBLOCK);
  fcntl(pipes[2], F_SETFL, O_NONBLOCK);
  fcntl(pipes[4], F_SETFL, O_NONBLOCK);
  lua_pushinteger(L, pid);
  lua_pushinteger(L, pipes[1]);
  lua_pushinteger(L, pipes[2]);
  lua_pushinteger(L, pipes[4]);
  return 4;
}

/* read(fd) -> text; false when there is nothing to read now; nil at the end */
static int l_read(lua_State *L) {
  char buffer[READ_SIZE];
  ssize_t size = read((int)luaL_checkinteger(L, 1), buffer, sizeof buffer);
  if (size < 0 && errno != EAGAIN && errno != EINTR) return raise_errno(L, "read");
  if (size < 0)
    lua_pushboolean(L, 0);
  else if (size == 0)
    lua_pushnil(L);
  else
    lua_pushlstring(L, buffer, (size_t)size);
  return 1;
}

/* write(fd, text) -> number of bytes taken now; nil when nobody reads any more */
static int l_write(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 2, &length);
  struct sigaction ignore = {.sa_handler = SIG_IGN}, former;
  sigaction(SIGPIPE, &ignore, &former);
  ssize_t size = write((int)luaL_checkinteger(L, 1), text, length);
  int error = errno;
  sigaction(SIGPIPE, &former, NULL);
  errno = error;
  if (size < 0 && errno == EPIPE) {
    lua_pushnil(L);
    return 1;
  }
  if (size < 0 && errno != EAGAIN && errno != EINTR) return raise_errno(L, "write");
  lua_pushinteger(L, size < 0 ? 0 : size);
  return 1;
}

static int l_close(lua_State *L) {
  close((int)luaL_checkinteger(L, 1));
  return 0;
}

/* gate() -> reading end, writing end of a pipe */
static int l_gate(lua_State *L) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return raise_errno(L, "pipe");
  lua_pushinteger(L, fds[0]);
  lua_pushinteger(L, fds[1]);
  return 2;
}

/* kill(pid, signal): a process that is gone already is no error */
static int l_kill(lua_State *L) {
  if (kill((pid_t)luaL_checkinteger(L, 1), (int)luaL_checkinteger(L, 2)) != 0 && errno != ESRCH)
    return raise_errno(L, "kill");
  return 0;
}

/* reap(pid) -> nil while it runs; then "exit" and the status, or "signal" and its number */
static int l_reap(lua_State *L) {
  int status;
  pid_t pid = waitpid((pid_t)luaL_checkinteger(L, 1), &status, WNOHANG);
  if (pid < 0) return raise_errno(L, "waitpid");
  if (pid == 0) return 0;
  lua_pushstring(L, WIFEXITED(status) ? "exit" : "signal");
  lua_pushinteger(L, WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
  return 2;
}

/* poll(fds, timeout_ms): returns when one of them can be read, or the time is over */
static int l_poll(lua_State *L) {
  struct pollfd fds[MAX_FDS];
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_Integer count = luaL_len(L, 1);
  luaL_argcheck(L, count <= MAX_FDS, 1, "too many descriptors");
  for (lua_Integer i = 0; i < count; i++) {
    lua_geti(L, 1, i + 1);
    fds[i] = (struct pollfd){.fd = (int)luaL_checkinteger(L, -1), .events = POLLIN};
    lua_pop(L, 1);
  }
  if (poll(fds, (nfds_t)count, (int)luaL_checkinteger(L, 2)) < 0 && errno != EINTR) return raise_errno(L, "poll");
  return 0;
}

static int l_now_ms(lua_State *L) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  lua_pushinteger(L, (lua_Integer)now.tv_sec * 1000 + now.tv_nsec / 1000000);
  return 1;
}

static int l_pid(lua_State *L) {
  lua_pushinteger(L, getpid());
  return 1;
}

/* What was loaded before Lua, a sanitizer's runtime; no child inherits it, since not every program bears it. */
static const char *preloaded;

static void take_preloaded(void) {
  const char *value = getenv("LD_PRELOAD");
  if (!value) return;
  preloaded = strdup(value);
  unsetenv("LD_PRELOAD");
}

/* preloaded() -> LD_PRELOAD as this process was started with, or nil */
static int l_preloaded(lua_State *L) {
  lua_pushstring(L, preloaded);
  return 1;
}

/* environment() -> array of NAME=value */
static int l_environment(lua_State *L) {
  lua_newtable(L);
  for (lua_Integer i = 0; environ[i]; i++) {
    lua_pushstring(L, environ[i]);
    lua_seti(L, -2, i + 1);
  }
  return 1;
}

int luaopen_smig_process(lua_State *L) {
  static const luaL_Reg functions[] = {{"spawn", l_spawn},
                                       {"read", l_read},
                                       {"write", l_write},
                                       {"close", l_close},
                                       {"gate", l_gate},
                                       {"kill", l_kill},
                                       {"reap", l_reap},
                                       {"poll", l_poll},
                                       {"now_ms", l_now_ms},
                                       {"pid", l_pid},
                                       {"environment", l_environment},
                                       {"preloaded", l_preloaded},
                                       {NULL, NULL}};
  take_preloaded();
  luaL_newlib(L, functions);
  return 1;
}
