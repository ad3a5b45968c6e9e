/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TCP for a chain of ports of one rate.
 *
 * Left alone, every hop fills the queue of its port. What has to pass that port too then waits
 * behind it, above all the acknowledgements of the stream that comes in: measured, round trips of
 * 20 to 45 ms where 3 to 6 would do, and some of 32 hops always stall. The cure is that no hop ever
 * fills a queue: every sender is paced by its own kernel a little below the rate of its port, by
 * the headers of a full frame and the acknowledgements that share the port in each direction. Then
 * nothing queues or drops, and less than half the CPU is used. A pace kept by this program instead,
 * in pieces of 32 KiB, was tried and was slower: each piece leaves as one burst. Cubic, so that the
 * machine's default does not decide; paced, BBR was about as good.
 *
 * Little unsent data in the socket (NOTSENT_LOWAT): bytes that wait in a kernel cannot be taken
 * back when their chunk is broken off, and hide how far the successor really is.
 */
#include "images/chain_inside.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "lib/clock.h"
#include "lib/file.h"

enum {
	UNSENT = 128 << 10,
	UNSENT_MS =
		15, /* or what the port takes in so long: a late thread must not let it run dry */
	UNSENT_MAX = 8 << 20,
	DEAD_MS = 8000, /* sent and not acknowledged for so long: gone */
	TURN_MS = 100,
	BACKLOG = 16,
};

/* 1448 of 1514 bytes of a full frame are ours, and an acknowledgement of 66 bytes comes for every
 * other frame of the stream in the other direction when nothing merges frames; then one in two
 * hundred to spare. */
uint64_t chain_tcp_payload_rate(uint64_t bits)
{
	return bits / 8 * 1448 / (1514 + 33) * 995 / 1000;
}

static int address_parse(const char *where, struct sockaddr_in *ret_address)
{
	const char *colon = strrchr(where, ':');
	auto_free char *host = xstrndup(where, colon ? (size_t)(colon - where) : strlen(where));
	uint64_t port = CHAIN_PORT;
	struct ip4 ip;

	if (ip4_parse(host, &ip) < 0 || (colon && uint_parse(colon + 1, 1, UINT16_MAX, &port) < 0))
		return -EINVAL;
	*ret_address = (struct sockaddr_in){.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(ip.host)};
	return 0;
}

uint32_t chain_tcp_address(const char *where)
{
	struct sockaddr_in at;

	return where && address_parse(where, &at) == 0 ? ntohl(at.sin_addr.s_addr) : 0;
}

uint32_t chain_tcp_peer(int fd)
{
	struct sockaddr_in at = {0};
	socklen_t len = sizeof(at);

	return getpeername(fd, (struct sockaddr *)&at, &len) == 0 ? ntohl(at.sin_addr.s_addr) : 0;
}

int chain_tcp_listen(const char *address, uint16_t port, int *ret_fd, struct error **err)
{
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
	int one = 1;

	if (address && inet_pton(AF_INET, address, &at.sin_addr) != 1)
		return error_make(err, -EINVAL, "%s is no address to listen on", address);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
		bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, BACKLOG) < 0)
		return error_make(err, -errno, "cannot listen on %s port %u for the peer chain: %s",
			address ? address : "any address", port, strerror(errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int connect_wait(int fd, unsigned timeout_ms)
{
	struct pollfd poller = {.fd = fd, .events = POLLOUT};
	socklen_t len = sizeof(int);
	int code = 0;

	if (poll(&poller, 1, (int)timeout_ms) <= 0)
		return -ETIMEDOUT;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len);
	return -code;
}

int chain_tcp_connect(const char *where, unsigned timeout_ms, int *ret_fd, struct error **err)
{
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_in at;
	int one = 1, r = 0;

	if (address_parse(where, &at) < 0)
		return error_make(err, -EINVAL, "%s is not ADDRESS:PORT", where);
	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
		return error_make(err, -errno, "%s: %s", where, strerror(errno));
	if (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		r = errno == EINPROGRESS ? connect_wait(fd, timeout_ms) : -errno;
	if (r < 0)
		return error_make(err, r, "%s does not answer: %s", where, strerror(-r));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

void chain_tcp_sender(int fd)
{
	unsigned dead = DEAD_MS;
	int one = 1;

	/* What the kernel does not offer costs speed, nothing else. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead, sizeof(dead));
}

void chain_tcp_pace(int fd, uint64_t bytes_per_s)
{
	uint64_t rate = bytes_per_s ? bytes_per_s : UINT64_MAX;
	uint64_t ahead = bytes_per_s / 1000 * UNSENT_MS;
	int unsent = ahead < UNSENT ? UNSENT : ahead > UNSENT_MAX ? UNSENT_MAX : (int)ahead;

	(void)setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
}

/* Until the socket is ready: 0, -ETIMEDOUT or -ECANCELED. */
static int wait_ready(int fd, short what, int64_t until, const atomic_bool *stop)
{
	struct pollfd poller = {.fd = fd, .events = what};

	for (;;) {
		int64_t left = until - clock_real_ms();

		if (stop && atomic_load(stop))
			return -ECANCELED;
		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(&poller, 1, (int)(left < TURN_MS ? left : TURN_MS)) > 0)
			return 0;
	}
}

int chain_tcp_read(int fd, void *bytes, size_t len, unsigned timeout_ms, const atomic_bool *stop)
{
	int64_t until = clock_real_ms() + timeout_ms;

	for (size_t have = 0; have < len;) {
		ssize_t n = recv(fd, (char *)bytes + have, len - have, MSG_DONTWAIT);
		int r = 0;

		if (n == 0)
			return -ECONNRESET;
		if (n > 0)
			have += (size_t)n;
		else if (errno == EAGAIN)
			r = wait_ready(fd, POLLIN, until, stop);
		else if (errno != EINTR)
			r = -errno;
		if (r < 0)
			return r;
	}
	return 0;
}

int chain_tcp_write(
	int fd, const void *bytes, size_t len, unsigned timeout_ms, const atomic_bool *stop)
{
	int64_t until = clock_real_ms() + timeout_ms;

	for (size_t done = 0; done < len;) {
		ssize_t n = send(
			fd, (const char *)bytes + done, len - done, MSG_DONTWAIT | MSG_NOSIGNAL);
		int r = 0;

		if (n >= 0)
			done += (size_t)n;
		else if (errno == EAGAIN)
			r = wait_ready(fd, POLLOUT, until, stop);
		else if (errno != EINTR)
			r = -errno;
		if (r < 0)
			return r;
	}
	return 0;
}

/* Mbit/s of one interface by its name; a bridge tells none, its port does. */
static uint64_t speed_of(const char *name)
{
	auto_free char *path = xasprintf("/sys/class/net/%s/speed", name), *text = NULL;
	uint64_t mbit;

	if (file_read(path, 32, &text, NULL, NULL) < 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	return uint_parse(text, 1, 400000, &mbit) < 0 ? 0 : mbit * 1000000;
}

uint64_t chain_tcp_link_bits(const char *address)
{
	struct ifaddrs *all = NULL;
	uint64_t bits = 0;

	if (getifaddrs(&all) < 0)
		return 0;
	for (const struct ifaddrs *each = all; each; each = each->ifa_next) {
		struct sockaddr_in at;
		char text[INET_ADDRSTRLEN];

		if (!each->ifa_addr || each->ifa_addr->sa_family != AF_INET ||
			(each->ifa_flags & IFF_LOOPBACK))
			continue;
		memcpy(&at, each->ifa_addr, sizeof(at));
		inet_ntop(AF_INET, &at.sin_addr, text, sizeof(text));
		if (!address || strcmp(address, text) == 0)
			bits = bits ? bits : speed_of(each->ifa_name);
	}
	freeifaddrs(all);
	return bits;
}
