/*
 * credential_process: a program of the user's that prints credentials as JSON, see credentials_source.h. It is started from an argument
 * vector, without a shell, in a process group of its own; what it prints on its standard error is not shown: it may hold anything.
 */
#include "credentials_source.h"

#include "clock.h"
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { MAX_OUTPUT = 1 << 16, GUARD_SLICE_MS = 100 };

/* ------------------------------------------------------------ command lines */

static bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/*
 * The next word into `out` (as long as the line): blanks divide words; '…' is literal; in "…" a backslash takes the meaning from a quote
 * or a backslash, elsewhere from anything. Moves *line on. 1: a word, 0: the end, -1: a quote is not closed.
 */
static int next_word(const char **line, char *out) {
  const char *at = *line;
  while (is_blank(*at)) at++;
  if (!*at) return 0;
  char quote = '\0';
  for (; *at && (quote || !is_blank(*at)); at++) {
    bool escapes = *at == '\\' && (quote ? quote == '"' && (at[1] == '"' || at[1] == '\\') : at[1] != '\0');
    if (escapes)
      *out++ = *++at;
    else if (quote ? *at == quote : *at == '\'' || *at == '"')
      quote = quote ? '\0' : *at;
    else
      *out++ = *at;
  }
  *out = '\0';
  *line = at;
  return quote ? -1 : 1;
}

/* NULL: a quote is not closed. bson_strfreev. */
static char **split(const char *line) {
  size_t count = 0, room = strlen(line) / 2 + 2; /* a word and a blank take two bytes */
  char **words = bson_malloc0((room + 1) * sizeof *words), *word = bson_malloc(strlen(line) + 1);
  int outcome;
  while ((outcome = next_word(&line, word)) > 0) words[count++] = bson_strdup(word);
  bson_free(word);
  if (outcome == 0) return words;
  bson_strfreev(words);
  return NULL;
}

/* ----------------------------------------------------------------- running */

/* Starts it with its standard output on *output. An errno, 0: it runs. */
static int start(char **words, pid_t *pid, int *output) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return errno;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t signals;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(&attributes, &signals);
  sigaddset(&signals, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &signals);
  int outcome = posix_spawnp(pid, words[0], &actions, &attributes, words, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (outcome == 0)
    *output = ends[0];
  else
    close(ends[0]);
  return outcome;
}

typedef struct run {
  char text[MAX_OUTPUT + 1];
  size_t length;
  bool ended, overflowed, stopped;
} run_t;

/* Reads what is there; false: nothing more will come. */
static bool take(run_t *run, int output) {
  if (run->length == MAX_OUTPUT) run->overflowed = true;
  if (run->overflowed) return false;
  ssize_t got = read(output, run->text + run->length, MAX_OUTPUT - run->length);
  if (got > 0) run->length += (size_t)got;
  return got > 0 || (got < 0 && errno == EINTR);
}

/* Reads until the program has ended (its own children may live on and hold the pipe), the time is over or the guard is shut. */
static void read_output(run_t *run, int process, int output, int64_t deadline_mono_ms, const struct smig_guard *guard) {
  struct pollfd polled[] = {{.fd = output, .events = POLLIN}, {.fd = process, .events = POLLIN}};
  for (;;) {
    int64_t left_ms = deadline_mono_ms - smig_clock_mono_ms();
    run->stopped = guard && !smig_guard_permits(guard);
    if (left_ms <= 0 || run->stopped) return;
    if (guard && left_ms > GUARD_SLICE_MS) left_ms = GUARD_SLICE_MS;
    int ready = poll(polled, 2, (int)left_ms);
    if (ready <= 0) continue;
    if (polled[0].revents) {
      if (take(run, output)) continue;
      polled[0].fd = -1;
      run->ended = process < 0; /* a kernel without pidfds: the end of the output has to do */
      if (run->ended || run->overflowed) return;
    } else if (polled[1].revents) {
      run->ended = true;
      return;
    }
  }
}

static smig_search_t finish(const char *source, const run_t *run, int status, bool waited, int64_t limit_ms,
                            smig_keys_t *keys, smig_error_t *error) {
  if (run->overflowed) return smig_search_failed(error, "%s printed over 64 KiB", source);
  if (run->stopped) return smig_search_failed(error, "%s was ended, because the run is", source);
  if (!run->ended) return smig_search_failed(error, "%s did not end within %.1f s", source, (double)limit_ms / 1000);
  if (!waited) return smig_search_failed(error, "%s ended, and its exit status is lost: SIGCHLD is ignored", source);
  if (WIFSIGNALED(status)) return smig_search_failed(error, "%s was ended by signal %d", source, WTERMSIG(status));
  if (WEXITSTATUS(status) != 0)
    return smig_search_failed(error, "%s ended with status %d", source, WEXITSTATUS(status));
  bool good = smig_keys_from_json(keys, run->text, run->length, "SessionToken", 1, source, error);
  return good ? SMIG_SEARCH_FOUND : SMIG_SEARCH_FAILED;
}

smig_search_t smig_credentials_process(const char *source, const char *command, int64_t limit_ms,
                                       const struct smig_guard *guard, smig_keys_t *keys, smig_error_t *error) {
  char **words = split(command);
  if (!words || !words[0]) {
    bson_strfreev(words);
    return smig_search_failed(error, "%s %s", source, words ? "names no program" : "has a quote that is not closed");
  }
  pid_t pid;
  int output, status = 0, reason = start(words, &pid, &output);
  smig_search_t outcome = SMIG_SEARCH_FAILED;
  if (reason != 0) {
    smig_search_failed(error, "%s: '%s' cannot be started: %s", source, words[0], strerror(reason));
  } else {
    run_t *run = bson_malloc0(sizeof *run);
    int process = pidfd_open(pid, 0);
    read_output(run, process, output, smig_clock_mono_ms() + limit_ms, guard);
    if (!run->ended) kill(-pid, SIGKILL);
    close(process);
    close(output);
    bool waited = waitpid(pid, &status, 0) == pid;
    outcome = finish(source, run, status, waited, limit_ms, keys, error);
    bson_zero_free(run, sizeof *run);
  }
  bson_strfreev(words);
  return outcome;
}
