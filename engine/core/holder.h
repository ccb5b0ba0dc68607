/*
 * The holder string of the lock: `<run id>@<host>/<boot id>/<pid namespace>/<time namespace>/<pid>/<start time>`,
 * and the proof that the process a foreign one names is dead.
 * Source of the rule: the contract's section on the lock. Linux (/proc).
 */
#ifndef SMIG_CORE_HOLDER_H
#define SMIG_CORE_HOLDER_H

#include <stdbool.h>

enum { SMIG_RUN_ID_SIZE = 33, SMIG_HOLDER_SIZE = 512 };

/* A new random id: 32 hexadecimal digits. */
void smig_run_id_new(char out[SMIG_RUN_ID_SIZE]);
void smig_holder_new(const char *run_id, char out[SMIG_HOLDER_SIZE]);
/* The run id of a holder string (copied); an empty string when it has none. */
void smig_holder_run_id(const char *holder, char out[SMIG_RUN_ID_SIZE]);
/* The host of a holder string (a new string, bson_free); the whole string when it is not one of ours. */
char *smig_holder_host(const char *holder);

/*
 * Whether the holder's process is proven dead: host, boot id, pid and time namespace equal ours, and kill(pid, 0)
 * says ESRCH, or /proc/<pid>/stat shows another start time or a zombie without other threads. Anything unreadable,
 * EPERM, or a string that is not ours: false.
 */
bool smig_holder_proven_dead(const char *holder);

#endif
