/* Files and folders: functions of smartmigration.process. Users: process.c. */
#ifndef SMIG_BINDINGS_FILES_H
#define SMIG_BINDINGS_FILES_H

#include "kit.h"

int files_create(lua_State *L);
int files_make_directory(lua_State *L);
int files_mode(lua_State *L);

#endif
