/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file from the web, brought safely and taken up again after any break. */
#ifndef IMAGES_DOWNLOAD_H
#define IMAGES_DOWNLOAD_H

#include <stdbool.h>
#include "lib/error.h"
#include "lib/hash.h"

enum { DOWNLOAD_URL_MAX = 2048 };

struct download {
	const char *url;	     /* http or https, no user name in it */
	const char *file;	     /* where it goes; FILE.part and FILE.state stand beside it */
	const struct sha256 *sha256; /* what it must be, or NULL */
	uint64_t max;		     /* bytes it may have */
	int64_t max_s;		     /* seconds it may take in all */
	int silence_s;		     /* and without a byte, 0: 30 */
	const char *allowed;	     /* hosts and prefixes that need not be public, or NULL */
	const char *denied;	     /* prefixes that are not called though public, or NULL */
	/* total 0: not known. NULL: not wanted. */
	void (*progress)(uint64_t done, uint64_t total, void *arg);
	void *arg;
};

/* Checks the words of a URL without calling anybody: -EINVAL. */
int download_url_check(const char *url, struct error **err);

/* Blocks. On success FILE is whole (flushed, and of that digest when one was named) and *ret_size
 * its size. After a failure that another try cannot mend nothing is left; after a lost connection
 * (-ECONNRESET, -ETIMEDOUT, ...) the part stays, and the same call goes on where it was. */
int download_run(const struct download *download, uint64_t *ret_size, struct error **err);

#endif
