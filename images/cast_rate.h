/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How fast a cast may go, and who is too slow for it: decisions only, from what receivers count. */
#ifndef IMAGES_CAST_RATE_H
#define IMAGES_CAST_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rates are bits per second of Ethernet frames. */
struct cast_rate {
	double cap, rate;
	double tolerance;     /* a loss up to here says nothing about the rate */
	double before, cause; /* the rate before the last cut, and the loss that led to it */
	bool trial;	      /* was that cut any use? */
	bool doubt;	      /* too much was lost in the last step too */
	double step;	      /* the next growth, a share of the cap */
};

void cast_rate_init(struct cast_rate *rate, double cap);

/* One step, every CAST_RATE_STEP_MS: `loss` are the shares (0..1) that the `n` receivers who still
 * need something missed since the last change of rate. Sorts `loss`. True: the rate was cut or put
 * back, so what was counted until now says nothing about it. */
enum { CAST_RATE_STEP_MS = 250 };
bool cast_rate_step(struct cast_rate *rate, double *loss, size_t n);

/* Is a receiver that misses `loss` hopeless beside these? (Sorts `all`; it may be among them.) */
bool cast_rate_hopeless(double loss, double *all, size_t n);

#endif
