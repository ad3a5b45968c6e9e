/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files for PCs take no more of the wire than images may: cast_rate is divided among the connections that send, and the
 * kernel paces each (SO_MAX_PACING_RATE, socket(7)). A connection that begins makes the shares of all others smaller at
 * that moment, so that the sum never is above the cap; what ends is given to the others at the next look.
 *
 * "Sends" is what the kernel says, not what libmicrohttpd has handed to it: an answer that fits into the socket's
 * buffer is over for libmicrohttpd before its first packet leaves. So a connection keeps its share until the peer has
 * acknowledged all and asks for nothing for a whole look, and loses what it does not use (plan/shares.h). What a closed
 * connection leaves in the kernel goes out at its last rate; TCP_NOTSENT_LOWAT keeps that to a tenth of a second.
 *
 * All listeners share one cap, for they are one lab server. Everything runs on the loop; a connection's descriptor is
 * asked for anew each time and never after its end, so that a number that the system gives again is never paced. */
#include "controller/api/exchange.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include "lib/log.h"

enum { LOOK_MS = 200, AHEAD_PART = 10, AHEAD_MIN = 64 * 1024, AHEAD_MAX = 1 << 30 };

static int socket_of(const struct conn *conn)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(conn->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	return info ? info->connect_fd : -1;
}

static uint64_t cap(const struct http *http)
{
	return http->controller->config.cast_rate * (1000000ull / 8);
}

/* What the kernel does not offer costs the cap, nothing else. */
static void give(struct conn *conn)
{
	unsigned long rate = conn->share.rate;
	uint64_t ahead = rate / AHEAD_PART;
	int unsent = ahead < AHEAD_MIN ? AHEAD_MIN : ahead > AHEAD_MAX ? AHEAD_MAX : (int)ahead;
	int fd = socket_of(conn);

	if (rate == conn->paced)
		return;
	(void)setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
	conn->paced = rate;
}

/* Who gets less before who gets more, so that there is no moment with too much. */
static void divide(struct http *http)
{
	plan_shares(&http->shares, cap(http));
	for (int more = 0; more < 2; more++)
		vec_each (struct share *, share, &http->shares) {
			struct conn *conn = (*share)->of;

			if (more || (conn->paced && (*share)->rate < conn->paced))
				give(conn);
		}
}

/* Bytes that the peer has acknowledged so far, and whether any are still on their way to it. */
static uint64_t acknowledged(const struct conn *conn, bool *ret_more)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);
	int fd = socket_of(conn), queued = 0;

	*ret_more = ioctl(fd, SIOCOUTQ, &queued) == 0 && queued > 0;
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 ? info.tcpi_bytes_acked : 0;
}

/* True: nothing is on its way any more, and nothing was since the last look. */
static bool is_over(struct conn *conn, uint64_t now_us)
{
	uint64_t ms = (now_us - conn->looked_us) / 1000, before = conn->acknowledged;
	bool more = false;

	if (ms < LOOK_MS / 2)
		return false; /* it has just begun: too short to judge */
	conn->acknowledged = acknowledged(conn, &more);
	conn->looked_us = now_us;
	plan_share_seen(&conn->share, conn->acknowledged - before, ms);
	return !conn->sending && !more && conn->acknowledged == before;
}

static int on_look(sd_event_source *source, uint64_t usec, void *arg)
{
	struct http *http = arg;
	uint64_t now_us = http_now_us(http);

	(void)usec;
	for (size_t i = 0; i < http->shares.n;) {
		struct conn *conn = http->shares.at[i]->of;

		if (is_over(conn, now_us)) {
			conn->shares = false;
			vec_remove(&http->shares, i);
		} else {
			i++;
		}
	}
	divide(http);
	if (http->shares.n) {
		sd_event_source_set_time(source, now_us + LOOK_MS * 1000);
		sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	}
	return 0;
}

static void look_soon(struct http *http)
{
	uint64_t at_us = http_now_us(http) + LOOK_MS * 1000;
	int enabled = SD_EVENT_OFF;

	if (!http->look) {
		if (sd_event_add_time(loop_event(http->controller->loop), &http->look, CLOCK_MONOTONIC, at_us, 10000,
			    on_look, http) < 0)
			log_error("http: no timer for the shares of the wire");
		return;
	}
	sd_event_source_get_enabled(http->look, &enabled);
	if (enabled != SD_EVENT_OFF)
		return;
	sd_event_source_set_time(http->look, at_us);
	sd_event_source_set_enabled(http->look, SD_EVENT_ONESHOT);
}

uint64_t pacing_begin(struct conn *conn)
{
	struct http *http = conn->listener->http;
	size_t most = http->controller->config.boot_slots;
	bool more = false;

	conn->sending = true;
	if (!conn->shares) {
		conn->shares = true;
		conn->share = (struct share){.of = conn, .want = SHARE_ALL};
		conn->acknowledged = acknowledged(conn, &more);
		conn->looked_us = http_now_us(http);
		vec_push(&http->shares, &conn->share);
		divide(http);
		look_soon(http);
	}
	if (http->shares.n > most)
		most = http->shares.n;
	return cap(http) / most / 2 + 1;
}

void pacing_end(struct conn *conn)
{
	conn->sending = false;
}

void pacing_forget(struct conn *conn)
{
	struct shares *shares = &conn->listener->http->shares;

	for (size_t i = 0; conn->shares && i < shares->n; i++)
		if (shares->at[i]->of == conn) {
			vec_remove(shares, i);
			conn->shares = false;
		}
}

void pacing_done(struct http *http)
{
	http->look = sd_event_source_disable_unref(http->look);
	vec_done(&http->shares);
}
