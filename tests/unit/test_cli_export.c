/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of an OVA that was never written: libarchive reads its headers, those of disks too
 * whose size eleven octal digits cannot say. What is sent of it, and what is refused,
 * tests/program/test_cli.py looks at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <archive.h>
#include <archive_entry.h>
#include "controller/cli/export.h"
#include "lib/file.h"
#include "tests/unit/folder.h"

#define GIB ((uint64_t)1 << 30)

static char *export_make(const char *dir, uint64_t disk)
{
	static const char text[] =
		"<Envelope><References><File href = 'vm.vmdk'/></References></Envelope>";
	auto_free char *path = xasprintf("%s/vm.vmdk", dir);
	char *ovf = xasprintf("%s/vm.ovf", dir);
	assert_int_equal(file_write(ovf, text, strlen(text), 0600, NULL), 0);
	assert_int_equal(file_write(path, "", 0, 0600, NULL), 0);
	assert_int_equal(truncate(path, (off_t)disk), 0);
	return ovf;
}

/* Parts 0 to 2 are the description with its header and padding, 3 to 5 the disk. */
static void a_size_is_read_as_it_was_written(void **state)
{
	static const uint64_t sizes[] = {0, 1, 512, 8 * GIB - 1, 8 * GIB, 9 * GIB + 1, 300 * GIB};
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		auto_free char *ovf = export_make(*state, sizes[i]);
		struct export export = {0};
		struct archive *archive = archive_read_new();
		struct archive_entry *entry;
		uint64_t size = 0;
		assert_int_equal(export_open(ovf, &export, NULL), 0);
		assert_int_equal(export.parts.n, 7);
		vec_each (struct upload_part, part, &export.parts)
			size += part->size;
		assert_int_equal(size, 512 + 512 + 512 + (sizes[i] + 511) / 512 * 512 + 1024);
		assert_int_equal(archive_read_support_format_tar(archive), ARCHIVE_OK);
		assert_int_equal(archive_read_open_memory(archive, export.parts.at[3].bytes, 512),
			ARCHIVE_OK);
		assert_int_equal(archive_read_next_header(archive, &entry), ARCHIVE_OK);
		assert_string_equal(archive_entry_pathname(entry), "vm.vmdk");
		assert_int_equal(archive_entry_filetype(entry), AE_IFREG);
		assert_int_equal(archive_entry_size(entry), sizes[i]);
		assert_int_equal(export.parts.at[4].size, sizes[i]);
		assert_true(export.parts.at[4].fd >= 0);
		archive_read_free(archive);
		export_done(&export);
		export_done(&export);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_size_is_read_as_it_was_written, folder_make, folder_remove),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
