/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rate of a cast.
 *
 * A sender that listens to its worst receiver is held up by one bad cable; one that listens to
 * nobody floods ports that are slower than its own. So the loss that counts is that of the receiver
 * at nine tenths of the way from best to worst. When it is beyond what chance explains, twice in a
 * row (a hiccup of the machine is none of our business), the rate is cut to what that receiver got;
 * afterwards it grows again, slowly first where the loss began, then in larger and larger steps.
 *
 * Loss by chance (a bad cable run, interference) does not depend on the rate. It shows when a cut
 * did not help: then the rate is put back and that much loss is borne from now on. Repair of a few
 * percent is cheaper than half the rate.
 *
 * A receiver that gets less than half of what the middle one gets is not a matter of rate at all:
 * it costs itself and all others less by asking its peers. No clock and no state but the struct.
 */
#include "images/cast_rate.h"

#include <stdlib.h>

#define BY_CHANCE 0.04	 /* loss that is never taken for a sign */
#define MARGIN 0.98	 /* of what got through */
#define CUT_MOST 0.25	 /* one step never goes below this share */
#define FLOOR 0.01	 /* of the cap */
#define STEP_FIRST 0.002 /* of the cap: the first growth after a cut */
#define STEP_LAST 0.04	 /* and the largest, each twice the one before */
#define CHANCE_MOST 0.12 /* more than that no cable loses by chance */
#define SAME 0.7	 /* this share of the loss still there: the cut was no use */

void cast_rate_init(struct cast_rate *rate, double cap)
{
	*rate = (struct cast_rate){
		.cap = cap, .rate = cap, .tolerance = BY_CHANCE, .step = STEP_LAST};
}

static int double_cmp(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static bool cut(struct cast_rate *rate, double loss)
{
	double share = (1 - loss) * MARGIN, floor = rate->cap * FLOOR;

	if (rate->rate <= floor)
		return false;
	rate->before = rate->rate;
	rate->cause = loss;
	rate->trial = true;
	rate->rate *= share < CUT_MOST ? CUT_MOST : share;
	if (rate->rate < floor)
		rate->rate = floor;
	rate->step = STEP_FIRST;
	return true;
}

static void grow(struct cast_rate *rate)
{
	rate->rate += rate->cap * rate->step;
	if (rate->rate > rate->cap)
		rate->rate = rate->cap;
	rate->step = rate->step * 2 > STEP_LAST ? STEP_LAST : rate->step * 2;
}

bool cast_rate_step(struct cast_rate *rate, double *loss, size_t n)
{
	double worst;

	if (n == 0)
		return false;
	qsort(loss, n, sizeof(*loss), double_cmp);
	worst = loss[(n * 9 + 9) / 10 - 1];
	if (rate->trial) {
		rate->trial = false;
		if (worst > BY_CHANCE && worst < CHANCE_MOST && worst >= rate->cause * SAME) {
			rate->tolerance = worst * 1.5 < CHANCE_MOST ? worst * 1.5 : CHANCE_MOST;
			rate->rate = rate->before;
			return true;
		}
	}
	if (worst > rate->tolerance) {
		rate->doubt = !rate->doubt;
		return !rate->doubt && cut(rate, worst);
	}
	rate->doubt = false;
	if (worst <= rate->tolerance / 2 || rate->tolerance > BY_CHANCE)
		grow(rate);
	return false;
}

bool cast_rate_hopeless(double loss, double *all, size_t n)
{
	if (n < 2)
		return false;
	qsort(all, n, sizeof(*all), double_cmp);
	return 1 - loss < (1 - all[(n - 1) / 2]) / 2;
}
