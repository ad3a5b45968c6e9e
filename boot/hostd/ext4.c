/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The first look at somebody else's disk, before the kernel is asked to mount any of it.
 *
 * The label alone opts a partition in; then the superblock must promise that mounting it writes to
 * this partition and nowhere else, and that what is written survives a pulled plug. So: a journal
 * of its own inside (an external one lies on another device), no state "errors" (there is no e2fsck
 * in a host, and going on would make it worse), no protection against multiple mounts held by
 * somebody (another machine may have it open), and only those incompatible features that we know. A
 * journal that has to be replayed is fine: that is what it is for.
 *
 * Not here: the checksums of the file system, which the kernel verifies itself. */
#include "boot/hostd/ext4.h"

#include <stdbool.h>
#include <string.h>
#include "lib/bytes.h"
#include "lib/util.h"

enum { /* offsets in the superblock */
	MAGIC = 0x38,
	STATE = 0x3a,
	REVISION = 0x4c,
	COMPAT = 0x5c,
	INCOMPAT = 0x60,
	LABEL = 0x78,
	JOURNAL_UUID = 0xd0,
	JOURNAL_INODE = 0xe0,
	JOURNAL_DEVICE = 0xe4,
};

enum { EXT_MAGIC = 0xef53, STATE_ERRORS = 2, COMPAT_JOURNAL = 4, INCOMPAT_RECOVER = 4 };

static const struct {
	uint32_t bit;
	const char *name;
} known[] = {
	{0x2, "filetype"},
	{INCOMPAT_RECOVER, "journal to be replayed"},
	{0x10, "meta_bg"},
	{0x40, "extents"},
	{0x80, "64bit"},
	{0x200, "flex_bg"},
	{0x2000, "metadata_csum_seed"},
	{0x4000, "large_dir"},
};

static bool zero(const unsigned char *at, size_t n)
{
	while (n > 0 && at[n - 1] == 0)
		n--;
	return n == 0;
}

static bool labelled(const unsigned char *super, const char *label)
{
	char text[EXT4_LABEL_MAX + 1] = "";
	memcpy(text, super + LABEL, EXT4_LABEL_MAX);
	return strcmp(text, label) == 0;
}

int ext4_look(const unsigned char *super, const char *label, struct error **err)
{
	uint32_t unknown = le32_at(super + INCOMPAT);
	if (le16_at(super + MAGIC) != EXT_MAGIC || le32_at(super + REVISION) == 0 ||
		!labelled(super, label))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		unknown &= ~known[i].bit;
	if (unknown)
		return error_make(err, -EINVAL,
			"its file system has features that are not used here (0x%x); make it anew "
			"with mkfs.ext4",
			unknown);
	if (!(le32_at(super + COMPAT) & COMPAT_JOURNAL))
		return error_make(err, -EINVAL,
			"its file system has no journal: a PC that is switched off would damage "
			"it");
	if (le32_at(super + JOURNAL_INODE) == 0 || le32_at(super + JOURNAL_DEVICE) != 0 ||
		!zero(super + JOURNAL_UUID, 16))
		return error_make(
			err, -EINVAL, "the journal of its file system lies on another device");
	if (le16_at(super + STATE) & STATE_ERRORS)
		return error_make(err, -EINVAL,
			"its file system is marked as damaged: run e2fsck, or make it anew");
	return 1;
}
