/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A systematic erasure code over packets of equal length: any `n` of the n sources and up to 55
 * parities give the n sources back (Cauchy Reed-Solomon, so no choice of them is a bad one). */
#ifndef IMAGES_FEC_H
#define IMAGES_FEC_H

#include <stddef.h>
#include <stdint.h>

enum { FEC_SOURCES_MAX = 200, FEC_PARITIES_MAX = 55 };

/* One parity that was received: its bytes (overwritten by fec_decode) and its number. */
struct fec_parity {
	uint8_t *bytes;
	unsigned number; /* 0..FEC_PARITIES_MAX - 1 */
};

/* Writes parity `number` of the `n` sources (1..FEC_SOURCES_MAX), all of `len` bytes, to `out`. */
void fec_encode(
	const uint8_t *const *sources, unsigned n, unsigned number, size_t len, uint8_t *out);

/* Fills in the `n_missing` sources whose places are listed in `missing` (ascending; their buffers
 * are there, their content is not read), from the others and as many parities with different
 * numbers. Cannot fail: wrong parities give wrong sources, which is for the caller to notice. */
void fec_decode(uint8_t *const *sources, unsigned n, const unsigned *missing, unsigned n_missing,
	const struct fec_parity *parities, size_t len);

#endif
