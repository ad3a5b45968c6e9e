/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The socket between the unprivileged controller and the privilege. The kernel tells who connects
 * (SO_PEERCRED); who is not the one configured user, root or ourselves gets a refusal and the door.
 * What comes in is judged by wire.c and handed to apply.c; every request gets exactly one answer
 * line, in order.
 *
 * All of it runs on the loop thread but the ARP probes, which take a second: they run in a worker
 * on a copy of their request, and the connection waits for them. It may be gone when they are done,
 * so the job knows it by number, never by pointer.
 *
 * Must not trust a length, keep a slow reader's answer outside the loop, or answer a stranger's
 * question.
 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "lib/file.h"
#include "lib/json.h"
#include "lib/log.h"
#include "netconf/arp.h"
#include "netconf/netd.h"
#include "netconf/wire.h"

enum { LINE_MAX_BYTES = 4 << 20, CONNECTIONS_MAX = 32, PIECE = 65536 };

struct connection {
	struct netd *netd;
	uint64_t id;
	int fd;
	sd_event_source *source;
	struct buf in, out;
	bool busy;  /* a worker owes the answer */
	bool ended; /* no more requests; closed when the answers are out */
};
VEC_OF(connections, struct connection *);

struct netd {
	struct loop *loop;
	const struct netd_conf *conf;
	struct apply *apply;
	int fd;
	sd_event_source *source;
	struct connections connections;
	uint64_t last_id;
	size_t probes; /* jobs that still point here */
	bool gone;     /* netd_free was called; the last job frees */
};

struct probe_job {
	struct netd *netd;
	uint64_t connection;
	char *interface;
	struct netd_request request;
	struct arp_conflicts found;
	struct error *err;
	int r;
};

static void serve(struct connection *c);

static void connection_free(struct connection *c)
{
	struct connections *all = &c->netd->connections;

	for (size_t i = 0; i < all->n; i++) {
		if (all->at[i] != c)
			continue;
		vec_remove(all, i);
		break;
	}
	sd_event_source_disable_unref(c->source);
	close(c->fd);
	buf_done(&c->in);
	buf_done(&c->out);
	free(c);
}

/* --- answers */

static void drop_front(struct buf *b, size_t n)
{
	memmove(b->text, b->text + n, b->len - n);
	b->len -= n;
	b->text[b->len] = '\0';
}

static void flush(struct connection *c)
{
	uint32_t events = EPOLLIN;

	while (c->out.len) {
		ssize_t n = send(c->fd, c->out.text, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) { /* nobody reads it any more */
			c->out.len = 0;
			c->ended = true;
			break;
		}
		drop_front(&c->out, (size_t)n);
	}
	if (c->out.len)
		events = EPOLLOUT; /* no new request before the answer is out */
	else if (c->busy || c->ended)
		events = 0;
	sd_event_source_set_io_events(c->source, events);
}

/* Takes `answer` over. */
static void answer_ok(struct connection *c, json_t *answer)
{
	auto_json json_t *object = answer ? answer : json_object();
	auto_free char *text = NULL;

	json_object_set_new(object, "ok", json_true());
	text = json_text(object);
	buf_addf(&c->out, "%s\n", text);
}

static void answer_error(struct buf *out, const struct error *err, int r)
{
	const char *name = strerrorname_np(-r);
	auto_json json_t *object = json_pack("{s:b, s:s, s:s}", "ok", 0, "code",
		name ? name : "EIO", "text", error_text(err, r));
	auto_free char *text = NULL;

	if (!object) /* a text that is not UTF-8 */
		object = json_pack(
			"{s:b, s:s, s:s}", "ok", 0, "code", "EIO", "text", "unprintable error");
	if (err && err->field)
		json_object_set_new(object, "field", json_string(err->field));
	text = json_text(object);
	buf_addf(out, "%s\n", text);
}

/* --- the one slow request */

static void probe_work(void *arg)
{
	struct probe_job *job = arg;

	job->r = arp_conflicts(job->interface, &job->request.addresses, &job->request.mine,
		&job->found, &job->err);
}

static json_t *conflict_list(const struct arp_conflicts *found)
{
	char address[IP4_TEXT], mac[MAC_TEXT];
	json_t *list = json_array();

	vec_each (struct arp_conflict, conflict, found)
		json_array_append_new(list,
			json_pack("{s:s, s:s}", "address", ip4_format(conflict->address, address),
				"mac", mac_format(&conflict->mac, mac)));
	return json_pack("{s:o}", "conflicts", list);
}

static void probe_done(void *arg)
{
	struct probe_job *job = arg;
	struct netd *netd = job->netd;
	struct connection *c = NULL;

	vec_each (struct connection *, other, &netd->connections)
		if ((*other)->id == job->connection)
			c = *other;
	if (c) {
		if (job->r < 0)
			answer_error(&c->out, job->err, job->r);
		else
			answer_ok(c, conflict_list(&job->found));
		c->busy = false;
	}
	netd_request_done(&job->request);
	vec_done(&job->found);
	error_free(job->err);
	free(job->interface);
	free(job);
	if (c)
		serve(c);
	netd->probes--;
	if (netd->gone && !netd->probes)
		free(netd);
}

static void start_probe(struct connection *c, struct netd_request *request)
{
	struct probe_job *job = xnew(struct probe_job);

	job->netd = c->netd;
	job->connection = c->id;
	job->interface = xstrdup(c->netd->conf->site.lan_interface);
	job->request = *request;
	memset(request, 0, sizeof(*request));
	c->busy = true;
	c->netd->probes++;
	loop_work(c->netd->loop, probe_work, probe_done, job);
}

/* --- requests */

/* The answer has the lease's commands: the controller shows them, and knows no interface. */
static int lease(
	struct apply *apply, struct netd_request *q, json_t **ret_answer, struct error **err)
{
	const struct net_leases alone = {&q->lease, 1, 1};
	json_t *commands = apply_commands(apply, &alone);
	int r = apply_lease(apply, &q->lease, q->lease_s, err);

	if (r < 0)
		json_decref(commands);
	else
		*ret_answer = json_pack("{s:o}", "commands", commands);
	return r;
}

/* *ret_answer stays NULL for a bare "ok". */
static int execute(
	struct apply *apply, struct netd_request *q, json_t **ret_answer, struct error **err)
{
	switch (q->op) {
	case NETD_OP_DHCP:
		return apply_dhcp(apply, &q->hosts, &q->names, err);
	case NETD_OP_BOOT:
		return apply_boot(apply, q->url, q->lease_s, err);
	case NETD_OP_APPLY:
		return lease(apply, q, ret_answer, err);
	case NETD_OP_WITHDRAW:
		return apply_withdraw(apply, q->name, err);
	case NETD_OP_SHOW:
		*ret_answer = apply_show(apply);
		return 0;
	case NETD_OP_CONFLICTS:
		break; /* start_probe */
	}
	abort();
}

static void handle_line(struct connection *c, const char *line, size_t len)
{
	auto_error struct error *err = NULL;
	struct netd_request request = {0};
	json_t *answer = NULL;
	int r = netd_request_read(line, len, &c->netd->conf->site, &request, &err);

	if (r == 0 && request.op == NETD_OP_CONFLICTS) {
		start_probe(c, &request);
		return;
	}
	if (r == 0)
		r = execute(c->netd->apply, &request, &answer, &err);
	if (r < 0) {
		log_warning("netd: request refused: %s", error_text(err, r));
		answer_error(&c->out, err, r);
	} else {
		answer_ok(c, answer);
	}
	netd_request_done(&request);
}

/* Works off whole lines, one answer at a time; frees the connection when all is said. */
static void serve(struct connection *c)
{
	char *end = NULL;

	flush(c);
	while (!c->busy && !c->out.len && c->in.len &&
		(end = memchr(c->in.text, '\n', c->in.len))) {
		size_t len = (size_t)(end - c->in.text);

		handle_line(c, c->in.text, len);
		drop_front(&c->in, len + 1);
		flush(c);
	}
	if (c->in.len > LINE_MAX_BYTES && !c->ended) {
		auto_error struct error *err = NULL;

		answer_error(&c->out, err,
			error_make(
				&err, -E2BIG, "A request has at most %d bytes.", LINE_MAX_BYTES));
		c->ended = true;
	}
	flush(c);
	if (c->ended && !c->busy && !c->out.len)
		connection_free(c);
}

static int on_connection(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	struct connection *c = arg;
	static char piece[PIECE];
	ssize_t n = 0;

	(void)source;
	if (events & EPOLLIN) {
		n = recv(fd, piece, sizeof(piece), MSG_DONTWAIT);
		if (n > 0)
			buf_add(&c->in, piece, (size_t)n);
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			c->ended = true;
	} else if (events & (EPOLLERR | EPOLLHUP)) {
		c->ended = true;
		c->out.len = 0;
	}
	serve(c);
	return 0;
}

/* --- the door */

static bool peer_allowed(const struct netd *netd, int fd, struct ucred *ret_peer)
{
	socklen_t len = sizeof(*ret_peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret_peer, &len) < 0)
		return false;
	return ret_peer->uid == 0 || ret_peer->uid == geteuid() ||
	       ret_peer->uid == netd->conf->allowed_uid;
}

static void refuse(int fd, int code, const char *text)
{
	auto_error struct error *err = NULL;
	auto_buf struct buf out = {0};

	answer_error(&out, (error_make(&err, code, "%s", text), err), code);
	if (send(fd, out.text, out.len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		log_debug("netd: a refused peer did not wait for the reason");
	close(fd);
}

static int on_listen(sd_event_source *source, int listen_fd, uint32_t events, void *arg)
{
	struct netd *netd = arg;
	struct connection *c = NULL;
	struct ucred peer = {.uid = (uid_t)-1};
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)source, (void)events;
	if (fd < 0)
		return 0;
	if (!peer_allowed(netd, fd, &peer)) {
		log_warning(
			"netd: user %ju refused (process %d)", (uintmax_t)peer.uid, (int)peer.pid);
		refuse(fd, -EPERM,
			"Only the controller's user may ask nightclass-netd (allowed_user in "
			"netd.conf).");
		return 0;
	}
	if (netd->connections.n >= CONNECTIONS_MAX) {
		refuse(fd, -EAGAIN, "nightclass-netd has too many open connections; try again.");
		return 0;
	}
	c = xnew(struct connection);
	c->netd = netd;
	c->id = ++netd->last_id;
	c->fd = fd;
	vec_push(&netd->connections, c);
	if (sd_event_add_io(loop_event(netd->loop), &c->source, fd, EPOLLIN, on_connection, c) < 0)
		connection_free(c);
	return 0;
}

static bool somebody_listens(const struct sockaddr_un *at)
{
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0;
}

static int open_door(const char *path, int *ret_fd, struct error **err)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	auto_free char *folder = xstrdup(path);
	auto_close int fd = -1;
	int r = 0;

	if (strlen(path) >= sizeof(at.sun_path))
		return error_field(
			err, -EINVAL, "socket", "The path is too long for a socket: %s", path);
	strcpy(at.sun_path, path);
	*strrchr(folder, '/') = '\0';
	if (*folder)
		r = file_mkdirs(folder, 0755, err);
	if (r < 0)
		return r;
	if (somebody_listens(&at))
		return error_make(
			err, -EADDRINUSE, "Another nightclass-netd listens at %s already.", path);
	unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* open to connect for all: who it is decides, and a refusal is better told than guessed
	 * from EACCES */
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || chmod(path, 0666) < 0 ||
		listen(fd, CONNECTIONS_MAX) < 0)
		return error_make(err, -errno, "No socket at %s: %s", path, strerror(errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int netd_new(struct loop *loop, const struct netd_conf *conf, struct apply *apply,
	struct netd **ret_netd, struct error **err)
{
	struct netd *netd = NULL;
	int fd = -1;
	int r = open_door(conf->socket, &fd, err);

	if (r < 0)
		return r;
	netd = xnew(struct netd);
	netd->loop = loop;
	netd->conf = conf;
	netd->apply = apply;
	netd->fd = fd;
	r = sd_event_add_io(loop_event(loop), &netd->source, fd, EPOLLIN, on_listen, netd);
	if (r < 0) {
		netd_free(netd);
		return error_make(err, r, "The socket cannot be watched: %s", strerror(-r));
	}
	*ret_netd = netd;
	return 0;
}

void netd_free(struct netd *netd)
{
	if (!netd)
		return;
	while (netd->connections.n)
		connection_free(netd->connections.at[0]);
	vec_done(&netd->connections);
	sd_event_source_disable_unref(netd->source);
	close(netd->fd);
	unlink(netd->conf->socket);
	netd->gone = true;
	if (!netd->probes)
		free(netd);
}
