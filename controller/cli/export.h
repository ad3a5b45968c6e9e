/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VM exported as OVF (a description, a list of digests, disks, all in one folder) as one OVA to
 * upload. */
#ifndef CONTROLLER_CLI_EXPORT_H
#define CONTROLLER_CLI_EXPORT_H

#include "controller/cli/progress.h"
#include "lib/hostlist.h"

struct export
{
	struct upload_parts parts; /* the OVA's bytes, in their order */
	struct strings owned;	   /* what parts in memory point to */
};

/* Is this the name of a description? By its end, ".ovf". */
bool export_named(const char *path);

/* The one .ovf in the folder: FOLDER/NAME, caller frees; NULL: there is none. -EINVAL when there
 * are several, -errno when the folder cannot be read. */
int export_find(const char *folder, char **ret_path, struct error **err);

/* Opens the description, its list of digests where there is one, and every plain file beside it
 * that it names. Nothing is written: the OVA exists as parts, the same for the same files. Freed by
 * export_done, with the files closed. -ENOENT when none of the files it names lies beside it,
 * -EINVAL for what no OVA can hold (a symbolic link, a folder, a name of more than 100 bytes),
 * -E2BIG for a description of more than 1 MiB, else -errno; each names the file. */
int export_open(const char *path, struct export *ret_export, struct error **err);
void export_done(struct export *export); /* again is fine */

#endif
