/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing below a root without being led astray by symbolic links. */
#ifndef GUEST_INSIDE_H
#define GUEST_INSIDE_H

#include <sys/types.h>
#include "lib/error.h"

struct inside_owner {
	uid_t uid;
	gid_t gid;
};

/* Replaces the file `path` ("/etc/hosts") below the folder `root_fd`: written aside, owned and
 * moded, then renamed. Missing folders are made with `dir_mode` and the same owner. No component
 * may be a symbolic link or ".."; -EINVAL, -ELOOP. */
int inside_write(int root_fd, const char *path, const char *content, struct inside_owner owner,
	mode_t mode, mode_t dir_mode, struct error **err);
/* Makes the folder (and missing parents, 0755 root) with owner and mode; one that exists is left
 * alone. */
int inside_mkdir(
	int root_fd, const char *path, struct inside_owner owner, mode_t mode, struct error **err);
/* Reads at most 1 MiB; caller frees. */
int inside_read(int root_fd, const char *path, char **ret_text, struct error **err);

#endif
