/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A publication: the controller's signed word that an image revision is good now.
 *
 *   {"format":1,"name":"mpi","revision":3,"digest":DIGEST,"sequence":N,"published":UNIX SECONDS,
 *    "key":KEY ID,"signature":128 HEX DIGITS}
 *
 * One line of canonical JSON. The sequence of a name grows with each publish and each rollback;
 * whoever has seen a number for that name and key takes no lower one. */
#ifndef IMAGES_PUBLICATION_H
#define IMAGES_PUBLICATION_H

#include <stdint.h>
#include "lib/error.h"

enum {
	PUBLICATION_FORMAT = 1,
	PUBLICATION_MAX_BYTES = 1024,
	PUBLICATION_KEY_TEXT = 65, /* a public key, and a key's id, as hex digits with the NUL */
};

struct publication {
	char *name;
	uint64_t revision;
	char *digest;	    /* of the manifest */
	uint64_t sequence;  /* 0: no revision of this name was ever published (a draft in use) */
	uint64_t published; /* when that sequence number was given, Unix seconds; 0 with it */
	char *key;	    /* id of the key: SHA-256 of the public key */
};
void publication_done(struct publication *publication);

/* The key that signs. Read from the file `path` (0600), which is made with a new key when it is
 * missing and never replaced: one that cannot be read is an error. Freed by publisher_free (NULL is
 * fine). */
struct publisher;
int publisher_open(const char *path, struct publisher **ret_publisher, struct error **err);
void publisher_free(struct publisher *publisher);
const char *publisher_key(const struct publisher *publisher);	 /* public key, 64 hex digits */
const char *publisher_key_id(const struct publisher *publisher); /* 64 hex digits */

/* The signed text; `key` of the publication is not looked at. Caller frees. */
char *publication_sign(const struct publisher *publisher, const struct publication *publication);

/* Reads a signed text and checks it against the public key (64 hex digits, from a trusted source).
 * Strict: any text that publication_sign would not have written is -EINVAL; another key or a
 * signature that does not fit is -EKEYREJECTED. Freed by publication_done. */
int publication_verify(const char *text, size_t len, const char *public_key,
	struct publication *ret_publication, struct error **err);

static inline void cleanup_publication(struct publication *publication)
{
	publication_done(publication);
}
#define auto_publication __attribute__((cleanup(cleanup_publication)))

#endif
