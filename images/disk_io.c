/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two ends of every reader of a foreign format.
 *
 * A bomb is a small file that unpacks to a large one. Zeros are no danger, for they become holes
 * and are limited by the disk's size alone, and real disks are mostly zeros; so the ratio counts
 * only what is really written. Data of a disk packs two to ten times, seldom twenty; a hundred is
 * beyond all honest images, and the first 64 MiB are free so that small ones need no thought.
 *
 * Every write goes to a place inside the promised size, whoever computed it.
 */
#include "images/disk_io.h"

enum { BLOCK = 4096, TELL_EVERY = 8 << 20, TELL_CALLS = 1024 };

int disk_read(int fd, uint64_t at, void *bytes, size_t len, const char *what, struct error **err)
{
	unsigned char *to = bytes;

	while (len > 0) {
		ssize_t n = at > INT64_MAX ? 0 : pread(fd, to, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_make(err, n < 0 ? -EIO : -EINVAL, "the %s cannot be read: %s",
				what, n < 0 ? strerror(errno) : "the file ends before it");
		to += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

void disk_out_init(struct disk_out *out, int fd, uint64_t size, uint64_t input)
{
	*out = (struct disk_out){.fd = fd, .size = size};
	out->stored_max = input > UINT64_MAX / DISK_RATIO - DISK_RATIO_FREE
				  ? UINT64_MAX
				  : input * DISK_RATIO + DISK_RATIO_FREE;
}

static bool all_zero(const unsigned char *bytes, size_t len)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0;
}

static int write_run(struct disk_out *out, uint64_t at, const unsigned char *bytes, size_t len,
	struct error **err)
{
	if (len > out->stored_max - out->stored)
		return error_make(err, -E2BIG,
			"it unpacks to more than %d times its own size, as no honest disk does; "
			"nothing of it was kept",
			DISK_RATIO);
	out->stored += len;
	while (len > 0) {
		ssize_t n = pwrite(out->fd, bytes, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_make(err, n < 0 ? -errno : -EIO,
				"the unpacked disk cannot be written: %s",
				strerror(n < 0 ? errno : EIO));
		bytes += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int disk_out_write(
	struct disk_out *out, uint64_t at, const void *bytes, size_t len, struct error **err)
{
	const unsigned char *from = bytes;
	size_t begin = 0, end = 0;
	int r = 0;

	if (at > out->size || len > out->size - at)
		return error_make(err, -EINVAL,
			"it has data behind the end of its disk (%llu bytes)",
			(unsigned long long)out->size);
	while (r == 0 && end < len) {
		size_t n = len - end < BLOCK ? len - end : BLOCK;
		bool zero = all_zero(from + end, n);

		if (zero && end > begin)
			r = write_run(out, at + begin, from + begin, end - begin, err);
		end += n;
		if (zero)
			begin = end;
	}
	if (r == 0 && end > begin)
		r = write_run(out, at + begin, from + begin, end - begin, err);
	return r;
}

int disk_out_tell(struct disk_out *out, uint64_t done, uint64_t total, struct error **err)
{
	int r;

	if (!out->progress || (done < out->said + TELL_EVERY && done != total && done != 0 &&
				      ++out->untold < TELL_CALLS))
		return 0;
	out->said = done;
	out->untold = 0;
	r = out->progress(done, total, out->arg);
	return r < 0 ? error_make(err, r, "nobody waits for it any more") : 0;
}

int disk_out_end(struct disk_out *out, uint64_t length, struct error **err)
{
	if (length > out->size)
		return error_make(err, -EINVAL, "it holds more than %llu bytes",
			(unsigned long long)out->size);
	if (ftruncate(out->fd, (off_t)length) < 0)
		return error_make(
			err, -errno, "the unpacked disk cannot be written: %s", strerror(errno));
	return 0;
}
