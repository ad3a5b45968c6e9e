/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libFuzzer on the descriptor of a VMDK: what is taken says streamOptimized, has no parent, and no
 * extent whose name has a slash in it. */
#include "images/vmdk_descriptor.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_error struct error *err = NULL;
	auto_free char *text = xstrndup((const char *)bytes, len);
	uint64_t sectors = 0;
	int r = vmdk_descriptor_check(text, &sectors, &err);

	fuzz_result(r, err);
	if (r == 0 && (!strstr(text, "streamOptimized") || !strcasestr(text, "ffffffff") ||
			      !strstr(text, "SPARSE")))
		abort();
	return 0;
}
