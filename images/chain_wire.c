/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chain's words to bytes and back.
 *
 * The parser is fed by a machine that may be anybody's: every length is bounded before anything is
 * done, a message that makes no sense in its place ends the stream, and what a frame holds is
 * nobody's business here (the receiver verifies the chunk). It keeps no bytes of a frame: they go
 * to the caller as they come, because passing them on at once is what makes a long chain as fast
 * as a short one.
 *
 * Pure: no sockets, no clock.
 */
#include "images/chain_wire.h"

#include "lib/bytes.h"

static const char magic[8] = {'N', 'C', 'C', 'H', 'A', 'I', 'N', '1'};

void chain_hello_write(const struct chain_hello *hello, uint8_t ret_bytes[CHAIN_HELLO])
{
	memcpy(ret_bytes, magic, sizeof(magic));
	memcpy(ret_bytes + 8, hello->digest.b, SHA256_LEN);
	be32_put(ret_bytes + 40, hello->count);
	be32_put(ret_bytes + 44, hello->around);
}

int chain_hello_read(const uint8_t bytes[CHAIN_HELLO], struct chain_hello *ret_hello)
{
	if (memcmp(bytes, magic, sizeof(magic)) != 0)
		return -EBADMSG;
	memcpy(ret_hello->digest.b, bytes + 8, SHA256_LEN);
	ret_hello->count = be32_at(bytes + 40);
	ret_hello->around = be32_at(bytes + 44);
	return 0;
}

void chain_answer_write(enum chain_answer answer, uint8_t ret_bytes[CHAIN_ANSWER])
{
	memcpy(ret_bytes, magic, sizeof(magic));
	be32_put(ret_bytes + 8, answer);
	be32_put(ret_bytes + 12, 0);
}

int chain_answer_read(const uint8_t bytes[CHAIN_ANSWER], enum chain_answer *ret_answer)
{
	uint32_t answer = be32_at(bytes + 8);

	if (memcmp(bytes, magic, sizeof(magic)) != 0 || answer > CHAIN_FULL ||
		be32_at(bytes + 12) != 0)
		return -EBADMSG;
	*ret_answer = (enum chain_answer)answer;
	return 0;
}

void chain_head_write(unsigned kind, uint32_t number, size_t len, uint8_t ret_bytes[CHAIN_HEAD])
{
	be32_put(ret_bytes, (uint32_t)kind << 24 | (uint32_t)len);
	be32_put(ret_bytes + 4, number);
}

size_t chain_status_write(const uint32_t *values, size_t n, uint8_t *ret_bytes)
{
	for (size_t i = 0; i < n; i++)
		be32_put(ret_bytes + 4 * i, values[i]);
	return 4 * n;
}

/* A data message: does it fit what is open? */
static int data_begin(struct chain_parser *parser, unsigned flags, uint32_t number,
	const struct chain_events *events, void *arg)
{
	bool first = flags & CHAIN_FIRST;

	if (first == parser->open || number >= parser->count)
		return -EBADMSG;
	if (!first && number != parser->number)
		return -EBADMSG;
	if (parser->left > CHUNK_PACKED_MAX - (first ? 0 : parser->frame_len))
		return -EBADMSG;
	if (!first)
		return 0;
	parser->open = true;
	parser->number = number;
	parser->frame_len = 0;
	return events->begin(number, arg);
}

static int message_begin(struct chain_parser *parser, const struct chain_events *events, void *arg)
{
	uint32_t word = be32_at(parser->head), number = be32_at(parser->head + 4);
	unsigned kind = word >> 24 & 0xf, flags = word >> 24 & 0xf0;

	parser->left = word & 0xffffff;
	parser->kind = kind | flags;
	if (parser->left > CHAIN_PIECE || (flags & ~(CHAIN_FIRST | CHAIN_LAST)) ||
		(flags && kind != CHAIN_DATA))
		return -EBADMSG;
	switch (kind) {
	case CHAIN_DATA:
		return data_begin(parser, flags, number, events, arg);
	case CHAIN_STATUS:
		parser->n_status = 0;
		return parser->left % 4 || parser->left > sizeof(parser->status) ? -EBADMSG : 0;
	case CHAIN_ABORT:
		return parser->left || !parser->open ? -EBADMSG : 0;
	case CHAIN_BAD:
		if (parser->left || number >= parser->count)
			return -EBADMSG;
		events->bad(number, arg);
		return 0;
	case CHAIN_END:
		return parser->left || parser->open ? -EBADMSG : 0;
	default:
		return -EBADMSG;
	}
}

static int message_end(struct chain_parser *parser, const struct chain_events *events, void *arg)
{
	uint32_t values[CHAIN_HOPS];
	size_t n = parser->n_status / 4;

	switch (parser->kind & 0xf) {
	case CHAIN_DATA:
		if (!(parser->kind & CHAIN_LAST))
			return 0;
		parser->open = false;
		return events->end(true, arg);
	case CHAIN_ABORT:
		parser->open = false;
		return events->end(false, arg);
	case CHAIN_STATUS:
		for (size_t i = 0; i < n; i++)
			values[i] = be32_at(parser->status + 4 * i);
		events->status(values, n, be32_at(parser->head + 4), arg);
		return 0;
	case CHAIN_END:
		events->over(arg);
		return 0;
	default:
		return 0;
	}
}

static int message_add(struct chain_parser *parser, const uint8_t *bytes, size_t n,
	const struct chain_events *events, void *arg)
{
	parser->left -= n;
	if ((parser->kind & 0xf) == CHAIN_DATA) {
		parser->frame_len += n;
		return events->add(bytes, n, arg);
	}
	memcpy(parser->status + parser->n_status, bytes, n);
	parser->n_status += n;
	return 0;
}

int chain_parse(struct chain_parser *parser, const uint8_t *bytes, size_t len,
	const struct chain_events *events, void *arg)
{
	int r = 0;

	while (len > 0 && r >= 0) {
		size_t n;

		if (parser->n_head < CHAIN_HEAD) {
			n = CHAIN_HEAD - parser->n_head < len ? CHAIN_HEAD - parser->n_head : len;
			memcpy(parser->head + parser->n_head, bytes, n);
			parser->n_head += n;
			if (parser->n_head == CHAIN_HEAD)
				r = message_begin(parser, events, arg);
		} else {
			n = parser->left < len ? parser->left : len;
			r = message_add(parser, bytes, n, events, arg);
		}
		bytes += n;
		len -= n;
		if (r >= 0 && parser->n_head == CHAIN_HEAD && parser->left == 0) {
			r = message_end(parser, events, arg);
			parser->n_head = 0;
		}
	}
	return r < 0 ? r : 0;
}
