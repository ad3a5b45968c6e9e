/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the chain's files share. Nobody else includes this. */
#ifndef IMAGES_CHAIN_INSIDE_H
#define IMAGES_CHAIN_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "images/chain.h"
#include "images/chain_log.h"
#include "images/chain_wire.h"
#include "images/source.h"

/* An image that is coming in, as its successors see it. */
struct chain_relay {
	char digest[SHA256_TEXT];
	struct chain_log *log;
	uint32_t ancestors[CHAIN_HOPS]; /* what those before me have; under the server's lock */
	size_t n_ancestors;
	uint32_t whole_rate; /* KiB/s that the first of them gives, which has everything; 0: ? */
};

struct chain_successor {
	struct chain_server *server;
	pthread_t thread;
	int fd;
	bool used, done; /* of a slot; done: the thread has ended and is to be joined */
	char digest[SHA256_TEXT];
	uint32_t address, around;  /* its own; of one that it left */
	atomic_uint_fast64_t pace; /* bytes/s wanted of it now; 0: not limited */
};

struct chain_server {
	char *held, *store;
	uint64_t pace; /* bytes/s of payload; 0: not limited */
	bool capped;   /* that is for all successors together, not for each */
	int listener, stop;
	atomic_bool stopping;
	pthread_t thread;
	pthread_mutex_t lock;
	unsigned refs; /* its owner's, and one for each image that is coming in */
	struct chain_successor successors[CHAIN_SUCCESSORS];
	struct chain_relay *relays[8]; /* images that are coming in */
};

/* chain_tcp.c: sockets as the chain wants them. */
int chain_tcp_listen(const char *address, uint16_t port, int *ret_fd, struct error **err);
int chain_tcp_connect(const char *where, unsigned timeout_ms, int *ret_fd, struct error **err);
/* The IPv4 address of "ADDRESS:PORT", or of the other end; 0: none. Host byte order. */
uint32_t chain_tcp_address(const char *where);
uint32_t chain_tcp_peer(int fd);
void chain_tcp_sender(int fd);
void chain_tcp_pace(int fd, uint64_t bytes_per_s); /* 0: as fast as it goes */
/* Exactly `len` bytes, or -errno; -ETIMEDOUT after `timeout_ms`, -ECANCELED when *stop is set. */
int chain_tcp_read(int fd, void *bytes, size_t len, unsigned timeout_ms, const atomic_bool *stop);
int chain_tcp_write(
	int fd, const void *bytes, size_t len, unsigned timeout_ms, const atomic_bool *stop);
/* Payload bytes/s that a port of so many bit/s takes beside the acknowledgements of another stream.
 */
uint64_t chain_tcp_payload_rate(uint64_t bits);
/* What the interface with the listener's address says, bit/s; 0: nothing. */
uint64_t chain_tcp_link_bits(const char *address);

/* chain_send.c: one successor's thread. */
void *chain_successor_run(void *arg);

/* chain_serve.c */
int chain_relay_open(struct chain_server *server, const char *digest, struct chain_log *log);
void chain_relay_tell(struct chain_server *server, const char *digest, const uint32_t *ancestors,
	size_t n, uint32_t whole_rate);
void chain_relay_close(struct chain_server *server, const char *digest);
/* The log of an image that is coming in (a reference), or NULL. */
struct chain_log *chain_relay_log(struct chain_server *server, const char *digest);
size_t chain_relay_ancestors(struct chain_server *server, const char *digest,
	uint32_t ret_ancestors[CHAIN_HOPS], uint32_t *ret_whole_rate);
/* Paces all successors of an image anew: who was gone around by another gets little. */
void chain_serve_share(struct chain_server *server, const char *digest);

#endif
