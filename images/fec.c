/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cauchy Reed-Solomon.
 *
 * Parity j is the sum over all sources i of source_i / (x_j + y_i), with x_j and y_i all different.
 * Every square part of such a matrix can be inverted, which is the whole promise: it does not
 * matter which packets were lost and which parities arrived, only how many. So 32 receivers that
 * each lost something else are helped by the same few packets.
 *
 * Decoding takes the present sources out of the parities (in place, the bulk of the work: one
 * multiplication of a packet per present source and missing one), then inverts a matrix of at most
 * 55 x 55 and adds the remainders up.
 *
 * A group of 200 in a field of 256 is a choice: larger groups would need fewer parities (the loss
 * of many receivers averages out), but each packet rebuilt costs as many multiplications as its
 * group has packets, and 32 receivers of a bench share two cores.
 */
#include "images/fec.h"

#include <string.h>

#include "images/gf256.h"

static uint8_t coefficient(unsigned parity, unsigned source)
{
	return gf256_inv((uint8_t)((FEC_SOURCES_MAX + parity) ^ source));
}

void fec_encode(
	const uint8_t *const *sources, unsigned n, unsigned number, size_t len, uint8_t *out)
{
	memset(out, 0, len);
	for (unsigned i = 0; i < n; i++)
		gf256_add_scaled(out, sources[i], coefficient(number, i), len);
}

/* What the present sources gave to each parity is taken out again. */
static void take_out(uint8_t *const *sources, unsigned n, const unsigned *missing,
	unsigned n_missing, const struct fec_parity *parities, size_t len)
{
	unsigned next = 0;

	for (unsigned i = 0; i < n; i++) {
		if (next < n_missing && missing[next] == i) {
			next++;
			continue;
		}
		for (unsigned p = 0; p < n_missing; p++)
			gf256_add_scaled(parities[p].bytes, sources[i],
				coefficient(parities[p].number, i), len);
	}
}

/* Gauss and Jordan on [matrix | identity], rows of `n` bytes each. No row ever has to be swapped:
 * the leading parts of a Cauchy matrix are Cauchy matrices too, so no pivot is zero. */
static void invert(
	uint8_t (*matrix)[FEC_PARITIES_MAX], uint8_t (*inverse)[FEC_PARITIES_MAX], unsigned n)
{
	for (unsigned column = 0; column < n; column++) {
		uint8_t factor = gf256_inv(matrix[column][column]);

		gf256_scale(matrix[column], factor, n);
		gf256_scale(inverse[column], factor, n);
		for (unsigned row = 0; row < n; row++) {
			factor = matrix[row][column];
			if (row == column || factor == 0)
				continue;
			gf256_add_scaled(matrix[row], matrix[column], factor, n);
			gf256_add_scaled(inverse[row], inverse[column], factor, n);
		}
	}
}

void fec_decode(uint8_t *const *sources, unsigned n, const unsigned *missing, unsigned n_missing,
	const struct fec_parity *parities, size_t len)
{
	uint8_t matrix[FEC_PARITIES_MAX][FEC_PARITIES_MAX];
	uint8_t inverse[FEC_PARITIES_MAX][FEC_PARITIES_MAX] = {{0}};

	take_out(sources, n, missing, n_missing, parities, len);
	for (unsigned p = 0; p < n_missing; p++) {
		inverse[p][p] = 1;
		for (unsigned m = 0; m < n_missing; m++)
			matrix[p][m] = coefficient(parities[p].number, missing[m]);
	}
	invert(matrix, inverse, n_missing);
	for (unsigned m = 0; m < n_missing; m++) {
		memset(sources[missing[m]], 0, len);
		for (unsigned p = 0; p < n_missing; p++)
			gf256_add_scaled(
				sources[missing[m]], parities[p].bytes, inverse[m][p], len);
	}
}
