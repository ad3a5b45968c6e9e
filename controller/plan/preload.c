/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Preload: a host that has nothing to do fetches what it will probably be asked for, so that a cluster of the
 * evening's usual image starts without waiting for a copy.
 *
 * What "probably" means is the lab's word: names in the order of their importance, and "recent" for the image of
 * the newest cluster. A wish never displaces a need: images of the PC's VMs come first and are counted first, and
 * a PC without a scratch partition, whose images live in its memory, gives a quarter of that at most, and no more
 * than its VMs leave. What does not fit is passed over, and a smaller one behind it may still fit.
 *
 * The controller knows an image's size as its guests see it and as the store packs it, not as a host holds it
 * (without zeros, not packed). Twice and a half is what zstd makes of system images, so four times the packed
 * size is a safe upper estimate, and the size itself is another. */
#include "controller/plan/preload.h"

enum { PACKED_TIMES = 4, MEMORY_SHARE = 4, MIB = 1 << 20 };

uint64_t preload_room(uint64_t memory_mib, uint64_t free_mib, uint64_t scratch_mib)
{
	uint64_t share_mib = memory_mib / MEMORY_SHARE;
	if (scratch_mib)
		return scratch_mib * MIB;
	return (share_mib < free_mib ? share_mib : free_mib) * MIB;
}

uint64_t preload_cost(const struct image *image)
{
	uint64_t unpacked = image->stored * PACKED_TIMES;
	return unpacked < image->size ? unpacked : image->size;
}

static bool is_among(const struct images *images, const char *digest)
{
	vec_each (struct image, image, images)
		if (strcmp(image->digest, digest) == 0)
			return true;
	return false;
}

size_t plan_preload(const struct images *wishes, const struct images *needed, uint64_t room,
	const struct image *ret_picked[PRELOAD_MAX])
{
	size_t n = 0;
	vec_each (struct image, image, needed) {
		uint64_t cost = preload_cost(image);
		room = room > cost ? room - cost : 0;
	}
	vec_each (struct image, wish, wishes) {
		uint64_t cost = preload_cost(wish);
		bool again = is_among(needed, wish->digest);
		for (size_t i = 0; i < n; i++)
			again = again || strcmp(ret_picked[i]->digest, wish->digest) == 0;
		if (again || cost > room || n == PRELOAD_MAX)
			continue;
		room -= cost;
		ret_picked[n++] = wish;
	}
	return n;
}

void preload_words(const char *text, struct strings *ret_words)
{
	auto_free char *copy = xstrdup(text);
	char *rest = copy, *word = NULL;
	*ret_words = (struct strings){0};
	while ((word = strsep(&rest, ", ")))
		if (*word && strcmp(text, "none") != 0)
			vec_push(ret_words, xstrdup(word));
}
