/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The receiver's other threads, the verifiers: whatever takes long. They rebuild lost packets from
 * parities, and put chunks together, unpack, verify and place them, so that the first thread is
 * always at the socket before that overflows. A disk unpacks to three times what the port brings:
 * one of them is too slow for 1 Gbit/s, so there is one for each processor, but never many.
 *
 * They get orders and give results, through two rings under the only lock there is. An order names
 * a block and what of it; the slots that the order is about are complete when it is given and stay
 * as they are until its result was taken back. So no data is copied but into the one buffer that a
 * chunk is unpacked from, and no two orders touch the same bytes.
 *
 * A chunk counts only when its digest matches; a rebuilt packet is believed as little as one that
 * came. The same content may belong at several places: it is put at all of them.
 */
#include "images/cast_recv_inside.h"

#include <sys/eventfd.h>

struct verifier {
	struct receiver *receiver;
	struct chunk_coder *coder;
	uint8_t *packed, *plain;
};

static void queue_init(struct recv_queue *queue)
{
	*queue = (struct recv_queue){.at = xcalloc(RECV_ORDERS, sizeof(struct recv_order))};
}

static void queue_add(struct recv_queue *queue, const struct recv_order *order)
{
	queue->at[(queue->first + queue->n++) % RECV_ORDERS] = *order;
}

static struct recv_order queue_take(struct recv_queue *queue)
{
	struct recv_order order = queue->at[queue->first];

	queue->first = (queue->first + 1) % RECV_ORDERS;
	queue->n--;
	return order;
}

/* ---- the thread ---- */

static void chunk_gather(const struct verifier *v, const struct recv_block *block, unsigned index)
{
	uint32_t at = block->layout.from[index], end = block->layout.from[index + 1];
	uint8_t *out = v->packed;

	while (at < end) {
		uint32_t in = at % CAST_PAYLOAD, n = CAST_PAYLOAD - in;

		if (n > end - at)
			n = end - at;
		memcpy(out, recv_slot(v->receiver, block->slots[at / CAST_PAYLOAD]) + in, n);
		out += n;
		at += n;
	}
}

/* 0, -EBADMSG, or what the disk said, then with *err. */
static int chunk_do(const struct verifier *v, const struct recv_order *order, struct error **err)
{
	const struct receiver *receiver = v->receiver;
	const struct recv_block *block = order->block;
	const struct cast_entry *entry = &receiver->plan.at[block->layout.at[order->index]];
	struct held_chunk chunk;
	int r = 0;

	held_chunk_at(receiver->held, entry->number, &chunk);
	chunk_gather(v, block, order->index);
	if (chunk_unpack(v->coder, v->packed, entry->len, &chunk.digest, v->plain, chunk.len,
		    NULL) < 0)
		return -EBADMSG;
	for (uint32_t n = entry->number; n != CAST_NONE && r == 0; n = receiver->plan.same[n])
		r = held_put(receiver->held, n, v->plain, err);
	return r;
}

static void rebuild_do(const struct verifier *v, const struct recv_order *order)
{
	const struct recv_block *block = order->block;
	unsigned groups = block->layout.groups;
	unsigned n = cast_group_size(block->layout.sources, groups, order->index);
	uint8_t *sources[CAST_GROUP_SOURCES];
	unsigned missing[FEC_PARITIES_MAX];
	struct fec_parity parities[FEC_PARITIES_MAX];

	for (unsigned i = 0; i < n; i++) {
		uint16_t slot = block->slots[order->index + i * groups];

		sources[i] = slot == SLOT_NONE ? NULL : recv_slot(v->receiver, slot);
	}
	for (unsigned i = 0; i < order->n_missing; i++) {
		missing[i] = order->missing[i];
		sources[missing[i]] = recv_slot(v->receiver, order->fresh[i]);
		parities[i].number = order->use[i] / groups;
		parities[i].bytes = recv_slot(v->receiver, block->parities[order->use[i]]);
	}
	fec_decode(sources, n, missing, order->n_missing, parities, CAST_PAYLOAD);
}

static void *verify_run(void *arg)
{
	struct receiver *receiver = arg;
	struct verifier v = {
		receiver, chunk_coder_new(), xcalloc(1, CHUNK_PACKED_MAX), xcalloc(1, CHUNK_SIZE)};
	struct recv_order order;

	pthread_mutex_lock(&receiver->lock);
	for (;;) {
		auto_error struct error *err = NULL;

		while (!receiver->stop && receiver->orders.n == 0)
			pthread_cond_wait(&receiver->work, &receiver->lock);
		if (receiver->stop)
			break;
		order = queue_take(&receiver->orders);
		pthread_mutex_unlock(&receiver->lock);
		order.result = 0;
		if (order.task == TASK_CHUNK)
			order.result = chunk_do(&v, &order, &err);
		else
			rebuild_do(&v, &order);
		pthread_mutex_lock(&receiver->lock);
		if (err && !receiver->failure) /* for the caller of cast_receive */
			receiver->failure = TAKE_PTR(err);
		queue_add(&receiver->results, &order);
		if (receiver->results.n == 1)
			eventfd_write(receiver->wake, 1);
	}
	pthread_mutex_unlock(&receiver->lock);
	chunk_coder_free(v.coder);
	free(v.packed);
	free(v.plain);
	return NULL;
}

/* ---- the caller's side ---- */

/* Two even on one processor: what may go wrong between them does so on every machine. */
static unsigned verifiers_wanted(void)
{
	unsigned n = processors_usable();

	return n < 2 ? 2 : n < RECV_VERIFIERS ? n : RECV_VERIFIERS;
}

int recv_verify_start(struct receiver *receiver)
{
	unsigned wanted = verifiers_wanted();

	queue_init(&receiver->orders);
	queue_init(&receiver->results);
	pthread_mutex_init(&receiver->lock, NULL);
	pthread_cond_init(&receiver->work, NULL);
	receiver->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (receiver->wake < 0)
		return -errno;
	while (receiver->n_threads < wanted &&
		pthread_create(&receiver->threads[receiver->n_threads], NULL, verify_run,
			receiver) == 0)
		receiver->n_threads++;
	return receiver->n_threads > 0 ? 0 : -EAGAIN;
}

void recv_verify_stop(struct receiver *receiver)
{
	pthread_mutex_lock(&receiver->lock);
	receiver->stop = true;
	pthread_cond_broadcast(&receiver->work);
	pthread_mutex_unlock(&receiver->lock);
	while (receiver->n_threads > 0)
		pthread_join(receiver->threads[--receiver->n_threads], NULL);
	pthread_mutex_destroy(&receiver->lock);
	pthread_cond_destroy(&receiver->work);
	if (receiver->wake >= 0)
		close(receiver->wake);
	free(receiver->orders.at);
	free(receiver->results.at);
	error_free(receiver->failure);
}

bool recv_verify_order(struct receiver *receiver, const struct recv_order *order)
{
	bool room;

	pthread_mutex_lock(&receiver->lock);
	/* Results need room too: each order becomes one, and each thread may have one in hand. */
	room = receiver->orders.n + receiver->results.n + receiver->n_threads < RECV_ORDERS;
	if (room) {
		queue_add(&receiver->orders, order);
		pthread_cond_signal(&receiver->work);
	}
	pthread_mutex_unlock(&receiver->lock);
	if (room)
		order->block->orders++;
	return room;
}

void recv_verify_results(struct receiver *receiver)
{
	struct recv_order order;
	eventfd_t count;
	bool any;

	if (eventfd_read(receiver->wake, &count) < 0)
		return;
	do {
		pthread_mutex_lock(&receiver->lock);
		any = receiver->results.n > 0;
		if (any)
			order = queue_take(&receiver->results);
		pthread_mutex_unlock(&receiver->lock);
		if (any) {
			order.block->orders--;
			recv_result(receiver, &order);
		}
	} while (any);
}
