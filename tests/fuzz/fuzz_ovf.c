/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libFuzzer on the OVF descriptor: what is taken declares nothing, and names only plain members. */
#include "images/ovf.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_error struct error *err = NULL;
	struct ovf ovf = {0};
	int r = ovf_read((const char *)bytes, len, &ovf, &err);

	fuzz_result(r, err);
	if (r < 0 && ovf.files.n)
		abort();
	if (r < 0)
		return 0;
	if (ovf.disk >= ovf.files.n || memmem(bytes, len, "<!DOCTYPE", 9))
		abort();
	vec_each (struct ovf_file, file, &ovf.files)
		if (!ovf_name_ok(file->href) || strchr(file->href, '/'))
			abort();
	ovf_done(&ovf);
	return 0;
}
