/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arithmetic in GF(256), polynomial x^8+x^4+x^3+x^2+1: addition is XOR, and multiplication of one
 * byte by a whole packet is done with the widest instructions this processor has. */
#ifndef IMAGES_GF256_H
#define IMAGES_GF256_H

#include <stddef.h>
#include <stdint.h>

uint8_t gf256_mul(uint8_t a, uint8_t b);
/* 1 / a; a is not zero. */
uint8_t gf256_inv(uint8_t a);

/* to[i] ^= factor * from[i] for `len` bytes; the two do not overlap. Any alignment. */
void gf256_add_scaled(uint8_t *to, const uint8_t *from, uint8_t factor, size_t len);
/* bytes[i] = factor * bytes[i]. */
void gf256_scale(uint8_t *bytes, uint8_t factor, size_t len);

/* The ways to do gf256_add_scaled on this processor, best first; NULL past the last. For tests: all
 * give the same result. */
typedef void gf256_add_scaled_fn(uint8_t *to, const uint8_t *from, uint8_t factor, size_t len);
gf256_add_scaled_fn *gf256_path(unsigned index, const char **ret_name);

#endif
