/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Host lists as Slurm and clustershell write them: "pc[1-4,07],srv" <-> names. */
#ifndef LIB_HOSTLIST_H
#define LIB_HOSTLIST_H

#include "lib/error.h"
#include "lib/vec.h"

VEC_OF(strings, char *);
void strings_done(struct strings *strings); /* frees elements and array */

/* Expands to at most `max` names in the order written; zero padding kept ("pc[08-10]"); a name twice is an error. */
int hostlist_expand(const char *text, size_t max, struct strings *ret_names, struct error **err);
/* The shortest list of the names, sorted; caller frees. */
char *hostlist_compress(const struct strings *names);

#endif
