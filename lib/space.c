/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The reserve.
 *
 * Uploads, downloads and imports bring what others chose, and as much of it. A disk that they fill
 * to the last byte takes more than theirs: the database beside them can no longer write down what
 * happens. So each of their writes is asked about here first, and what is kept back is left to the
 * daemon's own files. It is small enough not to matter on any disk that can hold an image.
 */
#include "lib/space.h"

#include <sys/statvfs.h>

#define RESERVE_MAX ((uint64_t)1 << 30)
enum { RESERVE_PART = 20 };

/* Bytes that are free, and how many of them stay so. */
static int free_on(int fd, uint64_t *ret_free, uint64_t *ret_reserve)
{
	struct statvfs fs;

	if (fstatvfs(fd, &fs) < 0)
		return -errno;
	*ret_free = (uint64_t)fs.f_bavail * fs.f_frsize;
	*ret_reserve = (uint64_t)fs.f_blocks * fs.f_frsize / RESERVE_PART;
	if (*ret_reserve > RESERVE_MAX)
		*ret_reserve = RESERVE_MAX;
	return 0;
}

int space_full(int fd, struct error **err)
{
	uint64_t free_bytes = 0, reserve = 0;

	free_on(fd, &free_bytes, &reserve);
	return error_make(err, -ENOSPC,
		"The lab server's disk is full: %llu MiB are free, of which %llu stay free. Delete "
		"images that nobody needs and give their space back with `nightclass image gc`.",
		(unsigned long long)(free_bytes >> 20), (unsigned long long)(reserve >> 20));
}

int space_check(int fd, uint64_t more, struct error **err)
{
	uint64_t free_bytes, reserve;

	if (free_on(fd, &free_bytes, &reserve) < 0 ||
		(free_bytes >= reserve && more <= free_bytes - reserve))
		return 0;
	return space_full(fd, err);
}
