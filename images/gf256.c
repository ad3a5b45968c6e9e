/* SPDX-License-Identifier: GPL-2.0-or-later */
/* GF(256) for the erasure code of the cast.
 *
 * A product with a fixed factor is linear over the bits, so it is the XOR of one table entry for
 * the low nibble and one for the high: two tables of 16 bytes, which is exactly what PSHUFB looks
 * up, 16 or 32 bytes at a time. The tables of all 256 factors take 8 KiB and are made once.
 *
 * Which instructions there are is asked when the program starts, never at compile time: the same
 * binary runs on every PC of a school, and plain C is the last row of the table.
 *
 * Not for secrets: the run time and the cache lines touched depend on the factors.
 */
#include "images/gf256.h"

#include <stdbool.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { POLYNOMIAL = 0x11d };

static uint8_t logs[256], powers[510];
/* For each factor: its products with 0..15, then with 0x00, 0x10, .. 0xf0. */
static uint8_t nibbles[256][32] __attribute__((aligned(32)));
static gf256_add_scaled_fn *best;

uint8_t gf256_mul(uint8_t a, uint8_t b)
{
	return a && b ? powers[logs[a] + logs[b]] : 0;
}

uint8_t gf256_inv(uint8_t a)
{
	return powers[255 - logs[a]];
}

static void add_scaled_plain(uint8_t *to, const uint8_t *from, uint8_t factor, size_t len)
{
	const uint8_t *low = nibbles[factor], *high = low + 16;

	for (size_t i = 0; i < len; i++)
		to[i] ^= low[from[i] & 15] ^ high[from[i] >> 4];
}

#if defined(__x86_64__)
__attribute__((target("ssse3"))) static void add_scaled_ssse3(
	uint8_t *to, const uint8_t *from, uint8_t factor, size_t len)
{
	const __m128i low = _mm_load_si128((const __m128i *)nibbles[factor]);
	const __m128i high = _mm_load_si128((const __m128i *)(nibbles[factor] + 16));
	const __m128i mask = _mm_set1_epi8(15);
	size_t i = 0;

	for (; i + 16 <= len; i += 16) {
		__m128i bytes = _mm_loadu_si128((const __m128i *)(from + i));
		__m128i sum = _mm_loadu_si128((const __m128i *)(to + i));
		__m128i upper = _mm_and_si128(_mm_srli_epi64(bytes, 4), mask);

		sum = _mm_xor_si128(sum, _mm_shuffle_epi8(low, _mm_and_si128(bytes, mask)));
		sum = _mm_xor_si128(sum, _mm_shuffle_epi8(high, upper));
		_mm_storeu_si128((__m128i *)(to + i), sum);
	}
	add_scaled_plain(to + i, from + i, factor, len - i);
}

__attribute__((target("avx2"))) static void add_scaled_avx2(
	uint8_t *to, const uint8_t *from, uint8_t factor, size_t len)
{
	const __m128i *table = (const __m128i *)nibbles[factor];
	const __m256i low = _mm256_broadcastsi128_si256(_mm_load_si128(table));
	const __m256i high = _mm256_broadcastsi128_si256(_mm_load_si128(table + 1));
	const __m256i mask = _mm256_set1_epi8(15);
	size_t i = 0;

	for (; i + 32 <= len; i += 32) {
		__m256i bytes = _mm256_loadu_si256((const __m256i *)(from + i));
		__m256i sum = _mm256_loadu_si256((const __m256i *)(to + i));
		__m256i upper = _mm256_and_si256(_mm256_srli_epi64(bytes, 4), mask);

		sum = _mm256_xor_si256(
			sum, _mm256_shuffle_epi8(low, _mm256_and_si256(bytes, mask)));
		sum = _mm256_xor_si256(sum, _mm256_shuffle_epi8(high, upper));
		_mm256_storeu_si256((__m256i *)(to + i), sum);
	}
	add_scaled_plain(to + i, from + i, factor, len - i);
}
#endif

static bool always(void)
{
	return true;
}

#if defined(__x86_64__)
static bool has_avx2(void)
{
	return __builtin_cpu_supports("avx2");
}

static bool has_ssse3(void)
{
	return __builtin_cpu_supports("ssse3");
}
#endif

static const struct {
	const char *name;
	bool (*there)(void);
	gf256_add_scaled_fn *add_scaled;
} paths[] = {
#if defined(__x86_64__)
	{"avx2", has_avx2, add_scaled_avx2},
	{"ssse3", has_ssse3, add_scaled_ssse3},
#endif
	{"plain", always, add_scaled_plain},
};

gf256_add_scaled_fn *gf256_path(unsigned index, const char **ret_name)
{
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
		if (paths[i].there() && index-- == 0) {
			*ret_name = paths[i].name;
			return paths[i].add_scaled;
		}
	return NULL;
}

void gf256_add_scaled(uint8_t *to, const uint8_t *from, uint8_t factor, size_t len)
{
	best(to, from, factor, len);
}

void gf256_scale(uint8_t *bytes, uint8_t factor, size_t len)
{
	const uint8_t *low = nibbles[factor], *high = low + 16;

	for (size_t i = 0; i < len; i++)
		bytes[i] = low[bytes[i] & 15] ^ high[bytes[i] >> 4];
}

/* Before main(), so that no caller has to think of it and no thread races for it. */
__attribute__((constructor)) static void tables_make(void)
{
	const char *name;
	unsigned power = 1;

#if defined(__x86_64__)
	__builtin_cpu_init();
#endif
	for (unsigned i = 0; i < 255; i++) {
		powers[i] = powers[i + 255] = (uint8_t)power;
		logs[power] = (uint8_t)i;
		power <<= 1;
		if (power & 256)
			power ^= POLYNOMIAL;
	}
	for (unsigned factor = 0; factor < 256; factor++)
		for (unsigned i = 0; i < 16; i++) {
			nibbles[factor][i] = gf256_mul((uint8_t)factor, (uint8_t)i);
			nibbles[factor][16 + i] = gf256_mul((uint8_t)factor, (uint8_t)(i << 4));
		}
	best = gf256_path(0, &name);
}
