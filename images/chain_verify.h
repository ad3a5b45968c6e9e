/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a chain's node does with the frames that came: unpack, compare, put. Only chain_receive.c
 * includes this. */
#ifndef IMAGES_CHAIN_VERIFY_H
#define IMAGES_CHAIN_VERIFY_H

#include <stdbool.h>
#include "images/chain_log.h"
#include "images/held.h"
#include "images/source.h"
#include "lib/error.h"

struct chain_verifier;

/* A chunk that was not what its digest says, and the writer's word of where it came from. */
struct chain_wrong {
	uint32_t number, source;
};

/* Verifies in a thread of its own whatever is laid into the log, and puts it into `held`, until the
 * log is closed. -EAGAIN: no thread. */
int chain_verifier_start(struct held *held, const struct chunk_index *index, struct chain_log *log,
	struct chain_verifier **ret_verifier, struct error **err);
/* Waits for its end: close the log first. NULL is fine. */
void chain_verifier_free(struct chain_verifier *verifier);
/* The next wrong chunk that was not told of yet; false: none. Beyond 32 that wait they are only
 * counted. */
bool chain_verifier_wrong(struct chain_verifier *verifier, struct chain_wrong *ret_wrong);
unsigned chain_verifier_count(struct chain_verifier *verifier); /* of wrong ones */
/* What the disk said, 0 while all is well. */
int chain_verifier_fault(struct chain_verifier *verifier, struct error **err);

/* Is the content of chunk `number` in all of its places? */
bool chain_has(const struct held *held, const struct chunk_index *index, uint32_t number);

#endif
