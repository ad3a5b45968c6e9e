/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's root image as chunks.
 *
 * It is our own file and no disk image, so nothing of it is interpreted: no reader, no jail, only
 * cutting. It has no row in the database; the controller remembers its digest and makes it anew at
 * each start, which costs reading it once, and heals what a power cut or a bad disk did to a chunk.
 *
 * Name and revision are always the same: hosts that find the same bytes find the same manifest.
 */
#include "images/hostroot.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "images/chunk.h"
#include "images/cut.h"

static int root_cut(
	struct chunkstore *store, const char *path, struct manifest *manifest, struct error **err)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_make(err, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size % 512 != 0)
		return error_make(err, -EINVAL, "%s is no image of a file system", path);
	return cut_file(store, fd, (uint64_t)st.st_size, CHUNK_LEVEL, NULL, NULL,
		&manifest->parts[PART_DISK], err);
}

int hostroot_store(
	const char *store, const char *path, struct sha256 *ret_digest, struct error **err)
{
	const unsigned flags = CHUNKSTORE_WRITE | CHUNKSTORE_KEEP | CHUNKSTORE_SYNC;
	auto_chunkstore struct chunkstore *chunks = NULL;
	auto_manifest struct manifest manifest = {.name = xstrdup(HOSTROOT_NAME), .revision = 1};
	int r = chunkstore_open(store, flags, &chunks, err);

	if (r == 0)
		r = root_cut(chunks, path, &manifest, err);
	if (r == 0)
		r = manifest_check(&manifest, err);
	return r < 0 ? r : chunkstore_put_manifest(chunks, &manifest, ret_digest, err);
}
