/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What POST /images asks for. */
#ifndef CONTROLLER_API_IMPORT_REQUEST_H
#define CONTROLLER_API_IMPORT_REQUEST_H

#include "lib/error.h"
#include "lib/json.h"

struct import_request {
	char *name;
	char *upload, *path, *url; /* one of them: the disk */
	char *sha256;		   /* of what the URL brings, or NULL */
	char *kernel, *initrd, *cmdline;
	int format;
	bool has_format;
	uint64_t level; /* zstd's, or 0 */
	bool draft;	/* not published when it is there */
};
extern const char *const import_formats[];

/* -EINVAL names the member at fault. Freed by import_request_done. */
int import_request_read(const json_t *body, struct import_request *ret_request, struct error **err);
void import_request_done(struct import_request *request);

#endif
