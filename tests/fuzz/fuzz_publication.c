/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libFuzzer on publications: nobody here has the secret key, so what is taken is one of the seeds,
 * byte for byte, and then names an image; everything else is refused with the reason. */
#include "images/publication.h"
#include "lib/str.h"
#include "tests/fuzz/fuzz.h"

#define KEY "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_publication struct publication p = {0};
	auto_error struct error *err = NULL;
	int r = publication_verify((const char *)bytes, len, KEY, &p, &err);

	fuzz_result(r, err);
	if (r < 0 && r != -EINVAL && r != -EKEYREJECTED)
		abort();
	if (r < 0 && p.name)
		abort();
	if (r == 0 && (!name_ok(p.name) || !sha256_hex_ok(p.digest) || p.revision == 0))
		abort();
	return 0;
}
