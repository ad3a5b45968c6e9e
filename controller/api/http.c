/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libmicrohttpd on the controller's own sd-event loop: its epoll descriptor is one source, its
 * time-out another; there is no thread, so handlers need no lock.
 *
 * Every connection has one timer, which means three things in turn: an absolute deadline while the
 * peer owes bytes (libmicrohttpd's own time-out is an idle timer that one byte a second defeats),
 * the end of a long poll, the heartbeat of an event stream. A peer that misses its deadline is cut
 * by shutdown(), which libmicrohttpd sees as the end of the connection. These times are the real
 * clock's, not the product's: a rehearsal that jumps to the morning must not cut transfers.
 *
 * The number of connections is limited in all and per address. Client certificates are asked for on
 * the HTTPS listeners and judged in auth.c. */
#include "controller/api/exchange.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include "controller/pki.h"
#include "controller/store/store.h"
#include "lib/log.h"

enum {
	HEAD_S = 15,
	IDLE_S = 75,
	BACKLOG = 1024,
	MEMORY_LIMIT = 32 * 1024,
	MEMORY_STEP = 4096,
	TURNS = 256
};

uint64_t http_now_us(struct http *http)
{
	uint64_t now = 0;
	sd_event_now(loop_event(http->controller->loop), CLOCK_MONOTONIC, &now);
	return now;
}

static void cut(struct conn *conn)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(conn->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	if (info)
		shutdown(info->connect_fd, SHUT_RDWR);
}

static int on_conn_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct conn *conn = arg;
	struct exchange *exchange = conn->exchange;
	(void)source;
	(void)usec;
	switch (conn->purpose) {
	case CONN_DEADLINE:
		cut(conn);
		break;
	case CONN_WAIT:
		if (exchange) {
			exchange->api.waited = true;
			wait_resume(exchange);
		}
		break;
	case CONN_BEAT:
		if (exchange)
			stream_beat(exchange);
		break;
	}
	return 0;
}

void conn_arm_at(struct conn *conn, enum conn_timer purpose, uint64_t at_us)
{
	conn->purpose = purpose;
	sd_event_source_set_time(conn->timer, at_us);
	sd_event_source_set_enabled(conn->timer, SD_EVENT_ONESHOT);
}

void conn_arm(struct conn *conn, enum conn_timer purpose, uint64_t seconds)
{
	conn_arm_at(conn, purpose, http_now_us(conn->listener->http) + seconds * 1000000u);
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **socket_context,
	enum MHD_ConnectionNotificationCode code)
{
	struct listener *listener = arg;
	struct conn *conn = *socket_context;
	sd_event *event = loop_event(listener->http->controller->loop);
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		conn = xnew(struct conn);
		conn->listener = listener;
		conn->connection = connection;
		*socket_context = conn;
		if (sd_event_add_time(event, &conn->timer, CLOCK_MONOTONIC, UINT64_MAX, 100000,
			    on_conn_timer, conn) < 0)
			log_error("http: no timer for a connection");
		conn_arm(conn, CONN_DEADLINE, HEAD_S);
	} else if (conn) {
		pacing_forget(conn);
		sd_event_source_disable_unref(conn->timer);
		free(conn);
		*socket_context = NULL;
	}
}

static struct conn *conn_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	return info ? info->socket_context : NULL;
}

static void *on_uri(void *arg, const char *uri, struct MHD_Connection *connection)
{
	struct conn *conn = conn_of(connection);
	(void)arg;
	return conn ? exchange_new(conn, uri) : NULL;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
	const char *method, const char *version, const char *data, size_t *data_len, void **context)
{
	(void)arg;
	(void)connection;
	(void)url;
	return *context ? exchange_step(*context, method, version, data, data_len) : MHD_NO;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **context,
	enum MHD_RequestTerminationCode code)
{
	struct exchange *exchange = *context;
	(void)arg;
	(void)connection;
	if (!exchange)
		return;
	bool ok = code == MHD_REQUEST_TERMINATED_COMPLETED_OK;
	if (exchange->sent && (!ok || exchange->to_end) && !exchange->http->closing)
		exchange->sent(&exchange->api, ok);
	conn_arm(exchange->conn, CONN_DEADLINE, IDLE_S);
	exchange_free(exchange);
	*context = NULL;
}

static void on_log(void *arg, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));
static void on_log(void *arg, const char *fmt, va_list args)
{
	char *text = NULL;
	(void)arg;
	if (vasprintf(&text, fmt, args) < 0)
		return;
	text[strcspn(text, "\n")] = '\0';
	log_debug("http: %s", text);
	free(text);
}

/* When libmicrohttpd wants to be called without any event. */
static void arm_listener(struct listener *listener)
{
	MHD_UNSIGNED_LONG_LONG ms = 0;
	if (MHD_get_timeout(listener->daemon, &ms) != MHD_YES) {
		sd_event_source_set_enabled(listener->timer, SD_EVENT_OFF);
		return;
	}
	sd_event_source_set_time(listener->timer, http_now_us(listener->http) + ms * 1000);
	sd_event_source_set_enabled(listener->timer, SD_EVENT_ONESHOT);
}

/* One turn of libmicrohttpd. It takes a TLS record per call and asks to be called again at once
 * while more are there: a timer between them would cost a large body a millisecond per 16 KiB. */
static void turn(struct listener *listener)
{
	MHD_UNSIGNED_LONG_LONG ms = 1;
	for (int i = 0; i < TURNS; i++) {
		MHD_run(listener->daemon);
		if (MHD_get_timeout(listener->daemon, &ms) != MHD_YES || ms > 0)
			break;
	}
	arm_listener(listener);
}

void listener_run_soon(struct listener *listener)
{
	sd_event_source_set_time(listener->timer, 0);
	sd_event_source_set_enabled(listener->timer, SD_EVENT_ONESHOT);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	(void)source;
	(void)fd;
	(void)events;
	turn(arg);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	(void)source;
	(void)usec;
	turn(arg);
	return 0;
}

static void listener_free(struct listener *listener)
{
	if (listener->daemon)
		MHD_stop_daemon(listener->daemon);
	sd_event_source_disable_unref(listener->io);
	sd_event_source_disable_unref(listener->timer);
	free(listener);
}

static struct MHD_Daemon *start_daemon(struct listener *listener, const struct sockaddr_in *address)
{
	struct controller *controller = listener->http->controller;
	unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
	struct MHD_OptionItem tls[] = {
		{MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)pki_key(controller->pki)},
		{MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)pki_chain(controller->pki)},
		{MHD_OPTION_HTTPS_MEM_TRUST, 0, (void *)pki_ca(controller->pki)},
		{MHD_OPTION_HTTPS_PRIORITIES, 0,
			(void *)"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
		{MHD_OPTION_END, 0, NULL},
	};
	struct MHD_OptionItem plain[] = {{MHD_OPTION_END, 0, NULL}};
	if (!listener->boot)
		flags |= MHD_USE_TLS;
	return MHD_start_daemon(flags, 0, NULL, NULL, on_request, listener,
		MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_ARRAY,
		listener->boot ? plain : tls, MHD_OPTION_SOCK_ADDR, address,
		MHD_OPTION_URI_LOG_CALLBACK, on_uri, listener, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, listener, MHD_OPTION_NOTIFY_CONNECTION, on_connection, listener,
		MHD_OPTION_CONNECTION_LIMIT, controller->config.connections,
		MHD_OPTION_PER_IP_CONNECTION_LIMIT, controller->config.connections_per_address,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_LIMIT,
		MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)MEMORY_STEP,
		MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u, MHD_OPTION_LISTEN_BACKLOG_SIZE,
		(unsigned)BACKLOG, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
}

static int listen_on(
	struct http *http, const char *text, uint16_t port, bool boot, struct error **err)
{
	sd_event *event = loop_event(http->controller->loop);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct listener *listener = xnew(struct listener);
	listener->http = http;
	listener->boot = boot;
	inet_pton(AF_INET, text, &address.sin_addr);
	errno = 0;
	listener->daemon = start_daemon(listener, &address);
	if (!listener->daemon) {
		int code = errno ? -errno : -EIO;
		listener_free(listener);
		return error_make(err, code == -EEXIST ? -EIO : code,
			"cannot listen on %s port %u: %s; is another controller running?", text,
			port, strerror(-code));
	}
	int fd = MHD_get_daemon_info(listener->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	int r = sd_event_add_io(event, &listener->io, fd, EPOLLIN, on_io, listener);
	if (r >= 0)
		r = sd_event_add_time(event, &listener->timer, CLOCK_MONOTONIC, UINT64_MAX, 1000,
			on_timer, listener);
	if (r < 0) {
		listener_free(listener);
		return error_make(err, r, "cannot watch the listener on %s port %u: %s", text, port,
			strerror(-r));
	}
	vec_push(&http->listeners, listener);
	arm_listener(listener);
	return 0;
}

/* As many descriptors as the system lets us have: each connection is one. */
static void raise_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void on_event(int64_t seq, void *arg)
{
	(void)seq;
	http_wake(arg, "events");
}

int http_new(struct controller *controller, struct http **ret_http, struct error **err)
{
	struct http *http = xnew(struct http);
	auto_free char *copy = xstrdup(controller->config.listen);
	char *rest = copy, *item = NULL;
	int r = 0;
	http->controller = controller;
	raise_limit();
	while (r >= 0 && (item = strsep(&rest, ", "))) {
		if (!*item)
			continue;
		r = listen_on(http, item, controller->config.api_port, false, err);
		if (r >= 0)
			r = listen_on(http, item, controller->config.boot_port, true, err);
	}
	if (r < 0) {
		http_free(http);
		return r;
	}
	store_on_event(controller->store, on_event, http);
	*ret_http = http;
	return 0;
}

void http_free(struct http *http)
{
	if (!http)
		return;
	store_on_event(http->controller->store, NULL, NULL);
	http->closing = true;
	wait_resume_all(http);
	vec_each (struct listener *, listener, &http->listeners) {
		MHD_run((*listener)->daemon);
		listener_free(*listener);
	}
	vec_done(&http->listeners);
	pacing_done(http);
	free(http);
}
