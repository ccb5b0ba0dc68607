/* The engine in Lua: `smartmigration.core`, what lua/smartmigration/init.lua builds the public module from. */
#ifndef SMIG_BINDINGS_LENGINE_H
#define SMIG_BINDINGS_LENGINE_H

#include "kit.h"

/*
 * luaopen of `smartmigration.core`:
 *   core.engine(options) -> handle   options as in smig_options_t, snake_case, flat (mongo_uri, mongo_database, mongo (a database
 *                                    handle), ledger_backend, …, log = function(level, message, fields))
 *   handle:add_step(step [, file, checksum])   step is the table of the author: { id, from, to, description, compatible_from,
 *                                    resumable, up }; unknown keys and wrong types raise STEP_LOAD_FAILED
 *   handle:validate_chain() :validate() :plan() :run() :status() :cancel([reason]) :close()
 *   handle:baseline(version, force) :repair(kind, id) :unlock([holder]) :checkpoints([step, values]) :clear_checkpoints([step])
 *          :import(applied, source, dry_run) :history() :prune_history(older_than_ms)   kind is "mark-applied", "mark-pending",
 *                                    "accept-drift" or "rerun"; applied a list of { step_id, applied_at_ms }
 *   core.codes            { NAME = { exit = n, text = "…" } }
 *   core.raise(code, message [, details])   raises an error object with a code of the table
 *   core.raise_argument(message)            raises an error object of category "argument"
 *   core.suggest(name, names)               the nearest of the names, or nil
 *   core.version          { smartmigration, libmongoc, libbson, lua }
 */
SMIG_API int luaopen_smartmigration_core(lua_State *L);
/*
 * luaopen of `smartmigration.process`: what the command line needs of the system:
 *   handle_signals(engine or migration or nil [, announce])   SIGINT and SIGTERM cancel it, a second one ends the process; with
 *                                    `announce` the first one says so on stderr; SIGPIPE is ignored
 *   received_signal() -> number or nil
 *   isatty(fd), terminal_width(fd) -> columns or nil, monotonic_ms(), sleep_ms(ms), sha256(text) -> hex
 *   list_directory(path) -> names in natural order, types ("file", "directory", "other"); or nil, message
 *   hide_argument(i [, from])   overwrites argv[i] (from its byte `from`) in the process list
 */
SMIG_API int luaopen_smartmigration_process(lua_State *L);

/* The smig_engine_t inside the handle at idx, or inside the migration object at idx; NULL when it is closed or neither. */
smig_engine_t *lengine_test(lua_State *L, int idx);

#endif
