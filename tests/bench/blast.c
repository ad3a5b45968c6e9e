/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The wire itself, for make bench-images: a paced multicast of plain numbered datagrams without
 * any protocol, and a sink that counts them. What the sinks see is the best that any transport
 * could do on this rig at this moment, so its row stands in the table beside all others. Of 1514
 * bytes on the cable 1464 count, and the bench has it send at 0.99 of the rate, so 1.045 is the
 * best: when the row is above 1.05, the rig is not honest and no other figure of that run means
 * anything.
 *
 *   blast send ADDRESS PORT IF BYTES MBIT     sends BYTES at MBIT/s of layer-2 frames
 *   blast sink ADDRESS PORT IF BYTES          waits for BYTES; prints bytes and lost datagrams
 *
 * The pace is absolute: each burst has its moment counted from the start, so a late wake-up is made
 * up for. A burst goes out as one UDP_SEGMENT send, as every good sender does. The sink ends when
 * it has all, or half a second after the last number, or 3 s after the last datagram. It writes no
 * file: it measures cables, not memory. Nothing is allocated after the start. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	PAYLOAD = 1464,
	HEADER = 8,
	DATAGRAM = PAYLOAD + HEADER,
	FRAME = 1514,
	BURST = 8,
	MANY = 64
};

static int fail(const char *what)
{
	fprintf(stderr, "blast: %s: %s\n", what, strerror(errno));
	return 1;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int sender(int fd, const struct sockaddr_in *to, uint64_t bytes, double mbit)
{
	static char out[BURST * DATAGRAM];
	uint64_t count = (bytes + PAYLOAD - 1) / PAYLOAD, begin = now_ns();
	double frame_ns = FRAME * 8 * 1e3 / mbit;
	int size = DATAGRAM;

	if (setsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, sizeof(size)) < 0)
		return fail("UDP_SEGMENT");
	for (uint64_t i = 0; i < count;) {
		uint64_t due = begin + (uint64_t)((double)i * frame_ns), n = 0;
		struct timespec t = {
			.tv_sec = (time_t)(due / 1000000000), .tv_nsec = (long)(due % 1000000000)};

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
		for (; n < BURST && i < count; n++, i++)
			memcpy(out + n * DATAGRAM, &i, sizeof(i));
		if (sendto(fd, out, n * DATAGRAM, 0, (const struct sockaddr *)to, sizeof(*to)) < 0)
			return fail("sendto");
	}
	return 0;
}

static int sink(int fd, uint64_t bytes)
{
	static char in[MANY][DATAGRAM];
	struct iovec parts[MANY];
	struct mmsghdr messages[MANY] = {0};
	uint64_t count = (bytes + PAYLOAD - 1) / PAYLOAD, seen = 0;
	struct timeval wait = {.tv_sec = 3};

	for (size_t i = 0; i < MANY; i++) {
		parts[i] = (struct iovec){in[i], DATAGRAM};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
	}
	puts("ready");
	fflush(stdout);
	while (seen < count) {
		int n = recvmmsg(fd, messages, MANY, MSG_WAITFORONE, NULL);

		if (n < 0 && errno == EAGAIN && seen)
			break;
		if (n < 0 && errno != EAGAIN)
			return fail("recvmmsg");
		for (int i = 0; i < n; i++) {
			uint64_t number;

			memcpy(&number, in[i], sizeof(number));
			if (number == count - 1)
				wait = (struct timeval){.tv_usec = 500000};
		}
		seen += n > 0 ? (uint64_t)n : 0;
		if (n > 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0)
			return fail("SO_RCVTIMEO");
	}
	printf("%" PRIu64 " %" PRIu64 "\n", seen * PAYLOAD, count - seen);
	return 0;
}

int main(int argc, char **argv)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), four_mib = 4 << 20, on = 1;
	struct sockaddr_in at = {.sin_family = AF_INET};

	if (argc < 6 || inet_pton(AF_INET, argv[2], &at.sin_addr) != 1) {
		fputs("usage: blast send|sink ADDRESS PORT IF BYTES [MBIT]\n", stderr);
		return 2;
	}
	at.sin_port = htons((uint16_t)atoi(argv[3]));
	struct ip_mreqn group = {
		.imr_multiaddr = at.sin_addr, .imr_ifindex = (int)if_nametoindex(argv[4])};
	if (argc > 6) {
		if (setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &group, sizeof(group)) < 0)
			return fail("IP_MULTICAST_IF");
		return sender(fd, &at, strtoull(argv[5], NULL, 10), atof(argv[6]));
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &four_mib, sizeof(four_mib));
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
		bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ||
		setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		return fail("socket");
	return sink(fd, strtoull(argv[5], NULL, 10));
}
