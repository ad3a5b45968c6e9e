/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Typed growing arrays. `VEC_OF(macs, struct mac);` declares `struct macs { struct mac *at; size_t n, cap; }`.
 * A zeroed vector is empty and valid. Elements that own memory are freed by the owner's loop first. */
#ifndef LIB_VEC_H
#define LIB_VEC_H

#include "lib/util.h"

#define VEC_OF(name, type)                                                                         \
	struct name {                                                                              \
		type *at;                                                                          \
		size_t n, cap;                                                                     \
	}

/* Room for one more; the result is a pointer to the new, zeroed element. */
#define vec_add(v)                                                                                 \
	({                                                                                         \
		if ((v)->n == (v)->cap) {                                                          \
			(v)->cap = (v)->cap ? (v)->cap * 2 : 8;                                    \
			(v)->at = xrealloc((v)->at, (v)->cap, sizeof(*(v)->at));                   \
		}                                                                                  \
		memset(&(v)->at[(v)->n], 0, sizeof(*(v)->at));                                     \
		&(v)->at[(v)->n++];                                                                \
	})
#define vec_push(v, item) (*vec_add(v) = (item))
/* `vec_each (struct mac, m, &macs) { ... }`: m points at each element in turn. */
#define vec_each(type, item, v)                                                                    \
	for (type *item = (v)->at; item && item < (v)->at + (v)->n; item++)
#define vec_remove(v, i)                                                                           \
	(memmove(&(v)->at[i], &(v)->at[(i) + 1], ((v)->n - (i)-1) * sizeof(*(v)->at)), (v)->n--)
/* Frees the array (not what its elements own) and leaves an empty vector. */
#define vec_done(v) (free((v)->at), (v)->at = NULL, (v)->n = (v)->cap = 0)

#endif
