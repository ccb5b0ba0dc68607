/* SIGINT and SIGTERM for the binary: the first cancels the run, the second ends the process. Users: process. */
#ifndef SMIG_BINDINGS_SIGNALS_H
#define SMIG_BINDINGS_SIGNALS_H

#include "smartmigration.h"

/*
 * Installs the handlers (idempotent) and aims them at the engine; NULL: a signal ends the process. `announcing`: the first signal
 * says on stderr that the run stops, and what a second one does. SIGPIPE is ignored.
 */
void signals_handle(smig_engine_t *engine, bool announcing);
/* The first signal that came, or 0. */
int signals_received(void);

#endif
