/* The engine in Lua: `smartmigration.core`, what lua/smartmigration/init.lua builds the public module from. */
#ifndef SMIG_BINDINGS_LENGINE_H
#define SMIG_BINDINGS_LENGINE_H

#include "kit.h"

/*
 * luaopen of `smartmigration.core`:
 *   core.engine(options) -> handle   options as in smig_options_t, snake_case, flat (mongo_uri, mongo_database, mongo (a database
 *                                    handle), ledger_backend, …, log = function(level, message, fields))
 *   handle:add_step{ id, from, to, description, compatible_from, resumable, up, checksum, file, line }
 *   handle:validate_chain() :validate() :plan() :run() :status() :cancel([reason]) :close()
 *   core.codes            { NAME = { exit = n, text = "…" } }
 *   core.raise(code, message [, details])   raises an error object with a code of the table
 *   core.version          { smartmigration, libmongoc, libbson, lua }
 */
int luaopen_smartmigration_core(lua_State *L);
/* luaopen of `smartmigration.process`: what the command line needs of the system: handle_signals(engine), isatty(fd), sha256(text),
 * list_directory(path), hide_argument(i) (overwrites a password in the process list), … */
int luaopen_smartmigration_process(lua_State *L);

#endif
