/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Numbers as they lie in foreign bytes, at any address: big-endian (be) and little-endian (le). The
 * caller has made sure that the bytes are there. */
#ifndef LIB_BYTES_H
#define LIB_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define BYTES_GET(order, bits)                                                                     \
	static inline uint##bits##_t order##bits##_at(const void *at)                              \
	{                                                                                          \
		uint##bits##_t value;                                                              \
		memcpy(&value, at, sizeof(value));                                                 \
		return order##bits##toh(value);                                                    \
	}
BYTES_GET(be, 16)
BYTES_GET(be, 32)
BYTES_GET(be, 64)
BYTES_GET(le, 16)
BYTES_GET(le, 32)
BYTES_GET(le, 64)
#undef BYTES_GET

static inline void be16_put(void *at, uint16_t value)
{
	value = htobe16(value);
	memcpy(at, &value, sizeof(value));
}
static inline void be32_put(void *at, uint32_t value)
{
	value = htobe32(value);
	memcpy(at, &value, sizeof(value));
}

#endif
