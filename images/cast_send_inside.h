/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What cast_send*.c share. Nobody else includes this.
 *
 * One thread does it all: receivers say what they lack (member), images know which chunks are still
 * needed by anybody and are not on their way (image), blocks carry them (block) to where all listen
 * (group), and the loop (cast_send.c) paces. Only an image that is named while all that goes on is
 * opened by a thread of its own (more). */
#ifndef IMAGES_CAST_SEND_INSIDE_H
#define IMAGES_CAST_SEND_INSIDE_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

#include "images/cast_plan.h"
#include "images/cast_rate.h"
#include "images/cast_send.h"
#include "images/chunk.h"
#include "images/source.h"

enum {
	SEND_BLOCKS = 8,	 /* open at once */
	SEND_ROUNDS = 24,	 /* of one block */
	SEND_BURST = 44,	 /* frames in one system call: 64 KiB */
	SEND_SETTLE_MS = 300,	 /* after a change, until what is counted is of the new state */
	SEND_PLAN_PAUSE_MS = 10, /* between two sendings of a plan, and twice its own time */
};

struct sender;

/* One image of the session. */
struct send_image {
	char *digest;
	struct sha256 name;
	uint8_t number;
	struct manifest manifest;
	struct cast_plan plan;
	struct chunk_index *index;
	void *plan_bytes;
	uint32_t plan_len, plan_length;
	uint32_t words;	  /* of the bitmaps below: 64 chunks of the plan each */
	uint64_t *busy;	  /* in an open block */
	uint64_t *wanted; /* somebody waits; not yet in a block */
	uint32_t n_wanted;
	uint64_t *needed; /* scratch: by any member, and not busy */
	uint64_t *read;	  /* was in a block before */
	uint64_t *bad;	  /* cannot be read: what is sent in its place is no use to anybody */
	uint32_t n_bad;
	int64_t bad_ms; /* when that was last found of one */
	uint32_t cursor;
	uint32_t plan_cursor;	       /* next byte of the plan to send; plan_len: all sent */
	int64_t plan_sent_ms, came_ms; /* the first who came since */
	unsigned plan_vain;	       /* times it was sent since somebody came */
};

/* One receiver of one image. */
struct send_member {
	struct sockaddr_in address;
	struct send_image *image;
	char name[NAME_MAX_LEN + 1];
	uint16_t serve_port;
	uint64_t nonce;
	enum cast_lane lane;
	struct ip4 group;	      /* that it listens to, or was told in its first welcome */
	enum cast_reason dropped_for; /* LANE_PEERS: it is told so until it hears it */
	char *reason;
	bool changed;
	bool has_plan;
	int64_t joined_ms, heard_ms;
	uint64_t *need; /* chunks of the plan */
	uint32_t n_need;
	uint64_t have, total;
	struct cast_count latest, base; /* base: where the present window began */
	bool has_base;
	int64_t base_from_ms; /* what was counted earlier is of another rate */
	double loss;
	bool has_loss;
	int64_t measured_ms;  /* when its loss was */
	unsigned strikes;     /* losses in a row that were hopeless */
	int64_t suspected_ms; /* when the first of these was seen */
};

/* MUCH: more than others lately, so it has to be seen what the others say before all pay for it. */
enum answer { ANSWER_NONE, ANSWER_LACKS, ANSWER_MUCH, ANSWER_SETTLED };

/* Chunks on their way. */
struct send_block {
	bool open;
	bool urgent; /* somebody waits for it: goes before all others */
	struct send_image *image;
	struct cast_block what; /* block, image, ranges */
	struct cast_layout layout;
	uint8_t *frames; /* layout.sources of CAST_FRAME_MAX */
	uint32_t loaded; /* bytes of content that are in the frames */
	uint16_t chunk;	 /* next to be loaded */
	uint16_t next;	 /* source to be sent; layout.sources: all sent */
	uint8_t quarter; /* descriptions sent along with the sources */
	uint16_t group;	 /* where the next parity is looked for */
	uint8_t sent[CAST_GROUPS], target[CAST_GROUPS]; /* parities */
	uint8_t before[SEND_ROUNDS][CAST_GROUPS];	/* `sent` when a round was asked for */
	uint8_t judged;					/* round whose reports were weighed */
	uint8_t rounds;					/* asked for so far */
	int64_t news_ms;				/* when there was any */
	bool news;					/* since the last round */
	bool ahead;					/* parities before anybody asked: decided */
	uint8_t unasked;				/* so many of each group */
	bool repaired;					/* something was sent since */
	unsigned again;					/* times the last one was asked in vain */
	int64_t opened_ms, asked_ms;
	bool partly; /* somebody came in its middle and needs chunks of it again */
	uint8_t answer[CAST_RECEIVERS]; /* enum answer */
	uint8_t lacks[CAST_RECEIVERS]
		     [CAST_GROUPS];	  /* the latest report, when ANSWER_LACKS or _MUCH */
	uint8_t worst[CAST_RECEIVERS];	  /* the largest of these in the first round */
	uint8_t answered[CAST_RECEIVERS]; /* last round, plus one */
};

/* Of all receivers from one group to another (cast_send_group.c). */
struct send_move {
	bool on;
	struct ip4 to; /* where the cast goes while it is on, else where it is */
	int64_t begun_ms, told_ms;
	int64_t news_ms;  /* when somebody said last that it follows */
	bool stay;	  /* the network passes no other group than the given */
	int64_t pause_ms; /* from the last one to the next, at least */
	int64_t done_ms;  /* 0: there was none yet */
};

/* Images that are named while the cast goes on (cast_send_more.c). */
struct send_more {
	int fd; /* digests come from here, or -1 */
	char line[SHA256_TEXT + 64];
	size_t line_len;
	struct sha256 coming[CAST_IMAGES]; /* the first is being opened */
	size_t n_coming;
	bool opens, thread_runs;
	/* what the thread has, until it says `opened` */
	pthread_t thread;
	const char *store;
	struct send_image *image;
	char digest[SHA256_TEXT];
	uint8_t number;
	int result;
	struct error *error; /* of a result below 0 */
	atomic_bool opened;
	int wake; /* eventfd: it did */
};

struct sender {
	const struct cast_send *job;
	int socket;
	uint32_t session;
	struct sockaddr_in group; /* everything goes there */
	struct send_move move;
	struct send_image *images;
	size_t n_images;
	size_t turn; /* image that has the next block */
	struct send_member *members;
	size_t n_members;
	unsigned n_active;
	bool lanes_changed;
	bool ever_joined;
	struct send_block blocks[SEND_BLOCKS];
	uint16_t next_block;
	uint8_t *spare[SEND_BLOCKS]; /* buffers of closed blocks */
	unsigned n_spare;
	struct cast_rate rate;
	int64_t rate_ms;
	uint8_t usual; /* what the worst group of the middle receiver lacked of the last block */
	unsigned n_measured; /* losses since the last step of the rate */
	uint64_t bytes;
	int64_t now_ms;
	int64_t failing_ms; /* since then the network refuses every burst; 0: it does not */
	bool idle;	    /* there was nothing to send */
	int64_t sent_ms;    /* the last that went to the group */
	int64_t steady_ms;  /* since then it was never quiet for long */
	int owed;	    /* frames that blocks somebody waits for have had more than the bulk */
	double usual_parities; /* that a group needed in all, of the blocks closed lately */
	struct chunk_coder *coder;
	struct send_more more;
	bool ended;	/* nobody is there to name more */
	uint8_t *burst; /* SEND_BURST frames, for parities */
};

static inline bool bit64(const uint64_t *bits, uint32_t n)
{
	return bits[n / 64] >> n % 64 & 1;
}
static inline void bit64_set(uint64_t *bits, uint32_t n, bool value)
{
	bits[n / 64] = (bits[n / 64] & ~(1ULL << n % 64)) | (uint64_t)value << n % 64;
}

/* ---- cast_send_image.c ---- */
int send_image_open(struct send_image *image, const char *store, const char *digest, uint8_t number,
	struct error **err);
void send_image_close(struct send_image *image);
/* NULL: it is not cast. */
struct send_image *send_image_find(struct sender *sender, const struct sha256 *name);
/* What should go out next, if anything: fills what.ranges and urgent of `block`. Where no bulk is
 * left, those who lack much of the image's blocks are helped. */
bool send_image_wanted(struct sender *sender, struct send_image *image, struct send_block *block);
bool send_image_plan(struct sender *sender, struct send_image *image, struct send_block *block);
bool send_image_bulk(struct sender *sender, struct send_image *image, struct send_block *block);
/* Does anybody need something of it that is not on its way? */
bool send_image_left(const struct sender *sender, struct send_image *image);
/* Chunk `at` of the plan cannot be read: for a while nothing but this is known of it. */
void send_image_bad(const struct sender *sender, struct send_image *image, uint32_t at);
/* Bad chunks may be better by now: they are tried again. */
void send_image_tick(const struct sender *sender, struct send_image *image);

/* ---- cast_send_block.c ---- */
/* Opens the block for what.ranges: marks its chunks busy. */
void send_block_open(struct sender *sender, struct send_image *image, struct send_block *block);
void send_block_close(struct sender *sender, struct send_block *block);
/* Frames of the block to be sent now, at most `max`; 0: none. They lie end to end at *ret_frames.
 * In place of a chunk that the store lost or damaged go zeros, which fail their check. */
unsigned send_block_sources(
	struct sender *sender, struct send_block *block, unsigned max, const uint8_t **ret_frames);
unsigned send_block_parities(
	struct sender *sender, struct send_block *block, unsigned max, const uint8_t **ret_frames);
/* Those who lack much more than the others of an open block are to be helped now. */
void send_block_relent(struct sender *sender, struct send_block *block);
bool send_block_lacks(const struct send_block *block);
void send_block_report(struct sender *sender, size_t member, const struct cast_report *report);
/* Asks, asks again, or closes. Returns when it wants to be called again, in ms. */
int64_t send_block_tick(struct sender *sender, struct send_block *block);

/* ---- cast_send_member.c ---- */
void send_member_frame(
	struct sender *sender, const struct sockaddr_in *from, const struct cast_frame *frame);
/* Silence, slowness, rate. */
void send_members_tick(struct sender *sender);
/* For so long nobody judges by what it misses. */
void send_member_settle(const struct sender *sender, struct send_member *member, int64_t ms);
bool send_member_active(const struct send_member *member);
void send_member_lane(
	struct sender *sender, struct send_member *member, enum cast_lane lane, const char *reason);
void send_drop(struct sender *sender, struct send_member *member, enum cast_reason reason);
/* Tells it the session, its image and a group. */
void send_welcome(struct sender *sender, const struct send_member *member, struct ip4 group);
void send_members_done(struct sender *sender);

/* ---- cast_send_group.c ---- */
void send_group_init(struct sender *sender, struct ip4 group, uint16_t port);
/* Somebody whose port is too slow was sent away: all others go to the other group, unless they did
 * so a moment ago. */
void send_group_leave(struct sender *sender);
/* A member says which group it listens to. */
void send_group_heard(struct sender *sender, struct send_member *member, struct ip4 group);
/* The group that a member is told when it says hello. */
struct ip4 send_group_of(const struct sender *sender, const struct send_member *member);
/* A member hears nothing of what is sent to its group. True: that is for a move, which will be
 * undone when it stays so. */
bool send_group_silent(struct sender *sender, const struct send_member *member);
/* Moves when all are there. Returns when it wants to be called again, in ms. */
int64_t send_group_tick(struct sender *sender);

/* ---- cast_send_more.c ---- */
/* `fd`: lines from there name images; or -1. */
int send_more_init(struct send_more *more, const char *store, int fd);
/* Waits for an image that is being opened. */
void send_more_done(struct sender *sender);
/* There is something to be read. */
void send_more_read(struct sender *sender);
/* Takes in what was opened, and begins with the next. */
void send_more_tick(struct sender *sender);
/* Will the image be cast in a moment? */
bool send_more_comes(const struct sender *sender, const struct sha256 *name);

/* ---- cast_send.c ---- */
void send_frame(struct sender *sender, const struct sockaddr_in *to, struct cast_frame *frame);
void send_block_frame(struct sender *sender, const struct send_block *block, uint8_t round);
unsigned send_spread_ms(const struct sender *sender);

#endif
