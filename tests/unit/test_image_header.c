/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The check of disk image headers. A small, correct qcow2 file is built by hand; each case spoils
 * one thing in it and must be refused with its own reason. The files live in memory (memfd). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <endian.h>
#include <sys/mman.h>

#include "images/header.h"
#include "lib/file.h"

enum {
	CLUSTER = 65536,
	L1_AT = 3 * CLUSTER,
	L2_AT = 4 * CLUSTER,
	DATA_AT = 5 * CLUSTER,
	FILE_SIZE = 6 * CLUSTER,
	DISK_SIZE = 1 << 20,
	HEADER_LEN = 112,
};

static void put32(unsigned char *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof(v));
}

static void put64(unsigned char *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, sizeof(v));
}

/* Header, refcount table and block, L1, one L2 with one cluster of data: what `qemu-img create`
 * writes. */
static unsigned char *qcow2_new(void)
{
	unsigned char *f = xcalloc(1, FILE_SIZE);

	memcpy(f, "QFI\xfb", 4);
	put32(f + 4, 3);
	put32(f + 20, 16);
	put64(f + 24, DISK_SIZE);
	put32(f + 36, 1);
	put64(f + 40, L1_AT);
	put64(f + 48, CLUSTER);
	put32(f + 56, 1);
	put32(f + 96, 4);
	put32(f + 100, HEADER_LEN);
	put64(f + CLUSTER, 2 * CLUSTER);
	put64(f + L1_AT, L2_AT | 1ULL << 63);
	put64(f + L2_AT, DATA_AT | 1ULL << 63);
	return f;
}

static int check(const unsigned char *bytes, size_t len, enum image_format format,
	struct image_header *header, struct error **err)
{
	auto_close int fd = memfd_create("image", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, bytes, len), 0);
	return image_header_check(fd, format, header, err);
}

static void takes_a_good_qcow2(void **state)
{
	auto_free unsigned char *f = qcow2_new();
	struct image_header header = {0};

	(void)state;
	for (int format = FORMAT_UNKNOWN; format <= FORMAT_QCOW2; format++) {
		if (format == FORMAT_RAW)
			continue;
		assert_int_equal(check(f, FILE_SIZE, format, &header, NULL), 0);
		assert_int_equal(header.format, FORMAT_QCOW2);
		assert_int_equal(header.virtual_size, DISK_SIZE);
	}
}

static const struct spoil {
	const char *what;
	size_t at;
	int bytes; /* 4 or 8 */
	uint64_t value;
	const char *reason; /* words that the error must have; NULL: must still be taken */
} spoils[] = {
	{"version 1", 4, 4, 1, "version 1"},
	{"version 4", 4, 4, 4, "version 4"},
	{"backing file", 8, 8, 0x200, "backing file"},
	{"backing file far away", 8, 8, 1ULL << 63, "backing file"},
	{"AES", 32, 4, 1, "encrypted"},
	{"LUKS", 32, 4, 2, "encrypted"},
	{"dirty", 72, 8, 1, "not closed cleanly"},
	{"corrupt", 72, 8, 2, "not closed cleanly"},
	{"external data file", 72, 8, 4, "in another file"},
	{"unknown incompatible feature", 72, 8, 1 << 5, "features this version does not know"},
	{"highest incompatible feature", 72, 8, 1ULL << 63, "features this version does not know"},
	{"unknown compatible feature", 80, 8, 2, "features this version does not know"},
	{"lazy reference counts", 80, 8, 1, NULL},
	{"raw external data", 88, 8, 2, "in another file"},
	{"unknown autoclear feature", 88, 8, 4, "features this version does not know"},
	{"compression bit without a type", 72, 8, 8, "compression type"},
	{"clusters of 256 bytes", 20, 4, 8, "clusters of 2^8"},
	{"clusters of 4 MiB", 20, 4, 22, "clusters of 2^22"},
	{"clusters of 2^255 bytes", 20, 4, 255, "clusters of 2^255"},
	{"no size", 24, 8, 0, "disk of 0 bytes"},
	{"odd size", 24, 8, DISK_SIZE + 1, "multiples of 512"},
	{"more than 1 TiB", 24, 8, (1ULL << 40) + 512, "1 TiB"},
	{"all bits of size", 24, 8, UINT64_MAX - 511, "1 TiB"},
	{"larger than its L1", 24, 8, 1ULL << 40, "does not fit its disk"},
	{"no L1 entries", 36, 4, 0, "does not fit its disk"},
	{"huge L1", 36, 4, UINT32_MAX, "does not fit its disk"},
	{"L1 longer than the file", 36, 4, 1 << 20, "cut off"},
	{"L1 behind the end", 40, 8, FILE_SIZE, "cut off"},
	{"L1 at the end of the world", 40, 8, UINT64_MAX & ~(CLUSTER - 1ULL), "cut off"},
	{"L1 not aligned", 40, 8, L1_AT + 512, "does not start on a cluster"},
	{"reference counts behind the end", 48, 8, 1ULL << 40, "cut off"},
	{"reference counts not aligned", 48, 8, 100, "does not start on a cluster"},
	{"no reference counts", 56, 4, 0, "reference count table of 0"},
	{"huge reference counts", 56, 4, UINT32_MAX, "reference count table"},
	{"2^7 bit reference counts", 96, 4, 7, "reference counts of 2^7"},
	{"many snapshots", 60, 4, 70000, "70000 snapshots"},
	{"snapshots behind the end", 60, 4, 60000, "snapshot table"},
	{"short header", 100, 4, 72, "header of 72"},
	{"long header", 100, 4, 1U << 31, "a header of"},
	{"odd header", 100, 4, 105, "header of 105"},
	{"data file extension", HEADER_LEN, 8, 0x4441544100000008, "external data file"},
	{"crypto extension", HEADER_LEN, 8, 0x0537be7700000010, "encrypted"},
	{"endless extension", HEADER_LEN, 8, 0x12345678ffffffff, "longer than the header"},
	{"extension up to the edge", HEADER_LEN, 8, 0x1234567800000000 | (CLUSTER - HEADER_LEN - 8),
		NULL},
	{"other extension", HEADER_LEN, 8, 0x6803f85700000008, NULL},
	{"L2 behind the end", L1_AT, 8, 1ULL << 50, "second table"},
	{"L2 half in the file", L1_AT, 8, FILE_SIZE - 512, "second table"},
	{"no L2", L1_AT, 8, 0, NULL},
	{"data behind the end", L2_AT, 8, FILE_SIZE, "cluster of data"},
	{"data far behind the end", L2_AT + 8, 8, 1ULL << 55, "cluster of data"},
	{"data not aligned", L2_AT, 8, DATA_AT + 512, "does not start on a cluster"},
	{"last cluster behind the end", L2_AT + 15 * 8, 8, FILE_SIZE, "cluster of data"},
	{"entry behind the disk is not read", L2_AT + 16 * 8, 8, FILE_SIZE, NULL},
	{"zero cluster", L2_AT + 8, 8, 1, NULL},
	{"compressed, inside", L2_AT + 8, 8, 1ULL << 62 | DATA_AT, NULL},
	{"compressed, to the last sector", L2_AT + 8, 8, 1ULL << 62 | 127ULL << 54 | DATA_AT, NULL},
	{"compressed, one sector too long", L2_AT + 8, 8, 1ULL << 62 | 128ULL << 54 | DATA_AT,
		"compressed cluster"},
	{"compressed behind the end", L2_AT + 8, 8, 1ULL << 62 | FILE_SIZE, "compressed cluster"},
};

static void judges_each_spoiled_field(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(spoils); i++) {
		const struct spoil *spoil = &spoils[i];
		auto_free unsigned char *f = qcow2_new();
		auto_error struct error *err = NULL;
		struct image_header header = {0};
		int r;

		if (spoil->bytes == 4)
			put32(f + spoil->at, (uint32_t)spoil->value);
		else
			put64(f + spoil->at, spoil->value);
		r = check(f, FILE_SIZE, FORMAT_QCOW2, &header, &err);
		if (!spoil->reason && r < 0)
			fail_msg("%s: refused: %s", spoil->what, err->text);
		if (spoil->reason && (r != -EINVAL || !strstr(err->text, spoil->reason)))
			fail_msg("%s: %d %s", spoil->what, r, err ? err->text : "was taken");
	}
}

static void refuses_every_truncation(void **state)
{
	auto_free unsigned char *f = qcow2_new();
	struct image_header header;

	(void)state;
	for (size_t len = 1; len < FILE_SIZE; len += 509)
		assert_int_equal(check(f, len, FORMAT_QCOW2, &header, NULL), -EINVAL);
	assert_int_equal(check(f, FILE_SIZE - 1, FORMAT_QCOW2, &header, NULL), -EINVAL);
	assert_int_equal(check(f, 0, FORMAT_QCOW2, &header, NULL), -EINVAL);
}

static void version_2_ends_before_the_features(void **state)
{
	auto_free unsigned char *f = qcow2_new();
	struct image_header header;

	(void)state;
	put32(f + 4, 2);
	memset(f + 72, 0, 64);
	assert_int_equal(check(f, FILE_SIZE, FORMAT_QCOW2, &header, NULL), 0);
	put32(f + 72, 0x44415441);
	assert_int_equal(check(f, FILE_SIZE, FORMAT_QCOW2, &header, NULL), -EINVAL);
}

static const struct raw_case {
	const char *what;
	size_t at;
	const char *bytes;
	size_t len;
	const char *reason; /* when the format is not named */
	bool named;	    /* also when it is: no disk begins so */
} raw_cases[] = {
	{"VMDK", 0, "KDMV", 4, "VMDK", false},
	{"VMDK descriptor", 0, "# Disk DescriptorFile\n", 22, "VMDK", false},
	{"VDI", 64, "\x7f\x10\xda\xbe", 4, "VDI", false},
	{"VHDX", 0, "vhdxfile", 8, "VHDX", false},
	{"VHD footer", 8192 - 512, "conectix", 8, "VHD", false},
	{"DMG trailer", 8192 - 512, "koly", 4, "DMG", false},
	{"QED", 0, "QED\0", 4, "QED", false},
	{"LUKS", 0, "LUKS\xba\xbe", 6, "LUKS", false},
	{"OVA", 257, "ustar", 5, "tar or OVA", false},
	{"gzip", 0, "\x1f\x8b\x08", 3, "unpack", true},
	{"xz", 0, "\xfd\x37zXZ\0", 6, "unpack", true},
	{"zstd", 0, "\x28\xb5\x2f\xfd", 4, "unpack", true},
	{"zip", 0, "PK\x03\x04", 4, "unpack", false},
	{"XML", 0, "<?xml version=\"1.0\"?>", 21, "FOLDER/VM.ovf", true},
	{"XML behind a mark", 0, "\xef\xbb\xbf<?xml ", 9, "FOLDER/VM.ovf", true},
	{"OVF", 0, "\r\n <Envelope ", 13, "FOLDER/VM.ovf", true},
	{"OVF of a name space", 0, "<ovf:Envelope ", 14, "FOLDER/VM.ovf", true},
	{"text that is no XML", 0, "<? xml", 6, NULL, false},
	{"a boot sector", 510, "\x55\xaa", 2, NULL, false},
};

static void raw_must_not_look_like_something_else(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(raw_cases); i++) {
		auto_free unsigned char *f = xcalloc(1, 8192);
		auto_error struct error *err = NULL, *named = NULL;
		struct image_header header = {0};
		int r;

		memcpy(f + raw_cases[i].at, raw_cases[i].bytes, raw_cases[i].len);
		r = check(f, 8192, FORMAT_UNKNOWN, &header, &err);
		if (!raw_cases[i].reason && r < 0)
			fail_msg("%s: refused: %s", raw_cases[i].what, err->text);
		if (raw_cases[i].reason &&
			(r != -EINVAL || !strstr(err->text, raw_cases[i].reason)))
			fail_msg("%s: %d %s", raw_cases[i].what, r, err ? err->text : "was taken");
		r = check(f, 8192, FORMAT_RAW, &header, &named);
		if (r != (raw_cases[i].named ? -EINVAL : 0) ||
			(named && !strstr(named->text, "name no format") &&
				!strstr(named->text, raw_cases[i].reason)))
			fail_msg("%s, named raw: %d %s", raw_cases[i].what, r, error_text(named, r));
		assert_int_equal(header.virtual_size, r < 0 ? 0 : 8192);
		assert_int_equal(check(f, 8191, FORMAT_RAW, &header, NULL), -EINVAL);
		assert_int_equal(check(f, 8192, FORMAT_QCOW2, &header, NULL), -EINVAL);
	}
}

static void a_qcow2_named_raw_stays_raw(void **state)
{
	auto_free unsigned char *f = qcow2_new();
	struct image_header header;

	(void)state;
	assert_int_equal(check(f, FILE_SIZE, FORMAT_RAW, &header, NULL), 0);
	assert_int_equal(header.format, FORMAT_RAW);
	assert_int_equal(header.virtual_size, FILE_SIZE);
}

static void formats_have_names(void **state)
{
	enum image_format format;

	(void)state;
	assert_int_equal(image_format_parse("qcow2", &format), 0);
	assert_int_equal(format, FORMAT_QCOW2);
	assert_int_equal(image_format_parse("raw", &format), 0);
	assert_int_equal(format, FORMAT_RAW);
	assert_int_equal(image_format_parse("unknown", &format), -EINVAL);
	assert_int_equal(image_format_parse("ova", &format), 0);
	assert_int_equal(format, FORMAT_OVA);
	assert_int_equal(image_format_parse("vdi", &format), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_a_good_qcow2),
		cmocka_unit_test(judges_each_spoiled_field),
		cmocka_unit_test(refuses_every_truncation),
		cmocka_unit_test(version_2_ends_before_the_features),
		cmocka_unit_test(raw_must_not_look_like_something_else),
		cmocka_unit_test(a_qcow2_named_raw_stays_raw),
		cmocka_unit_test(formats_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
