/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control frames of a cast, to bytes and back.
 *
 * They come from a segment where anybody may send anything, so the reader is a cursor that cannot
 * leave the frame: once a field does not fit, or a count is beyond the struct's array, the whole
 * frame is bad and nothing of it is used. One spelling each: flags are 0 or 1, no byte may follow,
 * bits past the end of a bitmap are zero.
 *
 * What a good frame claims is still only a claim. The receiver believes chunks whose digest matches
 * and nothing else; the sender lets no report cost more than a bounded share of its rate.
 */
#include "images/cast_frame.h"

struct cursor {
	uint8_t *at;	   /* written */
	const uint8_t *in; /* or read */
	size_t left;
	bool bad;
};

/* The next `len` bytes: from the frame into `bytes` or the other way round. One list of fields for
 * both ways, so the reader and the writer cannot disagree. */
static void bytes_pass(struct cursor *c, void *bytes, size_t len)
{
	if (c->bad || len > c->left) {
		c->bad = true;
		return;
	}
	if (c->in) {
		memcpy(bytes, c->in, len);
		c->in += len;
	} else {
		memcpy(c->at, bytes, len);
		c->at += len;
	}
	c->left -= len;
}

static uint64_t number(struct cursor *c, uint64_t value, unsigned len, uint64_t max)
{
	uint8_t bytes[8] = {0};

	for (unsigned i = 0; i < len; i++)
		bytes[i] = (uint8_t)(value >> 8 * (len - 1 - i));
	bytes_pass(c, bytes, len);
	value = 0;
	for (unsigned i = 0; i < len; i++)
		value = value << 8 | bytes[i];
	if (value > max)
		c->bad = true;
	return c->bad ? 0 : value;
}

#define NUMBER(c, field, max)                                                                      \
	((field) = (__typeof__(field))number((c), (field), sizeof(field), (max)))
#define WHOLE(c, field) NUMBER(c, field, UINT64_MAX)
#define FLAG(c, field) NUMBER(c, field, 1)

/* A bitmap of n bits: the bits beyond are zero. */
static void bitmap(struct cursor *c, uint8_t *bits, size_t n)
{
	bytes_pass(c, bits, (n + 7) / 8);
	if (!c->bad && n % 8 && bits[n / 8] >> n % 8)
		c->bad = true;
}

static void address(struct cursor *c, struct ip4 *ip)
{
	WHOLE(c, ip->host);
	if (ip->host == 0)
		c->bad = true;
}

static void group(struct cursor *c, struct ip4 *ip)
{
	WHOLE(c, ip->host);
	if (ip->host >> 28 != 14)
		c->bad = true;
}

static void hello(struct cursor *c, struct cast_hello *h)
{
	uint8_t len = (uint8_t)strnlen(h->name, NAME_MAX_LEN), form = CAST_FORM;

	WHOLE(c, form);
	WHOLE(c, h->nonce);
	bytes_pass(c, h->digest.b, SHA256_LEN);
	WHOLE(c, h->serve_port);
	FLAG(c, h->partial);
	NUMBER(c, len, NAME_MAX_LEN);
	bytes_pass(c, h->name, len);
	h->name[len] = '\0';
	if (form != CAST_FORM || !name_ok(h->name) || strlen(h->name) != len)
		c->bad = true;
}

static void welcome(struct cursor *c, struct cast_welcome *w)
{
	WHOLE(c, w->nonce);
	group(c, &w->group);
	WHOLE(c, w->port);
	WHOLE(c, w->image);
	WHOLE(c, w->plan_bytes);
	WHOLE(c, w->plan_length);
	if (w->port == 0 || w->plan_bytes == 0)
		c->bad = true;
}

static void drop(struct cursor *c, struct cast_drop *d)
{
	WHOLE(c, d->nonce);
	NUMBER(c, d->reason, CAST_DAMAGED);
	NUMBER(c, d->n_peers, CAST_PEERS);
	for (unsigned i = 0; i < d->n_peers && !c->bad; i++) {
		address(c, &d->peers[i].address);
		WHOLE(c, d->peers[i].port);
	}
	if (d->reason == 0)
		c->bad = true;
}

static void block(struct cursor *c, struct cast_block *b)
{
	NUMBER(c, b->block, CAST_CONTROL - 1);
	WHOLE(c, b->image);
	FLAG(c, b->of_plan);
	WHOLE(c, b->round);
	WHOLE(c, b->spread_ms);
	NUMBER(c, b->n_ranges, CAST_RANGES);
	for (unsigned i = 0; i < b->n_ranges && !c->bad; i++) {
		WHOLE(c, b->ranges[i].first);
		NUMBER(c, b->ranges[i].count, b->of_plan ? CAST_BLOCK_BYTES : CAST_BLOCK_CHUNKS);
		if (b->ranges[i].count == 0)
			c->bad = true;
	}
	if (b->n_ranges == 0 || (b->of_plan && b->n_ranges != 1))
		c->bad = true;
}

static void count(struct cursor *c, struct cast_count *n)
{
	WHOLE(c, n->received);
	WHOLE(c, n->expected);
}

static void report(struct cursor *c, struct cast_report *r)
{
	NUMBER(c, r->block, CAST_CONTROL - 1);
	NUMBER(c, r->round, CAST_SILENT - 1);
	FLAG(c, r->far);
	count(c, &r->count);
	NUMBER(c, r->n_groups, CAST_GROUPS);
	bytes_pass(c, r->lacks, r->n_groups);
	NUMBER(c, r->n_chunks, CAST_BLOCK_CHUNKS);
	if (!c->bad)
		bitmap(c, r->need, r->n_chunks);
	if (r->far ? r->n_groups != 0 : r->n_chunks != 0)
		c->bad = true;
}

static void status(struct cursor *c, struct cast_status *s)
{
	count(c, &s->count);
	WHOLE(c, s->have);
	WHOLE(c, s->total);
	FLAG(c, s->needs_plan);
	FLAG(c, s->deaf);
	FLAG(c, s->silent);
	group(c, &s->group);
	WHOLE(c, s->first);
	NUMBER(c, s->n_bytes, CAST_PAGE_BYTES);
	bytes_pass(c, s->need, s->n_bytes);
	if (s->first % 8 || s->have > s->total)
		c->bad = true;
}

static void want(struct cursor *c, struct cast_want *w)
{
	NUMBER(c, w->n, CAST_WANTS);
	for (unsigned i = 0; i < w->n && !c->bad; i++)
		WHOLE(c, w->at[i]);
}

static void body(struct cursor *c, struct cast_frame *frame)
{
	switch ((enum cast_kind)frame->kind) {
	case CAST_HELLO:
		hello(c, &frame->hello);
		return;
	case CAST_REPORT:
		report(c, &frame->report);
		return;
	case CAST_STATUS:
		status(c, &frame->status);
		return;
	case CAST_WANT:
		want(c, &frame->want);
		return;
	case CAST_LEAVE:
		WHOLE(c, frame->leave.nonce);
		FLAG(c, frame->leave.whole);
		return;
	case CAST_WELCOME:
		welcome(c, &frame->welcome);
		return;
	case CAST_DROP:
		drop(c, &frame->drop);
		return;
	case CAST_BLOCK:
		block(c, &frame->block);
		return;
	}
	c->bad = true;
}

int cast_frame_read(const void *bytes, size_t len, struct cast_frame *ret_frame)
{
	struct cursor c = {.in = bytes, .left = len};
	struct cast_frame frame;
	uint16_t control = 0, kind = 0;

	if (len > CAST_FRAME_MAX)
		return -EBADMSG;
	memset(&frame, 0, sizeof(frame));
	WHOLE(&c, frame.session);
	WHOLE(&c, control);
	NUMBER(&c, kind, CAST_BLOCK);
	frame.kind = (uint8_t)kind;
	if (!c.bad && control == CAST_CONTROL)
		body(&c, &frame);
	if (c.bad || control != CAST_CONTROL || c.left != 0)
		return -EBADMSG;
	*ret_frame = frame;
	return 0;
}

size_t cast_frame_write(const struct cast_frame *frame, uint8_t ret_bytes[CAST_FRAME_MAX])
{
	struct cursor c = {.at = ret_bytes, .left = CAST_FRAME_MAX};
	struct cast_frame copy = *frame; /* its fields go through the same list as the reader's */
	uint16_t control = CAST_CONTROL, kind = frame->kind;

	WHOLE(&c, copy.session);
	WHOLE(&c, control);
	WHOLE(&c, kind);
	body(&c, &copy);
	if (c.bad)
		abort(); /* we made it ourselves */
	return CAST_FRAME_MAX - c.left;
}
