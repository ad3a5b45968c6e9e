/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What two neighbours in the peer chain say to each other, over TCP, all numbers big-endian.
 *
 *   successor:    "NCCHAIN1" digest[32] u32 count u32 around, then a bitmap of the chunks it needs
 *   predecessor:  "NCCHAIN1" u32 answer u32 0, then messages:
 *                 u8 kind, u24 length, u32 number, `length` bytes
 *
 * A chunk's frame travels in pieces, so that it can be passed on while it comes in, and broken off
 * when it stops coming. Other messages may stand between the pieces. */
#ifndef IMAGES_CHAIN_WIRE_H
#define IMAGES_CHAIN_WIRE_H

#include <stdbool.h>
#include "images/chunk.h"
#include "lib/hash.h"

enum {
	CHAIN_HELLO = 48,
	CHAIN_ANSWER = 16,
	CHAIN_HEAD = 8,
	CHAIN_PIECE = 64 << 10, /* content of a message */
	CHAIN_HOPS = 128,	/* ancestors a status tells of */
};

enum chain_answer {
	CHAIN_YES = 0,
	CHAIN_NOT_YET = 1, /* not held, or not being received now: ask again in a moment */
	CHAIN_FULL = 2,	   /* enough successors */
};

enum chain_kind {
	CHAIN_DATA = 1,	  /* bytes of chunk `number` */
	CHAIN_ABORT = 2,  /* the chunk that is open will not be finished */
	CHAIN_BAD = 3,	  /* chunk `number`, sent before, was wrong as it came to me */
	CHAIN_STATUS = 4, /* u32 each: 16 KiB that I have, that my source has, ... up to the root;
			     number: see below */
	CHAIN_END = 5,	  /* I have nothing more for you */
	CHAIN_FIRST = 0x10,
	CHAIN_LAST = 0x20, /* flags of CHAIN_DATA */
};
#define CHAIN_WHOLE UINT32_MAX /* in a status: has all */
#define CHAIN_UNIT (16 << 10)  /* bytes a status counts in */
/* The number of a status: bit 0, another successor comes first now. The bits above: KiB/s that who
 * has everything gives at most, who may be me or my source; 0: not known. */
#define CHAIN_SECOND 1u

struct chain_hello {
	struct sha256 digest;
	uint32_t count;	 /* chunks of the image */
	uint32_t around; /* IPv4 address of one that I left because it is slow or lies; 0: none */
};

void chain_hello_write(const struct chain_hello *hello, uint8_t ret_bytes[CHAIN_HELLO]);
int chain_hello_read(const uint8_t bytes[CHAIN_HELLO], struct chain_hello *ret_hello);
void chain_answer_write(enum chain_answer answer, uint8_t ret_bytes[CHAIN_ANSWER]);
int chain_answer_read(const uint8_t bytes[CHAIN_ANSWER], enum chain_answer *ret_answer);
void chain_head_write(unsigned kind, uint32_t number, size_t len, uint8_t ret_bytes[CHAIN_HEAD]);
/* Returns how many bytes `values` take. */
size_t chain_status_write(const uint32_t *values, size_t n, uint8_t *ret_bytes);

/* What comes out of a predecessor's stream. A function that returns < 0 ends the parse with that.
 */
struct chain_events {
	int (*begin)(uint32_t number, void *arg);
	int (*add)(const void *bytes, size_t len, void *arg);
	int (*end)(bool whole, void *arg);
	void (*bad)(uint32_t number, void *arg);
	void (*status)(const uint32_t *values, size_t n, uint32_t number, void *arg);
	void (*over)(void *arg);
};

struct chain_parser {
	uint32_t count; /* chunks of the image: set by the caller, the rest zero */
	bool open;	/* a chunk is being received */
	uint32_t number;
	size_t frame_len; /* of its frame so far */
	uint8_t head[CHAIN_HEAD];
	size_t n_head;
	unsigned kind;
	size_t left; /* bytes of the message still to come */
	uint8_t status[4 * CHAIN_HOPS];
	size_t n_status;
};

/* Takes any bytes of the stream, in pieces of any length. -EBADMSG: not what a predecessor says; a
 * frame never grows beyond CHUNK_PACKED_MAX. */
int chain_parse(struct chain_parser *parser, const uint8_t *bytes, size_t len,
	const struct chain_events *events, void *arg);

#endif
