/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The image manifest: the same text after reading and writing, and a table of texts that are
 * refused with the field named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "images/chunk.h"
#include "images/manifest.h"
#include "lib/str.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HEAD(size)                                                                                 \
	"{\"format\":1,\"name\":\"mpi\",\"revision\":3,\"size\":" size ",\"chunk_size\":262144,"
#define DISK(size, chunks) "\"disk\":{\"size\":" size ",\"chunks\":[" chunks "]}"
#define KERNEL "\"kernel\":{\"size\":7,\"chunks\":[\"" B "\"]}"
#define INITRD "\"initrd\":{\"size\":9,\"chunks\":[\"" A "\"]}"
/* 256 KiB + 512: two chunks */
#define TWO DISK("262656", "\"" A "\",\"0\"")

static const char plain[] = HEAD("262656") "\"parts\":{" TWO "}}";
static const char full[] = HEAD("262656") "\"parts\":{" TWO "," KERNEL "," INITRD
					   "},\"cmdline\":\"root=/dev/vda \\\"q\\\"\"}";

static void reads_and_writes_the_same(void **state)
{
	static const char *const texts[] = {plain, full};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		auto_manifest struct manifest m = {0};
		auto_error struct error *err = NULL;
		auto_free char *again = NULL;

		if (manifest_read(texts[i], strlen(texts[i]), &m, &err) < 0)
			fail_msg("%s: %s", texts[i], err->text);
		again = manifest_write(&m);
		assert_string_equal(again, texts[i]);
	}
}

static void fields_arrive(void **state)
{
	auto_manifest struct manifest m = {0};
	char hex[SHA256_TEXT];

	(void)state;
	assert_int_equal(manifest_read(full, strlen(full), &m, NULL), 0);
	assert_string_equal(m.name, "mpi");
	assert_int_equal(m.revision, 3);
	assert_string_equal(m.cmdline, "root=/dev/vda \"q\"");
	assert_int_equal(m.parts[PART_DISK].size, CHUNK_SIZE + 512);
	assert_int_equal(m.parts[PART_DISK].chunks.n, 2);
	assert_string_equal(sha256_format(&m.parts[PART_DISK].chunks.at[0].digest, hex), A);
	assert_false(m.parts[PART_DISK].chunks.at[0].zero);
	assert_true(m.parts[PART_DISK].chunks.at[1].zero);
	assert_string_equal(sha256_format(&m.parts[PART_KERNEL].chunks.at[0].digest, hex), B);
	assert_int_equal(manifest_data_bytes(&m), CHUNK_SIZE + 7 + 9);
}

static const struct refused {
	const char *what, *text, *field; /* field NULL: any */
} refused[] = {
	{"empty", "", NULL},
	{"not an object", "[]", NULL},
	{"trailing bytes", HEAD("262656") "\"parts\":{" TWO "}}x", NULL},
	{"trailing newline", HEAD("262656") "\"parts\":{" TWO "}}\n", NULL},
	{"a space", HEAD("262656") " \"parts\":{" TWO "}}", NULL},
	{"other order", HEAD("262656") "\"parts\":{" TWO "," INITRD "," KERNEL "}}", NULL},
	{"number as 3.0", "{\"format\":1.0,\"name\":\"mpi\"}", "format"},
	{"unknown member", HEAD("262656") "\"extra\":1,\"parts\":{" TWO "}}", "extra"},
	{"unknown part", HEAD("262656") "\"parts\":{" TWO ",\"firmware\":{}}}", "parts.firmware"},
	{"twice", HEAD("262656") "\"name\":\"mpi\",\"parts\":{" TWO "}}", "name"},
	{"no parts",
		"{\"format\":1,\"name\":\"mpi\",\"revision\":3,\"size\":512,\"chunk_size\":"
		"262144}",
		"parts"},
	{"no disk", HEAD("512") "\"parts\":{" KERNEL "}}", "parts.disk"},
	{"format 2",
		"{\"format\":2,\"name\":\"mpi\",\"revision\":3,\"size\":512,\"chunk_size\":262144,"
		"\"parts\":"
		"{" DISK("512", "\"0\"") "}}",
		"format"},
	{"chunk size",
		"{\"format\":1,\"name\":\"mpi\",\"revision\":3,\"size\":512,\"chunk_size\":4096,"
		"\"parts\":"
		"{" DISK("512", "\"0\"") "}}",
		"chunk_size"},
	{"name", "{\"format\":1,\"name\":\"../mpi\",\"revision\":3}", "name"},
	{"revision 0",
		"{\"format\":1,\"name\":\"mpi\",\"revision\":0,\"size\":512,\"chunk_size\":262144,"
		"\"parts\":"
		"{" DISK("512", "\"0\"") "}}",
		"revision"},
	{"too few chunks", HEAD("262656") "\"parts\":{" DISK("262656", "\"0\"") "}}",
		"parts.disk.chunks"},
	{"too many chunks", HEAD("512") "\"parts\":{" DISK("512", "\"0\",\"0\"") "}}",
		"parts.disk.chunks"},
	{"no chunks", HEAD("512") "\"parts\":{" DISK("512", "") "}}", "parts.disk.chunks"},
	{"short digest",
		HEAD("512") "\"parts\":{" DISK("512", "\"A"
						      "\"") "}}",
		"parts.disk.chunks[0]"},
	{"digest as path", HEAD("512") "\"parts\":{" DISK("512", "\"../../../../etc/passwd\"") "}}",
		"parts.disk.chunks[0]"},
	{"chunk as number", HEAD("512") "\"parts\":{" DISK("512", "0") "}}",
		"parts.disk.chunks[0]"},
	{"odd disk", HEAD("513") "\"parts\":{" DISK("513", "\"0\"") "}}", "parts.disk.size"},
	{"empty disk", HEAD("0") "\"parts\":{" DISK("0", "") "}}", "size"},
	{"size differs", HEAD("1024") "\"parts\":{" DISK("512", "\"0\"") "}}", "size"},
	{"negative size", HEAD("-512") "\"parts\":{" DISK("-512", "\"0\"") "}}", "size"},
	{"over 4 TiB", HEAD("4398046511616") "\"parts\":{" DISK("4398046511616", "\"0\"") "}}",
		"size"},
	{"initrd alone", HEAD("512") "\"parts\":{" DISK("512", "\"0\"") "," INITRD "}}",
		"parts.initrd"},
	{"huge kernel",
		HEAD("512") "\"parts\":{" DISK(
			"512", "\"0\"") ",\"kernel\":{\"size\":999999999999,\"chunks\":"
					"[\"0\"]}}}",
		"parts.kernel.chunks"},
	{"cmdline alone", HEAD("512") "\"parts\":{" DISK("512", "\"0\"") "},\"cmdline\":\"quiet\"}",
		"cmdline"},
	{"cmdline of two lines",
		HEAD("512") "\"parts\":{" DISK("512", "\"0\"") "," KERNEL
							       "},\"cmdline\":\"a\\nb\"}",
		"cmdline"},
	{"empty part", HEAD("512") "\"parts\":{" DISK("512", "\"0\"") ",\"kernel\":{}}}",
		"parts.kernel.size"},
};

static void refuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		auto_manifest struct manifest m = {0};
		auto_error struct error *err = NULL;
		int r = manifest_read(refused[i].text, strlen(refused[i].text), &m, &err);

		if (r == 0 || !err)
			fail_msg("%s: was taken", refused[i].what);
		if (refused[i].field && (!err->field || strcmp(err->field, refused[i].field) != 0))
			fail_msg("%s: field %s, not %s (%s)", refused[i].what,
				err->field ? err->field : "none", refused[i].field, err->text);
		assert_null(m.name); /* nothing written on failure */
	}
}

static void refuses_every_truncation(void **state)
{
	(void)state;
	for (size_t len = 0; len < strlen(full); len++) {
		auto_manifest struct manifest m = {0};

		assert_true(manifest_read(full, len, &m, NULL) < 0);
	}
}

static void chunks_are_counted(void **state)
{
	static const struct {
		uint64_t size;
		size_t n, last;
	} cases[] = {{1, 1, 1}, {CHUNK_SIZE - 1, 1, CHUNK_SIZE - 1}, {CHUNK_SIZE, 1, CHUNK_SIZE},
		{CHUNK_SIZE + 1, 2, 1}, {IMAGE_SIZE_MAX, 4 << 20, CHUNK_SIZE}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(chunk_count(cases[i].size), cases[i].n);
		assert_int_equal(chunk_len(cases[i].size, cases[i].n - 1), cases[i].last);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes_the_same),
		cmocka_unit_test(fields_arrive),
		cmocka_unit_test(refuses),
		cmocka_unit_test(refuses_every_truncation),
		cmocka_unit_test(chunks_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
