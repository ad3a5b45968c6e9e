/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one clock. Nothing else in the product calls time() or clock_gettime(). A rehearsal or a test shifts
 * it: when NIGHTCLASS_CLOCK names a file, the decimal number of seconds in it is added to wall and
 * monotonic time of every program that was started with it, and loop.h re-arms its timers on each change. */
#ifndef LIB_CLOCK_H
#define LIB_CLOCK_H

#include <stdint.h>

/* Reads NIGHTCLASS_CLOCK once; without it the system's clock. Called by main() first; safe to call again. */
void clock_init(void);
/* Unix time in seconds / milliseconds; time since boot in ms (CLOCK_BOOTTIME), never backwards unless the
 * test file says so. */
int64_t clock_wall(void);
int64_t clock_wall_ms(void);
int64_t clock_mono_ms(void);
/* Milliseconds that really pass (CLOCK_BOOTTIME without any offset): for time-outs of I/O and child processes,
 * which a shift of the night must not end. */
int64_t clock_real_ms(void);
/* The same in microseconds: for what is paced. */
int64_t clock_real_us(void);
/* Re-reads the offset; called by loop.h when the file changes. Returns 1 when it changed. */
int clock_reread(void);
/* The path of the offset file, NULL without one. */
const char *clock_file(void);
/* "2026-11-21T03:04:05Z"; and strict parse of the same form. */
enum { CLOCK_TEXT = 21 };
const char *clock_format(int64_t wall, char ret_text[CLOCK_TEXT]);
int clock_parse(const char *text, int64_t *ret_wall);
/* For unit tests: fixes both clocks (-1: back to the system's). */
void clock_fix(int64_t wall_ms);

#endif
