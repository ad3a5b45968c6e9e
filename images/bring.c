/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which way an image takes to a host.
 *
 * The cast comes first, because it costs the server's port one copy for the whole lab. It ends
 * early for six reasons, each with a better way for this host: it is too slow for the others (its
 * peers have the data and full-duplex ports to spare), it hears no multicast (a chain through all
 * such hosts costs one copy too), the cast is gone or knows nothing of this image, what is sent is
 * wrong, what still lacks is damaged in the store, or there is room for a part of the image only.
 * (Cast and chain end when nothing is missing, and what makes room would be missing again; by HTTP
 * comes what fits, and what somebody waits for.) In every case all that came stays in place, and
 * fetch_image brings exactly what is missing, from the peers that the sender named, then from those
 * in the goal, then from the controller.
 *
 * A sender that was restarted is met again: the goal that named it may be older than it is.
 */
#include "images/bring.h"

#include <poll.h>

#include "images/cast_recv.h"
#include "images/fetch.h"
#include "images/fetch_sources.h"
#include "lib/hostlist.h"

enum {
	CAST_TRIES = 4,
	PAUSE_MS = 700,
	CHAIN_PORT_OFFSET = 1, /* a host's chain listens next to its HTTP */
};

struct bringing {
	const struct bring *job;
	struct cast_received seen;
	bool unfit; /* the cast, as progress said */
};

static void note(const struct bring *job, const char *text)
{
	if (job->note)
		job->note(text, job->arg);
}

static bool cancelled(const struct bring *job)
{
	return job->cancel && atomic_load(job->cancel);
}

/* What comes until the cast has ended makes room for itself. */
static void limit(const struct bring *job)
{
	auto_held struct held *held = NULL;

	if (held_open(job->dir, job->digest, &held, NULL) == 0)
		held_set_limit(held, job->room);
}

static bool on_cast(uint64_t have, uint64_t total, void *arg)
{
	struct bringing *all = arg;

	if (all->job->room && all->job->room < total && !all->unfit) {
		limit(all->job);
		all->unfit = true;
	}
	if (!all->job->progress(have, total, all->job->arg))
		all->unfit = true;
	return !all->unfit;
}

static void on_rest(uint64_t have, uint64_t total, void *arg)
{
	struct bringing *all = arg;

	all->job->progress(have, total, all->job->arg);
}

static void on_note(const char *text, void *arg)
{
	struct bringing *all = arg;

	note(all->job, text);
}

/* A cast that began anew, or does not know of this image yet, is worth another try; one that is not
 * there is not, for a host would wait for it in vain before each image. */
static int by_cast(struct bringing *all)
{
	const struct bring *job = all->job;
	const struct cast_receive receive = {.server = job->cast,
		.port = job->cast_port,
		.name = job->name,
		.digest = job->digest,
		.dir = job->dir,
		.serve_port = job->serve_port,
		.cancel = job->cancel,
		.progress = on_cast,
		.arg = all};

	for (int tries = 1;; tries++) {
		auto_error struct error *err = NULL;
		int r = cast_receive(&receive, &all->seen, &err);

		if (r == 0 || cancelled(job) || all->unfit)
			return r;
		if (tries < CAST_TRIES && (r == -ENOENT || (r == -EHOSTUNREACH && all->seen.met))) {
			poll(NULL, 0, PAUSE_MS);
			continue;
		}
		/* Told so before it was let in: the lab has no multicast, which is no news. */
		if (r != -ENOTCONN || all->seen.met)
			note(job, error_text(err, r));
		return r;
	}
}

/* "ADDRESS:PORT" of those whom the sender named, with a text in front. */
static void sources_add(struct strings *list, const struct cast_received *seen, const char *scheme,
	unsigned port_offset)
{
	char address[IP4_TEXT];

	for (unsigned i = 0; i < seen->n_peers; i++)
		vec_push(list,
			xasprintf("%s%s:%u", scheme, ip4_format(seen->peers[i].address, address),
				seen->peers[i].port + port_offset));
}

static int by_http(struct bringing *all, bool manifest_only, struct error **err)
{
	const struct bring *job = all->job;
	struct strings peers = {0};
	struct fetch fetch = {.base = job->base,
		.digest = job->digest,
		.dir = job->dir,
		.room = job->room,
		.manifest_only = manifest_only,
		.cancel = job->cancel,
		.progress = on_rest,
		.note = on_note,
		.arg = all};
	int r;

	sources_add(&peers, &all->seen, "http://", 0);
	for (size_t i = 0; i < job->n_peers; i++)
		vec_push(&peers, xstrdup(job->peers[i]));
	fetch.peers = (const char *const *)peers.at;
	fetch.n_peers = peers.n < FETCH_PEERS ? peers.n : FETCH_PEERS;
	r = fetch_image(&fetch, NULL, err);
	strings_done(&peers);
	return r;
}

/* The chunks by the chain, kernel and initrd first; what it cannot do is left for HTTP. Only the
 * manifest has to be there: pulled by every host at once, a kernel would be as many copies. */
static int by_chain(struct bringing *all)
{
	const struct bring *job = all->job;
	struct strings sources = {0};
	auto_error struct error *err = NULL;
	auto_held struct held *held = NULL;
	char address[IP4_TEXT];
	int r = by_http(all, true, &err);

	if (r == 0)
		r = held_open(job->dir, job->digest, &held, &err);
	if (r == 0 && held_limit(held) && held_limit(held) < held_total(held))
		r = error_make(
			&err, -EFBIG, "there is room for a part of the image only: no chain");
	sources_add(&sources, &all->seen, "", CHAIN_PORT_OFFSET);
	vec_push(&sources, xasprintf("%s:%d", ip4_format(job->cast, address), CHAIN_PORT));
	if (r == 0)
		r = chain_receive(&(struct chain_job){.held = held,
					  .dir = job->dir,
					  .digest = job->digest,
					  .sources = (const char *const *)sources.at,
					  .n_sources = sources.n,
					  .server = job->chain,
					  .cancel = job->cancel,
					  .progress = on_rest,
					  .note = on_note,
					  .arg = all},
			NULL, &err);
	if (r < 0 && !cancelled(job))
		note(job, error_text(err, r));
	strings_done(&sources);
	return r;
}

int bring_image(const struct bring *job, struct error **err)
{
	struct bringing all = {.job = job};

	if (job->cast.host && !fetch_is_complete(job->dir, job->digest)) {
		int r = by_cast(&all);

		if (r == 0)
			return 0;
		if (r == -ENOTCONN && job->chain && !cancelled(job))
			by_chain(&all);
	}
	return by_http(&all, false, err);
}
