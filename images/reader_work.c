/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the file that was brought to a raw disk, in at most three steps:
 *
 *   unpack    a gzip, xz or zstd file, or the disk member of an OVA (and once more when that member
 *             is gzip)
 *   check     the header and tables of what came out
 *   convert   qcow2 and VMDK to raw
 *
 * Two scratch files do, one to read and one to write. Packing is undone once, never in layers: a
 * packed file in a packed file is refused, as is an OVA in one. A file that is named raw is taken
 * as it is.
 *
 * Runs in the sealed process; it opens nothing and starts nothing.
 */
#include <sys/stat.h>

#include "images/manifest.h"
#include "images/ova.h"
#include "images/qcow2_read.h"
#include "images/reader.h"
#include "images/unpack.h"
#include "images/vmdk_read.h"

const char *const reader_phase_names[] = {"check", "unpack", "convert"};

struct work {
	const int *files;
	int at; /* the file that is the image now */
	reader_progress_fn *progress;
	void *arg;
	enum reader_phase phase;
	bool has_capacity;
	uint64_t capacity;
};

static int on_progress(uint64_t done, uint64_t total, void *arg)
{
	struct work *work = arg;

	if (work->progress)
		work->progress(work->phase, done, total, work->arg);
	return 0;
}

static int size_of(const struct work *work, uint64_t *ret_size, struct error **err)
{
	struct stat st;

	if (fstat(work->files[work->at], &st) < 0)
		return error_make(err, -errno, "the image file: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_make(err, -EINVAL, "the image must be a plain file");
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

/* The scratch file that is not the image now, empty, with its limits. */
static int scratch(struct work *work, enum reader_phase phase, uint64_t size, int *ret_next,
	struct disk_out *out, struct error **err)
{
	int next = work->at == READER_SCRATCH_A ? READER_SCRATCH_B : READER_SCRATCH_A;
	uint64_t input;
	int r = size_of(work, &input, err);

	if (r < 0)
		return r;
	if (ftruncate(work->files[next], 0) < 0)
		return error_make(err, -errno, "the scratch file: %s", strerror(errno));
	disk_out_init(out, work->files[next], size, input);
	out->progress = on_progress;
	out->arg = work;
	work->phase = phase;
	*ret_next = next;
	return 0;
}

static int step_unpack(struct work *work, enum packing packing, struct error **err)
{
	struct disk_out out;
	uint64_t size, len;
	int next, r = size_of(work, &size, err);

	if (r == 0)
		r = scratch(work, READER_UNPACK, IMAGE_SIZE_MAX, &next, &out, err);
	if (r == 0)
		r = unpack(work->files[work->at], size, packing, &out, &len, err);
	if (r == 0)
		work->at = next;
	return r;
}

static int step_ova(struct work *work, struct error **err)
{
	struct ova_disk disk = {0};
	struct disk_out out;
	int next, r = scratch(work, READER_UNPACK, IMAGE_SIZE_MAX, &next, &out, err);

	if (r == 0)
		r = ova_read(work->files[work->at], &out, &disk, err);
	if (r < 0)
		return r;
	work->at = next;
	work->has_capacity = disk.has_capacity;
	work->capacity = disk.capacity;
	if (disk.gzip && packing_of(work->files[next]) != PACKING_GZIP)
		return error_make(
			err, -EINVAL, "the OVF says its disk is packed by gzip, but it is not");
	return disk.gzip ? step_unpack(work, PACKING_GZIP, err) : 0;
}

static int step_convert(struct work *work, const struct image_header *header, struct error **err)
{
	struct disk_out out;
	uint64_t size;
	int next, r = size_of(work, &size, err);

	if (r == 0)
		r = scratch(work, READER_CONVERT, header->virtual_size, &next, &out, err);
	if (r == 0 && header->format == FORMAT_QCOW2)
		r = qcow2_read(work->files[work->at], &header->qcow2, &out, err);
	else if (r == 0)
		r = vmdk_read(work->files[work->at], size, &header->vmdk, &out, err);
	if (r == 0)
		work->at = next;
	return r;
}

/* Undoes what is around the disk. *format becomes what the disk is named. */
static int outer_layers(struct work *work, enum image_format *format, struct error **err)
{
	int source = work->files[READER_SOURCE];
	enum packing packing = packing_of(source);

	if (*format == FORMAT_RAW)
		return 0;
	if (*format == FORMAT_OVA || (*format == FORMAT_UNKNOWN && ova_has_magic(source))) {
		if (!ova_has_magic(source))
			return error_field(err, -EINVAL, "format", "this is not an OVA");
		*format = FORMAT_UNKNOWN;
		return step_ova(work, err);
	}
	return packing == PACKING_NONE ? 0 : step_unpack(work, packing, err);
}

int reader_work(enum image_format format, const int files[READER_FILES],
	reader_progress_fn *progress, void *arg, struct reader_result *ret_result,
	struct error **err)
{
	struct work work = {.files = files, .progress = progress, .arg = arg};
	struct image_header header;
	uint64_t size;
	int r = size_of(&work, &size, err);

	if (r == 0)
		r = outer_layers(&work, &format, err);
	if (r == 0)
		r = image_header_check(files[work.at], format, &header, err);
	if (r == 0 && work.has_capacity && work.capacity != header.virtual_size)
		r = error_make(err, -EINVAL,
			"the OVF says its disk has %llu bytes, the disk in it has %llu",
			(unsigned long long)work.capacity, (unsigned long long)header.virtual_size);
	if (r == 0 && header.format != FORMAT_RAW)
		r = step_convert(&work, &header, err);
	if (r == 0)
		*ret_result = (struct reader_result){
			.disk = work.at, .size = header.virtual_size, .format = header.format};
	return r;
}
