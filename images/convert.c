/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Conversion by qemu-img.
 *
 * qcow2 is a file system in a file; QEMU's own reader is the one that is right, so it does the
 * reading. It is a large parser of foreign bytes, therefore it runs
 *   - after our own check of the header, and after asking `qemu-img info` the same questions again;
 *   - with the formats named on both sides, so that nothing is guessed;
 *   - under limits of memory (of what it uses: the address space is mostly reserved by threads),
 *     output size, processor time and wall time, the last three by the disk's size;
 *   - unable to gain privileges, and gone when its parent is gone;
 *   - inside whatever jail the calling program entered (images/jail.h: no network, no other files).
 * Limits and the death signal are set by util-linux's prlimit and setpriv in the child's own
 * command line: no code of ours runs between fork and exec.
 */
#include "images/convert.h"

#include <limits.h>
#include <sys/stat.h>

#include "lib/json.h"
#include "lib/spawn.h"

enum {
	INFO_TIMEOUT_MS = 60 * 1000,
	CPU_SECONDS = 60,	 /* and as many for each GiB of disk */
	MEMORY_MAX = 1024 << 20, /* as RLIMIT_DATA, four times what it was seen to need */
	WALL_PER_CPU = 4,
};

struct limits {
	char *data, *fsize, *cpu;
};

static void limits_init(struct limits *limits, uint64_t file_size, uint64_t cpu_seconds)
{
	limits->data = xasprintf("--data=%d", MEMORY_MAX);
	limits->fsize = xasprintf("--fsize=%llu", (unsigned long long)file_size);
	limits->cpu = xasprintf("--cpu=%llu", (unsigned long long)cpu_seconds);
}

static void limits_done(struct limits *limits)
{
	free(limits->data);
	free(limits->fsize);
	free(limits->cpu);
}

#define auto_limits __attribute__((cleanup(limits_done)))

/* The start of a limited command line; the program and its arguments follow. */
#define LIMITED(l)                                                                                 \
	"setpriv", "--pdeathsig", "KILL", "--no-new-privs", "prlimit", (l).data, (l).fsize, (l).cpu

/* The answers of `qemu-img info` must agree with what our own check found. */
static int info_judge(const json_t *info, uint64_t virtual_size, struct error **err)
{
	const char *const foreign[] = {
		"backing-filename", "full-backing-filename", "backing-filename-format"};
	const json_t *specific = json_object_get(json_object_get(info, "format-specific"), "data");
	const char *format = json_string_value(json_object_get(info, "format"));

	if (!format || strcmp(format, "qcow2") != 0)
		return error_make(err, -EINVAL, "qemu-img does not take it for qcow2");
	for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
		if (json_object_get(info, foreign[i]))
			return error_make(err, -EINVAL, "qemu-img sees a backing file");
	if (json_object_get(specific, "data-file") || json_object_get(specific, "data-file-raw"))
		return error_make(err, -EINVAL, "qemu-img sees an external data file");
	if (json_is_true(json_object_get(info, "encrypted")) ||
		json_object_get(specific, "encrypt"))
		return error_make(err, -EINVAL, "qemu-img sees encryption");
	if (json_is_true(json_object_get(specific, "corrupt")))
		return error_make(err, -EINVAL, "qemu-img says it is corrupt");
	if ((uint64_t)json_integer_value(json_object_get(info, "virtual-size")) != virtual_size)
		return error_make(
			err, -EINVAL, "qemu-img sees another disk size than its header has");
	return 0;
}

static int info_check(const char *path, uint64_t virtual_size, struct error **err)
{
	auto_limits struct limits l = {0};
	auto_json json_t *info = NULL;
	struct spawn_result result = {0};
	int r;

	limits_init(&l, 0, CPU_SECONDS);
	r = spawn_run(&(struct spawn){.timeout_ms = INFO_TIMEOUT_MS,
			      .argv = (const char *const[]){LIMITED(l), "qemu-img", "info", "-f",
				      "qcow2", "--output=json", path, NULL}},
		&result, err);
	if (r < 0)
		return r;
	if (result.status != 0)
		r = error_make(err, -EINVAL, "qemu-img cannot read it: %.300s",
			result.err[0] ? result.err : "no reason given");
	else
		r = json_parse_object(result.out, result.out_len, &info, err);
	spawn_result_done(&result);
	return r < 0 ? r : info_judge(info, virtual_size, err);
}

static int convert_run(const char *path, uint64_t virtual_size, const char *raw, struct error **err)
{
	auto_limits struct limits l = {0};
	uint64_t cpu = CPU_SECONDS * (1 + (virtual_size >> 30)),
		 wall_ms = cpu * WALL_PER_CPU * 1000;
	struct spawn spawn = {0};

	limits_init(&l, virtual_size, cpu);
	spawn.argv = (const char *const[]){LIMITED(l), "qemu-img", "convert", "-q", "-f", "qcow2",
		"-O", "raw", path, raw, NULL};
	spawn.timeout_ms = wall_ms > INT_MAX ? INT_MAX : (int)wall_ms;
	return spawn_check(&spawn, err);
}

int convert_qcow2(const char *path, uint64_t virtual_size, const char *raw, struct error **err)
{
	auto_free char *from = realpath(path, NULL), *folder = NULL, *to = NULL;
	struct stat st;
	int r;

	/* Absolute, so that no part of a name can be read as a protocol or an option. */
	if (!from)
		return error_make(err, -errno, "%s: %s", path, strerror(errno));
	if (raw[0] != '/')
		folder = realpath(".", NULL);
	to = xasprintf("%s%s%s", folder ? folder : "", folder ? "/" : "", raw);
	r = info_check(from, virtual_size, err);
	if (r < 0)
		return error_wrap(err, r, "the qcow2 file");
	r = convert_run(from, virtual_size, to, err);
	if (r < 0)
		return error_wrap(err, r, "converting the qcow2 file");
	if (stat(to, &st) < 0 || (uint64_t)st.st_size != virtual_size)
		return error_make(
			err, -EIO, "converting the qcow2 file gave a disk of another size");
	return 0;
}
