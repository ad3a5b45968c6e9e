/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The serving half of a chain's node: a listener, and a thread for each successor.
 *
 * Normally there is one successor. A second comes when a node behind goes around the one that was
 * here first, because that is slow or lies, and says so; then the newcomer has the rest of the
 * chain behind it and the old one nobody, so the old one gets a quarter of the port until the other
 * is done. Four at most: whoever comes fifth is told so and asks elsewhere, for a port that is cut
 * in many parts serves nobody. But one machine must not be all four, reading slowly: of an address
 * that has several, one goes when somebody comes who has none. Under a cap (the root's: its port is
 * everybody's) all of them share one rate, of whatever image; the status says how much there is,
 * for one that is given little is not slow.
 *
 * Nobody is asked who he is: images are no secret in a lab, and what is sent is checked by whom it
 * reaches. What is in the folder or the store and named by a digest is served, nothing else; no
 * bytes of a peer are ever stored by this half.
 */
#include "images/chain_inside.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

enum { LEFT_SHARE = 4 };

struct chain_server *chain_server_ref(struct chain_server *server)
{
	pthread_mutex_lock(&server->lock);
	server->refs++;
	pthread_mutex_unlock(&server->lock);
	return server;
}

void chain_server_unref(struct chain_server *server)
{
	bool last;

	pthread_mutex_lock(&server->lock);
	last = --server->refs == 0;
	pthread_mutex_unlock(&server->lock);
	if (!last)
		return;
	pthread_mutex_destroy(&server->lock);
	free(server->held);
	free(server->store);
	free(server);
}

/* ---- images that are coming in ---- */

static struct chain_relay **relay_slot(struct chain_server *server, const char *digest)
{
	for (size_t i = 0; i < ARRAY_LEN(server->relays); i++)
		if (server->relays[i] && strcmp(server->relays[i]->digest, digest) == 0)
			return &server->relays[i];
	return NULL;
}

int chain_relay_open(struct chain_server *server, const char *digest, struct chain_log *log)
{
	struct chain_relay *relay = NULL;

	pthread_mutex_lock(&server->lock);
	for (size_t i = 0; i < ARRAY_LEN(server->relays) && !relay; i++) {
		if (server->relays[i])
			continue;
		relay = xnew(struct chain_relay);
		memcpy(relay->digest, digest, SHA256_TEXT);
		relay->log = chain_log_ref(log);
		server->relays[i] = relay;
		server->refs++;
	}
	pthread_mutex_unlock(&server->lock);
	return relay ? 0 : -EBUSY;
}

void chain_relay_tell(struct chain_server *server, const char *digest, const uint32_t *ancestors,
	size_t n, uint32_t whole_rate)
{
	struct chain_relay **slot;

	pthread_mutex_lock(&server->lock);
	slot = relay_slot(server, digest);
	if (slot) {
		(*slot)->n_ancestors = n;
		(*slot)->whole_rate = whole_rate;
		memcpy((*slot)->ancestors, ancestors, n * sizeof(*ancestors));
	}
	pthread_mutex_unlock(&server->lock);
}

void chain_relay_close(struct chain_server *server, const char *digest)
{
	struct chain_relay **slot, *relay = NULL;

	pthread_mutex_lock(&server->lock);
	slot = relay_slot(server, digest);
	if (slot)
		relay = TAKE_PTR(*slot);
	pthread_mutex_unlock(&server->lock);
	if (!relay)
		return;
	chain_log_unref(relay->log);
	free(relay);
	chain_server_unref(server);
}

struct chain_log *chain_relay_log(struct chain_server *server, const char *digest)
{
	struct chain_log *log = NULL;
	struct chain_relay **slot;

	pthread_mutex_lock(&server->lock);
	slot = relay_slot(server, digest);
	if (slot)
		log = chain_log_ref((*slot)->log);
	pthread_mutex_unlock(&server->lock);
	return log;
}

size_t chain_relay_ancestors(struct chain_server *server, const char *digest,
	uint32_t ret_ancestors[CHAIN_HOPS], uint32_t *ret_whole_rate)
{
	struct chain_relay **slot;
	size_t n = 0;

	*ret_whole_rate = 0;
	pthread_mutex_lock(&server->lock);
	slot = relay_slot(server, digest);
	if (slot) {
		n = (*slot)->n_ancestors;
		*ret_whole_rate = (*slot)->whole_rate;
		memcpy(ret_ancestors, (*slot)->ancestors, n * sizeof(*ret_ancestors));
	}
	pthread_mutex_unlock(&server->lock);
	return n;
}

/* ---- successors ---- */

static bool serves(const struct chain_successor *successor, const char *digest)
{
	return successor->used && !successor->done && successor->digest[0] &&
	       (!digest || strcmp(successor->digest, digest) == 0);
}

static bool was_left(const struct chain_server *server, const struct chain_successor *one)
{
	for (size_t i = 0; i < CHAIN_SUCCESSORS; i++)
		if (&server->successors[i] != one && serves(&server->successors[i], one->digest) &&
			server->successors[i].around == one->address)
			return true;
	return false;
}

void chain_serve_share(struct chain_server *server, const char *digest)
{
	unsigned parts[CHAIN_SUCCESSORS] = {0}, all = 0;

	pthread_mutex_lock(&server->lock);
	for (size_t i = 0; i < CHAIN_SUCCESSORS; i++) {
		const struct chain_successor *each = &server->successors[i];

		if (serves(each, server->capped ? NULL : digest))
			parts[i] = was_left(server, each) ? 1 : LEFT_SHARE;
		all += parts[i];
	}
	for (size_t i = 0; i < CHAIN_SUCCESSORS; i++)
		if (parts[i])
			atomic_store(&server->successors[i].pace,
				server->pace * parts[i] / (server->capped ? all : LEFT_SHARE));
	pthread_mutex_unlock(&server->lock);
}

static void join(struct chain_server *server, struct chain_successor *one)
{
	pthread_join(one->thread, NULL);
	close(one->fd);
	pthread_mutex_lock(&server->lock);
	one->used = false;
	pthread_mutex_unlock(&server->lock);
}

/* Joins threads that have ended; with `all`, every thread. */
static void reap(struct chain_server *server, bool all)
{
	for (size_t i = 0; i < CHAIN_SUCCESSORS; i++) {
		struct chain_successor *each = &server->successors[i];
		bool ended;

		pthread_mutex_lock(&server->lock);
		ended = each->used && (each->done || all);
		pthread_mutex_unlock(&server->lock);
		if (ended)
			join(server, each);
	}
}

static struct chain_successor *free_slot(struct chain_server *server)
{
	for (size_t i = 0; i < CHAIN_SUCCESSORS; i++)
		if (!server->successors[i].used)
			return &server->successors[i];
	return NULL;
}

static unsigned slots_of(const struct chain_server *server, uint32_t address)
{
	unsigned n = 0;

	for (size_t i = 0; i < CHAIN_SUCCESSORS; i++)
		n += server->successors[i].address == address;
	return n;
}

/* All slots are taken. Who takes two images at once keeps both while there is room, and nobody
 * makes room for himself. */
static struct chain_successor *make_room(struct chain_server *server, uint32_t newcomer)
{
	struct chain_successor *crowd = NULL;
	unsigned most = 1;

	for (size_t i = 0; i < CHAIN_SUCCESSORS; i++) {
		unsigned n = slots_of(server, server->successors[i].address);

		if (n > most)
			crowd = &server->successors[i];
		most = n > most ? n : most;
	}
	if (!crowd || slots_of(server, newcomer) > 0)
		return NULL;
	shutdown(crowd->fd, SHUT_RDWR); /* its thread ends with that */
	join(server, crowd);
	return crowd;
}

static void turn_away(int fd)
{
	uint8_t answer[CHAIN_ANSWER];

	chain_answer_write(CHAIN_FULL, answer);
	(void)send(fd, answer, sizeof(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
	close(fd);
}

static void take_in(struct chain_server *server, int fd)
{
	struct chain_successor *slot;

	reap(server, false);
	slot = free_slot(server); /* only this thread takes slots */
	if (!slot)
		slot = make_room(server, chain_tcp_peer(fd));
	if (!slot) {
		turn_away(fd);
		return;
	}
	pthread_mutex_lock(&server->lock);
	slot->server = server;
	slot->fd = fd;
	slot->done = false;
	slot->digest[0] = '\0';
	slot->address = chain_tcp_peer(fd);
	slot->around = 0;
	atomic_store(&slot->pace, server->pace);
	slot->used = pthread_create(&slot->thread, NULL, chain_successor_run, slot) == 0;
	pthread_mutex_unlock(&server->lock);
	if (!slot->used)
		turn_away(fd);
}

static void *server_run(void *arg)
{
	struct chain_server *server = arg;
	struct pollfd pollers[] = {
		{.fd = server->listener, .events = POLLIN}, {.fd = server->stop, .events = POLLIN}};

	while (!atomic_load(&server->stopping)) {
		int fd;

		poll(pollers, ARRAY_LEN(pollers), -1);
		fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			take_in(server, fd);
		else if (errno == EMFILE || errno == ENFILE)
			poll(&pollers[1], 1, 1000); /* until somebody gives one back */
	}
	return NULL;
}

int chain_server_start(
	const struct chain_serve *config, struct chain_server **ret_server, struct error **err)
{
	struct chain_server *server;
	int fd = -1, r = chain_tcp_listen(config->address, config->port, &fd, err);
	uint64_t bits;

	if (r < 0)
		return r;
	bits = config->port_bits ? config->port_bits : chain_tcp_link_bits(config->address);
	if (config->rate && (!bits || config->rate < bits))
		bits = config->rate;
	server = xnew(struct chain_server);
	server->held = xstrdup(config->held);
	server->store = xstrdup(config->store);
	server->capped = config->rate != 0;
	server->pace = chain_tcp_payload_rate(bits);
	server->listener = fd;
	server->refs = 1;
	server->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&server->lock, NULL);
	if (server->stop < 0 || pthread_create(&server->thread, NULL, server_run, server) != 0) {
		server->thread = 0;
		chain_server_stop(server);
		return error_make(err, -EAGAIN, "no thread for the peer chain");
	}
	*ret_server = server;
	return 0;
}

void chain_server_stop(struct chain_server *server)
{
	if (!server)
		return;
	atomic_store(&server->stopping, true);
	if (server->stop >= 0)
		eventfd_write(server->stop, 1);
	if (server->thread)
		pthread_join(server->thread, NULL);
	reap(server, true);
	close(server->listener);
	if (server->stop >= 0)
		close(server->stop);
	chain_server_unref(server);
}

unsigned chain_server_successors(struct chain_server *server)
{
	unsigned n = 0;

	pthread_mutex_lock(&server->lock);
	for (size_t i = 0; i < CHAIN_SUCCESSORS; i++)
		n += serves(&server->successors[i], NULL);
	pthread_mutex_unlock(&server->lock);
	return n;
}
