/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finding, mounting and leaving the scratch partition.
 *
 * The promise is that the PC's own disk is not written. A lab may except one partition per PC, by
 * the label of its file system; this file is the only one that ever touches a disk, and runs only
 * when the boot script named a label. Even the drivers are not there before. What it may use is
 * narrow: a partition (not a whole disk) of a disk that is not removable (a student's stick or SD
 * card may have any label), the only one with the label, with an ext4 that ext4_look() accepts. Its
 * sisters on the same disk are set read-only in the kernel first.
 *
 * What lies there was in a desktop's hands all day, and whoever had root there could plant
 * anything: so nothing is executed from it, no device and no symbolic link works on it, what is
 * neither a folder nor a plain file is removed from our folder, and images are verified chunk by
 * chunk (images/held) before use. Only the folder "nightclass" is ours; other files of the
 * partition are let alone and only count as room that is taken. */
#include "boot/hostd/scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include "boot/hostd/ext4.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/log.h"
#include "lib/spawn.h"
#include "lib/str.h"

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

enum { LOAD_MS = 90000, LOOK_MS = 200, CLOSE_TRIES = 20, CLOSE_MS = 100, ROOM_MIN = 64 << 20 };

/* ---- finding ---- */

/* A small number in a file of sysfs, -1 when it is not there. */
static int sys_number(const struct scratch_place *place, const char *name, const char *file)
{
	auto_free char *path = xasprintf("%s/%s/%s", place->sys, name, file);
	auto_free char *text = NULL;
	if (file_read(path, 64, &text, NULL, NULL) < 0)
		return -1;
	return atoi(text);
}

/* The kernel calls no SD card removable, and eMMC, which is soldered in, has the same driver. */
static bool is_card(const struct scratch_place *place, const char *name)
{
	auto_free char *path = xasprintf("%s/%s/../device/type", place->sys, name);
	auto_free char *text = NULL;
	return file_read(path, 64, &text, NULL, NULL) >= 0 && str_starts(text, "SD");
}

static bool is_candidate(const struct scratch_place *place, const char *name)
{
	return !is_card(place, name) && sys_number(place, name, "partition") > 0 &&
	       sys_number(place, name, "../removable") == 0 && sys_number(place, name, "ro") == 0;
}

static int look_at(const struct scratch_place *place, const char *name, struct error **err)
{
	unsigned char super[EXT4_SUPER_LEN];
	auto_free char *path = xasprintf("%s/%s", place->dev, name);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || pread(fd, super, sizeof(super), EXT4_SUPER_AT) != (ssize_t)sizeof(super))
		return 0;
	return ext4_look(super, place->label, err);
}

/* The partition with the label: 1 and its name, 0 none yet, or why the one there is cannot be used.
 */
static int find(const struct scratch_place *place, char **ret_name, struct error **err)
{
	DIR *dir = opendir(place->sys);
	auto_free char *found = NULL;
	const struct dirent *entry;
	int r = 0;
	while (dir && r >= 0 && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || !is_candidate(place, entry->d_name))
			continue;
		int seen = look_at(place, entry->d_name, err);
		if (seen == 0)
			continue;
		if (found)
			r = error_make(err, -EEXIST, "%s and %s are both labelled %s", found,
				entry->d_name, place->label);
		else if (seen < 0)
			r = error_wrap(err, seen, "%s", entry->d_name);
		else
			found = xstrdup(entry->d_name);
	}
	if (dir)
		closedir(dir);
	if (r < 0)
		return r;
	*ret_name = TAKE_PTR(found);
	return *ret_name != NULL;
}

static int load_drivers(const struct scratch_place *place, struct error **err)
{
	const char *const argv[] = {place->load, NULL};
	const struct spawn spawn = {.argv = argv, .timeout_ms = LOAD_MS};
	return place->load ? spawn_check(&spawn, err) : 0;
}

/* Disks show themselves some time after their driver is there. */
static int wait_for(const struct scratch_place *place, char **ret_name, struct error **err)
{
	int64_t end_ms = clock_real_ms() + place->wait_ms;
	for (;;) {
		int r = find(place, ret_name, err);
		if (r != 0)
			return r < 0 ? r : 0;
		if (clock_real_ms() >= end_ms)
			return error_make(err, -ENOENT,
				"no partition of an internal disk is labelled %s", place->label);
		usleep(LOOK_MS * 1000);
	}
}

/* ---- mounting ---- */

static void set_read_only(const struct scratch_place *place, const char *name)
{
	auto_free char *path = xasprintf("%s/%s", place->dev, name);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int yes = 1;
	if (fd < 0 || ioctl(fd, BLKROSET, &yes) < 0)
		log_warning("scratch: %s cannot be made read-only: %s", path, strerror(errno));
}

/* Every other partition of the same disk. */
static void protect_sisters(const struct scratch_place *place, const char *name)
{
	auto_free char *disk = xasprintf("%s/%s/..", place->sys, name);
	DIR *dir = opendir(disk);
	const struct dirent *entry;
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, name) != 0 &&
			sys_number(place, entry->d_name, "partition") > 0)
			set_read_only(place, entry->d_name);
	if (dir)
		closedir(dir);
}

static int mount_it(const struct scratch_place *place, const char *name, struct error **err)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NOSYMFOLLOW;
	auto_free char *path = xasprintf("%s/%s", place->dev, name);
	int r = file_mkdirs(place->mount, 0755, err);
	if (r < 0)
		return r;
	if (mount(path, place->mount, "ext4", flags, "errors=remount-ro") < 0)
		return error_make(err, -errno, "%s cannot be mounted: %s", path, strerror(errno));
	return 0;
}

static bool is_mount(const char *path)
{
	auto_free char *parent = xasprintf("%s/..", path);
	struct stat here, there;
	return stat(path, &here) == 0 && stat(parent, &there) == 0 && here.st_dev != there.st_dev;
}

/* ---- our folder ---- */

static bool is_folder(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Is everything in there a plain file? */
static bool is_plain(const char *folder)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	bool plain = dir != NULL;
	while (plain && (entry = readdir(dir))) {
		struct stat st;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		plain = fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			S_ISREG(st.st_mode) && st.st_nlink == 1;
	}
	if (dir)
		closedir(dir);
	return plain;
}

static void remove_foreign(const char *image_dir)
{
	DIR *dir = opendir(image_dir);
	const struct dirent *entry;
	while (dir && (entry = readdir(dir))) {
		auto_free char *path = xasprintf("%s/%s", image_dir, entry->d_name);
		auto_error struct error *err = NULL;
		struct stat st;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
			lstat(path, &st) < 0)
			continue;
		bool ours = S_ISDIR(st.st_mode) ? is_plain(path)
						: S_ISREG(st.st_mode) && st.st_nlink == 1;
		if (ours)
			continue;
		log_warning("scratch: %s is not what we left there; removed", path);
		int r = S_ISDIR(st.st_mode) ? file_remove_tree(path, &err) : unlink(path);
		if (r < 0)
			log_warning("scratch: %s: %s", path, error_text(err, r));
	}
	if (dir)
		closedir(dir);
}

static int make_folder(const char *path, struct error **err)
{
	if (!is_folder(path) && unlink(path) < 0 && errno != ENOENT)
		return error_make(err, -errno, "%s: %s", path, strerror(errno));
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return error_make(err, -errno, "%s: %s", path, strerror(errno));
	return 0;
}

static uint64_t bytes_in(const char *folder, int64_t *ret_used)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	uint64_t bytes = 0;
	struct stat st;
	while (dir && (entry = readdir(dir))) {
		if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
			!S_ISREG(st.st_mode))
			continue;
		bytes += (uint64_t)st.st_blocks * 512;
		if (strcmp(entry->d_name, "complete") == 0 && st.st_mtime > *ret_used)
			*ret_used = st.st_mtime;
	}
	if (dir && fstat(dirfd(dir), &st) == 0 && st.st_mtime > *ret_used)
		*ret_used = st.st_mtime;
	if (dir)
		closedir(dir);
	return bytes;
}

void scratch_measure(const char *image_dir, struct image_tracks *tracks)
{
	vec_each (struct image_track, track, tracks) {
		auto_free char *folder = xasprintf("%s/%s", image_dir, track->digest);
		track->used = 0;
		track->bytes = bytes_in(folder, &track->used);
	}
}

static uint64_t ours_in(const char *image_dir)
{
	DIR *dir = opendir(image_dir);
	const struct dirent *entry;
	uint64_t bytes = 0;
	int64_t used = 0;
	while (dir && (entry = readdir(dir)))
		if (sha256_hex_ok(entry->d_name)) {
			auto_free char *folder = xasprintf("%s/%s", image_dir, entry->d_name);
			bytes += bytes_in(folder, &used);
		}
	if (dir)
		closedir(dir);
	return bytes;
}

/* Four fifths of the partition, less what files of others leave no room for. */
static int measure_room(struct scratch *scratch, struct error **err)
{
	struct statvfs fs;
	if (statvfs(scratch->mount, &fs) < 0)
		return error_make(err, -errno, "%s: %s", scratch->mount, strerror(errno));
	uint64_t share = (uint64_t)fs.f_blocks * fs.f_frsize / 5 * 4;
	uint64_t there = ours_in(scratch->image_dir) + (uint64_t)fs.f_bavail * fs.f_frsize / 10 * 9;
	scratch->room = share < there ? share : there;
	if (scratch->room < ROOM_MIN)
		return error_make(err, -ENOSPC, "it has room for %llu MiB only",
			(unsigned long long)(scratch->room >> 20));
	return 0;
}

int scratch_prepare(struct scratch *scratch, struct error **err)
{
	auto_free char *folder = xasprintf("%s/nightclass", scratch->mount);
	scratch->image_dir = xasprintf("%s/images", folder);
	int r = make_folder(folder, err);
	if (r >= 0)
		r = make_folder(scratch->image_dir, err);
	if (r < 0)
		return r;
	remove_foreign(scratch->image_dir);
	return measure_room(scratch, err);
}

int scratch_open(const struct scratch_place *place, struct scratch *ret_scratch, struct error **err)
{
	struct scratch scratch = {.mount = xstrdup(place->mount)};
	auto_free char *name = NULL;
	int r = 0;
	scratch.mounted = is_mount(place->mount);
	if (!scratch.mounted) {
		r = load_drivers(place, err);
		if (r >= 0)
			r = wait_for(place, &name, err);
		if (r >= 0) {
			protect_sisters(place, name);
			r = mount_it(place, name, err);
		}
		scratch.mounted = r >= 0;
	}
	if (r >= 0)
		r = scratch_prepare(&scratch, err);
	if (r < 0) {
		scratch_close(&scratch);
		scratch_free(&scratch);
		return r;
	}
	*ret_scratch = scratch;
	return 0;
}

void scratch_close(struct scratch *scratch)
{
	if (!scratch->mounted)
		return;
	scratch->mounted = false;
	for (int i = 0; i < CLOSE_TRIES; i++) {
		if (umount2(scratch->mount, UMOUNT_NOFOLLOW) == 0)
			return;
		if (errno != EBUSY)
			break;
		usleep(CLOSE_MS * 1000);
	}
	log_warning("scratch: %s: %s; what is written is synced", scratch->mount, strerror(errno));
	sync();
	umount2(scratch->mount, MNT_DETACH | UMOUNT_NOFOLLOW);
}

void scratch_free(struct scratch *scratch)
{
	free(scratch->mount);
	free(scratch->image_dir);
	*scratch = (struct scratch){0};
}
