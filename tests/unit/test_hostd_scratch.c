/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The scratch partition: which file systems are taken (superblocks of a real mke2fs, with one thing
 * wrong each), which partitions are looked at (a sysfs of files), and what is done with a folder
 * that was in other hands all day. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "boot/hostd/ext4.h"
#include "boot/hostd/scratch.h"
#include "lib/file.h"
#include "lib/spawn.h"

#define LABEL "night-scratch"
#define DIGEST "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define OTHER "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static char *dir;

static int setup(void **state)
{
	char template[] = "/tmp/test_hostd_scratch.XXXXXX";
	(void)state;
	dir = xstrdup(mkdtemp(template));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	file_remove_tree(dir, NULL);
	free(dir);
	return 0;
}

static char *at(const char *name)
{
	return xasprintf("%s/%s", dir, name);
}

/* A file system in a file, made as a school would. */
static void make_ext4(const char *path, const char *label, const char *features)
{
	const char *const argv[] = {
		"mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-O", features, path, "8M", NULL};
	const struct spawn spawn = {.argv = argv, .timeout_ms = 20000};
	auto_error struct error *err = NULL;
	if (spawn_check(&spawn, &err) < 0)
		fail_msg("mke2fs: %s", err->text);
}

static void read_super(const char *path, unsigned char super[EXT4_SUPER_LEN])
{
	auto_close int fd = open(path, O_RDONLY);
	assert_int_equal(pread(fd, super, EXT4_SUPER_LEN, EXT4_SUPER_AT), EXT4_SUPER_LEN);
}

static const struct {
	const char *name;
	size_t at;
	unsigned char set, clear;
	int want;
	const char *text;
} supers[] = {
	{"as it was made", 0, 0, 0, 1, NULL},
	{"not unmounted: its journal is replayed", 0x60, 0x4, 0, 1, NULL},
	{"no ext4", 0x38, 0, 0xff, 0, NULL},
	{"revision 0 has no label", 0x4c, 0, 0xff, 0, NULL},
	{"another label", 0x78, 1, 0, 0, NULL},
	{"a longer label", 0x78 + sizeof(LABEL) - 1, 'x', 0, 0, NULL},
	{"marked as damaged", 0x3a, 0x2, 0, -EINVAL, "e2fsck"},
	{"no journal", 0x5c, 0, 0x4, -EINVAL, "no journal"},
	{"a journal on another device", 0xe4, 1, 0, -EINVAL, "another device"},
	{"a journal on another device, by its name", 0xd0, 1, 0, -EINVAL, "another device"},
	{"no inode of its journal", 0xe0, 0, 0xff, -EINVAL, "another device"},
	{"is itself a journal", 0x60, 0x8, 0, -EINVAL, "features"},
	{"perhaps open on another machine (mmp)", 0x61, 0x1, 0, -EINVAL, "features"},
	{"encrypted folders", 0x62, 0x1, 0, -EINVAL, "features"},
	{"a feature of the future", 0x63, 0x80, 0, -EINVAL, "features"},
};

static void test_supers(void **state)
{
	auto_free char *path = at("fs");
	unsigned char made[EXT4_SUPER_LEN], super[EXT4_SUPER_LEN];
	(void)state;
	make_ext4(path, LABEL, "64bit,metadata_csum");
	read_super(path, made);
	for (size_t i = 0; i < ARRAY_LEN(supers); i++) {
		auto_error struct error *err = NULL;
		print_message("%s\n", supers[i].name);
		memcpy(super, made, sizeof(super));
		super[supers[i].at] &= (unsigned char)~supers[i].clear;
		super[supers[i].at] |= supers[i].set;
		assert_int_equal(ext4_look(super, LABEL, &err), supers[i].want);
		if (supers[i].text)
			assert_non_null(strstr(err->text, supers[i].text));
	}
}

/* ---- which partitions are looked at ---- */

static void sys_file(const char *disk, const char *rest, const char *text)
{
	auto_free char *path = xasprintf("%s/devices/%s/%s", dir, disk, rest);
	auto_free char *folder = xstrndup(path, (size_t)(strrchr(path, '/') - path));
	assert_int_equal(file_mkdirs(folder, 0755, NULL), 0);
	assert_int_equal(file_write(path, text, strlen(text), 0644, NULL), 0);
}

static void sys_link(const char *disk, const char *rest, const char *name)
{
	auto_free char *to = xasprintf("%s/devices/%s/%s", dir, disk, rest);
	auto_free char *path = xasprintf("%s/block/%s", dir, name);
	assert_int_equal(symlink(to, path), 0);
}

/* A partition "sda1" of the disk "sda", with a file system in dev/. */
static void add_part(const char *disk, const char *part, const char *label, const char *features)
{
	auto_free char *number = xasprintf("%s/partition", part), *ro = xasprintf("%s/ro", part);
	auto_free char *dev = xasprintf("%s/dev/%s", dir, part);
	sys_file(disk, number, "1\n");
	sys_file(disk, ro, "0\n");
	sys_link(disk, part, part);
	make_ext4(dev, label, features);
}

static void add_disk(const char *disk, const char *removable)
{
	sys_file(disk, "removable", removable);
	sys_file(disk, "ro", "0\n");
	sys_link(disk, ".", disk);
}

/* What scratch_open says; these partitions are files, so a mount is the furthest it comes. */
static void expect(const char *text)
{
	auto_free char *sys = at("block"), *dev = at("dev"), *mount = at("mount");
	const struct scratch_place place = {
		.label = LABEL, .sys = sys, .dev = dev, .mount = mount, .wait_ms = 0};
	struct scratch scratch = {0};
	auto_error struct error *err = NULL;
	assert_true(scratch_open(&place, &scratch, &err) < 0);
	if (!strstr(err->text, text))
		fail_msg("\"%s\", wanted \"%s\"", err->text, text);
}

static void test_which_partition(void **state)
{
	auto_free char *block = at("block"), *dev = at("dev"), *whole = at("dev/sdb");
	(void)state;
	assert_int_equal(file_mkdirs(block, 0755, NULL), 0);
	assert_int_equal(file_mkdirs(dev, 0755, NULL), 0);
	expect("no partition");
	add_disk("sda", "0\n");
	add_part("sda", "sda1", "windows", "64bit");
	expect("no partition");
	add_disk("sdb", "0\n");
	make_ext4(whole, LABEL, "64bit");
	expect("no partition"); /* a whole disk is none */
	add_disk("sdc", "1\n");
	add_part("sdc", "sdc1", LABEL, "64bit");
	expect("no partition"); /* a stick */
	add_disk("mmcblk1", "0\n");
	sys_file("mmcblk1", "device/type", "SD\n");
	add_part("mmcblk1", "mmcblk1p1", LABEL, "64bit");
	expect("no partition"); /* a card in its slot */
	sys_file("mmcblk1", "device/type", "MMC\n");
	expect("mmcblk1p1 cannot be mounted"); /* what is soldered in */
	sys_file("mmcblk1", "mmcblk1p1/ro", "1\n");
	add_part("sda", "sda2", LABEL, "64bit");
	sys_file("sda", "sda2/ro", "1\n");
	expect("no partition"); /* write-protected */
	sys_file("sda", "sda2/ro", "0\n");
	expect("sda2 cannot be mounted");
	add_part("sda", "sda3", LABEL, "64bit");
	expect("are both labelled " LABEL);
	sys_file("sda", "sda3/ro", "1\n");
	expect("sda2 cannot be mounted");
	auto_free char *damaged = at("dev/sda2");
	auto_close int fd = open(damaged, O_RDWR);
	assert_int_equal(pwrite(fd, "\2", 1, EXT4_SUPER_AT + 0x3a), 1);
	expect("sda2: its file system is marked as damaged");
}

static void test_drivers_that_fail(void **state)
{
	const struct scratch_place place = {
		.label = LABEL, .sys = dir, .dev = dir, .mount = dir, .load = "/bin/false"};
	struct scratch scratch = {0};
	auto_error struct error *err = NULL;
	(void)state;
	assert_true(scratch_open(&place, &scratch, &err) < 0);
	assert_non_null(strstr(err->text, "/bin/false"));
}

/* ---- a folder that was in other hands ---- */

static void plant(const char *path, const char *text)
{
	auto_free char *full = xasprintf("%s/nightclass/images/%s", dir, path);
	auto_free char *folder = xstrndup(full, (size_t)(strrchr(full, '/') - full));
	assert_int_equal(file_mkdirs(folder, 0755, NULL), 0);
	assert_int_equal(file_write(full, text, strlen(text), 0644, NULL), 0);
}

static bool there(const char *path)
{
	auto_free char *full = xasprintf("%s/nightclass/images/%s", dir, path);
	struct stat st;
	return lstat(full, &st) == 0;
}

static void test_foreign_things_go(void **state)
{
	struct scratch scratch = {.mount = xstrdup(dir)};
	auto_free char *victim = at("victim"), *link_ = at("nightclass/images/" OTHER "/disk.raw");
	auto_free char *folder = at("nightclass/images/" OTHER),
		       *pipe_ = at("nightclass/images/pipe");
	auto_free char *hard = at("nightclass/images/hard");
	auto_free char *dangling = at("nightclass/images/away");
	(void)state;
	assert_int_equal(file_write(victim, "v", 1, 0644, NULL), 0);
	plant(DIGEST "/disk.raw", "kept");
	plant(DIGEST "/complete", "kept");
	plant("sequences", "kept");
	assert_int_equal(mkdir(folder, 0755), 0);
	assert_int_equal(symlink(victim, link_), 0);
	assert_int_equal(mkfifo(pipe_, 0644), 0);
	assert_int_equal(link(victim, hard), 0);
	assert_int_equal(symlink("/etc", dangling), 0);
	plant("cccc/deep/file", "gone");
	assert_int_equal(scratch_prepare(&scratch, NULL), 0);
	assert_true(there(DIGEST "/disk.raw") && there("sequences"));
	assert_false(
		there(OTHER) || there("pipe") || there("hard") || there("away") || there("cccc"));
	assert_int_equal(access(victim, F_OK), 0);
	assert_true(scratch.room >= 64 << 20);
	scratch_free(&scratch);
}

static void test_a_link_in_place_of_our_folder(void **state)
{
	struct scratch scratch = {.mount = xstrdup(dir)};
	auto_free char *victim = at("victim"), *ours = at("nightclass");
	struct stat st;
	(void)state;
	assert_int_equal(mkdir(victim, 0755), 0);
	assert_int_equal(symlink(victim, ours), 0);
	assert_int_equal(scratch_prepare(&scratch, NULL), 0);
	assert_int_equal(lstat(ours, &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(rmdir(victim), 0); /* nothing was put there */
	scratch_free(&scratch);
}

static void test_measure(void **state)
{
	auto_free char *images = at("nightclass/images"),
		       *mark = at("nightclass/images/" DIGEST "/complete");
	struct image_tracks tracks = {0};
	const struct timespec long_ago[2] = {{.tv_sec = 2000000000}, {.tv_sec = 2000000000}};
	(void)state;
	plant(DIGEST "/disk.raw", "kept");
	plant(DIGEST "/complete", "kept");
	assert_int_equal(utimensat(AT_FDCWD, mark, long_ago, 0), 0);
	vec_push(&tracks, ((struct image_track){.digest = xstrdup(DIGEST)}));
	vec_push(&tracks, ((struct image_track){.digest = xstrdup(OTHER)}));
	scratch_measure(images, &tracks);
	assert_in_range(tracks.at[0].bytes, 2, 65536);
	assert_int_equal(tracks.at[0].used, 2000000000);
	assert_int_equal(tracks.at[1].bytes, 0);
	image_tracks_done(&tracks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_supers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_which_partition, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drivers_that_fail, setup, teardown),
		cmocka_unit_test_setup_teardown(test_foreign_things_go, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_link_in_place_of_our_folder, setup, teardown),
		cmocka_unit_test_setup_teardown(test_measure, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
