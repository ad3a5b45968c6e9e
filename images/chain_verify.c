/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verifying thread of a chain's node.
 *
 * It follows the log from its first entry to its end. A frame that is whole is unpacked and
 * compared, and put in every place where its content belongs; what is there already costs a look.
 * A wrong one is written down together with its source, for chain_receive.c to judge that source
 * by; a fault of the disk is kept, for it ends all.
 *
 * Nothing here knows of sockets, and nothing that came is believed before its digest was checked.
 */
#include "images/chain_verify.h"

#include <pthread.h>
#include <stdatomic.h>

#include "images/chunk.h"

enum { TURN_MS = 250, WRONG_KEPT = 32 };

struct chain_verifier {
	struct held *held;
	const struct chunk_index *index;
	struct chain_log *log;
	pthread_t thread;
	atomic_uint n_wrong;
	pthread_mutex_t lock; /* of what was found, below */
	struct chain_wrong found[WRONG_KEPT];
	size_t n_found;
	int fault;
	struct error *fault_err;
};

bool chain_has(const struct held *held, const struct chunk_index *index, uint32_t number)
{
	for (; number != SOURCE_NONE; number = chunk_index_same(index, number))
		if (!held_has(held, number))
			return false;
	return true;
}

static int frame_put(struct chain_verifier *verifier, struct chunk_coder *coder, uint32_t number,
	const unsigned char *frame, size_t frame_len, unsigned char *bytes, struct error **err)
{
	size_t len;
	const struct sha256 *digest = chunk_index_digest(verifier->index, number, &len);
	int r;

	if (!digest || chain_has(verifier->held, verifier->index, number))
		return 0;
	r = chunk_unpack(coder, frame, frame_len, digest, bytes, len, err);
	for (; r == 0 && number != SOURCE_NONE; number = chunk_index_same(verifier->index, number))
		r = held_put(verifier->held, number, bytes, err);
	return r;
}

static void note_wrong(struct chain_verifier *verifier, const struct chain_log_view *view)
{
	atomic_fetch_add(&verifier->n_wrong, 1);
	pthread_mutex_lock(&verifier->lock);
	if (verifier->n_found < WRONG_KEPT)
		verifier->found[verifier->n_found++] =
			(struct chain_wrong){.number = view->number, .source = view->source};
	pthread_mutex_unlock(&verifier->lock);
}

static void note_fault(struct chain_verifier *verifier, int code, struct error *err)
{
	pthread_mutex_lock(&verifier->lock);
	if (verifier->fault == 0) {
		verifier->fault = code;
		verifier->fault_err = err;
		err = NULL;
	}
	pthread_mutex_unlock(&verifier->lock);
	error_free(err);
}

static void entry_verify(struct chain_verifier *verifier, struct chunk_coder *coder, uint64_t seq,
	const struct chain_log_view *view, unsigned char *frame, unsigned char *bytes)
{
	struct error *err = NULL;
	int r = 0;

	if (view->state == LOG_WHOLE) {
		size_t n = chain_log_copy(verifier->log, seq, 0, frame, CHUNK_PACKED_MAX);

		r = frame_put(verifier, coder, view->number, frame, n, bytes, &err);
	}
	if (r == -EBADMSG)
		note_wrong(verifier, view);
	else if (r < 0)
		note_fault(verifier, r, TAKE_PTR(err));
	error_free(err);
	chain_log_verified(verifier->log, seq, r != -EBADMSG);
}

static void *verifier_run(void *arg)
{
	struct chain_verifier *verifier = arg;
	auto_chunk_coder struct chunk_coder *coder = chunk_coder_new();
	auto_free unsigned char *frame = xcalloc(1, CHUNK_PACKED_MAX);
	auto_free unsigned char *bytes = xcalloc(1, CHUNK_SIZE);

	for (uint64_t seq = 0;;) {
		uint32_t ends = chain_log_wait_end(verifier->log, 0, 0);
		struct chain_log_view view;
		int r = chain_log_look(verifier->log, seq, &view);

		if (r == -ENODATA)
			return NULL;
		if (r == 0 && view.state != LOG_OPEN)
			entry_verify(verifier, coder, seq++, &view, frame, bytes);
		else
			chain_log_wait_end(verifier->log, ends, TURN_MS);
	}
}

int chain_verifier_start(struct held *held, const struct chunk_index *index, struct chain_log *log,
	struct chain_verifier **ret_verifier, struct error **err)
{
	struct chain_verifier *verifier = xnew(struct chain_verifier);

	verifier->held = held;
	verifier->index = index;
	verifier->log = log;
	pthread_mutex_init(&verifier->lock, NULL);
	if (pthread_create(&verifier->thread, NULL, verifier_run, verifier) != 0) {
		pthread_mutex_destroy(&verifier->lock);
		free(verifier);
		return error_make(err, -EAGAIN, "no thread to verify with");
	}
	*ret_verifier = verifier;
	return 0;
}

void chain_verifier_free(struct chain_verifier *verifier)
{
	if (!verifier)
		return;
	pthread_join(verifier->thread, NULL);
	pthread_mutex_destroy(&verifier->lock);
	error_free(verifier->fault_err);
	free(verifier);
}

bool chain_verifier_wrong(struct chain_verifier *verifier, struct chain_wrong *ret_wrong)
{
	bool any;

	pthread_mutex_lock(&verifier->lock);
	any = verifier->n_found > 0;
	if (any)
		*ret_wrong = verifier->found[--verifier->n_found];
	pthread_mutex_unlock(&verifier->lock);
	return any;
}

unsigned chain_verifier_count(struct chain_verifier *verifier)
{
	return atomic_load(&verifier->n_wrong);
}

int chain_verifier_fault(struct chain_verifier *verifier, struct error **err)
{
	int code;

	pthread_mutex_lock(&verifier->lock);
	code = verifier->fault;
	if (code < 0)
		error_make(err, code, "%s", error_text(verifier->fault_err, code));
	pthread_mutex_unlock(&verifier->lock);
	return code;
}
