/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The jail of programs that parse foreign files: no network, no new privileges, no files but the
 * ones named. */
#ifndef IMAGES_JAIL_H
#define IMAGES_JAIL_H

#include <stdbool.h>
#include "lib/error.h"

struct jail_path {
	const char *path; /* a file, or a folder with all below it; NULL is skipped */
	bool write;	  /* may also be written, and new files made below it */
};

/* For this process and all its children, for good; while it has one thread. System libraries and
 * programs stay readable. What the kernel does not offer is left out, as it was before there was a
 * jail; *ret_missing (may be NULL) then names it, else it is NULL. An error only when a named path
 * is absent. */
int jail_enter(
	const struct jail_path *paths, size_t n, const char **ret_missing, struct error **err);
/* The same with the network left as it is, but no unix sockets; and without the calls that change
 * files by their name, touch other processes or start a program. */
int jail_enter_online(
	const struct jail_path *paths, size_t n, const char **ret_missing, struct error **err);

/* When standard output is a pipe, the program that reads it started us: be killed when it ends,
 * however it ends. To be called first. */
void jail_follow_parent(void);

#endif
