/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libFuzzer on what a predecessor in the peer chain may say: a frame begins before it grows and
 * ends once, never grows beyond its bound, and numbers and counts stay within the image and the
 * arrays. */
#include "images/chain_wire.h"
#include "images/chunk.h"
#include "tests/fuzz/fuzz.h"

enum { COUNT = 10 };

struct heard {
	bool open;
	size_t len;
};

static int begin(uint32_t number, void *arg)
{
	struct heard *heard = arg;

	if (heard->open || number >= COUNT)
		abort();
	*heard = (struct heard){.open = true};
	return 0;
}

static int add(const void *bytes, size_t len, void *arg)
{
	struct heard *heard = arg;

	heard->len += len;
	if (!heard->open || !bytes || heard->len > CHUNK_PACKED_MAX)
		abort();
	return 0;
}

static int end(bool whole, void *arg)
{
	struct heard *heard = arg;

	(void)whole;
	if (!heard->open)
		abort();
	heard->open = false;
	return 0;
}

static void bad(uint32_t number, void *arg)
{
	(void)arg;
	if (number >= COUNT)
		abort();
}

static void status(const uint32_t *values, size_t n, uint32_t number, void *arg)
{
	(void)number, (void)arg;
	if (n > CHAIN_HOPS || (n > 0 && !values))
		abort();
}

static void over(void *arg)
{
	(void)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static const struct chain_events events = {begin, add, end, bad, status, over};
	struct chain_parser parser = {.count = COUNT};
	struct heard heard = {0};
	size_t step = len > 0 ? bytes[0] % 64 + 1 : 1; /* pieces as the network cuts them */

	for (size_t at = 1; at < len; at += step) {
		int r = chain_parse(
			&parser, bytes + at, len - at < step ? len - at : step, &events, &heard);

		if (r < 0 && r != -EBADMSG)
			abort();
		if (r < 0)
			break;
	}
	return 0;
}
