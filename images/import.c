/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The order of an import: look at everything that can be refused quickly, convert, cut, and put the
 * manifest last. Until the manifest is in the store there is no image, so a failure or a crash at
 * any point leaves nothing that anyone could start a VM from; what was written is swept.
 *
 * The disk is opened once and checked through that descriptor. qemu-img must open it by name again;
 * it asks the dangerous questions once more itself (images/convert.c), and in the child program it
 * runs in a jail in which another file would not open.
 *
 * This file does not jail itself: it is also called by unit tests. images/nightclass-import.c is
 * the program that does, and nightclassd calls only that.
 */
#include "images/import.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "images/convert.h"
#include "images/cut.h"
#include "images/manifest.h"
#include "images/store.h"
#include "lib/str.h"

struct source {
	int fd;
	uint64_t size;
};

struct run {
	const struct import *import;
	struct chunkstore *store;
	struct source sources[PART_COUNT]; /* fd -1: no such part */
	char *scratch;			   /* the raw file made of a qcow2, or NULL */
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

/* Puts the converted disk in the place of the qcow2 file. */
static int disk_convert(struct run *run, uint64_t virtual_size, struct error **err)
{
	struct source *disk = &run->sources[PART_DISK];
	int r;

	run->scratch = chunkstore_temp_path(run->store);
	r = convert_qcow2(run->import->path, virtual_size, run->scratch, err);
	if (r < 0)
		return r;
	close(disk->fd);
	disk->fd = -1;
	return source_open(run->scratch, "path", IMAGE_SIZE_MAX, disk, err);
}

static void on_cut(uint64_t done, void *arg)
{
	struct run *run = arg;

	if (run->import->progress)
		run->import->progress(run->before + done, run->total, run->import->arg);
}

static int parts_cut(struct run *run, struct manifest *manifest, struct error **err)
{
	int r = 0;

	for (int i = 0; i < PART_COUNT && r == 0; i++) {
		struct source *source = &run->sources[i];

		if (source->fd < 0)
			continue;
		r = cut_file(run->store, source->fd, source->size, on_cut, run, &manifest->parts[i],
			err);
		run->before += source->size;
	}
	return r;
}

static int import_run(struct run *run, struct import_result *result, struct error **err)
{
	const struct import *import = run->import;
	auto_manifest struct manifest manifest = {0};
	struct image_header header;
	int r = image_header_check(run->sources[PART_DISK].fd, import->format, &header, err);

	if (r < 0)
		return r;
	run->total = header.virtual_size + run->sources[PART_KERNEL].size +
		     run->sources[PART_INITRD].size;
	on_cut(0, run);
	if (header.format == FORMAT_QCOW2)
		r = disk_convert(run, header.virtual_size, err);
	if (r == 0)
		r = parts_cut(run, &manifest, err);
	if (r < 0)
		return r;
	manifest.name = xstrdup(import->name);
	manifest.revision = import->revision;
	manifest.cmdline = xstrdup(import->cmdline);
	r = chunkstore_stored(run->store, &manifest, &result->stored, err);
	if (r == 0)
		r = chunkstore_put_manifest(run->store, &manifest, &result->digest, err);
	result->size = header.virtual_size;
	return r;
}

int import_image(const struct import *import, struct import_result *ret_result, struct error **err)
{
	struct run run = {.import = import, .sources = {{.fd = -1}, {.fd = -1}, {.fd = -1}}};
	struct import_result result = {0};
	unsigned flags = CHUNKSTORE_WRITE | (import->no_sync ? 0 : CHUNKSTORE_SYNC);
	int r = words_check(import, err);

	if (r == 0)
		r = sources_open(&run, err);
	if (r == 0)
		r = chunkstore_open(import->store, flags, &run.store, err);
	if (r == 0)
		r = import_run(&run, &result, err);
	if (run.scratch)
		unlink(run.scratch);
	if (r < 0 && run.store)
		chunkstore_sweep(
			run.store, NULL, NULL); /* -EBUSY: the other import's successor does it */
	chunkstore_close(run.store);
	free(run.scratch);
	for (int i = 0; i < PART_COUNT; i++)
		if (run.sources[i].fd >= 0)
			close(run.sources[i].fd);
	if (r < 0)
		return r;
	*ret_result = result;
	return 0;
}
