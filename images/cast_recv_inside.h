/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What cast_recv*.c share. Nobody else includes this but their unit test.
 *
 * The calling thread owns everything but two queues. It takes packets off the sockets and puts each
 * in a slot; the verifiers, a few other threads, rebuild lost packets, unpack, verify and place
 * chunks. What they read of a block is not changed while one of them has an order for it. */
#ifndef IMAGES_CAST_RECV_INSIDE_H
#define IMAGES_CAST_RECV_INSIDE_H

#include <netinet/in.h>
#include <pthread.h>

#include "images/cast_plan.h"
#include "images/cast_recv.h"
#include "images/chunk.h"
#include "images/fec.h"
#include "images/held.h"

enum {
	RECV_BLOCKS = 16,      /* open at once */
	RECV_SLOTS = 4 * 5900, /* packets held: 35 MB, four blocks of the largest size */
	RECV_CLOSED = 128,     /* blocks remembered after they were closed */
	RECV_ORDERS = 4096,
	RECV_VERIFIERS = 4, /* at most */
	SLOT_NONE = 0xffff,
	PARITIES = CAST_GROUPS * FEC_PARITIES_MAX,
};
_Static_assert(RECV_SLOTS < SLOT_NONE, "a slot's number has 16 bits");

enum recv_chunk { CHUNK_NEEDLESS, CHUNK_AWAITED, CHUNK_ORDERED, CHUNK_DONE };

struct recv_block {
	bool open;
	bool laid; /* the sender said what it consists of */
	uint16_t number;
	uint32_t touched; /* receiver.tick of the last packet */
	int64_t touched_ms;
	bool late;     /* open before we came (again), and no source of it was seen since */
	uint16_t next; /* the source after the highest that came */
	struct cast_layout layout;
	struct cast_block what;
	uint16_t slots[CAST_BLOCK_SOURCES];
	uint16_t parities[PARITIES]; /* by number on the wire */
	/* once laid: */
	uint8_t present[CAST_GROUPS], n_parities[CAST_GROUPS];
	bool rebuilding[CAST_GROUPS];
	uint16_t left[CAST_BLOCK_CHUNKS]; /* packets of a chunk that are missing */
	uint8_t state[CAST_BLOCK_CHUNKS]; /* enum recv_chunk */
	uint16_t awaited;		  /* chunks not DONE or NEEDLESS */
	bool sparse;			  /* some are NEEDLESS */
	uint16_t n_present;		  /* sources */
	unsigned orders;		  /* that the verifiers have of this block */
	bool closing;			  /* as soon as there are none */
};

enum recv_task { TASK_CHUNK, TASK_REBUILD };

struct recv_order {
	enum recv_task task;
	struct recv_block *block;
	uint16_t index; /* chunk of the block, or group */
	/* REBUILD: sources that are missing (and have slots now), parities to use. */
	uint8_t n_missing;
	uint8_t missing[FEC_PARITIES_MAX];
	uint16_t use[FEC_PARITIES_MAX];
	uint16_t fresh[FEC_PARITIES_MAX]; /* the slots of the missing */
	int result;
};

struct recv_queue {
	struct recv_order *at;
	unsigned first, n;
};

struct recv_socket {
	int fd; /* -1: none */
	struct ip4 address;
	struct ip_mreqn membership;
};

struct recv_group {
	struct recv_socket now;
	struct recv_socket former; /* while the cast moves from there */
	uint8_t *portions;
};

struct receiver {
	const struct cast_receive *job;
	struct cast_received seen;
	int unicast;
	struct recv_group group;
	struct sockaddr_in server;
	uint64_t nonce;
	bool partial;	  /* something of the image was here when we began */
	uint32_t session; /* 0: not welcome yet */
	struct cast_welcome welcome;

	struct held *held;
	struct cast_plan plan; /* n is 0 until it came */
	bool planned;
	uint32_t *entry_of; /* by chunk number: entry of the plan, or CAST_NONE */
	uint8_t *got;	    /* bit per entry: here, or on its way through a verifier */
	uint32_t n_needed;  /* entries that are not got */
	uint8_t *plan_bytes;
	uint8_t *plan_have; /* by piece: is it here? */
	uint32_t plan_left; /* pieces */
	unsigned plan_wrong;

	uint8_t *slots;
	uint16_t *free_slots;
	unsigned n_free;
	struct recv_block blocks[RECV_BLOCKS];
	struct {
		uint16_t number;
		bool used, whole;
	} closed[RECV_CLOSED];
	unsigned next_closed;
	uint32_t tick;
	int64_t now_ms;
	bool any_block;	      /* since the welcome, or the last silence */
	uint16_t first_block; /* its number: of later ones we hear the beginning */
	bool starved;	      /* the verifiers had no room for an order */
	struct cast_count count;
	bool fresh_needs; /* the sender should hear at once what we need */

	/* the verifiers */
	pthread_t threads[RECV_VERIFIERS];
	unsigned n_threads;
	pthread_mutex_t lock;
	pthread_cond_t work;
	bool stop;
	int wake; /* eventfd: results are there */
	struct recv_queue orders, results;
	struct error *failure; /* of the disk */
	int failed;
};

/* ---- cast_recv_slot.c ---- */
void recv_blocks_init(struct receiver *receiver);
void recv_blocks_done(struct receiver *receiver);
/* Forgets all blocks: another session. What the verifiers have of them is freed when they are
 * done. */
void recv_blocks_reset(struct receiver *receiver);
/* Nothing was heard for a while: what was sent meanwhile says nothing of this port. */
void recv_blocks_silence(struct receiver *receiver);

/* NULL: not open; not closed lately; none is free, not even by giving one up. */
struct recv_block *recv_block_find(struct receiver *receiver, uint16_t number);
const bool *recv_closed_find(const struct receiver *receiver, uint16_t number);
struct recv_block *recv_block_open(struct receiver *receiver, uint16_t number);
/* Its number may not be used again for a while; its slots are free once the verifiers are done
 * with it. */
void recv_block_close(struct receiver *receiver, struct recv_block *block, bool whole);
void recv_closed_add(struct receiver *receiver, uint16_t number, bool whole);
/* A closed block that the verifiers are done with. */
void recv_block_free(struct receiver *receiver, struct recv_block *block);

/* A slot, if need be one of another block than `keep`; SLOT_NONE: there is none now. */
uint16_t recv_slot_take(struct receiver *receiver, const struct recv_block *keep);
void recv_slot_free(struct receiver *receiver, uint16_t *slot);
static inline uint8_t *recv_slot(const struct receiver *receiver, uint16_t slot)
{
	return receiver->slots + (size_t)slot * CAST_PAYLOAD;
}
/* Source packets that came, or must have been sent, and will have to come again. */
static inline void recv_count_lost(struct receiver *receiver, unsigned n)
{
	receiver->count.expected += n;
	receiver->seen.missed += n;
}
/* Of a block's chunk: those that hold any of its bytes. */
static inline unsigned recv_chunk_packets(const struct cast_layout *layout, unsigned index)
{
	return (layout->from[index + 1] - 1) / CAST_PAYLOAD - layout->from[index] / CAST_PAYLOAD +
	       1;
}

/* ---- cast_recv_block.c ---- */
/* A packet of a block: index as on the wire, CAST_PAYLOAD bytes. */
void recv_packet(
	struct receiver *receiver, uint16_t number, uint16_t index, const uint8_t *payload);
/* The plan is there: what was only stored until now can be used. */
void recv_blocks_lay(struct receiver *receiver);
/* Lays out block->what. False: it cannot be what was said; the block is closed. */
bool recv_block_lay(struct receiver *receiver, struct recv_block *block);
/* Is there anything that an open block may still bring? */
bool recv_blocks_busy(const struct receiver *receiver);
/* A chunk is in place: blocks need not bring it any more. */
void recv_chunk_needless(struct receiver *receiver, uint32_t at);
/* Now and then: tries again what had no room, gives up what was quiet for long. */
void recv_blocks_tick(struct receiver *receiver);
/* A chunk or group came back from a verifier. */
void recv_result(struct receiver *receiver, const struct recv_order *order);
/* Is entry `at` of the plan in an open block that may still bring it? */
bool recv_block_brings(const struct receiver *receiver, uint32_t at);
/* The sources of a group that are missing, by their place in it, at most `max` listed; how many. Is
 * any of them needed? */
unsigned recv_group_missing(const struct recv_block *block, unsigned group, uint8_t *ret_missing,
	unsigned max, bool *ret_needed);

/* ---- cast_recv_group.c ---- */
/* True: it is of the session. */
typedef bool recv_frame_fn(const uint8_t *bytes, size_t len, void *arg);
void recv_group_init(struct recv_group *group);
void recv_group_leave(struct recv_group *group);
void recv_group_done(struct recv_group *group);
/* Listens to a group, and for a while to that before it too. `unicast` is connected to the sender.
 * Error: the network's; then all is as before. */
int recv_group_join(struct recv_group *group, int unicast, struct ip4 address, uint16_t port);
/* Says once more to the switch that this PC is in the group. */
void recv_group_rejoin(const struct recv_group *group);
/* Gives `take` what has come from the sender, at most some hundred KiB of it. False: nothing had.
 */
bool recv_group_drain(
	struct recv_group *group, const struct sockaddr_in *sender, recv_frame_fn *take, void *arg);

/* ---- cast_recv_report.c ---- */
/* What a block consists of. With a round: writes what to report and returns true. */
bool recv_block_what(
	struct receiver *receiver, const struct cast_block *what, struct cast_report *ret_report);

/* ---- cast_recv_plan.c ---- */
/* The plan of a new welcome is to come. -EBADMSG: it cannot be one. */
int recv_plan_begin(struct receiver *receiver);
void recv_plan_done(struct receiver *receiver);
/* Is this range of bytes a piece of the plan that is not here? */
bool recv_plan_lacks(const struct receiver *receiver, const struct cast_range *range);
/* A piece of the plan is whole: its bytes are in the slots of the block. */
void recv_plan_piece(struct receiver *receiver, const struct recv_block *block);
void recv_got(struct receiver *receiver, uint32_t at, bool got);
/* Others put chunks into the image too: takes them off what we need. */
void recv_plan_look(struct receiver *receiver);
/* A block that begins with entry `first` of the plan is on its way: what VMs start with, lies
 * before it and is brought by no open block is wanted. */
void recv_plan_passed(struct receiver *receiver, uint32_t first);

/* ---- cast_recv_verify.c ---- */
/* Starts the verifiers: 0, or -errno when there is no eventfd for them or not one thread can be
 * started; recv_verify_stop is due either way. */
int recv_verify_start(struct receiver *receiver);
void recv_verify_stop(struct receiver *receiver);
/* False: too much to do already. */
bool recv_verify_order(struct receiver *receiver, const struct recv_order *order);
/* Takes back what is done. */
void recv_verify_results(struct receiver *receiver);

#endif
