/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a cast says on the wire: UDP payloads of at most 1472 bytes, all numbers big-endian.
 *
 * Every frame begins with u32 session, u16 block, u16 index. A block below CAST_CONTROL makes it a
 * packet of that block: 1464 bytes of content; index is the number of a source packet, or
 * CAST_PARITY + the number of a parity. Block CAST_CONTROL makes it a control frame, index is its
 * kind.
 *
 * A block is a list of ranges of the plan (cast_plan.h), packed chunks end to end, cut into source
 * packets, the last one filled up with zeros. Source i belongs to group i mod groups, and within it
 * is number i div groups; parity p belongs to group p mod groups and is its number p div groups. */
#ifndef IMAGES_CAST_FRAME_H
#define IMAGES_CAST_FRAME_H

#include <stdbool.h>
#include "lib/hash.h"
#include "lib/bytes.h"
#include "lib/str.h"

enum {
	CAST_FRAME_MAX = 1472,
	CAST_HEADER = 8,
	CAST_PAYLOAD = CAST_FRAME_MAX - CAST_HEADER,
	CAST_CONTROL = 0xffff,
	CAST_PARITY = 0x8000,
	CAST_BLOCK_BYTES = 8 << 20,
	CAST_BLOCK_SOURCES = (CAST_BLOCK_BYTES + CAST_PAYLOAD - 1) / CAST_PAYLOAD,
	CAST_GROUP_SOURCES = 200,
	CAST_GROUPS = (CAST_BLOCK_SOURCES + CAST_GROUP_SOURCES - 1) / CAST_GROUP_SOURCES,
	CAST_BLOCK_CHUNKS = 1024,
	CAST_RANGES = 170,
	CAST_PEERS = 32,
	CAST_WANTS = 64,
	CAST_PAGE_BYTES = 1400, /* of a bitmap in a status */
	CAST_SILENT = 0xff,	/* a round in which no report is asked for */
	CAST_FORM = 2,		/* of all frames; another number with every change of them */
};

enum cast_kind {
	/* receiver to sender */
	CAST_HELLO = 1, /* I am here and lack this image */
	CAST_REPORT,	/* what I lack of a block */
	CAST_STATUS,	/* how far I am, and which chunks I need */
	CAST_WANT,	/* somebody waits for these chunks */
	CAST_LEAVE,	/* goodbye */
	/* sender to receiver */
	CAST_WELCOME, /* unasked, with another group: go there, this one will fall silent */
	CAST_DROP, /* no multicast for you: ask these peers, or anybody else */
	/* sender to all */
	CAST_BLOCK, /* what a block consists of, and with a round: report what you lack of it */
};

/* Its first byte is CAST_FORM: a sender does not answer who speaks another form of the frames, and
 * its image comes by HTTP. */
struct cast_hello {
	uint64_t nonce; /* comes back in the welcome */
	struct sha256 digest;
	uint16_t serve_port; /* where I serve chunks to peers; 0: nowhere */
	bool partial; /* I have some of it: send nothing for me but the plan until I said what I
			 need */
	char name[NAME_MAX_LEN + 1];
};

struct cast_welcome {
	uint64_t nonce;
	struct ip4 group;
	uint16_t port;
	uint8_t image;	      /* its number in this session */
	uint32_t plan_bytes;  /* of the packed plan */
	uint32_t plan_length; /* of the plan unpacked */
};

enum cast_reason { CAST_SLOW = 1, CAST_UNKNOWN, CAST_FULL, CAST_DEAF, CAST_DAMAGED };

struct cast_peer {
	struct ip4 address;
	uint16_t port;
};

struct cast_drop {
	uint64_t nonce;
	uint8_t reason; /* enum cast_reason */
	uint8_t n_peers;
	struct cast_peer peers[CAST_PEERS];
};

/* Chunks `first`.. of the plan; in a block of the plan itself: bytes. */
struct cast_range {
	uint32_t first, count;
};

struct cast_block {
	uint16_t block;
	uint8_t image;
	bool of_plan;	   /* one range of bytes of the packed plan */
	uint8_t round;	   /* CAST_SILENT, or to be named in the report */
	uint8_t spread_ms; /* wait a random time below it before reporting */
	uint16_t n_ranges;
	struct cast_range ranges[CAST_RANGES];
};

/* Source packets that came, and that must have been sent going by their numbers; modulo 2^32. */
struct cast_count {
	uint32_t received, expected;
};

struct cast_report {
	uint16_t block;
	uint8_t round;
	bool far; /* lacks so much that repair is not worth it; `need` says which chunks */
	struct cast_count count;
	uint8_t n_groups; /* 0: lacks nothing, or is far behind */
	uint8_t lacks[CAST_GROUPS];
	uint16_t n_chunks; /* with `far`: of the block; bit n set: lacks its n-th chunk */
	uint8_t need[CAST_BLOCK_CHUNKS / 8];
};

struct cast_status {
	struct cast_count count;
	uint64_t have, total;
	bool needs_plan, deaf; /* deaf: hears no multicast */
	bool silent;	       /* nothing came by the group for a while */
	struct ip4 group;      /* that it listens to */
	uint32_t first;	       /* of the page; a multiple of 8 */
	uint16_t n_bytes;      /* bit n of byte n / 8: needs chunk first + n of the plan */
	uint8_t need[CAST_PAGE_BYTES];
};

struct cast_want {
	uint16_t n;
	uint32_t at[CAST_WANTS]; /* chunks of the plan */
};

struct cast_leave {
	uint64_t nonce; /* of the hello: nobody says goodbye for another */
	bool whole;	/* has all */
};

struct cast_frame {
	uint32_t session; /* 0 in a hello */
	uint8_t kind;	  /* enum cast_kind */
	union {
		struct cast_hello hello;
		struct cast_report report;
		struct cast_status status;
		struct cast_want want;
		struct cast_leave leave;
		struct cast_welcome welcome;
		struct cast_drop drop;
		struct cast_block block;
	};
};

/* Reads a control frame from `len` bytes of anybody's: 0 or -EBADMSG. Every count is within the
 * arrays above, names are names, no byte is left over. */
int cast_frame_read(const void *bytes, size_t len, struct cast_frame *ret_frame);
/* The inverse; how many bytes. */
size_t cast_frame_write(const struct cast_frame *frame, uint8_t ret_bytes[CAST_FRAME_MAX]);

/* The header of a packet of a block. */
static inline void cast_put_header(uint8_t *at, uint32_t session, uint16_t block, uint16_t index)
{
	be32_put(at, session);
	be16_put(at + 4, block);
	be16_put(at + 6, index);
}

static inline unsigned cast_sources(uint32_t bytes)
{
	return (bytes + CAST_PAYLOAD - 1) / CAST_PAYLOAD;
}
static inline unsigned cast_groups(unsigned sources)
{
	return (sources + CAST_GROUP_SOURCES - 1) / CAST_GROUP_SOURCES;
}
/* How many sources group `group` has. */
static inline unsigned cast_group_size(unsigned sources, unsigned groups, unsigned group)
{
	return (sources - group + groups - 1) / groups;
}
static inline bool cast_bit(const uint8_t *bits, size_t n)
{
	return bits[n / 8] >> n % 8 & 1;
}
static inline void cast_bit_set(uint8_t *bits, size_t n, bool value)
{
	bits[n / 8] = (uint8_t)((bits[n / 8] & ~(1 << n % 8)) | value << n % 8);
}

#endif
