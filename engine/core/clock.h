/*
 * Clocks. Wall time is for records, monotonic time for durations, boot time (monotonic and counting sleep) for
 * leases: they never mix. Any thread.
 */
#ifndef SMIG_CORE_CLOCK_H
#define SMIG_CORE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

enum { SMIG_ISO_SIZE = 32 };

int64_t smig_clock_wall_ms(void); /* since 1970, UTC */
int64_t smig_clock_mono_ms(void);
int64_t smig_clock_boot_ms(void); /* CLOCK_BOOTTIME */
/* "2026-04-14T12:31:34.123Z" */
void smig_clock_iso(int64_t wall_ms, char out[SMIG_ISO_SIZE]);
/* Reads an ISO 8601 date with time and zone (Z or ±hh:mm), fraction optional. */
bool smig_clock_from_iso(const char *text, int64_t *wall_ms);
/* Sleeps; returns early when a signal comes. */
void smig_clock_sleep_ms(int64_t ms);

#endif
