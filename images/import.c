/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The order of an import: have the file read by the reader, cut the raw disk that comes out, and
 * put the manifest last. Until the manifest is in the store there is no image, so a failure or a
 * crash at any point leaves nothing that anyone could start a VM from; what was written is swept.
 *
 * The disk is opened once, here, and everything else happens to that descriptor: the reader gets it
 * with two scratch files that have no name any more (so a killed import leaves none), and says
 * which of the three is the raw disk. No foreign byte is interpreted in this process; it hashes and
 * packs them.
 *
 * The files are the user's, who may go on writing them. They are looked at before and after: what
 * changed in between is refused.
 *
 * A resumed import does not sweep the store when it opens it: the chunks of the one that was killed
 * are there under their digests, so reading starts anew and writing goes on where it was.
 *
 * This file does not jail itself: it is also called by unit tests. images/nightclass-import.c is
 * the program that does, and nightclassd calls only that.
 */
#include "images/import.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "images/chunk.h"
#include "images/cut.h"
#include "images/manifest.h"
#include "images/store.h"
#include "lib/str.h"

struct source {
	int fd;
	uint64_t size;
	uint64_t data; /* what of it is to be read: no holes */
	int watched;   /* the file that was brought, as long as the import runs; -1: no such part */
	struct stat before;
};

struct run {
	const struct import *import;
	struct chunkstore *store;
	struct source sources[PART_COUNT]; /* fd -1: no such part, or its file is done with */
	uint64_t before, total;		   /* progress */
};

static int source_open(const char *path, const char *field, uint64_t max, struct source *source,
	struct error **err)
{
	struct stat st;

	if (!path)
		return 0;
	/* O_NONBLOCK: a FIFO must not hang us before fstat tells what it is. */
	source->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (source->fd < 0 || fstat(source->fd, &st) < 0)
		return error_field(err, -errno, field, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_field(err, -EINVAL, field, "%s is not a plain file", path);
	if (st.st_size == 0 || (uint64_t)st.st_size > max)
		return error_field(err, -EINVAL, field, "%s has %lld bytes; must be 1 to %llu",
			path, (long long)st.st_size, (unsigned long long)max);
	source->size = (uint64_t)st.st_size;
	source->before = st;
	source->watched = fcntl(source->fd, F_DUPFD_CLOEXEC, 3);
	return source->watched < 0
		       ? error_field(err, -errno, field, "%s: %s", path, strerror(errno))
		       : 0;
}

/* Did somebody write the files while they were read? Then what came of it was never a disk of
 * anybody, and a reason found in it may be none. */
static int sources_same(const struct run *run, struct error **err)
{
	static const char *const fields[PART_COUNT] = {"path", "kernel", "initrd"};
	struct stat now;

	for (int i = 0; i < PART_COUNT; i++) {
		const struct source *source = &run->sources[i];
		const struct stat *before = &source->before;

		if (source->watched < 0)
			continue;
		if (fstat(source->watched, &now) == 0 && now.st_size == before->st_size &&
			now.st_mtim.tv_sec == before->st_mtim.tv_sec &&
			now.st_mtim.tv_nsec == before->st_mtim.tv_nsec &&
			now.st_ctim.tv_sec == before->st_ctim.tv_sec &&
			now.st_ctim.tv_nsec == before->st_ctim.tv_nsec)
			continue;
		return error_field(err, -EBUSY, fields[i],
			"the file was changed while it was read; import it when nobody writes to "
			"it (a VM that runs from it does)");
	}
	return 0;
}

/* The words of the request by the manifest's own rules, before any file is read. */
static int words_check(const struct import *import, struct error **err)
{
	struct manifest probe = {.revision = import->revision,
		.name = (char *)import->name,
		.cmdline = (char *)import->cmdline};

	probe.parts[PART_DISK] = (struct manifest_part){.present = true, .size = 512};
	probe.parts[PART_KERNEL] = (struct manifest_part){.present = import->kernel, .size = 1};
	probe.parts[PART_INITRD] = (struct manifest_part){.present = import->initrd, .size = 1};
	return manifest_check(&probe, err);
}

static int sources_open(struct run *run, struct error **err)
{
	const struct import *import = run->import;
	int r = source_open(import->path, "path", UINT64_MAX, &run->sources[PART_DISK], err);

	if (r == 0)
		r = source_open(
			import->kernel, "kernel", IMAGE_BOOT_MAX, &run->sources[PART_KERNEL], err);
	if (r == 0)
		r = source_open(
			import->initrd, "initrd", IMAGE_BOOT_MAX, &run->sources[PART_INITRD], err);
	return r;
}

static void on_read(enum reader_phase phase, uint64_t done, uint64_t total, void *arg)
{
	struct run *run = arg;

	if (run->import->progress)
		run->import->progress(reader_phase_names[phase], done, total, run->import->arg);
}

/* A file in the store's tmp/ that has no name: gone when the last of us is. */
static int scratch_open(struct chunkstore *store, int *ret_fd, struct error **err)
{
	auto_free char *path = chunkstore_temp_path(store);

	*ret_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (*ret_fd < 0)
		return error_make(err, -errno, "%s: %s", path, strerror(errno));
	unlink(path);
	return 0;
}

/* Puts the raw disk that the reader found or made in the place of the file that was brought. */
static int disk_take(struct run *run, struct reader *reader, struct error **err)
{
	struct source *disk = &run->sources[PART_DISK];
	int files[READER_FILES] = {disk->fd, -1, -1};
	struct reader_result result;
	int r = scratch_open(run->store, &files[READER_SCRATCH_A], err);

	if (r == 0)
		r = scratch_open(run->store, &files[READER_SCRATCH_B], err);
	if (r == 0)
		r = reader_run(reader, run->import->format, files, on_read, run, &result, err);
	if (r == 0) {
		disk->fd = files[result.disk];
		disk->size = result.size;
		files[result.disk] = -1;
	} else {
		disk->fd = -1;
	}
	for (int i = 0; i < READER_FILES; i++)
		if (files[i] >= 0)
			close(files[i]);
	return r;
}

static int disk_read_in(struct run *run, struct error **err)
{
	struct reader own = {.socket = -1};
	int r;

	if (run->import->reader)
		return disk_take(run, run->import->reader, err);
	r = reader_fork(0, &own, err);
	if (r == 0)
		r = disk_take(run, &own, err);
	reader_done(&own);
	return r;
}

static void on_cut(uint64_t done, void *arg)
{
	struct run *run = arg;

	if (run->import->progress)
		run->import->progress("cut", run->before + done, run->total, run->import->arg);
}

static int parts_cut(struct run *run, struct manifest *manifest, struct error **err)
{
	int r = 0;

	for (int i = 0; i < PART_COUNT && r == 0; i++) {
		struct source *source = &run->sources[i];

		if (source->fd < 0)
			continue;
		r = cut_file(run->store, source->fd, source->size,
			run->import->level ? run->import->level : CHUNK_LEVEL, on_cut, run,
			&manifest->parts[i], err);
		run->before += source->data;
	}
	return r;
}

static int parts_read(struct run *run, struct import_result *result, struct manifest *manifest,
	struct error **err)
{
	int r = disk_read_in(run, err);

	if (r < 0)
		return r;
	for (int i = 0; i < PART_COUNT; i++) {
		struct source *source = &run->sources[i];

		source->data = source->fd < 0 ? 0 : cut_bytes(source->fd, source->size);
		run->total += source->data;
	}
	result->size = run->sources[PART_DISK].size;
	on_cut(0, run);
	return parts_cut(run, manifest, err);
}

static int import_run(struct run *run, struct import_result *result, struct error **err)
{
	const struct import *import = run->import;
	auto_manifest struct manifest manifest = {0};
	auto_error struct error *why = NULL;
	int read = parts_read(run, result, &manifest, &why), r = sources_same(run, err);

	if (r == 0 && read < 0)
		r = why && why->field ? error_field(err, read, why->field, "%s", why->text)
				      : error_make(err, read, "%s", error_text(why, read));
	if (r < 0)
		return r;
	manifest.name = xstrdup(import->name);
	manifest.revision = import->revision;
	manifest.cmdline = xstrdup(import->cmdline);
	r = chunkstore_stored(run->store, &manifest, &result->stored, err);
	if (r == 0)
		r = chunkstore_put_manifest(run->store, &manifest, &result->digest, err);
	return r;
}

int import_image(const struct import *import, struct import_result *ret_result, struct error **err)
{
	struct run run = {.import = import};
	struct import_result result = {0};
	unsigned flags = CHUNKSTORE_WRITE | (import->no_sync ? 0 : CHUNKSTORE_SYNC) |
			 (import->resume ? CHUNKSTORE_KEEP : 0);
	int r = words_check(import, err);

	for (int i = 0; i < PART_COUNT; i++)
		run.sources[i].fd = run.sources[i].watched = -1;
	if (r == 0)
		r = sources_open(&run, err);
	if (r == 0)
		r = chunkstore_open(import->store, flags, &run.store, err);
	if (r == 0)
		r = import_run(&run, &result, err);
	if (r < 0 && run.store)
		chunkstore_sweep(
			run.store, NULL, NULL); /* -EBUSY: the other import's successor does it */
	chunkstore_close(run.store);
	for (int i = 0; i < PART_COUNT; i++) {
		if (run.sources[i].fd >= 0)
			close(run.sources[i].fd);
		if (run.sources[i].watched >= 0)
			close(run.sources[i].watched);
	}
	if (r < 0)
		return r;
	*ret_result = result;
	return 0;
}
