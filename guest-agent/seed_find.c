/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finds and mounts the seed disc.
 *
 * There may be no udev in a lean guest, so nothing is expected under /dev/disk: every whole block
 * device that the kernel lists is read at the one place where ISO 9660 keeps its label. The disc
 * may be a CD-ROM or a plain read-only disk. Drivers may still be loading when the agent starts, so
 * it looks again for a while. Mounted read-only, without devices, programs or set-uid; gone again
 * before users come in, because it holds the night's keys.
 */
#include "guest-agent/seed_find.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include "lib/clock.h"
#include "lib/str.h"

enum { DESCRIPTOR_AT = 32768, LOOK_AGAIN_MS = 100 };
static const char mount_dir[] = "/run/nightclass-seed";

bool seed_is_label(const unsigned char descriptor[2048])
{
	static const char label[32] = "CIDATA                          ";
	if (descriptor[0] != 1 || memcmp(descriptor + 1, "CD001", 5) != 0)
		return false;
	for (int i = 0; i < 32; i++)
		if (toupper(descriptor[40 + i]) != (i < 6 ? label[i] : ' '))
			return false;
	return true;
}

static bool is_seed(const char *device)
{
	unsigned char descriptor[2048];
	auto_close int fd = open(device, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return fd >= 0 &&
	       pread(fd, descriptor, sizeof(descriptor), DESCRIPTOR_AT) == sizeof(descriptor) &&
	       seed_is_label(descriptor);
}

static char *look_once(void)
{
	DIR *dir = opendir("/sys/block");
	char *found = NULL;
	const struct dirent *entry;
	while (dir && !found && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || str_starts(entry->d_name, "loop") ||
			str_starts(entry->d_name, "ram"))
			continue;
		auto_free char *device = xasprintf("/dev/%s", entry->d_name);
		if (is_seed(device))
			found = TAKE_PTR(device);
	}
	if (dir)
		closedir(dir);
	return found;
}

int seed_find(int timeout_ms, char **ret_device, struct error **err)
{
	int64_t end = clock_mono_ms() + timeout_ms;
	char *device;
	while (!(device = look_once()) && clock_mono_ms() < end)
		usleep(LOOK_AGAIN_MS * 1000);
	if (!device)
		return error_make(err, -ENOENT,
			"no disc with the label cidata: was this VM started by "
			"a night host?");
	*ret_device = device;
	return 0;
}

int seed_mount(const char *device, char **ret_dir, struct error **err)
{
	if (mkdir(mount_dir, 0700) < 0 && errno != EEXIST)
		return error_make(err, -errno, "%s: %s", mount_dir, strerror(errno));
	if (mount(device, mount_dir, "iso9660", MS_RDONLY | MS_NODEV | MS_NOEXEC | MS_NOSUID,
		    NULL) < 0)
		return error_make(err, -errno, "mount of %s: %s", device, strerror(errno));
	*ret_dir = xstrdup(mount_dir);
	return 0;
}

void seed_unmount(const char *dir)
{
	if (umount2(dir, MNT_DETACH) == 0)
		rmdir(dir);
}
