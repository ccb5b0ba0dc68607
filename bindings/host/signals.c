/*
 * Signals. They are the process's, so this is the one place with state beside a Lua state: an engine that the next
 * signal cancels. Handlers are installed, not defaults relied upon: as PID 1 of a container a default action does nothing.
 */
#include "signals.h"

#include "lhost.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static _Atomic(smig_engine_t *) target;
static atomic_bool announced;
static atomic_int received;

/* For a person who waits at a terminal, which has shown ^C on the line. */
static void announce(void) {
  static const char text[] = "\nThe run stops at its next safe point; a second signal ends the program at once.\n";
  ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
  (void)written; /* there is nobody else to tell */
}

static void on_signal(int number) {
  int none = 0, reason = errno;
  bool first = atomic_compare_exchange_strong(&received, &none, number);
  smig_engine_t *engine = atomic_load(&target);
  if (!first || !engine) _exit(128 + number);
  if (atomic_load(&announced)) announce();
  smig_engine_cancel(engine, number);
  errno = reason;
}

void signals_handle(smig_engine_t *engine, bool announcing) {
  atomic_store(&announced, announcing);
  atomic_store(&target, engine);
  /* SA_RESTART: a step's own reading of a file is not to fail by it; the engine's waits end all the same. */
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, NULL);
}

int signals_received(void) {
  return atomic_load(&received);
}

void lhost_signals_forget(smig_engine_t *engine) {
  atomic_compare_exchange_strong(&target, &engine, NULL);
}
