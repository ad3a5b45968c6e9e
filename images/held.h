/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An image as a host holds it, whole or in part, shared by all programs of the host:
 *
 *   DIR/DIGEST/manifest                   its text
 *   DIR/DIGEST/disk.raw                   sparse; chunk N of the disk lies at N * CHUNK_SIZE
 *   DIR/DIGEST/kernel, initrd, cmdline    when the image has them
 *   DIR/DIGEST/map                        which chunks are in place (shared memory)
 *   DIR/DIGEST/complete                   written last: all is in place and will stay; its text
 *                                         is the boot id of the kernel that saw it so
 *
 * Chunks are numbered through all parts of the manifest, disk first. Any number of threads and
 * processes may put, read and wait at once; nothing here takes a lock that a killed program could
 * leave behind. A chunk is put only after its digest was checked, so what is present is right. */
#ifndef IMAGES_HELD_H
#define IMAGES_HELD_H

#include <stdbool.h>
#include "images/manifest.h"
#include "lib/error.h"

struct held;

/* One chunk of the image. */
struct held_chunk {
	enum manifest_part_kind part;
	uint64_t at; /* offset in the part */
	size_t len;
	struct sha256 digest;
	bool zero; /* needs no bytes: always present */
};

/* Begins to hold the image with this manifest text, or opens what is held of it. -EBADMSG: the
 * text is not the manifest of `digest`. Freed by held_close (NULL is fine). */
int held_create(const char *dir, const char *digest, const char *manifest, size_t len,
	struct held **ret_held, struct error **err);

/* Opens what is held; -ENOENT when nothing is. What another boot of this machine left is
 * verified first, chunk by chunk, and a kernel, initrd or command line that the manifest does not
 * name is removed (a scratch partition may hold anything). */
int held_open(const char *dir, const char *digest, struct held **ret_held, struct error **err);
void held_close(struct held *held);

/* May held_open be called without that it verifies all there is first? For those who must not be
 * held up by it. False also when nothing is held. */
bool held_is_checked(const char *dir, const char *digest);
/* Were its files removed since it was opened? Who keeps it open keeps their room taken. */
bool held_is_removed(const struct held *held);

/* The manifest of what is held, without opening it. -EBADMSG: what lies there is another text.
 * Freed by manifest_done. */
int held_read_manifest(
	const char *dir, const char *digest, struct manifest *ret_manifest, struct error **err);

const struct manifest *held_manifest(const struct held *held);
size_t held_count(const struct held *held); /* chunks of all parts, zero ones too */
void held_chunk_at(const struct held *held, size_t number, struct held_chunk *ret_chunk);
/* The chunk that holds byte `at` of `part`. */
size_t held_number(const struct held *held, enum manifest_part_kind part, uint64_t at);

bool held_has(const struct held *held, size_t number);
bool held_has_part(const struct held *held, enum manifest_part_kind part); /* all of its chunks */
uint64_t held_have(const struct held *held);  /* bytes of data in place, zeros not counted */
uint64_t held_total(const struct held *held); /* bytes of data of the whole image */

/* Puts a chunk in its place and wakes who waits for it. The caller has checked the digest. Takes it
 * off the list of wanted ones. When a limit is set, the chunks that were not read for longest make
 * room. Putting one that is there already does nothing. */
int held_put(struct held *held, size_t number, const void *bytes, struct error **err);

/* Reads exactly `len` bytes of a part, all inside one chunk: 0, or -ENOENT when the chunk is not
 * here (any more). Counts as use. */
int held_read(
	struct held *held, size_t number, uint64_t at, void *out, size_t len, struct error **err);

/* The same for those who pass chunks on to others: no use, and no part of the boot trace. */
int held_peek(
	struct held *held, size_t number, uint64_t at, void *out, size_t len, struct error **err);

/* A reader misses this chunk: transports ask for wanted chunks before all others. */
void held_want(struct held *held, size_t number);
/* The next wanted chunk at or after `from`; held_count() when there is none. */
size_t held_next_wanted(const struct held *held, size_t from);
/* Tells the others that this caller asks a server for the chunk, so that it is not asked for twice;
 * false: it is here, or another has taken it. A word among transports, not a lock: whoever took a
 * chunk may have died, and who cannot wait longer brings it without taking it. */
bool held_take(struct held *held, size_t number);
bool held_is_taken(const struct held *held, size_t number);
/* It could not be had: it is wanted again. */
void held_untake(struct held *held, size_t number);
/* How many chunks were ever put: it grows while some transport brings any. */
uint32_t held_puts(const struct held *held);
/* Waits until the chunk is here: 0, or -ETIMEDOUT. */
int held_wait(struct held *held, size_t number, unsigned timeout_ms);

/* At most `bytes` of data in place (0: no limit), for all programs and until it is set anew; kernel
 * and initrd are never taken away. An image limited to less than its data is never complete. */
void held_set_limit(struct held *held, uint64_t bytes);
uint64_t held_limit(const struct held *held);

/* Is the image whole in `dir`, and was it seen so in this boot? Any digest text is safe. */
bool held_is_complete(const char *dir, const char *digest);

/* All chunks are in place: makes the files read-only, syncs, writes `complete`. -EAGAIN when some
 * are missing. */
int held_finish(struct held *held, struct error **err);

/* The order in which chunks were first read, for the boot trace: fills at most `max` numbers,
 * returns how many. */
size_t held_order(const struct held *held, uint32_t *ret_numbers, size_t max);

static inline void cleanup_held(struct held **held)
{
	held_close(*held);
}
#define auto_held __attribute__((cleanup(cleanup_held)))

#endif
